"""From right and wrong predictions to accuracies, gains, their intervals, and answers.

Accuracies are in percent (0 to 100), gains in points (-100 to 100), everywhere.

An arm's `hits` are a list over runs of float arrays (repeats, faces): 1 where a classifier is right
about a test face, else 0. `tests` are a list over runs of the test faces, `Faces`. What has one
repeat, such as a classifier without a network, is set against several by broadcasting.
"""

from typing import NamedTuple

import numpy as np

FEWEST_UNITS = 5  # with fewer, nothing is concluded
LEVEL = 0.05  # of a two-sided test


class Estimate(NamedTuple):
    """A mean, and how sure it is."""

    mean: float
    per_unit: np.ndarray  # float (n,): what it is the mean of
    standard_error: float | None  # None of a single unit
    degrees: float  # degrees of freedom of Student's t
    units: int  # how many independent units the standard error rests on
    initialisation: float | None  # share, 0 to 1, of the variance that is initialisation
    p: float  # two-sided, of the mean being 0; 1 of a single unit


# --------------------------------------------------------------------------------- variances
def clusters(tests):
    """Number the subject of each test face of all runs: int (faces,). A face of an unknown subject
    stands alone, in all runs that test it."""
    subjects = np.concatenate([test.subjects for test in tests])
    names = np.concatenate([test.names for test in tests])
    owners = np.where(subjects == "", np.char.add("\0unknown ", names), subjects)
    return np.unique(owners, return_inverse=True)[1]


def variance_by_cluster(deviations, numbers):
    """Variance of a mean whose terms are correlated within clusters.

    With as many clusters as terms it is the usual variance of a mean. Cameron and Miller, J. Human
    Resources 50, 2015, eq. 11 and 12, for a mean.

    Parameters
    ----------
    deviations : float (n,), from the mean
    numbers : int (n,), the cluster of each

    Returns
    -------
    variance : float
    degrees : int
    """
    count = numbers.max() + 1
    sums = np.bincount(numbers, deviations, count)
    return count / (count - 1) * np.sum(sums**2) / len(deviations)**2, count - 1


def two_way_variance(values, numbers, least=(0, 0)):
    """Variance of the mean of values (runs, faces): all runs test the same faces, both are samples.

    The variance over runs (initialisations) and the variance over test faces, clustered by
    subject, are added: Owen, Annals of Applied Statistics 1, 2007; for readers and cases,
    Obuchowski and Rockette, Communications in Statistics 24, 1995. Both contain the interaction of
    run and face, which could be subtracted once; it makes the interval a hundredth wider. Degrees
    of freedom: Satterthwaite, Biometrics Bulletin 2, 1946.

    Parameters
    ----------
    values : float (runs, faces)
    numbers : int (faces,), see `clusters`
    least : (variance, degrees)
        What the repeats show: the variance over runs is not below it.

    Returns
    -------
    variance, degrees : float
    """
    runs = len(values)
    deviations = values - values.mean()
    over_runs = max((np.sum(deviations.mean(1)**2) / (runs - 1) / runs, runs - 1), least)
    over_faces = variance_by_cluster(deviations.mean(0), numbers)
    variance = over_runs[0] + over_faces[0]
    if variance == 0:
        return 0.0, min(over_runs[1], over_faces[1])
    return variance, variance**2 / sum(part**2 / degrees for part, degrees in
                                       (over_runs, over_faces))


def crossed_variance(deviations, runs, numbers):
    """Variance of a mean whose terms are correlated within runs and within subjects.

    Where each run tests other faces, the variance over runs and the variance over subjects both
    contain what lies within a run and a subject, so that is subtracted once: Cameron, Gelbach and
    Miller, J. Business and Economic Statistics 29, 2011. Degrees of freedom, as they advise: the
    fewer of runs and subjects, less one.

    Parameters
    ----------
    deviations : float (n,), from the mean
    runs, numbers : int (n,), the run and the cluster of each

    Returns
    -------
    variance : float
    degrees : int
    """
    over_runs, degrees = variance_by_cluster(deviations, runs)
    over_subjects, degrees_of_subjects = variance_by_cluster(deviations, numbers)
    both = np.unique(runs * (numbers.max() + 1) + numbers, return_inverse=True)[1]
    interaction, _ = variance_by_cluster(deviations, both)
    variance = max(over_runs + over_subjects - interaction, over_runs, over_subjects)
    return variance, min(degrees, degrees_of_subjects)


