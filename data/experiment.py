"""An experiment: its settings, in experiment.json, and where its files lie.

experiment.json is written by train_cae.py alone and says everything that decides the outcome.
Settings never change once it is there, but for the numbers of runs and repeats, which may grow, and
where the images lie.
"""

import argparse
import contextlib
import json
import os
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
    CROPS,
    JAFFE_BOX,
    Faces,
    default_data,
    fingerprint,
    load_faces,
    require_emotions,
    with_test_set,
)
from data.protocols import PROTOCOLS, defaults_of, split_faces
from utils import Problem, choice, number, whole


# ----------------------------------------------------------------------- how settings are read
def pattern(text):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read in another way
            return re.compile(text).pattern
    except (re.error, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text} is not a regular expression: {error}") from None


def crop_option(text):
    if text not in CROPS and not re.fullmatch(r"\d{1,5},\d{1,5},[1-9]\d{0,4}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text} is not X,Y,SIDE in pixels, square or none")
    return text


def name_of_network(text):
    if not re.fullmatch(r"[\w-]{1,40}", text):
        raise argparse.ArgumentTypeError(f"{text} is not a name in NETWORKS of train_classifier.py")
    return text


# ------------------------------------------------------------------- defaults that faces decide
def usual_crop(settings, experiment):
    """JAFFE's 50,65,161 for JAFFE and the stand-in; a CSV's own x,y,side; else square"""
    return JAFFE_BOX if experiment.dataset in ("JAFFE", "standin") else "square"


def cae_epochs(settings, experiment):
    """80, and fewer for over 1,000 training faces, of about as many steps"""
    return max(1, min(80, int(80 * 1000 / (0.8 * experiment.faces))))


class Setting(typing.NamedTuple):
    read: Callable  # a text to its value, as argparse has it
    default: object  # a value, a function (settings, experiment) of it, or None: see PROTOCOLS
    reason: str  # why this default
    help: str


# Everything that decides the outcome, an option of train_cae.py each. A protocol has those with a
# default here and those of its row in PROTOCOLS; others are refused.
SETTINGS = {
    "protocol": Setting(choice(*PROTOCOLS), "published", "the paper's own comparison", "; ".join(
        f"{name}: {protocol.about}" for name, protocol in PROTOCOLS.items())),
    "crop": Setting(crop_option, usual_crop, "where the paper's detector finds JAFFE's faces",
                    "the square that holds the face: X,Y,SIDE in pixels; square: the largest "
                    "centred one; none: the whole image"),
    "subject": Setting(pattern, "", "names of known data sets tell", "a regular expression that "
                       r"finds the subject in a file's name or else in its path, such as '(S\d+)_' "
                       "for CK+"),
    "emotion": Setting(pattern, "", "names, folders or label files tell", "likewise for the "
                       "emotion, such as '_([a-z]+)_frontal' for RaFD"),
    "labels": Setting(str, "", "as the data has them", "emotions renamed, merged or left out: "
                      "angry=anger,1=surprise,contempt="),
    "test": Setting(str, "", "the data's own split", "given: test on all faces of this other data "
                    "set; --subject, --emotion and --labels hold for both. It is cut at its own "
                    "boxes or at JAFFE's, else by --crop none or square"),
    "people": Setting(whole(0), 0, "all", "train on the faces of only X of the training subjects, "
                      "drawn at random"),
    "runs": Setting(whole(1, 1000), None, "intervals of about ten points on JAFFE",
                    "how many; may be raised later"),
    "seed": Setting(whole(0), 0, "any would do", "of everything drawn at random"),
    "repeats": Setting(whole(1, 100), None, "on new people initialisation is most of a gain's "
                       "variance, elsewhere the test faces are", "classifiers for each run and "
                       "arm, which differ in initialisation and whose accuracies are averaged; may "
                       "be raised later"),
    "folds": Setting(whole(2, 100), None, "as many as the paper's 20 % for the test", "how many"),
    "align": Setting(choice("mean", "none"), None, "none is the paper's box", "mean: register each "
                     "face to the mean of the run's training faces"),
    "batch": Setting(whole(1, 10_000), 4, "the paper's", "faces in a batch"),
    "latent": Setting(whole(1, 4096), 32, "the paper's", "latent dimensions"),
    "cae_epochs": Setting(whole(1), cae_epochs, "the paper's", "epochs of the CAE over all faces"),
    "pair_epochs": Setting(whole(1), 8, "best of 2, 4 and 8 on inner splits of JAFFE's training "
                           "faces", "epochs for an emotion pair; fewer where all pairs would take "
                           "over four times the steps of the one CAE"),
    "theta": Setting(number(-10, 10), 0.5, "the paper's", "weight of the first face of "
                     "interpolate's pairs"),
    "max_synthetic": Setting(whole(1), 10_000, "JAFFE's published split allows 1,981, FER2013 59 "
                             "million", "the most faces that a method makes; of more possible ones "
                             "so many are drawn"),
    "balance": Setting(choice("no", "yes"), "no", "the paper keeps all", "yes: keep only as many "
                       "synthetic faces of each emotion as bring it to the number of the most "
                       "frequent one, and draw them as often as real ones"),
    "network": Setting(name_of_network, "lenet5", "the paper's", "the classifier: a row of "
                       "NETWORKS in train_classifier.py"),
    "classifier_epochs": Setting(whole(1), None, "the paper's", "at most so many"),
    "patience": Setting(whole(0), None, "the paper's", "a classifier stops once the validation "
                        "loss has not fallen for so many epochs, 0 for never"),
    "steps": Setting(whole(1), None, "accuracies on JAFFE had levelled off", "optimiser steps of "
                     "each classifier"),
    "keep": Setting(choice("average", "last"), None, "nothing is selected", "the mean of the "
                    "classifier's weights over the second half of the steps, or the last ones"),
}
MAY_GROW = {"runs", "repeats"}


