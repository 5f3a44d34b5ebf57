"""Stage 1 of 4: split the faces, and train the convolutional autoencoders (CAE) that make new ones.

    python train_cae.py                        JAFFE if it is in data/, else drawn stand-in faces
    python train_cae.py --data my-faces/       your own: see data/README.md
    python train_cae.py --protocol loso        test on subjects that no training face shows
    python train_cae.py EXPERIMENT --runs 10   resume an experiment, with more runs

It makes an experiment's folder, results/<dataset>-<protocol>/, and splits the faces of each run
into run-NN/train.npz and test.npz, as the networks see them; the other scripts read only this
folder.
On the training faces it trains run-NN/cae.npz, the paper's CAE over all emotions (in published and
cv on the first 75 % of the faces, the others are its validation), and cae-AN-DI.npz (anger to
disgust) and so on, one for each ordered pair of emotions that a subject showed, which turns a face
of one into the other. The options that decide the outcome are given here and kept in
experiment.json.

JAFFE, five runs: five to twelve minutes on two cores. At the end it prints the next command.
"""

import functools
import itertools
import math

import numpy as np

import utils
from data.experiment import SETTINGS, create_or_resume, faces_of, setting_help
from data.faces import SIDE, as_input
from data.protocols import split_faces
from data.reading.words import EMOTION_NAMES
from data.registration import SCALES, mean_face, register, registered_faces
from utils import Job


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
def train_cae(train, *, latent, cae_epochs, batch, validation_share, seed):
    """Train a CAE to reconstruct the training faces.

    Parameters
    ----------
    train : dict
        "images": uint8 (n, 48, 48).
    latent, cae_epochs, batch : int
        Latent dimensions; epochs; faces in a batch.
    validation_share : float, 0 to below 1
        The share of the faces, the last ones, that only a validation loss is computed on, as
        Keras' `validation_split` has it. It selects nothing.
    seed : list of int
        Of initial weights and shuffling.

    Returns
    -------
    dict
        "w00", "w01", ...: float32, the weights in the order of Keras' `get_weights`. "loss",
        "validation_loss": float32 (epochs,), mean squared error with white = 1; the second is
        empty where there are no validation faces.
    """
    images = as_input(train["images"])
    first = int(len(images) * (1 - validation_share))  # of the validation faces
    model, fit = trainable_cae(latent)
    untrained = build_cae(latent)  # the other one may have been trained before
    model.set_weights(utils.initial_weights(untrained, seed))
    losses, validation_losses = fit(images[:first], images[:first], epochs=cae_epochs, batch=batch,
                                    seed=seed, validation=images[first:])
    return {**utils.named_weights(model.get_weights()), "loss": np.float32(losses),
            "validation_loss": np.float32(validation_losses)}


def train_pair(train, cae, *, source, target, latent, pair_epochs, batch, max_pairs, seed):
    """Fine-tune the CAE to turn each face of one emotion into each face of another that the same
    subject posed.

    Parameters
    ----------
    train : dict
        "images": uint8 (n, 48, 48); "emotions", "subjects": str (n,). Faces whose
        subject is unknown, "", are not paired.
    cae : dict
        What `train_cae` returned: the weights to start from.
    source, target : str
        The two emotions.
    latent, pair_epochs, batch : int
        As `latent`, `cae_epochs` and `batch` of `train_cae`.
    max_pairs : int
        If there are more pairs of faces, an evenly spaced selection of so many.
    seed : list of int
        Of the shuffling.

    Returns
    -------
    dict
        "w00", "w01", ...: float16 weights; the rounding moves a face by less than a grey level and
        halves the disk. "source", "target": str ().
    """
    rows = same_subject_pairs(train["emotions"], train["subjects"], source, target)
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), max_pairs)).astype(int)]
    images = as_input(train["images"])
    model, fit = trainable_cae(latent)
    model.set_weights(utils.weights_of(cae))
    fit(images[rows[:, 0]], images[rows[:, 1]], epochs=pair_epochs, batch=batch, seed=seed)
    weights = [weight.astype(np.float16) for weight in model.get_weights()]
    return {**utils.named_weights(weights), "source": np.array(source), "target": np.array(target)}


