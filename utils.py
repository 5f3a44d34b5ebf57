"""What the four scripts share: faces, splits, experiment folders, training, progress.

Read the scripts first (train_cae.py, augment.py, train_classifier.py, evaluate.py); come here when one of them
calls something you want to look up. The parts, in order: errors, faces, splits, experiments, artifacts, TensorFlow,
training, tasks in worker processes, the command line.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import functools
import gc
import hashlib
import importlib.metadata
import io
import itertools
import json
import math
import os
import platform
import random
import re
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent
EMOTIONS = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "NE": "neutral", "SA": "sadness",
            "SU": "surprise"}
SCRIPTS = ("utils.py", "train_cae.py", "augment.py", "train_classifier.py")  # those that make artifacts
SIDE = 48  # pixels; the paper's face size
BATCH = 4  # faces; the paper's batch size, for the autoencoder and the classifier alike
STEPS_PER_LOOK = 100  # optimiser steps between two looks at validation, in holdout and loso
CROP = (50, 65, 161)  # x, y, side in pixels: where the Haar cascade finds JAFFE's faces
STAND_IN_TAG = "drawn stand-in face, not a photograph"  # ImageDescription of every file data/standin.py writes

JAFFE_MD5 = "fe13f3302eb9968ef04367456f665436"
JAFFE_FACES = {"AN": 30, "DI": 29, "FE": 32, "HA": 31, "NE": 30, "SA": 31, "SU": 30,
               "KA": 23, "KL": 22, "KM": 22, "KR": 20, "MK": 21, "NA": 21, "NM": 20, "TM": 21, "UY": 21, "YM": 22}
JAFFE_SUBJECTS = set(JAFFE_FACES) - set(EMOTIONS)


# ---------------------------------------------------------------------------------------------------- errors
class Problem(Exception):
    """Something the user can put right: printed as one line on stderr, exit status 2, no traceback."""


def shown(text):
    """`text` (a file name, say: anybody's data) on one line of printable ASCII, fit for a terminal and for Markdown."""
    text = str(text)
    return text if re.fullmatch(r"[\w ./:;,=+~()-]*", text, re.ASCII) else \
        re.sub(r"[`|<$\[]", lambda found: f"\\x{ord(found[0]):x}", ascii(text))


def say(*words):
    print(*words, flush=True)


def warn(text):
    print(f"warning: {text}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------- faces
class Faces(NamedTuple):
    """n faces with what is known of them, in the order of their names.

    images: float32 (n, 48, 48, 1) in [0, 1]; names, subjects, emotions: str arrays (n,), emotions as codes (AN ... SU).
    """

    images: np.ndarray
    names: np.ndarray
    subjects: np.ndarray
    emotions: np.ndarray

    def take(self, rows):
        """The faces at `rows`, an integer or boolean index, as a copy that holds no others."""
        return Faces(*(array[rows] for array in self))


class DataSet(NamedTuple):
    """All faces of a data set, its name, whether they are drawn, and what is odd about them (`notes`, printable)."""

    faces: Faces
    name: str
    stand_in: bool
    notes: list


IMAGE_SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg"}
JAFFE_NAME = re.compile(r"([\w-]+)\.([A-Za-z]{2})(\d+)(?:\.\d+)?\.\w+")  # KA.AN1.39.tiff, 017.HA1.png
MAX_ARCHIVE_ENTRIES = 50_000
MAX_FILE_BYTES = 64 * 2**20


def default_data():
    """JAFFE where data/README.md says to put it, else the drawn stand-in."""
    for path in (ROOT / "data" / "jaffe", ROOT / "data" / "jaffe.zip"):
        if path.exists():
            return path
    return ROOT / "data" / "standin"


def load_faces(path, crop=CROP):
    """Read a folder in JAFFE naming, a zip of one, or a CSV manifest `file,subject,emotion` as a `DataSet`.

    crop is (x, y, side) in pixels of the original image, or None for the whole image; the square is resized to
    48 x 48, bilinear. Raises `Problem` for whatever cannot be read: nothing is skipped silently but files that are
    no images, and those are counted in the notes.
    """
    path = Path(path)
    try:
        if path.is_dir():
            entries, skipped = folder_entries(path)
        elif not path.exists():
            raise Problem(f"{shown(path)}: no such file or folder; give --data a folder of faces, jaffe.zip or a CSV")
        elif path.suffix.lower() == ".zip":
            entries, skipped = zip_entries(path)
        elif path.suffix.lower() == ".csv":
            entries, skipped = manifest_entries(path)
        else:
            raise Problem(f"{shown(path)}: neither a folder, nor a .zip, nor a .csv manifest")
        if not entries:
            raise Problem(f"{shown(path)}: holds no TIFF, PNG or JPEG image; put the faces there or correct --data")
        entries.sort(key=lambda entry: entry[0])  # the published split depends on the order of the names
        images, drawn = [], 0
        for name, _, _, read in entries:
            image, is_drawn = read_face(name, read, crop)
            images.append(image)
            drawn += is_drawn
    except OSError as error:
        raise Problem(f"{shown(error.filename or path)}: {error.strerror or error}; check the path and its permissions")
    names, subjects, emotions = (np.array([entry[k] for entry in entries]) for k in range(3))
    faces = Faces(np.stack(images)[..., None], names, subjects, emotions)
    is_jaffe = not drawn and set(subjects) <= JAFFE_SUBJECTS
    stem = re.sub(r"[^\w-]+", "-", path.resolve().stem) or "faces"
    stem += "-faces" * (stem.lower() in ("jaffe", "standin"))  # a folder's name makes no JAFFE
    name = "standin" if drawn else "jaffe" if is_jaffe else stem
    notes = [f"{skipped} files that are no images were skipped"] if skipped else []
    return DataSet(faces, name, bool(drawn), notes + oddities(path, faces, is_jaffe))


def folder_entries(folder):
    """Entries (name, subject, emotion, read) of the images in `folder` and the folders inside it, and the others' count."""
    return parsed((file.name, functools.partial(read_file, file), file)
                  for file in folder.rglob("*") if file.is_file())


def read_file(file):
    with open(file, "rb") as stream:
        if os.fstat(stream.fileno()).st_size > MAX_FILE_BYTES:
            raise Problem(f"{shown(file)}: over {MAX_FILE_BYTES >> 20} MiB, which no face image is; remove it")
        return stream.read()


def zip_entries(path):
    """As `folder_entries`, from an archive that is never unpacked to disk: a member's folder has no effect."""
    try:
        archive = zipfile.ZipFile(path)
    except OSError:
        raise
    except Exception as error:  # a damaged index fails in many ways too
        raise Problem(f"{shown(path)}: not a zip archive that can be read ({shown(error)}); download it again")
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > MAX_ARCHIVE_ENTRIES:
        raise Problem(f"{shown(path)}: {len(members)} files inside, more than {MAX_ARCHIVE_ENTRIES}; give a smaller archive")

    def read(member):
        if member.flag_bits & 1:
            raise Problem(f"{shown(path)}: {shown(member.filename)} is encrypted; unpack it and give --data the folder")
        if member.file_size > MAX_FILE_BYTES:
            raise Problem(f"{shown(path)}: {shown(member.filename)} is over {MAX_FILE_BYTES >> 20} MiB; no face image is")
        try:
            return archive.read(member)
        except Exception as error:  # a damaged archive fails in as many ways as there are compressors
            raise Problem(f"{shown(path)}: {shown(member.filename)} cannot be unpacked ({shown(error)}); download it again")

    entries, skipped = parsed((PurePosixPath(member.filename).name, functools.partial(read, member),
                               f"{path}: {member.filename}") for member in members)
    if set(entry[1] for entry in entries) <= JAFFE_SUBJECTS:
        with open(path, "rb") as stream:
            found = hashlib.file_digest(stream, "md5").hexdigest() if sys.version_info >= (3, 11) else \
                hashlib.md5(stream.read()).hexdigest()
        if found != JAFFE_MD5:
            warn(f"{shown(path)}: MD5 {found}, but the official jaffe.zip has {JAFFE_MD5}: not the official archive")
    return entries, skipped


def parsed(files):
    """Entries of the (name, read, place) in `files` whose names say subject and emotion; hidden and other files counted."""
    entries, skipped, places = [], 0, {}
    for name, read, place in files:
        if name.startswith(".") or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            skipped += 1
            continue
        match = JAFFE_NAME.fullmatch(name)
        if not match or match[2].upper() not in EMOTIONS:
            raise Problem(f"{shown(place)}: the name does not parse as SUBJECT.EMOTION+TAKE[.NUMBER].tiff with an emotion of "
                          f"{' '.join(EMOTIONS)}; rename it, or list the faces in a CSV manifest file,subject,emotion")
        stem = Path(name).stem.lower()  # KA.AN1.39.png beside KA.AN1.39.tiff is the same face, which no split may part
        if stem in places:
            raise Problem(f"{shown(place)}: a second file of that name, the first is {shown(places[stem])}; remove one")
        places[stem] = place
        entries.append((name, match[1], match[2].upper(), read))
    return entries, skipped


def manifest_entries(path):
    """Entries of a UTF-8 CSV with the columns file, subject, emotion; files are relative to the manifest's folder."""
    try:
        rows = list(csv.DictReader(io.StringIO(read_file(path).decode("utf-8-sig")), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Problem(f"{shown(path)}: not a UTF-8 CSV file ({shown(error)}); save it as one")
    columns = {"file", "subject", "emotion"}
    if not rows or not columns <= set(rows[0]):
        raise Problem(f"{shown(path)}: needs a first line `file,subject,emotion` and a line for each face below it")
    entries, seen = [], set()
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise Problem(f"{shown(path)}, face {line - 1}: {'more' if None in row else 'fewer'} columns than the first line "
                          f"has; put a file name with a comma into double quotes")
        file, subject, emotion = (row[column].strip() for column in ("file", "subject", "emotion"))
        if re.search(r"[\0-\x1f\x7f]", file):
            raise Problem(f"{shown(path)}, face {line - 1}: {shown(file)} has a control character in its name; rename the file")
        if not re.fullmatch(r"[\w-]+", subject):
            raise Problem(f"{shown(path)}, face {line - 1}: subject {shown(subject)} is not made of letters, digits, _ and -")
        if emotion.upper() not in EMOTIONS:
            raise Problem(f"{shown(path)}, face {line - 1}: emotion {shown(emotion)} is none of {' '.join(EMOTIONS)}")
        place = path.parent / file
        if not file or not place.is_file():
            raise Problem(f"{shown(path)}, face {line - 1}: no file {shown(place)}; files are sought beside the manifest")
        if os.path.normpath(file) in seen:
            raise Problem(f"{shown(path)}, face {line - 1}: {shown(file)} stands there a second time; remove one of the lines")
        seen.add(os.path.normpath(file))
        entries.append((file, subject, emotion.upper(), functools.partial(read_file, place)))
    return entries, 0


def read_face(name, read, crop):
    """One image as float32 (48, 48) in [0, 1], and whether it is a drawn stand-in."""
    data = read()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old TIFFs have odd metadata around sound pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data), formats=("TIFF", "PNG", "JPEG"))
            drawn = opened.format == "TIFF" and opened.tag_v2.get(270) == STAND_IN_TAG
            opened.load()
            image = opened.copy()
            grey = None if image.mode.startswith("I;16") or image.mode in ("I", "F") else \
                image.convert("L")  # through the palette where there is one
            try:
                frames = opened.n_frames
            except Exception:  # a JPEG counts none, and rubbish behind the first picture is no second one
                frames = 1
    except Exception as error:  # a damaged image fails in as many ways as there are decoders
        raise Problem(f"{shown(name)}: cannot be read as an image ({shown(error)}); replace or remove the file")
    if frames != 1:
        raise Problem(f"{shown(name)}: holds {frames} pictures; save one of them as a file of its own")
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.asarray(image).astype(np.float32) / 257)  # 65535 / 257 = 255
    elif grey is None:
        raise Problem(f"{shown(name)}: pixel mode {image.mode} has no fixed white; save it as 8-bit or 16-bit grey")
    else:
        image = grey
    if crop:
        x, y, side = crop
        if x + side > image.width or y + side > image.height:
            raise Problem(f"{shown(name)}: {image.width} x {image.height} pixels, too small for the crop box "
                          f"{x},{y},{side}; give --crop X,Y,SIDE, or --crop none for the whole image")
        image = image.crop((x, y, x + side, y + side))
    image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32) / 255, drawn


