"""Stage 3 of 4: train the CNN classifier (LeNet-5) once per arm, without and with each kind of synthetic faces.

    python train_classifier.py [EXPERIMENT]                            `none`, and an arm for each method augment.py ran
    python train_classifier.py [EXPERIMENT] --arms none,interpolate    these

published: the paper's training. Batches of 4, up to 80 epochs in one fixed order, stopped after 5 epochs without a lower
loss on 25 % of the training set, which is drawn after augmentation (so it holds near-copies of training faces).
holdout, loso: the same number of optimiser steps for every arm, half of each batch real faces, validation on real faces
that neither the CAE nor augment.py has seen, looked at every 100 steps; the weights with the lowest loss are kept.

All arms of a run start from the same weights. It leaves run-NN/classifier-<arm>.keras and, with the course of loss and
accuracy, classifier-<arm>-history.npz. Some seconds per run and arm on one core.
"""

import argparse
import functools

import numpy as np

import utils
from augment import METHODS, method_list

KINDS = {"published": "epochs", "holdout": "steps", "loso": "steps"}


def build_lenet5(emotions=7):
    """LeNet-5 as the paper has it: faces (n, 48, 48, 1), resized to 32 x 32, to probabilities (n, emotions)."""
    utils.tensorflow()
    from keras import Sequential, layers

    model = Sequential([
        layers.Input((utils.SIDE, utils.SIDE, 1), name="face"),
        layers.Resizing(32, 32, name="resize"),  # bilinear
        layers.Conv2D(6, 5, activation="relu", name="conv1"),
        layers.AveragePooling2D(2, name="pool1"),
        layers.Conv2D(16, 5, activation="relu", name="conv2"),
        layers.AveragePooling2D(2, name="pool2"),
        layers.Conv2D(120, 5, activation="relu", name="conv3"),
        layers.Flatten(name="flatten"),
        layers.Dense(84, activation="relu", name="dense"),
        layers.Dense(emotions, activation="softmax", name="emotion"),
    ], name="lenet5")
    if emotions == 7:  # what the paper's layers add up to
        assert model.count_params() == 61_451
    return model


# ---------------------------------------------------------------------------------------------------- batches
def published_split(labels):
    """Rows (training, validation): 25 % of all faces, real and synthetic, drawn after augmentation as the paper does."""
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(np.arange(len(labels)), test_size=0.25, random_state=42, stratify=labels)
    except ValueError as error:
        raise utils.Problem(f"the training faces cannot be split 75 to 25 by emotion: {utils.shown(error)}; add faces")


