"""Stage 4 of 4: accuracy on the test faces, with and without augmentation, and what can be concluded from it.

    python evaluate.py [EXPERIMENT]                one experiment
    python evaluate.py EXPERIMENT EXPERIMENT ...   each of them, and a report that sets them side by side

This is the only script that uses test faces; the others load them for the fingerprint and pass none on. For each run and
arm it writes run-NN/predictions-<arm>.csv, and for the experiment report/report.md, metrics.json (the same numbers for
programs), table.tex (for papers) and the figures. Several experiments also get side-by-side/ in the folder that holds the
first of them. Seconds to a minute; at the end it prints a table of the arms.

Rules: macro averages are over the emotions that the run's test faces show; a precision or F1 that is 0/0 counts as 0.
Intervals are 95 % intervals of the mean gain: see `gain_interval`.
"""

import collections
import csv
import io
import math
import shlex
from pathlib import Path

import numpy as np

import utils
from augment import read_settings
from train_cae import build_cae
from train_classifier import arms_made, build_lenet5

# Published: 28 and 37 of 43 test faces right; rows true, columns predicted, in the order AN DI FE HA NE SA SU.
PAPER = {"baseline_accuracy": 28 / 43, "augmented_accuracy": 37 / 43, "gain_points": 100 * 9 / 43}
CONTROLS = ("duplicate", "blend", "geometric")
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#999999", "#F0E442", "#5D3A9B")
MARKERS = "osD^vP*Xh<"


# ---------------------------------------------------------------------------------------------------- metrics
def confusion_matrix(true, predicted, emotions):
    """int (k, k): rows true, columns predicted, in the order of `emotions`."""
    position = {emotion: k for k, emotion in enumerate(emotions)}
    matrix = np.zeros((len(emotions), len(emotions)), int)
    for t, p in zip(true, predicted):
        matrix[position[t], position[p]] += 1
    return matrix


def scores(matrix):
    """Accuracy, macro recall, precision and F1, and the three per emotion, from a confusion matrix (rows true).

    Macro averages leave out emotions without a test face. 0/0 (nothing predicted as this emotion) counts as 0.
    """
    matrix = np.asarray(matrix, float)
    right, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    recall, precision, f1 = (np.divide(a, b, out=np.zeros_like(a), where=b > 0)
                             for a, b in ((right, true), (right, predicted), (2 * right, true + predicted)))
    there = true > 0
    return {"accuracy": right.sum() / matrix.sum(), "macro_recall": recall[there].mean(),
            "macro_precision": precision[there].mean(), "macro_f1": f1[there].mean()}, \
        {"recall": recall.tolist(), "precision": precision.tolist(), "f1": f1.tolist(), "faces": true.astype(int).tolist()}


# ---------------------------------------------------------------------------------------------------- statistics
def t_interval(values, variance_factor=None):
    """(low, high): mean of `values` -+ t(0.975, n - 1) sqrt(variance_factor * variance), by default variance_factor = 1/n.

    With variance_factor = 1/n + n_test/n_train it is the corrected resampled t of Nadeau and Bengio, "Inference for the
    Generalization Error", Machine Learning 52 (2003), for runs whose training sets overlap.
    """
    from scipy import stats

    values = np.asarray(values, float)
    factor = 1 / len(values) if variance_factor is None else variance_factor
    half = stats.t.ppf(0.975, len(values) - 1) * math.sqrt(factor * values.var(ddof=1))
    return values.mean() - half, values.mean() + half


def bootstrap_interval(values, resamples=10_000, seed=0):
    """(low, high): 2.5 and 97.5 percentiles of the mean of `values` resampled with replacement (Efron's percentile interval)."""
    values = np.asarray(values, float)
    means = values[np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    return tuple(np.percentile(means, [2.5, 97.5]))


def wilson_interval(right, n):
    """(low, high): Wilson's 95 % score interval of a proportion (JASA 22, 1927)."""
    z = 1.959963984540054  # the normal distribution's 97.5 % point
    centre, half = right / n + z * z / (2 * n), z * math.sqrt(right / n * (1 - right / n) / n + z * z / (4 * n * n))
    return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)


def mcnemar(only_first, only_second):
    """p value, two-sided, of McNemar's exact test: faces that only the first and only the second classifier got right."""
    n, k = only_first + only_second, min(only_first, only_second)
    return min(1.0, sum(math.comb(n, i) for i in range(k + 1)) * 2 / 2**n)


def gain_interval(gains, per_face, protocol, test_to_train):
    """(low, high, what it is) of the mean of `gains`, one value a run, in points; per_face: run 0's gains face by face.

    Its kind depends on what the runs differ in.
    """
    if len(gains) == 1:
        return *bootstrap_interval(per_face), "bootstrap over the test faces of the one run: says nothing of other runs"
    if protocol == "published":
        return *t_interval(gains), "t over initialisations: says nothing of other test faces or other people"
    if protocol == "holdout":
        return *t_interval(gains, 1 / len(gains) + test_to_train), "Nadeau-Bengio corrected resampled t over splits"
    few = ", so few that it is too narrow: it covers about 85 % with 5 of them, 90 % with 10" if len(gains) <= 10 else ""
    return *bootstrap_interval(gains), f"bootstrap over {len(gains)} subjects{few}"


