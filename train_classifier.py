"""Stage 3 of 4: train the CNN classifier (LeNet-5) once per arm, without and with synthetic faces.

    python train_classifier.py [EXPERIMENT]                          the protocol's arms
    python train_classifier.py [EXPERIMENT] --arms translate,linear  none and these
    python train_classifier.py [EXPERIMENT] --arms all               all that augment.py allows

An arm is none, a method or control of augment.py, or one of these with an augmentation that is
drawn anew for each batch: geometric, mixup, translate+geometric and so on.

published, cv: the paper's training. Up to 80 epochs in one fixed order, stopped once the loss has
not fallen for 5 epochs on 25 % of the training set, which is drawn after augmentation. An epoch
with synthetic faces is many times as long, so that five epochs of patience are many more steps. A
control of a method therefore takes as many optimiser steps as the method's classifier of the same
run and repeat took, and so does longer-translate, which is none trained for as long as translate.
In all other protocols nothing is selected: every arm takes the same number of optimiser steps and
keeps the mean of its weights over the second half of them. Where there are synthetic faces, they
make half of each batch, so none sees each real face twice as often.

The repeats of a run differ in initialisation; all arms of one start from the same weights. It
leaves run-NN/classifier-<arm>-<repeat>.npz: weights and learning curve. Seconds per classifier.
"""

import argparse
import functools
import itertools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import utils
from augment import METHODS, synthetic_of
from data.experiment import open_experiment
from data.faces import SIDE, as_input
from utils import Job, Problem

LENET_SIDE = 32  # the side of what LeNet-5 sees
STEPS_PER_CALL = 100  # optimiser steps in one call of the compiled program


# ---------------------------------------------------------------------------------- the networks
def build_lenet5(classes=7):
    """LeNet-5 as the paper has it: faces (n, 48, 48, 1) to probabilities (n, classes)."""
    utils.tensorflow()
    from keras import Sequential, layers

    model = Sequential([
        layers.Input((SIDE, SIDE, 1)),
        layers.Resizing(LENET_SIDE, LENET_SIDE),  # bilinear
        layers.Conv2D(6, 5, activation="relu"),
        layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation="relu"),
        layers.AveragePooling2D(2),
        layers.Conv2D(120, 5, activation="relu"),
        layers.Flatten(),
        layers.Dense(84, activation="relu"),
        layers.Dense(classes, activation="softmax"),
    ])
    if classes == 7:  # what the paper's layers add up to
        assert model.count_params() == 61_451
    return model


def lenet5_logits(weights, images):
    """`build_lenet5` once more, as a function: logits (n, classes) of images (n, 32, 32).

    It is written out because a training step takes 0.37 of the time of Keras' layers this way: XLA
    compiles matrix products for one core well, convolutions badly. weights: in the order of Keras'
    `get_weights`. The axes are (channels, n, height, width): a row of a convolution's product is
    then as long as it can be.
    """
    tf = utils.tensorflow()
    kernel1, bias1, kernel2, bias2, kernel3, bias3, dense1, bias4, dense2, bias5 = weights
    x = images[tf.newaxis]
    x = average_pool(convolution(x, kernel1, bias1))
    x = average_pool(convolution(x, kernel2, bias2))
    # What is left, 5 x 5 pixels, is as large as the third kernel, which thus is a dense layer.
    x = tf.reshape(tf.transpose(x, (1, 2, 3, 0)), (-1, 5 * 5 * 16))
    x = tf.nn.relu(x @ tf.reshape(kernel3, (5 * 5 * 16, 120)) + bias3)
    x = tf.nn.relu(x @ dense1 + bias4)
    return x @ dense2 + bias5


def convolution(x, kernel, bias):
    """A 5 x 5 convolution without padding and its ReLU: (channels, n, height, width) to (filters,
    n, height - 4, width - 4)."""
    tf = utils.tensorflow()
    channels, n, height, width = x.shape
    height, width, filters = height - 4, width - 4, kernel.shape[-1]
    # 25 shifted copies, as channels: the five shifts along the columns of five along the rows.
    x = tf.concat([x[:, :, i:i + height] for i in range(5)], axis=0)
    x = tf.concat([x[:, :, :, j:j + width] for j in range(5)], axis=0)
    matrix = tf.reshape(tf.transpose(kernel, (3, 1, 0, 2)), (filters, 25 * channels))
    sums = matrix @ tf.reshape(x, (25 * channels, n * height * width))
    sums = tf.reshape(sums, (filters, n, height, width))
    return tf.nn.relu(sums + tf.reshape(bias, (filters, 1, 1, 1)))


