"""Where faces and their labels lie: from a path to entries, in whatever layout the path has."""

import collections
import csv
import functools
import itertools
import os
import re
import zipfile
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

import utils
from utils import Problem

import numpy as np
from PIL import Image

JAFFE_NAME = re.compile(r"([\w-]+)\.(AN|DI|FE|HA|NE|SA|SU)\d+(?:\.\d+)?\.\w+", re.IGNORECASE)
FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # its labels 0 to 6
SPLITS = {"train": "train", "training": "train", "val": "train", "valid": "train",
          "validation": "train", "publictest": "train", "test": "test", "testing": "test",
          "privatetest": "test"}  # the words for the two sides of a split
SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".gif"}
MAX_BYTES = 64 * 2**20  # of one image
LAYOUTS = "give --data a folder or zip with JAFFE's names (KA.AN1.39.tiff), EMOTION/file, or " \
    "train/EMOTION/file and test/EMOTION/file, or a CSV with the columns " \
    "file,emotion[,subject,split,x,y,side] or emotion,pixels,Usage"


class Entry(NamedTuple):
    """A face before it is read."""

    name: str
    subject: str  # "" where it is not known who it is
    emotion: str
    split: str  # "train", "test", or "" where the data brings no split
    box: tuple  # (x, y, side) if a manifest has it, else ()
    read: Callable  # gives the file's bytes, or an image
    place: str  # names it to the user


def read_layout(path):
    """(entries, number of files that are no images) of whatever layout `path` has."""
    if path.is_dir():
        files = [(file.relative_to(path).as_posix(), functools.partial(read_file, file), str(file))
                 for file in sorted(path.rglob("*")) if not file.is_dir()]
    elif not path.is_file():
        raise Problem(f"{path}: no such file or folder; {LAYOUTS}")
    elif path.suffix.lower() == ".csv":
        return csv_entries(path), 0
    elif path.suffix.lower() == ".zip":
        files = zip_files(path)
    else:
        raise Problem(f"{path}: no layout of faces; {LAYOUTS}")
    images = [file for file in files if PurePosixPath(file[0]).suffix.lower() in SUFFIXES
              and not PurePosixPath(file[0]).name.startswith(".")]
    if not images:
        raise Problem(f"{path}: holds no image; {LAYOUTS}")
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
            raise Problem(f"{odd}: a name that tells no emotion, or a second layout in one "
                          f"folder; {LAYOUTS}")
        split = SPLITS.get(folders[-2].lower(), "") if len(folders) > 1 else ""
        seen.setdefault(bool(split), place)
        entries.append(Entry(name, "", folders[-1], split, (), read, place))
    if len(seen) > 1:
        raise Problem(f"{seen[False]}: two layouts in one folder: this file lies in neither "
                      f"train/ nor test/, others do; {LAYOUTS}")
    return entries


def read_file(file):
    if not file.is_file():
        raise Problem(f"{file}: no file that can be read (a dangling link?); remove it")
    if file.stat().st_size > MAX_BYTES:
        raise Problem(f"{file}: over {MAX_BYTES >> 20} MiB, which no face is; remove it")
    return file.read_bytes()


def zip_files(path):
    """A folder's listing from an archive that is never unpacked: a member's path has no effect."""
    remedy = "download it again, or unpack it and give --data the folder"
    with utils.reading(path, remedy):
        archive = zipfile.ZipFile(path)
    members = [member for member in archive.infolist() if not member.is_dir()]
    if len(members) > 100_000:
        raise Problem(f"{path}: {len(members)} files inside, more than 100000; unpack it")

    def read(member):
        if member.file_size > MAX_BYTES:
            raise Problem(f"{path}: {member.filename} is over {MAX_BYTES >> 20} MiB, "
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
            raise Problem(f"{path}: lacks file,emotion or emotion,pixels in its first line; "
                          f"{LAYOUTS}")
        for number, cells in enumerate(filter(any, reader), 1):
            place = f"{path}, face {number}"
            if len(cells) != len(columns):
                raise Problem(f"{place}: {len(cells)} cells, the first line has "
                              f"{len(columns)}; put a text with a comma into double quotes")
            row = collections.defaultdict(str, zip(columns, map(str.strip, cells)))
            split = row["usage"] or row["split"]
            if split and split.lower() not in SPLITS:
                raise Problem(f"{place}: split {split} is none of {', '.join(SPLITS)}")
            make = pixel_entry if "pixels" in row else manifest_entry
            entry = make(row, number, path, place)
            entries.append(entry._replace(split=SPLITS.get(split.lower(), "")))
    if not entries:
        raise Problem(f"{path}: holds no face; it needs a line for each below the first")
    return entries


def pixel_entry(row, number, path, place):
    """A row of FER2013's CSV: a digit and 48 * 48 greys."""
    if not re.fullmatch("[0-6]", row["emotion"]):
        raise Problem(f"{place}: emotion {row['emotion']} is none of 0 to 6")
    try:
        greys = np.frombuffer(bytes(map(int, row["pixels"].split())), np.uint8).reshape(48, 48)
    except ValueError:
        raise Problem(f"{place}: pixels are not 2304 whole numbers from 0 to 255; "
                      f"correct or remove the line") from None
    return Entry(f"{number:06d}", "", FER2013[int(row["emotion"])], "", (),
                 lambda: Image.fromarray(greys), place)


def manifest_entry(row, number, path, place):
    file, box = path.parent / row["file"], ()
    if not row["file"] or not row["file"].isprintable() or not file.is_file():
        raise Problem(f"{place}: no file {file}; files are sought beside the CSV")
    if not row["emotion"]:
        raise Problem(f"{place}: has no emotion; correct or remove the line")
    if {"x", "y", "side"} <= row.keys():
        box = row["x"], row["y"], row["side"]
        if not all(re.fullmatch(r"\d{1,5}", number, re.ASCII) for number in box):
            raise Problem(f"{place}: x, y, side are {', '.join(box)}, not pixels")
    return Entry(os.path.normpath(row["file"]), row["subject"], row["emotion"], "",
                 tuple(map(int, box)), functools.partial(read_file, file), place)
