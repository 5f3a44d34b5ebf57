"""Shared by the tests: small drawn faces, and scripts run as a user would run them.

What takes long is made once, for all worker processes of pytest: see `made_once`. Most scripts run
in the worker itself, which has TensorFlow loaded and its networks compiled.
"""

import atexit
import contextlib
import csv
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

if "XLA_PROGRAMS" not in os.environ:  # pytest itself: its workers and all scripts inherit it
    os.environ["XLA_PROGRAMS"] = tempfile.mkdtemp()
    # A program compiled by one process is loaded by the others: four seconds for each of them.
    os.environ["TF_XLA_FLAGS"] = \
        f"--tf_xla_persistent_cache_directory={os.environ['XLA_PROGRAMS']}"
    atexit.register(shutil.rmtree, os.environ["XLA_PROGRAMS"], ignore_errors=True)

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import augment  # noqa: E402
import evaluate  # noqa: E402
import train_cae  # noqa: E402
import train_classifier  # noqa: E402
import utils  # noqa: E402
from data import standin  # noqa: E402
from data.faces import load_faces  # noqa: E402

# Real photographs, neutral and smiling, of 102 people: used where they are there.
REAL_FACES = Path(os.environ.get("REAL_FACES", ROOT.parent / "shared" / "faces" / "london"))
STAGES = ("train_cae.py", "augment.py", "train_classifier.py", "evaluate.py")
OTHER = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}
TINY = ("--cae-epochs", 2, "--latent", 4, "--pair-epochs", 1, "--repeats", 2)
PUBLISHED = (*TINY, "--runs", 2, "--classifier-epochs", 3)  # of one given twice the last counts
LOSO = (*TINY, "--protocol", "loso", "--steps", 20, "--runs", 2, "--repeats", 1)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A function (name, make): the folder `name` that make(folder) fills, by whichever process of
    pytest comes first."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # all workers' own

    def folder_of(name, make):
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            making = root / f"{name}.making"
            if not (root / name).exists():
                assert not making.exists(), f"{name} could not be made: see the first failure"
                making.mkdir()
                make(making)
                making.rename(root / name)
        return root / name

    return folder_of


def pytest_collection_modifyitems(items):
    """Those that wait until an experiment is made come last: the other process has work meanwhile.
    """
    items.sort(key=lambda item: "published" in item.fixturenames)


# ------------------------------------------------------------------------------------------ faces
def draw_tiny(folder, subjects="ABCD", takes=3, seed=5):
    """A folder of AA.AN1.png and so on: a bar per emotion on a grey per subject, noisy."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for s, subject in enumerate(subjects):
        for e, emotion in enumerate(("AN", "HA", "SU")):
            for take in range(1, takes + 1):
                face = rng.normal(60 + 20 * s, 12, (256, 256))
                face[90 + 45 * e:110 + 45 * e, 60:200] += 90
                face = Image.fromarray(face.clip(0, 255).astype(np.uint8))
                face.save(folder / f"{subject * 2}.{emotion}{take}.png", compress_level=1)
    return folder


@pytest.fixture(scope="session")
def tiny(made_once):
    return made_once("faces", lambda folder: draw_tiny(folder / "tiny")) / "tiny"


@pytest.fixture(scope="session")
def stand_in(made_once):
    """The folder of the drawn stand-in: 213 faces with JAFFE's names and file modes."""
    return made_once("drawn", lambda folder: standin.draw_all(folder / "standin")) / "standin"


@pytest.fixture(scope="session")
def drawn(stand_in):
    """The `Faces` of the stand-in."""
    return load_faces(stand_in).faces


# ---------------------------------------------------------------------------------------- scripts
def start(name, *arguments, **how):
    """A process of a script, as from the shell, with text in pipes."""
    return subprocess.Popen([sys.executable, ROOT / name, *map(str, arguments)], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)


def shell(name, *arguments, status=0, cwd=None, **environment):
    """What a script run from the shell prints, (stdout, stderr)."""
    process = start(name, *arguments, cwd=cwd, env={**os.environ, **environment})
    printed = process.communicate()
    assert process.returncode == status, "".join(printed)
    return printed


def run_here(name, *arguments):
    """The exit status of a script's main in this process, which spares its start."""
    alone = [] if name == "evaluate.py" or "--jobs" in arguments else ["--jobs", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(ROOT / name), *map(str, arguments), *alone])
        patch.setattr(signal, "signal", lambda kind, handler: None)  # pytest's own stay
        try:
            utils.run_script(ROOT / name)
        except SystemExit as end:
            return end.code
    return 0


