"""Any folder or zip: levels of folders that are words for emotions, the sides of a split, people.

A level is the folders at one depth. Those of 0, 1 ... are counted from the top and, where files lie
at different depths, those of -1, -2 ... from the file.
"""

import collections
import os
import re

from data.reading.files import Entry
from data.reading.words import (
    base,
    counted_by,
    folders_of,
    has_emotion_word,
    meaning,
    names_emotion,
    same_spelling,
    split_in,
    split_of,
    words_of,
)
from utils import Problem, listed


def read_tree(images, renamed, subject):
    """The faces of a folder whose emotions are folders.

    Parameters
    ----------
    images : list of File
    renamed : labels that --labels names, which are words for emotions too
    subject : the pattern of --subject, or ""

    Returns
    -------
    list of Entry, notes; or None if no level of folders is words for emotions

    Raises
    ------
    Problem
        where two levels are, or some images lie in a side of a split and others in none
    """
    images, notes = with_emotions(images, renamed)
    names = [file.name for file in images]
    levels = levels_of(names)
    without_subjects = levels_of(names, subject)
    emotion = emotion_level(without_subjects, renamed)
    if emotion is None:
        return None
    labels = levels[emotion]
    if len(levels) > 1:
        notes.append(f"emotions are the folders {listed(sorted(set(labels)), 3)}")
    splits = splits_of(without_subjects, names, emotion)
    subjects = [""] * len(names)
    if not subject:
        subjects, subject_notes = subjects_of(levels, emotion)
        notes += subject_notes
    return [Entry(file.name, subject, label, split, (), file.read, file.place)
            for file, subject, label, split in zip(images, subjects, labels, splits)], notes


def located(pattern, name):
    """(start, end) in a path of what a pattern finds in the file's name or else in the path: its
    first group that is not empty or, without groups, all of the match; (0, 0) for nothing."""
    for start in (len(name) - len(base(name)), 0):
        match = re.search(pattern, name[start:])
        for group in range(bool(match.re.groups), match.re.groups + 1) if match else ():
            if match[group]:
                return start + match.start(group), start + match.end(group)
    return 0, 0


def levels_of(names, *patterns):
    """{level: its folder above each file}. What a pattern finds in a path is no folder's name."""
    paths = []
    for name in names:
        letters = list(name)
        for start, end in (located(pattern, name) for pattern in patterns):
            letters[start:end] = ["/" if letter == "/" else "\0" for letter in letters[start:end]]
        paths.append("".join(letters).split("/")[:-1])
    least, most = min(map(len, paths), default=0), max(map(len, paths), default=0)
    numbers = [*range(-1, -least - 1, -1), *range(least)] if least < most else range(least)
    return {number: [path[number] for path in paths] for number in numbers}


def is_above(number, other):
    """Whether a level lies above another one, as far as that can be told."""
    return number < other if (number < 0) == (other < 0) else number >= 0


def level_pattern(number):
    """The regular expression that takes this level from a path."""
    if number >= 0:
        return "^" + "[^/]+/" * number + "([^/]+)/"
    return "([^/]+)/" + "[^/]+/" * (-number - 1) + "[^/]+$"


# --------------------------------------------------------------------------------------- emotions
def with_emotions(images, renamed):
    """(images, notes) without the unlabelled ones, as the test sets of contests have them: those in
    no folder of an emotion that lie directly in the folder of a side of a split, or in a side none
    of whose images is labelled."""
    shared = len(os.path.commonprefix([folders_of(file.name) for file in images]))

    def labelled(name):
        return any(names_emotion(folder) or counted_by(folder) == "classes"
                   or same_spelling(folder) in renamed for folder in folders_of(name)[shared:])

    sides = {split_in(file.name) for file in images if labelled(file.name)}
    left_out = {file.name for file in images
                if folders_of(file.name) and not labelled(file.name)
                and (split_of(folders_of(file.name)[-1])
                     or split_in(file.name) not in {"", *sides})}
    if not sides or not left_out:
        return images, []
    return [file for file in images if file.name not in left_out], [
        f"{len(left_out)} images lie in no folder of an emotion and were left out: "
        f"{listed(sorted(left_out), 3)}"]


