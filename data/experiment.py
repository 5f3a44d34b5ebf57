"""An experiment: its settings, in experiment.json, and where its files lie.

experiment.json is written by train_cae.py alone and says everything that decides the outcome.
Settings never change once it is there, but for the number of runs, which may grow, and where the
images lie.
"""

import argparse
import contextlib
import json
import re
import typing
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import utils
from data import standin
from data.faces import (
    JAFFE_BOX,
    Faces,
    default_data,
    fingerprint,
    load_faces,
    require_emotions,
    with_test_set,
)
from data.splits import ONE_SPLIT, PROTOCOLS, make_split
from utils import Problem, number, whole

import numpy as np

# ----------------------------------------------------------------------------- settings, defaults
COMMON = {
    "crop": "",  # a CSV's own boxes; JAFFE's for JAFFE and the stand-in; else the centred square
    "subject": "",  # JAFFE's names and label files tell; else it is not known
    "emotion": "",  # JAFFE's names, folders and label files tell
    "labels": "",
    "test": "",
    "people": 0,  # all
    "seed": 0,
    "repeats": 3,  # one LeNet-5 alone moves by five points from one initialisation to another
    "batch": 4,  # the paper's
    "latent": 32,  # the paper's
    "cae_epochs": 80,  # the paper's
    "pair_epochs": 8,  # best of 2, 4 and 8 on inner splits of JAFFE's published training faces
    "theta": 0.5,  # the paper's
    "max_synthetic": 10_000,  # the published split of JAFFE allows 1,981, FER2013 59 million
}
# Without validation faces nothing is selected. On JAFFE accuracies had levelled off at 8,000 steps.
FIXED_STEPS = COMMON | {"align": "mean", "steps": 8000, "keep": "average"}
DEFAULTS = {  # a protocol has the settings of its row; others are refused
    "published": COMMON | {"runs": 5,  # enough for an interval of ten points
                           "align": "none",  # the paper's box
                           "classifier_epochs": 80,  # the paper's
                           "patience": 5},  # the paper's
    "holdout": FIXED_STEPS | {"runs": 10},
    "loso": FIXED_STEPS | {"runs": 1000},  # or as many as there are subjects
    "kfold": FIXED_STEPS | {"runs": 1000, "folds": 5},  # or as many as there are folds
    "given": FIXED_STEPS | {"runs": 5},
}


def protocol_defaults(given, dataset, faces, subjects):
    """The settings of a protocol where none are given, on so many faces of so many subjects.

    given: the settings that are given; its protocol, batch and folds decide others.
    """
    protocol = given.get("protocol", "published")
    settings = {"protocol": protocol} | DEFAULTS[protocol]
    training = 0.8 * faces
    settings["crop"] = JAFFE_BOX if dataset in ("JAFFE", "standin") else "square"
    # A thousand faces take the paper's 80 epochs, more of them as many steps.
    settings["cae_epochs"] = max(1, min(settings["cae_epochs"], int(80 * 1000 / training)))
    if "steps" in settings:  # every face about ten times, half of a batch being real
        steps = 20 * training / given.get("batch", settings["batch"])
        settings["steps"] = max(settings["steps"], int(np.ceil(steps / 100)) * 100)
    settings["runs"] = min(settings["runs"], most_runs(settings | given, subjects))
    return settings


def most_runs(settings, subjects):
    """How many runs there can be."""
    return max(1, subjects) if settings["protocol"] == "loso" else settings.get("folds", 1000)


def pattern(text):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read in another way
            return re.compile(text).pattern
    except (re.error, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text} is not a regular expression: {error}") from None


def box(text):
    if not re.fullmatch(r"square|none|manifest|\d{1,5},\d{1,5},[1-9]\d{0,4}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text} is not X,Y,SIDE in pixels, square or none")
    return text


class Setting(typing.NamedTuple):
    read: Callable  # a text to its value, as argparse has it
    help: str
    choices: tuple = None


