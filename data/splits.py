"""The protocols: which faces of a run are for training and which for the test."""

import collections
import warnings

from utils import Problem

import numpy as np

PROTOCOLS = {"published": "the paper's split; runs differ in initialisation",
             "holdout": "a fresh stratified 80/20 split per run",
             "loso": "leave one subject out per run",
             "kfold": "subjects dealt into folds, each of which tests once",
             "given": "the data's own split; runs differ in initialisation"}
ONE_SPLIT = ("published", "given")  # all runs have the same training and test faces
SUBJECT_INDEPENDENT = ("loso", "kfold")  # no subject is in training and test


def make_split(faces, splits, settings, run):
    """Deal the faces of one run into training and test faces.

    Parameters
    ----------
    faces : Faces
        n faces.
    splits : str (n,)
        The data's own split: "train", "test" or "".
    settings : dict
        Of the experiment: protocol, seed, people and, for kfold, folds.
    run : int

    Returns
    -------
    train, test : int arrays
        Rows of `faces`.

    Raises
    ------
    Problem
        Where the faces do not allow the protocol.
    """
    protocol = settings["protocol"]
    try:
        if protocol in SUBJECT_INDEPENDENT:
            require_subjects(faces.subjects, settings.get("folds", 3))
        if protocol in ("published", "holdout"):
            train, test = stratified_split(faces, settings, run)
        elif protocol == "given":
            train, test = (np.flatnonzero(splits == split) for split in ("train", "test"))
            if not len(train) or not len(test) or "" in splits:
                raise ValueError("they bring no split of their own, or one without some faces")
        else:
            train, test = subject_split(faces, settings, run)
        if settings["people"]:
            train = train[of_some_subjects(faces.subjects[train], settings, run)]
        if protocol == "published" and len(train) < 4 * len(np.unique(faces.emotions)):
            raise ValueError("a quarter of the training faces cannot show every emotion")
        counts = collections.Counter(faces.emotions[train].tolist())
        rare = min(np.unique(faces.emotions).tolist(), key=counts.__getitem__)
        if counts[rare] < 2:
            raise ValueError(f"run {run} has {counts[rare]} training faces of emotion {rare}, two "
                             f"are needed")
    except ValueError as error:
        raise Problem(f"these faces cannot be split for {protocol}: {error}; add faces or choose "
                      f"another --protocol") from error
    return train, test


def require_subjects(subjects, least):
    """Raise ValueError unless all subjects are known and there are at least so many, and three."""
    if "" in subjects or len(np.unique(subjects)) < max(3, least):
        raise ValueError(f"the subject of every face has to be known, and there have to be "
                         f"{max(3, least)} or more; give --subject PATTERN, or a CSV with a column "
                         f"subject")


def stratified_split(faces, settings, run):
    """80 % for training and 20 % for the test, each emotion's faces in that proportion."""
    from sklearn.model_selection import train_test_split

    random_state = 42  # the paper's
    if settings["protocol"] != "published":
        random_state = int(np.random.default_rng([settings["seed"], run]).integers(2**31))
    return train_test_split(np.arange(len(faces.names)), test_size=0.2, random_state=random_state,
                            stratify=faces.emotions)


def subject_split(faces, settings, run):
    """One subject, or one fold of them, for the test and all others for training."""
    from sklearn.model_selection import StratifiedGroupKFold

    rows, seed = np.arange(len(faces.names)), settings["seed"]
    if settings["protocol"] == "loso":
        order = np.random.default_rng(seed).permutation(np.unique(faces.subjects))
        return rows[faces.subjects != order[run]], rows[faces.subjects == order[run]]
    folds = StratifiedGroupKFold(settings["folds"], shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a rare emotion: what matters is checked by make_split
        return list(folds.split(rows, faces.emotions, faces.subjects))[run]


def of_some_subjects(subjects, settings, run):
    """Whether a training face is of one of `people` subjects drawn for the run. Fewer are always
    among more, so that a curve over their number compares like with like."""
    known = np.unique(subjects)
    if "" in known:
        raise ValueError("the subject of every training face has to be known for --people; give "
                         "--subject PATTERN, or a CSV with a column subject")
    if settings["people"] > len(known):
        raise ValueError(f"--people {settings['people']}: run {run} has {len(known)} training "
                         f"subjects")
    if settings["protocol"] in ONE_SPLIT:  # and so one choice of subjects
        run = 0
    drawn = np.random.default_rng([settings["seed"], run, 3]).permutation(known)
    return np.isin(subjects, drawn[:settings["people"]])
