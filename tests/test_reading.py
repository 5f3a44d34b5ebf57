"""What is read from a folder, zip or table, and what is asked: small listings, a row each.

No image is decoded here but where pixels decide: a file's first bytes do.
"""

import itertools
import os
import re
import shlex
import shutil
import tarfile
import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image

from data import faces, twins
from data.faces import fingerprint, load_faces
from data.reading import files, read, words
from utils import Problem

SUBJECTS, EMOTIONS, TAKES = (1, 2, 3), ("angry", "happy", "sad"), 2
KEYS = list(itertools.product(SUBJECTS, EMOTIONS, range(TAKES)))
CODES = {"angry": "AN", "happy": "HA", "sad": "SA"}
PNG, JPEG, GIF = b"\x89PNG", b"\xff\xd8\xff\xe0", b"GIF89a"


def face(subject=1, emotion="angry", take=0, side=64):
    """uint8 (side, side): noise of its own for each face."""
    rng = np.random.default_rng([subject, EMOTIONS.index(emotion), take])
    return rng.integers(0, 256, (side, side), dtype=np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), "utf-8")
    return path


def tree(folder, pattern, keys=KEYS):
    """All faces at such paths: "{emotion}/S{subject:03}/{take}.png"."""
    for (subject, emotion, take), path in zip(keys, paths(pattern, keys)):
        save(folder / path, face(subject, emotion, take))
    return folder


def paths(pattern, keys=KEYS):
    return [pattern.format(
        subject=subject, emotion=emotion, take=take, split=("train", "test")[take],
        code=CODES[emotion], session="AB"[take], person=("Asha", "Dev", "Val")[subject - 1],
        joy=("Joy", "Bravo", "Smiley")[subject - 1],
        number=EMOTIONS.index(emotion)) for subject, emotion, take in keys]


def lay(folder, contents):
    """Write {path: bytes or text}."""
    for path, content in contents.items():
        path = folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def images(*patterns, **others):
    """{path: bytes} of images at such paths, and of other files."""
    return dict.fromkeys(sum(map(paths, patterns), []), PNG) | others


def columns(entries):
    return [" ".join(sorted({getattr(entry, field) for entry in entries} - {""}))
            for field in ("emotion", "subject", "split")]


def refused(*arguments, **options):
    """What `read` says when it refuses: one line."""
    with pytest.raises(Problem) as caught:
        read(*arguments, **options)
    text = str(caught.value)
    assert "\n" not in text and text.encode()
    return text


# ------------------------------------------------------------------------------------- layouts
WORDS = "angry happy sad"
ALL = "Anger Disgust Fear"
READ = [  # paths; options; emotions, subjects, sides of the split
    ("{emotion}/S{subject:03}/{take}.png", {}, WORDS, "S001 S002 S003", ""),
    ("S{subject:03}/{emotion}/{take}.png", {}, WORDS, "S001 S002 S003", ""),
    ("{emotion}/subject {subject}/{take}.png", {}, WORDS, "subject 1 subject 2 subject 3", ""),
    ("{subject:03}/{emotion}/take{take:03}/img_0000.png", {}, WORDS, "001 002 003", ""),
    ("OriginalImg/VL/P{subject:03}/{emotion}/{take:03}.png", {}, WORDS, "P001 P002 P003", ""),
    ("{split}/{emotion}/{subject}.png", {}, WORDS, "", "test train"),
    ("content/{split}/{emotion}/{subject}.png", {}, WORDS, "", "test train"),  # "happy" in French
    ("{split}/{emotion}/P{subject}/face.png", {}, WORDS, "P1 P2 P3", "test train"),
    ("{emotion}/{split}/{subject}.png", {}, WORDS, "", "test train"),
    ("faces/Training/{subject:02}/{emotion}/{take}.png", {}, WORDS, "01 02 03", "train"),
    ("{split}_set/images/{emotion}/{subject}.png", {}, WORDS, "", "test train"),
    ("test{subject}/{emotion}/{take}.png", {}, WORDS, "test1 test2 test3", ""),
    ("{session}x/S{subject:02}/{emotion}/{take}.png", {}, WORDS, "S01 S02 S03", ""),
    ("{emotion}/{emotion}_0{take}/{subject}.png", {}, WORDS, "", ""),
    ("{emotion}/level{subject}/{take}.png", {}, WORDS, "", ""),  # no people
    ("{emotion}/{subject:03}/{take}.png", {}, WORDS, "", ""),  # people or takes
    ("S{subject}/G{take}/{emotion}/x.png", {}, WORDS, "", ""),  # which of them?
    ("{emotion}/{person}/{take}.png", {}, WORDS, "", ""),  # no side of a split
    ("{emotion}/{person}/{take}.png", {"subject": "^[^/]+/([^/]+)/"}, WORDS, "Asha Dev Val", ""),
    ("{person}/{emotion}/{take}.png", {"subject": "^([^/]+)/"}, WORDS, "Asha Dev Val", ""),
    ("{person}/{take}_{emotion}.png", {"subject": "^([^/]+)/", "emotion": "_([a-z]+)"}, WORDS,
     "Asha Dev Val", ""),
    ("{split}/{person}/{emotion}/{take}.png", {"subject": "/([^/]+)/"}, WORDS, "Asha Dev Val",
     "test train"),
    ("{emotion}/{joy}/{take}.png", {"subject": "/([^/]+)/"}, WORDS, "Bravo Joy Smiley", ""),
    ("{number}/{subject}{take}.png", {"labels": "0=angry,1=happy,2=sad"}, "0 1 2", "", ""),
    ("{split}/class00{number}/{subject}.png", {}, "class000 class001 class002", "", "test train"),
    ("class{subject}/{emotion}/{take}.png", {}, WORDS, "", ""),
    ("{number}/{subject}{take}.png", {"emotion": "^([^/]+)/"}, "0 1 2", "", ""),
    ("{subject}/x/{emotion}-{take}.png", {"emotion": "^[a-z]+", "subject": r"^(\d)/"}, WORDS,
     "1 2 3", ""),
    ("{split}/S{subject}_{take}_{emotion}.png", {"emotion": "_([a-z]+)", "subject": r"S(\d)_"},
     WORDS, "1 2 3", "test train"),
    ("{session}F{subject:02}{code}S.JPG", {}, WORDS, "F01 F02 F03", ""),
    ("x/Rafd{take}90_{subject:02}_Caucasian_male_{emotion}_left.jpg", {}, WORDS, "01 02 03", ""),
    ("K{subject}.{code}{take}.{take}.tiff", {}, "AN HA SA", "K1 K2 K3", ""),
    ("{split}/K{subject}.{code}{take}.png", {}, "AN HA SA", "K1 K2 K3", "test train"),
    ("00{subject}_y_f_{emotion[0]}_{take}.jpg", {"emotion": "_([ahs])_"}, "a h s", "", ""),
]


