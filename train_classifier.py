"""Stage 3 of 4: train the CNN classifier (LeNet-5) once per arm, without and with synthetic faces.

    python train_classifier.py [EXPERIMENT]                          the protocol's arms
    python train_classifier.py [EXPERIMENT] --arms translate,linear  none and these

An arm is none, a method of augment.py, or one of these with standard augmentation: geometric,
translate+geometric and so on. longer-translate, longer-interpolate and so on are none, trained for
as many optimiser steps as that method took.

published: the paper's training. Up to 80 epochs in one fixed order, stopped once the loss has not
fallen for 5 epochs on 25 % of the training set, which is drawn after augmentation, so it holds
near-copies of training faces. In all other protocols nothing is selected: every arm takes the same
number of optimiser steps, half of each batch real faces, and keeps the mean of its weights over the
second half of them.

The repeats of a run differ in initialisation; all arms of one start from the same weights. It
leaves run-NN/classifier-<arm>-<repeat>.npz: weights and learning curve. Seconds per classifier.
"""

import argparse
import functools
import itertools
import math
import tempfile
from pathlib import Path
from typing import NamedTuple

import utils
from augment import METHODS, is_balanced, synthetic_of
from data.experiment import open_experiment
from data.faces import SIDE, as_input
from utils import Job, Problem

import numpy as np

LENET_SIDE = 32  # the side of what LeNet-5 sees
STEPS_PER_CALL = 100  # optimiser steps in one call of the compiled program


# ----------------------------------------------------------------------------------- the network
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


def lenet5(weights, images):
    """`build_lenet5` once more, as a function: logits (n, classes) of images (n, 32, 32).

    It is written out because a training step takes 0.37 of the time of Keras' layers this way: XLA
    compiles matrix products for one core well, convolutions badly. weights: in the order of Keras'
    `get_weights`. The axes are (channels, n, height, width): a row of a convolution's product is
    then as long as it can be.
    """
    tf = utils.tensorflow()
    kernel1, bias1, kernel2, bias2, kernel3, bias3, dense1, bias4, dense2, bias5 = weights
    x = images[tf.newaxis]
    x = halved(convolution(x, kernel1, bias1))
    x = halved(convolution(x, kernel2, bias2))
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


def halved(x):
    """Average pooling: the means of 2 x 2 pixels that do not overlap."""
    x = x[:, :, 0::2] + x[:, :, 1::2]
    return (x[:, :, :, 0::2] + x[:, :, :, 1::2]) / 4


# ---------------------------------------------------------------------------------- the training
def train_published(train, synthetic=None, *, emotions, epochs, patience, batch, seed,
                    geometric=False):
    """Train LeNet-5 as the paper does.

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
    emotions : list of str
        All emotions, sorted: output e is the probability of emotions[e].
    epochs, patience, batch : int
        At most so many epochs; patience, 0 for never to stop; faces in a batch.
    seed : list of int
        Of initial weights and random maps.
    geometric : bool
        Whether each face is put under a map of `random_maps` whenever it is trained on.

    Returns
    -------
    dict
        "w00" to "w09": float32, the weights in the order of Keras' `get_weights`. "history":
        float32 (epochs taken, 5): optimiser steps so far, loss and accuracy in training, while the
        weights changed; validation loss and accuracy.
    """
    images, labels = images_and_labels(train, synthetic, emotions)
    rows, held_out = published_split(labels)
    faces = training_set(images, labels, geometric)
    validation = images[held_out], labels[held_out]
    state, rng = fresh_state(len(emotions), seed), maps_generator(seed)
    batches, history = rows_in_batches(rows, batch), []
    for _ in range(epochs):  # not reshuffled, as the paper
        state, loss, accuracy = take_steps(state, faces, batches, rng)
        history.append((state.steps, loss, accuracy, *measure(state.weights, *validation)))
        epochs_since_best = len(history) - 1 - np.argmin([row[3] for row in history])
        if patience and epochs_since_best >= patience:
            break
    return {**utils.named_weights(state.weights), "history": np.float32(history)}