# ---------------------------------------------------------------------------------------------------- predictions
def predict(experiment, faces, arms):
    """{arm: [predicted emotions of run 0's test faces, of run 1's, ...]}, each also written to predictions-<arm>.csv."""
    emotions = experiment["dataset"]["emotions"]
    model = build_lenet5(len(emotions))
    predicted = {arm: [] for arm in arms}
    for run in range(experiment["settings"]["runs"]):
        split = utils.experiment_split(experiment, faces, run)
        test, folder = faces.take(split.test), utils.run_folder(experiment, run)
        for arm in arms:
            check_parents(folder, arm, set(test.names.tolist()), experiment)
            utils.load_weights(model, utils.read_model(folder / f"classifier-{arm}.keras"))
            probabilities = utils.in_chunks(model, test.images)
            codes = [emotions[k] for k in probabilities.argmax(1)]
            predicted[arm].append(codes)
            text = io.StringIO()
            table = csv.writer(text, lineterminator="\n")
            table.writerow(["file", "subject", "emotion", "predicted", *(f"p_{emotion}" for emotion in emotions)])
            for row in zip(test.names, test.subjects, test.emotions, codes, probabilities):
                table.writerow([*row[:4], *(f"{p:.6f}" for p in row[4])])
            utils.write_text(folder / f"predictions-{arm}.csv", text.getvalue())
    return predicted


def check_parents(folder, arm, test_names, experiment):
    """Raise `Problem` if the classifier is of another experiment or was trained on a face made from a test face."""
    made_of = utils.read_input(folder / f"classifier-{arm}.keras", experiment)
    if arm == "none":
        return
    path = folder / f"synthetic-{arm}.npz"
    if made_of["made_from"].get(path.name) != utils.file_digest(path):
        raise utils.Problem(f"{utils.shown(path)}: has changed since its classifier was trained; run train_classifier.py again")
    with np.load(path, allow_pickle=False) as stored:
        leaked = test_names & set(stored["names"][stored["parents"]].ravel().tolist())
    if leaked:
        raise utils.Problem(f"{utils.shown(path)}: made from the test face {utils.shown(min(leaked))}; remove it and run augment.py again")


def shrinkage_lda(train, codes, test):
    """Codes of the rows of `test` by linear discriminant analysis with Ledoit-Wolf shrinkage; train, test: float (n, pixels).

    It is scikit-learn's LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), which takes half a minute for the
    singular value decomposition of the 2304 x 2304 covariance. That covariance is a diagonal and a sum of as many outer
    products as there are faces; of few faces, Woodbury's identity makes a system of as many equations.
    """
    from scipy.linalg import solve
    from sklearn.covariance import ledoit_wolf_shrinkage

    classes, counts = np.unique(codes, return_counts=True)
    means = np.stack([train[codes == code].mean(0) for code in classes])
    diagonal, factors = np.full(train.shape[1], 1e-9), []  # 1e-9: positive definite even with one face a class
    for code, mean, count in zip(classes, means, counts):
        centred = train[codes == code] - mean
        spread = centred.std(0)
        spread[spread < 1e-6] = 1
        shrinkage = ledoit_wolf_shrinkage(centred / spread)
        diagonal += count / len(codes) * shrinkage * np.mean((centred / spread) ** 2) * spread**2
        factors.append(np.sqrt((1 - shrinkage) / len(codes)) * centred)
    factor = np.concatenate(factors)  # the covariance is diag(diagonal) + factor.T @ factor
    if len(factor) < len(diagonal):  # Woodbury: a system of as many equations as there are faces
        scaled = factor / diagonal
        directions = means.T / diagonal[:, None]
        directions -= scaled.T @ solve(np.eye(len(factor)) + scaled @ factor.T, factor @ directions, assume_a="pos")
    else:
        directions = solve(np.diag(diagonal) + factor.T @ factor, means.T, assume_a="pos")
    constants = np.log(counts / len(codes)) - 0.5 * np.einsum("kp,pk->k", means, directions)
    return classes[(test @ directions + constants).argmax(1)]


def predict_lda(experiment, faces):
    """Predictions of `shrinkage_lda` on the same 48 x 48 pixels, given training and validation faces, as `predict`'s."""
    pixels = faces.images.reshape(len(faces.images), -1).astype(float)
    predicted = []
    for run in range(experiment["settings"]["runs"]):
        split = utils.experiment_split(experiment, faces, run)
        train = np.concatenate([split.train, split.validation])
        if predicted and experiment["protocol"] == "published":  # there, all runs have the same faces
            predicted.append(predicted[0])
        else:
            predicted.append(shrinkage_lda(pixels[train], faces.emotions[train], pixels[split.test]).tolist())
    return predicted


# ---------------------------------------------------------------------------------------------------- evaluation
def summary(values):
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
            "per_run": [float(value) for value in values]}


def measure(predicted, true, emotions):
    """Scores of one arm over its runs, as metrics.json has them."""
    matrices = [confusion_matrix(t, p, emotions) for t, p in zip(true, predicted)]
    per_run = [scores(matrix)[0] for matrix in matrices]
    total = np.sum(matrices, axis=0)
    result = {key: summary([run[key] for run in per_run]) for key in per_run[0]}
    return {**result, "confusion_matrix": total.tolist(), "per_emotion": scores(total)[1]}


