"""The augmentation methods on faces and latents made by hand, and the splits."""

import numpy as np
import pytest

import augment
from data import experiment
from data import faces as data


def people(posed):
    """Faces of (subject, emotion) pairs; face k is all k."""
    subjects, emotions = (np.array(texts) for texts in zip(*posed))
    images = np.ones((len(posed), 48, 48, 1), np.float32) * np.arange(len(posed))[:, None, None, None]
    names = np.array([f"face{k}" for k in range(len(posed))])
    return data.Faces(names, subjects, emotions, np.full(len(posed), ""), images.astype(np.float32),
                      np.arange(len(posed)))


def by_hand(theta=0.5, most=10_000, seed=(0, 0), translate=None):
    """Tools whose latents are (value, value^2) of a one-grey face, and whose decoder draws latent 0."""
    def encode(images):
        return np.stack([images[:, 0, 0, 0], images[:, 0, 0, 0] ** 2], axis=1)

    def decode(latents):
        return np.ones((len(latents), 48, 48, 1), np.float32) * latents[:, :1, None, None]

    return augment.Tools(encode, decode, translate, theta, most, list(seed))


def greys(made):
    return made.images[:, 0, 0, 0].tolist()


def counts(emotions):
    return dict(zip(*(part.tolist() for part in np.unique(emotions, return_counts=True))))


ALL = people([(s, e) for s in "PQR" for e in ("AN", "HA", "SU")])


@pytest.mark.parametrize("n", [2, 3, 4, 7, 50])
def test_numbered_pairs_are_the_upper_triangle(n):
    _, pairs = augment.same_emotion_pairs(people([("P", "AN")] * n), by_hand(most=10**6))
    assert np.array_equal(pairs, np.stack(np.triu_indices(n, 1), axis=1))


def test_drawn_pairs_keep_the_shares_of_the_real_faces():
    """Disgust of FER2013 would have 0.1 % by the square of its faces, and has 1.5 % of them."""
    faces = people([("", "common")] * 985 + [("", "rare")] * 15)
    emotions, pairs = augment.same_emotion_pairs(faces, by_hand(most=5000))
    assert counts(emotions) == {"common": 4925, "rare": 75}
    assert len(np.unique(pairs, axis=0)) == 5000 and (pairs[:, 0] < pairs[:, 1]).all()
    assert (faces.emotions[pairs[:, 0]] == faces.emotions[pairs[:, 1]]).all()
    assert not np.array_equal(pairs, augment.same_emotion_pairs(faces, by_hand(most=5000, seed=(0, 1)))[1])


@pytest.mark.parametrize("theta, first", [(0.5, [1.5, 3.0, 4.5]), (0.25, [2.25, 4.5, 5.25]), (1.0, [0, 0, 3])])
def test_interpolate_and_blend_weigh_the_same_pairs(theta, first):
    made, control = augment.interpolate(ALL, by_hand(theta)), augment.blend(ALL, by_hand(theta))
    assert made.parents.tolist()[:3] == [[0, 3], [0, 6], [3, 6]] and np.array_equal(made.parents, control.parents)
    assert greys(made)[:3] == greys(control)[:3] == first
    assert made.weights[0].tolist() == [theta, 1 - theta]


def test_transfer_is_the_literal_sum_of_latents():
    # P posed AN (0) and HA (1), Q posed HA (2) and AN (3). The only transfer that makes HA of P is
    # z(Q, AN) + z(P, HA) - z(P, AN) = 3 + 1 - 0, and so on; of each emotion as many as interpolate makes.
    faces = people([("P", "AN"), ("P", "HA"), ("Q", "HA"), ("Q", "AN")])
    possible = {(2, 0, 1): ("AN", 1), (1, 3, 2): ("AN", 2), (3, 1, 0): ("HA", 4), (0, 2, 3): ("HA", -1)}
    for method, low in ((augment.transfer, -1), (augment.pixel_transfer, 0)):
        made = method(faces, by_hand())
        assert sorted(made.emotions) == ["AN", "HA"] and made.weights.tolist() == [[1, 1, -1]] * 2
        for emotion, parents, grey in zip(made.emotions, made.parents.tolist(), greys(made)):
            assert possible[tuple(parents)][0] == emotion
            assert grey == (possible[tuple(parents)][1] if low else np.clip(possible[tuple(parents)][1], 0, 1))


