"""The augmentation methods and controls on faces and latents made by hand, pairs of emotions, arms,
and the splits."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

import augment
import train_cae
import train_classifier
import utils
from augment import METHODS
from data.faces import Faces
from data.protocols import PROTOCOLS, split_faces
from train_cae import emotion_pairs, pair_plan
from train_classifier import Arm, default_arms, read_arm

EMOTIONS = ("AN", "HA", "SU")


def people(posed):
    """Faces of "subject emotion" texts; face k is all k."""
    subjects, emotions = np.array([text.split(" ") for text in posed]).T
    numbers = np.arange(len(posed))
    images = np.tile(np.float32(numbers)[:, None, None, None], (1, 48, 48, 1))
    return Faces(np.array([f"face{k}" for k in numbers]), subjects, emotions, images)


def by_hand(theta=0.5, max_synthetic=10_000, seed=(0, 0), translate=None, synthetic=None):
    """Tools whose latents are (value, value^2) of a one-grey face; their decoder draws latent 0."""
    def encode(images):
        return images[:, 0, 0] ** np.float32([1, 2])

    def decode(latents):
        return np.tile(latents[:, :1, None, None], (1, 48, 48, 1))

    return augment.Tools(encode, decode, translate, synthetic, latent=32, theta=theta,
                         max_synthetic=max_synthetic, seed=list(seed))


def synthetic_by(method, faces, **tools):
    """The faces of a method, or of a control of what its method makes with these tools."""
    row = METHODS[method]
    if row.control_of:
        tools["synthetic"] = synthetic_by(row.control_of, faces, **tools)
    return row.make(faces, by_hand(**tools))


def same(source, target, images):
    return images


def greys(synthetic):
    return synthetic.images[:, 0, 0, 0].tolist()


def counts(emotions):
    return dict(zip(*(part.tolist() for part in np.unique(emotions, return_counts=True))))


ALL = people([f"{subject} {emotion}" for subject in "PQR" for emotion in EMOTIONS])


# -------------------------------------------------------------------------------------- the pairs
def pairs_of(faces, most, seed=(0, 0)):
    return augment.same_emotion_pairs(faces.emotions, most, np.random.default_rng(seed))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 50])
def test_pairs_of_one_emotion_are_the_upper_triangle(n):
    pairs = pairs_of(people(["P AN"] * n), 10**6)
    assert np.array_equal(pairs, np.stack(np.triu_indices(n, 1), axis=1))


@pytest.mark.parametrize("scale", [1, 4], ids=["listed", "drawn"])
def test_drawn_pairs_keep_the_shares_of_the_real_faces(scale):
    """Disgust of FER2013 would have 0.1 % by the square of its faces, and has 1.5 % of them. Of
    394 faces all 77,421 pairs are listed, of 1,576 more than a million are not."""
    faces = people([" common"] * 394 * scale + [" rare"] * 6 * scale)
    pairs = pairs_of(faces, 1000)
    emotions = faces.emotions[pairs]
    assert (emotions[:, 0] == emotions[:, 1]).all() and (pairs[:, 0] < pairs[:, 1]).all()
    assert counts(emotions[:, 0]) == {"common": 985, "rare": 15}
    assert len(np.unique(pairs, axis=0)) == 1000
    assert np.array_equal(pairs, pairs_of(faces, 1000))
    assert not np.array_equal(pairs, pairs_of(faces, 1000, seed=(0, 1)))
    assert pairs_of(faces, 0).shape == (0, 2)


def test_pairs_of_emotions_and_their_budget():
    faces = people(["P AN", "P AN", "P HA", "Q HA", "R AN", " AN", " HA"])
    assert {key: rows.tolist() for key, rows in emotion_pairs(faces).items()} == {
        ("AN", "HA"): [[0, 2], [1, 2]], ("HA", "AN"): [[2, 0], [2, 1]]}
    many = {"a": np.zeros((60, 2)), "b": np.zeros((1000, 2))}
    settings = {"batch": 4, "pair_epochs": 8}
    # An epoch is 15 and 250 steps: 3 of 800 steps. Of 200 one of all pairs of faces is too much.
    assert pair_plan(many, settings, 200) == (1600, 3, {"a": 45, "b": 750})
    assert pair_plan(many, settings, 50) == (400, 1, {"a": 15, "b": 100})
    assert pair_plan(many, settings, 10**6)[1] == 8 and pair_plan({}, settings, 50) == (0, 0, {})


# ------------------------------------------------------------------------------------ the methods
@pytest.mark.parametrize("theta, first", [
    (0.5, [1.5, 3.0, 4.5]), (0.25, [2.25, 4.5, 5.25]), (1.0, [0, 0, 3])])
def test_interpolate_and_blend_weigh_the_same_pairs(theta, first):
    for method in ("interpolate", "blend"):
        synthetic = synthetic_by(method, ALL._replace(images=ALL.images / 8), theta=theta)
        assert synthetic.parents.tolist() == [[e + 3 * a, e + 3 * b] for e in range(3)
                                              for a, b in ((0, 1), (0, 2), (1, 2))]
        assert [8 * grey for grey in greys(synthetic)[:3]] == first
        assert synthetic.coefficients.tolist() == [[theta, 1 - theta]] * 9
        assert synthetic.emotions.tolist() == [emotion for emotion in EMOTIONS for _ in range(3)]


def test_transfer_is_the_literal_sum_of_latents():
    # P posed AN (0) and HA (1), Q posed HA (2) and AN (3). The only transfer that makes HA of P is
    # z(Q, AN) + z(P, HA) - z(P, AN) = 3 + 1 - 0, and so on; of each as many as interpolate makes.
    faces = people(["P AN", "P HA", "Q HA", "Q AN"])
    possible = {(2, 0, 1): ("AN", 1), (1, 3, 2): ("AN", 2),
                (3, 1, 0): ("HA", 4), (0, 2, 3): ("HA", -1)}
    for method, ends in (("transfer", (-1, 4)), ("pixel-transfer", (0, 1))):
        synthetic = synthetic_by(method, faces)
        assert sorted(synthetic.emotions) == ["AN", "HA"]
        assert synthetic.coefficients.tolist() == [[1, 1, -1]] * 2
        for *actual, parents in zip(synthetic.emotions, greys(synthetic),
                                    synthetic.parents.tolist()):
            emotion, grey = possible[tuple(parents)]
            assert actual == [emotion, np.clip(grey, *ends)]


def test_transfer_draws_other_subjects_and_other_emotions():
    synthetic, pixels = (synthetic_by(method, ALL) for method in ("transfer", "pixel-transfer"))
    jb, ia, ib = synthetic.parents.T
    assert (ALL.subjects[ia] == ALL.subjects[ib]).all()
    assert (ALL.subjects[jb] != ALL.subjects[ia]).all()
    assert (ALL.emotions[jb] == ALL.emotions[ib]).all()
    assert (ALL.emotions[ia] != ALL.emotions[ib]).all()
    assert np.array_equal(synthetic.emotions, ALL.emotions[ia])
    assert np.array_equal(synthetic.parents, pixels.parents)
    other = synthetic_by("transfer", ALL, seed=(0, 1))
    assert not np.array_equal(synthetic.parents, other.parents)


def test_translate_asks_the_cae_of_each_pair():
    asked = []

    def translated(source, target, images):
        asked.append((source, target))
        return images + 100

    every = synthetic_by("translate", ALL, translate=translated)
    assert sorted(asked) == [(a, b) for a in EMOTIONS for b in EMOTIONS if a != b]
    assert len(every.images) == 18
    assert (ALL.emotions[every.parents[:, 0]] != every.emotions).all()
    few = synthetic_by("translate", ALL, max_synthetic=7, translate=translated)
    assert len(few.images) == 7
    for synthetic in (every, few):
        assert greys(synthetic) == [100 + row for row in synthetic.parents[:, 0]]


def test_make_synthetic_is_what_a_notebook_does():
    """A call of Keras' predict for each face, and each parent, against all at once."""
    model = train_cae.build_cae(4)
    rng = np.random.default_rng(2)
    caes = [utils.named_weights(3 * weight for weight in utils.initial_weights(model, [k]))
            for k in range(3)]
    for cae, (source, target) in zip(caes[1:], (("AN", "HA"), ("HA", "AN"))):
        cae |= {"source": np.array(source), "target": np.array(target)}
    faces = people(["P AN", "P HA", "Q AN"])
    train = faces._replace(images=rng.integers(0, 256, (3, 48, 48), np.uint8))._asdict()
    images = train["images"][..., None] / np.float32(255)
    settings = {"latent": 4, "theta": 0.25, "max_synthetic": 99, "balance": "no",
                "seed": [0, 0]}

    def notebook(cae, *numbers):
        model.set_weights(utils.weights_of(cae))
        encoder, decoder = model.layers
        latents = [encoder.predict(images[k:k + 1], verbose=0)[0] for k in numbers]
        latent = latents[0] if len(latents) == 1 else 0.25 * latents[0] + 0.75 * latents[1]
        return decoder.predict(latent[None], verbose=0)[0]

    for method, used, expected in (
            ("interpolate", caes[:1], [(caes[0], 0, 2)]),
            ("translate", caes[1:], [(caes[1], 0), (caes[1], 2), (caes[2], 1)])):
        arrays = augment.make_synthetic(train, used, method=method, **settings)
        assert arrays["parents"].tolist() == [numbers for _, *numbers in expected]
        assert arrays["names"].tolist() == ["face0", "face1", "face2"]
        for image, (cae, *numbers) in zip(arrays["images"], expected):
            assert image.std() > 0.01
            assert image == pytest.approx(notebook(cae, *numbers), rel=1e-4, abs=1e-4)