def compare(first, second, true, protocol, test_to_train):
    """Gain of `first` over `second` (both: predictions per run) in points, with its interval and what else tells them apart."""
    right = [[np.array(p) == np.array(t) for p, t in zip(arm, true)] for arm in (first, second)]
    gains = [100 * (a.mean() - b.mean()) for a, b in zip(*right)]
    low, high, kind = gain_interval(gains, 100.0 * (right[0][0].astype(float) - right[1][0]), protocol, test_to_train)
    a, b = (np.concatenate(arm) for arm in right)
    return {"mean": float(np.mean(gains)), "ci95": [float(low), float(high)], "interval": kind,
            "share_of_runs_won": float(np.mean([0.5 if gain == 0 else gain > 0 for gain in gains])),
            "mcnemar_p": mcnemar(int((a & ~b).sum()), int((b & ~a).sum()))}


def evaluate(experiment):
    """metrics.json of an experiment as a dict; the predictions are written on the way."""
    dataset, protocol = experiment["dataset"], experiment["protocol"]
    faces, runs = utils.experiment_faces(experiment), experiment["settings"]["runs"]
    arms = trained_arms(experiment)
    splits = [utils.experiment_split(experiment, faces, run) for run in range(runs)]
    true = [faces.emotions[split.test].tolist() for split in splits]
    test_to_train = len(splits[0].test) / len(splits[0].train)
    predicted = predict(experiment, faces, arms)
    reference = predict_lda(experiment, faces)
    metrics = {
        "dataset": {key: dataset[key] for key in ("name", "faces", "stand_in", "fingerprint", "subjects", "emotions", "notes")},
        "protocol": protocol, "runs": runs, "seed": experiment["settings"]["seed"], "settings": experiment["settings"],
        "not_the_protocols": experiment["special"], "augmentation": read_settings(experiment["folder"]),
        "test_faces": len(splits[0].test) if protocol != "loso" else sum(len(split.test) for split in splits),
        "synthetic_faces": {arm: synthetic_count(experiment, arm) for arm in arms}, "arms": {},
        "reference_lda": measure(reference, true, dataset["emotions"]), "paper": PAPER,
    }
    metrics["reference_lda"]["gain_points"] = compare(reference, predicted["none"], true, protocol, test_to_train)
    for arm in arms:
        metrics["arms"][arm] = measure(predicted[arm], true, dataset["emotions"])
        for name, other in (("gain_points", "none"), ("gain_over_duplicate_points", "duplicate")):
            if arm not in (other, "none") and other in arms:
                metrics["arms"][arm][name] = compare(predicted[arm], predicted[other], true, protocol, test_to_train)
    if "interpolate" in arms:
        metrics["paper_method_against"] = {control: compare(predicted["interpolate"], predicted[control], true, protocol, test_to_train)
                                           for control in CONTROLS if control in arms}
    return metrics, faces


def trained_arms(experiment):
    """The arms that every run has a classifier of, `none` first. Raises `Problem` if `none` is not among them."""
    found = None
    for run in range(experiment["settings"]["runs"]):
        here = {path.stem.removeprefix("classifier-") for path in utils.run_folder(experiment, run).glob("classifier-*.keras")}
        found = here if found is None else found & here
    arms = [arm for arm in arms_made(experiment) if arm in found]
    if "none" not in arms:
        raise utils.Problem(f"{utils.shown(experiment['folder'])}: not every run has its classifiers yet; run train_classifier.py "
                            f"{utils.shown(experiment['folder'])} to its end first")
    return arms


def synthetic_count(experiment, arm):
    """Synthetic faces of an arm in run 0."""
    if arm == "none":
        return 0
    with np.load(utils.run_folder(experiment, 0) / f"synthetic-{arm}.npz", allow_pickle=False) as stored:
        return len(stored["emotions"])


# ---------------------------------------------------------------------------------------------------- words and tables
def points(gain):
    mean, low, high = (round(value, 1) + 0.0 for value in (gain["mean"], *gain["ci95"]))  # + 0.0: no -0.0
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def verdict(gain, runs):
    if runs < 3:
        return "Not shown, with so few runs"
    return "Yes" if gain["ci95"][0] > 0 else "No, it is worse" if gain["ci95"][1] < 0 else "Not shown"


def listed(words):
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def answers(metrics):
    """One sentence per question of a reader: [(question, answer)]."""
    arms, runs = metrics["arms"], metrics["runs"]
    if "interpolate" not in arms:
        return []
    gain = arms["interpolate"]["gain_points"]
    lines = [("Does the paper's method beat no augmentation?",
              f"{verdict(gain, runs)}: it changes accuracy by {points(gain)} points, on average over {runs} run{'s' * (runs > 1)}."
              + " This holds for the one split and its test faces, and the arm also trains longer than the baseline."
              * (metrics["protocol"] == "published"))]
    against = metrics["paper_method_against"]
    if against:
        each = ", ".join(f"{points(result)} points over {control}" for control, result in against.items())
        if all(result["ci95"][0] > 0 for result in against.values()):
            start = "Yes"
        else:
            worse = listed([control for control, result in against.items() if result["ci95"][1] < 0])
            behind = listed([control for control, result in against.items() if result["mean"] < 0])
            start = f"No, {worse} did better, without any autoencoder" if worse else \
                f"Not shown; on average {behind} did better, without any autoencoder" if behind else "Not shown"
        lines.append(("Does it beat its controls?", f"{start}; its gain is {each}."))
    if metrics["protocol"] == "loso":
        lines.append(("On new people?", f"{verdict(gain, runs)}: every test face here is of a person that no training face shows, and there "
                      f"the method changes accuracy by {points(gain)} points."))
    else:
        lines.append(("On new people?", "Not asked here: the people of the test faces are among the training faces too; "
                      "`python train_cae.py --protocol loso` asks it."))
    return lines


