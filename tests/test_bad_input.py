"""What is refused: each bad input gives one line that names it and the way out, status 2, and leaves the results alone."""

import contextlib
import copy
import csv
import io
import json
import pickle
import re
import shutil
import signal
import string
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import augment
import evaluate
import train_cae
import train_classifier
import utils

MAINS = {"train_cae.py": train_cae.main, "augment.py": augment.main, "train_classifier.py": train_classifier.main,
         "evaluate.py": evaluate.main}
PROPERTY = settings(max_examples=200, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])


def snapshot(folder):
    """Every file below `folder` with its bytes; the lock's text names the process that held it last."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def one_line(status, stderr):
    """The one line that is no warning, once it is sure that there is exactly one and that it is fit for a terminal."""
    lines = [line for line in stderr.splitlines() if not line.startswith("warning: ")]
    assert status == 2 and len(lines) == 1 and lines[0].isascii() and lines[0].isprintable(), stderr
    return lines[0]


def run_here(name, *arguments):
    """A script's main as the shell would run it, but in this process, which spares its start; returns the exit status."""
    before, argv = signal.getsignal(signal.SIGTERM), sys.argv
    sys.argv = [str(ROOT / name), *map(str, arguments)]
    try:
        utils.run_script(MAINS[name])
    except SystemExit as end:
        return end.code
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.argv = argv
    return 0


@pytest.fixture
def script(capfd):
    """`run_here` that gives (status, stdout, stderr)."""

    def call(name, *arguments):
        capfd.readouterr()
        status = run_here(name, *arguments)
        return status, *capfd.readouterr()

    return call


# ---------------------------------------------------------------------------------------------------- faces
def noise(seed, side=256):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8))


def draw(folder, subjects=("AA", "BB", "CC"), emotions=("AN", "HA"), takes=3):
    """Noise in JAFFE naming, enough of it for every protocol."""
    folder.mkdir()
    names = [f"{s}.{e}{take}.png" for s in subjects for e in emotions for take in range(1, takes + 1)]
    for number, name in enumerate(names):
        noise(number).save(folder / name)
    return names


def png_header(width, height):
    """A PNG that claims to be so large, in 70 bytes."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + \
        chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def tiff_header(width, height):
    """A TIFF that claims to be so large, in a few bytes."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1), (278, 4, height),
            (279, 4, min(width * height, 2**32 - 1))]
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + b"".join(struct.pack("<HHII", tag, kind, 1, value)
                                                                    for tag, kind, value in tags) + bytes(4)


def encoded(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


TIFF = encoded(noise(1), "TIFF")
FLOAT = Image.fromarray(np.full((256, 256), np.nan, np.float32))
PIXELS = {  # name: (bytes of the file AA.AN1.tiff or, where so named, .png; what the line says)
    "zero-byte": (b"", "cannot be read as an image"),
    "truncated": (TIFF[:30_000], "cannot be read as an image"),
    "header only": (TIFF[:8], "cannot be read as an image"),
    "corrupt": (b"II*\0" + bytes(range(256)) * 50, "cannot be read as an image"),
    "text": (b"not an image", "cannot be read as an image"),
    "animated": (encoded(noise(1), "TIFF", save_all=True, append_images=[noise(2)]), "holds 2 pictures; save one of them"),
    "animated png": (encoded(noise(1), "PNG", save_all=True, append_images=[noise(2)]), "holds 2 pictures; save one of them"),
    "gif": (encoded(noise(1), "GIF"), "cannot be read as an image"),  # a suffix says nothing
    "60000 x 60000 png": (png_header(60_000, 60_000), "cannot be read as an image"),
    "60000 x 60000 tiff": (tiff_header(60_000, 60_000), "cannot be read as an image"),
    "12000 x 12000 png": (png_header(12_000, 12_000), "cannot be read as an image"),  # Pillow itself only warns
    "0 x 0 tiff": (tiff_header(0, 0), "cannot be read as an image"),
    "nan": (encoded(FLOAT, "TIFF"), "pixel mode F has no fixed white; save it as 8-bit or 16-bit grey"),
    "32 bit": (encoded(Image.fromarray(np.full((256, 256), 70_000, np.int32)), "TIFF"), "pixel mode I has no fixed white"),
    "lab": (encoded(Image.new("LAB", (256, 256)), "TIFF"), "replace or remove the file"),
    "too small": (encoded(noise(1, 210), "TIFF"), "too small for the crop box 50,65,161; give --crop X,Y,SIDE, or --crop none"),
}


@pytest.mark.parametrize("case", PIXELS)
def test_pixels(case, tmp_path, script):
    draw(tmp_path / "faces")
    (tmp_path / "faces" / "AA.AN1.png").write_bytes(PIXELS[case][0])
    line = one_line(*script("train_cae.py", "--data", tmp_path / "faces", "--results", tmp_path / "results")[::2])
    assert line.startswith("train_cae.py: AA.AN1.png: ") and PIXELS[case][1] in line
    assert not (tmp_path / "results").exists()


def test_sixteen_bit_is_read_over_65535(tmp_path):
    """Legal, and easily read as 256 times too bright or clipped: value / 65535 it must be, in every byte order."""
    values = np.tile(np.linspace(0, 65535, 48, dtype=np.uint16), (48, 1))
    for name, data in (("a.png", encoded(Image.fromarray(values), "PNG")), ("a.tiff", encoded(Image.fromarray(values), "TIFF")),
                       ("b.tiff", encoded(Image.frombytes("I;16B", (48, 48), values.astype(">u2").tobytes()), "TIFF"))):
        image, _ = utils.read_face(name, lambda: data, None)
        assert np.allclose(image, values / 65535, atol=1e-6), name


# Each row changes the sound folder `faces` (names: its files) or makes something beside it, and returns what --data gets.
def no_such(here, names):
    return here / "nowhere"


def empty_folder(here, names):
    (here / "empty").mkdir()
    return here / "empty"


def only_text(here, names):
    (empty_folder(here, names) / "README.txt").write_text("faces will come")
    return here / "empty"


def file_for_folder(here, names):
    return here / "faces" / names[0]


def renamed(name):
    def change(here, names):
        (here / "faces" / names[0]).rename(here / "faces" / name)
        return here / "faces"

    return change


def keep(wanted):
    def change(here, names):
        for name in names:
            if not wanted(name):
                (here / "faces" / name).unlink()
        return here / "faces"

    return change


def second_of_a_name(here, names):
    (here / "faces" / "more").mkdir()
    shutil.copy(here / "faces" / names[0], here / "faces" / "more" / names[0])
    return here / "faces"


def huge_file(here, names):
    with open(here / "faces" / names[0], "wb") as stream:
        stream.truncate(2**40)  # a hole: takes no room
    return here / "faces"


def manifest(text, encoding="utf-8"):
    def change(here, names):
        lines = [f"faces/{name},{name[:2]},{name[3:5]}" for name in names]
        (here / "own.csv").write_bytes(text(lines).encode(encoding) if callable(text) else text)
        return here / "own.csv"

    return change


HEAD = "file,subject,emotion"


def with_line(line, head=HEAD):
    return manifest(lambda lines: "\n".join([head, *lines, line]))


def archive(fill):
    def change(here, names):
        with zipfile.ZipFile(here / "own.zip", "w", zipfile.ZIP_DEFLATED) as made:
            fill(here, names, made)
        return here / "own.zip"

    return change


def patched(old, new, fill=lambda here, names, made: [made.write(here / "faces" / name, name) for name in names]):
    """A zip whose records were written soundly and then changed."""
    def change(here, names):
        path = archive(fill)(here, names)
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new))
        return path

    return change