def train_longer(train, other, *, emotions, batch, seed):
    """Train LeNet-5 on real faces alone, for as many optimiser steps as another one took.

    It is trained like `train_published` without synthetic faces, on the same 75 % of the faces, but
    is not stopped early. The last epoch may be cut short.

    Parameters
    ----------
    train, emotions, batch, seed
        As for `train_published`.
    other : dict
        What `train_published` returned: its "history" says how many steps.

    Returns
    -------
    dict
        As from `train_published`.
    """
    steps = int(other["history"][-1, 0])
    images, labels = images_and_labels(train, None, emotions)
    rows, held_out = published_split(labels)
    faces = training_set(images, labels, geometric=False)
    validation = images[held_out], labels[held_out]
    state, batches, history = fresh_state(len(emotions), seed), rows_in_batches(rows, batch), []
    while state.steps < steps:
        state, loss, accuracy = take_steps(state, faces, batches[:steps - state.steps])
        history.append((state.steps, loss, accuracy, *measure(state.weights, *validation)))
    return {**utils.named_weights(state.weights), "history": np.float32(history)}


def train_steps(train, synthetic=None, *, emotions, steps, keep, geometric, batch, seed,
                balanced=False):
    """Train LeNet-5 for a fixed number of optimiser steps; half of each batch are real faces.

    Parameters
    ----------
    train, synthetic, emotions, batch, seed, geometric
        As for `train_published`.
    balanced : bool
        Whether the synthetic faces are those that bring each emotion to the number of the most
        frequent one. They are then drawn as often as real faces, instead of making half a batch.
    steps : int
        Optimiser steps.
    keep : {"average", "last"}
        The weights to keep: the mean of those after every hundred steps (and after the last one)
        of the second half (Izmailov et al. 2018, arXiv 1803.05407), or the last ones.

    Returns
    -------
    dict
        "w00" to "w09" as from `train_published`. "history": float32 (checkpoints, 3): optimiser
        steps so far, and the loss and accuracy in the hundred steps before.
    """
    images, labels = images_and_labels(train, synthetic, emotions)
    faces = training_set(images, labels, geometric)
    real = len(images) if balanced else len(train["images"])
    batches = mixed_rows(real, len(images), steps, batch, seed)
    state, rng = fresh_state(len(emotions), seed), maps_generator(seed)
    history, kept = [], []
    for first in range(0, steps, STEPS_PER_CALL):
        state, loss, accuracy = take_steps(state, faces, batches[first:first + STEPS_PER_CALL], rng)
        history.append((state.steps, loss, accuracy))
        if keep == "last":
            kept = [state.weights]
        elif 2 * state.steps > steps:
            kept.append(state.weights)
    weights = [np.mean(checkpoints, axis=0, dtype=float).astype(np.float32)
               for checkpoints in zip(*kept)]
    return {**utils.named_weights(weights), "history": np.float32(history)}


def mixed_rows(real, total, steps, batch, seed):
    """int32 (steps, batch): batches of which every second face is one of the first `real` rows, the
    others, if there are any, of the rows up to `total`. Both kinds are used up in a random order
    before any row comes again."""
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
    """Faces to train on, padded to a multiple of 4,096: XLA compiles a program for every size."""

    images: object  # float32 (at least n, 32, 32), or (at least n, 48, 48) for random maps
    labels: object  # int32 (at least n,)
    geometric: bool


def images_and_labels(train, synthetic, emotions):
    """float32 (n, 48, 48, 1), int32 (n,): the real faces first, the synthetic ones after."""
    images, names = as_input(train["images"]), train["emotions"]
    if synthetic is not None:
        images = np.concatenate([images, synthetic["images"]])
        names = np.concatenate([names, synthetic["emotions"]])
    unknown = set(names.tolist()) - set(emotions)
    if unknown:
        raise Problem(f"a face of emotion {min(unknown)}, which the experiment does not have; "
                      f"restore its files, or begin another one")
    return images, np.searchsorted(emotions, names).astype(np.int32)