def emotion_level(levels, renamed):
    """The level that says the emotion: two of its names, and at least half of them, have a word for
    one, or all are words or codes. Else the only level of classes, such as class001. Else None.

    Raises `Problem` for two levels that say different things of one image.
    """
    shares, classes = {}, []
    for number, folders in levels.items():
        names = {name for name in set(folders) if not split_of(name)}
        codes = all(map(names_emotion, names))  # or else An and Su are people
        known = sum(has_emotion_word(name) or same_spelling(name) in renamed or codes
                    for name in names)
        if known >= 2 and known >= len(names) / 2:
            shares[number] = known / len(names), -len(names)  # of happy/happy_01 the former
        elif len(names) > 1 and set(map(counted_by, names)) == {"classes"}:
            classes.append(number)
    if not shares:
        return classes[0] if len(classes) == 1 else None
    best = max(shares, key=shares.get)
    for number in shares:
        for pair in set(zip(levels[best], levels[number])):
            words = [set(filter(None, map(meaning, words_of(name)))) for name in pair]
            if all(words) and not words[0] & words[1]:
                raise Problem(f"two levels of folders are words for emotions, such as "
                              f"{' and '.join(pair)}")
    return best


# ---------------------------------------------------------------------------- sides of a split
def splits_of(levels, names, emotion=None):
    """"train", "val", "test" or "" of each file: of the level whose names are all sides of a split.

    emotion: the level of the emotions, if folders are. Below it, people may be called Dev and Val;
    elsewhere a `Problem` is raised if some folders of a level are sides and others are not.
    """
    result = [""] * len(names)
    for number, folders in levels.items():
        sides = list(map(split_of, folders))
        if number == emotion or not any(sides):
            continue
        if all(sides) and "train" in sides:
            result = sides
        elif not all(sides) and (emotion is None or is_above(number, emotion)):
            odd, side = folders[sides.index("")], next(filter(None, sides))
            raise Problem(
                f"{names[sides.index('')]}: lies in neither train/ nor test/ (its folder is {odd}) "
                f"while others lie in a folder of {side} faces: move it, or, where these folders "
                f"are people, give --subject '{level_pattern(number)}'")
    return result


# ---------------------------------------------------------------------------------------- subjects
def subjects_of(levels, emotion):
    """(subjects, notes): the one level of numbered folders, such as S01, that emotions cross.

    Mere numbers below the emotions may be takes. Of other folders that cross, a note says how to
    make them subjects.
    """
    labels, crossing = levels[emotion], {}
    for number, folders in levels.items():
        if number != emotion and folders not in [labels, *crossing.values()] \
                and crosses(folders, labels) and not all(map(split_of, folders)):
            crossing[number] = folders
    numbered = [number for number, folders in crossing.items()
                if set(map(counted_by, folders)) == {"people"} and (
                    is_above(number, emotion) or not any(map(str.isdecimal, folders)))]
    if len(numbered) == 1:
        folders = crossing[numbered[0]]
        return folders, [f"subjects are the folders {listed(sorted(set(folders)), 3)}; where they "
                         f"are not, give --subject PATTERN"]
    options = [f"{listed(sorted(set(folders)), 3)} by --subject '{level_pattern(number)}'"
               for number, folders in crossing.items()]
    return [""] * len(labels), [f"folders are not taken as subjects; where they are people: "
                                f"{listed(options, 3)}"] if options else []


def crosses(folders, labels):
    """Whether most labels have several of these folders, and most folders several labels."""
    pairs = set(zip(folders, labels))
    return all(sum(count > 1 for count in counts.values()) > len(counts) / 2
               for counts in map(collections.Counter, zip(*pairs)))


# ------------------------------------------------------------------------------- what names tell
def name_pattern(names):
    """(pattern, what it finds) of the part of all files' names that is words or codes of emotions.

    It takes few values, of which as many as in no other part, and a third, are such. ("", []) if
    there is none.
    """
    best = 0.3, "", []
    parts = ["^" + r"[^_. -]+[_. -]+" * number + r"\d*([^\W\d_]+)" for number in range(8)]
    parts += [r"([^\W\d_]+)\d*" + r"[_. -][^_. -]+" * number + "$" for number in range(1, 4)]
    for pattern in parts:
        matches = [re.search(pattern, base(name)) for name in names]
        if not all(matches):
            continue
        values = sorted({match[1] for match in matches})
        known = sum(bool(meaning(value)) for value in values)
        if 2 <= len(values) <= 30 and known >= 2 and known / len(values) > best[0]:
            best = known / len(values), pattern, values
    return best[1:]
