"""Any table of faces: CSVs that list files, and CSVs that hold the pixels themselves."""

import collections
import contextlib
import csv
import functools
import io
import itertools
import math
import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

import utils
from data.reading.files import Entry, encodable, file_at
from data.reading.words import IMAGE_SUFFIXES, SIDES, base, meaning, split_in
from utils import Problem, listed

SUFFIXES = {".csv", ".tsv", ".tab", ".txt"}
# What columns are called, without case and signs; of several the first one is read.
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
FORMS = "the columns file,emotion[,subject,split,x,y,side] or emotion,pixels[,Usage]"
FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False, "": False}
MIN_SIDE = 8  # pixels of a face that is one
MAX_LINE = 2**22  # characters; the pixels of 512 x 512 are a million
MAX_FACES = 2_000_000

csv.field_size_limit(MAX_LINE)


class Table(NamedTuple):
    """A table whose first line has been read."""

    place: str  # names it to the user
    columns: dict  # {name without case: number}
    known: dict  # {kind of COLUMNS: number}; of "emotion" None where each has its own column
    rows: Iterator  # of (number, place, cells)
    find: Callable  # gives the `File` whose path a cell has, or None


# --------------------------------------------------------------------------------- opening a table
@contextlib.contextmanager
def opened(file, find=None):
    """The `Table` in a file with commas, semicolons or tabs."""
    with utils.reading(file.place, "save it as CSV in UTF-8"), file.open() as stream:
        text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
        lines = iter(functools.partial(text.readline, MAX_LINE), "")
        head = next(lines, "")
        # Blank lines, comments and Excel's "sep=;" above the first line.
        while head and (not head.strip(",;\t\r\n ") or head.startswith("sep=")
                        or head.startswith("#") and not any(map(head.count, ",;\t"))):
            head = next(lines, "")
        reader = csv.reader(itertools.chain([head], lines), strict=True, skipinitialspace=True,
                            delimiter=max(",;\t", key=head.count))
        names = [cell.strip().lower() for cell in next(reader, [])]
        columns = {name: number for number, name in enumerate(names) if name}
        twice = [name for name, count in collections.Counter(names).items() if name and count > 1]
        if any(map(is_data, names)) and not known_columns(columns):
            raise Problem(f"{file.place}: its first line is no header but data ({names[0]}); put "
                          f"a line with the names of the columns above it: {FORMS}")
        if twice:
            raise Problem(f"{file.place}: two columns are called {twice[0]}; rename or remove one")
        yield Table(file.place, columns, known_columns(columns),
                    rows_of(reader, len(names), file.place), find)


def is_data(name):
    """Whether what should be a column's name is a cell: a number, pixels, a file of an image."""
    return bool(re.fullmatch(r"[-\d.,() ]*\d[-\d.,() ]*", name)) or \
        posixpath.splitext(name)[1] in IMAGE_SUFFIXES


def rows_of(reader, width, place):
    for number, cells in enumerate(filter(any, reader), 1):
        row_place = f"{place}, face {number}"
        if number > MAX_FACES:
            raise Problem(f"{row_place}: more than {MAX_FACES} faces; divide the table")
        if len(cells) != width:
            raise Problem(f"{row_place}: {len(cells)} cells, the first line has {width}; put a "
                          f"text with a comma into double quotes")
        yield number, row_place, [cell.strip() for cell in cells]


def names_of(columns, kind):
    """The columns of this kind, in the order of COLUMNS."""
    plain = {re.sub("[^a-z0-9]", "", name): name for name in columns}
    return [plain[alias] for alias in COLUMNS[kind] if alias in plain]


def known_columns(columns):
    """{kind of COLUMNS: number of the column that is read}."""
    known = {kind: columns[names_of(columns, kind)[0]] for kind in COLUMNS
             if names_of(columns, kind)}
    if "x" not in known and "y" not in known:  # then it is the size of the image
        known.pop("side", None)
        known.pop("height", None)
    if "emotion" not in known and sum(bool(meaning(name)) for name in columns) > 1:
        known["emotion"] = None
    return known


