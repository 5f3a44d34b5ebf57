"""Time the scripts against the straight-line implementation of the paper; `make bench` runs this.

    python tests/bench.py [--data FOLDER] [--repeats 3] [--quick]

It prints, as Markdown: each stage of one published run (`none` and `interpolate`), the four scripts and straight_line.py
in turn, medians and their ratio, peak memory, and the bound that the arithmetic itself sets (floating-point operations
counted from the layers, over the rate of matrix products measured in the same run); then how `holdout` grows with jobs, runs
and faces, up to 10,000 of them. Half an hour on two cores with AVX-512, longer on others; --quick a tenth of it on few epochs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import train_cae  # noqa: E402
import train_classifier  # noqa: E402
import utils  # noqa: E402


def timed(*command):
    """(seconds, peak resident memory of the largest process in MB) of a command that must succeed."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{errors}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def forward_flops(model):
    """Floating-point operations of one face's forward pass: two per multiplication of every convolution and dense layer."""
    total = 0
    for layer in model.layers:
        if hasattr(layer, "layers"):
            total += forward_flops(layer)
        elif layer.weights:
            kernel = layer.kernel.shape
            if len(kernel) == 2:
                total += 2 * kernel[0] * kernel[1]
            else:  # a convolution works at every output pixel, a transposed one at every input pixel
                pixels = layer.input.shape if "transpose" in type(layer).__name__.lower() else layer.output.shape
                total += 2 * int(np.prod(kernel)) * pixels[1] * pixels[2]
    return total


def matrix_rate():
    """Operations a second of float32 matrix products in TensorFlow on one core, the best of ten."""
    tf = utils.tensorflow()
    a = tf.constant(np.random.default_rng(0).normal(size=(1024, 1024)).astype(np.float32))
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        tf.matmul(a, a).numpy()
        seconds.append(time.perf_counter() - began)
    return 2 * 1024**3 / min(seconds)


def published_run(data, folder, epochs):
    """({stage: (seconds, MB)}, {stage: passes}, {arm: epochs}) of the four scripts for one published run with none and interpolate.

    passes: how many forward passes of one face through the model the stage's arithmetic comes to, a backward pass
    counted as two and the decoder alone as half. epochs: those of the classifiers, before early stopping.
    """
    cae = ("--cae-epochs", epochs, "--classifier-epochs", epochs) if epochs != 80 else ()
    stages = {"cae": timed(ROOT / "train_cae.py", "--data", data, "--results", folder, "--runs", 1, *cae)}
    experiment = next(Path(folder).iterdir())
    stages["synthetic"] = timed(ROOT / "augment.py", experiment, "--methods", "interpolate")
    stages["classifiers"] = timed(ROOT / "train_classifier.py", experiment)
    stages["evaluate"] = timed(ROOT / "evaluate.py", experiment)
    made = utils.read_arrays(experiment / "run-00" / "synthetic-interpolate.npz")
    faces, synthetic = len(made["names"]), len(made["emotions"])
    looks = {arm: len(utils.read_arrays(experiment / "run-00" / f"classifier-{arm}-history.npz")["steps"])
             for arm in ("none", "interpolate")}
    seen = looks["none"] * faces + looks["interpolate"] * (faces + synthetic)
    passes = {"cae": epochs * (3 * int(0.75 * faces) + faces - int(0.75 * faces)), "synthetic": synthetic / 2,
              "classifiers": (3 * 0.75 + 0.25) * seen}
    return stages, passes, looks


def straight_run(data, file, epochs):
    """({stage: (seconds, MB)}, {arm: (seconds, epochs)} of its classifiers) of straight_line.py; what its stages leave of its
    time, importing TensorFlow, is "start"."""
    total, peak = timed(ROOT / "tests" / "straight_line.py", "--data", data, "--json", file, "--cae-epochs", epochs,
                        "--classifier-epochs", epochs)
    record = json.loads(Path(file).read_text())
    seconds = record["seconds"]
    stages = {"cae": seconds["load"] + seconds["cae"], "synthetic": seconds["synthetic"],
              "classifiers": seconds["baseline"] + seconds["augmented"], "evaluate": seconds["evaluate"]}
    stages["start"] = total - sum(stages.values())
    arms = {"none": (seconds["baseline"], record["epochs"]["none"]), "interpolate": (seconds["augmented"], record["epochs"]["interpolate"])}
    return {stage: (value, peak) for stage, value in stages.items()}, arms