# ----------------------------------------------------------------------------------- the controls
def test_person_mean_is_the_mean_of_the_subjects_faces():
    # P has no SU, R neither HA nor SU: somebody else's stand in.
    faces = people(["P AN", "P AN", "P HA", "Q AN", "Q HA", "Q SU", "R AN"])
    translated = synthetic_by("translate", faces, translate=same)
    synthetic = METHODS["person-mean"].make(faces, by_hand(synthetic=translated))
    assert np.array_equal(synthetic.emotions, translated.emotions)
    keys = zip(translated.parents[:, 0].tolist(), translated.emotions.tolist())
    means = dict(zip(keys, greys(synthetic)))
    expected = {(0, "HA"): 2, (2, "AN"): 0.5, (4, "AN"): 3, (3, "SU"): 5,
                (0, "SU"): 5, (6, "SU"): 5}
    assert means.items() >= expected.items() and means[6, "HA"] in (2, 4)
    assert synthetic.coefficients.sum(1).tolist() == [1] * len(translated.emotions)
    assert (faces.emotions[synthetic.parents] == synthetic.emotions[:, None]).all()


def linear_world(subjects, dimensions=3, noise=0.0):
    """Faces of a neutral and a happy emotion: of each subject both are the same numbers, by other
    matrices. Returns the faces and, for each, the pixels of the other one."""
    rng = np.random.default_rng(7)
    numbers = rng.uniform(-1, 1, (subjects, dimensions))
    neutral, happy = (0.5 + numbers @ rng.uniform(-0.1, 0.1, (dimensions, 48 * 48))
                      for _ in range(2))
    faces = people([f"S{k:02d} {emotion}" for emotion in ("NE", "HA") for k in range(subjects)])
    pixels = np.concatenate([neutral, happy])
    shaken = pixels + rng.normal(0, noise, pixels.shape)
    return (faces._replace(images=np.float32(shaken.reshape(-1, 48, 48, 1))),
            np.concatenate([happy, neutral]).reshape(-1, 48, 48, 1))


