"""Stage 4 of 4: accuracy on the test faces, with and without augmentation, and what it tells.

    python evaluate.py [EXPERIMENT]              one experiment
    python evaluate.py EXPERIMENT EXPERIMENT     each of them, and a report with both side by side
    python evaluate.py EXPERIMENT --predict PHOTO ...    what its classifiers say of photographs

This is the only script in which networks see test faces. It writes predictions.csv (every run,
repeat, arm and test face) and, in report/, report.md, metrics.json (the same numbers for programs),
table.tex (for papers) and figures. JAFFE: one to five minutes; at the end it prints the table of
answers.

Accuracies, precisions and F1 are in percent, gains in points. A precision or F1 of 0/0 counts as 0.
"""

import csv
import io
import os
from pathlib import Path

import numpy as np

import utils
from augment import METHODS, synthetic_of
from data import report
from data.baselines import (
    BASELINES,
    WITH_SYNTHETIC,
    novelty,
    predict_with_synthetic,
    share_shown,
)
from data.experiment import crop_option, faces_of, open_experiment
from data.faces import JAFFE_BOX, JAFFE_SIZE, Faces, as_input, load_photo
from data.registration import register, registered_faces
from data.report import (
    draw_accuracies,
    draw_confusion,
    draw_curve,
    draw_gains,
    draw_ladder,
)
from data.statistics import accuracy, answers, gain, ladder, questions
from train_classifier import (
    NETWORKS,
    classifier_file,
    classifier_files,
    read_arm,
    set_weights,
    trained_arms,
)
from utils import Problem


# ----------------------------------------------------------------------------------- predictions
def predict(experiment, arms):
    """Let all classifiers, and those without a network, look at the test faces.

    Writes predictions.csv.

    Returns
    -------
    tests : list of Faces
        The test faces of each run.
    predicted : dict
        For each arm, baseline and pair (baseline, method of synthetic faces) a list over runs of
        str (repeats, faces): the emotions.

    Raises
    ------
    Problem
        If a test face has had a part in training.
    """
    labels = np.array(experiment.emotions)
    model = NETWORKS[experiment.settings["network"]].build(len(labels))
    tests, predicted = [], {}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", "repeat", "arm", "face", "subject", "emotion", "predicted",
                    *(f"p_{label}" for label in experiment.emotions)])
    for run in experiment.runs:
        train, test = (faces_of(utils.load_arrays(experiment.file(run, kind)))
                       for kind in ("train", "test"))
        synthetic = {method: utils.load_arrays(file)
                     for method, file in synthetic_of(experiment, run).items()}
        check_leaks(experiment, run, train, test, synthetic)
        unknown = set(test.emotions.tolist()) - set(experiment.emotions)
        if unknown:
            raise Problem(f"{experiment.file(run, 'test')}: damaged (a face of emotion "
                          f"{min(unknown)}); remove it and run train_cae.py again")
        tests.append(test)
        for arm in arms:
            guesses = []
            for repeat in range(experiment.settings["repeats"]):
                set_weights(model, classifier_file(experiment, run, arm, repeat))
                probabilities = utils.outputs(model, as_input(test.images))
                guesses.append(labels[probabilities.argmax(1)])
                for k, shares in enumerate(probabilities):
                    table.writerow([run, repeat, arm, test.names[k], test.subjects[k],
                                    test.emotions[k], guesses[-1][k],
                                    *(f"{share:.5f}" for share in shares)])
            predicted.setdefault(arm, []).append(np.stack(guesses))
        for name, baseline in BASELINES.items():
            if run and experiment.protocol.one_split:  # the same faces again
                guesses = predicted[name][0]
            else:
                guesses = baseline(train.images, train.emotions, test.images)[None]
            predicted.setdefault(name, []).append(guesses)
        for name in WITH_SYNTHETIC:
            for method in methods_of(arms):
                guesses = predict_with_synthetic(BASELINES[name], train, synthetic[method],
                                                 test.images)[None]
                predicted.setdefault((name, method), []).append(guesses)
    utils.write_text(experiment.folder / "predictions.csv", text.getvalue())
    return tests, predicted


