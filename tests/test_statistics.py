"""The statistics against values worked out by hand, and in a toy world whose truth is known."""

import json

import evaluate
from data import baselines, statistics
from data.faces import Faces

import measured
import numpy as np
import pytest
from conftest import ROOT
from scipy import special, stats

CONTROLS = {"translate": ("person-mean", "linear"), "interpolate": ("blend",),
            "transfer": ("pixel-transfer",)}
NOBODY = [np.array([""] * 4)]


# ------------------------------------------------------------------------------------- by hand
def one_face_a_subject(values):
    """A gain of arms that are right or wrong on one face of each subject, over loso."""
    first = [np.array([max(value, 0) / 100]) for value in values]
    second = [np.array([max(-value, 0) / 100]) for value in values]
    return first, second, [np.array([f"S{number}"]) for number in range(len(values))]


def test_t_interval_by_hand():
    # Of 1, 2, 3, 4: variance 5/3, t(0.975, 3) = 3.182446, half width 3.182446 sqrt(5/12) = 2.05426.
    # Ten test faces to forty training faces: variance 5/3 (1/4 + 1/4), half 2.905162.
    first, second, subjects = one_face_a_subject([1, 2, 3, 4])
    for protocol, half in {"loso": 2.054260, "kfold": 2.054260, "holdout": 2.905162}.items():
        found = statistics.gain(first, second, subjects, protocol, 10 / 40)
        assert found["mean"] == 2.5 and found["won"] == 100 and found["degrees"] == 3
        assert found["ci95"] == pytest.approx([2.5 - half, 2.5 + half], abs=1e-5)
    # t(0.8, 3) = 0.978472: (3.182446 + 0.978472) sqrt(5/12) = 2.685854.
    found = statistics.gain(first, second, subjects, "loso")
    assert found["detectable"] == pytest.approx(2.685854, abs=1e-5)
    first, second, subjects = one_face_a_subject([-100, 100])
    found = statistics.gain(first, second, subjects, "loso")
    assert found["ci95"] == [-100, 100] and found["won"] == 50  # and not +-1271
    assert statistics.gain(*one_face_a_subject([3]), "loso")["ci95"] is None


def test_two_way_variance_by_hand():
    # Two runs, four faces of nobody known. Means of runs 2, 4; of faces 1, 2, 4, 5; of all 3.
    # Runs: variance 2 / 2 = 1. Faces: variance (4 + 1 + 1 + 4) / 3 = 10/3, / 4 = 5/6.
    # Rest: all 0, so nothing is subtracted. Degrees (11/6)^2 / (1^2 / 1 + (5/6)^2 / 3) = 2.72986.
    values = np.array([[0, 1, 3, 4], [2, 3, 5, 6]], float)
    variance, degrees = statistics.two_way_variance(values, NOBODY[0])
    assert variance == pytest.approx(11 / 6)
    assert degrees == pytest.approx((11 / 6)**2 / (1 + 25 / 108))
    # The four faces are of two subjects. Sums of the subjects' deviations: -3, 3.
    # 2/1 (9 + 9) / 16 = 9/4.
    variance, _ = statistics.two_way_variance(values, np.array(["A", "A", "B", "B"]))
    assert variance == pytest.approx(1 + 9 / 4)
    # Runs that differ face by face but not in the mean: [[1, -1], [-1, 1]] is interaction alone.
    # Runs 0, faces 0; never less than either of them: 0.
    assert statistics.two_way_variance(np.array([[1., -1], [-1, 1]]), np.array(["", ""]))[0] == 0
    # One face more on one run: [[2, 0], [0, 0]]. Mean 1/2; runs 1, 0: variance 1/2 / 2 = 1/4;
    # faces the same 1/4; rest +-1/2: 1/4 4 2/1 / 1 / 2 / 4 = 1/4.  1/4 + 1/4 - 1/4.
    assert statistics.two_way_variance(np.array([[2., 0], [0, 0]]), np.array(["", ""]))[0] == \
        pytest.approx(1 / 4)


def test_kfold_takes_the_wider_interval():
    # Subjects 0, 2 in one fold and 10, 12 in the other: folds differ more than subjects.
    first = [np.array([0, 0.02]), np.array([0.10, 0.12])]
    subjects = [np.array(["A", "B"]), np.array(["C", "D"])]
    found = statistics.gain(first, [np.zeros(2)] * 2, subjects, "kfold")
    assert found["degrees"] == 1 and found["standard_error"] == pytest.approx(5)
    assert found["units"] == 2  # folds, of four subjects
    first = [np.array([0, 0.12]), np.array([0.10, 0.02])]  # and here subjects do
    found = statistics.gain(first, [np.zeros(2)] * 2, subjects, "kfold")
    assert found["degrees"] == 3
    assert found["standard_error"] == pytest.approx(stats.sem([0, 12, 10, 2]))