@pytest.mark.parametrize("case", READ, ids=lambda case: case[0])
def test_read(case, tmp_path):
    """From a folder and from a zip, and whatever else lies there."""
    pattern, options, *expected = case
    lay(tmp_path / "faces", images(pattern))
    packed = shutil.make_archive(tmp_path / "packed", "zip", tmp_path / "faces")
    for path in (tmp_path / "faces", packed):
        entries, notes = read(path, **options)
        assert columns(entries) == expected, notes
        assert len(entries) == len(KEYS)


SIDES = {  # folders: train, val, test or none
    "train": ("Train_Aligned_Faces", "train_afew", "train_class", "Training", "train_set", "TRAIN",
              "FER2013Train", "trainset", "images-train", "TrainImages", "train2017", "01 train"),
    "val": ("Val_Aligned_Faces_new", "val_afew", "valid", "FER2013Valid", "dev", "PublicTest"),
    "test": ("Test_Aligned_Faces", "Test images", "PrivateTest", "test_data", "Testing"),
    "": ("test1", "S01", "retrain", "contest", "latest", "valentina", "Devi", "happy",
         "train_test_split")}


@pytest.mark.parametrize("side", SIDES)
def test_words_for_sides_stand_at_borders_of_words(side, tmp_path):
    assert {name: words.split_of(name) for name in SIDES[side]} == dict.fromkeys(SIDES[side], side)
    if side in ("val", "test"):
        for train, other in zip(SIDES["train"], SIDES[side]):
            folder = tmp_path / other
            lay(folder, images(f"{train}/{{emotion}}/{{subject}}.png",
                               f"{other}/{{emotion}}/{{take}}.png"))
            assert columns(read(folder)[0]) == [WORDS, "", " ".join(sorted(["train", side]))]


@pytest.mark.parametrize("labels", [
    "wütend traurig fröhlich", "colère joie tristesse", "生气 高兴 悲伤", "怒り 喜び 悲しみ",
    "Wut Freude müde", "AN HA SA", "ANG HAP SAD", "분노 행복 슬픔", "злость радость печаль",
    "raiva feliz triste", "enfado alegría tristeza", "öfke mutlu üzgün", "01-angry 02-sad 03-fear",
    "AngryFaces HappyFaces SadFaces", "Happily_Surprised Sadly_Angry Fearfully_Disgusted",
    "contempt calm neutral", "Emotion1 Emotion2 Emotion3"])
def test_words_for_emotions(labels, tmp_path):
    for form in ("NFC", "NFD"):
        for label in labels.split():
            lay(tmp_path / form / unicodedata.normalize(form, label),
                {f"S0{subject}/{take}.png": PNG for subject in (1, 2) for take in (1, 2)})
        emotions, subjects, _ = columns(read(tmp_path / form)[0])
        assert emotions.split() == sorted(labels.split()) and subjects == "S01 S02"


