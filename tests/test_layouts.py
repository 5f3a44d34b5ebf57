"""Which layouts are read, and what is said of them: small trees and tables shaped as data sets are.

Every tree holds the same drawn faces: NUMBER of them, of SUBJECTS and EMOTIONS.
"""

import io
import itertools
import os
import re
import shutil
import unicodedata
import zipfile

from data import emotions, faces, files, layouts, leaks
from data.faces import fingerprint, load_faces
from utils import Problem

import numpy as np
import pytest
from PIL import Image

SUBJECTS, EMOTIONS, TAKES = (1, 2, 3), ("angry", "happy", "sad"), 2
NUMBER = len(SUBJECTS) * len(EMOTIONS) * TAKES
KEYS = list(itertools.product(SUBJECTS, EMOTIONS, range(TAKES)))
KDEF = {"angry": "AN", "happy": "HA", "sad": "SA"}


def face(subject=1, emotion="angry", take=0, side=64):
    """uint8 (side, side): noise of its own for each face."""
    rng = np.random.default_rng([subject, EMOTIONS.index(emotion), take])
    return rng.integers(0, 256, (side, side), dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def tree(folder, pattern, keys=KEYS):
    """All faces at such paths: "{emotion}/S{subject:03}/{take}.png"."""
    for subject, emotion, take in keys:
        save(folder / pattern.format(subject=subject, emotion=emotion, take=take,
                                     split=("train", "test")[take], code=KDEF.get(emotion),
                                     session="AB"[take]),
             face(subject, emotion, take))
    return folder


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), "utf-8")
    return path


def labels_of(data_set):
    """Sorted [(emotion, pixels)]: what every layout of the same faces has in common."""
    return sorted((emotion, image.tobytes()) for emotion, image in
                  zip(data_set.faces.emotions.tolist(), data_set.faces.images))


def says(data_set, *texts):
    """Whether each text is in one of the notes."""
    return all(any(text in note for note in data_set.notes) for text in texts)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    plain = load_faces(tree(tmp_path_factory.mktemp("plain"), "{emotion}/S{subject}_{take}.png"))
    assert len(plain.faces.names) == NUMBER
    return labels_of(plain)


# --------------------------------------------------------------------------------- folder levels
TREES = [  # paths, options, names of the subjects, sides of the split, what is said
    ("{emotion}/S{subject:03}/{take}.png", {}, "S001 S002 S003", "", ["subjects are the folders"]),
    ("S{subject:03}/{emotion}/{take}.png", {}, "S001 S002 S003", "", ["subjects are the folders"]),
    ("{subject:03}/{emotion}/take{take:03}/img_0000.png", {}, "001 002 003", "",
     ["emotions are the folders angry, happy, sad"]),  # MUG
    ("OriginalImg/VL/Strong/P{subject:03}/{emotion}/{take:03}.png", {}, "P001 P002 P003", "",
     ["frames of one sequence"]),  # Oulu-CASIA
    ("{split}/{emotion}/{subject}.png", {}, "", "train test", ["not known who is who"]),
    ("{emotion}/{split}/{subject}.png", {}, "", "train test", []),
    ("{split}/{emotion}/P{subject}/face.png", {}, "P1 P2 P3", "train test", []),
    ("faces/Training/{subject:02}/{emotion}/{take}.png", {}, "01 02 03", "train", []),
    ("{emotion}/anna{subject}x/{take}.png", {}, "", "", [
        "anna1x, anna2x, anna3x are not taken as subjects; where they are, give --subject '^[^/]+/"
        "([^/]+)/'", "not known who is who"]),
    ("{emotion}/anna{subject}x/{take}.png", {"subject": "^[^/]+/([^/]+)/"},
     "anna1x anna2x anna3x", "", []),
    ("{emotion}/{emotion}_0{take}/{subject}.png", {}, "", "", ["are the folders angry, happy"]),
    ("{split}_set/images/{emotion}/{subject}.png", {}, "", "train test", []),
    ("test{subject}/{emotion}/{take}.png", {}, "test1 test2 test3", "", ["subjects are the fold"]),
    ("{emotion}/level{subject}/{take}.png", {}, "", "", ["level1, level2, level3 are not taken"]),
    ("take{take}/{emotion}/{subject}.png", {}, "", "", []),
    ("{session}x/S{subject:02}/{emotion}/{take}.png", {}, "S01 S02 S03", "", []),
    ("{session}x/{emotion}/S{subject:02}/{take}.png", {}, "S01 S02 S03", "", []),
    ("anna{subject}x/{emotion}/{take:02}/img.png", {}, "", "", [  # takes below each of the people
        "anna1x, anna2x, anna3x are not taken as subjects; where they are, give --subject '^([^/]+"
        ")/'"]),
    ("01-{emotion}_faces/{subject}_{take}.png", {"labels": "01-angry_faces=angry,"
     "01-happy_faces=happy,01-sad_faces=sad"}, "", "", []),
    ("{subject}/x/{emotion}-{take}.png", {"emotion": "^[a-z]+", "subject": r"^(\d)/"}, "1 2 3", "",
     []),
    ("{split}/S{subject}_{take}_{emotion}.png", {"emotion": "_([a-z]+)", "subject": r"S(\d)_"},
     "1 2 3", "train test", []),
    ("{subject}{take}-{emotion}.png", {"emotion": "-([a-z]+)"}, "", "", []),
    ("{session}F{subject:02}/{code}.png", {"emotion": "(..).png", "subject": r"(F\d+)/",
     "labels": "AN=angry,HA=happy,SA=sad"}, "F01 F02 F03", "", []),
]


@pytest.mark.parametrize("case", TREES, ids=lambda case: case[0])
def test_tree(case, tmp_path, expected):
    pattern, options, subjects, splits, notes = case
    data_set = load_faces(tree(tmp_path, pattern), **options)
    assert labels_of(data_set) == expected
    assert set(data_set.faces.subjects.tolist()) == set(subjects.split() or [""])
    assert set(data_set.splits.tolist()) == set(splits.split() or [""])
    assert says(data_set, *notes)
    packed = shutil.make_archive(tmp_path.parent / f"{tmp_path.name}-zip", "zip", tmp_path)
    assert fingerprint(load_faces(packed, **options)) == fingerprint(data_set)