def average_pool(x):
    """The means of 2 x 2 pixels that do not overlap."""
    x = x[:, :, 0::2] + x[:, :, 1::2]
    return (x[:, :, :, 0::2] + x[:, :, :, 1::2]) / 4


class Network(NamedTuple):
    build: Callable  # (number of classes) -> Keras model, faces (n, 48, 48, 1) to probabilities
    logits: Callable = None  # the same network as (weights, images) -> logits, where it is faster
    side: int = SIDE  # of the images that `logits` takes, scaled as by Keras' `Resizing`


# A network of your own is a function that returns a Keras model, and a row; `python train_cae.py
# --network small` begins an experiment with it. Its weights of two or more axes are drawn by Glorot
# and Bengio's rule, the others begin as Keras has them. Regularisers are not used.
#
#     def build_small(classes):
#         utils.tensorflow()
#         from keras import Sequential, layers
#
#         return Sequential([layers.Input((SIDE, SIDE, 1)),
#                            layers.Conv2D(16, 5, strides=2, activation="relu"),
#                            layers.BatchNormalization(), layers.GlobalAveragePooling2D(),
#                            layers.Dropout(0.2), layers.Dense(classes, activation="softmax")])
#
#     NETWORKS["small"] = Network(build_small)
NETWORKS = {"lenet5": Network(build_lenet5, lenet5_logits, LENET_SIDE)}


# ---------------------------------------------------------------------------------- the training
def train_published(train, synthetic=None, as_long_as=None, *, emotions, network, augmentation,
                    classifier_epochs, patience, batch, seed):
    """Train a classifier as the paper does.

    25 % of all faces are validation, drawn after augmentation. The other ones are gone through in
    one fixed order each epoch, until the validation loss has not fallen for `patience` epochs. The
    last weights are kept, not the best.

    Parameters
    ----------
    train : dict
        Real faces: "images" uint8 (m, 48, 48), "emotions" str (m,).
    synthetic : dict, optional
        Synthetic faces, which follow the real ones: "images" float32 (k, 48, 48, 1), never below
        0 but possibly above 1, "emotions" str (k,).
    as_long_as : dict, optional
        What this function returned for another arm: instead of being stopped, this one takes as
        many optimiser steps. The last epoch may be cut short.
    emotions : list of str
        All emotions, sorted: output e is the probability of emotions[e].
    network : str
        A row of NETWORKS.
    augmentation : str
        A row of AUGMENTATIONS, drawn anew for each batch, or "".
    classifier_epochs, patience, batch : int
        At most so many epochs; patience, 0 for never to stop; faces in a batch.
    seed : list of int
        Of initial weights and augmentation.

    Returns
    -------
    dict
        "w00", "w01" ...: the weights in the order of Keras' `get_weights`. "history": float32
        (epochs taken, 5): optimiser steps so far, loss and accuracy in training, while the weights
        changed; validation loss and accuracy.
    """
    images, labels = images_and_labels(train, synthetic, emotions)
    rows, held_out = published_split(labels)
    faces = training_set(images, labels, network, len(emotions), augmentation)
    validation = images[held_out], labels[held_out]
    state = fresh_state(network, len(emotions), seed)
    rng = np.random.default_rng([*seed, 2])  # of the augmentation; another one orders the rows
    batches, history = rows_in_batches(rows, batch), []
    steps = classifier_epochs * len(batches)
    if as_long_as is not None:
        steps, patience = int(as_long_as["history"][-1, 0]), 0
    while state.steps < steps:  # an epoch each, not reshuffled, as the paper
        state, loss, accuracy = take_steps(state, faces, batches[:steps - state.steps], rng)
        weights = weights_in_order(state, network, len(emotions))
        history.append((state.steps, loss, accuracy,
                        *measure(weights, network, len(emotions), *validation)))
        epochs_since_best = len(history) - 1 - np.argmin([row[3] for row in history])
        if patience and epochs_since_best >= patience:
            break
    return {**utils.named_weights(weights), "history": np.float32(history)}


