"""The protocols, a row each: which faces of a run train and which test, how the classifiers are
trained, what an interval is over, and the defaults of the settings that differ."""

import collections
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from data import statistics
from utils import Problem, listed

FOLDS = 5  # of `cv`: a fold is then the paper's 20 % for the test


class Training(NamedTuple):
    """How all networks of a run are trained, which decides what arms are compared."""

    early_stopping: bool  # the paper's; else every classifier takes as many optimiser steps
    validation_share: float  # of the training faces, the last ones, which the CAE is not fitted to
    settings: dict  # defaults, or functions (settings, experiment) of them
    arms: tuple  # the default ones beside none,
    method_arms: tuple  # for each method that was made, "{}",
    control_arms: tuple  # and for each control


class Protocol(NamedTuple):
    about: str  # for --help
    split: Callable  # (faces, splits, settings, run) -> rows for training, rows for the test
    one_split: bool  # whether all runs have the same training and test faces
    new_people: bool  # whether no subject is both in training and in the test
    training: Training
    settings: dict  # defaults, or functions (settings, experiment) of them
    uncertainty: Callable  # (values, tests) -> Estimate, see data/statistics.py
    interval: str  # what a 95 % interval is over
    units: str  # what an accuracy is a mean over: runs, rounds of folds, splits ...
    runs_in_deal: int = 1  # the number of runs is a multiple of it


# ------------------------------------------------------------------------------------- the splits
# A split is a function (faces, splits, settings, run): `faces` are the n `Faces` of the data set,
# `splits` its own split, str (n,): "train", "test" or "". It returns rows for training and rows
# for the test, and raises ValueError where the faces do not allow it.
def published(faces, splits, settings, run):
    """80 % for training and 20 % for the test, stratified, by the paper's random state."""
    return stratified(faces, 42)


def holdout(faces, splits, settings, run):
    return stratified(faces, random_state(settings["seed"], run))


def stratified(faces, state):
    from sklearn.model_selection import train_test_split

    return train_test_split(np.arange(len(faces.names)), test_size=0.2, random_state=state,
                            stratify=faces.emotions)


def random_state(*seed):
    return int(np.random.default_rng(seed).integers(2**31))


def cross_validation(faces, splits, settings, run):
    """Fold `run % 5` of stratified folds; all faces are split anew after every five runs."""
    from sklearn.model_selection import StratifiedKFold

    deal, fold = divmod(run, FOLDS)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=random_state(settings["seed"], deal))
    return list(folds.split(faces.names, faces.emotions))[fold]


def leave_one_subject_out(faces, splits, settings, run):
    require_subjects(faces.subjects, 3)
    order = np.random.default_rng(settings["seed"]).permutation(np.unique(faces.subjects))
    tested = faces.subjects == order[run]
    return np.flatnonzero(~tested), np.flatnonzero(tested)