def nested(here, names, made):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive_in_it:
        for name in names:
            archive_in_it.write(here / "faces" / name, name)
    made.writestr("faces.zip", inner.getvalue())


def link(here, names, made):
    entry = zipfile.ZipInfo("AA.AN9.png")
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    made.writestr(entry, "/etc/passwd")


def encrypted(here, names):
    """Bit 0 of the flags, in the local and in the central record, of the first member."""
    path = archive(lambda here, names, made: made.write(here / "faces" / names[0], names[0]))(here, names)
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    return path


def hundred_thousand(here, names):
    """Written by hand, the same record over and over: zipfile takes seconds for so many."""
    central = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 3, 20, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0) + b"AA.AN1.png"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(central) * 100_000, 0, 0)
    (here / "own.zip").write_bytes(central * 100_000 + end)
    return here / "own.zip"


def bomb(here, names, made):
    made.writestr("AA.AN1.png", bytes(70 * 2**20))


SOURCES = [  # (what was done, what the line names, what it says)
    (no_such, "nowhere", "no such file or folder; give --data a folder of faces, jaffe.zip or a CSV"),
    (empty_folder, "empty", "holds no TIFF, PNG or JPEG image; put the faces there or correct --data"),
    (only_text, "empty", "holds no TIFF, PNG or JPEG image"),
    (file_for_folder, "AA.AN1.png", "neither a folder, nor a .zip, nor a .csv manifest"),
    (renamed("portrait.png"), "portrait.png", "does not parse as SUBJECT.EMOTION.*list the faces in a CSV manifest"),
    (renamed("AA.XX1.png"), "AA.XX1.png", "with an emotion of AN DI FE HA NE SA SU"),
    (renamed("AA.AN.png"), "AA.AN.png", "does not parse"),
    (renamed("$(x).AN1.1.png"), r"\\x24\(x\).AN1.1.png", "does not parse"),
    (renamed("a b.AN1.png"), "a b.AN1.png", "does not parse"),
    (renamed("a\nb.AN1.png"), r"a\\nb.AN1.png", "does not parse"),
    (renamed("[bold].AN1.png"), r"bold].AN1.png", "does not parse"),
    (renamed("a|b`c`.AN1.png"), r".AN1.png", "does not parse"),
    (renamed("\x1b[2J.AN1.png"), r"\\x1b", "does not parse"),
    (keep(lambda name: name.startswith("AA")), "faces", "all faces are of subject AA; add a second person's faces"),
    (keep(lambda name: ".AN" in name), "faces", "all faces show AN; a classifier needs at least two emotions"),
    (keep(lambda name: ".AN" in name or name == "AA.HA1.png"), "AN 9, HA 1", "cannot be split for published.*add faces or drop"),
    (second_of_a_name, "AA.AN1.png", "a second file of that name.*remove one"),
    (huge_file, "AA.AN1.png", "over 64 MiB, which no face image is; remove it"),
    (manifest(lambda lines: "\n".join(lines)), "own.csv", "needs a first line `file,subject,emotion`"),
    (manifest(HEAD.encode()), "own.csv", "needs a first line `file,subject,emotion` and a line for each face"),
    (manifest(b""), "own.csv", "needs a first line"),
    (manifest(b"\xff\xfe\0f\0i"), "own.csv", "not a UTF-8 CSV file .*; save it as one"),
    (manifest(lambda lines: "\n".join([HEAD, *lines]), "utf-16"), "own.csv", "not a UTF-8 CSV file"),
    (manifest(HEAD.encode() + b'\n"' + b"x" * 200_000), "own.csv", "not a UTF-8 CSV file"),
    (with_line("faces/none.png,AA,AN"), "own.csv, face 19: no file .*faces/none.png", "sought beside the manifest"),
    (with_line("faces,AA,AN"), "own.csv, face 19: no file", "sought beside the manifest"),
    (with_line(f"{'x' * 5000},AA,AN"), "x{5000}", "File name too long"),
    (with_line("faces/AA.AN1.png,AA"), "own.csv, face 19", "fewer columns than the first line"),
    (with_line("faces/AA.AN1.png,AA,AN,smiles"), "own.csv, face 19", "more columns than the first line.*quote"),
    (with_line("faces/AA.AN1.png,AA,XX"), "own.csv, face 19", "emotion XX is none of AN DI FE HA NE SA SU"),
    (with_line("faces/AA.AN1.png,A A,AN"), "own.csv, face 19", "subject A A is not made of letters"),
    (with_line("faces/AA.AN1.png,AA,AN"), "own.csv, face 19: faces/AA.AN1.png", "a second time; remove one of the lines"),
    (with_line('"faces/AA\n.png",AA,AN'), "own.csv, face 19", "rename"),
    (manifest(lambda lines: "\n".join([HEAD, "faces/\0,AA,AN"])), "own.csv", "no file|not a UTF-8|rename"),
    (lambda here, names: (here / "own.zip").write_bytes(b"PK\3\4 no") and here / "own.zip", "own.zip",
     "not a zip archive that can be read .*download it again"),
    (lambda here, names: (here / "own.zip").write_bytes(b"") or here / "own.zip", "own.zip", "not a zip archive"),
    (patched(b"PK\5\6", b"PK\0\0"), "own.zip", "not a zip archive"),
    (patched(b"IHDR", b"IHDX"), "own.zip: AA.AN1.png", "cannot be unpacked .*download it again"),
    (patched(struct.pack("<H", 8) + bytes(2), struct.pack("<H", 99) + bytes(2)), "own.zip", "cannot be unpacked"),
    (encrypted, "own.zip: AA.AN1.png", "is encrypted; unpack it and give --data the folder"),
    (archive(nested), "own.zip", "holds no TIFF, PNG or JPEG image"),
    (archive(link), "AA.AN9.png", "cannot be read as an image"),
    (hundred_thousand, "own.zip", "100000 files inside, more than 50000"),
    (archive(bomb), "own.zip: AA.AN1.png", "over 64 MiB; no face image is"),
    (archive(lambda here, names, made: made.writestr("AA.AN1.png", png_header(60_000, 60_000))), "AA.AN1.png", "cannot be read"),
]