def train_steps(train, synthetic=None, *, emotions, network, augmentation, steps, keep, balance,
                batch, seed):
    """Train a classifier for a fixed number of optimiser steps; half of each batch are real faces.

    Parameters
    ----------
    train, synthetic, emotions, network, augmentation, batch, seed
        As for `train_published`.
    steps : int
        Optimiser steps.
    keep : {"average", "last"}
        The weights to keep: the mean of those after every hundred steps (and after the last one)
        of the second half (Izmailov et al. 2018, arXiv 1803.05407), or the last ones.
    balance : {"no", "yes"}
        yes: the synthetic faces bring each emotion to the number of the most frequent one, and are
        drawn as often as real faces, instead of making half a batch.

    Returns
    -------
    dict
        "w00", "w01" ... as from `train_published`. "history": float32 (checkpoints, 3): optimiser
        steps so far, and the loss and accuracy in the hundred steps before.
    """
    images, labels = images_and_labels(train, synthetic, emotions)
    faces = training_set(images, labels, network, len(emotions), augmentation)
    real = len(images) if balance == "yes" else len(train["images"])
    batches = mixed_rows(real, len(images), steps, batch, seed)
    state = fresh_state(network, len(emotions), seed)
    rng = np.random.default_rng([*seed, 2])  # of the augmentation; another one orders the rows
    history, kept = [], []
    for first in range(0, steps, STEPS_PER_CALL):
        state, loss, accuracy = take_steps(state, faces, batches[first:first + STEPS_PER_CALL], rng)
        history.append((state.steps, loss, accuracy))
        if 2 * state.steps > steps:
            kept.append(weights_in_order(state, network, len(emotions)))
    if keep == "last":
        kept = kept[-1:]
    weights = [np.mean(checkpoints, axis=0, dtype=float).astype(np.float32)
               for checkpoints in zip(*kept)]
    return {**utils.named_weights(weights), "history": np.float32(history)}


def mixed_rows(real, total, steps, batch, seed):
    """int32 (steps, batch): batches of which every second face is one of the first `real` rows, the
    others of the rows up to `total`; all are of the former where there are no others. Both kinds
    are used up in a random order before any row comes again."""
    rng, rows = np.random.default_rng([*seed, 1]), np.empty(steps * batch, np.int32)
    parts = [part for part in (np.arange(real), np.arange(real, total)) if len(part)]
    for first, part in enumerate(parts):
        places = np.arange(first, steps * batch, len(parts))
        rounds = [rng.permutation(part) for _ in range(math.ceil(len(places) / len(part)))]
        rows[places] = np.concatenate(rounds)[:len(places)]
    return rows.reshape(steps, batch)


def rows_in_batches(rows, batch):
    """int32 (steps, batch): the rows in their order; -1 fills up the last, shorter batch."""
    missing = -len(rows) % batch
    return np.pad(rows, (0, missing), constant_values=-1).astype(np.int32).reshape(-1, batch)


# ------------------------------------------------------------------------------------- the faces
class TrainingSet(NamedTuple):
    """All faces of an arm, of which batches take rows; padded to a multiple of 4,096, since XLA
    compiles a program for every size."""

    images: object  # float32 (at least n, side, side): side as the network or augmentation has it
    labels: object  # int32 (at least n,)
    network: str
    classes: int
    augmentation: str


def images_and_labels(train, synthetic, emotions):
    """float32 (n, 48, 48, 1), int32 (n,): the real faces first, the synthetic ones after."""
    images, names = as_input(train["images"]), train["emotions"]
    if synthetic is not None:
        images = np.concatenate([images, synthetic["images"]])
        names = np.concatenate([names, synthetic["emotions"]])
    return images, np.searchsorted(emotions, names).astype(np.int32)


def training_set(images, labels, network, classes, augmentation):
    """The `TrainingSet` of what `images_and_labels` returns."""
    tf = utils.tensorflow()
    side = NETWORKS[network].side
    if side != SIDE and not AUGMENTATIONS.get(augmentation, NO_AUGMENTATION).of_full_size:
        # Resized once, not in each step.
        images = tf.image.resize(images, (side, side)).numpy()
    missing = -len(images) % 4096
    images = np.pad(images[..., 0], ((0, missing), (0, 0), (0, 0)))
    return TrainingSet(tf.constant(images), tf.constant(np.pad(labels, (0, missing))), network,
                       classes, augmentation)