def settings_of(protocol):
    """{name: its default, or a function (settings, experiment) of it} of a protocol."""
    own = defaults_of(protocol)
    return {name: own.get(name, setting.default) for name, setting in SETTINGS.items()
            if name in own or setting.default is not None} | {"protocol": protocol}


def default_settings(given, experiment):
    """The settings of a protocol where none is given. given: those that are given, which may decide
    others."""
    settings = settings_of(given.get("protocol", "published"))
    for name, value in settings.items():
        if callable(value):
            settings[name] = value({**settings, **given}, experiment)
    return settings


def setting_help(name):
    """What --help says of a setting: what it is, its default and the reason for it."""
    setting = SETTINGS[name]

    def in_words(default):
        return " ".join(default.__doc__.split()) if callable(default) else str(default)

    if setting.default is not None:
        words = in_words(setting.default) or "none"
    else:
        protocols = {}  # by their default
        for protocol in PROTOCOLS:
            if name in defaults_of(protocol):
                protocols.setdefault(in_words(defaults_of(protocol)[name]), []).append(protocol)
        words = "; ".join(f"{', '.join(names)}: {value}" for value, names in protocols.items())
    return f"{setting.help} (default: {words}; {setting.reason})".replace("%", "%%")


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
        """The row of PROTOCOLS."""
        return PROTOCOLS[self.settings["protocol"]]

    @property
    def runs(self):
        return range(self.settings["runs"])

    @property
    def identity(self):
        """A digest of all that decides arrays and predictions, however many runs there are."""
        settings = {name: value for name, value in self.settings.items()
                    if name not in (*MAY_GROW, "test")}  # the fingerprint tells the test faces
        return utils.digest(json.dumps([self.fingerprint, self.emotions, settings]))

    def command(self, script, *words):
        """python augment.py results/standin-published: what to paste in the current folder."""
        return utils.command(script, utils.path_quoted(self.folder), *words)

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
            f"{len(self.emotions)} emotions; {self.settings['protocol']}, runs: {len(self.runs)}"

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
        utils.save_figure(figure, self.folder / "report" / name,
                          f"{self.dataset}; {self.settings['protocol']}", self.stand_in,
                          options.pdf)


def shortened(name, most):
    """A file's name of at most so many bytes: a long one ends in its digest."""
    if len(name.encode()) <= most:
        return name
    return name.encode()[:most - 17].decode(errors="ignore") + "-" + utils.digest(name)


