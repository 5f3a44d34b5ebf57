"""Stage 4 of 4: accuracy on the test faces, with and without augmentation, and what it tells.

    python evaluate.py [EXPERIMENT]              one experiment
    python evaluate.py EXPERIMENT EXPERIMENT     each of them, and a report with both side by side
    python evaluate.py EXPERIMENT --predict PHOTO ...    what its classifiers say of photographs

This is the only script in which networks see test faces. It writes predictions.csv (every run,
repeat, arm and test face) and, in report/, report.md, metrics.json (the same numbers for programs),
table.tex (for papers) and figures. JAFFE: seconds to a minute; at the end it prints what the gains
are and where they come from.

Accuracies, precisions and F1 are in percent, gains in points. A precision or F1 of 0/0 counts as 0.
"""

import csv
import io
import os
import re
from pathlib import Path

import numpy as np
from data.splits import SUBJECT_INDEPENDENT

import utils
from augment import METHODS, is_balanced, synthetic_of
from data.baselines import BASELINES, novelty, share_of_known_people, share_shown
from data.experiment import box, faces_of, non_default, open_experiment, require_splits
from data.faces import JAFFE_BOX, JAFFE_SIZE, as_input, default_data, load_photo
from data.registration import register, warp
from data.statistics import (
    INTERVALS,
    UNITS,
    accuracy,
    answers,
    comparisons,
    gain,
    ladder,
    ladder_in_words,
    points,
)
from train_classifier import (
    build_lenet5,
    classifier_file,
    classifier_files,
    read_arm,
    set_weights,
    trained_arms,
)
from utils import Problem

# On JAFFE: of 43 test faces 28 are right without augmentation and 37 with it; the gain in points.
PAPER = {"baseline": 28, "augmented": 37, "test_faces": 43, "gain": 100 * 9 / 43}
REFERENCE = "linear SVM"  # in metrics.json a second time, for programs that know it as that
CONTROLS = {method: tuple(name for name, row in METHODS.items() if row.control_of == method)
            for method, row in METHODS.items() if not row.control_of}


# ----------------------------------------------------------------------------------- predictions
def predict(experiment, arms):
    """Let all classifiers, and the baselines, look at the test faces; writes predictions.csv.

    Returns
    -------
    tests : list of Faces
        The test faces of each run.
    predicted : dict
        For each arm and baseline a list over runs of str (repeats, faces): the emotions.

    Raises
    ------
    Problem
        If a test face has had a part in training.
    """
    labels = np.array(experiment.emotions)
    model = build_lenet5(len(labels))
    tests, predicted = [], {arm: [] for arm in (*arms, *BASELINES)}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", "repeat", "arm", "face", "subject", "emotion", "predicted",
                    *(f"p_{label}" for label in experiment.emotions)])
    for run in experiment.runs:
        train, test = (faces_of(utils.load_arrays(experiment.file(run, kind)))
                       for kind in ("train", "test"))
        check_leaks(experiment, run, train, test)
        unknown = set(test.emotions.tolist()) - set(experiment.emotions)
        if unknown:
            raise Problem(f"{experiment.file(run, 'test')}: damaged (a face of emotion "
                          f"{min(unknown)}); remove it and run train_cae.py again")
        tests.append(test)
        for name, baseline in BASELINES.items():
            if run and experiment.one_split:  # the same faces again
                predicted[name].append(predicted[name][0])
            else:
                predicted[name].append(baseline(train.images, train.emotions, test.images)[None])
        for arm in arms:
            guesses = []
            for repeat in range(experiment.settings["repeats"]):
                set_weights(model, classifier_file(experiment, run, arm, repeat))
                probabilities = utils.apply(model, as_input(test.images))
                guesses.append(labels[probabilities.argmax(1)])
                for k, shares in enumerate(probabilities):
                    table.writerow([run, repeat, arm, test.names[k], test.subjects[k],
                                    test.emotions[k], guesses[-1][k],
                                    *(f"{share:.5f}" for share in shares)])
            predicted[arm].append(np.stack(guesses))
    utils.write_text(experiment.folder / "predictions.csv", text.getvalue())
    return tests, predicted


def check_leaks(experiment, run, train, test):
    """Raise `Problem` if a test face is a training face or a parent of a synthetic one."""
    parents = {experiment.file(run, "train"): train.names}
    for file in synthetic_of(experiment, run).values():
        arrays = utils.load_arrays(file)
        parents[file] = arrays["names"][np.unique(arrays["parents"])]
    for file, names in parents.items():
        leaked = set(test.names.tolist()) & set(names.tolist())
        if leaked:
            raise Problem(f"{file}: made from the test face {min(leaked)}; remove it and run the "
                          f"scripts again, in their sequence")