def test_accuracies_and_units_by_hand():
    hits = [np.array([1, 0.5, 0.5]), np.array([0.0])]
    subjects = [np.array(["A", "B", "A"]), np.array(["C"])]
    assert statistics.accuracy(hits, subjects, "holdout")["per_unit"] == pytest.approx([200 / 3, 0])
    found = statistics.accuracy(hits, subjects, "loso")
    assert found["per_unit"] == [75, 50, 0] and found["mean"] == pytest.approx(125 / 3)
    low, high = found["ci95"]
    assert 0 < low < 125 / 3 < high < 100
    # Symmetric in the logarithm of the odds.
    middle = (special.logit(low / 100) + special.logit(high / 100)) / 2
    assert middle == pytest.approx(special.logit(125 / 300))
    sure = statistics.accuracy([np.ones(4)] * 5, NOBODY * 5, "published")
    assert sure["ci95"] == [100, 100] and sure["units"] == 4
    assert statistics.accuracy([np.ones(4)], NOBODY, "published")["ci95"] is None
    assert len(set(statistics.clusters(["A", "", "", "A"]))) == 3


# ------------------------------------------------------------------------------------- verdicts
def made_up(mean, error=1.0, units=10):
    return {"mean": mean, "standard_error": error, "degrees": 9, "units": units,
            "ci95": [mean - 2.262 * error, mean + 2.262 * error], "won": 50, "detectable": 3.1}


@pytest.mark.parametrize("said, gains", [
    ("Yes", [made_up(3)]), ("Not shown", [made_up(1)]), ("No", [made_up(-3)]),
    ("Not shown", [made_up(3), made_up(1)]), ("No", [made_up(5), made_up(-3)]),
    ("Not shown", [made_up(-2.4), made_up(0)]),  # below 0 alone, not as the worst of two
    ("Too few runs to tell", [made_up(3, units=4)]), ("Yes", [made_up(3, error=0.0)]),
    ("Not shown", [made_up(0, error=0.0)])])
def test_verdicts(said, gains):
    assert statistics.verdicts({"translate": gains}) == {"translate": said}


def test_holm_and_the_questions_before():
    assert statistics.holm([0.01, 0.04, 0.02]) == pytest.approx([0.03, 0.04, 0.04])
    asked = {"A": [made_up(2.5)], "B": [made_up(1)]}
    assert statistics.verdicts({"A": asked["A"]})["A"] == "Yes"
    assert statistics.verdicts(asked)["A"] == "Not shown"  # not small enough for two
    assert statistics.verdicts({"A": [made_up(9)]}, {"A": [made_up(0)]})["A"] == "Not shown"


def test_answers():
    gains = {"translate": {"none": made_up(9), "longer-translate": made_up(5),
                           "person-mean": made_up(-4), "geometric": made_up(8)},
             "geometric": {"none": made_up(0.5)}, "person-mean": {"none": made_up(6)},
             "longer-translate": {"none": made_up(2)},
             "translate+geometric": {"none": made_up(9), "geometric": made_up(3)},
             "interpolate": {"none": made_up(7), "geometric": made_up(0)},
             "pixel-transfer": {"none": made_up(8)}}
    lines = statistics.answers(gains, CONTROLS, "published")
    for said in (
            "Does `translate` beat no augmentation?** Yes: +9.0 (+6.7 to +11.3) points over none.",
            "`geometric` beat no augmentation?** Not shown: +0.5 (-1.8 to +2.8) points over none; "
            "a true gain of 3.8 points would be seen in 80 %",  # t(1 - 0.025 / 3) + t(0.8)
            "**Does `translate` do more than longer training?** Yes",
            "**Does `translate` need its autoencoder?** No: -4.0 (-6.3 to -1.7) points over pers",
            "**Is `translate` better than standard augmentation?** Not shown: +8.0 (+5.7 to +10.3) "
            "points over geometric; this alone is above 0, but a question before it is not",
            "Does `interpolate` do more than longer training?** Not asked: no arm longer-interpola",
            "(exploratory, 2 looked at): translate+geometric +9.0 (+6.7 to +11.3), pixel-"):
        assert any(said in line for line in lines), said
    lines = statistics.answers(gains, CONTROLS, "loso")
    assert not any("longer training" in line for line in lines)
    # Only where all arms take as many steps: nothing trains as long as translate+geometric.
    assert "**Does `translate` add to standard augmentation?** Yes: +3.0 (+0.7 to +5.3) points " \
        "over geometric, +9.0 (+6.7 to +11.3) points over none." in lines
    for mean in (0, 5):  # five splits on which the arm gains the same
        same, = statistics.answers({"mine": {"none": made_up(mean, error=0.0, units=5)}},
                                   {"mine": ()}, "holdout")
        assert "Not shown" in same and same.endswith("chance cannot be measured.")
    wide, = statistics.answers({"mine": {"none": made_up(9, error=40.0)}}, {"mine": ()}, "holdout")
    assert wide.endswith("not even a true gain of 100 points would be seen in 80 % of such "
                         "experiments.")
    own = statistics.answers({"mine": {"none": made_up(3)}}, {"mine": ()}, "loso")
    assert len(own) == 1 and "`mine` beat no augmentation?** Yes: +3.0" in own[0]
    pairs = statistics.comparisons(["none", *gains], CONTROLS, "published")
    assert ("translate", "person-mean") in pairs and ("geometric", "none") in pairs
    assert len(set(pairs)) == len(pairs)


