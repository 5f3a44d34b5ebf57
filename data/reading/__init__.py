"""From a path to entries, a face each: the only room that knows how data sets lie on disks.

A label is read where a row of DATASETS recognises the data set, where folders or columns are words
for emotions, or where the user says where it stands. Otherwise `refusal` says what lies there and
which options would read it.
"""

import collections
import posixpath
import re
import shlex
import tarfile
from pathlib import Path
from typing import NamedTuple

import utils
from data.reading import datasets, files, tables, trees
from data.reading.files import Entry, encodable, suffix
from data.reading.words import (
    base,
    counted_by,
    meaning,
    parsed_labels,
    split_in,
    split_of,
    stem,
)
from utils import Problem, listed

LAYOUTS = "a folder or zip with EMOTION/file, with train/EMOTION/file and test/EMOTION/file, or " \
    f"with JAFFE's names (KA.AN1.39.tiff), or a CSV with {tables.FORMS}"


class Listing(NamedTuple):
    """What lies in a folder or zip."""

    place: str
    option: str
    notes: list  # what is skipped: sentences
    files: list  # of File
    images: list
    tables: dict  # {File of a table: why it cannot be read, "" if it can}


def read(path, *, emotion="", subject="", option="--data", labels="", subject_optional=False):
    """The faces of a folder, zip or table, whatever its layout.

    Parameters
    ----------
    path : path
    emotion, subject : regular expressions that find the emotion, or the subject, in a file's name
        or else in its path: their first group that is not empty or, without groups, the match
    option : what gave the path, for messages
    labels : "1=surprise,contempt=": these labels count as words for emotions
    subject_optional : whether `subject` may match none of the names; it is then not used

    Returns
    -------
    list of Entry, notes

    Raises
    ------
    Problem
        for what cannot be read, or says no emotion
    """
    path = Path(path)
    if path.is_file() and datasets.is_label_file(path.name):  # beside or above the images
        above = path.absolute().parent
        path = above if any(map(files.is_image, files.list_folder(above)[0])) else above.parent
    require_readable(path, option)
    if path.is_dir() or path.suffix.lower() == ".zip":
        found, notes = files.list_folder(path) if path.is_dir() else files.list_zip(path, option)
        listing = listing_of(encodable(path), option, notes, found)
        entries, reader_notes = read_listing(listing, emotion, subject, parsed_labels(labels))
        notes = listing.notes
    else:
        notes = []
        entries, reader_notes = read_table(files.file_at(path), tables.beside(path.parent))
    if emotion:
        entries = [entry._replace(emotion=matched(entry, emotion, "--emotion"))
                   for entry in entries]
    if subject_optional and subject and not any(trees.located(subject, entry.name)[1]
                                                for entry in entries):
        reader_notes.append(f"--subject matches no name of {option} and is not used for it")
    elif subject:
        entries = [entry._replace(subject=matched(entry, subject, "--subject"))
                   for entry in entries]
    return entries, notes + reader_notes


def require_readable(path, option):
    """Raise `Problem`, with the next step, for what is no folder, zip or table."""
    place, file = f"{option} {encodable(path)}", files.file_at(path)
    if not path.exists() and re.match(r"[a-z][a-z0-9+.-]+:/", str(path), re.IGNORECASE):
        raise Problem(f"{place}: is an address; download it, then give {option} the file or folder")
    if not path.exists():
        raise Problem(f"{place}: no such file or folder; give {LAYOUTS}")
    if path.is_dir():
        return
    with utils.reading(place), file.open() as stream:
        kind = ".tar" if tarfile.is_tarfile(stream) else path.suffix.lower()
    if kind in (".tar", ".rar", ".7z"):
        raise Problem(f"{place}: is a {kind[1:]} archive; unpack it and give {option} the folder")
    if files.is_image(file):
        raise Problem(f"{place}: is one image; give {option} the folder above the images")
    if kind not in tables.SUFFIXES | {".zip"}:
        raise Problem(f"{place}: is no folder, zip or CSV; give {LAYOUTS}")


# --------------------------------------------------------------------------- what lies in a folder
def listing_of(place, option, notes, found):
    """The `Listing` of the files of a folder or zip."""
    images, others = [], []
    for file in found:
        (images if files.is_image(file) else others).append(file)
    tables_there = {file: why_unreadable(file) for file in others
                    if suffix(file) in tables.SUFFIXES}
    unread = [file for file in others if tables_there.get(file, "no table")]
    kinds = collections.Counter(suffix(file) or "no suffix" for file in unread)
    counts = [f"{kind} {count}" for kind, count in kinds.most_common()]
    if unread:
        notes = [*notes, f"{len(unread)} files that are no images: {listed(counts, 5)}"]
    with_images = {posixpath.dirname(file.name) for file in images}
    empty = sorted({folder for file in others for folder in [posixpath.dirname(file.name)]
                    if meaning(base(folder)) and folder not in with_images})
    if empty:
        notes = [*notes, f"no image that can be read lies in {listed(empty, 8)}"]
    return Listing(place, option, notes, found, images, tables_there)


def why_unreadable(file):
    """Why a table cannot be read, or ""."""
    try:
        with tables.opened(file) as table:
            return "" if datasets.row_of(table) else tables.what_lacks(table)
    except Problem as problem:
        return str(problem).removeprefix(f"{file.place}: ")