def published_split(labels):
    """Rows (training, validation): 25 % of all faces, drawn after augmentation as the paper has
    it."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    return train_test_split(rows, test_size=0.25, random_state=42, stratify=labels)


# ----------------------------------------------------------------- augmentation anew in each batch
def random_maps(steps, batch, rng, side):
    """float32 (steps, batch, 2, 3): affine maps that flip a face left to right (or not), turn it by
    up to 7 degrees and zoom it by up to 6 % about its middle, and shift it by up to 5 % of its
    side.

    map @ (i, j, 1) is the place (row, column) in the face of 48 x 48 pixels at which pixel (i, j)
    of the network's side x side is sampled.
    """
    count = steps * batch
    flips = np.where(rng.random(count) < 0.5, -1, 1)
    shifts = rng.uniform(-0.05, 0.05, (count, 2)) * SIDE
    turns, zooms = np.radians(rng.uniform(-7, 7, count)), 1 + rng.uniform(-0.06, 0.06, count)
    return affine_maps(flips, shifts, turns, zooms, side).reshape(steps, batch, 2, 3)


def affine_maps(flips, shifts, turns, zooms, side):
    """(n, 2, 3): the maps of `random_maps` for given flips (-1 or 1), shifts (n, 2) in pixels of
    48, turns in radians, zooms as factors."""
    rotations = np.array([[np.cos(turns), np.sin(turns)], [-np.sin(turns), np.cos(turns)]])
    back = np.moveaxis(rotations / zooms, -1, 0)  # from a place in the new face to the old one
    back[:, 1] *= flips[:, np.newaxis]
    # Pixel i of 32 has its middle where pixel 1.5 i + 0.25 of 48 has it: that is `Resizing`.
    scale, middle = SIDE / side, (SIDE - 1) / 2
    corner = (scale - 1) / 2 - middle - shifts
    offsets = middle + np.einsum("nij,nj->ni", back, corner)
    return np.concatenate([scale * back, offsets[..., np.newaxis]], axis=2).astype(np.float32)


def warped(images, rows, maps, mask, side):
    """float32 (n, side, side): images[rows] under the maps of `random_maps`, bilinear; beyond the
    edge its pixels are repeated."""
    tf = utils.tensorflow()
    i, j = np.indices((side, side)).reshape(2, -1)
    grid = np.stack([i, j, np.ones_like(i)]).astype(np.float32)  # (3, side * side)
    places = tf.clip_by_value(maps @ grid, 0, SIDE - 1)  # (n, 2, side * side)
    low = tf.minimum(tf.cast(places, tf.int32), SIDE - 2)
    above, left = tf.unstack(places - tf.cast(low, tf.float32), axis=1)
    first = (rows[:, tf.newaxis] * SIDE + low[:, 0]) * SIDE + low[:, 1]  # in the flat images
    pixels = tf.reshape(images, [-1])
    upper = tf.gather(pixels, first) * (1 - left) + tf.gather(pixels, first + 1) * left
    first += SIDE
    lower = tf.gather(pixels, first) * (1 - left) + tf.gather(pixels, first + 1) * left
    return tf.reshape(upper * (1 - above) + lower * above, (-1, side, side)), None


def random_partners(steps, batch, rng, side):
    """float32 (steps, batch, 2): for each face a place in its batch, perhaps its own, and the
    share, 0 to 1, that is left of the face itself once the face there is mixed in: mixup with alpha
    1, whose shares are uniform (Zhang et al., ICLR 2018, arXiv 1710.09412)."""
    partners = rng.permuted(np.tile(np.arange(batch), (steps, 1)), axis=1)
    return np.stack([partners, rng.random((steps, batch))], axis=2).astype(np.float32)


def mixed(images, rows, draws, mask, side):
    """mixup: share times each face plus 1 - share times its partner, the face at the place in the
    batch that `random_partners` drew. A face whose partner is no face, mask 0, stays as it is."""
    tf = utils.tensorflow()
    inputs, own, shares = tf.gather(images, rows), tf.range(tf.size(mask)), draws[:, 1]
    places = tf.cast(draws[:, 0], tf.int32)
    inside = tf.minimum(places, tf.size(mask) - 1)
    places = tf.where((places == inside) & (tf.gather(mask, inside) > 0), places, own)
    partners = tf.gather(inputs, places)
    mix = partners + shares[:, tf.newaxis, tf.newaxis] * (inputs - partners)
    return mix, (places, shares)


def as_they_are(images, rows, draws, mask, side):
    return utils.tensorflow().gather(images, rows), None


class Augmentation(NamedTuple):
    draw: Callable  # (steps, batch, rng, side) -> random numbers (steps, batch, ...)
    # (images, rows, draws of the batch, mask, side) -> float32 (n, side, side), and None or the
    # (places, shares) in the batch of faces that were mixed in, whose labels then count too. mask
    # is 0 for no face; side is that of the network's images.
    apply: Callable
    of_full_size: bool = False  # whether `images` are of 48 x 48 pixels, else as the network's


# One of your own is two functions and a row: the arms NAME, translate+NAME and so on follow.
NO_AUGMENTATION = Augmentation(lambda steps, batch, rng, side: None, as_they_are)
AUGMENTATIONS = {"geometric": Augmentation(random_maps, warped, of_full_size=True),
                 "mixup": Augmentation(random_partners, mixed)}


# ------------------------------------------------------------------------------------- the steps
class State(NamedTuple):
    """All that changes in a training."""

    weights: list  # those that the optimiser changes
    means: list  # Adam's, of the gradients
    squares: list  # and of their squares
    others: list  # what the network changes itself: moving averages, seeds of dropout
    steps: int


def fresh_state(network, classes, seed):
    """The `State` before the first step, of a network built anew."""
    model = NETWORKS[network].build(classes)
    drawn = utils.initial_weights(model, seed)
    values = {id(variable): value for variable, value in zip(model.weights, drawn)}
    rng = np.random.default_rng([*seed, 5])
    others = [values[id(variable)] if id(variable) in values
              else rng.integers(2**31, size=variable.shape).astype(variable.dtype)  # dropout's seed
              for variable in model.non_trainable_variables]
    weights = [values[id(variable)] for variable in model.trainable_variables]
    return State(weights, [np.zeros_like(weight) for weight in weights],
                 [np.zeros_like(weight) for weight in weights], others, 0)


def weights_in_order(state, network, classes):
    """A state's weights in the order of Keras' `get_weights`."""
    model = keras_model(network, classes)
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    values = {id(variable): value for variable, value in zip(variables,
                                                             state.weights + state.others)}
    return [np.asarray(values[id(variable)]) for variable in model.weights]


def take_steps(state, faces, batches, rng):
    """Take an optimiser step for each batch: the new `State`, mean loss and accuracy.

    batches: int32 (steps, batch), rows of the `TrainingSet`, -1 for none. rng: of its augmentation.
    """
    tf = utils.tensorflow()
    steps, batch = batches.shape
    network, classes, augmentation = faces.network, faces.classes, faces.augmentation
    program, loss, hits = compiled_steps(network, classes, augmentation), 0.0, 0.0
    for first in range(0, steps, STEPS_PER_CALL):
        rows = batches[first:first + STEPS_PER_CALL]
        count = len(rows)
        # Always as many batches, so that one program serves; it stops after `count` of them.
        rows = np.pad(rows, ((0, STEPS_PER_CALL - count), (0, 0)))
        draws = AUGMENTATIONS.get(augmentation, NO_AUGMENTATION).draw(
            STEPS_PER_CALL, batch, rng, NETWORKS[network].side)
        *changed, loss_sum, hits_sum = program(
            state.weights, state.means, state.squares, state.others, tf.constant(state.steps),
            faces.images, faces.labels, rows, draws, tf.constant(count))
        state = State(*changed, state.steps + count)
        loss, hits = loss + float(loss_sum), hits + float(hits_sum)
    seen = np.count_nonzero(batches >= 0)
    return state, loss / seen, hits / seen


@functools.cache
def compiled_steps(network, classes, augmentation):
    """The program of `take_steps`: it is compiled once for each shape of its arguments, by XLA
    where the network has a form for it."""
    tf = utils.tensorflow()
    row, augment = NETWORKS[network], AUGMENTATIONS.get(augmentation, NO_AUGMENTATION)

    def logits_of(weights, others, images):
        """Logits (n, classes), and what the network changed itself."""
        if row.logits:
            return row.logits(weights, images), others
        probabilities, others = keras_model(network, classes).stateless_call(
            weights, others, images[..., tf.newaxis], training=True)
        return tf.math.log(tf.maximum(probabilities, 1e-7)), others

    @tf.function(jit_compile=bool(row.logits) and utils.xla_works())
    def program(weights, means, squares, others, steps, images, labels, batches, draws, count):
        def step(number, weights, means, squares, others, loss, hits):
            rows, draw = batches[number], None if draws is None else draws[number]
            if not row.logits:  # Keras' layers may compute with all of a batch
                faces = rows >= 0
                rows = tf.boolean_mask(rows, faces)
                draw = None if draw is None else tf.boolean_mask(draw, faces)
            mask = tf.cast(rows >= 0, tf.float32)  # 0 for a row of -1: no face
            rows = tf.maximum(rows, 0)
            inputs, mixed_in = augment.apply(images, rows, draw, mask, row.side)
            targets = tf.gather(labels, rows)
            with tf.GradientTape() as tape:
                tape.watch(weights)
                logits, others = logits_of(weights, others, inputs)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
                if mixed_in:
                    places, share = mixed_in
                    losses = share * losses + (1 - share) * \
                        tf.nn.sparse_softmax_cross_entropy_with_logits(
                            tf.gather(targets, places), logits)
                losses = mask * losses
                batch_loss = tf.reduce_sum(losses) / tf.reduce_sum(mask)
            gradients = tape.gradient(batch_loss, weights)
            updated = adam(weights, means, squares, gradients, steps + number + 1)
            # Of faces that were mixed the own label counts.
            right = mask * tf.cast(tf.argmax(logits, 1, tf.int32) == targets, tf.float32)
            return number + 1, *updated, others, loss + tf.reduce_sum(losses), \
                hits + tf.reduce_sum(right)

        start = (0, weights, means, squares, others, 0.0, 0.0)
        return tf.while_loop(lambda number, *_: number < count, step, start)[1:]

    return program


def adam(weights, means, squares, gradients, step):
    """The step number `step`, from 1, of Adam (Kingma and Ba 2015) with Keras' defaults."""
    tf = utils.tensorflow()
    step = tf.cast(step, tf.float32)
    rate = 0.001 * tf.sqrt(1 - 0.999 ** step) / (1 - 0.9 ** step)
    means = [m + 0.1 * (g - m) for m, g in zip(means, gradients)]
    squares = [s + 0.001 * (g * g - s) for s, g in zip(squares, gradients)]
    weights = [w - rate * m / (tf.sqrt(s) + 1e-7) for w, m, s in zip(weights, means, squares)]
    return weights, means, squares


