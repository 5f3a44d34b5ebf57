"""How the networks are trained: against Keras' own `fit`, by hand, and again after other sets."""

import re

import numpy as np
import pytest
from conftest import ROOT

import train_cae
import train_classifier
import utils

EMOTIONS = ["AN", "DI", "FE", "HA", "NE", "SA", "SU"]


def drawn_faces(count, seed=0):
    """Smooth random faces with all emotions in turn, two subjects."""
    rng = np.random.default_rng(seed)
    images = np.kron(rng.integers(0, 256, (count, 8, 8)), np.ones((1, 6, 6))).astype(np.uint8)
    return {"images": images, "emotions": np.resize(EMOTIONS, count),
            "subjects": np.resize(np.repeat(["A", "B"], 7), count)}


def flat(weights):
    if isinstance(weights, dict):
        weights = [weight for name, weight in sorted(weights.items()) if name[0] == "w"]
    return np.concatenate([np.ravel(weight).astype(float) for weight in weights])


def assert_same_steps(ours, theirs, start):
    """Where a gradient is nearly 0, Adam's step is rounding over rounding: compare the whole."""
    ours, theirs, start = flat(ours), flat(theirs), flat(start)
    assert np.linalg.norm(ours - theirs) < 0.02 * np.linalg.norm(theirs - start)


LENET5 = {"emotions": EMOTIONS, "network": "lenet5", "augmentation": "", "batch": 4}


# ------------------------------------------------------------------------------------------ CAEs
def trained_cae(train, seed=(0, 0), epochs=2, validation_share=0.25):
    return train_cae.train_cae(train, latent=4, cae_epochs=epochs, batch=4, seed=list(seed),
                               validation_share=validation_share)


def test_parameter_counts_are_the_papers():
    assert train_cae.build_cae().count_params() == 784_353
    assert train_classifier.build_lenet5().count_params() == 61_451


def test_initial_weights_are_glorots_and_follow_the_seed():
    model = train_classifier.build_lenet5()
    draw = utils.initial_weights
    first, again, other = (draw(model, [0, 1, repeat]) for repeat in (0, 0, 1))
    assert all(map(np.array_equal, first, again))
    assert not np.array_equal(first[0], other[0]) and not first[1].any()
    limit = np.sqrt(6 / (120 + 84))  # of the dense layer 120 x 84: Glorot and Bengio 2010
    assert 0.98 * limit < np.abs(first[6]).max() <= limit and abs(first[6].mean()) < 0.05 * limit


def test_cae_steps_are_those_of_keras():
    """Six faces in two batches, the last two are validation."""

    train = drawn_faces(8)
    images = train["images"].reshape(-1, 48, 48, 1) / np.float32(255)
    ours = trained_cae(train, epochs=1)
    model = train_cae.build_cae(4)
    start = utils.initial_weights(model, [0, 0])
    model.compile("adam", "mse", jit_compile=False)
    model.set_weights(start)
    order = np.random.default_rng([0, 0, 0]).permutation(6)
    history = model.fit(images[order], images[order], batch_size=4, shuffle=False, verbose=0,
                        validation_data=(images[6:], images[6:])).history
    assert_same_steps(ours, model.get_weights(), start)
    assert ours["loss"] == pytest.approx(history["loss"], rel=1e-4)
    assert ours["validation_loss"] == pytest.approx(history["val_loss"], rel=1e-4)


