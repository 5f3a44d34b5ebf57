"""From right and wrong predictions to accuracies, gains, their intervals, and answers.

Accuracies are in percent (0 to 100), gains in points (-100 to 100), everywhere.
"""

from data.splits import ONE_SPLIT, SUBJECT_INDEPENDENT
from utils import listed

import numpy as np

# An arm's `hits`: for each run a float array (faces,), the share of the run's classifiers, 0 to 1,
# that are right on each test face. `subjects`: for each run a str array (faces,), "" if unknown.
INTERVALS = {
    "published": "over initialisations and test faces, clustered by subject",
    "given": "over initialisations and test faces, clustered by subject",
    "holdout": "over splits, corrected for the training faces they share (Nadeau and Bengio)",
    "loso": "over test subjects, conditional on the training subjects",
    "kfold": "over test subjects or over folds, whichever is wider, conditional on the training "
             "subjects"}
UNITS = {"published": "runs", "given": "runs", "holdout": "splits",
         "loso": "subjects", "kfold": "subjects"}
FEWEST_UNITS = 5  # with fewer, nothing is concluded
LEVEL = 0.025  # of a one-sided test: the chance that a 95 % interval lies above 0 by accident


# ------------------------------------------------------------------------------------ statistics
def clusters(subjects):
    """Number each face's subject: int (faces,). A face of an unknown subject stands alone."""
    names = [subject or f"unknown\0{face}" for face, subject in enumerate(subjects)]
    return np.unique(names, return_inverse=True)[1]


def per_unit(values, subjects, protocol):
    """Means over the protocol's units.

    Parameters
    ----------
    values : list over runs of float arrays (faces,)
    subjects : list over runs of str arrays (faces,)

    Returns
    -------
    means : float (units,)
        One for each run (published, given, holdout) or each subject (loso, kfold).
    runs : int (units,)
        The run in which each unit was tested: under kfold, the subject's fold.
    """
    if protocol not in SUBJECT_INDEPENDENT:
        return np.array([run.mean() for run in values]), np.arange(len(values))
    numbers = clusters(np.concatenate(subjects))
    counts = np.bincount(numbers)
    run_of_face = np.repeat(np.arange(len(values)), [len(run) for run in values])
    runs = np.zeros(len(counts), int)
    runs[numbers] = run_of_face
    return np.bincount(numbers, np.concatenate(values)) / counts, runs


def variance_by_cluster(deviations, numbers):
    """Variance of a mean whose terms are correlated within clusters, and its degrees of freedom.

    deviations: float (n,), from the mean; numbers: int (n,), the cluster of each. With n clusters
    it is the usual variance of a mean. Cameron and Miller, J. Human Resources 50, 2015, eq. 11
    and 12, for a mean.
    """
    count = numbers.max() + 1
    sums = np.bincount(numbers, deviations, count)
    return count / (count - 1) * np.sum(sums**2) / len(deviations)**2, count - 1


def two_way_variance(values, subjects):
    """Variance of the mean of values (runs, faces), both of which are samples.

    The variance over runs (initialisations) and the variance over test faces, clustered by
    subject, are added. Both contain the interaction of run and face, so it is subtracted
    once: Cameron, Gelbach and Miller, J. Business and Economic Statistics 29, 2011; Owen, Annals
    of Applied Statistics 1, 2007; for readers and cases, Obuchowski and Rockette, Communications
    in Statistics 24, 1995. Degrees of freedom: Satterthwaite, Biometrics Bulletin 2, 1946.

    Returns
    -------
    variance, degrees : float
    """
    numbers = clusters(subjects)
    runs, faces = values.shape
    count = numbers.max() + 1
    deviations = values - values.mean()
    of_runs, of_faces = deviations.mean(1), deviations.mean(0)
    over_runs = np.sum(of_runs**2) / (runs - 1) / runs
    over_faces, _ = variance_by_cluster(of_faces, numbers)
    rest = deviations - of_runs[:, None] - of_faces
    sums = np.stack([np.bincount(numbers, run, count) for run in rest])
    together = np.sum(sums**2) * count / (count - 1) / (runs - 1) / runs / faces**2
    variance = max(over_runs + over_faces - together, over_runs, over_faces)
    if variance == 0:
        return 0.0, min(runs, count) - 1
    degrees = variance**2 / (over_runs**2 / (runs - 1) + over_faces**2 / (count - 1))
    return variance, max(degrees, min(runs, count) - 1)