def mixed_rows(real, synthetic, steps, real_share, seed):
    """int32 (steps, 4): batches in which `real_share` of the faces are rows of `real`, the rest of `synthetic`.

    The share is kept as evenly as it can be (0.5: two of each in every batch; 0.3: 1, 1, 1, 1, 2 of four). Real and
    synthetic rows are each gone through in an order shuffled anew every time round.
    """
    rng = np.random.default_rng(seed)
    places = np.arange(steps * utils.BATCH + 1)
    is_real = np.diff(np.floor(places * (real_share if len(synthetic) else 1.0) + 1e-9)) > 0

    def rounds(rows, n):
        return np.concatenate([rng.permutation(rows) for _ in range(-(-n // len(rows)))])[:n] if n else rows[:0]

    mixed = np.empty(steps * utils.BATCH, np.int32)
    mixed[is_real] = rounds(real, int(is_real.sum()))
    mixed[~is_real] = rounds(synthetic, int((~is_real).sum()))
    return mixed.reshape(steps, utils.BATCH)


# ---------------------------------------------------------------------------------------------------- training
def train_classifier(images, labels, real, train, held_out, settings, protocol, seed, checkpoint=None, report=lambda fraction: None):
    """Train LeNet-5 on the rows `train` of `images` (n, 48, 48, 1) with one-hot `labels` (n, emotions).

    real: so many of the images, the first ones, are real. held_out: (images, labels) of the validation faces. Returns
    (its file, history): validation loss and accuracy after every epoch (published) or every 100 steps, and `steps`, the
    optimiser steps taken by then.
    """
    if KINDS[protocol] == "epochs":
        per_look, looks = -(-len(train) // utils.BATCH), settings["classifier_epochs"]
        if settings["real_share"] is None or real == len(images):
            epoch = utils.epoch_rows(train)
            rows_of = lambda look: epoch  # not reshuffled, as in the paper
    else:
        per_look, looks = utils.STEPS_PER_LOOK, settings["steps"] // utils.STEPS_PER_LOOK
    if KINDS[protocol] == "steps" or (settings["real_share"] is not None and real < len(images)):
        share = 1.0 if settings["real_share"] is None else settings["real_share"]
        rows = mixed_rows(train[train < real], train[train >= real], per_look * looks, share, seed)
        rows_of = lambda look: rows[look * per_look:(look + 1) * per_look]
    arguments = (labels.shape[1],)
    start = utils.initial_weights(build_lenet5, arguments, seed)
    weights, history = utils.fit(build_lenet5, arguments, "crossentropy", start, (images, labels), rows_of, looks, held_out,
                                 settings["patience"], settings["keep"], checkpoint, report)
    history["steps"] = [per_look * (look + 1) for look in range(len(history["loss"]))]
    return utils.model_file(build_lenet5, arguments, weights), history


def training_set(faces, synthetic_file):
    """Training faces first, synthetic ones after: (images, emotions). Raises `Problem` if a parent is no training face."""
    if synthetic_file is None:
        return faces.images, faces.emotions
    made = utils.read_arrays(synthetic_file)
    with utils.damaged(synthetic_file):
        parents = set(made["names"][made["parents"]].ravel().tolist())
        strangers = sorted(parents - set(faces.names.tolist()))
        images, emotions = made["images"].astype(np.float32, copy=False), made["emotions"].astype(str)
        if images.shape != (len(emotions), utils.SIDE, utils.SIDE, 1) or not np.isfinite(images).all():
            raise ValueError("faces of the wrong shape, or not finite")
    if strangers:
        raise utils.Problem(f"{utils.shown(synthetic_file)}: made from {utils.shown(strangers[0])}, which is not a training face of this "
                            f"run; remove the file and run augment.py again")
    return np.concatenate([faces.images, images]), np.concatenate([faces.emotions, emotions])


# ---------------------------------------------------------------------------------------------------- the stage
def main():
    options = arguments()
    experiment = utils.open_experiment(options.experiment)
    with utils.locked(experiment["folder"]):
        train_arms(experiment, options)
    shown = utils.shown_path(experiment["folder"])
    utils.say(f"next: python evaluate.py {shown}")


def arms_made(experiment):
    """`none` and the methods of which run 0 has synthetic faces, in the order of augment.py's table."""
    found = set()
    for path in utils.run_folder(experiment, 0).glob("synthetic-*.npz"):
        arm = path.stem.removeprefix("synthetic-")
        if not set(arm.split("+")) <= set(METHODS):
            raise utils.Problem(f"{utils.shown(path)}: is of no method that augment.py knows; remove it")
        found.add(arm)
    return ["none"] + sorted(found, key=lambda arm: (arm.count("+"), [list(METHODS).index(name) for name in arm.split("+")]))


def train_arms(experiment, options):
    settings, emotions = experiment["settings"], experiment["dataset"]["emotions"]
    faces_of = utils.training_faces(experiment)
    arms = options.arms or arms_made(experiment)
    todo = []
    for run in range(settings["runs"]):
        for arm in arms:
            folder = utils.run_folder(experiment, run)
            synthetic = None if arm == "none" else folder / f"synthetic-{arm}.npz"
            if synthetic and not synthetic.exists():
                raise utils.Problem(f"{utils.shown(synthetic)}: not there; run augment.py {utils.shown(experiment['folder'])} --methods {arm}")
            made_of = utils.provenance(experiment, [synthetic] if synthetic else [])
            path = folder / f"classifier-{arm}.keras"
            if not (utils.finished(path, made_of) and utils.finished(path.with_name(f"{path.stem}-history.npz"), made_of)):
                todo.append((run, synthetic, path, made_of))

    def arguments_of(run, synthetic, path):
        faces, held_out = faces_of(run)
        images, codes = training_set(faces, synthetic)
        labels, train = utils.one_hot(codes, emotions), np.arange(len(images))
        validation = held_out.images, utils.one_hot(held_out.emotions, emotions)
        if experiment["protocol"] == "published":
            train, rows = published_split(codes)
            validation = images[rows], labels[rows]
        return {"images": images, "labels": labels, "real": len(faces.names), "train": train, "held_out": validation,
                "settings": settings, "protocol": experiment["protocol"], "seed": settings["seed"] + run,
                "checkpoint": None if options.dask else path.with_suffix(".checkpoint")}

    tasks = [functools.partial(arguments_of, run, synthetic, path) for run, synthetic, path, _ in todo]
    # In `published`, an arm with synthetic faces has that many more steps in each epoch.
    costs = [8.0 if synthetic and KINDS[experiment["protocol"]] == "epochs" else 1.0 for _, synthetic, _, _ in todo]
    for number, (file, history) in utils.run_tasks(train_classifier, tasks, "training classifiers", options, costs):
        _, _, path, made_of = todo[number]
        utils.write_arrays(path.with_name(f"{path.stem}-history.npz"), made_of, **history)
        utils.write_model(path, made_of, file)
        path.with_suffix(".checkpoint").unlink(missing_ok=True)


def arm_list(text):
    arms = [arm for arm in text.split(",") if arm != "none"]
    return ["none"] + (method_list(",".join(arms)) if arms else [])  # every gain is over `none`


def arguments():
    parser = utils.parser(__doc__)
    parser.add_argument("--arms", type=arm_list, metavar="X,Y,X+Y", help="which, separated by commas (default: none and one for each "
                        "method that augment.py ran); none is always trained, since every gain is a gain over it")
    return parser.parse_args()


if __name__ == "__main__":
    from train_classifier import main  # by its module's name, so that worker processes find the same functions

    utils.run_script(main)