# --------------------------------------------------------------------------------------- metrics
def require_classifiers(experiment, arms):
    if "none" not in arms:
        raise Problem(f"{experiment.folder}: no classifiers yet; run train_classifier.py "
                      f"{experiment.path}")


def evaluate(experiment):
    """The contents of metrics.json, as results/README.md lists them; predictions.csv is written on
    the way."""
    arms, protocol = trained_arms(experiment), experiment.protocol
    require_classifiers(experiment, arms)
    require_splits(experiment, "test")
    utils.require([file for arm in arms for file in classifier_files(experiment, arm)],
                  f"train_classifier.py {experiment.path} --arms {','.join(arms)}")
    tests, predicted = predict(experiment, arms)
    arrays = utils.load_arrays(experiment.file(0, "train"))
    train, transforms = faces_of(arrays), arrays["transforms"]
    subjects = [test.subjects for test in tests]
    ratio = len(tests[0].names) / len(train.names)
    hits = {name: [(guesses == test.emotions).mean(0) for guesses, test in zip(runs, tests)]
            for name, runs in predicted.items()}
    gains = {}
    for arm, other in [*comparisons(arms, CONTROLS, protocol), *((name, "none")
                                                                 for name in BASELINES)]:
        gains.setdefault(arm, {})[other] = gain(hits[arm], hits[other], subjects, protocol, ratio)
    results = {name: {"accuracy": accuracy(hits[name], subjects, protocol, ratio),
                      "gain": gains.get(name, {}).get("none"),
                      **confusion(runs, tests, experiment.emotions)}
               for name, runs in predicted.items()}
    for arm in arms:
        results[arm] |= size_of_arm(experiment, arm)
    near, rungs = how_near(experiment, tests), []
    if protocol == "published" and "translate" in arms:
        rungs = ladder(hits, subjects, CONTROLS["translate"])
    return {
        "dataset": {"name": experiment.dataset, **{key: getattr(experiment, key) for key in (
            "title", "stand_in", "faces", "subjects", "emotions", "fingerprint", "notes")}},
        "protocol": protocol, "runs": len(experiment.runs),
        "repeats": experiment.settings["repeats"],
        "units": results["none"]["accuracy"]["units"], "interval": INTERVALS[protocol],
        "training_subjects": near.pop("training_subjects"),
        "test_faces": len(np.unique(np.concatenate([test.names for test in tests]))),
        "rejected_registrations": int((~transforms.any(1)).sum())
        if experiment.settings["align"] == "mean" else 0,
        "settings": experiment.settings, "environment": experiment.environment,
        "changes": experiment.changes, "arms": {arm: results[arm] for arm in arms},
        "against": {arm: over for arm, over in gains.items() if arm not in BASELINES},
        "baselines": {name: results[name] for name in BASELINES},
        "reference": {"name": REFERENCE, **results[REFERENCE]},
        "ladder": rungs,
        "nearness": {**near, "nearest_neighbour": results["1-NN"]["accuracy"]["mean"]},
        "novelty": {method: how_new(train, file)
                    for method, file in synthetic_of(experiment, 0).items()}, "paper": PAPER}