def test_transfer_draws_other_people_and_other_emotions():
    made = augment.transfer(ALL, by_hand())
    jb, ia, ib = made.parents.T
    assert (ALL.subjects[ia] == ALL.subjects[ib]).all() and (ALL.subjects[jb] != ALL.subjects[ia]).all()
    assert (ALL.emotions[jb] == ALL.emotions[ib]).all() and (ALL.emotions[ia] != ALL.emotions[ib]).all()
    assert np.array_equal(made.emotions, ALL.emotions[ia])
    assert np.array_equal(made.parents, augment.pixel_transfer(ALL, by_hand()).parents)
    assert not np.array_equal(made.parents, augment.transfer(ALL, by_hand(seed=(0, 1))).parents)


def test_translate_asks_the_cae_of_each_pair():
    asked = []

    def translated(source, target, images):
        asked.append((source, target))
        return images + 100

    made = augment.translate(ALL, by_hand(translate=translated))
    assert sorted(asked) == sorted((a, b) for a in ("AN", "HA", "SU") for b in ("AN", "HA", "SU") if a != b)
    assert len(made.images) == 18 and (ALL.emotions[made.parents[:, 0]] != made.emotions).all()
    assert greys(made) == [100 + row for row in made.parents[:, 0]]
    few = augment.translate(ALL, by_hand(most=7, translate=translated))
    assert len(few.images) == 7 and greys(few) == [100 + row for row in few.parents[:, 0]]


def test_person_mean_is_the_mean_of_the_persons_faces():
    # P: AN 0 and 1, HA 2. Q: AN 3, HA 4, SU 5. R: AN 6 only; P has no SU, R neither HA nor SU.
    faces = people([("P", "AN"), ("P", "AN"), ("P", "HA"), ("Q", "AN"), ("Q", "HA"), ("Q", "SU"), ("R", "AN")])
    made = augment.person_mean(faces, by_hand())
    targets, rows = augment.translations(faces, by_hand())
    assert np.array_equal(made.emotions, targets)
    found = dict(zip(zip(rows[:, 0].tolist(), targets.tolist()), greys(made)))
    assert found[0, "HA"] == 2 and found[2, "AN"] == 0.5 and found[4, "AN"] == 3 and found[3, "SU"] == 5
    assert found[0, "SU"] == found[6, "SU"] == 5 and found[6, "HA"] in (2, 4)  # somebody else's
    assert made.weights.sum(1).tolist() == [1] * len(targets)
    assert (faces.emotions[made.parents] == made.emotions[:, None]).all()


@pytest.mark.parametrize("method", ["translate", "interpolate", "transfer"])
def test_controls_have_the_number_and_emotions_of_their_method(method):
    faces = people([(s, e) for s in "PQRS" for e in ("AN", "HA", "SU")] + [("P", "AN")] * 3 + [("T", "HA")])
    faces = faces._replace(images=faces.images / 100)
    wanted = counts(augment.METHODS[method].make(faces, by_hand(translate=lambda a, b, x: x)).emotions)
    controls = [name for name, row in augment.METHODS.items() if row.control_of == method]
    assert len(controls) == 3
    for name in controls:
        made = augment.METHODS[name].make(faces, by_hand())
        assert counts(made.emotions) == wanted and augment.METHODS[name].needs == ""
        assert made.parents.max() < len(faces.names) and np.isfinite(made.images).all()


def test_duplicate_repeats_faces_in_turn():
    faces = people([("P", "AN")] * 4 + [("Q", "HA")] * 3)
    made = augment.duplicate(faces, by_hand(), augment.same_emotion_pairs)
    assert made.parents[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 6] == greys(made)


def test_affine_by_hand():
    image = np.zeros((48, 48), np.float32)
    image[30, 10] = 1
    assert np.array_equal(augment.affine(image, False, (0, 0), 0, 1) > 0.5, image > 0.5)
    for how, (row, column) in (((False, (3, -2), 0, 1), (33, 8)), ((True, (0, 0), 0, 1), (30, 37)),
                               ((True, (3, -2), 0, 1), (33, 35)), ((False, (0, 0), np.pi / 2, 1), (37, 30))):
        moved = augment.affine(image, *how)
        assert moved[row, column] == pytest.approx(1, abs=1e-5), how
        assert moved.sum() == pytest.approx(1, abs=1e-4)  # and nowhere else
    block = np.zeros((48, 48), np.float32)
    block[20:28, 20:28] = 1
    assert augment.affine(block, False, (0, 0), 0, 2).sum() == pytest.approx(4 * 64, rel=0.05)


