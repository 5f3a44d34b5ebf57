"""The statistics against values worked out by hand, and in toy worlds whose truth is known."""

import json

import measured
import numpy as np
import pytest
import simulate
from conftest import ROOT
from scipy import special, stats

import evaluate
from data import baselines, report, statistics
from data.faces import Faces

OF_SUBJECTS = statistics.over_subjects
OF_INITIALISATIONS = statistics.over_initialisations_and_faces


def faces(names, subjects):
    """Test faces of which only these two are known; a letter each."""
    return Faces(np.array([*names]), np.array([*subjects]), None, None)


# ------------------------------------------------------------------------------------- by hand
def one_face_a_subject(values):
    """A gain of arms that are right or wrong on one face of each subject, which a run each tests.
    """
    first = [np.array([[max(value, 0) / 100]]) for value in values]
    second = [np.array([[max(-value, 0) / 100]]) for value in values]
    return first, second, [faces(letter, letter) for letter in "ABCDEFGH"[:len(values)]]


def test_t_interval_by_hand():
    # Of 1, 2, 3, 4: variance 5/3, t(0.975, 3) = 3.182446, half width 3.182446 sqrt(5/12) = 2.05426.
    first, second, tests = one_face_a_subject([1, 2, 3, 4])
    for uncertainty in (statistics.over_subjects, statistics.over_subjects_and_folds,
                        statistics.over_splits):
        result = statistics.gain(first, second, tests, uncertainty)
        assert result["mean"] == 2.5 and result["won"] == 100 and result["degrees"] == 3
        assert result["ci95"] == pytest.approx([2.5 - 2.054260, 2.5 + 2.054260], abs=1e-5)
        # t(0.8, 3) = 0.978472: (3.182446 + 0.978472) sqrt(5/12) = 2.685854.
        assert result["detectable"] == pytest.approx(2.685854, abs=1e-5)
        assert result["initialisation"] is None  # one repeat shows nothing of it
        # 2.5 / sqrt(5/12) = 3.872983: two-sided p with 3 degrees of freedom.
        assert result["p"] == pytest.approx(0.0304662, abs=1e-6)
    result = statistics.gain(*one_face_a_subject([-100, 100]), OF_SUBJECTS)
    assert result["ci95"] == [-100, 100] and result["won"] == 50  # and not +-1271
    alone = statistics.gain(*one_face_a_subject([3]), OF_SUBJECTS)
    assert alone["ci95"] is None and alone["p"] == 1 and alone["detectable"] is None


def test_two_way_variance_by_hand():
    # Two runs, four faces. Means of runs 2, 4; of faces 1, 2, 4, 5; of all 3.
    # Runs: variance 2 / 2 = 1. Faces: variance (4 + 1 + 1 + 4) / 3 = 10/3, / 4 = 5/6.
    # Degrees (11/6)^2 / (1^2 / 1 + (5/6)^2 / 3) = 2.72986.
    values = np.array([[0, 1, 3, 4], [2, 3, 5, 6]], float)
    variance, degrees = statistics.two_way_variance(values, np.arange(4))
    assert variance == pytest.approx(11 / 6)
    assert degrees == pytest.approx((11 / 6)**2 / (1 + 25 / 108))
    # The four faces are of two subjects. Sums of the subjects' deviations: -3, 3.
    # 2/1 (9 + 9) / 16 = 9/4.
    variance, _ = statistics.two_way_variance(values, np.array([0, 0, 1, 1]))
    assert variance == pytest.approx(1 + 9 / 4)
    # The repeats show a variance of 2 with 9 degrees: it stands in for that over runs.
    variance, degrees = statistics.two_way_variance(values, np.arange(4), least=(2, 9))
    assert variance == pytest.approx(2 + 5 / 6)
    assert degrees == pytest.approx((17 / 6)**2 / (4 / 9 + 25 / 108))
    assert statistics.two_way_variance(np.ones((2, 2)), np.arange(2)) == (0, 1)


