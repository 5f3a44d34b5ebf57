"""What is refused: one line that names it and the way out, status 2, and nothing left or lost."""

import io
import json
import pickle
import re
import shlex
from pathlib import Path

import utils
from data import experiment

import numpy as np
import pytest
from conftest import ROOT, contents, draw_tiny, one_line, printable, shell
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])
NAMES = [f"{who}.{emotion}{take}.png" for who in ("AA", "BB", "CC", "DD")
         for emotion in ("AN", "HA", "SU") for take in (1, 2, 3)]
GREYS = "7 " * 48 * 48
FER2013 = "emotion,pixels,Usage\n" + f"0,{GREYS},Training\n1,{GREYS},Training\n" * 20


@pytest.fixture
def faces(tmp_path, monkeypatch):
    """The folder faces/, to be spoilt, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return draw_tiny(tmp_path / "faces")


# ----------------------------------------------------- changes of faces/, or own.zip made beside it
def renamed(name):
    return lambda faces: (faces / "AA.AN1.png").rename(faces / name)


def only(pattern):
    return lambda faces: [(faces / name).unlink() for name in NAMES if not re.search(pattern, name)]


def by_folders():
    """AA.AN1.png becomes AN/AA 1.png and so on."""
    def change(faces):
        for name in NAMES:
            place = f"{name[3:5]}/{name[:2]} {name[5]}.png"
            (faces / place).parent.mkdir(parents=True, exist_ok=True)
            (faces / name).rename(faces / place)

    return change


def spoilt(*names):
    return lambda faces: [(faces / name).write_bytes(b"") for name in names]


SOURCES = [  # text of own.csv or another change of faces/; what the line says; options
    (None, "cannot be split for given: they bring no split of their own", "--protocol", "given"),
    (only("AN|AA.HA"), "be split for loso: run 1 has 0 training faces of emotion HA, two are need",
     "--protocol", "loso"),
    (only("A[AN]|BB"), "be split for kfold: who is who has to be known, of 9 people or more; give",
     "--protocol", "kfold", "--folds", "9"),
    (by_folders(), "be split for loso: who is who has to be known, .*give --subject PATTERN, or a ",
     "--protocol", "loso"),
    ("file,emotion,split" + "".join(f"\nfaces/{name},{name[3:5]},{part}" for name, part in zip(
        NAMES, ("train", "test", "") * 12)), "no split of their own, or one without some faces",
     "--protocol", "given"),
    (FER2013 + f"3,{GREYS},PrivateTest\n" * 2, "run 0 has 0 training faces of emotion happy, two "
     "are needed", "--protocol", "given"),
    (spoilt("AA.AN1.png", "BB.HA2.png"), "2 images cannot be read: .*BB.HA2.png .*; replace or"),
    (renamed("1\x1b[2J.png"), "a name that tells no emotion"),
]


@pytest.mark.parametrize("case", SOURCES)
def test_source(case, faces, script):
    change, says, *options = case
    if isinstance(change, str):
        Path("own.csv").write_text(change)
    elif change:
        change(faces)
    path = "own.csv" if Path("own.csv").exists() else "faces"
    script("train_cae.py", "--data", path, "--results", "results", *options, says=says)
    assert not Path("results").exists()


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