# ---------------------------------------------------------------------------- asked, not guessed
ASKED = [  # files; what the refusal names; --emotion that it prints gives these labels
    (images("foo{subject}x/{take}.png"), ["foo1x, foo2x, foo3x"], "foo1x foo2x foo3x"),
    (images("{number}/{subject}{take}.png"), ["--labels 0=", "0, 1, 2"], "0 1 2"),
    (images("anna{subject}x/S{take}_{emotion}.png"), ["anna1x, anna2x"], WORDS),
    (images("S{subject}/{take}-{emotion}.jpg"), ["S1, S2, S3"], WORDS),
    (images("{subject:03}_DFA_{code}_{take}XX.jpg"), [], "AN HA SA"),
    (images("{subject:03}_y_{code}{take}_IEO.jpg"), [], "AN HA SA"),
    (images("{emotion}{subject}_{take}.png"), [], WORDS),
    (images("S{subject:03}/{take:03}/S{subject:03}_{take:03}_0000000{number}.png"),
     ["S001, S002, S003", "000, 001"], None),
    (images("foo{subject}x/bar{take}x/{subject}.png"), ["foo1x, foo2x", "bar0x, bar1x"],
     "foo1x foo2x foo3x"),
    (images("x{subject}y/{emotion[0]}{take}.png", **{"labels.npy": b"x", "list.mat": b"x"}),
     [".npy 1", ".mat 1"], "x1y x2y x3y"),
    (images("{emotion}/{subject}{take}.png", **{"cover.png": PNG}), ["cover.png"], None),
    (images("{subject}{take}.png", **{"l.csv": "image,gefühl\n10.png,1\n"}),
     ["l.csv (lacks file,emotion"], None),
    (images("{subject}{take}.png", **{"l.csv": "10.png,1\n11.png,2\n"}),
     ["l.csv (its first line is no header"], None),
    (images("{subject}{take}.png", **{"a.csv": "file,emotion\n10.png,sad", "b.csv": "file,label"}),
     ["faces/a.csv", "faces/b.csv"], None),
    ({"faces.zip": b"PK", "a.heic": b"x"}, ["unpack faces.zip", ".heic 1", "no image"], None),
    (images("K{subject}.{code}{take}.png", **{"portrait.png": PNG, **dict.fromkeys(paths(
        "K{subject}.{code}{take}7.png"), PNG)}), ["JAFFE", "portrait.png"], None),
    (images("{person}/{emotion}/{take}.png"), ["--subject '^([^/]+)/'", "Dev"], None),
    (images("train/{emotion}/{subject}.png", "x/{emotion}/{take}.png"), ["neither train/"], None),
    (images("{emotion}/{subject}.png", **{"test/sad/1.png": PNG}), ["neither train/"], None),
    (images("{emotion}/{joy}/{take}.png"), ["two levels", "--emotion '^([^/]+)/'"], WORDS),
    (images("class{take}/label{number}/{subject}.png"), ["class0, class1"], None),
    (images(*(f"{who}/{{subject}}{{take}}.png" for who in ("An", "Su", "Kim", "Lee"))),  # people
     ["An, Kim, Lee", "--emotion '^([^/]+)/'"], "An Kim Lee Su"),
    (images("{emotion}/neutral/{subject}.png", "{emotion}/calm/{subject}.png"), ["two levels"],
     None),
    ({f"subject{number:02}.{what}": GIF for number in range(3) for what in (
        "happy", "sad", "normal", "surprised", "wink", "glasses")}, ["18 images"],
     "glasses happy normal sad surprised wink"),
]


@pytest.mark.parametrize("case", ASKED, ids=lambda case: next(iter(case[0])))
def test_asked(case, tmp_path):
    """The refusal is one line that names what is there; the option it prints, pasted, reads it."""
    contents, named, labels = case
    text = refused(lay(tmp_path / "faces", contents))
    assert [name for name in named if name not in text] == [], text
    if labels:
        printed, = shlex.split(re.search(r"--emotion ('.*?'|\S+)", text)[1])
        assert columns(read(tmp_path / "faces", emotion=printed)[0])[0] == labels


def test_two_layouts_in_one_folder_with_emotion(tmp_path):
    lay(tmp_path / "a", images("{person}/{take}_{emotion}.png"))
    assert "--subject '^([^/]+)/'" in refused(tmp_path / "a", emotion="_([a-z]+)")
    lay(tmp_path / "b", images("train/{take}_{emotion}.png", "x/{take}_{emotion}.png"))
    assert "neither train/" in refused(tmp_path / "b", emotion="_([a-z]+)")


def test_people_that_are_asked_for(tmp_path):
    """The note prints --subject; pasted, it takes the folders."""
    for number, pattern in enumerate((
            "{emotion}/anna{subject}x/{take}.png", "anna{subject}x/{emotion}/{take:02}/1.png",
            "{emotion}/{subject:03}/{take}.png", "a/{emotion}/{person}/{take}.png")):
        folder = lay(tmp_path / str(number), images(pattern))
        entries, notes = read(folder)
        printed = re.search("--subject ('.*?')", " ".join(notes))[1]
        assert columns(entries)[1] == ""
        assert len(columns(read(folder, subject=shlex.split(printed)[0])[0])[1].split()) == 3