def test_crossed_variance_by_hand():
    # Runs test faces A B, B C, C A; deviations 1 2, 0 -1, -3 1: sums of runs 3, -1, -2; of faces
    # 2, 2, -4. Runs: 3/2 (9 + 1 + 4) / 36 = 7/12; faces: 3/2 (4 + 4 + 16) / 36 = 1; each alone:
    # 6/5 (1 + 4 + 0 + 1 + 9 + 1) / 36 = 8/15.  7/12 + 1 - 8/15 = 21/20.
    variance, degrees = statistics.crossed_variance(
        np.array([1., 2, 0, -1, -3, 1]), np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 0]))
    assert variance == pytest.approx(21 / 20) and degrees == 2


def test_deals_are_the_runs_in_which_every_face_is_tested():
    tests = [faces(names, [""] * len(names)) for names in ("AB", "C", "B", "CA")]
    values = [np.array([[1., 0]]), np.array([[1.]]), np.array([[0.]]), np.array([[1., 0]])]
    result = statistics.over_deals_and_faces(values, tests)
    assert result.per_unit.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert result.mean == pytest.approx(1 / 2) and result.units == 3
    one_deal = statistics.over_deals_and_faces(values[:2], tests[:2])
    assert one_deal.per_unit.tolist() == pytest.approx([2 / 3]) and one_deal.standard_error > 0


def test_folds_take_the_wider_interval():
    # Subjects 0, 2 in one fold and 10, 12 in the other: folds differ more than subjects.
    first = [np.array([[0, 0.02]]), np.array([[0.10, 0.12]])]
    tests = [faces("AB", "AB"), faces("CD", "CD")]
    of_folds = statistics.over_subjects_and_folds
    result = statistics.gain(first, [np.zeros((1, 2))] * 2, tests, of_folds)
    assert result["degrees"] == 1 and result["standard_error"] == pytest.approx(5)
    assert result["units"] == 2  # folds, of four subjects
    # p is the largest of both: of 6 / 5 with 1 degree of freedom, 2 arctan(5 / 6) / pi.
    assert result["p"] == pytest.approx(2 * np.arctan(5 / 6) / np.pi)
    first = [np.array([[0, 0.12]]), np.array([[0.10, 0.02]])]  # and here subjects do
    result = statistics.gain(first, [np.zeros((1, 2))] * 2, tests, of_folds)
    assert result["degrees"] == 3
    assert result["standard_error"] == pytest.approx(stats.sem([0, 12, 10, 2]))


def test_an_interval_is_never_narrower_than_the_repeats_show():
    # Two subjects gain 2 and 2, so over subjects there is no variance. But their three repeats are
    # 0, 2, 4 and 1, 2, 3: variances 4 and 1, over three repeats 4/3 and 1/3, of the mean of two
    # subjects (4/3 + 1/3) / 4 = 5/12, with 2 x 2 degrees of freedom.
    values = [np.array([[0.], [2], [4]]), np.array([[1.], [2], [3]])]
    tests = [faces("A", "A"), faces("B", "B")]
    result = statistics.over_subjects(values, tests)
    assert result.standard_error == pytest.approx(np.sqrt(5 / 12))
    assert result.degrees == 4 and result.initialisation == 1
    # Subjects that gain 2 and 12: variance 50 / 2 = 25, of which 5/12 are initialisation.
    result = statistics.over_subjects([values[0], values[1] + 10], tests)
    assert result.standard_error == pytest.approx(5)
    assert result.initialisation == pytest.approx(5 / 12 / 25)
    # Repeats are paired: arms that rise and fall together gain the same in each of them.
    first, second = [run / 100 for run in values], [(run - 3) / 100 for run in values]
    result = statistics.gain(first, second, tests, OF_SUBJECTS)
    assert result["mean"] == pytest.approx(3) and result["standard_error"] == 0