def test_cae_is_the_same_after_other_trainings():
    train = drawn_faces(9)
    first = trained_cae(train)
    trained_cae(drawn_faces(14, seed=1), seed=(0, 1), validation_share=0)
    again, other = trained_cae(train), trained_cae(train, seed=(0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["w00"], other["w00"])
    assert first["loss"].shape == (2,) and first["loss"].dtype == np.float32


def test_pairs_are_of_one_known_subject():
    train = drawn_faces(28)  # A and B pose each emotion twice
    train["subjects"][:7] = ""
    rows = train_cae.same_subject_pairs(train["emotions"], train["subjects"], "AN", "HA")
    assert rows.tolist() == [[7, 10], [7, 24], [14, 17], [21, 10], [21, 24]]


@pytest.fixture(scope="module")
def cae():
    return trained_cae(drawn_faces(28), validation_share=0)


def tuned(train, cae, **settings):
    settings = {"pair_epochs": 2, "max_pairs": 100, **settings}
    return train_cae.train_pair(train, cae, source="AN", target="HA", latent=4, batch=4,
                                   seed=[0, 0], **settings)


def test_pair_cae_turns_faces_into_the_target(cae):
    train = drawn_faces(14)
    pair = tuned(train, cae, pair_epochs=120)
    model = train_cae.build_cae(4)
    model.set_weights([pair[f"w{k:02d}"] for k in range(20)])
    images = train["images"] / np.float32(255)
    outputs = model.predict(images[[0, 7], ..., np.newaxis], verbose=0)[..., 0]
    assert np.mean((outputs - images[[3, 10]]) ** 2) < 0.3 * images[[3, 10]].var()
    assert pair["w00"].dtype == np.float16 and pair["source"] == "AN" and pair["target"] == "HA"


def test_of_too_many_pairs_an_even_selection_is_trained_on(cae):
    train = drawn_faces(28)  # 8 pairs, from (0, 3) to (21, 24)
    first_and_last = {name: value[[0, 3, 21, 24]] for name, value in train.items()}
    assert np.array_equal(flat(tuned(train, cae, max_pairs=2)), flat(tuned(first_and_last, cae)))
    assert not np.array_equal(flat(tuned(train, cae, max_pairs=2)), flat(tuned(train, cae)))


# ----------------------------------------------------------------------------------- classifiers
def test_lenet5_is_the_model():
    rng = np.random.default_rng(3)
    faces = rng.random((5, 48, 48, 1), np.float32)
    model = train_classifier.build_lenet5()
    weights = [weight + rng.normal(0, 0.05, weight.shape).astype(np.float32)
               for weight in model.get_weights()]  # biases that are not 0
    model.set_weights(weights)
    tf = utils.tensorflow()
    images = tf.image.resize(faces, (32, 32))[..., 0]
    ours = tf.nn.softmax(train_classifier.lenet5_logits(weights, images))
    assert ours.numpy() == pytest.approx(model(faces).numpy(), abs=1e-5)


def test_classifier_learns_as_by_fit():
    """Same split, batches, steps, losses and early stop: two epochs and a validation loss."""
    from sklearn.model_selection import train_test_split

    train, rng = drawn_faces(30), np.random.default_rng(0)
    synthetic = {"images": rng.random((29, 48, 48, 1), np.float32),
                 "emotions": np.resize(EMOTIONS, 29)}
    ours = train_classifier.train_published(train, synthetic, **LENET5, classifier_epochs=2,
                                            patience=5, seed=[3])
    images = np.concatenate([train["images"][..., np.newaxis] / np.float32(255),
                             synthetic["images"]])
    labels = np.resize(np.arange(7), 30).tolist() + np.resize(np.arange(7), 29).tolist()
    labels = np.array(labels)
    rows, held_out = train_test_split(np.arange(59), test_size=0.25, random_state=42,
                                      stratify=labels)
    model = train_classifier.build_lenet5()
    start = utils.initial_weights(model, [3])
    model.set_weights(start)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"],
                  jit_compile=False)
    history = model.fit(images[rows], labels[rows], batch_size=4, epochs=2, shuffle=False,
                        validation_data=(images[held_out], labels[held_out]), verbose=0).history
    assert ours["history"][:, 0].tolist() == [11, 22]  # 44 faces
    for column, name in enumerate(("loss", "accuracy", "val_loss", "val_accuracy"), start=1):
        assert ours["history"][:, column] == pytest.approx(history[name], rel=1e-3)
    assert_same_steps(ours, model.get_weights(), start)


def test_early_stopping_and_longer_training():
    train = drawn_faces(56)
    settings = {**LENET5, "classifier_epochs": 80, "patience": 2, "seed": [0]}
    short = train_classifier.train_published(train, **settings)
    losses = short["history"][:, 3]
    assert len(losses) - 1 - losses.argmin() == 2 and len(losses) < 80
    longer = train_classifier.train_published(
        train, as_long_as={"history": np.array([[24.0] * 5])}, **settings)
    assert longer["history"][:, 0].tolist() == [11, 22, 24]
    shared = min(2, len(losses))
    assert np.array_equal(longer["history"][:shared], short["history"][:shared])


def test_validation_loss_is_keras_own_on_saturated_outputs():
    """With clipped probabilities it would be at most 16.1."""
    model, rng = train_classifier.build_lenet5(), np.random.default_rng(0)
    weights = [8 * weight for weight in utils.initial_weights(model, [0])]
    model.set_weights(weights)
    x, y = rng.random((70, 48, 48, 1)).astype(np.float32), rng.integers(0, 7, 70)
    loss, accuracy = train_classifier.measure(weights, "lenet5", 7, x, y)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    assert [loss, accuracy] == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-4)
    assert loss > 20


