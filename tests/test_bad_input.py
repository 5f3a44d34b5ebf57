"""What is refused: one line that names it and the way out, status 2, and nothing left or lost."""

import io
import json
import os
import pickle
import re
import shlex
import shutil
import struct
import zlib
from pathlib import Path

import utils
from data import experiment
from data import faces as data

import numpy as np
import pytest
from conftest import ROOT, contents, draw_tiny, one_line, printable, shell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = [f"{who}.{emotion}{take}.png" for who in ("AA", "BB", "CC", "DD")
         for emotion in ("AN", "HA", "SU") for take in (1, 2, 3)]
MANIFEST = "file,emotion,subject\n" + "".join(
    f"faces/{name},{name[3:5]},{name[:2]}\n" for name in NAMES)
GREYS = "7 " * 48 * 48
FER2013 = "emotion,pixels,Usage\n" + f"0,{GREYS},Training\n1,{GREYS},Training\n" * 20


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """The folder faces/, to be spoilt, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return draw_tiny(tmp_path / "faces")


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
    return lambda faces: (faces / "AA.AN1.png").rename(faces / name)


def only(pattern):
    return lambda faces: [(faces / name).unlink() for name in NAMES if not re.search(pattern, name)]


def by_folders(first="AN/AA 1.png"):
    """AA.AN1.png becomes `first`, AA.AN2.png AN/AA 2.png and so on."""
    def change(faces):
        for name in NAMES:
            place = f"{name[3:5]}/{name[:2]} {name[5]}.png" if name != NAMES[0] else first
            (faces / place).parent.mkdir(parents=True, exist_ok=True)
            (faces / name).rename(faces / place)

    return change


def archive(change=lambda packed: packed, extra=None):
    def make(faces):
        if extra is not None:
            (faces / "EE.AN1.png").write_bytes(extra)
        packed = Path(shutil.make_archive("own", "zip", faces))
        packed.write_bytes(change(packed.read_bytes()))

    return make


UNREADABLE = r"AA\.AN1\.png: cannot be read as an image"
SOURCES = [  # bytes of AA.AN1.png, text of own.csv or another change; what the line says; options
    *[(content, UNREADABLE) for content in (
        b"", encoded(noise(1))[:30_000], b"II*\0" + bytes(range(256)) * 50, b"not an image",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")],
    *[(png_of(side), f"{UNREADABLE} .*decompression bomb") for side in (60_000, 12_000)],
    (encoded(noise(1), save_all=True, append_images=[noise(2)]), "holds 2 pictures; save"),
    (full(np.nan, np.float32), "mode F has no fixed white"),
    (full(70_000, np.int32), "mode I has no fixed white"),
    (encoded(noise(1, 210)), "210 x 210 pixels, too small for the box 50,65,161; correct it",
     "--crop", data.JAFFE_BOX),
    (None, "nowhere: no such file or folder; give --data a folder or zip with JAFFE",
     "--data", "nowhere"),
    (None, "AA.AN1.png: no layout of faces; give --data", "--data", "faces/AA.AN1.png"),
    (None, "cannot be split for given: they bring no split of their own", "--protocol", "given"),
    (only("nothing"), "faces: holds no image; give --data"),
    (only("AN"), "all faces show AN; a classifier needs at least two emotions"),
    (only("AN|AA.HA1"),
     "HA1.png: the only face of emotion HA; correct the label, add faces or remove"),
    (only("AN|AA.HA"), "be split for loso: run 1 has 0 training faces of emotion HA, two are need",
     "--protocol", "loso"),
    (only("A[AN]|BB"), "be split for kfold: who is who has to be known, of 9 people or more; give",
     "--protocol", "kfold", "--folds", "9"),
    (renamed("portrait.png"), "portrait.png: a name that tells no emotion, or a second layout"),
    (renamed("1\x1b[2J.png"), r"1\\x1b\\x5b2J.png': a name that"),
    (lambda faces: draw_tiny(faces / "more", subjects="B"),
     "more/BB.AN1.png: BB.AN1.png a second time; remove one"),
    (by_folders("AA.AN9.png"),
     "AA 2.png.?: a name that tells no emotion, or a second layout in one f"),
    (by_folders("train/AN/z.png"), "two layouts in one folder: this file lies in neither train/ n"),
    (by_folders("test/AN/z.png"), "neither train/ nor test/", "--protocol", "given"),
    (by_folders(), r"--subject '\^\(..\):' does not match this name; correct the pattern",
     "--subject", "^(..):"),
    (by_folders(), "be split for loso: who is who has to be known, .*give --subject PATTERN, or a ",
     "--protocol", "loso"),
    (lambda faces: (faces / "EE.AN1.png").symlink_to("nowhere"),
     r"EE.AN1.png: no file that can be read \(a dangling link\?\); remove it"),
    (lambda faces: os.mkfifo(faces / "EE.AN1.png"), "EE.AN1.png: no file that can be read"),
    (lambda faces: os.truncate(faces / "AA.AN1.png", 2**40),  # a hole: takes no room
     "AA.AN1.png: over 64 MiB, which no face is; remove"),
    ("file,emotion,subject", "own.csv: holds no face"),
    ("a,b", "own.csv: lacks file,emotion or emotion,pixels"),
    (MANIFEST.replace("subject", "split"), "face 1: split AA is none of train, training"),
    (MANIFEST.replace("subject", "x,y,side"), "face 1: 3 cells, the first line has 5"),
    ("file,emotion,x,y,side\nfaces/AA.AN1.png,AN,1,2,z", "x, y, side are 1, 2, z, not pixels"),
    ("file,emotion,split" + "".join(f"\nfaces/{name},{name[3:5]},{part}" for name, part in zip(
        NAMES, ("train", "test", "") * 12)), "no split of their own, or one without some faces",
     "--protocol", "given"),
    (lambda faces: Path("own.csv").write_text(MANIFEST, "utf-16"),
     "own.csv: damaged .*save it as CSV in UTF-8"),
    (MANIFEST + '"' + "x" * 200_000, "own.csv: damaged .*field larger than field limit"),
    *[(MANIFEST + row, f"own.csv, face 37: {says}") for row, says in (
        ("faces/none.png,AN,AA", "no file .*faces/none.png; files are sought beside the CSV"),
        ("faces/AA.AN1.png,AN", "2 cells, the first line has 3; put a text with a comma"),
        ("faces/AA.AN1.png,AN,AA", "faces/AA.AN1.png a second time; remove one"),
        ("faces/AA.AN1.png,,AA", "has no emotion; correct or remove the line"),
        ("faces/../faces/AA.AN1.png,hapy,AA", "faces/AA.AN1.png a second time"))],
    *[(FER2013 + row, f"face 41: {says}") for row, says in (
        (f"1,{GREYS} 7,Training",
         "pixels are not 2304 whole numbers from 0 to 255; correct or remove"),
        (f"1,{'256 ' * 2304},Training", "pixels are not 2304 whole numbers from 0 to 255"),
        (f"7,{GREYS},Training", "emotion 7 is none of 0 to 6"),
        (f"1,{GREYS},Middle", "split Middle is none"))],
    (f"{FER2013}3,{GREYS},Training", "000041: the only face of emotion happy; correct the label"),
    (FER2013 + f"3,{GREYS},PrivateTest\n" * 2, "run 0 has 0 training faces of emotion happy, two "
     "are needed", "--protocol", "given"),
    (archive(lambda packed: b"PK\3\4 no"), "own.zip: damaged .*download it again, or unpack it"),
    (archive(lambda packed: packed.replace(b"IHDR", b"IHDX")),
     r"own.zip: A.\.AN1.png: damaged .*download it"),
    (archive(extra=bytes(70 * 2**20)), "own.zip: EE.AN1.png is over 64 MiB, which no face is"),
    (archive(extra=png_of(60_000)), "EE.AN1.png: cannot be read as an image"),
]


@pytest.mark.parametrize("case", SOURCES)
def test_source(case, faces, script):
    change, says, *options = case
    if isinstance(change, bytes):
        (faces / "AA.AN1.png").write_bytes(change)
    elif isinstance(change, str):
        Path("own.csv").write_text(change)
    elif change:
        change(faces)
    path = next(name for name in ("own.csv", "own.zip", "faces") if Path(name).exists())
    script("train_cae.py", "--data", path, "--results", "results", *options, says=says)
    assert not Path("results").exists()


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
    "train_cae.py --subject (": r"--subject: \( is not a regular expression: missing",
    "train_cae.py --jobs 0": "--jobs: 0 is not a whole number from 1",
    "train_cae.py --batch 1_0": "--batch: 1_0 is not a whole number from 1",
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
    """As a user sees it: nothing on stdout, no traceback; no GPU and no cluster where asked for."""
    new = ("train_cae.py", "--data", "faces", "--results", "results")
    for says, printed, *command in (
            ("holds no experiment.json", "", "augment.py", "nowhere"),
            ("--device gpu: TensorFlow finds no GPU here; leave the option out", "faces: 36 faces",
             *new, "--device", "gpu"),
            ("train_cae.py: --dask tcp://127.0.0.1:9: no scheduler answers there",
             "faces: 36 faces", *new, "--dask", "tcp://127.0.0.1:9")):
        stdout, stderr = shell(*command, status=2, CUDA_VISIBLE_DEVICES="-1")
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
class Hostile:
    def __reduce__(self):
        return exec, ("open('canary', 'w')",)


def fields(**values):
    return lambda text: json.dumps(json.loads(text) | values).encode()


def arrays(**values):
    def change(whole):
        stream = io.BytesIO()
        np.savez(stream, **(dict(np.load(io.BytesIO(whole))) | values))
        return stream.getvalue()

    return change


def flip(whole):
    """One bit of the last array, which stands before the zip's directory."""
    place = whole.index(b"PK\1\2") - 1
    return whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1:]


