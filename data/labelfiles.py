"""Labels as some data sets bring them: in files or columns of their own form.

RAF-DB lists files and numbers, CK+ has a file for each sequence, FERPlus the votes of ten people
for each line of FER2013's CSV, muxspace a line for each annotator, AffectNet numbers.
"""

import collections
import re
from pathlib import PurePosixPath

from data.files import Entry
from utils import Problem, listed

RAFDB_LIST = re.compile(r"list_par?tition_label\.txt", re.IGNORECASE)
RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")  # 1 to 7
RAFDB_COMPOUND = (
    "happily surprised", "happily disgusted", "sadly fearful", "sadly angry", "sadly surprised",
    "sadly disgusted", "fearfully angry", "fearfully surprised", "angrily surprised",
    "angrily disgusted", "disgustedly surprised")  # 1 to 11
CK_LABEL = re.compile(r"((S\d+)_\d+_\d+)_emotion\.txt", re.IGNORECASE)
CK_FRAME = re.compile(r"((S\d+)_\d+_\d+)\.\w+", re.IGNORECASE)
CK = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")  # 0 to 7
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
FERPLUS_OTHER = ("unknown", "nf")  # nf: not a face
AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
             "", "", "")  # 0 to 10; the last three: none, uncertain, not a face


def base(file):
    return PurePosixPath(file.name).name


def text_of(file):
    return file.read().decode("utf-8", "replace")


# ---------------------------------------------------------------------------------- RAF-DB and CK+
def rafdb_list(files):
    """RAF-DB's list of labels among files, or None. Raises `Problem` if there are two."""
    lists = [file for file in files if RAFDB_LIST.fullmatch(base(file))]
    if len(lists) > 1:
        raise Problem(f"{lists[0].place}: and {lists[1].name}, two lists of labels; give --data "
                      f"the folder of one of them, basic or compound")
    return lists[0] if lists else None


def rafdb(label_file, images):
    """(entries, notes) of RAF-DB: "train_00001.jpg 5" for Image/aligned/train_00001_aligned.jpg."""
    by_stem = {}
    for file in images:
        stem = PurePosixPath(base(file)).stem
        if stem.endswith("_aligned"):  # rather than the photograph that it is cut from
            by_stem[stem.removesuffix("_aligned")] = file
        else:
            by_stem.setdefault(stem, file)
    lines = [line.split() for line in text_of(label_file).splitlines() if line.strip()]
    for number, words in enumerate(lines, 1):
        if len(words) != 2 or not re.fullmatch("[1-9]|10|11", words[1]):
            raise Problem(f"{label_file.place}, line {number}: is not a file and a number from 1 "
                          f"to 7; correct it")
    compound = any(int(number) > len(RAFDB) for _, number in lines)
    names = RAFDB_COMPOUND if compound else RAFDB
    entries, missing = [], []
    for name, number in lines:
        file = by_stem.get(PurePosixPath(name).stem)
        if file is None:
            missing.append(name)
            continue
        split = next((side for side in ("train", "test") if name.startswith(f"{side}_")), "")
        entries.append(Entry(base(file), "", names[int(number) - 1], split, (), file.read,
                             file.place))
    if missing:
        raise Problem(f"{label_file.place}: no image for {listed(missing, 3)}; unpack "
                      f"Image/aligned.zip beside EmoLabel, or give --data the folder above both")
    unlisted = len(images) - len(entries)
    return entries, [f"{unlisted} images are not in {base(label_file)} or are there twice, and "
                     f"were left out"] if unlisted else []


def ck_labels(files):
    """{"S005_001_00000011": file of its label} of CK+ as it is distributed."""
    matches = [(CK_LABEL.fullmatch(base(file)), file) for file in files]
    return {match[1].upper(): file for match, file in matches if match}


def ck(labels, images):
    """(entries, notes) of CK+: the last frame of each sequence that has a label."""
    entries = []
    for file in images:
        match = CK_FRAME.fullmatch(base(file))
        label_file = labels.get(match[1].upper()) if match else None
        if label_file:
            number = text_of(label_file).strip()
            if not re.fullmatch(r"[0-7](\.0*(e\+?0+)?)?", number):
                raise Problem(f"{label_file.place}: its label is none of 0 to 7; correct or remove "
                              f"it")
            entries.append(Entry(base(file), match[2].upper(), CK[int(number[0])], "", (),
                                 file.read, file.place))
    if not entries:
        raise Problem(f"{next(iter(labels.values())).place}: CK+'s labels without their frames; "
                      f"put cohn-kanade-images beside Emotion and give --data the folder of both")
    notes = [f"of CK+ the {len(entries)} last frames of sequences with a label are read, "
             f"{len(images) - len(entries)} other images left out"]
    if len(entries) < len(labels):
        notes.append(f"{len(labels) - len(entries)} of CK+'s labels have no frame")
    return entries, notes


# ------------------------------------------------------------------------------ votes and numbers
def is_ferplus(columns):
    return {*FERPLUS, *FERPLUS_OTHER} <= columns.keys()


def ferplus(columns, rows, pixels, place):
    """(entries, notes): FER2013's entries with the emotion that got most of FERPlus' votes."""
    entries, left_out = [], collections.Counter()
    rows = list(rows)
    if len(rows) != len(pixels):
        raise Problem(f"{place}: {len(rows)} lines for the {len(pixels)} of fer2013.csv; download "
                      f"both again")
    for (_, row_place, cells), entry in zip(rows, pixels):
        votes = {name: cells[columns[name]] for name in (*FERPLUS, *FERPLUS_OTHER)}
        if not all(re.fullmatch(r"\d{1,3}", vote, re.ASCII) for vote in votes.values()):
            raise Problem(f"{row_place}: the votes are no whole numbers; correct or remove the "
                          f"line")
        most = max(int(vote) for vote in votes.values())
        winners = [name for name, vote in votes.items() if int(vote) == most]
        if len(winners) > 1:
            left_out["without a majority"] += 1
        elif winners[0] in FERPLUS_OTHER:
            left_out["of emotion unknown" if winners[0] == "unknown" else "that are no face"] += 1
        else:
            entries.append(entry._replace(emotion=winners[0]))
    said = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    return entries, [f"left out by FERPlus' votes: {said}"] if left_out else []


def annotators_agreed(entries):
    """(entries, notes): one for each image, with the label that most annotators gave it."""
    by_name = collections.defaultdict(list)
    for entry in entries:
        by_name[entry.name].append(entry)
    agreed, left_out = [], 0
    for alike in by_name.values():
        counts = collections.Counter(entry.emotion.casefold() for entry in alike).most_common(2)
        if len(counts) > 1 and counts[0][1] == counts[1][1]:
            left_out += 1
        else:
            agreed.append(next(entry for entry in alike
                               if entry.emotion.casefold() == counts[0][0]))
    notes = ["user.id is who gave the label, not who is shown"]
    if len(agreed) + left_out < len(entries):
        notes.append(f"of {len(entries)} labels the most frequent of each image counts; "
                     f"{left_out} images without one were left out")
    return agreed, notes


def affectnet(entries):
    """(entries, notes) with words for AffectNet's numbers."""
    named, left_out = [], 0
    for entry in entries:
        if not re.fullmatch("[0-9]|10", entry.emotion):
            raise Problem(f"{entry.place}: expression {entry.emotion} is none of 0 to 10")
        emotion = AFFECTNET[int(entry.emotion)]
        left_out += not emotion
        if emotion:
            named.append(entry._replace(emotion=emotion))
    return named, [f"{left_out} images without an emotion or a face were left out"] \
        if left_out else []
