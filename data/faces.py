"""From files to arrays: `load_faces` reads every face of a data set, cuts it to its box and scales
it to 48 x 48."""

import collections
import hashlib
import io
import itertools
import math
import re
import warnings
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import utils
from data import standin
from data.layouts import read_layout
from utils import Problem, listed

import numpy as np
from PIL import Image, ImageOps

SIDE = 48  # pixels; the paper's face size
MARGIN = 0.3  # of a box's side, around it: what registration may look at
EMOTION_NAMES = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "NE": "neutral",
                 "SA": "sadness", "SU": "surprise"}
JAFFE_EMOTIONS = {"AN": 30, "DI": 29, "FE": 32, "HA": 31, "NE": 30, "SA": 31, "SU": 30}
JAFFE_SUBJECTS = {"KA": 23, "KL": 22, "KM": 22, "KR": 20, "MK": 21, "NA": 21, "NM": 20, "TM": 21,
                  "UY": 21, "YM": 22}
JAFFE_BOX = "50,65,161"  # x, y, side in pixels: where the paper's Haar cascade finds JAFFE's faces
JAFFE_MD5 = "fe13f3302eb9968ef04367456f665436"
FORMATS = ("TIFF", "PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF")  # which Pillow reads by itself


class WideCrop(NamedTuple):
    """A face with what is around it: in its middle the box of `side` pixels."""

    grey: np.ndarray  # uint8 (s, s)
    side: float


class Faces(NamedTuple):
    """n faces in the order of their names."""

    names: np.ndarray  # str (n,)
    subjects: np.ndarray  # str (n,), "" where it is not known who it is
    emotions: np.ndarray  # str (n,)
    images: np.ndarray  # uint8 (n, 48, 48)

    def take(self, rows):
        """The faces at `rows`, as a copy that holds no others."""
        return Faces(*(array[rows] for array in self))


class DataSet(NamedTuple):
    """All faces of a data set, and what came with them."""

    faces: Faces
    wide_crops: np.ndarray  # n `WideCrop`, for registration alone
    splits: np.ndarray  # str (n,): "train", "test", or "" where the data brings no split
    name: str  # "JAFFE", "standin" or the name of its folder or file
    crop: str
    notes: list  # what is odd about the faces: sentences


def as_input(images):
    """float32 (n, 48, 48, 1) in [0, 1], as the networks take them, of uint8 (n, 48, 48)."""
    return (images / np.float32(255))[..., None]


def default_data():
    """JAFFE where data/README.md says to put it, else the drawn stand-in."""
    places = [utils.ROOT / "data" / name for name in ("jaffe", "jaffe.zip", "standin")]
    return next((place for place in places if place.exists()), places[-1])


def load_faces(path, crop="", subject="", emotion="", labels=""):
    """Read all faces of a data set, in the order of their file names.

    Parameters
    ----------
    path : a folder, a zip or a table
    crop : "X,Y,SIDE" in pixels, "square" (the largest centred one), "none" (the whole image) or "":
        a manifest's own boxes, JAFFE's for JAFFE and the stand-in, else "square"
    subject, emotion : regular expressions that find the subject, or the emotion, in a file's name
        or else in its path: their first group that is not empty or, without groups, the match
    labels : "angry=anger,1=surprise": labels to be merged or renamed

    Returns
    -------
    DataSet

    Raises
    ------
    Problem
        for what cannot be read
    """
    path = Path(path)
    entries, skipped = read_layout(path)
    if subject:
        entries = [entry._replace(subject=subject_in(entry, subject)) for entry in entries]
    # By file name first: the published split depends on it, and layouts differ in folders only.
    entries.sort(key=lambda entry: (PurePosixPath(entry.name).name, entry.name))
    for entry, other in itertools.pairwise(entries):
        if entry.name == other.name:
            raise Problem(f"{other.place}: {entry.name} a second time; remove one")
    names, subjects, emotions, splits = (np.array(texts) for texts in list(zip(*entries))[:4])
    emotions = np.array([emotion.upper() if emotion.upper() in EMOTION_NAMES else emotion
                         for emotion in emotions.tolist()])  # JAFFE's codes in capitals
    jaffe = is_jaffe(subjects, emotions)
    crop = crop or ("manifest" if entries[0].box else JAFFE_BOX if jaffe else "square")
    images, wide_crops, sizes, drawn = [], [], collections.Counter(), 0
    for entry in entries:
        grey, is_drawn = decode(entry)
        sizes[grey.size] += 1
        drawn += is_drawn
        image, wide_crop = framed(entry, grey, crop)
        images.append(image)
        wide_crops.append(wide_crop)
    faces = Faces(names, subjects, emotions, np.stack(images))
    notes = [f"{skipped} files that are no images were skipped"] if skipped else []
    notes += oddities(faces, splits, sizes, crop)
    if jaffe and not drawn:
        notes += jaffe_oddities(faces, path)
    stem = re.sub(r"[^\w-]+", "-", path.resolve().stem) or "faces"
    if stem.lower() in ("jaffe", "standin"):  # a folder's name makes no JAFFE
        stem += "-faces"
    name = "standin" if drawn else "JAFFE" if jaffe else stem
    return DataSet(faces, np.fromiter(wide_crops, object), splits, name, crop, notes)