@functools.cache
def keras_model(network, classes):
    """The one Keras model of this process of a network with so many classes."""
    model = NETWORKS[network].build(classes)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


def measure(weights, network, classes, images, labels):
    """(mean cross-entropy in nats, accuracy) on faces."""
    model = keras_model(network, classes)
    model.set_weights(weights)
    model.reset_metrics()
    for first in range(0, len(images), 512):  # Keras keeps the mean over all parts
        loss, accuracy = model.test_on_batch(images[first:first + 512], labels[first:first + 512])
    return float(loss), float(accuracy)


# ------------------------------------------------------------------------------------------- arms
class Arm(NamedTuple):
    """What a classifier is trained on, as its name says."""

    method: str  # of the synthetic faces; "" for none
    augmentation: str  # a row of AUGMENTATIONS, drawn anew for each batch; "" for none
    as_long_as: str  # the arm whose optimiser steps it takes in the paper's training; "" for none


def read_arm(name):
    """The `Arm` of a name such as none, translate, translate+geometric or longer-translate.

    Raises ValueError for any other name.
    """
    method, plus, augmentation = name.partition("+")
    if name in AUGMENTATIONS:
        return Arm("", method, "")
    if name == "none":
        return Arm("", "", "")
    followed = name.removeprefix("longer-")
    if name != followed and followed in METHODS and not METHODS[followed].control_of:
        return Arm("", "", followed)
    if method not in METHODS or (plus and augmentation not in AUGMENTATIONS):
        raise ValueError(f"no arm '{name}'; choose from none, {', '.join(METHODS)}, "
                         f"longer-translate and so on, geometric, mixup, translate+geometric and "
                         f"so on, or all")
    leader = METHODS[method].control_of
    return Arm(method, augmentation, name.replace(method, leader, 1) if leader else "")


