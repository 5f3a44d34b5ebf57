"""The four scripts as a user runs them, in sequence, on tiny settings."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from conftest import (
    LOSO,
    OTHER,
    PUBLISHED,
    ROOT,
    STAGES,
    TINY,
    changing,
    contents,
    draw_tiny,
    fast_baselines,
    metrics_of,
    one_line,
    predictions_of,
    sequence,
    shell,
    start,
)
from test_faces import write_fer2013

import augment
import train_cae
import utils
from data.faces import JAFFE_BOX, load_faces
from data.registration import mean_face

ARMS = ["none", "longer-translate", "translate", "person-mean", "longer-interpolate", "interpolate",
        "blend"]  # by default
PNG = b"\x89PNG"


def arrays_of(folder):
    return contents(folder, ".npz")


# ------------------------------------------------------------------------------------- published
def test_published_ends_with_a_report(published, script, no_figures):
    assert published.name == \
        "tiny-published-cae-epochs-2-classifier-epochs-3-latent-4-pair-epochs-1"
    metrics = metrics_of(published)
    assert [metrics[key] for key in ("runs", "repeats", "units", "test_faces")] == [2, 2, 2, 8]
    assert list(metrics["arms"]) == ARMS
    assert [(row["arm"], row["other"]) for row in metrics["answers"]] == [
        ("translate", "none"), ("interpolate", "none"), ("translate", "longer-translate"),
        ("interpolate", "longer-interpolate"), ("translate", "person-mean"),
        ("interpolate", "blend")]
    assert {method: [step["arm"] for step in steps] for method, steps in
            metrics["ladder"].items()} == {
        "translate": ["longer-translate", "translate", "person-mean", "translate"],
        "interpolate": ["longer-interpolate", "interpolate", "blend", "interpolate"]}
    assert {name: list(by_method) for name, by_method in metrics["svm"].items()} == {
        name: ["none", "translate", "person-mean", "interpolate", "blend"]
        for name in ("linear SVM", "HOG + linear SVM")}
    rows = predictions_of(published)
    assert len(rows) == 2 * 2 * 7 * 8
    assert abs(sum(float(rows[0][f"p_{label}"]) for label in ("AN", "HA", "SU")) - 1) < 1e-3
    for arm, values in metrics["arms"].items():
        right = [[row["emotion"] == row["predicted"] for row in predictions_of(
            published, arm=arm, run=run)] for run in "01"]
        assert values["accuracy"]["per_unit"] == [100 * np.mean(right[0]), 100 * np.mean(right[1])]
        assert np.sum(values["confusion_matrix"]) == 32 and values["classifiers"] == 4
        assert np.trace(values["confusion_matrix"]) == sum(map(sum, right))
        assert bool(values["gain"]) == (arm != "none")
    report = published / "report"
    for name in ("faces", "cae-loss", "reconstructions", "latents", "synthetic", "learning-curves",
                 "ladder", "gains", "accuracy", "confusion"):
        assert f"({name}.png)" in (report / "report.md").read_text()
        assert (report / f"{name}.png").stat().st_size > 3000
    assert ("--protocol published --cae-epochs 2 --classifier-epochs 3 --latent 4 --pair-epochs 1 "
            "--repeats 2 --runs 2 --results ") in (report / "report.md").read_text()
    lines = script("evaluate.py", published).splitlines()
    assert lines[-1].startswith("report: ")
    assert any(line.startswith("Does translate beat no augmentation?") and "Too few runs" in line
               for line in lines)


def test_longer_training_takes_exactly_the_steps(published):
    steps = {arm: [utils.load_arrays(published / f"run-{run:02d}" / f"classifier-{arm}-{k}.npz")
                   ["history"][-1, 0] for run in range(2) for k in range(2)] for arm in ARMS}
    assert steps["longer-translate"] == steps["translate"] and steps["none"] < steps["translate"]
    assert steps["longer-interpolate"] == steps["interpolate"]
    assert [metrics_of(published)["arms"][arm]["steps"] for arm in ARMS] == [
        np.mean(steps[arm]) for arm in ARMS]


def test_a_moved_experiment_without_its_images(published, copied, script):
    """Later stages read the experiment's folder alone, and make of it what was made elsewhere."""
    for file in [*copied.glob("run-*/synthetic-*.npz"), copied / "predictions.csv"]:
        file.unlink()
    shutil.rmtree(copied / "report")
    text = (copied / "experiment.json").read_text()
    (copied / "experiment.json").write_text(json.dumps(json.loads(text) | {"data": "/nowhere"}))
    for name in STAGES[1:]:
        script(name, copied)
    assert contents(copied, ".npz", ".csv") == contents(published, ".npz", ".csv")
    for part in ("answers", "arms", "ladder", "nearness", "novelty"):
        assert metrics_of(published)[part] == metrics_of(copied)[part]