SETTINGS = {
    "protocol": Setting(str, "; ".join(f"{name}: {text}" for name, text in PROTOCOLS.items())
                        + " (default: published)", tuple(PROTOCOLS)),
    "crop": Setting(box, "the square that holds the face: X,Y,SIDE in pixels; square: the largest "
                    "centred one; none: the whole image (default: a CSV's own x,y,side; JAFFE's "
                    "50,65,161 for JAFFE and the stand-in; else square)"),
    "subject": Setting(pattern, "a regular expression that finds the subject in a file's name or "
                       r"else in its path, such as '(S\d+)_' for CK+"),
    "emotion": Setting(pattern, "likewise for the emotion, such as '_([a-z]+)_frontal' for RaFD "
                       "(default: JAFFE's names, a folder or a label file)"),
    "labels": Setting(str, "emotions renamed or merged: angry=anger,1=surprise"),
    "test": Setting(str, "given: test on all faces of this other data set; --subject, --emotion "
                    "and --labels hold for both. It is cut at its own boxes or at JAFFE's, else "
                    "by --crop none or square"),
    "people": Setting(whole(0), "train on the faces of only X of the training subjects, drawn at "
                      "random (default: 0, all)"),
    "runs": Setting(whole(1, 1000), "how many (default: 5 for published and given, 10 for holdout, "
                    "one per subject for loso, one per fold for kfold); may be raised later"),
    "seed": Setting(whole(0), "of everything drawn at random (default: 0)"),
    "repeats": Setting(whole(1, 10), "classifiers for each run and arm, which differ in "
                       "initialisation and whose accuracies are averaged (default: 3)"),
    "folds": Setting(whole(2, 100), "kfold: how many (default: 5)"),
    "align": Setting(str, "mean: register each face to the mean of the run's training faces "
                     "(default: none for published, else mean)", ("mean", "none")),
    "batch": Setting(whole(1, 10_000), "faces in a batch (default: 4, the paper's)"),
    "latent": Setting(whole(1, 4096), "latent dimensions (default: 32, the paper's)"),
    "cae_epochs": Setting(whole(1), "default: 80, the paper's; fewer for over 1,000 faces"),
    "pair_epochs": Setting(whole(1), "epochs for an emotion pair (default: 8, chosen on inner "
                           "splits of JAFFE's training faces); fewer where all pairs would take "
                           "over four times the steps of the one CAE"),
    "theta": Setting(number(-10, 10), "weight of the first face of interpolate's pairs (default: "
                     "0.5, the paper's)"),
    "max_synthetic": Setting(whole(1), "the most faces that a method makes; of more possible ones, "
                             "X are drawn (default: 10000; JAFFE's published split allows 1,981)"),
    "classifier_epochs": Setting(whole(1), "published: at most X epochs (default: the paper's 80)"),
    "patience": Setting(whole(0), "published: a classifier stops once the validation loss has not "
                        "fallen for so many epochs, 0 for never (default: 5, the paper's)"),
    "steps": Setting(whole(1), "other protocols: optimiser steps of each classifier (default: 8000,"
                     " and at least 20 epochs of the real faces)"),
    "keep": Setting(str, "other protocols: the mean of the classifier's weights over the second "
                    "half of the steps, or the last ones (default: average)", ("average", "last")),
}


# ----------------------------------------------------------------------------------- experiments
@dataclass(frozen=True)
class Experiment:
    """The contents of experiment.json, and `folder`, where it lies."""

    folder: Path
    data: str  # where the images are
    dataset: str  # what they are called in tables and figures
    stand_in: bool  # whether there are faces that are drawn
    faces: int
    subjects: int  # 0 where it is not known who is who
    emotions: list
    fingerprint: str  # of all pixels, names and labels
    notes: list  # what is odd about the faces
    environment: dict  # versions, commit and processor when it began
    settings: dict  # by SETTINGS' names, those of the protocol

    @property
    def protocol(self):
        return self.settings["protocol"]

    @property
    def runs(self):
        return range(self.settings["runs"])

    @property
    def one_split(self):
        """Whether all runs have the same training and test faces."""
        return self.protocol in ONE_SPLIT

    @property
    def identity(self):
        """A digest of all that decides arrays and predictions, however many runs there are."""
        settings = {name: value for name, value in self.settings.items()
                    if name not in ("runs", "test")}  # the fingerprint tells the test faces
        return utils.digest(json.dumps([self.fingerprint, self.emotions, settings]))

    @property
    def path(self):
        """The folder as one would type it in a shell here."""
        return utils.path_quoted(self.folder)

    @property
    def changes(self):
        """What changed since it began and can change its numbers: sentences."""
        return [f"{key} was {self.environment.get(key)} when the experiment began and is {value} "
                f"now" for key, value in utils.environment().items()
                if self.environment.get(key) != value]

    @property
    def title(self):
        """What its faces are called before people."""
        return "drawn stand-in faces, not JAFFE" if self.dataset == "standin" else self.dataset

    @property
    def labels(self):
        """{emotion: how figures show it}."""
        return dict(zip(self.emotions, utils.figure_labels(self.emotions)))

    def caption(self, subject, emotion):
        """What figures have above a face, on two lines where one is too short."""
        texts = utils.figure_text(subject, 10), self.labels[emotion]
        return ("\n" if len("".join(texts)) > 10 else " ").join(filter(None, texts))

    def __str__(self):
        return f"{self.title}: {self.faces} faces, {self.subjects or 'unknown'} subjects, " \
            f"{len(self.emotions)} emotions; {self.protocol}, runs: {len(self.runs)}"

    def file(self, run, *words):
        """run-NN/train.npz, run-NN/cae-AN-HA.npz and so on."""
        words = [re.sub(r"[^\w +]", lambda match: f"%{ord(match[0]):X}", word)
                 if word in self.emotions else str(word) for word in words]
        name = shortened("-".join(words), 200)
        return self.folder / f"run-{run:02d}" / f"{name}.npz"

    def save(self):
        values = {key: value for key, value in asdict(self).items() if key != "folder"}
        utils.write_text(self.folder / "experiment.json", utils.as_json(values))

    def save_figure(self, figure, name, options):
        utils.save_figure(figure, self.folder / "report" / name, f"{self.dataset}; {self.protocol}",
                          self.stand_in, options.pdf)