def uncertainty(values, subjects, protocol, test_to_train):
    """The mean over the protocol's units and its standard error.

    published, given: `two_way_variance`. holdout: t over splits, the variance corrected for
    training sets that overlap (Nadeau and Bengio, Machine Learning 52, 2003). loso: t over
    subjects. kfold: the wider of t over subjects and t over folds, since the subjects of a fold
    share a classifier (Cameron and Miller 2015). Under both, most training subjects are the same
    in all runs. What other training subjects would change cannot be told from one data set
    (Bengio and Grandvalet, JMLR 5, 2004), so it is not in the interval.

    Parameters
    ----------
    values, subjects : see `per_unit`
    test_to_train : float
        Test faces divided by training faces; only holdout uses it.

    Returns
    -------
    mean : float
    standard_error : float, or None of a single unit
    degrees : float
        Degrees of freedom of Student's t.
    units : int
        How many runs or subjects: the fewer of runs and clusters under published and given, of
        subjects and folds under kfold.
    """
    from scipy import stats

    means, runs = per_unit(values, subjects, protocol)
    mean, units = float(means.mean()), len(means)
    if protocol in ONE_SPLIT:
        units = min(units, int(clusters(subjects[0]).max()) + 1)
    elif protocol == "kfold":
        units = min(units, len(values))
    if units < 2:
        return mean, None, 0, units
    if protocol in ONE_SPLIT:
        candidates = [two_way_variance(np.stack(values), subjects[0])]
    elif protocol == "holdout":
        candidates = [((1 / units + test_to_train) * np.var(means, ddof=1), units - 1)]
    else:
        candidates = [(np.var(means, ddof=1) / len(means), len(means) - 1)]
        if protocol == "kfold":
            folds = np.unique(runs, return_inverse=True)[1]
            candidates.append(variance_by_cluster(means - mean, folds))
    variance, degrees = max(candidates, key=lambda candidate: (
        np.sqrt(candidate[0]) * stats.t.ppf(1 - LEVEL, candidate[1]), candidate[1]))
    error = float(np.sqrt(variance))
    return mean, error if error > 1e-9 else 0.0, float(degrees), units  # 0 but for rounding


def accuracy(hits, subjects, protocol, test_to_train=0.0):
    """Accuracy of an arm in percent, with its 95 % interval.

    The interval is symmetric in the logarithm of the odds, where an accuracy near 100 % is not
    skewed (the delta method: Agresti, Categorical Data Analysis, 2013, section 3.1). Where the
    standard error is 0, as of faces that are all recognised, there is nothing to measure it by,
    and the interval is the mean.

    Returns
    -------
    dict
        mean and per_unit in percent, ci95 [low, high] in percent or None of a single unit,
        standard_error in points, degrees, units.
    """
    from scipy import special, stats

    values = [100 * run for run in hits]
    mean, error, degrees, units = uncertainty(values, subjects, protocol, test_to_train)
    ends = None
    if error is not None:
        ends = [mean, mean]
        if error > 0 and 0 < mean < 100:
            share = mean / 100
            half = stats.t.ppf(0.975, degrees) * error / 100 / (share * (1 - share))
            ends = [100 * float(special.expit(special.logit(share) + side * half))
                    for side in (-1, 1)]
    return {"mean": mean, "per_unit": per_unit(values, subjects, protocol)[0].tolist(),
            "ci95": ends, "standard_error": error, "degrees": degrees, "units": units}