def confusion(runs, tests, emotions):
    """Precision, recall, F1 and the confusion matrix of an arm's predictions.

    Macro averages are over the emotions that a run's test faces show, their mean over the run's
    classifiers and over runs; the matrix and the values of each emotion are over all predictions.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    pairs = [(test.emotions, guess) for test, run in zip(tests, runs) for guess in run]
    true, predicted = (np.concatenate(texts) for texts in zip(*pairs))
    per_emotion = precision_recall_fscore_support(true, predicted, labels=emotions, zero_division=0)
    macro = 100 * np.mean([macro_averages(*pair, emotions) for pair in pairs], axis=0)
    return {
        **dict(zip(("macro_precision", "macro_recall", "macro_f1"), macro.tolist())),
        "per_emotion": {key: (100 * values).tolist() for key, values in
                        zip(("precision", "recall", "f1"), per_emotion)},
        "confusion_matrix": confusion_matrix(true, predicted, labels=emotions).tolist(),
        "classifiers": len(pairs),
        "stuck": sum(len(set(guess.tolist())) == 1 and len(set(shown.tolist())) > 1
                     for shown, guess in pairs)}


def macro_averages(true, predicted, emotions):
    """Macro (precision, recall, F1), 0 to 1, over the emotions that are there."""
    from sklearn.metrics import precision_recall_fscore_support

    there = [emotion for emotion in emotions if emotion in true]
    return precision_recall_fscore_support(true, predicted, labels=there, average="macro",
                                           zero_division=0)[:3]


def size_of_arm(experiment, arm):
    """How many synthetic faces an arm has in run 0, whether they are those that balance the
    emotions, and optimiser steps on average."""
    method = read_arm(arm).method
    steps = [utils.load_arrays(file)["history"][-1, 0]
             for file in classifier_files(experiment, arm)]
    size = {"synthetic_faces": 0, "balanced": False, "steps": float(np.mean(steps))}
    if method:
        file = experiment.file(0, "synthetic", method)
        size["synthetic_faces"] = len(utils.load_arrays(file)["images"])
        size["balanced"] = is_balanced(experiment, method)
    return size


def how_near(experiment, tests):
    """How near test faces are to training faces, the means over runs.

    Returns
    -------
    dict
        training_subjects : number of known subjects in training, the median.
        same_subject : percent of the test faces whose subject has training faces; None unless it is
        known of all faces who they are, and of one data set.
        same_subject_and_emotion : percent of the test faces of known subjects with a training face
        of the same subject and emotion; None if none is known.
    """
    numbers, same_subject, same_both = [], [], []
    for run in experiment.runs[:1] if experiment.one_split else experiment.runs:
        train = faces_of(utils.load_arrays(experiment.file(run, "train")))
        numbers.append(len(set(train.subjects.tolist()) - {""}))
        same_subject.append(None if experiment.settings.get("test")
                            else share_of_known_people(train, tests[run]))
        same_both.append(share_shown(train, tests[run]))

    def percent(shares):
        return None if None in shares else 100 * float(np.mean(shares))

    return {"training_subjects": int(np.median(numbers)), "same_subject": percent(same_subject),
            "same_subject_and_emotion": percent(same_both)}


def how_new(train, file):
    """`novelty` of a file's synthetic faces. A face is of the subject that most of it comes from,
    or of none: the two faces that `interpolate` takes the middle of may be two subjects'."""
    arrays = utils.load_arrays(file)
    subjects = []
    for parents, weights in zip(arrays["parents"], arrays["weights"]):
        shares = {}
        for parent, weight in zip(train.subjects[parents].tolist(), weights.tolist()):
            shares[parent] = shares.get(parent, 0) + weight
        most = max(shares, key=shares.get, default="")
        subjects.append(most if shares.get(most, 0) > 0.6 else "")
    return novelty(arrays["images"][..., 0], arrays["emotions"], np.array(subjects),
                   train.images, train.emotions, train.subjects)


# ------------------------------------------------------------------------------ words and tables
def table_rows(results):
    """The table of arms or baselines as texts."""
    rows = []
    for name, values in results.items():
        over = values["gain"]
        row = {"arm": name}
        if "steps" in values:
            row |= {"synthetic faces": str(values["synthetic_faces"] or ""),
                    "steps": f"{values['steps']:.0f}"}
        rows.append(row | {"accuracy %": f"{values['accuracy']['mean']:.1f}",
                           "macro F1 %": f"{values['macro_f1']:.1f}",
                           "gain over none, points": points(over) if over else "",
                           "won %": f"{over['won']:.0f}" if over else ""})
        if "steps" in values:
            rows[-1]["stuck"] = f"{values['stuck']} of {values['classifiers']}"
    return rows


