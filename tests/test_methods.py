"""The augmentation methods on faces and latents made by hand, the splits, and the batches."""

import numpy as np
import pytest

import augment
import train_cae
import train_classifier
import utils


def people(posed, scale=1.0):
    """Faces of the (subject, emotion) pairs in `posed`; face k is all k * scale."""
    n = len(posed)
    images = np.ones((n, 48, 48, 1), np.float32) * (scale * np.arange(n, dtype=np.float32))[:, None, None, None]
    subjects, emotions = (np.array([pair[k] for pair in posed]) for k in range(2))
    return utils.Faces(images, np.array([f"face{k}" for k in range(n)]), subjects, emotions)


def by_hand(theta=(0.5, 0.5), translate=None, most=10_000, seed=(0, 0)):
    """Tools whose latents are (value, value^2) of a one-grey face, and whose decoder draws latent 0."""
    def encode(images):
        value = images[:, 0, 0, 0]
        return np.stack([value, value**2], axis=1)

    return augment.Tools(encode, lambda z: np.ones((len(z), 48, 48, 1), np.float32) * z[:, :1, None, None], translate, theta,
                         list(seed), most)


def greys(made):
    return made.images[:, 0, 0, 0].tolist()


ALL = people([(s, e) for s in "PQR" for e in ("AN", "HA", "SU")])


@pytest.mark.parametrize("n", [2, 3, 4, 7, 50])
def test_numbered_pairs_are_the_upper_triangle(n):
    pairs = augment.same_emotion_pairs(np.array(["AN"] * n), 10**6, [0])
    assert np.array_equal(pairs, np.stack(np.triu_indices(n, 1), axis=1))


def test_ten_thousand_faces_need_no_quadratic_array():
    emotions = np.resize(["AN", "DI", "FE", "HA", "NE", "SA", "SU"], 10_000)
    pairs = augment.same_emotion_pairs(emotions, 5_000, [1, 2])
    assert pairs.shape == (5_000, 2) and (pairs[:, 0] < pairs[:, 1]).all() and len(np.unique(pairs, axis=0)) == 5_000
    assert (emotions[pairs[:, 0]] == emotions[pairs[:, 1]]).all() and set(emotions[pairs[:, 0]]) == set(emotions)
    assert not np.array_equal(pairs, augment.same_emotion_pairs(emotions, 5_000, [1, 3]))


def test_interpolate_and_blend_use_the_same_pairs_and_thetas():
    for theta in ((0.25, 0.25), (0.25, 0.75), (-0.5, 1.5)):
        made, control = augment.interpolate(ALL, by_hand(theta)), augment.blend(ALL, by_hand(theta))
        assert np.array_equal(made.parents, control.parents) and np.array_equal(made.weights, control.weights)
        low, high = made.weights[:, 0].min(), made.weights[:, 0].max()
        assert theta[0] <= low <= high <= theta[1] and (low < high) == (theta[0] < theta[1])
        expected = (made.weights * made.parents).sum(1)  # face k is grey k
        assert greys(made) == pytest.approx(expected.tolist(), abs=1e-5) == greys(control)
    assert augment.interpolate(ALL, by_hand((0.25, 0.25))).parents.tolist()[:3] == [[0, 3], [0, 6], [3, 6]]
    assert greys(augment.interpolate(ALL, by_hand((0.25, 0.25))))[:3] == [2.25, 4.5, 5.25]


def test_transfer_is_the_literal_sum_of_latents():
    # P posed AN (0) and HA (1); Q posed HA (2) only: the one transfer possible is z(Q, HA) + z(P, AN) - z(P, HA) = 2 + 0 - 1,
    # and there are two faces of HA, so one pair, but none of AN: nobody is asked for AN twice. Q's HA cannot give anything.
    faces = people([("P", "AN"), ("P", "HA"), ("Q", "HA"), ("Q", "AN")])
    made = augment.transfer(faces, by_hand())
    possible = {"AN": {(2, 0, 1): 1, (1, 3, 2): 2}, "HA": {(3, 1, 0): 4, (0, 2, 3): -1}}
    assert sorted(made.emotions.tolist()) == ["AN", "HA"]  # as many of each as interpolate makes
    for emotion, parents, grey in zip(made.emotions.tolist(), map(tuple, made.parents.tolist()), greys(made)):
        assert grey == possible[emotion][parents]
    assert made.weights.tolist() == [[1, 1, -1]] * 2