@pytest.mark.parametrize("number", range(len(SOURCES)))
def test_source(number, tmp_path, script):
    change, named, says = SOURCES[number]
    data = change(tmp_path, draw(tmp_path / "faces"))
    line = one_line(*script("train_cae.py", "--data", data, "--results", tmp_path / "results")[::2])
    assert line.startswith("train_cae.py: ") and re.search(named, line) and re.search(says, line), line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("change, note", [
    (keep(lambda name: not name.startswith("BB.HA")), r"no face of 1 subject and emotion: BB HA"),
    (lambda here, names: shutil.copy(here / "faces/AA.AN1.png", here / "faces/BB.HA2.png") and here / "faces",
     "BB.HA2.png shows the same pixels as AA.AN1.png"),
])
def test_odd_but_usable(change, note, tmp_path, monkeypatch, script):
    """A warning, and the work begins: here it ends where the experiment's folder would be made."""
    data = change(tmp_path, draw(tmp_path / "faces"))
    (tmp_path / "results").write_text("a file in the way")
    assert any(re.match(note, said) for said in utils.load_faces(data).notes)
    status, _, stderr = script("train_cae.py", "--data", data, "--results", tmp_path / "results")
    assert one_line(status, stderr).endswith("choose another folder with --results")


@pytest.mark.parametrize("change", [
    manifest(lambda lines: "\n".join([HEAD, *lines]), "utf-8-sig"),
    manifest(lambda lines: "\r\n".join([HEAD, *lines, ""])),
    manifest(lambda lines: "\n\n".join(["emotion,note,file,subject", *(",".join([line[-2:], '"a, ""b"""', *line[:-3].split(",")])
                                                                       for line in lines)])),
    lambda here, names: manifest(lambda lines: "\n".join([HEAD, *(f"{here}/{line}" for line in lines)]))(here, names),
    lambda here, names: manifest(lambda lines: "\n".join([HEAD, *(f"../{here.name}/{line}" for line in lines)]))(here, names),
    archive(lambda here, names, made: [made.write(here / "faces" / name, f"../../{name}") for name in names]),
], ids=["BOM", "CRLF", "quoted commas", "absolute", "..", "zip with .."])
def test_unusual_but_legal(change, tmp_path):
    data = change(tmp_path, draw(tmp_path / "faces"))
    before = snapshot(tmp_path)
    faces = utils.load_faces(data).faces
    plain = utils.load_faces(tmp_path / "faces").faces
    assert np.array_equal(faces.images, plain.images) and faces.emotions.tolist() == plain.emotions.tolist()
    assert snapshot(tmp_path) == before  # and nothing was unpacked, here or above