def test_the_test_faces_are_opened_by_the_last_stage_alone(copied, script, monkeypatch):
    for file in copied.glob("run-*/test.npz"):
        file.write_bytes(b"not to be opened")
    for file in copied.glob("run-*/[sc][yl]*.npz"):  # synthetic faces and classifiers
        file.unlink()
    script("augment.py", copied, "--methods", "interpolate")
    script("train_classifier.py", copied, "--arms", "interpolate")
    script("evaluate.py", copied, says="test.npz: damaged .*; remove it")


# ---------------------------------------------------------------- what is made, missing, outdated
@pytest.fixture
def made_anew(copied, script):
    """Run scripts: the names of the arrays that were made anew."""
    def call(*commands):
        before = times(copied)
        for name, *options in commands:
            script(name, copied, *options)
        return {name for name, time in times(copied).items() if time != before.get(name)}

    return call


def times(folder):
    return {file.relative_to(folder).as_posix(): file.stat().st_mtime_ns
            for file in folder.glob("run-*/*.npz")}


THREE = [[name] for name in STAGES[:3]]


def matching(folder, pattern):
    return {name for name in times(folder) if re.match(pattern, name)}


def test_only_what_is_asked_for_is_made_again(copied, made_anew):
    whole = arrays_of(copied)
    assert made_anew(*THREE) == set()
    assert made_anew(["augment.py", "--redo", "interpolate"],
                     ["train_classifier.py", "--redo", "translate"]) == matching(
        copied, r"run-../(synthetic-interpolate|classifier-translate)")
    assert arrays_of(copied) == whole


def test_what_follows_from_a_changed_file_is_made_again(copied, made_anew):
    with changing(copied / "run-00" / "cae.npz") as arrays:
        arrays["w00"] += 0.01
    assert made_anew(*THREE) == matching(
        copied, "run-00/(cae-|synthetic-|"
        "classifier-(longer-|translate|person-mean|interpolate|blend))")


def test_with_another_own_method_only_its_arm_is_made_again(copied, made_anew, monkeypatch):
    def brighter(faces, tools):
        rows = np.arange(len(faces.names))
        return augment.Synthetic(faces.images * np.float32(1.2), faces.emotions, rows[:, None],
                                 np.ones((len(rows), 1), np.float32))

    monkeypatch.setitem(augment.METHODS, "brighter", augment.Method(brighter))
    method = ["augment.py", "--methods", "brighter"]
    assert made_anew(method, ["train_classifier.py", "--arms", "brighter,longer-brighter"],
                     ["evaluate.py"]) == matching(copied, ".*-brighter")
    assert "Does brighter beat no augmentation?" in (copied / "report" / "report.md").read_text()
    assert made_anew([*method, "--redo", "brighter"], ["train_classifier.py"]) == matching(
        copied, ".*synthetic-brighter")  # the same faces


def test_an_experiment_is_resumed(copied, tiny, tmp_path, script):
    """More runs, moved faces, a renamed folder: the same experiment."""
    before = arrays_of(copied)
    moved = shutil.copytree(tiny, tmp_path / "renamed")
    assert "runs: 3" in script("train_cae.py", copied, "--runs", 3, "--data", moved)
    after = arrays_of(copied)
    assert before.items() <= after.items() and "run-02/cae-AN-HA.npz" in after
    script("train_cae.py", copied)  # as it is now
    for name, value, says in (
            ("--runs", 2, "began with runs 3, now 2 is asked for"),
            ("--latent", 5, "began with latent 4, now 5 is asked for"),
            ("--protocol", "loso", "began with protocol published, now loso"),
            ("--steps", 300, "began with steps None, now 300"),
            ("--data", draw_tiny(tmp_path / "other", takes=2), "began with other faces than")):
        script("train_cae.py", copied, name, value, says=says)
    assert arrays_of(copied) == after


