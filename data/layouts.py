"""Which layout a data set has: from a path to entries, a face each, with notes for the user.

Where a label stands, `read_files` looks in this order: the label files of RAF-DB and CK+, names as
JAFFE, KDEF and RaFD have them, folders, and a table beside the images.
"""

import collections
import contextlib
import itertools
import os
import posixpath
import re
import tarfile
import unicodedata
from pathlib import PurePosixPath

from data import labelfiles, tables
from data.emotions import emotion_words, meaning, names_emotion
from data.files import Entry, encodable, file_at, list_folder, list_zip
from data.labelfiles import base
from utils import Problem, listed

SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jfif", ".mpo", ".bmp", ".webp", ".pgm",
            ".ppm", ".gif"}
JAFFE_NAME = re.compile(
    r"(?P<subject>[\w-]+)\.(?P<emotion>AN|DI|FE|HA|NE|SA|SU)\d+(?:\.\d+)?(?:\.\w+)+", re.IGNORECASE)
KDEF_NAME = re.compile(
    r"[AB](?P<subject>[FM]\d\d)(?P<emotion>AF|AN|DI|HA|NE|SA|SU)(?P<view>S|FL|FR|HL|HR)\.\w+",
    re.IGNORECASE)
KDEF = {"af": "afraid", "an": "angry", "di": "disgusted", "ha": "happy", "ne": "neutral",
        "sa": "sad", "su": "surprised"}
RAFD_NAME = re.compile(  # the camera's angle comes first; the last word is where the eyes look
    r"Rafd(?P<view>\d+)_(?P<subject>\d+)_\w+_(?P<emotion>angry|contemptuous|disgusted|fearful|happy|"
    r"neutral|sad|surprised)_(frontal|left|right)\.\w+", re.IGNORECASE)
NAMES = (("JAFFE", JAFFE_NAME), ("KDEF", KDEF_NAME), ("RaFD", RAFD_NAME))
# S005, AF01, 001, take000, subject 3: people and takes, not emotions.
NUMBERED = re.compile(r"[^\W\d_]{0,20}[ _.-]?\d{1,8}")
TAKES = re.compile(r"(take|trial|rep|part|level|intensity|session|seq|sequence|video|clip|frame|"
                   r"fold|set|batch|cam|camera|view)[ _.-]?\d+", re.IGNORECASE)
CLASSES = re.compile(r"(class|cls|label|emotion|emo|category|cat|expression|expr)[ _.-]?\d+",
                     re.IGNORECASE)
MAX_LABELS = 30
LAYOUTS = "give --data a folder or zip with JAFFE's names (KA.AN1.39.tiff), EMOTION/file, or " \
    f"train/EMOTION/file and test/EMOTION/file, or a CSV with {tables.FORMS}"
EMOTION_WAY_OUT = "--emotion PATTERN takes the emotion from a file's name or path, such as " \
    "'^[^/]+/([^/]+)/' for the second folder; or list the faces in a CSV"


def read_layout(path, emotion=""):
    """The faces of a folder, zip or table, whatever its layout.

    Parameters
    ----------
    path : Path
    emotion : regular expression that finds the emotion in a file's name or path, or ""

    Returns
    -------
    list of Entry, notes

    Raises
    ------
    Problem
        where no emotion is told
    """
    place = encodable(path)
    if path.is_dir():
        files, notes = list_folder(path)
        entries, more = read_files(files, place, emotion)
    elif not path.is_file():
        raise Problem(f"{place}: no such file or folder; {LAYOUTS}")
    elif labelfiles.RAFDB_LIST.fullmatch(path.name):
        above = path.absolute().parent
        return read_layout(above.parent if above.name.lower() == "emolabel" else above, emotion)
    elif path.suffix.lower() in tables.SUFFIXES:
        notes = []
        entries, more = tables.read_table(file_at(path), beside(path.parent),
                                          fer2013_beside(path.parent))
    elif path.suffix.lower() == ".zip":
        files, notes = list_zip(path)
        entries, more = read_files(files, place, emotion)
    elif tarfile.is_tarfile(path):
        raise Problem(f"{place}: is a tar archive; unpack it and give --data the folder")
    elif path.suffix.lower() in (".rar", ".7z"):
        raise Problem(f"{place}: is a {path.suffix[1:].lower()} archive; unpack it and give --data "
                      f"the folder")
    else:
        raise Problem(f"{place}: no layout of faces; {LAYOUTS}")
    if emotion:
        entries = [entry._replace(emotion=matched(entry, emotion, "--emotion"))
                   for entry in entries]
    return entries, notes + more