@pytest.mark.parametrize("emotions_there", [
    "wütend traurig fröhlich", "colère joie tristesse", "生气 高兴 悲伤", "怒り 喜び 悲しみ",
    "Wut Freude müde", "0 1 2", "AN HA SA", "ANG HAP SAD", "분노 행복 슬픔",
    "злость радость печаль",
    "raiva feliz triste", "enfado alegría tristeza", "rabbia felicità triste",
    "öfke mutlu üzgün",
    "Happily_Surprised Sadly_Angry Fearfully_Disgusted", "contempt calm neutral"])
def test_languages(emotions_there, tmp_path):
    there = dict(zip(EMOTIONS, emotions_there.split()))
    for form in ("NFC", "NFD"):
        folder = tmp_path / form
        for subject, emotion, take in KEYS:
            label = unicodedata.normalize(form, there[emotion])
            save(folder / label / f"S{subject:02}" / f"{take}.png", face(subject, emotion, take))
        data_set = load_faces(folder)
        assert set(data_set.faces.emotions.tolist()) == set(there.values())
        assert set(data_set.faces.subjects.tolist()) == {"S01", "S02", "S03"}


def test_a_guessed_level_is_said_and_people_and_takes_are_refused(tmp_path):
    for number, name in enumerate(("grumpy", "sleepy", "sneezy")):
        for take in range(2):
            save(tmp_path / "dwarfs" / name / f"{take}.png", face(number, "sad", take))
    data_set = load_faces(tmp_path / "dwarfs")
    assert says(data_set, "labels, grumpy 2, sleepy 2, sneezy 2; --emotion PATTERN")
    for pattern in ("{subject:03}/{take:03}/{emotion}.png", "{take}/{subject}/{emotion}.png",
                    "AF{subject:02}/{emotion}{take}.png",
                    "subject{subject}/{emotion}{take}.png", "x/take00{subject}/{emotion}{take}.png",
                    "S{subject:03}/001/S{subject:03}_001_{take:03}{code}.png"):
        folder = tree(tmp_path / pattern[:9].replace("/", "-"), pattern)
        with pytest.raises(Problem, match="folders are.*people or takes.*--emotion PATTERN"):
            load_faces(folder)
    people = tree(tmp_path / "people", "anna{subject}x/S{take}_{emotion}.png")
    with pytest.raises(Problem, match="the names of the files have words for emotions, the folders "
                                      "have not") as caught:
        load_faces(people)
    former, latter = re.findall("--emotion '(.*?)'", str(caught.value))
    assert set(load_faces(people, emotion=former).faces.emotions.tolist()) == set(EMOTIONS)
    assert load_faces(people, emotion=latter).faces.emotions[0] == "anna1x"
    for subject, emotion, take in KEYS:
        save(tmp_path / f"foreign/{emotion[1:]}x/bu{'dwi'[:subject]}/{take}.png", face(subject))
    with pytest.raises(Problem, match="which folders are the emotions, adx, appyx, ngryx or bud, "
                                      "budw, budwi; --emotion PATTERN"):
        load_faces(tmp_path / "foreign")
    for subject in range(3):  # people with numbers cannot be the emotions
        os.rename(tmp_path / "foreign" / ("adx", "appyx", "ngryx")[subject],
                  tmp_path / "foreign" / f"S{subject}")
    assert load_faces(tmp_path / "foreign").faces.subjects[0] == "S0"
    for number in range(31):
        save(tmp_path / "many" / chr(97 + number) / "1.png", face(number, "sad"))
    with pytest.raises(Problem, match="more than 30; --emotion PATTERN"):
        load_faces(tmp_path / "many")


def test_what_lies_beside_folders_of_emotions(tmp_path, expected):
    """Unlabelled test images are left out; one image in no folder is named; other folders are not
    taken as labels; a table of the same faces is read where folders may be people, or named."""
    folder = tree(tmp_path / "contest", "train/{emotion}/{subject}{take}.png")
    for take in range(4):
        save(folder / "test" / f"{take}.png", face(9, take=take))
    data_set = load_faces(folder)
    assert labels_of(data_set) == expected and set(data_set.splits.tolist()) == {"train"}
    assert says(data_set, "4 images lie in no folder of an emotion and were left out: test/0.png")
    save(folder / "test" / "images" / "0.png", face(9))
    assert labels_of(load_faces(folder)) == expected

    write(folder / "train" / "disgust" / "1.heic", [""])
    assert says(load_faces(folder), "no image that can be read lies in train/disgust")
    folder = tree(tmp_path / "deep", "{emotion}/S{subject}/{take}.png")
    save(folder / "test" / "0.png", face(9))
    assert labels_of(load_faces(folder)) == expected
    assert set(load_faces(folder).faces.subjects.tolist()) == {"S1", "S2", "S3"}
    for take in range(2):
        save(folder / "unknown" / "S1" / f"{take}.png", face(8, take=take))
    assert says(load_faces(folder), "labels with words that are not known: unknown 2")

    stray = tree(tmp_path / "stray", "{emotion}/{subject}{take}.png")
    save(stray / "cover.png", face(9))
    with pytest.raises(Problem, match="^[^,]*/cover.png: lies in no folder, the other images do"):
        load_faces(stray)
    for pattern in ("train/images/{emotion}{subject}{take}.png",
                    "FER2013Train/{emotion}{subject}{take}.png"):
        with pytest.raises(Problem, match="the emotion is unclear: the folders are called"):
            load_faces(tree(tmp_path / pattern[:9].replace("/", "-"), pattern))

    people = tree(tmp_path / "people", "{subject}/{emotion}{take}.png")
    write(people / "labels.csv", ["file, emotion, subject", *(
        f'"{subject}/{emotion}{take}.png", "{emotion}", "P{subject}"'
        for subject, emotion, take in KEYS)])
    data_set = load_faces(people)
    assert labels_of(data_set) == expected
    assert set(data_set.faces.subjects.tolist()) == {"P1", "P2", "P3"}
    classes = tree(tmp_path / "classes", "{subject}/{emotion}{take}.png")
    write(classes / "few.csv", ["image,label", "1/angry0.png,2", "2/angry0.png,1"])
    assert len(load_faces(classes).faces.names) == NUMBER  # a table of some is none of all
    assert says(load_faces(classes), "words for emotions too; --emotion '(angry|happy|sad)' takes")
    write(stray.parent / "flat" / "labels.csv", ["image,gefühl", "1.png,2"])
    save(stray.parent / "flat" / "1.png", face(1))
    with pytest.raises(Problem, match="labels.csv lists no faces that can be read, --data with"):
        load_faces(stray.parent / "flat")
    both = tree(tmp_path / "both", "{emotion}/{subject}{take}.png")
    write(both / "more.csv", ["file,emotion", "angry/10.png,happy"])
    assert labels_of(load_faces(both)) == expected
    assert says(load_faces(both), "more.csv: lists faces too and was not read; give --data that")