def variance_of_initialisation(values, weights):
    """The part of a mean's variance that the repeats show: they differ in initialisation alone.

    Each run gives the variance between its repeats; pooled over runs it has many degrees of freedom
    where the variance over ten subjects has nine.

    Parameters
    ----------
    values : list over runs of float arrays (repeats, faces)
    weights : list over runs of float arrays (faces,)
        How much a face counts in the mean; they add up to 1.

    Returns
    -------
    variance : float
    degrees : int; 0 with one repeat
    """
    repeats = len(values[0])
    if repeats == 1:
        return 0.0, 0
    of_runs = [np.var(run @ weight, ddof=1) / repeats for run, weight in zip(values, weights)]
    return float(np.sum(of_runs)), len(values) * (repeats - 1)


def estimate(values, weights, per_unit, units, variances):
    """The `Estimate` of the weighted mean of values, from the widest of several intervals.

    A p-value is the largest one likewise: that of few degrees of freedom counts where p is small.

    Parameters
    ----------
    values, weights : see `variance_of_initialisation`
    per_unit : float (n,), whose mean is the weighted mean of the values
    units : int
    variances : list of (variance, degrees)
        Estimates of the mean's variance. What the repeats show is added to them: an interval that
        is narrower is so by a low draw.
    """
    mean = float(np.mean(per_unit))
    if units < 2:
        return Estimate(mean, per_unit, None, 0, units, None, 1.0)
    of_repeats, degrees_of_repeats = variance_of_initialisation(values, weights)
    if degrees_of_repeats:
        variances = [*variances, (of_repeats, degrees_of_repeats)]
    variance, degrees = max(variances, key=lambda row: (half_width(*row), row[1]))
    error = float(np.sqrt(variance))
    if error < 1e-9:  # 0 but for rounding
        error = 0.0
    share = None
    if degrees_of_repeats:
        share = min(1.0, of_repeats / variance) if error else 0.0
    p = max(p_value(mean, *row, units) for row in variances)
    return Estimate(mean, per_unit, error, float(degrees), units, share, p)


def p_value(mean, variance, degrees, units):
    """Two-sided p of a mean being 0."""
    from scipy import stats

    if abs(mean) < 1e-9:
        return 1.0
    if variance < 1e-18:
        return min(1.0, 2 * 0.5**units)  # the same in all units: a sign test
    return float(2 * stats.t.sf(abs(mean) / np.sqrt(variance), degrees))


def half_width(variance, degrees):
    """Of a 95 % interval."""
    from scipy import stats

    return np.sqrt(variance) * stats.t.ppf(1 - LEVEL / 2, degrees)


# ------------------------------------------------------------------- what an interval is over
# A row of PROTOCOLS names one of these functions (values, tests) -> Estimate. `values` are a list
# over runs of float arrays (repeats, faces).
def over_initialisations_and_faces(values, tests):
    """Where all runs have the same training and test faces, and differ in initialisation."""
    means, weights = means_of_runs(values)
    numbers = clusters(tests[:1])
    units, variances = min(len(values), int(numbers.max()) + 1), []
    if units > 1:
        variances = [two_way_variance(np.stack([run.mean(0) for run in values]), numbers,
                                      least=variance_of_initialisation(values, weights))]
    return estimate(values, weights, means, units, variances)


def over_splits(values, tests):
    """Where each run is another split of the same faces: over splits and test faces, clustered by
    subject.

    It says how sure the gain is for training faces like these, drawn from the faces at hand. What
    all splits have in common because they are drawn from these faces, and no others, cannot be told
    from one data set (Bengio and Grandvalet, JMLR 5, 2004), so it is not in the interval. With a
    guess at it, such as Nadeau and Bengio's (Machine Learning 52, 2003), intervals are half as wide
    again and hold 97 to 100 % of the truths.
    """
    means, weights = means_of_runs(values)
    return over_runs_and_faces(values, weights, means, tests)


def over_deals_and_faces(values, tests):
    """Where runs are folds, and all faces are split anew once each of them has been tested.

    As `over_splits`; the units whose means are given are deals, the runs in which every face is
    tested once.
    """
    deal_of_run = np.array([sum(test.names[0] in earlier.names for earlier in tests[:run])
                            for run, test in enumerate(tests)])
    means, weights = [], [None] * len(tests)
    for deal in range(deal_of_run.max() + 1):
        runs = np.flatnonzero(deal_of_run == deal)
        of_faces = np.concatenate([values[run].mean(0) for run in runs])
        means.append(of_faces.mean())
        for run in runs:
            weights[run] = np.full(values[run].shape[1],
                                   1 / len(of_faces) / (deal_of_run.max() + 1))
    return over_runs_and_faces(values, weights, np.array(means), tests)