def compare_published(data, repeats, epochs):
    ours, theirs, saved = [], [], []  # saved: seconds the straight line would not have taken with our epochs of the classifiers
    for number in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            stages, passes, looks = published_run(data, folder, epochs)
        ours.append(stages)
        with tempfile.TemporaryDirectory() as folder:
            straight, arms = straight_run(data, Path(folder) / "seconds.json", epochs)
        theirs.append(straight)
        saved.append(sum(seconds * (1 - looks[arm] / n) for arm, (seconds, n) in arms.items()))
        print(f"<!-- repeat {number + 1}: {sum(s for s, _ in stages.values()):.0f} s, {sum(s for s, _ in theirs[-1].values()):.0f} s -->",
              flush=True)

    def median(many, stage, k=0):
        return statistics.median(stages[stage][k] for stages in many if stage in stages)

    rate = matrix_rate()
    cae, lenet = forward_flops(train_cae.build_cae()), forward_flops(train_classifier.build_lenet5())
    bound = {stage: flops * passes[stage] / rate for stage, flops in (("cae", cae), ("synthetic", cae), ("classifiers", lenet))}
    print(f"\nOne published run, median of {repeats}; one core multiplies matrices at {rate / 1e9:.0f} GFLOP/s.\n")
    print("| stage | four scripts, s | straight line, s | ratio | peak MB | peak MB, straight | arithmetic alone, one core, s |")
    print("|---|---|---|---|---|---|---|")
    for stage in ("cae", "synthetic", "classifiers", "evaluate"):
        a, b = median(ours, stage), median(theirs, stage)
        print(f"| {stage} | {a:.1f} | {b:.1f} | {b / a:.1f} | {median(ours, stage, 1):.0f} | {median(theirs, stage, 1):.0f} | "
              f"{f'{bound[stage]:.1f}' if stage in bound else ''} |")
    print(f"| start-up | in each | {median(theirs, 'start'):.1f} | | | | |")
    a, b = (statistics.median(sum(seconds for seconds, _ in stages.values()) for stages in many) for many in (ours, theirs))
    print(f"| all | {a:.1f} | {b:.1f} | {b / a:.1f} | | | {sum(bound.values()):.1f} |\n")
    b -= statistics.median(saved)
    print(f"Early stopping let the classifiers train {' and '.join(map(str, looks.values()))} epochs, those of the straight line "
          f"{' and '.join(str(n) for _, n in arms.values())}.\nWith as many epochs as ours it would take {b:.1f} s: ratio {b / a:.1f}.\n")


def growth(data, epochs, steps, runs, most):
    """Print how the seconds of the three stages that make artifacts grow with jobs, runs and faces, and their memory."""
    print(f"`holdout`, {epochs} epochs of the CAE and {steps} steps of each classifier: seconds of train_cae.py, augment.py (interpolate)\n"
          "and train_classifier.py (none, interpolate) together; memory of the largest process.\n")
    print("| faces | runs | jobs | s | to the first row | peak MB |\n|---|---|---|---|---|---|")
    first = None
    for times, count, jobs in ((1, runs, 1), (1, runs, 2), (1, runs // 2, 2), (2, runs, 2), (most, 1, 2)):
        with tempfile.TemporaryDirectory() as folder:
            source = data if times == 1 else multiplied(data, times, Path(folder) / "faces")
            results, few = Path(folder) / "results", 1 if times == most else epochs
            stages = [timed(ROOT / "train_cae.py", "--data", source, "--results", results, "--runs", count, "--jobs", jobs,
                            "--protocol", "holdout", "--cae-epochs", few, "--steps", steps)]
            experiment = next(results.iterdir())
            stages.append(timed(ROOT / "augment.py", experiment, "--methods", "interpolate", "--jobs", jobs))
            stages.append(timed(ROOT / "train_classifier.py", experiment, "--jobs", jobs))
            faces = json.loads((experiment / "experiment.json").read_text())["dataset"]["faces"]
        seconds, peak = sum(seconds for seconds, _ in stages), max(megabytes for _, megabytes in stages)
        first = first or seconds
        print(f"| {faces}{f', {few} epoch' * (few != epochs)} | {count} | {jobs} | {seconds:.0f} | {seconds / first:.2f} | {peak:.0f} |", flush=True)


def multiplied(data, times, folder):
    """Make `folder`: every face of `data` `times` times, mirrored and moved aside, each time as a person of its own."""
    from PIL import Image, ImageChops, ImageOps

    folder.mkdir()
    for file in Path(data).iterdir():
        image = Image.open(file).convert("L")
        for k in range(times):
            moved = ImageChops.offset(ImageOps.mirror(image) if k % 2 else image, k // 2, 0)
            moved.save(folder / f"{file.name[:2]}{k}{file.name[2:].rsplit('.', 1)[0]}.jpg", quality=90)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder in JAFFE naming, two letters for the person (default: the "
                        "stand-in, drawn anew)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="8 epochs instead of 80, once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = options.data or Path(folder) / "standin"
        if not options.data:
            subprocess.run([sys.executable, ROOT / "data" / "standin.py", "--out", data], check=True, stdout=subprocess.DEVNULL)
        compare_published(data, 1 if options.quick else options.repeats, 8 if options.quick else 80)
        growth(data, *((4, 400, 4, 5) if options.quick else (80, 4000, 10, 47)))  # the settings of holdout, as they are


if __name__ == "__main__":
    main()