def what_lacks(table):
    """Why a table cannot be read as any other is, or ""."""
    if "emotion" not in table.known or not {"file", "pixels"} & table.known.keys():
        return "lacks file,emotion or emotion,pixels in its first line"
    if {"x", "y"} & table.known.keys() and not {"x", "y", "side"} <= table.known.keys():
        return "has a box without the columns x, y and side (or width and height): add what is " \
            "missing, or rename what is no box"
    sizes = [name for kind in ("x", "y", "side", "height") for name in
             names_of(table.columns, kind)[1:] if kind in table.known]
    if sizes:
        return f"has two columns for one side of a box: rename {listed(sizes, 4)} or the other one"
    return ""


# ------------------------------------------------------------------------------ reading its lines
def read_any(table, labels=None):
    """(entries, notes) of a table with the columns of COLUMNS.

    labels: {code: emotion}, where a data set has codes for emotions; those for "" are left out
    """
    if what_lacks(table):
        raise Problem(f"{table.place}: {what_lacks(table)}; it needs {FORMS}")
    width, entries, missing, left_out = 0, [], [], 0
    sides = {number: [] for number in set(table.columns.values()) - set(table.known.values())}
    for number, place, cells in table.rows:
        emotion = emotion_of(table, place, cells)
        if labels:
            if emotion not in labels:
                raise Problem(f"{place}: emotion {emotion} is none of {', '.join(labels)}; correct "
                              f"or remove the line")
            emotion = labels[emotion]
            if not emotion:
                left_out += 1
                continue
        for column in list(sides):
            sides[column].append(SIDES.get(cells[column].lower(), ""))
            if not sides[column][-1]:
                del sides[column]
        entry = Entry(f"{number:06d}", cell_of(table, cells, "subject"), emotion,
                      split_of_row(table, place, cells), box_of(table, place, cells), None, place)
        if "pixels" in table.known:
            greys = pixels_of(cells[table.known["pixels"]], width, place)
            width = len(greys)
            entries.append(entry._replace(read=functools.partial(Image.fromarray, greys), box=()))
        elif file := table.find(cells[table.known["file"]]):
            entries.append(entry._replace(name=file.name, read=file.read))
        else:
            missing.append((place, cells[table.known["file"]]))
    require_files(table, missing, len(missing) + len(entries))
    if not entries:
        raise Problem(f"{table.place}: holds no face with an emotion; it needs a line for each "
                      f"below the first")
    entries, notes = with_splits(table, entries, sides)
    return entries, notes + [f"{left_out} images without an emotion or a face were left out"] \
        * bool(left_out)


def require_files(table, missing, count):
    """Raise `Problem` if files, [(place of the line, path)], are missing."""
    if missing:
        where = f"{missing[0][0]}: no file {missing[0][1]}" if len(missing) == 1 else \
            f"{table.place}: {len(missing)} of {count} files are not there, such as " + \
            listed([f"{path} (face {place.rpartition(' ')[2]})" for place, path in missing[:3]], 3)
        raise Problem(f"{where}; files were sought beside the table, in images/, and in the folder "
                      f"above and its images/; they may lie anywhere in a folder or zip given with "
                      f"--data")


def with_splits(table, entries, sides):
    """(entries, notes) with splits by another column or by folders, and subjects that are some.

    sides: {column: sides} of the columns whose cells are all sides of a split.
    """
    full = [column for column, texts in sides.items() if "train" in texts]
    split_column = full[0] if len(full) == 1 and "split" not in table.known else None
    notes = column_notes(table, split_column)
    names = {number: name for name, number in table.columns.items()}
    folders = ["" if entry.name.startswith("/") else split_in(entry.name) for entry in entries]
    splits, subjects = [[getattr(entry, field) for entry in entries]
                        for field in ("split", "subject")]
    if split_column is not None:
        splits = sides[split_column]
        notes.append(f"{table.place}: the column {names[split_column]} is the split")
    elif "split" not in table.known and all(folders):
        splits = folders
    if len(set(subjects)) == len(subjects) > 1:  # it counts the lines
        notes.append(f"{table.place}: the column {names[table.known['subject']]} differs on every "
                     f"line and is no subject")
        subjects = [""] * len(subjects)
    return [entry._replace(split=split, subject=subject)
            for entry, split, subject in zip(entries, splits, subjects)], notes


