"""What leaves for other programs: synthetic faces as images, balanced ones, classifiers as Keras
files, and what classifiers say of photographs."""

import csv
import json
import re

import numpy as np
import pytest
from conftest import TINY, contents, draw_tiny, metrics_of, predictions_of, sequence
from PIL import Image

import utils
from augment import balancing_rows
from data.faces import load_photo
from data.registration import register, warp
from train_classifier import build_lenet5

PNG = b"\x89PNG"
HOLDOUT = (*TINY, "--protocol", "holdout", "--steps", 20, "--runs", 1, "--repeats", 1, "--align",
           "none")


def parents_of(folder):
    with open(folder / "parents.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def read_by_keras(folder):
    """(images float32 (n, 48, 48), folders of their classes) as other people's networks get them.
    """
    import keras

    read = keras.utils.image_dataset_from_directory(
        folder, color_mode="grayscale", image_size=(48, 48), shuffle=False, batch_size=None,
        verbose=False)
    images, classes = zip(*[(image.numpy()[..., 0], read.class_names[int(label)])
                            for image, label in read])
    return np.stack(images), list(classes), read.file_paths


# ---------------------------------------------------------------------------------------- images
@pytest.fixture(scope="module")
def odd(made_once):
    """An experiment whose emotions and files have odd names, and are unbalanced."""
    def make(folder):
        faces, lines = draw_tiny(folder / "faces"), ["file,emotion,subject"]
        labels = {"AN": "../../a/b", "HA": ".Fröhlich %", "SU": f"…{'sehr ' * 50}übel"}
        for number, file in enumerate(sorted(faces.iterdir())):
            if file.name.startswith("CC.SU"):
                continue
            stem = f"d i/{'é' * 70} {number}; $x|'{number}"
            target = faces / f"{stem}.png"
            target.parent.mkdir(exist_ok=True)
            file.rename(target)
            lines.append(f'"faces/{stem}.png","{labels[file.name[3:5]]}",{file.name[:2]}')
        (folder / "odd.csv").write_text("\n".join(lines), "utf-8")
        sequence(folder / "odd.csv", folder / "results", *HOLDOUT, arms=("--arms", "none"),
                 methods=("--methods", "translate,person-mean,interpolate"))

    folder, = (made_once("odd", make) / "results").iterdir()
    return folder


def test_images_are_read_back_by_keras(odd, tmp_path, script, no_figures):
    script("augment.py", odd, "--png", tmp_path / "png", "--methods",
           "translate,person-mean,interpolate")
    assert [path.name for path in tmp_path.iterdir()] == ["png"]  # nothing escapes
    train = utils.load_arrays(odd / "run-00" / "train.npz")
    for method in ("translate", "person-mean", "interpolate"):
        folder = tmp_path / "png" / "run-00" / method
        arrays = utils.load_arrays(odd / "run-00" / f"synthetic-{method}.npz")
        rows = parents_of(folder)
        place_of = {str(folder / row["file"]): k for k, row in enumerate(rows)}
        images, classes, paths = read_by_keras(folder)
        order = [place_of[path] for path in paths]
        assert sorted(order) == list(range(len(arrays["images"])))
        expected = arrays["images"][order][..., 0].clip(0, 1)
        assert np.abs(images - 255 * expected).max() <= 0.501
        assert {row["file"].partition("/")[0] for row in rows} == set(classes)
        assert [classes.count(name) for name in sorted(set(classes))] == [
            (arrays["emotions"] == label).sum() for label in sorted(
                set(arrays["emotions"].tolist()), key=lambda label: rows[
                    arrays["emotions"].tolist().index(label)]["file"])]
        for k, row in enumerate(rows):
            used = arrays["coefficients"][k] != 0
            assert row["emotion"] == arrays["emotions"][k]
            assert row["parents"] in ("|".join(train["names"][arrays["parents"][k, used]]),)
            assert [float(weight) for weight in row["coefficients"].split("|")] == pytest.approx(
                arrays["coefficients"][k, used].tolist(), abs=1e-3)


def test_images_of_an_earlier_export_are_not_mixed_in(copied, tmp_path, script):
    png, method = tmp_path / "png", ("--methods", "interpolate")
    script("augment.py", copied, *method, "--png", png)
    whole = contents(png)
    script("augment.py", copied, *method, "--png", png)  # the same once more
    assert contents(png) == whole and sum(name.endswith(".png") for name in whole) == sum(
        len(utils.load_arrays(file)["images"])
        for file in copied.glob("run-*/synthetic-interpolate.npz"))
    (png / "run-01" / "interpolate" / "AN" / "another.png").write_bytes(PNG)
    script("augment.py", copied, *method, "--png", png,
           says="run-01/interpolate: holds other faces, of an earlier --png perhaps; remove them")
    (tmp_path / "file").write_text("")
    script("augment.py", copied, *method, "--png", tmp_path / "file", says="cannot be written")


# --------------------------------------------------------------------------------------- balance
def test_rows_that_balance():
    real = np.repeat(["a", "b", "c", "d"], [5, 3, 1, 5])
    synthetic = np.array(list("abcbcbab"))
    rows = balancing_rows(real, synthetic, np.random.default_rng(0))
    assert sorted(synthetic[rows]) == ["b", "b", "c", "c"]  # c lacks two more
    assert len(set(rows.tolist())) == 4 and sorted(rows.tolist()) == rows.tolist()
    assert not len(balancing_rows(real[:0], synthetic, np.random.default_rng(0)))


def test_balance(tmp_path, capfd, script):
    """Emotions of 12, 6 and 2 faces, the last of one subject: interpolate has one pair of them."""
    faces = draw_tiny(tmp_path / "uneven")
    for file in faces.iterdir():
        if file.name[3:5] == "HA" and file.name[5] > "2" or \
                file.name[3:5] == "SU" and file.name[:6] not in ("AA.SU1", "AA.SU2", "AA.SU3"):
            file.unlink()
    methods = ("--methods", "translate,person-mean,interpolate", "--png", tmp_path / "png")
    folder = sequence(faces, tmp_path / "results", *HOLDOUT, "--balance", "yes", methods=methods,
                      arms=("--arms", "translate,interpolate"))
    said = capfd.readouterr()
    real = utils.load_arrays(folder / "run-00" / "train.npz")["emotions"]
    emotions, counts = np.unique(real, return_counts=True)
    assert dict(zip(emotions.tolist(), counts.tolist())) == {"AN": 10, "HA": 6, "SU": 2}
    for method, expected in (("translate", {"HA": 4, "SU": 8}), ("interpolate", {"HA": 4, "SU": 1}),
                             ("person-mean", {"HA": 4, "SU": 8})):
        made = utils.load_arrays(folder / "run-00" / f"synthetic-{method}.npz")["emotions"]
        assert dict(zip(*np.unique(made, return_counts=True))) == expected
        assert len(parents_of(tmp_path / "png" / "run-00" / method)) == len(made)
    assert "warning: translate: no face of AN, and so no folder" in said.err
    assert "warning: interpolate: too few faces to balance run 0: SU 1 of 8" in said.err
    report = (folder / "report" / "report.md").read_text("utf-8")
    assert "--balance yes" in report
    drawn = utils.read_made_from(folder / "run-00" / "classifier-translate-0.npz")["settings"]
    assert drawn["balance"] == "yes"  # as often as real faces, not as half of each batch
    sizes = {arm: values["synthetic_faces"] for arm, values in metrics_of(folder)["arms"].items()}
    assert sizes == {"none": 0, "translate": 12, "interpolate": 5}
    export = ["augment.py", folder, "--methods", "translate", "--png", tmp_path / "png"]
    before = contents(folder, ".npz")
    script(*export)
    assert contents(folder, ".npz") == before  # balanced as they are
    for file in folder.glob("run-01/synthetic-*"):
        file.unlink()  # as of runs that come later
    script(*export)
    assert contents(folder, ".npz").items() <= before.items()


# ------------------------------------------------------------------------------ classifiers, photos
def test_a_classifier_as_a_keras_file(copied, script):
    import keras

    printed = script("train_classifier.py", copied, "--arms", "translate", "--keras")
    assert "classifier-translate-0.keras: AN, HA, SU" in printed
    test = utils.load_arrays(copied / "run-00" / "test.npz")
    for arm in ("none", "translate"):
        model = keras.models.load_model(copied / "run-00" / f"classifier-{arm}-0.keras",
                                        safe_mode=True)
        probabilities = model.predict(test["images"][..., None] / np.float32(255), verbose=0)
        rows = predictions_of(copied, run="0", arm=arm, repeat="0")
        assert probabilities == pytest.approx(np.array([[float(row[f"p_{emotion}"]) for emotion in (
            "AN", "HA", "SU")] for row in rows]), abs=1e-5)


def shares_in(line):
    return {emotion: float(share) for emotion, share in re.findall(r"(\w\w) ([\d.]+) %", line)}


def by_hand(folder, photo, arm):
    """{emotion: percent}: the mean over all classifiers of an arm."""
    values = json.loads((folder / "experiment.json").read_text())
    image, wide_crop, _ = load_photo(photo, values["settings"]["crop"])
    model, probabilities = build_lenet5(3), []
    for run in sorted(folder.glob("run-*")):
        mean = np.load(run / "train.npz")["mean"]
        if len(mean):
            transform, = register([wide_crop], mean)
            image = warp(wide_crop, transform)
        for file in sorted(run.glob(f"classifier-{arm}-?.npz")):
            with np.load(file) as arrays:
                model.set_weights([arrays[f"w{k:02d}"] for k in range(len(model.weights))])
            probabilities.append(model.predict(image[None, ..., None] / np.float32(255), verbose=0))
    return dict(zip(values["emotions"], 100 * np.mean(probabilities, axis=0)[0]))


@pytest.mark.parametrize("name", ["published", "loso"])
def test_photographs(name, request, tiny, script, tmp_path):
    """Of training faces, as images of other formats and sizes too."""
    folder = request.getfixturevalue(name)
    names = utils.load_arrays(folder / "run-00" / "train.npz")["names"].tolist()
    photos = [tiny / names[0], tiny / names[-1], tmp_path / "a b é.bmp"]
    Image.open(tiny / names[1]).convert("RGB").save(photos[2])
    for options, arm in (((), "translate"), (("--arm", "none"), "none")):
        lines = script("evaluate.py", folder, "--predict", *photos, *options).splitlines()
        assert f"{len(list(folder.glob(f'run-*/classifier-{arm}-?.npz')))} classifiers of " \
            f"{arm}, trained on tiny; crop " in lines[0]
        for photo, line in zip(photos, lines[1:]):
            assert line.startswith(f"{photo}: ")
            shares = shares_in(line.removeprefix(f"{photo}: "))
            assert shares == pytest.approx(by_hand(folder, photo, arm), abs=0.051)
            assert list(shares.values()) == sorted(shares.values(), reverse=True)
    for crop in ("none", "9,9,200"):
        lines = script("evaluate.py", folder, "--predict", *photos, "--crop", crop).splitlines()
        assert f"; crop {crop}" in lines[0] and len(lines) == 4
    if name == "published":  # it tests in every run
        face = predictions_of(folder)[0]["face"]
        rows = predictions_of(folder, arm="translate", face=face)
        line = script("evaluate.py", folder, "--predict", tiny / face).splitlines()[-1]
        assert shares_in(line) == pytest.approx({emotion: 100 * np.mean([
            float(row[f"p_{emotion}"]) for row in rows]) for emotion in ("AN", "HA", "SU")},
            abs=0.06)


def test_jaffes_box_is_for_photographs_of_its_size(tmp_path):
    for side in (256, 300):
        greys = np.zeros((side, side), np.uint8)
        greys[:50] = 255  # above JAFFE's box
        Image.fromarray(greys).save(tmp_path / f"{side}.png")
    assert load_photo(tmp_path / "256.png", "50,65,161", (256, 256))[0].max() == 0
    assert load_photo(tmp_path / "300.png", "50,65,161", (256, 256))[0].max() == 255  # all of it
    assert load_photo(tmp_path / "300.png", "50,65,161")[0].max() == 0


PHOTOS = [  # options, what the line says
    ("--predict nowhere.png", "nowhere.png: no such file"),
    ("--predict whole.png nowhere.png broken.png", "nowhere.png: no such file"),
    ("--predict broken.png", "broken.png: cannot be read as an image .no image, or of a format"),
    ("--predict .", r"\.: is a folder; give its files"),
    ("--predict whole.png --arm linear", "--arm linear: was not trained; choose from none, longer"),
    ("--crop 1,2,99", "--crop: goes with --predict; leave it out"),
    ("--predict whole.png --arm ''", "--arm : was not trained"),
    ("--arm none", "--arm: goes with --predict; leave it out")]


@pytest.mark.parametrize("case", PHOTOS)
def test_photographs_that_cannot_be_read(case, published, tiny, tmp_path, script, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "whole.png").write_bytes((tiny / "AA.AN1.png").read_bytes())
    (tmp_path / "broken.png").write_bytes(b"no image")
    options = [word.strip("'") for word in case[0].split()]
    script("evaluate.py", published, *options, says=case[1])


def test_photographs_before_there_are_classifiers(copied, tiny, script):
    for file in copied.glob("run-*/classifier-*"):
        file.unlink()
    script("evaluate.py", copied, "--predict", tiny / "AA.AN1.png",
           says="no classifiers yet; run .*train_classifier.py")


def test_a_classifier_that_does_not_fit(copied, tiny, script):
    file = copied / "run-00" / "classifier-none-0.npz"
    arrays = dict(np.load(file))
    np.savez(file, **{**arrays, "w00": arrays["w00"][:3]})
    for options in (["train_classifier.py", "--arms", "none", "--keras"],
                    ["evaluate.py", "--arm", "none", "--predict", tiny / "AA.AN1.png"]):
        script(options[0], copied, *options[1:], says="none-0.npz: damaged .*; remove it and run")