def test_the_same_options_find_the_same_experiment(published, tiny, tmp_path, script, no_figures):
    folder = shutil.copytree(published, tmp_path / published.name)
    printed = script("train_cae.py", "--data", tiny, "--results", tmp_path, *PUBLISHED)
    assert f"experiment: {folder}" in printed and arrays_of(folder) == arrays_of(published)
    script("train_cae.py", "--data", tiny, "--results", tmp_path, *PUBLISHED, "--runs", 1,
           says="began with runs 2, now 1 is asked for")


def test_what_is_missing_is_named(copied, script):
    """A half-made translate, a run short of an arm: the file, the run and the command for it."""
    (copied / "run-01" / "cae-HA-AN.npz").unlink()
    for name in STAGES[1:]:
        script(name, copied, says="missing or outdated: .*in run-01; run ")
    script("augment.py", copied, says="cae-HA-AN.npz in run-01; run .*train_cae.py .*experiment")
    script("train_cae.py", copied, "--scope", "pairs")
    (copied / "run-01" / "synthetic-interpolate.npz").unlink()
    (copied / "run-00" / "classifier-none-1.npz").unlink()
    script("train_classifier.py", copied, says="synthetic-interpolate.npz in run-01; run "
           ".*augment.py .* --methods interpolate")
    script("augment.py", copied)
    script("evaluate.py", copied, says="classifier-none-1.npz in run-00; .*train_classifier.py")
    script("train_classifier.py", copied)
    for kind in ("train", "test"):
        file = copied / "run-00" / f"{kind}.npz"
        file.rename(copied / file.name)
        script("evaluate.py", copied, says=f"outdated: {kind}.npz in run-00; .*train_cae.py")
        (copied / file.name).rename(file)
    script("evaluate.py", copied)
    for kind, name, says in (
            ("synthetic", "train_classifier.py", "no synthetic faces yet; run python .*augment.py"),
            ("classifier", "evaluate.py", "no classifiers yet; run .*train_classifier.py")):
        for file in copied.glob(f"run-*/{kind}-*"):
            file.unlink()
        script(name, copied, says=says)


@pytest.mark.parametrize("source, target, command", [
    ("run-01/classifier-none-0", "run-00/classifier-none-0", "evaluate.py"),
    ("run-00/classifier-none-1", "run-00/classifier-none-0", "evaluate.py"),
    ("run-00/cae-HA-AN", "run-00/cae-AN-HA", "augment.py"),
    ("run-00/synthetic-person-mean", "run-00/synthetic-translate", "train_classifier.py"),
    ("run-01/test", "run-00/test", "evaluate.py"),
    ("run-01/train", "run-00/train", "augment.py")])
def test_a_file_in_anothers_place_is_noticed(copied, script, source, target, command):
    shutil.copy(copied / f"{source}.npz", copied / f"{target}.npz")
    script(command, copied, says=f"missing or outdated: .*{target[7:]}.npz.* in run-00; run ")
    if "train" not in target and "test" not in target:
        script(dict(zip(("cae", "syn", "cla"), STAGES))[target[7:10]], copied)
        assert (copied / f"{target}.npz").read_bytes() != (copied / f"{source}.npz").read_bytes()


def test_a_planted_leak_is_refused(copied, script):
    file = copied / "run-00" / "synthetic-interpolate.npz"
    face = predictions_of(copied, run="0")[0]["face"]
    with changing(file) as arrays:
        arrays["names"][arrays["parents"][0, 0]] = face
    script("train_classifier.py", copied, says="synthetic-interpolate.npz: made from .*, which is "
           "no training face of this run")
    for repeat in range(2):  # a classifier that claims to be made from it
        for arm in ("blend", "longer-interpolate"):  # which would be outdated
            (copied / "run-00" / f"classifier-{arm}-{repeat}.npz").unlink()
        with changing(copied / "run-00" / f"classifier-interpolate-{repeat}.npz") as arrays:
            made_from = json.loads(str(arrays["made_from"]))
            made_from["inputs"][file.name] = utils.file_digest(file)
            arrays["made_from"] = json.dumps(made_from)
    script("evaluate.py", copied,
           says=f"made from the test face {face}; remove it and run the scripts again")


