"""From files to arrays: layouts, framing, registration.

`load_faces` tells in what layout the faces lie, cuts each to its box and scales it to 48 x 48.
`register` finds how to shift, turn and scale faces onto their own mean, `moved` does it.
"""

import collections
import csv
import functools
import hashlib
import io
import itertools
import math
import os
import re
import warnings
import zipfile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

import utils
from data import standin
from utils import Problem, listed, shown

SIDE = 48  # pixels; the paper's face size
EMOTION_NAMES = {"AN": "anger", "DI": "disgust", "FE": "fear", "HA": "happiness", "NE": "neutral",
                 "SA": "sadness", "SU": "surprise"}
JAFFE_EMOTIONS = {"AN": 30, "DI": 29, "FE": 32, "HA": 31, "NE": 30, "SA": 31, "SU": 30}
JAFFE_PEOPLE = {"KA": 23, "KL": 22, "KM": 22, "KR": 20, "MK": 21, "NA": 21, "NM": 20, "TM": 21,
                "UY": 21, "YM": 22}
JAFFE_BOX = "50,65,161"  # x, y, side in pixels: where the paper's Haar cascade finds JAFFE's faces
JAFFE_MD5 = "fe13f3302eb9968ef04367456f665436"
JAFFE_NAME = re.compile(r"([\w-]+)\.(AN|DI|FE|HA|NE|SA|SU)\d+(?:\.\d+)?\.\w+", re.IGNORECASE)
FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # its labels 0 to 6
PARTS = {"train": "train", "training": "train", "val": "train", "valid": "train",
         "validation": "train", "publictest": "train", "test": "test", "testing": "test",
         "privatetest": "test"}  # the words for the two parts of a split
FORMATS = ("TIFF", "PNG", "JPEG", "BMP", "WEBP", "PPM", "GIF")  # which Pillow reads by itself
SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".gif"}
MAX_BYTES = 64 * 2**20  # of one image
LAYOUTS = "give --data a folder or zip with JAFFE's names (KA.AN1.39.tiff), EMOTION/file, or " \
    "train/EMOTION/file and test/EMOTION/file, or a CSV with the columns " \
    "file,emotion[,subject,split,x,y,side] or emotion,pixels,Usage"


class Picture(NamedTuple):
    """A face with what is around it: grey, uint8 (s, s), in its middle the box of `side` pixels."""

    grey: np.ndarray
    side: float


class Faces(NamedTuple):
    """n faces in the order of their names."""

    names: np.ndarray  # str (n,)
    subjects: np.ndarray  # str (n,), "" where it is not known who is who
    emotions: np.ndarray  # str (n,)
    parts: np.ndarray  # str (n,): "train", "test", or "" where the data brings no split
    images: np.ndarray  # uint8 (n, 48, 48)
    pictures: np.ndarray  # n `Picture`s, for registration

    def take(self, rows):
        """The faces at `rows`, as a copy that holds no others."""
        return Faces(*(array[rows] for array in self))


class DataSet(NamedTuple):
    faces: Faces
    name: str  # "JAFFE", "standin" or the name of its folder or file
    crop: str
    notes: list  # what is odd about the faces, fit to be printed


class Entry(NamedTuple):
    """A face before it is read: `read` gives bytes, or an image; `place` names it to the user."""

    name: str
    subject: str
    emotion: str
    part: str
    box: tuple  # (x, y, side) if a manifest has it
    read: callable
    place: str


def as_input(images):
    """float32 (n, 48, 48, 1) in [0, 1], as the networks take them, of uint8 (n, 48, 48)."""
    return (images / np.float32(255))[..., None]


# --------------------------------------------------------------------------------------- loading
def default_data():
    """JAFFE where data/README.md says to put it, else the drawn stand-in."""
    places = [utils.ROOT / "data" / name for name in ("jaffe", "jaffe.zip", "standin")]
    return next((place for place in places if place.exists()), places[-1])