def same_subject_pairs(emotions, subjects, source, target):
    """int (n, 2): every pair of rows of one known subject, the first row with emotion `source`,
    the second with `target`. Subjects differ in takes and may lack an emotion."""
    known = subjects != ""
    first = np.flatnonzero(known & (emotions == source))
    second = np.flatnonzero(known & (emotions == target))
    a, b = np.nonzero(subjects[first][:, np.newaxis] == subjects[second])
    return np.stack([first[a], second[b]], axis=1)


@functools.cache
def trainable_cae(latent):
    """(model, fit): the one CAE of this process with so many latent dimensions, and the function
    that trains it. TensorFlow traces it once; it is trained often, each time from the weights that
    it has been given."""
    tf = utils.tensorflow()
    import keras

    model, adam = build_cae(latent), keras.optimizers.Adam()  # its defaults are the paper's
    adam.build(model.trainable_variables)
    fresh = [variable.numpy() for variable in adam.variables]

    @tf.function(jit_compile=utils.xla_works())  # a tenth of the step's time less
    def apply_adam(gradients):
        adam.apply(gradients, model.trainable_variables)

    faces = tf.TensorSpec((None, SIDE, SIDE, 1), tf.float32)

    @tf.function(input_signature=(faces, faces, tf.TensorSpec((None,), tf.int32),
                                  tf.TensorSpec((), tf.int32)))  # for sets of all sizes
    def take_epoch(x, y, order, batch):
        """An optimiser step for each batch of the rows in `order`; the last may be shorter."""
        total = 0.0
        for first in tf.range(0, tf.size(order), batch):
            rows = order[first:first + batch]
            targets = tf.gather(y, rows)
            with tf.GradientTape() as tape:
                outputs = model(tf.gather(x, rows), training=True)
                loss = tf.reduce_mean(tf.square(outputs - targets))
            apply_adam(tape.gradient(loss, model.trainable_variables))
            total += loss * tf.cast(tf.size(rows), tf.float32)
        return total / tf.cast(tf.size(order), tf.float32)

    def fit(x, y, *, epochs, batch, seed, validation=()):
        """Train the CAE to turn x into y, float32 (n, 48, 48, 1), in another order each epoch.

        Returns the mean loss of each epoch, and after each the loss of reconstructing the faces of
        `validation`. Keras' own `fit` took 1.2 to 1.35 times the processor time of this loop,
        `train_on_batch` 1.15 times; and once TensorFlow's generator is seeded, `fit` shuffles all
        epochs alike.
        """
        for variable, value in zip(adam.variables, fresh):
            variable.assign(value)
        x, y, batch = tf.constant(x), tf.constant(y), tf.constant(batch)
        losses, validation_losses = [], []
        for epoch in range(epochs):
            order = np.random.default_rng([*seed, epoch]).permutation(len(x))
            losses.append(float(take_epoch(x, y, order.astype(np.int32), batch)))
            if len(validation):
                reconstructions = utils.outputs(model, validation)
                validation_losses.append(np.mean((reconstructions - validation) ** 2))
        return losses, validation_losses

    return model, fit


def emotion_pairs(faces):
    """{(source, target): int (n, 2)} of every ordered pair of emotions that any subject showed, as
    `same_subject_pairs` has them."""
    pairs = {}
    for source, target in itertools.permutations(np.unique(faces.emotions).tolist(), 2):
        rows = same_subject_pairs(faces.emotions, faces.subjects, source, target)
        if len(rows):
            pairs[source, target] = rows
    return pairs