def test_linear_recovers_a_linear_world():
    """Target = A source + b: exact for faces that the fit has seen and for those it has not."""
    faces, others = linear_world(30)
    known = np.arange(60) % 30 < 28
    subjects = np.where(known, faces.subjects, "")  # the last two subjects' are in no pair
    faces = faces._replace(subjects=subjects)
    translated = synthetic_by("translate", faces, translate=same)
    synthetic = METHODS["linear"].make(faces, by_hand(synthetic=translated))
    rows = synthetic.parents[:, 0]
    assert len(rows) == 60 and synthetic.images == pytest.approx(others[rows], abs=2e-3)
    assert np.abs(faces.images[rows] - others[rows]).max() > 0.2
    assert np.array_equal(synthetic.emotions, translated.emotions)
    noisy, others = linear_world(30, noise=0.1)
    shrunk = synthetic_by("linear", noisy, translate=same)
    off = shrunk.images - others[shrunk.parents[:, 0]]
    assert off.std() < 0.06  # a third of the noise is gone, or more


@pytest.mark.parametrize("noise", [0.0, 0.3, 30.0])
def test_strength_of_the_ridge_is_by_generalised_cross_validation(noise):
    """Against the hat matrix, written out: n |y - H y|^2 / trace(1 - H)^2."""
    rng = np.random.default_rng(3)
    x, new = rng.normal(size=(12, 4)) * [3, 1, 0.3, 0.01], rng.normal(size=(5, 4))
    y = 5 + x @ rng.normal(size=(4, 6)) + rng.normal(0, noise, (12, 6))
    centred, ones = x - x.mean(0), np.full((12, 12), 1 / 12)
    variance = np.mean(np.linalg.svd(centred)[1] ** 2)
    scores, predictions = [], []
    for strength in augment.STRENGTHS * variance:
        inverse = np.linalg.inv(centred.T @ centred + strength * np.eye(4))
        hat = centred @ inverse @ centred.T + ones
        scores.append(np.sum((y - hat @ y) ** 2) / np.trace(np.eye(12) - hat) ** 2)
        predictions.append(y.mean(0) + (new - x.mean(0)) @ inverse @ centred.T @ (y - y.mean(0)))
    best = np.argmin(scores)
    assert augment.ridge(x, y)(new) == pytest.approx(predictions[best], rel=1e-6)
    assert best == {0.0: 0, 30.0: len(scores) - 1}.get(noise, best)