def read_table(file, find):
    """(entries, notes) of one table."""
    with tables.opened(file, find) as table:
        row = datasets.row_of(table)
        return row.read(table, row.labels) if row else tables.read_any(table)


# -------------------------------------------------------------------------------- folders and zips
def read_listing(listing, emotion, subject, renamed):
    """(entries, notes) of a folder or zip: by a known data set, by folders, by the tables in it."""
    images, readable = listing.images, [file for file, why in listing.tables.items() if not why]
    faces = not emotion and (datasets.labelled_faces(listing.files, images)
                             or datasets.named_faces(images))
    if faces:
        return faces
    try:
        faces = to_be_labelled(images, subject, emotion) if emotion and images else \
            trees.read_tree(images, renamed, subject)
    except Problem as problem:
        raise refusal(listing, str(problem)) from None
    if faces:
        entries, notes = faces
        if readable:
            notes.append(f"{listed([file.name for file in readable], 3)}: lists faces too and was "
                         f"not read; give {listing.option} that file for what it says")
        return entries, notes + datasets.odd_names(images)
    if readable:
        return read_tables(listing, readable)
    bare = [file.name for file in images if "/" not in file.name]
    if 0 < len(bare) < len(images):
        raise refusal(listing, f"these lie in no folder, the other images do: {listed(bare, 3)}")
    raise refusal(listing, "the emotion is unclear" if images else
                  "holds no image that can be read")


def to_be_labelled(images, subject, emotion):
    """(entries, notes) for --emotion to label; subjects where a known data set's names tell."""
    named, names = datasets.named_faces(images), [file.name for file in images]
    subjects = [entry.subject for entry in named[0]] if named else [""] * len(images)
    splits = trees.splits_of(trees.levels_of(names, subject, emotion), names)
    return [Entry(file.name, who, "", split, (), file.read, file.place)
            for file, who, split in zip(images, subjects, splits)], []


def read_tables(listing, readable):
    """(entries, notes) of the one table that lists faces, or of one for each side, such as
    train.csv and test.csv, or train/metadata.csv and so on."""
    companions = {row.companion for row in map(datasets.row_at, readable) if row}
    readable = [file for file in readable if base(file.name).lower() not in companions]
    sides = [split_in(file.name) or split_of(base(stem(file.name))) for file in readable]
    if len(readable) > 1 and ("" in sides or len(set(sides)) < len(readable)):
        raise refusal(listing, f"holds {len(readable)} tables of faces; give {listing.option} one")
    entries, notes = [], [f"labels are those of {listed([file.name for file in readable], 3)}"]
    for file, side in zip(readable, sides):
        faces, reader_notes = read_table(file, tables.within(listing.files, file))
        entries += [entry._replace(split=entry.split or side) for entry in faces] \
            if len(readable) > 1 else faces
        notes += reader_notes
    listed_names = {entry.name for entry in entries}
    unlisted = sum(file.name not in listed_names for file in listing.images)
    if unlisted:
        notes.append(f"{unlisted} images are not listed there and were left out")
    return entries, notes


def matched(entry, pattern, option):
    """What a pattern finds in the name of an entry's file."""
    start, end = trees.located(pattern, entry.name)
    if start == end:
        raise Problem(f"{entry.place}: {option} {pattern} does not match this name; correct the "
                      f"pattern, or list the faces in a CSV")
    return entry.name[start:end]


# -------------------------------------------------------------------------------------- the refusal
def refusal(listing, reason):
    """The `Problem` that says why nothing was read, what lies there, and what would read it."""
    names = [file.name for file in listing.images]
    levels = trees.levels_of(names)
    contents = [f"folders {listed(sorted(set(folders)), 3)}" for folders in levels.values()]
    if names:
        contents.append(f"{len(names)} images such as {listed(sorted(map(base, names)), 3)}")
    contents += [f"the table {file.name} ({why or 'lists faces'})"
              for file, why in sorted(listing.tables.items(), key=lambda item: (
                  suffix(item[0]) == ".txt", item[0].name))[:3]]
    contents += listing.notes
    zips = [file.name for file in listing.files if suffix(file) == ".zip"]
    options = [f"unpack {listed(zips, 3)}, or give {listing.option} that file"] if zips else []
    options += emotion_options(names, levels)
    options += datasets.odd_names(listing.images)
    options += [f"{listing.option} {shlex.quote(file.place)}"
                for file, why in listing.tables.items() if not why][:3]
    ways_out = f"give one of: {'; '.join(options)}; or" if options else "give"
    contained = f"; there are {'; '.join(contents)}" if contents else ""
    return Problem(f"{listing.place}: {reason}{contained}; {ways_out} {listing.option} {LAYOUTS}")


def emotion_options(names, levels):
    """The options --emotion that take labels from these names and folders, and what they give."""
    pattern, values = trees.name_pattern(names) if names else ("", [])
    options = [(pattern, values)] if pattern else []
    for number, level in levels.items():
        folders = sorted(set(level))
        no_labels = all(counted_by(name) in ("people", "takes") and not re.fullmatch("[0-9]", name)
                        or split_of(name) for name in folders)
        if 1 < len(folders) <= 30 and not no_labels:
            options.append((trees.level_pattern(number), folders))
    digits = [f"--labels {','.join(f'{digit}=NAME' for digit in values)}"
              for _, values in options if all(map(str.isdecimal, values))]
    return [f"--emotion {shlex.quote(pattern)} (the labels {listed(values, 3)})"
            for pattern, values in options] + digits
