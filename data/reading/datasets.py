"""The data sets that are known by name: a row each. A new one is a row and, if need be, a function.

What any tree or table reader reads already needs no more than its line for data/README.md.
"""

import collections
import re
from collections.abc import Callable
from typing import NamedTuple

from data.reading import tables
from data.reading.files import Entry
from data.reading.words import EMOTION_NAMES, base, split_in, stem
from utils import Problem, listed


class KnownDataSet(NamedTuple):
    """A row of DATASETS: how it is recognised, by one of `names`, `file` and `columns`, and read.
    """

    give: str  # what --data is, for data/README.md
    options: str  # of train_cae.py, for data/README.md
    names: str = ""  # a pattern of all images' names, with the groups subject and emotion
    labels: dict = {}  # {code: emotion, or "" for what is left out}
    frontal: str = ""  # what the pattern's group `view` is for faces seen from the front
    file: str = ""  # a pattern of the names of label files; read(files, images, labels) or None
    columns: frozenset = frozenset()  # of a table, without case; read(table, labels)
    companion: str = ""  # the table with the pixels of that one's faces, in lower case
    read: Callable = tables.read_any  # gives entries, notes


# ------------------------------------------------------------------------------ by images' names
def named_faces(images):
    """(entries, notes) of images all of whose names are those of one data set, or None."""
    for dataset, row in DATASETS.items() if images else ():
        matches = row.names and [re.fullmatch(row.names, base(file.name), re.IGNORECASE)
                                 for file in images]
        if not matches or not all(matches):
            continue
        splits = [split_in(file.name) for file in images]
        if not all(splits) or "train" not in splits:  # some in a folder called test are no split
            splits = [""] * len(images)
        entries = [Entry(match[0], match["subject"], row.labels.get(
            match["emotion"].upper(), match["emotion"].lower()), split, (), file.read, file.place)
            for file, match, split in zip(images, matches, splits)]
        notes = []
        if len({file.name.rpartition("/")[0] for file in images}) > 1:
            notes.append(f"subject and emotion are those of {dataset}'s names, not of folders")
        aside = sum(match["view"].upper() != row.frontal for match in matches) if row.frontal else 0
        if aside:
            notes.append(f"{aside} of {dataset}'s {len(images)} faces are not seen from the front")
        return entries, notes
    return None


def odd_names(images):
    """Which images have other names than all others, which have those of a data set: sentences."""
    for dataset, row in DATASETS.items():
        odd = [file.name for file in images
               if row.names and not re.fullmatch(row.names, base(file.name), re.IGNORECASE)]
        if row.names and 0 < len(odd) < 0.1 * len(images):
            return [f"all names but {len(odd)} are {dataset}'s, and tell subject and emotion: to "
                    f"have them read, rename or remove {listed(odd, 3)}"]
    return []


# --------------------------------------------------------------------------------- by label files
def text_of(file):
    return file.read().decode("utf-8", "replace")


def codes_from(*emotions, first=0):
    """{"0": the first emotion, "1": the second} and so on."""
    return {str(number): emotion for number, emotion in enumerate(emotions, first)}


RAFDB_COMPOUND = codes_from(
    "happily surprised", "happily disgusted", "sadly fearful", "sadly angry", "sadly surprised",
    "sadly disgusted", "fearfully angry", "fearfully surprised", "angrily surprised",
    "angrily disgusted", "disgustedly surprised", first=1)