def load_faces(path, crop="", subject=""):
    """Read all faces at `path` as a `DataSet`, in the order of their file names.

    crop: "X,Y,SIDE" in pixels, "square" (the largest centred one), "none" (the whole image) or "":
    a manifest's own boxes, JAFFE's for JAFFE and the stand-in, else "square". subject: a regular
    expression that finds the person in a file's name or else in its path. Raises `Problem` for what
    cannot be read.
    """
    path = Path(path)
    entries, skipped = read_layout(path)
    if subject:
        entries = [entry._replace(subject=person_in(entry, subject)) for entry in entries]
    # By file name first: the published split depends on it, and layouts differ in folders only.
    entries.sort(key=lambda entry: (PurePosixPath(entry.name).name, entry.name))
    for entry, other in itertools.pairwise(entries):
        if entry.name == other.name:
            raise Problem(f"{shown(other.place)}: {shown(entry.name)} a second time; remove one")
    names, subjects, emotions, parts = (np.array(texts) for texts in list(zip(*entries))[:4])
    emotions = np.array([emotion.upper() if emotion.upper() in EMOTION_NAMES else emotion
                         for emotion in emotions.tolist()])  # JAFFE's codes in capitals
    jaffe = is_jaffe(subjects, emotions)
    crop = crop or ("manifest" if entries[0].box else JAFFE_BOX if jaffe else "square")
    images, pictures, sizes, drawn = [], [], collections.Counter(), 0
    for entry in entries:
        grey, is_drawn = decode(entry)
        sizes[grey.size] += 1
        drawn += is_drawn
        for found, many in zip(framed(entry, grey, crop), (images, pictures)):
            many.append(found)
    faces = Faces(names, subjects, emotions, parts, np.stack(images), np.fromiter(pictures, object))
    notes = [f"{skipped} files that are no images were skipped"] if skipped else []
    notes += oddities(faces, sizes, crop)
    if jaffe and not drawn:
        notes += [f"THIS IS NOT THE WHOLE OF JAFFE: {found[key]} faces of {key}, it has {count}"
                  for counts, texts in ((JAFFE_EMOTIONS, emotions), (JAFFE_PEOPLE, subjects))
                  for found in [collections.Counter(texts.tolist())]
                  for key, count in counts.items() if found[key] != count]
        if path.is_file() and path.suffix.lower() == ".zip" and \
                hashlib.md5(path.read_bytes()).hexdigest() != JAFFE_MD5:
            notes.append(f"{shown(path.name)} is not the official jaffe.zip, of MD5 {JAFFE_MD5}")
    stem = re.sub(r"[^\w-]+", "-", path.resolve().stem) or "faces"
    if stem.lower() in ("jaffe", "standin"):  # a folder's name makes no JAFFE
        stem += "-faces"
    return DataSet(faces, "standin" if drawn else "JAFFE" if jaffe else stem, crop, notes)


def is_jaffe(subjects, emotions):
    """Whether these are JAFFE's faces, though some may be missing."""
    people, shown_emotions = (collections.Counter(texts.tolist()) for texts in (subjects, emotions))
    return len(subjects) > 0.8 * sum(JAFFE_PEOPLE.values()) and \
        people <= collections.Counter(JAFFE_PEOPLE) and \
        shown_emotions <= collections.Counter(JAFFE_EMOTIONS)


def person_in(entry, pattern):
    """What the pattern's first group that is not empty finds or, without groups, all it finds."""
    found = re.search(pattern, PurePosixPath(entry.name).name) or re.search(pattern, entry.name)
    person = found and next(filter(None, found.groups() if found.re.groups else [found[0]]), "")
    if not person:
        raise Problem(f"{shown(entry.place)}: --subject {shown(pattern)} does not match this name; "
                      f"correct the pattern, or list the faces in a CSV")
    return person


def read_layout(path):
    """(entries, number of files that are no images) of whatever layout `path` has."""
    if path.is_dir():
        files = [(file.relative_to(path).as_posix(), functools.partial(read_file, file), str(file))
                 for file in sorted(path.rglob("*")) if not file.is_dir()]
    elif not path.is_file():
        raise Problem(f"{shown(path)}: no such file or folder; {LAYOUTS}")
    elif path.suffix.lower() == ".csv":
        return csv_entries(path), 0
    elif path.suffix.lower() == ".zip":
        files = zip_files(path)
    else:
        raise Problem(f"{shown(path)}: no layout of faces; {LAYOUTS}")
    images = [file for file in files if PurePosixPath(file[0]).suffix.lower() in SUFFIXES
              and not PurePosixPath(file[0]).name.startswith(".")]
    if not images:
        raise Problem(f"{shown(path)}: holds no image; {LAYOUTS}")
    return file_entries(images), len(files) - len(images)