# ------------------------------------------------------------------------------------- the splits
def write_splits(experiment, data_set, options):
    """Write run-NN/train.npz and test.npz of each run where one is missing.

    Where the protocol registers faces, each is moved onto the mean of the run's training faces.
    No test face has a part in this mean, and no label.
    """
    faces, rows_of, registered = data_set.faces, {}, {}
    for run in experiment.runs:
        if not all(utils.up_to_date(experiment.file(run, kind)) for kind in ("train", "test")):
            rows_of[run] = split_faces(faces, data_set.splits, experiment.settings, run)
    mean, transforms = np.zeros(0, np.float32), np.zeros((len(faces.names), 4))  # unregistered
    if experiment.settings["align"] == "mean":
        # Where all runs have one split, the first one's registration is that of all.
        distinct = list(rows_of)[:1 if experiment.protocol.one_split else None]
        registered = register_runs(data_set.wide_crops, {run: rows_of[run] for run in distinct},
                                   options)
    for run, rows_of_kinds in rows_of.items():
        if run in registered:
            mean, transforms = registered[run]
            faces = faces._replace(images=registered_faces(data_set.faces.images,
                                                           data_set.wide_crops, transforms))
        for kind, rows in zip(("train", "test"), rows_of_kinds):
            arrays = {**faces.take(rows)._asdict(), "transforms": transforms[rows]}
            if kind == "train":
                arrays["mean"] = mean
            file = experiment.file(run, kind)
            note = utils.made_from(file, {"experiment": experiment.identity, "run": run})
            utils.save_arrays(file, note, arrays)


