"""Stage 2 of 4: make synthetic faces from the training faces, one set per augmentation method.

    python augment.py [EXPERIMENT]                                   the paper's method and the control beside it
    python augment.py [EXPERIMENT] --methods interpolate,blend       these
    python augment.py [EXPERIMENT] --methods all                     all, `translate` where its CAEs were trained
    python augment.py [EXPERIMENT] --theta 0.25:0.75                 draw theta anew for each pair

    interpolate   the paper: decode(theta z_a + (1 - theta) z_b) for every pair (a, b) of training faces of one emotion
    translate     every training face of emotion A through the CAE that was trained to turn A into B, for each B
    transfer      decode(z(j, B) + z(i, A) - z(i, B)): person j given person i's change of expression from B to A
    duplicate     control: training faces repeated
    blend         control: interpolate's pairs averaged as pixels, no autoencoder
    geometric     control: small random flips, shifts, rotations and zooms of training faces
    X+Y           Y applied to the faces that X made, such as interpolate+geometric

All but translate make as many faces of each emotion as interpolate does (transfer none of an emotion that it has no
people for). It leaves run-NN/synthetic-<method>.npz with the faces and, for each of them, its emotion, its parents'
names and their weights. A few seconds per run.
"""

import argparse
import functools
import json
import random
import re
import zlib
from typing import NamedTuple

import numpy as np

import utils
from train_cae import build_cae


class Synthetic(NamedTuple):
    """n synthetic faces: images float32 (n, 48, 48, 1), never below 0 but possibly above 1; emotions str (n,); parents
    int32 (n, k), rows of the faces they were made from; weights float32 (n, k), how much each parent counts for."""

    images: np.ndarray
    emotions: np.ndarray
    parents: np.ndarray
    weights: np.ndarray


class Tools(NamedTuple):
    """What a method may use: the run's CAE as encode(images) and decode(latents), translate(source, target, images) or
    None where there is no CAE for the pair, the range of theta, a seed (list of int), and the most faces to make."""

    encode: callable
    decode: callable
    translate: callable
    theta: tuple
    seed: list
    most: int


