"""The augmentation methods on faces and latents made by hand, pairs of emotions, and the splits."""

import re

import augment
from data import experiment
from data import faces as data
from train_cae import emotion_pairs, pair_plan
from train_classifier import published_split

import numpy as np
import pytest
from conftest import ROOT

EMOTIONS = ("AN", "HA", "SU")


def people(posed):
    """Faces of "person emotion" texts; face k is all k."""
    subjects, emotions = np.array([text.split(" ") for text in posed]).T
    numbers = np.arange(len(posed))
    images = np.tile(np.float32(numbers)[:, None, None, None], (1, 48, 48, 1))
    return data.Faces(np.array([f"face{k}" for k in numbers]), subjects, emotions,
                      np.full(len(posed), ""), images, numbers)


def by_hand(theta=0.5, most=10_000, seed=(0, 0), translate=None):
    """Tools whose latents are (value, value^2) of a one-grey face; their decoder draws latent 0."""
    def encode(images):
        return images[:, 0, 0] ** np.float32([1, 2])

    def decode(latents):
        return np.tile(latents[:, :1, None, None], (1, 48, 48, 1))

    return augment.Tools(encode, decode, translate, theta, most, list(seed))


def made_by(method, faces, **tools):
    row = augment.METHODS[method]
    return row.make(faces, by_hand(**tools), row.plan)


def greys(made):
    return made.images[:, 0, 0, 0].tolist()


def counts(emotions):
    return dict(zip(*(part.tolist() for part in np.unique(emotions, return_counts=True))))


ALL = people([f"{person} {emotion}" for person in "PQR" for emotion in EMOTIONS])


@pytest.mark.parametrize("n", [2, 3, 4, 7, 50])
def test_numbered_pairs_are_the_upper_triangle(n):
    pairs = augment.same_emotion_pairs(people(["P AN"] * n), by_hand(most=10**6)).parents
    assert np.array_equal(pairs, np.stack(np.triu_indices(n, 1), axis=1))


def test_drawn_pairs_keep_the_shares_of_the_real_faces():
    """Disgust of FER2013 would have 0.1 % by the square of its faces, and has 1.5 % of them."""
    faces = people([" common"] * 985 + [" rare"] * 15)
    _, emotions, pairs, _ = augment.same_emotion_pairs(faces, by_hand(most=5000))
    assert counts(emotions) == {"common": 4925, "rare": 75}
    assert len(np.unique(pairs, axis=0)) == 5000 and (pairs[:, 0] < pairs[:, 1]).all()
    assert (faces.emotions[pairs] == emotions[:, None]).all()
    others = augment.same_emotion_pairs(faces, by_hand(most=5000, seed=(0, 1))).parents
    assert not np.array_equal(pairs, others)


@pytest.mark.parametrize("theta, first", [
    (0.5, [1.5, 3.0, 4.5]), (0.25, [2.25, 4.5, 5.25]), (1.0, [0, 0, 3])])
def test_interpolate_and_blend_weigh_the_same_pairs(theta, first):
    for method in ("interpolate", "blend"):
        made = made_by(method, ALL._replace(images=ALL.images / 8), theta=theta)
        assert made.parents.tolist() == [[e + 3 * a, e + 3 * b] for e in range(3)
                                         for a, b in ((0, 1), (0, 2), (1, 2))]
        assert [8 * grey for grey in greys(made)[:3]] == first
        assert made.weights.tolist() == [[theta, 1 - theta]] * 9


def test_transfer_is_the_literal_sum_of_latents():
    # P posed AN (0) and HA (1), Q posed HA (2) and AN (3). The only transfer that makes HA of P is
    # z(Q, AN) + z(P, HA) - z(P, AN) = 3 + 1 - 0, and so on; of each as many as interpolate makes.
    faces = people(["P AN", "P HA", "Q HA", "Q AN"])
    possible = {(2, 0, 1): ("AN", 1), (1, 3, 2): ("AN", 2),
                (3, 1, 0): ("HA", 4), (0, 2, 3): ("HA", -1)}
    for method, ends in (("transfer", (-1, 4)), ("pixel-transfer", (0, 1))):
        made = made_by(method, faces)
        assert sorted(made.emotions) == ["AN", "HA"] and made.weights.tolist() == [[1, 1, -1]] * 2
        for *found, parents in zip(made.emotions, greys(made), made.parents.tolist()):
            emotion, grey = possible[tuple(parents)]
            assert found == [emotion, np.clip(grey, *ends)]


def test_transfer_draws_other_people_and_other_emotions():
    made, pixels = (made_by(method, ALL) for method in ("transfer", "pixel-transfer"))
    jb, ia, ib = made.parents.T
    assert (ALL.subjects[ia] == ALL.subjects[ib]).all()
    assert (ALL.subjects[jb] != ALL.subjects[ia]).all()
    assert (ALL.emotions[jb] == ALL.emotions[ib]).all()
    assert (ALL.emotions[ia] != ALL.emotions[ib]).all()
    assert np.array_equal(made.emotions, ALL.emotions[ia])
    assert np.array_equal(made.parents, pixels.parents)
    assert not np.array_equal(made.parents, made_by("transfer", ALL, seed=(0, 1)).parents)