def check_leaks(experiment, run, train, test, synthetic):
    """Raise `Problem` if a test face is a training face or a parent of a synthetic one."""
    parents = {experiment.file(run, "train"): train.names}
    for method, arrays in synthetic.items():
        file = experiment.file(run, "synthetic", method)
        parents[file] = arrays["names"][np.unique(arrays["parents"])]
    for file, names in parents.items():
        leaked = set(test.names.tolist()) & set(names.tolist())
        if leaked:
            raise Problem(f"{file}: made from the test face {min(leaked)}; remove it and run the "
                          f"scripts again, in their sequence")


# --------------------------------------------------------------------------------------- metrics
def evaluate(experiment):
    """The contents of metrics.json, as results/README.md lists them; predictions.csv is written on
    the way."""
    arms, protocol = trained_arms(experiment), experiment.protocol
    utils.require([file for arm in arms for file in classifier_files(experiment, arm)],
                  experiment.command("train_classifier.py", "--arms", ",".join(arms)))
    tests, predicted = predict(experiment, arms)
    arrays = utils.load_arrays(experiment.file(0, "train"))
    train, transforms = faces_of(arrays), arrays["transforms"]
    hits = {name: [(guesses == test.emotions).astype(float) for guesses, test in zip(runs, tests)]
            for name, runs in predicted.items()}
    sample = tests, protocol.uncertainty

    def result(name, other):
        """Accuracy of an arm or baseline, and its gain over another one; None over itself."""
        return {"accuracy": accuracy(hits[name], *sample),
                "gain": None if name == other else gain(hits[name], hits[other], *sample)}

    results = {name: {**result(name, "none"),
                      **confusion(predicted[name], tests, experiment.emotions)}
               for name in (*arms, *BASELINES)}
    for arm in arms:
        results[arm] |= size_of_arm(experiment, arm)
    controls = {method: row.control for method, row in METHODS.items() if not row.control_of}
    asked = questions(arms, controls, same_steps=not protocol.training.early_stopping)
    gains = [gain(hits[row["arm"]], hits[row["other"]], *sample) for row in asked]
    ladders = {method: ladder(hits, method, control, *sample)
               for method, control in controls.items()
               if protocol.training.early_stopping and method in arms}
    return {
        "dataset": {"name": experiment.dataset, **{key: getattr(experiment, key) for key in (
            "title", "stand_in", "faces", "subjects", "emotions", "fingerprint", "notes")}},
        "protocol": experiment.settings["protocol"], "runs": len(experiment.runs),
        "repeats": experiment.settings["repeats"],
        "units": results["none"]["accuracy"]["units"], "interval": protocol.interval,
        "training_subjects": training_subjects(experiment),
        "test_faces": len(np.unique(np.concatenate([test.names for test in tests]))),
        "rejected_registrations": int((~transforms.any(1)).sum())
        if experiment.settings["align"] == "mean" else 0,
        "settings": experiment.settings, "environment": experiment.environment,
        "changes": experiment.changes, "answers": answers(asked, gains), "ladder": ladders,
        "arms": {arm: results[arm] for arm in arms},
        "baselines": {name: results[name] for name in BASELINES},
        "svm": {name: {"none": result(name, name), **{
            method: result((name, method), name) for method in methods_of(arms)}}
            for name in WITH_SYNTHETIC},
        "nearness": {**train_test_overlap(experiment, tests),
                     "nearest_neighbour": results["1-NN"]["accuracy"]["mean"]},
        "novelty": {method: how_new(train, file)
                    for method, file in synthetic_of(experiment, 0).items()}, "paper": report.PAPER}


