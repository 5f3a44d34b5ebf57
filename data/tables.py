"""Tables of faces: manifests that list files, and CSVs that hold the pixels themselves."""

import csv
import functools
import io
import itertools
import math
import re
from pathlib import PurePosixPath

import utils
from data import labelfiles
from data.emotions import meaning
from data.files import Entry
from utils import Problem, listed

import numpy as np
from PIL import Image

SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val",
          "validation": "val", "dev": "val", "eval": "val", "evaluation": "val",
          "publictest": "val", "test": "test", "testing": "test",
          "privatetest": "test"}  # the words for the sides of a split
FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral",
           "contempt")  # its labels 0 to 6; 7 in the CSV of CK+ that has its form
# What columns are called, without case and signs; of several the first one is read. muxspace's
# user.id is who gave the label, not who is shown: it is none of the subjects.
COLUMNS = {
    "file": ("file", "filename", "filenames", "filepath", "image", "imagefile", "imagename",
             "imagepath", "img", "imgname", "imgpath", "path", "pth", "subdirectoryfilepath"),
    "emotion": ("emotion", "expression", "label", "class", "emotionlabel", "choice", "labels"),
    "subject": ("subject", "subjectid", "person", "personid", "participant", "participantid",
                "actor", "actorid", "identity", "id"),
    "split": ("split", "usage", "partition", "subset"),
    "pixels": ("pixels",),
    "x": ("x", "facex"), "y": ("y", "facey"), "side": ("side", "width", "w", "facewidth"),
    "height": ("height", "h", "faceheight")}
CORNERS = ("x1", "y1", "x2", "y2", "xmin", "ymin", "xmax", "ymax", "left", "top", "right",
           "bottom", "bbox", "box")
FORMS = "the columns file,emotion[,subject,split,x,y,side] or emotion,pixels[,Usage]"
MIN_SIDE = 8  # pixels of a face that is one
MAX_LINE = 2**22  # characters; the pixels of 512 x 512 are a million
MAX_FACES = 2_000_000

csv.field_size_limit(MAX_LINE)


def read_table(file, find, fer2013=None):
    """The faces of a table.

    Parameters
    ----------
    file : File
    find : function that gives the `File` whose path a cell has, or None
    fer2013 : the `File` with the pixels for FERPlus' table, which has votes alone

    Returns
    -------
    list of Entry, notes
    """
    known = {}
    with utils.reading(file.place, "save it as CSV in UTF-8"), file.open() as stream:
        columns, rows = opened(stream, file.place)
        if labelfiles.is_ferplus(columns):
            if fer2013 is None:
                raise Problem(f"{file.place}: has FERPlus' votes and no pixels; put fer2013.csv "
                              f"beside it")
            pixels, _ = read_table(fer2013, find)
            entries, notes = labelfiles.ferplus(columns, rows, pixels, file.place)
        else:
            known, notes = known_columns(columns, file.place)
            if "emotion" in known and "pixels" in known:
                entries, more = pixel_entries(known, rows)
                notes += more
            elif "emotion" in known and "file" in known:
                entries = manifest_entries(known, rows, find)
            elif "file" in known and has_column_each(columns):
                known["emotion"] = len(columns)
                entries = manifest_entries(known, from_column_each(columns, rows), find)
            else:
                raise Problem(f"{file.place}: lacks file,emotion or emotion,pixels in its first "
                              f"line; it needs {FORMS}")
    ids = {entry.subject for entry in entries}
    if known.get("subject") == columns.get("id", -1) and len(ids) == len(entries):
        entries = [entry._replace(subject="") for entry in entries]  # it counts the lines
    if "user.id" in columns:
        entries, more = labelfiles.annotators_agreed(entries)
        notes += more
    if "subdirectory_filepath" in columns:
        entries, more = labelfiles.affectnet(entries)
        notes += more
    if not entries:
        raise Problem(f"{file.place}: holds no face with an emotion; it needs a line for each "
                      f"below the first")
    sides = ["" if entry.name.startswith("/") else side_in(entry.name) for entry in entries]
    if all(sides) and not any(entry.split for entry in entries):
        entries = [entry._replace(split=side) for entry, side in zip(entries, sides)]
    return entries, notes


