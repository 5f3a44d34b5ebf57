"""The paper, to the last number: what PROTOCOL and publication state, on faces with JAFFE's names and counts."""

import numpy as np
import pytest

import augment
import evaluate
import train_cae
import train_classifier
import utils

EMOTIONS = list(utils.EMOTIONS)


@pytest.fixture(scope="module")
def faces(stand_in):
    return utils.load_faces(stand_in).faces


@pytest.fixture(scope="module")
def train(faces):
    return faces.take(utils.make_split(faces, "published", 0, 0, 1).train)


@pytest.fixture(scope="module")
def cae():
    """An untrained autoencoder, its weights enlarged until its faces have the contrast of trained ones."""
    model = train_cae.build_cae()
    model.set_weights([2.3 * weights for weights in utils.initial_weights(train_cae.build_cae, (32,), 1)])
    return model


def stored(cae):
    return "cae.keras", utils.model_file(train_cae.build_cae, (32,), cae.get_weights())


def counts(codes):
    return [int((np.asarray(codes) == emotion).sum()) for emotion in EMOTIONS]


def test_parameter_counts():
    encoder, decoder = train_cae.build_cae().layers
    assert (encoder.count_params(), decoder.count_params()) == (387_616, 396_737)
    assert train_cae.build_cae().count_params() == 784_353
    assert train_classifier.build_lenet5().count_params() == 61_451


@pytest.mark.parametrize("build, argument", [(train_cae.build_cae, 32), (train_classifier.build_lenet5, 7)])
def test_initial_weights_are_those_of_keras(build, argument):
    import keras

    for seed in (0, 7):
        keras.utils.set_random_seed(seed)
        theirs = build(argument).get_weights()
        ours = utils.initial_weights(build, (argument,), seed)
        assert len(ours) == len(theirs) and all(np.array_equal(a, b) for a, b in zip(ours, theirs))


def test_split(faces):
    split = utils.make_split(faces, "published", 3, 17, 5)  # neither run nor seed moves it
    assert (len(split.train), len(split.validation), len(split.test)) == (170, 0, 43)
    assert counts(faces.emotions[split.train]) == [24, 23, 25, 25, 24, 25, 24]
    assert counts(faces.emotions[split.test]) == [6, 6, 7, 6, 6, 6, 6]
    assert not set(split.train) & set(split.test)
    first = utils.make_split(faces, "published", 0, 0, 1)
    assert all(np.array_equal(a, b) for a, b in zip(first, split))


def test_autoencoder_validates_on_the_last_quarter(train):
    fitted, held_out = train_cae.cae_faces({"protocol": "published"}, train, None)
    assert np.array_equal(fitted, train.images[:127]) and np.array_equal(held_out, train.images[127:])


def test_validation_is_drawn_after_augmentation(train):
    pairs = augment.same_emotion_pairs(train.emotions, 10_000, [0, 0])
    assert [int((train.emotions[pairs[:, 0]] == emotion).sum()) for emotion in EMOTIONS] == [276, 253, 300, 300, 276, 300, 276]
    for codes, sizes in ((train.emotions, (127, 43)), (np.concatenate([train.emotions, train.emotions[pairs[:, 0]]]), (1613, 538))):
        fitted, held_out = train_classifier.published_split(codes)
        assert (len(fitted), len(held_out)) == sizes and not set(fitted) & set(held_out)


def test_synthetic_faces_have_every_pair_once_and_its_label(faces, train):
    made = augment.augment("interpolate", train, 32, stored(train_cae.build_cae()), {}, (0.5, 0.5), [0, 0], 10_000)
    assert made.images.shape == (1981, 48, 48, 1)
    by_hand = [(a, b) for emotion in EMOTIONS for a in range(170) for b in range(a + 1, 170)
               if train.emotions[a] == train.emotions[b] == emotion]
    assert list(map(tuple, made.parents.tolist())) == by_hand
    assert np.array_equal(made.emotions, train.emotions[made.parents[:, 0]])
    assert (made.weights == 0.5).all()
    test = set(faces.names[utils.make_split(faces, "published", 0, 0, 1).test])
    assert not test & set(train.names[made.parents].ravel())


def test_theta_one_gives_back_the_decoded_first_parent(train, cae):
    made = augment.augment("interpolate", train, 32, stored(cae), {}, (1.0, 1.0), [0, 0], 10_000)
    decoded = utils.in_chunks(cae, train.images)
    assert decoded.std() > 0.01
    assert np.allclose(made.images, decoded[made.parents[:, 0]], atol=1e-5)
    assert not np.allclose(made.images, decoded[made.parents[:, 1]], atol=1e-3)


def test_interpolation_is_between_latents_and_not_between_pixels(train, cae):
    encoder, decoder = cae.layers
    made = augment.augment("interpolate", train, 32, stored(cae), {}, (0.3, 0.3), [0, 0], 10_000)
    a, b = made.parents[777]
    z = np.asarray(encoder(train.images[[a, b]]))
    assert np.allclose(made.images[777], decoder(0.3 * z[:1] + 0.7 * z[1:])[0], atol=1e-5)


@pytest.mark.parametrize("n", [1, 43, 65])  # 64 at a time, in two parts: neither may be empty
def test_any_number_of_validation_faces(n, train, cae):
    model, _, _, validate = utils.compiled(train_cae.build_cae, (32,), "mse", 2)
    model.set_weights(cae.get_weights())
    images = train.images[:n]
    losses, decoded = utils.in_chunks(validate, images, images)
    assert decoded.shape == images.shape and np.allclose(decoded, cae(images), atol=1e-5)
    assert np.allclose(losses, ((decoded - images) ** 2).mean((1, 2, 3)), rtol=1e-4)


def test_metrics_of_the_published_confusion_matrices():
    baseline = [[4, 0, 0, 0, 0, 2, 0], [0, 2, 0, 0, 1, 3, 0], [0, 0, 3, 0, 1, 2, 1], [0, 0, 0, 6, 0, 0, 0],
                [0, 0, 0, 2, 3, 0, 1], [0, 0, 0, 1, 0, 5, 0], [0, 0, 0, 0, 1, 0, 5]]
    augmented = [[6, 0, 0, 0, 0, 0, 0], [1, 5, 0, 0, 0, 0, 0], [0, 0, 5, 0, 0, 1, 1], [0, 0, 0, 6, 0, 0, 0],
                 [0, 0, 0, 0, 6, 0, 0], [0, 0, 1, 1, 0, 4, 0], [0, 0, 0, 0, 1, 0, 5]]
    assert evaluate.scores(baseline)[0]["accuracy"] == pytest.approx(0.6512, abs=5e-5)
    found = evaluate.scores(augmented)[0]
    assert {key: round(float(value), 4) for key, value in found.items()} == \
        {"accuracy": 0.8605, "macro_recall": 0.8639, "macro_precision": 0.8626, "macro_f1": 0.8583}
    assert evaluate.PAPER["gain_points"] == pytest.approx(20.93, abs=0.005)