def test_paths_that_are_no_faces(tmp_path):
    """Each "cannot" names the option and the next step."""
    lay(tmp_path, images("faces/{emotion}/{subject}.png") | {"x.rar": b"Rar!", "x.docx": b"x"})
    for number, kind in enumerate(("", ":gz", ":xz")):
        with tarfile.open(tmp_path / f"faces{number}.{('tar', 'zip', 'bin')[number]}",
                          f"w{kind}") as packed:
            packed.add(tmp_path / "faces")
    for path, step in (
            ("https://zenodo.org/jaffe.zip", "address; download"), ("nowhere", "no such"),
            ("ftp://x/y", "address; download"), ("gs://bucket/y", "address; download"),
            ("faces0.tar", "tar archive; unpack"), ("faces1.zip", "tar archive; unpack"),
            ("faces2.bin", "tar archive; unpack"), ("x.rar", "rar archive; unpack"),
            ("faces/sad/1.png", "one image"), ("x.docx", "no folder, zip or CSV")):
        for option in ("--data", "--test"):
            text = refused(path if "://" in path else tmp_path / path, option=option)
            assert text.startswith(f"{option} ") and step in text, text


def test_zips_that_are_locked_or_packed_in_other_ways(tmp_path):
    for name, at, value in (("password", 8, 1), ("deflate64", 10, 9), ("zstd", 10, 93)):
        path = tmp_path / f"{name}.zip"
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("sad/1.png", PNG)
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\1\2") + at] = value
        path.write_bytes(content)
        text = refused(path, option="--test")
        assert "unpack it" in text and "--test the folder" in text and name[:4] in text
        assert name != "password" or "password" in text


# ------------------------------------------------------------------- what lies beside the images
def test_unlabelled_images_of_a_contest_are_left_out(tmp_path):
    for number, test in enumerate(("test/{take}.png", "test/images/{take}.png",
                                   "Test_Aligned_Faces/{take}.png")):
        folder = lay(tmp_path / str(number), images("train/{emotion}/{subject}.png", test))
        entries, notes = read(folder)
        assert columns(entries) == [WORDS, "", "train"] and "2 images lie in no" in " ".join(notes)
    entries, notes = read(lay(tmp_path / "x", images("{emotion}/{subject}.png",
                                                     "unknown/{subject}.png")))
    assert columns(entries)[0] == "angry happy sad unknown"


def test_a_person_called_dev_beside_unlabelled_images(tmp_path):
    folder = lay(tmp_path / "faces", images("train/dev/{emotion}/{take}.png",
                                            "train/tom/{emotion}/{take}.png", "test/{take}.png"))
    entries, notes = read(folder, subject="^[^/]+/([^/]+)/")
    assert columns(entries) == [WORDS, "dev tom", "train"]
    assert "2 images lie in no folder" in " ".join(notes)


@pytest.mark.parametrize("name", [".ipynb_checkpoints", "@eaDir", "#recycle", "__MACOSX", ".git/x",
                                  "lost+found", "$RECYCLE.BIN", "System Volume Information"])
def test_system_folders_are_skipped_and_counted(name, tmp_path):
    lay(tmp_path / "a", images("{emotion}/{subject}.png", f"{name}/1.png", f"happy/{name}/1.png",
                               "happy/._1.png"))
    for path in (tmp_path / "a", shutil.make_archive(tmp_path / "packed", "zip", tmp_path / "a")):
        entries, notes = read(path)
        assert len(entries) == 9 and columns(entries)[0] == WORDS
        top = name.partition("/")[0]
        assert all(place in " ".join(notes) for place in (f" {top}", f"happy/{top}", "happy/._1"))


def test_unlabelled_test_images_are_left_out(tmp_path):
    """Whatever the folders above all images are called."""
    for number, root in enumerate(("data", "content", "test")):
        folder = lay(tmp_path / str(number), images(f"{root}/train/{{emotion}}/{{subject}}.png",
                                                    f"{root}/test/imgs/{{take}}.png"))
        entries, notes = read(folder)
        assert columns(entries)[0] == WORDS and "2 images lie in no folder" in " ".join(notes)


def test_results_among_the_faces_are_skipped(tmp_path):
    for number, place in enumerate(("results/faces-published", "faces-cv", "happy/mine")):
        folder = lay(tmp_path / str(number), images(
            "{emotion}/{subject}.png", f"{place}/report/{{take}}.png",
            f"{place}/happy/{{take}}.png", **{f"{place}/experiment.json": "{}"}))
        packed = shutil.make_archive(tmp_path / f"packed{number}", "zip", folder)
        for path in (folder, packed):
            entries, notes = read(path)
            assert len(entries) == 9 and place in " ".join(notes)
    assert "experiment" in refused(folder / place)


def test_first_bytes_decide_where_a_suffix_does_not(tmp_path):
    folder = lay(tmp_path, {"sad/s01.sad": GIF, "sad/0002": PNG, "happy/a.JPEG": JPEG,
                            "happy/s01.glasses": JPEG, "happy/raw.cr2": b"II*\0", "happy/s": b"x",
                            "sad/README": b"", "sad/labels.txt": PNG})
    assert sorted(entry.name for entry in read(folder)[0]) == [
        "happy/a.JPEG", "happy/s01.glasses", "sad/0002", "sad/s01.sad"]
    assert twins.stems_twice(np.array(["s01.happy", "s01.sad", "a.png", "A.JPG"])) == [
        "a.png and A.JPG"]