def test_another_data_set_with_other_spellings(tmp_path):
    training = load_faces(tree(tmp_path / "faces", "{emotion}/{subject}{take}.png"))
    folder = tmp_path / "other"
    for number, label in enumerate(("Angry", "HAPPY", "fear")):
        save(folder / label / "1.png", face(20 + number))
    found = faces.with_test_set(training, load_faces(folder, alone=False))
    assert found.faces.emotions[-2:].tolist() == ["happy", "angry"][::-1]
    assert says(found, "1 test faces are left out, whose emotions no training face shows: fear")
    for code in ("AN", "HA"):
        save(tmp_path / "codes" / code / "1.png", face(30, take=ord(code[0])))
    shutil.copytree(tmp_path / "faces", tmp_path / "again.v2")  # saved once more
    for file in (tmp_path / "again.v2").rglob("*.png"):
        save(file.with_suffix(".jpg"), Image.open(file), quality=95)
        file.unlink()
    again = load_faces(tmp_path / "again.v2", alone=False, subject=r"(S\d+)_",
                       may_have_other_names=True)
    assert again.name == "again-v2" and says(again, "matches no name of the test faces")
    assert says(faces.with_test_set(training, again), "test faces of nearly the same pixels as tra")
    with pytest.raises(Problem, match="none of the emotions of faces .angry, happy, sad. but "
                                      "AN, HA; rename them with --labels AN=angry,HA=happy"):
        faces.with_test_set(training, load_faces(tmp_path / "codes", alone=False))


def test_jaffe_whatever_its_labels_folders_and_size(tmp_path):
    """JAFFE's box is for its own images, under its own labels or others."""
    def jaffe(name, pattern="{}", side=256, extra=()):
        for subject, count in faces.JAFFE_SUBJECTS.items():
            for number in range(count - count % 7):
                emotion = list(faces.JAFFE_EMOTIONS)[number % 7]
                file = f"{subject}.{emotion}{number // 7 + 1}.1.png"
                if number < 14 or side == 256:
                    save(tmp_path / name / pattern.format(file, emotion), np.full(
                        (side, side), number, np.uint8), compress_level=1)
        for file in extra:
            save(tmp_path / name / file, face(9, side=side))
        return tmp_path / name

    flat, small = jaffe("flat"), jaffe("small", side=128)
    renamed = {"labels": "AN=anger,HA=joy"}
    for data_set in (load_faces(flat), load_faces(flat, **renamed)):
        assert (data_set.name, data_set.crop) == ("JAFFE", "50,65,161")
    assert len(load_faces(small).faces.names) == 140 and load_faces(small).crop == "square"
    for file in flat.glob("*.SA*"):
        file.unlink()
    for file in flat.glob("K*"):
        file.unlink()
    part = load_faces(flat)
    assert (part.name, part.crop) == ("flat", "50,65,161")


def test_subjects_in_two_spellings_are_one(tmp_path):
    for subject, emotion, take in KEYS:
        save(tmp_path / f"{emotion}/{'sS'[take]}0{subject}_1.png", face(subject, emotion, take))
    data_set = load_faces(tmp_path, subject="^([A-Za-z]0.)_")
    assert set(data_set.faces.subjects.tolist()) == {"S01", "S02", "S03"}
    assert says(data_set, "subjects with two spellings: S01 = s01, S02 = s02",
                "--subject finds 3 subjects: S01 6, S02 6")


def test_names_of_kdef_and_rafd(tmp_path):
    for subject, emotion, take in KEYS:
        name = f"{'AB'[take]}F{subject:02}"
        save(tmp_path / "kdef" / name / f"{name}{KDEF[emotion]}S.JPG", face(subject, emotion, take),
             format="JPEG")
        save(tmp_path / f"rafd/Rafd{90 * take:03}_{subject:02}_Caucasian_female_{emotion}_"
             f"{('frontal', 'left')[take]}.jpg", face(subject, emotion, take))  # where eyes look
    kdef, rafd = load_faces(tmp_path / "kdef"), load_faces(tmp_path / "rafd")
    assert set(kdef.faces.subjects.tolist()) == {"F01", "F02", "F03"}
    assert set(rafd.faces.subjects.tolist()) == {"01", "02", "03"}
    for data_set in (kdef, rafd):
        assert set(data_set.faces.emotions.tolist()) == set(EMOTIONS)
        assert says(data_set, "person and emotion are those of")
    assert says(rafd, "9 of RaFD's 18 faces are not seen from the front")
    pattern = {"emotion": r"\d\d(..)S", "subject": r"[AB](F\d\d)"}
    by_pattern = load_faces(tmp_path / "kdef", **pattern).faces
    assert np.array_equal(np.sort(by_pattern.subjects), np.sort(kdef.faces.subjects))
    assert set(by_pattern.emotions.tolist()) == set(KDEF.values())
    # One name that tells nothing, as KDEF has some.
    (tmp_path / "kdef/AF01/AF01ANS.JPG").rename(tmp_path / "kdef/AF01/AF01V.JPG")
    with pytest.raises(Problem, match="AF01V.JPG: a name that tells no emotion.*rename or remove"):
        load_faces(tmp_path / "kdef")


# ------------------------------------------------------------------------------------------ labels
def counted(*labels, renamed=""):
    """({label: count}, notes) of faces with these labels."""
    emotion, notes = emotions.unified(list(labels), renamed)
    return dict(zip(*map(list, np.unique(emotion, return_counts=True)))), " ".join(notes)


def test_labels_that_mean_one_thing():
    assert counted("happy", "Happy", "happy", "sad") == (
        {"happy": 3, "sad": 1}, "the labels 'Happy', 'happy' are one: happy")
    decomposed = unicodedata.normalize("NFD", "dégoût")
    assert counted("dégoût", decomposed)[0] == {"dégoût": 2} == counted(decomposed)[0] | {
        "dégoût": 2}
    assert counted("an", "AN", "ha") == ({"AN": 2, "HA": 1}, "")
    for pair in (("anger", "angry"), ("surprise", "Surprised"), ("fröhlich", "HA"), ("悲伤", "sad"),
                 ("happily surprised", "Happy_Surprise")):
        labels, notes = counted(*pair, "neutral")
        assert len(labels) == 3 and "may mean one emotion" in notes, pair
    for pair in (("anger", "sad"), ("happily surprised", "surprised"), ("1", "2")):
        assert "may mean" not in counted(*pair)[1]
    assert "labels are numbers" in counted("1", "2")[1]