@PROPERTY
@given(st.text(max_size=40) | st.from_regex(r"[\w-]{1,5}\.[A-Z]{2}\d{1,3}(\.\d+)?\.(png|tiff)", fullmatch=True))
def test_any_name_parses_or_is_refused(name):
    try:
        entries, skipped = utils.parsed([(name, None, "a/" + name)])
    except utils.Problem as problem:
        assert str(problem).isascii() and str(problem).isprintable()
    else:
        assert len(entries) + skipped == 1
        for _, subject, emotion, _ in entries:
            assert re.fullmatch(r"[\w-]+", subject) and emotion in utils.EMOTIONS
            assert name.upper().startswith(f"{subject}.{emotion}".upper())


CELLS = st.sampled_from(["AA.AN1.png", "BB.HA1.png", "AA", "BB", "AN", "ha", "XX", "", " ", ".", "..", '"', "\0",
                         "x" * 300, "\u202e", "a,b"])
LINES = st.lists(st.lists(CELLS | st.text(max_size=8), max_size=5).map(",".join), max_size=6)


@PROPERTY
@given(st.text(max_size=100) | LINES.map(lambda lines: "\n".join([HEAD, "AA.AN1.png,AA,AN", *lines])))
def test_any_manifest_parses_or_is_refused(tmp_path, text):
    for name in ("AA.AN1.png", "BB.HA1.png"):
        if not (tmp_path / name).exists():
            noise(len(list(tmp_path.iterdir()))).save(tmp_path / name)
    (tmp_path / "own.csv").write_text(text, "utf-8", "surrogatepass", newline="")
    try:
        faces = utils.load_faces(tmp_path / "own.csv").faces
    except utils.Problem as problem:
        assert str(problem).isascii() and str(problem).isprintable()
    else:
        assert len(faces.names) == len(set(faces.names.tolist())) >= 2 and set(faces.emotions) <= set(utils.EMOTIONS)


FLIPPED = {"tiff": encoded(noise(1, 48), "TIFF", compression="tiff_lzw"), "png": encoded(noise(1, 48).quantize(16), "PNG"),
           "jpg": encoded(noise(1, 48), "JPEG")}


@PROPERTY
@given(st.sampled_from(sorted(FLIPPED)), st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=4),
       st.integers(0, 4000))