def confusion(runs, tests, emotions):
    """Precision, recall, F1 and the confusion matrix of an arm's predictions.

    Macro averages are over the emotions that a run's test faces show, their mean over the run's
    classifiers and over runs; the matrix and the values of each emotion are over all predictions.
    Stuck: how many classifiers give one emotion to all test faces.
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
    """Macro (precision, recall, F1), 0 to 1, over the emotions that the true ones contain."""
    from sklearn.metrics import precision_recall_fscore_support

    shown = [emotion for emotion in emotions if emotion in true]
    return precision_recall_fscore_support(true, predicted, labels=shown, average="macro",
                                           zero_division=0)[:3]


def size_of_arm(experiment, arm):
    """An arm's method, how many synthetic faces it has in run 0, optimiser steps on average."""
    method, synthetic_faces, control_of = read_arm(arm).method, 0, ""
    if method:
        control_of = METHODS[method].control_of
        file = experiment.file(0, "synthetic", method)
        synthetic_faces = len(utils.load_arrays(file)["images"])
    steps = [utils.load_arrays(file)["history"][-1, 0]
             for file in classifier_files(experiment, arm)]
    return {"method": method, "control_of": control_of, "synthetic_faces": synthetic_faces,
            "steps": float(np.mean(steps))}


def methods_of(arms):
    """The methods and controls whose faces these arms are trained on, each once."""
    return [*dict.fromkeys(read_arm(arm).method for arm in arms if read_arm(arm).method)]


def training_subjects(experiment):
    """The number of known subjects in training, the median over runs."""
    numbers = [len(set(utils.load_arrays(experiment.file(run, "train"))["subjects"].tolist())
                   - {""}) for run in experiment.runs]
    return int(np.median(numbers))


def train_test_overlap(experiment, tests):
    """How near test faces are to training faces, the means over runs.

    Returns
    -------
    dict
        same_subject : percent of the test faces whose subject has training faces; None unless it is
        known of all faces who they are, and of one data set.
        same_subject_and_emotion : percent of the test faces of known subjects with a training face
        of the same subject and emotion; None if none is known in a run.
    """
    same_subject, same_both = [], []
    for run in experiment.runs[:1] if experiment.protocol.one_split else experiment.runs:
        train = faces_of(utils.load_arrays(experiment.file(run, "train")))
        known = not experiment.settings["test"] and \
            "" not in train.subjects and "" not in tests[run].subjects
        same_subject.append(np.isin(tests[run].subjects, train.subjects).mean() if known else None)
        same_both.append(share_shown(train, tests[run]))

    def percent(shares):
        return None if None in shares else 100 * float(np.mean(shares))

    return {"same_subject": percent(same_subject), "same_subject_and_emotion": percent(same_both)}


def how_new(train, file):
    """`novelty` of a file's synthetic faces. A face is of the subject that most of it comes from,
    or of none: the two faces that `interpolate` takes the middle of may be two subjects'."""
    arrays = utils.load_arrays(file)
    owners = []
    for parents, coefficients in zip(arrays["parents"], arrays["coefficients"]):
        shares = {}
        for subject, share in zip(train.subjects[parents].tolist(), coefficients.tolist()):
            shares[subject] = shares.get(subject, 0) + share
        largest = max(shares, key=shares.get, default="")
        owners.append(largest if shares.get(largest, 0) > 0.6 else "")
    return novelty(Faces(None, np.array(owners), arrays["emotions"], arrays["images"][..., 0]),
                   train)


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
    model = NETWORKS[experiment.settings["network"]].build(
        len(experiment.emotions))
    if not asked_for and own not in ("square", "none"):
        seen = f"x,y,side {own}" if own == crop else "the largest centred square"
        if jaffe:
            seen = f"x,y,side {own} if it has 256 x 256 pixels, else the largest centred square"
        utils.warn(f"of each photograph the networks see {seen}; where the face lies elsewhere, "
                   f"give --crop")
    utils.require(classifier_files(experiment, arm),
                  experiment.command("train_classifier.py", "--arms", arm))
    images, wide_crops = zip(*photos)
    probabilities = []
    for run in experiment.runs:
        mean = utils.load_arrays(experiment.file(run, "train"))["mean"]
        faces = registered_faces(images, wide_crops, register(wide_crops, mean)) if len(mean) \
            else np.stack(images)
        for repeat in range(experiment.settings["repeats"]):
            set_weights(model, classifier_file(experiment, run, arm, repeat))
            probabilities.append(utils.outputs(model, as_input(faces)))
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
        experiment = open_experiment(path, kinds=("train", "test"))
        with utils.one_thread():
            metrics = evaluate(experiment)
        write_report(experiment, metrics, options)
        name = experiment.folder.resolve().name
        several[name if name not in several else str(experiment.folder)] = metrics
    if len(several) > 1:
        folders = [Path(path).resolve().parent for path in options.experiments]
        common = Path(os.path.commonpath(folders))
        place = folders[0] if common == Path(common.anchor) else common
        write_side_by_side(several, place / "side-by-side", options)