def test_labels_option():
    labels, notes = counted("angry", "anger", "1", renamed="Angry=anger,1=surprise")
    assert labels == {"anger": 2, "surprise": 1} and not notes
    assert counted("Happy", "Happy", "joy", renamed="joy=happy")[0] == {"Happy": 3}
    assert counted("happy", "Happy", "happy", renamed="happy=Happy")[0] == {"Happy": 3}
    assert counted("a", "a", "b", renamed="a=b,b=a")[0] == {"b": 2, "a": 1}
    assert counted("a", "b", "c", renamed="a=b")[0] == {"b": 2, "c": 1}
    for wrong in ("angry", "=x", "a=", "a=b=c", "a=b,,", ","):
        with pytest.raises(Problem, match="is not of the form angry=anger,1=surprise"):
            counted("angry", "a", renamed=wrong)
    with pytest.raises(Problem, match="no face has the label glad; there are a, b"):
        counted("a", "b", renamed="glad=a")


def test_labels_in_two_spellings_are_one_in_a_tree(tmp_path):
    for subject, emotion, take in KEYS:
        split = ("train", "test")[take]
        label = emotion.title() if split == "train" else emotion
        save(tmp_path / split / label / f"{subject}.png", face(subject, emotion, take))
    data_set = load_faces(tmp_path)
    assert len(set(data_set.faces.emotions.tolist())) == 3 and says(data_set, "'Happy', 'happy'")
    merged = load_faces(tmp_path, labels="happy=good,angry=bad,sad=bad")
    assert dict(zip(*np.unique(merged.faces.emotions, return_counts=True))) == {"good": 6,
                                                                                "bad": 12}


# ------------------------------------------------------------------------- folders, links, systems
@pytest.mark.parametrize("name", [".ipynb_checkpoints", "@eaDir", "#recycle", "__MACOSX", ".git/x",
                                  "lost+found", "$RECYCLE.BIN", "System Volume Information"])
def test_system_folders_are_skipped_and_counted(name, tmp_path, expected):
    tree(tmp_path, "{emotion}/{subject}_{take}.png")
    for place in (tmp_path / name, tmp_path / "happy" / name):
        save(place / "1.png", face(9, "happy"))
    (tmp_path / "happy/._1_0.png").write_bytes(b"resource fork")
    packed = shutil.make_archive(tmp_path.parent / "packed", "zip", tmp_path)
    for path in (tmp_path, packed):
        data_set = load_faces(path)
        assert labels_of(data_set) == expected
        said = next(note for note in data_set.notes if "hidden or system files and folders" in note)
        top = name.partition("/")[0]
        assert all(place in said for place in (f" {top}", f"happy/{top}", "happy/._1_0.png"))


def test_linked_folders_are_followed(tmp_path, expected):
    folder = tree(tmp_path / "store", "{emotion}/{subject}_{take}.png")
    (tmp_path / "faces").mkdir()
    for emotion in EMOTIONS:
        (tmp_path / "faces" / emotion).symlink_to(folder / emotion)
    (folder / "happy" / "again").symlink_to(folder)  # three cycles
    (folder / "happy" / "self").symlink_to(".")
    (tmp_path / "faces" / "up").symlink_to("..")
    for path in (tmp_path / "faces", folder):
        data_set = load_faces(path)
        assert labels_of(data_set) == expected and says(data_set, "is read already; skipped")
    (tmp_path / "alias").symlink_to("store")
    assert labels_of(load_faces(tmp_path / "alias")) == expected


