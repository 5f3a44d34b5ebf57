"""What evaluate.py writes of its metrics: report.md, table.tex, tables on the terminal, figures.

`metrics` are the contents of metrics.json, as results/README.md lists them. A table is a list of
rows, dicts {column: text}; wherever it is shown, it is the same.
"""

import os
import re
import shlex
from pathlib import Path

import numpy as np

import utils
from data.experiment import non_default
from data.faces import default_data
from data.protocols import PROTOCOLS
from data.statistics import points, pooled

# On JAFFE: of 43 test faces 28 are right without augmentation and 37 with it; the gain in points.
PAPER = {"baseline": 28, "augmented": 37, "test_faces": 43, "gain": 100 * 9 / 43}
ANSWERS_SAY = """Gain: of the arm over the one it is set against; both were trained, or it is not
asked. p: two-sided, corrected by Holm's method for all rows of this table. Yes, No: p below 0.05,
and the gain above or below 0. Too few runs to tell: fewer than five independent runs or subjects.
Adds at most: the upper end of the 95 % interval. Seen from: so large a true gain would be answered
by Yes in 80 % of such experiments; empty where no gain would."""
ARMS_SAY = """Accuracy and macro F1: {means}. In brackets: 95 % intervals, {interval}.
Synthetic faces: of run 0. Steps: mean number of optimiser steps. Won: percent of {units} in which
the arm beats none; ties count half. Init.: percent of the gain's variance that is initialisation,
by the differences between repeats. Stuck: classifiers that give every face the same emotion."""
SVM_SAY = """Support vector machines have neither initialisation nor number of steps: what they
gain, they gain by the faces. Gains are over the same machine on the real training faces, in points
with 95 % intervals, and answer no question. Of more than 5,000 faces so many are drawn."""
BASELINES_SAY = """What one would try first, fitted on the real training faces alone. They are no
augmentation; how far they are from the network without augmentation stands here for scale."""
NOVELTY_SAY = """Medians of mean squared pixel differences (white = 1), in run 0. Nearest: from a
synthetic face to the nearest training face of its subject and emotion (of its emotion alone where
it mixes two subjects). Takes: between training faces of one subject and emotion. Emotions: between
training faces of one subject that show different emotions."""
POOLED_SAY = """These data sets: the mean of their gains, weighted by how sure they are; its 95 %
interval is about these data sets and no others. Spread: standard deviation of the true gains over
data sets, estimated (DerSimonian and Laird). All of their kind: the mean over the data sets of
which these are a sample, with the interval of Hartung and Knapp; with two of them it says little.
Not corrected for the number of rows."""
FIGURES = {
    "ladder": "Where a method's gain comes from, with 95 % intervals: longer training, then all "
              "synthetic faces together, then their parts",
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


def markdown(experiment, metrics):
    """The text of report.md."""
    dataset, protocol = metrics["dataset"], experiment.protocol
    text = [f"# Accuracy with and without augmentation: {markdown_text(source(metrics))}"]
    if dataset["stand_in"]:
        text.append("> **These are drawn stand-in faces. Nothing below says anything about JAFFE "
                    "or about people.**")
    notes = [*dataset["notes"], *metrics["changes"]]
    if metrics["rejected_registrations"]:
        notes.append(f"{metrics['rejected_registrations']} training faces of run 0 keep their box: "
                     f"their registration was rejected")
    text += [f"> **Note:** {markdown_text(note)}." for note in notes]
    text += [f"- **{arm}**: {values['accuracy']['mean']:.1f} %, {gain_in_points(values)} points "
             f"over no augmentation ({metrics['arms']['none']['accuracy']['mean']:.1f} %)"
             for arm, values in metrics["arms"].items()
             if arm == values["method"] and not values["control_of"]]
    if is_the_papers(metrics):
        text.append("The paper reports +20.93 points on JAFFE, from one run on 43 test faces: 65.1 "
                    "% (95 % Wilson interval 50 to 78 %) and 86.0 % (73 to 93 %).")
    if metrics["ladder"]:
        text += [f"![{FIGURES['ladder']}](ladder.png)", f"{FIGURES['ladder']}."]
    if metrics["answers"]:
        text += ["## Answers", markdown_table(answer_rows(metrics)), one_line(ANSWERS_SAY)]
    text += [*what_would_help(metrics), people_in_words(metrics)]
    text += ["## Arms", f"{markdown_text(experiment)}; {metrics['test_faces']} test faces in all; "
             f"crop {markdown_text(experiment.settings['crop'])}; {runs_in_words(metrics)}.",
             markdown_table(arm_rows(metrics)),
             one_line(ARMS_SAY).format(means=means_in_words(protocol), units=protocol.units,
                                       interval=metrics["interval"])]
    if metrics["novelty"]:
        text += ["## Every arm's faces without a network", markdown_table(svm_rows(metrics)),
                 one_line(SVM_SAY)]
    text += ["## Baselines", markdown_table(baseline_rows(metrics)), one_line(BASELINES_SAY),
             near_in_words(metrics)]
    if metrics["novelty"]:
        text += ["## How new the synthetic faces are", markdown_table(novelty_rows(metrics)),
                 one_line(NOVELTY_SAY)]
    text.append("## Figures")
    numbers = "".join(f"; {label}: {markdown_text(emotion)}" for emotion, label in
                      experiment.labels.items() if label.isdecimal() and label != emotion)
    for name, caption in FIGURES.items():
        if name != "ladder" and (experiment.folder / "report" / f"{name}.png").exists():
            caption = caption.format(units=protocol.units, numbers=numbers)
            text += [f"![{caption}]({name}.png)", f"{caption}."]
    text += ["## Commands", "\n".join(["```", *commands(experiment, metrics["arms"]), "```"]),
             "Made with " + markdown_text(", ".join(f"{key} {value}" for key, value in
                                                    metrics["environment"].items()))
             + ". metrics.json has precision, recall and F1 of each emotion, predictions.csv every "
             "prediction."]
    return "\n\n".join(text) + "\n"


def means_in_words(protocol):
    """What accuracy and macro F1 are means over."""
    if protocol.new_people:
        return "the former is a mean over people, each of whom counts once, however many faces " \
            "they have, the latter a mean over runs"
    return f"means over {protocol.units}"


def is_the_papers(metrics):
    """Whether its numbers can be set beside the paper's: JAFFE by the paper's training."""
    return metrics["dataset"]["name"] == "JAFFE" and \
        PROTOCOLS[metrics["protocol"]].training.early_stopping


def what_would_help(metrics):
    """One line: whether more repeats or more faces would narrow the intervals."""
    shares = [values["gain"]["initialisation"] for values in metrics["arms"].values()
              if values["gain"] and values["gain"]["initialisation"] is not None]
    if not shares:
        return []
    share = np.median(shares)
    rest = "people" if PROTOCOLS[metrics["protocol"]].new_people else "runs or test faces"
    return [f"Of the variance of a gain over none {100 * share:.0f} % is initialisation (the "
            f"median over arms): the most that more --repeats can do is to make intervals "
            f"{100 * (1 - np.sqrt(1 - share)):.0f} % narrower. The rest takes more {rest}."]


def people_in_words(metrics):
    """One line: whether the answers are about new people."""
    shared = metrics["nearness"]["same_subject"]
    if shared == 0:
        return "These answers are about new people: no test face shows a person in training."
    others = " and ".join(f"`{name}`" for name, row in PROTOCOLS.items() if row.new_people)
    about = "may not be about new people: it is not known who is who" if shared is None else \
        f"are not about new people: {shared:.0f} % of the test faces show people who are in " \
        f"training too"
    return f"These answers {about}. The protocols {others} of train_cae.py test on new people."


def near_in_words(metrics):
    near = metrics["nearness"]
    text = f"By pixels, the nearest training face shows the right emotion for " \
        f"{near['nearest_neighbour']:.0f} % of the test faces"
    if near["same_subject_and_emotion"] is not None:
        text += f"; {near['same_subject_and_emotion']:.0f} % of those whose subject is known " \
            f"have a training face of the same subject with the same emotion"
    return text + "."


def commands(experiment, arms):
    """The four commands that make the experiment again."""
    options = {"protocol": experiment.settings["protocol"], **non_default(experiment)}
    if Path(experiment.data) != default_data().resolve():
        options = {"data": experiment.data, **options}
    results = experiment.folder.resolve().parent
    if results != utils.ROOT / "results":
        options["results"] = os.path.relpath(results)
    words = [f"--{key}{'=' if str(value).startswith('-') else ' '}{shlex.quote(str(value))}"
             for key, value in options.items()]
    methods = dict.fromkeys(values["method"] for values in arms.values() if values["method"])
    methods = ["--methods", ",".join(methods)] if methods else []
    return [utils.command("train_cae.py", *words),
            experiment.command("augment.py", *methods),
            experiment.command("train_classifier.py", "--arms", ",".join(arms)),
            experiment.command("evaluate.py")]


def source(metrics):
    return f"{metrics['dataset']['title']}, protocol {metrics['protocol']}"


def runs_in_words(metrics):
    """5 runs of 3 classifiers"""
    counts = (metrics["runs"], "run"), (metrics["repeats"], "classifier")
    return " of ".join(f"1 {noun}" if n == 1 else f"{n} {noun}s" for n, noun in counts)


def one_line(text):
    return " ".join(text.split())


# ---------------------------------------------------------------------------------------- tables
def answer_rows(metrics):
    """The table of answers, the same on the terminal and in report.md."""
    rows = []
    for row in metrics["answers"]:
        answer = row["answer"]
        if answer == "Not shown":
            answer += f": adds at most {row['at_most']:+.1f}"
        seen = row["detectable"]
        rows.append({"question": row["question"], "arm": row["arm"], "against": row["other"],
                     "gain, points (95 %)": points(row["gain"], row["ci95"]),
                     "p": "< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}", "answer": answer,
                     "seen from": f"{seen:+.1f}" if seen and seen < 100 else ""})
    return rows


def gain_in_points(values):
    """A gain with its interval, or nothing of what there is none of."""
    return points(values["gain"]["mean"], values["gain"]["ci95"]) if values["gain"] else ""


def arm_rows(metrics):
    rows = []
    for arm, values in metrics["arms"].items():
        over, share = values["gain"], values["gain"] and values["gain"]["initialisation"]
        rows.append({"arm": arm, "synthetic faces": str(values["synthetic_faces"] or ""),
                     "steps": f"{values['steps']:.0f}", **accuracy_cells(values),
                     "gain over none, points": gain_in_points(values),
                     "won %": f"{over['won']:.0f}" if over else "",
                     "init. %": "" if share is None else f"{100 * share:.0f}",
                     "stuck": f"{values['stuck']} of {values['classifiers']}"})
    return rows


def accuracy_cells(values):
    return {"accuracy %": f"{values['accuracy']['mean']:.1f}",
            "macro F1 %": f"{values['macro_f1']:.1f}"}


def baseline_rows(metrics):
    return [{"classifier": name, **accuracy_cells(values),
             "over the network none, points": gain_in_points(values)}
            for name, values in metrics["baselines"].items()]


def svm_rows(metrics):
    """Every set of synthetic faces through both support vector machines."""
    rows = []
    for method in next(iter(metrics["svm"].values())):
        row = {"faces": "real" if method == "none" else f"real and {method}"}
        for name, by_method in metrics["svm"].items():
            values = by_method[method]
            row[f"{name} %"] = f"{values['accuracy']['mean']:.1f}"
            row[f"gain of {name}"] = gain_in_points(values)
        rows.append(row)
    return rows


def novelty_rows(metrics):
    return [{"method": method, **{key: "" if values[key] is None else f"{values[key]:.4f}"
                                  for key in ("nearest", "takes", "emotions")}}
            for method, values in metrics["novelty"].items()]


def markdown_table(rows):
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def terminal_table(rows):
    widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]}
    return "\n".join("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip()
                     for row in ({key: key for key in widths}, *rows))