CONTROLS = {method: [name for name, row in METHODS.items() if row.control_of == method]
            for method, row in METHODS.items() if not row.control_of}


def test_every_method_has_its_controls():
    assert CONTROLS == {"translate": ["person-mean", "linear"],
                        "interpolate": ["blend", "reconstruct"], "transfer": ["pixel-transfer"]}


@pytest.mark.parametrize("method", CONTROLS)
def test_controls_have_the_faces_of_their_method(method):
    posed = [f"{subject} {emotion}" for subject in "PQRS" for emotion in EMOTIONS]
    faces = people([*posed, "P AN", "P AN", "P AN", "T HA"])
    faces = faces._replace(images=faces.images / 100)
    wanted = synthetic_by(method, faces, translate=same)
    for control in CONTROLS[method]:
        synthetic = METHODS[control].make(faces, by_hand(synthetic=wanted))
        assert np.array_equal(synthetic.emotions, wanted.emotions)
        assert synthetic.parents.max() < len(faces.names)
        assert synthetic.images.shape == wanted.images.shape
        assert synthetic.images.dtype == np.float32
        assert synthetic.images.min() >= 0 and synthetic.images.max() <= 1
        if control not in ("person-mean", "reconstruct"):
            assert np.array_equal(synthetic.parents, wanted.parents)


def test_the_readmes_method_of_ones_own(monkeypatch):
    code = re.search("(?s)# *def brighter.*?(?=METHODS = )", (ROOT / "augment.py").read_text())[0]
    code = re.sub("(?m)^#( {5})?", "", code)
    assert code.strip() in (ROOT / "README.md").read_text()
    monkeypatch.setattr(augment, "METHODS", dict(METHODS))
    exec(code, vars(augment) | {"METHODS": augment.METHODS})
    arrays = augment.make_synthetic(
        ALL._replace(images=np.uint8(20 * ALL.images[..., 0]))._asdict(), [], method="brighter",
        latent=4, theta=0.5, max_synthetic=99, seed=[0, 0], balance="no")
    assert arrays["images"][:, 0, 0, 0] == pytest.approx(1.2 * 20 / 255 * np.arange(9))
    assert arrays["emotions"].tolist() == ALL.emotions.tolist()
    assert augment.method_list("brighter,blend") == ["brighter", "blend"]