def train_steps(train, synthetic=None, **settings):
    settings = {**LENET5, "steps": 250, "keep": "last", "balance": "no", "seed": [0, 0, 0],
                **settings}
    return train_classifier.train_steps(train, synthetic, **settings)


def test_average_is_the_mean_of_the_second_half():
    train = drawn_faces(20)
    average = train_steps(train, keep="average")  # looks after 100, 200 and 250 steps
    assert average["history"][:, 0].tolist() == [100, 200, 250]
    state = train_classifier.fresh_state("lenet5", 7, [0, 0, 0])
    faces = train_classifier.training_set(
        *train_classifier.images_and_labels(train, None, EMOTIONS), "lenet5", 7, "")
    batches = train_classifier.mixed_rows(20, 20, 250, 4, [0, 0, 0])
    first, _, _ = train_classifier.take_steps(state, faces, batches[:200], None)
    second, _, _ = train_classifier.take_steps(first, faces, batches[200:], None)
    assert np.allclose(flat(average), (flat(first.weights) + flat(second.weights)) / 2, atol=1e-7)
    assert np.array_equal(flat(train_steps(train)), flat(second.weights))


@pytest.mark.parametrize("augmentation", ["", "geometric", "mixup"])
def test_classifier_is_the_same_after_other_trainings(augmentation):
    train, synthetic = drawn_faces(20), {"images": np.zeros((5, 48, 48, 1), np.float32),
                                         "emotions": np.resize(EMOTIONS, 5)}
    first = train_steps(train, augmentation=augmentation)
    train_steps(train, synthetic, augmentation=augmentation, seed=[0, 0, 1])
    again, other = (train_steps(train, augmentation=augmentation, seed=[0, 0, k]) for k in (0, 1))
    assert np.array_equal(flat(first), flat(again))
    assert np.array_equal(first["history"], again["history"])
    assert not np.array_equal(flat(first), flat(other))
    assert first["history"][-1, 1] < first["history"][0, 1]


@pytest.mark.parametrize("total, batch", [(40, 4), (6, 4), (40, 5)])
def test_every_second_face_is_real(total, batch):
    batches, again, other = (train_classifier.mixed_rows(6, total, 30, batch, [0, 0, repeat])
                             for repeat in (0, 0, 1))
    rows = batches.ravel()
    assert batches.shape == (30, batch) and rows.min() == 0 and rows.max() == total - 1
    real = rows < 6
    assert real.all() if total == 6 else (real == (np.arange(30 * batch) % 2 == 0)).all()
    assert sorted(rows[real][:6]) == list(range(6))  # each once before any comes again
    assert np.array_equal(batches, again) and not np.array_equal(batches, other)


# ----------------------------------------------------------------------------------- random maps
def mapped(image, flip=1, shift=(0, 0), turn=0.0, zoom=1.0):
    maps = train_classifier.affine_maps(np.array([flip]), np.array([shift]), np.array([turn]),
                                         np.array([zoom]), 32)
    images = np.stack([np.zeros_like(image), image])
    return train_classifier.warped(images, np.array([1]), maps, None, 32)[0][0].numpy()


def test_affine_maps_by_hand():
    import keras

    image = np.random.default_rng(0).random((48, 48), np.float32)
    plain = keras.layers.Resizing(32, 32)(image[np.newaxis, ..., np.newaxis])[0, ..., 0].numpy()
    assert mapped(image) == pytest.approx(plain, abs=1e-6)
    assert mapped(image, flip=-1) == pytest.approx(plain[:, ::-1], abs=1e-6)
    assert mapped(image, turn=np.pi / 2) == pytest.approx(np.rot90(plain), abs=1e-4)
    assert mapped(image, turn=np.pi / 2, flip=-1) == pytest.approx(
        np.rot90(plain[:, ::-1]), abs=1e-4)
    down = mapped(image, shift=(3, -6))  # 2 rows of 32 down, 4 columns to the left
    assert down[2:, :-4] == pytest.approx(plain[:-2, 4:], abs=1e-6)
    assert down[0, 0] == pytest.approx((image[0, 6:8] * [0.75, 0.25]).sum(), abs=1e-6)  # the edge
    ramp = np.tile(np.arange(48, dtype=np.float32), (48, 1))
    half = mapped(ramp, zoom=2.0)[0]  # the middle half of the columns
    assert half[[0, 1, -1]] == pytest.approx([11.875, 12.625, 35.125])