def gain(first, second, subjects, protocol, test_to_train=0.0):
    """Gain in points of one arm over another on the same test faces.

    Parameters
    ----------
    first, second : the two arms' `hits`
    subjects, protocol, test_to_train : see `uncertainty`

    Returns
    -------
    dict
        mean : points, first minus second.
        ci95 : [low, high] in points within -100 and 100; None of a single unit.
        standard_error : points, or None.
        degrees : degrees of freedom of Student's t.
        units : how many runs or subjects; see `uncertainty`.
        won : percent of runs or subjects on which the first arm does better; ties count half.
        detectable : points. Were this the true gain, the interval would lie above 0 in 80 % of
        such experiments. None where the standard error is 0 or None.
    """
    from scipy import stats

    gains = [100 * (one - other) for one, other in zip(first, second)]
    mean, error, degrees, units = uncertainty(gains, subjects, protocol, test_to_train)
    of_units = np.round(per_unit(gains, subjects, protocol)[0], 9)
    result = {"mean": mean, "ci95": None, "standard_error": error, "degrees": degrees,
              "units": units, "detectable": None,
              "won": 100 * float(np.mean(np.where(of_units == 0, 0.5, of_units > 0)))}
    if error is not None:
        half = stats.t.ppf(1 - LEVEL, degrees) * error
        result["ci95"] = [float(np.clip(mean + side * half, -100, 100)) for side in (-1, 1)]
        result["detectable"] = detectable(result, LEVEL) if error else None
    return result


def detectable(gain, level):
    """The gain in points that a one-sided test at that level sees with 80 % power: (t(1 - level) +
    t(0.8)) standard errors (Bloom, Evaluation Review 19, 1995)."""
    from scipy import stats

    quantiles = stats.t.ppf([1 - level, 0.8], gain["degrees"])
    return float(quantiles.sum() * gain["standard_error"])


# -------------------------------------------------------------------------------------- verdicts
def p_value(gain):
    """One-sided p of a gain, `gain` as from the function of that name: small if it is above 0."""
    from scipy import stats

    if gain["standard_error"] == 0 and gain["mean"] > 1e-9:
        return 0.5 ** gain["units"]  # all units gain the same: a sign test
    if not gain["standard_error"]:
        return 1.0
    return float(stats.t.sf(gain["mean"] / gain["standard_error"], gain["degrees"]))


def holm(p_values):
    """p-values adjusted for being several (Holm, Scandinavian J. Statistics 6, 1979)."""
    p_values = np.asarray(p_values, float)
    order = np.argsort(p_values)
    adjusted = np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1))
    result = np.empty(len(order))
    result[order] = np.minimum(1, adjusted)
    return result


def verdict(gains, adjusted):
    """Answer one question of one method in a word.

    Parameters
    ----------
    gains : list of dict
        What the question is about: the method's `gain` over one arm or several.
    adjusted : float
        The p-value of all of them together after Holm over the methods asked; see `verdicts`.

    Returns
    -------
    str
        "Yes": all of the gains are above 0. "No": one is below 0 (Bonferroni over the gains).
        "Too few runs to tell": fewer than five runs, or test subjects. "Not shown": none of these.
    """
    if min(gain["units"] for gain in gains) < FEWEST_UNITS:
        return "Too few runs to tell"
    if adjusted <= LEVEL:
        return "Yes"
    below = [p_value({**gain, "mean": -gain["mean"]}) for gain in gains]
    return "No" if min(below) <= LEVEL / len(gains) else "Not shown"


def verdicts(asked, before=None):
    """Answer one question for several methods.

    A method's "Yes" needs every one of its gains above 0, so the largest p-value counts and is not
    corrected for their number (an intersection-union test: Berger, Technometrics 24, 1982). It
    needs the gains of the questions before it too, so a method that is not shown to help at all is
    not said to help more than something else. The methods are then corrected for their number.

    Parameters
    ----------
    asked : {method: list of gains}
    before : {method: list of gains}
        Those of the questions before this one.

    Returns
    -------
    {method: str}, see `verdict`
    """
    before = before or {}
    largest = [max(map(p_value, [*gains, *before.get(method, [])]))
               for method, gains in asked.items()]
    return {method: verdict(gains, adjusted)
            for (method, gains), adjusted in zip(asked.items(), holm(largest))}


BEATS = "Does {} beat no augmentation?"
LONGER = "Does {} do more than longer training?"
NEEDS = "Does {} need its autoencoder?"
BETTER = "Is {} better than standard augmentation?"
ADDS = "Does {} add to standard augmentation?"


