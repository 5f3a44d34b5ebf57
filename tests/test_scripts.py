"""The four scripts as a user runs them, in sequence, on tiny settings."""

import csv
import json
import os
import re
import shutil

import augment
import utils
from data import faces as data

import numpy as np
import pytest
from conftest import PUBLISHED, STAGES, TINY, changing, contents, draw_tiny, sequence, shell, start
from test_faces import LONG, layouts, write_fer2013


def metrics_of(folder):
    return json.loads((folder / "report" / "metrics.json").read_text())


def predictions_of(folder, **which):
    """The rows of predictions.csv with these values."""
    with open(folder / "predictions.csv", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row.items() >= which.items()]


def test_published_ends_with_a_report(published, script):
    assert published.name == \
        "tiny-published-cae-epochs-2-classifier-epochs-3-latent-4-pair-epochs-1-repeats-2"
    metrics = metrics_of(published)
    assert [metrics[key] for key in ("runs", "repeats", "units", "test_faces")] == [2, 2, 2, 8]
    assert list(metrics["arms"]) == ["none", *augment.DEFAULT]
    assert {name: list(controls) for name, controls in metrics["against"].items()} == {
        "translate": ["person-mean", "duplicate-translate"]}
    rows = predictions_of(published)
    assert len(rows) == 2 * 2 * 5 * 8
    assert abs(sum(float(rows[0][f"p_{label}"]) for label in ("AN", "HA", "SU")) - 1) < 1e-3
    for arm, values in metrics["arms"].items():
        right = [[row["emotion"] == row["predicted"] for row in predictions_of(
            published, arm=arm, run=run)] for run in "01"]
        assert values["accuracy"]["per_unit"] == [np.mean(right[0]), np.mean(right[1])]
        assert np.sum(values["confusion_matrix"]) == 32 and values["classifiers"] == 4
        assert np.trace(values["confusion_matrix"]) == sum(map(sum, right))
        assert ("gain_points" in values) == (arm != "none")
    report = published / "report"
    for name in ("faces", "cae-loss", "reconstructions", "latents", "synthetic", "learning-curves",
                 "gains", "accuracy", "confusion"):
        assert f"({name}.png)" in (report / "report.md").read_text()
        assert all((report / f"{name}.{kind}").stat().st_size > 3000 for kind in ("png", "pdf"))
    assert ("--protocol published --cae-epochs 2 --classifier-epochs 3 --latent 4 --pair-epochs 1 "
            "--repeats 2 --runs 2\npython augment.py ") in (report / "report.md").read_text()
    first, second, third = script("evaluate.py", published).splitlines()[-3:]
    assert first.startswith("translate, the CAE per emotion pair, in points: ")
    assert "over person-mean" in first
    assert second.startswith("interpolate, the author's notebooks, in points: ")
    assert third == "the paper, one run on JAFFE: +20.9 points"


def test_same_numbers_on_one_core_or_two(published, tiny, tmp_path):
    """Each script in a process of its own with workers, other hashes, clock, language, threads; the
    first one twice at the same time."""
    other = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}
    folder = tmp_path / published.name
    both = [start("train_cae.py", "--data", tiny, "--results", tmp_path, *PUBLISHED, "--jobs", 2,
                  env={**os.environ, **other}) for _ in range(2)]
    for process in both:
        printed, errors = process.communicate(timeout=240)
        assert (process.returncode, errors) == (0, "")
        assert f"next: python augment.py {folder}" in printed
    for name, *jobs in (("augment.py", "--jobs", 2), ("train_classifier.py", "--jobs", 2),
                        ("evaluate.py",)):
        shell(name, folder, *jobs, **other)
    first, second = (contents(each, ".npz", ".csv") for each in (published, folder))
    assert first.keys() == second.keys() and len(first) > 40
    assert [name for name in first if first[name] != second[name]] == []
    assert metrics_of(published)["arms"] == metrics_of(folder)["arms"]
    assert not list(tmp_path.rglob("*.part"))