def test_random_maps_have_the_declared_ranges():
    maps = train_classifier.random_maps(500, 4, np.random.default_rng(0), 32).reshape(-1, 2, 3)
    maps = maps.astype(float)
    back = maps[:, :, :2] / 1.5
    determinants = np.linalg.det(back)
    assert 0.45 < np.mean(determinants < 0) < 0.55  # flipped
    zooms = np.abs(determinants) ** -0.5
    assert 0.94 <= zooms.min() < 0.945 and 1.055 < zooms.max() <= 1.061
    turns = np.degrees(np.arctan2(back[:, 0, 1], back[:, 0, 0]))
    assert 6.9 < np.abs(turns).max() <= 7.001
    middles = maps @ [15.5, 15.5, 1] - 23.5  # where the middle is sampled: the shift, turned back
    moved = np.linalg.norm(middles, axis=1) * zooms
    assert 0.05 * 48 < moved.max() <= 0.0501 * 48 * 2**0.5


def test_mixup_by_hand():
    """A face is mixed with another one of its batch, and the loss is that of both labels."""
    draws = train_classifier.random_partners(500, 4, np.random.default_rng(0), 32)
    partners, shares = draws[..., 0], draws[..., 1]
    assert np.array_equal(np.sort(partners, axis=1), np.tile(np.arange(4), (500, 1)))
    assert 0 <= shares.min() < 0.01 and 0.99 < shares.max() <= 1 and abs(shares.mean() - 0.5) < 0.02
    # With all weights 0 but the last biases, every face has the same probabilities.
    train = drawn_faces(14)
    faces = train_classifier.training_set(
        *train_classifier.images_and_labels(train, None, EMOTIONS), "lenet5", 7, "mixup")
    state = train_classifier.fresh_state("lenet5", 7, [0])
    weights = [np.zeros_like(weight) for weight in state.weights]
    weights[-1] = np.arange(7, dtype=np.float32)
    rng = np.random.default_rng(3)
    _, loss, _ = train_classifier.take_steps(state._replace(weights=weights), faces,
                                             np.array([[0, 1, 2, -1]], np.int32), rng)
    partner, share = train_classifier.random_partners(
        train_classifier.STEPS_PER_CALL, 4, np.random.default_rng(3), 32)[0].T
    partner = [int(place) if place < 3 else row for row, place in enumerate(partner)]
    costs = np.log(np.exp(np.arange(7)).sum()) - np.arange(7)
    expected = [share[row] * costs[row] + (1 - share[row]) * costs[partner[row]]
                for row in range(3)]
    assert loss == pytest.approx(np.mean(expected), rel=1e-5)


# --------------------------------------------------------------------------- a network of one's own
def test_a_network_of_ones_own(monkeypatch):
    """That of the comment above NETWORKS, with batch normalisation and dropout: the same twice, and
    what Keras makes of its weights is what was measured."""
    code = re.search("(?s)#     def build_small.*?(?=NETWORKS = )",
                     (ROOT / "train_classifier.py").read_text())[0]
    monkeypatch.setattr(train_classifier, "NETWORKS", dict(train_classifier.NETWORKS))
    code = re.sub("(?m)^#( {5})?", "", code)
    assert code.strip() in (ROOT / "README.md").read_text()
    exec(code, vars(train_classifier))
    train = drawn_faces(56)
    settings = {**LENET5, "network": "small", "seed": [0]}
    first, again = (train_classifier.train_published(
        train, **settings, classifier_epochs=3, patience=0) for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert first["history"][:, 0].tolist() == [11, 22, 33]
    weights = [first[name] for name in sorted(first) if name != "history"]
    assert not np.allclose(weights[4], 0)  # the moving mean of batch normalisation
    images, labels = train_classifier.images_and_labels(train, None, EMOTIONS)
    _, held_out = train_classifier.published_split(labels)
    model = train_classifier.NETWORKS["small"].build(7)
    model.set_weights(weights)
    right = model.predict(images[held_out], verbose=0).argmax(1) == labels[held_out]
    assert right.mean() == pytest.approx(first["history"][-1, 4], abs=1e-6)
    faces = train_classifier.training_set(images, labels, "small", 7, "")
    state = train_classifier.fresh_state("small", 7, [0])
    three, filled = (train_classifier.take_steps(state, faces, np.int32([rows]), None)[0]
                     for rows in ([4, 5, 6], [4, 5, 6, -1]))  # no face changes no moving mean
    assert all(map(np.array_equal, three.others, filled.others))
    for augmentation in train_classifier.AUGMENTATIONS:
        average = train_classifier.train_steps(train, **{
            **settings, "augmentation": augmentation}, steps=150, keep="average", balance="no")
        assert average["history"][:, 0].tolist() == [100, 150]