def means_of_runs(values):
    """The means of runs, float (runs,), and the weights of faces in the mean of these means."""
    weights = [np.full(run.shape[1], 1 / run.shape[1] / len(values)) for run in values]
    return np.array([run.mean() for run in values]), weights


def over_runs_and_faces(values, weights, per_unit, tests):
    """The `Estimate` where runs test different faces, some of them in several runs."""
    numbers = clusters(tests)
    runs = np.repeat(np.arange(len(tests)), [len(test.names) for test in tests])
    units, variances = min(len(values), int(numbers.max()) + 1), []
    if units > 1:
        deviations = np.concatenate([(run.mean(0) - per_unit.mean()) * weight
                                     for run, weight in zip(values, weights)]) * len(runs)
        variances = [crossed_variance(deviations, runs, numbers)]
    return estimate(values, weights, per_unit, units, variances)


def means_of_subjects(values, tests):
    """Subjects' means and the run that tests each: float, int (subjects,); weights of faces."""
    numbers = clusters(tests)
    run_of_face = np.repeat(np.arange(len(tests)), [len(test.names) for test in tests])
    counts = np.bincount(numbers)
    of_faces = np.concatenate([run.mean(0) for run in values])
    runs = np.zeros(len(counts), int)
    runs[numbers] = run_of_face
    weights = 1 / counts[numbers] / len(counts)
    return (np.bincount(numbers, of_faces) / counts, runs,
            [weights[run_of_face == run] for run in range(len(tests))])


def over_subjects(values, tests):
    """Where each run tests one subject.

    Most training subjects are the same in all runs. What others would change cannot be told from
    one data set (Bengio and Grandvalet, JMLR 5, 2004), so it is not in the interval.
    """
    means, _, weights = means_of_subjects(values, tests)
    variances = []
    if len(means) > 1:
        variances = [(np.var(means, ddof=1) / len(means), len(means) - 1)]
    return estimate(values, weights, means, len(means), variances)


def over_subjects_and_folds(values, tests):
    """Where each run tests several subjects: the wider of the intervals over subjects and over
    folds, since the subjects of a fold share a classifier (Cameron and Miller 2015). For the
    training subjects see `over_subjects`."""
    means, runs, weights = means_of_subjects(values, tests)
    units, variances = min(len(means), len(values)), []
    if units > 1:
        folds = np.unique(runs, return_inverse=True)[1]
        variances = [(np.var(means, ddof=1) / len(means), len(means) - 1),
                     variance_by_cluster(means - means.mean(), folds)]
    return estimate(values, weights, means, units, variances)


# -------------------------------------------------------------------------- accuracies and gains
def accuracy(hits, tests, uncertainty):
    """Accuracy of an arm in percent, with its 95 % interval.

    The interval is symmetric in the logarithm of the odds, where an accuracy near 100 % is not
    skewed (the delta method: Agresti, Categorical Data Analysis, 2013, section 3.1). Where the
    standard error is 0, as of faces that are all recognised, there is nothing to measure it by,
    and the interval is the mean.

    Parameters
    ----------
    hits, tests : see the module
    uncertainty : a function `over_...`

    Returns
    -------
    dict
        mean and per_unit in percent, ci95 [low, high] in percent or None of a single unit,
        standard_error in points, degrees, units, initialisation: see `Estimate`.
    """
    from scipy import special

    values = uncertainty([100 * run for run in hits], tests)
    ends = None
    if values.standard_error is not None:
        ends = [values.mean, values.mean]
        share = values.mean / 100
        if values.standard_error > 0 and 0 < share < 1:
            half = half_width(values.standard_error**2, values.degrees) / 100
            half /= share * (1 - share)
            ends = [100 * float(special.expit(special.logit(share) + side * half))
                    for side in (-1, 1)]
    result = {**values._asdict(), "per_unit": values.per_unit.tolist(), "ci95": ends}
    del result["p"]
    return result


