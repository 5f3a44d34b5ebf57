"""Stage 2 of 4: make synthetic faces from the training faces, one set per augmentation method.

    python augment.py [EXPERIMENT]                               translate, interpolate, controls
    python augment.py [EXPERIMENT] --methods interpolate,blend   these
    python augment.py [EXPERIMENT] --methods all                 all that the faces allow
    python augment.py [EXPERIMENT] --png FOLDER                  and as images, for other networks

    translate        the CAE per emotion pair, the abstract's "different facial expressions": every
                     training face turned into each other emotion
    interpolate      the author's notebooks: decode(theta z_a + (1 - theta) z_b) for every pair
                     (a, b) of training faces of one emotion
    transfer         subject j given i's change from emotion B to A, by the latents z of their
                     faces: decode(z(j, B) + z(i, A) - z(i, B))
    person-mean      control of translate: the pixel mean of the subject's faces of that emotion
    linear           control of translate: principal components and ridge regression in its place
    blend            control of interpolate: its pairs averaged as pixels
    reconstruct      control of interpolate: the CAE's blur alone, without mixing two faces
    pixel-transfer   control of transfer: the same three faces added and subtracted as pixels

It leaves run-NN/synthetic-<method>.npz: images, emotions and, for each face, its parents (rows of
`names`, the training faces) and their coefficients. Seconds to a minute per run.
"""

import argparse
import collections
import csv
import functools
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import utils
from data.experiment import faces_of, open_experiment, shortened
from data.faces import as_input
from train_cae import build_cae, emotion_pairs, pair_file
from utils import Job, Problem, listed


class Synthetic(NamedTuple):
    """n synthetic faces and what they were made from."""

    images: np.ndarray  # float32 (n, 48, 48, 1), never below 0 but possibly above 1
    emotions: np.ndarray  # str (n,)
    parents: np.ndarray  # int (n, k): rows of the training faces
    coefficients: np.ndarray  # float32 (n, k): how much each parent counts for; 0: a place not used


class Tools(NamedTuple):
    """What a method or control may use beside the training faces."""

    encode: Callable  # images to latents, by the run's CAE, where the method needs "cae"
    decode: Callable  # latents to images, likewise
    translate: Callable  # (source, target, images) to images, where it needs "pairs"
    synthetic: Synthetic  # for a control: the faces of its method, as they were saved
    latent: int
    theta: float
    max_synthetic: int
    seed: list


# ----------------------------------------------------------------------------------- the methods
# A method or control is a function (faces, tools) -> Synthetic. `faces` are the run's training
# faces, their images float32 (n, 48, 48, 1) in [0, 1].
def interpolate(faces, tools):
    """The decoded middle of every pair of faces of one emotion, as the author's notebooks have it.
    Where theta is not 0.5, it is the share of the earlier face.

    Of more than `tools.max_synthetic` pairs so many are drawn, of each emotion in proportion to its
    faces.
    """
    rng = np.random.default_rng(tools.seed)
    pairs = same_emotion_pairs(faces.emotions, tools.max_synthetic, rng)
    coefficients = np.tile(np.float32([tools.theta, 1 - tools.theta]), (len(pairs), 1))
    images = tools.decode(weighted_sum(tools.encode(faces.images)[pairs], coefficients))
    return Synthetic(images, faces.emotions[pairs[:, 0]], pairs, coefficients)


