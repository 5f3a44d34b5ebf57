"""For maintainers: how often the intervals hold the truth, and reports say a wrong word, in toy
worlds whose truth is known.

    python tests/simulate.py [WORLDS]

It prints a line per world: coverage of 95 % intervals of a gain and of an accuracy in percent, how
wide that of the gain is in points, and the percentage of reports on arms that are all equal in
which any answer is "Yes" or "No". Then coverage of pooled gains. Two minutes for 200 worlds.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402
from scipy import special  # noqa: E402

from data import statistics  # noqa: E402
from data.faces import Faces  # noqa: E402

CONTROLS = {"translate": "person-mean", "interpolate": "blend"}
EARLY_STOPPING = ["longer-translate", "person-mean", "longer-interpolate", "blend"]
FIXED_STEPS = ["geometric", *(f"{arm}+geometric" for arm in (
    "translate", "person-mean", "interpolate", "blend"))]
TAUGHT = 0.3  # how much it matters, in `toy_world`, which of the faces a run is trained on


# -------------------------------------------------------------- which faces each run tests
def same_faces(faces, people, runs, rng):
    return [np.arange(faces)] * runs


def fresh_fifths(faces, people, runs, rng):
    return [rng.permutation(faces)[:faces // 5] for _ in range(runs)]


def five_folds(faces, people, runs, rng):
    return [part for _ in range(runs // 5) for part in np.array_split(rng.permutation(faces), 5)]


def people_in_turn(faces, people, runs, rng):
    return [np.flatnonzero(np.arange(faces) % people % runs == run) for run in range(runs)]


class World(NamedTuple):
    uncertainty: Callable  # what its intervals are over
    tested: Callable  # the faces that each run tests
    early_stopping: bool  # which questions are asked, as in PROTOCOLS
    faces: int
    people: int  # as many as faces where it is not known who is who
    runs: int
    repeats: int
    initialisation: float  # how much it shifts all answers of a classifier, in `toy_world`'s units


PUBLISHED = World(statistics.over_initialisations_and_faces, same_faces, True, 43, 10, 5, 3, 0.3)
CV = World(statistics.over_deals_and_faces, five_folds, True, 213, 10, 20, 3, 0.3)
HOLDOUT = World(statistics.over_splits, fresh_fifths, False, 213, 10, 10, 3, 0.3)
LOSO = World(statistics.over_subjects, people_in_turn, False, 210, 10, 10, 10, 0.3)
KFOLD = World(statistics.over_subjects_and_folds, people_in_turn, False, 309, 106, 5, 10, 0.3)
WORLDS = {
    "published": PUBLISHED,
    "given": PUBLISHED._replace(early_stopping=False, faces=100, people=100),
    "cv": CV,
    "cv, strong initialisation": CV._replace(initialisation=0.8),
    "cv, people unknown": CV._replace(people=213),
    "cv, one deal": CV._replace(runs=5),
    "holdout": HOLDOUT,
    "holdout, people unknown": HOLDOUT._replace(people=213),
    "loso": LOSO,
    "loso, 3 repeats": LOSO._replace(repeats=3),
    "loso, 3, strong initialisation": LOSO._replace(repeats=3, initialisation=0.8),
    "kfold": KFOLD,
    "kfold, 3, strong initialisation": KFOLD._replace(repeats=3, initialisation=0.8)}


def toy_world(name, rng, accuracies):
    """`hits` of arms, {arm: accuracy}, that are the truth exactly, and `tests`.

    A face is right if a sum of normal deviates is positive: of the subject, the face, the
    training (a run's), the classifier, and the classifier with the face. Subjects and faces matter
    to all arms and to each arm. Where all faces are split anew it matters too which of them an arm
    is trained on; what these runs have in common is none of the truth, and no interval's business.
    """
    def normal(scale, *shape):
        return scale * rng.standard_normal(shape)

    world = WORLDS[name]
    faces, people = world.faces, world.people
    tested = world.tested(faces, people, world.runs, rng)
    taught_scale = TAUGHT if world.tested in (fresh_fifths, five_folds) else 0
    number = np.arange(faces) % people
    common = normal(0.5, people)[number] + normal(1, faces)
    total = np.sqrt(0.5**2 + 1 + 0.3**2 + 0.4**2 + 0.25**2 + 0.5 + taught_scale**2 / 5
                    + world.initialisation**2)
    hits = {}
    for arm, share in accuracies.items():
        own = common + normal(0.3, people)[number] + normal(0.4, faces)
        taught = normal(taught_scale, faces)
        taught -= taught.mean()
        hits[arm] = []
        for rows in tested:
            training = normal(0.25, 1)
            if taught_scale:
                training = training + np.delete(taught, rows).sum() / np.sqrt(faces - len(rows))
            classifiers = normal(world.initialisation, world.repeats, 1)
            sums = own[rows] + training + classifiers + normal(
                np.sqrt(0.5), world.repeats, len(rows))
            hits[arm].append((sums + special.ndtri(share) * total > 0).astype(float))
    subjects = np.array([f"S{person}" if people < faces else "" for person in number])
    names = np.array([f"face{face:03d}" for face in range(faces)])
    return hits, [Faces(names[rows], subjects[rows], names[rows], names[rows]) for rows in tested]


def simulate(name, worlds, seed=1):
    """Shares, 0 to 1: gain intervals that hold the truth, accuracy intervals that do; and the
    median width of the former in points."""
    rng, uncertainty = np.random.default_rng(seed), WORLDS[name].uncertainty
    held, held_accuracy, widths = 0, 0, []
    for _ in range(worlds):
        hits, tests = toy_world(name, rng, {"new": 0.75, "old": 0.65})
        low, high = statistics.gain(hits["new"], hits["old"], tests, uncertainty)["ci95"]
        held += low <= 10 <= high
        widths.append(high - low)
        low, high = statistics.accuracy(hits["new"], tests, uncertainty)["ci95"]
        held_accuracy += low <= 75 <= high
    return held / worlds, held_accuracy / worlds, float(np.median(widths))


def wrong_words(name, worlds, seed=2):
    """The share, 0 to 1, of reports on equal arms that answer any question by "Yes" or "No"."""
    rng, uncertainty = np.random.default_rng(seed), WORLDS[name].uncertainty
    same_steps = not WORLDS[name].early_stopping
    arms = ["none", *CONTROLS, *(FIXED_STEPS if same_steps else EARLY_STOPPING)]
    asked, wrong = statistics.questions(arms, CONTROLS, same_steps), 0
    for _ in range(worlds):
        hits, tests = toy_world(name, rng, dict.fromkeys(arms, 0.65))
        gains = [statistics.gain(hits[row["arm"]], hits[row["other"]], tests, uncertainty)
                 for row in asked]
        rows = statistics.answers(asked, gains)
        wrong += any(row["answer"] in ("Yes", "No") for row in rows)
    return wrong / worlds


def simulate_pooled(data_sets, tau, worlds, seed=3):
    """Shares, 0 to 1, of intervals of `pooled` that hold the mean over these data sets, and that
    over all. True gains have a standard deviation of tau points; they are measured as on JAFFE and
    CK+, whose standard errors are about 1 point."""
    rng, held, held_elsewhere = np.random.default_rng(seed), 0, 0
    for _ in range(worlds):
        degrees = np.resize([9, 25], data_sets)
        errors = np.resize([1.0, 1.1], data_sets)
        true = tau * rng.standard_normal(data_sets)
        measured = errors * np.sqrt(rng.chisquare(degrees) / degrees)
        means = true + errors * rng.standard_normal(data_sets)
        result = statistics.pooled([
            {"mean": mean, "standard_error": error, "degrees": degree}
            for mean, error, degree in zip(means, measured, degrees)])
        low, high = result["ci95"]
        held += low <= np.average(true, weights=1 / measured**2) <= high
        low, high = result["elsewhere_ci95"]
        held_elsewhere += low <= 0 <= high
    return held / worlds, held_elsewhere / worlds


def main():
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{worlds} worlds each{'':22} gain  accuracy  width  wrong reports")
    for name in WORLDS:
        gain, accuracy, width = simulate(name, worlds)
        wrong = wrong_words(name, worlds)
        print(f"{name:33} {100 * gain:7.1f} {100 * accuracy:9.1f} {width:6.1f} {100 * wrong:14.1f}",
              flush=True)
    print(f"{'pooled':33} these data sets  all of their kind")
    for data_sets, tau in ((2, 0), (2, 1), (2, 3), (4, 0), (4, 1), (4, 3)):
        these, elsewhere = simulate_pooled(data_sets, tau, 10 * worlds)
        print(f"{data_sets} data sets, spread {tau} points{100 * these:22.1f} "
              f"{100 * elsewhere:18.1f}")


if __name__ == "__main__":
    main()
