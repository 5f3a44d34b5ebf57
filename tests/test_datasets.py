"""The data sets known by name: what each row of DATASETS reads of drawn faces in its form, with the
options of its line in data/README.md; and what is refused of label files and columns."""

import itertools
import shlex
import shutil

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from test_reading import CODES, KEYS, PNG, face, images, lay, refused, save, tree, write

from data.faces import fingerprint, load_faces
from data.reading import read
from data.reading.datasets import DATASETS, readme_table

FER = {"angry": 0, "happy": 3, "sad": 4}


def cells(pixels):
    return " ".join(map(str, pixels.ravel()))


def pixel_rows(label=FER.get, usages=("Training", "PrivateTest"), side=48):
    return [f"{label(emotion)},{cells(face(subject, emotion, take, side))},{usages[take]}"
            for subject, emotion, take in KEYS]


def pixels(table, codes=FER):
    write(table, ["emotion,pixels,Usage", *pixel_rows(codes.get)])


VOTES = {0: "0,9,0,0,1,0,0,0,0,0", 1: "8,1,0,0,1,0,0,0,0,0", 2: "0,5,0,0,5,0,0,0,0,0",
         3: "0,1,0,0,0,0,0,0,6,3", 4: "0,0,0,0,0,0,0,0,0,10"}


def fer_plus(table):
    """Votes that call it happy or neutral where there is no doubt, beside fer2013.csv."""
    pixels(table.parent / "fer2013.csv")
    return write(table, [
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,"
        "NF", *(f"{('Training', 'PrivateTest')[take]},fer{number:07}.png,{VOTES[number % 5]}"
                for number, (_, _, take) in enumerate(KEYS))])


def ck_plus(folder):
    """CK+ as distributed: sequences of 3 frames, the first without a label; {peak: emotion}."""
    peaks = {}
    for number, (subject, emotion, take) in enumerate(KEYS):
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


def raf_db(folder):
    lines = []
    for number, (subject, emotion, take) in enumerate(KEYS):
        name = f"{('train', 'test')[take]}_{number:05}"
        save(folder / f"Image/aligned/{name}_aligned.png", face(subject, emotion, take))
        lines.append(f"{name}.jpg {({'angry': 6, 'happy': 4, 'sad': 5})[emotion]}")
    return write(folder / "EmoLabel/list_patition_label.txt", lines)


def raf_db_folders(folder):
    for split, emotion, number in itertools.product(("train", "test"), range(1, 8), range(2)):
        save(folder / split / str(emotion) / f"{split}_{number:05}_aligned.jpg",
             face(emotion, "sad", 2 * number + (split == "test")))


def expw(folder):
    """Two faces on each image, the larger one wider than high."""
    lines = []
    for subject, emotion, take in KEYS:
        name = f"happy_x_{subject}{take}{emotion[0]}.jpg"
        save(folder / "image" / name, face(subject, emotion, take))
        lines += [f"{name} {number} {box} 51.2 {FER[emotion]}"
                  for number, box in enumerate(("3 2 34 30", "4 20 60 50"))]
    return write(folder / "label.lst", lines)


def muxspace(table):
    tree(table.parent.parent / "images", "{emotion}_{subject}_{take}.jpg")
    labels = (str.upper, str.lower)
    write(table, ["user.id,image,emotion", *(f"628,{e}_{s}_{t}.jpg,{labels[t](e)}"
                                             for s, e, t in KEYS)])


AFFECTNET = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks," \
    "expression,valence,arousal"


def affectnet(table, first=6):
    tree(table.parent, "{subject}/{emotion}{take}.jpg")
    codes = {"angry": 6, "happy": 1, "sad": 2}
    lines = [f"{s}/{e}{t}.jpg,2,3,44,40,1;2,{codes[e]},0.1,0" for s, e, t in KEYS]
    lines[0] = lines[0].replace(",6,", f",{first},")
    return write(table, [AFFECTNET, *lines])


