"""The statistics against values worked out by hand, and README.md's numbers against their files."""

import json
import re

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

import evaluate


def test_t_interval_by_hand():
    # 1, 2, 3, 4: mean 2.5, variance 5/3, t(0.975, 3) = 3.182446, half width 3.182446 sqrt(5/12) = 2.054260
    for protocol in ("published", "given", "loso", "kfold"):
        assert evaluate.interval([1, 2, 3, 4], protocol, 0.25) == pytest.approx([0.445740, 4.554260], abs=1e-5)
    assert evaluate.interval([1, 2, 3, 4], "published", 0) == pytest.approx(
        stats.t.interval(0.95, 3, 2.5, stats.sem([1, 2, 3, 4])))
    # Ten test faces to forty training faces: variance 5/3 (1/4 + 1/4), half 3.182446 sqrt(5/6) = 2.905162
    assert evaluate.interval([1, 2, 3, 4], "holdout", 10 / 40) == pytest.approx([-0.405162, 5.405162], abs=1e-5)
    assert evaluate.interval([-100, 100], "loso", 0) == [-100, 100]  # and not +-1271
    assert evaluate.interval([3], "published", 0) is None


def test_accuracy_per_run_and_per_person():
    rights = [np.array([[True, False, True], [True, True, False]]), np.array([[True], [False]])]
    by_run = evaluate.per_unit(rights, [np.array([0, 0, 0]), np.array([1])])
    assert by_run.tolist() == [4 / 6, 1 / 2]
    by_person = evaluate.per_unit(rights, [np.array(["A", "B", "A"]), np.array(["C"])])
    assert by_person.tolist() == [3 / 4, 1 / 2, 1 / 2]


def test_gain_counts_runs_won():
    found = evaluate.gain(np.array([0.75, 0.5, 0.25]), np.array([0.5, 0.5, 0.5]), "published", 0)
    assert found["mean"] == 0 and found["won"] == 0.5
    assert found["ci95"] == pytest.approx([-62.1, 62.1], abs=0.05)  # t(0.975, 2) 25 / sqrt(3)


def test_macro_averages_leave_out_absent_emotions_and_count_0_of_0_as_0():
    true, predicted = np.array(["AN", "AN", "AN", "DI", "DI"]), np.array(["AN"] * 5)
    assert evaluate.macro(true, predicted, ["AN", "DI", "FE"]) == pytest.approx((0.3, 0.5, 0.375))


def test_the_papers_numbers():
    augmented = [[6, 0, 0, 0, 0, 0, 0], [1, 5, 0, 0, 0, 0, 0], [0, 0, 5, 0, 0, 1, 1], [0, 0, 0, 6, 0, 0, 0],
                 [0, 0, 0, 0, 6, 0, 0], [0, 0, 1, 1, 0, 4, 0], [0, 0, 0, 0, 1, 0, 5]]
    pairs = [(row, column) for row in range(7) for column in range(7) for _ in range(augmented[row][column])]
    true, predicted = np.array(pairs).T
    assert evaluate.macro(true, predicted, range(7)) == pytest.approx((0.8626, 0.8639, 0.8583), abs=5e-5)
    assert np.mean(true == predicted) == evaluate.PAPER["augmented"] / 43 == pytest.approx(0.8605, abs=5e-5)
    assert evaluate.PAPER["gain_points"] == pytest.approx(20.93, abs=0.005)


def gains(*intervals):
    return [{"mean": sum(ends) / 2, "ci95": list(ends)} for ends in intervals]


def test_verdicts():
    assert evaluate.verdict(gains((1, 3)), 10) == "Yes" and evaluate.verdict(gains((-1, 3)), 10) == "Not shown"
    assert evaluate.verdict(gains((-3, -1)), 10) == "No" and evaluate.verdict(gains((1, 3), (-1, 3)), 10) == "Not shown"
    assert evaluate.verdict(gains((1, 1)), 3) == "Not to be told from so few"
    assert evaluate.verdict([{"mean": 5, "ci95": None}], 1) == "Not to be told from so few"
    metrics = {"units": 10, "protocol": "published", "arms": {"none": {}, "translate": {"gain_points": gains((5, 9))[0]}},
               "against": {"translate": {"person-mean": gains((-3, 1))[0], "duplicate": gains((2, 4))[0]}}}
    said = " ".join(evaluate.answers(metrics))
    assert "Yes: +7.0 (+5.0 to +9.0) points" in said
    assert "No: person-mean did as well or better, without any autoencoder" in said
    metrics["against"]["translate"].pop("person-mean")
    assert "Yes: +3.0 (+2.0 to +4.0) points over duplicate." in " ".join(evaluate.answers(metrics))


def test_every_number_of_the_readmes_table_is_in_the_files():
    readme = (ROOT / "README.md").read_text("utf-8")
    table = re.search("(?s)<!-- measured -->\n(.*)\n<!-- end of measured -->", readme)[1]
    files = sorted(evaluate.MEASURED.glob("*.metrics.json"))
    assert files and table == evaluate.measured_table(evaluate.read_measured())
    for file in files:  # and those by a way of their own
        metrics = json.loads(file.read_text("utf-8"))
        for arm in ("translate", "interpolate"):
            row, = [line for line in table.splitlines() if f"`{arm}`" in line and metrics["protocol"] in line]
            found, (low, high) = metrics["arms"][arm], metrics["arms"][arm]["gain_points"]["ci95"]
            for number in (f"{100 * found['accuracy']['mean']:.1f} %", f"({low:+.1f} to {high:+.1f})",
                           f"{100 * metrics['arms']['none']['accuracy']['mean']:.1f} %"):
                assert number in row
