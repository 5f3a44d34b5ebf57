"""Stage 4 of 4: accuracy on the test faces, with and without augmentation, and what it tells.

    python evaluate.py [EXPERIMENT]              one experiment
    python evaluate.py EXPERIMENT EXPERIMENT     each of them, and a report with both side by side
    python evaluate.py --measured                results/measured/ drawn anew, and README.md's table

This is the only script that looks at test faces. It writes predictions.csv (every run, repeat, arm
and test face) and, in report/, report.md, metrics.json (the same numbers for programs), table.tex
(for papers) and figures. JAFFE: seconds to a minute; at the end it prints the gains.

Accuracies of a run's repeats are averaged before anything else. Macro averages are over the
emotions that a run's test faces show; a precision or F1 of 0/0 counts as 0.
"""

import csv
import functools
import io
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np

import utils
from augment import METHODS, arms_of
from data.experiment import all_faces, open_experiment, read_split, test_faces, training_faces
from data.faces import as_input
from train_classifier import build_lenet5, check_classifiers
from utils import Problem, listed, shown

PAPER = {"baseline": 28, "augmented": 37, "test_faces": 43, "gain_points": 100 * 9 / 43}
MEANING = {"translate": "the CAE per emotion pair", "interpolate": "the author's notebooks",
           "transfer": "another person's change of expression"}
UNITS = {"published": "initialisations", "given": "initialisations", "holdout": "splits",
         "loso": "people", "kfold": "people"}
REFERENCE = "linear SVM"
MEASURED = utils.ROOT / "results" / "measured"


# ------------------------------------------------------------------------------------ statistics
def interval(values, protocol, test_to_train):
    """95 % interval [low, high] of the mean of values in points; None of a single one.

    t with n - 1 degrees of freedom over initialisations, people or, corrected for training sets
    that overlap, splits (Nadeau and Bengio, Machine Learning 52, 2003). Bounded at 100 points.
    """
    from scipy import stats

    n = len(values)
    if n < 2:
        return None
    factor = 1 / n + (test_to_train if protocol == "holdout" else 0)
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(factor * np.var(values, ddof=1))
    return [float(np.clip(np.mean(values) + side * half, -100, 100)) for side in (-1, 1)]


def per_unit(rights, groups):
    """Accuracy of each unit. For each run: bool (repeats, faces) and the faces' units (faces,)."""
    right, labels = np.concatenate([run.mean(0) for run in rights]), np.concatenate(groups)
    return np.array([right[labels == unit].mean() for unit in dict.fromkeys(labels.tolist())])


def gain(first, second, protocol, test_to_train):
    """Gain in points of one arm's accuracies per unit over another's."""
    gains = 100 * (first - second)
    return {"mean": float(gains.mean()), "ci95": interval(gains, protocol, test_to_train),
            "won": float(np.mean(np.where(gains == 0, 0.5, gains > 0)))}


def macro(true, predicted, labels):
    """Macro (precision, recall, F1) over the emotions that are there."""
    from sklearn.metrics import precision_recall_fscore_support

    there = [label for label in labels if label in true]
    return precision_recall_fscore_support(true, predicted, labels=there, average="macro",
                                           zero_division=0)[:3]


# ----------------------------------------------------------------------------------- predictions
def predict(experiment, faces, arms):
    """(test `Faces` of each run, {arm: for each run, emotions str (repeats, faces)}), also written
    to predictions.csv. Raises `Problem` if a test face has had a part in training."""
    labels, model = np.array(experiment.emotions), build_lenet5(len(experiment.emotions))
    seen, text = training_faces(experiment, faces), io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", "repeat", "arm", "face", "person", "emotion", "predicted",
                    *(f"p_{label}" for label in labels)])

    @functools.lru_cache(1)
    def of_split(run):
        test = test_faces(experiment, faces, run)
        return test, linear_svm(seen(run), test)

    def of_run(run):
        test, reference = of_split(0 if experiment.one_split else run)
        predicted = {REFERENCE: reference}
        for arm in arms:
            if arm != "none":
                path = experiment.npz(run, "synthetic", arm)
                names, parents = utils.load_arrays(path, "names", "parents")
                leaked = set(test.names.tolist()) & set(names[np.unique(parents)].tolist())
                if leaked:
                    raise Problem(f"{shown(path)}: made from the test face {shown(min(leaked))}; "
                                  f"remove it and run augment.py again")
            guesses = []
            for repeat in range(experiment.repeats):
                file = experiment.npz(run, "classifier", arm, repeat)
                model.set_weights(utils.load_weights(file))
                shares = utils.predict(model, as_input(test.images))
                guesses.append(labels[shares.argmax(1)])
                rows = zip(test.names, test.subjects, test.emotions, guesses[-1], shares)
                table.writerows([run, repeat, arm, *row, *(f"{p:.5f}" for p in each)]
                                for *row, each in rows)
            predicted[arm] = np.stack(guesses)
        return test, predicted

    runs = utils.with_progress(((run, of_run(run)) for run in range(experiment.runs)),
                               "looking at the test faces", [1] * experiment.runs)
    tests, each = zip(*(found for _, found in runs))
    utils.write_text(experiment.folder / "predictions.csv", text.getvalue())
    return tests, {arm: [predicted[arm] for predicted in each] for arm in (*arms, REFERENCE)}