@pytest.fixture
def script(capfd):
    """Run a script in this process: what it prints or, if it has to refuse, the line it says."""
    def call(name, *arguments, says=None):
        capfd.readouterr()
        status, (printed, stderr) = run_here(name, *arguments), capfd.readouterr()
        if says is None:
            assert status == 0, stderr
            return printed
        line = one_line(status, stderr)
        assert line.startswith(f"{name}: ") and re.search(says, line), line
        return line

    return call


def one_line(status, stderr):
    """The one line that is no warning, once it is sure that it is one and fit for a terminal."""
    lines = [line for line in stderr.splitlines() if not line.startswith("warning: ")]
    assert status == 2 and len(lines) == 1 and utils.printable(lines[0]) == lines[0], stderr
    return lines[0]


@pytest.fixture
def no_figures(monkeypatch):
    without_figures(monkeypatch)


def without_figures(patch):
    """Let no script draw, which would take most of the time."""
    for module, names in ((train_cae, ("draw_faces", "draw_cae")), (augment, ("draw",)),
                          (train_classifier, ("draw",)),
                          (evaluate, ("draw_gains", "draw_accuracies", "draw_confusion",
                                      "draw_ladder", "draw_curve"))):
        for name in names:
            patch.setattr(module, name, lambda *_, **__: None)
    patch.setattr(utils, "save_figure", lambda *_, **__: None)


def sequence(data, results, *options, methods=(), arms=(), figures=()):
    """All four scripts in this process, with options of the first, the second and the third;
    the experiment's folder. figures: the stages that draw; all baselines are only fitted if the
    last one does."""
    before = set(results.glob("*"))
    for stage, more in zip(STAGES, (("--data", data, "--results", results, *options), methods, arms,
                                    ())):
        with pytest.MonkeyPatch.context() as patch:
            if stage not in figures:
                without_figures(patch)
                fast_baselines(patch)
            arguments = more if stage == STAGES[0] else [*set(results.glob("*")) - before, *more]
            assert run_here(stage, *arguments) == 0
    folder, = set(results.glob("*")) - before
    return folder


@pytest.fixture(scope="session")
def published(tiny, made_once):
    """Two runs of the paper's protocol, with the default methods and all figures."""
    folder, = made_once("published", lambda results: sequence(
        tiny, results, *PUBLISHED, figures=STAGES)).iterdir()
    return folder


@pytest.fixture(scope="session")
def loso(tiny, made_once):
    """Two subjects left out in turn, every method, with the figures of the first stage."""
    folder, = made_once("loso", lambda results: sequence(
        tiny, results, *LOSO, methods=("--methods", "all"), figures=STAGES[:1])).iterdir()
    return folder


def fast_baselines(patch):
    """Leave out the slow ones. Others would come back in another order if they were deleted."""
    fast = {name: evaluate.BASELINES[name] for name in ("1-NN", "linear SVM")}
    patch.setattr(evaluate, "BASELINES", fast)
    patch.setattr(evaluate, "WITH_SYNTHETIC", ("linear SVM",))


@pytest.fixture
def copied(published, tmp_path, no_figures, monkeypatch):
    """A copy of `published`, to be changed; nothing is drawn, and the slow baselines are left out.
    """
    fast_baselines(monkeypatch)
    return shutil.copytree(published, tmp_path / "experiment")


@contextlib.contextmanager
def changing(file):
    """The arrays of an .npz, to be changed, and noted as its own."""
    with np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored)
    yield arrays
    contents = {name: array for name, array in arrays.items()
                if name not in ("made_from", "contents")}
    arrays["contents"] = utils.digest_of_arrays({name: np.asarray(array)
                                                 for name, array in contents.items()})
    np.savez(file, **arrays)


def wait_until(true, seconds=120):
    until = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return value


def contents(folder, *kinds):
    """{path: bytes} of the files below a folder, of these suffixes if any are given."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*")
            if file.is_file() and (not kinds or file.suffix in kinds)}


def metrics_of(folder):
    return json.loads((folder / "report" / "metrics.json").read_text())


def predictions_of(folder, **which):
    """The rows of predictions.csv with these values."""
    with open(folder / "predictions.csv", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row.items() >= which.items()]
