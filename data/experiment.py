"""What an experiment is: its settings, its splits, and the faces that each of its runs may see.

experiment.json, written by train_cae.py alone, says everything that decides the outcome. Settings
never change once it is there, but for the number of runs, which may grow, and where the faces are.
"""

import collections
import contextlib
import functools
import json
import math
import os
import re
import shlex
import typing
import warnings
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np

import utils
from data import faces as data
from data import standin
from utils import Problem, checked, shown, whole

PROTOCOLS = {"published": "the paper's split; runs differ in initialisation",
             "holdout": "a fresh stratified 80/20 split per run",
             "loso": "leave one subject out per run",
             "kfold": "people dealt into folds, each of which tests once",
             "given": "the data's own split; runs differ in initialisation"}


def setting(default, kind, text):
    """A field that is an option of train_cae.py too; kind: an argparse type, or the choices."""
    how = {"choices": kind} if isinstance(kind, tuple) else {"type": kind, "metavar": "X"}
    return field(default=default, metadata={"help": text, **how})


def hundreds(text):
    return whole(100)(text) // 100 * 100


NUMBER = checked(r"-?(\d\.?\d*|\.\d+)", "a number such as 0.5", float)
PATTERN = checked("(?s).*", "a regular expression", lambda text: re.compile(text).pattern)
BOX = checked(r"square|none|\d{1,5},\d{1,5},[1-9]\d{0,4}", "X,Y,SIDE in pixels, square or none")


@dataclass(frozen=True)
class Experiment:
    """The contents of experiment.json, and `folder`, where it lies."""

    folder: Path
    data: str  # where the faces are
    dataset: str  # what they are called in tables and figures
    stand_in: bool  # drawn faces in JAFFE's place
    faces: int
    people: int  # 0 where it is not known who is who
    emotions: list
    fingerprint: str  # of all pixels, names and labels
    notes: list  # what is odd about the faces
    environment: dict  # versions, commit and processor when it began
    protocol: str = setting("published", tuple(PROTOCOLS), "; ".join(
        f"{name}: {text}" for name, text in PROTOCOLS.items()) + " (default: published)")
    crop: str = setting("", BOX, "the square that holds the face: X,Y,SIDE in pixels; square: the "
                        "largest centred one; none: the whole image (default: a CSV's own "
                        "x,y,side; JAFFE's 50,65,161 for JAFFE and the stand-in; else square)")
    subject: str = setting("", PATTERN, "a regular expression that finds the person in "
                           r"a file's name or else in its path, such as '(S\d+)_' for CK+")
    runs: int = setting(5, whole(1, 1000), "default: 5 for published and given, 10 for holdout, a "
                        "run per person for loso, per fold for kfold; this setting may grow")
    seed: int = setting(0, whole(0), "of everything drawn at random (default: 0)")
    repeats: int = setting(3, whole(1, 10), "classifiers for each run and arm, which differ in "
                           "initialisation and whose accuracies are averaged (default: 3)")
    folds: int = setting(0, whole(2, 100), "kfold: how many (default: 5)")
    align: str = setting("none", ("mean", "none"), "mean: register each face to the mean of the "
                         "run's training faces (default: none for published, else mean)")
    batch: int = setting(4, whole(1, 10_000), "faces in a batch (default: 4, the paper's)")
    latent: int = setting(32, whole(1, 4096), "latent dimensions (default: 32, the paper's)")
    cae_epochs: int = setting(80, whole(1), "default: 80, the paper's; fewer for over 1,000 faces")
    pair_epochs: int = setting(8, whole(1), "epochs for an emotion pair (default: 8, chosen on "
                               "inner splits of JAFFE's training faces); fewer where all pairs "
                               "would take over four times the steps of the one CAE")
    theta: float = setting(0.5, NUMBER, "weight of the first face of interpolate's pairs (default: "
                           "0.5, the paper's)")
    max_synthetic: int = setting(10_000, whole(1), "the most faces that a method makes; of more so "
                                 "many are drawn (default: 10000; JAFFE's most are 1,981)")
    classifier_epochs: int = setting(80, whole(1), "published: at most so many (default: 80, the "
                                     "paper's)")
    patience: int = setting(5, whole(0), "published: epochs without a lower validation loss before "
                            "the classifier stops, 0 for never (default: 5, the paper's)")
    steps: int = setting(0, hundreds, "other protocols: optimiser steps of each classifier, whole "
                         "hundreds (default: 8000, and at least 20 epochs of the real faces)")
    keep: str = setting("last", ("average", "last"), "the classifier's weights: the mean over the "
                        "second half of the steps, or the last ones (default: last for published, "
                        "else average)")

    @property
    def file(self):
        return self.folder / "experiment.json"

    @property
    def settings(self):
        return {name: getattr(self, name) for name in SETTINGS}

    @property
    def identity(self):
        """A digest of all that decides arrays and predictions."""
        free = {"folder", "data", "dataset", "notes", "runs", "environment"}
        return utils.digest(json.dumps([value for key, value in vars(self).items()
                                        if key not in free]))

    @property
    def path(self):
        """The folder as one would type it here, quoted for the shell."""
        relative = os.path.relpath(self.folder)
        return shlex.quote(shown(self.folder if relative.startswith("..") else relative))

    @property
    def one_split(self):
        """Whether all runs have the same training and test faces."""
        return self.protocol in ("published", "given")

    @property
    def special(self):
        """{setting, as its option is spelled: value} of what differs from the protocol's own."""
        own = own_settings(self)
        return {name.replace("_", "-"): value for name, value in sorted(self.settings.items())
                if value not in (own[name], "manifest")}

    @property
    def changes(self):
        """What changed since it began and can change its numbers: sentences."""
        return [f"{key} was {shown(self.environment.get(key))} when the experiment began and is "
                f"{value} now" for key, value in utils.environment().items()
                if self.environment.get(key) != value]

    def __str__(self):
        name = "drawn stand-in faces, not JAFFE" if self.stand_in else shown(self.dataset)
        return f"{name}: {self.faces} faces, {self.people or 'unknown'} people, " \
            f"{len(self.emotions)} emotions; {self.protocol}, runs: {self.runs}"

    def npz(self, run, *words):
        """run-NN/split.npz, run-NN/synthetic-translate.npz and so on."""
        return self.folder / f"run-{run:02d}" / f"{'-'.join(map(str, words))}.npz"

    def as_json(self):
        return utils.as_json({key: value for key, value in asdict(self).items() if key != "folder"})

    def save_figure(self, figure, name):
        label = f"{shown(self.dataset)}; {self.protocol}"
        utils.save_figure(figure, self.folder / "report" / name, label, self.stand_in)