def markdown_text(text):
    """Text of the user's own as Markdown shows it."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", utils.printable(text))


def markdown_table(rows):
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def latex_text(text):
    for letter, escaped in (("\\", r"\textbackslash "), ("~", r"\textasciitilde "),
                            ("^", r"\textasciicircum ")):
        text = text.replace(letter, escaped)
    return re.sub(r"([#$%&_{}])", r"\\\1", text)


def latex_table(metrics):
    rows = table_rows(metrics["arms"])
    keys = ("arm", "steps", "accuracy %", "macro F1 %", "gain over none, points")
    lines = [" & ".join(map(latex_text, cells)) + r" \\"
             for cells in (keys, *([row[key] for key in keys] for row in rows))]
    caption = latex_text(utils.printable(source(metrics)) + f". Mean over {runs_in_words(metrics)}"
                         f"; 95 % intervals: {metrics['interval']}.")
    if metrics["dataset"]["stand_in"]:
        caption = rf"\textbf{{These faces are drawn and say nothing about JAFFE.}} {caption}"
    return "\n".join([r"\begin{table}", r"\begin{tabular}{lrrrl}", r"\hline", lines[0], r"\hline",
                      *lines[1:], r"\hline", r"\end{tabular}", rf"\caption{{{caption}}}",
                      r"\end{table}", ""])


def source(metrics):
    return f"{metrics['dataset']['title']}, protocol {metrics['protocol']}"


def runs_in_words(metrics):
    """5 runs of 3 classifiers"""
    counts = (metrics["runs"], "run"), (metrics["repeats"], "classifier")
    return " of ".join(f"1 {noun}" if n == 1 else f"{n} {noun}s" for n, noun in counts)


def opening(metrics):
    """What a reader wants to know first, a line each: what helps, and where a gain comes from."""
    results = {**metrics["arms"], **metrics["baselines"]}
    helps = {name: values["gain"] for name, values in results.items()
             if values["gain"] and values["gain"]["ci95"] and values["gain"]["ci95"][0] > 0}
    best = sorted(helps, key=lambda name: -helps[name]["mean"])
    if results["none"]["accuracy"]["ci95"] is None:
        return ["A single run, fold or test subject gives no interval and proves nothing."]
    lines = ["Gains over no augmentation whose interval lies above 0: " + (", ".join(
        f"{name} {points(helps[name])}" for name in best) or "not one") + ". These intervals are "
        "not corrected for the number of arms; the answers are corrected for the number of "
        "methods."]
    return lines + ([ladder_in_words(metrics["ladder"])] if metrics["ladder"] else [])


def gains_in_words(metrics):
    return opening(metrics) + answers(metrics["against"], CONTROLS, metrics["protocol"])


FIGURES = {
    "ladder": "Where the gain comes from: accuracy of each step, the step to it with its 95 % "
              "interval",
    "gains": "Gain of each arm over no augmentation, with 95 % intervals",
    "accuracy": "Accuracy of each arm: dots are {units}, the bar the mean with its 95 % interval",
    "confusion": "Confusion matrices: all predictions in percent of each true emotion; above each "
                 "the accuracy from the table{numbers}",
    "faces": "What the networks see of run 0's training faces",
    "registration": "Registration: mean face, and the faces it moves most, before and after",
    "cae-loss": "Loss of the CAE over all training faces",
    "reconstructions": "Faces and their reconstruction by run 0's CAE, with the mean squared error",
    "latents": "Run 0's training faces in the CAE's latent space",
    "synthetic": "Synthetic faces of run 0 (framed) beside the training faces they are made from",
    "learning-curves": "Learning curves of the classifiers"}


def report(experiment, metrics):
    """The text of report.md."""
    dataset, units = metrics["dataset"], UNITS[metrics["protocol"]]
    published = metrics["protocol"] == "published"
    text = [f"# Accuracy with and without augmentation: {markdown_text(source(metrics))}", ""]
    if dataset["stand_in"]:
        text += ["> **These are drawn stand-in faces. Nothing below says anything about JAFFE or "
                 "about people.**", ""]
    notes = [*dataset["notes"], *metrics["changes"]]
    if metrics["rejected_registrations"]:
        notes.append(f"{metrics['rejected_registrations']} training faces of run 0 keep their box: "
                     f"their registration was rejected")
    for note in notes:
        text += [f"> **Note:** {markdown_text(note)}.", ""]
    for line in opening(metrics):
        text += [line, ""]
    if metrics["ladder"]:
        text += [f"![{FIGURES['ladder']}](ladder.png)", "", steps_in_words(metrics), ""]
    text += [near_in_words(metrics), ""]
    if published:
        text += [f"The paper reports {PAPER['gain']:+.2f} points on JAFFE, from one run: "
                 f"{paper_in_words()}.", ""]
    if metrics["against"]:
        text += ["## Answers", "", *(f"- {line}" for line in answers(
            metrics["against"], CONTROLS, metrics["protocol"])), ""]
    shared = metrics["nearness"]["same_subject"]
    if shared == 0:
        text += ["These answers are about new people: no test face shows a person in training.", ""]
    else:
        said = "may not be about new people: subjects of test faces may be among the training " \
            "faces" if shared is None else "are not about new people: " \
            f"{shared:.0f} % of the test faces show people who are in training too"
        text += [f"These answers {said}. The protocols `loso` and `kfold` of train_cae.py test on "
                 f"new people.", ""]
    means = f"means over {units}"
    if units == "subjects":
        means = "the former is a mean over people, each of whom counts once, however many faces " \
            "they have, the latter a mean over runs"
    balanced = [arm for arm, values in metrics["arms"].items() if values["balanced"]]
    text += [
        "## Arms", "", f"{markdown_text(experiment)}; {metrics['test_faces']} test faces in "
        f"all; crop {markdown_text(experiment.settings['crop'])}.", "",
        markdown_table(table_rows(metrics["arms"])), "",
        f"Accuracy and macro F1: {means}. There are "
        f"{runs_in_words(metrics)}. In brackets: 95 % intervals, {metrics['interval']}. Synthetic "
        f"faces: of run 0. Steps: mean number of optimiser steps. Won: percent of {units} in which "
        f"the arm beats `none`; ties count half. Stuck: classifiers that give every face the same "
        f"emotion." + (f" Synthetic faces only balance the emotions (--balance) in "
                       f"{', '.join(balanced)}." if balanced else ""), "",
        "## Without a network", "", "The simple classifiers one would try first, on the real "
        "training faces" + (", of which the networks keep a quarter for validation"
                            if published else "") + ".", "",
        markdown_table(table_rows(metrics["baselines"])), ""]
    if metrics["novelty"]:
        text += ["## How new the synthetic faces are", "", novelty_table(metrics["novelty"]), "",
                 "Medians of mean squared pixel differences (white = 1), in run 0. Nearest: from a "
                 "synthetic face to the nearest training face of its subject and emotion (of its "
                 "emotion alone where it mixes two subjects). Takes: between training faces of one "
                 "subject and emotion. Emotions: between training faces of one subject that show "
                 "different emotions.", ""]
    text += ["## Figures", ""]
    numbers = "".join(f"; {label}: {markdown_text(emotion)}" for emotion, label in
                      experiment.labels.items() if label.isdecimal() and label != emotion)
    for name, caption in FIGURES.items():
        if name != "ladder" and (experiment.folder / "report" / f"{name}.png").exists():
            caption = caption.format(units=units, numbers=numbers)
            text += [f"![{caption}]({name}.png)", "", f"{caption}.", ""]
    text += ["## Commands", "", "```", *commands(experiment, metrics["arms"]), "```", "",
             "Made with " + markdown_text(", ".join(f"{key} {value}" for key, value in
                                                    metrics["environment"].items()))
             + ". metrics.json has precision, recall and F1 of each emotion, predictions.csv every "
             "prediction.", ""]
    return "\n".join(text)


def steps_in_words(metrics):
    """What else than its name each step of the ladder differs in."""
    steps = ", ".join(f"{rung['arm']} {metrics['arms'][rung['arm']]['steps']:.0f}"
                      for rung in metrics["ladder"])
    stopped = "is stopped by its own validation loss" if metrics["settings"]["patience"] else \
        "takes as many epochs, of more steps where there are more faces"
    return f"Optimiser steps on average: {steps}. Every arm without `longer-` {stopped}, so the " \
        f"arms differ in length of training too. Synthetic faces are made from all training " \
        f"faces, whereas `none` uses a quarter of them for validation only."


def near_in_words(metrics):
    near = metrics["nearness"]
    text = f"By pixels, the nearest training face shows the right emotion for " \
        f"{near['nearest_neighbour']:.0f} % of the test faces (1-nearest-neighbour" + (
            ", the mean over people)" if metrics["protocol"] in SUBJECT_INDEPENDENT else ")")
    if near["same_subject_and_emotion"] is not None:
        text += f"; {near['same_subject_and_emotion']:.0f} % of those whose subject is known " \
            f"have a training face of the same subject with the same emotion"
    return text + "."


def paper_in_words():
    from scipy.stats import binomtest

    texts = []
    for key in ("baseline", "augmented"):
        right, count = PAPER[key], PAPER["test_faces"]
        ends = binomtest(right, count).proportion_ci(method="wilson")
        texts.append(f"{100 * right / count:.1f} % (95 % Wilson interval {100 * ends.low:.0f} to "
                     f"{100 * ends.high:.0f} %)")
    return " and ".join(texts)


def novelty_table(several):
    def number(value):
        return "" if value is None else f"{value:.4f}"

    return markdown_table([{"method": method, **{key: number(values[key]) for key in
                                                 ("nearest", "takes", "emotions")}}
                           for method, values in several.items()])


def commands(experiment, arms):
    """The four commands that make the experiment again; arms: those of its metrics."""
    options = {"protocol": experiment.protocol, **non_default(experiment)}
    if Path(experiment.data) != default_data().resolve():
        options = {"data": experiment.data, **options}
    results = experiment.folder.resolve().parent
    if results != utils.ROOT / "results":
        options["results"] = os.path.relpath(results)
    words = [f"--{key}{'=' if str(value).startswith('-') else ' '}{utils.shell_quoted(value)}"
             for key, value in options.items()]
    lines = [f"python train_cae.py {' '.join(words)}"]
    for option, balanced in (("", False), (" --balance", True)):
        methods = [read_arm(arm).method for arm, values in arms.items()
                   if read_arm(arm).method and values["balanced"] == balanced]
        if methods:
            lines.append(f"python augment.py {experiment.path} --methods "
                         f"{','.join(dict.fromkeys(methods))}{option}")
    return [*lines, f"python train_classifier.py {experiment.path} --arms {','.join(arms)}",
            f"python evaluate.py {experiment.path}"]


# --------------------------------------------------------------------------------------- figures
def draw_gains(several):
    """A figure of every arm's gain, a row for each of `several`, {label: metrics}."""
    results = [{**metrics["arms"], **metrics["baselines"]} for metrics in several.values()]
    kinds = [metrics[kind] for kind in ("arms", "baselines") for metrics in several.values()]
    names = [name for name in dict.fromkeys(name for arms in kinds for name in arms)
             if name != "none"]
    figure, axes = utils.new_figure(7, 1.3 + 0.2 * len(names) * (len(several) + 0.5))
    for k, (label, arms) in enumerate(zip(several, results)):
        style, marker = {"color": utils.COLOURS[k % 10], "zorder": 3}, utils.MARKERS[k % 10]
        for row, name in enumerate(names):
            if name in arms:
                over, y = arms[name]["gain"], row + (k + 0.5) / len(several) * 0.8 - 0.4
                axes.plot(over["ci95"] or [over["mean"]] * 2, [y, y], lw=2, **style)
                axes.plot(over["mean"], y, marker, ms=5, mfc="white", mew=1.5, **style)
        axes.plot([], [], "-" + marker, mfc="white", label=utils.figure_text(label), **style)
    axes.axvline(0, color="black", lw=0.8)
    if any(metrics["dataset"]["name"] == "JAFFE" and metrics["protocol"] == "published"
           for metrics in several.values()):
        axes.axvline(PAPER["gain"], color="#555555", lw=1, ls="--")
        axes.text(PAPER["gain"], -0.8, "the paper  ", ha="right", color="#555555")
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -1),
             xlabel="gain in accuracy over none, points (95 % interval)")
    if len(several) > 1:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def draw_accuracies(metrics):
    results = {**metrics["arms"], **metrics["baselines"]}
    figure, axes = utils.new_figure(7, 1.2 + 0.32 * len(results))
    for k, values in enumerate(results.values()):
        mean, ends, units = (values["accuracy"][key] for key in ("mean", "ci95", "per_unit"))
        axes.plot(units, k + (np.arange(len(units)) % 5 - 2) * 0.07, "o", color=utils.COLOURS[0],
                  ms=4, alpha=0.4, mew=0, label=None if k else UNITS[metrics["protocol"]])
        axes.plot([mean] * 2, [k - 0.3, k + 0.3], color="black", lw=2)
        axes.plot(ends or [], [k] * len(ends or []), color="black", lw=1,
                  label=None if k else "mean, 95 % interval")
    axes.axvline(100 / len(metrics["dataset"]["emotions"]), color="#555555", ls=":", label="chance")
    axes.set_yticks(range(len(results)), results)
    axes.set(xlim=(0, 102), ylim=(len(results) - 0.4, -0.6), xlabel="accuracy on the test faces, %")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_confusion(metrics):
    from sklearn.metrics import ConfusionMatrixDisplay

    arms, labels = metrics["arms"], utils.figure_labels(metrics["dataset"]["emotions"])
    lines, side = int(np.ceil(len(arms) / 3)), max(3.1, 1.6 + 0.24 * len(labels))
    figure, grid = utils.new_figure(2.9 * side, side * lines + 0.4, nrows=lines, ncols=3,
                                    squeeze=False)
    for axes in grid.flat[len(arms):]:
        axes.axis("off")
    for axes, (arm, values) in zip(grid.flat, arms.items()):
        matrix = np.array(values["confusion_matrix"])
        share = 100 * matrix / np.maximum(1, matrix.sum(1, keepdims=True))
        drawn = ConfusionMatrixDisplay(share, display_labels=labels).plot(
            ax=axes, cmap="Blues", colorbar=False, values_format=".0f", text_kw={"fontsize": 7},
            im_kw={"vmin": 0, "vmax": 100}, xticks_rotation=90 if max(map(len, labels)) > 2 else 0)
        for text, value in zip(drawn.text_.flat, share.flat):
            text.set_color("white" if value > 60 else "black")
        title = f"{arm}: {values['accuracy']['mean']:.1f} %" if "accuracy" in values else arm
        axes.set_title(title, fontsize=9)
        axes.set(xlabel="predicted, % of the true emotion", ylabel="true")
        axes.tick_params(labelsize=7)
    return figure