def same_emotion_pairs(emotions, max_pairs, rng):
    """int (n, 2): unordered pairs of rows of one emotion, emotion by emotion: all or, if there are
    more than `max_pairs`, some drawn at random."""
    groups = [np.flatnonzero(emotions == emotion) for emotion in np.unique(emotions)]
    counts = [len(rows) * (len(rows) - 1) // 2 for rows in groups]
    pairs = [np.empty((0, 2), int)]
    for rows, count in zip(groups, counts):
        wanted = count
        if sum(counts) > max_pairs:
            wanted = min(count, max_pairs * len(rows) // len(emotions))
        if count <= max(2 * wanted, 100_000):  # listed, else there may be millions
            pairs_of_emotion = np.stack(np.triu_indices(len(rows), 1), axis=1)
            if wanted < count:
                pairs_of_emotion = pairs_of_emotion[np.sort(rng.choice(count, wanted, False))]
        else:
            drawn = set()
            while len(drawn) < wanted:
                drawn.add(tuple(sorted(rng.choice(len(rows), 2, replace=False).tolist())))
            pairs_of_emotion = np.array(sorted(drawn), int).reshape(-1, 2)
        pairs.append(rows[pairs_of_emotion])
    return np.concatenate(pairs)


def weighted_sum(parents, coefficients):
    """The sums over the second axis of (n, k, ...), weighted with (n, k): float32 (n, ...)."""
    return np.einsum("nk...,nk->n...", parents, coefficients, dtype=np.float32)


def translate(faces, tools):
    """Every face in each other emotion that a CAE was trained for; of more than
    `tools.max_synthetic` so many are drawn."""
    pairs, rows, targets = emotion_pairs(faces), [], []
    for source, target in pairs:
        rows_of_source = np.flatnonzero(faces.emotions == source)
        rows += rows_of_source.tolist()
        targets += [target] * len(rows_of_source)
    rows, targets = np.array(rows), np.array(targets)
    if len(rows) > tools.max_synthetic:
        rng = np.random.default_rng(tools.seed)
        kept = np.sort(rng.choice(len(rows), tools.max_synthetic, replace=False))
        rows, targets = rows[kept], targets[kept]
    images = np.empty((len(rows), *faces.images.shape[1:]), np.float32)
    for source, target in pairs:
        chosen = (faces.emotions[rows] == source) & (targets == target)
        if chosen.any():
            images[chosen] = tools.translate(source, target, faces.images[rows[chosen]])
    return Synthetic(images, targets, rows[:, None], np.ones((len(rows), 1), np.float32))


def transfer(faces, tools):
    """One subject's change of expression added to another's latent: z(j, B) + z(i, A) - z(i, B).

    Subjects i != j and emotions A != B are drawn at random, as many of each A as `interpolate` has,
    and none of an A that nobody showed beside another emotion.
    """
    # The pairs that `interpolate` draws, and so as many of each emotion.
    pairs = same_emotion_pairs(faces.emotions, tools.max_synthetic,
                               np.random.default_rng(tools.seed))
    rng = np.random.default_rng(tools.seed)
    rows_of, donors = rows_by_subject(faces), {}
    for row, (i, a) in enumerate(zip(faces.subjects.tolist(), faces.emotions.tolist())):
        others = [b for b in sorted(rows_of) if b != a and i in rows_of[b] and len(rows_of[b]) > 1]
        if others:  # the emotions B that i and somebody else showed
            donors.setdefault(a, []).append((row, i, others))

    def drawn(choices):
        return choices[rng.integers(len(choices))]

    parents = []
    for a in faces.emotions[pairs[:, 0]].tolist():
        if a in donors:
            row, i, others = drawn(donors[a])
            b = drawn(others)
            j = drawn([subject for subject in rows_of[b] if subject != i])
            parents.append((drawn(rows_of[b][j]), row, drawn(rows_of[b][i])))
    parents = np.array(parents, int).reshape(-1, 3)
    coefficients = np.tile(np.float32([1, 1, -1]), (len(parents), 1))
    images = tools.decode(weighted_sum(tools.encode(faces.images)[parents], coefficients))
    return Synthetic(images, faces.emotions[parents[:, 1]], parents, coefficients)


def rows_by_subject(faces):
    """{emotion: {subject: rows}}, of known subjects."""
    rows = {}
    for row, (subject, emotion) in enumerate(zip(faces.subjects.tolist(),
                                                 faces.emotions.tolist())):
        if subject:
            rows.setdefault(emotion, {}).setdefault(subject, []).append(row)
    return rows


# ---------------------------------------------------------------------------------- the controls
# A control makes as many faces of each emotion as its method, of the same parents where it can.
def weighted_pixels(faces, tools):
    """blend and pixel-transfer: the weighted sums of the parents' pixels, in [0, 1]."""
    synthetic = tools.synthetic
    images = weighted_sum(faces.images[synthetic.parents], synthetic.coefficients)
    return synthetic._replace(images=images.clip(0, 1))


def reconstruct(faces, tools):
    """What the CAE makes of each training face, in turn: its blur without a second face."""
    rows = np.zeros(len(tools.synthetic.emotions), int)
    for emotion in np.unique(tools.synthetic.emotions):
        places = np.flatnonzero(tools.synthetic.emotions == emotion)
        rows[places] = np.resize(np.flatnonzero(faces.emotions == emotion), len(places))
    images = tools.decode(tools.encode(faces.images))[rows]
    return Synthetic(images, tools.synthetic.emotions, rows[:, None],
                     np.ones((len(rows), 1), np.float32))


def person_mean(faces, tools):
    """The mean of the subject's training faces of the target emotion, which a translator trained on
    mean squared error tends to.

    Where the subject has none, another subject's mean stands in, each in turn.
    """
    rows_of, synthetic = rows_by_subject(faces), tools.synthetic
    most = max(len(rows) for subjects in rows_of.values() for rows in subjects.values())
    parents = np.zeros((len(synthetic.emotions), most), int)
    coefficients = np.zeros(parents.shape, np.float32)
    for k, target in enumerate(synthetic.emotions.tolist()):
        subjects = rows_of[target]
        subject = faces.subjects[synthetic.parents[k, 0]]
        rows = subjects.get(subject) or list(subjects.values())[k % len(subjects)]
        parents[k] = np.resize(rows, most)
        coefficients[k, :len(rows)] = 1 / len(rows)
    images = [weighted_sum(faces.images[rows][None], shares[None])[0]
              for rows, shares in zip(parents, coefficients)]
    return Synthetic(np.stack(images), synthetic.emotions, parents, coefficients)


STRENGTHS = np.logspace(-3, 4, 15)  # penalties, times the mean squared singular value of x


def linear(faces, tools):
    """A linear translator for each emotion pair, fitted on the same pairs of faces as its CAE.

    Ridge regression from the source face's principal components, as many as the CAE has latent
    dimensions, to the target face's pixels, its strength chosen by generalised cross-validation on
    the training pairs (Golub, Heath and Wahba, Technometrics 21, 1979).
    """
    from sklearn.decomposition import PCA

    pixels = faces.images.reshape(len(faces.images), -1)
    pca = PCA(min(tools.latent, len(pixels) - 1), random_state=0).fit(pixels)
    scores = pca.transform(pixels)
    synthetic = tools.synthetic
    images, rows = np.empty_like(synthetic.images), synthetic.parents[:, 0]
    for (source, target), pairs in emotion_pairs(faces).items():
        chosen = (faces.emotions[rows] == source) & (synthetic.emotions == target)
        if chosen.any():
            predict = ridge(scores[pairs[:, 0]], pixels[pairs[:, 1]])
            translated = predict(scores[rows[chosen]]).clip(0, 1)
            images[chosen] = translated.reshape(-1, *faces.images.shape[1:])
    return synthetic._replace(images=images)


def ridge(x, y):
    """A function that predicts y (n, q) from x (n, p), its strength by cross-validation."""
    x_mean, y_mean = x.mean(0), y.mean(0)
    if np.allclose(x, x_mean):  # one source face: nothing to regress on
        return lambda new: np.tile(y_mean, (len(new), 1))
    u, s, v = np.linalg.svd(x - x_mean, full_matrices=False)
    projected = u.T @ (y - y_mean)
    total, best = np.sum((y - y_mean) ** 2), None
    for strength in STRENGTHS * np.mean(s**2):
        shrunk = s**2 / (s**2 + strength)
        # The residual of the fit; 1 degree of freedom is the mean's.
        residual = total - np.sum((2 * shrunk - shrunk**2)[:, None] * projected**2)
        score = residual / max(len(x) - 1 - shrunk.sum(), 1e-9) ** 2
        if best is None or score < best[0]:
            best = score, v.T @ ((s / (s**2 + strength))[:, None] * projected)
    return lambda new: y_mean + (new - x_mean) @ best[1]


# ----------------------------------------------------------------------------- the table of both
def no_two_emotions(faces):
    return "" if emotion_pairs(faces) else "no subject is known to show two emotions"


def no_common_change(faces):
    rows_of = rows_by_subject(faces)
    if any(len(rows_of[target]) > 1 for _, target in emotion_pairs(faces)):
        return ""
    return "no subject shows two emotions one of which another subject shows too"


class Method(NamedTuple):
    make: Callable  # (faces, tools) -> Synthetic
    needs: str = ""  # "cae", "pairs" (the CAEs per emotion pair) or nothing
    control: str = ""  # of a method: the control that tells whether its autoencoder is needed
    control_of: str = ""  # of a control: its method
    why_not: Callable = lambda faces: ""  # why these training faces do not allow it, if so


# A method of your own is a function and a row here, and so is a control:
#
#     def brighter(faces, tools):
#         """Each training face once more, a fifth brighter."""
#         rows = np.arange(len(faces.names))
#         return Synthetic(faces.images * 1.2, faces.emotions, rows[:, None],
#                          np.ones((len(rows), 1), np.float32))
#
#     METHODS["brighter"] = Method(brighter)
METHODS = {
    "translate": Method(translate, "pairs", control="person-mean", why_not=no_two_emotions),
    "person-mean": Method(person_mean, control_of="translate", why_not=no_two_emotions),
    "linear": Method(linear, control_of="translate", why_not=no_two_emotions),
    "interpolate": Method(interpolate, "cae", control="blend"),
    "blend": Method(weighted_pixels, control_of="interpolate"),
    "reconstruct": Method(reconstruct, "cae", control_of="interpolate"),
    "transfer": Method(transfer, "cae", control="pixel-transfer", why_not=no_common_change),
    "pixel-transfer": Method(weighted_pixels, control_of="transfer", why_not=no_common_change),
}
DEFAULT_METHODS = ["translate", "person-mean", "interpolate", "blend"]


# ------------------------------------------------------------------------------------- the stage
def make_synthetic(train, caes, synthetic=None, *, method, latent, theta, max_synthetic, balance,
                   seed):
    """Make the faces of a method or control.

    Parameters
    ----------
    train : dict
        The arrays of train.npz.
    caes : list of dict
        Those of the CAEs that the method needs.
    synthetic : dict, optional
        For a control: the arrays of its method's faces.
    method : str
        A row of METHODS.
    latent, theta, max_synthetic, balance : settings of the experiment
    seed : list of int

    Returns
    -------
    dict
        The arrays of a `Synthetic`, and "names", str (m,), of the training faces.
    """
    faces = faces_of(train)
    faces = faces._replace(images=as_input(faces.images))
    row = METHODS[method]
    encode = decode = translate_by = None  # the tools that the method does not need
    if row.needs:
        model = build_cae(latent)
    if row.needs == "cae":
        model.set_weights(utils.weights_of(caes[0]))
        encode, decode = (functools.partial(utils.outputs, part) for part in model.layers)
    if row.needs == "pairs":
        weights_of_pair = {(str(cae["source"]), str(cae["target"])): utils.weights_of(cae)
                           for cae in caes}

        def translate_by(source, target, images):
            model.set_weights(weights_of_pair[source, target])
            return utils.outputs(model, images)

    if synthetic is not None:
        synthetic = Synthetic(*(synthetic[name] for name in Synthetic._fields))
    tools = Tools(encode, decode, translate_by, synthetic, latent, theta, max_synthetic, seed)
    new = row.make(faces, tools)
    if balance == "yes" and not row.control_of:  # a control has as many as its method
        rows = balancing_rows(faces.emotions, new.emotions, np.random.default_rng([*seed, 4]))
        new = Synthetic(*(array[rows] for array in new))
    if not len(new.emotions):
        raise Problem(f"{method}: makes no face in run {seed[1]}; leave the method out, or begin "
                      f"with a larger --max-synthetic or without --balance")
    return {"names": faces.names, **new._asdict()}


def balancing_rows(real, synthetic, rng):
    """Rows of the synthetic emotions, drawn at random: with them each emotion is as frequent as the
    most frequent real one, as far as there are enough."""
    emotions, counts = np.unique(real, return_counts=True)
    rows = [np.empty(0, int)]
    for emotion, count in zip(emotions, counts):
        of_emotion = np.flatnonzero(synthetic == emotion)
        lacking = min(counts.max() - count, len(of_emotion))
        rows.append(rng.choice(of_emotion, lacking, replace=False))
    return np.sort(np.concatenate(rows))


def warn_of_unfilled(experiment, method):
    """Say which emotions `balancing_rows` could not bring to the number of the most frequent one.
    """
    for run in experiment.runs:
        real, made = (collections.Counter(utils.load_arrays(experiment.file(
            run, *words))["emotions"].tolist()) for words in (["train"], ["synthetic", method]))
        most = max(real.values())
        short = [f"{emotion} {made[emotion]} of {most - count}"
                 for emotion, count in sorted(real.items()) if made[emotion] < most - count]
        if short:
            utils.warn(f"{method}: too few faces to balance run {run}: {listed(short, 8)}")
            return


def main():
    options = arguments()
    if options.png == "":
        raise Problem("--png: is empty; give a folder")
    experiment = open_experiment(options.experiment)
    chosen = possible_methods(experiment, options.methods, options.redo)
    redo = METHODS if "all" in options.redo else options.redo
    settings = {name: experiment.settings[name]
                for name in ("latent", "theta", "max_synthetic", "balance")}
    jobs, control_jobs = [], []
    for run in experiment.runs:
        train_file = experiment.file(run, "train")
        pairs = emotion_pairs(faces_of(utils.load_arrays(train_file)))
        cae_files = {"": [], "cae": [experiment.file(run, "cae")],
                     "pairs": [pair_file(experiment, run, *pair) for pair in pairs]}
        for method in chosen:
            row = METHODS[method]
            utils.require(cae_files[row.needs], experiment.command("train_cae.py"))
            inputs = {"train": train_file, "caes": cae_files[row.needs]}
            if row.control_of:
                inputs["synthetic"] = experiment.file(run, "synthetic", row.control_of)
            job = Job(experiment.file(run, "synthetic", method), make_synthetic, inputs,
                      {"method": method, "seed": [experiment.settings["seed"], run], **settings})
            (control_jobs if row.control_of else jobs).append(job)
    for wanted, label in ((jobs, "making synthetic faces"),
                          (control_jobs, "making their controls")):
        utils.run_jobs(wanted, label, options,
                       redo=[job for job in wanted if job.settings["method"] in redo])
    if settings["balance"] == "yes":
        for method in chosen:
            warn_of_unfilled(experiment, method)
    draw(experiment, options)
    if options.png:
        export(experiment, chosen, options.png)
    print(f"next: {experiment.command('train_classifier.py')}")


def possible_methods(experiment, asked, redo):
    """The methods asked for that the training faces of every run allow, and before each control the
    method that it is a control of.

    Raises `Problem` for another one if it was asked for by its name; else it is left out.
    """
    by_name = [method for method in asked + redo if method != "all"]
    chosen = [*by_name]
    if "all" in asked:
        chosen += METHODS
    elif "all" in redo:
        chosen += synthetic_of(experiment, 0)
    if not asked:
        chosen += DEFAULT_METHODS
    reasons = dict.fromkeys(chosen, "")
    for run in experiment.runs:
        faces = faces_of(utils.load_arrays(experiment.file(run, "train")))
        for method in reasons:
            reasons[method] = reasons[method] or METHODS[method].why_not(faces)
    possible = []
    for method, reason in reasons.items():
        if not reason:
            possible += filter(None, [METHODS[method].control_of, method])
        elif method in by_name:
            raise Problem(f"{method}: {reason}; leave the method out")
        else:
            print(f"without {method}: {reason}")
    return list(dict.fromkeys(possible))


def export(experiment, methods, folder):
    """Write the synthetic faces as folder/run-00/translate/<emotion>/<parents>.png, 8-bit grey, and
    beside the emotions a CSV of each face's parents and their coefficients, | between them.

    Keras' image_dataset_from_directory and torchvision's ImageFolder read such folders.
    """
    count = 0
    for run in experiment.runs:
        for method in methods:
            arrays = utils.load_arrays(experiment.file(run, "synthetic", method))
            place = Path(folder) / f"run-{run:02d}" / method
            files, table = as_images(arrays)
            if set(place.glob("*/*.png")) - {place / name for name in files}:
                raise Problem(f"{place}: holds other faces, of an earlier --png perhaps; remove "
                              f"them, or give another folder")
            for name, image in files.items():
                utils.write_file(place / name, image)
            utils.write_text(place / "parents.csv", table)
            count += len(files)
            lacking = sorted(set(experiment.emotions) - set(arrays["emotions"].tolist()))
            if lacking and run == 0:
                utils.warn(f"{method}: no face of {listed(lacking, 8)}, and so no folder: give "
                           f"your image loader the names of all classes")
    print(f"{count} faces written to {utils.printable(folder)}")


def as_images(arrays):
    """({"<emotion>/<parents>.png": bytes}, text of parents.csv) of the arrays of synthetic faces.
    """
    files, text = {}, io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "emotion", "parents", "coefficients"])
    for k, image in enumerate(arrays["images"][..., 0]):
        emotion, used = str(arrays["emotions"][k]), np.flatnonzero(arrays["coefficients"][k])
        names = arrays["names"][arrays["parents"][k, used]].tolist()
        stem = "+".join(Path(name).stem for name in names)
        stem = shortened(re.sub(r"[^\w.+-]", "_", f"{k:05d} {stem}"), 200)
        label = re.sub(r"[/\\\0%]|^\.", lambda match: f"%{ord(match[0]):X}", emotion)
        stream = io.BytesIO()
        Image.fromarray(np.rint(255 * image.clip(0, 1)).astype(np.uint8)).save(stream, "PNG")
        name = f"{shortened(label, 200)}/{stem}.png"
        files[name] = stream.getvalue()
        table.writerow([name, emotion, "|".join(names), "|".join(
            f"{coefficient:.4g}" for coefficient in arrays["coefficients"][k, used])])
    return files, text.getvalue()