def questions(arms, controls, protocol):
    """What is asked of each method, in this order, with the pairs of arms that answer it.

    Parameters
    ----------
    arms : list of str
        The arms that were trained.
    controls : {method: tuple of its controls without an autoencoder}
    protocol : str

    Returns
    -------
    {question: {method: list of pairs (arm, the arm it is set against)}}
        An empty list where an arm is missing that the question needs. The last question is about
        other arms than those before it, so it asks for a gain over none again.
    """
    methods = [method for method in controls if method in arms]
    geometric = ["geometric"] if "geometric" in arms else []

    def against(arm, others):
        return [(arm, other) for other in others if other in arms]

    asked = {BEATS: {arm: against(arm, ["none"]) for arm in methods + geometric}}
    if protocol == "published":  # elsewhere all arms take the same number of steps
        asked[LONGER] = {method: against(method, [f"longer-{method}"]) for method in methods}
    asked[NEEDS] = {method: against(method, controls[method]) for method in methods
                    if controls[method]}
    if geometric:
        asked[BETTER] = {method: against(method, geometric) for method in methods}
    if geometric and protocol != "published":  # no arm trains as long as method+geometric there
        asked[ADDS] = {method: against(f"{method}+geometric", ["geometric", "none"])
                       for method in controls if f"{method}+geometric" in arms}
    return asked


def comparisons(arms, controls, protocol):
    """All pairs (arm, the arm it is set against) that a report needs, each once."""
    asked = questions(arms, controls, protocol)
    pairs = [(arm, "none") for arm in arms if arm != "none"]
    for methods in asked.values():
        for several in methods.values():
            pairs += several
    return list(dict.fromkeys(pairs))


def points(gain):
    """+18.4 (+10.6 to +26.2)"""
    # Adding 0.0 makes 0.0 of -0.0.
    mean, *ends = (round(value, 1) + 0.0 for value in (gain["mean"], *(gain["ci95"] or [])))
    return f"{mean:+.1f}" + (f" ({ends[0]:+.1f} to {ends[1]:+.1f})" if ends else "")


def answers(gains, controls, protocol):
    """The questions with their answers, a line each.

    Parameters
    ----------
    gains : {arm: {other arm: gain}}
        At least those of `comparisons`.
    controls, protocol : see `questions`

    Returns
    -------
    list of str
    """
    arms = ["none", *gains]
    lines, before, asked_about = [], {}, {"none"}
    for question, pairs in questions(arms, controls, protocol).items():
        asked = {method: [gains[arm][other] for arm, other in several]
                 for method, several in pairs.items() if several}
        if question == ADDS:  # asks about other arms than the questions before it
            before = {}
        words = verdicts(asked, before)
        for method, several in pairs.items():
            asked_about.update(*several)
            text = f"**{question.format(f'`{method}`')}** "
            if not several:
                lacking = controls[method] if question == NEEDS else [f"longer-{method}"]
                lines.append(f"{text}Not asked: no arm {' or '.join(lacking)} was trained.")
                continue
            said = ", ".join(f"{points(gains[arm][other])} points over {other}"
                             for arm, other in several)
            more = explain(words[method], asked[method], before.get(method, []), len(asked))
            lines.append(f"{text}{words[method]}: {said}{more}.")
        for method, several in asked.items():
            before[method] = [*before.get(method, []), *several]
    return lines + exploratory({arm: over["none"] for arm, over in gains.items()
                                if arm not in asked_about})


def explain(word, gains, before, methods):
    """What to add to "Not shown": the gain that would have been seen, or what stands against it."""
    if word == "Too few runs to tell":
        return f"; there are fewer than {FEWEST_UNITS} runs or test subjects"
    if word != "Not shown":
        return ""
    if max(map(p_value, gains)) > LEVEL:
        if not all(gain["standard_error"] for gain in gains):
            return "; where a gain is the same in every run or subject, chance cannot be measured"
        seen = max(detectable(gain, LEVEL / methods) for gain in gains)
        if seen >= 100:
            return "; not even a true gain of 100 points would be seen in 80 % of such experiments"
        return f"; a true gain of {seen:.1f} points would be seen in 80 % of such experiments"
    if max(map(p_value, [*gains, *before])) > LEVEL:
        return "; this alone is above 0, but a question before it is not answered by Yes"
    return f"; this alone is above 0, but not after Holm's correction for {methods} methods"


def exploratory(gains):
    """A line about the arms over none that no question is about: nobody asked beforehand what is
    seen of them. gains: {arm: gain}"""
    gains = {arm: gain for arm, gain in gains.items() if gain["units"] >= FEWEST_UNITS}
    if not gains:
        return []
    adjusted = holm([p_value(gain) for gain in gains.values()])
    above = [f"{arm} {points(gain)}" for (arm, gain), p in zip(gains.items(), adjusted)
             if p <= LEVEL]
    said = listed(above, 20) + ", above 0 after Holm's correction" if above else \
        "none is above 0 after Holm's correction"
    return [f"**Other arms over none** (exploratory, {len(gains)} looked at): {said}."]