def draw_ladder(rungs):
    """The ladder as a figure: a dot for each rung's accuracy, a bar for the step to it, with the
    step's 95 % interval."""
    figure, axes = utils.new_figure(7, 1 + 0.5 * len(rungs))
    beside = axes.get_yaxis_transform()  # x from 0 to 1 across the axes, y by row
    up, down = utils.COLOURS[0], utils.COLOURS[5]
    labels = []
    for row, rung in enumerate(rungs):
        reached, step = rung["accuracy"], rung["step"]
        added = f"+ {rung['source']}" if step else "no augmentation"
        labels.append(f"{rung['arm']}: {reached:.1f} %\n{added}")
        axes.plot(reached, row, "o", color="black", ms=5, zorder=4)
        if not step:
            continue
        before = rungs[row - 1]["accuracy"]
        colour = up if step["mean"] >= 0 else down
        axes.plot([before, before], [row - 1, row], color="#999999", lw=0.8, zorder=1)
        axes.plot([before, reached], [row, row], color=colour, lw=9, alpha=0.45, zorder=2,
                  solid_capstyle="butt")
        if step["ci95"]:
            ends = np.clip([before + end for end in step["ci95"]], 0, 100)
            axes.plot(ends, [row, row], "-|", color=colour, lw=1.5, ms=7, mew=1.5, zorder=3)
        axes.text(1.03, row, points(step), color=colour, va="center", transform=beside)
    axes.text(1.03, 0, "step in points\n(95 % interval)", va="center", color="#555555",
              transform=beside)
    axes.set_yticks(range(len(rungs)), labels)
    axes.set(ylim=(len(rungs) - 0.5, -0.5), xlabel="accuracy on the test faces, %")
    return figure