def file_entries(images):
    """Entries of (name, read, place) by JAFFE's names or by folders."""
    matches = [JAFFE_NAME.fullmatch(PurePosixPath(name).name) for name, *_ in images]
    if all(matches):
        return [Entry(match[0], match[1], match[2].upper(), "", (), read, place)
                for match, (_, read, place) in zip(matches, images)]
    entries, seen = [], {}
    for name, read, place in images:
        *folders, _ = PurePosixPath(name).parts
        if not folders:
            odd = next(file[2] for file, match in zip(images, matches) if not match)
            raise Problem(f"{shown(odd)}: a name that tells no emotion, or a second layout in one "
                          f"folder; {LAYOUTS}")
        part = PARTS.get(folders[-2].lower(), "") if len(folders) > 1 else ""
        seen.setdefault(bool(part), place)
        entries.append(Entry(name, "", folders[-1], part, (), read, place))
    if len(seen) > 1:
        raise Problem(f"{shown(seen[False])}: two layouts in one folder: this file lies in neither "
                      f"train/ nor test/, others do; {LAYOUTS}")
    return entries


def read_file(file):
    if not file.is_file():
        raise Problem(f"{shown(file)}: no file that can be read (a dangling link?); remove it")
    if file.stat().st_size > MAX_BYTES:
        raise Problem(f"{shown(file)}: over {MAX_BYTES >> 20} MiB, which no face is; remove it")
    return file.read_bytes()


def zip_files(path):
    """A folder's listing from an archive that is never unpacked: a member's path has no effect."""
    remedy = "download it again, or unpack it and give --data the folder"
    with utils.reading(path, remedy):
        archive = zipfile.ZipFile(path)
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > 100_000:
        raise Problem(f"{shown(path)}: {len(members)} files inside, more than 100000; unpack it")

    def read(member):
        if member.file_size > MAX_BYTES:
            raise Problem(f"{shown(path)}: {shown(member.filename)} is over {MAX_BYTES >> 20} MiB, "
                          f"which no face is")
        with utils.reading(f"{path}: {member.filename}", remedy):
            return archive.read(member)

    return [(member.filename, functools.partial(read, member), f"{path}: {member.filename}")
            for member in members]


def csv_entries(path):
    """Entries of a manifest or of FER2013's CSV, told apart by their columns."""
    entries = []
    with utils.reading(path, "save it as CSV in UTF-8"), \
            open(path, encoding="utf-8-sig", newline="") as stream:
        head = stream.readline()
        delimiter = ";" if head.count(";") > head.count(",") else ","
        reader = csv.reader(itertools.chain([head], stream), strict=True, delimiter=delimiter)
        columns = [column.strip().lower() for column in next(reader, [])]
        if "emotion" not in columns or not {"file", "pixels"} & set(columns):
            raise Problem(f"{shown(path)}: lacks file,emotion or emotion,pixels in its first line; "
                          f"{LAYOUTS}")
        for number, cells in enumerate(filter(any, reader), 1):
            place = f"{path}, face {number}"
            if len(cells) != len(columns):
                raise Problem(f"{shown(place)}: {len(cells)} cells, the first line has "
                              f"{len(columns)}; put a text with a comma into double quotes")
            row = collections.defaultdict(str, zip(columns, map(str.strip, cells)))
            part = row["usage"] or row["split"]
            if part and part.lower() not in PARTS:
                raise Problem(f"{shown(place)}: split {shown(part)} is none of {', '.join(PARTS)}")
            make = pixel_entry if "pixels" in row else manifest_entry
            entry = make(row, number, path, place)
            entries.append(entry._replace(part=PARTS.get(part.lower(), "")))
    if not entries:
        raise Problem(f"{shown(path)}: holds no face; it needs a line for each below the first")
    return entries


def pixel_entry(row, number, path, place):
    """A row of FER2013's CSV: a digit and 48 * 48 greys."""
    if not re.fullmatch("[0-6]", row["emotion"]):
        raise Problem(f"{shown(place)}: emotion {shown(row['emotion'])} is none of 0 to 6")
    try:
        greys = np.frombuffer(bytes(map(int, row["pixels"].split())), np.uint8).reshape(SIDE, SIDE)
    except ValueError:
        raise Problem(f"{shown(place)}: pixels are not {SIDE * SIDE} whole numbers from 0 to 255; "
                      f"correct or remove the line") from None
    return Entry(f"{number:06d}", "", FER2013[int(row["emotion"])], "", (),
                 lambda: Image.fromarray(greys), place)