def test_linked_folders_are_followed(tmp_path):
    folder = lay(tmp_path / "store", images("{emotion}/{subject}.png"))
    (tmp_path / "faces").mkdir()
    for emotion in EMOTIONS:
        (tmp_path / "faces" / emotion).symlink_to(folder / emotion)
    (folder / "happy" / "again").symlink_to(folder)  # three cycles
    (folder / "happy" / "self").symlink_to(".")
    (tmp_path / "faces" / "up").symlink_to("..")
    for path in (tmp_path / "faces", folder):
        entries, notes = read(path)
        assert len(entries) == 9 and "is read already; skipped" in " ".join(notes)


def test_a_forbidden_folder_is_named(tmp_path, monkeypatch):
    lay(tmp_path, images("{emotion}/{subject}.png"))
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sad"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(files.os, "scandir", refuse)
    assert "sad: cannot be read (Permission denied)" in refused(tmp_path)


def test_names_that_are_no_utf8(tmp_path):
    tree(tmp_path, "{emotion}/{subject}_{take}.png")
    os.rename(tmp_path / "sad/1_0.png", os.fsencode(tmp_path) + b"/sad/\xe9t\xe9.png")
    os.rename(tmp_path / "happy", os.fsencode(tmp_path) + b"/happy\xff")
    data_set = load_faces(tmp_path, labels=r"happy\xff=happy")
    assert r"sad/\xe9t\xe9.png" in data_set.faces.names and "happy" in data_set.faces.emotions
    for name in data_set.faces.names.tolist() + data_set.notes:
        name.encode()
    fingerprint(data_set)


def test_zips_of_other_systems(tmp_path):
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as windows, \
            zipfile.ZipFile(tmp_path / "mac.zip", "w") as mac:
        for name in paths("{emotion}/{subject}.png"):
            info = zipfile.ZipInfo("x")
            info.filename = "..\\" + name.replace("/", "\\")
            if info.filename not in windows.namelist():
                windows.writestr(info, PNG)
                mac.writestr(name.replace("sad", "triste ++"), PNG)
    assert columns(read(tmp_path / "windows.zip")[0])[0] == WORDS
    content = (tmp_path / "mac.zip").read_bytes()  # UTF-8 that no flag says to be
    for name, label, encoding in (("mac", "triste é", "utf-8"), ("dos", "João bcde", "cp850")):
        (tmp_path / f"{name}.zip").write_bytes(content.replace(b"triste ++",
                                                               label.encode(encoding)))
        assert label in columns(read(tmp_path / f"{name}.zip")[0])[0]
    (tmp_path / "gbk.zip").write_bytes(content.replace(b"triste ++", "悲伤 abcd".encode("gbk")))
    assert "encoding that it does not tell" in refused(tmp_path / "gbk.zip")


# -------------------------------------------------------------------------------------- tables
def manifest(header, line):
    return "\n".join([header, *(line.format(s=subject, e=emotion, t=take, n=number,
                                            u=("train", "test")[take])
                                for number, (subject, emotion, take) in enumerate(KEYS))])


MANIFESTS = [  # header, line; subjects, sides; what the notes name
    ("file,emotion", "faces/{s}{t}{e}.png,{e}", "", "", ""),
    ("filename,label,person", "faces/{s}{t}{e}.png,{e},P{s}", "P1 P2 P3", "", ""),
    ("path,expression,id", "faces/{s}{t}{e}.png,{e},{s}", "1 2 3", "", ""),
    ("id,image,emotion", "{n},faces/{s}{t}{e}.png,{e}", "", "", "id"),  # counts the lines
    ("sep=;\n\nimage_file;labels", "faces/{s}{t}{e}.png;{e}", "", "", ""),  # of Excel
    ("# all\n#,file,emotion", "{n},faces/{s}{t}{e}.png,{e}", "", "", ""),
    (",Image Path,Emotion,Subject_ID", "{n},faces/{s}{t}{e}.png,{e},{s}", "1 2 3", "", ""),
    ("image;label;subject", "faces\\{s}{t}{e}.png;{e};{s}", "1 2 3", "", ""),
    ("file\temotion\tsubject", "C:\\x\\faces\\{s}{t}{e}.png\t{e}\t{s}", "1 2 3", "", ""),
    ("file,emotion,width,height", "/content/faces/{s}{t}{e}.png,{e},64,64", "", "", ""),
    ("file,emotion,x1,y1,x2,y2", "faces/{s}{t}{e}.png,{e},0,0,9,9", "", "", "x1, y1, x2, y2"),
    ("file,emotion,Usage", "faces/{s}{t}{e}.png,{e},{u}ing", "", "test train", ""),
    ("file,emotion,fold", "faces/{s}{t}{e}.png,{e},{u}", "", "test train", "fold"),
    ("file,emotion,dataset", "faces/{s}{t}{e}.png,{e},{u}", "", "test train", "dataset"),
    ("file,emotion,fold", "faces/{s}{t}{e}.png,{e},{t}", "", "", "fold"),
    ("file,emotion,who", "faces/{s}{t}{e}.png,{e},P{s}", "", "", "who"),
    ("0,file,emotion,2013", "{n},faces/{s}{t}{e}.png,{e},x", "", "", "2013"),  # of pandas
    ("file,emotion,subject,person", "faces/{s}{t}{e}.png,{e},{s},x", "1 2 3", "",
     "subject, person"),
    ("file,emotion,expression", "faces/{s}{t}{e}.png,{e},x", "", "", "emotion, expression"),
    ("user.id,image,emotion", "7,faces/{s}{t}{e}.png,{e}", "", "", "user.id"),
]