def draw_curve(several):
    """Accuracy against the number of subjects in training, a line for each arm. several: metrics in
    the order of that number."""
    numbers = [metrics["training_subjects"] for metrics in several]
    arms = [arm for arm in several[0]["arms"] if all(arm in metrics["arms"] for metrics in several)]
    figure, axes = utils.new_figure(7.5, 4)
    for k, arm in enumerate(arms):
        accuracies = [metrics["arms"][arm]["accuracy"] for metrics in several]
        # Side by side: intervals would cover one another.
        places = np.array(numbers) * 1.02 ** (k - (len(arms) - 1) / 2)
        style = {"color": utils.COLOURS[k % 10], "lw": 1.2}
        for place, values in zip(places, accuracies):
            axes.plot([place, place], values["ci95"] or [values["mean"]] * 2, **style)
        axes.plot(places, [values["mean"] for values in accuracies], utils.MARKERS[k % 10] + (
            "-" if k < 10 else "--"), ms=5, label=arm, **style)
    axes.set_xscale("log")
    axes.set_xticks(numbers, map(str, numbers))
    axes.minorticks_off()
    axes.set(xlabel="subjects in training", ylabel="accuracy on the test faces, % (95 % interval)")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


# ----------------------------------------------------------------------------------- photographs
def predict_photos(experiment, paths, arm, asked_for):
    """Print the mean probabilities of all of an arm's classifiers for photographs, framed by the
    crop that is asked for, or else as the experiment's faces are, and registered as they are."""
    own = experiment.settings["crop"]
    crop = (asked_for or own).replace("manifest", "square")
    jaffe = not asked_for and experiment.dataset in ("JAFFE", "standin") and own == JAFFE_BOX
    photos = []
    for path in paths:
        image, wide_crop, notes = load_photo(path, crop, JAFFE_SIZE if jaffe else None)
        photos.append((image, wide_crop))
        utils.warn(*(f"{path}: {note}" for note in notes))
    model = build_lenet5(len(experiment.emotions))
    if not asked_for and own not in ("square", "none"):
        seen = f"x,y,side {own}" if own == crop else "the largest centred square"
        if jaffe:
            seen = f"x,y,side {own} if it has 256 x 256 pixels, else the largest centred square"
        utils.warn(f"of each photograph the networks see {seen}; where the face lies elsewhere, "
                   f"give --crop")
    utils.require(classifier_files(experiment, arm),
                  f"train_classifier.py {experiment.path} --arms {arm}")
    probabilities = []
    for run in experiment.runs:
        mean = utils.load_arrays(experiment.file(run, "train"))["mean"]
        images = np.stack([image for image, _ in photos])
        if len(mean):
            transforms = register([wide_crop for _, wide_crop in photos], mean)
            images = np.stack([warp(wide_crop, transform) if transform.any() else image
                               for (image, wide_crop), transform in zip(photos, transforms)])
        for repeat in range(experiment.settings["repeats"]):
            set_weights(model, classifier_file(experiment, run, arm, repeat))
            probabilities.append(utils.apply(model, as_input(images)))
    classifiers = f"{len(probabilities)} classifiers of {arm}"
    print(f"{classifiers}, trained on {utils.printable(experiment.title)}; crop {crop}")
    for path, shares in zip(paths, np.mean(probabilities, axis=0)):
        order = np.argsort(-shares, kind="stable")
        print(f"{utils.printable(path)}: " + ", ".join(
            f"{utils.printable(experiment.emotions[k])} {100 * shares[k]:.1f} %" for k in order))