def test_accuracies_and_units_by_hand():
    hits = [np.array([[1, 1, 0], [1, 0, 1]]), np.array([[0.0], [0.0]])]
    tests = [faces("ABC", "STS"), faces("D", "U")]
    result = statistics.accuracy(hits, tests, statistics.over_splits)
    assert result["per_unit"] == pytest.approx([200 / 3, 0])
    result = statistics.accuracy(hits, tests, OF_SUBJECTS)
    assert result["per_unit"] == [75, 50, 0] and result["mean"] == pytest.approx(125 / 3)
    low, high = result["ci95"]
    assert 0 < low < 125 / 3 < high < 100
    # Symmetric in the logarithm of the odds.
    middle = (special.logit(low / 100) + special.logit(high / 100)) / 2
    assert middle == pytest.approx(special.logit(125 / 300))
    nobody = [faces("ABCD", [""] * 4)]
    sure = statistics.accuracy([np.ones((2, 4))] * 5, nobody * 5, OF_INITIALISATIONS)
    assert sure["ci95"] == [100, 100] and sure["units"] == 4
    assert statistics.accuracy([np.ones((2, 4))], nobody, OF_INITIALISATIONS)["ci95"] is None
    one, other = faces("xA", ["A", ""]), faces("Ay", ["", "A"])  # face A, of nobody, tested twice
    assert statistics.clusters([one, other]).tolist() == [1, 0, 0, 1]


# -------------------------------------------------------------------------------------- answers
def made_up(mean, error=1.0, units=10):
    return {"mean": mean, "standard_error": error, "degrees": 9, "units": units,
            "ci95": [mean - 2.262 * error, mean + 2.262 * error],
            "p": statistics.p_value(mean, error**2, 9, units), "initialisation": 0.5}


def asked(count):
    return [{"question": "?", "method": "", "arm": str(row), "other": "none"}
            for row in range(count)]


@pytest.mark.parametrize("answer, gain", [
    ("Yes", made_up(3)), ("Not shown", made_up(1)), ("No", made_up(-3)),
    ("Too few runs to tell", made_up(3, units=4)),
    ("Yes", made_up(3, error=0.0)),  # the same gain in ten units: a sign test, 2 / 2^10
    ("Not shown", made_up(3, error=0.0, units=5)), ("Not shown", made_up(0, error=0.0))])
def test_an_answer(answer, gain):
    row, = statistics.answers(asked(1), [gain])
    assert row["answer"] == answer and row["gain"] == gain["mean"]
    assert row["at_most"] == gain["ci95"][1] and row["p"] == gain["p"]
    # (t(0.975, 9) + t(0.8, 9)) standard errors
    assert row["detectable"] == (pytest.approx(2.262157 + 0.883404) if gain["standard_error"]
                                 else None)


def test_answers_are_corrected_for_the_whole_report():
    assert statistics.holm([0.01, 0.04, 0.02]) == pytest.approx([0.03, 0.04, 0.04])
    gains = [made_up(2.5), made_up(-2.5), made_up(0)]
    rows = statistics.answers(asked(3), gains)
    assert [row["answer"] for row in rows] == ["Not shown"] * 3  # 0.034, not small enough for three
    assert rows[0]["p"] == pytest.approx(3 * gains[0]["p"])
    assert [row["answer"] for row in statistics.answers(asked(1), gains[:1])] == ["Yes"]


def test_what_is_asked():
    controls = {"translate": "person-mean", "mine": ""}
    arms = ["none", "geometric", "translate", "longer-translate", "person-mean", "mine",
            "translate+geometric", "person-mean+geometric"]
    pairs = [(row["method"], row["arm"], row["other"])
             for row in statistics.questions(arms, controls, same_steps=True)]
    assert pairs == [("translate", "translate", "none"), ("mine", "mine", "none"),
                     ("translate", "translate", "longer-translate"),
                     ("translate", "translate", "person-mean"),
                     ("translate", "translate", "geometric"), ("mine", "mine", "geometric"),
                     ("translate", "translate+geometric", "geometric"),
                     ("translate", "translate+geometric", "person-mean+geometric"),
                     ("", "geometric", "none")]
    # Where arms differ in steps, nothing is set against geometric.
    others = [row["other"] for row in statistics.questions(arms, controls, same_steps=False)]
    assert "geometric" not in others and "person-mean+geometric" in others
    assert statistics.questions(["none"], controls, same_steps=True) == []