def raf_db(lists, images, labels):
    """RAF-DB's list: "train_00001.jpg 5" for Image/aligned/train_00001_aligned.jpg. That of the
    compound emotions has the same name and numbers to 11."""
    if len(lists) > 1:
        raise Problem(f"{lists[0].place}: and {lists[1].name}, two lists of labels; give the "
                      f"folder of one of them, basic or compound")
    # An aligned face, of which the last one counts, rather than the photograph it is cut from.
    by_stem = {base(stem(file.name)).removesuffix("_aligned"): file for file in sorted(
        images, key=lambda file: stem(file.name).endswith("_aligned"))}
    lines = [line.split() for line in text_of(lists[0]).splitlines() if line.strip()]
    for number, words in enumerate(lines, 1):
        if len(words) != 2 or words[1] not in RAFDB_COMPOUND:
            raise Problem(f"{lists[0].place}, line {number}: is not a file and the number of an "
                          f"emotion; correct it")
    if any(code not in labels for _, code in lines):
        labels = RAFDB_COMPOUND
    missing = [name for name, _ in lines if stem(name) not in by_stem]
    if missing:
        raise Problem(f"{lists[0].place}: no image for {listed(missing, 3)}; unpack "
                      f"Image/aligned.zip beside EmoLabel, or give the folder above both")
    entries = []
    for name, code in lines:
        file, side = by_stem[stem(name)], name.partition("_")[0]
        entries.append(Entry(base(file.name), "", labels[code],
                             side if side in ("train", "test") else "", (), file.read, file.place))
    unlisted = len(images) - len(entries)
    return entries, [f"{unlisted} images are not in {base(lists[0].name)} or are there twice, and "
                     f"were left out"] if unlisted else []


def ck_plus(label_files, images, labels):
    """CK+: the last frame of each sequence that has a label file, S005_001_00000011_emotion.txt."""
    by_stem = {base(stem(file.name)).upper(): file for file in images}
    entries, missing = [], 0
    for label in label_files:
        name = base(label.name).upper().removesuffix("_EMOTION.TXT")
        number = text_of(label).strip()
        if not re.fullmatch(r"[0-7](\.0*(e\+?0+)?)?", number):
            raise Problem(f"{label.place}: its label is none of 0 to 7; correct or remove it")
        file = by_stem.get(name)
        missing += file is None
        if file:
            entries.append(Entry(base(file.name), name.partition("_")[0], labels[number[0]], "",
                                 (), file.read, file.place))
    if not entries:
        raise Problem(f"{label_files[0].place}: CK+'s labels without their frames; put "
                      f"cohn-kanade-images beside Emotion and give the folder of both")
    notes = [f"of CK+ the {len(entries)} last frames of sequences with a label are read, "
             f"{len(images) - len(entries)} other images left out"]
    return entries, notes + ([f"{missing} of CK+'s labels have no frame"] if missing else [])


def expw(lists, images, labels):
    """ExpW's label.lst: "name.jpg 0 top left right bottom 50.3 3", a line for each face."""
    by_name, entries = {base(file.name): file for file in images}, []
    matches = [re.fullmatch(r"(\S+) (\d+) (\d+) (\d+) (\d+) (\d+) [\d.]+ ([0-6])", line.strip())
               for line in text_of(lists[0]).splitlines()]
    if not any(matches):
        return None  # somebody else's list
    for number, match in enumerate(matches, 1):
        file = match and by_name.get(match[1])
        if not file:
            raise Problem(f"{lists[0].place}, line {number}: is not of eight words, or names no "
                          f"image that is here; correct it, or unpack the images beside it")
        top, left, right, bottom = map(int, match.groups()[2:6])
        side = max(right - left, bottom - top)
        entries.append(Entry(f"{match[1]}-{match[2]}", "", labels[match[7]], "", (
            float(left + right - side) / 2, float(top + bottom - side) / 2, float(side)),
            file.read, f"{file.place}, face {match[2]}"))
    return entries, ["the names of ExpW's files are what was searched for, not what is shown"]


def is_label_file(name):
    return any(row.file and re.fullmatch(row.file, name, re.IGNORECASE)
               for row in DATASETS.values())


def labelled_faces(files, images):
    """(entries, notes) of files among which there are a known data set's label files, or None."""
    for row in DATASETS.values():
        label_files = [file for file in files
                       if row.file and re.fullmatch(row.file, base(file.name), re.IGNORECASE)]
        faces = label_files and row.read(label_files, images, row.labels)
        if faces:
            return faces
    return None


# --------------------------------------------------------------------------- by a table's columns
FERPLUS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
FERPLUS_OTHER = {"unknown": "of emotion unknown", "nf": "that are no face"}