# ------------------------------------------------------------------------------------- the stage
def main():
    options = arguments()
    if options.predict:
        if len(options.experiments) > 1:
            raise Problem("--predict: takes one experiment")
        experiment = open_experiment(options.experiments[0] if options.experiments else None)
        arms = trained_arms(experiment)
        require_classifiers(experiment, arms)
        arm = next((arm for arm in arms if arm in METHODS), "none") \
            if options.arm is None else options.arm
        if arm not in arms:
            raise Problem(f"--arm {arm}: was not trained; choose from {', '.join(arms)}")
        predict_photos(experiment, options.predict, arm, options.crop)
        return
    for name in ("arm", "crop"):
        if getattr(options, name) is not None:
            raise Problem(f"--{name}: goes with --predict; leave it out")
    several = {}
    for path in options.experiments or [None]:
        experiment = open_experiment(path)
        folder = experiment.folder / "report"
        with utils.one_thread():
            metrics = evaluate(experiment)
        figures = {"gains": draw_gains({"": metrics}), "accuracy": draw_accuracies(metrics),
                   "confusion": draw_confusion(metrics)}
        if metrics["ladder"]:
            figures["ladder"] = draw_ladder(metrics["ladder"])
        for name, figure in figures.items():
            experiment.save_figure(figure, f"{name}.png", options)
        utils.write_text(folder / "report.md", report(experiment, metrics))
        utils.write_text(folder / "table.tex", latex_table(metrics))
        utils.write_text(folder / "metrics.json", utils.as_json(metrics))
        name = experiment.folder.resolve().name
        several[name if name not in several else str(experiment.folder)] = metrics
        print_results(metrics, folder)
    if len(several) > 1:
        folders = [Path(path).resolve().parent for path in options.experiments]
        common = Path(os.path.commonpath(folders))
        place = folders[0] if common == Path(common.anchor) else common
        side_by_side(several, place / "side-by-side", options)


