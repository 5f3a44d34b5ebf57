"""The four scripts as a user runs them, in sequence, on tiny settings."""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import PUBLISHED, ROOT, TINY, contents, draw_tiny, one_line, run_here, sequence, shell
from test_faces import layouts, write_fer2013

import augment
import utils

ARRAYS = (".npz", ".csv")


@pytest.fixture(scope="module")
def published(tiny, tmp_path_factory):
    return sequence(tiny, tmp_path_factory.mktemp("results"), *PUBLISHED)


@pytest.fixture
def copied(published, tmp_path):
    return shutil.copytree(published, tmp_path / "experiment")


def metrics_of(folder):
    """metrics.json without what names a place."""
    return json.loads((folder / "report" / "metrics.json").read_text())


def test_published_ends_with_a_report(published, script):
    assert published.name == "tiny-published-cae-epochs-2-classifier-epochs-3-latent-4-pair-epochs-1-repeats-2"
    metrics = metrics_of(published)
    assert (metrics["runs"], metrics["repeats"], metrics["units"], metrics["test_faces"]) == (2, 2, 2, 8)
    assert list(metrics["arms"]) == ["none", *augment.DEFAULT]
    assert {name: list(controls) for name, controls in metrics["against"].items()} == {
        "translate": ["person-mean", "duplicate-translate"]}
    with open(published / "predictions.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 * 5 * 8
    for arm, values in metrics["arms"].items():
        right = {run: [row["emotion"] == row["predicted"] for row in rows
                       if row["arm"] == arm and row["run"] == str(run)] for run in range(2)}
        assert values["accuracy"]["per_unit"] == [np.mean(right[0]), np.mean(right[1])]
        assert np.sum(values["confusion_matrix"]) == 32 and values["classifiers"] == 4
        assert np.trace(values["confusion_matrix"]) == sum(map(sum, right.values()))
        assert ("gain_points" in values) == (arm != "none")
    assert abs(sum(float(rows[0][f"p_{label}"]) for label in ("AN", "HA", "SU")) - 1) < 1e-3
    for name in ("faces", "cae-loss", "reconstructions", "latents", "synthetic", "learning-curves", "gains",
                 "accuracy", "confusion"):
        assert f"({name}.png)" in (published / "report" / "report.md").read_text()
        assert all((published / "report" / f"{name}.{kind}").stat().st_size > 3000 for kind in ("png", "pdf"))
    status, printed, _ = script("evaluate.py", published)
    last = printed.splitlines()[-3:]
    assert status == 0 and last[0].startswith("translate, the CAE per emotion pair: ")
    assert "over person-mean" in last[0] and last[1].startswith("interpolate, the author's notebooks: ")
    assert last[2] == "the paper, one run on JAFFE: +20.9 points"


def test_same_numbers_on_one_core_or_two(published, tiny, tmp_path):
    """Each script in a process of its own with workers, other hashes, clock, language and threads."""
    other = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}
    options = [*PUBLISHED[:-4], "--classifier-epochs", 3, "--repeats", 2, "--jobs", 2]
    printed, _ = shell("train_cae.py", "--data", tiny, "--results", tmp_path, *options, **other)
    folder = tmp_path / published.name
    assert f"next: python augment.py {folder}" in printed
    for name in ("augment.py", "train_classifier.py", "evaluate.py"):
        shell(name, folder, *([] if name == "evaluate.py" else ["--jobs", 2]), **other)
    first, second = contents(published, *ARRAYS), contents(folder, *ARRAYS)
    assert first.keys() == second.keys() and len(first) > 40
    assert [name for name in first if first[name] != second[name]] == []
    assert metrics_of(published)["arms"] == metrics_of(folder)["arms"]


def test_finished_work_is_not_done_again_and_outdated_work_is(copied, tiny):
    def times():
        return {file.name: file.stat().st_mtime_ns for file in copied.glob("run-00/*.npz")}

    before = times()
    for name in ("train_cae.py", "augment.py", "train_classifier.py"):
        assert run_here(name, copied, "--jobs", 1) == 0
    assert times() == before
    cae = copied / "run-00" / "cae.npz"
    arrays = utils.load_arrays(cae)
    arrays["w00"] += 0.01
    utils.save_arrays(cae, json.loads(str(arrays.pop("made_from"))), **arrays)
    before = times()
    for name in ("train_cae.py", "augment.py", "train_classifier.py"):
        assert run_here(name, copied, "--jobs", 1) == 0
    anew = {name for name, time in times().items() if time != before[name]}
    assert anew == {name for name in before if "-AN" in name or "-HA" in name or "-SU" in name or
                    "interpolate" in name or name in ("synthetic-translate.npz", "classifier-translate-0.npz",
                                                      "classifier-translate-1.npz")}