@pytest.mark.parametrize("case", MANIFESTS, ids=lambda case: case[0])
def test_manifest(case, tmp_path):
    """Given itself, as the only table beside images that tell nothing, and in a zip with them."""
    header, line, subjects, sides, named = case
    line = line.replace("{s}{t}{e}", "{n}")
    contents = {f"faces/{number}.png": PNG for number in range(len(KEYS))}
    folder = lay(tmp_path / "a", {**contents, "list.csv": manifest(header, line)})
    for path in (folder / "list.csv", folder,
                 shutil.make_archive(tmp_path / "packed", "zip", folder)):
        entries, notes = read(path)
        assert columns(entries) == [WORDS, subjects, sides] and named in " ".join(notes)


def test_files_that_a_table_names_and_are_not_there(tmp_path):
    folder = lay(tmp_path / "torn", {
        "train.csv": manifest("file,emotion", "train/{e}{s}{t}.png,{e}"),
        **images("test/{emotion}{subject}{take}.png")})  # train/ is not unpacked
    for path in (folder, folder / "train.csv"):
        text = refused(path)
        assert "18 of 18" in text and text.count(".png") == 3 and "images/" in text
    lay(folder, {"train/angry10.png": PNG})
    assert "17 of 18" in refused(folder / "train.csv")


def test_a_file_in_the_other_side_is_not_meant(tmp_path):
    folder = lay(tmp_path, {"test/l.csv": "file,emotion\ntrain/1.png,happy", "test/1.png": PNG})
    assert "no file train/1.png" in refused(folder)


def test_boxes_in_one_table_of_two(tmp_path):
    folder = lay(tmp_path, {"train.csv": "file,emotion,x,y,side\n1.png,happy,0,0,9",
                            "test.csv": "file,emotion\n2.png,sad", "1.png": PNG, "2.png": PNG})
    with pytest.raises(Problem, match="test.csv, face 1: has no box"):
        load_faces(folder)


def test_a_table_for_each_side(tmp_path):
    """As Hugging Face's image folders and Roboflow's exports have them."""
    for number, (name, header, line) in enumerate((
            ("metadata.csv", "file_name,label", "{0}.png,{1}"),
            ("_classes.csv", "filename, angry, happy, sad", "{0}.png, {2}"))):
        contents = images("{split}/{emotion}{subject}.png")
        for split in ("train", "test"):
            contents[f"{split}/{name}"] = "\n".join([header, *(line.format(
                f"{emotion}{subject}", emotion, ", ".join(
                    ("0", "1", "False", "TRUE")[2 * (split == "test") + (emotion == other)]
                    for other in EMOTIONS)) for subject in SUBJECTS for emotion in EMOTIONS)])
        entries, notes = read(lay(tmp_path / str(number), contents))
        assert columns(entries) == [WORDS, "", "test train"] and len(entries) == 18
        assert f"test/{name}, train/{name}" in notes[-1] or name in " ".join(notes)


def test_folders_of_emotions_beside_a_table(tmp_path):
    """Folders are read, and the table is named."""
    entries, notes = read(lay(tmp_path, images("{emotion}/{subject}{take}.png", **{
        "more.csv": "file,emotion\nangry/10.png,happy"})))
    assert columns(entries)[0] == WORDS and "more.csv" in " ".join(notes)


# --------------------------------------------------------------------------------------- labels
def counted(*labels, renamed=""):
    """({label: count}, notes) of faces with these labels."""
    emotion, notes = words.unified(list(labels), renamed)
    return dict(zip(*map(list, np.unique(emotion, return_counts=True)))), " ".join(notes)


def test_labels_that_mean_one_thing():
    labels, notes = counted("happy", "Happy", "happy", "sad")
    assert labels == {"happy": 3, "sad": 1} and "'Happy', 'happy'" in notes
    decomposed = unicodedata.normalize("NFD", "dégoût")
    assert counted("dégoût", decomposed)[0] == {"dégoût": 2}
    assert counted("an", "AN", "ha") == ({"AN": 2, "HA": 1}, "")
    for pair in (("anger", "angry"), ("surprise", "Surprised"), ("fröhlich", "HA"), ("悲伤", "sad"),
                 ("happily surprised", "Happy_Surprise")):
        labels, notes = counted(*pair, "neutral")
        assert len(labels) == 3 and "may mean one emotion" in notes, pair
    for pair in (("anger", "sad"), ("happily surprised", "surprised"), ("1", "2")):
        assert "may mean" not in counted(*pair)[1]
    assert "labels are numbers" in counted("1", "2")[1]
    assert "grumpy 1" in counted("grumpy", "sad")[1]