def search(pattern, entry):
    """Where a pattern matches in a file's name or else in its path, or None."""
    return re.search(pattern, PurePosixPath(entry.name).name) or re.search(pattern, entry.name)


def matched(entry, pattern, option):
    """What the pattern's first group that is not empty finds or, without groups, all it finds."""
    match = search(pattern, entry)
    text = match and next(filter(None, match.groups() if match.re.groups else [match[0]]), "")
    if not text:
        raise Problem(f"{entry.place}: {option} {pattern} does not match this name; correct the "
                      f"pattern, or list the faces in a CSV")
    return text


# ------------------------------------------------------------------------- files that tables name
def spellings(text):
    """A path as a table may have meant it: with Windows' backslashes, with accents decomposed."""
    for slashes in (text, text.replace("\\", "/")):
        for form in ("NFC", "NFD"):
            yield unicodedata.normalize(form, slashes)


def beside(folder):
    """A function that gives the `File` a cell of a table in this folder names, or None."""
    bases = folder, folder / "images", folder.parent / "images", folder.parent

    def find(text):
        for tail, root in itertools.product(tails(text), bases):
            for spelling in spellings(tail):
                if os.path.isfile(root / spelling):
                    return file_at(root / spelling, posixpath.normpath(encodable(spelling)))
        return None

    return find


def tails(text):
    """A path and, where it is another machine's, what is left of it without its first folders."""
    parts = text.replace("\\", "/").split("/")
    return [text, *("/".join(parts[first:]) for first in range(1, len(parts)))]


def fer2013_beside(folder):
    return file_at(folder / "fer2013.csv") if (folder / "fer2013.csv").is_file() else None


def within(files, table):
    """Like `beside`, for a table among the files of a folder or zip: it finds none but these."""
    by_name = {file.name: file for file in files}
    by_base = collections.defaultdict(list)
    for file in files:
        by_base[posixpath.basename(file.name)].append(file)
    folder = posixpath.dirname(table.name)

    def find(text):
        for root in (folder, posixpath.join(folder, "images"), posixpath.join(folder, "../images")):
            for spelling in spellings(text):
                file = by_name.get(posixpath.normpath(posixpath.join(root, spelling)))
                if file:
                    return file
        side = tables.side_in(text.replace("\\", "/"))  # a file of the other side is none
        for tail in tails(text):
            alike = [file for file in by_base[posixpath.basename(tail)]
                     if f"/{file.name}".endswith(f"/{tail}")
                     and (not side or tables.side_in(file.name) in ("", side))]
            if len(alike) == 1:
                return alike[0]
        return None

    return find


def read_tables(known, files, place):
    """The faces of the one table among files that lists faces, or of one for each side, such as
    train.csv and test.csv, or train/metadata.csv and so on; None if there is none.

    known: those that `tables.tells_faces` knows.
    """
    names = {posixpath.basename(file.name).lower(): file for file in known}
    fer2013 = names.get("fer2013.csv")
    if set(names) == {"fer2013.csv", "fer2013new.csv"}:
        known = [names["fer2013new.csv"]]
    sides = [tables.side_in(file.name) or tables.side_of(PurePosixPath(file.name).stem)
             for file in known]
    if len(known) > 1 and ("" in sides or len(set(sides)) < len(known)):
        raise Problem(f"{place}: holds {len(known)} tables of faces, "
                      f"{listed([file.name for file in known], 3)}; give --data one of them")
    if not known:
        return None
    entries, notes = [], [f"labels are those of {listed([file.name for file in known], 3)}"]
    for file, side in zip(known, sides):
        more_entries, more_notes = tables.read_table(file, within(files, file), fer2013)
        if len(known) > 1:
            more_entries = [entry._replace(split=entry.split or side) for entry in more_entries]
        entries += more_entries
        notes += more_notes
    listed_names = {entry.name for entry in entries}
    unlisted = sum(suffix(file) in SUFFIXES and file.name not in listed_names for file in files)
    if unlisted:
        notes.append(f"{unlisted} images are not listed there and were left out")
    return entries, notes