def oddities(path, faces, is_jaffe):
    """What a reader of the results has to know of the faces; raises `Problem` where they allow no comparison at all."""
    per_emotion = collections.Counter(faces.emotions.tolist())
    per_subject = collections.Counter(faces.subjects.tolist())
    if len(per_emotion) < 2:
        raise Problem(f"{shown(path)}: all faces show {', '.join(per_emotion)}; a classifier needs at least two emotions")
    if len(per_subject) < 2:
        raise Problem(f"{shown(path)}: all faces are of subject {', '.join(per_subject)}; add a second person's faces")
    notes = []
    if is_jaffe:
        for what, count in JAFFE_FACES.items():
            found = per_emotion[what] + per_subject[what]
            if found != count:
                notes.append(f"THIS IS NOT THE WHOLE OF JAFFE: {found} faces of {what}, JAFFE has {count}")
    seen = {}
    for name, image in zip(faces.names, faces.images):
        first = seen.setdefault(hashlib.sha256(image).digest(), name)
        if first != name:
            notes.append(f"{shown(name)} shows the same pixels as {shown(first)}: A LEAK if they fall on two sides of a split; remove one")
    posed = set(zip(faces.subjects, faces.emotions))
    missing = [f"{shown(s)} {e}" for s in sorted(per_subject) for e in sorted(per_emotion) if (s, e) not in posed]
    if missing:
        notes.append(f"no face of {len(missing)} subject and emotion: {', '.join(missing[:8])}{' ...' * (len(missing) > 8)}")
    return notes