def test_transfer_draws_other_people_and_other_emotions():
    made = augment.transfer(ALL, by_hand())
    jb, ia, ib = made.parents.T
    assert (ALL.subjects[ia] == ALL.subjects[ib]).all() and (ALL.subjects[jb] != ALL.subjects[ia]).all()
    assert (ALL.emotions[jb] == ALL.emotions[ib]).all() and (ALL.emotions[ia] != ALL.emotions[ib]).all()
    assert np.array_equal(made.emotions, ALL.emotions[ia])
    assert np.array_equal(made.emotions, augment.interpolate(ALL, by_hand()).emotions)
    assert np.array_equal(made.parents, augment.transfer(ALL, by_hand()).parents)
    assert not np.array_equal(made.parents, augment.transfer(ALL, by_hand(seed=(0, 1))).parents)


def test_transfer_where_nobody_shares_emotions():
    with pytest.raises(utils.Problem, match="no two people posed two emotions in common"):
        augment.transfer(people([("P", "AN"), ("P", "AN"), ("Q", "HA"), ("Q", "HA")]), by_hand())


def test_translate_covers_all_ordered_pairs_and_skips_those_without_cae():
    asked = []

    def translated(source, target, images):
        asked.append((source, target))
        return None if (source, target) == ("HA", "SU") else images + 100

    made = augment.translate(ALL, by_hand(translate=translated))
    assert sorted(asked) == sorted((a, b) for a in ("AN", "HA", "SU") for b in ("AN", "HA", "SU") if a != b)
    assert len(made.images) == 5 * 3 and (ALL.emotions[made.parents[:, 0]] != made.emotions).all()
    assert greys(made) == [100 + k for k in made.parents[:, 0]]
    assert ("HA", "SU") not in set(zip(ALL.emotions[made.parents[:, 0]].tolist(), made.emotions.tolist()))


def test_pairs_for_translation_are_of_one_person():
    faces = people([("P", "AN"), ("P", "AN"), ("P", "HA"), ("Q", "HA"), ("R", "AN")])
    assert train_cae.same_person_pairs(faces, "AN", "HA") == [(0, 2), (1, 2)]
    assert train_cae.same_person_pairs(faces, "HA", "SU") == []


def test_controls_make_as_many_faces_of_each_emotion():
    faces = people([("P", "AN")] * 4 + [("Q", "HA")] * 3, scale=0.1)
    wanted = augment.interpolate(faces, by_hand())
    for method in (augment.duplicate, augment.blend, augment.geometric):
        assert np.array_equal(method(faces, by_hand()).emotions, wanted.emotions)
    twice = augment.duplicate(faces, by_hand())
    assert twice.parents[:, 0].tolist() == [0, 1, 2, 3, 0, 1, 4, 5, 6]
    assert np.array_equal(twice.images, faces.images[twice.parents[:, 0]])


def test_geometric_moves_faces_a_little_and_the_same_every_time():
    faces = people([("P", "AN")] * 30 + [("Q", "HA")] * 2)
    spot = np.zeros((48, 48), np.float32)
    spot[30:34, 10:14] = 1  # off the middle, so that a flip shows
    faces = faces._replace(images=np.tile(spot[None, :, :, None], (32, 1, 1, 1)))
    made = augment.geometric(faces, by_hand())
    assert np.array_equal(made.images, augment.geometric(faces, by_hand()).images)
    assert not np.array_equal(made.images, augment.geometric(faces, by_hand(seed=(0, 1))).images)
    weight = made.images[..., 0]
    rows, columns = ((weight * grid).sum((1, 2)) / weight.sum((1, 2)) for grid in np.mgrid[:48, :48])
    flipped = columns > 23.5
    columns = np.where(flipped, 47 - columns, columns)
    assert 0.3 < flipped.mean() < 0.7  # horizontally, half of them
    # at most 2.4 pixels of shift, 6 % of the 14 pixels to the middle by the zoom, and 7 degrees of them by the rotation
    assert np.abs(rows - 31.5).max() < 2.4 + 0.9 + 1.9 and np.abs(columns - 11.5).max() < 2.4 + 0.9 + 1.9
    assert np.abs(rows - 31.5).max() > 1.5