def by(pattern, **names):
    """A builder of a tree of such paths, for {emotion} by this name of an emotion."""
    def build(folder):
        for subject, emotion, take in KEYS:
            path = pattern.format(
                emotion=names.get(emotion, emotion), subject=subject, take=take,
                code=CODES[emotion], split=("train", "test")[take],
                side=("Train_Aligned_Faces", "Val_Aligned_Faces_new")[take], number="AB"[take])
            save(folder / path, face(subject, emotion, take))

    return build


PLAIN, NOUNS = "angry happy sad", "anger happiness sadness"
BUILDERS = {  # row of DATASETS: builder of what --data is; labels, number of subjects
    "JAFFE": (by("K{subject}.{code}{take}.{subject}.tiff"), "AN HA SA", 3),
    "CK+, as distributed": (ck_plus, "anger happy sadness", 3),
    "CK+48, sorted by emotion": (by("{emotion}/S{subject:03}_00{take}_00000017.png"), PLAIN, 3),
    "CK+ as a CSV in FER2013's form": (
        lambda table: pixels(table, {"angry": 0, "happy": 3, "sad": 7}), "angry contempt happy", 0),
    "FER2013": (pixels, PLAIN, 0),
    "FER2013 as folders": (by("{split}/{emotion}/{subject}.jpg"), PLAIN, 0),
    "FERPlus": (fer_plus, "happiness neutral", 0),
    "RAF-DB": (raf_db, NOUNS, 0),
    "RAF-DB in folders 1 to 7": (
        raf_db_folders, "anger disgust fear happiness neutral sadness surprise", 0),
    "KDEF": (by("{number}F{subject:02}/{number}F{subject:02}{code}S.JPG"), PLAIN, 3),
    "RaFD": (by("Rafd09{take}_{subject:02}_Caucasian_female_{emotion}_frontal.jpg"), PLAIN, 3),
    "ExpW": (expw, PLAIN, 0),
    "FACES (Max Planck Institute)": (by("{subject:03}_o_m_{emotion[0]}_{number}.jpg"), NOUNS, 3),
    "CREMA-D, frames": (by("100{subject}_DFA_{emotion}_XX_{take}.jpg", angry="ANG", happy="HAP",
                           sad="SAD"), NOUNS, 3),
    "KMU-FED": (by("{subject:02}_{code}_{take:04}.jpg"), NOUNS, 3),
    "MUG": (by("{subject:03}/{emotion}/take00{take}/img_0000.jpg", angry="anger",
               happy="happiness", sad="sadness"), NOUNS, 3),
    "Oulu-CASIA": (by("P{subject:03}/{emotion}/{take:03}.jpeg", angry="Anger", happy="Happiness",
                      sad="Sadness"), "Anger Happiness Sadness", 3),
    "SFEW": (by("{side}/{emotion}/{subject}.png"), PLAIN, 0),
    "CAER-S": (by("{split}/{emotion}/{subject:04}.png"), PLAIN, 0),
    "muxspace's facial expressions": (muxspace, PLAIN, 0),
    "AffectNet": (affectnet, NOUNS, 0)}


def test_data_readme_has_the_table_of_the_rows():
    """`python -c "from data.reading.datasets import *; print(*readme_table(), sep='\\n')"`"""
    text = (ROOT / "data" / "README.md").read_text("utf-8")
    assert "\n".join(readme_table()) in text
    assert list(BUILDERS) == list(DATASETS)