def default_arms(experiment):
    """The protocol's arms for the synthetic faces that are there."""
    training = experiment.protocol.training
    arms = {*training.arms}
    for method in synthetic_of(experiment, 0):
        is_control = METHODS[method].control_of
        arms |= {template.format(method) for template in (
            training.control_arms if is_control else training.method_arms)}
    return [arm for arm in all_arms(experiment) if arm in arms]


def all_arms(experiment):
    """Every arm that the synthetic faces allow, in the order of a report: none first, then each
    method behind what it is measured against."""
    arms = ["none", *AUGMENTATIONS]
    for method in synthetic_of(experiment, 0):
        if experiment.protocol.training.early_stopping and not METHODS[method].control_of:
            arms.append(f"longer-{method}")
        arms += [method, *(f"{method}+{augmentation}" for augmentation in AUGMENTATIONS)]
    return arms


def classifier_file(experiment, run, arm, repeat):
    return experiment.file(run, "classifier", arm, repeat)


def classifier_files(experiment, arm):
    """Those of all runs and repeats of an arm."""
    return [classifier_file(experiment, run, arm, repeat) for run in experiment.runs
            for repeat in range(experiment.settings["repeats"])]


def set_weights(model, file):
    """Give a model the weights of a classifier's file."""
    with utils.reading(file):
        model.set_weights(utils.weights_of(utils.load_arrays(file)))