def test_joined_methods_hand_on_faces_parents_and_weights():
    faces = people([("P", "AN"), ("Q", "AN"), ("R", "AN"), ("P", "HA"), ("Q", "HA")])
    made = augment.synthesize("interpolate+duplicate", faces, by_hand((0.25, 0.25)))
    plain = augment.interpolate(faces, by_hand((0.25, 0.25)))
    assert greys(made) == greys(plain) and np.array_equal(made.parents, plain.parents) and np.array_equal(made.weights, plain.weights)
    twice = augment.synthesize("interpolate+blend", faces, by_hand((0.25, 0.25)))
    # the three faces of AN are 0.75, 1.5, 1.75; 0.25 of the first and 0.75 of the second of them is 1.3125
    assert greys(twice)[0] == pytest.approx(0.25 * 0.75 + 0.75 * 1.5)
    assert twice.parents[0].tolist() == [0, 1, 0, 2] and twice.weights[0].tolist() == [0.0625, 0.1875, 0.1875, 0.5625]


# ---------------------------------------------------------------------------------------------------- splits, batches
def grid(subjects, takes=4):
    return people([(f"S{s:02d}", emotion) for s in range(subjects) for emotion in ("AN", "HA", "SU") for _ in range(takes)])


def test_loso_never_has_a_subject_on_two_sides():
    faces = grid(6)
    tested = []
    for run in range(6):
        split = utils.make_split(faces, "loso", run, 0, 6)
        sides = [set(faces.subjects[rows]) for rows in split]
        assert len(sides[0]) == 4 and len(sides[1]) == len(sides[2]) == 1
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
        assert sum(map(len, split)) == len(faces.names)
        tested += sides[2]
    assert tested == sorted(set(faces.subjects))


def test_loso_with_fewer_runs_leaves_out_different_subjects():
    faces = grid(20)
    tested = [faces.subjects[utils.make_split(faces, "loso", run, 7, 5).test][0] for run in range(5)]
    assert len(set(tested)) == 5 and tested == sorted(tested)


def test_holdout_draws_a_split_per_run_and_keeps_three_parts_apart():
    faces = grid(10)
    tests = []
    for run in range(4):
        split = utils.make_split(faces, "holdout", run, 3, 4)
        assert [len(rows) for rows in split] == [72, 24, 24]
        assert sorted(np.concatenate(split)) == list(range(120))
        assert all(np.unique(faces.emotions[rows], return_counts=True)[1].tolist() == [len(rows) / 3] * 3 for rows in split)
        tests.append(tuple(split.test))
    assert len(set(tests)) == 4
    # run i of seed S is run 0 of seed S + i
    assert np.array_equal(utils.make_split(faces, "holdout", 2, 3, 4).test, utils.make_split(faces, "holdout", 0, 5, 4).test)


@pytest.mark.parametrize("share, of_ten", [(0.5, 20), (0.3, 12), (1.0, 40), (0.25, 10)])
def test_batches_keep_the_share_of_real_faces(share, of_ten):
    rows = train_classifier.mixed_rows(np.arange(6), np.arange(6, 40), 10, share, 0)
    real = (rows < 6).sum(1)
    assert rows.shape == (10, 4) and real.sum() == of_ten and real.max() - real.min() <= 1
    first = rows[rows < 6][:6]
    assert sorted(first) == list(range(6))  # every real face once before any comes again
    alone = train_classifier.mixed_rows(np.arange(6), np.arange(0), 10, share, 0)
    assert (alone < 6).all() and alone.shape == (10, 4)  # `none` has real faces only, and as many steps


def test_last_batch_of_an_epoch_is_padded_and_not_counted():
    rows = utils.epoch_rows([5, 6, 7, 8, 9])
    assert rows.tolist() == [[5, 6, 7, 8], [9, -1, -1, -1]]