def manifest_entry(row, number, path, place):
    file, box = path.parent / row["file"], ()
    if not row["file"] or not row["file"].isprintable() or not file.is_file():
        raise Problem(f"{shown(place)}: no file {shown(file)}; files are sought beside the CSV")
    if not row["emotion"]:
        raise Problem(f"{shown(place)}: has no emotion; correct or remove the line")
    if {"x", "y", "side"} <= row.keys():
        box = row["x"], row["y"], row["side"]
        if not all(re.fullmatch(r"\d{1,5}", number, re.ASCII) for number in box):
            raise Problem(f"{shown(place)}: x, y, side are {shown(', '.join(box))}, not pixels")
    return Entry(os.path.normpath(row["file"]), row["subject"], row["emotion"], "",
                 tuple(map(int, box)), functools.partial(read_file, file), place)


# --------------------------------------------------------------------------------------- framing
def decode(entry):
    """(Pillow image of mode L, upright; whether it is a drawn stand-in)."""
    found = entry.read()
    if isinstance(found, Image.Image):
        return found, False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old TIFFs have odd metadata around sound pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(found), formats=FORMATS)
            opened.load()
            frames = getattr(opened, "n_frames", 1) if opened.format != "JPEG" else 1
            drawn = opened.format == "TIFF" and opened.tag_v2.get(270) == standin.DESCRIPTION
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I;16"):  # 65535 is white
                image = Image.fromarray((np.asarray(image) / 257 + 0.5).astype(np.uint8))
            if image.mode not in ("I", "F"):
                image = image.convert("L")  # through the palette where there is one
    except Exception as error:  # a damaged image fails in as many ways as there are decoders
        raise Problem(f"{shown(entry.place)}: cannot be read as an image ({shown(error)}); replace "
                      f"or remove the file") from error
    if frames != 1 or image.mode != "L":
        odd = f"holds {frames} pictures" if frames != 1 else f"mode {image.mode} has no fixed white"
        raise Problem(f"{shown(entry.place)}: {odd}; save one picture as 8-bit grey")
    return image, drawn


MARGIN = 0.3  # of a box's side, around it: what registration may look at