def test_an_experiment_is_gone_on_with(copied, tiny, tmp_path, script):
    """Other runs, moved faces, a renamed folder: the same experiment."""
    before = contents(copied, ".npz")
    moved = shutil.copytree(tiny, tmp_path / "renamed")
    status, printed, _ = script("train_cae.py", copied, "--runs", 3, "--data", moved, "--jobs", 1)
    assert status == 0 and "runs: 3" in printed
    after = contents(copied, ".npz")
    assert before.items() <= after.items() and "run-02/cae-AN-HA.npz" in after
    status, printed, _ = script("train_cae.py", "--data", moved, "--results", tmp_path, *PUBLISHED)
    assert status == 0 and f"experiment: {copied}" in printed  # under its other name
    for options, says in ((("--latent", 5), "began with latent 4, now 5 is asked for"),
                          (("--protocol", "loso"), "began with protocol published, now loso"),
                          (("--data", draw_tiny(tmp_path / "other", takes=2)), "began with other faces than")):
        status, _, stderr = script("train_cae.py", copied, *options)
        assert says in one_line(status, stderr)
    assert contents(copied, ".npz") == after


def test_what_is_missing_is_named(copied, script):
    """A half-made translate, a run short of an arm: the file, the run and the command that makes it."""
    (copied / "run-01" / "cae-HA-AN.npz").unlink()
    for name in ("augment.py", "train_classifier.py", "evaluate.py"):
        status, _, stderr = script(name, copied)
        assert re_line(stderr, "missing or outdated: cae-HA-AN.npz in run-01; run train_cae.py .*experiment")
    assert run_here("train_cae.py", copied, "--scope", "pairs", "--jobs", 1) == 0
    (copied / "run-01" / "synthetic-interpolate.npz").unlink()
    (copied / "run-00" / "classifier-none-1.npz").unlink()
    for name in ("train_classifier.py", "evaluate.py"):
        status, _, stderr = script(name, copied)
        assert re_line(stderr, "synthetic-interpolate.npz in run-01; run augment.py .* --methods interpolate")
    assert run_here("augment.py", copied, "--jobs", 1) == 0
    assert re_line(script("evaluate.py", copied)[2], "classifier-none-1.npz in run-00; run train_classifier.py")
    for file in copied.glob("run-*/synthetic-*"):
        file.unlink()
    assert re_line(script("train_classifier.py", copied)[2], "no synthetic faces yet; run augment.py")
    for file in copied.glob("run-*/classifier-*"):
        file.unlink()
    assert re_line(script("evaluate.py", copied)[2], "no classifiers yet; run train_classifier.py")


def re_line(stderr, pattern):
    return re.search(pattern, one_line(2, stderr))


def test_a_planted_leak_is_refused(copied, script):
    file = copied / "run-00" / "synthetic-interpolate.npz"
    arrays = utils.load_arrays(file)
    made_from = json.loads(str(arrays.pop("made_from")))
    with open(copied / "predictions.csv", newline="") as stream:
        names = [row["face"] for row in csv.DictReader(stream) if row["run"] == "0"]
    arrays["names"][arrays["parents"][0, 0]] = names[0]
    utils.save_arrays(file, made_from, **arrays)
    line = one_line(*script("train_classifier.py", copied, "--jobs", 1)[::2])
    assert "synthetic-interpolate.npz: made from" in line and "which is no training face of this run" in line
    for repeat in range(2):  # a classifier that claims to be made from it
        path = copied / "run-00" / f"classifier-interpolate-{repeat}.npz"
        arrays = utils.load_arrays(path)
        made_from = json.loads(str(arrays.pop("made_from"))) | utils.digests(file)
        utils.save_arrays(path, made_from, **arrays)
    line = one_line(*script("evaluate.py", copied)[::2])
    assert f"made from the test face {names[0]}; remove it and run augment.py again" in line


def test_redo_makes_one_arm_anew(copied):
    before = {file: file.stat().st_mtime_ns for file in copied.glob("run-*/*.npz")}
    bytes_before = contents(copied, ".npz")
    assert run_here("augment.py", copied, "--redo", "interpolate", "--jobs", 1) == 0
    assert run_here("train_classifier.py", copied, "--redo", "translate", "--jobs", 1) == 0
    anew = {file.name for file, time in before.items() if file.stat().st_mtime_ns != time}
    assert anew == {"synthetic-interpolate.npz", "classifier-translate-0.npz", "classifier-translate-1.npz"}
    assert contents(copied, ".npz") == bytes_before


