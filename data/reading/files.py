"""What lies in a folder or in a zip: files that are opened one by one; nothing is unpacked."""

import collections
import contextlib
import functools
import os
import posixpath
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import utils
from data.reading.words import IMAGE_SUFFIXES
from utils import Problem, listed

MAX_BYTES = 64 * 2**20  # of one image
MAX_MEMBERS = 100_000  # of one zip
READABLE = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
SYSTEM = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found",
          "system volume information"}  # of macOS, Synology, Windows, Linux
# The first bytes of images: they decide where a suffix is missing or tells of no kind of file.
SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")
OTHER_SUFFIXES = {".csv", ".tsv", ".tab", ".txt", ".lst", ".json", ".xml", ".md", ".py", ".npy",
                  ".npz", ".mat", ".pkl", ".zip", ".db", ".pdf", ".heic", ".heif", ".avif",
                  ".cr2", ".nef", ".arw", ".dng"}


class File(NamedTuple):
    """A file that has not been read."""

    name: str  # its path in the folder or zip, with "/", fit to be encoded
    place: str  # names it to the user
    open: Callable  # a context manager that gives a binary stream

    def read(self):
        """All its bytes."""
        with self.open() as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise Problem(f"{self.place}: over {MAX_BYTES >> 20} MiB, which no face is; remove it")
        return content


def suffix(file):
    return posixpath.splitext(file.name)[1].lower()


def is_image(file):
    """Whether a file's suffix or, where that is none that is known, its first bytes say so."""
    if suffix(file) in IMAGE_SUFFIXES | OTHER_SUFFIXES:
        return suffix(file) in IMAGE_SUFFIXES
    with contextlib.suppress(Problem, OSError), file.open() as stream:
        return stream.read(4).startswith(SIGNATURES)
    return False


def encodable(path):
    """A path as text that can be encoded: bytes that are no UTF-8 as \\xff, accents composed."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def is_system(name):
    """Whether a name is a hidden file's or folder's, or one that systems make for themselves."""
    return name.startswith(".") or name.lower() in SYSTEM


@contextlib.contextmanager
def open_file(path, place):
    if not path.is_file():  # a pipe would be waited for
        raise Problem(f"{place}: no file that can be read (a dangling link?); remove it")
    with open(path, "rb") as stream:
        yield stream


def file_at(path, name=""):
    """The `File` at a path."""
    place = encodable(path)
    return File(name or place, place, functools.partial(open_file, Path(path), place))


def kept(files, skipped, notes=()):
    """(files in the order of their names, notes) without those of experiments, which are results.

    skipped: the hidden and system files and folders that are not among them.
    """
    experiments = {file.name.removesuffix("experiment.json") for file in files
                   if posixpath.basename(file.name) == "experiment.json"}
    files = [file for file in files if not file.name.startswith(tuple(experiments))]
    left_out = {"hidden or system files and folders": skipped,
                "folders with an experiment.json are results and": [
                    folder.strip("/") or "all" for folder in experiments]}
    return sorted(files, key=lambda file: file.name), [*notes, *(
        f"{what} were skipped: {listed(sorted(names), 3)}" for what, names in left_out.items()
        if names)]


def list_folder(root):
    """All files below a folder, through links too, in the order of their names.

    Returns (list of `File`, notes). A folder that links reach a second time is read once. Raises
    `Problem` for a folder that may not be read.
    """
    files, skipped, notes = [], [], []
    visited = set(map(str, Path(os.path.realpath(root)).parents))  # a link may lead above it
    todo = collections.deque([root])
    while todo:
        folder = todo.pop()
        real = os.path.realpath(folder)
        if real in visited:
            notes.append(f"{encodable(folder)}: links to a folder that is read already; skipped")
            continue
        visited.add(real)
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise Problem(f"{encodable(folder)}: cannot be read ({error.strerror}); give access, "
                          f"or move it elsewhere") from error
        for entry in inside:
            path = Path(entry.path)
            name = encodable(path.relative_to(root).as_posix())
            if is_system(entry.name):
                skipped.append(name)
            elif not entry.is_dir():
                files.append(file_at(path, name))
            elif entry.is_symlink():
                todo.appendleft(path)  # after all that is no link
            else:
                todo.append(path)
    return kept(files, skipped, notes)


def list_zip(path, option):
    """All files in a zip, in the order of their names: (list of `File`, notes).

    A member's path says where it belongs in the listing, and nothing else.
    """
    remedy = f"download it again, or unpack it and give {option} the folder"
    archive_place = encodable(path)
    with utils.reading(archive_place, remedy):
        archive = zipfile.ZipFile(path)
        members = [(member, member_name(member)) for member in archive.infolist()
                   if not member.is_dir()]
    if len(members) > MAX_MEMBERS:
        raise Problem(f"{archive_place}: {len(members)} files inside, more than {MAX_MEMBERS}; "
                      f"unpack it and give {option} the folder")

    for member, _ in members:
        if member.flag_bits & 1 or member.compress_type not in READABLE:
            how = "is packed with a password" if member.flag_bits & 1 else "is packed in a way " \
                "that cannot be read here"
            raise Problem(f"{archive_place}: {encodable(member.filename)} {how}; unpack it with "
                          f"the program that made it and give {option} the folder")

    @contextlib.contextmanager
    def open_member(member, place):
        with utils.reading(place, remedy), archive.open(member) as stream:
            yield stream

    files, skipped = [], set()
    for member, path_inside in members:
        parts = [part for part in path_inside.split("/") if part not in ("", ".", "..")]
        system = next((place for place, part in enumerate(parts) if is_system(part)), None)
        name, place = "/".join(parts), f"{archive_place}: {'/'.join(parts)}"
        if system is not None:
            skipped.add("/".join(parts[:system + 1]))
        elif parts:
            files.append(File(name, place, functools.partial(open_member, member, place)))
    return kept(files, skipped)


def in_letters(name):
    """Whether all characters of a name that are no ASCII are letters."""
    return all(ord(letter) < 128 or letter.isalpha() for letter in name)


def member_name(member):
    """A member's path with "/". Archives of macOS hold UTF-8 without the flag that says so.

    Raises ValueError for what is neither that nor, it seems, cp437 or cp850, as Windows has it.
    """
    name = member.filename
    if not member.flag_bits & 0x800:
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            if not in_letters(name):
                name = name.encode("cp437").decode("cp850")
            if not in_letters(name):
                raise ValueError("its names are in an encoding that it does not tell") from None
    return encodable(name.replace("\\", "/"))


class Entry(NamedTuple):
    """A face before it is read."""

    name: str
    subject: str  # "" where it is not known who it is
    emotion: str
    split: str  # "train", "val", "test", or "" where the data brings no split
    box: tuple  # (x, y, side), floats, if a table has it, else ()
    read: Callable  # gives the bytes of an image file, or a Pillow image of mode L
    place: str  # names it to the user