def column_notes(table, split_column):
    """Which columns are not read, but for one that is the split: sentences."""
    notes = []
    for kind in ("file", "emotion", "subject", "split"):
        names = names_of(table.columns, kind)
        if len(names) > 1:
            notes.append(f"{table.place}: of the columns {listed(names, 4)} only {names[0]} is "
                         f"read")
    ignored = [name for name, number in table.columns.items()
               if number not in {*table.known.values(), split_column}
               and not (table.known["emotion"] is None and meaning(name))]
    return notes + [f"{table.place}: columns that are not read: {listed(ignored, 8)}"] \
        * bool(ignored)


def cell_of(table, cells, kind):
    return cells[table.known[kind]] if kind in table.known else ""


def emotion_of(table, place, cells):
    """The label of a line; pandas writes whole numbers as 1.0."""
    if table.known["emotion"] is not None:
        label = re.sub(r"^(-?\d+)\.0*$", r"\1", cells[table.known["emotion"]])
    else:  # 0 or 1 in a column for each emotion, as Roboflow exports classes
        flags = {name: FLAGS.get(cells[number].lower()) for name, number in table.columns.items()
                 if meaning(name)}
        if None in flags.values():
            raise Problem(f"{place}: has other numbers than 0 and 1 in the columns of emotions; "
                          f"put the label of each face into a column emotion")
        marked = [name for name in flags if flags[name]]
        label = marked[0] if len(marked) == 1 else ""
    if not label:
        raise Problem(f"{place}: has no emotion; correct or remove the line")
    return label


def split_of_row(table, place, cells):
    cell = cell_of(table, cells, "split")
    if cell and cell.lower() not in SIDES:
        raise Problem(f"{place}: split {cell} is none of {', '.join(SIDES)}; rename the column if "
                      f"it is something else")
    return SIDES.get(cell.lower(), "")


def box_of(table, place, cells):
    """(x, y, side) of a line, of the square around a box that is none; () if there are no boxes."""
    if "side" not in table.known:
        return ()
    texts = [cell_of(table, cells, kind) for kind in ("x", "y", "side", "height")
             if kind in table.known]
    if not all(re.fullmatch(r"-?\d{1,5}(\.\d*)?", text, re.ASCII) for text in texts):
        raise Problem(f"{place}: x, y, side are {', '.join(texts)}, not pixels; correct or remove "
                      f"the line")
    x, y, width, height = [*map(float, texts), float(texts[2])][:4]
    side = max(width, height)
    return x - (side - width) / 2, y - (side - height) / 2, side


def pixels_of(cell, needed, place):
    """uint8 (side, side) of a cell; needed: how many pixels wide those before are, or 0."""
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


# ------------------------------------------------------------------------- files that tables name
def spellings(text):
    """A path and, where it is another machine's, what is left of it without its first folders; each
    also with Windows' backslashes, and with accents composed or decomposed."""
    parts = text.replace("\\", "/").split("/")
    for tail in (text, *("/".join(parts[first:]) for first in range(len(parts)))):
        for form in ("NFC", "NFD"):
            yield unicodedata.normalize(form, tail)


def candidates(folder, text):
    """(path, spelling) of where a file may lie that a cell of a table in `folder` names: beside the
    table, in images/, and in the folder above and its images/."""
    for spelling in spellings(text) if text else ():
        for place in ("", "images", "../images", ".."):
            yield posixpath.normpath(posixpath.join(folder, place, spelling)), spelling


def beside(folder):
    """A function that gives the `File` a cell of a table names, or None: the table lies on a disk.
    """
    def find(text):
        for path, spelling in candidates(str(folder), text):
            if os.path.isfile(path):
                return file_at(path, posixpath.normpath(encodable(spelling)))
        return None

    return find


def within(files, table):
    """The same for a table in a folder or zip. It finds these files alone: one that lies near or,
    failing that, the only one whose path ends as the cell does; none in the other side of a split.
    """
    by_name, by_base = {file.name: file for file in files}, collections.defaultdict(list)
    for file in files:
        by_base[base(file.name)].append(file)

    def find(text):
        side = split_in(text.replace("\\", "/"))

        def meant(file):
            return not side or split_in(file.name) in ("", side)

        for path, _ in candidates(posixpath.dirname(table.name), text):
            if path in by_name and meant(by_name[path]):
                return by_name[path]
        for tail in spellings(text):
            matches = [file for file in by_base[base(tail)]
                       if f"/{file.name}".endswith(f"/{tail}") and meant(file)]
            if len(matches) == 1:
                return matches[0]
        return None

    return find