def with_test_set(data_set, other):
    """A `DataSet` whose faces all train and those of another data set all test, as subjects of
    their own. Test faces of an emotion that no training face shows are left out."""
    known = np.isin(other.faces.emotions, data_set.faces.emotions)
    if not known.any():
        raise Problem(f"{other.name}: has none of the emotions of {data_set.name}; rename them "
                      f"with --labels")
    notes = [*data_set.notes, *other.notes]
    if not known.all():
        left_out = sorted(set(other.faces.emotions[~known].tolist()))
        notes.append(f"{(~known).sum()} test faces are left out, whose emotions no training face "
                     f"shows: {listed(left_out, 8)}")
    test = other.faces.take(known)
    test = test._replace(
        names=np.array([f"test of {other.name}/{name}" for name in test.names.tolist()]),
        subjects=np.array([subject and f"{subject} of {other.name}"
                           for subject in test.subjects.tolist()]))
    faces = Faces(*(np.concatenate(arrays) for arrays in zip(data_set.faces, test)))
    splits = np.repeat(["train", "test"], [len(data_set.splits), len(test.names)])
    return data_set._replace(faces=faces, splits=splits, notes=notes, wide_crops=np.concatenate(
        [data_set.wide_crops, other.wide_crops[known]]))


def fingerprint(data_set):
    """What tells a data set from every other.

    Parameters
    ----------
    data_set : DataSet

    Returns
    -------
    str : 16 hexadecimal digits that change with any name, label, split or pixel under the box
    """
    faces = data_set.faces
    texts = (faces.names, faces.subjects, faces.emotions, data_set.splits)
    return utils.digest(faces.images, *("\0".join(column) for column in texts))


def is_jaffe(subjects, emotions):
    """Whether these are JAFFE's faces, though some may be missing."""
    by_subject = collections.Counter(subjects.tolist())
    by_emotion = collections.Counter(emotions.tolist())
    return len(subjects) > 0.8 * sum(JAFFE_SUBJECTS.values()) and \
        by_subject <= collections.Counter(JAFFE_SUBJECTS) and \
        by_emotion <= collections.Counter(JAFFE_EMOTIONS)


def jaffe_oddities(faces, path):
    """What is not as in the official JAFFE: sentences."""
    notes = []
    for expected, texts in ((JAFFE_EMOTIONS, faces.emotions), (JAFFE_SUBJECTS, faces.subjects)):
        counts = collections.Counter(texts.tolist())
        for key, count in expected.items():
            if counts[key] != count:
                notes.append(f"THIS IS NOT THE WHOLE OF JAFFE: {counts[key]} faces of {key}, it "
                             f"has {count}")
    if path.is_file() and path.suffix.lower() == ".zip" and \
            hashlib.md5(path.read_bytes()).hexdigest() != JAFFE_MD5:
        notes.append(f"{path.name} is not the official jaffe.zip, of MD5 {JAFFE_MD5}")
    return notes


def subject_in(entry, pattern):
    """What the pattern's first group that is not empty finds or, without groups, all it finds."""
    match = re.search(pattern, PurePosixPath(entry.name).name) or re.search(pattern, entry.name)
    subject = match and next(filter(None, match.groups() if match.re.groups else [match[0]]), "")
    if not subject:
        raise Problem(f"{entry.place}: --subject {pattern} does not match this name; correct the "
                      f"pattern, or list the faces in a CSV")
    return subject


