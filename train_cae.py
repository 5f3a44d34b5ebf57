"""Stage 1 of 4: train the convolutional autoencoder (CAE) whose latents make the synthetic faces.

    python train_cae.py                                  JAFFE if it is in data/, else drawn stand-in faces
    python train_cae.py --data jaffe.zip                 or a folder of faces, or a CSV manifest file,subject,emotion
    python train_cae.py --protocol holdout --runs 10     a comparison without the published one's leaks
    python train_cae.py --scope both                     also a CAE per emotion pair, for the arm `translate`

It makes the folder of an experiment, results/<dataset>-<protocol>/, and in it run-NN/cae.keras for each run. All options
that decide the outcome are given here and kept in its experiment.json; the three scripts that follow read them there.
Started again after an interruption, it goes on where it was and ends with the same bytes.

Each CAE is trained on the run's training faces alone: 80 epochs in batches of 4, half a minute on one core. The CAEs of
the 42 emotion pairs (--scope pairs) take about twice as long again. At the end it prints the experiment's folder and the
next command.
"""

import argparse
import functools
import re
from pathlib import Path

import numpy as np

import utils


def build_encoder(latent):
    """Faces (n, 48, 48, 1) to latents (n, latent). Layers are named so that a file's bytes do not depend on what was built before."""
    utils.tensorflow()
    from keras import Sequential, layers

    return Sequential([
        layers.Input((utils.SIDE, utils.SIDE, 1), name="face"),
        layers.Conv2D(32, 3, strides=1, padding="same", activation="relu", name="conv1"),
        layers.Conv2D(64, 3, strides=2, padding="same", activation="relu", name="conv2"),
        layers.Conv2D(64, 3, strides=2, padding="same", activation="relu", name="conv3"),
        layers.Conv2D(64, 3, strides=1, padding="same", activation="relu", name="conv4"),
        layers.Flatten(name="flatten"),
        layers.Dense(latent, name="latent"),
    ], name="encoder")


def build_decoder(latent):
    """Latents (n, latent) to faces (n, 48, 48, 1), never below 0 (the last layer is a ReLU) but possibly above 1."""
    utils.tensorflow()
    from keras import Sequential, layers

    return Sequential([
        layers.Input((latent,), name="latent"),
        layers.Dense(12 * 12 * 64, name="dense"),
        layers.Reshape((12, 12, 64), name="reshape"),
        layers.Conv2DTranspose(64, 3, strides=1, padding="same", activation="relu", name="deconv1"),
        layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu", name="deconv2"),
        layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu", name="deconv3"),
        layers.Conv2DTranspose(1, 3, strides=1, padding="same", activation="relu", name="deconv4"),
    ], name="decoder")


def build_cae(latent=32):
    """The paper's autoencoder, encoder and decoder as its two layers."""
    encoder, decoder = build_encoder(latent), build_decoder(latent)
    if latent == 32:  # what the paper states
        assert (encoder.count_params(), decoder.count_params()) == (387_616, 396_737)
    from keras import Sequential, layers

    return Sequential([layers.Input((utils.SIDE, utils.SIDE, 1), name="face"), encoder, decoder], name="cae")


def train_cae(train, validation, latent, epochs, seed, checkpoint=None, report=lambda fraction: None):
    """Train one CAE to give back the faces `train` (n, 48, 48, 1): (its file, history), history["loss"] one value an epoch."""

    def shuffled(epoch):
        return utils.epoch_rows(np.random.default_rng([seed, epoch]).permutation(len(train)))

    start = utils.initial_weights(build_cae, (latent,), seed)
    weights, history = utils.fit(build_cae, (latent,), "mse", start, (train, train), shuffled, epochs, (validation, validation),
                                 checkpoint=checkpoint, report=report, parts=2)
    return utils.model_file(build_cae, (latent,), weights), history


def train_pair(start, sources, targets, latent, epochs, seed, report=lambda fraction: None):
    """Fine-tune the CAE `start` (of `utils.read_model`) to turn each face of `sources` into the same row of `targets`: its file."""

    def shuffled(epoch):
        return utils.epoch_rows(np.random.default_rng([seed, epoch]).permutation(len(sources)))

    weights = utils.load_weights(build_cae(latent), start)
    weights, _ = utils.fit(build_cae, (latent,), "mse", weights, (sources, targets), shuffled, epochs, (sources[:1], targets[:1]),
                           report=report)
    return utils.model_file(build_cae, (latent,), weights)