def rows_of_table(metrics):
    """(arm, synthetic faces, accuracy, its spread, macro F1, gain, gain over duplicate, runs won, McNemar's p): texts."""
    rows = []
    for arm, values in [*metrics["arms"].items(), ("LDA on the pixels", metrics["reference_lda"])]:
        gain, over_duplicate = values.get("gain_points"), values.get("gain_over_duplicate_points")
        spread = values["accuracy"]["std"]
        rows.append((arm, str(metrics["synthetic_faces"].get(arm, 0)), f"{100 * values['accuracy']['mean']:.1f}",
                     "" if spread is None else f"{100 * spread:.1f}", f"{values['macro_f1']['mean']:.3f}",
                     points(gain) if gain else "", points(over_duplicate) if over_duplicate else "",
                     f"{100 * gain['share_of_runs_won']:.0f}" if gain else "", f"{gain['mcnemar_p']:.2g}" if gain else ""))
    return rows


HEADER = ("arm", "synthetic faces, run 0", "accuracy %", "std over runs", "macro F1", "gain over none, points (95 % interval)",
          "gain over duplicate", "runs won %", "McNemar p")


def markdown_table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def terminal_table(metrics):
    rows = [(row[0], row[2], row[4], row[5], row[6]) for row in rows_of_table(metrics)]
    rows.insert(0, ("arm", "accuracy %", "macro F1", "gain over none, points", "gain over duplicate"))
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    return "\n".join("  ".join(cell.ljust(width) if k in (0, 3, 4) else cell.rjust(width)
                               for k, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows)


def latex_table(metrics):
    rows = rows_of_table(metrics)
    lines = [r"\begin{tabular}{lrrrll}", r"\hline", r"arm & accuracy (\%) & std & macro F1 & gain (points) & over duplicate \\", r"\hline"]
    lines += [" & ".join(cell.replace("-", "$-$") if k > 3 else cell for k, cell in enumerate((row[0], *row[2:7]))) + r" \\" for row in rows]
    caption = f"% {source(metrics)}; mean over {metrics['runs']} runs; gain: 95 % interval, {interval_kind(metrics)}"
    return "\n".join([caption, *lines, r"\hline", r"\end{tabular}", ""])


def interval_kind(metrics):
    return metrics["reference_lda"]["gain_points"]["interval"]


def source(metrics):
    name = "DRAWN STAND-IN FACES, which tell nothing about JAFFE" if metrics["dataset"]["stand_in"] else \
        "JAFFE" if metrics["dataset"]["name"] == "jaffe" else utils.shown(metrics["dataset"]["name"])
    return f"{name}, protocol {metrics['protocol']}"


def opening(metrics):
    paper = f"the paper reports {PAPER['gain_points']:+.2f} on JAFFE, from one run"
    if "interpolate" not in metrics["arms"]:
        return f"The arm `interpolate`, the paper's method, was not trained here; {paper}."
    gain = metrics["arms"]["interpolate"]["gain_points"]
    low, high = gain["ci95"]
    return (f"The paper's method changes accuracy by **{gain['mean']:+.2f} points** (95 % interval {low:+.2f} to {high:+.2f}; "
            f"{gain['interval']}) over no augmentation; {paper}.")


def report(experiment, metrics, figures):
    dataset, folder = metrics["dataset"], shlex.quote(utils.shown(utils.shown_path(experiment["folder"])))
    arms, settings = metrics["arms"], metrics["settings"]
    text = [f"# Accuracy with and without augmentation: {source(metrics)}", ""]
    if dataset["stand_in"]:
        text += ["> **These are drawn stand-in faces. Nothing below tells anything about JAFFE or about people.**", ""]
    for note in dataset["notes"] + utils.changes(experiment):
        text += [f"> **Note:** {note}.", ""]
    if metrics["not_the_protocols"]:
        other = ", ".join(f"{key.replace('_', ' ')} {utils.spelled(settings[key])}" for key in metrics["not_the_protocols"])
        text += [f"> **Settings other than those of `{metrics['protocol']}`:** {other}.", ""]
    text += [opening(metrics), ""]
    for question, answer in answers(metrics):
        text += [f"- **{question}** {answer}"]
    differ = {"published": "its initialisation (one split for all)", "holdout": "its split and its initialisation",
              "loso": "another subject left out and its initialisation"}[metrics["protocol"]]
    repeated = {"published": "the same test faces come up in every run", "holdout": "a face can come up in several runs",
                "loso": "a person's faces are not independent"}[metrics["protocol"]]
    repeated = f"; {repeated}, which makes the evidence look stronger than it is" * (metrics["protocol"] == "loso" or metrics["runs"] > 1)
    augmentation = metrics["augmentation"]
    text += ["", f"{dataset['faces']} faces of {dataset['subjects']} people, {metrics['test_faces']} test faces"
             f"{' over all runs' if metrics['protocol'] == 'loso' else ' a run'}; {metrics['runs']} runs, each with {differ}; "
             f"seed {metrics['seed']}" + (f"; theta {augmentation['theta']}" if augmentation else "") + ".", "",
             "## Arms", "", markdown_table(HEADER, rows_of_table(metrics)), "",
             f"Accuracy, macro F1: mean over runs. Interval: {interval_kind(metrics)}. Runs won: share of runs in which the arm beat "
             f"`none`, ties count half. McNemar: exact, two-sided, on the predictions of all runs pooled{repeated}. "
             f"LDA: linear discriminant analysis with Ledoit-Wolf shrinkage on the same 48 x 48 pixels, trained on training and "
             f"validation faces; what one would try first.", ""]
    if metrics["protocol"] != "loso":
        n = metrics["test_faces"]
        text += [f"With {n} test faces one face is {100 / n:.1f} points. Wilson 95 % intervals of the accuracy itself: " + ", ".join(
            "{} {:.0f} to {:.0f} %".format(arm, *(100 * p for p in wilson_interval(values["accuracy"]["mean"] * n, n)))
            for arm, values in arms.items()) + ".", ""]
    text += ["The paper, on JAFFE, one split and one initialisation: {:.2f} % without, {:.2f} % with augmentation; Wilson 95 % intervals "
             "{:.0f} to {:.0f} % and {:.0f} to {:.0f} %.".format(100 * PAPER["baseline_accuracy"], 100 * PAPER["augmented_accuracy"],
                                                            *(100 * p for k in (28, 37) for p in wilson_interval(k, 43))), "",
             "## Per emotion", "", markdown_table(("arm", "", *dataset["emotions"]), [
                 (arm if k == 0 else "", key, *(f"{value:.2f}" for value in values["per_emotion"][key]))
                 for arm, values in arms.items() for k, key in enumerate(("precision", "recall", "f1"))]), "",
             "From all runs' predictions together; 0/0 counts as 0.", "", "## Figures", ""]
    for file, caption in figures:
        text += [f"![{caption}]({file})", "", caption + ".", ""]
    made = ",".join(arm for arm in arms if arm != "none") or "interpolate"
    given = "".join(f" --{key.replace('_', '-')} {utils.spelled(settings[key])}" for key in ("runs", "seed", *metrics["not_the_protocols"]))
    scope = " --scope both" if any("translate" in arm for arm in arms) else ""
    crop = experiment["dataset"]["crop"]
    given += "" if crop == list(utils.CROP) else " --crop " + ("none" if crop is None else ",".join(map(str, crop)))
    if experiment["folder"].resolve().parent != utils.ROOT / "results":
        given += f" --results {shlex.quote(utils.shown(utils.shown_path(experiment['folder'].parent)))}"
    data = "" if dataset["stand_in"] else " --data PATH"
    text += ["## Commands", "", "```", f"python train_cae.py{data} --protocol {metrics['protocol']}{given}{scope}",
             f"python augment.py {folder} --methods {made}" + (
                 f" --theta={augmentation['theta']} --max-synthetic {augmentation['max_synthetic']}" if augmentation else ""),
             f"python train_classifier.py {folder} --arms none,{made}", f"python evaluate.py {folder}", "```", ""]
    return "\n".join(text)


# ---------------------------------------------------------------------------------------------------- figures
class Figures:
    """Draws into a folder and keeps the (file, caption) of what it drew; every figure says what faces it is about."""

    def __init__(self, folder, about):
        import matplotlib

        matplotlib.use("Agg")
        matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 130})
        self.folder, self.about, self.drawn = folder, about, []

    def new(self, width, height, **subplots):
        import matplotlib.pyplot as plt

        return plt.subplots(figsize=(width, height), layout="constrained", **subplots)

    def save(self, figure, file, caption):
        import matplotlib.pyplot as plt

        figure.suptitle(self.about, fontsize=8, color="#555555", x=0.01, ha="left")
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
        plt.close(figure)
        utils.write_bytes(self.folder / file, stream.getvalue())
        self.drawn.append((file, caption))