def test_a_forbidden_folder_is_named(tmp_path, monkeypatch):
    tree(tmp_path, "{emotion}/{subject}_{take}.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sad"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(files.os, "scandir", refuse)
    with pytest.raises(Problem, match="sad: cannot be read .Permission denied.; give access"):
        load_faces(tmp_path)


def test_names_that_are_no_utf8(tmp_path, expected):
    tree(tmp_path, "{emotion}/{subject}_{take}.png")
    os.rename(tmp_path / "sad/1_0.png", os.fsencode(tmp_path) + b"/sad/\xe9t\xe9.png")
    os.rename(tmp_path / "happy", os.fsencode(tmp_path) + b"/happy\xff")
    data_set = load_faces(tmp_path, labels=r"happy\xff=happy")
    assert labels_of(data_set) == expected and r"sad/\xe9t\xe9.png" in data_set.faces.names
    for name in data_set.faces.names.tolist() + data_set.notes:
        name.encode()
    fingerprint(data_set)


def test_zips_of_other_systems(tmp_path, expected):
    folder = tree(tmp_path / "plain", "{emotion}/{subject}_{take}.png")
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as windows, \
            zipfile.ZipFile(tmp_path / "mac.zip", "w") as mac:
        for file in folder.rglob("*.png"):
            name = file.relative_to(folder).as_posix()
            info = zipfile.ZipInfo("x")
            info.filename = "..\\" + name.replace("/", "\\")
            windows.writestr(info, file.read_bytes())
            mac.writestr(name.replace("sad", "triste ++"), file.read_bytes())
    assert labels_of(load_faces(tmp_path / "windows.zip")) == expected
    content = (tmp_path / "mac.zip").read_bytes()  # UTF-8 that no flag says to be
    (tmp_path / "mac.zip").write_bytes(content.replace(b"triste ++", "triste é".encode()))
    assert "triste é" in load_faces(tmp_path / "mac.zip").faces.emotions
    dos = content.replace(b"triste ++", "João bcde".encode("cp850"))
    (tmp_path / "dos.zip").write_bytes(dos)
    assert "João bcde" in load_faces(tmp_path / "dos.zip").faces.emotions
    (tmp_path / "gbk.zip").write_bytes(content.replace(b"triste ++", "悲伤 abcd".encode("gbk")))
    with pytest.raises(Problem, match="gbk.zip: damaged .its names are in an encoding that it does "
                                      "not tell.; download it again, or unpack it and give"):
        load_faces(tmp_path / "gbk.zip")
    assert not (tmp_path.parent / "angry").exists()


# ------------------------------------------------------------------------------------------- leaks
def test_twins(tmp_path):
    folder = tree(tmp_path, "{emotion}/S{subject}_{take}.png")
    faces = {}
    for number, name in enumerate(("S7_0", "S8_0", "S9_0")):
        smooth = Image.fromarray(face(7 + number, "sad", side=12)).resize((96, 96))
        save(folder / f"sad/{name}.png", smooth)
        faces[name] = smooth
    save(folder / "sad/again.jpg", faces["S7_0"], quality=85)
    shifted = np.roll(faces["S8_0"].resize((48, 48), Image.Resampling.BILINEAR), (1, -1), (0, 1))
    save(folder / "sad/shifted.png", shifted)
    shutil.copy(folder / "sad/S9_0.png", folder / "happy/other.png")
    save(folder / "sad/S1_0.bmp", face(4, "sad"))
    save(folder / "sad/mirrored.jpg", face(1, "happy", 1)[:, ::-1], quality=95)
    data_set = load_faces(folder)
    assert says(data_set, "A LEAK if on two sides of a split: happy/other.png as sad/S9_0.png",
                "sad/S1_0.bmp and sad/S1_0.png", "nearly the same pixels")
    near = next(note for note in data_set.notes if "nearly" in note)
    assert "sad/again.jpg" in near and "shifted.png" in near and "S9_0" not in near
    assert "sad/mirrored.jpg as happy/S1_1.png" in near
    notes = load_faces(tree(tmp_path / "again", "{emotion}/S{subject}_{take}.png")).notes
    assert not any("LEAK" in note for note in notes)


def test_near_twins_are_those_within_a_grey_level_or_two():
    rng = np.random.default_rng(0)
    images = rng.integers(20, 230, (300, 48, 48), dtype=np.uint8)
    images[10] = images[3] + rng.integers(-2, 3, (48, 48)).astype(np.uint8)
    images[20, 1:] = images[4, :-1]
    images[30, :-1, 1:] = images[5, 1:, :-1]
    images[40] = images[6] + 6  # another exposure
    images[50] = images[7]
    equal, first = leaks.equal_faces(images)
    assert equal == [(50, 7)] and len(first) == 299
    assert leaks.near_twins(images, first) == [(10, 3), (20, 4), (30, 5)]


def test_sequences():
    names = {"S010_004_00000017.png": "S010_004", "a/S010_004_00000018.png": "S010_004",
             "001/anger/take000/img_0012.jpg": "001/anger/take000",
             "P001/Anger/003.jpeg": "P001/Anger", "s12-3-frame0010.png": "s12-3",
             "happy/0001.png": "", "Training_10118481.jpg": "", "KA.AN1.39.tiff": "",
             "train_00001_aligned.jpg": "", "AF01ANS.JPG": "", "0/image0000006.jpg": "",
             "happy/S001_12.png": "", "train/happy/12.png": "",
             "01-01-03-02_frame12.jpg": "01-01-03-02", "clip7_frame3.jpg": "clip7"}
    assert dict(zip(names, leaks.sequences(list(names)).tolist())) == names
    assert leaks.sequences([]).tolist() == []


# ------------------------------------------------------------------------------------- label files
def ck_plus(folder, keys=KEYS[::2]):
    """CK+ as distributed: sequences of 3 frames, the first without a label; {peak: emotion}."""
    peaks = {}
    for number, (subject, emotion, take) in enumerate(keys):
        place = f"S{subject:03}/{number:03}"
        for frame in (1, 2, 3):
            stem = f"S{subject:03}_{number:03}_{frame:08}"
            save(folder / f"cohn-kanade-images/{place}/{stem}.png",
                 face(subject, emotion, 10 * frame + take))
        if number:
            code = {"angry": 1, "happy": 5, "sad": 6}[emotion]
            write(folder / f"Emotion/{place}/{stem}_emotion.txt", [f"   {code}.0000000e+00\n"])
            peaks[f"{stem}.png"] = {"angry": "anger", "happy": "happy", "sad": "sadness"}[emotion]
    return peaks


def test_ck_plus_as_distributed(tmp_path):
    peaks = ck_plus(tmp_path)
    data_set = load_faces(tmp_path)
    assert dict(zip(data_set.faces.names.tolist(), data_set.faces.emotions.tolist())) == peaks
    assert set(data_set.faces.subjects.tolist()) == {"S001", "S002", "S003"}
    assert says(data_set, "the 8 last frames of sequences with a label are read, 19 other images")
    packed = shutil.make_archive(tmp_path.parent / "ck", "zip", tmp_path)
    assert fingerprint(load_faces(packed)) == fingerprint(data_set)
    with pytest.raises(Problem, match="for CK. give the folder that holds Emotion too"):
        load_faces(tmp_path / "cohn-kanade-images")
    with pytest.raises(Problem, match="holds no image"):
        load_faces(tmp_path / "Emotion")
    label = next((tmp_path / "Emotion").rglob("*.txt"))
    for wrong in ("", "8.0", "happy", "1.5"):
        label.write_text(wrong)
        with pytest.raises(Problem, match=f"{label.name}: its label is none of 0 to 7"):
            load_faces(tmp_path)


def raf_db(folder):
    lines = []
    for number, (subject, emotion, take) in enumerate(KEYS):
        name = f"{('train', 'test')[take]}_{number:05}"
        save(folder / f"basic/Image/aligned/{name}_aligned.png", face(subject, emotion, take))
        lines.append(f"{name}.jpg {({'angry': 6, 'happy': 4, 'sad': 5})[emotion]}")
    return write(folder / "basic/EmoLabel/list_patition_label.txt", lines)


def test_raf_db(tmp_path, expected):
    label_list = raf_db(tmp_path)
    for path in (tmp_path, tmp_path / "basic", label_list):
        data_set = load_faces(path, labels="anger=angry,happiness=happy,sadness=sad")
        assert labels_of(data_set) == expected
        assert dict(zip(*np.unique(data_set.splits, return_counts=True))) == {"train": 9, "test": 9}
    save(tmp_path / "basic/Image/original/train_00000.jpg", face(9, "sad"))
    assert says(load_faces(tmp_path), "1 images are not in list_patition_label.txt")
    lines = label_list.read_text().splitlines()
    for wrong in ("train_00000.jpg", "train_00000.jpg 12", "train_00000.jpg happy"):
        write(label_list, [*lines, wrong])
        with pytest.raises(Problem, match="list_patition_label.txt, line 19: is not a file and a"):
            load_faces(tmp_path)
    write(label_list, [*lines, "train_00077.jpg 1", "train_00078.jpg 1"])
    with pytest.raises(Problem, match="no image for train_00077.jpg, train_00078.jpg; unpack"):
        load_faces(tmp_path)
    write(label_list, [line.replace(" 6", " 11") for line in lines])  # compound emotions
    assert "sadly surprised" in load_faces(tmp_path).faces.emotions


FER = {"angry": 0, "happy": 3, "sad": 4}


def cells(pixels):
    return " ".join(map(str, pixels.ravel()))


def pixel_rows(label=FER.get, usages=("Training", "PrivateTest"), side=48):
    return [f"{label(emotion)},{cells(face(subject, emotion, take, side))},{usages[take]}"
            for subject, emotion, take in KEYS]


def fer_plus(folder):
    """fer2013.csv, and fer2013new.csv whose votes call it happy where there is no doubt."""
    write(folder / "fer2013.csv", ["emotion,pixels,Usage", *pixel_rows()])
    votes = {0: "0,9,0,0,1,0,0,0,0,0", 1: "8,1,0,0,1,0,0,0,0,0", 2: "0,5,0,0,5,0,0,0,0,0",
             3: "0,1,0,0,0,0,0,0,6,3", 4: "0,0,0,0,0,0,0,0,0,10"}
    lines = [f"{('Training', 'PrivateTest')[take]},fer{number:07}.png,{votes[number % 5]}"
             for number, (_, _, take) in enumerate(KEYS)]
    return write(folder / "fer2013new.csv", [
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,"
        "NF", *lines])


def test_fer_plus(tmp_path):
    table = fer_plus(tmp_path / "a")
    for path in (table, tmp_path / "a"):
        data_set = load_faces(path)
        assert data_set.faces.emotions.tolist() == ["happiness", "neutral"] * 4
        assert data_set.faces.names.tolist()[:3] == ["000001", "000002", "000006"]
        assert np.array_equal(data_set.faces.images[2], face(*KEYS[5], side=48))
        assert set(data_set.splits.tolist()) == {"train", "test"}
        assert says(data_set, "3 of emotion unknown, 3 that are no face, 4 without a majority")
    own = load_faces(tmp_path / "a" / "fer2013.csv")  # its own labels
    assert set(own.faces.emotions.tolist()) == set(EMOTIONS) and len(own.faces.names) == NUMBER
    table.write_text("\n".join(table.read_text().splitlines()[:-1]))
    with pytest.raises(Problem, match="fer2013new.csv: 17 lines for the 18 of fer2013.csv"):
        load_faces(table)
    (tmp_path / "a/fer2013.csv").unlink()
    with pytest.raises(Problem, match="fer2013new.csv: has FERPlus' votes .*put fer2013.csv besi"):
        load_faces(table)


PIXELS = [  # labels, header, side of the pixels
    (FER.get, "emotion,pixels,Usage", 48), (FER.get, " Emotion, pixels, Usage", 48),
    (lambda emotion: f"{FER[emotion]}.0", "emotion,pixels,Usage", 48),
    (str, "label,pixels,usage", 48), (str.upper, "emotion,pixels,split", 96),
    (FER.get, "emotion,pixels,Usage", 20)]


@pytest.mark.parametrize("case", PIXELS)
def test_pixels_in_a_table(case, tmp_path):
    label, header, side = case
    write(tmp_path / "ck.csv", [header, *pixel_rows(label, side=side)])
    data_set = load_faces(tmp_path / "ck.csv")
    assert {emotion.lower() for emotion in data_set.faces.emotions} == set(EMOTIONS)
    if side == 48:
        assert np.array_equal(data_set.faces.images[4], face(*KEYS[4], side=48))
    # The only file of a folder, or in a zip.
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as packed:
        packed.write(tmp_path / "ck.csv", "archive/ck.csv")
    (tmp_path / "folder").mkdir()
    shutil.copy(tmp_path / "ck.csv", tmp_path / "folder")
    for path in (tmp_path / "archive.zip", tmp_path / "folder"):
        assert fingerprint(load_faces(path)) == fingerprint(data_set)


def test_ck_plus_in_fer2013s_form_has_contempt(tmp_path):
    label = {"angry": 0, "happy": 3, "sad": 7}.get
    write(tmp_path / "ck.csv", ["emotion,pixels,Usage", *pixel_rows(label)])
    assert set(load_faces(tmp_path / "ck.csv").faces.emotions.tolist()) == {"angry", "happy",
                                                                            "contempt"}
    label = {"angry": 1, "happy": 3, "sad": 7}.get  # no 0: RAF-DB's numbers, or somebody's own
    write(tmp_path / "raf.csv", ["label,pixels", *(row.rpartition(",")[0]
                                                   for row in pixel_rows(label))])
    assert set(load_faces(tmp_path / "raf.csv").faces.emotions.tolist()) == {"1", "3", "7"}
    label = {"angry": 1, "happy": 2, "sad": "3.0"}.get  # counted from 1
    write(tmp_path / "own.csv", ["label,pixels", *(row.rpartition(",")[0]
                                                   for row in pixel_rows(label))])
    assert set(load_faces(tmp_path / "own.csv").faces.emotions.tolist()) == {"1", "2", "3"}
    label = {"angry": 3, "happy": 4, "sad": 6}.get
    write(tmp_path / "part.csv", ["emotion,pixels,Usage", *pixel_rows(label)])
    assert "neutral" in load_faces(tmp_path / "part.csv").faces.emotions


# --------------------------------------------------------------------------------------- manifests
def manifest(header, line, **values):
    return [header, *(line.format(s=subject, e=emotion, t=take, n=number, **values)
                      for number, (subject, emotion, take) in enumerate(KEYS))]


MANIFESTS = [  # suffix of the table, header, line, whether subjects are known
    ("csv", "file,emotion", "faces/{e}/{s}_{t}.png,{e}", False),
    ("csv", "filename,label,person", "faces/{e}/{s}_{t}.png,{e},P{s}", True),
    ("csv", "path,expression,id", "faces/{e}/{s}_{t}.png,{e},{s}", True),
    ("csv", "id,image,emotion", "{n},faces/{e}/{s}_{t}.png,{e}", False),  # counts the lines
    ("csv", "sep=;\n\nimage_file;labels", "faces/{e}/{s}_{t}.png;{e}", False),  # of Excel
    ("csv", "# all of them\n#,file,emotion", "{n},faces/{e}/{s}_{t}.png,{e}", False),
    ("csv", ",Image Path,Emotion,Subject_ID", "{n},faces/{e}/{s}_{t}.png,{e},{s}", True),
    ("csv", "image;label;subject", "faces\\{e}\\{s}_{t}.png;{e};{s}", True),
    ("csv", "file,emotion,width,height", "faces/{e}/{s}_{t}.png,{e},64,64", False),
    ("tsv", "file\temotion\tsubject", "faces/{e}/{s}_{t}.png\t{e}\t{s}", True),
    ("txt", "file\temotion", "faces\\{e}\\{s}_{t}.png\t{e}", False),
    ("csv", "file,emotion,x1,y1,x2,y2", "faces/{e}/{s}_{t}.png,{e},0,0,9,9", False),
    ("csv", "user.id,image,emotion", "7,faces/{e}/{s}_{t}.png,{e}", False)]


@pytest.mark.parametrize("case", MANIFESTS, ids=lambda case: case[1])
def test_manifest(case, tmp_path, expected):
    kind, header, line, known = case
    tree(tmp_path / "faces", "{emotion}/{subject}_{take}.png")
    data_set = load_faces(write(tmp_path / f"list.{kind}", manifest(header, line)))
    assert labels_of(data_set) == expected
    assert (set(data_set.faces.subjects.tolist()) == {""}) != known
    assert says(data_set, "x1, y1, x2, y2 are not read; a box is read") == ("x1" in header)
    packed = shutil.make_archive(tmp_path.parent / "list", "zip", tmp_path, "faces")
    with zipfile.ZipFile(packed, "a") as archive:  # images whose folders tell nothing
        archive.write(tmp_path / f"list.{kind}", f"list.{kind}")
    # There the folders tell the emotion, and the table is skipped.
    assert labels_of(load_faces(packed)) == expected


def test_a_table_among_images_that_tell_nothing(tmp_path, expected):
    folder = tree(tmp_path / "a", "images/{emotion}{subject}{take}.png")
    write(folder / "labels.csv", manifest("file,emotion", "{e}{s}{t}.png,{e}"))
    write(folder / "notes.txt", ["nothing,here"])
    for path in (folder, shutil.make_archive(tmp_path / "packed", "zip", folder)):
        data_set = load_faces(path)
        assert labels_of(data_set) == expected and says(data_set, "labels are those of labels.csv")
    deep = tree(tmp_path / "deep", "images/{subject}{take}/{emotion[0]}.png")
    write(deep / "labels.csv", manifest("file,emotion", "/content/images/{s}{t}/{e[0]}.png,{e}"))
    assert labels_of(load_faces(deep)) == labels_of(load_faces(deep / "labels.csv")) == expected
    for line in ("/kaggle/input/{e}{s}{t}.png,{e}", r"C:\faces\{e}{s}{t}.png,{e}",
                 "a/images/{e}{s}{t}.png,{e}"):  # another machine's paths; the parent's
        write(folder / "labels.csv", manifest("file,emotion", line))
        assert labels_of(load_faces(folder)) == expected
        assert labels_of(load_faces(folder / "labels.csv")) == expected
    torn = tree(tmp_path / "torn", "test/{emotion}{subject}{take}.png")  # train/ is not unpacked
    write(torn / "train.csv", manifest("file,emotion", "train/{e}{s}{t}.png,{e}"))
    for path in (torn, torn / "train.csv"):
        with pytest.raises(Problem, match="face 1: no file train/angry10.png, .*files are sought"):
            load_faces(path)
    write(folder / "other.csv", manifest("file,emotion", "{e}{s}{t}.png,{e}"))
    with pytest.raises(Problem, match="2 tables of faces, labels.csv, other.csv; give --data one"):
        load_faces(folder)


def test_a_table_for_each_side(tmp_path, expected):
    """As Hugging Face's image folders and Roboflow's exports have them."""
    for name, header, line in (("metadata.csv", "file_name,label", "{}.png,{}"),
                               ("_classes.csv", "filename, angry, happy, sad", "{}.png, {}")):
        folder = tree(tmp_path / name[:4], "{split}/{emotion}{subject}.png")
        for take, split in enumerate(("train", "test")):
            write(folder / split / name, [header, *(line.format(
                f"{emotion}{subject}", emotion if "label" in header else ", ".join(
                    ("0", "1", "False", "TRUE")[2 * take + (emotion == other)]
                    for other in EMOTIONS))
                for subject, emotion, number in KEYS if number == take)])
        data_set = load_faces(folder)
        assert labels_of(data_set) == expected
        assert dict(zip(*np.unique(data_set.splits, return_counts=True))) == {"train": 9, "test": 9}
        assert says(data_set, f"labels are those of test/{name}, train/{name}")
    for split in ("train", "test"):  # beside the folders
        lines = (folder / split / "_classes.csv").read_text().splitlines()
        lines[1:] = [f"{split}/{line}" for line in lines[1:]]
        write(folder / f"{split}_labels.csv", lines)
        (folder / split / "_classes.csv").unlink()
    assert fingerprint(load_faces(folder)) == fingerprint(data_set)
    write(folder / "test_labels.csv", [header, "test/angry1.png, 1, 1, 0"])
    with pytest.raises(Problem, match="face 1: has no emotion; correct or remove the line"):
        load_faces(folder)


def test_muxspace(tmp_path):
    """legend.csv in data/, images/ beside that; labels in mixed case; several annotators."""
    tree(tmp_path, "images/{emotion}{subject}{take}.png")
    lines = manifest("user.id,image,emotion", "{n},{e}{s}{t}.png,{e}")
    lines = [line.replace("1.png,happy", "1.png,HAPPY") for line in lines]
    lines += ["628,angry10.png,angry", "629,angry11.png,sad"]
    table = write(tmp_path / "data/legend.csv", lines)
    for path in (table, tmp_path):
        data_set = load_faces(path)
        assert len(data_set.faces.names) == NUMBER - 1 and "angry11.png" not in str(
            data_set.faces.names)
        assert set(data_set.faces.emotions.tolist()) == set(EMOTIONS)
        assert set(data_set.faces.subjects.tolist()) == {""}
        assert says(data_set, "user.id is who gave the label", "1 images without one were left out",
                    "'HAPPY', 'happy' are one")


def test_affectnet(tmp_path):
    tree(tmp_path, "Manually_Annotated/{subject}/{emotion}{take}.png")
    lines = ["subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
             "expression,valence,arousal"]
    codes = {"angry": 6, "happy": 1, "sad": 2}
    lines += [f"{subject}/{emotion}{take}.png,2,3,44,40,1;2,{codes[emotion]},0.1,0"
              for subject, emotion, take in KEYS]
    lines[1] = lines[1].replace(",6,0.1,0", ",10,-2,-2")
    table = write(tmp_path / "Manually_Annotated/validation.csv", lines)
    data_set = load_faces(table)
    assert set(data_set.faces.emotions.tolist()) == {"anger", "happiness", "sadness"}
    assert says(data_set, "1 images without an emotion or a face were left out")
    assert len(data_set.faces.names) == NUMBER - 1 and data_set.crop == "manifest"
    assert data_set.wide_crops[0].side == 44
    write(table, [lines[0], lines[1]])
    with pytest.raises(Problem, match="validation.csv: holds no face with an emotion"):
        load_faces(table)


def test_boxes_of_detectors(tmp_path):
    """Over the edge, negative, with decimals: the edge is repeated; the same as a larger image."""
    rng = np.random.default_rng(2)
    large = np.pad(rng.integers(0, 256, (100, 120), dtype=np.uint8), 50, "edge")
    lines = {"file,emotion,x,y,side": ["{},{},-10.4,-5,60.2", "{},{},79.6,45,70", "{},{},0,0,100"],
             "file,emotion,x,y,w,h": ["{},{},-10,0,60,50", "{},{},80,45,69.9,70",
                                      "{},{},0,10,100,80"]}
    squares = [(40, 45, 60), (130, 95, 70), (50, 50, 100)]
    for number in range(3):
        for label in ("happy", "sad"):
            pixels = large[50:150, 50:170].copy()
            save(tmp_path / f"{label}{number}.png", pixels)
    for header, boxes in lines.items():
        rows = [box.format(f"{label}{number}.png", label)
                for label in ("happy", "sad") for number, box in enumerate(boxes)]
        data_set = load_faces(write(tmp_path / "boxes.csv", [header, *rows]))
        for row, (x, y, side) in enumerate(2 * squares):
            square = Image.fromarray(large).crop((x, y, x + side, y + side))
            whole = np.asarray(square.resize((48, 48), Image.Resampling.BILINEAR))
            assert np.array_equal(data_set.faces.images[row], whole), (header, row)


# ---------------------------------------------------------------------------------- splits, formats
@pytest.mark.parametrize("case", [
    ("train val", "train test", True), ("Training validation", "train test", True),
    ("train test", "train test", False), ("train val test", "train train test", False),
    ("Training PublicTest PrivateTest", "train train test", False), ("train train", "train train",
                                                                     False)])
def test_validation_faces_test_where_there_are_no_others(case, tmp_path):
    names, sides, said = case[0].split(), case[1].split(), case[2]
    rows = ["file,emotion,split"]
    for number, name in enumerate(names):
        for emotion in EMOTIONS:
            for take in range(2):
                save(tmp_path / f"{emotion}{number}{take}.png", face(number, emotion, take))
                rows.append(f"{emotion}{number}{take}.png,{emotion},{name}")
    data_set = load_faces(write(tmp_path / "list.csv", rows))
    assert set(data_set.splits.tolist()) == set(sides)
    assert says(data_set, "validation faces test") == said
    assert (data_set.splits == "test").sum() == 6 * sides.count("test")


def pgm(greys):
    return b"P5 64 64 65535\n" + greys.astype(">u2").tobytes()


def test_a_zip_in_a_folder_is_named(tmp_path):
    (tmp_path / "faces.zip").write_bytes(b"")
    with pytest.raises(Problem, match="unpack faces.zip, or give --data that file"):
        load_faces(tmp_path)


def test_formats_that_cameras_and_systems_give(tmp_path):
    tree(tmp_path, "{emotion}/{subject}_{take}.png")
    grey = Image.fromarray(face(8, "happy"))
    save(tmp_path / "happy/phone.jpg", grey.convert("RGB"), format="MPO", save_all=True,
         append_images=[grey.resize((20, 20)).convert("RGB")])
    save(tmp_path / "happy/windows.jfif", Image.fromarray(face(9, "happy")), format="JPEG")
    save(tmp_path / "happy/upper.JPEG", Image.fromarray(face(10, "happy")), format="JPEG")
    (tmp_path / "happy/deep.pgm").write_bytes(pgm(face(11, "happy").astype(int) * 257))
    images = dict(zip(*[column.tolist() for column in load_faces(tmp_path).faces[::3]]))
    assert len(images) == NUMBER + 4
    for name, subject in (("phone.jpg", 8), ("windows.jfif", 9), ("deep.pgm", 11)):
        plain = Image.fromarray(face(subject, "happy")).resize((48, 48), Image.Resampling.BILINEAR)
        assert np.abs(np.array(images[f"happy/{name}"]) - np.asarray(plain)).mean() < 6, name


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_cameras_that_do_not_use_sixteen_bits(bits, tmp_path, expected):
    white = 2**bits - 1
    for subject, emotion, take in KEYS:
        greys = face(subject, emotion, take)
        greys[0, 0] = 255  # some face of the set has a white pixel
        deep = np.round(greys * (white / 255)).astype(np.uint16)
        save(tmp_path / "deep" / emotion / f"{subject}_{take}.png", Image.fromarray(deep))
        save(tmp_path / "plain" / emotion / f"{subject}_{take}.png", greys)
    data_set, plain = load_faces(tmp_path / "deep"), load_faces(tmp_path / "plain")
    assert np.abs(data_set.faces.images.astype(int) - plain.faces.images).max() <= 1
    assert says(data_set, f"{white} is taken as white") == (bits < 16)


def test_transparent_images_are_laid_on_white(tmp_path):
    tree(tmp_path, "{emotion}/{subject}_{take}.png")
    grey, alpha = face(8, "sad"), np.full((64, 64), 255, np.uint8)
    alpha[:, :32] = 0
    modes = {"LA": np.dstack([grey, alpha]), "RGBA": np.dstack([grey, grey, grey, alpha])}
    for mode, pixels in modes.items():
        save(tmp_path / f"sad/{mode}.png", Image.fromarray(pixels, mode))
    save(tmp_path / "sad/opaque.png", Image.fromarray(face(9, "sad")).convert("RGBA"))
    palette = Image.fromarray(np.where(alpha, 1, 0).astype(np.uint8), "P")
    palette.putpalette([0, 0, 0, 90, 90, 90])
    save(tmp_path / "sad/palette.png", palette, transparency=0)
    data_set = load_faces(tmp_path)
    assert says(data_set, "3 images are transparent in places and were laid on white")
    for name, image in zip(data_set.faces.names, data_set.faces.images):
        if name in ("sad/LA.png", "sad/RGBA.png", "sad/palette.png"):
            assert (image[:, :22] == 255).all() and image[:, 26:].mean() < 160


def test_an_image_of_a_zip_is_read_as_bytes_and_no_further():
    file = files.File("a", "a", lambda: io.BytesIO(bytes(files.MAX_BYTES + 1)))
    with pytest.raises(Problem, match="a: over 64 MiB"):
        file.read()
    assert layouts.suffix(file) == ""