def shortened(name, most):
    """A file's name of at most so many bytes: a long one ends in its digest."""
    if len(name.encode()) <= most:
        return name
    return name.encode()[:most - 17].decode(errors="ignore") + "-" + utils.digest(name)


def read_experiment(folder):
    """The `Experiment` in a folder, its settings checked as those of the command line are.

    Raises `Problem` if there is none, or none that is sound.
    """
    file = Path(folder) / "experiment.json"
    if not file.is_file():
        raise Problem(f"{folder}: holds no experiment.json; train_cae.py makes one, of the "
                      f"faces that --data gives")
    with utils.reading(file, "restore it, or remove the folder and begin again with train_cae.py"):
        values = json.loads(file.read_text("utf-8"))
        types = {"folder": Path} | {name: type(value) for name, value in values.items()}
        if types != typing.get_type_hints(Experiment):
            raise ValueError("not the settings of this version")
        settings = values["settings"]
        if settings.keys() != {"protocol", *DEFAULTS[settings["protocol"]]}:
            raise ValueError("not the settings of its protocol")
        for name, value in settings.items():
            read, _, choices = SETTINGS[name]
            if read(str(value)) != value or choices and value not in choices:
                raise ValueError(f"{name} cannot be {value}")
        if not (values["emotions"] and all(isinstance(emotion, str) and emotion
                                           for emotion in values["emotions"])):
            raise ValueError("emotions are not texts")
        return Experiment(Path(folder), **values)


def open_experiment(folder):
    """The experiment in a folder, or the default one, with the training faces of all its runs.

    Raises `Problem` if train_cae.py has not dealt the faces of every run with these settings.
    """
    experiment = read_experiment(default_folder() if folder is None else folder)
    utils.warn(*experiment.changes)
    require_splits(experiment, "train")
    return experiment


def require_splits(experiment, kind):
    """Raise `Problem` unless train.npz or test.npz of all runs is there and of this experiment."""
    files = [experiment.file(run, kind) for run in experiment.runs]
    utils.require(files, f"train_cae.py {experiment.path}")
    for run, file in zip(experiment.runs, files):
        if utils.read_made_from(file)["settings"] != split_settings(experiment, run):
            raise Problem(f"{file}: made with other settings than experiment.json has now; restore "
                          f"them, or begin another experiment with train_cae.py --results")


def split_settings(experiment, run):
    """What train.npz and test.npz of a run note as their settings."""
    return {"experiment": experiment.identity, "run": run}


def default_folder():
    """The folder of the experiment that train_cae.py makes without options."""
    data, results = default_data().resolve(), utils.ROOT / "results"
    usual = results / f"{data.stem}-published"
    for folder in (usual, *sorted(results.glob("*-published"))):
        with contextlib.suppress(Problem):  # another experiment here may be damaged
            if Path(read_experiment(folder).data) == data:
                return folder
    return usual


def faces_of(arrays):
    """The `Faces` in the arrays of a train.npz or test.npz."""
    return Faces(*(arrays[name] for name in Faces._fields))