HOSTILE = arrays(names=np.array([Hostile()], object))
DAMAGE = [  # file, its bytes or where it is cut or a function of it, a script, what its line says
    *[("experiment.json", change, "augment.py", "experiment.json: damaged .*restore it, or remove "
       "the folder") for change in (
        b"", 100, b"[]", b"{}", b"[" * 200_000, lambda text: b"\xff" + text, fields(runs="1"),
        fields(extra=1), fields(theta=None), fields(emotions="AN"))],
    *[("experiment.json", fields(**{name: value}), "augment.py", says) for name, value, says in (
        ("data", "/nowhere/at\0all", "no such file or folder|embedded null"),
        ("fingerprint", "0" * 16, "other faces than .* began with; restore them"),
        ("latent", 5, "missing or outdated: split.npz in run-00; run train_cae.py"))],
    ("split.npz", flip, "evaluate.py", "split.npz: damaged .*Bad CRC-32"),
    ("split.npz", arrays(test=np.arange(9)), "evaluate.py", "damaged .a face on both sides"),
    *[("cae.npz", change, *met) for met in (
        ("train_cae.py", "cae.npz: damaged .*remove it and run the script that makes it again"),
        ("augment.py", "missing or outdated: cae-AN-HA.npz, .*; run train_cae.py experiment"))
      for change in (b"", 5000, pickle.dumps(Hostile()))],
    ("cae.npz", flip, "augment.py --methods interpolate", "cae.npz: damaged .*Bad CRC-32"),
    ("synthetic-interpolate.npz", -50, "train_classifier.py", "interpolate.npz: damaged"),
    ("synthetic-interpolate.npz", HOSTILE, "train_classifier.py", "damaged .*allow_pickle"),
    ("synthetic-interpolate.npz", HOSTILE, "evaluate.py",
     "missing or outdated: classifier-interpolate-0.npz"),
    ("classifier-none-0.npz", flip, "evaluate.py", "classifier-none-0.npz: damaged .*Bad CRC-32"),
    ("classifier-none-0.npz", 90_000, "train_classifier.py", "none-0.npz: damaged"),
]


@pytest.mark.parametrize("case", DAMAGE)
def test_damage(case, copied, script, tmp_path, monkeypatch):
    name, change, command, says = case
    monkeypatch.chdir(tmp_path)  # where a pickle would leave its canary
    file = copied / ("" if name == "experiment.json" else "run-00") / name
    whole = file.read_bytes()
    file.write_bytes(change(whole) if callable(change) else
                     whole[:change] if isinstance(change, int) else change)
    before = contents(copied)
    assert file.read_bytes() != whole
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