SETTINGS = {field.name: field.metadata for field in fields(Experiment) if field.metadata}


def read_experiment(folder):
    """The `Experiment` in a folder. Raises `Problem` if there is none, or none that is sound."""
    file = Path(folder) / "experiment.json"
    if not file.is_file():
        raise Problem(f"{shown(folder)}: holds no experiment.json; train_cae.py makes one")
    with utils.reading(file, "restore it, or remove the folder and begin again with train_cae.py"):
        values = json.loads(file.read_text("utf-8"))
        types = {"folder": Path} | {name: type(value) for name, value in values.items()}
        if types != typing.get_type_hints(Experiment):
            raise ValueError("not the settings of this version")
        return Experiment(Path(folder), **values)


def open_experiment(folder):
    """The experiment in a folder, or the default one; says what changed since it began."""
    name = "standin" if data.default_data().name == "standin" else "jaffe"
    experiment = read_experiment(folder or utils.ROOT / "results" / f"{name}-published")
    utils.warn(*experiment.changes)
    return experiment


# ------------------------------------------------------------------------------------- beginning
def begin(folder, path, results, given):
    """(`Experiment`, all its `Faces`): a new one, or one that is there gone on with.

    folder: its folder, or None; path: of the faces, or None for where they were, JAFFE or the
    stand-in; given: settings asked for, by name. Raises `Problem` where they contradict what is
    there.
    """
    experiment = read_experiment(folder) if folder else None
    path = Path(path or (experiment.data if experiment else data.default_data()))
    if path == utils.ROOT / "data" / "standin" and not path.exists():
        print("there is no JAFFE in data/: drawing the stand-in faces")
        standin.draw_all(path)
    known = vars(experiment) if experiment else {"crop": "", "subject": ""} | given
    data_set = data.load_faces(path, known["crop"], known["subject"])
    utils.warn(*data_set.notes)
    experiment = experiment or the_same(new_experiment(data_set, path, results, given))
    if experiment.fingerprint != data.fingerprint(data_set.faces):
        raise Problem(f"{experiment.path}: began with other faces than those of {shown(path)}; "
                      f"restore them, or give --results another folder")
    for name, value in given.items():
        began = getattr(experiment, name)
        if value != began and name != "runs":
            raise Problem(f"{experiment.path}: began with {name.replace('_', ' ')} {began}, now "
                          f"{value} is asked for; leave it out, or begin another experiment")
    most = {"loso": len(np.unique(data_set.faces.subjects)), "kfold": experiment.folds}
    runs = min(max(experiment.runs, given.get("runs", 0)), most.get(experiment.protocol, 1000))
    experiment = replace(experiment, runs=runs, data=str(path.resolve()))
    for run in range(runs):  # splits that cannot be made are refused before anything is written
        make_split(data_set.faces, experiment, run)
    if not experiment.file.exists() or experiment != read_experiment(experiment.folder):
        utils.write_text(experiment.file, experiment.as_json())
    utils.warn(*experiment.changes)
    return experiment, data_set.faces