def test_geometric_moves_faces_a_little_and_the_same_every_time():
    faces = people([("P", "AN")] * 30 + [("Q", "HA")] * 2)
    spot = np.zeros((48, 48), np.float32)
    spot[30:34, 10:14] = 1  # off the middle, so that a flip shows
    faces = faces._replace(images=np.tile(spot[None, :, :, None], (32, 1, 1, 1)))
    made = augment.geometric(faces, by_hand(), augment.same_emotion_pairs)
    again, other = (augment.geometric(faces, by_hand(seed=(0, k)), augment.same_emotion_pairs) for k in (0, 1))
    assert np.array_equal(made.images, again.images) and not np.array_equal(made.images, other.images)
    weight = made.images[..., 0]
    rows, columns = ((weight * grid).sum((1, 2)) / weight.sum((1, 2)) for grid in np.mgrid[:48, :48])
    flipped = columns > 23.5
    columns = np.where(flipped, 47 - columns, columns)
    assert 0.4 < flipped.mean() < 0.6
    # At most 2.4 pixels of shift, 6 % of the 14 to the middle by the zoom, 7 degrees of them by turning.
    assert 1.5 < np.abs(rows - 31.5).max() < 5.2 and np.abs(columns - 11.5).max() < 5.2


def test_methods_that_faces_do_not_allow():
    alone = augment.why_not(people([("P", "AN"), ("P", "AN"), ("Q", "HA"), ("Q", "HA")]))
    assert set(alone) == {name for name in augment.METHODS if "trans" in name or name == "person-mean"}
    assert augment.why_not(people([("", "AN"), ("", "HA")] * 3)) == alone
    assert augment.why_not(ALL) == {}
    assert augment.possible_methods(None, [{}, alone]) == augment.WITHOUT_PEOPLE
    assert augment.possible_methods(["all"], [{}, alone])[:2] == ["interpolate", "blend"]
    assert augment.possible_methods(None, [{}, {}]) == augment.DEFAULT


# ---------------------------------------------------------------------------------------- splits
def plan(protocol, faces, seed=0, folds=3):
    return experiment.Experiment("", "", "", False, len(faces.names), 0, sorted(set(faces.emotions)), "", [],
                                 {}, protocol, seed=seed, folds=folds)


def grid(subjects, takes=4):
    return people([(f"S{s:02d}", e) for s in range(subjects) for e in ("AN", "HA", "SU") for _ in range(takes)])


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


def test_published_split_is_the_papers(stand_in):
    faces = data.load_faces(stand_in).faces
    train, test = experiment.make_split(faces, plan("published", faces, seed=17), 3)
    per_emotion = [[*counts(faces.emotions[rows]).values()] for rows in (train, test)]
    assert per_emotion == [[24, 23, 25, 25, 24, 25, 24], [6, 6, 7, 6, 6, 6, 6]]
    again = experiment.make_split(faces, plan("published", faces), 0)  # neither run nor seed moves it
    assert np.array_equal(again[0], train) and np.array_equal(again[1], test)
    emotions, _ = augment.same_emotion_pairs(faces.take(train), by_hand())
    assert [*counts(emotions).values()] == [276, 253, 300, 300, 276, 300, 276]
    assert len(augment.translations(faces.take(train), by_hand())[0]) == 1020
    from train_classifier import published_split

    for shown, sizes in ((faces.emotions[train], (127, 43)),
                         (np.concatenate([faces.emotions[train], emotions]), (1613, 538))):
        assert tuple(map(len, published_split(shown))) == sizes


def test_given_split():
    faces = grid(4)._replace(parts=np.resize(["train", "train", "test"], 48))
    train, test = experiment.make_split(faces, plan("given", faces), 0)
    assert (faces.parts[train] == "train").all() and len(test) == 16