# ------------------------------------------------------------------------- folders and zips
def read_files(files, place, emotion):
    """(entries, notes) of all files of a folder or zip."""
    images = [file for file in files if suffix(file) in SUFFIXES]
    candidates = [file for file in files if suffix(file) in tables.SUFFIXES]
    others = collections.Counter(suffix(file) or "no suffix" for file in files
                                 if suffix(file) not in SUFFIXES)
    kinds = listed([f"{kind} {count}" for kind, count in others.most_common()], 3)
    notes = [f"{others.total()} files that are no images were skipped: {kinds}"] if others else []
    if not images:
        from_table = read_tables(list(filter(tables.tells_faces, candidates)), files, place)
        if from_table is None:
            there = f" that can be read, but {kinds}" if others else ""
            zips = [file.name for file in files if suffix(file) == ".zip"]
            hint = f"unpack {listed(zips, 3)}, or give --data that file" if zips else LAYOUTS
            raise Problem(f"{place}: holds no image{there}; {hint}")
        return from_table
    without = {posixpath.dirname(file.name) for file in files} - {
        posixpath.dirname(file.name) for file in images}
    empty = sorted(folder for folder in without if names_emotion(posixpath.basename(folder)))
    if empty:
        notes.append(f"no image that can be read lies in {listed(empty, 8)}")
    if emotion:
        return unlabelled(images), notes
    label_list, ck_labels = labelfiles.rafdb_list(files), labelfiles.ck_labels(files)
    if label_list:
        return labelfiles.rafdb(label_list, images)
    if ck_labels:
        return labelfiles.ck(ck_labels, images)
    entries, more = entries_by_name(images)
    if entries:
        return entries, notes + more
    labelled, left_out = without_unlabelled(images)
    level, listing = emotion_level(labelled), list(filter(tables.tells_faces, candidates))
    from_table = None
    if level is None:
        from_table = read_tables(listing, files, place)
    elif len(listing) == 1 and all(map(str.isdecimal, levels_of(labelled)[level])):
        with contextlib.suppress(Problem):  # the numbers may be people: where it lists all images
            from_table = read_tables(listing, files, place)
            if len(from_table[0]) < len(images):
                from_table = None
    if from_table:
        return from_table
    if listing:
        notes.append(f"{listed([file.name for file in listing], 3)}: lists faces too and was not "
                     f"read; give --data that file for what it says")
    hint = ""
    sheets = [file.name for file in files if suffix(file) in {".csv", ".tsv", ".xls", ".xlsx"}]
    if sheets and not listing:
        hint = f"{listed(sheets, 2)} lists no faces that can be read, --data with it says why; "
    entries, more = entries_by_folder(labelled, level, place, hint)
    return entries, notes + left_out + more


def without_unlabelled(images):
    """(images, notes) without those that lie in test/ itself where others lie in folders below, or
    anywhere in it where no folder there is an emotion's but those in train/ are."""
    labelled = {file.name for file in images if any(map(names_emotion, folders_of(file)))}
    sides = {tables.side_in(name) for name in labelled}
    left_out = {file.name for file in images if file.name not in labelled and folders_of(file) and (
        tables.side_of(folders_of(file)[-1]) or
        sides and tables.side_in(file.name) not in sides | {""})}
    if not 0 < len(left_out) < len(images):
        return images, []
    return [file for file in images if file.name not in left_out], [
        f"{len(left_out)} images lie in no folder of an emotion and were left out: "
        f"{listed(sorted(left_out), 3)}"]


def suffix(file):
    return PurePosixPath(file.name).suffix.lower()


def entries_by_name(images):
    """(entries, notes) by JAFFE's, KDEF's or RaFD's names; none if not all files have them."""
    for dataset, pattern in NAMES:
        matches = [pattern.fullmatch(base(file)) for file in images]
        if not all(matches):
            continue
        entries, notes = [], []
        splits = [tables.side_in(file.name) for file in images]
        if "" in splits:  # some faces alone in a folder called test
            splits = [""] * len(images)
        for file, match, split in zip(images, matches, splits):
            subject, code = match["subject"], match["emotion"].lower()
            if dataset == "JAFFE":
                code = code.upper()
            entries.append(Entry(match[0], subject.upper() if dataset == "KDEF" else subject,
                                 KDEF.get(code, code), split, (), file.read, file.place))
        folders = {name for path in map(folders_of, images) for name in path[-1:]}
        if dataset != "JAFFE" or len(folders) > 1:
            notes.append(f"person and emotion are those of {dataset}'s names, not of folders")
        if dataset != "JAFFE":
            aside = sum(match["view"].lower() not in ("s", "090") for match in matches)
            if aside:
                notes.append(f"{aside} of {dataset}'s {len(images)} faces are not seen from the "
                             f"front")
        return entries, notes
    return [], []