def cae_faces(experiment, faces, held_out):
    """The faces (training, validation) that a run's CAE sees."""
    if experiment["protocol"] == "published":  # as Keras' validation_split=0.25 does: the last quarter, here 43 of 170
        first = int(len(faces.names) * 0.75)
        return faces.images[:first], faces.images[first:]
    return faces.images, held_out.images


def same_person_pairs(faces, source, target):
    """Rows (a, b) of all pairs of one person's face with emotion `source` and the same person's with `target`."""
    return [(a, b) for a in np.flatnonzero(faces.emotions == source) for b in np.flatnonzero(faces.emotions == target)
            if faces.subjects[a] == faces.subjects[b]]


def main():
    options = arguments()
    given = {name: value for name, value in vars(options).items()
             if name in {"seed", *utils.DEFAULTS["published"]} and value is not UNSET}
    experiment, data_set = utils.create_experiment(options.data, options.protocol, given, options.results, options.crop)
    for note in data_set.notes + utils.changes(experiment):
        utils.warn(note)
    folder, settings = experiment["folder"], experiment["settings"]
    utils.say(f"{utils.label_of(experiment)}: {len(data_set.faces.names)} faces, {experiment['dataset']['subjects']} people, "
              f"{len(experiment['dataset']['emotions'])} emotions; {experiment['protocol']}, {settings['runs']} "
              f"run{'s' * (settings['runs'] > 1)}")
    with utils.locked(folder):
        utils.write_splits(experiment, data_set.faces)
        if options.scope in ("all", "both"):
            train_caes(experiment, options)
        if options.scope in ("pairs", "both"):
            train_pairs(experiment, options)
    shown = utils.shown_path(folder)
    utils.say(f"experiment: {shown}\nnext: python augment.py {shown}")


def train_caes(experiment, options):
    """run-NN/cae.keras and cae-history.npz for every run that has none yet."""
    settings, made_of = experiment["settings"], utils.provenance(experiment)
    faces_of = utils.training_faces(experiment)

    def arguments_of(run, path):
        train, validation = cae_faces(experiment, *faces_of(run))
        return {"train": train, "validation": validation, "latent": settings["latent"], "epochs": settings["cae_epochs"],
                "seed": settings["seed"] + run, "checkpoint": None if options.dask else path.with_suffix(".checkpoint")}

    todo = []
    for run in range(settings["runs"]):
        path = utils.run_folder(experiment, run) / "cae.keras"
        utils.make_folder(path.parent)
        if not (utils.finished(path, made_of) and utils.finished(path.with_name("cae-history.npz"), made_of)):
            todo.append((run, path))
    tasks = [functools.partial(arguments_of, run, path) for run, path in todo]
    for number, (file, history) in utils.run_tasks(train_cae, tasks, "training CAEs", options):
        path = todo[number][1]
        utils.write_arrays(path.with_name("cae-history.npz"), made_of, loss=history["loss"],
                           validation_loss=history["validation_loss"])
        utils.write_model(path, made_of, file)
        path.with_suffix(".checkpoint").unlink(missing_ok=True)