def linear_svm(train, test, most=5000):
    """Emotions str (1, faces) by what one would try first, on the same pixels (of at most 5,000
    training faces: its time grows with their square)."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    rows = np.random.default_rng(0).permutation(len(train.names))[:most]
    machine = make_pipeline(StandardScaler(), SVC(kernel="linear"))
    machine.fit(train.images[rows].reshape(len(rows), -1), train.emotions[rows])
    return machine.predict(test.images.reshape(len(test.images), -1))[None]


def evaluate(experiment):
    """The contents of metrics.json; predictions.csv is written on the way."""
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    arms, protocol, path = arms_of(experiment, "classifier"), experiment.protocol, experiment.path
    labels = experiment.emotions
    if "none" not in arms:
        raise Problem(f"{path}: no classifiers yet; run train_classifier.py {path}")
    faces = all_faces(experiment)
    check_classifiers(experiment, training_faces(experiment, faces), arms)
    tests, predicted = predict(experiment, faces, arms)
    train, test, movements, _ = read_split(experiment, faces, 0)
    groups = [part.subjects if UNITS[protocol] == "people" else np.full(len(part.names), run)
              for run, part in enumerate(tests)]
    ratio, accuracy, results = len(test) / len(train), {}, {}
    for arm, runs in predicted.items():
        pairs = [(part.emotions, guess) for part, run in zip(tests, runs) for guess in run]
        true, guessed = (np.concatenate(texts) for texts in zip(*pairs))
        accuracy[arm] = per_unit([run == part.emotions for run, part in zip(runs, tests)], groups)
        precision, recall, f1 = np.mean([macro(*pair, labels) for pair in pairs], axis=0).tolist()
        each = zip(("precision", "recall", "f1"), precision_recall_fscore_support(
            true, guessed, labels=labels, zero_division=0))
        results[arm] = {
            "accuracy": {"mean": float(accuracy[arm].mean()), "per_unit": accuracy[arm].tolist(),
                         "ci95": interval(100 * accuracy[arm], protocol, ratio)},
            "macro_precision": precision, "macro_recall": recall, "macro_f1": f1,
            "per_emotion": {key: part.tolist() for key, part in each},
            "confusion_matrix": confusion_matrix(true, guessed, labels=labels).tolist(),
            "classifiers": len(pairs),
            "stuck": sum(len(set(guess.tolist())) == 1 < len(set(true.tolist()))
                         for true, guess in pairs)}
        if arm != "none":
            results[arm]["gain_points"] = gain(accuracy[arm], accuracy["none"], protocol, ratio)
        if arm in METHODS:
            made = utils.load_arrays(experiment.npz(0, "synthetic", arm), "emotions")
            results[arm]["synthetic_faces"] = len(made)
    against = {arm: {control: gain(accuracy[arm], accuracy[control], protocol, ratio)
                     for control in arms[1:] if METHODS[control].control_of == arm} for arm in arms}
    return {
        "dataset": {"name": experiment.dataset, **{key: getattr(experiment, key) for key in (
            "stand_in", "faces", "people", "emotions", "fingerprint", "notes")}},
        "protocol": protocol, "runs": experiment.runs, "repeats": experiment.repeats,
        "units": len(accuracy["none"]), "interval": {
            "holdout": "Nadeau-Bengio corrected resampled t over splits", "loso": "t over people",
            "kfold": "t over people"}.get(protocol, "t over initialisations, which says nothing of "
                                          "other test faces or other people"),
        "test_faces": len(np.unique(np.concatenate([part.names for part in tests]))),
        "kept_the_box": int((movements == 0).all(1).sum()) if experiment.align == "mean" else 0,
        "settings": experiment.settings,
        "environment": experiment.environment, "changes": experiment.changes,
        "arms": {arm: results[arm] for arm in arms},
        "against": {arm: gains for arm, gains in against.items() if gains},
        "reference": {"name": REFERENCE, **results[REFERENCE]}, "paper": PAPER}


# ------------------------------------------------------------------------------ words and tables
def points(gain):
    """+18.4 (+10.6 to +26.2)"""
    mean, *ends = (round(value, 1) + 0.0 for value in (gain["mean"], *(gain["ci95"] or [])))
    return f"{mean:+.1f}" + (f" ({ends[0]:+.1f} to {ends[1]:+.1f})" if ends else "")


def verdict(gains, units):
    """What some gains, all of them, say together."""
    if units < 5:
        return "Not to be told from so few"
    low, high = (min(gain["ci95"][end] for gain in gains) for end in (0, 1))
    return "Yes" if low > 0 else "No" if high < 0 else "Not shown"


def gains_in_words(metrics):
    """A line for each method: its gain over none and over each control."""
    lines = []
    for arm in methods_of(metrics):
        over = {"none": metrics["arms"][arm]["gain_points"], **metrics["against"].get(arm, {})}
        lines.append(f"{arm}, {MEANING.get(arm, 'a method of your own')}, in points: " + "; ".join(
            f"{points(found)} over {other}" for other, found in over.items()))
    return lines


def methods_of(metrics):
    """The arms that are no controls."""
    return [arm for arm in METHODS if arm in metrics["arms"] and not METHODS[arm].control_of]


def answers(metrics):
    """A reader's questions and what the numbers say to them, a line each."""
    units, lines = metrics["units"], []
    for arm in methods_of(metrics):
        over_none, controls = metrics["arms"][arm]["gain_points"], metrics["against"].get(arm, {})
        better = [name for name, over in controls.items() if over["mean"] <= 0]
        lines.append(f"**Does `{arm}` beat no augmentation?** {verdict([over_none], units)}: "
                     f"{points(over_none)} points.")
        if not controls:
            said = "Not asked: none of its size was trained; `augment.py --methods all` makes them."
        elif better and units >= 5:
            said = f"No: {listed(better, 9)} did as well or better, without any autoencoder."
        else:
            said = f"{verdict(controls.values(), units)}: " + ", ".join(
                f"{points(over)} points over {name}" for name, over in controls.items()) + "."
        lines.append(f"**Does `{arm}` beat its controls?** {said}")
    asked = "That is what these numbers say: no person of a test face is in training."
    if UNITS[metrics["protocol"]] != "people":
        asked = "Not asked here: people of test faces may be among the training faces too. " \
            "`python train_cae.py --protocol loso` asks it."
    return [*lines, f"**On new people?** {asked}"]


