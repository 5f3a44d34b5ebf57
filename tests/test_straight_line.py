"""The scripts against the paper as a notebook would have it, value by value."""

import runpy
import sys

import numpy as np
import pytest
from conftest import ROOT, draw_tiny

import augment
import utils

SETTINGS = {"latent": 4, "theta": 0.5, "max_synthetic": 10_000, "balance": "no", "seed": [0, 0]}


@pytest.fixture(scope="session")
def line(made_once):
    """What straight_line.py makes of drawn faces of two emotions."""
    return dict(np.load(made_once("straight", draw_line) / "line.npz"))


def draw_line(folder):
    for file in draw_tiny(folder / "tiny", "ABC", takes=2).glob("*.SU*"):
        file.unlink()
    options = {"data": folder / "tiny", "latent": 4, "cae-epochs": 3, "pair-epochs": 1,
               "repeats": 1, "classifier-epochs": 1, "out": folder / "line.npz"}
    config = utils.tensorflow().config
    config.run_functions_eagerly(True)  # spares Keras the compilation of each network
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["straight_line.py", *(
            f"--{name}={value}" for name, value in options.items())])
        runpy.run_path(str(ROOT / "tests" / "straight_line.py"))
    config.run_functions_eagerly(False)


def train_of(line):
    """The arrays of a train.npz with the notebook's training faces."""
    names = line["train_names"]
    return {"names": names, "subjects": np.array([name[:2] for name in names.tolist()]),
            "emotions": line["train_emotions"],
            "images": np.rint(255 * line["train_faces"][..., 0]).astype(np.uint8)}


def test_synthetic_faces_are_those_of_the_straight_line(line):
    arrays = augment.make_synthetic(train_of(line), [line], method="interpolate", **SETTINGS)
    assert np.array_equal(line["parents"], arrays["parents"])
    assert np.array_equal(line["synthetic_emotions"], arrays["emotions"])
    theirs = line["synthetic_faces"]
    assert theirs.std() > 0.01 and arrays["images"] == pytest.approx(theirs, abs=1e-5)


def test_person_mean_is_that_of_the_straight_line(line):
    train, faces = train_of(line), line["translate_faces"]
    rows = [row for source, target in augment.emotion_pairs(augment.faces_of(train))
            for row in np.flatnonzero(train["emotions"] == source)]
    synthetic = {"images": faces, "emotions": line["translate_emotions"],
                 "parents": np.array(rows)[:, None], "coefficients": np.ones((len(rows), 1))}
    arrays = augment.make_synthetic(train, [], synthetic, method="person-mean", **SETTINGS)
    assert len(faces) == len(rows) == 9
    assert arrays["images"] == pytest.approx(line["person-mean_faces"], abs=1e-6)


def test_longer_training_takes_as_many_steps(line):
    assert line["longer-translate_steps"] == line["translate_steps"] > line["none_steps"]
    assert utils.weights_of(line)[-1].shape == (1,)