def new_experiment(data_set, path, results, given):
    """An `Experiment` with the protocol's settings where none is given, not yet written."""
    faces, protocol = data_set.faces, given.get("protocol", "published")
    useless = {"published": ("steps", "folds", "keep"), "kfold": ("classifier_epochs", "patience")}
    for name in useless.get(protocol, ("classifier_epochs", "patience", "folds")):
        if name in given:
            raise Problem(f"--{name.replace('_', '-')} has no effect in the protocol {protocol}; "
                          f"leave it out")
    experiment = Experiment(
        folder=Path(results), data=str(path), dataset=data_set.name,
        stand_in=data_set.name == "standin", faces=len(faces.names),
        people=len(set(faces.subjects.tolist()) - {""}),
        emotions=sorted(set(faces.emotions.tolist())), fingerprint=data.fingerprint(faces),
        notes=data_set.notes, environment=utils.environment(), **given)
    experiment = replace(experiment, **(own_settings(experiment) | given | {"crop": data_set.crop}))
    special = experiment.special
    special.pop("runs", 0)
    name = [data_set.name.lower(), protocol, *(f"{key}-{value}" for key, value in special.items())]
    return replace(experiment, folder=Path(results) / re.sub(r"[^\w.,-]+", "-", "-".join(name)))


def own_settings(experiment):
    """The settings that the experiment's protocol has on its faces where none is given."""
    settings = {field.name: field.default for field in fields(Experiment) if field.metadata}
    jaffe, training = experiment.dataset in ("JAFFE", "standin"), 0.8 * experiment.faces
    # A thousand faces take the paper's 80 epochs, more of them as many steps.
    settings |= {"protocol": experiment.protocol, "crop": data.JAFFE_BOX if jaffe else "square",
                 "cae_epochs": max(1, min(80, int(80 * 1000 / training)))}
    if experiment.protocol != "published":  # all arms have levelled off by then
        steps = max(8000, math.ceil(20 * training / experiment.batch / 100) * 100)
        settings |= {"align": "mean", "keep": "average", "classifier_epochs": 0, "patience": 0,
                     "steps": steps}
    if experiment.protocol == "kfold":
        settings["folds"] = 5
    runs = {"holdout": 10, "loso": max(1, experiment.people),
            "kfold": experiment.folds or 5}
    return settings | {"runs": runs.get(experiment.protocol, 5)}


def the_same(experiment):
    """The experiment of these faces and settings that is there, if there is one, under any name."""
    if experiment.file.exists():
        return read_experiment(experiment.folder)
    for file in sorted(experiment.folder.parent.glob("*/experiment.json")):
        with contextlib.suppress(Problem):
            there = read_experiment(file.parent)
            if there.identity == experiment.identity:
                return there
    return experiment