def opened(stream, place):
    """({column: its number}, rows) of a table with commas, semicolons or tabs; rows yields (number,
    place, cells)."""
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    lines = iter(functools.partial(text.readline, MAX_LINE), "")
    head = next(lines, "")
    # Blank lines, comments and Excel's "sep=;" above the first line.
    while head and (not head.strip(",;\t\r\n ") or head.startswith("sep=")
                    or head.startswith("#") and not any(map(head.count, ",;\t"))):
        head = next(lines, "")
    reader = csv.reader(itertools.chain([head], lines), strict=True, skipinitialspace=True,
                        delimiter=max(",;\t", key=head.count))
    columns = {}
    for number, cell in enumerate(next(reader, [])):
        name = cell.strip().lower()
        if name and name in columns:
            raise Problem(f"{place}: two columns are called {name}; rename or remove one")
        columns[name or number] = number

    def rows():
        for number, cells in enumerate(filter(any, reader), 1):
            row_place = f"{place}, face {number}"
            if number > MAX_FACES:
                raise Problem(f"{row_place}: more than {MAX_FACES} faces; divide the table")
            if len(cells) != len(columns):
                raise Problem(f"{row_place}: {len(cells)} cells, the first line has "
                              f"{len(columns)}; put a text with a comma into double quotes")
            yield number, row_place, [cell.strip() for cell in cells]

    return columns, rows()


def known_columns(columns, place):
    """({name in COLUMNS: number of the column}, notes)."""
    plain = {re.sub("[^a-z0-9]", "", str(column)): column for column in columns}
    known, notes = {}, []
    for name, aliases in COLUMNS.items():
        there = [plain[alias] for alias in aliases if alias in plain]
        if there:
            known[name] = columns[there[0]]
        if len(there) > 1 and name in ("emotion", "subject"):
            notes.append(f"{place}: of the columns {listed(there, 4)} only {there[0]} is read")
    corners = [plain[name] for name in CORNERS if name in plain]
    if corners:
        notes.append(f"{place}: the columns {listed(corners, 4)} are not read; a box is read from "
                     f"x, y and side, or x, y, width and height")
    if "x" in known or "y" in known:
        if not {"x", "y", "side"} <= known.keys():
            raise Problem(f"{place}: a box needs the columns x, y and side (or width and height); "
                          f"add what is missing, or rename what is no box")
    else:  # the size of the image
        known.pop("side", None)
    return known, notes


def tells_faces(file):
    """Whether a file is a table that `read_table` knows by its columns."""
    try:
        with file.open() as stream:
            columns, _ = opened(stream, file.place)
            known, _ = known_columns(columns, file.place)
    except (Problem, UnicodeError, csv.Error, OSError):
        return False
    return labelfiles.is_ferplus(columns) or \
        "emotion" in known and ("file" in known or "pixels" in known) or \
        "file" in known and has_column_each(columns)


def has_column_each(columns):
    """Whether there is a column for each emotion, with 0 or 1, as Roboflow exports classes."""
    return sum(bool(meaning(str(column))) for column in columns) > 1


def from_column_each(columns, rows):
    """The rows of such a table with the emotion as a last cell, "" where it is not one alone."""
    emotions = {column: number for column, number in columns.items() if meaning(str(column))}
    for number, place, cells in rows:
        ones = [column for column, at in emotions.items()
                if cells[at].lower() in ("1", "1.0", "true")]
        yield number, place, [*cells, ones[0] if len(ones) == 1 else ""]


@functools.cache
def side_of(folder):
    """The side of a split that a folder's name tells, such as train_set or FER2013Test, or ""."""
    letters = re.sub(r"[\W_]", "", folder.lower())
    name = re.fullmatch(r"(?:fer)?(?:2013)?(\w+?)(?:set|data|images|faces|labels)?", letters)
    return SPLITS.get(name[1], "") if name else ""


def side_in(path):
    """The side that the last such folder of a path tells, or ""."""
    sides = list(filter(None, map(side_of, PurePosixPath(path).parts[:-1])))
    return sides[-1] if sides else ""


def cell_of(cells, known, name):
    return cells[known[name]] if name in known else ""