def test_labels_option():
    labels, notes = counted("angry", "anger", "1", renamed="Angry=anger,1=surprise")
    assert labels == {"anger": 2, "surprise": 1} and not notes
    assert counted("Happy", "Happy", "joy", renamed="joy=happy")[0] == {"Happy": 3}
    assert counted("happy", "Happy", "happy", renamed="happy=Happy")[0] == {"Happy": 3}
    assert counted("a", "a", "b", renamed="a=b,b=a")[0] == {"b": 2, "a": 1}
    assert counted("a", "b", "c", renamed="a=b")[0] == {"b": 2, "c": 1}
    for wrong in ("angry", "=x", "=", "a=b=c", "a=b,,", ","):
        with pytest.raises(Problem, match="is not of the form angry=anger,1=surprise"):
            counted("angry", "a", renamed=wrong)
    with pytest.raises(Problem, match="no face has the label glad; there are a, b"):
        counted("a", "b", renamed="glad=a")


def test_an_emotion_left_out(tmp_path):
    tree(tmp_path, "{emotion}/S{subject}_{take}.png")
    for labels, left, number in (("sad=", "angry happy", 12), ("Sad=,happy=joy", "angry joy", 12)):
        data_set = load_faces(tmp_path, labels=labels)
        assert sorted(set(data_set.faces.emotions.tolist())) == left.split()
        assert len(data_set.faces.names) == len(data_set.splits) == number
        assert any("6 faces of sad" in note for note in data_set.notes)
    for labels in ("sad=,happy=", "sad=,happy=,angry=", "neutral="):
        with pytest.raises(Problem):
            load_faces(tmp_path, labels=labels)


# ------------------------------------------------------------- what happens to pixels and labels
def says(data_set, *texts):
    """Whether each text is in one of the notes."""
    return all(any(text in note for note in data_set.notes) for text in texts)


def test_twins(tmp_path):
    folder = tree(tmp_path, "{emotion}/S{subject}_{take}.png")
    drawn = {}
    for number, name in enumerate(("S7_0", "S8_0", "S9_0")):
        drawn[name] = Image.fromarray(face(7 + number, "sad", side=12)).resize((96, 96))
        save(folder / f"sad/{name}.png", drawn[name])
    save(folder / "sad/again.jpg", drawn["S7_0"], quality=85)
    shifted = np.roll(drawn["S8_0"].resize((48, 48), Image.Resampling.BILINEAR), (1, -1), (0, 1))
    save(folder / "sad/shifted.png", shifted)
    shutil.copy(folder / "sad/S9_0.png", folder / "sad/other.png")
    save(folder / "sad/S1_0.bmp", face(4, "sad"))
    save(folder / "sad/mirrored.jpg", face(1, "happy", 1)[:, ::-1], quality=95)
    data_set = load_faces(folder)
    assert says(data_set, "A LEAK if on two sides of a split: sad/other.png as sad/S9_0.png",
                "sad/S1_0.bmp and sad/S1_0.png", "nearly the same pixels")
    near = next(note for note in data_set.notes if "nearly" in note)
    assert "sad/again.jpg" in near and "shifted.png" in near and "S9_0" not in near
    assert "sad/mirrored.jpg as happy/S1_1.png" in near and not says(data_set, "CONTRADICT")
    notes = load_faces(tree(tmp_path / "again", "{emotion}/S{subject}_{take}.png")).notes
    assert not any("LEAK" in note for note in notes)


def test_equal_pixels_under_two_emotions_contradict_each_other(tmp_path):
    """From files and from a table's pixels; both faces and both emotions are named."""
    folder = tree(tmp_path / "a", "{emotion}/S{subject}_{take}.png")
    shutil.copy(folder / "sad/S1_0.png", folder / "happy/other.png")
    greys = [" ".join(map(str, face(*key, side=48).ravel())) for key in KEYS]
    rows = [f"{number % 3},{grey},Training" for number, grey in enumerate(greys)]
    write(tmp_path / "b.csv", ["emotion,pixels,Usage", *rows, f"1,{greys[0]},Training"])
    for path, named in ((folder, ("happy/other.png (happy)", "sad/S1_0.png (sad)")),
                        (tmp_path / "b.csv", ("000001 (angry)", "000019 (disgust)"))):
        note, = (note for note in load_faces(path).notes if "CONTRADICT" in note)
        assert all(name in note for name in named)


@pytest.mark.parametrize("size", [(178, 100), (100, 150), (712, 400)])
def test_what_a_square_cuts_away_is_said(size, tmp_path):
    for key in KEYS:
        save(tmp_path / f"{key[1]}/{key[0]}{key[2]}.png", Image.fromarray(face(*key)).resize(size))
    lost = f"{1 - min(size) / max(size):.0%} of {size[0]} x {size[1]}"
    assert says(load_faces(tmp_path), lost, "18 images")
    assert not says(load_faces(tmp_path, crop="0,0,99"), lost)