@pytest.mark.parametrize("name", DATASETS)
def test_dataset(name, tmp_path):
    """With the options of its row, from a folder or table and from a zip."""
    build, labels, subjects = BUILDERS[name]
    words = shlex.split(DATASETS[name].options)
    options = dict(zip(words[::2], words[1::2]))
    data = tmp_path / "here" / options.get("--data", "jaffe")
    build(data)
    where = {key: options.get(f"--{key}", "") for key in ("subject", "labels")}
    data_set = load_faces(data, **where)
    assert sorted(set(data_set.faces.emotions.tolist())) == labels.split()
    assert len(set(data_set.faces.subjects.tolist()) - {""}) == subjects
    if options.get("--protocol") == "given":
        assert set(data_set.splits.tolist()) == {"train", "test"}
    whole = data if data.is_dir() else tmp_path / "here"
    packed = shutil.make_archive(tmp_path / "packed", "zip", whole)
    again = load_faces(packed, **where)
    if not data.is_dir():  # a table names its files from where it lies
        again = again._replace(faces=again.faces._replace(names=data_set.faces.names))
    assert fingerprint(again) == fingerprint(data_set)


# ------------------------------------------------------------------------- names, label files
def test_names_that_are_not_all_of_one_data_set(tmp_path):
    by("{number}F{subject:02}/{number}F{subject:02}{code}S.JPG")(tmp_path)
    (tmp_path / "AF01/AF01ANS.JPG").rename(tmp_path / "AF01/AF01V.JPG")  # KDEF has some
    text = refused(tmp_path)
    assert "KDEF" in text and "AF01V.JPG" in text
    entries, _ = read(tmp_path, emotion=r"(AN|HA|SA|V)S?\.", subject=r"[AB](F\d\d)")
    assert {entry.subject for entry in entries} == {"F01", "F02", "F03"}
    by("Rafd0{take}0_{subject:02}_Caucasian_female_{emotion}_left.jpg")(tmp_path / "rafd")
    notes = read(tmp_path / "rafd")[1]
    assert any("18 of RaFD's 18 faces are not seen from the front" in note for note in notes)


def test_ck_plus(tmp_path):
    peaks = ck_plus(tmp_path)
    entries, notes = read(tmp_path)
    assert {entry.name: entry.emotion for entry in entries} == peaks
    assert any("the 17 last frames" in note and "37 other images" in note for note in notes)
    assert "S001, S002, S003" in refused(tmp_path / "cohn-kanade-images")
    assert "cohn-kanade-images" in refused(tmp_path / "Emotion")
    label = next((tmp_path / "Emotion").rglob("*.txt"))
    for wrong in ("", "8.0", "happy", "1.5"):
        label.write_text(wrong)
        assert label.name in refused(tmp_path)


def test_raf_db(tmp_path):
    label_list = raf_db(tmp_path / "basic")
    for path in (tmp_path, tmp_path / "basic", label_list):
        entries, notes = read(path)
        assert sorted(entry.split for entry in entries) == ["test"] * 9 + ["train"] * 9
    save(tmp_path / "basic/Image/original/train_00000.jpg", face(9, "sad"))
    assert any("1 images are not in list_patition_label.txt" in note for note in read(tmp_path)[1])
    lines = label_list.read_text().splitlines()
    for wrong in ("train_00000.jpg", "train_00000.jpg 12", "train_00000.jpg happy"):
        write(label_list, [*lines, wrong])
        assert "list_patition_label.txt, line 19" in refused(tmp_path)
    write(label_list, [*lines, "train_00077.jpg 1", "train_00078.jpg 1"])
    assert "train_00077.jpg, train_00078.jpg; unpack" in refused(tmp_path)
    write(label_list, [line.replace(" 6", " 11") for line in lines])  # compound emotions
    assert "sadly surprised" in {entry.emotion for entry in read(tmp_path)[0]}
    shutil.copytree(tmp_path / "basic", tmp_path / "compound")
    assert "two lists of labels" in refused(tmp_path)