def write_report(experiment, metrics, options):
    """report/ with figures, report.md, table.tex and metrics.json, and its tables printed."""
    folder = experiment.folder / "report"
    figures = {"gains": draw_gains({"": metrics}), "accuracy": draw_accuracies(metrics),
               "confusion": draw_confusion(metrics)}
    if metrics["ladder"]:
        figures["ladder"] = draw_ladder(metrics["ladder"])
    for name, figure in figures.items():
        experiment.save_figure(figure, f"{name}.png", options)
    utils.write_text(folder / "report.md", report.markdown(experiment, metrics))
    utils.write_text(folder / "table.tex", report.latex_table(metrics))
    utils.write_text(folder / "metrics.json", utils.as_json(metrics))
    print(f"\n{utils.printable(report.source(metrics))}: {report.runs_in_words(metrics)}")
    for rows in (report.arm_rows, report.baseline_rows, report.answer_rows):
        if rows(metrics):
            print(f"\n{report.terminal_table(rows(metrics))}")
    print(f"\n95 % intervals: {metrics['interval']}")
    if report.is_the_papers(metrics):
        print(f"the paper, one run on JAFFE: {report.PAPER['gain']:+.1f} points")
    print(f"report: {utils.printable(folder / 'report.md')}")


def write_side_by_side(several, folder, options):
    """A report on several experiments, {name: metrics}, with a curve if they are of one data set
    and protocol and differ in the number of training subjects."""
    kinds = {(metrics["dataset"]["name"], metrics["protocol"]) for metrics in several.values()}
    by_number = {metrics["training_subjects"]: metrics for metrics in several.values()}
    curve = len(kinds) == 1 and len(by_number) == len(several)
    if curve:
        several = {f"{number} subjects in training": by_number[number]
                   for number in sorted(by_number)}
    figures = {"gains": draw_gains(several)}
    if curve:
        figures["curve"] = draw_curve([*several.values()])
    stand_in = any(metrics["dataset"]["stand_in"] for metrics in several.values())
    for name, figure in figures.items():
        utils.save_figure(figure, folder / f"{name}.png", stand_in=stand_in, pdf=options.pdf)
    utils.write_text(folder / "report.md", report.side_by_side(several, figures))
    utils.write_text(folder / "metrics.json", utils.as_json(several))
    if report.pooled_rows(several):
        print(f"\nnew people, all data sets together\n"
              f"{report.terminal_table(report.pooled_rows(several))}")
    print(f"\nside by side: {utils.printable(folder / 'report.md')}")


def arguments():
    parser = utils.parser(__doc__, workers=False)
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=utils.EXPERIMENT_HELP)
    parser.add_argument("--predict", nargs="+", default=[], metavar="PHOTO", help="print what the "
                        "classifiers of an arm say of photographs")
    parser.add_argument("--arm", help="with --predict: the arm whose classifiers are asked "
                        "(default: the first method that was trained)")
    parser.add_argument("--crop", type=crop_option, help="with --predict: X,Y,SIDE in pixels, "
                        "square or none, the square that holds the face (default: the "
                        "experiment's)")
    return parser.parse_args()


if __name__ == "__main__":
    utils.run_script(__file__)