def unlabelled(images):
    """Entries without emotions, which --emotion will find; subjects where the names tell them."""
    named, _ = entries_by_name(images)
    subjects = [entry.subject for entry in named] or [""] * len(images)
    splits = splits_of(images)
    return [Entry(file.name, subject, "", split, (), file.read, file.place)
            for file, subject, split in zip(images, subjects, splits)]


def folders_of(file):
    return PurePosixPath(file.name).parts[:-1]


def splits_of(images):
    """"train", "val", "test" or "" of each file, by the last folder with such a name."""
    splits = [tables.side_in(file.name) for file in images]
    if "" in splits and any(splits):
        odd, other = images[splits.index("")], next(itertools.compress(images, splits))
        raise Problem(f"{odd.place}: two layouts in one folder: this file lies in neither train/ "
                      f"nor test/, unlike {other.name}; {LAYOUTS}")
    return splits


def levels_of(images):
    """The folders above the files by level: -1 is the last one, 0 the first."""
    paths = [folders_of(file) for file in images]
    least, most = min(map(len, paths)), max(map(len, paths))
    numbers = list(range(-1, -least - 1, -1))
    if least < most:  # else these are the same ones
        numbers += range(least)
    return {number: [path[number] for path in paths] for number in numbers}


def emotion_level(images):
    """The level of folders whose names are emotions, or None: at least two of them and half.

    The numbers 0 to 7 are emotions too, where no level has words and one has numbers.
    """
    words, digits, levels = {}, [], levels_of(images)
    for number, folders in levels.items():
        names = {name for name in set(folders) if not tables.side_of(name)}
        known = sum(map(names_emotion, names))
        if known >= 2 and known >= len(names) / 2:
            words[number] = known / len(names), -len(names)  # of happy/happy_01 the former
        if len(names) > 1 and all(re.fullmatch("[0-7]", name) for name in names):
            digits.append(number)
    if words:
        return max(words, key=words.get)
    alike = all(levels[number] == levels[digits[0]] for number in digits)
    return digits[0] if digits and alike else None


def entries_by_folder(images, level, place, hint):
    """(entries, notes): the emotion is the folder at that level, or else the last one that is no
    train/ or test/. hint: of other ways, for refusals."""
    bare = [file.place for file in images if not folders_of(file)]
    if 0 < len(bare) < len(images):
        raise Problem(f"{listed(bare, 3)}: lies in no folder, the other images do; move or remove "
                      f"it")
    dataset, odd = odd_names(images)
    known = level is not None
    if odd and (bare or not known):  # KDEF itself has some odd names
        raise Problem(f"{listed([file.place for file in odd], 3)}: a name that tells no emotion, "
                      f"unlike the others; rename or remove it, or {LAYOUTS}")
    if bare:
        raise Problem(f"{listed(bare, 3)}: the emotion is unclear; {hint}where the names have it, "
                      f"--emotion PATTERN takes it from them, such as '_([A-Za-z]+)[_.]'; or "
                      f"{LAYOUTS}")
    levels, notes = levels_of(images), []
    if odd:
        notes.append(f"{len(images) - len(odd)} files have {dataset}'s names, which are not read "
                     f"since other files do not: {listed([file.name for file in odd], 3)}; rename "
                     f"or remove those to have emotion and subject read from the names")
    if not known:
        level = guessed_level(levels, place)
    splits, counts = splits_of(images), collections.Counter(levels[level])
    refuse_people(images, counts, place, known, hint)
    numbered = all(name.isdecimal() or CLASSES.fullmatch(name) for name in counts)
    pattern = names_that_tell(images) if numbered or not known else ""
    if pattern and not numbered:
        raise Problem(f"{place}: the names of the files have words for emotions, the folders have "
                      f"not; --emotion '{pattern}' takes the former, --emotion '([^/]+)/[^/]+$' "
                      f"the latter")
    if pattern:
        notes.append(f"the names of the files have words for emotions too; --emotion '{pattern}' "
                     f"takes these")
    if not known:
        said = listed([f"{name} {count}" for name, count in counts.most_common()], 10)
        notes.append(f"no folder names are words for emotions: these are taken as labels, {said}; "
                     f"{EMOTION_WAY_OUT}")
    elif level != -1 and len(levels) > 1:
        notes.append(f"emotions are the folders {listed(sorted(counts), 3)}")
    subjects, more = subjects_in(levels, level)
    entries = [Entry(file.name, subject, emotion, split, (), file.read, file.place)
               for file, subject, emotion, split in zip(images, subjects, levels[level], splits)]
    return entries, notes + more