def test_expw(tmp_path):
    label_list = expw(tmp_path)
    for path in (tmp_path, label_list):
        entries, _ = read(path)
        assert len(entries) == 2 * len(KEYS) and entries[1].box == (17, 4, 46)
    lines = label_list.read_text().splitlines()
    for wrong in ("none.jpg 0 1 2 3 4 5.0 3", "happy_x_10a.jpg 3", "happy_x_10a.jpg 0 1 2 3 4 5 7"):
        write(label_list, [*lines, wrong])
        assert "label.lst, line 37" in refused(tmp_path)
    write(label_list, ["somebody else's"])
    assert ".lst 1" in refused(tmp_path)


# --------------------------------------------------------------------------------------- tables
def test_fer_plus_with_pixels(tmp_path):
    table = fer_plus(tmp_path / "fer2013new.csv")
    for path in (table, tmp_path):
        entries, notes = read(path)
        assert [entry.emotion for entry in entries] == ["happiness", "neutral"] * 4
        assert [entry.name for entry in entries][:3] == ["000001", "000002", "000006"]
        assert np.array_equal(np.asarray(entries[2].read()), face(*KEYS[5], side=48))
        assert {entry.split for entry in entries} == {"train", "test"}
        assert "3 of emotion unknown, 3 that are no face, 4 without a majority" in notes[-1]
    assert len(read(tmp_path / "fer2013.csv")[0]) == len(KEYS)  # its own labels
    lines = table.read_text().splitlines()
    write(table, lines[:-1])
    assert "17 lines for the 18 of fer2013.csv" in refused(table)
    write(table, [*lines[:-1], lines[-1].replace(",0,", ",x,")])
    assert "face 18" in refused(table)
    (tmp_path / "fer2013.csv").unlink()
    assert "put fer2013.csv beside it" in refused(table)


@pytest.mark.parametrize("folder", ["FERPlus_Image/", "images/", "", "FER2013/all/"])
def test_fer_plus_with_images(folder, tmp_path):
    """Those that its column names; a line without a name is one that FERPlus left out."""
    table = fer_plus(tmp_path / "FERPlus_Label.csv")
    (tmp_path / "fer2013.csv").unlink()
    table.write_text(table.read_text().replace("fer0000004.png", ""))
    numbers = [number for number in range(len(KEYS)) if number != 4]
    lay(tmp_path, {f"{folder}fer{number:07}.png": PNG for number in numbers})
    for path in (tmp_path, shutil.make_archive(tmp_path.parent / "packed", "zip", tmp_path)):
        entries, _ = read(path)
        assert [entry.emotion for entry in entries] == ["happiness", "neutral"] * 4
        assert {entry.split for entry in entries} == {"train", "test"}
    (tmp_path / folder / "fer0000000.png").unlink()
    assert "fer0000000.png" in refused(tmp_path)


@pytest.mark.parametrize("case", [  # labels, header, side of the pixels; emotions
    (FER.get, "emotion,pixels,Usage", 48, "angry happy sad"),
    (FER.get, " Emotion, pixels, Usage", 48, "angry happy sad"),
    (lambda emotion: f"{FER[emotion]}.0", "emotion,pixels,Usage", 48, "angry happy sad"),
    (str, "label,pixels,usage", 48, "angry happy sad"),
    (str.upper, "emotion,pixels,split", 96, "ANGRY HAPPY SAD"),
    (FER.get, "emotion,pixels,Usage", 20, "angry happy sad"),
    ({"angry": 3, "happy": 4, "sad": 7}.get, "emotion,pixels,Usage", 20, "contempt happy sad"),
    ({"angry": 1, "happy": 3, "sad": 7}.get, "label,pixels,Usage", 20, "1 3 7"),  # whose numbers?
    ({"angry": 1, "happy": 2, "sad": 3}.get, "emotion,pixels,fold", 20, "1 2 3")])
def test_pixels_in_a_table(case, tmp_path):
    label, header, side, emotions = case
    write(tmp_path / "own.csv", [header, *pixel_rows(label, side=side)])
    packed = shutil.make_archive(tmp_path.parent / "packed", "zip", tmp_path)
    for path in (tmp_path / "own.csv", tmp_path, packed):
        entries, _ = read(path)
        assert sorted({entry.emotion for entry in entries}) == emotions.split()
        assert np.array_equal(np.asarray(entries[4].read()), face(*KEYS[4], side=side))