def read_experiment(folder, kinds=("train",)):
    """The `Experiment` in a folder, its settings checked as those of the command line are.

    Raises `Problem` if there is none, or none that is sound, or if files of these kinds were made
    with other settings than it has now.
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
        if settings.keys() != settings_of(settings["protocol"]).keys():
            raise ValueError("not the settings of its protocol")
        for name, value in settings.items():
            if SETTINGS[name].read(str(value)) != value:
                raise ValueError(f"{name} cannot be {value}")
        if not (values["emotions"] and all(isinstance(emotion, str) and emotion
                                           for emotion in values["emotions"])):
            raise ValueError("emotions are not texts")
        experiment = Experiment(Path(folder), **values)
    for run in experiment.runs:
        for split_file in [experiment.file(run, kind) for kind in kinds]:
            if split_file.exists() and utils.read_made_from(split_file)["settings"].get(
                    "experiment") != experiment.identity:
                raise Problem(f"{split_file}: made with other settings than {file} has now; "
                              f"restore them, or begin another experiment with train_cae.py "
                              f"--results")
    return experiment


def open_experiment(folder, kinds=("train",)):
    """The experiment in a folder, or the default one, with the faces of all its runs; those of the
    test where "test" is among the kinds.

    Raises `Problem` if train_cae.py has not split the faces of every run.
    """
    experiment = read_experiment(default_folder() if folder is None else folder, kinds)
    utils.warn(*experiment.changes)
    utils.require([experiment.file(run, kind) for run in experiment.runs for kind in kinds],
                  experiment.command("train_cae.py"))
    return experiment


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
    kinds = "train", "test"
    experiment = read_experiment(folder, kinds) if folder is not None else None
    path = Path(data if data is not None else experiment.data if experiment else default_data())
    if data == "":
        raise Problem("--data: is empty; give a folder, a zip or a CSV of faces")
    if Path(os.path.abspath(path)) == utils.ROOT / "data" / "standin":
        if data is None and experiment is None:
            print("there is no JAFFE in data/ (jaffe.zip or jaffe/): this is the drawn stand-in")
        if not path.exists():
            with contextlib.suppress(FileExistsError):  # another process has just drawn it
                standin.draw_all(path)
    if experiment:
        settings = experiment.settings | {"test": given.get("test", experiment.settings["test"])}
    else:
        settings = dict.fromkeys(("crop", "subject", "emotion", "labels", "test"), "") | given
    data_set = read_faces(path, settings)
    utils.warn(*data_set.notes)
    if not experiment:
        experiment = new_experiment(data_set, path, results, given)
        if (experiment.folder / "experiment.json").exists():
            experiment = read_experiment(experiment.folder, kinds)
    if experiment.fingerprint != fingerprint(data_set):
        raise Problem(f"{experiment.folder}: began with other faces than those of {path}; restore "
                      f"them, or give --results another folder")
    asked = {name: given.get(name, experiment.settings[name]) for name in (*MAY_GROW, "test")}
    if asked["test"]:
        asked["test"] = str(Path(asked["test"]).resolve())
    settings = experiment.settings | asked
    for name, value in given.items():
        began = experiment.settings.get(name)
        if value != began and name != "test" and (name not in MAY_GROW or value < began):
            raise Problem(f"{experiment.folder}: began with {name.replace('_', ' ')} {began}, now "
                          f"{value} is asked for; leave it out, or begin another experiment")
    settings["runs"] = number_of_runs(settings, experiment)
    resumed = replace(experiment, data=str(path.resolve()), settings=settings)
    for run in resumed.runs:  # splits that cannot be made are refused before anything is written
        split_faces(data_set.faces, data_set.splits, settings, run)
    if resumed != experiment or not (experiment.folder / "experiment.json").exists():
        resumed.save()
    utils.warn(*resumed.changes)
    return resumed, data_set


def read_faces(path, settings):
    """The `DataSet` of a path and, where a setting names another one for the test, of both."""
    patterns = settings["subject"], settings["emotion"], settings["labels"]
    crop = settings["crop"].replace("manifest", "")
    data_set = load_faces(path, crop, *patterns, complete=not settings["test"])
    if settings["test"]:
        other = load_faces(settings["test"], "", *patterns, complete=False,
                           fallback_crop="none" if crop == "none" else "square",
                           subject_optional=True, option="--test")
        data_set = with_test_set(data_set, other)
        require_emotions(data_set.faces)
    return data_set


def number_of_runs(settings, experiment):
    """As many runs as are asked for, and no more than subjects or folds can be left out.

    Raises `Problem` where faces are split anew after every few runs and these are none of them.
    """
    row, runs = PROTOCOLS[settings["protocol"]], settings["runs"]
    if runs % row.runs_in_deal:
        raise Problem(f"--runs {runs}: is no multiple of {row.runs_in_deal}, the folds of the "
                      f"protocol {settings['protocol']}; give one that is")
    most = row.settings["runs"]
    return min(runs, most(settings, experiment)) if callable(most) else runs


def new_experiment(data_set, path, results, given):
    """An `Experiment` with its protocol's settings where none is given, not yet written."""
    subjects = set(data_set.faces.subjects.tolist()) - {""}
    experiment = Experiment(
        folder=Path(results), data=str(path), dataset=data_set.name,
        stand_in=data_set.drawn, faces=len(data_set.splits), subjects=len(subjects),
        emotions=sorted(set(data_set.faces.emotions.tolist())), fingerprint=fingerprint(data_set),
        notes=data_set.notes, environment=utils.environment(), settings={})
    defaults = default_settings(given, experiment)
    protocol = defaults["protocol"]
    for name in given.keys() - defaults.keys():
        raise Problem(f"--{name.replace('_', '-')} has no effect in the protocol {protocol}; "
                      f"leave it out")
    if given.get("test") and protocol != "given":
        raise Problem("--test: needs --protocol given, in which another data set tests")
    if given.get("crop") == "manifest" and data_set.crop != "manifest":
        raise Problem("--crop manifest: these faces bring no boxes; leave it out")
    experiment = replace(experiment, settings=defaults | given | {"crop": data_set.crop})
    words = [data_set.name.lower(), protocol]
    words += [f"{name}-{Path(value).stem if name == 'test' else value}"
              for name, value in non_default(experiment).items()
              if name.replace("-", "_") in given.keys() - MAY_GROW]
    name = re.sub(r"[^\w.,+-]+", "-", unicodedata.normalize("NFC", "-".join(words)))
    return replace(experiment, folder=Path(results) / shortened(name, 200))


def non_default(experiment):
    """{option: value} of the settings that differ from the protocol's, in the order of their names.
    """
    defaults = default_settings(experiment.settings, experiment)
    return {name.replace("_", "-"): value for name, value in sorted(experiment.settings.items())
            if value != defaults[name]}