def fingerprint(faces):
    """16 hexadecimal digits that change when a name, a label or a pixel of the cropped faces does."""
    digest = hashlib.sha256(faces.images.tobytes())
    for texts in faces[1:]:
        digest.update("\0".join(texts.tolist()).encode())
    return digest.hexdigest()[:16]


def one_hot(codes, emotions):
    """float32 (n, len(emotions)) from the emotion codes (n,)."""
    return (np.asarray(codes)[:, None] == np.asarray(emotions)[None, :]).astype(np.float32)


# ---------------------------------------------------------------------------------------------------- splits
class Split(NamedTuple):
    """Row numbers of one run's training, validation and test faces; validation is empty in `published`."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def make_split(faces, protocol, run, seed, runs):
    """The `Split` of one run. Raises `Problem` where there are too few faces for it."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(faces.names))
    try:
        if protocol == "published":  # 80/20, one split for all runs, with the paper's random_state whatever the seed
            train, test = train_test_split(rows, test_size=0.2, random_state=42, stratify=faces.emotions)
            validation = rows[:0]  # the paper takes it after augmentation: see train_classifier.py
        elif protocol == "holdout":
            rest, test = train_test_split(rows, test_size=0.2, random_state=seed + run, stratify=faces.emotions)
            train, validation = train_test_split(rest, test_size=0.25, random_state=seed + run,
                                                 stratify=faces.emotions[rest])
        else:  # loso: one subject tests, the next one (of those in order) validates, the others train
            subjects = np.unique(faces.subjects)
            if len(subjects) < 3:
                raise ValueError("leaving one subject out needs three subjects or more")
            left_out = np.arange(len(subjects))
            if runs < len(subjects):
                left_out = np.sort(np.random.default_rng(seed).choice(left_out, runs, replace=False))
            subject = left_out[run]
            test = np.flatnonzero(faces.subjects == subjects[subject])
            validation = np.flatnonzero(faces.subjects == subjects[(subject + 1) % len(subjects)])
            train = np.setdiff1d(rows, np.concatenate([test, validation]))
            if set(faces.emotions[train]) != set(faces.emotions):
                raise ValueError(f"without {subjects[subject]} and the next subject an emotion has no face left to train on")
    except ValueError as error:
        counts = ", ".join(f"{emotion} {n}" for emotion, n in sorted(collections.Counter(faces.emotions.tolist()).items()))
        raise Problem(f"these faces ({counts}) cannot be split for {protocol}: {shown(error)}; add faces or drop the emotion")
    return Split(train, validation, test)


# ---------------------------------------------------------------------------------------------------- experiments
# What defines an experiment, with the paper's values (None: not used). Only train_cae.py sets them.
DEFAULTS = {
    "published": {"runs": 5, "latent": 32, "cae_epochs": 80, "pair_epochs": 8, "classifier_epochs": 80, "steps": None,
                  "patience": 5, "real_share": None, "keep": "last"},
    "holdout": {"runs": 10, "latent": 32, "cae_epochs": 80, "pair_epochs": 8, "classifier_epochs": None, "steps": 4000,
                "patience": None, "real_share": 0.5, "keep": "best-loss"},
    "loso": {"runs": None, "latent": 32, "cae_epochs": 80, "pair_epochs": 8, "classifier_epochs": None, "steps": 4000,
             "patience": None, "real_share": 0.5, "keep": "best-loss"},
}
UNNAMED = {"runs", "seed"}  # settings that an experiment's folder does not carry in its name


def versions():
    """What the bytes of a result depend on beside the code: Python and the packages."""
    packages = ("tensorflow", "keras", "numpy", "pillow", "scikit-learn", "scipy", "joblib")
    return {"python": platform.python_version(), **{package: importlib.metadata.version(package) for package in packages}}


def code_fingerprint():
    """16 hexadecimal digits that change when a script that makes artifacts does."""
    return hashlib.sha256(b"".join((ROOT / script).read_bytes() for script in SCRIPTS)).hexdigest()[:16]


def spelled(value):
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def create_experiment(data, protocol, given, results, crop=CROP):
    """Make results/<dataset>-<protocol>[-<settings other than the protocol's>]/, or open it if it is there.

    given: the settings asked for on the command line, by name; the others keep what the folder has, or the protocol's
    defaults. Raises `Problem` if the folder holds an experiment with other faces or other settings.
    """
    path = Path(data or default_data())
    if data is None and not path.exists():
        import runpy  # the stand-in is drawn by its own script, once

        say("there is no JAFFE in data/: drawing the stand-in faces")
        runpy.run_path(str(ROOT / "data" / "standin.py"))["draw_all"](path)
    data_set = load_faces(path, crop)
    faces = data_set.faces
    subjects = len(np.unique(faces.subjects))
    settings = {"seed": 0, **DEFAULTS[protocol]}
    unused = sorted(name for name in given if settings.get(name, 0) is None and name not in ("runs", "real_share"))
    if unused:
        raise Problem(f"--{unused[0].replace('_', '-')} has no effect in the protocol {protocol}; leave it out")
    settings["runs"] = settings["runs"] or subjects
    if protocol == "loso" and given.get("runs", 0) > subjects:
        warn(f"--runs {given['runs']}: there are only {subjects} subjects to leave out, so {subjects} runs")
        given = {**given, "runs": subjects}
    special = {name: value for name, value in given.items() if settings[name] != value and name not in UNNAMED}
    name = "-".join([data_set.name, protocol] + [f"{key.replace('_', '-')}-{spelled(value)}" for key, value in special.items()]
                    + ["crop-" + ("none" if crop is None else "-".join(map(str, crop)))] * (crop != CROP))
    settings.update(given)
    folder = Path(results) / name
    description = {
        "format": 1,
        "dataset": {"name": data_set.name, "path": str(path.resolve()), "faces": len(faces.names), "stand_in": data_set.stand_in,
                    "fingerprint": fingerprint(faces), "crop": None if crop is None else list(crop),
                    "subjects": subjects, "emotions": sorted(set(faces.emotions.tolist())), "notes": data_set.notes},
        "protocol": protocol, "settings": settings, "special": sorted(special),
        "versions": versions(), "code": code_fingerprint(),
    }
    for run in range(settings["runs"]):  # splits that cannot be made are refused before anything is written
        make_split(faces, protocol, run, settings["seed"], settings["runs"])
    make_folder(folder)
    with locked(folder):
        if not (folder / "experiment.json").exists():
            write_json(folder / "experiment.json", description)
            return {**description, "folder": folder}, data_set
        there = read_experiment(folder)
        if there["dataset"]["fingerprint"] != description["dataset"]["fingerprint"]:
            raise Problem(f"{shown(folder)}: began with other faces (fingerprint {there['dataset']['fingerprint']}, now "
                          f"{description['dataset']['fingerprint']}); give --results another folder, or remove this one")
        for key, value in there["settings"].items():
            if given.get(key, value) != value:
                raise Problem(f"{shown(folder)}: began with {key.replace('_', ' ')} {spelled(value)}, now "
                              f"{spelled(given[key])} is asked for; give --results another folder, or remove this one")
        if there["dataset"]["path"] != description["dataset"]["path"]:  # the same faces, moved
            there["dataset"]["path"] = description["dataset"]["path"]
            write_json(folder / "experiment.json", {key: there[key] for key in description})
        return there, data_set