def odd_names(images):
    """(data set, the few files that have not its names) where nearly all have; else ("", [])."""
    for dataset, pattern in NAMES:
        odd = [file for file in images if not pattern.fullmatch(base(file))]
        if len(odd) < 0.1 * len(images):
            return dataset, odd
    return "", []


def guessed_level(levels, place):
    """The one level whose names may be emotions in a language that is not known or, if there is
    none, the last one that is not train/ and test/ alone. Raises `Problem` if there are two."""
    candidates = {}
    for number, folders in levels.items():
        names = set(folders)
        if 1 < len(names) <= MAX_LABELS and not look_like_people(names) and \
                not all(map(tables.side_of, names)):
            candidates.setdefault(tuple(folders), number)
    if len(candidates) > 1:
        said = " or ".join(sorted(listed(sorted(set(folders)), 3) for folders in candidates))
        raise Problem(f"{place}: it is unclear which folders are the emotions, {said}; "
                      f"{EMOTION_WAY_OUT}")
    others = (number for number, folders in levels.items()
              if not all(map(tables.side_of, set(folders))))
    return next(iter(candidates.values()), next(others, -1))


def look_like_people(names):
    """Whether most names are numbered as people and takes are."""
    numbered = [name for name in names if NUMBERED.fullmatch(name) and not CLASSES.fullmatch(name)]
    return len(numbered) > len(names) / 2


def names_that_tell(images):
    """A pattern that finds the words for emotions, two or more, in at least half of the files'
    names; "" where these have none."""
    words = [emotion_words(PurePosixPath(file.name).stem) for file in images]
    told = {word for several in words for word in several}
    if len(set(map(meaning, told))) < 2 or sum(map(bool, words)) < len(words) / 2:
        return ""
    return f"({'|'.join(sorted(told))})"


def refuse_people(images, counts, place, known, hint):
    """Raise `Problem` if labels, a Counter, are too many or, where it is not `known` that they are
    words for emotions, one alone or folders of people, takes or a split's sides."""
    said = f"{place}: the emotion is unclear: the folders are called {listed(sorted(counts), 4)}"
    if len(counts) > MAX_LABELS:
        raise Problem(f"{said}, more than {MAX_LABELS}; {EMOTION_WAY_OUT}")
    if known:
        return
    if look_like_people(counts):
        ck = all(labelfiles.CK_FRAME.fullmatch(base(file)) for file in images)
        ck_hint = "for CK+ give the folder that holds Emotion too, or " if ck else ""
        raise Problem(f"{said}, which look like people or takes; {hint}{ck_hint}{EMOTION_WAY_OUT}")
    if all(map(tables.side_of, counts)) or (len(counts) == 1 and not names_emotion(min(counts))):
        raise Problem(f"{said}; {hint}{EMOTION_WAY_OUT}")


def subjects_in(levels, emotion):
    """(subjects, notes): the first level of folders that look like people beside the emotions'.

    Their names have numbers, most emotions have several of them, and most have several emotions.
    Of folders with other names that do so too, a note says how to make them subjects; where these
    lie above the emotions, numbers below are takes.
    """
    notes, people_above = [], False
    for number in sorted(levels):
        folders = levels[number]
        if number == emotion or folders == levels[emotion]:
            continue
        emotions_of, names_of = collections.defaultdict(set), collections.defaultdict(set)
        for name, label in zip(folders, levels[emotion]):
            emotions_of[name].add(label)
            names_of[label].add(name)
        if not all(sum(len(others) > 1 for others in several.values()) > len(several) / 2
                   for several in (emotions_of, names_of)):
            continue
        said = listed(sorted(emotions_of), 3)
        if people_above and emotion < number and all(map(str.isdecimal, emotions_of)):
            continue
        if all(NUMBERED.fullmatch(name) and not TAKES.fullmatch(name) for name in emotions_of):
            return folders, [f"subjects are the folders {said}; where they are not, give --subject "
                             f"PATTERN"]
        if not any(map(tables.side_of, emotions_of)) and not (number < 0 <= max(levels)):
            people_above = people_above or number < emotion
            above = "[^/]+/" * (number % len(levels) if number < 0 else number)
            notes = [f"the folders {said} are not taken as subjects; where they are, give "
                     f"--subject '^{above}([^/]+)/'"]
    return [""] * len(levels[emotion]), notes