# ---------------------------------------------------------------------------------------------------- the methods
def same_emotion_pairs(emotions, most, seed):
    """int64 (n, 2): every unordered pair (a < b) of faces of one emotion, emotion by emotion; at most `most` of them,
    drawn at random. The pairs are numbered, not listed: 10,000 faces have seven million."""
    members = [np.flatnonzero(emotions == emotion) for emotion in sorted(set(emotions.tolist()))]
    counts = [len(rows) * (len(rows) - 1) // 2 for rows in members]
    total = sum(counts)
    chosen = np.arange(total) if total <= most else np.sort(random.Random(str(seed)).sample(range(total), most))
    pairs, first = [], 0
    for rows, count in zip(members, counts):
        number = chosen[(chosen >= first) & (chosen < first + count)] - first
        n = len(rows)
        a = (n - 2 - np.floor(np.sqrt(4.0 * n * (n - 1) - 8 * number - 7) / 2 - 0.5)).astype(int)  # row of the triangle
        b = number + a + 1 - n * (n - 1) // 2 + (n - a) * (n - a - 1) // 2
        pairs.append(np.stack([rows[a], rows[b]], axis=1))
        first += count
    if not total:
        raise utils.Problem("no emotion has two training faces to make a pair of; add faces, or choose another protocol")
    return np.concatenate(pairs)


def pairs_and_weights(faces, tools):
    """The pairs and, float32 (n, 2), theta and 1 - theta of each: the same for `interpolate` and for `blend`."""
    pairs = same_emotion_pairs(faces.emotions, tools.most, tools.seed)
    low, high = tools.theta
    theta = np.random.default_rng(tools.seed).uniform(low, high, len(pairs)) if low < high else np.full(len(pairs), low)
    return pairs, np.stack([theta, 1 - theta], axis=1).astype(np.float32)


def interpolate(faces, tools):
    pairs, weights = pairs_and_weights(faces, tools)
    latents = tools.encode(faces.images)
    return Synthetic(tools.decode(np.einsum("nk,nkd->nd", weights, latents[pairs])), faces.emotions[pairs[:, 0]], pairs, weights)


def blend(faces, tools):
    pairs, weights = pairs_and_weights(faces, tools)
    images = sum(weights[:, k, None, None, None] * faces.images[pairs[:, k]] for k in range(2))
    return Synthetic(images, faces.emotions[pairs[:, 0]], pairs, weights)


def repeated_rows(faces, tools):
    """int64 (n,): the faces in turn, as often as `interpolate` makes a face of their emotion."""
    wanted = faces.emotions[same_emotion_pairs(faces.emotions, tools.most, tools.seed)[:, 0]]
    rows = np.empty(len(wanted), int)
    for emotion in set(wanted.tolist()):
        rows[wanted == emotion] = np.resize(np.flatnonzero(faces.emotions == emotion), (wanted == emotion).sum())
    return rows


def duplicate(faces, tools, rows=None):
    rows = repeated_rows(faces, tools) if rows is None else rows
    return Synthetic(faces.images[rows], faces.emotions[rows], rows[:, None], np.ones((len(rows), 1), np.float32))


def geometric(faces, tools, rows=None):
    utils.tensorflow()
    from keras import Sequential, layers

    seed, nearest = zlib.crc32(str(tools.seed).encode()) % 2**31, {"fill_mode": "nearest"}
    move = Sequential([layers.RandomFlip("horizontal", seed=seed), layers.RandomTranslation(0.05, 0.05, seed=seed + 1, **nearest),
                       layers.RandomRotation(7 / 360, seed=seed + 2, **nearest),  # a fraction of the full turn
                       layers.RandomZoom((-0.06, 0.06), seed=seed + 3, **nearest)])
    plain = duplicate(faces, tools, rows)
    return plain._replace(images=utils.in_chunks(lambda images: move(images, training=True), plain.images))


def transfer_parents(faces, tools):
    """int64 (n, 3): faces (j, B), (i, A), (i, B), people i != j, emotions A != B; as many of each A as `interpolate` makes."""
    rng = np.random.default_rng(tools.seed)
    posed = {}  # emotion -> person -> rows
    for row, (subject, emotion) in enumerate(zip(faces.subjects.tolist(), faces.emotions.tolist())):
        posed.setdefault(emotion, {}).setdefault(subject, []).append(row)
    possible = {}  # row of (i, A) -> the emotions B that i and somebody else posed
    for row, (i, a) in enumerate(zip(faces.subjects.tolist(), faces.emotions.tolist())):
        others = [b for b in sorted(posed) if b != a and i in posed[b] and len(posed[b]) > 1]
        if others:
            possible.setdefault(a, []).append((row, i, others))
    wanted = faces.emotions[same_emotion_pairs(faces.emotions, tools.most, tools.seed)[:, 0]]
    parents = []
    for a in wanted.tolist():
        if a in possible:
            row, i, others = possible[a][rng.integers(len(possible[a]))]
            b = others[rng.integers(len(others))]
            people = [person for person in posed[b] if person != i]
            theirs = posed[b][people[rng.integers(len(people))]]
            parents.append((theirs[rng.integers(len(theirs))], row, posed[b][i][rng.integers(len(posed[b][i]))]))
    if not parents:
        raise utils.Problem("transfer: no two people posed two emotions in common; leave the method out")
    return np.array(parents)


def transfer(faces, tools):
    parents = transfer_parents(faces, tools)
    latents = tools.encode(faces.images)[parents]
    return Synthetic(tools.decode(latents[:, 0] + latents[:, 1] - latents[:, 2]), faces.emotions[parents[:, 1]], parents,
                     np.tile(np.float32([1, 1, -1]), (len(parents), 1)))


def translate(faces, tools):
    images, emotions, rows = [], [], []
    for source in sorted(set(faces.emotions.tolist())):
        of_source = np.flatnonzero(faces.emotions == source)
        for target in sorted(set(faces.emotions.tolist()) - {source}):
            translated = tools.translate(source, target, faces.images[of_source])
            if translated is not None:
                images.append(translated)
                emotions += [target] * len(of_source)
                rows.append(of_source)
    if not rows:
        raise utils.Problem("translate: there is no CAE for any pair of emotions; train them with train_cae.py --scope both")
    rows = np.concatenate(rows)
    return Synthetic(np.concatenate(images), np.array(emotions), rows[:, None], np.ones((len(rows), 1), np.float32))


# A new method is a function of (faces, tools) and a row here.
METHODS = {"interpolate": interpolate, "translate": translate, "transfer": transfer, "duplicate": duplicate, "blend": blend,
           "geometric": geometric}
ONE_FOR_ONE = {"duplicate", "geometric"}  # after a +, these make one face of each that the first method made


def synthesize(method, faces, tools):
    """The `Synthetic` faces of a method or of methods joined by +; parents are rows of `faces` whatever the number of steps."""
    first, *others = method.split("+")
    made = METHODS[first](faces, tools)
    for name in others:
        subjects = np.array(["+".join(sorted(set(subjects))) for subjects in faces.subjects[made.parents].tolist()])
        between = utils.Faces(made.images, np.arange(len(made.images)).astype(str), subjects, made.emotions)
        after = METHODS[name](between, tools, np.arange(len(made.images))) if name in ONE_FOR_ONE else METHODS[name](between, tools)
        n = len(after.images)
        made = after._replace(parents=made.parents[after.parents].reshape(n, -1),
                              weights=(after.weights[..., None] * made.weights[after.parents]).reshape(n, -1))
    return made


def augment(method, faces, latent, cae, pairs, theta, seed, most, report=lambda fraction: None):
    """`synthesize` with CAEs as `utils.read_model` gives them: cae, and pairs as {(source, target): CAE}."""
    model = build_cae(latent)
    utils.load_weights(model, cae)
    encoder, decoder = model.layers
    translator = build_cae(latent) if pairs else None

    def translated(source, target, images):
        if (source, target) not in pairs:
            return None
        utils.load_weights(translator, pairs[source, target])
        return utils.in_chunks(translator, images)

    chunks = functools.partial(utils.in_chunks, threads=utils.parallel_operations)
    tools = Tools(functools.partial(chunks, encoder), functools.partial(chunks, decoder), translated, theta, seed, most)
    return synthesize(method, faces, tools)


# ---------------------------------------------------------------------------------------------------- the stage
def main():
    options = arguments()
    experiment = utils.open_experiment(options.experiment)
    with utils.locked(experiment["folder"]):
        theta, most = augmentation_settings(experiment, options)
        make_synthetic_faces(experiment, options, theta, most)
    shown = utils.shown_path(experiment["folder"])
    utils.say(f"next: python train_classifier.py {shown}")


def augmentation_settings(experiment, options):
    """theta and the most faces, as augment.json of the experiment has them or, the first time, as the options say."""
    path = experiment["folder"] / "augment.json"
    there = read_settings(experiment["folder"])
    for key in there:
        asked = getattr(options, key)
        if asked is not None and asked != there[key]:
            raise utils.Problem(f"{utils.shown(experiment['folder'])}: its synthetic faces were begun with {key} {there[key]}, now "
                                f"{asked} is asked for; remove augment.json and run-*/synthetic-*.npz there to make them anew")
    settings = there or {"theta": options.theta or "0.5", "max_synthetic": options.max_synthetic or 10_000}
    if not there:
        utils.write_json(path, settings)
    return settings["theta"], settings["max_synthetic"]


def read_settings(folder):
    """augment.json of an experiment, {} where there is none yet."""
    path = folder / "augment.json"
    if not path.exists():
        return {}
    with utils.damaged(path):
        settings = json.loads(path.read_text("utf-8"))
        theta_range(settings["theta"])
        if type(settings["max_synthetic"]) is not int or not 1 <= settings["max_synthetic"] <= 10**7:
            raise ValueError("max_synthetic is not a whole number from 1 to 10000000")
        return {"theta": settings["theta"], "max_synthetic": settings["max_synthetic"]}


def make_synthetic_faces(experiment, options, theta, most):
    settings, emotions = experiment["settings"], experiment["dataset"]["emotions"]
    faces_of = utils.training_faces(experiment)

    def pair_files(folder):
        return {(a, b): path for a in emotions for b in emotions if (path := folder / f"cae-{a}-{b}.keras").exists()}

    def arguments_of(run, method):
        folder = utils.run_folder(experiment, run)
        pairs = {key: utils.read_model(path) for key, path in pair_files(folder).items()} if "translate" in method else {}
        return {"method": method, "faces": faces_of(run)[0], "latent": settings["latent"], "pairs": pairs,
                "cae": utils.read_model(folder / "cae.keras"), "theta": theta_range(theta), "most": most,
                "seed": [settings["seed"], run]}

    todo = []
    for run in range(settings["runs"]):
        folder = utils.run_folder(experiment, run)
        pairs = pair_files(folder)
        for method in options.methods or [name for name in (*METHODS, "interpolate+geometric") if name != "translate" or pairs]:
            if "translate" in method and not pairs:
                raise utils.Problem(f"{utils.shown(folder)}: holds no CAE of an emotion pair, which {method} needs; run "
                                    f"train_cae.py with --scope pairs and the options of this experiment first")
            inputs = [folder / "cae.keras", *(pairs.values() if "translate" in method else [])]
            made_of = utils.provenance(experiment, inputs, method=method, theta=theta, max_synthetic=most)
            path = folder / f"synthetic-{method}.npz"
            if not utils.finished(path, made_of):
                todo.append((run, method, path, made_of))
    tasks = [functools.partial(arguments_of, run, method) for run, method, _, _ in todo]
    for number, made in utils.run_tasks(augment, tasks, "making synthetic faces", options):
        run, method, path, made_of = todo[number]
        utils.write_arrays(path, made_of, images=made.images.astype(np.float32, copy=False), emotions=made.emotions,
                           names=faces_of(run)[0].names, parents=made.parents.astype(np.int32),
                           weights=made.weights.astype(np.float32), method=np.array(method))
        if run == 0:
            utils.say(f"run 0: {len(made.images)} synthetic faces by {method} from {len(faces_of(run)[0].names)} training faces")


# ---------------------------------------------------------------------------------------------------- options
def theta_range(text):
    """(low, high) from `0.5` or `0.25:0.75`."""
    parts = str(text).split(":")
    if len(parts) > 2 or not all(re.fullmatch(r"-?(\d+\.?\d*|\.\d+)", part, re.ASCII) for part in parts):
        raise argparse.ArgumentTypeError(f"theta {text} is neither a number such as 0.5 nor a range such as 0.25:0.75")
    low, high = float(parts[0]), float(parts[-1])
    if not -5 <= low <= high <= 5:
        raise argparse.ArgumentTypeError(f"theta {text} does not lie between -5 and 5, lower end first")
    return low, high


def theta_text(text):
    theta_range(text)
    return text


def method_list(text):
    if text == "all":
        return None
    methods = text.split(",")
    unknown = [name for method in methods for name in method.split("+") if name not in METHODS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no method {unknown[0]}; there are {', '.join(METHODS)}, and X+Y")
    return list(dict.fromkeys(methods))


def arguments():
    parser = utils.parser(__doc__)
    parser.add_argument("--methods", type=method_list, default=["interpolate", "duplicate"], metavar="X,Y,X+Y",
                        help="which, separated by commas, or all (default: interpolate,duplicate)")
    parser.add_argument("--theta", type=theta_text, metavar="T", help="the weight of a pair's first face (default: 0.5, the "
                        "paper's), or LOW:HIGH to draw it uniformly for each pair; below 0 or above 1 extrapolates (write "
                        "--theta=-0.5:1.5 then)")
    parser.add_argument("--max-synthetic", type=utils.whole(1, 10**7), metavar="N", help="the most faces that a method makes; of more "
                        "pairs so many are drawn at random (default: 10000, which keeps JAFFE's 1,981 whole)")
    return parser.parse_args()


if __name__ == "__main__":
    from augment import main  # by its module's name, so that worker processes find the same functions

    utils.run_script(main)