def test_any_image_is_read_or_is_refused(form, changes, cut):
    data = bytearray(FLIPPED[form])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        image, _ = utils.read_face("a." + form, lambda: bytes(data[:-cut or None]), None)
    except utils.Problem as problem:
        assert str(problem).startswith("a." + form) and str(problem).isascii() and str(problem).isprintable()
    else:
        assert image.shape == (48, 48) and image.dtype == np.float32 and 0 <= image.min() and image.max() <= 1


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3), st.integers(0, 3000))
def test_any_archive_is_read_or_is_refused(tmp_path, changes, cut):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for number, name in enumerate(("AA.AN1.png", "BB.HA1.png")):
            made.writestr(name, encoded(noise(number, 8).resize((211, 226)), "PNG"))
    data = bytearray(stream.getvalue())
    records = [data.index(b"PK\1\2"), 0]  # the first bytes of either kind of record, and any place
    for place, value in changes:
        data[(records[place % 2] + place // 2 % 300) % len(data)] = value
    (tmp_path / "own.zip").write_bytes(data[:-cut or None] if cut < 200 else data)
    with contextlib.suppress(utils.Problem):
        assert len(utils.load_faces(tmp_path / "own.zip").faces.names) <= 2


# ---------------------------------------------------------------------------------------------------- options
OPTIONS = [
    ("train_cae.py", ["--runs", "0"], "--runs: 0 is not a whole number from 1 to 1000"),
    ("train_cae.py", ["--runs", "many"], "--runs: many is not a whole number"),
    ("train_cae.py", ["--seed", "-1"], "--seed: -1 is not a whole number from 0|--seed: expected one argument"),
    ("train_cae.py", ["--seed", "1" * 5000], "is not a whole number"),
    ("train_cae.py", ["--protocol", "holdout", "--steps", "0"], "--steps: 0 is not a whole number from 100"),
    ("train_cae.py", ["--steps", "200"], "--steps has no effect in the protocol published; leave it out"),
    ("train_cae.py", ["--latent", "0"], "--latent: 0 is not a whole number from 1 to 4096"),
    ("train_cae.py", ["--real-share", "0"], "--real-share: 0 is not a number above 0 and at most 1"),
    ("train_cae.py", ["--real-share", "0.0"], "--real-share: 0.0 is not a number above 0"),
    ("train_cae.py", ["--real-share", "1.5"], "--real-share: 1.5 is not a number above 0"),
    ("train_cae.py", ["--real-share", "nan"], "--real-share: nan is not a number above 0"),
    ("train_cae.py", ["--protocol", "other"], "--protocol: invalid choice: .*other"),
    ("train_cae.py", ["--crop", "0,0,0"], "--crop: 0,0,0 is neither X,Y,SIDE in pixels nor none"),
    ("train_cae.py", ["--crop", "-1,0,9"], "--crop"),
    ("train_cae.py", ["--crop", "200,0,99"], "AA.AN1.png: 256 x 256 pixels, too small for the crop box 200,0,99; give --crop"),
    ("train_cae.py", ["--jobs", "0"], "--jobs: 0 is not a whole number from 1"),
    ("train_cae.py", ["--no-such"], "unrecognized arguments: --no-such; see --help"),
    ("train_cae.py", ["--keep", "first\n"], "--keep: invalid choice"),
    ("augment.py", ["--theta", "nan"], "theta nan is neither a number such as 0.5 nor a range such as 0.25:0.75"),
    ("augment.py", ["--theta", "0.9:0.1"], "theta 0.9:0.1 does not lie between -5 and 5, lower end first"),
    ("augment.py", ["--theta", "1e400"], "theta 1e400 is neither a number"),
    ("augment.py", ["--theta", "9" * 400], "does not lie between"),
    ("augment.py", ["--methods", "magic"], "no method magic; there are interpolate, translate"),
    ("augment.py", ["--methods", ""], "no method"),
    ("augment.py", ["--max-synthetic", "0"], "--max-synthetic: 0 is not a whole number from 1"),
    ("train_classifier.py", ["--arms", "magic"], "no method magic; there are interpolate"),
    ("train_classifier.py", ["--arms", "interpolate+"], "no method"),
    ("augment.py", ["nowhere"], "nowhere: holds no experiment.json, so it is no experiment; train_cae.py makes one"),
    ("train_classifier.py", [ROOT / "utils.py"], "utils.py: holds no experiment.json"),
    ("evaluate.py", ["."], "holds no experiment.json"),
]


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_option(number, tmp_path, monkeypatch, script):
    name, given_options, says = OPTIONS[number]
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "faces")
    data = ["--data", "faces", "--results", "results"] if name == "train_cae.py" else []
    line = one_line(*script(name, *data, *given_options)[::2])
    assert re.search(says, line), line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("where", ["results", "results/faces-published", "results/faces-published/run-00"])
def test_file_where_a_folder_should_be(where, tmp_path, script):
    draw(tmp_path / "faces")
    (tmp_path / where).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / where).write_text("in the way")
    status, _, stderr = script("train_cae.py", "--data", tmp_path / "faces", "--results", tmp_path / "results", "--runs", 1)
    line = one_line(status, stderr)
    assert where in line and "choose another folder with --results" in line
    assert (tmp_path / where).read_text() == "in the way"


@pytest.mark.parametrize("arguments, says", [
    (["train_cae.py", "--data", "nowhere", "--results", "results"], "train_cae.py: nowhere: no such file or folder"),
    (["train_cae.py", "--data", "faces", "--results", "faces/AA.AN1.png"], "choose another folder with --results"),
    (["train_cae.py", "--data", "faces", "--results", "results", "--runs", "0"], "0 is not a whole number"),
    (["augment.py", "nowhere"], "augment.py: nowhere: holds no experiment.json"),
    (["train_classifier.py", "--arms", "x"], "train_classifier.py: argument --arms: no method x"),
    (["evaluate.py", "$(x)`[b]\x1b\n"], "holds no experiment.json"),
])
def test_from_the_shell(arguments, says, tmp_path):
    """The same rule without the fixture's help, as a user sees it."""
    draw(tmp_path / "faces")
    before = snapshot(tmp_path)
    done = subprocess.run([sys.executable, ROOT / arguments[0], *arguments[1:]], cwd=tmp_path, capture_output=True, text=True)
    assert says in one_line(done.returncode, done.stderr) and done.stdout == ""
    assert snapshot(tmp_path) == before and not (tmp_path / "results").exists()


# ---------------------------------------------------------------------------------------------------- experiments
ODD_NAMES = ["$(x).AN1.1.png", "a b.png", "f\u00e4ce \u9762.png", "[bold](http:x).png", "a|b.png", "`tick`.png", "-rf", "#1.png",
             "<b>.png", "comma, \"quote\".png", "$x_1^2$.png", "a\\b.png"]