def markdown_text(text):
    """Text of the user's own as Markdown shows it."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", utils.printable(text))


def latex_text(text):
    for letter, escaped in (("\\", r"\textbackslash "), ("~", r"\textasciitilde "),
                            ("^", r"\textasciicircum ")):
        text = text.replace(letter, escaped)
    return re.sub(r"([#$%&_{}])", r"\\\1", text)


def latex_table(metrics):
    rows = arm_rows(metrics)
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


# --------------------------------------------------------------------------------------- figures
def draw_gains(several):
    """A figure of every arm's gain, a row for each of `several`, {label: metrics}."""
    names = [*dict.fromkeys(arm for metrics in several.values() for arm in metrics["arms"]
                            if arm != "none")]
    figure, axes = utils.new_figure(7, 1.3 + 0.2 * len(names) * (len(several) + 0.5))
    for k, (label, metrics) in enumerate(several.items()):
        style, marker = {"color": utils.COLOURS[k % 10], "zorder": 3}, utils.MARKERS[k % 10]
        for row, name in enumerate(names):
            if name in metrics["arms"]:
                values = metrics["arms"][name]["gain"]
                y = row + (k + 0.5) / len(several) * 0.8 - 0.4
                axes.plot(values["ci95"] or [values["mean"]] * 2, [y, y], lw=2, **style)
                axes.plot(values["mean"], y, marker, ms=5, mfc="white", mew=1.5, **style)
        axes.plot([], [], "-" + marker, mfc="white", label=utils.figure_text(label, 100), **style)
    axes.axvline(0, color="black", lw=0.8)
    if any(is_the_papers(metrics) for metrics in several.values()):
        axes.axvline(PAPER["gain"], color="#555555", lw=1, ls="--")
        axes.text(PAPER["gain"], -0.8, "the paper  ", ha="right", color="#555555")
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -1),
             xlabel="gain in accuracy over none, points (95 % interval)")
    if len(several) > 1:
        longest = max(map(len, several))
        figure.legend(loc="outside lower center", ncols=max(1, 100 // (longest + 8)), fontsize=8)
    return figure


def draw_ladder(ladders):
    """Where each method's gain comes from: a bar for each step, with its 95 % interval.

    ladders : {method: its `ladder`}
    """
    heights = [1 + len(steps) for steps in ladders.values()]
    figure, grid = utils.new_figure(8, 0.8 + 0.42 * sum(heights), nrows=len(ladders), sharex=True,
                                    squeeze=False, height_ratios=heights)
    for axes, (method, steps) in zip(grid.flat, ladders.items()):
        beside = axes.get_yaxis_transform()  # x from 0 to 1 across the axes, y by row
        start = steps[0]["accuracy"] - steps[0]["gain"]["mean"]
        axes.plot(start, 0, "o", color="black", ms=5)
        axes.text(1.03, 0, "step, points (95 %)", va="center", color="#555555", transform=beside)
        labels = [f"none: {start:.1f} %"]
        for row, step in enumerate(steps, 1):
            reached, mean, ci95 = step["accuracy"], step["gain"]["mean"], step["gain"]["ci95"]
            colour = utils.COLOURS[0] if mean >= 0 else utils.COLOURS[5]
            thickness, place = (5, "    of these: ") if step["part"] else (10, "+ ")
            labels.append(f"{place}{step['source']}\n{step['arm']}: {reached:.1f} %")
            axes.plot([reached - mean, reached], [row, row], color=colour, lw=thickness, alpha=0.45,
                      solid_capstyle="butt", zorder=2)
            axes.plot(reached, row, "o", color="black", ms=5, zorder=4)
            if ci95:
                ends = np.clip([reached - mean + end for end in ci95], 0, 100)
                axes.plot(ends, [row, row], "-|", color=colour, lw=1.5, ms=7, mew=1.5, zorder=3)
            axes.text(1.03, row, points(mean, ci95), color=colour, va="center", transform=beside)
        axes.set_yticks(range(len(labels)), labels, fontsize=8)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_title(method, loc="left", fontsize=9)
    axes.set_xlabel("accuracy on the test faces, %")
    return figure


def draw_accuracies(metrics):
    results = {**metrics["arms"], **metrics["baselines"]}
    figure, axes = utils.new_figure(7, 1.2 + 0.32 * len(results))
    for k, values in enumerate(results.values()):
        mean, ends, units = (values["accuracy"][key] for key in ("mean", "ci95", "per_unit"))
        axes.plot(units, k + (np.arange(len(units)) % 5 - 2) * 0.07, "o", color=utils.COLOURS[0],
                  ms=4, alpha=0.4, mew=0, label=None if k else PROTOCOLS[metrics["protocol"]].units)
        axes.plot([mean] * 2, [k - 0.3, k + 0.3], color="black", lw=2)
        axes.plot(ends or [], [k] * len(ends or []), color="black", lw=1,
                  label=None if k else "mean, 95 % interval")
    axes.axhline(len(metrics["arms"]) - 0.5, color="#999999", lw=0.8)  # baselines are below it
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


# ---------------------------------------------------------------------------------- side by side
def side_by_side(several, figures):
    """The text of a report on several experiments, {name: metrics}, with the names of its figures.
    """
    text = ["# Side by side"]
    if any(metrics["dataset"]["stand_in"] for metrics in several.values()):
        text.append("> **Drawn stand-in faces: they say nothing about JAFFE.**")
    rows = {}
    for name, metrics in several.items():
        for arm, values in {**metrics["arms"], **metrics["baselines"]}.items():
            row = rows.setdefault(arm, {"arm": arm, **{markdown_text(key): "" for key in several}})
            row[markdown_text(name)] = ", ".join(
                filter(None, [f"{values['accuracy']['mean']:.1f} %", gain_in_points(values)]))
    text += ["Accuracy, and gain over no augmentation in points with its 95 % interval.",
             markdown_table([*rows.values()])]
    if pooled_rows(several):
        text += ["## New people, all data sets together", markdown_table(pooled_rows(several)),
                 one_line(POOLED_SAY)]
    text += [f"![{name}]({name}.png)" for name in figures]
    for name, metrics in several.items():
        text += [f"## {markdown_text(name)}", f"{markdown_text(source(metrics))}; "
                 f"{runs_in_words(metrics)}; {metrics['interval']}."]
        text += [markdown_table(answer_rows(metrics))] if metrics["answers"] else []
    return "\n\n".join(text) + "\n"


def pooled_rows(several):
    """Gains pooled over experiments on different data sets and new people, a row for each pair of
    arms that two of them have: none of fewer. Of one data set the first experiment counts."""
    by_data_set = {}
    for metrics in several.values():
        if PROTOCOLS[metrics["protocol"]].new_people:
            by_data_set.setdefault(metrics["dataset"]["name"], metrics)
    gains = {}
    for metrics in by_data_set.values():
        pairs = {(arm, "none"): values["gain"] for arm, values in metrics["arms"].items()
                 if values["gain"]}
        pairs |= {(row["arm"], row["other"]): {**row, "mean": row["gain"]}
                  for row in metrics["answers"]}
        for pair, values in pairs.items():
            if values["standard_error"]:
                gains.setdefault(pair, []).append(values)
    rows = []
    for (arm, other), values in gains.items():
        if len(values) > 1:
            result = pooled(values)
            rows.append({"arm": arm, "against": other, "data sets": str(len(values)),
                         "these data sets, points": points(result["mean"], result["ci95"]),
                         "spread": f"{result['tau']:.1f}",
                         "all of their kind": points(result["elsewhere"],
                                                     result["elsewhere_ci95"])})
    return rows