def test_translate_asks_the_cae_of_each_pair():
    asked = []

    def translated(source, target, images):
        asked.append((source, target))
        return images + 100

    made = made_by("translate", ALL, translate=translated)
    assert sorted(asked) == [(a, b) for a in EMOTIONS for b in EMOTIONS if a != b]
    assert len(made.images) == 18 and (ALL.emotions[made.parents[:, 0]] != made.emotions).all()
    few = made_by("translate", ALL, most=7, translate=translated)
    assert len(few.images) == 7
    for each in (made, few):
        assert greys(each) == [100 + row for row in each.parents[:, 0]]


def test_person_mean_is_the_mean_of_the_persons_faces():
    # P has no SU, R neither HA nor SU: somebody else's stand in.
    faces = people(["P AN", "P AN", "P HA", "Q AN", "Q HA", "Q SU", "R AN"])
    made = made_by("person-mean", faces)
    _, targets, rows, _ = augment.translations(faces, by_hand())
    assert np.array_equal(made.emotions, targets)
    found = dict(zip(zip(rows[:, 0].tolist(), targets.tolist()), greys(made)))
    expected = {(0, "HA"): 2, (2, "AN"): 0.5, (4, "AN"): 3, (3, "SU"): 5,
                (0, "SU"): 5, (6, "SU"): 5}
    assert found.items() >= expected.items() and found[6, "HA"] in (2, 4)
    assert made.weights.sum(1).tolist() == [1] * len(targets)
    assert (faces.emotions[made.parents] == made.emotions[:, None]).all()


@pytest.mark.parametrize("method", ["translate", "interpolate", "transfer"])
def test_controls_have_the_number_and_emotions_of_their_method(method):
    posed = [f"{person} {emotion}" for person in "PQRS" for emotion in EMOTIONS]
    faces = people([*posed, "P AN", "P AN", "P AN", "T HA"])
    faces = faces._replace(images=faces.images / 100)
    wanted = counts(made_by(method, faces, translate=lambda a, b, images: images).emotions)
    controls = [name for name, row in augment.METHODS.items() if row.control_of == method]
    assert len(controls) == 3
    for control in controls:
        made = made_by(control, faces)
        assert counts(made.emotions) == wanted and augment.METHODS[control].needs == ""
        assert made.parents.max() < len(faces.names) and np.isfinite(made.images).all()


def test_duplicate_repeats_faces_in_turn():
    faces = people(["P AN"] * 4 + ["Q HA"] * 3)
    made = augment.duplicate(faces, by_hand(), augment.same_emotion_pairs)
    assert made.parents[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 6] == greys(made)


def spot(rows, columns):
    image = np.zeros((48, 48), np.float32)
    image[rows, columns] = 1
    return image


def test_affine_by_hand():
    image = spot(30, 10)
    assert np.array_equal(augment.affine(image, False, (0, 0), 0, 1) > 0.5, image > 0.5)
    for flip, shift, turn, place in ((False, (3, -2), 0, (33, 8)), (True, (0, 0), 0, (30, 37)),
                                     (True, (3, -2), 0, (33, 35)),
                                     (False, (0, 0), np.pi / 2, (37, 30))):
        # There, and nowhere else.
        assert augment.affine(image, flip, shift, turn, 1) == pytest.approx(spot(*place), abs=1e-5)
    block = spot(slice(20, 28), slice(20, 28))
    assert augment.affine(block, False, (0, 0), 0, 2).sum() == pytest.approx(4 * 64, rel=0.05)


def test_geometric_moves_faces_a_little_and_the_same_every_time():
    image = spot(slice(30, 34), slice(10, 14))[None, :, :, None]  # off the middle: a flip shows
    faces = people(["P AN"] * 30 + ["Q HA"] * 2)._replace(images=np.tile(image, (32, 1, 1, 1)))
    made, again, other = (augment.geometric(faces, by_hand(seed=(0, k)), augment.same_emotion_pairs)
                          .images[..., 0] for k in (0, 0, 1))
    assert np.array_equal(made, again) and not np.array_equal(made, other)
    rows, columns = ((made * places).sum((1, 2)) / made.sum((1, 2))
                     for places in np.mgrid[:48, :48])
    flipped = columns > 23.5
    columns = np.where(flipped, 47 - columns, columns)
    assert 0.4 < flipped.mean() < 0.6
    # At most 2.4 pixels of shift, of the 14 to the middle 6 % by the zoom, 7 degrees by turning.
    assert 1.5 < np.abs(rows - 31.5).max() < 5.2 and np.abs(columns - 11.5).max() < 5.2