def read_experiment(folder):
    """experiment.json of `folder` as a dict with the folder itself under "folder". Raises `Problem` if it is none."""
    folder = Path(folder)
    file = folder / "experiment.json"
    if not file.is_file():
        raise Problem(f"{shown(folder)}: holds no experiment.json, so it is no experiment; train_cae.py makes one")
    try:
        experiment = json.loads(file.read_text("utf-8"))
        sound = experiment["format"] == 1 and is_sound(experiment)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Problem(f"{shown(file)}: damaged ({type(error).__name__}: {shown(error)}); restore it, or remove the folder "
                      f"and begin again with train_cae.py")
    if not sound:
        raise Problem(f"{shown(file)}: not an experiment of this version; remove the folder and begin again with train_cae.py")
    return {**experiment, "folder": folder}


def is_sound(experiment):
    """Whether experiment.json has all that the scripts read, of the type and in the range that train_cae.py writes."""

    def whole_numbers(values, low=1):
        return all(type(value) is int and low <= value <= 10**6 for value in values)

    settings, dataset, versions = experiment["settings"], experiment["dataset"], experiment["versions"]
    defaults = DEFAULTS[experiment["protocol"]]
    emotions, share, crop = dataset["emotions"], settings["real_share"], dataset["crop"]
    texts = [dataset["name"], dataset["fingerprint"], experiment["code"], *dataset["notes"], *emotions, *experiment["special"],
             *versions, *versions.values()]
    return (set(settings) == {"seed", *defaults} and set(experiment["special"]) <= set(settings)
            and all(type(value) is list for value in (dataset["notes"], emotions, experiment["special"]))
            and all(type(text) is str and text.isprintable() for text in texts)
            and type(dataset["path"]) is str and type(dataset["stand_in"]) is bool
            and len(emotions) > 1 and emotions == sorted(set(emotions) & set(EMOTIONS))
            and whole_numbers([dataset["faces"], dataset["subjects"]] + [settings[key] for key in (
                "runs", "latent", "cae_epochs", "pair_epochs")])
            and whole_numbers([settings["seed"]], low=0)
            and all((settings[key] is None) == (defaults[key] is None) and whole_numbers([settings[key] or 1])
                    for key in ("classifier_epochs", "steps"))
            and whole_numbers([1 if settings["patience"] is None else settings["patience"]])
            and (share is None or type(share) in (int, float) and 0 < share <= 1)
            and settings["keep"] in ("last", "best-loss", "best-accuracy")
            and (crop is None or type(crop) is list and len(crop) == 3 and whole_numbers(crop, low=0) and crop[2] > 0))


def changes(experiment):
    """What changed since the experiment began and can change its bytes: printable sentences."""
    now = versions()
    notes = [f"{shown(package)} was {shown(was)} when the experiment began and is {now.get(package)} now"
             for package, was in experiment["versions"].items() if now.get(package) != was]
    if experiment["code"] != code_fingerprint():
        notes.append("the scripts have changed since the experiment began")
    return notes


