"""Stage 1 of 4: train the convolutional autoencoders (CAE) that make the synthetic faces.

    python train_cae.py                        JAFFE if it is in data/, else drawn stand-in faces
    python train_cae.py --data my-faces/       your own: README.md has the layouts
    python train_cae.py --protocol loso        people that no training face shows
    python train_cae.py EXPERIMENT --runs 10   go on with one that is there

It makes an experiment's folder, results/<dataset>-<protocol>/, deals the faces of each run into
training and test faces, and trains on the training faces alone: run-NN/cae.npz, the paper's CAE
over all of them, and cae-AN-DI.npz and so on, one for each ordered pair of emotions, which turns a
face of one into the other. All options that decide the outcome are given here and kept in
experiment.json.

JAFFE, five runs: five to fifteen minutes on two cores. At the end it prints the next command.
"""

import itertools
import math
from urllib.parse import quote

import numpy as np

import utils
from data.experiment import SETTINGS, begin, read_split, training_faces, write_splits
from data.faces import EMOTION_NAMES, SCALES, SIDE, as_input
from utils import shown


# ----------------------------------------------------------------------------------- the network
def build_cae(latent=32):
    """The paper's autoencoder. Its two layers are the encoder, faces (n, 48, 48, 1) to latents
    (n, latent), and the decoder, back to faces: never below 0, for its last layer is a ReLU, but
    possibly above 1."""
    utils.tensorflow()
    from keras import Sequential, layers

    same = {"padding": "same", "activation": "relu"}
    encoder = Sequential([
        layers.Input((SIDE, SIDE, 1)),
        layers.Conv2D(32, 3, strides=1, **same),
        layers.Conv2D(64, 3, strides=2, **same),
        layers.Conv2D(64, 3, strides=2, **same),
        layers.Conv2D(64, 3, strides=1, **same),
        layers.Flatten(),
        layers.Dense(latent),
    ])
    decoder = Sequential([
        layers.Input((latent,)),
        layers.Dense(12 * 12 * 64),
        layers.Reshape((12, 12, 64)),
        layers.Conv2DTranspose(64, 3, strides=1, **same),
        layers.Conv2DTranspose(64, 3, strides=2, **same),
        layers.Conv2DTranspose(32, 3, strides=2, **same),
        layers.Conv2DTranspose(1, 3, strides=1, **same),
    ])
    if latent == 32:  # what the paper states
        assert (encoder.count_params(), decoder.count_params()) == (387_616, 396_737)
    return Sequential([layers.Input((SIDE, SIDE, 1)), encoder, decoder])


# ---------------------------------------------------------------------------------- the training
CAE_LOSS = "mean_squared_error"


def shuffled(count, seed, epochs):
    """The rows of each epoch in an order of its own, as Keras' `fit` has them."""
    return (np.random.default_rng([*seed, epoch]).permutation(count) for epoch in range(epochs))


def train_cae(images, validation, latent, epochs, batch, seed):
    """Train a CAE to give back `images`: its weights, loss and validation loss of each epoch.

    images, validation: uint8 (n, 48, 48); validation selects nothing and may be empty.
    """
    trainer, history = utils.trainer(build_cae, (latent,), CAE_LOSS), []
    start, orders = utils.initial_weights(trainer.model, seed), shuffled(len(images), seed, epochs)
    x, held_out = utils.tensorflow().constant(as_input(images)), as_input(validation)
    for loss, _ in utils.fit(trainer, start, x, x, orders, batch):
        seen, rows = math.nan, np.arange(len(held_out))
        if len(rows):
            seen, _ = utils.in_batches(trainer.measure, held_out, held_out, rows, 64)
        history.append((loss, seen))
    loss, validation_loss = np.float32(history).T
    return {**utils.named(trainer.model.get_weights()), "loss": loss,
            "validation_loss": validation_loss}


def train_pair(start, sources, targets, latent, epochs, batch, seed):
    """Fine-tune the CAE of weights `start` to turn each face of `sources` into that of `targets`,
    uint8 (n, 48, 48) both; its weights.

    They are float16: it moves a face by less than a grey level and halves the disk.
    """
    trainer = utils.trainer(build_cae, (latent,), CAE_LOSS)
    x, y, orders = as_input(sources), as_input(targets), shuffled(len(sources), seed, epochs)
    for _ in utils.fit(trainer, start, x, y, orders, batch):
        pass
    return utils.named(weight.astype(np.float16) for weight in trainer.model.get_weights())


def emotion_pairs(faces):
    """{(source, target): int (n, 2)} of every ordered pair of emotions that anybody posed: rows of
    all pairs of one person's faces, the first with emotion `source`, the second with `target`.
    People differ in takes and may lack an emotion: what there is counts."""
    known, pairs = faces.subjects != "", {}
    for key in itertools.permutations(np.unique(faces.emotions).tolist(), 2):
        first, second = (np.flatnonzero(known & (faces.emotions == emotion)) for emotion in key)
        a, b = np.nonzero(faces.subjects[first][:, None] == faces.subjects[second])
        if len(a):
            pairs[key] = np.stack([first[a], second[b]], axis=1)
    return pairs


def pair_plan(pairs, experiment, steps_of_cae):
    """{key: (rows, epochs)} for `emotion_pairs`.

    Every pair of emotions gets the experiment's epochs, but all together at most four times the
    steps of the one CAE. A data set with many takes a person has many times more pairs of faces: it
    gets fewer epochs and, where one is too much, an even selection of the pairs.
    """
    most = max(1, int(4 * steps_of_cae / len(pairs))) * experiment.batch
    plan = {}
    for key, rows in pairs.items():
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int)]
        steps = math.ceil(len(rows) / experiment.batch)
        plan[key] = rows, max(1, min(experiment.pair_epochs, most // experiment.batch // steps))
    return plan


# ------------------------------------------------------------------------------------- the stage
def cae_file(experiment, run, *pair):
    """run-NN/cae.npz or, for a pair of emotions, run-NN/cae-AN-DI.npz."""
    labels = (quote(emotion, safe="").replace("-", "%2D") for emotion in pair)
    return experiment.npz(run, "cae", *labels)


def cae_made_from(experiment, run, *pair):
    before = [cae_file(experiment, run)] if pair else []
    return utils.digests(experiment.npz(run, "split"), *before)


def main():
    options = arguments()
    given = {name: value for name, value in vars(options).items()
             if name in SETTINGS and value is not None}
    experiment, faces = begin(options.experiment, options.data, options.results, given)
    pairs = len(experiment.emotions) * (len(experiment.emotions) - 1) * (options.scope != "all")
    print(f"{experiment}; about {4 + 1.6 * pairs:.0f} MB of CAEs for each")
    write_splits(experiment, faces, options)
    seen = training_faces(experiment, faces)
    draw_faces(experiment, faces, seen(0))
    if options.scope in ("all", "both"):
        train_caes(experiment, seen, options)
    if options.scope in ("pairs", "both"):
        train_pairs(experiment, seen, options)
    draw_cae(experiment, seen(0), options)
    print(f"experiment: {experiment.path}\nnext: python augment.py {experiment.path}")


def cae_faces(experiment, faces):
    """The images (training, validation) of a run's CAE."""
    count = len(faces.names)
    if experiment.protocol == "published":  # as Keras' validation_split=0.25 does: the last quarter
        count = int(count * 0.75)
    return faces.images[:count], faces.images[count:]


def cae_steps(experiment, faces):
    images, _ = cae_faces(experiment, faces)
    return experiment.cae_epochs * math.ceil(len(images) / experiment.batch)


def train_caes(experiment, seen, options):
    """run-NN/cae.npz for every run that has none yet."""
    def task(run):
        images, validation = cae_faces(experiment, seen(run))
        return {"images": images, "validation": validation, "latent": experiment.latent,
                "epochs": experiment.cae_epochs, "batch": experiment.batch,
                "seed": [experiment.seed, run]}

    def cost(run):
        return cae_steps(experiment, seen(run))

    wanted = [utils.Artifact(cae_file(experiment, run), cae_made_from(experiment, run), (run,))
              for run in range(experiment.runs)]
    utils.make_missing(train_cae, wanted, task, "training CAEs", options, cost,
                       cae_network(experiment))


def cae_network(experiment):
    return build_cae, (experiment.latent,), CAE_LOSS, experiment.batch


def train_pairs(experiment, seen, options):
    """run-NN/cae-AN-DI.npz for every run and ordered pair of emotions that has none yet."""
    def task(run, rows, epochs):
        images = seen(run).images
        return {"start": utils.load_weights(cae_file(experiment, run)),
                "sources": images[rows[:, 0]], "targets": images[rows[:, 1]],
                "latent": experiment.latent, "epochs": epochs, "batch": experiment.batch,
                "seed": [experiment.seed, run]}

    def cost(run, rows, epochs):
        return epochs * math.ceil(len(rows) / experiment.batch)

    wanted = []
    for run in range(experiment.runs):
        utils.demand({cae_file(experiment, run): cae_made_from(experiment, run)},
                     f"train_cae.py {experiment.path} --scope both")
        pairs = emotion_pairs(seen(run))
        if not pairs:
            utils.warn(f"run {run}: nobody is known to show two emotions, so no pair has a CAE")
            continue
        plan = pair_plan(pairs, experiment, cae_steps(experiment, seen(run)))
        made_from = cae_made_from(experiment, run, *next(iter(plan)))  # the same for all pairs
        wanted += [utils.Artifact(cae_file(experiment, run, *key), made_from, (run, rows, epochs))
                   for key, (rows, epochs) in plan.items()]
    utils.make_missing(train_pair, wanted, task, "training a CAE per emotion pair", options, cost,
                       cae_network(experiment))


# ----------------------------------------------------------------------------------- the figures
def draw_faces(experiment, faces, train):
    """faces.png: what the networks will see; registration.png: what registration does to it."""
    emotions = experiment.emotions[:12]
    figure, grid = utils.new_figure(6.3, 0.85 * len(emotions) + 0.4, nrows=len(emotions), ncols=8)
    for row, emotion in zip(grid, emotions):
        rows = np.flatnonzero(train.emotions == emotion)
        row[0].set_ylabel(shown(EMOTION_NAMES.get(emotion, emotion)), fontsize=8)
        for k, axes in enumerate(row):
            utils.show_face(axes, train.images[rows[k * len(rows) // 8]] / 255)
    experiment.save_figure(figure, "faces.png")
    if experiment.align == "none":
        return
    rows, _, movements, _ = read_split(experiment, faces, 0)
    before = faces.images[rows]
    chosen = np.argsort(-np.abs(movements / SCALES).sum(1), kind="stable")[:7]
    figure, grid = utils.new_figure(8, 2.5, nrows=2, ncols=8)
    for row, images, label in zip(grid, (before, train.images), ("before", "after")):
        utils.show_face(row[0], images.mean(0) / 255, "mean")
        row[0].set_ylabel(label)
        for axes, face in zip(row[1:], chosen):
            x, y, angle, zoom = movements[face]
            what = f"{x:+.0f}, {y:+.0f} px\n{math.degrees(angle):+.0f}°, {100 * zoom:+.0f} %"
            utils.show_face(axes, images[face] / 255, what if label == "after" else "")
    experiment.save_figure(figure, "registration.png")


def look(weights, images, chosen, latent):
    """(latents of all images, what the CAE gives back for the chosen rows)."""
    model = build_cae(latent)
    model.set_weights(weights)
    encoder, decoder = model.layers
    latents = utils.predict(encoder, as_input(images))
    return latents, utils.predict(decoder, latents[chosen])


def draw_cae(experiment, train, options):
    """cae-loss.png over all runs; reconstructions.png and latents.png of run 0's training faces."""
    files = [cae_file(experiment, run) for run in range(experiment.runs)]
    histories = np.array([[*utils.load_arrays(file, "loss", "validation_loss")] for file in files])
    figure, axes = utils.new_figure(5, 3)
    for k, name in enumerate(("training", "validation")):
        values, epochs = histories[:, k], np.arange(1, histories.shape[2] + 1)
        if not np.isnan(values).any():
            style = {"color": utils.COLOURS[5 * k]}
            axes.fill_between(epochs, values.min(0), values.max(0), alpha=0.2, lw=0, **style)
            axes.plot(epochs, values.mean(0), "--" if k else "-", label=name, **style)
    axes.set(yscale="log", xlabel="epoch", ylabel="mean squared error (white = 1)")
    axes.legend(title=f"mean and range of {len(files)}" if len(files) > 1 else None)
    experiment.save_figure(figure, "cae-loss.png")

    fitted, count = len(cae_faces(experiment, train)[0]), len(train.names)
    groups = {"training": (0, fitted - 1), "validation": (fitted, count - 1)}
    groups = {name: np.linspace(*ends, 8).astype(int) for name, ends in groups.items()
              if ends[1] >= ends[0]}
    chosen = np.concatenate([*groups.values()])
    task = {"weights": utils.load_weights(files[0]), "images": train.images, "chosen": chosen,
            "latent": experiment.latent}
    (_, (latents, again)), = utils.run_tasks(look, [lambda: task], "", options)
    figure, grid = utils.new_figure(8, 2.3 * len(groups) + 0.2, nrows=2 * len(groups), ncols=8)
    for k, row in enumerate(chosen):
        above, below = grid[2 * (k // 8), k % 8], grid[2 * (k // 8) + 1, k % 8]
        face = as_input(train.images[row])
        error, who = np.mean((again[k] - face) ** 2), f"{train.subjects[row]} {train.emotions[row]}"
        utils.show_face(above, face, shown(who))
        utils.show_face(below, again[k], f"error {error:.4f}")
    for k, name in enumerate(groups):
        grid[2 * k, 0].set_ylabel(f"{name}\nface", fontsize=8)
        grid[2 * k + 1, 0].set_ylabel("given back", fontsize=8)
    experiment.save_figure(figure, "reconstructions.png")
    if experiment.latent > 1:
        draw_latents(experiment, train, latents)


def draw_latents(experiment, train, latents):
    from sklearn.decomposition import PCA

    pca = PCA(2, random_state=0).fit(latents)
    spots, share = pca.transform(latents), 100 * pca.explained_variance_ratio_
    figure, both = utils.new_figure(9, 3.6, ncols=2)
    for axes, labels, title in zip(both, (train.emotions, train.subjects), ("emotion", "person")):
        groups = sorted(set(labels.tolist()))
        for k, group in enumerate(groups[:20]):
            axes.plot(*spots[labels == group].T, utils.MARKERS[k % 10], color=utils.COLOURS[k % 10],
                      mfc="none" if k > 9 else None, ms=4, label=shown(group) or "unknown")
        axes.set(title=f"by {title}{', the first 20' if len(groups) > 20 else ''}",
                 xlabel=f"first principal component ({share[0]:.0f} % of the variance)",
                 ylabel=f"second ({share[1]:.0f} %)")
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5),
                    ncols=1 + (len(groups) > 10))
    experiment.save_figure(figure, "latents.png")


# --------------------------------------------------------------------------------------- options
def arguments():
    parser = utils.parser(__doc__)
    add, deciding = parser.add_argument, parser.add_argument_group("what decides the outcome")
    add("experiment", nargs="?", metavar="EXPERIMENT", help="the folder of one to go on with: only "
        "--runs may grow and --data may move")
    add("--data", metavar="PATH", help="a folder, a zip or a CSV of faces (default: data/jaffe, "
        "data/jaffe.zip, or the stand-in)")
    add("--results", default=utils.ROOT / "results", metavar="DIR", help="where a new experiment's "
        "folder is made (default: results/)")
    add("--scope", choices=("both", "all", "pairs"), default="both", help="all: the CAE over all "
        "training faces; pairs: one per ordered pair of emotions, tuned from it (default: both)")

    for name, how in SETTINGS.items():
        deciding.add_argument(f"--{name.replace('_', '-')}", **how)
    return parser.parse_args()


if __name__ == "__main__":
    import train_cae  # under its own name, so that worker processes find the same functions

    utils.run_script(train_cae.main)