@pytest.fixture(scope="module")
def quick():
    """Nothing here looks at the reference row or at a figure's pixels, which are most of evaluate.py's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "predict_lda", lambda experiment, faces: [
            faces.emotions[utils.experiment_split(experiment, faces, run).test].tolist()
            for run in range(experiment["settings"]["runs"])])
        patch.setattr(evaluate.Figures, "save", lambda figures, figure, file, caption: evaluate_close(figure))
        yield


def evaluate_close(figure):
    import matplotlib.pyplot as plt

    plt.close(figure)


@pytest.fixture(scope="module")
def made(tmp_path_factory, quick):
    """A finished experiment, trained next to nothing, on faces whose file names mean something to shells and renderers."""
    here = tmp_path_factory.mktemp("made")
    names = draw(here / "faces", takes=4)
    shutil.copy(here / "faces" / names[4], here / "faces" / names[0])  # the report has to name a pair of files
    lines = []
    for number, name in enumerate(names):
        odd = ODD_NAMES[number] if number < len(ODD_NAMES) else name
        (here / "faces" / name).rename(here / "faces" / odd)
        lines.append([f"faces/{odd}", name[:2], name[3:5]])
    with open(here / "own.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([HEAD.split(","), *lines])
    results = here / "results"
    for name, *arguments in (
            ("train_cae.py", "--data", here / "own.csv", "--results", results, "--runs", 1, "--cae-epochs", 1, "--latent", 4,
             "--classifier-epochs", 1), ("augment.py",), ("train_classifier.py",), ("evaluate.py",)):
        experiment = list(results.glob("own-published-*"))
        jobs = [] if name == "evaluate.py" else ["--jobs", 1]
        assert run_here(name, *experiment, *arguments, *jobs) == 0
    return experiment[0], lines


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "experiment")


def test_file_names_are_data(made):
    folder, lines = made
    known = {file: (subject, emotion) for file, subject, emotion in lines}
    with open(folder / "run-00" / "predictions-none.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 5 and all(known[row["file"]] == (row["subject"], row["emotion"]) for row in rows)
    report = (folder / "report" / "report.md").read_text("utf-8")
    notes = [line for line in report.splitlines() if "same pixels" in line]
    assert len(notes) == 1 and notes[0].startswith("> **Note:** ") and not re.search(r"[`|<\[$]", notes[0])
    widths = {line.count("|") for line in report[report.index("## Arms"):report.index("## Per emotion")].splitlines()
              if line.startswith("|")}
    assert len(widths) == 1  # no cell broke the table


def rewrite(path, change):
    path.write_bytes(change(path.read_bytes()))


def flip(data):
    """One bit in the middle of the largest member of a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as stored:
        largest = max(stored.infolist(), key=lambda member: member.file_size)
    place = largest.header_offset + 30 + len(largest.filename) + largest.file_size // 2
    return data[:place] + bytes([data[place] ^ 64]) + data[place + 1:]


def member(name, content):
    """`data` (a zip) with one member replaced."""
    def change(data):
        stream = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
            for each in old.namelist():
                new.writestr(each, content(old.read(each)) if each == name else old.read(each))
        return stream.getvalue()

    return change


class Hostile:
    def __reduce__(self):
        return exec, ("open('canary', 'w')",)


def pickled_array(data):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.array([Hostile()], object), allow_pickle=True)
    return stream.getvalue()


def fields(**changed):
    """experiment.json with some values replaced; None takes the key out."""
    def change(data):
        experiment = json.loads(data)
        for key, value in changed.items():
            *outer, last = key.split("__")
            place = experiment
            for name in outer:
                place = place[name]
            place[last] = value
            if value is None:
                del place[last]
        return json.dumps(experiment).encode()

    return change


def foreign(data):
    return member("provenance.json", lambda old: old.replace(b'"experiment": "', b'"experiment": "f'))(data)


def bare(data):
    return member("provenance.json", lambda old: json.dumps({"experiment": json.loads(old)["experiment"]}).encode())(data)


