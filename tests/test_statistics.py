"""The statistics against values worked out by hand or by scipy."""

import numpy as np
import pytest
from scipy import stats

import evaluate


def test_t_interval_by_hand():
    # 1, 2, 3, 4: mean 2.5, variance 5/3, t(0.975, 3) = 3.182446, half width 3.182446 sqrt(5/12) = 2.054260
    assert evaluate.t_interval([1, 2, 3, 4]) == pytest.approx((0.445740, 4.554260), abs=1e-5)
    assert evaluate.t_interval([1, 2, 3, 4]) == pytest.approx(stats.t.interval(0.95, 3, 2.5, stats.sem([1, 2, 3, 4])))


def test_nadeau_bengio_by_hand():
    # the same values, ten test faces to forty training faces: variance 5/3 (1/4 + 1/4), half 3.182446 sqrt(5/6) = 2.905162
    assert evaluate.t_interval([1, 2, 3, 4], 1 / 4 + 10 / 40) == pytest.approx((-0.405162, 5.405162), abs=1e-5)
    low, high, kind = evaluate.gain_interval([1, 2, 3, 4], None, "holdout", 10 / 40)
    assert (low, high) == pytest.approx((-0.405162, 5.405162), abs=1e-5) and "Nadeau-Bengio" in kind


def test_bootstrap_of_two_values_is_the_binomial():
    # The mean of n = 2 draws from {0, 1} is 0, 1/2, 1 with 1/4, 1/2, 1/4: both tails hold more than 2.5 %.
    assert evaluate.bootstrap_interval([0, 1]) == (0, 1)
    # Of n = 100 draws from 50 zeros and 50 ones, 2.5 % and 97.5 % of Binomial(100, 1/2) are 40 and 60.
    assert evaluate.bootstrap_interval([0, 1] * 50) == pytest.approx((0.40, 0.60), abs=0.011)
    values = np.random.default_rng(3).normal(size=30)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert evaluate.bootstrap_interval(values) == pytest.approx(tuple(theirs), abs=0.02)


def test_loso_resamples_subjects_and_one_run_resamples_faces():
    assert evaluate.gain_interval([10, 10, 10], None, "loso", 1)[:2] == (10, 10)
    low, high, kind = evaluate.gain_interval([0], 100.0 * np.array([1, -1] * 50), "published", 1)
    assert low == pytest.approx(-20, abs=3) and high == pytest.approx(20, abs=3) and "one run" in kind


def test_wilson_of_the_papers_two_results():
    assert evaluate.wilson_interval(28, 43) == pytest.approx((0.501718, 0.775814), abs=1e-6)  # by hand: (0.695831 -+ 0.149291) / 1.089336
    for right, n in ((37, 43), (0, 5), (5, 5), (1, 1000)):
        theirs = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert evaluate.wilson_interval(right, n) == pytest.approx((theirs.low, theirs.high))


def test_mcnemar_is_the_binomial_test_of_the_discordant_faces():
    assert evaluate.mcnemar(1, 5) == pytest.approx(14 / 64)  # 2 (C(6, 0) + C(6, 1)) / 2^6
    assert evaluate.mcnemar(0, 0) == 1 and evaluate.mcnemar(4, 4) == 1
    for a, b in ((9, 0), (3, 12), (40, 22)):
        assert evaluate.mcnemar(a, b) == pytest.approx(stats.binomtest(a, a + b).pvalue)


def test_undefined_precision_counts_as_zero_and_absent_emotions_are_left_out():
    # two emotions shown, the third neither shown nor predicted, the second never predicted
    average, each = evaluate.scores([[3, 0, 0], [2, 0, 0], [0, 0, 0]])
    assert each["precision"] == [0.6, 0, 0] and each["recall"] == [1, 0, 0] and each["f1"] == [0.75, 0, 0]
    assert average == {"accuracy": 0.6, "macro_recall": 0.5, "macro_precision": 0.3, "macro_f1": 0.375}


def test_compare_counts_faces_and_runs():
    true = [["AN", "HA", "HA", "SU"], ["AN", "HA", "HA", "SU"]]
    first = [["AN", "HA", "HA", "AN"], ["AN", "HA", "AN", "AN"]]   # 3/4 and 2/4 right
    second = [["AN", "AN", "AN", "SU"], ["AN", "HA", "AN", "AN"]]  # 2/4 and 2/4 right
    gain = evaluate.compare(first, second, true, "published", 0.25)
    assert gain["mean"] == 12.5 and gain["share_of_runs_won"] == 0.75
    assert gain["mcnemar_p"] == 1  # two faces only the first has right, one only the second
    assert gain["ci95"] == pytest.approx([12.5 - 12.7062 * 12.5, 12.5 + 12.7062 * 12.5], abs=1e-2)


@pytest.mark.parametrize("pixels", [60, 20])  # more than there are faces, and fewer
def test_shrinkage_lda_is_that_of_scikit_learn(pixels):
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    rng = np.random.default_rng(0)
    codes = np.repeat(["AN", "HA", "SU"], (12, 20, 9))
    train = rng.normal(size=(41, pixels)) + np.searchsorted(["AN", "HA", "SU"], codes)[:, None] * rng.normal(size=pixels) * 0.4
    train[:, 7] = 0.5  # a pixel that never changes
    test = rng.normal(size=(500, pixels))
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(train, codes).predict(test)
    ours = evaluate.shrinkage_lda(train, codes, test)
    assert (ours == theirs).all() and len(set(theirs)) > 1