def fer2013(table, labels):
    """FER2013's numbers, where a column Usage or a 0 shows that these are its own."""
    entries, notes = tables.read_any(table)
    numbers = {entry.emotion for entry in entries}
    if not all(re.fullmatch(r"-?\d+", number, re.ASCII) for number in numbers) or \
            not ("usage" in table.columns or "0" in numbers):
        return entries, notes
    for entry in entries:
        if entry.emotion not in labels:
            raise Problem(f"{entry.place}: emotion {entry.emotion} is none of 0 to 7; correct or "
                          f"remove the line")
    return [entry._replace(emotion=labels[entry.emotion]) for entry in entries], [
        *notes, "emotions are FER2013's numbers: " + ", ".join(
            f"{number} {labels[number]}" for number in sorted(numbers))]


def ferplus(table, labels):
    """The emotion with most of FERPlus' votes, of the images that it names or of fer2013.csv."""
    rows, entries, left_out = list(table.rows), [], []
    for (_, place, cells), face in zip(rows, ferplus_faces(table, rows)):
        votes = {name: cells[table.columns[name]] for name in (*FERPLUS, *FERPLUS_OTHER)}
        if not all(re.fullmatch(r"\d{1,3}", vote, re.ASCII) for vote in votes.values()):
            raise Problem(f"{place}: the votes are no whole numbers; correct or remove the line")
        highest = max(map(int, votes.values()))
        winners = [name for name, vote in votes.items() if int(vote) == highest]
        if len(winners) > 1:
            left_out.append("without a majority")
        elif winners[0] in FERPLUS_OTHER or not face:
            left_out.append(FERPLUS_OTHER.get(winners[0], "without an image"))
        else:
            entries.append(face._replace(emotion=winners[0]))
    counts = [f"{left_out.count(reason)} {reason}" for reason in sorted(set(left_out))]
    if not entries:
        raise Problem(f"{table.place}: holds no face with an emotion")
    return entries, [f"left out by FERPlus' votes: {', '.join(counts)}"] if counts else []


def ferplus_faces(table, rows):
    """The faces, without emotions, of FERPlus' lines: by fer2013.csv or by image; None for none."""
    pixels = table.find("fer2013.csv")
    if pixels:
        with tables.opened(pixels, table.find) as fer2013_table:
            faces, _ = tables.read_any(fer2013_table)
        if len(rows) != len(faces):
            raise Problem(f"{table.place}: {len(rows)} lines for the {len(faces)} of fer2013.csv; "
                          f"download both again")
        return faces
    column = table.columns.get("image name")
    names = [cells[column] if column is not None else "" for _, _, cells in rows]
    images = [table.find(name) for name in names]
    if not any(images):
        raise Problem(f"{table.place}: has FERPlus' votes and no pixels; put fer2013.csv beside "
                      f"it, or the images that its column Image name names")
    missing = [(place, name) for (_, place, _), name, image in zip(rows, names, images)
               if name and not image]
    tables.require_files(table, missing, len(rows))
    return [image and Entry(image.name, "", "", tables.split_of_row(table, place, cells), (),
                            image.read, place) for (_, place, cells), image in zip(rows, images)]


def muxspace(table, labels):
    """One entry for each image, with the label that most annotators, its user.id, gave it."""
    entries, notes = tables.read_any(table)
    by_name = collections.defaultdict(list)
    for entry in entries:
        by_name[entry.name].append(entry)
    agreed = []
    for same_image in by_name.values():
        counts = collections.Counter(entry.emotion.casefold() for entry in same_image)
        (label, votes), *others = counts.most_common(2)
        if not others or others[0][1] < votes:
            agreed.append(next(entry for entry in same_image if entry.emotion.casefold() == label))
    notes.append("user.id is who gave the label, not who is shown")
    if len(agreed) < len(entries):
        notes.append(f"of {len(entries)} labels the most frequent of each image counts; "
                     f"{len(by_name) - len(agreed)} images without one were left out")
    return agreed, notes


def row_of(table):
    """The row of the data set that a table is of, or None."""
    return next((row for row in DATASETS.values()
                 if row.columns and row.columns <= table.columns.keys()), None)