def synthetic_of(experiment, run):
    """{method: file} of the synthetic faces that a run has, in the order of METHODS."""
    files = {method: experiment.file(run, "synthetic", method) for method in METHODS}
    return {method: file for method, file in files.items() if file.exists()}


def draw(experiment, options):
    """synthetic.png: for each method, faces of run 0 (framed) beside their parents."""
    faces = faces_of(utils.load_arrays(experiment.file(0, "train")))
    files = synthetic_of(experiment, 0)
    figure, grid = utils.new_figure(11, 1.15 * len(files) + 0.4, nrows=len(files), ncols=14,
                                    squeeze=False)
    for row, (method, file) in zip(grid, files.items()):
        arrays = utils.load_arrays(file)
        synthetic, cells = Synthetic(*(arrays[name] for name in Synthetic._fields)), []
        shown = [np.flatnonzero(shares)[:3] for shares in synthetic.coefficients]  # of the parents
        count = int(len(row) / (1 + np.mean([len(columns) for columns in shown])))
        order = np.argsort(synthetic.emotions, kind="stable")  # examples of all emotions
        for k in order[((np.arange(count) + 0.5) * len(order) / count).astype(int)]:
            if len(cells) + len(shown[k]) + 1 > len(row):
                break
            for column in shown[k]:
                parent = synthetic.parents[k, column]
                name = experiment.caption(faces.subjects[parent], faces.emotions[parent])
                minus = "minus " if synthetic.coefficients[k, column] < 0 else ""
                cells.append((faces.images[parent] / 255, minus + name))
            caption = f"-> {experiment.labels[synthetic.emotions[k]]}"
            cells.append((synthetic.images[k], caption, utils.COLOURS[5]))
        for axes in row[len(cells):]:
            axes.axis("off")
        for axes, cell in zip(row, cells):
            utils.show_face(axes, *cell)
        title = f"{method}\n{len(synthetic.images)} faces".replace("-", "-\n", 1)
        if method in ("interpolate", "blend"):
            title += f"\ntheta {experiment.settings['theta']}"
        row[0].set_ylabel(title, fontsize=7)
    experiment.save_figure(figure, "synthetic.png", options)


# --------------------------------------------------------------------------------------- options
def method_list(text):
    """argparse type: names of METHODS, or all."""
    methods = text.split(",")
    for method in methods:
        if method not in (*METHODS, "all"):
            raise argparse.ArgumentTypeError(f"no method '{method}'; there are "
                                             f"{', '.join(METHODS)} and all")
    return methods


def arguments():
    parser = utils.parser(__doc__)
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help=utils.EXPERIMENT_HELP)
    parser.add_argument("--methods", type=method_list, default=[], metavar="X,Y", help="which, "
                        "separated by commas, or all that the faces allow (default: "
                        f"{','.join(DEFAULT_METHODS)})")
    parser.add_argument("--redo", type=method_list, default=[], metavar="X,Y", help="make these "
                        "methods' faces anew in all runs")
    parser.add_argument("--png", metavar="FOLDER", help="write the faces as 8-bit images too: "
                        "FOLDER/run-00/translate/EMOTION/PARENTS.png, and a CSV of their parents")
    return parser.parse_args()


if __name__ == "__main__":
    utils.run_script(__file__)