def draw(experiment, metrics, faces, folder):
    """All figures of an experiment into `folder`; returns [(file, caption)]."""
    faces_of = "DRAWN STAND-IN FACES, not JAFFE" if metrics["dataset"]["stand_in"] else source(metrics).split(",")[0]
    figures = Figures(folder, f"{faces_of}; {metrics['protocol']}, {metrics['runs']} run{'s' * (metrics['runs'] > 1)}")
    split = utils.experiment_split(experiment, faces, 0)
    draw_emotions(figures, metrics, faces, split)
    draw_gains(figures, {"": metrics})
    draw_accuracies(figures, metrics)
    draw_confusion(figures, metrics)
    draw_learning(figures, experiment, metrics)
    draw_cae_loss(figures, experiment)
    cae = build_cae(experiment["settings"]["latent"])
    utils.load_weights(cae, utils.read_model(utils.run_folder(experiment, 0) / "cae.keras"))
    draw_reconstructions(figures, cae, faces, split)
    draw_synthetic(figures, experiment, metrics, faces)
    draw_latents(figures, cae, faces, metrics)
    return figures.drawn


def draw_emotions(figures, metrics, faces, split):
    figure, axes = figures.new(6.5, 2.8)
    emotions = metrics["dataset"]["emotions"]
    parts = [(name, rows) for name, rows in zip(split._fields, split) if len(rows)]
    for k, (name, rows) in enumerate(parts):
        counts = collections.Counter(faces.emotions[rows].tolist())
        bars = axes.bar(np.arange(len(emotions)) + 0.28 * k, [counts[emotion] for emotion in emotions], 0.26, label=f"{name} ({len(rows)})",
                        color=COLOURS[k], hatch=["", "//", "xx"][k], edgecolor="white")
        axes.bar_label(bars, fontsize=7)
    axes.set_xticks(np.arange(len(emotions)) + 0.14 * (len(parts) - 1), [f"{code}\n{utils.EMOTIONS[code]}" for code in emotions])
    axes.set_ylabel("faces, run 0")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figures.save(figure, "emotions.png", "Faces of each emotion in each part of run 0's split")