def register_runs(wide_crops, rows_of, options):
    """{run: (mean, transforms)}: the mean of its training faces (of at most 1,000, evenly spaced)
    and how each face is moved onto it, float64 (faces, 4): shift x and y, angle, zoom.

    rows_of: {run: (training rows, test rows)}
    """
    runs, means = list(rows_of), {}
    calls = [functools.partial(mean_face, wide_crops[train_rows[::len(train_rows) // 1000 + 1]])
             for train_rows, _ in rows_of.values()]
    for number, mean in utils.run_calls(calls, [1] * len(runs), "mean faces", options):
        means[runs[number]] = mean
    chunks = []
    for run, (train_rows, test_rows) in rows_of.items():
        rows = np.concatenate([train_rows, test_rows])
        chunks += [(run, chunk) for chunk in np.array_split(rows, math.ceil(len(rows) / 100))]
    calls = (functools.partial(register, wide_crops[rows], means[run]) for run, rows in chunks)
    transforms = {run: np.zeros((len(wide_crops), 4)) for run in runs}
    for number, moves in utils.run_calls(calls, [len(rows) for _, rows in chunks],
                                         "registering faces", options):
        run, rows = chunks[number]
        transforms[run][rows] = moves
    return {run: (means[run], transforms[run]) for run in runs}


# ------------------------------------------------------------------------------------- the stage
def pair_file(experiment, run, source, target):
    """run-NN/cae-AN-DI.npz"""
    return experiment.file(run, "cae", source, target)


def main():
    options = arguments()
    given = {name: value for name, value in vars(options).items()
             if name in SETTINGS and value is not None}
    experiment, data_set = create_or_resume(options.experiment, options.data, options.results,
                                            given)
    settings, share = experiment.settings, experiment.protocol.training.validation_share
    print(experiment)
    write_splits(experiment, data_set, options)
    draw_faces(experiment, data_set, options)

    jobs, pair_jobs = [], []
    for run in experiment.runs:
        train_file, cae_file = experiment.file(run, "train"), experiment.file(run, "cae")
        faces = faces_of(utils.load_arrays(train_file))
        fitted = int(len(faces.names) * (1 - share))
        steps = settings["cae_epochs"] * math.ceil(fitted / settings["batch"])
        common = {"latent": settings["latent"], "batch": settings["batch"],
                  "seed": [settings["seed"], run]}
        jobs.append(Job(cae_file, train_cae, {"train": train_file}, {
            "cae_epochs": settings["cae_epochs"], "validation_share": share, **common}, steps))
        if options.scope == "all":
            continue
        max_pairs, pair_epochs, steps_of = pair_plan(emotion_pairs(faces), settings, steps)
        if not steps_of:
            utils.warn(f"run {run}: no subject is known to show two emotions, so no pair has a CAE")
        elif pair_epochs < settings["pair_epochs"] and run == 0:
            print(f"each emotion pair gets {pair_epochs} epochs, not {settings['pair_epochs']}, so "
                  f"that all take at most about four times the steps of the one CAE")
        for (source, target), pair_steps in steps_of.items():
            pair_jobs.append(Job(
                pair_file(experiment, run, source, target), train_pair,
                {"train": train_file, "cae": cae_file},
                {"source": source, "target": target, "pair_epochs": pair_epochs,
                 "max_pairs": max_pairs, **common}, pair_steps))
    if options.scope == "pairs":
        utils.require([job.path for job in jobs], experiment.command("train_cae.py"))
    else:
        utils.run_jobs(jobs, "training CAEs", options)
    utils.run_jobs(pair_jobs, "training a CAE per emotion pair", options)
    draw_cae(experiment, options)
    methods = ["--methods interpolate"] if options.scope == "all" else []  # others need the pairs
    print(f"experiment: {utils.printable(experiment.folder)}\n"
          f"next: {experiment.command('augment.py', *methods)}")


def pair_plan(pairs, settings, steps_of_cae):
    """(most pairs of faces, epochs, {(source, target): steps}) for `emotion_pairs`.

    All pairs of emotions get the experiment's epochs, but together at most four times the steps of
    the one CAE. A data set with many takes a subject has many times more pairs of faces: it gets
    fewer epochs and, where one is too much, fewer pairs of faces.
    """
    if not pairs:
        return 0, 0, {}
    most_steps = 4 * steps_of_cae
    max_pairs = max(1, most_steps // len(pairs)) * settings["batch"]
    steps_per_epoch = {key: math.ceil(min(len(rows), max_pairs) / settings["batch"])
                       for key, rows in pairs.items()}
    epochs = max(1, min(settings["pair_epochs"], most_steps // sum(steps_per_epoch.values())))
    return max_pairs, epochs, {key: epochs * steps for key, steps in steps_per_epoch.items()}


# ----------------------------------------------------------------------------------- the figures
def draw_faces(experiment, data_set, options):
    """faces.png: what the networks will see; registration.png: what registration does to it."""
    arrays = utils.load_arrays(experiment.file(0, "train"))
    emotions = experiment.emotions[:12]
    labels = utils.figure_labels([EMOTION_NAMES.get(emotion, emotion) for emotion in emotions])
    figure, grid = utils.new_figure(6.3, 0.85 * len(emotions) + 0.4, nrows=len(emotions), ncols=8)
    for row, emotion, label in zip(grid, emotions, labels):
        rows = np.flatnonzero(arrays["emotions"] == emotion)
        row[0].set_ylabel(label, fontsize=8)
        for k, axes in enumerate(row):
            utils.show_face(axes, arrays["images"][rows[k * len(rows) // 8]] / 255)
    experiment.save_figure(figure, "faces.png", options)
    if experiment.settings["align"] == "none":
        return
    transforms = arrays["transforms"]
    row_of = {name: row for row, name in enumerate(data_set.faces.names.tolist())}
    unregistered = data_set.faces.images[[row_of[name] for name in arrays["names"].tolist()]]
    chosen = np.argsort(-np.abs(transforms / SCALES).sum(1), kind="stable")[:7]
    figure, grid = utils.new_figure(8, 2.5, nrows=2, ncols=8)
    for row, images, label in zip(grid, (unregistered, arrays["images"]), ("before", "after")):
        utils.show_face(row[0], images.mean(0) / 255, "mean")
        row[0].set_ylabel(label)
        for axes, face in zip(row[1:], chosen):
            x, y, angle, zoom = transforms[face]
            moved = f"{x:+.0f}, {y:+.0f} px\n{math.degrees(angle):+.0f}°, {100 * zoom:+.0f} %"
            utils.show_face(axes, images[face] / 255, moved if label == "after" else "")
    experiment.save_figure(figure, "registration.png", options)


def draw_cae(experiment, options):
    """cae-loss.png over all runs; reconstructions.png and latents.png of run 0's training faces."""
    caes = [utils.load_arrays(experiment.file(run, "cae")) for run in experiment.runs]
    figure, axes = utils.new_figure(5, 3)
    for k, (name, label) in enumerate((("loss", "training"), ("validation_loss", "validation"))):
        values = np.stack([cae[name] for cae in caes])
        if values.size:
            epochs, style = np.arange(1, values.shape[1] + 1), {"color": utils.COLOURS[5 * k]}
            axes.fill_between(epochs, values.min(0), values.max(0), alpha=0.2, lw=0, **style)
            line = ("o" if len(epochs) == 1 else "") + ("--" if k else "-")
            axes.plot(epochs, values.mean(0), line, label=label, **style)
    axes.set(yscale="log", xlabel="epoch", ylabel="mean squared error (white = 1)")
    axes.legend(title=f"mean and range of {len(caes)}" if len(caes) > 1 else None)
    experiment.save_figure(figure, "cae-loss.png", options)

    faces = faces_of(utils.load_arrays(experiment.file(0, "train")))
    images, settings = as_input(faces.images), experiment.settings
    latents, reconstructions = utils.call_once(encode_and_decode, options, images,
                                               utils.weights_of(caes[0]), settings["latent"])
    draw_reconstructions(experiment, faces, images, reconstructions, options)
    if settings["latent"] > 1:
        draw_latents(experiment, faces, latents, options)


def encode_and_decode(images, weights, latent):
    """(latents of the images, their reconstructions)."""
    model = build_cae(latent)
    model.set_weights(weights)
    encoder, decoder = model.layers
    latents = utils.outputs(encoder, images)
    return latents, utils.outputs(decoder, latents)


def draw_reconstructions(experiment, faces, images, reconstructions, options):
    share, count = experiment.protocol.training.validation_share, len(images)
    first = int(count * (1 - share))  # of the validation faces
    groups = {"training": np.linspace(0, first - 1, 8).astype(int)}
    if share:
        groups["validation"] = np.linspace(first, count - 1, 8).astype(int)
    figure, grid = utils.new_figure(8, 2.3 * len(groups) + 0.2, nrows=2 * len(groups), ncols=8)
    for k, (group, rows) in enumerate(groups.items()):
        grid[2 * k, 0].set_ylabel(f"{group}\nface", fontsize=8)
        grid[2 * k + 1, 0].set_ylabel("reconstruction", fontsize=8)
        for row, above, below in zip(rows, grid[2 * k], grid[2 * k + 1]):
            error = np.mean((reconstructions[row] - images[row]) ** 2)
            caption = experiment.caption(faces.subjects[row], faces.emotions[row])
            utils.show_face(above, images[row], caption)
            utils.show_face(below, reconstructions[row], f"error {error:.4f}")
    experiment.save_figure(figure, "reconstructions.png", options)


def draw_latents(experiment, faces, latents, options):
    from sklearn.decomposition import PCA

    pca = PCA(2, random_state=0).fit(latents)
    spots, share = pca.transform(latents), 100 * pca.explained_variance_ratio_
    figure, panels = utils.new_figure(9, 3.6, ncols=2)
    groupings = (faces.emotions, "emotion"), (faces.subjects, "subject")
    for axes, (labels, title) in zip(panels, groupings):
        groups = sorted(set(labels.tolist()))
        for k, (group, label) in enumerate(zip(groups[:20], utils.figure_labels(groups[:20]))):
            axes.plot(*spots[labels == group].T, utils.MARKERS[k % 10], color=utils.COLOURS[k % 10],
                      mfc="none" if k > 9 else None, ms=4, label=label or "unknown")
        axes.set(title=f"by {title}{', the first 20' if len(groups) > 20 else ''}",
                 xlabel=f"first principal component ({share[0]:.0f} % of the variance)",
                 ylabel=f"second ({share[1]:.0f} %)")
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5),
                    ncols=1 + (len(groups) > 10))
    experiment.save_figure(figure, "latents.png", options)


# --------------------------------------------------------------------------------------- options
def arguments():
    parser = utils.parser(__doc__)
    add, deciding = parser.add_argument, parser.add_argument_group("what decides the outcome")
    add("experiment", nargs="?", metavar="EXPERIMENT", help="the folder of an experiment to be "
        "resumed; --runs may only grow, --data may have moved")
    add("--data", metavar="PATH", help="a folder, a zip or a CSV of faces (default: data/jaffe, "
        "data/jaffe.zip, or the stand-in)")
    add("--results", default=utils.ROOT / "results", metavar="DIR", help="where a new experiment's "
        "folder is made (default: results/)")
    add("--scope", choices=("both", "all", "pairs"), default="both", help="all: the CAE over all "
        "training faces; pairs: one per ordered pair of emotions, tuned from it (default: both)")
    for name, setting in SETTINGS.items():
        deciding.add_argument(f"--{name.replace('_', '-')}", type=setting.read, metavar="X",
                              help=setting_help(name))
    return parser.parse_args()


if __name__ == "__main__":
    utils.run_script(__file__)