def gain(first, second, tests, uncertainty):
    """Gain in points of one arm over another on the same test faces.

    Repeats are paired: the first of one arm with the first of the other.

    Parameters
    ----------
    first, second : the two arms' `hits`
    tests, uncertainty : see `accuracy`

    Returns
    -------
    dict
        mean : points, first minus second.
        ci95 : [low, high] in points within -100 and 100; None of a single unit.
        p : two-sided, not corrected for the number of questions.
        won : percent of units on which the first arm does better; ties count half.
        detectable : points. Were this the true gain, the interval would lie above 0 in 80 % of
        such experiments. None where the standard error is 0 or None.
        standard_error, degrees, units, initialisation : see `Estimate`.
    """
    differences = [100 * (one - other) for one, other in zip(first, second)]
    values = uncertainty(differences, tests)
    of_units = np.round(values.per_unit, 9)
    result = {**values._asdict(), "ci95": None,
              "won": 100 * float(np.mean(np.where(of_units == 0, 0.5, of_units > 0))),
              "detectable": detectable(values.standard_error, values.degrees, LEVEL)}
    del result["per_unit"]
    if values.standard_error is not None:
        half = half_width(values.standard_error**2, values.degrees)
        result["ci95"] = [float(np.clip(values.mean + side * half, -100, 100)) for side in (-1, 1)]
    return result


def detectable(standard_error, degrees, level):
    """The gain in points that a two-sided test at that level sees with 80 % power: (t(1 - level/2)
    + t(0.8)) standard errors (Bloom, Evaluation Review 19, 1995)."""
    from scipy import stats

    if not standard_error:
        return None
    return float(stats.t.ppf([1 - level / 2, 0.8], degrees).sum() * standard_error)


def points(mean, ci95):
    """+18.4 (+10.6 to +26.2)"""
    # Adding 0.0 makes 0.0 of -0.0.
    mean, *ends = (round(value, 1) + 0.0 for value in (mean, *(ci95 or [])))
    return f"{mean:+.1f}" + (f" ({ends[0]:+.1f} to {ends[1]:+.1f})" if ends else "")


# ------------------------------------------------------------------------------------- questions
class Question(NamedTuple):
    text: str
    arm: str  # that the question is about
    other: str  # that it is set against
    same_steps: bool = False  # asked only where all arms take as many optimiser steps


# {method} is each method in turn, {control} the control that METHODS names for it. A question is
# asked where both arms were trained.
QUESTIONS = [
    Question("Does {method} beat no augmentation?", "{method}", "none"),
    Question("Does {method} do more than longer training?", "{method}", "longer-{method}"),
    Question("Does {method} do more than its control without an autoencoder?",
             "{method}", "{control}"),
    Question("Does {method} beat standard augmentation?", "{method}", "geometric", True),
    Question("Does {method} add to standard augmentation?",
             "{method}+geometric", "geometric", True),
    Question("Does {method} add more to it than its control?",
             "{method}+geometric", "{control}+geometric"),
    Question("Does standard augmentation beat none?", "geometric", "none")]


def questions(arms, controls, same_steps):
    """What is asked of the arms that were trained.

    Parameters
    ----------
    arms : list of str
    controls : {method: its control, or ""}
    same_steps : bool
        Whether all arms take as many optimiser steps.

    Returns
    -------
    list of dict: question, method ("" of none), arm, other
    """
    asked = []
    for row in QUESTIONS:
        if row.same_steps and not same_steps:
            continue
        about_methods = "{method}" in row.arm
        for method, control in controls.items() if about_methods else [("", "")]:
            text, arm, other = (pattern.format(method=method, control=control)
                                for pattern in (row.text, row.arm, row.other))
            if arm in arms and other in arms:
                asked.append({"question": text, "method": method, "arm": arm, "other": other})
    return asked


def answers(asked, gains):
    """Answer all questions of a report.

    Parameters
    ----------
    asked : list of dict, see `questions`
    gains : list of dict, the `gain` of each

    Returns
    -------
    list of dict, a question each
        question, method, arm, other : see `questions`
        gain : points
        ci95 : [low, high] in points, not corrected; None of a single unit
        p : two-sided, corrected by Holm's method for all questions of the report
        answer : "Yes" or "No" if p is below 0.05; "Too few runs to tell" of fewer than five units;
        else "Not shown"
        at_most : upper end of ci95; None of a single unit
        detectable : points. So large a true gain would be answered by "Yes" in 80 % of such
        experiments, were this the question with the smallest p. None where it cannot be told.
        standard_error, degrees, units, initialisation : see `Estimate`
    """
    rows = []
    for row, values, p in zip(asked, gains, holm([values["p"] for values in gains])):
        answer = "Not shown"
        if values["units"] < FEWEST_UNITS:
            answer = "Too few runs to tell"
        elif p < LEVEL:
            answer = "Yes" if values["mean"] > 0 else "No"
        rows.append({**row, "gain": values["mean"], "ci95": values["ci95"], "p": float(p),
                     "answer": answer, "at_most": values["ci95"] and values["ci95"][1],
                     "detectable": detectable(values["standard_error"], values["degrees"],
                                              LEVEL / len(asked)),
                     **{key: values[key] for key in ("standard_error", "degrees", "units",
                                                     "initialisation")}})
    return rows