def test_only_what_is_outdated_or_asked_for_is_made_again(copied, script):
    def times():
        return {file.relative_to(copied).as_posix(): file.stat().st_mtime_ns
                for file in copied.glob("run-*/*.npz")}

    def check(pattern, *commands):
        before = times()
        for name, *options in commands:
            script(name, copied, *options)
        anew = {name for name, time in times().items() if time != before[name]}
        assert anew == {name for name in before if re.match(pattern, name)}

    stages, whole = [[name] for name in STAGES[:3]], contents(copied, ".npz")
    check("nothing", *stages)
    check("run-../(synthetic-interpolate|classifier-translate)",
          ["augment.py", "--redo", "interpolate"], ["train_classifier.py", "--redo", "translate"])
    assert contents(copied, ".npz") == whole
    with changing(copied / "run-00" / "cae.npz") as arrays:
        arrays["w00"] += 0.01
    check("run-00/(cae-|synthetic-(translate|interpolate)|classifier-(translate|interpolate))",
          *stages)


def test_an_experiment_is_gone_on_with(copied, tiny, tmp_path, script):
    """More runs, moved faces, a renamed folder: the same experiment."""
    before = contents(copied, ".npz")
    moved = shutil.copytree(tiny, tmp_path / "renamed")
    assert "runs: 3" in script("train_cae.py", copied, "--runs", 3, "--data", moved)
    after = contents(copied, ".npz")
    assert before.items() <= after.items() and "run-02/cae-AN-HA.npz" in after
    printed = script("train_cae.py", "--data", moved, "--results", tmp_path, *PUBLISHED)
    assert f"experiment: {copied}" in printed  # under its other name
    for name, value, says in (
            ("--latent", 5, "began with latent 4, now 5 is asked for"),
            ("--protocol", "loso", "began with protocol published, now loso"),
            ("--data", draw_tiny(tmp_path / "other", takes=2), "began with other faces than")):
        script("train_cae.py", copied, name, value, says=says)
    assert contents(copied, ".npz") == after


def test_what_is_missing_is_named(copied, script):
    """A half-made translate, a run short of an arm: the file, the run and the command for it."""
    (copied / "run-01" / "cae-HA-AN.npz").unlink()
    for name in STAGES[1:]:
        script(name, copied, says="missing or outdated: cae-HA-AN.npz in run-01; run train_cae.py "
               ".*experiment")
    script("train_cae.py", copied, "--scope", "pairs")
    (copied / "run-01" / "synthetic-interpolate.npz").unlink()
    (copied / "run-00" / "classifier-none-1.npz").unlink()
    for name in STAGES[2:]:
        script(name, copied, says="synthetic-interpolate.npz in run-01; run augment.py .* "
               "--methods interpolate")
    script("augment.py", copied)
    script("evaluate.py", copied, says="classifier-none-1.npz in run-00; run train_classifier.py")
    (copied / "run-00" / "split.npz").rename(copied / "split.npz")
    script("evaluate.py", copied, says="outdated: split.npz in run-00; run train_cae.py")
    (copied / "split.npz").rename(copied / "run-00" / "split.npz")
    for kind, name, says in (
            ("synthetic", "train_classifier.py", "no synthetic faces yet; run augment.py"),
            ("classifier", "evaluate.py", "no classifiers yet; run train_classifier.py")):
        for file in copied.glob(f"run-*/{kind}-*"):
            file.unlink()
        script(name, copied, says=says)


def test_a_planted_leak_is_refused(copied, script):
    file = copied / "run-00" / "synthetic-interpolate.npz"
    face = predictions_of(copied, run="0")[0]["face"]
    with changing(file) as arrays:
        arrays["names"][arrays["parents"][0, 0]] = face
    script("train_classifier.py", copied, says="synthetic-interpolate.npz: made from .*, which is "
           "no training face of this run")
    for repeat in range(2):  # a classifier that claims to be made from it
        with changing(copied / "run-00" / f"classifier-interpolate-{repeat}.npz") as arrays:
            made_from = json.loads(str(arrays["made_from"])) | utils.digests(file)
            arrays["made_from"] = json.dumps(made_from)
    script("evaluate.py", copied,
           says=f"made from the test face {face}; remove it and run augment.py again")


@pytest.fixture(scope="module")
def loso(tiny, tmp_path_factory):
    """Two people left out in turn, every method."""
    return sequence(tiny, tmp_path_factory.mktemp("fair"), *TINY, "--protocol", "loso",
                    "--steps", 200, "--runs", 2, "--repeats", 1, methods=("--methods", "all"),
                    figures=True)


