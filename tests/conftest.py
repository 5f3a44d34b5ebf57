"""Shared by the tests: small drawn faces in any layout, and scripts run as a user would run them."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# Real photographs, neutral and smiling, of 102 people: used where they are there.
REAL_FACES = Path(os.environ.get("REAL_FACES", ROOT.parent / "shared" / "faces" / "london"))
TINY = ("--runs", 2, "--cae-epochs", 2, "--latent", 4, "--pair-epochs", 1, "--repeats", 2, "--jobs", 1)
PUBLISHED = (*TINY, "--classifier-epochs", 3)
HERE = SimpleNamespace(jobs=1, dask=None, device="cpu")  # run_tasks in this process


def drawn_faces(subjects="ABCD", emotions=("AN", "HA", "SU"), takes=3):
    """{(subject, emotion, take): uint8 (256, 256)}: a bar per emotion on a grey per subject, noisy."""
    rng, faces = np.random.default_rng(5), {}
    for s, subject in enumerate(subjects):
        for e, emotion in enumerate(emotions):
            for take in range(1, takes + 1):
                image = rng.normal(60 + 20 * s, 12, (256, 256))
                image[90 + 45 * e:110 + 45 * e, 60:200] += 90
                faces[subject * 2, emotion, take] = image.clip(0, 255).astype(np.uint8)
    return faces


def draw_tiny(folder, suffix="png", **which):
    """A folder of `drawn_faces` in JAFFE's naming."""
    folder.mkdir(parents=True)
    for (subject, emotion, take), image in drawn_faces(**which).items():
        Image.fromarray(image).save(folder / f"{subject}.{emotion}{take}.{suffix}")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return draw_tiny(tmp_path_factory.mktemp("faces") / "tiny")


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """The drawn stand-in: 213 faces with JAFFE's names and file modes."""
    from data import standin

    folder = tmp_path_factory.mktemp("faces") / "standin"
    standin.draw_all(folder)
    return folder


def shell(script, *arguments, status=0, cwd=None, **environment):
    """Run a script as from the shell; returns what it printed, (stdout, stderr)."""
    done = subprocess.run([sys.executable, ROOT / script, *map(str, arguments)], capture_output=True,
                          text=True, cwd=cwd, env={**os.environ, **environment})
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture
def script(capfd):
    """Run a script's main in this process, which spares its start: (status, stdout, stderr)."""

    def call(name, *arguments):
        capfd.readouterr()
        return run_here(name, *arguments), *capfd.readouterr()

    return call


def run_here(name, *arguments):
    import importlib

    import utils

    kept, argv = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}, sys.argv
    alone = [] if name == "evaluate.py" or "--jobs" in arguments else ["--jobs", "1"]
    sys.argv = [str(ROOT / name), *map(str, arguments), *alone]
    try:
        utils.run_script(importlib.import_module(name.removesuffix(".py")).main)
    except SystemExit as end:
        return end.code
    finally:
        sys.argv = argv
        for kind, handler in kept.items():
            signal.signal(kind, handler)
    return 0


def sequence(data, results, *options, methods=()):
    """All four scripts in this process; the experiment's folder."""
    before = set(results.glob("*"))
    assert run_here("train_cae.py", "--data", data, "--results", results, *options) == 0
    folder, = set(results.glob("*")) - before
    assert run_here("augment.py", folder, "--jobs", 1, *methods) == 0
    assert run_here("train_classifier.py", folder, "--jobs", 1) == 0
    assert run_here("evaluate.py", folder) == 0
    return folder


def one_line(status, stderr):
    """The one line that is no warning, once it is sure that it is one and fit for a terminal."""
    lines = [line for line in stderr.splitlines() if not line.startswith("warning: ")]
    assert status == 2 and len(lines) == 1 and lines[0].isascii() and lines[0].isprintable(), stderr
    return lines[0]


def contents(folder, *kinds):
    """{path: bytes} of the files below a folder, of these suffixes if any are given."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*")
            if file.is_file() and (not kinds or file.suffix in kinds)}