def rows_of(metrics):
    """The table of arms as texts, the reference last."""
    rows = []
    for arm, values in with_reference(metrics).items():
        over = next((points(of[arm]) for of in metrics["against"].values() if arm in of), "")
        found = values.get("gain_points")
        rows.append({"arm": arm, "synthetic": str(values.get("synthetic_faces", "")),
                     "accuracy %": f"{100 * values['accuracy']['mean']:.1f}",
                     "macro F1": f"{values['macro_f1']:.3f}",
                     "gain over none, points": points(found) if found else "",
                     "method over it": over,
                     "won %": f"{100 * found['won']:.0f}" if found else "",
                     "stuck": f"{values['stuck']} of {values['classifiers']}"})
    return rows


def with_reference(metrics):
    """The arms and, last, the reference, which the files of earlier versions call otherwise."""
    earlier = {"name": "LDA on the pixels", **metrics.get("reference_lda", {})}
    reference = metrics.get("reference", earlier)
    return {**metrics["arms"], reference["name"]: reference}


def markdown(rows):
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def latex(metrics):
    keys = ("arm", "accuracy %", "macro F1", "gain over none, points", "method over it")
    lines = [" & ".join(cells).replace("%", r"\%") + r" \\"
             for cells in (keys, *([row[key] for key in keys] for row in rows_of(metrics)))]
    caption = f"{source(metrics)}. Mean over {runs(metrics)}; " \
        rf"95\,\% intervals: {metrics['interval']}.".replace("_", r"\_")
    if metrics["dataset"]["stand_in"]:
        caption = rf"\textbf{{These faces are drawn and say nothing about JAFFE.}} {caption}"
    return "\n".join([r"\begin{table}", r"\begin{tabular}{lrrll}", r"\hline", lines[0], r"\hline",
                      *lines[1:], r"\hline", r"\end{tabular}", rf"\caption{{{caption}}}",
                      r"\end{table}", ""])