# ------------------------------------------------------------------------------------ the ladder
WITHOUT_AUTOENCODER = {"person-mean": "the subject's mean faces",
                       "linear": "a linear model of the change"}


def ladder(hits, subjects, controls, method="translate"):
    """Where a method's gain under `published` comes from, a step at a time.

    The steps are none -> longer-<method> -> the control with the highest accuracy -> the method;
    arms that were not trained are left out. The steps add up to the gain over none. The control is
    chosen by the accuracies that are then compared, which flatters its step a little and the
    method's as much the less; of two controls that are as good, the intervals of both steps still
    held the truth in 94 to 97 % of simulated experiments.

    Parameters
    ----------
    hits : {arm: its `hits`}, with none and the method
    subjects : see `per_unit`
    controls : names of the method's controls without an autoencoder
    method : str

    Returns
    -------
    list of dict, a rung each
        arm : str
        accuracy : percent
        source : what the step to it adds, in words; "" of the first
        step : `gain` over the rung before; None of the first
        over_none : `gain` over none; None of the first
        chosen_from : list of the controls it was chosen from; empty of other arms
    """
    def mean(arm):
        return accuracy(hits[arm], subjects, "published")["mean"]

    def over(arm, other):
        return gain(hits[arm], hits[other], subjects, "published")

    trained = [arm for arm in controls if arm in hits]
    best = [max(trained, key=mean)] if trained else []
    arms = ["none", *(arm for arm in [f"longer-{method}"] if arm in hits), *best, method]
    rungs = [{"arm": "none", "accuracy": mean("none"), "source": "", "step": None,
              "over_none": None, "chosen_from": []}]
    for before, arm in zip(arms, arms[1:]):
        rungs.append({"arm": arm, "accuracy": mean(arm),
                      "source": source_of_step(before, arm, method),
                      "step": over(arm, before), "over_none": over(arm, "none"),
                      "chosen_from": trained if arm in best else []})
    return rungs


def source_of_step(before, arm, method):
    """What the step from one rung to the next adds, in words."""
    if arm.startswith("longer-"):
        return "longer training"
    if arm != method:
        added = WITHOUT_AUTOENCODER.get(arm, "the control's faces")
    elif before == "none" or before.startswith("longer-"):
        added = "the synthetic faces"
    else:
        return "the autoencoder"
    return f"{added} and longer training" if before == "none" else added


def ladder_in_words(rungs):
    """The ladder as one sentence, and one or two about how sure it is."""
    method, steps = rungs[-1]["arm"], rungs[1:]
    total = rungs[-1]["over_none"]
    if len(steps) == 1:
        return f"{method} over none: {points(total)} points, from {steps[0]['source']}; no " \
            f"control was trained to take it apart."
    parts = []
    for rung in steps:
        without = " (no autoencoder)" if rung["arm"] != method and \
            not rung["arm"].startswith("longer-") else ""
        parts.append((points(rung["step"]), rung["source"] + without))
    if all(round(rung["step"]["mean"], 1) > 0 for rung in steps):
        texts = [f"{value} from {source}" for value, source in parts]
        texts[0] = texts[0].replace(" from ", " come from ", 1)
        text = f"Of the {points(total)} points of {method} over none, "
    else:
        texts = [f"{value} from {source}" for value, source in parts]
        text = f"{method} gains {points(total)} points over none, step by step: "
    said = ", ".join(texts[:-1]) + f" and {texts[-1]}"
    sentences = [f"{text}{said}."]
    unsure = [rung["source"] for rung in steps
              if rung["step"]["ci95"] and rung["step"]["ci95"][0] <= 0 <= rung["step"]["ci95"][1]]
    if unsure:
        sentences.append(f"Not distinguishable from 0: {listed(unsure, 9)}.")
    for rung in steps:
        if len(rung["chosen_from"]) > 1:
            sentences.append(f"{rung['arm']} did best of {' and '.join(rung['chosen_from'])} on "
                             f"these test faces and was chosen for that.")
    return " ".join(sentences)
