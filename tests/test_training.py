"""The training loop against Keras' own, value by value; the paper's networks; what is kept."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import augment
import train_cae
import train_classifier
import utils
from data import faces as data


@pytest.fixture(scope="module")
def line(tiny, tmp_path_factory):
    """Everything that straight_line.py made of the tiny faces: long enough to saturate the outputs."""
    file = tmp_path_factory.mktemp("straight") / "line.npz"
    subprocess.run([sys.executable, ROOT / "tests" / "straight_line.py", "--data", tiny, "--latent", "32",
                    "--cae-epochs", "4", "--pair-epochs", "0", "--repeats", "1", "--classifier-epochs",
                    "30", "--out", file], check=True, capture_output=True)
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def faces_of(line, emotions=None):
    n = len(line["train_names"])
    return data.Faces(line["train_names"], np.array([name[:2] for name in line["train_names"]]),
                      line["train_emotions"] if emotions is None else emotions, np.full(n, ""),
                      line["train_faces"], ())


def test_synthetic_faces_are_those_of_the_straight_line(line):
    weights = {(): [line[f"w{k}"] for k in range(20)]}
    made = augment.augment("interpolate", faces_of(line), 32, weights, 0.5, 10_000, [0, 0])
    assert np.array_equal(line["parents"], made.parents)
    assert np.array_equal(line["synthetic_emotions"], made.emotions)
    theirs = line["synthetic_faces"]
    assert theirs.std() > 0.01 and np.allclose(theirs, made.images, atol=1e-5)


@pytest.mark.parametrize("arm", ["none", "interpolate"])
def test_classifier_learns_as_by_fit(line, arm, monkeypatch):
    """Same split, batches, steps, validation loss and early stop, from the same weights."""
    images, emotions = line["train_faces"], line["train_emotions"]
    if arm == "interpolate":
        images = np.concatenate([images, line["synthetic_faces"]])
        emotions = np.concatenate([emotions, line["synthetic_emotions"]])
    labels = np.searchsorted(["AN", "HA", "SU"], emotions).astype(np.int32)
    train, held_out = train_classifier.published_split(labels)
    assert np.array_equal(line[f"{arm}_train_rows"], train)
    assert np.array_equal(line[f"{arm}_validation_rows"], held_out)
    start = [line[f"{arm}_initial_w{k}"] for k in range(10)]
    monkeypatch.setattr(utils, "initial_weights", lambda model, seed: start)
    settings = {"classifier_epochs": 30, "patience": 5, "batch": 4}
    _, history = train_classifier.train_published(images, labels, 0, 3, settings, [0])
    assert len(history) == len(line[f"{arm}_loss"])
    assert history[:, 1] == pytest.approx(line[f"{arm}_loss"], abs=5e-3)
    assert history[:, 3] == pytest.approx(line[f"{arm}_val_loss"], abs=5e-3)
    assert history[-1, 1] < history[0, 1] - 0.1


@pytest.mark.parametrize("build, argument, loss", [
    (train_cae.build_cae, 32, train_cae.CAE_LOSS), (train_classifier.build_lenet5, 7, train_classifier.LOSS)])
def test_steps_are_those_of_keras(build, argument, loss):
    """An epoch, its last batch shorter, against `fit`; and a second training is as fresh as the first."""
    import keras

    rng = np.random.default_rng(1)
    x = rng.random((10, 48, 48, 1)).astype(np.float32)
    y = x if loss == train_cae.CAE_LOSS else rng.integers(0, 7, 10).astype(np.int32)
    trainer = utils.trainer(build, (argument,), loss)
    start = utils.initial_weights(trainer.model, [3])
    for _ in range(2):
        (mean, _), = utils.fit(trainer, start, x, y, [np.arange(10)], 4)
        ours = trainer.model.get_weights()
    model = build(argument)
    model.set_weights(start)
    model.compile(keras.optimizers.Adam(), loss)
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    assert mean == pytest.approx(history["loss"][0], rel=1e-4)
    flat = [np.concatenate([w.ravel() for w in many]) for many in (ours, model.get_weights(), start)]
    # Where a gradient is nearly 0, Adam's step is rounding divided by rounding: compare the whole.
    assert np.linalg.norm(flat[0] - flat[1]) < 0.02 * np.linalg.norm(flat[0] - flat[2])


def test_validation_loss_is_keras_own_on_saturated_outputs():
    """With clipped probabilities it would be at most 16.1."""
    trainer = utils.trainer(train_classifier.build_lenet5, (7,), train_classifier.LOSS)
    weights = utils.initial_weights(trainer.model, [0])
    trainer.model.set_weights([8 * weight for weight in weights])
    rng = np.random.default_rng(0)
    x, y = rng.random((70, 48, 48, 1)).astype(np.float32), rng.integers(0, 7, 70).astype(np.int32)
    loss, right = utils.in_batches(trainer.measure, x, y, np.arange(70), 64)
    trainer.model.compile(loss=train_classifier.LOSS, metrics=["accuracy"])
    theirs = trainer.model.evaluate(x, y, batch_size=64, verbose=0)
    assert loss > 20 and [loss, right] == pytest.approx(theirs, rel=1e-4)


def test_initial_weights_are_glorots_and_follow_the_seed():
    model = utils.trainer(train_classifier.build_lenet5, (7,), train_classifier.LOSS).model
    first, again, other = (utils.initial_weights(model, [0, 1, r]) for r in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[0], other[0]) and not first[1].any()
    limit = np.sqrt(6 / (120 + 84))  # of the dense layer 120 x 84: Glorot and Bengio 2010
    assert 0.98 * limit < np.abs(first[6]).max() <= limit and abs(first[6].mean()) < 0.05 * limit


def test_average_is_the_mean_of_the_stored_weights(monkeypatch):
    rng = np.random.default_rng(2)
    x, labels = rng.random((12, 48, 48, 1)).astype(np.float32), np.arange(12, dtype=np.int32) % 3
    settings = {"steps": 500, "batch": 4, "keep": "last"}
    last, history = train_classifier.train_steps(x, labels, 8, 3, settings, [0, 0, 0])
    stored, fit = [], utils.fit

    def watched(trainer, *arguments):
        for found in fit(trainer, *arguments):
            stored.append(trainer.model.get_weights())
            yield found

    monkeypatch.setattr(utils, "fit", watched)
    kept, _ = train_classifier.train_steps(x, labels, 8, 3, settings | {"keep": "average"}, [0, 0, 0])
    assert len(stored) == 5 and all(np.array_equal(a, b) for a, b in zip(stored[-1], last))
    for number, weight in enumerate(kept):  # after 300, 400 and 500 steps
        assert np.allclose(weight, np.mean([at[number] for at in stored[2:]], axis=0, dtype=float), atol=1e-7)
    assert history[:, 0].tolist() == [100, 200, 300, 400, 500] and history[-1, 1] < history[0, 1]


@pytest.mark.parametrize("total, batch", [(40, 4), (6, 4), (40, 5)])
def test_every_second_face_is_real(total, batch):
    rows = train_classifier.mixed_rows(6, total, 30, batch, [0, 0, 0])
    assert len(rows) == 30 * batch and rows.min() == 0 and rows.max() == total - 1
    real = rows < 6
    assert real.all() if total == 6 else (real == (np.arange(30 * batch) % 2 == 0)).all()
    assert sorted(rows[real][:6]) == list(range(6))  # each once before any comes again
    assert np.array_equal(rows, train_classifier.mixed_rows(6, total, 30, batch, [0, 0, 0]))
    assert not np.array_equal(rows, train_classifier.mixed_rows(6, total, 30, batch, [0, 0, 1]))


def test_parameter_counts_are_the_papers():
    assert train_cae.build_cae().count_params() == 784_353
    assert train_classifier.build_lenet5().count_params() == 61_451


def test_pairs_of_emotions_and_their_budget():
    posed = [("P", "AN"), ("P", "AN"), ("P", "HA"), ("Q", "HA"), ("R", "AN"), ("", "AN"), ("", "HA")]
    subjects, emotions = (np.array(texts) for texts in zip(*posed))
    faces = data.Faces(subjects, subjects, emotions, subjects, np.zeros(7), ())
    pairs = train_cae.emotion_pairs(faces)
    assert {key: rows.tolist() for key, rows in pairs.items()} == {
        ("AN", "HA"): [[0, 2], [1, 2]], ("HA", "AN"): [[2, 0], [2, 1]]}
    many = {"a": np.zeros((60, 2)), "b": np.arange(2000).reshape(1000, 2)}

    class Experiment:
        batch, pair_epochs = 4, 8

    plan = train_cae.pair_plan(many, Experiment, 200)  # 400 steps each: 15 an epoch, 250 an epoch
    assert (len(plan["a"][0]), plan["a"][1]) == (60, 8) and (len(plan["b"][0]), plan["b"][1]) == (1000, 1)
    plan = train_cae.pair_plan(many, Experiment, 50)  # 100 steps each
    assert plan["a"][1] == 6 and len(plan["b"][0]) == 400 and plan["b"][0][-1].tolist() == [1998, 1999]
