"""The statistics against values worked out by hand, and README.md's numbers against their files."""

import re

import evaluate

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats


def test_t_interval_by_hand():
    # Of 1, 2, 3, 4: variance 5/3, t(0.975, 3) = 3.182446, half width 3.182446 sqrt(5/12) = 2.05426.
    # Ten test faces to forty training faces: variance 5/3 (1/4 + 1/4), half 2.905162.
    half = dict.fromkeys(("published", "given", "loso", "kfold"), 2.054260) | {"holdout": 2.905162}
    for protocol, each in half.items():
        assert evaluate.interval([1, 2, 3, 4], protocol, 10 / 40) == pytest.approx(
            [2.5 - each, 2.5 + each], abs=1e-5)
    assert evaluate.interval([1, 2, 3, 4], "published", 0) == pytest.approx(
        stats.t.interval(0.95, 3, 2.5, stats.sem([1, 2, 3, 4])))
    assert evaluate.interval([-100, 100], "loso", 0) == [-100, 100]  # and not +-1271
    assert evaluate.interval([3], "published", 0) is None


def test_accuracies_gains_and_macro_averages_by_hand():
    rights = [np.array([[True, False, True], [True, True, False]]), np.array([[True], [False]])]
    for groups, expected in (([[0, 0, 0], [1]], [4 / 6, 1 / 2]),
                             ([["A", "B", "A"], ["C"]], [3 / 4, 1 / 2, 1 / 2])):
        assert evaluate.per_unit(rights, list(map(np.array, groups))).tolist() == expected
    found = evaluate.gain(np.array([0.75, 0.5, 0.25]), np.full(3, 0.5), "published", 0)
    assert found["mean"] == 0 and found["won"] == 0.5
    assert found["ci95"] == pytest.approx([-62.1, 62.1], abs=0.05)  # t(0.975, 2) 25 / sqrt(3)
    # Macro averages leave out absent emotions and count 0 of 0 as 0.
    true, predicted = np.array(["AN", "AN", "AN", "DI", "DI"]), np.array(["AN"] * 5)
    assert evaluate.macro(true, predicted, ["AN", "DI", "FE"]) == pytest.approx((0.3, 0.5, 0.375))


def test_the_papers_numbers():
    augmented = [[6, 0, 0, 0, 0, 0, 0], [1, 5, 0, 0, 0, 0, 0], [0, 0, 5, 0, 0, 1, 1],
                 [0, 0, 0, 6, 0, 0, 0], [0, 0, 0, 0, 6, 0, 0], [0, 0, 1, 1, 0, 4, 0],
                 [0, 0, 0, 0, 1, 0, 5]]
    cells = np.argwhere(np.array(augmented) > -1)
    true, predicted = np.repeat(cells, np.ravel(augmented), axis=0).T
    assert evaluate.macro(true, predicted, range(7)) == pytest.approx(
        (0.8626, 0.8639, 0.8583), abs=5e-5)
    assert np.mean(true == predicted) == evaluate.PAPER["augmented"] / 43
    assert evaluate.PAPER["augmented"] / 43 == pytest.approx(0.8605, abs=5e-5)
    assert evaluate.PAPER["gain_points"] == pytest.approx(20.93, abs=0.005)


def gain(low, high):
    return {"mean": (low + high) / 2, "ci95": [low, high]}


@pytest.mark.parametrize("said, units, gains", [
    ("Yes", 10, [gain(1, 3)]), ("Not shown", 10, [gain(-1, 3)]), ("No", 10, [gain(-3, -1)]),
    ("Not shown", 10, [gain(1, 3), gain(-1, 3)]), ("Not to be told from so few", 3, [gain(1, 1)]),
    ("Not to be told from so few", 1, [{"mean": 5, "ci95": None}])])
def test_verdicts(said, units, gains):
    assert evaluate.verdict(gains, units) == said


def test_answers():
    controls = {"person-mean": gain(-3, 1), "duplicate": gain(2, 4)}
    metrics = {"units": 10, "protocol": "published", "against": {"translate": controls},
               "arms": {"none": {}, "translate": {"gain_points": gain(5, 9)}}}
    said = " ".join(evaluate.answers(metrics))
    assert "Yes: +7.0 (+5.0 to +9.0) points" in said
    assert "No: person-mean did as well or better, without any autoencoder" in said
    controls.pop("person-mean")
    assert "Yes: +3.0 (+2.0 to +4.0) points over duplicate." in " ".join(evaluate.answers(metrics))


def test_every_number_of_the_readmes_table_is_in_the_files():
    readme, several = (ROOT / "README.md").read_text("utf-8"), evaluate.read_measured()
    table = re.search("(?s)<!-- measured -->\n(.*)\n<!-- end of measured -->", readme)[1]
    assert several and table == evaluate.measured_table(several)
    for metrics in several.values():  # and by a way of their own
        for arm in ("translate", "interpolate"):
            before, after = (100 * metrics["arms"][each]["accuracy"]["mean"]
                             for each in ("none", arm))
            low, high = metrics["arms"][arm]["gain_points"]["ci95"]
            assert (f" {before:.1f} % | {after:.1f} % | {after - before:+.1f} "
                    f"({low:+.1f} to {high:+.1f}) |") in table