# ----------------------------------------------------------------------- which are possible, arms
def test_methods_that_faces_do_not_allow(tmp_path):
    nobody = people([" AN", " HA"] * 3)
    for faces in (people(["P AN", "P AN", "Q HA", "Q HA"]), nobody):
        assert [method for method in METHODS if METHODS[method].why_not(faces)] == [
            "translate", "person-mean", "linear", "transfer", "pixel-transfer"]
    assert [method for method in METHODS if METHODS[method].why_not(people([
        "P AN", "P HA", "Q AN"]))] == []
    assert [method for method in METHODS if METHODS[method].why_not(people([
        "P AN", "P HA", "Q SU"]))] == ["transfer", "pixel-transfer"]

    def possible(runs, asked, redo=()):
        experiment = SimpleNamespace(runs=range(len(runs)),
                                     file=lambda run, kind: tmp_path / f"run-{run}" / "train.npz")
        for run, faces in enumerate(runs):
            utils.save_arrays(experiment.file(run, "train"), {}, {
                **faces._asdict(), "images": np.uint8(faces.images[..., 0]),
                "transforms": np.zeros((len(faces.names), 4)), "mean": np.zeros(0, np.float32)})
        return augment.possible_methods(experiment, asked, list(redo))

    assert possible([ALL], []) == ["translate", "person-mean", "interpolate", "blend"]
    assert possible([ALL, nobody], []) == ["interpolate", "blend"]
    assert possible([ALL], ["all"]) == [*METHODS]
    assert possible([nobody], ["all"]) == ["interpolate", "blend", "reconstruct"]
    assert possible([ALL], ["blend", "linear"]) == ["interpolate", "blend", "translate", "linear"]
    assert possible([ALL], [], ["transfer"]) == ["transfer", *augment.DEFAULT_METHODS]
    with pytest.raises(utils.Problem, match="linear: no subject is known to show two emotions; "):
        possible([ALL, nobody], ["blend", "linear"])


def test_names_of_arms():
    assert {name: read_arm(name) for name in (
        "none", "geometric", "translate", "pixel-transfer+geometric", "longer-translate")} == {
        "none": Arm("", "", ""), "geometric": Arm("", "geometric", ""),
        "translate": Arm("translate", "", ""),
        "pixel-transfer+geometric": Arm("pixel-transfer", "geometric", "transfer+geometric"),
        "longer-translate": Arm("", "", "translate")}
    for name in ("", "magic", "none+geometric", "geometric+geometric", "longer-none",
                 "longer-blend", "longer-geometric", "longer-translate+geometric", "+geometric",
                 "translate+", "longer-longer-translate", "translate+geometric+geometric",
                 "Translate"):
        with pytest.raises(ValueError, match="no arm"):
            read_arm(name)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("methods", [["translate", "interpolate", "blend"], ["blend"]])
def test_default_arms(protocol, methods, monkeypatch):
    monkeypatch.setattr(train_classifier, "synthetic_of",
                        lambda experiment, run: dict.fromkeys(methods))
    early, expected = PROTOCOLS[protocol].training.early_stopping, []
    for method in methods:
        if method != "blend":
            expected += [f"longer-{method}", method] if early else [method, f"{method}+geometric"]
    expected += ["blend"] if early else ["blend+geometric"]
    expected = expected if early else ["geometric", *expected]
    assert default_arms(SimpleNamespace(protocol=PROTOCOLS[protocol])) == expected


# ------------------------------------------------------------------------------------- the splits
def split(protocol, faces, run, splits=None, **settings):
    settings = {"protocol": protocol, "seed": 0, "people": 0, "folds": 3, "balance": "no",
                **settings}
    return split_faces(faces, np.full(len(faces.names), "") if splits is None else splits, settings,
                       run)


def grid(subjects, takes=4):
    return people([f"S{s:02d} {e}" for s in range(subjects) for e in EMOTIONS
                   for _ in range(takes)])