def trained_arms(experiment):
    """The arms of which the first run has a classifier, in the order of `all_arms`.

    Raises `Problem` if none, which is always trained, is not among them.
    """
    arms = [name for name in all_arms(experiment)
            if classifier_file(experiment, 0, name, 0).exists()]
    if "none" not in arms:
        raise Problem(f"{experiment.folder}: no classifiers yet; run "
                      f"{experiment.command('train_classifier.py')}")
    return arms


# ------------------------------------------------------------------------------------- the stage
def main():
    options = arguments()
    experiment = open_experiment(options.experiment)
    early_stopping, settings = experiment.protocol.training.early_stopping, experiment.settings
    if settings["network"] not in NETWORKS:
        raise Problem(f"{experiment.folder}: network {settings['network']} is no row of NETWORKS "
                      f"in train_classifier.py; add it there, or begin another experiment with "
                      f"--network {' or '.join(NETWORKS)}")
    if not options.arms and not synthetic_of(experiment, 0):
        raise Problem(f"{experiment.folder}: no synthetic faces yet; run "
                      f"{experiment.command('augment.py')} first, or give --arms none")
    asked, redone = (all_arms(experiment) if "all" in names else names
                     for names in (options.arms, options.redo))
    names = ["none", *(asked or default_arms(experiment)), *redone]
    arms = {name: read_arm(name) for name in names}
    if early_stopping:
        function, setting_names = train_published, ("classifier_epochs", "patience")
        for arm in [arm for arm in arms.values() if arm.as_long_as]:
            arms.setdefault(arm.as_long_as, read_arm(arm.as_long_as))
    else:
        function, setting_names = train_steps, ("steps", "keep", "balance")
        if any(name.startswith("longer-") for name in arms):
            raise Problem(f"--arms longer-...: all arms take the same number of steps in the "
                          f"protocol {settings['protocol']}; leave it out")
    common = {name: settings[name] for name in ("network", "batch", *setting_names)}

    jobs, following_jobs, redo = [], [], []
    for run, (name, arm) in itertools.product(experiment.runs, arms.items()):
        faces, cost = {"train": experiment.file(run, "train")}, 1
        if arm.method:
            faces["synthetic"] = experiment.file(run, "synthetic", arm.method)
            utils.require([faces["synthetic"]], experiment.command(
                "augment.py", "--methods", arm.method))
            check_parents(**faces)
        if early_stopping:  # an epoch takes as much time as there are faces
            cost = sum(map(number_of_faces, faces.values()))
        for repeat in range(settings["repeats"]):
            followed = {}
            if early_stopping and arm.as_long_as:
                followed["as_long_as"] = classifier_file(experiment, run, arm.as_long_as, repeat)
            job = Job(classifier_file(experiment, run, name, repeat), function, faces | followed, {
                "emotions": experiment.emotions, "augmentation": arm.augmentation,
                "seed": [settings["seed"], run, repeat], **common}, cost)
            (following_jobs if followed else jobs).append(job)
            if name in redone:
                redo.append(job)
    utils.run_jobs(jobs, "training classifiers", options, redo)
    utils.run_jobs(following_jobs, "training controls for as many steps", options, redo)
    draw(experiment, options)
    if options.keras:
        export(experiment, arms)
    print(f"next: {experiment.command('evaluate.py')}")