# ------------------------------------------------------------------------------ begun and resumed
def create_or_resume(folder, data, results, given):
    """Begin an experiment, or read the one that is there and check that it is asked for.

    Parameters
    ----------
    folder : str or None
        Of an experiment to be resumed.
    data : str or None
        Where the images are; None: where they were, else JAFFE or the stand-in.
    results : str
        Where a new experiment's folder is made.
    given : dict
        Settings asked for, by name.

    Returns
    -------
    experiment : Experiment
    data_set : DataSet

    Raises
    ------
    Problem
        Where faces or settings contradict one another or those that it began with.
    """
    experiment = read_experiment(folder) if folder is not None else None
    path = Path(data if data is not None else experiment.data if experiment else default_data())
    if data == "":
        raise Problem("--data: is empty; give a folder, a zip or a CSV of faces")
    if path == utils.ROOT / "data" / "standin":
        if data is None and experiment is None:
            print("there is no JAFFE in data/ (jaffe.zip or jaffe/): this is the drawn stand-in")
        if not path.exists():
            with contextlib.suppress(FileExistsError):  # another process has just drawn it
                standin.draw_all(path)
    settings = COMMON | given
    if experiment:
        settings = experiment.settings | {"test": given.get("test", experiment.settings["test"])}
    patterns = settings["subject"], settings["emotion"], settings["labels"]
    data_set = load_faces(path, settings["crop"].replace("manifest", ""), *patterns,
                          complete=not settings["test"])
    if settings["test"]:
        plain = "none" if settings["crop"] == "none" else "square"
        data_set = with_test_set(data_set, load_faces(
            settings["test"], "", *patterns, complete=False, fallback_crop=plain,
            subject_optional=True, option="--test"))
        require_emotions(data_set.faces)
    utils.warn(*data_set.notes)
    if not experiment:
        experiment = new_experiment(data_set, path, results, given)
        if (experiment.folder / "experiment.json").exists():
            experiment = read_experiment(experiment.folder)
    if experiment.fingerprint != fingerprint(data_set):
        raise Problem(f"{experiment.folder}: began with other faces than those of {path}; restore "
                      f"them, or give --results another folder")
    for name, value in given.items():
        began = experiment.settings.get(name)
        if value != began and name != "test" and (name != "runs" or value < began):
            raise Problem(f"{experiment.folder}: began with {name.replace('_', ' ')} {began}, now "
                          f"{value} is asked for; leave it out, or begin another experiment")
    runs = min(given.get("runs", len(experiment.runs)),
               most_runs(experiment.settings, experiment.subjects))
    test = str(Path(settings["test"]).resolve()) if settings["test"] else ""
    resumed = replace(experiment, data=str(path.resolve()),
                      settings=experiment.settings | {"runs": runs, "test": test})
    for run in resumed.runs:  # splits that cannot be made are refused before anything is written
        make_split(data_set.faces, data_set.splits, resumed.settings, run)
    if resumed != experiment or not (experiment.folder / "experiment.json").exists():
        resumed.save()
    utils.warn(*resumed.changes)
    return resumed, data_set


def new_experiment(data_set, path, results, given):
    """An `Experiment` with its protocol's settings where none is given, not yet written."""
    faces, subjects = len(data_set.splits), set(data_set.faces.subjects.tolist()) - {""}
    defaults = protocol_defaults(given, data_set.name, faces, len(subjects))
    protocol = defaults["protocol"]
    for name in given.keys() - defaults.keys():
        raise Problem(f"--{name.replace('_', '-')} has no effect in the protocol {protocol}; "
                      f"leave it out")
    if given.get("test") and protocol != "given":
        raise Problem("--test: needs --protocol given, in which another data set tests")
    if given.get("crop") == "manifest" and data_set.crop != "manifest":
        raise Problem("--crop manifest: these faces bring no boxes; leave it out")
    experiment = Experiment(
        folder=Path(results), data=str(path), dataset=data_set.name,
        stand_in=data_set.drawn, faces=faces, subjects=len(subjects),
        emotions=sorted(set(data_set.faces.emotions.tolist())), fingerprint=fingerprint(data_set),
        notes=data_set.notes, environment=utils.environment(),
        settings=defaults | given | {"crop": data_set.crop})
    words = [data_set.name.lower(), protocol]
    words += [f"{name}-{Path(value).stem if name == 'test' else value}"
              for name, value in non_default(experiment).items() if name != "runs"]
    name = re.sub(r"[^\w.,+-]+", "-", unicodedata.normalize("NFC", "-".join(words)))
    return replace(experiment, folder=Path(results) / shortened(name, 200))


def non_default(experiment):
    """{option: value} of the settings that differ from the protocol's, in the order of their names.
    """
    defaults = protocol_defaults(experiment.settings, experiment.dataset, experiment.faces,
                                 experiment.subjects)
    return {name.replace("_", "-"): value for name, value in sorted(experiment.settings.items())
            if value != defaults[name]}
