"""The fast path against the paper as a notebook would have it (straight_line.py), value by value."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import augment
import train_cae
import train_classifier
import utils


@pytest.fixture(scope="module")
def reference(tiny, tmp_path_factory):
    """Everything straight_line.py made on the tiny faces, by name."""
    file = tmp_path_factory.mktemp("straight") / "line.npz"
    subprocess.run([sys.executable, ROOT / "tests" / "straight_line.py", "--data", tiny, "--cae-epochs", "4",
                    "--classifier-epochs", "4", "--out", file], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return utils.read_arrays(file)


@pytest.fixture(scope="module")
def train(tiny):
    faces = utils.load_faces(tiny).faces
    return faces.take(utils.make_split(faces, "published", 0, 0, 1).train)


def weights(reference, prefix, n):
    return [reference[f"{prefix}w{k}"] for k in range(n)]


def test_training_faces(reference, train):
    assert np.array_equal(reference["train_names"], train.names)
    assert np.array_equal(reference["train_faces"].reshape(train.images.shape), train.images)


def test_synthetic_faces(reference, train):
    cae = "cae.keras", utils.model_file(train_cae.build_cae, (32,), weights(reference, "", 20))
    made = augment.augment("interpolate", train, 32, cae, {}, (0.5, 0.5), [0, 0], 10_000)
    assert np.array_equal(reference["parents"], train.names[made.parents])
    assert np.array_equal(reference["synthetic_emotions"], made.emotions)
    theirs = reference["synthetic_faces"].reshape(made.images.shape)
    assert theirs.std() > 0.01 and np.allclose(theirs, made.images, atol=1e-5)


@pytest.mark.parametrize("arm", ["baseline", "augmented"])
def test_classifier_takes_the_same_batches_and_steps(reference, train, arm):
    faces, codes = train.images, train.emotions
    if arm == "augmented":
        faces = np.concatenate([faces, reference["synthetic_faces"].reshape(-1, 48, 48, 1)])
        codes = np.concatenate([codes, reference["synthetic_emotions"]])
    fitted, held_out = train_classifier.published_split(codes)
    assert np.array_equal(reference[f"{arm}_train_rows"], fitted)
    assert np.array_equal(reference[f"{arm}_validation_rows"], held_out)
    labels = utils.one_hot(codes, ["AN", "HA", "SU"])
    epoch = utils.epoch_rows(fitted)
    _, history = utils.fit(train_classifier.build_lenet5, (3,), "crossentropy", weights(reference, f"{arm}_initial_", 10),
                           (faces, labels), lambda look: epoch, 4, (faces[held_out], labels[held_out]), patience=5)
    assert history["loss"] == pytest.approx(reference[f"{arm}_loss"].tolist(), abs=2e-3)
    assert history["validation_loss"] == pytest.approx(reference[f"{arm}_val_loss"].tolist(), abs=2e-3)


def test_adam_steps_are_those_of_keras(train):
    import keras

    start = utils.initial_weights(train_cae.build_cae, (32,), 3)
    rows = utils.epoch_rows(np.arange(len(train.images)))
    ours, _ = utils.fit(train_cae.build_cae, (32,), "mse", start, (train.images,) * 2, lambda epoch: rows, 1, (train.images,) * 2)
    model = train_cae.build_cae()
    model.set_weights(start)
    model.compile(keras.optimizers.Adam(), "mse")
    model.fit(train.images, train.images, batch_size=4, shuffle=False, verbose=0)
    ours, theirs, before = (np.concatenate([w.ravel() for w in many]) for many in (ours, model.get_weights(), start))
    # Where a gradient is nearly 0, Adam's step is rounding divided by rounding: compare the whole, not the worst weight.
    assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(ours - before)