def test_the_readmes_method_of_ones_own():
    code = re.search("(?s)```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"))[1]
    scope = {**vars(augment), "METHODS": {}}
    exec(code, scope)
    row = scope["METHODS"]["brighter"]
    assert greys(row.make(ALL, by_hand(), row.plan)) == pytest.approx(1.2 * np.arange(9))
    assert [*scope["METHODS"]] == ["brighter", "duplicate-brighter", "geometric-brighter"]


def test_methods_that_faces_do_not_allow():
    for faces in (people(["P AN", "P AN", "Q HA", "Q HA"]), people([" AN", " HA"] * 3)):
        assert augment.impossible_plans(faces) == {augment.translations, augment.transfers}
    assert augment.impossible_plans(ALL) == set()
    for asked, lacking, expected in (
            ([], augment.LACKING, augment.WITHOUT_PEOPLE), ([], {}, augment.DEFAULT),
            (["all"], augment.LACKING, [name for name in augment.METHODS
                                        if "trans" not in name and name != "person-mean"])):
        assert augment.possible_methods(asked, lacking) == expected


def test_pairs_of_emotions_and_their_budget():
    faces = people(["P AN", "P AN", "P HA", "Q HA", "R AN", " AN", " HA"])
    assert {key: rows.tolist() for key, rows in emotion_pairs(faces).items()} == {
        ("AN", "HA"): [[0, 2], [1, 2]], ("HA", "AN"): [[2, 0], [2, 1]]}
    many = {"a": np.zeros((60, 2)), "b": np.arange(2000).reshape(1000, 2)}
    # Of 800 steps each has 400, where an epoch is 15 and 250; of 200 it has 100.
    for steps_of_cae, expected in ((200, [(60, 8), (1000, 1)]), (50, [(60, 6), (400, 1)])):
        plans = pair_plan(many, plan("published", faces), steps_of_cae).values()
        assert [(len(rows), epochs) for rows, epochs in plans] == expected
        assert [*plans][1][0][-1].tolist() == [1998, 1999]


# ---------------------------------------------------------------------------------------- splits
def plan(protocol, faces, seed=0, folds=3):
    return experiment.Experiment("", "", "", False, len(faces.names), 0,
                                 sorted(set(faces.emotions)), "", [], {}, protocol,
                                 seed=seed, folds=folds)


def grid(subjects, takes=4):
    return people([f"S{s:02d} {e}" for s in range(subjects) for e in EMOTIONS
                   for _ in range(takes)])


@pytest.mark.parametrize("protocol, runs", [("loso", 6), ("kfold", 3)])
def test_no_person_is_on_two_sides_and_each_tests_once(protocol, runs):
    faces, tested = grid(6), []
    for run in range(runs):
        train, test = experiment.make_split(faces, plan(protocol, faces), run)
        assert not set(faces.subjects[train]) & set(faces.subjects[test])
        assert sorted([*train, *test]) == list(range(72))
        tested += sorted(set(faces.subjects[test]))
    assert sorted(tested) == sorted(set(faces.subjects)) and tested != sorted(tested)


def test_holdout_draws_a_stratified_split_per_run_and_seed():
    faces, tests = grid(10), set()
    for run, seed in ((0, 0), (1, 0), (0, 1), (1, 1)):
        train, test = experiment.make_split(faces, plan("holdout", faces, seed), run)
        assert (len(train), len(test)) == (96, 24) and not set(train) & set(test)
        assert counts(faces.emotions[test]) == {"AN": 8, "HA": 8, "SU": 8}
        tests.add(tuple(test))
    assert len(tests) == 4


def test_published_split_is_the_papers(drawn):
    train, test = experiment.make_split(drawn, plan("published", drawn, seed=17), 3)
    again = experiment.make_split(drawn, plan("published", drawn), 0)  # run and seed do not move it
    assert np.array_equal(again[0], train) and np.array_equal(again[1], test)
    known = drawn.emotions[train]
    made = augment.same_emotion_pairs(drawn.take(train), by_hand()).emotions
    for emotions, expected in ((known, [24, 23, 25, 25, 24, 25, 24]),
                               (drawn.emotions[test], [6, 6, 7, 6, 6, 6, 6]),
                               (made, [276, 253, 300, 300, 276, 300, 276])):
        assert [*counts(emotions).values()] == expected
    assert len(augment.translations(drawn.take(train), by_hand()).emotions) == 1020
    for emotions, sizes in ((known, [127, 43]), (np.concatenate([known, made]), [1613, 538])):
        assert [*map(len, published_split(emotions))] == sizes


def test_given_split():
    faces = grid(4)._replace(parts=np.resize(["train", "train", "test"], 48))
    train, test = experiment.make_split(faces, plan("given", faces), 0)
    assert (faces.parts[train] == "train").all() and len(test) == 16