def train_pairs(experiment, options):
    """run-NN/cae-AN-DI.keras for every run and ordered pair of emotions."""
    settings, emotions = experiment["settings"], experiment["dataset"]["emotions"]
    faces_of = utils.training_faces(experiment)
    ordered = [(source, target) for source in emotions for target in emotions if source != target]

    def arguments_of(run, path, pairs, epochs):
        faces, _ = faces_of(run)
        return {"start": utils.read_model(path.with_name("cae.keras")), "sources": faces.images[pairs[:, 0]],
                "targets": faces.images[pairs[:, 1]], "latent": settings["latent"], "epochs": epochs,
                "seed": settings["seed"] + run}

    tasks, targets, costs, nobody = [], [], [], []
    for run in range(settings["runs"]):
        faces, held_out = faces_of(run)
        cae = utils.run_folder(experiment, run) / "cae.keras"
        made_of = utils.provenance(experiment, [cae])
        cae_steps = settings["cae_epochs"] * -(-len(cae_faces(experiment, faces, held_out)[0]) // utils.BATCH)
        for source, target in ordered:
            pairs = np.array(same_person_pairs(faces, source, target))
            path = cae.with_name(f"cae-{source}-{target}.keras")
            if not len(pairs):
                nobody.append(f"{source} to {target} in run {run}")
            elif not utils.finished(path, made_of):
                steps = -(-len(pairs) // utils.BATCH)
                # All pairs together may cost four times the one CAE, whatever the number of takes of each person.
                epochs = max(1, min(settings["pair_epochs"], int(4 * cae_steps / len(ordered) / steps)))
                tasks.append(functools.partial(arguments_of, run, path, pairs, epochs))
                targets.append((path, made_of))
                costs.append(epochs * steps)
    if nobody:
        utils.warn(f"no training subject posed both emotions, so there is no CAE for {', '.join(nobody)}")
    for number, file in utils.run_tasks(train_pair, tasks, "training a CAE per emotion pair", options, costs):
        utils.write_model(*targets[number], file)


# ---------------------------------------------------------------------------------------------------- options
UNSET = object()  # an option that was not given: an experiment that is there already keeps its own value


def crop_box(text):
    if text == "none":
        return None
    if not re.fullmatch(r"\d{1,5},\d{1,5},[1-9]\d{0,4}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text} is neither X,Y,SIDE in pixels nor none")
    return tuple(map(int, text.split(",")))


def patience(text):
    return None if text == "none" else utils.whole(1)(text)


def share(text):
    if not re.fullmatch(r"0?\.\d+|1(\.0*)?", text, re.ASCII) or float(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0 and at most 1")
    return float(text)


def arguments():
    parser = utils.parser(__doc__, experiment=False)
    add = functools.partial(parser.add_argument, default=UNSET)
    parser.add_argument("--data", type=Path, metavar="PATH", help="a folder in JAFFE naming, jaffe.zip, or a CSV manifest "
                        "file,subject,emotion (default: data/jaffe, data/jaffe.zip, or the stand-in)")
    parser.add_argument("--protocol", choices=tuple(utils.DEFAULTS), default="published",
                        help="published: the paper's split, runs differ in initialisation; holdout: a fresh 80/20 split per run; "
                        "loso: one subject left out per run (default: %(default)s)")
    add("--runs", type=utils.whole(1, 1000), metavar="N", help="default: 5 for published, 10 for holdout, one per subject for loso")
    add("--seed", type=utils.whole(0), metavar="S", help="run i uses seed S + i (default: 0)")
    parser.add_argument("--results", type=Path, default=utils.ROOT / "results", metavar="DIR",
                        help="where the experiment's folder is made (default: results/)")
    parser.add_argument("--crop", type=crop_box, default=utils.CROP, metavar="X,Y,SIDE",
                        help="the square that holds the face, in pixels of the image, or none (default: 50,65,161)")
    parser.add_argument("--scope", choices=("all", "pairs", "both"), default="all",
                        help="all: the paper's one CAE over all training faces; pairs: one CAE per ordered pair of emotions, "
                        "fine-tuned from it; both (default: %(default)s)")
    add("--latent", type=utils.whole(1, 4096), metavar="N", help="latent dimensions (default: 32, the paper's)")
    add("--cae-epochs", type=utils.whole(1), metavar="N", help="default: 80, the paper's")
    add("--pair-epochs", type=utils.whole(1), metavar="N", help="epochs of fine-tuning for an emotion pair (default: 8), "
        "fewer where all pairs together would cost more than four times the one CAE")
    add("--classifier-epochs", type=utils.whole(1), metavar="N", help="published: at most so many (default: 80, the paper's)")
    add("--patience", type=patience, metavar="N", help="published: epochs without a lower validation loss before the classifier "
        "stops (default: 5, the paper's); none trains all epochs")
    add("--steps", type=utils.whole(utils.STEPS_PER_LOOK), metavar="N", help="holdout and loso: optimiser steps of each classifier, "
        f"rounded down to hundreds (default: {utils.DEFAULTS['holdout']['steps']})")
    add("--real-share", type=share, metavar="F", help="share of real faces in the classifier's batches, for arms that have "
        "synthetic ones (default: published their natural proportion, else 0.5)")
    add("--keep", choices=("last", "best-loss", "best-accuracy"), help="the classifier's weights that are kept, by validation "
        "(default: published last, else best-loss)")
    return parser.parse_args()


if __name__ == "__main__":
    from train_cae import main  # by its module's name, so that worker processes find the same functions

    utils.run_script(main)
