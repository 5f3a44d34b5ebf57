"""Shared by the tests: data sets small and JAFFE-shaped, and scripts run as a user would run them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# Real photographs, two emotions of 102 people, used where they are there.
REAL_FACES = Path(os.environ.get("REAL_FACES", ROOT.parent / "shared" / "faces" / "london"))


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory):
    """The drawn stand-in: 213 faces with JAFFE's names and file modes."""
    folder = tmp_path_factory.mktemp("faces") / "standin"
    subprocess.run([sys.executable, ROOT / "data" / "standin.py", "--out", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


def draw_tiny(folder, subjects=("AA", "BB", "CC", "DD"), emotions=("AN", "HA", "SU"), takes=3):
    """Small data set: a bar per emotion on a grey per subject, with noise; easy to tell apart."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for s, subject in enumerate(subjects):
        for e, emotion in enumerate(emotions):
            for take in range(1, takes + 1):
                image = rng.normal(60 + 20 * s, 12, (256, 256))
                image[90 + 45 * e:110 + 45 * e, 60:200] += 90
                Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{subject}.{emotion}{take}.png")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return draw_tiny(tmp_path_factory.mktemp("faces") / "tiny")


def run(script, *arguments, status=0, env=None):
    """Run a script as from the shell; returns what it printed, (stdout, stderr)."""
    done = subprocess.run([sys.executable, ROOT / script, *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, **(env or {})})
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr
