"""Stage 3 of 4: train the CNN classifier (LeNet-5) once per arm, without and with synthetic faces.

    python train_classifier.py [EXPERIMENT]                    none, and each method of augment.py
    python train_classifier.py [EXPERIMENT] --arms translate   none and these

published: the paper's training. Up to 80 epochs in one fixed order, stopped after 5 epochs without
a lower loss on 25 % of the training set, which is drawn after augmentation, so it holds near-copies
of training faces. In all other protocols nothing is selected: every arm takes the same number of
optimiser steps, half of each batch real faces, and keeps the mean of its weights over the second
half of them.

The repeats of a run differ in initialisation; all arms of one start from the same weights. It
leaves run-NN/classifier-<arm>-<repeat>.npz: weights and learning curve. Seconds per classifier.
"""

import functools
import itertools

import numpy as np

import utils
from augment import arms_of, files_of, method_list, remove_files, synthetic_made_from
from data.experiment import all_faces, open_experiment, training_faces
from data.faces import SIDE, as_input
from utils import Problem, shown


def build_lenet5(emotions=7):
    """LeNet-5 as the paper has it: faces (n, 48, 48, 1) to probabilities (n, emotions)."""
    utils.tensorflow()
    from keras import Sequential, layers

    model = Sequential([
        layers.Input((SIDE, SIDE, 1)),
        layers.Resizing(32, 32),  # bilinear
        layers.Conv2D(6, 5, activation="relu"),
        layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation="relu"),
        layers.AveragePooling2D(2),
        layers.Conv2D(120, 5, activation="relu"),
        layers.Flatten(),
        layers.Dense(84, activation="relu"),
        layers.Dense(emotions, activation="softmax"),
    ])
    if emotions == 7:  # what the paper's layers add up to
        assert model.count_params() == 61_451
    return model


# ---------------------------------------------------------------------------------- the training
LOSS = "sparse_categorical_crossentropy"
LOOK = 100  # optimiser steps from one look at the weights to the next, where nothing is selected


