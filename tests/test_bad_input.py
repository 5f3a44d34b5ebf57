"""What is refused: one line that names it and the way out, status 2, and nothing is left or lost."""

import io
import json
import os
import pickle
import re
import shutil
import struct
import zipfile
import zlib

import numpy as np
import pytest
from conftest import PUBLISHED, ROOT, contents, draw_tiny, one_line, sequence, shell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import utils
from data import experiment
from data import faces as data

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])


# ---------------------------------------------------------------------------------------- images
def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def noise(seed, side=256):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))


def png_header(width, height):
    """A PNG that claims to be so large, in 70 bytes."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


TIFF = encoded(noise(1), "TIFF")
PIXELS = {  # bytes of a face, and what the line says
    "empty": (b"", "cannot be read as an image"), "truncated": (TIFF[:30_000], "cannot be read as an image"),
    "corrupt": (b"II*\0" + bytes(range(256)) * 50, "cannot be read as an image"),
    "text": (b"not an image", "cannot be read as an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "cannot be read as an image"),
    "60000 x 60000": (png_header(60_000, 60_000), "cannot be read as an image"),
    "12000 x 12000": (png_header(12_000, 12_000), "cannot be read as an image"),  # Pillow itself only warns
    "two pictures": (encoded(noise(1), "TIFF", save_all=True, append_images=[noise(2)]), "holds 2 pictures; save one"),
    "nan": (encoded(Image.fromarray(np.full((256, 256), np.nan, np.float32)), "TIFF"), "mode F has no fixed white"),
    "32 bit": (encoded(Image.fromarray(np.full((256, 256), 70_000, np.int32)), "TIFF"), "mode I has no fixed white"),
    "too small": (encoded(noise(1, 210), "TIFF"), "210 x 210 pixels, too small for the box 50,65,161; correct it"),
}


@pytest.mark.parametrize("case", PIXELS)
def test_pixels(case, tmp_path, script):
    draw_tiny(tmp_path / "faces")
    (tmp_path / "faces" / "AA.AN1.png").write_bytes(PIXELS[case][0])
    line = one_line(*script("train_cae.py", "--data", tmp_path / "faces", "--results", tmp_path / "results",
                            "--crop", data.JAFFE_BOX)[::2])
    assert "AA.AN1.png: " in line and PIXELS[case][1] in line
    assert not (tmp_path / "results").exists()


# ------------------------------------------------------------------------------------- the layouts
HEAD = "file,emotion,subject"


def names(here):
    return sorted(file.name for file in (here / "faces").iterdir())


def lines(here):
    return [f"faces/{name},{name[3:5]},{name[:2]}" for name in names(here)]


def manifest(*more, head=HEAD, form="utf-8"):
    def make(here):
        (here / "own.csv").write_bytes("\n".join([head, *(lines(here) if more else []), *more]).encode(form))
        return here / "own.csv"

    return make


def fer(row):
    def make(here):
        plain = " ".join(["7"] * 2304)
        rows = [f"{k % 2},{plain},Training" for k in range(40)]
        (here / "own.csv").write_text("\n".join(["emotion,pixels,Usage", *rows, row.replace("GREY", plain)]))
        return here / "own.csv"

    return make


def changed(*steps):
    """The folder after a change of it: (old name, new name or None to remove it), or a function."""
    def make(here):
        folder = here / "faces"
        for old, new in steps:
            if new is None:
                (folder / old).unlink()
            else:
                (folder / new).parent.mkdir(parents=True, exist_ok=True)
                (folder / old).rename(folder / new)
        return folder

    return make


def only(pattern):
    return lambda here: changed(*((name, None) for name in names(here) if not re.search(pattern, name)))(here)


def link(here):
    (here / "faces" / "EE.AN1.png").symlink_to(here / "nowhere")
    return here / "faces"


def pipe(here):
    os.mkfifo(here / "faces" / "EE.AN1.png")
    return here / "faces"


def huge(here):
    with open(here / "faces" / "AA.AN1.png", "wb") as stream:
        stream.truncate(2**40)  # a hole: takes no room
    return here / "faces"


def archive(change=lambda data: data, member="AA.AN1.png", body=None):
    def make(here):
        with zipfile.ZipFile(here / "own.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            for name in names(here):
                packed.write(here / "faces" / name, name)
            if body is not None:
                packed.writestr(member, body)
        (here / "own.zip").write_bytes(change((here / "own.zip").read_bytes()))
        return here / "own.zip"

    return make


def by_folders(*places):
    """AA.AN1.png to AN/AA.AN1 x.png and so on, and some further files."""
    def make(here):
        for name in names(here):
            target = here / "faces" / name[3:5] / f"{name[:2]} {name[5]}.png"
            target.parent.mkdir(exist_ok=True)
            (here / "faces" / name).rename(target)
        for place in places:
            (here / "faces" / place).parent.mkdir(parents=True, exist_ok=True)
            noise(len(place)).save(here / "faces" / place)
        return here / "faces"

    return make


SOURCES = [  # what --data gets, further options, what the line says
    (lambda here: here / "nowhere", (), "nowhere: no such file or folder; give --data a folder or zip with JAFFE"),
    (lambda here: here / "faces" / "AA.AN1.png", (), "AA.AN1.png: no layout of faces; give --data"),
    (only("nothing"), (), "faces: holds no image; give --data"),
    (changed(("AA.AN1.png", "portrait.png")), (), "portrait.png: a name that tells no emotion, or a second layout"),
    (changed(*((f"AA.AN{k}.png", f"{k}\x1b[2J.png") for k in (1, 2, 3))), (), r"1\\x1b\\x5b2J.png': a name that"),
    (changed(("AA.AN1.png", "more/BB.AN1.png")), (), "BB.AN1.png: a second file of the name of .*BB.AN1.png; remove"),
    (by_folders("AA.AN9.png"), (), "AA 1.png: a name that tells no emotion, or a second layout in one folder"),
    (by_folders("train/AN/z.png"), (), "two layouts in one folder: this file lies in neither train/ nor test/"),
    (by_folders(), ("--subject", "^(..):"), r"--subject '\^\(..\):' does not match this name; correct the pattern"),
    (only("AN"), (), "all faces show AN; a classifier needs at least two emotions"),
    (only("AN|AA.HA1"), (), "AA.HA1.png: the only face of emotion HA; correct the label, add faces or remove"),
    (only("AN|AA.HA"), ("--protocol", "loso"), "run 1 of loso has 0 training faces of emotion HA, two are needed"),
    (only("A[AN]|BB"), ("--protocol", "kfold", "--folds", "9"), "cannot be split for kfold: .*choose another"),
    (by_folders(), ("--protocol", "loso"), "loso needs to know who is who, .*give --subject PATTERN, or a CSV"),
    (lambda here: here / "faces", ("--protocol", "given"), "cannot be split for given: they bring no split of their own"),
    (by_folders("test/AN/z.png"), ("--protocol", "given"), "neither train/ nor test/"),
    (link, (), r"EE.AN1.png: no file that can be read \(a dangling link\?\); remove it"),
    (pipe, (), "EE.AN1.png: no file that can be read"), (huge, (), "AA.AN1.png: over 64 MiB, which no face is; remove"),
    (manifest(), (), "own.csv: holds no face"), (manifest(head="a,b"), (), "own.csv: lacks file,emotion or emotion,pixels"),
    (manifest("x", form="utf-16"), (), "own.csv: damaged .*save it as CSV in UTF-8"),
    (manifest('"' + "x" * 200_000), (), "own.csv: damaged .*field larger than field limit"),
    (manifest("faces/none.png,AN,AA"), (), "own.csv, face 37: no file .*faces/none.png; files are sought beside the CSV"),
    (manifest("faces/AA.AN1.png,AN"), (), "own.csv, face 37: 2 cells, the first line has 3; put a text with a comma"),
    (manifest("faces/AA.AN1.png,AN,AA"), (), "own.csv, face 37: faces/AA.AN1.png a second time; remove a line"),
    (manifest("faces/AA.AN1.png,,AA"), (), "own.csv, face 37: has no emotion; correct or remove the line"),
    (manifest("faces/../faces/AA.AN1.png,hapy,AA"), (), "faces/AA.AN1.png a second time"),
    (manifest("faces/AA.AN1.png,AN,middle", head="file,emotion,split"), (), "face 1: split AA is none of train, training"),
    (manifest("", head="file,emotion,x,y,side", form="utf-8"), (), "face 1: 3 cells, the first line has 5"),
    (fer("1,GREY 7,Training"), (), "face 41: pixels are not 2304 whole numbers from 0 to 255; correct or remove"),
    (fer("1," + "256 " * 2304 + ",Training"), (), "face 41: pixels are not 2304 whole numbers from 0 to 255"),
    (fer("7,GREY,Training"), (), "face 41: emotion 7 is none of 0 to 6"), (fer("1,GREY,Middle"), (), "split Middle is none"),
    (fer("3,GREY,Training"), (), "000041: the only face of emotion happy; correct the label"),
    (fer("3,GREY,PrivateTest\n3,GREY,PrivateTest"), ("--protocol", "given"),
     "run 0 of given has 0 training faces of emotion happy, two are needed"),
    (archive(lambda packed: b"PK\3\4 no"), (), "own.zip: damaged .*download it again, or unpack it"),
    (archive(lambda packed: packed.replace(b"IHDR", b"IHDX")), (), "own.zip: A.\\.AN1.png: damaged .*download it"),
    (archive(member="EE.AN1.png", body=bytes(70 * 2**20)), (), "own.zip: EE.AN1.png is over 64 MiB, which no face is"),
    (archive(member="EE.AN1.png", body=png_header(60_000, 60_000)), (), "EE.AN1.png: cannot be read as an image"),
]


@pytest.mark.parametrize("number", range(len(SOURCES)))
def test_source(number, tmp_path, script):
    make, options, says = SOURCES[number]
    draw_tiny(tmp_path / "faces")
    line = one_line(*script("train_cae.py", "--data", make(tmp_path), "--results", tmp_path / "results",
                            *options)[::2])
    assert line.startswith("train_cae.py: ") and re.search(says, line), line
    assert not (tmp_path / "results").exists()


def test_a_person_on_both_sides_of_a_given_split_is_a_warning(tmp_path, script):
    draw_tiny(tmp_path / "faces")
    rows = [f"faces/{name},{name[3:5]},{name[:2]},{'test' if '3' in name else 'train'}" for name in names(tmp_path)]
    (tmp_path / "own.csv").write_text("\n".join(["file,emotion,subject,split", *rows]))
    assert data.load_faces(tmp_path / "own.csv").notes == [
        "on both sides of the data's own split: AA, BB, CC ... (4 in all)"]


@PROPERTY
@given(st.lists(st.lists(st.sampled_from(["AA.AN1.png", "BB.HA1.png", "AN", "train", "", ".", "..", '"', "\0", "a,b",
                                          "x" * 300, "\u202e", "emotion"]) | st.text(max_size=8), max_size=5)
                .map(",".join), max_size=6), st.sampled_from([HEAD, "file,emotion", "emotion,pixels,Usage", ""]))
def test_any_csv_is_read_or_is_refused(tmp_path, rows, head):
    for name in ("AA.AN1.png", "AA.AN2.png", "BB.HA1.png", "BB.HA2.png"):
        if not (tmp_path / name).exists():
            noise(len(list(tmp_path.iterdir()))).save(tmp_path / name)
    known = ["AA.AN1.png,AN,A", "AA.AN2.png,AN,A", "BB.HA1.png,HA,B", "BB.HA2.png,HA,B"]
    text = "\n".join([head, *(known if head == HEAD else []), *rows])
    (tmp_path / "own.csv").write_text(text, "utf-8", "surrogatepass", newline="")
    try:
        found = data.load_faces(tmp_path / "own.csv").faces
    except utils.Problem as problem:
        assert str(problem).isascii() and str(problem).isprintable()
    else:
        assert len(found.names) == len(set(found.names.tolist())) >= 2


FLIPPED = {"tiff": encoded(noise(1, 48), "TIFF", compression="tiff_lzw"),
           "png": encoded(noise(1, 48).quantize(16), "PNG"), "jpg": encoded(noise(1, 48), "JPEG"),
           "webp": encoded(noise(1, 48).convert("RGB"), "WEBP"), "bmp": encoded(noise(1, 48), "BMP")}


@PROPERTY
@given(st.sampled_from(sorted(FLIPPED)), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4),
       st.integers(0, 4000))
def test_any_image_is_read_or_is_refused(form, changes, cut):
    found = bytearray(FLIPPED[form])
    for place, value in changes:
        found[place % len(found)] = value
    entry = data.Entry(f"a.{form}", "", "", "", (), lambda: bytes(found[:-cut or None]), f"a.{form}")
    try:
        image, picture = data.framed(entry, data.decode(entry)[0], "square")
    except utils.Problem as problem:
        assert str(problem).startswith("a." + form) and str(problem).isascii() and str(problem).isprintable()
    else:
        assert image.shape == (48, 48) and image.dtype == np.uint8 and picture.grey.ndim == 2


# ---------------------------------------------------------------------------------------- options
OPTIONS = [
    ("train_cae.py", ["--runs", "0"], "--runs: 0 is not a whole number from 1 to 1000"),
    ("train_cae.py", ["--seed", "1" * 5000], "is not a whole number"),
    ("train_cae.py", ["--protocol", "holdout", "--steps", "99"], "--steps: 99 is not a whole number from 100"),
    ("train_cae.py", ["--steps", "200"], "--steps has no effect in the protocol published; leave it out"),
    ("train_cae.py", ["--protocol", "loso", "--patience", "3"], "--patience has no effect in the protocol loso"),
    ("train_cae.py", ["--folds", "3"], "--folds has no effect in the protocol published"),
    ("train_cae.py", ["--protocol", "other"], "--protocol: invalid choice: .*other"),
    ("train_cae.py", ["--crop", "0,0,0"], "--crop: 0,0,0 is not X,Y,SIDE in pixels, square or none"),
    ("train_cae.py", ["--crop", "200,0,99"], "AA.AN1.png: 256 x 256 pixels, too small for the box 200,0,99"),
    ("train_cae.py", ["--theta", "nan"], "--theta: nan is not a number such as 0.5"),
    ("train_cae.py", ["--subject", "("], r"--subject: \( is no regular expression"),
    ("train_cae.py", ["--jobs", "0"], "--jobs: 0 is not a whole number from 1"),
    ("train_cae.py", ["--device", "gpu", "--jobs", "1"], "--device gpu: TensorFlow finds no GPU here|invalid"),
    ("train_cae.py", ["--no-such"], "unrecognized arguments: --no-such; see --help"),
    ("train_cae.py", ["nowhere"], "nowhere: holds no experiment.json; train_cae.py makes one"),
    ("augment.py", ["--methods", "magic"], "no method magic; there are translate, person-mean"),
    ("augment.py", ["--methods", ""], "no method ; there are"),
    ("train_classifier.py", ["--arms", "none,magic"], "no method none; |no method magic; there are translate"),
    ("train_classifier.py", [ROOT / "utils.py"], "utils.py: holds no experiment.json"),
    ("evaluate.py", ["$(x)`[b]\x1b\n"], "holds no experiment.json"),
]


@pytest.mark.parametrize("number", [n for n in range(len(OPTIONS)) if "gpu" not in OPTIONS[n][1]])
def test_option(number, tmp_path, monkeypatch, script):
    name, options, says = OPTIONS[number]
    monkeypatch.chdir(tmp_path)
    draw_tiny(tmp_path / "faces")
    where = ["--data", "faces", "--results", "results"] if name == "train_cae.py" else []
    line = one_line(*script(name, *where, *options)[::2])
    assert re.search(says, line), line
    assert not (tmp_path / "results").exists()


def test_from_the_shell(tiny, tmp_path):
    """As a user sees it: nothing on stdout, no traceback; and a GPU that is not there."""
    for name, options, says in (("train_cae.py", ("--data", "nowhere"), "nowhere: no such file or folder"),
                                ("augment.py", ("nowhere",), "holds no experiment.json")):
        printed, stderr = shell(name, *options, status=2, cwd=tmp_path)
        assert says in one_line(2, stderr) and printed == ""
    _, stderr = shell("train_cae.py", "--data", tiny, "--results", tmp_path, "--device", "gpu", status=2,
                      CUDA_VISIBLE_DEVICES="-1")
    assert "--device gpu: TensorFlow finds no GPU here; leave the option out" in one_line(2, stderr)


@pytest.mark.parametrize("where", ["results", "results/faces-published", "results/faces-published/run-00"])
def test_file_where_a_folder_should_be(where, tiny, tmp_path, script):
    shutil.copytree(tiny, tmp_path / "faces")
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).write_text("in the way")
    line = one_line(*script("train_cae.py", "--data", tmp_path / "faces", "--results", tmp_path / "results")[::2])
    assert where.rsplit("/", 1)[-1] in line and "cannot be written" in line
    assert (tmp_path / where).read_text() == "in the way"


# ------------------------------------------------------------------------------------ experiments
@pytest.fixture(scope="module")
def made(tiny, tmp_path_factory):
    return sequence(tiny, tmp_path_factory.mktemp("made"), *PUBLISHED[2:], "--runs", 1)


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / "experiment")


def flip(packed):
    """One bit in the middle of the largest member of a zip."""
    with zipfile.ZipFile(io.BytesIO(packed)) as stored:
        largest = max(stored.infolist(), key=lambda member: member.file_size)
    place = largest.header_offset + 100 + largest.file_size // 2
    return packed[:place] + bytes([packed[place] ^ 64]) + packed[place + 1:]


class Hostile:
    def __reduce__(self):
        return exec, ("open('canary', 'w')",)


def pickled(packed):
    stream = io.BytesIO()
    with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
        names = stored.files
        arrays = {name: stored[name] for name in names}
    np.savez(stream, **arrays | {names[1]: np.array([Hostile()], object)})
    return stream.getvalue()


def fields(**values):
    def change(text):
        return json.dumps(json.loads(text) | values).encode()

    return change


def overlapping(packed):
    with np.load(io.BytesIO(packed)) as stored:
        arrays = dict(stored)
    arrays["test"][0] = arrays["train"][0]
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


DAMAGE = [  # file, what is done to it, the script that meets it, what its line says
    *[("experiment.json", change, "augment.py", "experiment.json: damaged .*restore it, or remove the folder") for change in (
        lambda text: b"", lambda text: text[:100], lambda text: b"\xff" + text, lambda text: b"[]", lambda text: b"{}",
        lambda text: b"[" * 200_000, fields(runs="1"), fields(extra=1), fields(theta=None), fields(emotions="AN"))],
    ("experiment.json", fields(data="/nowhere/at\0all"), "augment.py", "no such file or folder|embedded null"),
    ("experiment.json", fields(fingerprint="0" * 16), "augment.py", "other faces than .* began with; restore them"),
    ("experiment.json", fields(latent=5), "augment.py", "missing or outdated: split.npz in run-00; run train_cae.py"),
    ("run-00/split.npz", flip, "evaluate.py", "split.npz: damaged|split.npz in run-00"),
    ("run-00/split.npz", overlapping, "evaluate.py", "split.npz: damaged .a face on both sides"),
    ("run-00/split.npz", None, "evaluate.py", "missing or outdated: split.npz in run-00; run train_cae.py"),
    *[("run-00/cae.npz", change, name, says) for name, says in (
        ("train_cae.py", "cae.npz: damaged .*remove it and run the script that makes it again"),
        ("augment.py", "missing or outdated: cae-AN-HA.npz, .*; run train_cae.py experiment"))
      for change in (lambda packed: b"", lambda packed: packed[:5000], lambda packed: pickle.dumps(Hostile()))],
    ("run-00/synthetic-interpolate.npz", lambda packed: packed[:-50], "train_classifier.py", "interpolate.npz: damaged"),
    ("run-00/synthetic-interpolate.npz", pickled, "evaluate.py",
     "synthetic-interpolate.npz: damaged .*allow_pickle|classifier-interpolate-0.npz"),
    ("run-00/classifier-none-0.npz", flip, "evaluate.py", "classifier-none-0.npz: damaged"),
    ("run-00/classifier-none-0.npz", lambda packed: packed[:len(packed) // 2], "train_classifier.py", "none-0.npz: damaged"),
]


@pytest.mark.parametrize("number", range(len(DAMAGE)))
def test_damage(number, copied, script, tmp_path, monkeypatch):
    file, change, name, says = DAMAGE[number]
    monkeypatch.chdir(tmp_path)  # where a pickle would leave its canary
    if change is None:
        (copied / file).unlink()
    else:
        before = (copied / file).read_bytes()
        (copied / file).write_bytes(change(before))
        assert (copied / file).read_bytes() != before
    before = contents(copied, ".npz", ".json", ".csv")
    line = one_line(*script(name, copied)[::2])
    assert re.search(says, line), line
    assert contents(copied, ".npz", ".json", ".csv") == before and not (tmp_path / "canary").exists()


def test_a_bit_flipped_in_weights_does_not_pass(copied, script):
    """Not even through the digests, which would make anew what depends on it: the file itself is read."""
    file = copied / "run-00" / "cae.npz"
    file.write_bytes(flip(file.read_bytes()))
    line = one_line(*script("augment.py", copied, "--redo", "interpolate", "--jobs", 1)[::2])
    assert "cae.npz: damaged (Bad CRC-32" in line or "missing or outdated" in line


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner:
                    st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=4)


@PROPERTY
@given(st.data())
def test_any_experiment_opens_equal_or_is_refused(made, tmp_path, data):
    values = json.loads((made / "experiment.json").read_text())
    values[data.draw(st.sampled_from(sorted(values)))] = data.draw(JSON)
    (tmp_path / "experiment.json").write_text(json.dumps(values))
    try:
        found = experiment.read_experiment(tmp_path)
    except utils.Problem as problem:
        assert str(problem).isascii() and str(problem).isprintable()
    else:
        assert json.loads(found.as_json() if "NaN" not in json.dumps(values) else json.dumps(values)) == values
        assert str(found).isprintable() and len(found.identity) == 16
