"""Shared by the tests: small drawn faces, and scripts run as a user would run them."""

import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import utils  # noqa: E402
from data import faces, standin  # noqa: E402

# Real photographs, neutral and smiling, of 102 people: used where they are there.
REAL_FACES = Path(os.environ.get("REAL_FACES", ROOT.parent / "shared" / "faces" / "london"))
STAGES = ("train_cae.py", "augment.py", "train_classifier.py", "evaluate.py")
TINY = ("--cae-epochs", 2, "--latent", 4, "--pair-epochs", 1, "--repeats", 2, "--jobs", 1)
PUBLISHED = (*TINY, "--runs", 2, "--classifier-epochs", 3)  # of one given twice the last counts


# ------------------------------------------------------------------------------------------ faces
def draw_tiny(folder, subjects="ABCD", takes=3):
    """A folder of AA.AN1.png and so on: a bar per emotion on a grey per subject, noisy."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True)
    for s, subject in enumerate(subjects):
        for e, emotion in enumerate(("AN", "HA", "SU")):
            for take in range(1, takes + 1):
                face = rng.normal(60 + 20 * s, 12, (256, 256))
                face[90 + 45 * e:110 + 45 * e, 60:200] += 90
                face = Image.fromarray(face.clip(0, 255).astype(np.uint8))
                face.save(folder / f"{subject * 2}.{emotion}{take}.png")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return draw_tiny(tmp_path_factory.mktemp("faces") / "tiny")


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """The folder of the drawn stand-in: 213 faces with JAFFE's names and file modes."""
    folder = tmp_path_factory.mktemp("faces") / "standin"
    standin.draw_all(folder)
    return folder


@pytest.fixture(scope="session")
def drawn(stand_in):
    """The `Faces` of the stand-in."""
    return faces.load_faces(stand_in).faces


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
            utils.run_script(importlib.import_module(name.removesuffix(".py")).main)
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
    assert status == 2 and len(lines) == 1 and printable(lines[0]), stderr
    return lines[0]


def printable(text):
    return str(text).isascii() and str(text).isprintable()


def sequence(data, results, *options, methods=(), figures=False):
    """All four scripts in this process, by default without figures, which would take most of the
    time; the experiment's folder."""
    before = set(results.glob("*"))
    with pytest.MonkeyPatch.context() as patch:
        if not figures:
            patch.setattr(utils, "save_figure", lambda figure, *_, **__: pyplot.close(figure))
        assert run_here("train_cae.py", "--data", data, "--results", results, *options) == 0
        folder, = set(results.glob("*")) - before
        for name, more in zip(STAGES[1:], (methods, (), ())):
            assert run_here(name, folder, *more) == 0
    return folder


@pytest.fixture(scope="session")
def published(tiny, tmp_path_factory):
    return sequence(tiny, tmp_path_factory.mktemp("results"), *PUBLISHED, figures=True)


@pytest.fixture
def copied(published, tmp_path):
    return shutil.copytree(published, tmp_path / "experiment")


@contextlib.contextmanager
def changing(file):
    """The arrays of an .npz, to be changed."""
    with np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored)
    yield arrays
    np.savez(file, **arrays)


def wait_until(true, seconds):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.1)


def contents(folder, *kinds):
    """{path: bytes} of the files below a folder, of these suffixes if any are given."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*")
            if file.is_file() and (not kinds or file.suffix in kinds)}