def test_muxspace(tmp_path):
    """legend.csv in data/, images/ beside that; labels in mixed case; several annotators."""
    table = tmp_path / "data" / "legend.csv"
    muxspace(table)
    write(table, [*table.read_text().splitlines(), "628,angry_1_0.jpg,angry",
                  "629,angry_1_1.jpg,sad"])
    for path in (table, tmp_path):
        entries, notes = read(path)
        assert len(entries) == len(KEYS) - 1 and {entry.subject for entry in entries} == {""}
        assert not any(entry.name.endswith("angry_1_1.jpg") for entry in entries)
        assert any("1 images without one were left out" in note for note in notes)


def test_affectnet(tmp_path):
    table = affectnet(tmp_path / "validation.csv", 10)
    entries, notes = read(table)
    assert any("1 images without an emotion or a face" in note for note in notes)
    assert len(entries) == len(KEYS) - 1 and entries[0].box == (2, 1, 44)
    affectnet(table, 11)
    assert "face 1: emotion 11" in refused(table)
    write(table, table.read_text().splitlines()[:1])
    assert "no face with an emotion" in refused(table)


@pytest.mark.parametrize("lines", [
    ['fer{n:07}.png,"(0, 0, 48, 48)",9,0,0,0', '"fer{n:07}.png",1,1,1,1'], ["{n}.jpg,happy"],
    ["0,7 7 7 7,Training"], ["{n}.png;2"], ["3\t{n}.jpeg"]])
def test_a_table_without_a_header(lines, tmp_path):
    """Given itself or beside images: the names of the columns are missing, and this is said."""
    folder = lay(tmp_path, {f"{number}.png": PNG for number in range(9)})
    write(folder / "label.csv", [line.format(n=number) for number in range(9) for line in lines])
    for path in (folder / "label.csv", folder):
        text = refused(path)
        assert "first line" in text and "names of the columns" in text and "two columns" not in text


def test_images_listed_with_a_table_that_is_of_no_use(tmp_path):
    folder = lay(tmp_path, images("{subject}{take}.png", **{"ages.csv": "image,age\n1.png,20"}))
    assert "ages.csv (lacks file,emotion" in refused(folder)


# ---------------------------------------------------------------------------------------- boxes
def test_boxes_of_detectors(tmp_path):
    """Over the edge, negative, with decimals: the edge is repeated; the same as a larger image."""
    rng = np.random.default_rng(2)
    large = np.pad(rng.integers(0, 256, (100, 120), dtype=np.uint8), 50, "edge")
    lines = {"file,emotion,x,y,side": ["{},{},-10.4,-5,60.2", "{},{},79.6,45,70", "{},{},0,0,100"],
             "file,emotion,x,y,w,h": ["{},{},-10,0,60,50", "{},{},80,45,69.9,70",
                                      "{},{},0,10,100,80"]}
    squares = [(40, 45, 60), (130, 95, 70), (50, 50, 100)]
    for number, label in itertools.product(range(3), ("happy", "sad")):
        save(tmp_path / f"{label}{number}.png", large[50:150, 50:170].copy())
    for header, boxes in lines.items():
        rows = [box.format(f"{label}{number}.png", label)
                for label in ("happy", "sad") for number, box in enumerate(boxes)]
        data_set = load_faces(write(tmp_path / "boxes.csv", [header, *rows]))
        for row, (x, y, side) in enumerate(2 * squares):
            square = face_at(large, x, y, side)
            assert np.array_equal(data_set.faces.images[row], square), (header, row)


def face_at(large, x, y, side):
    square = Image.fromarray(large).crop((x, y, x + side, y + side))
    return np.asarray(square.resize((48, 48), Image.Resampling.BILINEAR))