def test_near_twins_are_those_within_a_grey_level_or_two():
    rng = np.random.default_rng(0)
    noisy = rng.integers(20, 230, (300, 48, 48), dtype=np.uint8)
    noisy[10] = noisy[3] + rng.integers(-2, 3, (48, 48)).astype(np.uint8)
    noisy[20, 1:] = noisy[4, :-1]
    noisy[30, :-1, 1:] = noisy[5, 1:, :-1]
    noisy[40] = noisy[6] + 6  # another exposure
    noisy[50] = noisy[7]
    equal, first = twins.equal_faces(noisy)
    assert equal == [(50, 7)] and len(first) == 299
    assert twins.near_twins(noisy, first) == [(10, 3), (20, 4), (30, 5)]


def test_sequences():
    names = {"S010_004_00000017.png": "S010_004", "a/S010_004_00000018.png": "S010_004",
             "001/anger/take000/img_0012.jpg": "001/anger/take000",
             "P001/Anger/003.jpeg": "P001/Anger", "s12-3-frame0010.png": "s12-3",
             "happy/0001.png": "", "Training_10118481.jpg": "", "KA.AN1.39.tiff": "",
             "train_00001_aligned.jpg": "", "AF01ANS.JPG": "", "0/image0000006.jpg": "",
             "happy/S001_12.png": "", "train/happy/12.png": "", "c/S7_001.png": "S7",
             "01-01-03-02_frame12.jpg": "01-01-03-02", "clip7_frame3.jpg": "clip7",
             "b/v1_8.png": "v1", "b/v1_9.png": "v1", "b/v1_10.png": "v1", "subject01.happy": ""}
    assert dict(zip(names, twins.sequences(list(names)).tolist())) == names
    assert twins.sequences([]).tolist() == []


def test_another_data_set_with_other_spellings(tmp_path):
    training = load_faces(tree(tmp_path / "faces", "{emotion}/{subject}{take}.png"))
    for number, label in enumerate(("Angry", "HAPPY", "fear")):
        save(tmp_path / "other" / label / "1.png", face(20 + number))
    found = faces.with_test_set(training, load_faces(tmp_path / "other", complete=False))
    assert found.faces.emotions[-2:].tolist() == ["angry", "happy"]
    assert says(found, "1 test faces are left out, whose emotions no training face shows: fear")
    for code in ("AN", "HA"):
        save(tmp_path / "codes" / code / "1.png", face(30, take=ord(code[0])))
    shutil.copytree(tmp_path / "faces", tmp_path / "again.v2")  # saved once more
    for file in (tmp_path / "again.v2").rglob("*.png"):
        save(file.with_suffix(".jpg"), Image.open(file), quality=95)
        file.unlink()
    again = load_faces(tmp_path / "again.v2", complete=False, subject=r"(S\d+)_",
                       subject_optional=True, option="--test")
    assert again.name == "again-v2" and says(again, "--subject matches no name of --test")
    assert says(faces.with_test_set(training, again), "test faces of nearly the same pixels as tra")
    with pytest.raises(Problem, match="AN, HA; rename them with --labels AN=angry,HA=happy"):
        faces.with_test_set(training, load_faces(tmp_path / "codes", complete=False))


def test_jaffe_whatever_its_labels_folders_and_size(tmp_path):
    """JAFFE's box is for its own images, under its own labels or others."""
    def jaffe(name, side=256):
        for subject, count in faces.JAFFE_SUBJECTS.items():
            for number in range(count - count % 7):
                emotion = list(faces.JAFFE_EMOTIONS)[number % 7]
                if number < 14 or side == 256:
                    save(tmp_path / name / f"{subject}.{emotion}{number // 7 + 1}.1.png",
                         np.full((side, side), number, np.uint8), compress_level=1)
        return tmp_path / name

    flat, small = jaffe("flat"), jaffe("small", side=128)
    renamed = {"labels": "AN=anger,HA=joy"}
    for data_set in (load_faces(flat), load_faces(flat, **renamed)):
        assert (data_set.name, data_set.crop) == ("JAFFE", "50,65,161")
    assert len(load_faces(small).faces.names) == 140 and load_faces(small).crop == "square"
    for file in [*flat.glob("*.SA*"), *flat.glob("K*")]:
        file.unlink(missing_ok=True)
    part = load_faces(flat)
    assert (part.name, part.crop) == ("flat", "50,65,161")


def test_subjects_in_two_spellings_are_one(tmp_path):
    for subject, emotion, take in KEYS:
        save(tmp_path / f"{emotion}/{'sS'[take]}0{subject}_1.png", face(subject, emotion, take))
    data_set = load_faces(tmp_path, subject="^([A-Za-z]0.)_")
    assert set(data_set.faces.subjects.tolist()) == {"S01", "S02", "S03"}
    assert says(data_set, "S01 = s01, S02 = s02", "--subject finds 3 subjects: S01 6, S02 6")


@pytest.mark.parametrize("case", [
    ("train val", "train test", True), ("Training validation", "train test", True),
    ("train test", "train test", False), ("train val test", "train train test", False),
    ("Training PublicTest PrivateTest", "train train test", False)])
def test_validation_faces_test_where_there_are_no_others(case, tmp_path):
    sides, result, said = case[0].split(), case[1].split(), case[2]
    splits, notes = faces.train_and_test([words.SIDES[side.lower()] for side in sides])
    assert splits.tolist() == result and bool(notes) == said