def source(metrics):
    name = "drawn stand-in faces, not JAFFE" if metrics["dataset"]["stand_in"] else \
        shown(metrics["dataset"]["name"])
    return f"{name}, protocol {metrics['protocol']}"


def runs(metrics):
    """5 runs of 3 classifiers"""
    counts = (metrics["runs"], "run"), (metrics.get("repeats", 1), "classifier")
    return " of ".join(f"1 {noun}" if n == 1 else f"{n} {noun}s" for n, noun in counts)


FIGURES = {
    "gains": "Gain of each arm over no augmentation, with 95 % intervals",
    "accuracy": "Accuracy of each arm: dots are {units}, the bar the mean with its 95 % interval",
    "confusion": "Confusion: share of each true emotion, over all predictions",
    "faces": "What the networks see of run 0's training faces",
    "registration": "Registration: mean face, and the faces it moves most, before and after",
    "cae-loss": "Loss of the CAE over all training faces",
    "reconstructions": "Faces and what run 0's CAE gives back, with the mean squared error",
    "latents": "Run 0's training faces in the CAE's latent space",
    "synthetic": "Synthetic faces of run 0 (framed) beside the training faces they are made from",
    "learning-curves": "Learning curves of the classifiers"}


def report(experiment, metrics):
    """report.md, from results/template.md."""
    from scipy.stats import binomtest

    dataset, arms, units = metrics["dataset"], metrics["arms"], UNITS[metrics["protocol"]]
    warnings = [f"**Note:** {note}." for note in (*dataset["notes"], *metrics["changes"])]
    if dataset["stand_in"]:
        warnings.insert(0, "**These are drawn stand-in faces. Nothing below says anything about "
                        "JAFFE or about people.**")
    if metrics["kept_the_box"]:
        warnings.append(f"**Note:** {metrics['kept_the_box']} training faces of run 0 keep their "
                        f"box: their registration was not believed.")
    accuracies = []
    for key in ("baseline", "augmented"):
        ends = binomtest(PAPER[key], 43).proportion_ci(method="wilson")
        accuracies.append(f"{100 * PAPER[key] / 43:.1f} % (Wilson {100 * ends.low:.0f} to "
                          f"{100 * ends.high:.0f} %)")
    widths = [np.ptp(values["gain_points"]["ci95"]) / 2 for values in arms.values()
              if "gain_points" in values and values["gain_points"]["ci95"]]
    power = "One run has no interval, and proves nothing."
    if widths:
        power = f"With these {metrics['units']} {units} a gain below about " \
            f"{np.median(widths):.0f} points cannot be told from none."
    there = [name for name in FIGURES if (experiment.folder / "report" / f"{name}.png").exists()]
    special = {"protocol": experiment.protocol, **experiment.special}
    special = " ".join(f"--{key} {shlex.quote(str(value))}" for key, value in special.items())
    where = "" if dataset["stand_in"] else f" --data {shlex.quote(shown(experiment.data))}"
    methods = [arm for arm in arms if arm != "none"]
    augment = [f"python augment.py {experiment.path} --methods {','.join(methods)}"]
    return (utils.ROOT / "results" / "template.md").read_text("utf-8").format(
        source=source(metrics), warnings="".join(f"> {warning}\n\n" for warning in warnings),
        gains="\n".join(f"- {line}" for line in gains_in_words(metrics)),
        paper=PAPER["gain_points"], paper_accuracies=" and ".join(accuracies), power=power,
        answers="\n".join(f"- {line}" for line in answers(metrics)),
        table=markdown(rows_of(metrics)),
        dataset=f"{experiment}; {metrics['test_faces']} test faces; crop {experiment.crop}.",
        runs=runs(metrics), interval=metrics["interval"], units=units,
        reference=REFERENCE, figures="\n\n".join(
            f"![{text}]({name}.png)\n\n{text}." for name in there
            for text in [FIGURES[name].format(units=units)]),
        commands="\n".join([f"python train_cae.py{where} {special}", *(augment if methods else []),
                            f"python train_classifier.py {experiment.path} --arms "
                            f"{','.join(methods or ['none'])}",
                            f"python evaluate.py {experiment.path}"]),
        environment=", ".join(f"{key} {value}" for key, value in metrics["environment"].items()))