def print_results(metrics, folder):
    print(f"\n{utils.printable(source(metrics))}: {runs_in_words(metrics)}")
    for results in (metrics["arms"], metrics["baselines"]):
        rows = table_rows(results)
        widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
        print()
        for row in ({key: key for key in widths}, *rows):
            print("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())
    print(f"\n95 % intervals: {metrics['interval']}\nreport: "
          f"{utils.printable(folder / 'report.md')}\n")
    for line in gains_in_words(metrics):
        print(line.replace("**", "").replace("`", ""))
    if metrics["protocol"] == "published":
        print(f"the paper, one run on JAFFE: {PAPER['gain']:+.1f} points")


def side_by_side(several, folder, options):
    """A report that sets experiments side by side, with a curve if they are of one data set and
    protocol and differ in the number of training subjects."""
    kinds = {(metrics["dataset"]["name"], metrics["protocol"]) for metrics in several.values()}
    by_number = {metrics["training_subjects"]: metrics for metrics in several.values()}
    curve = len(kinds) == 1 and len(by_number) == len(several)
    if curve:
        several = {f"{number} subjects in training": by_number[number]
                   for number in sorted(by_number)}
    stand_in = any(metrics["dataset"]["stand_in"] for metrics in several.values())
    figures = {"gains": draw_gains(several)}
    if curve:
        figures["curve"] = draw_curve([*several.values()])
    for name, figure in figures.items():
        utils.save_figure(figure, folder / f"{name}.png", stand_in=stand_in, pdf=options.pdf)
    rows, text = {}, ["# Side by side", ""]
    if stand_in:
        text += ["> **Drawn stand-in faces: they say nothing about JAFFE.**", ""]
    columns = {name: markdown_text(name) for name in several}
    for name, metrics in several.items():
        for row in table_rows(metrics["arms"]) + table_rows(metrics["baselines"]):
            cells = rows.setdefault(row["arm"], {"arm": row["arm"], **dict.fromkeys(
                columns.values(), "")})
            over = row["gain over none, points"]
            cells[columns[name]] = f"{row['accuracy %']} %" + (f", {over}" if over else "")
    text += ["Accuracy, and gain over no augmentation in points with its 95 % interval.", "",
             markdown_table([*rows.values()]), ""]
    for name in figures:
        text += [f"![{name}]({name}.png)", ""]
    for name, metrics in several.items():
        text += [f"**{columns[name]}** ({markdown_text(source(metrics))}; "
                 f"{runs_in_words(metrics)}; {metrics['interval']})", "",
                 *(f"- {line}" for line in gains_in_words(metrics)), ""]
    utils.write_text(folder / "report.md", "\n".join(text))
    utils.write_text(folder / "metrics.json", utils.as_json(several))
    print(f"\nside by side: {utils.printable(folder / 'report.md')}")


def arguments():
    parser = utils.parser(__doc__, workers=False)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=utils.EXPERIMENT_HELP)
    parser.add_argument("--predict", nargs="+", default=[], metavar="PHOTO", help="print what the "
                        "classifiers of an arm say of photographs")
    parser.add_argument("--arm", help="with --predict: the arm whose classifiers are asked "
                        "(default: the first method that was trained)")
    parser.add_argument("--crop", type=box, help="with --predict: X,Y,SIDE in pixels, square or "
                        "none, the square that holds the face (default: the experiment's)")
    return parser.parse_args()


if __name__ == "__main__":
    utils.run_script(main)