def test_a_training_face_among_the_test_faces_is_refused(copied, script):
    name = utils.load_arrays(copied / "run-00" / "train.npz")["names"][0]
    with changing(copied / "run-00" / "test.npz") as arrays:
        arrays["names"][3] = name
    script("evaluate.py", copied, says=f"train.npz: made from the test face {name}; remove it")


# ------------------------------------------------------------------------------- other protocols
def test_every_arm_takes_the_same_steps(loso):
    metrics = metrics_of(loso)
    methods = [name for name, row in augment.METHODS.items() if not row.control_of]
    geometric = ["geometric", *(f"{method}+geometric" for method in augment.METHODS)]
    assert {*metrics["arms"]} == {"none", *methods, *geometric}
    assert [metrics[key] for key in ("units", "runs", "test_faces", "interval", "ladder")] == [
        2, 2, 18, "over test subjects, conditional on the training subjects", {}]
    files = list(loso.glob("run-*/classifier-*.npz"))
    assert {tuple(utils.load_arrays(file)["history"][:, 0]) for file in files} == {(20,)}
    assert len(files) == 2 * len(metrics["arms"])
    assert [row["other"] for row in metrics["answers"] if row["method"] == "translate"] == [
        "none", "geometric", "geometric", "person-mean+geometric"]
    report = (loso / "report" / "report.md").read_text()
    assert "no test face shows a person in training" in report and "(registration.png)" in report


def test_no_test_face_is_in_any_file(loso, tiny):
    data_set = load_faces(tiny)
    for run in range(2):
        rows, folder = predictions_of(loso, run=str(run)), loso / f"run-{run:02d}"
        tested = {row["face"] for row in rows}
        assert len({row["subject"] for row in rows}) == 1 and len(tested) == 9
        files = list(folder.glob("synthetic-*.npz"))
        assert len(files) == len(augment.METHODS)
        for file in files:
            arrays = utils.load_arrays(file)
            assert not tested & set(arrays["names"].tolist())
            assert arrays["parents"].max() < len(arrays["names"]) == 27
        train, test = (utils.load_arrays(folder / f"{kind}.npz") for kind in ("train", "test"))
        assert set(test["names"].tolist()) == tested
        rows = np.flatnonzero(np.isin(data_set.faces.names, train["names"]))
        assert np.array_equal(data_set.faces.names[rows], train["names"]) and len(rows) == 27
        # What faces are registered to is the mean of the training faces.
        assert np.array_equal(train["mean"], mean_face(data_set.wide_crops[rows]))
        assert train["transforms"].any() and test["transforms"].any()


def test_a_method_that_nobody_knows_is_longer_than(loso, script):
    script("train_classifier.py", loso, "--arms", "longer-translate",
           says="--arms longer-...: all arms take the same number of steps in the protocol loso")


def test_side_by_side(loso, published, script, tmp_path, no_figures):
    folders = [shutil.copytree(each, tmp_path / name / each.name)
               for name, each in (("a", loso), ("b", published))]
    report = tmp_path / "side-by-side" / "report.md"  # beside what is common to both
    assert str(report) in script("evaluate.py", *folders)
    for name in (published.name, loso.name, "pixel-transfer+geometric"):
        assert name in report.read_text()
    several = json.loads((report.parent / "metrics.json").read_text())
    assert several == {each.name: metrics_of(each) for each in folders}