# --------------------------------------------------------------------------------------- framing
def decode(entry):
    """(Pillow image of mode L, upright; whether it is a drawn stand-in)."""
    content = entry.read()
    if isinstance(content, Image.Image):
        return content, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old TIFFs have odd metadata around sound pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
            opened.load()
            frames = getattr(opened, "n_frames", 1) if opened.format != "JPEG" else 1
            drawn = opened.format == "TIFF" and opened.tag_v2.get(270) == standin.DESCRIPTION
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):  # 65535 is white
                image = Image.fromarray((np.asarray(image) / 257 + 0.5).astype(np.uint8))
            if image.mode not in ("I", "F"):
                image = image.convert("L")  # through the palette where there is one
    except Exception as error:  # a damaged image fails in as many ways as there are decoders
        raise Problem(f"{entry.place}: cannot be read as an image ({error}); replace or remove the "
                      f"file") from error
    if frames != 1 or image.mode != "L":
        odd = f"holds {frames} pictures" if frames != 1 else f"mode {image.mode} has no fixed white"
        raise Problem(f"{entry.place}: {odd}; save one picture as 8-bit grey")
    return image, drawn


def framed(entry, grey, crop):
    """(uint8 (48, 48) under the box, `WideCrop`) of one image.

    The paper's way: cut, then scale, bilinear over the area that shrinks.
    """
    width, height = grey.size
    if crop == "none":
        x, y, side = 0, 0, max(width, height)
        grey = grey.resize((side, side), Image.Resampling.BILINEAR)
    elif crop == "square":
        side = min(width, height)
        x, y = (width - side) // 2, (height - side) // 2
    else:
        x, y, side = entry.box if crop == "manifest" else map(int, crop.split(","))
        if not side or x + side > width or y + side > height:
            raise Problem(f"{entry.place}: {width} x {height} pixels, too small for the box "
                          f"{x},{y},{side}; correct it, or give --crop square or none")
    image = grey.crop((x, y, x + side, y + side)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    margin = math.ceil(MARGIN * side)
    left, top = max(0, x - margin), max(0, y - margin)
    around = np.asarray(grey.crop((left, top, min(grey.width, x + side + margin),
                                   min(grey.height, y + side + margin))))
    before = margin - (y - top), margin - (x - left)
    around = np.pad(around, [(b, side + 2 * margin - b - n) for b, n in zip(before, around.shape)],
                    "edge")
    if side > 8 * SIDE:  # more than registration and 48 pixels can use
        small = round(len(around) * 4 * SIDE / side)
        side *= small / len(around)
        around = np.asarray(Image.fromarray(around).resize((small, small), Image.Resampling.BOX))
    return np.asarray(image), WideCrop(around, side)


def oddities(faces, splits, sizes, crop):
    """What a reader of the results has to know. Raises `Problem` if there is nothing to compare."""
    by_emotion = collections.Counter(faces.emotions.tolist())
    subjects = collections.Counter(faces.subjects.tolist())
    if len(by_emotion) < 2:
        raise Problem(f"all faces show {faces.emotions[0]}; a classifier needs at least two "
                      f"emotions")
    for name, emotion in zip(faces.names, faces.emotions):
        if by_emotion[emotion] == 1:
            raise Problem(f"{name}: the only face of emotion {emotion}; correct the label, add "
                          f"faces or remove this one")
    notes = []
    if len(sizes) > 1:
        ends = [f"{width} x {height}" for width, height in (min(sizes), max(sizes))]
        notes.append(f"images of {len(sizes)} sizes, {ends[0]} to {ends[1]}, are framed by {crop}: "
                     f"look at report/faces.png")
    if crop == "none" and any(width != height for width, height in sizes):
        notes.append("images that are not square are squeezed; --crop square cuts them instead")
    first, same = {}, []
    for name, image in zip(faces.names, faces.images):
        if first.setdefault(image.tobytes(), name) != name:
            same.append(f"{name} as {first[image.tobytes()]}")
    if same:
        notes.append(f"the same pixels, A LEAK if on two sides of a split: {listed(same, 3)}")
    if subjects[""]:
        notes.append("it is not known who is who: the same people may be on both sides of a split")
    else:
        shown = set(zip(faces.subjects, faces.emotions))
        missing = [f"{subject} {emotion}" for subject in subjects for emotion in by_emotion
                   if (subject, emotion) not in shown]
        if missing:
            notes.append(f"no face of this person with this emotion: {listed(missing, 8)}")
    both = {subject for subject in subjects
            if subject and len(set(splits[faces.subjects == subject])) > 1}
    if both:
        notes.append(f"on both sides of the data's own split: {listed(sorted(both), 3)}")
    return notes
