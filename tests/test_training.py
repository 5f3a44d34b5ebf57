"""The training loop against Keras' own, value by value; the paper's networks; what is kept."""

import augment
import train_cae
import train_classifier
import utils
from data import faces as data

import numpy as np
import pytest
from conftest import shell

LENET = (train_classifier.build_lenet5, (7,), train_classifier.LOSS)


@pytest.fixture(scope="module")
def line(tiny, tmp_path_factory):
    """What straight_line.py makes of the tiny faces: long enough to saturate the outputs."""
    file = tmp_path_factory.mktemp("straight") / "line.npz"
    shell("tests/straight_line.py", "--data", tiny, "--latent", 32, "--cae-epochs", 4,
          "--pair-epochs", 0, "--repeats", 1, "--classifier-epochs", 30, "--out", file)
    arrays = utils.load_arrays(file)
    return arrays | {"real": np.rint(255 * arrays["train_faces"][..., 0]).astype(np.uint8)}


def test_synthetic_faces_are_those_of_the_straight_line(line):
    names, nothing = line["train_names"], np.full(len(line["train_names"]), "")
    faces = data.Faces(names, nothing, line["train_emotions"], nothing, line["real"], ())
    weights = {(): [line[f"w{k}"] for k in range(20)]}
    made = augment.augment("interpolate", faces, 32, weights, 0.5, 10_000, [0, 0])
    assert np.array_equal(line["parents"], made["parents"])
    assert np.array_equal(line["synthetic_emotions"], made["emotions"])
    theirs = line["synthetic_faces"]
    assert theirs.std() > 0.01 and np.allclose(theirs, made["images"], atol=1e-5)


@pytest.mark.parametrize("arm", ["none", "interpolate"])
def test_classifier_learns_as_by_fit(line, arm, monkeypatch):
    """Same split, batches, steps, validation loss and early stop, from the same weights."""
    count = len(line["synthetic_faces"]) if arm == "interpolate" else 0
    made = np.float32(line["synthetic_faces"][:count]).reshape(count, 48, 48, 1)
    emotions = np.concatenate([line["train_emotions"], line["synthetic_emotions"][:count]])
    labels = np.searchsorted(["AN", "HA", "SU"], emotions).astype(np.int32)
    for rows, name in zip(train_classifier.published_split(labels), ("train", "validation")):
        assert np.array_equal(line[f"{arm}_{name}_rows"], rows)
    start = [line[f"{arm}_initial_w{k}"] for k in range(10)]
    monkeypatch.setattr(utils, "initial_weights", lambda model, seed: start)
    settings = {"classifier_epochs": 30, "patience": 5, "batch": 4}
    history = train_classifier.train_published(line["real"], made, labels, 3, settings, [0])[
        "history"]
    assert len(history) == len(line[f"{arm}_loss"])
    for column, name in ((1, "loss"), (3, "val_loss")):
        assert history[:4, column] == pytest.approx(line[f"{arm}_{name}"][:4], abs=1e-3)
        # A change of the weights by a millionth, as of rounding, grows to 0.013 in 30 epochs.
        assert history[:, column] == pytest.approx(line[f"{arm}_{name}"], abs=0.03)
    assert history[-1, 1] < history[0, 1] - 0.1


@pytest.mark.parametrize("network", [(train_cae.build_cae, (32,), train_cae.CAE_LOSS), LENET])
def test_steps_are_those_of_keras(network):
    """An epoch, its last batch shorter, against `fit`; a second training begins as fresh."""
    import keras

    rng = np.random.default_rng(1)
    x = rng.random((10, 48, 48, 1)).astype(np.float32)
    y = rng.integers(0, 7, 10).astype(np.int32) if network is LENET else x
    trainer = utils.trainer(*network)
    start = utils.initial_weights(trainer.model, [3])
    for _ in range(2):
        (mean, _), = utils.fit(trainer, start, x, y, [np.arange(10)], 4)
        ours = trainer.model.get_weights()
    build, arguments, loss = network
    model = build(*arguments)
    model.set_weights(start)
    model.compile(keras.optimizers.Adam(), loss)
    history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
    assert mean == pytest.approx(history["loss"][0], rel=1e-4)
    first, ours, theirs = (np.concatenate([weight.ravel() for weight in weights])
                           for weights in (start, ours, model.get_weights()))
    # Where a gradient is nearly 0, Adam's step is rounding divided by rounding: compare the whole.
    assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(ours - first)