@pytest.mark.parametrize("protocol, runs", [("loso", 6), ("kfold", 3)])
def test_no_subject_is_on_two_sides_and_each_tests_once(protocol, runs):
    faces, tested = grid(6), []
    for run in range(runs):
        train, test = split(protocol, faces, run)
        assert not set(faces.subjects[train]) & set(faces.subjects[test])
        assert sorted([*train, *test]) == list(range(72))
        tested += sorted(set(faces.subjects[test]))
    assert sorted(tested) == sorted(set(faces.subjects)) and tested != sorted(tested)


def test_holdout_draws_a_stratified_split_per_run_and_seed():
    faces, tests = grid(10), set()
    for run, seed in ((0, 0), (1, 0), (0, 1), (1, 1)):
        train, test = split("holdout", faces, run, seed=seed)
        assert (len(train), len(test)) == (96, 24) and not set(train) & set(test)
        assert counts(faces.emotions[test]) == {"AN": 8, "HA": 8, "SU": 8}
        tests.add(tuple(test))
    assert len(tests) == 4


def test_cv_tests_every_face_once_a_deal():
    faces, deals = grid(10), []
    for deal in range(2):
        tests = [split("cv", faces, 5 * deal + fold)[1] for fold in range(5)]
        assert sorted(np.concatenate(tests)) == list(range(120))
        assert all(counts(faces.emotions[test]) == {"AN": 8, "HA": 8, "SU": 8} for test in tests)
        deals.append(tests)
    assert not np.array_equal(deals[0][0], deals[1][0])


def test_published_split_is_the_papers(drawn):
    train, test = split("published", drawn, 3, seed=17)
    again = split("published", drawn, 0)  # run and seed do not move it
    assert np.array_equal(again[0], train) and np.array_equal(again[1], test)
    known = drawn.take(train)
    emotions = known.emotions[pairs_of(known, 10_000)[:, 0]]
    for texts, expected in ((known.emotions, [24, 23, 25, 25, 24, 25, 24]),
                            (drawn.emotions[test], [6, 6, 7, 6, 6, 6, 6]),
                            (emotions, [276, 253, 300, 300, 276, 300, 276])):
        assert [*counts(texts).values()] == expected
    assert len(emotions) == 1981  # the paper's number of synthetic faces
    images = known._replace(images=np.zeros((170, 48, 48, 1), np.float32))
    assert len(synthetic_by("translate", images, translate=same).emotions) == 1020
    for texts, sizes in ((known.emotions, [127, 43]),
                         (np.concatenate([known.emotions, emotions]), [1613, 538])):
        assert [*map(len, train_classifier.published_split(texts))] == sizes


def test_given_split():
    faces = grid(4)
    splits = np.resize(["train", "train", "test"], 48)
    train, test = split("given", faces, 0, splits)
    assert (splits[train] == "train").all() and (splits[test] == "test").all()
    assert (len(train), len(test)) == (32, 16)


@pytest.mark.parametrize("protocol", ["published", "holdout", "loso", "kfold", "given"])
def test_fewer_people_are_among_more_and_leave_the_test_alone(protocol):
    faces = grid(9)
    splits = np.where(np.isin(faces.subjects, ["S00", "S04"]), "test", "train")
    drawn = []
    for run in range(3):
        train, test = split(protocol, faces, run, splits)
        before = set()
        for count in (2, 4, len(set(faces.subjects[train]))):
            few, same_test = split(protocol, faces, run, splits, people=count)
            subjects = set(faces.subjects[few])
            assert np.array_equal(test, same_test) and len(subjects) == count
            assert before <= subjects and set(few) <= set(train)
            # All training faces of theirs.
            assert len(few) == np.isin(faces.subjects[train], [*subjects]).sum()
            before = subjects
        assert np.array_equal(few, train)
        drawn.append(set(faces.subjects[split(protocol, faces, run, splits, people=2)[0]]))
    alike = len(set(map(frozenset, drawn))) == 1
    assert alike == PROTOCOLS[protocol].one_split  # elsewhere each run draws its own
    with pytest.raises(utils.Problem, match=r"--people 99: a run has \d training subjects"):
        split(protocol, faces, 0, splits, people=99)