# ----------------------------------------------------------------------------------- toy worlds
@pytest.mark.parametrize("name", ("published", "cv", "holdout", "kfold",
                                  "loso, 3, strong initialisation"))
def test_intervals_hold_the_truth(name):
    of_gain, of_accuracy, _ = simulate.simulate(name, 60)  # `tests/simulate.py` has more worlds
    assert of_gain >= 0.85 and of_accuracy >= 0.85


def test_wrong_words_are_rare():
    assert simulate.wrong_words("loso, 3, strong initialisation", 40) <= 0.1


# ----------------------------------------------------------------- the ladder, several data sets
def test_ladder():
    arms = {"none": 0.6, "longer-translate": 0.75, "person-mean": 0.85, "translate": 0.97}
    hits, tests = simulate.toy_world("published", np.random.default_rng(3), arms)
    steps = statistics.ladder(hits, "translate", "person-mean", tests, OF_INITIALISATIONS)
    assert [(step["arm"], step["other"], step["part"]) for step in steps] == [
        ("longer-translate", "none", False), ("translate", "longer-translate", False),
        ("person-mean", "longer-translate", True), ("translate", "person-mean", True)]
    total, longer, together, control, rest = (gain["mean"] for gain in (
        statistics.gain(hits["translate"], hits["none"], tests, OF_INITIALISATIONS),
        *(step["gain"] for step in steps)))
    assert longer + together == pytest.approx(total) and control + rest == pytest.approx(together)
    assert [step["accuracy"] for step in steps] == pytest.approx(
        [100 * np.mean(hits[step["arm"]]) for step in steps])
    labels = report.draw_ladder({"translate": steps}).axes[0].get_yticklabels()
    assert labels[0].get_text() == "none: " + f"{100 * np.mean(hits['none']):.1f} %"
    few = {arm: hits[arm] for arm in ("none", "translate")}
    only, = statistics.ladder(few, "translate", "", tests, OF_INITIALISATIONS)
    assert only["other"] == "none" and "longer training" in only["source"]


def test_pooled_gains_by_hand():
    # Weights 1 and 1/4: mean (1 + 6/4) / (5/4) = 2, variance 4/5. Q = 1 + 16/4 = 5;
    # tau^2 = (5 - 1) / (5/4 - 17/16 / (5/4)) = 10. Weights 1/11 and 1/14: mean 3.2.
    several = [made_up(1, error=1.0), made_up(6, error=2.0)]
    result = statistics.pooled(several)
    assert result["mean"] == pytest.approx(2) and result["tau"] == pytest.approx(np.sqrt(10))
    assert result["elsewhere"] == pytest.approx(3.2)
    # The fewest degrees, 9: t 2.262157.
    half = 2.262157 * np.sqrt(0.8)
    assert result["ci95"] == pytest.approx([2 - half, 2 + half], abs=1e-5)
    # Q with the new weights is 25 / 25 = 1: sqrt(1 / (1/11 + 1/14)) = 2.48193 times t(0.975, 1).
    assert result["elsewhere_ci95"] == pytest.approx([3.2 - 31.5360, 3.2 + 31.5360], abs=1e-3)
    assert statistics.pooled([made_up(1), made_up(1.1)])["tau"] == 0


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


