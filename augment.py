"""Stage 2 of 4: make synthetic faces from the training faces, one set per augmentation method.

    python augment.py [EXPERIMENT]                               the default methods
    python augment.py [EXPERIMENT] --methods interpolate,blend   these
    python augment.py [EXPERIMENT] --methods all                 all that the faces allow

    translate        the CAE per emotion pair, the abstract's "different facial expressions": every
                     training face turned into each other emotion
    interpolate      the author's notebooks: decode(theta z_a + (1 - theta) z_b) for every pair
                     (a, b) of training faces of one emotion
    transfer         decode(z(j, B) + z(i, A) - z(i, B)): person j given i's change from B to A
    person-mean      control of translate: the pixel mean of the person's faces of the other emotion
    blend            control of interpolate: its pairs averaged as pixels
    pixel-transfer   control of transfer: the same three faces added and subtracted as pixels
    duplicate-M      control: training faces again, as many of each emotion as method M makes
    geometric-M      control, likewise: each flipped, shifted, turned and zoomed a little

It leaves run-NN/synthetic-<method>.npz: images, emotions and, for each face, its parents (rows of
`names`, the training faces) and their weights. Seconds to a minute per run.
"""

import argparse
import functools
from typing import NamedTuple

import numpy as np

import utils
from data.experiment import all_faces, open_experiment, training_faces
from data.faces import as_input
from train_cae import build_cae, cae_file, cae_made_from, emotion_pairs
from utils import shown


class Synthetic(NamedTuple):
    """n synthetic faces and what they were made from."""

    images: np.ndarray  # float32 (n, 48, 48, 1), never below 0 but possibly above 1
    emotions: np.ndarray  # str (n,)
    parents: np.ndarray  # int (n, k): rows of the training faces
    weights: np.ndarray  # float32 (n, k): how much each parent counts for; 0: a place not used


class Tools(NamedTuple):
    """What a method may use beside the training faces."""

    encode: callable  # images to latents, by the run's CAE
    decode: callable  # latents to images
    translate: callable  # (source, target, images) to images, by the CAE of the pair
    theta: float
    most: int  # faces that a method may make
    seed: list


# --------------------------------------------------------------------- which faces become which
# Plans and methods get the training faces with images float32 (n, 48, 48, 1) in [0, 1]. A plan is
# the `Synthetic` faces without their images. A method and its controls share one, so that they make
# the same number of faces of each emotion.
def planned(emotions, parents, *weights):
    """A plan whose faces all count their parents (n, k) with the same k weights."""
    return Synthetic(None, emotions, parents, np.tile(np.float32(weights), (len(parents), 1)))