def test_people(tiny, loso, tmp_path, script, monkeypatch):
    """Training on fewer subjects: a curve over their number, on the same test faces."""
    folder = sequence(tiny, tmp_path / "results", *LOSO, "--people", 2, "--runs", 1, "--scope",
                      "all", methods=("--methods", "interpolate"), arms=("--arms", "interpolate"))
    metrics = metrics_of(folder)
    assert "-people-2-" in folder.name
    assert metrics["training_subjects"] == 2 and metrics["test_faces"] == 9
    assert " --people 2 " in (folder / "report" / "report.md").read_text()
    drawn, all_subjects = [], shutil.copytree(loso, tmp_path / "results" / loso.name)
    monkeypatch.setattr(utils, "save_figure", lambda _, path, *__, **___: drawn.append(path.name))
    fast_baselines(monkeypatch)
    script("evaluate.py", folder, all_subjects)
    assert drawn[-2:] == ["gains.png", "curve.png"]


def test_another_data_set_tests(tiny, tmp_path, script):
    """--test: subjects of the same names are others; emotions that nobody trained on are left."""
    other = draw_tiny(tmp_path / "other", subjects="AE", takes=2, seed=6)
    (other / "EE.AN1.png").rename(other / "EE.FE1.png")
    (other / "EE.AN2.png").rename(other / "EE.FE2.png")
    table = other.with_suffix(".csv")  # with boxes of its own, which a resumed experiment has too
    table.write_text("\n".join(["file,emotion,subject,x,y,side", *(
        f"other/{file.name},{file.name[3:5]},{file.name[:2]},50,65,161"
        for file in other.iterdir())]))
    folder = sequence(tiny, tmp_path / "results", *TINY, "--protocol", "given", "--test", table,
                      "--steps", 100, "--runs", 1, "--repeats", 1, "--scope", "all",
                      methods=("--methods", "interpolate"), arms=("--arms", "interpolate"))
    metrics = metrics_of(folder)
    assert metrics["test_faces"] == 10 and metrics["training_subjects"] == 4
    assert any("2 test faces are left out" in note for note in metrics["dataset"]["notes"])
    assert {row["subject"] for row in predictions_of(folder)} == {"AA (test set)", "EE (test set)"}
    train, test = (utils.load_arrays(folder / "run-00" / f"{kind}.npz")
                   for kind in ("train", "test"))
    assert len(train["names"]) == 36 and not {*train["names"]} & {*test["names"]}
    script("train_cae.py", folder, "--scope", "all")


# ----------------------------------------------------------------------------------- other faces
LONG = {"AN": "angry", "HA": "happy", "SU": "surprise"}


def layouts(folder):
    """The same 36 drawn faces in every layout: [(what --data gets, options)]."""
    listed, split = ["File; Emotion;subject"], ["file,emotion,subject,split,x,y,side"]
    with zipfile.ZipFile(folder / "zipped.zip", "w") as packed:
        for file in sorted(draw_tiny(folder / "names").iterdir(), reverse=True):
            packed.write(file, f"../deep/{file.name}")
            person, take = file.name[:2], file.name[5]
            emotion, side = LONG[file.name[3:5]], "Test" if take == "3" else "Training"
            for place in (f"folders/{emotion}", f"parts/{side}/{emotion}"):
                (folder / place).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, folder / place / file.name.replace(".", "_", 1))
            listed.append(f"names/{file.name};{emotion};Ms {person}")
            split.append(f"names/{file.name},{emotion},{person},{side},50,65,161")
        packed.writestr("__MACOSX/._AA.AN1.png", b"resource fork")
    for name, lines in (("listed", listed), ("split", split)):
        (folder / f"{name}.csv").write_text("\n".join(lines), "utf-8-sig", newline="\r\n")
    box = {"crop": JAFFE_BOX}
    by_name = {**box, "subject": r"^(x\d+)_|^(?:.*/)?(\w\w)_"}
    return [("names", box), ("zipped.zip", box), ("folders", by_name), ("parts", by_name),
            ("listed.csv", box), ("split.csv", {})]


