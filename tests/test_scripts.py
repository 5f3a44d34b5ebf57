"""The four scripts as a user runs them, in sequence, on tiny settings."""

import csv
import json

import numpy as np
import pytest
from conftest import run

import utils

TINY = ("--runs", 2, "--cae-epochs", 2)


def sequence(data, results, *options, methods="interpolate,duplicate", jobs=1, env=None):
    """Run all four; returns the experiment's folder and what the last one printed."""
    printed, _ = run("train_cae.py", "--data", data, "--results", results, "--jobs", jobs, *options, env=env)
    folder = next(line.split(": ", 1)[1] for line in printed.splitlines() if line.startswith("experiment: "))
    assert f"next: python augment.py {folder}" in printed
    run("augment.py", folder, "--methods", methods, "--jobs", jobs, env=env)
    run("train_classifier.py", folder, "--jobs", jobs, env=env)
    return utils.Path(folder), run("evaluate.py", folder, env=env)[0]


@pytest.fixture(scope="module")
def published(tiny, tmp_path_factory):
    return sequence(tiny, tmp_path_factory.mktemp("results"), *TINY, "--classifier-epochs", 6)


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*")
            if file.is_file() and file.name not in (".lock", "experiment.json", "report.md")}


def test_published_ends_with_a_report(published):
    folder, printed = published
    assert folder.name == "tiny-published-cae-epochs-2-classifier-epochs-6"
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    assert metrics["dataset"]["faces"] == 36 and metrics["dataset"]["stand_in"] is False and metrics["runs"] == 2
    assert metrics["not_the_protocols"] == ["cae_epochs", "classifier_epochs"]
    assert metrics["test_faces"] == 8 and metrics["synthetic_faces"]["interpolate"] == metrics["synthetic_faces"]["duplicate"] > 80
    for arm in ("none", "interpolate", "duplicate"):
        values = metrics["arms"][arm]
        assert np.sum(values["confusion_matrix"]) == 2 * 8
        assert values["accuracy"]["mean"] == pytest.approx(np.trace(values["confusion_matrix"]) / 16)
        assert ("gain_points" in values) == (arm != "none")
        with open(folder / "run-01" / f"predictions-{arm}.csv", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert len(rows) == 8 and np.mean([row["emotion"] == row["predicted"] for row in rows]) == values["accuracy"]["per_run"][1]
        assert all(abs(sum(float(row[f"p_{emotion}"]) for emotion in ("AN", "HA", "SU")) - 1) < 1e-4 for row in rows)
    text = (folder / "report" / "report.md").read_text()
    assert "cae epochs 2, classifier epochs 6" in text and "+20.93" in text
    for figure in ("emotions", "gains", "accuracy", "confusion", "learning-curves", "cae-loss", "reconstructions", "synthetic", "latents"):
        assert f"({figure}.png)" in text and (folder / "report" / f"{figure}.png").stat().st_size > 5_000
    assert "gain over none" in printed and printed.rstrip().endswith("report.md")


def test_same_command_gives_the_same_bytes_on_one_core_or_two(published, tiny, tmp_path):
    again, _ = sequence(tiny, tmp_path, *TINY, "--classifier-epochs", 6, jobs=2,
                        env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"})
    first, second = contents(published[0]), contents(again)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_finished_work_is_not_done_again(published, tiny):
    folder, _ = published
    before = {file: file.stat().st_mtime_ns for file in folder.glob("run-*/*") if "predictions" not in file.name}
    sequence(tiny, folder.parent, *TINY, "--classifier-epochs", 6)
    assert before == {file: file.stat().st_mtime_ns for file in before}


@pytest.fixture(scope="module")
def fair(tiny, tmp_path_factory):
    """One small experiment with every arm, and everybody left out in turn."""
    options = ("--protocol", "loso", "--cae-epochs", 2, "--steps", 200, "--scope", "both", "--pair-epochs", 1)
    return sequence(tiny, tmp_path_factory.mktemp("fair"), *options, methods="all", jobs=2)


def test_every_arm_sees_the_same_number_of_steps(fair):
    folder, _ = fair
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    arms = ["none", "interpolate", "translate", "transfer", "duplicate", "blend", "geometric"]
    assert set(metrics["arms"]) == {*arms, "interpolate+geometric"} and metrics["runs"] == 4 and metrics["test_faces"] == 36
    steps = {tuple(utils.read_arrays(file)["steps"]) for file in folder.glob("run-*/classifier-*-history.npz")}
    assert steps == {(100, 200)}
    assert len(list(folder.glob("run-*/cae-??-??.keras"))) == 4 * 6
    for file in folder.glob("run-*/synthetic-*.npz"):
        made = utils.read_arrays(file)
        assert np.isfinite(made["images"]).all() and made["parents"].shape == made["weights"].shape
    report = (folder / "report" / "report.md").read_text()
    assert "On new people?" in report and "bootstrap over 4 subjects" in report


def test_synthetic_faces_have_no_parent_outside_training(fair):
    folder, _ = fair
    for file in folder.glob("run-*/synthetic-*.npz"):
        made = utils.read_arrays(file)
        with open(file.parent / "predictions-none.csv", newline="") as stream:
            tested = {row["file"] for row in csv.DictReader(stream)}
        assert tested and not tested & set(made["names"].tolist()) and made["parents"].max() < len(made["names"]) == 18


def test_a_planted_leak_is_refused(fair):
    folder, _ = fair
    file = folder / "run-00" / "synthetic-interpolate.npz"
    kept = file.read_bytes()
    try:
        made, provenance = utils.read_arrays(file), utils.read_provenance(file)
        made["names"][made["parents"][0, 0]] = "AA.AN1.png"  # a face of run 0's test subject
        utils.write_arrays(file, provenance, **made)
        for script in ("train_classifier.py", "evaluate.py"):
            _, error = run(script, folder, status=2)
            assert "synthetic-interpolate.npz" in error.splitlines()[-1] and "Traceback" not in error
        assert "made from AA.AN1.png, which is not a training face" in run("train_classifier.py", folder, status=2)[1]
    finally:
        file.write_bytes(kept)


def test_side_by_side(fair, published):
    printed, _ = run("evaluate.py", fair[0], published[0])
    report = fair[0].parent / "side-by-side" / "report.md"
    assert report.name in printed and published[0].name in report.read_text()


def test_options_that_contradict_the_experiment_are_refused(published, tiny):
    folder, _ = published
    options = ("--data", tiny, "--results", folder.parent, "--cae-epochs", 2, "--classifier-epochs", 6)
    before = contents(folder)
    _, error = run("train_cae.py", *options, "--runs", 3, status=2)
    assert "began with runs 2, now 3 is asked for; give --results another folder, or remove this one" in error
    _, error = run("augment.py", folder, "--theta", "0.25:0.75", status=2)
    assert "begun with theta 0.5, now 0.25:0.75 is asked for" in error
    assert contents(folder) == before