def draw_gains(figures, several):
    """Gains of every arm with intervals; `several`: {label: metrics}, one group each."""
    rows = [(label, arm, values["gain_points"]) for label, metrics in several.items() for arm, values in metrics["arms"].items()
            if "gain_points" in values]
    if not rows:
        return
    figure, axes = figures.new(6.5, 1.2 + 0.3 * len(rows))
    for place, (label, arm, gain) in enumerate(rows):
        k = list(several).index(label)
        axes.plot(gain["ci95"], [place, place], color=COLOURS[k], lw=2)
        axes.plot(gain["mean"], place, MARKERS[k], color=COLOURS[k], ms=6, label=label if label and arm == rows[[r[0] for r in rows].index(label)][1] else None)
    axes.axvline(0, color="black", lw=0.8)
    axes.axvline(PAPER["gain_points"], color="#555555", lw=1, ls="--")
    axes.text(PAPER["gain_points"], -0.55, " paper (JAFFE)", va="center", fontsize=7, color="#555555")
    axes.set_yticks(range(len(rows)), [arm for _, arm, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.9)
    axes.set_xlabel("gain in accuracy over no augmentation, points (95 % interval)")
    if len(several) > 1:
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    figures.save(figure, "gains.png", "Gain of each arm over no augmentation, with 95 % intervals; dashed: the paper's +20.93 on JAFFE")


def draw_accuracies(figures, metrics):
    arms = metrics["arms"]
    figure, axes = figures.new(max(4.5, 1.0 + 0.95 * len(arms)), 3.2)
    for k, (arm, values) in enumerate(arms.items()):
        per_run = 100 * np.array(values["accuracy"]["per_run"])
        spread = (np.arange(len(per_run)) - (len(per_run) - 1) / 2) * 0.5 / max(10, len(per_run))
        axes.plot(k + spread, per_run, "o", color=COLOURS[0], ms=4, alpha=0.7, label="a run" if k == 0 else None)
        axes.plot([k - 0.32, k + 0.32], [per_run.mean()] * 2, color="black", lw=1.5, label="mean" if k == 0 else None)
    axes.axhline(100 * metrics["reference_lda"]["accuracy"]["mean"], color="#555555", ls=":", lw=1, label="LDA on the pixels")
    axes.set_xticks(range(len(arms)), [arm.replace("+", "+\n") for arm in arms])
    axes.set_ylabel("accuracy on the test faces, %")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figures.save(figure, "accuracy.png", "Accuracy of every run and arm")


def draw_confusion(figures, metrics):
    arms, emotions = metrics["arms"], metrics["dataset"]["emotions"]
    columns = min(4, len(arms))
    rows = -(-len(arms) // columns)
    figure, grid = figures.new(2.5 * columns + 0.3, 2.6 * rows + 0.2, nrows=rows, ncols=columns, squeeze=False)
    for axes in grid.flat[len(arms):]:
        axes.axis("off")
    for axes, (arm, values) in zip(grid.flat, arms.items()):
        matrix = np.array(values["confusion_matrix"])
        share = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for (i, j), count in np.ndenumerate(matrix):
            if count:
                axes.text(j, i, str(count), ha="center", va="center", fontsize=7, color="white" if share[i, j] > 0.6 else "black")
        axes.set_xticks(range(len(emotions)), emotions, fontsize=7)
        axes.set_yticks(range(len(emotions)), emotions, fontsize=7)
        axes.set_title(f"{arm}, {100 * values['accuracy']['mean']:.1f} %", fontsize=9)
        axes.set_xlabel("predicted", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("true", fontsize=8)
    figures.save(figure, "confusion.png", "Confusion matrices: test faces of all runs, shaded by the share of the true emotion")


def draw_learning(figures, experiment, metrics):
    figure, (left, right) = figures.new(8.2, 3, ncols=2)
    for k, arm in enumerate(metrics["arms"]):
        runs = []
        for run in range(metrics["runs"]):
            stored = utils.read_arrays(utils.run_folder(experiment, run) / f"classifier-{arm}-history.npz")
            runs.append((stored["steps"], stored["validation_loss"], 100 * stored["validation_accuracy"]))
        for axes, column in ((left, 1), (right, 2)):
            if metrics["protocol"] == "published":  # runs stop at different epochs
                for number, run in enumerate(runs):
                    axes.plot(run[0], run[column], color=COLOURS[k % len(COLOURS)], lw=0.7, alpha=0.4)
                    axes.plot(run[0][-1], run[column][-1], MARKERS[k % len(MARKERS)], color=COLOURS[k % len(COLOURS)], ms=5, label=arm if number == 0 else None)
            else:
                axes.plot(runs[0][0], np.mean([run[column] for run in runs], axis=0), color=COLOURS[k % len(COLOURS)], lw=1.2, label=arm,
                          marker=MARKERS[k % len(MARKERS)], ms=3.5, markevery=(k, 10))
    left.set_ylabel("validation loss, nats")
    right.set_ylabel("validation accuracy, %")
    for axes in (left, right):
        axes.set_xlabel("optimiser steps")
    if metrics["protocol"] == "published":
        left.set_xscale("log")
        right.set_xscale("log")
    right.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figures.save(figure, "learning-curves.png", "Validation loss and accuracy against optimiser steps, " + (
        "every run, its end marked; validation is drawn after augmentation, so it holds near-copies of training faces"
        if metrics["protocol"] == "published" else "mean over runs; validation faces are real and were held out before augmentation"))


def draw_cae_loss(figures, experiment):
    figure, axes = figures.new(5, 2.8)
    stored = [utils.read_arrays(utils.run_folder(experiment, run) / "cae-history.npz") for run in range(experiment["settings"]["runs"])]
    for key, colour, style in (("loss", COLOURS[0], "-"), ("validation_loss", COLOURS[5], "--")):
        values = np.array([arrays[key] for arrays in stored])
        epochs = np.arange(1, values.shape[1] + 1)
        axes.fill_between(epochs, values.min(0), values.max(0), color=colour, alpha=0.2, lw=0)
        axes.plot(epochs, values.mean(0), color=colour, ls=style, label={"loss": "training", "validation_loss": "validation"}[key])
    axes.set_yscale("log")
    axes.set_xlabel("epoch")
    axes.set_ylabel("mean squared error (white = 1)")
    axes.legend(frameon=False)
    figures.save(figure, "cae-loss.png", "Loss of the autoencoder: mean over runs, band from the lowest to the highest")


def show_face(axes, image, title=""):
    axes.imshow(np.clip(np.squeeze(image), 0, 1), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=7)


def draw_reconstructions(figures, cae, faces, split):
    figure, grid = figures.new(8, 4.3, nrows=4, ncols=8)
    for rows, part, name in ((grid[:2], split.train, "training"), (grid[2:], split.test, "test")):
        chosen = faces.take(part[np.linspace(0, len(part) - 1, 8).astype(int)])
        for k, (image, again) in enumerate(zip(chosen.images, utils.in_chunks(cae, chosen.images))):
            show_face(rows[0, k], image, f"{chosen.subjects[k]} {chosen.emotions[k]}")
            show_face(rows[1, k], again)
        rows[0, 0].set_ylabel(f"{name}\nface", fontsize=7)
        rows[1, 0].set_ylabel("recon-\nstructed", fontsize=7)
    figures.save(figure, "reconstructions.png", "Faces and what run 0's autoencoder makes of them: eight it was given in training or "
                 "kept for its validation, eight test faces")


def draw_synthetic(figures, experiment, metrics, faces):
    """One row a method: synthetic faces in frames, each among the faces it was made from."""
    arms = [arm for arm in metrics["arms"] if arm != "none"]
    if not arms:
        return
    image_of = dict(zip(faces.names.tolist(), faces.images))
    code_of = dict(zip(faces.names.tolist(), zip(faces.subjects.tolist(), faces.emotions.tolist())))
    columns = 12
    figure, grid = figures.new(10, 1.1 * len(arms) + 0.3, nrows=len(arms), ncols=columns, squeeze=False)
    for row, arm in zip(grid, arms):
        made = utils.read_arrays(utils.run_folder(experiment, 0) / f"synthetic-{arm}.npz")
        names = made["names"][made["parents"]]
        group = names.shape[1] + 1
        shown = columns // group
        for axes in row:
            axes.axis("off")
        for k, number in enumerate(np.linspace(0, len(names) - 1, shown + 2).astype(int)[1:-1]):
            cells = [(image_of[name], " ".join(code_of[name])) for name in names[number]]
            cells.insert(min(1, len(cells)), (made["images"][number], f"makes {made['emotions'][number]}"))
            for axes, (image, title) in zip(row[k * group:(k + 1) * group], cells):
                axes.axis("on")
                show_face(axes, image, title)
                if title.startswith("makes"):
                    for spine in axes.spines.values():
                        spine.set(visible=True, color=COLOURS[5], linewidth=2)
        row[0].set_ylabel(arm.replace("+", "+\n"), fontsize=8)
    figures.save(figure, "synthetic.png", "Synthetic faces of run 0 (framed) beside the training faces they were made from; of "
                 "transfer's three, the third is subtracted")


def draw_latents(figures, cae, faces, metrics):
    encoder = cae.layers[0]
    latents = utils.in_chunks(encoder, faces.images)
    centred = latents - latents.mean(0)
    _, lengths, axes_of_pca = np.linalg.svd(centred.astype(float), full_matrices=False)
    axes_of_pca *= np.sign(axes_of_pca[np.arange(len(axes_of_pca)), np.abs(axes_of_pca).argmax(1)])[:, None]
    spots, share = centred @ axes_of_pca[:2].T, 100 * lengths**2 / (lengths**2).sum()
    figure, (left, right) = figures.new(9, 3.6, ncols=2)
    for axes, codes, title in ((left, faces.emotions, "by emotion"), (right, faces.subjects, "by person")):
        groups = sorted(set(codes.tolist()))
        for k, group in enumerate(groups):
            here = codes == group
            if len(groups) <= len(COLOURS):
                axes.plot(*spots[here].T, MARKERS[k], color=COLOURS[k], ms=4, ls="", label=group, alpha=0.8, mew=0)
            else:  # too many people for a legend: lines join the faces of a person
                axes.plot(*spots[here].T, "o-", color=COLOURS[k % len(COLOURS)], ms=2.5, lw=0.4, alpha=0.7)
        axes.set_title(title)
        axes.set_xlabel(f"first principal component ({share[0]:.0f} % of the variance)")
        if len(groups) <= len(COLOURS):
            axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    left.set_ylabel(f"second ({share[1]:.0f} %)")
    figures.save(figure, "latents.png", "All faces in the latent space of run 0's autoencoder, two principal components")


# ---------------------------------------------------------------------------------------------------- the stage
def main():
    options = arguments()
    several = {}
    for path in options.experiments or [None]:
        experiment = utils.open_experiment(path)
        with utils.locked(experiment["folder"]):
            metrics, faces = evaluate(experiment)
            folder = experiment["folder"] / "report"
            utils.make_folder(folder)
            figures = draw(experiment, metrics, faces, folder)
            utils.write_text(folder / "report.md", report(experiment, metrics, figures))
            utils.write_text(folder / "table.tex", latex_table(metrics))
            utils.write_json(folder / "metrics.json", metrics)
        name = experiment["folder"].name
        several[name if name not in several else utils.shown_path(experiment["folder"])] = metrics
        show(metrics, folder / "report.md")
    if len(several) > 1:
        side_by_side(several, Path(options.experiments[0]).resolve().parent / "side-by-side")


def show(metrics, path):
    n, faces = metrics["runs"], metrics["test_faces"]
    utils.say(f"\n{source(metrics)}: {n} run{'s' * (n > 1)}, {faces} test faces{' in all' if metrics['protocol'] == 'loso' else ' each'}\n")
    utils.say(terminal_table(metrics))
    utils.say(f"\n95 % intervals: {interval_kind(metrics)}.\nThe paper, on JAFFE, one run: {100 * PAPER['baseline_accuracy']:.1f} % to "
              f"{100 * PAPER['augmented_accuracy']:.1f} %, {PAPER['gain_points']:+.1f} points.\nreport: {utils.shown_path(path)}")


def side_by_side(several, folder):
    """A report that sets experiments side by side: gains of every arm, and the reader's questions."""
    utils.make_folder(folder)
    stand_in = any(metrics["dataset"]["stand_in"] for metrics in several.values())
    figures = Figures(folder, "DRAWN STAND-IN FACES, which tell nothing about JAFFE" if stand_in else "")
    draw_gains(figures, several)
    arms = list(dict.fromkeys(arm for metrics in several.values() for arm in metrics["arms"])) + ["LDA on the pixels"]
    rows = []
    for arm in arms:
        cells = []
        for metrics in several.values():
            values = metrics["arms"].get(arm) or (metrics["reference_lda"] if arm == arms[-1] else None)
            cells.append("" if values is None else f"{100 * values['accuracy']['mean']:.1f} %"
                         + (f", {points(values['gain_points'])}" if "gain_points" in values else ""))
        rows.append((arm, *cells))
    text = ["# Side by side", ""]
    if stand_in:
        text += ["> **Drawn stand-in faces are among these. Their numbers tell nothing about JAFFE or about people.**", ""]
    text += ["Accuracy, and gain over no augmentation in points with its 95 % interval.", "", markdown_table(("arm", *several), rows), ""]
    for name, metrics in several.items():
        text += [f"**{name}** ({source(metrics)}; {metrics['runs']} runs; interval: {interval_kind(metrics)})", ""]
        text += [f"- {question} {answer}" for question, answer in answers(metrics)] + [""]
    text += [f"![{caption}]({file})\n\n{caption}.\n" for file, caption in figures.drawn]
    utils.write_text(folder / "report.md", "\n".join(text))
    utils.write_json(folder / "metrics.json", several)
    utils.say(f"\nside by side: {utils.shown_path(folder / 'report.md')}")


def arguments():
    parser = utils.parser(__doc__, experiment=False, workers=False)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", type=Path, help="folders (default: results/jaffe-published if "
                        "JAFFE is in data/, else results/standin-published)")
    return parser.parse_args()


if __name__ == "__main__":
    utils.run_script(main)