def training_set(images, labels, geometric):
    """The `TrainingSet` of what `images_and_labels` returns."""
    tf = utils.tensorflow()
    if not geometric:  # resized once, not in each step
        images = tf.image.resize(images, (LENET_SIDE, LENET_SIDE)).numpy()
    missing = -len(images) % 4096
    images = np.pad(images[..., 0], ((0, missing), (0, 0), (0, 0)))
    return TrainingSet(tf.constant(images), tf.constant(np.pad(labels, (0, missing))), geometric)


def published_split(labels):
    """Rows (training, validation): 25 % of all faces, drawn after augmentation as the paper has
    it."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    return train_test_split(rows, test_size=0.25, random_state=42, stratify=labels)


def maps_generator(seed):
    """The random numbers of the maps, independent of those that order the rows."""
    return np.random.default_rng([*seed, 2])


def random_maps(count, rng):
    """float32 (count, 2, 3): affine maps that flip a face left to right (or not), turn it by up to
    7 degrees and zoom it by up to 6 % about its middle, and shift it by up to 5 % of its side.

    map @ (i, j, 1) is the place (row, column) in the face of 48 x 48 pixels at which pixel (i, j)
    of LeNet-5's 32 x 32 is sampled.
    """
    flips = np.where(rng.random(count) < 0.5, -1, 1)
    shifts = rng.uniform(-0.05, 0.05, (count, 2)) * SIDE
    turns, zooms = np.radians(rng.uniform(-7, 7, count)), 1 + rng.uniform(-0.06, 0.06, count)
    return affine_maps(flips, shifts, turns, zooms)


def affine_maps(flips, shifts, turns, zooms):
    """`random_maps` of given flips (-1 or 1), shifts (n, 2) in pixels of 48, turns in radians."""
    rotations = np.array([[np.cos(turns), np.sin(turns)], [-np.sin(turns), np.cos(turns)]])
    back = np.moveaxis(rotations / zooms, -1, 0)  # from a place in the new face to the old one
    back[:, 1] *= flips[:, np.newaxis]
    # Pixel i of 32 has its middle where pixel 1.5 i + 0.25 of 48 has it: that is `Resizing`.
    scale, middle = SIDE / LENET_SIDE, (SIDE - 1) / 2
    corner = (scale - 1) / 2 - middle - shifts
    offsets = middle + np.einsum("nij,nj->ni", back, corner)
    return np.concatenate([scale * back, offsets[..., np.newaxis]], axis=2).astype(np.float32)


def sampled(images, rows, maps):
    """float32 (n, 32, 32): images[rows] under the maps of `random_maps`, bilinear; beyond the edge
    its pixels are repeated."""
    tf = utils.tensorflow()
    i, j = np.indices((LENET_SIDE, LENET_SIDE)).reshape(2, -1)
    grid = np.stack([i, j, np.ones_like(i)]).astype(np.float32)  # (3, 32 * 32)
    places = tf.clip_by_value(maps @ grid, 0, SIDE - 1)  # (n, 2, 32 * 32)
    low = tf.minimum(tf.cast(places, tf.int32), SIDE - 2)
    above, left = tf.unstack(places - tf.cast(low, tf.float32), axis=1)
    first = (rows[:, tf.newaxis] * SIDE + low[:, 0]) * SIDE + low[:, 1]  # in the flat images
    pixels = tf.reshape(images, [-1])
    upper = tf.gather(pixels, first) * (1 - left) + tf.gather(pixels, first + 1) * left
    first += SIDE
    lower = tf.gather(pixels, first) * (1 - left) + tf.gather(pixels, first + 1) * left
    return tf.reshape(upper * (1 - above) + lower * above, (-1, LENET_SIDE, LENET_SIDE))


# ------------------------------------------------------------------------------------- the steps
class State(NamedTuple):
    """All that changes in a training."""

    weights: list
    means: list  # Adam's, of the gradients
    squares: list  # and of their squares
    steps: int


def fresh_state(classes, seed):
    weights = utils.initial_weights(plain_model(classes), seed)
    return State(weights, [np.zeros_like(weight) for weight in weights],
                 [np.zeros_like(weight) for weight in weights], 0)


def take_steps(state, faces, batches, rng=None):
    """Take an optimiser step for each batch: the new `State`, mean loss and accuracy.

    batches: int32 (steps, batch), rows of faces, -1 for none. rng: of the random maps.
    """
    tf = utils.tensorflow()
    steps, batch = batches.shape
    program, loss, hits = compiled_steps(), 0.0, 0.0
    for first in range(0, steps, STEPS_PER_CALL):
        rows = batches[first:first + STEPS_PER_CALL]
        count = len(rows)
        rows = np.pad(rows, ((0, STEPS_PER_CALL - count), (0, 0)))  # `count` of them are used
        maps = None
        if faces.geometric:
            maps = random_maps(STEPS_PER_CALL * batch, rng).reshape(STEPS_PER_CALL, batch, 2, 3)
        *changed, loss_sum, hits_sum = program(
            state.weights, state.means, state.squares, tf.constant(state.steps), faces.images,
            faces.labels, rows, maps, tf.constant(count))
        state = State(*changed, state.steps + count)
        loss, hits = loss + float(loss_sum), hits + float(hits_sum)
    seen = np.count_nonzero(batches >= 0)
    return state, loss / seen, hits / seen


@functools.cache
def compiled_steps():
    """The program of `take_steps`: XLA compiles it once for each shape of its arguments."""
    tf = utils.tensorflow()

    @tf.function(jit_compile=utils.xla_works())
    def program(weights, means, squares, steps, images, labels, batches, maps, count):
        def step(number, weights, means, squares, loss, hits):
            mask = tf.cast(batches[number] >= 0, tf.float32)  # 0 for a row of -1: no face
            rows = tf.maximum(batches[number], 0)
            if maps is None:
                inputs = tf.gather(images, rows)
            else:
                inputs = sampled(images, rows, maps[number])
            targets = tf.gather(labels, rows)
            with tf.GradientTape() as tape:
                tape.watch(weights)
                logits = lenet5(weights, inputs)
                losses = mask * tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
                batch_loss = tf.reduce_sum(losses) / tf.reduce_sum(mask)
            gradients = tape.gradient(batch_loss, weights)
            updated = adam(weights, means, squares, gradients, steps + number + 1)
            right = mask * tf.cast(tf.argmax(logits, 1, tf.int32) == targets, tf.float32)
            return number + 1, *updated, loss + tf.reduce_sum(losses), hits + tf.reduce_sum(right)

        start = (0, weights, means, squares, 0.0, 0.0)
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
def plain_model(classes):
    """The one `build_lenet5` of this process with so many classes."""
    model = build_lenet5(classes)
    model.compile(loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


def measure(weights, images, labels):
    """(mean cross-entropy in nats, accuracy) on faces."""
    model = plain_model(len(weights[-1]))
    model.set_weights(weights)
    model.reset_metrics()
    for first in range(0, len(images), 512):  # Keras keeps the mean over all parts
        loss, accuracy = model.test_on_batch(images[first:first + 512], labels[first:first + 512])
    return float(loss), float(accuracy)


# ------------------------------------------------------------------------------------------- arms
class Arm(NamedTuple):
    """What a classifier is trained on, as its name says."""

    method: str  # of the synthetic faces; "" for none
    geometric: bool  # whether each face is moved anew whenever it is drawn for a batch
    as_long_as: str  # the arm whose number of steps it takes, or ""


def read_arm(name):
    """The `Arm` of a name such as none, translate, translate+geometric or longer-translate.

    Raises ValueError for any other name.
    """
    method, longer = name.removesuffix("+geometric"), name.removeprefix("longer-")
    if method in METHODS:
        return Arm(method, method != name, "")
    if name.startswith("longer-") and longer in METHODS:
        return Arm("", False, longer)
    if name in ("none", "geometric"):
        return Arm("", name == "geometric", "")
    raise ValueError(f"no arm '{name}'; choose from none, {', '.join(METHODS)}, longer-translate "
                     f"and so on, geometric, translate+geometric and so on")


def default_arms(experiment):
    """The arms for the synthetic faces that are there."""
    methods = list(synthetic_of(experiment, 0))
    if experiment.protocol == "published":
        return [*(f"longer-{method}" for method in methods if not METHODS[method].control_of),
                *methods]
    return ["geometric", *methods, *(f"{method}+geometric" for method in methods)]


def classifier_file(experiment, run, arm, repeat):
    return experiment.file(run, "classifier", arm, repeat)


def classifier_files(experiment, arm):
    """Those of all runs and repeats of an arm."""
    return [classifier_file(experiment, run, arm, repeat) for run in experiment.runs
            for repeat in range(experiment.settings["repeats"])]


def set_weights(model, file):
    """Give LeNet-5 the weights of a classifier's file."""
    with utils.reading(file):
        model.set_weights(utils.weights_of(utils.load_arrays(file)))