def same_emotion_pairs(faces, tools):
    """Every unordered pair (a, b) of faces of one emotion, emotion by emotion.

    Of more than tools.most so many are drawn, of each emotion in proportion to its real faces. They
    are numbered, not listed: 10,000 faces have seven million.
    """
    rng, pairs = np.random.default_rng(tools.seed), []
    members = [np.flatnonzero(faces.emotions == emotion) for emotion in np.unique(faces.emotions)]
    all_fit = sum(len(rows) * (len(rows) - 1) // 2 for rows in members) <= tools.most
    for rows in members:
        n, count = len(rows), len(rows) * (len(rows) - 1) // 2
        share = round(tools.most * n / len(faces.emotions))
        number = np.arange(count) if all_fit or count <= share else np.sort(
            rng.choice(count, share, replace=False, shuffle=False))
        a = n - 2 - np.floor(np.sqrt(4.0 * n * (n - 1) - 8 * number - 7) / 2 - 0.5).astype(int)
        b = number + a + 1 - count + (n - a) * (n - a - 1) // 2  # row a, column b of the triangle
        pairs.append(np.stack([rows[a], rows[b]], axis=1))
    pairs = np.concatenate(pairs)
    return planned(faces.emotions[pairs[:, 0]], pairs, tools.theta, 1 - tools.theta)


def translations(faces, tools):
    """Every face in each other emotion for which anybody showed both; at most tools.most, drawn."""
    targets, rows = [], [np.empty(0, int)]
    for source, target in emotion_pairs(faces):
        rows.append(np.flatnonzero(faces.emotions == source))
        targets += [target] * len(rows[-1])
    targets, rows = np.array(targets), np.concatenate(rows)
    if len(rows) > tools.most:
        rng = np.random.default_rng(tools.seed)
        kept = np.sort(rng.choice(len(rows), tools.most, replace=False))
        targets, rows = targets[kept], rows[kept]
    return planned(targets, rows[:, None], 1)


def transfers(faces, tools):
    """Rows (j, B), (i, A), (i, B) of people i != j and emotions A != B, drawn at random; as many of
    each A as `same_emotion_pairs` has."""
    rng, posed, possible = np.random.default_rng(tools.seed), posers(faces), {}
    for row, (i, a) in enumerate(zip(faces.subjects.tolist(), faces.emotions.tolist())):
        others = [b for b in sorted(posed) if b != a and i in posed[b] and len(posed[b]) > 1]
        if others:  # the emotions B that i and somebody else posed
            possible.setdefault(a, []).append((row, i, others))
    made, parents = [], []

    def drawn(choices):
        return choices[rng.integers(len(choices))]

    for a in same_emotion_pairs(faces, tools).emotions.tolist():
        if a in possible:
            row, i, others = drawn(possible[a])
            b = drawn(others)
            j = drawn([person for person in posed[b] if person != i])
            parents.append((drawn(posed[b][j]), row, drawn(posed[b][i])))
            made.append(a)
    return planned(np.array(made), np.array(parents), 1, 1, -1)


def posers(faces):
    """{emotion: {person: rows}}, of known people."""
    posed = {}
    for row, (person, emotion) in enumerate(zip(faces.subjects.tolist(), faces.emotions.tolist())):
        if person:
            posed.setdefault(emotion, {}).setdefault(person, []).append(row)
    return posed


# ----------------------------------------------------------------------------------- the methods
def from_latents(faces, tools, plan):
    """interpolate and transfer: decoded sums of the parents' latents."""
    made, latents = plan(faces, tools), tools.encode(faces.images)
    return made._replace(images=tools.decode(weighted(latents[made.parents], made.weights)))


def from_pixels(faces, tools, plan):
    """blend and pixel-transfer: the same sums of their pixels, in [0, 1], no autoencoder."""
    made = plan(faces, tools)
    images = weighted(faces.images[made.parents], made.weights)
    return made._replace(images=images.clip(0, 1))


def weighted(parents, weights):
    """The sums over the second axis of (n, k, ...), weighted with (n, k): float32 (n, ...)."""
    return np.einsum("nk...,nk->n...", parents, weights, dtype=np.float32)


def translate(faces, tools, plan):
    """Each face by the CAE of the pair of its emotion and the one that it is to have."""
    made = plan(faces, tools)
    rows = made.parents[:, 0]
    sources, images = faces.emotions[rows], np.empty_like(faces.images[rows])
    for source, target in emotion_pairs(faces):
        here = (sources == source) & (made.emotions == target)
        if here.any():
            images[here] = tools.translate(source, target, faces.images[rows[here]])
    return made._replace(images=images)


def person_mean(faces, tools, plan):
    """What a translator trained on mean squared error tends to, without any autoencoder.

    Where the person has no training face of the emotion, somebody else's mean stands in, people in
    turn, so that there are as many faces as of `translate`.
    """
    made, posed = plan(faces, tools), posers(faces)
    most = max(len(theirs) for people in posed.values() for theirs in people.values())
    parents = np.zeros((len(made.emotions), most), int)
    weights = np.zeros(parents.shape, np.float32)
    for k, (row, target) in enumerate(zip(made.parents[:, 0], made.emotions.tolist())):
        people = posed[target]
        theirs = people.get(faces.subjects[row]) or [*people.values()][k % len(people)]
        parents[k] = np.resize(theirs, most)
        weights[k, :len(theirs)] = 1 / len(theirs)
    images = np.concatenate([weighted(faces.images[p][None], w[None])
                             for p, w in zip(parents, weights)])
    return Synthetic(images, made.emotions, parents, weights)


def duplicate(faces, tools, plan):
    """Training faces in turn, as many of each emotion as the method of the plan makes."""
    emotions = plan(faces, tools).emotions
    rows = np.empty(len(emotions), int)
    for emotion in np.unique(emotions):
        here = emotions == emotion
        rows[here] = np.resize(np.flatnonzero(faces.emotions == emotion), here.sum())
    return planned(emotions, rows[:, None], 1)._replace(images=faces.images[rows])


def geometric(faces, tools, plan):
    """The same, each under one random affine map: flipped or not, shifted by up to 5 % of the side,
    turned by up to 7 degrees and zoomed by up to 6 %."""
    plain, rng = duplicate(faces, tools, plan), np.random.default_rng(tools.seed)
    n, side = len(plain.images), plain.images.shape[1]
    flips, shifts = rng.random(n) < 0.5, rng.uniform(-0.05, 0.05, (n, 2)) * side
    turns, zooms = np.radians(rng.uniform(-7, 7, n)), 1 + rng.uniform(-0.06, 0.06, n)
    images = [affine(*how) for how in zip(plain.images[..., 0], flips, shifts, turns, zooms)]
    return plain._replace(images=np.stack(images)[..., None])


def affine(image, flip, shift, turn, zoom):
    """float32 (h, w) in [0, 1]: `image` flipped left to right, zoomed and turned (rad) about its
    middle, and shifted by (rows, columns); resampled once, with cubic splines."""
    from scipy import ndimage

    back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / zoom
    back[1] *= -1 if flip else 1
    middle = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(image, back, middle - back @ (middle + shift), order=3,
                                    mode="nearest").clip(0, 1)


class Method(NamedTuple):
    make: callable  # (faces, tools, plan) to `Synthetic`
    plan: callable  # (faces, tools) to `Synthetic` without images
    control_of: str = ""
    needs: str = ""  # "cae", "pairs" (the CAEs per emotion pair) or nothing


def controls(method, plan):
    """The two that any method can be compared with."""
    return {f"{kind.__name__}-{method}": Method(kind, plan, method)
            for kind in (duplicate, geometric)}


# A method of your own is a function of (faces, tools, plan) and a row here; README.md shows one.
METHODS = {
    "translate": Method(translate, translations, needs="pairs"),
    "person-mean": Method(person_mean, translations, "translate"),
    **controls("translate", translations),
    "interpolate": Method(from_latents, same_emotion_pairs, needs="cae"),
    "blend": Method(from_pixels, same_emotion_pairs, "interpolate"),
    **controls("interpolate", same_emotion_pairs),
    "transfer": Method(from_latents, transfers, needs="cae"),
    "pixel-transfer": Method(from_pixels, transfers, "transfer"),
    **controls("transfer", transfers),
}
DEFAULT = ["translate", "person-mean", "duplicate-translate", "interpolate"]
WITHOUT_PEOPLE = ["interpolate", "blend", "duplicate-interpolate"]  # where nobody is known
LACKING = {translations: "nobody is known to show two emotions",
           transfers: "no two people are known to show two emotions in common"}


# ------------------------------------------------------------------------------------- the stage
def augment(method, faces, latent, weights, theta, most, seed):
    """`Synthetic` faces of a method as a dict, and the names of the training faces. weights: of
    CAEs, {pair of emotions or () for the one}."""
    faces = faces._replace(images=as_input(faces.images))
    model, encode, decode = build_cae(latent) if weights else None, None, None
    if () in weights:
        model.set_weights(weights[()])
        encode, decode = (functools.partial(utils.predict, part) for part in model.layers)

    def translated(source, target, images):
        model.set_weights(weights[source, target])
        return utils.predict(model, images)

    tools, row = Tools(encode, decode, translated, theta, most, seed), METHODS[method]
    return {"names": faces.names, **row.make(faces, tools, row.plan)._asdict()}


def files_of(experiment, kind, arm):
    """All files of an arm, of the kind "synthetic" or "classifier"."""
    endings = {"synthetic": ".npz", "classifier": "-?.npz"}
    return sorted(experiment.folder.glob(f"run-*/{kind}-{arm}{endings[kind]}"))


def arms_of(experiment, kind):
    """The arms of which any run has a file of that kind, in the order of METHODS."""
    return [arm for arm in ("none", *METHODS) if files_of(experiment, kind, arm)]


def remove_files(experiment, kind, arms):
    for path in [path for arm in arms for path in files_of(experiment, kind, arm)]:
        path.unlink()


def caes_needed(experiment, run, method, faces):
    """{pair of emotions, () for the one CAE: file} of the CAEs that a method needs in a run."""
    needs = METHODS[method].needs
    keys = emotion_pairs(faces) if needs == "pairs" else [()] if needs == "cae" else []
    return {key: cae_file(experiment, run, *key) for key in keys}


def synthetic_made_from(experiment, run, method, faces):
    """The digests of what a method's faces are made from. Raises `Problem` if a CAE is missing."""
    files = caes_needed(experiment, run, method, faces)
    utils.demand({file: cae_made_from(experiment, run, *key) for key, file in files.items()},
                 f"train_cae.py {experiment.path}")
    return utils.digests(experiment.npz(run, "split"), *files.values())


def main():
    options = arguments()
    experiment = open_experiment(options.experiment)
    seen = training_faces(experiment, all_faces(experiment))
    lacking = set().union(*(impossible_plans(seen(run)) for run in range(experiment.runs)))
    again = possible_methods(options.redo, lacking) if options.redo else []
    methods = dict.fromkeys([*possible_methods(options.methods, lacking), *again])
    make(experiment, seen, methods, options)
    draw(experiment, seen(0))
    print(f"next: python train_classifier.py {experiment.path}")


def impossible_plans(faces):
    """Those of LACKING that these training faces do not allow."""
    trial = Tools(None, None, None, 0.5, 1000, [0])
    return {plan for plan in LACKING if not len(plan(faces, trial).emotions)}


def possible_methods(asked, lacking):
    """The methods asked for, all or, by default, DEFAULT, without those of the plans `lacking`."""
    methods, possible = METHODS if "all" in asked else asked or DEFAULT, []
    for method in methods:
        plan = METHODS[method].plan
        if plan not in lacking:
            possible.append(method)
        elif method in asked:
            raise utils.Problem(f"{method}: {LACKING[plan]}; leave the method out")
        else:
            print(f"without {method}: {LACKING[plan]}")
    return possible if asked or len(possible) == len(methods) else WITHOUT_PEOPLE


def make(experiment, seen, methods, options):
    """run-NN/synthetic-<method>.npz for every run and method that has none yet."""
    def task(run, method):
        files = caes_needed(experiment, run, method, seen(run)).items()
        return {"method": method, "faces": seen(run), "latent": experiment.latent,
                "weights": {key: utils.load_weights(file) for key, file in files},
                "theta": experiment.theta, "most": experiment.max_synthetic,
                "seed": [experiment.seed, run]}

    wanted = [utils.Artifact(experiment.npz(run, "synthetic", method),
                             synthetic_made_from(experiment, run, method, seen(run)),
                             (run, method))
              for run in range(experiment.runs) for method in methods]
    remove_files(experiment, "synthetic", options.redo)
    utils.make_missing(augment, wanted, task, "making synthetic faces", options)


def draw(experiment, faces):
    """synthetic.png: for each method, faces of run 0 (framed) beside their parents."""
    files = {name: file for name in METHODS
             if (file := experiment.npz(0, "synthetic", name)).exists()}
    figure, grid = utils.new_figure(11, 1.15 * len(files) + 0.4, nrows=len(files), ncols=14,
                                    squeeze=False)
    for row, (method, file) in zip(grid, files.items()):
        made, cells = Synthetic(*utils.load_arrays(file, *Synthetic._fields)), []
        used = min(3, int((made.weights != 0).sum(1).max()))
        count = len(row) // (used + 1)
        order = np.argsort(made.emotions, kind="stable")  # examples of all emotions
        for k in order[((np.arange(count) + 0.5) * len(order) / count).astype(int)]:
            for parent, weight in zip(made.parents[k, :used], made.weights[k]):
                who = shown(f"{faces.subjects[parent]} {faces.emotions[parent]}")
                cells.append((faces.images[parent] / 255, f"minus {who}" if weight < 0 else who))
            cells.append((made.images[k], f"-> {shown(made.emotions[k])}", utils.COLOURS[5]))
        for axes in row[len(cells):]:
            axes.axis("off")
        for axes, cell in zip(row, cells):
            utils.show_face(axes, *cell)
        what = f"{method}\n{len(made.images)} faces".replace("-", "-\n", 1)
        theta = f"\ntheta {experiment.theta}" if method in ("interpolate", "blend") else ""
        row[0].set_ylabel(what + theta, fontsize=7)
    experiment.save_figure(figure, "synthetic.png")


# --------------------------------------------------------------------------------------- options
def method_list(also, text):
    """argparse type once it is told which word beside METHODS is one."""
    methods = text.split(",")
    for method in methods:
        if method not in METHODS and method != also:
            raise argparse.ArgumentTypeError(f"no method {method}; there are {', '.join(METHODS)}")
    return methods


def arguments():
    parser = utils.parser(__doc__)
    parser.add_argument("experiment", nargs="?", metavar="EXPERIMENT", help=utils.WHICH)
    parser.add_argument("--methods", type=functools.partial(method_list, "all"), default=[],
                        metavar="X,Y", help="which, separated by commas, or all that the faces "
                        f"allow (default: {','.join(DEFAULT)})")
    parser.add_argument("--redo", type=functools.partial(method_list, ""), default=[],
                        metavar="X,Y", help="remove these methods' faces in all runs and make them "
                        "anew")
    return parser.parse_args()


if __name__ == "__main__":
    import augment as stage  # under its own name, so that worker processes find the same functions

    utils.run_script(stage.main)