def export(experiment, arms):
    """Write run-00/classifier-<arm>-0.keras of each arm: faces (n, 48, 48, 1) in [0, 1] to
    probabilities of the experiment's emotions, in their order."""
    model = NETWORKS[experiment.settings["network"]].build(len(experiment.emotions))
    for name in arms:
        file = classifier_file(experiment, 0, name, 0)
        set_weights(model, file)
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder) / "classifier.keras")
            utils.write_file(file.with_suffix(".keras"),
                             (Path(folder) / "classifier.keras").read_bytes())
        print(utils.printable(f"{file.with_suffix('.keras')}: {', '.join(experiment.emotions)}"))


@functools.cache
def check_parents(train, synthetic):
    """Raise `Problem` if synthetic faces were made from a face that is no training face of the run.
    """
    arrays, known = utils.load_arrays(synthetic), utils.load_arrays(train)["names"].tolist()
    strangers = set(arrays["names"][np.unique(arrays["parents"])].tolist()) - set(known)
    if strangers:
        raise Problem(f"{synthetic}: made from {min(strangers)}, which is no training face of this "
                      f"run; remove it and run augment.py again")


@functools.cache
def number_of_faces(path):
    return len(utils.load_arrays(path)["images"])


def draw(experiment, options):
    """learning-curves.png: loss and accuracy against optimiser steps. Where classifiers stop by
    themselves the curve of the first, the ends of all and the mean end; else their mean and a band
    from the 10th to the 90th percentile."""
    early_stopping = experiment.protocol.training.early_stopping
    figure, panels = utils.new_figure(9, 3.4, ncols=2)
    for k, arm in enumerate(trained_arms(experiment)):
        style = {"color": utils.COLOURS[k % 10], "lw": 1.2, "ls": "-" if k < 10 else "--"}
        marked = {"marker": utils.MARKERS[k % 10], "ms": 4, "label": arm, **style,
                  "mfc": None if k < 10 else "white"}
        histories = [utils.load_arrays(file)["history"]
                     for file in classifier_files(experiment, arm) if file.exists()]
        for axes, column, scale in zip(panels, (3, 4) if early_stopping else (1, 2), (1, 100)):
            if early_stopping:
                axes.plot(histories[0][:, 0], scale * histories[0][:, column], alpha=0.8, **style)
                ends = np.stack([history[-1] for history in histories])
                axes.plot(ends[:, 0], scale * ends[:, column], ".", ms=2, alpha=0.6,
                          color=style["color"])
                axes.plot(ends[:, 0].mean(), scale * ends[:, column].mean(),
                          **{**marked, "ls": "", "ms": 6, "mec": "black", "mew": 0.5})
                axes.set_xscale("log")
            else:
                steps, values = histories[0][:, 0], scale * np.stack(histories)[:, :, column]
                axes.fill_between(steps, *np.percentile(values, [10, 90], axis=0), alpha=0.15,
                                  color=style["color"], lw=0)
                axes.plot(steps, values.mean(0), markevery=max(1, len(steps) // 8), **marked)
    kind = "validation" if early_stopping else "training"
    panels[0].set(ylabel=f"{kind} loss, nats", xlabel="optimiser steps", ylim=(0, None))
    panels[1].set(ylabel=f"{kind} accuracy, %", xlabel="optimiser steps", ylim=(0, 102))
    panels[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), title_fontsize=7,
                     title="one classifier's curve,\nthe ends of all (dots)\nand their mean"
                     if early_stopping else None)
    experiment.save_figure(figure, "learning-curves.png", options)


# --------------------------------------------------------------------------------------- options
def arm_list(text):
    """argparse type: names of arms."""
    names = text.split(",")
    try:
        for name in names:
            if name != "all":
                read_arm(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


def arguments():
    parser = utils.parser(__doc__)
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help=utils.EXPERIMENT_HELP)
    parser.add_argument("--arms", type=arm_list, default=[], metavar="X,Y", help="which, separated "
                        "by commas, or all that the synthetic faces allow (default: in published "
                        "and cv every method, its controls and longer-METHOD; elsewhere geometric, "
                        "every method with and without +geometric, its controls with it); the arm "
                        "none is always trained, since gains are over it")
    parser.add_argument("--redo", type=arm_list, default=[], metavar="X,Y", help="train the "
                        "classifiers of these arms anew in all runs")
    parser.add_argument("--keras", action="store_true", help="leave the first classifier of each "
                        "arm as run-00/classifier-<arm>-0.keras too")
    return parser.parse_args()


if __name__ == "__main__":
    utils.run_script(__file__)