def trained_arms(experiment):
    """The arms of which the first run has a classifier, in the order of a report: none first, then
    each method behind what it is measured against."""
    names = ["none", "geometric"]
    for method in METHODS:
        names += [f"longer-{method}", method, f"{method}+geometric"]
    return [name for name in names if classifier_file(experiment, 0, name, 0).exists()]


# ------------------------------------------------------------------------------------- the stage
def main():
    options = arguments()
    experiment = open_experiment(options.experiment)
    if not options.arms and not synthetic_of(experiment, 0):
        raise Problem(f"{experiment.folder}: no synthetic faces yet; run augment.py "
                      f"{experiment.path} first, or give --arms none")
    names = ["none", *(options.arms or default_arms(experiment)), *options.redo]
    arms = {name: read_arm(name) for name in names}
    for arm in list(arms.values()):
        if arm.as_long_as:
            arms.setdefault(arm.as_long_as, read_arm(arm.as_long_as))
    if experiment.protocol != "published" and any(arm.as_long_as for arm in arms.values()):
        raise Problem(f"--arms longer-...: all arms take the same number of steps in the protocol "
                      f"{experiment.protocol}; leave it out")
    balanced = {name for name, arm in arms.items()
                if arm.method and is_balanced(experiment, arm.method)}
    jobs, longer_jobs, redo = [], [], []
    for run, (name, arm) in itertools.product(experiment.runs, arms.items()):
        inputs = [experiment.file(run, "train")]
        if arm.method:
            inputs.append(experiment.file(run, "synthetic", arm.method))
            utils.require(inputs[1:], f"augment.py {experiment.path} --methods {arm.method}")
            check_parents(*inputs)
        for repeat in range(experiment.settings["repeats"]):
            file = classifier_file(experiment, run, name, repeat)
            settings = {"emotions": experiment.emotions, "batch": experiment.settings["batch"],
                        "seed": [experiment.settings["seed"], run, repeat]}
            if arm.as_long_as:
                other = classifier_file(experiment, run, arm.as_long_as, repeat)
                job = Job(file, train_longer, [*inputs, other], settings)
            elif experiment.protocol == "published":
                settings |= {"epochs": experiment.settings["classifier_epochs"],
                             "patience": experiment.settings["patience"],
                             "geometric": arm.geometric}
                faces = sum(map(number_of_faces, inputs))  # an epoch takes as much time
                job = Job(file, train_published, inputs, settings, faces)
            else:
                settings |= {"steps": experiment.settings["steps"],
                             "keep": experiment.settings["keep"], "geometric": arm.geometric}
                if name in balanced:
                    settings["balanced"] = True
                job = Job(file, train_steps, inputs, settings)
            (longer_jobs if arm.as_long_as else jobs).append(job)
            if name in options.redo:
                redo.append(job)
    for wanted, label in ((jobs, "training classifiers"),
                          (longer_jobs, "training as long without synthetic faces")):
        utils.run_jobs(wanted, label, options, redo)
    draw(experiment, options)
    if options.keras:
        export(experiment, arms)
    print(f"next: python evaluate.py {experiment.path}")