OTHER_SPLITS = member("test-00.npy", lambda old: old[:-16] + old[-8:] + old[-16:-8])  # a partition, in another order
DAMAGE = [  # (file, what is done to it, the script that meets it, what its line says)
    ("experiment.json", lambda data: b"", "augment.py", "experiment.json: damaged .*restore it, or remove the folder"),
    ("experiment.json", lambda data: data[:100], "augment.py", "experiment.json: damaged"),
    ("experiment.json", lambda data: b"\xff" + data, "augment.py", "experiment.json: damaged"),
    ("experiment.json", lambda data: b"[]", "augment.py", "experiment.json: damaged"),
    ("experiment.json", lambda data: b"{}", "augment.py", "experiment.json: damaged"),
    ("experiment.json", lambda data: b"[" * 200_000, "augment.py", "experiment.json: damaged"),
    ("experiment.json", lambda data: b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "augment.py", "experiment.json: damaged"),
    ("experiment.json", lambda data: data.replace(b'"runs": 1', b'"runs": 1' + 5000 * b"0"), "augment.py", "json: damaged"),
    ("experiment.json", fields(format=2), "augment.py", "experiment.json: not an experiment of this version; remove the folder"),
    ("experiment.json", fields(dataset=None), "augment.py", "experiment.json: damaged"),
    ("experiment.json", fields(settings__keep="first"), "train_classifier.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(settings__patience="5"), "train_classifier.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(settings__classifier_epochs=[3]), "train_classifier.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(settings__real_share=float("nan")), "train_classifier.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(settings__runs=10**9), "augment.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(settings__extra=1), "augment.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(dataset__crop="abc"), "augment.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(dataset__crop=[-9, 0, 20]), "augment.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(dataset__subjects="3"), "evaluate.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(dataset__notes=[1]), "evaluate.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(dataset__emotions=["HA", "AN"]), "evaluate.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(special=["magic"]), "evaluate.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(versions={"numpy": "9\n9"}), "augment.py", "experiment.json: not an experiment"),
    ("experiment.json", fields(dataset__path="/nowhere/at\0all"), "augment.py", "no such file"),
    ("experiment.json", fields(dataset__fingerprint="0" * 16), "augment.py", "its faces have changed since .* began; restore"),
    ("augment.json", lambda data: data[:9], "augment.py", "augment.json: damaged .*remove it and run the script that makes it"),
    ("augment.json", lambda data: b"[1]", "augment.py", "augment.json: damaged"),
    ("augment.json", lambda data: data.replace(b"0.5", b"nan"), "augment.py", "augment.json: damaged"),
    ("augment.json", lambda data: data.replace(b"10000", b"-1"), "augment.py", "augment.json: damaged"),
    ("augment.json", lambda data: b"[" * 200_000, "evaluate.py", "augment.json: damaged"),
    ("splits.npz", flip, "evaluate.py", "splits.npz: damaged"),
    ("splits.npz", flip, "train_cae.py", "splits.npz: damaged"),
    ("splits.npz", None, "evaluate.py", "splits.npz: not there; run the scripts in sequence"),
    ("splits.npz", foreign, "evaluate.py", "splits.npz: belongs to another experiment; remove it"),
    ("splits.npz", member("test-00.npy", lambda old: old[:-8] + old[-16:-8]), "evaluate.py", "splits.npz: damaged .*every face on one side"),
    ("splits.npz", lambda data: data.replace(b"test-00", b"tesl-00"), "evaluate.py", "splits.npz: damaged .*holds no test-00"),
    ("splits.npz", OTHER_SPLITS, "augment.py", "cae.keras: made with other splits"),
    ("splits.npz", OTHER_SPLITS, "train_classifier.py", "synthetic-interpolate.npz: made with other splits"),
    ("splits.npz", OTHER_SPLITS, "evaluate.py", "classifier-none.keras: made with other splits"),
    ("run-00/cae.keras", lambda data: b"", "augment.py", "cae.keras: damaged .*remove it and run"),
    ("run-00/cae.keras", lambda data: data[:5000], "augment.py", "cae.keras: damaged"),
    ("run-00/cae.keras", flip, "augment.py", "cae.keras: damaged"),
    ("run-00/cae.keras", flip, "train_cae.py", "cae.keras: damaged"),
    ("run-00/cae.keras", flip, "evaluate.py", "cae.keras: damaged"),
    ("run-00/cae.keras", lambda data: pickle.dumps(Hostile()), "augment.py", "cae.keras: damaged"),
    ("run-00/cae.keras", foreign, "augment.py", "cae.keras: belongs to another experiment; remove it"),
    ("run-00/cae.keras", None, "augment.py", "cae.keras: not there; run the scripts in sequence"),
    ("run-00/cae-history.npz", flip, "evaluate.py", "cae-history.npz: damaged"),
    ("run-00/cae-history.npz", member("loss.npy", lambda old: old[:40]), "evaluate.py", "history.npz: damaged"),
    ("run-00/cae-history.npz", None, "evaluate.py", "cae-history.npz: not there"),
    ("run-00/synthetic-interpolate.npz", lambda data: data[:-50], "train_classifier.py", "synthetic-interpolate.npz: damaged"),
    ("run-00/synthetic-interpolate.npz", flip, "train_classifier.py", "synthetic-interpolate.npz: damaged"),
    ("run-00/synthetic-interpolate.npz", member("images.npy", pickled_array), "train_classifier.py",
     "synthetic-interpolate.npz: damaged .*allow_pickle"),
    ("run-00/synthetic-interpolate.npz", lambda data: pickle.dumps(Hostile()), "train_classifier.py", "interpolate.npz: damaged"),
    ("run-00/synthetic-interpolate.npz", foreign, "train_classifier.py", "npz: belongs to another experiment; remove it"),
    ("run-00/synthetic-interpolate.npz", bare, "augment.py", "synthetic-interpolate.npz: damaged"),
    ("run-00/synthetic-interpolate.npz", flip, "evaluate.py", "synthetic-interpolate.npz"),
    ("run-00/classifier-none.keras", flip, "evaluate.py", "classifier-none.keras: damaged"),
    ("run-00/classifier-none.keras", lambda data: data[:len(data) // 2], "train_classifier.py", "none.keras: damaged"),
    ("run-00/classifier-none.keras", foreign, "evaluate.py", "classifier-none.keras: belongs to another experiment"),
    ("run-00/classifier-interpolate.keras", bare, "evaluate.py", "classifier-interpolate.keras: damaged"),
    ("run-00/classifier-none.keras", None, "evaluate.py", "not every run has its classifiers yet; run train_classifier.py"),
    ("run-00/classifier-none-history.npz", lambda data: b"PK", "evaluate.py", "classifier-none-history.npz: damaged"),
    ("run-00/classifier-none-history.npz", lambda data: data.replace(b"steps", b"stepz"), "evaluate.py", "npz: damaged"),
]


@pytest.mark.parametrize("number", range(len(DAMAGE)))
def test_damage(number, copied, made, script, tmp_path, monkeypatch):
    file, change, name, says = DAMAGE[number]
    monkeypatch.chdir(tmp_path)  # where a pickle would leave its canary
    if change is None:
        (copied / file).unlink()
    else:
        before = (copied / file).read_bytes()
        rewrite(copied / file, change)
        assert (copied / file).read_bytes() != before
    before, arguments = snapshot(copied), [copied]
    if name == "train_cae.py":  # it finds the experiment by its data and options, not by its folder
        copied.rename(tmp_path / made[0].name)
        arguments = ["--data", made[0].parent.parent / "own.csv", "--results", tmp_path, "--runs", 1, "--cae-epochs", 1,
                     "--latent", 4, "--classifier-epochs", 1]
    line = one_line(*script(name, *arguments)[::2])
    assert re.search(says, line), line
    if name == "train_cae.py":
        (tmp_path / made[0].name).rename(copied)
    assert snapshot(copied) == before and not (tmp_path / "canary").exists()


def test_layers_described_in_a_model_file_are_not_built(copied, script, tmp_path, monkeypatch):
    """The description of a .keras file is code in disguise (Lambda); only the numbers are read."""
    monkeypatch.chdir(tmp_path)
    evil = {"module": "builtins", "class_name": "exec", "config": "open('canary', 'w')", "registered_name": "exec"}
    rewrite(copied / "run-00" / "cae.keras", member("config.json", lambda old: json.dumps(evil).encode()))
    assert "exec" in zipfile.ZipFile(copied / "run-00" / "cae.keras").read("config.json").decode()
    before = (copied / "run-00" / "synthetic-blend.npz").exists()
    status, _, stderr = script("augment.py", copied, "--methods", "interpolate", "--jobs", 1)
    assert status == 0 and not before, stderr
    assert not (tmp_path / "canary").exists()


def test_scribbled_predictions_are_not_read(copied, made, script):
    """Nothing reads a CSV back: evaluate.py writes it anew."""
    (copied / "run-00" / "predictions-none.csv").write_text("file\n\0")
    assert script("evaluate.py", copied)[0] == 0
    assert (copied / "run-00" / "predictions-none.csv").read_bytes() == (made[0] / "run-00" / "predictions-none.csv").read_bytes()


def test_removed_history_is_made_again(copied, made, script):
    """Removing it is the way out that evaluate.py names when it is damaged."""
    history = copied / "run-00" / "classifier-none-history.npz"
    history.unlink()
    assert script("train_classifier.py", copied, "--jobs", 1)[0] == 0
    assert history.read_bytes() == (made[0] / "run-00" / history.name).read_bytes()


def test_synthetic_faces_of_an_unknown_method(copied, script):
    (copied / "run-00" / "synthetic-interpolate (1).npz").write_bytes(b"a copy made by hand")
    line = one_line(*script("train_classifier.py", copied)[::2])
    assert re.search(r"synthetic-interpolate \(1\).npz: .*remove it", line), line


def test_nothing_to_pair(tmp_path, script):
    """One face of each emotion to train on: three people, one of them tests, one validates."""
    draw(tmp_path / "faces", takes=1)
    options = "--protocol loso --runs 1 --cae-epochs 1 --latent 4 --steps 100 --jobs 1".split()
    assert script("train_cae.py", "--data", tmp_path / "faces", "--results", tmp_path / "results", *options)[0] == 0
    experiment, = (tmp_path / "results").iterdir()
    line = one_line(*script("augment.py", experiment, "--jobs", 1)[::2])
    assert "no emotion has two training faces" in line, line


def places(value, path=()):
    """The path to every value inside a JSON value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(
    ["AN", "loso", "holdout", "last", 10**12, "\0", "\ud800", "../.."]), lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(string.ascii_lowercase, max_size=5), inner, max_size=3), max_leaves=4)


@PROPERTY
@given(st.data())
def test_any_experiment_opens_equal_or_is_refused(made, tmp_path, data):
    valid = json.loads((made[0] / "experiment.json").read_text())
    valid["dataset"]["path"] = "/nowhere"
    mutated = copy.deepcopy(valid)
    *outer, last = data.draw(st.sampled_from([place for place in places(valid) if place]))
    inner = mutated
    for key in outer:
        inner = inner[key]
    if data.draw(st.integers(0, 4)):
        inner[last] = data.draw(JSON)
    else:
        del inner[last]
    (tmp_path / "experiment.json").write_text(json.dumps(mutated))
    try:
        experiment = utils.read_experiment(tmp_path)
    except utils.Problem as problem:
        assert str(problem).isascii() and str(problem).isprintable()
        return
    assert json.dumps({key: experiment[key] for key in mutated}) == json.dumps(mutated)
    for text in (*utils.changes(experiment), utils.label_of(experiment)):  # what the scripts say before they load its faces
        assert text.isascii() and text.isprintable()
    assert len(utils.identity(experiment)) == 16
    with pytest.raises(utils.Problem, match="no such file"):
        utils.experiment_faces(experiment)