def holm(p_values):
    """p-values adjusted for being several (Holm, Scandinavian J. Statistics 6, 1979)."""
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    adjusted = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    result = np.empty(len(order))
    result[order] = np.minimum(1, adjusted)
    return result


# ------------------------------------------------------------------------------------ the ladder
def ladder(hits, method, control, tests, uncertainty):
    """Where a method's gain over none comes from, a step at a time.

    The steps lead from none to longer-<method>, the control and the method, all of which train
    equally long but none; arms that were not trained are left out. Before the last two stands
    their sum: all synthetic faces together.

    Parameters
    ----------
    hits : {arm: its `hits`}, with none and the method
    method, control : str; control "" where there is none
    tests, uncertainty : see `accuracy`

    Returns
    -------
    list of dict, a step each
        arm, other : the step leads from the other arm to this one
        source : what it adds, in words
        part : whether it is a part of the step "all synthetic faces together"
        accuracy : percent, of the arm
        gain : see `gain`
    """
    longer = f"longer-{method}"
    start, steps = "none", []
    if longer in hits:
        steps.append((longer, "none", "longer training", False))
        start = longer
    source = "all synthetic faces together"
    if start == "none":
        source += ", and longer training"
    steps.append((method, start, source, False))
    if control in hits:
        steps += [(control, start, f"faces without an autoencoder ({control})", True),
                  (method, control, "the autoencoder", True)]
    return [{"arm": arm, "other": other, "source": source, "part": part,
             "accuracy": accuracy(hits[arm], tests, uncertainty)["mean"],
             "gain": gain(hits[arm], hits[other], tests, uncertainty)}
            for arm, other, source, part in steps]


# ------------------------------------------------------------------------------ several data sets
def pooled(gains):
    """One gain from several data sets.

    Parameters
    ----------
    gains : list of `gain`, a data set each, two at least, with standard errors above 0

    Returns
    -------
    dict
        mean, ci95 : points. The mean over these data sets, weighted with the inverse of their
        variances; its interval holds whether or not the true gains differ (Rice, Higgins and
        Lumley, J. Royal Statistical Society A 181, 2018), but is about these data sets alone.
        tau : points, the standard deviation of true gains over data sets (DerSimonian and Laird,
        Controlled Clinical Trials 7, 1986).
        elsewhere, elsewhere_ci95 : points. The mean over all data sets of which these are a sample
        (random effects; interval of Hartung and Knapp, Statistics in Medicine 20, 2001, never
        narrower than without their factor). Of two data sets it is very wide: one degree of
        freedom.
    """
    from scipy import stats

    means, errors, degrees = (np.array([values[key] for values in gains], float)
                              for key in ("mean", "standard_error", "degrees"))
    weights = 1 / errors**2
    mean = np.sum(weights * means) / weights.sum()
    half = half_width(1 / weights.sum(), degrees.min())  # the weights are estimates too
    count = len(means)
    spread = np.sum(weights * (means - mean)**2) - (count - 1)
    tau2 = max(0, spread / (weights.sum() - np.sum(weights**2) / weights.sum()))
    weights = 1 / (errors**2 + tau2)
    elsewhere = np.sum(weights * means) / weights.sum()
    factor = max(1, np.sum(weights * (means - elsewhere)**2) / (count - 1))
    wide = np.sqrt(factor / weights.sum()) * stats.t.ppf(1 - LEVEL / 2, count - 1)
    return {"mean": float(mean), "ci95": [float(mean - half), float(mean + half)],
            "tau": float(np.sqrt(tau2)), "elsewhere": float(elsewhere),
            "elsewhere_ci95": [float(np.clip(elsewhere + side * wide, -100, 100))
                               for side in (-1, 1)]}