def test_every_arm_takes_the_same_steps(loso):
    metrics = metrics_of(loso)
    assert list(metrics["arms"]) == ["none", *augment.METHODS]
    assert [metrics[key] for key in ("units", "runs", "test_faces", "interval")] == [
        2, 2, 18, "t over people"]
    files = list(loso.glob("run-*/classifier-*.npz"))
    assert {tuple(utils.load_arrays(file, "history")[:, 0]) for file in files} == {(100, 200)}
    assert len(files) == 2 * 13
    assert {name: len(controls) for name, controls in metrics["against"].items()} == {
        "translate": 3, "interpolate": 3, "transfer": 3}
    report = (loso / "report" / "report.md").read_text()
    assert "no person of a test face is in training" in report and "(registration.png)" in report


def test_no_test_face_is_in_any_file(loso, tiny):
    pictures = data.load_faces(tiny).faces.pictures
    for run in range(2):
        rows, folder = predictions_of(loso, run=str(run)), loso / f"run-{run:02d}"
        tested = {row["face"] for row in rows}
        assert len({row["person"] for row in rows}) == 1 and len(tested) == 9
        files = list(folder.glob("synthetic-*.npz"))
        assert len(files) == 12
        for file in files:
            names, parents, weights = utils.load_arrays(file, "names", "parents", "weights")
            assert not tested & set(names.tolist()) and parents.max() < len(names) == 27
            assert parents.shape == weights.shape
        train, mean = utils.load_arrays(folder / "split.npz", "train", "mean")
        assert np.array_equal(mean, data.mean_face(pictures[train])) and len(train) == 27


def test_side_by_side(loso, published, script):
    report = loso.parent.parent / "side-by-side" / "report.md"  # beside what is common to both
    assert str(report) in script("evaluate.py", loso, published)
    for name in (published.name, loso.name, "geometric-transfer"):
        assert name in report.read_text()


def test_every_layout_goes_through_and_gives_the_same_arrays(tmp_path):
    """By people in folds: names, folders and lists agree on who is who, and so on the splits."""
    first = None
    for path, options in layouts(tmp_path):
        given = [text for key, value in options.items() for text in (f"--{key}", value)]
        folder = sequence(tmp_path / path, tmp_path / f"results-{path}", *TINY, "--repeats", 1,
                          "--protocol", "kfold", "--folds", 2, "--runs", 1, "--steps", 100,
                          "--seed", 1, *given)
        arrays = {}
        for file in folder.glob("run-00/*.npz"):
            name = file.name
            for code, label in LONG.items():
                name = name.replace(label, code)
            arrays |= {(name, key): value for key, value in utils.load_arrays(file).items()
                       if key not in ("made_from", "names", "emotions")}
        first = first or arrays
        assert arrays.keys() == first.keys() and len({name for name, _ in arrays}) == 17
        for key, value in arrays.items():
            same = np.array_equal(value, first[key], equal_nan=value.dtype.kind == "f")
            assert same, (path, key)


def test_fer2013_and_folders_bring_their_own_split(tmp_path, script):
    options = (*TINY, "--runs", 2, "--protocol", "given", "--steps", 100)
    results = tmp_path / "results"
    folder = sequence(write_fer2013(tmp_path / "fer2013.csv"), results, *options)
    metrics = metrics_of(folder)
    assert metrics["dataset"]["people"] == 0 and metrics["test_faces"] == 14
    assert list(metrics["arms"]) == ["none", *augment.WITHOUT_PEOPLE]
    assert "it is not known who is who" in (folder / "report" / "report.md").read_text()
    assert "interpolate" in metrics["against"]
    script("augment.py", folder, "--methods", "translate",
           says="translate: nobody is known to show two emotions; leave the method out")
    layouts(tmp_path)
    assert metrics_of(sequence(tmp_path / "parts", results, *options))["test_faces"] == 12


def test_help_and_a_reader_that_has_seen_enough(tiny, tmp_path):
    for name in STAGES:
        assert f"python {name}" in shell(name, "--help")[0]
    process = start("train_cae.py", "--data", tiny, "--results", tmp_path, *PUBLISHED)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 141 and process.stderr.read() == ""
