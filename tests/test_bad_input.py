"""What is refused: one line that names it and the way out, status 2, and nothing left or lost."""

import io
import json
import os
import pickle
import re
import shlex
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, changing, contents, draw_tiny, one_line, printable, shell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import utils
from data import experiment
from data import faces as data

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """The folder faces/, to be spoilt, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return draw_tiny(tmp_path / "faces")


def names(faces):
    return sorted(file.name for file in faces.iterdir())


def encoded(image, form="TIFF", **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def noise(seed, side=256):
    greys = np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    return Image.fromarray(greys)


def png_of(width, height):
    """A small PNG that claims to be so large."""
    plain = encoded(noise(1), "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + plain[24:29]
    return plain[:12] + header + struct.pack(">I", zlib.crc32(header)) + plain[33:]


# ----------------------------------------- changes of faces/, or own.csv or own.zip made beside it
def face(content):
    return lambda faces: (faces / "AA.AN1.png").write_bytes(content)


def renamed(name):
    return lambda faces: (faces / "AA.AN1.png").rename(faces / name)


def only(pattern):
    return lambda faces: [(faces / name).unlink() for name in names(faces)
                          if not re.search(pattern, name)]


def by_folders(*more):
    """AA.AN1.png becomes AN/AA 1.png and so on; there are some further files."""
    def change(faces):
        for name in names(faces):
            (faces / name[3:5]).mkdir(exist_ok=True)
            (faces / name).rename(faces / name[3:5] / f"{name[:2]} {name[5]}.png")
        for place in more:
            (faces / place).parent.mkdir(parents=True, exist_ok=True)
            noise(len(place)).save(faces / place)

    return change


def table(text, form="utf-8"):
    """FACES stands for a line of each face, GREYS for as many as a face has."""
    def change(faces):
        rows = "\n".join(f"faces/{name},{name[3:5]},{name[:2]}" for name in names(faces))
        full = text.replace("FACES", rows).replace("GREYS", "7 " * 2304)
        Path("own.csv").write_bytes(full.encode(form))

    return change


def manifest(row, **how):
    return table(f"file,emotion,subject\nFACES\n{row}", **how)


def fer2013(rows):
    plain = "0,GREYS,Training\n1,GREYS,Training\n" * 20
    return table(f"emotion,pixels,Usage\n{plain}{rows}")


def archive(change=lambda packed: packed, extra=None):
    def make(faces):
        with zipfile.ZipFile("own.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for name in names(faces):
                packed.write(faces / name, name)
            if extra is not None:
                packed.writestr("EE.AN1.png", extra)
        Path("own.zip").write_bytes(change(Path("own.zip").read_bytes()))

    return make


UNREADABLE = r"AA\.AN1\.png: cannot be read as an image"
FULL = (256, 256)
SOURCES = [  # a change, what the line says, further options
    *[(face(content), UNREADABLE) for content in (
        b"", encoded(noise(1))[:30_000], b"II*\0" + bytes(range(256)) * 50, b"not an image",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")],
    *[(face(png_of(side, side)), f"{UNREADABLE} .*decompression bomb")
      for side in (60_000, 12_000)],
    (face(encoded(noise(1), save_all=True, append_images=[noise(2)])), "holds 2 pictures; save"),
    (face(encoded(Image.fromarray(np.full(FULL, np.nan, np.float32)))), "mode F has no fixed"),
    (face(encoded(Image.fromarray(np.full(FULL, 70_000, np.int32)))), "mode I has no fixed white"),
    (face(encoded(noise(1, 210))), "210 x 210 pixels, too small for the box 50,65,161; correct it",
     "--crop", data.JAFFE_BOX),
    (only(""), "nowhere: no such file or folder; give --data a folder or zip with JAFFE",
     "--data", "nowhere"),
    (only(""), "AA.AN1.png: no layout of faces; give --data", "--data", "faces/AA.AN1.png"),
    (only(""), "cannot be split for given: they bring no split of their own",
     "--protocol", "given"),
    (only("nothing"), "faces: holds no image; give --data"),
    (only("AN"), "all faces show AN; a classifier needs at least two emotions"),
    (only("AN|AA.HA1"),
     "HA1.png: the only face of emotion HA; correct the label, add faces or remove"),
    (only("AN|AA.HA"), "run 1 of loso has 0 training faces of emotion HA, two are needed",
     "--protocol", "loso"),
    (only("A[AN]|BB"), "be split for kfold: 4 people for 9 folds; add.*another", "--protocol",
     "kfold", "--folds", "9"),
    (renamed("portrait.png"), "portrait.png: a name that tells no emotion, or a second layout"),
    (renamed("1\x1b[2J.png"), r"1\\x1b\\x5b2J.png': a name that"),
    (lambda faces: draw_tiny(faces / "more", subjects="B"),
     "BB.AN1.png: a second file of the name of .*BB.AN1.png; remove"),
    (by_folders("AA.AN9.png"),
     "AA 1.png: a name that tells no emotion, or a second layout in one f"),
    (by_folders("train/AN/z.png"),
     "two layouts in one folder: this file lies in neither train/ nor t"),
    (by_folders("test/AN/z.png"), "neither train/ nor test/", "--protocol", "given"),
    (by_folders(), r"--subject '\^\(..\):' does not match this name; correct the pattern",
     "--subject", "^(..):"),
    (by_folders(), "loso needs to know who is who, .*give --subject PATTERN, or a CSV",
     "--protocol", "loso"),
    (lambda faces: (faces / "EE.AN1.png").symlink_to("nowhere"),
     r"EE.AN1.png: no file that can be read \(a dangling link\?\); remove it"),
    (lambda faces: os.mkfifo(faces / "EE.AN1.png"), "EE.AN1.png: no file that can be read"),
    (lambda faces: os.truncate(faces / "AA.AN1.png", 2**40),  # a hole: takes no room
     "AA.AN1.png: over 64 MiB, which no face is; remove"),
    (table("file,emotion,subject"), "own.csv: holds no face"),
    (table("a,b"), "own.csv: lacks file,emotion or emotion,pixels"),
    (table("file,emotion,subject,split\n" + "".join(
        f"faces/{who}.{emotion}1.png,{emotion},{who},{part}\n" for emotion in ("AN", "HA")
        for who, part in (("AA", "train"), ("BB", "train"), ("CC", "test"), ("DD", "")))),
     "no split of their own, or one without some faces", "--protocol", "given"),
    (table("file,emotion,split\nFACES"), "face 1: split AA is none of train, training"),
    (table("file,emotion,x,y,side\nFACES"), "face 1: 3 cells, the first line has 5"),
    (manifest("x", form="utf-16"), "own.csv: damaged .*save it as CSV in UTF-8"),
    (manifest('"' + "x" * 200_000), "own.csv: damaged .*field larger than field limit"),
    *[(manifest(row), f"own.csv, face 37: {says}") for row, says in (
        ("faces/none.png,AN,AA", "no file .*faces/none.png; files are sought beside the CSV"),
        ("faces/AA.AN1.png,AN", "2 cells, the first line has 3; put a text with a comma"),
        ("faces/AA.AN1.png,AN,AA", "faces/AA.AN1.png a second time; remove a line"),
        ("faces/AA.AN1.png,,AA", "has no emotion; correct or remove the line"),
        ("faces/../faces/AA.AN1.png,hapy,AA", "faces/AA.AN1.png a second time"))],
    *[(fer2013(row), f"face 41: {says}") for row, says in (
        ("1,GREYS 7,Training",
         "pixels are not 2304 whole numbers from 0 to 255; correct or remove"),
        (f"1,{'256 ' * 2304},Training", "pixels are not 2304 whole numbers from 0 to 255"),
        ("7,GREYS,Training", "emotion 7 is none of 0 to 6"),
        ("1,GREYS,Middle", "split Middle is none"))],
    (fer2013("3,GREYS,Training"), "000041: the only face of emotion happy; correct the label"),
    (fer2013("3,GREYS,PrivateTest\n3,GREYS,PrivateTest"), "run 0 of given has 0 training faces of "
     "emotion happy, two are needed", "--protocol", "given"),
    (archive(lambda packed: b"PK\3\4 no"), "own.zip: damaged .*download it again, or unpack it"),
    (archive(lambda packed: packed.replace(b"IHDR", b"IHDX")),
     r"own.zip: A.\.AN1.png: damaged .*download it"),
    (archive(extra=bytes(70 * 2**20)), "own.zip: EE.AN1.png is over 64 MiB, which no face is"),
    (archive(extra=png_of(60_000, 60_000)), "EE.AN1.png: cannot be read as an image"),
]


@pytest.mark.parametrize("case", SOURCES)
def test_source(case, faces, script):
    change, says, *options = case
    change(faces)
    path = next(name for name in ("own.csv", "own.zip", "faces") if Path(name).exists())
    script("train_cae.py", "--data", path, "--results", "results", *options, says=says)
    assert not Path("results").exists()


def test_a_person_on_both_sides_of_a_given_split_is_a_warning(faces):
    rows = [f"faces/{name},{name[3:5]},{name[:2]},{'test' if '3' in name else 'train'}"
            for name in names(faces)]
    Path("own.csv").write_text("\n".join(["file,emotion,subject,split", *rows]))
    assert data.load_faces("own.csv").notes == [
        "on both sides of the data's own split: AA, BB, CC ... (4 in all)"]


CELLS = st.sampled_from(["AA.AN1.png", "BB.HA1.png", "AN", "train", "", ".", "..", '"', "\0", "a,b",
                         "x" * 300, "\u202e", "emotion"]) | st.text(max_size=8)


@PROPERTY
@given(st.lists(st.lists(CELLS, max_size=5).map(",".join), max_size=6),
       st.sampled_from(["file,emotion,subject", "file,emotion", "emotion,pixels,Usage", ""]))
def test_any_csv_is_read_or_is_refused(tmp_path, rows, head):
    known = ["AA.AN1.png,AN,A", "AA.AN2.png,AN,A", "BB.HA1.png,HA,B", "BB.HA2.png,HA,B"]
    for number, row in enumerate(known):
        if not (tmp_path / row[:10]).exists():
            noise(number).save(tmp_path / row[:10])
    text = "\n".join([head, *(known if head == "file,emotion,subject" else []), *rows])
    (tmp_path / "own.csv").write_text(text, "utf-8", "surrogatepass", newline="")
    try:
        found = data.load_faces(tmp_path / "own.csv").faces
    except utils.Problem as problem:
        assert printable(problem)
    else:
        assert len(found.names) == len(set(found.names.tolist())) >= 2


SMALL = noise(1, 48)
IMAGES = {"tiff": encoded(SMALL, compression="tiff_lzw"), "png": encoded(SMALL.quantize(16), "PNG"),
          "jpg": encoded(SMALL, "JPEG"), "webp": encoded(SMALL.convert("RGB"), "WEBP"),
          "bmp": encoded(SMALL, "BMP")}


@PROPERTY
@given(st.sampled_from(sorted(IMAGES)), st.integers(0, 4000),
       st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4))
def test_any_image_is_read_or_is_refused(form, cut, changes):
    found = bytearray(IMAGES[form])
    for place, value in changes:
        found[place % len(found)] = value
    entry = data.Entry("a", "", "", "", (), lambda: bytes(found[:-cut or None]), f"a.{form}")
    try:
        image, picture = data.framed(entry, data.decode(entry)[0], "square")
    except utils.Problem as problem:
        assert str(problem).startswith("a." + form) and printable(problem)
    else:
        assert image.shape == (48, 48) and image.dtype == np.uint8 and picture.grey.ndim == 2


# ---------------------------------------------------------------------------------------- options
OPTIONS = {  # a command and what its line says
    "train_cae.py --runs 0": "--runs: 0 is not a whole number from 1 to 1000",
    f"train_cae.py --seed {'1' * 5000}": "is not a whole number",
    "train_cae.py --protocol holdout --steps 99": "--steps: 99 is not a whole number from 100",
    "train_cae.py --steps 200": "--steps has no effect in the protocol published; leave it out",
    "train_cae.py --protocol loso --patience 3": "--patience has no effect in the protocol loso",
    "train_cae.py --keep average": "--keep has no effect in the protocol published",
    "train_cae.py --folds 3": "--folds has no effect in the protocol published",
    "train_cae.py --protocol other": "--protocol: invalid choice: .*other",
    "train_cae.py --crop 0,0,0": "--crop: 0,0,0 is not X,Y,SIDE in pixels, square or none",
    "train_cae.py --crop 200,0,99": "AA.AN1.png: 256 x 256 pixels, too small for the box 200,0,99",
    "train_cae.py --theta nan": "--theta: nan is not a number such as 0.5",
    "train_cae.py --subject (": r"--subject: \( is no regular expression",
    "train_cae.py --jobs 0": "--jobs: 0 is not a whole number from 1",
    "train_cae.py --no-such": "unrecognized arguments: --no-such; see --help",
    "train_cae.py nowhere": "nowhere: holds no experiment.json; train_cae.py makes one",
    "augment.py --methods magic": "no method magic; there are translate, person-mean",
    "augment.py --methods ''": "no method ; there are",
    "augment.py --redo all": "no method all; there are",
    "train_classifier.py --arms none,magic": "no method magic; there are translate",
    "train_classifier.py --redo magic": "no method magic; there are translate",
    f"train_classifier.py '{ROOT / 'utils.py'}'": "utils.py: holds no experiment.json",
    "evaluate.py '$(x)`[b]\x1b\n'": "holds no experiment.json",
}


@pytest.mark.parametrize("case", OPTIONS.items())
def test_option(case, faces, script):
    name, *options = shlex.split(case[0])
    where = ["--data", "faces", "--results", "results"] if name == "train_cae.py" else []
    script(name, *where, *options, says=case[1])
    assert not Path("results").exists()


def test_from_the_shell(faces):
    """As a user sees it: nothing on stdout, no traceback; and a GPU that is not there."""
    for says, printed, name, *options in (
            ("nowhere: no such file or folder", "", "train_cae.py", "--data", "nowhere"),
            ("holds no experiment.json", "", "augment.py", "nowhere"),
            ("--device gpu: TensorFlow finds no GPU here; leave the option out", "faces: 36 faces",
             "train_cae.py", "--data", "faces", "--results", "results", "--device", "gpu")):
        stdout, stderr = shell(name, *options, status=2, CUDA_VISIBLE_DEVICES="-1")
        assert says in one_line(2, stderr)
        assert stdout.startswith(printed) and bool(stdout) == bool(printed)


@pytest.mark.parametrize("where", ["", "faces-published", "faces-published/run-00"])
def test_file_where_a_folder_should_be(where, faces, script):
    way = Path("results", where)
    way.parent.mkdir(parents=True, exist_ok=True)
    way.write_text("in the way")
    script("train_cae.py", "--data", "faces", "--results", "results",
           says=f"{way.name}.*cannot be written")
    assert way.read_text() == "in the way"


# ------------------------------------------------------------------------------------ experiments
def rewritten(change):
    return lambda file: file.write_bytes(change(file.read_bytes()))


def content(text):
    return lambda file: file.write_bytes(text)


def cut(end):
    return rewritten(lambda whole: whole[:end])


def fields(**values):
    return rewritten(lambda text: json.dumps(json.loads(text) | values).encode())


def flip(file):
    """One bit in the middle of the largest member of a zip."""
    with zipfile.ZipFile(file) as stored:
        largest = max(stored.infolist(), key=lambda member: member.file_size)
    found = bytearray(file.read_bytes())
    found[largest.header_offset + 100 + largest.file_size // 2] ^= 64
    file.write_bytes(found)


class Hostile:
    def __reduce__(self):
        return exec, ("open('canary', 'w')",)


def pickled(file):
    with changing(file) as arrays:
        arrays["names"] = np.array([Hostile()], object)


def overlapping(file):
    with changing(file) as arrays:
        arrays["test"][0] = arrays["train"][0]


DAMAGE = [  # file, what is done to it, the script that meets it, what its line says
    *[("experiment.json", change, "augment.py", "experiment.json: damaged .*restore it, or remove "
       "the folder") for change in (
        content(b""), cut(100), rewritten(lambda text: b"\xff" + text), content(b"[]"),
        content(b"{}"), content(b"[" * 200_000), fields(runs="1"), fields(extra=1),
        fields(theta=None), fields(emotions="AN"))],
    *[("experiment.json", fields(**{name: value}), "augment.py", says) for name, value, says in (
        ("data", "/nowhere/at\0all", "no such file or folder|embedded null"),
        ("fingerprint", "0" * 16, "other faces than .* began with; restore them"),
        ("latent", 5, "missing or outdated: split.npz in run-00; run train_cae.py"))],
    *[("split.npz", change, "evaluate.py", says) for change, says in (
        (flip, "split.npz: damaged .*Bad CRC-32"),
        (overlapping, "split.npz: damaged .a face on both sides"),
        (Path.unlink, "missing or outdated: split.npz in run-00; run train_cae.py"))],
    *[("cae.npz", change, *met) for met in (
        ("train_cae.py", "cae.npz: damaged .*remove it and run the script that makes it again"),
        ("augment.py", "missing or outdated: cae-AN-HA.npz, .*; run train_cae.py experiment"))
      for change in (content(b""), cut(5000), content(pickle.dumps(Hostile())))],
    ("cae.npz", flip, "augment.py --methods interpolate", "cae.npz: damaged .*Bad CRC-32"),
    *[("synthetic-interpolate.npz", change, *met) for change, *met in (
        (cut(-50), "train_classifier.py", "interpolate.npz: damaged"),
        (pickled, "train_classifier.py", "synthetic-interpolate.npz: damaged .*allow_pickle"),
        (pickled, "evaluate.py", "missing or outdated: classifier-interpolate-0.npz"))],
    ("classifier-none-0.npz", flip, "evaluate.py", "classifier-none-0.npz: damaged .*Bad CRC-32"),
    ("classifier-none-0.npz", cut(90_000), "train_classifier.py", "none-0.npz: damaged"),
]


@pytest.mark.parametrize("case", DAMAGE)
def test_damage(case, copied, script, tmp_path, monkeypatch):
    name, change, command, says = case
    monkeypatch.chdir(tmp_path)  # where a pickle would leave its canary
    whole = contents(copied)
    change(copied / name if name == "experiment.json" else copied / "run-00" / name)
    before = contents(copied)
    assert before != whole
    script(*command.split(), copied, says=says)
    assert contents(copied) == before and not Path("canary").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (st.lists(inner, max_size=3)
                   | st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=4)


@PROPERTY
@given(st.data())
def test_any_experiment_opens_equal_or_is_refused(published, tmp_path, data):
    values = json.loads((published / "experiment.json").read_text())
    values[data.draw(st.sampled_from(sorted(values)))] = data.draw(JSON)
    text = json.dumps(values)
    (tmp_path / "experiment.json").write_text(text)
    try:
        found = experiment.read_experiment(tmp_path)
    except utils.Problem as problem:
        assert printable(problem)
    else:
        assert json.loads(found.as_json() if "NaN" not in text else text) == values
        assert str(found).isprintable() and len(found.identity) == 16