def export(experiment, arms):
    """Write run-00/classifier-<arm>-0.keras of each arm: faces (n, 48, 48, 1) in [0, 1] to
    probabilities of the experiment's emotions, in their order."""
    model = build_lenet5(len(experiment.emotions))
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
    themselves the curve of the first and the ends of all; else their mean and a band from the 10th
    to the 90th percentile."""
    published = experiment.protocol == "published"
    figure, both = utils.new_figure(9, 3.4, ncols=2)
    for k, arm in enumerate(trained_arms(experiment)):
        style = {"color": utils.COLOURS[k % 10], "lw": 1.2, "ls": "-" if k < 10 else "--"}
        marked = {"marker": utils.MARKERS[k % 10], "ms": 4, "label": arm, **style,
                  "mfc": None if k < 10 else "white"}
        histories = [utils.load_arrays(file)["history"]
                     for file in classifier_files(experiment, arm) if file.exists()]
        for axes, column, scale in zip(both, (3, 4) if published else (1, 2), (1, 100)):
            if published:
                axes.plot(histories[0][:, 0], scale * histories[0][:, column], alpha=0.8, **style)
                ends = np.stack([history[-1] for history in histories])
                axes.plot(ends[:, 0], scale * ends[:, column], **{**marked, "ls": ""})
                axes.set_xscale("log")
            else:
                steps, values = histories[0][:, 0], scale * np.stack(histories)[:, :, column]
                axes.fill_between(steps, *np.percentile(values, [10, 90], axis=0), alpha=0.15,
                                  color=style["color"], lw=0)
                axes.plot(steps, values.mean(0), markevery=max(1, len(steps) // 8), **marked)
    kind = "validation" if published else "training"
    both[0].set(ylabel=f"{kind} loss, nats", xlabel="optimiser steps", ylim=(0, None))
    both[1].set(ylabel=f"{kind} accuracy, %", xlabel="optimiser steps", ylim=(0, 102))
    both[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), title_fontsize=7,
                   title="a classifier's curve,\nthe ends of all" if published else None)
    experiment.save_figure(figure, "learning-curves.png", options)


# --------------------------------------------------------------------------------------- options
def arm_list(text):
    """argparse type: names of arms."""
    names = text.split(",")
    try:
        for name in names:
            read_arm(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


def arguments():
    parser = utils.parser(__doc__)
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help=utils.EXPERIMENT_HELP)
    parser.add_argument("--arms", type=arm_list, default=[], metavar="X,Y", help="which, separated "
                        "by commas (default: every method and control that augment.py made; also "
                        "longer-translate and so on in the protocol published, geometric and each "
                        "of them with +geometric in the others); the arm none is always trained, "
                        "since gains are over it")
    parser.add_argument("--redo", type=arm_list, default=[], metavar="X,Y", help="train the "
                        "classifiers of these arms anew in all runs")
    parser.add_argument("--keras", action="store_true", help="leave the first classifier of each "
                        "arm as run-00/classifier-<arm>-0.keras too")
    return parser.parse_args()


if __name__ == "__main__":
    import train_classifier  # under its own name, so that worker processes find the same functions

    utils.run_script(train_classifier.main)