def framed(entry, grey, crop):
    """(uint8 (48, 48) under the box, `Picture`) of one image.

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
            raise Problem(f"{shown(entry.place)}: {width} x {height} pixels, too small for the box "
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
    return np.asarray(image), Picture(around, side)


def oddities(faces, sizes, crop):
    """What a reader of the results has to know. Raises `Problem` if there is nothing to compare."""
    emotions = collections.Counter(faces.emotions.tolist())
    people = collections.Counter(faces.subjects.tolist())
    if len(emotions) < 2:
        raise Problem(f"all faces show {shown(*emotions)}; a classifier needs at least two "
                      f"emotions")
    for name, emotion in zip(faces.names, faces.emotions):
        if emotions[emotion] == 1:
            raise Problem(f"{shown(name)}: the only face of emotion {shown(emotion)}; correct the "
                          f"label, add faces or remove this one")
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
            same.append(f"{shown(name)} as {shown(first[image.tobytes()])}")
    if same:
        notes.append(f"the same pixels, A LEAK if on two sides of a split: {listed(same, 3)}")
    if people[""]:
        notes.append("it is not known who is who: the same people may be on both sides of a split")
    else:
        posed = set(zip(faces.subjects, faces.emotions))
        missing = [f"{shown(who)} {shown(what)}" for who in people for what in emotions
                   if (who, what) not in posed]
        if missing:
            notes.append(f"no face of this person with this emotion: {listed(missing, 8)}")
    both = {who for who in people if who and len(set(faces.parts[faces.subjects == who])) > 1}
    if both:
        both = listed(map(shown, sorted(both)), 3)
        notes.append(f"on both sides of the data's own split: {both}")
    return notes


def fingerprint(faces):
    """16 hexadecimal digits that change with any name, label or pixel under the box."""
    return utils.digest(faces.images, *("\0".join(texts) for texts in faces[:4]))


# ---------------------------------------------------------------------------------- registration
# Lengths are in pixels of JAFFE's 256, of which a box has 161, whatever the image's own size.
BOX_SIDE = 161
PATCH = 128  # the side of the small pictures that are compared
PITCH = PATCH / (1 + 2 * MARGIN)  # how much of it the box takes
SCALES = np.array([8, 8, 0.08, 0.08])  # units of shift x and y in pixels, angle in rad, log zoom
PENALTY = 0.1  # of a unit, beside faces of norm 1
LIMITS = np.array([12, 12, 0.2, math.log(1.25)])  # beyond these a registration is not believed
BLUR = 2.2  # pixels, standard deviation
GRID = np.mgrid[:SIDE, :SIDE].reshape(2, -1) + 0.5 - SIDE / 2  # rows, columns from the middle
WINDOW = np.exp(-((GRID / 20) ** 4).sum(0))  # fades hair and background


def patches(pictures):
    """uint8 (n, 128, 128): the pictures made small, the box in the middle."""
    small = []
    for grey, side in pictures:
        edge, half = len(grey) / 2, side * (0.5 + MARGIN)
        small.append(np.asarray(Image.fromarray(grey).resize(
            (PATCH, PATCH), Image.Resampling.BILINEAR, (edge - half,) * 2 + (edge + half,) * 2)))
    return np.stack(small)


def blurred(patch):
    from scipy import ndimage

    return ndimage.gaussian_filter(patch.astype(np.float32), BLUR * PITCH / BOX_SIDE)


def values_at(units, *arrays):
    """What 48 x 48 pixels see of each array (128, 128) under a movement, (2304,) each, and where
    they lie: rows and columns from the middle, before the shift."""
    from scipy import ndimage

    x, y, angle, zoom = units * SCALES
    turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    turned = np.exp(zoom) * np.array(turn) @ GRID * PITCH / SIDE
    places = turned + np.array([[y], [x]]) * PITCH / BOX_SIDE + (PATCH - 1) / 2
    seen = [ndimage.map_coordinates(array, places, order=1, mode="nearest") for array in arrays]
    return *seen, turned


def normed(values):
    """(values with mean 0 and norm 1, their norm before)."""
    centred = values - values.mean()
    norm = np.linalg.norm(centred) + 1e-9
    return centred / norm, norm


def movement(grey, target, accuracy=1e-3):
    """float64 (4,): the shift x and y, angle and log zoom that bring a blurred patch onto `target`.

    target: (2304,), `normed`; accuracy: when to stop, in SCALES. The four are zero where the best
    ones lie outside LIMITS.
    """
    from scipy.optimize import least_squares

    down, right = np.gradient(grey)

    def residuals(units):
        values, _ = values_at(units, grey)
        return np.concatenate([WINDOW * (normed(values)[0] - target), PENALTY * units])

    def jacobian(units):
        values, by_row, by_column, (rows, columns) = values_at(units, grey, down, right)
        face, norm = normed(values)
        changes = np.stack([by_column * PITCH / BOX_SIDE, by_row * PITCH / BOX_SIDE,
                            by_row * columns - by_column * rows,
                            by_row * rows + by_column * columns])
        changes -= changes.mean(1, keepdims=True)
        changes = (changes - np.outer(changes @ face, face)) / norm  # what `normed` makes of them
        return np.concatenate([(changes * SCALES[:, None] * WINDOW).T, PENALTY * np.eye(4)])

    found = least_squares(residuals, np.zeros(4), jacobian, method="lm", xtol=accuracy,
                          ftol=accuracy / 10, max_nfev=50).x * SCALES
    return found if (np.abs(found) <= LIMITS).all() else np.zeros(4)


def mean_face(pictures):
    """float32 (2304,): what faces are registered to, of theirs.

    First the mean of the faces under their boxes, then that of the faces moved onto the first.
    """
    greys = [blurred(patch) for patch in patches(pictures)]
    where = np.zeros((len(greys), 4))
    for rough in (True, False):
        each = [normed(values_at(units, grey)[0])[0] for units, grey in zip(where, greys)]
        mean, _ = normed(np.mean(each, axis=0))
        if rough:
            where = [movement(grey, mean, accuracy=1e-2) / SCALES for grey in greys]
    return mean.astype(np.float32)


def register(pictures, mean):
    """movements float64 (n, 4) of faces onto a `mean_face`."""
    return np.stack([movement(blurred(patch), mean) for patch in patches(pictures)])


def moved(picture, found):
    """uint8 (48, 48): the face of a `Picture` under a movement, resampled once, antialiased."""
    x, y, angle, zoom = found
    grey, side = picture
    fine = SIDE * max(1, round(side / SIDE))  # samples, which the scaling to 48 then averages
    step = side / fine * np.exp(zoom)
    a, b = step * np.cos(angle), step * np.sin(angle)
    half, middle, pixel = fine / 2, len(grey) / 2, side / BOX_SIDE
    matrix = (a, -b, middle + x * pixel - (a - b) * half, b, a, middle + y * pixel - (a + b) * half)
    large = Image.fromarray(grey).transform((fine, fine), Image.Transform.AFFINE, matrix,
                                            Image.Resampling.BICUBIC)
    return np.asarray(large.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