def split_in(cell, place):
    if cell and cell.lower() not in SPLITS:
        raise Problem(f"{place}: split {cell} is none of {', '.join(SPLITS)}; rename the column "
                      f"if it is something else")
    return SPLITS.get(cell.lower(), "")


def emotion_in(cell, place):
    """The label of a cell; pandas writes whole numbers as 1.0."""
    if not cell:
        raise Problem(f"{place}: has no emotion; correct or remove the line")
    return re.sub(r"^(-?\d+)\.0*$", r"\1", cell)


def manifest_entries(known, rows, find):
    """The entries of a table that lists files. Raises `Problem` for those that are missing."""
    entries, missing = [], []
    for _, place, cells in rows:
        emotion = emotion_in(cells[known["emotion"]], place)
        split = split_in(cell_of(cells, known, "split"), place)
        text = cells[known["file"]]
        file = find(text) if text else None
        if file is None:
            missing.append(f"{place}: no file {text}")
            continue
        entries.append(Entry(file.name, cell_of(cells, known, "subject"), emotion, split,
                             box_in(cells, known, place), file.read, place))
    if missing:
        raise Problem(f"{listed(missing, 20)}; files are sought beside the table, in images/ and "
                      f"in the folder above; or give --data the folder that holds table and images")
    return entries


def box_in(cells, known, place):
    """(x, y, side) of a line, of the square around a box that is none; () if there are no boxes."""
    if "side" not in known:
        return ()
    texts = [cells[known[name]] for name in ("x", "y", "side", "height") if name in known]
    if not all(re.fullmatch(r"-?\d{1,5}(\.\d*)?", text, re.ASCII) for text in texts):
        raise Problem(f"{place}: x, y, side are {', '.join(texts)}, not pixels; correct or remove "
                      f"the line")
    x, y, width, height = [*map(float, texts), float(texts[2])][:4]
    side = max(width, height)
    return x - (side - width) / 2, y - (side - height) / 2, side


def pixel_entries(known, rows):
    """(entries, notes) of a table that holds the pixels, as FER2013's does."""
    entries, needed, notes = [], 0, []
    for number, place, cells in rows:
        emotion = emotion_in(cells[known["emotion"]], place)
        if re.fullmatch(r"-?\d+", emotion, re.ASCII):
            if not re.fullmatch("0*[0-7]", emotion):
                raise Problem(f"{place}: emotion {emotion} is none of 0 to 7; correct or remove "
                              f"the line")
            emotion = emotion[-1]
        greys = pixels_in(cells[known["pixels"]], needed, place)
        needed = len(greys)
        split = split_in(cell_of(cells, known, "split"), place)
        entries.append(Entry(f"{number:06d}", cell_of(cells, known, "subject"), emotion, split, (),
                             functools.partial(Image.fromarray, greys), place))
    numbers = {entry.emotion for entry in entries if entry.emotion.isdecimal()}
    counted = {str(number) for number in range(1, len(numbers) + 1)}
    # Where no column says that they are FER2013's, those with a 7 and no 0, or counted from 1, are
    # RAF-DB's or somebody's own.
    if "0" in numbers or "split" in known or ("7" not in numbers and numbers != counted):
        entries = [entry._replace(emotion=FER2013[int(entry.emotion)])
                   if entry.emotion.isdecimal() else entry for entry in entries]
        if numbers:
            notes.append("emotions are FER2013's numbers: " + ", ".join(
                f"{number} {FER2013[int(number)]}" for number in sorted(numbers)))
    return entries, notes


def pixels_in(cell, needed, place):
    """uint8 (side, side) of a cell; needed: the side of those before, or 0."""
    texts = cell.split()
    side = math.isqrt(len(texts))
    if side * side != len(texts) or side < MIN_SIDE or (needed and side != needed):
        size = f"{side} x {side}" if side * side == len(texts) else f"{len(texts)}"
        needed = needed or 48
        raise Problem(f"{place}: {size} pixels, {needed} x {needed} are needed; correct or remove "
                      f"the line")
    try:
        return np.frombuffer(bytes(map(int, texts)), np.uint8).reshape(side, side)
    except ValueError:
        raise Problem(f"{place}: pixels are not whole numbers from 0 to 255; correct or remove the "
                      f"line") from None