def test_synthetic_faces_are_fitted_beside_real_ones():
    """Real faces show one emotion alone: that there is another one, only synthetic faces tell."""
    rng = np.random.default_rng(0)
    train, emotions = striped(rng, 60)
    test, true = striped(rng, 20)
    angry = emotions == "AN"
    real = Faces(None, None, emotions[angry], train[angry])
    synthetic = {"images": np.float32(train[~angry][..., None] / 255), "emotions": emotions[~angry]}
    for name in baselines.WITH_SYNTHETIC:
        predict = baselines.BASELINES[name]
        said = baselines.predict_with_synthetic(predict, real, synthetic, test)
        assert np.mean(said == true) >= 0.9, name


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
    # 0.3 to A's angry 0.2: 0.01. Nobody's angry 0.9 to B's 1: 0.01. B shows no DI: left out.
    synthetic = Faces(None, np.array(["A", "", "B"]), np.array(["AN", "AN", "DI"]),
                      flat(0.3, 0.9, 0.5))
    found = baselines.novelty(synthetic, one_side)
    assert found == pytest.approx({"nearest": 0.01, "compared": 2, "takes": 0.04,
                                   "emotions": (0.36 + 0.16) / 2})
    nobody = baselines.novelty(Faces(None, np.array([""]), np.array(["AN"]), flat(0.3)),
                               one_side._replace(subjects=np.array([""] * 4)))
    assert nobody["takes"] is None and nobody["nearest"] == pytest.approx(0.01)


def test_new_people_of_several_data_sets_are_pooled():
    def metrics(name, protocol, gain):
        return {"dataset": {"name": name}, "protocol": protocol, "answers": [],
                "arms": {"none": {"gain": None}, "translate": {"gain": gain}}}

    several = {"a": metrics("JAFFE", "loso", made_up(1)), "b": metrics("CK+", "kfold", made_up(3)),
               "c": metrics("CK+", "loso", made_up(9)),  # of one data set the first counts
               "d": metrics("KDEF", "published", made_up(9))}  # these are not new people
    row, = report.pooled_rows(several)
    assert row["arm"] == "translate" and row["against"] == "none" and row["data sets"] == "2"
    assert row["these data sets, points"].startswith("+2.0 (")
    assert report.pooled_rows({"a": several["a"], "d": several["d"]}) == []


# ------------------------------------------------------------------------------ numbers in print
def test_the_papers_numbers():
    augmented = [[6, 0, 0, 0, 0, 0, 0], [1, 5, 0, 0, 0, 0, 0], [0, 0, 5, 0, 0, 1, 1],
                 [0, 0, 0, 6, 0, 0, 0], [0, 0, 0, 0, 6, 0, 0], [0, 0, 1, 1, 0, 4, 0],
                 [0, 0, 0, 0, 1, 0, 5]]
    cells = np.argwhere(np.array(augmented) > -1)
    true, predicted = np.repeat(cells, np.ravel(augmented), axis=0).T
    assert evaluate.macro_averages(true, predicted, range(7)) == pytest.approx(
        (0.8626, 0.8639, 0.8583), abs=5e-5)
    assert np.mean(true == predicted) == report.PAPER["augmented"] / 43
    assert report.PAPER["augmented"] / 43 == pytest.approx(0.8605, abs=5e-5)
    assert report.PAPER["gain"] == pytest.approx(20.93, abs=0.005)


def test_macro_averages_leave_out_absent_emotions_and_count_0_of_0_as_0():
    true, predicted = np.array(["AN", "AN", "AN", "DI", "DI"]), np.array(["AN"] * 5)
    assert evaluate.macro_averages(true, predicted, ["AN", "DI", "FE"]) == pytest.approx(
        (0.3, 0.5, 0.375))


def test_every_number_of_the_readmes_table_is_in_the_files():
    readme, several = (ROOT / "README.md").read_text("utf-8"), measured.read_measured()
    table = readme.split(f"{measured.BEGIN}\n")[1].split(f"\n{measured.END}")[0]
    assert table == measured.table(several)
    for name, label in measured.ROWS.items():  # and by a way of their own
        text = (measured.MEASURED / f"{name}.metrics.json").read_text()
        arms, share = json.loads(text)["arms"], 1 if '"baselines"' in text else 100
        for arm in ("translate", "interpolate"):
            before, after = (share * arms[key]["accuracy"]["mean"] for key in ("none", arm))
            low, high = (arms[arm].get("gain") or arms[arm]["gain_points"])["ci95"]
            row, = [line for line in table.splitlines() if f"| {label} | {before:.1f} %" in line]
            assert f" {after:.1f} %, {after - before:+.1f} ({low:+.1f} to {high:+.1f}) |" in row