# --------------------------------------------------------------------------------------- figures
def draw_gains(several):
    """A figure of every arm's gain, a row for each of `several`, {label: metrics}."""
    arms = [with_reference(metrics) for metrics in several.values()]
    names = dict.fromkeys(["translate", *(name for each in arms for name in each)])
    names = [name for name in names if name != "none" and any(name in each for each in arms)]
    figure, axes = utils.new_figure(7, 1.3 + 0.2 * len(names) * (len(several) + 0.5))
    for k, (label, each) in enumerate(zip(several, arms)):
        style, marker = {"color": utils.COLOURS[k % 10], "zorder": 3}, utils.MARKERS[k % 10]
        for row, name in enumerate(names):
            if name in each:
                found, y = each[name]["gain_points"], row + (k + 0.5) / len(several) * 0.8 - 0.4
                axes.plot(found["ci95"] or [found["mean"]] * 2, [y, y], lw=2, **style)
                axes.plot(found["mean"], y, marker, ms=5, mfc="white", mew=1.5, **style)
        axes.plot([], [], "-" + marker, mfc="white", label=shown(label), **style)
    axes.axvline(0, color="black", lw=0.8)
    if any(metrics["dataset"]["name"].lower() == "jaffe" for metrics in several.values()):
        axes.axvline(PAPER["gain_points"], color="#555555", lw=1, ls="--")
        axes.text(PAPER["gain_points"], -0.8, "the paper  ", ha="right", color="#555555")
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -1),
             xlabel="gain in accuracy over none, points (95 % interval)")
    if len(several) > 1:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def draw_accuracies(metrics):
    arms = with_reference(metrics)
    figure, axes = utils.new_figure(7, 1.2 + 0.32 * len(arms))
    for k, values in enumerate(arms.values()):
        found, each = values["accuracy"], 100 * np.array(values["accuracy"]["per_unit"])
        axes.plot(each, k + (np.arange(len(each)) % 5 - 2) * 0.07, "o", color=utils.COLOURS[0],
                  ms=4, alpha=0.4, mew=0, label=None if k else UNITS[metrics["protocol"]])
        axes.plot([100 * found["mean"]] * 2, [k - 0.3, k + 0.3], color="black", lw=2)
        axes.plot(found["ci95"] or [], [k] * len(found["ci95"] or []), color="black", lw=1,
                  label=None if k else "mean, 95 % interval")
    axes.axvline(100 / len(metrics["dataset"]["emotions"]), color="#555555", ls=":", label="chance")
    axes.set_yticks(range(len(arms)), arms)
    axes.set(xlim=(0, 102), ylim=(len(arms) - 0.4, -0.6), xlabel="accuracy on the test faces, %")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def draw_confusion(metrics):
    from sklearn.metrics import ConfusionMatrixDisplay

    arms = with_reference(metrics)
    labels = [shown(emotion)[:9] for emotion in metrics["dataset"]["emotions"]]
    lines = -(-len(arms) // 3)
    figure, grid = utils.new_figure(9, 3.1 * lines + 0.4, nrows=lines, ncols=3, squeeze=False)
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
        axes.set_title(f"{arm}: {100 * matrix.trace() / matrix.sum():.1f} % right", fontsize=9)
        axes.set(xlabel="predicted, % of the true emotion", ylabel="true")
        axes.tick_params(labelsize=7)
    return figure


# ------------------------------------------------------------------------------------- the stage
def main():
    options = arguments()
    if options.measured:
        redraw_measured()
        return
    several = {}
    for path in options.experiments or [None]:
        experiment = open_experiment(path)
        metrics, folder = evaluate(experiment), experiment.folder / "report"
        experiment.save_figure(draw_gains({"": metrics}), "gains.png")
        experiment.save_figure(draw_accuracies(metrics), "accuracy.png")
        experiment.save_figure(draw_confusion(metrics), "confusion.png")
        utils.write_text(folder / "report.md", report(experiment, metrics))
        utils.write_text(folder / "table.tex", latex(metrics))
        utils.write_text(folder / "metrics.json", utils.as_json(metrics))
        name = experiment.folder.name
        several[name if name not in several else str(experiment.folder)] = metrics
        rows = rows_of(metrics)
        widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
        print(f"\n{source(metrics)}: {runs(metrics)}\n")
        for row in ({key: key for key in widths}, *rows):
            print("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())
        print(f"\n95 % intervals: {metrics['interval']}\nreport: {folder / 'report.md'}\n")
        print("\n".join([*gains_in_words(metrics), "the paper, one run on JAFFE: "
                         f"{PAPER['gain_points']:+.1f} points"]))
    if len(several) > 1:
        common = os.path.commonpath([Path(path).resolve().parent for path in options.experiments])
        side_by_side(several, Path(common) / "side-by-side")


def side_by_side(several, folder):
    """A report that sets experiments side by side."""
    stand_in = any(metrics["dataset"]["stand_in"] for metrics in several.values())
    utils.save_figure(draw_gains(several), folder / "gains.png", stand_in=stand_in)
    rows, text = {}, ["# Side by side", ""]
    if stand_in:
        text += ["> **Drawn stand-in faces: they say nothing about JAFFE.**", ""]
    for name, metrics in several.items():
        for row in rows_of(metrics):
            empty = {"arm": row["arm"], **{shown(key): "" for key in several}}
            found = f"{row['accuracy %']} %, {row['gain over none, points']}".rstrip(", ")
            rows.setdefault(row["arm"], empty)[shown(name)] = found
    text += ["Accuracy, and gain over no augmentation in points with its 95 % interval.", "",
             markdown([*rows.values()]), "", "![Gains](gains.png)", ""]
    for name, metrics in several.items():
        text += [f"**{shown(name)}** ({source(metrics)}; {runs(metrics)}; {metrics['interval']})",
                 "", *(f"- {line}" for line in (*gains_in_words(metrics), *answers(metrics))), ""]
    utils.write_text(folder / "report.md", "\n".join(text))
    utils.write_text(folder / "metrics.json", utils.as_json(several))
    print(f"\nside by side: {shown(folder / 'report.md')}")


def redraw_measured():
    """results/measured/gains.png, and the table between README.md's marker lines."""
    several, readme = read_measured(), utils.ROOT / "README.md"
    utils.save_figure(draw_gains(several), MEASURED / "gains.png", "JAFFE")
    begin, end = "<!-- measured -->", "<!-- end of measured -->"
    utils.write_text(readme, re.sub(f"(?s){begin}.*{end}", lambda _: "\n".join(
        [begin, measured_table(several), end]), readme.read_text("utf-8")))


def read_measured():
    """{protocol: metrics} of all files in results/measured/."""
    files = sorted(MEASURED.glob("*.metrics.json"))
    several = [json.loads(file.read_text("utf-8")) for file in files]
    return {metrics["protocol"]: metrics for metrics in several}


def measured_table(several):
    rows = [("the paper, one run", 28 / 43, 37 / 43, f"{PAPER['gain_points']:+.1f}")]
    for protocol, metrics in several.items():
        for arm in ("translate", "interpolate"):
            baseline, values = (metrics["arms"][name] for name in ("none", arm))
            rows.append((f"`{arm}`, {MEANING[arm]}; `{protocol}`, mean of {runs(metrics)}",
                         baseline["accuracy"]["mean"], values["accuracy"]["mean"],
                         points(values["gain_points"])))
    return markdown([{"JAFFE": name, "no augmentation": f"{100 * before:.1f} %",
                      "with it": f"{100 * after:.1f} %", "gain, points (95 % interval)": found}
                     for name, before, after, found in rows])


def arguments():
    parser = utils.parser(__doc__, workers=False)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=utils.WHICH)
    parser.add_argument("--measured", action="store_true", help="draw results/measured/gains.png "
                        "and README.md's table anew from results/measured/*.metrics.json")
    return parser.parse_args()


if __name__ == "__main__":
    utils.run_script(main)