def identity(experiment):
    """16 hexadecimal digits for the faces, protocol and settings of an experiment: every artifact carries them."""
    parts = [experiment["dataset"]["fingerprint"], experiment["protocol"], experiment["settings"]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def experiment_faces(experiment):
    """All faces of an experiment, test faces too: for evaluate.py, and for `training_faces`, which leaves those out.

    Raises `Problem` if they changed.
    """
    dataset = experiment["dataset"]
    faces = load_faces(dataset["path"], dataset["crop"] and tuple(dataset["crop"])).faces
    if fingerprint(faces) != dataset["fingerprint"]:
        raise Problem(f"{shown(dataset['path'])}: its faces have changed since {shown(experiment['folder'])} began; restore "
                      f"them, or begin another experiment with train_cae.py --results")
    return faces


def write_splits(experiment, faces):
    """splits.npz: row numbers of every run's training, validation and test faces, faces in the order of their names."""
    path, settings = experiment["folder"] / "splits.npz", experiment["settings"]
    made_of = {"experiment": identity(experiment), "made_from": {}}
    if not finished(path, made_of):
        splits = [make_split(faces, experiment["protocol"], run, settings["seed"], settings["runs"])
                  for run in range(settings["runs"])]
        write_arrays(path, made_of, **{f"{part}-{run:02d}": rows for run, split in enumerate(splits)
                                       for part, rows in split._asdict().items()})


def experiment_split(experiment, faces, run):
    """The `Split` of a run as train_cae.py wrote it. Raises `Problem` if it does not put every face on one side."""
    path = experiment["folder"] / "splits.npz"
    belongs(path, read_provenance(path), identity(experiment))
    stored = read_arrays(path)
    parts = [stored[f"{part}-{run:02d}"] for part in Split._fields]
    with damaged(path):
        split = Split(*(rows.astype(int) for rows in parts))
        if not np.array_equal(np.sort(np.concatenate(split)), np.arange(len(faces.names))):
            raise ValueError(f"run {run} does not have every face on one side")
    return split


def training_faces(experiment):
    """A function of a run's number that gives (training faces, validation faces): copies without the run's test faces."""
    faces = experiment_faces(experiment)

    def of_run(run):
        split = experiment_split(experiment, faces, run)
        return faces.take(split.train), faces.take(split.validation)

    return of_run


def run_folder(experiment, run):
    return experiment["folder"] / f"run-{run:02d}"


@contextlib.contextmanager
def locked(folder):
    """Keep a second process out of the experiment in `folder`; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        stream = open(Path(folder) / ".lock", "a+", encoding="utf-8")
    except OSError as error:
        raise Problem(f"{shown(folder)}: cannot be written to ({error.strerror}); choose another folder with --results")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise Problem(f"{shown(folder)}: {shown(stream.read(200).strip()) or 'another process'} is at work there; "
                          f"wait for it to end, or stop it")
        with contextlib.suppress(OSError):  # a full disk: the lock holds without its text
            stream.truncate(0)
            os.write(stream.fileno(), f"{Path(sys.argv[0]).name}, process {os.getpid()} on {socket.gethostname()},".encode())
        for leftover in Path(folder).rglob(".*.part"):  # of a process that was killed while writing
            leftover.unlink(missing_ok=True)
        for leftover in Path(folder).rglob("*.checkpoint"):  # or after it
            if leftover.with_suffix(".keras").exists():
                leftover.unlink(missing_ok=True)
        yield


# ---------------------------------------------------------------------------------------------------- artifacts
def make_folder(folder):
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Problem(f"{shown(folder)}: cannot be made ({error.strerror}); choose another folder with --results")


def write_bytes(path, data):
    """Write a file so that it is there whole or not at all: temporary file, fsync, rename."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        try:
            with open(part, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        if os.name == "posix":  # the rename itself reaches the disk with the folder
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
    except OSError as error:
        raise Problem(f"{shown(path)}: cannot be written ({error.strerror}); what was finished before is kept: make room or "
                      f"give access, and run the same command again")


def write_text(path, text):
    write_bytes(path, text.encode("utf-8"))


def write_json(path, value):
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def repacked(data, provenance):
    """The .keras archive `data` with provenance.json added and its clock times and addresses removed: same input, same bytes."""
    packed, numbers = io.BytesIO(), {}
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(packed, "w") as new:
        for name in old.namelist():
            member = old.read(name)
            if name == "metadata.json":  # Keras writes the date there
                member = json.dumps({**json.loads(member), "date_saved": ""}).encode()
            if name == "config.json":  # and there the addresses of objects in memory
                member = re.sub(rb'(?<="shared_object_id": )\d+',
                                lambda found: b"%d" % numbers.setdefault(found[0], len(numbers)), member)
            new.writestr(zipfile.ZipInfo(name), member)
        new.writestr(zipfile.ZipInfo("provenance.json"), json.dumps(provenance, indent=1))
    return packed.getvalue()


def write_arrays(path, provenance, **arrays):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:  # as np.savez would, without its clock times and its copies
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
        archive.writestr(zipfile.ZipInfo("provenance.json"), json.dumps(provenance, indent=1))
    write_bytes(path, packed.getbuffer())


def read_arrays(path):
    """The arrays of an .npz by name, nothing executed. Raises `Problem` if it is damaged, also when it lacks a name asked for."""

    class Arrays(dict):
        def __missing__(self, name):
            with damaged(path):
                raise ValueError(f"holds no {name}")

    with damaged(path), np.load(path, allow_pickle=False) as stored:
        return Arrays((name, stored[name]) for name in stored.files if not name.endswith(".json"))


def model_file(build, arguments, weights):
    """The bytes of a .keras file of the model `build(*arguments)` with `weights`: made where it was trained, for `write_model`."""
    model = build(*arguments)
    model.set_weights(weights)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        return (Path(folder) / "model.keras").read_bytes()


def write_model(path, provenance, data):
    write_bytes(path, repacked(data, provenance))


def read_model(path):
    """(path, bytes) of a .keras file, for `load_weights` in whichever process needs them. Raises `Problem` if it is damaged."""
    read_provenance(path)  # for the checksums, which h5py does not look at
    with damaged(path):
        return str(path), path.read_bytes()


def load_weights(model, stored):
    """Fill `model` with what `read_model` read: its numbers, not its description of layers, so no code comes with it."""
    path, data = stored
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model.keras").write_bytes(data)
        with damaged(path):
            model.load_weights(Path(folder) / "model.keras")
    return model.get_weights()


@contextlib.contextmanager
def damaged(path):
    try:
        yield
    except FileNotFoundError:
        raise Problem(f"{shown(path)}: not there; run the scripts in sequence: train_cae, augment, train_classifier, evaluate")
    except Exception as error:  # h5py, zlib, zipfile, numpy and json all have their own
        raise Problem(f"{shown(path)}: damaged ({shown(str(error).splitlines()[0] if str(error) else type(error).__name__)}); "
                      f"remove it and run the script that makes it again")


def provenance(experiment, made_from=(), **settings):
    """What an artifact is made from: it is stored in the artifact, and the artifact made again when it changes.

    Raises what `read_input` raises for one of `made_from`.
    """
    for path in made_from:
        read_input(path, experiment)
    made_from = [experiment["folder"] / "splits.npz", *made_from]
    return {"experiment": identity(experiment), "made_from": {path.name: file_digest(path) for path in made_from}, **settings}


def read_input(path, experiment):
    """The provenance of the artifact at `path`. Raises `Problem` if it is damaged, or of another experiment or other splits:
    it may have seen this one's test faces."""
    found, splits = read_provenance(path), experiment["folder"] / "splits.npz"
    belongs(path, found, identity(experiment))
    if found["made_from"].get(splits.name) != file_digest(splits):
        raise Problem(f"{shown(path)}: made with other splits than those of {splits.name}; run train_cae.py and the scripts after it "
                      f"again, with the same options")
    return found


def file_digest(path):
    with damaged(path):
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def read_provenance(path):
    with damaged(path), zipfile.ZipFile(path) as archive:
        found = json.loads(archive.read("provenance.json"))
        if archive.testzip() is not None or type(found) is not dict or type(found.get("made_from")) is not dict:
            raise ValueError("bad checksum")
    return found


def belongs(path, found, experiment):
    if found.get("experiment") != experiment:
        raise Problem(f"{shown(path)}: belongs to another experiment; remove it and run the script that makes it again")


def finished(path, expected):
    """Whether the artifact at `path` is there, whole, and made from what it would be made from now."""
    if not path.exists():
        return False
    found = read_provenance(path)
    belongs(path, found, expected["experiment"])
    for key in sorted(set(expected) - {"made_from"}):
        if found.get(key) != expected[key]:
            raise Problem(f"{shown(path)}: made with {key.replace('_', ' ')} {shown(found.get(key))}, now {shown(expected[key])} is "
                          f"asked for; remove the run-*/{path.name} to make them anew, or use another experiment")
    return found["made_from"] == expected["made_from"]  # else its inputs are newer: it is made again


# ---------------------------------------------------------------------------------------------------- TensorFlow
parallel_operations = 2  # operations side by side; 1 with --jobs 1, and in worker processes, of which there is one per core


@functools.cache
def tensorflow():
    """TensorFlow, imported late (it takes seconds; a wrong option should not), quietly, deterministic, one thread per operation.

    One thread per operation gives the same bytes on any number of cores: sums are never cut up differently, and operations
    side by side change nothing in the numbers. oneDNN's convolutions are asked for where TensorFlow's default depends on the
    processor: on one without AVX-512 they took LeNet-5's step from 2.0 to 1.4 ms and left the autoencoder's as it was.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    gc.disable()  # importing makes objects that all stay: to look for garbage among them takes a second, and one more at exit
    unused = [name for name in ("sklearn", "matplotlib") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(unused))  # Keras imports them for wrappers and galleries: a third of the time it takes
    try:
        with silenced_stderr():
            import tensorflow as tf
        gc.freeze()
    finally:
        for name in unused:
            del sys.modules[name]
        gc.enable()
    tf.config.set_visible_devices([], "GPU")  # it computes other bytes, and each worker would take all of its memory
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(min(parallel_operations, cores()))
    tf.config.experimental.enable_op_determinism()
    return tf


@contextlib.contextmanager
def silenced_stderr():
    """TensorFlow's C++ announces oneDNN and missing GPUs on the file descriptor itself, before its log level applies."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


# ---------------------------------------------------------------------------------------------------- training
def initial_weights(build, arguments, seed):
    """The weights (list of float32 arrays) that `build(*arguments)` starts from with `seed`: Glorot's uniform, biases 0.

    They are those of keras.utils.set_random_seed(seed), drawn without it: it seeds generators that all threads of a process
    share, and a Dask worker has threads that draw from them too.
    """
    tensorflow()
    from keras.initializers import GlorotUniform

    seeds = random.Random(seed)
    return [np.asarray(GlorotUniform(seeds.randint(1, 10**9))(weights.shape)) if len(weights.shape) > 1
            else np.zeros(weights.shape, np.float32) for weights in build(*arguments).weights]


@functools.lru_cache(maxsize=4)
def compiled(build, arguments, loss, parts):
    """(model, state, train, validate) for `build(*arguments)`, traced once per process and used for every training.

    train(x, y, rows) takes one Adam step for each row of `rows`, int32 (steps, 4), the whole loop inside one graph: at four
    faces a step, Python and the many small operations of keras.optimizers.Adam cost more than the arithmetic. parts: into
    how many parts a batch is cut, whose gradients are worked out side by side where there is a core for each and summed
    (the same numbers on one core). state: the variables of Adam, all zero at the start.

    Measured on one core, a step of LeNet-5 and of the autoencoder: `fit` 4.0 and 21 ms, this loop with Keras' Adam 1.1 to
    1.5 and 15 ms, with TensorFlow's Adam kernel (the same formula) 1.0 and 13 ms. On another, slower machine the
    autoencoder's step took 26 ms on one core, 19 on two with operations side by side, 15 on two with the batch in two parts.
    Tried there and left out: XLA (`jit_compile`), 1.7 and 34 ms, whose convolutions are slow; XLA with convolutions
    written as matrix products, 0.7 and 29 ms, but 4 and 10 seconds of compiling in every process; four parts, no faster
    than two; malloc that gives no memory back, within the noise; convolutions as matrix products in this graph, where
    cutting out the patches at a stride of 2 takes several times as long as the product.

    On a third machine, with AVX-512 and bfloat16 (AVX512_BF16): 0.45 and 8.1 ms on one core, the autoencoder 4.3 to 5 on two,
    most of it in oneDNN's convolutions. Tried there and left out: bfloat16 (Keras' mixed_bfloat16), 0.51, 7.3 and 3.4 ms, two
    seconds of a run of half a minute for rougher numbers; two parts for LeNet-5, 0.47 ms; no oneDNN, 0.63 and 5.8 ms; XLA,
    1.9 ms for LeNet-5; three or four operations side by side, no faster than two.
    """
    tf = tensorflow()
    import keras

    model = build(*arguments)
    variables = model.trainable_variables
    per_pixel = {"mse": keras.losses.mean_squared_error, "crossentropy": keras.losses.categorical_crossentropy}[loss]
    images = tf.TensorSpec((None, SIDE, SIDE, 1), tf.float32)
    targets = tf.TensorSpec((None, *model.output_shape[1:]), tf.float32)
    steps_taken = tf.Variable(0.0)
    first, second = ([tf.Variable(tf.zeros(v.shape)) for v in variables] for _ in range(2))  # Adam's two moments

    def losses(y, predicted):
        values = per_pixel(y, predicted)
        return tf.reduce_mean(tf.reshape(values, (tf.shape(values)[0], -1)), axis=1)

    def sum_and_gradients(x, y, present, count):
        with tf.GradientTape() as tape:
            loss_sum = tf.reduce_sum(losses(y, model(x, training=True)) * present)
            share = loss_sum / count
        return loss_sum, tape.gradient(share, variables)

    def adam(gradients):
        """Kingma and Ba, arXiv 1412.6980, with the defaults of Keras, which the paper uses."""
        t = steps_taken.assign_add(1.0)
        beta1_power, beta2_power = tf.pow(0.9, t), tf.pow(0.999, t)
        for variable, m, v, gradient in zip(variables, first, second, gradients):
            tf.raw_ops.ResourceApplyAdam(var=variable.value.handle, m=m.handle, v=v.handle, grad=gradient, lr=0.001,
                                         beta1=0.9, beta2=0.999, epsilon=1e-7, beta1_power=beta1_power, beta2_power=beta2_power)

    @tf.function(input_signature=[images, targets, tf.TensorSpec((None, BATCH), tf.int32)])
    def train(x, y, rows):
        total, count = 0.0, 0.0
        for step in tf.range(tf.shape(rows)[0]):
            present = tf.cast(rows[step] >= 0, tf.float32)  # the last batch of an epoch is padded with -1
            chosen = tf.maximum(rows[step], 0)
            n = tf.reduce_sum(present)
            sums, gradients = zip(*[sum_and_gradients(tf.gather(x, part), tf.gather(y, part), here, n)
                                    for part, here in zip(tf.split(chosen, parts), tf.split(present, parts))])
            adam([tf.add_n(of_parts) for of_parts in zip(*gradients)])
            total += tf.add_n(sums)
            count += n
        return total / count

    @tf.function(input_signature=[images, targets])
    def validate(x, y):
        rows = tf.shape(x)[0]
        padded = tf.pad(x, [[0, -rows % parts], [0, 0], [0, 0], [0, 0]])  # no part may be empty: oneDNN refuses it
        predicted = tf.concat([model(part, training=False) for part in tf.split(padded, parts)], axis=0)[:rows]
        return losses(y, predicted), predicted

    return model, [steps_taken, *first, *second], train, validate


def in_chunks(function, *arrays, size=64, threads=1):
    """function(*arrays) computed for `size` rows at a time, which bounds the memory; the outputs joined as numpy arrays.

    1,981 faces through the decoder, 64 at a time: 3 s and 95 MB more memory; 256 at a time: 4 s and 330 MB. threads: how
    many chunks side by side, more than one only for a function that keeps no state.
    """
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        parts = list((pool.map if threads > 1 else map)(lambda start: function(*(array[start:start + size] for array in arrays)),
                                                        range(0, len(arrays[0]), size)))
    if isinstance(parts[0], tuple):
        return tuple(np.concatenate([np.asarray(part[k]) for part in parts]) for k in range(len(parts[0])))
    return np.concatenate([np.asarray(part) for part in parts])


def epoch_rows(order):
    """int32 (steps, 4) batches of the row numbers in `order`, the last one padded with -1."""
    order = np.asarray(order, np.int32)
    return np.concatenate([order, np.full(-len(order) % BATCH, -1, np.int32)]).reshape(-1, BATCH)


def fit(build, arguments, loss, start, train, rows_of, rounds, validation, patience=None, keep="last", checkpoint=None,
        report=lambda fraction: None, parts=1):
    """Train with Adam, from the weights `start`, for `rounds` rounds; return (weights, history).

    train, validation: (x, y) float32 arrays; rows_of(round): int32 (steps, 4), that round's batches as rows of x;
    patience: stop after so many rounds without a lower validation loss (as keras.callbacks.EarlyStopping does), None
    for never; keep: "last", "best-loss" or "best-accuracy" (on validation). history: dict of lists, one value a round.
    checkpoint: a file that is written now and then and taken up again, so that a killed training goes on with the same
    bytes; it is removed by the caller once the result is safe. report is told the fraction done. parts: see `compiled`.
    """
    tf = tensorflow()
    model, state, train_round, validate = compiled(build, arguments, loss, parts)
    model.set_weights(start)
    for variable in state:
        variable.assign(tf.zeros_like(variable))
    history = {"loss": [], "validation_loss": [], "validation_accuracy": []}
    kept, kept_score, waited = start, math.inf, 0
    if checkpoint:  # it is taken up only if it is of this very training: other faces or settings may have come since
        digest = hashlib.sha256(repr((loss, rounds, patience, keep, parts)).encode())
        for array in (*start, *train, *validation, rows_of(0)):
            digest.update(np.ascontiguousarray(array))
        of = digest.hexdigest()
    if checkpoint and checkpoint.exists():
        with contextlib.suppress(Problem):  # a checkpoint that cannot be read costs time, not the result
            stored = read_arrays(checkpoint)
            if str(stored["of"]) == of:
                n = len(start)
                model.set_weights([stored[f"w{k}"] for k in range(n)])
                for k, variable in enumerate(state):
                    variable.assign(stored[f"o{k}"])
                kept = [stored[f"k{k}"] for k in range(n)]
                history = json.loads(str(stored["history"]))
                kept_score, waited = float(stored["kept_score"]), int(stored["waited"])
    x, y = (tf.constant(array) for array in train)
    saved = time.monotonic()
    while len(history["loss"]) < rounds and (patience is None or waited < patience):
        round_number = len(history["loss"])
        history["loss"].append(float(train_round(x, y, tf.constant(rows_of(round_number)))))
        losses, predicted = in_chunks(validate, *validation)
        history["validation_loss"].append(float(losses.mean(dtype=np.float64)))
        if loss == "crossentropy":
            right = predicted.argmax(1) == validation[1].argmax(1)
            history["validation_accuracy"].append(float(right.mean()))
        waited = 0 if history["validation_loss"][-1] < min(history["validation_loss"][:-1], default=math.inf) else waited + 1
        score = -history["validation_accuracy"][-1] if keep == "best-accuracy" else history["validation_loss"][-1]
        if keep == "last" or score < kept_score:
            kept, kept_score = model.get_weights() if keep != "last" else kept, score
        report((round_number + 1) / rounds)
        if checkpoint and time.monotonic() - saved > CHECKPOINT_SECONDS:
            write_arrays(checkpoint, {}, of=of, **{f"w{k}": w for k, w in enumerate(model.get_weights())},
                         **{f"o{k}": v.numpy() for k, v in enumerate(state)},
                         **{f"k{k}": w for k, w in enumerate(kept)},
                         history=json.dumps(history), kept_score=kept_score, waited=waited)
            saved = time.monotonic()
    report(1.0)
    return model.get_weights() if keep == "last" else kept, history


CHECKPOINT_SECONDS = float(os.environ.get("CHECKPOINT_SECONDS", 20))


# ---------------------------------------------------------------------------------------------------- tasks
def run_tasks(function, tasks, label, options, costs=None):
    """Yield (number of the task, function(**task(), report=...)) as they finish, on worker processes.

    tasks: functions that make the arguments when their turn comes, so that the memory holds those of a few tasks only.
    options: jobs, how many processes here; or dask, the address of a scheduler that has workers anywhere. Prints one line
    of progress with an estimate of what is left; on a terminal it is rewritten in place. costs: what the tasks take, in
    any unit. An error in a worker is raised here; what was yielded before is the caller's to keep.
    """
    if not tasks:
        return
    costs = np.ones(len(tasks)) if costs is None else np.asarray(costs, float)
    jobs = min(options.jobs, len(tasks))
    with tempfile.TemporaryDirectory() as folder:
        board_file = Path(folder) / "progress"  # a fraction for each task, shared with the workers through the file
        np.zeros(len(tasks)).tofile(board_file)
        board = np.memmap(board_file, float, "r+")
        with progress_line(label, board, costs):
            if jobs == 1 and not options.dask:
                global parallel_operations
                parallel_operations = min(options.jobs, 2)
                for number, task in enumerate(tasks):
                    yield perform(function, task(), number, board_file)
                    board[number] = 1
            else:
                import joblib

                parent = None if options.dask else os.getpid()
                with worker_processes(jobs, options.dask) as parallel:
                    # Processes of this machine import TensorFlow first, while the arguments of the first tasks are made here.
                    starts = (joblib.delayed(worker)(parent) for _ in range(0 if options.dask else jobs))
                    work = (joblib.delayed(worker)(parent, function, task(), number, board_file)
                            for number, task in enumerate(tasks))
                    for number, result in filter(None, parallel(itertools.chain(starts, work))):
                        board[number] = 1
                        yield number, result


@contextlib.contextmanager
def worker_processes(jobs, dask):
    """joblib.Parallel on `jobs` processes of this machine, or on the workers of the Dask scheduler at the address `dask`."""
    import joblib

    if not dask:
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            # Arrays are sent, not mapped from files: joblib waits a second for the files' removal at the end.
            yield joblib.Parallel(jobs, return_as="generator_unordered", pre_dispatch="2*n_jobs", max_nbytes=None)
        return
    try:
        from distributed import Client
    except ImportError:
        raise Problem("--dask: needs the package distributed; pip install 'dask[distributed]' here and on the workers")
    try:
        client = Client(dask, timeout=10)
    except (OSError, ValueError) as error:
        raise Problem(f"--dask {shown(dask)}: no scheduler answers there ({shown(error)}); start one with `dask scheduler`")
    with client:
        for script in SCRIPTS:  # to the scheduler, to the workers, and to workers who come later
            client.upload_file(str(ROOT / script))
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise Problem(f"--dask {shown(dask)}: the scheduler has no workers; start some with `dask worker {shown(dask)} --nthreads 1`")
        for place, theirs in client.run(versions).items():
            for package, version in versions().items():
                if theirs[package] != version:
                    raise Problem(f"--dask: {shown(place)} has {package} {theirs[package]}, here it is {version}, which can change "
                                  f"the results; install the same versions")
        with warnings.catch_warnings(), joblib.parallel_config("dask", client=client):
            warnings.filterwarnings("ignore", message="Sending large graph")  # faces and weights are what there is to send
            yield joblib.Parallel(return_as="generator_unordered")


def worker(parent, *arguments):
    """`perform` in a worker process: one of several, so one core is its own. parent: its parent's number, None elsewhere.

    Without other arguments it only gets ready.
    """
    global parallel_operations
    with one_at_a_time:
        parallel_operations = 1
        if parent is not None:
            end_with(parent)
        tensorflow()
        return perform(*arguments) if arguments else None


one_at_a_time = threading.Lock()  # a Dask worker may have several threads; they would train the same variables


@functools.cache
def end_with(parent):
    """End this process within a second of its parent's end, however that ends, and not by a Ctrl-C of its own."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    if os.name == "posix":  # elsewhere the parent's number stays when it is gone
        threading.Thread(target=watch, daemon=True).start()


def perform(function, task, number, board_file):
    def report(fraction):
        if board_file.exists():  # not on another machine
            np.memmap(board_file, float, "r+")[number] = fraction

    return number, function(**task, report=report)


@contextlib.contextmanager
def progress_line(label, board, costs):
    """Print how far the tasks on `board` are: every second on a terminal, every quarter of a minute to a file."""
    began, terminal, ended = time.monotonic(), sys.stdout.isatty(), threading.Event()

    def line():
        done, seconds = float(board @ costs / costs.sum()), time.monotonic() - began
        left = f", about {duration(seconds / done - seconds)} left" if 0.02 < done < 1 and seconds > 3 else ""
        return f"{label}: {int((board >= 1).sum())} of {len(board)}, {done:4.0%} after {duration(seconds)}{left}"

    def watch():
        while not ended.wait(1 if terminal else 15):
            print("\r\x1b[K" + line() if terminal else line(), end="" if terminal else "\n", flush=True)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        print(("\r\x1b[K" if terminal else "") + line(), flush=True)


def duration(seconds):
    seconds = max(0, round(seconds))
    return f"{seconds} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


# ---------------------------------------------------------------------------------------------------- command line
def run_script(main):
    """main() with its errors told as a person would: one line on stderr, exit status 2; 130 after Ctrl-C or SIGTERM."""
    name = Path(sys.argv[0]).name

    def interrupted():
        print(f"{name}: interrupted; finished files are kept, the same command goes on from there", file=sys.stderr, flush=True)
        sys.stdout.flush()
        os._exit(130)  # files are written whole or not at all, so nothing is left to tidy; worker processes end by themselves

    def stop(signum, frame):
        last_resort = threading.Timer(5, interrupted)  # joblib can wait long for workers that were interrupted too
        last_resort.daemon = True
        last_resort.start()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name may hold what the terminal cannot show
    try:
        main()
    except Problem as problem:
        print(f"{name}: {problem}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        file = f"{shown(error.filename)}: " if error.filename else ""
        print(f"{name}: {file}{error.strerror or shown(error)}; what was finished before is kept: put it right and run the same "
              f"command again", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        interrupted()


def parser(docstring, experiment=True, workers=True):
    """An argument parser whose --help is the script's docstring, with the options that several scripts share."""
    result = argparse.ArgumentParser(description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)

    def refuse(message):  # argparse would print the usage before it
        raise Problem(f"{shown(message)}; see --help")

    result.error = refuse
    if experiment:
        result.add_argument("experiment", nargs="?", metavar="EXPERIMENT", type=Path,
                            help="its folder (default: results/jaffe-published if JAFFE is in data/, else results/standin-published)")
    if workers:
        result.add_argument("--jobs", type=whole(1), default=cores(), metavar="N",
                            help="worker processes (default: one per core, here %(default)s); the results do not depend on it")
        result.add_argument("--dask", metavar="ADDRESS", help="hand the work to the Dask scheduler there, such as tcp://host:8786, "
                            "instead of processes on this machine")
    return result


def cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_experiment(path):
    """The experiment at `path`, or the default one, with what changed since it began said on stderr."""
    dataset = "standin" if default_data().name == "standin" else "jaffe"
    experiment = read_experiment(path or ROOT / "results" / f"{dataset}-published")
    for note in changes(experiment):
        warn(note)
    return experiment


def label_of(experiment):
    """The data set's name, with what it is where it is not real."""
    dataset = experiment["dataset"]
    return "drawn stand-in faces (not JAFFE)" if dataset["stand_in"] else \
        "JAFFE" if dataset["name"] == "jaffe" else shown(dataset["name"])


def whole(low, high=10**6):
    """argparse type: a whole number from `low` to `high`."""

    def read(text):
        value = int(text) if re.fullmatch(r"\d{1,9}", text, re.ASCII) else -1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {low} to {high}")
        return value

    return read


def shown_path(path):
    """`path` as one would type it from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