def test_every_layout_is_dealt_into_the_same_arrays(tmp_path, script, no_figures, monkeypatch):
    """By people in folds: names, folders and lists agree on who is who, and so on the splits. All
    that follows is made from these files alone."""
    monkeypatch.setattr(utils, "run_jobs", lambda *_, **__: None)
    monkeypatch.setattr(train_cae.utils, "require", lambda *_: None)
    first = None
    for path, options in layouts(tmp_path):
        given = [text for key, value in options.items() for text in (f"--{key}", value)]
        results = tmp_path / f"results-{path}"
        script("train_cae.py", "--data", tmp_path / path, "--results", results, *TINY,
               "--protocol", "kfold", "--folds", 2, "--runs", 1, "--seed", 1, *given)
        arrays = {(file.stem, key): value for file in results.glob("*/run-00/*.npz")
                  for key, value in utils.load_arrays(file).items()}
        for kind in ("train", "test"):
            arrays.pop((kind, "names"))
            texts = arrays[kind, "emotions"].tolist(), arrays[kind, "subjects"].tolist()
            arrays[kind, "emotions"] = [LONG.get(text, text) for text in texts[0]]
            arrays[kind, "subjects"] = [text[-2:] for text in texts[1]]
        first = first or arrays
        assert arrays.keys() == first.keys() and len(arrays) >= 8
        for key, value in arrays.items():
            assert np.array_equal(value, first[key]), (path, key)


GIVEN = (*TINY, "--runs", 1, "--repeats", 1, "--protocol", "given", "--steps", 100)


def test_fer2013_brings_its_own_split(tmp_path, script):
    folder = sequence(write_fer2013(tmp_path / "fer2013.csv", 3), tmp_path / "results", *GIVEN,
                      arms=("--arms", "interpolate"))
    metrics = metrics_of(folder)
    assert metrics["dataset"]["subjects"] == 0 and metrics["test_faces"] == 14
    assert list(metrics["novelty"]) == ["interpolate", "blend"]  # nobody is known
    assert "it is not known who is who" in (folder / "report" / "report.md").read_text()
    script("augment.py", folder, "--methods", "translate",
           says="translate: no subject is known to show two emotions; leave the method out")


def test_folders_bring_their_own_split(tmp_path):
    layouts(tmp_path)
    folder = sequence(tmp_path / "parts", tmp_path / "results", *GIVEN,
                      arms=("--arms", "interpolate"))
    assert metrics_of(folder)["test_faces"] == 12


# ------------------------------------------------------------------------------------- the shell
def test_workers_under_a_users_settings(published, copied, tmp_path):
    """Of Keras, matplotlib, language and so on: the same arrays and figures; --pdf."""
    (tmp_path / "keras.json").write_text(json.dumps({
        "floatx": "bogus", "image_data_format": "channels_first", "backend": "torch",
        "epsilon": 0.5}))
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nsavefig.dpi: 30\nfont.size: 30")
    (copied / "run-00" / "classifier-none-1.npz").unlink()
    _, errors = shell("train_classifier.py", copied, "--jobs", 2, "--pdf", **OTHER,
                      KERAS_BACKEND="", KERAS_HOME=str(tmp_path), MPLBACKEND="nonsense",
                      MATPLOTLIBRC=str(tmp_path / "matplotlibrc"))
    assert errors == "" and contents(copied, ".npz", ".png") == contents(published, ".npz", ".png")
    pdf = copied / "report" / "learning-curves.pdf"
    assert pdf.read_bytes().startswith(b"%PDF") and not list(published.rglob("*.pdf"))


@pytest.mark.parametrize("name", STAGES)
def test_help(name, script):
    assert f"python {name}" in script(name, "--help")


def test_a_reader_that_has_seen_enough(tiny, tmp_path):
    process = start("train_cae.py", "--data", tiny, "--results", tmp_path, *LOSO, "--jobs", 1)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 141 and process.stderr.read() == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX shell")
def test_closed_output_and_a_removed_folder(copied, tmp_path):
    """As cron may start it: what is printed goes nowhere, and into no file."""
    def sh(line, name):
        return subprocess.run(["sh", "-c", line, "sh", sys.executable, ROOT / name, copied],
                              capture_output=True, text=True)

    before = arrays_of(copied)
    (copied / "run-00" / "synthetic-blend.npz").unlink()
    process = sh('exec "$@" --jobs 1 <&- >&- 2>&-', "augment.py")
    assert process.returncode == 0 and arrays_of(copied) == before
    (tmp_path / "gone").mkdir()
    process = sh(f'cd "{tmp_path}/gone" && rmdir ../gone && exec "$@"', "evaluate.py")
    assert "the current folder has been removed" in one_line(process.returncode, process.stderr)
    assert process.stdout == ""