def test_validation_loss_is_keras_own_on_saturated_outputs():
    """With clipped probabilities it would be at most 16.1."""
    trainer, rng = utils.trainer(*LENET), np.random.default_rng(0)
    weights = utils.initial_weights(trainer.model, [0])
    trainer.model.set_weights([8 * weight for weight in weights])
    x, y = rng.random((70, 48, 48, 1)).astype(np.float32), rng.integers(0, 7, 70).astype(np.int32)
    loss, right = utils.in_batches(trainer.measure, x, y, np.arange(70), 64)
    trainer.model.compile(loss=train_classifier.LOSS, metrics=["accuracy"])
    theirs = trainer.model.evaluate(x, y, batch_size=64, verbose=0)
    assert loss > 20 and [loss, right] == pytest.approx(theirs, rel=1e-4)


def test_initial_weights_are_glorots_and_follow_the_seed():
    model = utils.trainer(*LENET).model
    first, again, other = (utils.initial_weights(model, [0, 1, r]) for r in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    assert not np.array_equal(first[0], other[0]) and not first[1].any()
    limit = np.sqrt(6 / (120 + 84))  # of the dense layer 120 x 84: Glorot and Bengio 2010
    assert 0.98 * limit < np.abs(first[6]).max() <= limit and abs(first[6].mean()) < 0.05 * limit


def test_average_is_the_mean_of_the_stored_weights(monkeypatch):
    rng, labels = np.random.default_rng(2), np.arange(12, dtype=np.int32) % 3
    real, made = rng.integers(0, 256, (8, 48, 48), np.uint8), rng.random((4, 48, 48, 1), np.float32)
    stored, fit = [], utils.fit

    def trained(keep):
        settings = {"steps": 500, "batch": 4, "keep": keep}
        return train_classifier.train_steps(real, made, labels, 3, settings, [0, 0, 0])

    def watched(trainer, *arguments):
        for found in fit(trainer, *arguments):
            stored.append(trainer.model.get_weights())
            yield found

    last = trained("last")
    monkeypatch.setattr(utils, "fit", watched)
    kept, history = trained("average"), last.pop("history")
    assert len(stored) == 5 and all(map(np.array_equal, stored[-1], last.values()))
    for weight, *each in zip(kept.values(), *stored[2:]):  # after 300, 400 and 500 steps
        assert np.allclose(weight, np.mean(each, axis=0, dtype=float), atol=1e-7)
    assert history[:, 0].tolist() == [100, 200, 300, 400, 500] and history[-1, 1] < history[0, 1]


@pytest.mark.parametrize("total, batch", [(40, 4), (6, 4), (40, 5)])
def test_every_second_face_is_real(total, batch):
    rows, again, other = (train_classifier.mixed_rows(6, total, 30, batch, [0, 0, repeat])
                          for repeat in (0, 0, 1))
    assert len(rows) == 30 * batch and rows.min() == 0 and rows.max() == total - 1
    real = rows < 6
    assert real.all() if total == 6 else (real == (np.arange(30 * batch) % 2 == 0)).all()
    assert sorted(rows[real][:6]) == list(range(6))  # each once before any comes again
    assert np.array_equal(rows, again) and not np.array_equal(rows, other)


def test_parameter_counts_are_the_papers():
    assert train_cae.build_cae().count_params() == 784_353
    assert train_classifier.build_lenet5().count_params() == 61_451