def row_at(file):
    """`row_of` the table in a file."""
    with tables.opened(file) as table:
        return row_of(table)


DATASETS = {
    "JAFFE": KnownDataSet(
        "`jaffe.zip`, or the folder of its 213 files", "",
        names=r"(?P<subject>[\w-]+)\.(?P<emotion>AN|DI|FE|HA|NE|SA|SU)\d+(?:\.\d+)?(?:\.\w+)+",
        labels={code: code for code in EMOTION_NAMES}),
    "CK+, as distributed": KnownDataSet(
        "the folder that holds `cohn-kanade-images/` and `Emotion/`; the last frame of each "
        "sequence with a label is read", "--data CK+ --protocol kfold",
        file=r"S\d+_\d+_\d+_emotion\.txt", read=ck_plus,
        labels=codes_from("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness",
                          "surprise")),
    "CK+48, sorted by emotion": KnownDataSet(
        "the folder of the emotions' folders; names such as `S010_004_00000017.png`",
        r"--data ck48 --subject '(S\d+)_' --protocol kfold"),
    "CK+ as a CSV in FER2013's form": KnownDataSet(
        "the CSV: 0 anger, 1 disgust, 2 fear, 3 happiness, 4 sadness, 5 surprise, 6 neutral, "
        "7 contempt", "--data ckextended.csv --protocol given"),
    "FER2013": KnownDataSet(
        "`fer2013.csv`, or its zip; `Training` and `PublicTest` train, `PrivateTest` tests",
        "--data fer2013.csv --protocol given --batch 128",
        columns=frozenset({"emotion", "pixels"}), read=fer2013,
        labels=codes_from("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral",
                          "contempt")),  # the last in the CSV of CK+ that has this form
    "FER2013 as folders": KnownDataSet(
        "the folder of `train/` and `test/` (or `validation/`, which then tests)",
        "--data fer2013 --protocol given --batch 128"),
    "FERPlus": KnownDataSet(
        "`fer2013new.csv`, beside it `fer2013.csv` or the images it names: the emotion with the "
        "most votes; ties, \"unknown\" and \"not a face\" are left out and counted",
        "--data fer2013new.csv --protocol given --batch 128",
        columns=frozenset({*FERPLUS, *FERPLUS_OTHER}), companion="fer2013.csv", read=ferplus),
    "RAF-DB": KnownDataSet(
        "`basic/`, which holds `EmoLabel/` and the unpacked `Image/aligned/`; or `compound/`",
        "--data basic --protocol given --batch 128",
        file=r"list_par?tition_label\.txt", read=raf_db,
        labels=codes_from("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral",
                          first=1)),
    "RAF-DB in folders 1 to 7": KnownDataSet(
        "the folder of `train/` and `test/`", "--data DATASET --labels 1=surprise,2=fear,3=disgust,"
        "4=happiness,5=sadness,6=anger,7=neutral --protocol given --batch 128"),
    "KDEF": KnownDataSet(
        "the folder of the people's folders; names such as `AF01ANS.JPG` tell person and emotion. "
        "Of its five views only `...S.JPG` is frontal: copy these to a folder of their own",
        "--data KDEF --protocol loso",
        names=r"[AB](?P<subject>[FM]\d\d)(?P<emotion>AF|AN|DI|HA|NE|SA|SU)(?P<view>S|FL|FR|HL|HR)"
              r"\.\w+",
        labels={"AF": "afraid", "AN": "angry", "DI": "disgusted", "HA": "happy", "NE": "neutral",
                "SA": "sad", "SU": "surprised"}, frontal="S"),
    "RaFD": KnownDataSet(
        "the folder; names such as `Rafd090_01_Caucasian_female_angry_frontal.jpg` tell person and "
        "emotion. Of its five views only `Rafd090...` is frontal: copy these to a folder of their "
        "own", "--data RaFD --protocol loso",
        names=r"Rafd(?P<view>\d+)_(?P<subject>\d+)_\w+_(?P<emotion>angry|contemptuous|disgusted|"
              r"fearful|happy|neutral|sad|surprised)_(frontal|left|right)\.\w+", frontal="090"),
    "ExpW": KnownDataSet(
        "the folder of `label.lst` and of the unpacked images; its face boxes are used",
        "--data ExpW --protocol holdout --batch 128", file=r"label\.lst", read=expw,
        labels=codes_from("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")),
    "FACES (Max Planck Institute)": KnownDataSet(
        "the folder; names such as `004_o_m_a_a.jpg` tell person and emotion",
        "--data FACES --protocol kfold",
        names=r"(?P<subject>\d{1,3})_[ymo]_[mf]_(?P<emotion>[adfhns])_[ab]\.\w+",
        labels={"A": "anger", "D": "disgust", "F": "fear", "H": "happiness", "N": "neutral",
                "S": "sadness"}),
    "CREMA-D, frames": KnownDataSet(
        "the folder of one frame of each clip; names such as `1001_DFA_ANG_XX.jpg`",
        "--data CREMA-D --protocol kfold",
        names=r"(?P<subject>\d{4})_[A-Z]{3}_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX|X)"
              r"([_-]\w+)?\.\w+",
        labels={"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness",
                "NEU": "neutral", "SAD": "sadness"}),
    "KMU-FED": KnownDataSet(
        "the folder; names such as `01_AN_0001.jpg` tell person and emotion",
        "--data KMU-FED --protocol kfold",
        names=r"(?P<subject>\d\d)_(?P<emotion>AN|DI|FE|HA|SA|SU)_\w+\.\w+",
        labels={code: name for code, name in EMOTION_NAMES.items() if code != "NE"}),
    "MUG": KnownDataSet("the folder of `001/anger/take000/img_0000.jpg`",
                        "--data MUG --protocol kfold"),
    "Oulu-CASIA": KnownDataSet(
        "the folder of one light, such as `OriginalImg/VL/Strong`, with `P001/Anger/000.jpeg`",
        "--data OriginalImg/VL/Strong --protocol kfold"),
    "SFEW": KnownDataSet(
        "the folder of `Train_Aligned_Faces/` and `Val_Aligned_Faces_new/`, which then tests",
        "--data SFEW --protocol given"),
    "CAER-S": KnownDataSet(
        "the folder of `train/` and `test/`. These are frames of films: cut out the faces first",
        "--data CAER-S --protocol given --batch 128"),
    "muxspace's facial expressions": KnownDataSet(
        "`data/legend.csv`, `images/` beside `data/`; `user.id` is the annotator, and who is shown "
        "is not known", "--data facial_expressions/data/legend.csv --protocol holdout --batch 128",
        columns=frozenset({"user.id", "image", "emotion"}), read=muxspace),
    "AffectNet": KnownDataSet(
        "a CSV of its manual annotations within the folder of the images; its face boxes are used; "
        "\"none\", \"uncertain\" and \"no face\" are left out",
        "--data Manually_Annotated_Images/validation.csv --protocol holdout --batch 128",
        columns=frozenset({"subdirectory_filepath", "expression"}),
        labels=codes_from("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger",
                          "contempt", "", "", "")),  # the last: none, uncertain, not a face
}
"""A row for each data set by its name.

One that is known by its images' names needs no function:

    "Mine": KnownDataSet("the folder; names such as `07-joy-3.png`", "--data MINE --protocol kfold",
                         names=r"(?P<subject>\\d+)-(?P<emotion>[a-z]+)-\\d+\\.png",
                         labels={"JOY": "happiness"}),

One that has label files or columns of its own form has a function that gives (entries, notes):

    "Mine": KnownDataSet("`mine.csv`", "--data mine.csv",
                         columns=frozenset({"mood", "shot"}), read=mine),
"""


def readme_table():
    """The lines of data/README.md's table."""
    lines = ["| data set | `--data` is | command |", "|---|---|---|"]
    for name, row in DATASETS.items():
        lines.append(f"| {name} | {row.give} | `python train_cae.py{' ' * bool(row.options)}"
                     f"{row.options}` |")
    return lines