def train_published(real, made, labels, emotions, settings, seed):
    """As the paper trains: the weights of the last epoch and the history, as they are saved.

    real: uint8 (m, 48, 48); made: float32 (n - m, 48, 48, 1); labels: int32 (n,) of both; settings:
    the experiment's. history: a row for each epoch, columns steps, loss, accuracy, validation loss
    and accuracy.
    """
    trainer, history = utils.trainer(build_lenet5, (emotions,), LOSS), []
    images, (train, held_out) = joined(real, made), published_split(labels)
    start = utils.initial_weights(trainer.model, seed)
    epochs = [train] * settings["classifier_epochs"]  # not reshuffled, as the paper
    for found in utils.fit(trainer, start, images, labels, epochs, settings["batch"]):
        seen = utils.in_batches(trainer.measure, images, labels, held_out, 64)
        steps = (len(history) + 1) * -(-len(train) // settings["batch"])
        history.append((steps, *found, *seen))
        since_best = len(history) - 1 - np.argmin([row[3] for row in history])
        if settings["patience"] and since_best >= settings["patience"]:
            break
    return {**utils.named(trainer.model.get_weights()), "history": np.float32(history)}


def joined(real, made):
    """Tensor float32 (n, 48, 48, 1): the real faces first, the synthetic ones after."""
    return utils.tensorflow().concat([as_input(real), made], axis=0)


def published_split(labels):
    """Rows (training, validation): 25 % of all, drawn after augmentation as the paper does."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    return train_test_split(rows, test_size=0.25, random_state=42, stratify=labels)


def train_steps(real, made, labels, emotions, settings, seed):
    """A fixed number of steps: weights and history, like `train_published` without validation.

    Kept are the last weights or the mean of those after every hundred steps of the second half
    (Izmailov et al. 2018, arXiv 1803.05407), summed as doubles. Accuracy: on the real faces, at
    most 1,000 of them.
    """
    trainer, images = utils.trainer(build_lenet5, (emotions,), LOSS), joined(real, made)
    looks, batch, history = settings["steps"] // LOOK, settings["batch"], []
    rounds = np.split(mixed_rows(len(real), len(images), settings["steps"], batch, seed), looks)
    start, few = utils.initial_weights(trainer.model, seed), np.arange(min(len(real), 1000))
    total = [np.zeros(weight.shape) for weight in start]
    for loss, _ in utils.fit(trainer, start, images, labels, rounds, batch):
        _, right = utils.in_batches(trainer.measure, images, labels, few, 64)
        history.append(((len(history) + 1) * LOOK, loss, right))
        if 2 * len(history) > looks:
            total = [one + other for one, other in zip(total, trainer.model.get_weights())]
    weights = trainer.model.get_weights()
    if settings["keep"] == "average":
        weights = [(sums / (looks - looks // 2)).astype(np.float32) for sums in total]
    return {**utils.named(weights), "history": np.float32(history)}


def mixed_rows(real, total, steps, batch, seed):
    """int (steps * batch,): batches of which every second face is one of the first `real` rows, the
    others, if there are any, of the rows up to `total`. Each are gone through in an order drawn
    anew every time round."""
    rng, rows = np.random.default_rng([*seed, 1]), np.empty(steps * batch, int)
    parts = [part for part in np.split(np.arange(total), [real]) if len(part)]
    for first, part in enumerate(parts):
        places = rows[first::len(parts)]  # a view: what is written to it is in rows
        rounds = [rng.permutation(part) for _ in range(-(-len(places) // len(part)))]
        places[:] = np.concatenate(rounds)[:len(places)]
    return rows


def training_set(experiment, run, arm, faces):
    """(real uint8 (m, 48, 48), synthetic float32 (n - m, 48, 48, 1), labels of both as numbers of
    experiment.emotions int32 (n,)).

    Raises `Problem` if a synthetic face was made from one that is no training face of the run.
    """
    made, emotions = np.empty((0, SIDE, SIDE, 1), np.float32), faces.emotions
    if arm != "none":
        path = experiment.npz(run, "synthetic", arm)
        made, of, parents, names = utils.load_arrays(path, "images", "emotions", "parents", "names")
        with utils.reading(path):
            strangers = set(names[np.unique(parents)].tolist()) - set(faces.names.tolist())
        if strangers:
            raise Problem(f"{shown(path)}: made from {shown(min(strangers))}, which is no training "
                          f"face of this run; remove it and run augment.py again")
        emotions = np.concatenate([emotions, of])
    return faces.images, made, np.searchsorted(experiment.emotions, emotions).astype(np.int32)


# ------------------------------------------------------------------------------------- the stage
def classifier_made_from(experiment, run, arm):
    synthetic = [] if arm == "none" else [experiment.npz(run, "synthetic", arm)]
    return utils.digests(experiment.npz(run, "split"), *synthetic)


def check_synthetic(experiment, seen, arms):
    """Raise `Problem` unless every run has the synthetic faces of all arms, made from its CAEs."""
    needed = {arm: {} for arm in arms if arm != "none"}
    for run in range(experiment.runs):
        for arm, files in needed.items():
            files[experiment.npz(run, "synthetic", arm)] = synthetic_made_from(
                experiment, run, arm, seen(run))
    for arm, files in needed.items():
        utils.demand(files, f"augment.py {experiment.path} --methods {arm}")


def check_classifiers(experiment, seen, arms):
    """`check_synthetic`, and likewise that every run has all classifiers of all arms."""
    check_synthetic(experiment, seen, arms)
    utils.demand({experiment.npz(run, "classifier", arm, repeat):
                  classifier_made_from(experiment, run, arm) for arm in arms
                  for run in range(experiment.runs) for repeat in range(experiment.repeats)},
                 f"train_classifier.py {experiment.path}")


def main():
    options = arguments()
    experiment = open_experiment(options.experiment)
    wanted = options.arms or arms_of(experiment, "synthetic")
    if not wanted:
        raise Problem(f"{experiment.path}: no synthetic faces yet; run augment.py "
                      f"{experiment.path} first, or give --arms none")
    arms = dict.fromkeys(["none", *wanted, *options.redo])
    seen = training_faces(experiment, all_faces(experiment))
    check_synthetic(experiment, seen, arms)
    train(experiment, seen, arms, options)
    draw(experiment)
    print(f"next: python evaluate.py {experiment.path}")


def train(experiment, seen, arms, options):
    """run-NN/classifier-<arm>-<repeat>.npz for every run, arm and repeat that has none yet."""
    def task(run, arm, repeat):
        real, made, labels = training_set(experiment, run, arm, seen(run))
        return {"real": real, "made": made, "labels": labels, "settings": experiment.settings,
                "emotions": len(experiment.emotions), "seed": [experiment.seed, run, repeat]}

    @functools.cache
    def steps(run, arm):
        faces = len(training_set(experiment, run, arm, seen(run))[2])
        # An arm that trains by epochs stops before its last one, at about the 30th on JAFFE.
        epochs = 0.75 * min(experiment.classifier_epochs, 30)
        return experiment.steps or epochs * faces / experiment.batch

    def cost(run, arm, repeat):
        return steps(run, arm)

    wanted = []
    for run, arm in itertools.product(range(experiment.runs), arms):
        made_from = classifier_made_from(experiment, run, arm)
        wanted += [utils.Artifact(experiment.npz(run, "classifier", arm, repeat), made_from,
                                  (run, arm, repeat)) for repeat in range(experiment.repeats)]
    remove_files(experiment, "classifier", options.redo)
    network = build_lenet5, (len(experiment.emotions),), LOSS, experiment.batch
    function = train_published if experiment.protocol == "published" else train_steps
    utils.make_missing(function, wanted, task, "training classifiers", options, cost, network)


def draw(experiment):
    """learning-curves.png: loss and accuracy against optimiser steps; of runs of one length their
    mean and a band from the 10th to the 90th percentile."""
    published = experiment.protocol == "published"
    figure, both = utils.new_figure(9, 3.4, ncols=2)
    for k, arm in enumerate(arms_of(experiment, "classifier")):
        style = {"color": utils.COLOURS[k % 10], "lw": 1.2, "ls": "-" if k < 10 else "--"}
        marked = {"marker": utils.MARKERS[k % 10], "ms": 4, "label": arm, **style,
                  "mfc": None if k < 10 else "white"}
        histories = [utils.load_arrays(path, "history")
                     for path in files_of(experiment, "classifier", arm)]
        for axes, column, scale in zip(both, (3, 4) if published else (1, 2), (1, 100)):
            if published:  # its runs stop at different epochs
                for history in histories:
                    axes.plot(history[:, 0], scale * history[:, column], alpha=0.3, **style)
                ends = np.stack([history[-1] for history in histories])
                axes.plot(ends[:, 0], scale * ends[:, column], **{**marked, "ls": ""})
                axes.set_xscale("log")
            else:
                steps, values = histories[0][:, 0], scale * np.stack(histories)[:, :, column]
                axes.fill_between(steps, *np.percentile(values, [10, 90], axis=0), alpha=0.15,
                                  color=style["color"], lw=0)
                axes.plot(steps, values.mean(0), markevery=max(1, len(steps) // 8), **marked)
    what = "validation" if published else "training"
    both[0].set(ylabel=f"{what} loss, nats", xlabel="optimiser steps", ylim=(0, None))
    both[1].set(ylabel=f"{what} accuracy, %", xlabel="optimiser steps", ylim=(0, 102))
    both[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    experiment.save_figure(figure, "learning-curves.png")


# --------------------------------------------------------------------------------------- options
def arguments():
    parser = utils.parser(__doc__)
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help=utils.WHICH)
    which = functools.partial(method_list, "none")
    parser.add_argument("--arms", type=which, default=[], metavar="X,Y", help="which, separated by "
                        "commas (default: one for each method that augment.py ran); none is always "
                        "trained, since every gain is a gain over it")
    parser.add_argument("--redo", type=which, default=[], metavar="X,Y", help="remove these arms' "
                        "classifiers in all runs and train them anew")
    return parser.parse_args()


if __name__ == "__main__":
    import train_classifier  # under its own name, so that worker processes find the same functions

    utils.run_script(train_classifier.main)