@pytest.fixture(scope="module")
def loso(tiny, tmp_path_factory):
    """Everybody left out in turn, every method."""
    options = (*TINY[2:], "--protocol", "loso", "--steps", 200)
    return sequence(tiny, tmp_path_factory.mktemp("fair"), *options, methods=("--methods", "all"))


def test_every_arm_takes_the_same_steps(loso):
    metrics = metrics_of(loso)
    assert list(metrics["arms"]) == ["none", *augment.METHODS] and metrics["units"] == metrics["runs"] == 4
    assert metrics["test_faces"] == 36 and metrics["interval"] == "t over people"
    steps = {tuple(utils.load_arrays(file, "history")[:, 0]) for file in loso.glob("run-*/classifier-*.npz")}
    assert steps == {(100, 200)} and len(list(loso.glob("run-*/classifier-*.npz"))) == 4 * 13 * 2
    assert {name: len(controls) for name, controls in metrics["against"].items()} == {
        "translate": 3, "interpolate": 3, "transfer": 3}
    report = (loso / "report" / "report.md").read_text()
    assert "no person of a test face is in training" in report and "(registration.png)" in report


def test_no_test_face_is_in_any_file(loso):
    with open(loso / "predictions.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for run in range(4):
        tested = {row["face"] for row in rows if row["run"] == str(run)}
        assert len({row["person"] for row in rows if row["run"] == str(run)}) == 1 and len(tested) == 9
        for file in (loso / f"run-{run:02d}").glob("synthetic-*.npz"):
            names, parents, weights = utils.load_arrays(file, "names", "parents", "weights")
            assert not tested & set(names.tolist()) and parents.max() < len(names) == 27
            assert parents.shape == weights.shape
        assert len(utils.load_arrays(loso / f"run-{run:02d}" / "split.npz", "movements")) == 27


def test_side_by_side(loso, published, script):
    status, printed, _ = script("evaluate.py", loso, published)
    report = loso.parent / "side-by-side" / "report.md"
    assert status == 0 and str(report) in printed
    text = report.read_text()
    assert published.name in text and loso.name in text and "geometric-transfer" in text


def test_every_layout_goes_through_and_gives_the_same_arrays(tmp_path):
    """By people in folds: names, folders and lists agree on who is who, and so on the splits."""
    results, first = tmp_path / "results", None
    settings = ("--protocol", "kfold", "--folds", 2, "--runs", 1, *TINY[2:], "--steps", 100, "--seed", 1)
    for path, options in layouts(tmp_path):
        given = [text for key, value in options.items() for text in (f"--{key}", value)]
        folder = sequence(tmp_path / path, results, *settings, *given)
        arrays = {}
        for file in sorted(folder.glob("run-00/*.npz")):
            name = file.name
            for code, label in (("AN", "angry"), ("HA", "happy"), ("SU", "surprise")):
                name = name.replace(label, code)
            arrays[name] = {key: value for key, value in utils.load_arrays(file).items()
                            if key not in ("made_from", "names", "emotions")}
        first = first or arrays
        assert arrays.keys() == first.keys() and len(arrays) == 22
        for name, named in arrays.items():
            for key, value in named.items():
                same = np.array_equal(value, first[name][key], equal_nan=value.dtype.kind == "f")
                assert same, (path, name, key)


def test_fer2013_and_folders_bring_their_own_split(tmp_path, script):
    options = (*TINY, "--protocol", "given", "--steps", 100)
    folder = sequence(write_fer2013(tmp_path / "fer2013.csv", (28, 7, 14)), tmp_path / "results", *options)
    metrics = metrics_of(folder)
    assert metrics["dataset"]["people"] == 0 and metrics["test_faces"] == 14
    assert list(metrics["arms"]) == ["none", *augment.WITHOUT_PEOPLE]
    assert "it is not known who is who" in (folder / "report" / "report.md").read_text()
    assert "interpolate" in metrics["against"]
    line = one_line(*script("augment.py", folder, "--methods", "translate")[::2])
    assert "translate: nobody is known to show two emotions; leave the method out" in line
    layouts(tmp_path)
    folder = sequence(tmp_path / "parts", tmp_path / "results", *options)
    assert metrics_of(folder)["test_faces"] == 12


def test_help_and_a_reader_that_has_seen_enough(tiny, tmp_path):
    for name in ("train_cae.py", "augment.py", "train_classifier.py", "evaluate.py"):
        assert f"python {name}" in shell(name, "--help")[0]
    process = subprocess.Popen([sys.executable, ROOT / "train_cae.py", "--data", tiny, "--results", tmp_path,
                                *map(str, PUBLISHED)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 141 and process.stderr.read() == b""
