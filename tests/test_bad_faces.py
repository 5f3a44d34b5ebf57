"""Faces that are refused: one line that names the file and the way out. `load_faces` alone."""

import io
import os
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import draw_tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from data import faces as data
from data.reading import files
from utils import Problem

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = [f"{subject}.{emotion}{take}.png" for subject in ("AA", "BB", "CC", "DD")
         for emotion in ("AN", "HA", "SU") for take in (1, 2, 3)]
MANIFEST = "file,emotion,subject\n" + "".join(
    f"faces/{name},{name[3:5]},{name[:2]}\n" for name in NAMES)
BOXES = "file,emotion,x,y,side\nfaces/AA.AN1.png,AN,{}\nfaces/AA.AN2.png,AN,0,0,100\n" \
    "faces/AA.HA1.png,HA,0,0,100\nfaces/AA.HA2.png,HA,0,0,100"
GREYS = "7 " * 48 * 48
FER2013 = "emotion,pixels,Usage\n" + f"0,{GREYS},Training\n1,{GREYS},Training\n" * 20


@pytest.fixture
def folder(tiny, tmp_path, monkeypatch):
    """The folder faces/, to be spoilt, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(tiny, tmp_path / "faces")


def encoded(image, form="TIFF", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def noise(seed, side=256):
    greys = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    return Image.fromarray(greys)


def png_of(side):
    """A small PNG that claims to be so large."""
    plain = encoded(noise(1), "PNG")
    header = b"IHDR" + struct.pack(">II", side, side) + plain[24:29]
    return plain[:12] + header + struct.pack(">I", zlib.crc32(header)) + plain[33:]


def full(value, kind):
    return encoded(Image.fromarray(np.full((256, 256), value, kind)))


# ----------------------------------------------------- changes of faces/, or own.zip made beside it
def renamed(name):
    return lambda folder: (folder / "AA.AN1.png").rename(folder / name)


def only(pattern):
    return lambda folder: [(folder / name).unlink() for name in NAMES
                           if not re.search(pattern, name)]


def spoilt(*names):
    return lambda folder: [(folder / name).write_bytes(b"") for name in names]


def by_folders(first="AN/AA 1.png"):
    """AA.AN1.png becomes `first`, AA.AN2.png AN/AA 2.png and so on."""
    def change(folder):
        for name in NAMES:
            place = f"{name[3:5]}/{name[:2]} {name[5]}.png" if name != NAMES[0] else first
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).rename(folder / place)

    return change


def archive(change=lambda packed: packed, extra=None, kind="zip"):
    def make(folder):
        if extra is not None:
            (folder / "EE.AN1.png").write_bytes(extra)
        packed = Path(shutil.make_archive("own", kind, folder))
        packed.write_bytes(change(packed.read_bytes()))

    return make


UNREADABLE = r"AA\.AN1\.png: cannot be read as an image"
CASES = [  # bytes of AA.AN1.png, text of own.csv or another change; what the line says; options
    *[(content, UNREADABLE, {}) for content in (
        b"", encoded(noise(1))[:30_000], b"II*\0" + bytes(range(256)) * 50, b"not an image",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")],
    *[(png_of(side), f"{UNREADABLE} .*decompression bomb", {}) for side in (60_000, 12_000)],
    (encoded(noise(1), save_all=True, append_images=[noise(2)]),
     "AA.AN1.png: .*holds 2 pictures; save", {}),
    (full(np.nan, np.float32), "AA.AN1.png: .*mode F has no fixed white; save", {}),
    (full(70_000, np.int32), "AA.AN1.png: .*mode I has no fixed white; save", {}),
    (spoilt("AA.AN1.png", "BB.HA2.png"), r"^2 images .*: \S*AA.AN1.png \(no image.*\), "
     r"\S*BB.HA2.png \(no image.*\); replace or remove them", {}),
    (spoilt(*NAMES[:9]), r"^9 images .*AA.AN1.png.*AA.SU3.png.*; replace or remove them", {}),
    (spoilt(*NAMES[:21]), r"^21 images .*AA.AN1.png.*\(21 in all\); replace or remove them", {}),
    (encoded(noise(1, 210)), "AA.AN1.png: 210 x 210 pixels, too small for the box 50,65,161; corr",
     {"crop": data.JAFFE_BOX}),
    (None, "AA.AN1.png: 256 x 256 pixels, too small for the box 200,0,99; correct it",
     {"crop": "200,0,99"}),
    (None, "--data nowhere: no such file or folder; give",
     {"path": "nowhere"}),
    (None, "AA.AN1.png: is one image; give --data", {"path": "faces/AA.AN1.png"}),
    (only("nothing"), "faces: holds no image that can be read; give --data", {}),
    (lambda folder: [file.rename(file.with_suffix(".heic")) for file in folder.iterdir()],
     "faces: holds no image that can be read; .*.heic 36", {}),
    (renamed("AF01ANS.png"), "JAFFE.*rename or remove AF01ANS.png", {}),
    (only("AN"), "all faces show AN; a classifier needs at least two emotions", {}),
    (only("AN|AA.HA1"), "HA1.png: the only face of emotion HA; correct the label, add faces or rem",
     {}),
    (None, "all faces show one; a classifier", {"labels": "AN=one,HA=one,SU=one"}),
    (None, "--labels HA: .*is not of the form angry=anger", {"labels": "HA"}),
    (None, "--labels SA=x: no face has the label sa; there are AN, HA, SU", {"labels": "SA=x"}),
    (renamed("portrait.png"), "JAFFE.*rename or remove portrait.png", {}),
    (renamed("1\x1b[2J.png"), r"rename or remove 1\x1b\[2J.png", {}),
    (lambda folder: draw_tiny(folder / "more", subjects="B"),
     "more/BB.AN1.png: BB.AN1.png a second time; remove one", {}),
    (by_folders("AA.AN9.png"), "lie in no folder, the other images do: AA.AN9.png", {}),
    (by_folders("train/AN/z.png"), "train/AN/z.png|AN/AA 2.png: lies in neither train/ nor test/",
     {}),
    (by_folders("test/AN/z.png"), "lies in neither train/ nor test/", {}),
    (by_folders(), r"--subject \^\(..\): does not match this name; correct the pattern",
     {"subject": "^(..):"}),
    (by_folders(), "AN/AA 1.png: --emotion nothing does not match this name; correct the pattern",
     {"emotion": "nothing"}),
    (lambda folder: (folder / "EE.AN1.png").symlink_to("nowhere"),
     r"EE.AN1.png: no file that can be read \(a dangling link\?\); remove it", {}),
    (lambda folder: os.mkfifo(folder / "EE.AN1.png"), "EE.AN1.png: no file that can be read", {}),
    (lambda folder: os.truncate(folder / "AA.AN1.png", 2**40),  # a hole: takes no room
     "AA.AN1.png: over 64 MiB, which no face is; remove", {}),
    ("file,emotion,subject", "own.csv: holds no face", {}),
    ("a,b", "own.csv: lacks file,emotion or emotion,pixels", {}),
    ("", "own.csv: lacks file,emotion or emotion,pixels", {}),
    (MANIFEST.replace("subject", "split"), "face 1: split AA is none of train, training", {}),
    (MANIFEST.replace("subject", "x,y,side"), "face 1: 3 cells, the first line has 5", {}),
    (MANIFEST.replace("subject", "Emotion"), "own.csv: two columns are called emotion; re", {}),
    *[(MANIFEST.replace("subject", columns), "own.csv: has a box without the columns", {})
      for columns in ("x,y", "x", "y,side", "X,width")],
    *[(BOXES.format(box), f"face 1: .*{says}", {}) for box, says in (
        ("1,2,z", "x, y, side are 1, 2, z, not pixels; correct"),
        ("1,2,", "x, y, side are 1, 2, , not pixels"), ("nan,0,9", "not pixels"),
        ("0,0,0", "no face in the box 0,0,0; correct it"), ("0,0,7.4", "no face in the box"),
        ("0,0,-50", "no face in the box"), ("300,0,50", "no face in the box 300,0,50"),
        ("-100,-100,90", "no face in the box"), ("0,0,99999", "no face in the box"))],
    (lambda folder: Path("own.csv").write_text(MANIFEST, "utf-16"),
     "own.csv: damaged .*save it as CSV in UTF-8", {}),
    (MANIFEST + '"' + "x" * 200_000, "own.csv: damaged .*; save it as CSV", {}),
    (MANIFEST + '"' + "x" * 5_000_000, "own.csv: damaged .*field larger than field limit", {}),
    *[(MANIFEST + row, f"own.csv, face 37: {says}", {}) for row, says in (
        ("faces/none.png,AN,AA", "no file .*faces/none.png; files were sought beside the table"),
        ("faces/AA.AN1.png,AN", "2 cells, the first line has 3; put a text with a comma"),
        ("faces/AA.AN1.png,AN,AA", "faces/AA.AN1.png a second time; remove one"),
        ("faces\\AA.AN1.png,AN,AA", "faces/AA.AN1.png a second time; remove one"),
        ("faces/AA.AN1.png,,AA", "has no emotion; correct or remove the line"),
        ("faces/../faces/AA.AN1.png,hapy,AA", "faces/AA.AN1.png a second time"))],
    (MANIFEST + "faces/none.png,AN,AA\nno.png,AN,A",
     r"own.csv: 2 of 38 files are not there, such as faces/none.png \(face 37\)", {}),
    *[(FER2013 + row, f"face 41: {says}", {}) for row, says in (
        (f"1,{GREYS} 7,Training", "2305 pixels, 48 x 48 are needed; correct or remove"),
        (f"1,{'7 ' * 256 * 256},Training", "256 x 256 pixels, 48 x 48 are needed"),
        ("1,,Training", "0 x 0 pixels, 48 x 48 are needed"),
        (f"1,{'256 ' * 2304},Training", "pixels are not whole numbers from 0 to 255; correct"),
        (f"1,{'x ' * 2304},Training", "pixels are not whole numbers from 0 to 255"),
        (f"8,{GREYS},Training", "emotion 8 is none of 0 to 7; correct"),
        (f"10.0,{GREYS},Training", "emotion 10 is none of 0 to 7"),
        (f",{GREYS},Training", "has no emotion"),
        (f"1,{GREYS},Middle", "split Middle is none"))],
    ("file,angry,happy\nfaces/AA.AN1.png,9,1", "face 1: has other numbers than 0 and 1", {}),
    ("file,emotion,x,y,w,width\n", "own.csv: has two columns for one side of a box: rename w", {}),
    ("emotion,pixels\n0,7 7 7", "face 1: 3 pixels, 48 x 48 are needed", {}),
    ("emotion,pixels\n0,7 7 7 7", "face 1: 2 x 2 pixels, 48 x 48 are needed", {}),
    (f"{FER2013}3,{GREYS},Training", "000041: the only face of emotion happy; correct the label",
     {}),
    (f"{FER2013}7,{GREYS},Training", "000041: the only face of emotion contempt; correct", {}),
    (archive(lambda packed: b"PK\3\4 no"), "own.zip: damaged .*download it again, or unpack it",
     {}),
    (archive(lambda packed: packed.replace(b"IHDR", b"IHDX")),
     r"own.zip: A.\.AN1.png: damaged .*download it", {}),
    (archive(extra=bytes(70 * 2**20)), "own.zip: EE.AN1.png: over 64 MiB, which no face is", {}),
    (archive(extra=png_of(60_000)), "EE.AN1.png: cannot be read as an image", {}),
    *[(archive(kind=kind), "own.tar\\S*: is a tar archive; unpack it", {})
      for kind in ("tar", "gztar", "xztar")],
    (lambda folder: Path("own.rar").write_bytes(b"Rar!"), "own.rar: is a rar archive; unpack", {}),
]


def load(change, folder, path=None, **options):
    if isinstance(change, bytes):
        (folder / "AA.AN1.png").write_bytes(change)
    elif isinstance(change, str):
        Path("own.csv").write_text(change)
    elif change:
        change(folder)
    return data.load_faces(path or next(iter(sorted(Path().glob("own.*"))), "faces"), **options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[1])[:40])
def test_refused(case, folder):
    change, says, options = case
    with pytest.raises(Problem) as caught:
        load(change, folder, **options)
    text = str(caught.value)
    assert re.search(says, text), text
    assert "object at 0x" not in text and "\n" not in text
    text.encode()  # surrogates would be a traceback where it is printed


def test_a_zip_of_too_many_files(folder, monkeypatch):
    monkeypatch.setattr(files, "MAX_MEMBERS", 20)
    with pytest.raises(Problem, match="own.zip: 36 files inside, more than 20; unpack it"):
        load(archive(), folder)


def test_nothing_is_unpacked_or_executed(folder):
    before = sorted(Path().rglob("*"))
    assert len(load(archive(), folder).faces.names) == len(NAMES)
    assert sorted(Path().rglob("*")) == sorted([*before, Path("own.zip")])


CELLS = st.sampled_from(["AA.AN1.png", "BB.HA1.png", "AN", "train", "", ".", "..", '"', "\0", "a,b",
                         "x" * 300, "\u202e", "emotion", "\\", "../", "-3", "7 7 7"]) \
    | st.text(max_size=8)
HEADS = ["file,emotion,subject", "file,emotion", "emotion,pixels,Usage", "", "image;label",
         "file,emotion,x,y,side", "user.id,image,emotion", "file\temotion\tid",
         "subDirectory_filePath,expression", "Usage,Image name,neutral,happiness,surprise,sadness,"
         "anger,disgust,fear,contempt,unknown,NF"]


@PROPERTY
@given(st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=6), st.sampled_from(HEADS),
       st.booleans())
def test_any_table_is_read_or_is_refused(tmp_path, rows, head, known):
    lines = ["AA.AN1.png,AN,A", "AA.AN2.png,AN,A", "BB.HA1.png,HA,B", "BB.HA2.png,HA,B"]
    for number, line in enumerate(lines):
        if not (tmp_path / line[:10]).exists():
            noise(number).save(tmp_path / line[:10])
    (tmp_path / "fer2013.csv").write_text("emotion,pixels\n" + f"0,{GREYS}\n" * 2)
    known = known and head == "file,emotion,subject"
    text = "\n".join([head, *(lines if known else []), *rows])
    (tmp_path / "own.csv").write_text(text, "utf-8", "surrogatepass", newline="")
    try:
        names = data.load_faces(tmp_path / "own.csv").faces.names
    except Problem as problem:
        assert re.search("own.csv|all faces show|only face of emotion", str(problem))
        str(problem).encode()
    else:
        assert len(names) == len(set(names.tolist())) >= 2


PARTS = st.sampled_from(["happy", "Sad", "angry", "S001", "S002", "001", "1", "2", "AN",
                         "HA", "train", "val", "test", "..", ".hidden", "@eaDir", "a", "悲伤",
                         "x" * 99, "\\", "\xe9"])
FILES = st.sampled_from(["1.png", "2.jpg", "AA.AN1.png", "BB.HA1.png", "AF01ANS.JPG",
                         "AM02HAFL.JPG", "Rafd090_01_Caucasian_female_angry_frontal.jpg",
                         "S001_001_00000001.png", "S001_001_00000001_emotion.txt",
                         "list_patition_label.txt", "own.csv",
                         "fer2013.csv", "fer2013new.csv", "a.heic", "README"])


@PROPERTY
@given(st.lists(st.tuples(st.lists(PARTS, max_size=3), FILES, st.integers(0, 3)), max_size=12),
       st.sampled_from(["", "", "(happy|Sad|AN)"]), st.text("ah1=,", max_size=5))
def test_any_zip_is_read_or_is_refused(tmp_path, members, emotion, labels):
    contents = [encoded(noise(0, 60), "PNG"), encoded(noise(1, 60), "PNG"), b"1\n",
                b"file,emotion\n1.png,happy\n2.jpg,sad\n"]
    with zipfile.ZipFile(tmp_path / "own.zip", "w") as packed:
        for folders, name, content in members:
            name = "/".join([*folders, name])
            if name not in packed.namelist():
                packed.writestr(name, contents[content])
    try:
        data_set = data.load_faces(tmp_path / "own.zip", emotion=emotion, labels=labels)
    except Problem as problem:
        str(problem).encode()
    else:
        "".join([*data_set.notes, *data_set.faces.names.tolist()]).encode()
        assert len(data_set.faces.names) == len(data_set.splits) >= 2


SMALL = noise(1, 48)
IMAGES = {"tiff": encoded(SMALL, compression="tiff_lzw"), "png": encoded(SMALL.quantize(16), "PNG"),
          "jpg": encoded(SMALL, "JPEG"), "webp": encoded(SMALL.convert("RGB"), "WEBP"),
          "bmp": encoded(SMALL, "BMP"), "pgm": b"P5 48 48 4095\n" + bytes(range(16)) * 288,
          "la.png": encoded(SMALL.convert("LA"), "PNG"),
          "mpo": encoded(SMALL, "MPO", save_all=True, append_images=[SMALL])}


@PROPERTY
@given(st.sampled_from(sorted(IMAGES)), st.integers(0, 4000),
       st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4))
def test_any_image_is_read_or_is_refused(form, cut, changes):
    content = bytearray(IMAGES[form])
    for place, value in changes:
        content[place % len(content)] = value
    content = bytes(content[:-cut or None])
    entry = files.Entry("a", "", "", "", (), lambda: content, f"a.{form}")
    try:
        images, wide_crops, drawn, notes = data.read_images([entry], "square")
    except Problem as problem:
        assert str(problem).startswith("a." + form)
        str(problem).encode()
    else:
        assert images.shape == (1, 48, 48) and images.dtype == np.uint8
        assert wide_crops[0].grey.ndim == 2 and not drawn