def folds_of_subjects(faces, splits, settings, run):
    from sklearn.model_selection import StratifiedGroupKFold

    require_subjects(faces.subjects, max(3, settings["folds"]))
    folds = StratifiedGroupKFold(settings["folds"], shuffle=True, random_state=settings["seed"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a rare emotion: `split_faces` checks what matters
        return list(folds.split(faces.names, faces.emotions, faces.subjects))[run]


def require_subjects(subjects, least):
    """Raise ValueError unless all subjects are known and there are at least so many."""
    known = sorted(set(subjects.tolist()) - {""})
    if "" in subjects:
        raise ValueError("the subject of every face has to be known; give --subject PATTERN, or a "
                         "CSV with a column subject")
    if len(known) < least:
        noun = "is 1 subject" if len(known) == 1 else f"are {len(known)} subjects"
        raise ValueError(f"there {noun} ({listed(known, 3)}), and {least} or more are needed")


def own_split(faces, splits, settings, run):
    train, test = (np.flatnonzero(splits == split) for split in ("train", "test"))
    if not len(train) or not len(test) or "" in splits:
        raise ValueError("they bring no split of their own, or one without some faces")
    return train, test


def split_faces(faces, splits, settings, run):
    """Split the faces of one run into training and test faces.

    Parameters
    ----------
    faces : Faces
        n faces.
    splits : str (n,)
        The data's own split: "train", "test" or "".
    settings : dict
        Of the experiment.
    run : int

    Returns
    -------
    train_rows, test_rows : int arrays

    Raises
    ------
    Problem
        Where the faces do not allow the protocol or a setting.
    """
    name = settings["protocol"]
    protocol = PROTOCOLS[name]
    try:
        train_rows, test_rows = protocol.split(faces, splits, settings, run)
        if settings["people"]:
            seed = [settings["seed"], 0 if protocol.one_split else run, 3]
            train_rows = train_rows[of_some_subjects(faces.subjects[train_rows],
                                                     settings["people"], seed)]
        emotions = np.unique(faces.emotions).tolist()
        if protocol.training.early_stopping and len(train_rows) < 4 * len(emotions):
            raise ValueError("a quarter of the training faces cannot show every emotion")
        counts = collections.Counter(faces.emotions[train_rows].tolist())
        rarest = min(emotions, key=counts.__getitem__)
        if counts[rarest] < 2:
            raise ValueError(f"run {run} has {counts[rarest]} training faces of emotion {rarest}, "
                             f"two are needed")
    except ValueError as error:
        others = [other for other, row in PROTOCOLS.items()
                  if not row.new_people and other != name]
        raise Problem(f"these faces cannot be split for {name}: {error}; add faces or choose "
                      f"another --protocol, such as {listed(others, 9)}") from error
    if settings["balance"] == "yes" and len(set(counts.values())) == 1:
        raise Problem(f"--balance yes: all emotions are as frequent in run {run}, so no synthetic "
                      f"face would be left; leave it out")
    return train_rows, test_rows


def of_some_subjects(subjects, people, seed):
    """Whether a training face is of one of `people` subjects drawn for the run. Fewer are always
    among more, so that a curve over their number compares like with like."""
    known = np.unique(subjects)
    if "" in known:
        raise ValueError("the subject of every training face has to be known for --people; give "
                         "--subject PATTERN, or a CSV with a column subject")
    if people > len(known):
        raise Problem(f"--people {people}: a run has {len(known)} training subjects; give "
                      f"{len(known)} or fewer")
    return np.isin(subjects, np.random.default_rng(seed).permutation(known)[:people])


# ----------------------------------------------------------------------------------- the defaults
def fixed_steps(settings, experiment):
    """8000, and for many faces 20 epochs of the real ones"""
    steps = 20 * 0.8 * experiment.faces / settings["batch"]
    return max(8000, int(np.ceil(steps / 100)) * 100)


def one_per_subject(settings, experiment):
    """one per subject"""
    return max(1, experiment.subjects)


def one_per_fold(settings, experiment):
    """one per fold"""
    return settings["folds"]


PAPERS_TRAINING = Training(
    early_stopping=True, validation_share=0.25,
    settings={"align": "none", "classifier_epochs": 80, "patience": 5},
    arms=(), method_arms=("longer-{}", "{}"), control_arms=("{}",))
FIXED_STEPS = Training(
    early_stopping=False, validation_share=0,
    settings={"align": "mean", "steps": fixed_steps, "keep": "average"},
    arms=("geometric",), method_arms=("{}", "{}+geometric"), control_arms=("{}+geometric",))
TWO_WAY = "over initialisations and test faces, clustered by subject"

# A protocol of your own is a function and a row here: every other file goes by the row. To test on
# a third of the faces, say, in ten runs:
#
#     def thirds(faces, splits, settings, run):
#         order = np.random.default_rng([settings["seed"], run]).permutation(len(faces.names))
#         return np.split(order, [2 * len(order) // 3])
#
#     PROTOCOLS["thirds"] = PROTOCOLS["holdout"]._replace(about="a third tests", split=thirds)
PROTOCOLS = {
    "published": Protocol(
        about="one 80/20 split by the paper's rule; runs differ in initialisation",
        split=published, one_split=True, new_people=False, training=PAPERS_TRAINING,
        settings={"runs": 5, "repeats": 3},
        uncertainty=statistics.over_initialisations_and_faces, interval=TWO_WAY, units="runs"),
    "cv": Protocol(
        about="the paper's rule on all faces: five stratified folds, anew after every five runs",
        split=cross_validation, one_split=False, new_people=False,
        training=PAPERS_TRAINING, settings={"runs": 20, "repeats": 3},
        uncertainty=statistics.over_deals_and_faces,
        interval="over runs and test faces, clustered by subject", units="rounds of five folds",
        runs_in_deal=FOLDS),
    "holdout": Protocol(
        about="a fresh stratified 80/20 split per run",
        split=holdout, one_split=False, new_people=False, training=FIXED_STEPS,
        settings={"runs": 10, "repeats": 3}, uncertainty=statistics.over_splits,
        interval="over splits and test faces, clustered by subject", units="splits"),
    "loso": Protocol(
        about="leave one subject out per run",
        split=leave_one_subject_out, one_split=False, new_people=True,
        training=FIXED_STEPS, settings={"runs": one_per_subject, "repeats": 10},
        uncertainty=statistics.over_subjects,
        interval="over test subjects, conditional on the training subjects", units="subjects"),
    "kfold": Protocol(
        about="subjects split into folds, each of which tests once",
        split=folds_of_subjects, one_split=False, new_people=True,
        training=FIXED_STEPS,
        settings={"folds": 5, "runs": one_per_fold, "repeats": 10},
        uncertainty=statistics.over_subjects_and_folds,
        interval="over test subjects or over folds, whichever is wider, conditional on the "
                 "training subjects", units="subjects"),
    "given": Protocol(
        about="the data's own split; runs differ in initialisation",
        split=own_split, one_split=True, new_people=False, training=FIXED_STEPS,
        settings={"runs": 5, "repeats": 3},
        uncertainty=statistics.over_initialisations_and_faces, interval=TWO_WAY, units="runs"),
}


def defaults_of(protocol):
    """{setting: its default, or a function (settings, experiment) of it} in this protocol's row."""
    row = PROTOCOLS[protocol]
    return row.training.settings | row.settings