# ------------------------------------------------------------------------------------ toy worlds
def toy_world(protocol, rng, accuracies, runs, faces, people, classifiers=3):
    """`hits` of arms, {arm: accuracy}, that are the truth exactly, and `subjects`.

    A face is right if a sum of normal deviates is positive: of the subject, the face, the
    training (a run's), the classifier. Subjects and faces matter to all arms and to each arm.
    Under holdout it matters too which faces an arm is trained on: runs have most of them in common.
    """
    def normal(scale, *shape):
        return scale * rng.standard_normal(shape)

    number = np.arange(faces) % people
    if protocol == "holdout":  # a fresh fifth of the faces in each run
        tested = [rng.permutation(faces)[:faces // 5] for _ in range(runs)]
    elif protocol in statistics.ONE_SPLIT:
        tested = [np.arange(faces)] * runs
    else:
        tested = [np.flatnonzero(number % runs == run) for run in range(runs)]
    common = normal(0.5, people)[number] + normal(1, faces)
    shared = 0.15 if protocol == "holdout" else 0
    total, hits = np.sqrt(0.25 + 1 + 0.09 + 0.16 + 0.0625 + 0.5 + shared**2), {}
    for arm, share in accuracies.items():
        own = common + normal(0.3, people)[number] + normal(0.4, faces)
        hits[arm], taught = [], normal(shared, faces)
        for rows in tested:
            training = normal(0.25, 1)
            if shared:
                training += np.delete(taught, rows).sum() / np.sqrt(faces - len(rows))
            sums = own[rows] + training + normal(np.sqrt(0.5), classifiers, len(rows))
            hits[arm].append((sums + special.ndtri(share) * total > 0).mean(0))
    names = np.array([f"S{person}" for person in number])
    return hits, [names[rows] for rows in tested]


WORLDS = {"published": {"runs": 5, "faces": 43, "people": 10},
          "given": {"runs": 5, "faces": 100, "people": 100},
          "holdout": {"runs": 10, "faces": 213, "people": 213},
          "loso": {"runs": 10, "faces": 210, "people": 10},
          "kfold": {"runs": 5, "faces": 120, "people": 40}}


@pytest.mark.parametrize("protocol", WORLDS)
def test_intervals_hold_the_truth(protocol):
    rng, worlds, held, held_accuracy = np.random.default_rng(1), 600, 0, 0
    for _ in range(worlds):
        hits, subjects = toy_world(protocol, rng, {"new": 0.75, "old": 0.65}, **WORLDS[protocol])
        low, high = statistics.gain(hits["new"], hits["old"], subjects, protocol, 0.25)["ci95"]
        held += low <= 10 <= high
        low, high = statistics.accuracy(hits["new"], subjects, protocol, 0.25)["ci95"]
        held_accuracy += low <= 75 <= high
    print(protocol, held / worlds, held_accuracy / worlds)
    assert 0.93 <= held / worlds <= 0.97
    assert 0.93 <= held_accuracy / worlds <= 0.97


@pytest.mark.parametrize("protocol, good", [("loso", 0.6), ("loso", 0.9), ("published", 0.6)])
def test_false_answers_are_rare(protocol, good):
    """Arms that are all equal, or that all beat none and no other: how often a report says "Yes"
    where it is not so, to any question, and "No" to the question of controls."""
    rng, worlds, yes, no, asked = np.random.default_rng(2), 150, 0, 0, 0
    arms = ["geometric", *CONTROLS, "longer-translate"]
    arms += [arm for several in CONTROLS.values() for arm in several] + ["translate+geometric"]
    pairs = statistics.comparisons(["none", *arms], CONTROLS, protocol)
    for _ in range(worlds):
        hits, subjects = toy_world(protocol, rng, {"none": 0.6, **dict.fromkeys(arms, good)},
                                   **WORLDS[protocol])
        gains = {}
        for arm, other in pairs:
            gains.setdefault(arm, {})[other] = statistics.gain(hits[arm], hits[other], subjects,
                                                             protocol)
        lines = statistics.answers(gains, CONTROLS, protocol)
        false = [line for line in lines if good == 0.6 or "no augmentation" not in line]
        yes += any("?** Yes" in line for line in false)
        about = [line for line in lines if "autoencoder" in line]
        no += sum("?** No:" in line for line in about)
        asked += len(about)
    print(protocol, good, yes / worlds, no / asked)
    assert yes / worlds < 0.05 and no / asked < 0.05


# ------------------------------------------------------------------- baselines, nearness, novelty
def striped(rng, count):
    """Faces whose emotion is the direction of their stripes: uint8 (count, 48, 48), str."""
    emotions = np.array(["AN", "DI"])[np.arange(count) % 2]
    waves = np.sin(np.arange(48)[:, None] * 0.9 + rng.uniform(0, 1, count)[:, None, None])
    waves = np.broadcast_to(waves, (count, 48, 48))
    images = np.where((emotions == "AN")[:, None, None], waves, waves.transpose(0, 2, 1))
    return np.uint8(100 + 60 * images + rng.uniform(0, 30, images.shape)), emotions


def test_baselines_tell_stripes_apart_and_take_few_faces():
    rng = np.random.default_rng(0)
    train, emotions = striped(rng, 60)
    test, true = striped(rng, 20)
    for name, predict in baselines.BASELINES.items():
        assert np.mean(predict(train, emotions, test) == true) >= 0.9, name
        for few in (2, 3, 5):
            assert predict(train[:few], emotions[:few], test[:1]).shape == (1,), name


def test_rare_emotions_are_in_the_part_that_is_fitted():
    emotions = np.array(["AN"] * 6000)
    emotions[np.random.default_rng(0).permutation(6000)[-1]] = "DI"  # the last to be drawn
    rows, kept = baselines.subsample(np.arange(6000), emotions)
    assert len(set(rows.tolist())) == 5000 and kept.tolist().count("DI") == 1
    assert baselines.subsample(np.arange(9), emotions[:9])[1].tolist() == ["AN"] * 9


def test_hog_by_hand():
    # Brightness rises to the right by 1/47 a pixel: all votes are of 0 degrees, which lies between
    # the middles of the first and the last of nine orientations.
    ramp = np.broadcast_to(np.arange(48) / 47, (1, 48, 48))
    features = baselines.hog(ramp).reshape(25, 4, 9)
    assert np.allclose(features[..., 1:8], 0) and np.allclose(features[..., 0], features[..., 8])
    middle = features[12]  # eight equal values: 1 / sqrt(8), cut at 0.2, to length 1 again
    assert middle[:, 0] == pytest.approx(1 / np.sqrt(8), abs=2e-3)
    assert baselines.hog(np.zeros((2, 48, 48), np.uint8)).shape == (2, 900)


def test_nearness_and_novelty_by_hand():
    def flat(*tones):
        return np.stack([np.full((48, 48), tone) for tone in tones])

    train = np.uint8(255 * flat(0, 0.2, 0.6, 1)), np.array(["A", "A", "A", "B"]), \
        np.array(["AN", "AN", "DI", "AN"])
    test = np.uint8(255 * flat(0.1, 0.9, 0.9)), np.array(["A", "B", ""]), \
        np.array(["AN", "DI", "AN"])
    assert baselines.nearest_neighbour(train[0], train[2], test[0]).tolist() == ["AN"] * 3
    one_side, other = (Faces(np.arange(len(images)), subjects, emotions, images)
                       for images, subjects, emotions in (train, test))
    assert baselines.share_shown(one_side, other) == 0.5  # B shows DI nowhere
    nobody = other._replace(subjects=np.array([""] * 3))
    assert baselines.share_shown(one_side, nobody) is None
    images, subjects, emotions = train
    # 0.3 to A's angry 0.2: 0.01. Nobody's angry 0.9 to B's 1: 0.01. B shows no DI: left out.
    found = baselines.novelty(flat(0.3, 0.9, 0.5), np.array(["AN", "AN", "DI"]),
                             np.array(["A", "", "B"]), images, emotions, subjects)
    assert found == pytest.approx({"nearest": 0.01, "compared": 2, "takes": 0.04,
                                   "emotions": (0.36 + 0.16) / 2})
    nobody = baselines.novelty(flat(0.3), np.array(["AN"]), np.array([""]), images, emotions,
                              np.array([""] * 4))
    assert nobody["takes"] is None and nobody["nearest"] == pytest.approx(0.01)


# ----------------------------------------------------------------------------------- the ladder
def test_ladder():
    rng = np.random.default_rng(3)
    arms = {"none": 0.6, "longer-translate": 0.75, "person-mean": 0.85, "linear": 0.7,
            "translate": 0.97}
    hits, subjects = toy_world("published", rng, arms, **WORLDS["published"])
    rungs = statistics.ladder(hits, subjects, CONTROLS["translate"])
    assert [rung["arm"] for rung in rungs] == ["none", "longer-translate", "person-mean",
                                               "translate"]
    assert sum(rung["step"]["mean"] for rung in rungs[1:]) == pytest.approx(
        rungs[-1]["over_none"]["mean"])
    assert [rung["accuracy"] for rung in rungs] == pytest.approx(
        [100 * np.mean(hits[rung["arm"]]) for rung in rungs])
    said = statistics.ladder_in_words(rungs)
    assert "come from longer training" in said and "did best of person-mean and linear" in said
    assert evaluate.draw_ladder(rungs).axes[0].get_yticklabels()[0].get_text().startswith("none")
    short = statistics.ladder({arm: hits[arm] for arm in ("none", "translate")}, subjects, ())
    assert "no control was trained" in statistics.ladder_in_words(short)
    worse = {**hits, "translate": [np.zeros(43)] * 5}
    rungs = statistics.ladder(worse, subjects, CONTROLS["translate"])
    assert "step by step" in statistics.ladder_in_words(rungs)


# ------------------------------------------------------------------------------ numbers in print
def test_the_papers_numbers():
    augmented = [[6, 0, 0, 0, 0, 0, 0], [1, 5, 0, 0, 0, 0, 0], [0, 0, 5, 0, 0, 1, 1],
                 [0, 0, 0, 6, 0, 0, 0], [0, 0, 0, 0, 6, 0, 0], [0, 0, 1, 1, 0, 4, 0],
                 [0, 0, 0, 0, 1, 0, 5]]
    cells = np.argwhere(np.array(augmented) > -1)
    true, predicted = np.repeat(cells, np.ravel(augmented), axis=0).T
    assert evaluate.macro_averages(true, predicted, range(7)) == pytest.approx(
        (0.8626, 0.8639, 0.8583), abs=5e-5)
    assert np.mean(true == predicted) == evaluate.PAPER["augmented"] / 43
    assert evaluate.PAPER["augmented"] / 43 == pytest.approx(0.8605, abs=5e-5)
    assert evaluate.PAPER["gain"] == pytest.approx(20.93, abs=0.005)


def test_macro_averages_leave_out_absent_emotions_and_count_0_of_0_as_0():
    true, predicted = np.array(["AN", "AN", "AN", "DI", "DI"]), np.array(["AN"] * 5)
    assert evaluate.macro_averages(true, predicted, ["AN", "DI", "FE"]) == pytest.approx(
        (0.3, 0.5, 0.375))


def test_every_number_of_the_readmes_table_is_in_the_files():
    readme, several = (ROOT / "README.md").read_text("utf-8"), measured.read_measured()
    table = readme.split(f"{measured.BEGIN}\n")[1].split(f"\n{measured.END}")[0]
    assert table == measured.table(several)
    for protocol in measured.PROTOCOLS:  # and by a way of their own
        text = (measured.MEASURED / f"jaffe-{protocol}.metrics.json").read_text()
        arms, share = json.loads(text)["arms"], 1 if '"baselines"' in text else 100
        for arm in ("translate", "interpolate"):
            before, after = (share * arms[name]["accuracy"]["mean"] for name in ("none", arm))
            low, high = (arms[arm].get("gain") or arms[arm]["gain_points"])["ci95"]
            row, = [line for line in table.splitlines()
                    if f"(`{protocol}`) | {before:.1f} %" in line]
            assert f" {after:.1f} %, {after - before:+.1f} ({low:+.1f} to {high:+.1f}) |" in row