# ---------------------------------------------------------------------------------------- splits
def make_split(faces, experiment, run):
    """(training rows, test rows) of one run. Raises `Problem` where the faces do not allow it."""
    from sklearn.model_selection import StratifiedGroupKFold, train_test_split

    rows, protocol, seed = np.arange(len(faces.names)), experiment.protocol, experiment.seed
    people, needed = np.unique(faces.subjects), max(3, experiment.folds)
    try:
        if protocol in ("published", "holdout"):  # the paper's random_state is 42
            state = 42 if protocol == "published" else int(
                np.random.default_rng([seed, run]).integers(2**31))
            train, test = train_test_split(rows, test_size=0.2, random_state=state,
                                           stratify=faces.emotions)
            if protocol == "published" and len(train) < 4 * len(experiment.emotions):
                raise ValueError("a quarter of the training faces cannot show every emotion")
        elif protocol == "given":
            train, test = (rows[faces.parts == part] for part in ("train", "test"))
            if not len(train) or not len(test) or "" in faces.parts:
                raise ValueError("they bring no split of their own, or one without some faces")
        elif len(people) < needed or "" in people:
            raise ValueError(f"who is who has to be known, of {needed} people or more; give "
                             f"--subject PATTERN, or a CSV with a column subject")
        elif protocol == "loso":
            out = np.random.default_rng(seed).permutation(people)[run]
            train, test = rows[faces.subjects != out], rows[faces.subjects == out]
        else:
            folds = StratifiedGroupKFold(experiment.folds, shuffle=True, random_state=seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a rare emotion: what matters is checked below
                train, test = list(folds.split(rows, faces.emotions, faces.subjects))[run]
        counts = collections.Counter(faces.emotions[train].tolist())
        rare = min(experiment.emotions, key=counts.__getitem__)
        if counts[rare] < 2:
            raise ValueError(f"run {run} has {counts[rare]} training faces of emotion {rare}, two "
                             f"are needed")
    except ValueError as error:
        raise Problem(f"these faces cannot be split for {protocol}: {shown(error)}; add faces or "
                      f"choose another --protocol") from error
    return train, test


def write_splits(experiment, faces, options):
    """split.npz for every run that has none: rows, and how its training faces are registered."""
    one, label = experiment.one_split, "registering faces" if experiment.align == "mean" else ""

    @functools.lru_cache(1)
    def of_split(run):
        train, test = make_split(faces, experiment, run)
        movements, mean = np.zeros((len(train), 4)), np.zeros(0)
        if experiment.align == "mean":
            movements, mean = registered(faces.pictures[train], options, label if one else "")
        return {"train": train, "test": test, "movements": movements, "mean": mean}

    made_from = {"experiment.json": experiment.identity}
    todo = [run for run in range(experiment.runs)
            if not utils.finished(experiment.npz(run, "split"), made_from)]
    splits = enumerate(of_split(0 if one else run) for run in todo)
    # Progress counts the faces of the one split, or else the splits.
    for number, arrays in utils.with_progress(splits, "" if one else label, [1] * len(todo)):
        utils.save_arrays(experiment.npz(todo[number], "split"), made_from, **arrays)


def registered(pictures, options, label):
    """(movements (n, 4), their mean) of training faces; the mean is that of at most 1,000."""
    mean = data.mean_face(pictures[:: len(pictures) // 1000 + 1])
    parts = np.array_split(pictures, math.ceil(len(pictures) / 100))
    tasks = [functools.partial(dict, pictures=part, mean=mean) for part in parts]
    found = dict(utils.run_tasks(data.register, tasks, label, options))
    return np.concatenate([found[number] for number in range(len(parts))]), mean


def read_split(experiment, faces, run):
    """(training rows, test rows, movements of the training faces, their mean) of a run."""
    file = experiment.npz(run, "split")
    utils.demand({file: {"experiment.json": experiment.identity}},
                 f"train_cae.py {experiment.path}")
    train, test, movements, mean = utils.load_arrays(file, "train", "test", "movements", "mean")
    with utils.reading(file):
        both = np.concatenate([train, test])
        if len(np.unique(both)) < len(both) or both.max() >= len(faces.names):
            raise ValueError("a face on both sides")
    return train, test, movements, mean


# ------------------------------------------------------------------------------ the faces of a run
def all_faces(experiment):
    """All faces of an experiment, as it began with them. Raises `Problem` if they have changed."""
    faces = data.load_faces(experiment.data, experiment.crop, experiment.subject).faces
    if data.fingerprint(faces) != experiment.fingerprint:
        raise Problem(f"{shown(experiment.data)}: other faces than {experiment.path} began with; "
                      f"restore them, or begin another experiment with train_cae.py --results")
    return faces


def as_seen(faces, movements):
    """The faces, moved by those movements (n, 4) that are not 0."""
    images = faces.images.copy()
    for row in np.flatnonzero(movements.any(1)):
        images[row] = data.moved(faces.pictures[row], movements[row])
    return faces._replace(images=images, pictures=())


def training_faces(experiment, faces):
    """A function of a run's number: the `Faces` that it may learn from, registered; no test face is
    among them."""

    @functools.lru_cache(maxsize=2)
    def of_split(run):
        train, _, movements, _ = read_split(experiment, faces, run)
        return as_seen(faces.take(train), movements)

    return lambda run: of_split(0 if experiment.one_split else run)


def test_faces(experiment, faces, run):
    """The `Faces` that a run is judged by, each registered to the mean of the training faces."""
    _, test, _, mean = read_split(experiment, faces, run)
    taken = faces.take(test)
    movements = np.zeros((len(test), 4))
    if len(mean):
        movements = data.register(taken.pictures, mean)
    return as_seen(taken, movements)
