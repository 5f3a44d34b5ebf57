"""The data sets of README's table, drawn, through all four scripts with the table's own options."""

import itertools
import shlex

import pytest
from conftest import ROOT, fast_baselines, metrics_of, predictions_of, sequence
from test_layouts import (
    EMOTIONS,
    FER,
    KDEF,
    ck_plus,
    face,
    fer_plus,
    pixel_rows,
    raf_db,
    save,
    tree,
    write,
)

SUBJECTS = 5  # for as many folds
MORE = list(itertools.product(range(1, SUBJECTS + 1), EMOTIONS, range(2)))
TINY = ("--cae-epochs", 1, "--latent", 2, "--pair-epochs", 1, "--repeats", 1, "--runs", 1,
        "--steps", 20, "--batch", 4, "--align", "none")


def kdef(folder):
    for subject, emotion, take in MORE:
        name = f"{'AB'[take]}F{subject:02}"
        save(folder / name / f"{name}{KDEF[emotion]}S.JPG", face(subject, emotion, take),
             format="JPEG")


def muxspace(table):
    images = table.parent.parent / "images"
    tree(images, "{emotion}_{subject}_{take}.jpg", MORE)
    labels = (str.upper, str.lower)
    write(table, ["user.id,image,emotion", *(f"628,{e}_{s}_{t}.jpg,{labels[t](e)}"
                                             for s, e, t in MORE)])


def affectnet(table):
    tree(table.parent, "{subject}/{emotion}{take}.jpg", MORE)
    codes = {"angry": 6, "happy": 1, "sad": 2}
    write(table, ["subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,"
                  "expression,valence,arousal", *(f"{s}/{e}{t}.jpg,2,3,44,40,1;2,{codes[e]},0.1,0"
                                                  for s, e, t in MORE)])


def pixels(table, codes=FER):
    write(table, ["emotion,pixels,Usage", *pixel_rows(codes.get)])


def trees(pattern, **names):
    """A builder of a tree of these paths, for {word} by this name of an emotion."""
    def build(folder):
        for subject, emotion, take in MORE:
            path = pattern.format(emotion=names.get(emotion, emotion), subject=subject, take=take,
                                  split=("train", "test")[take])
            save(folder / path, face(subject, emotion, take))

    return build


def raf_db_folders(folder):
    for split, emotion, number in itertools.product(("train", "test"), range(1, 8), range(2)):
        save(folder / split / str(emotion) / f"{split}_{number:05}_aligned.jpg",
             face(emotion, "sad", 2 * number + (split == "test")))


PLAIN = "angry happy sad"
DATASETS = {  # row of the table: builder of what --data is, labels, number of subjects
    "CK+, as distributed": (lambda folder: ck_plus(folder, MORE), "anger happy sadness",
                            SUBJECTS),
    "CK+48, sorted by emotion": (trees("{emotion}/S{subject:03}_00{take}_00000017.png"), PLAIN,
                                 SUBJECTS),
    "CK+ as a CSV in FER2013's form": (
        lambda table: pixels(table, {"angry": 0, "happy": 3, "sad": 7}), "angry contempt happy", 0),
    "FER2013": (pixels, PLAIN, 0),
    "FER2013 as folders": (trees("{split}/{emotion}/{subject}.jpg"), PLAIN, 0),
    "FERPlus": (lambda table: fer_plus(table.parent), "happiness neutral", 0),
    "RAF-DB": (lambda folder: raf_db(folder.parent), "anger happiness sadness", 0),
    "RAF-DB in folders 1 to 7": (
        raf_db_folders, "anger disgust fear happiness neutral sadness surprise", 0),
    "KDEF": (kdef, PLAIN, SUBJECTS),
    "RaFD": (trees("Rafd090_{subject:02}_Caucasian_female_{emotion}_frontal.jpg"), PLAIN, SUBJECTS),
    "MUG": (trees("{subject:03}/{emotion}/take00{take}/img_0000.jpg", angry="anger",
                  happy="happiness", sad="sadness"), "anger happiness sadness", SUBJECTS),
    "Oulu-CASIA": (trees("P{subject:03}/{emotion}/{take:03}.jpeg", angry="Anger", happy="Happiness",
                         sad="Sadness"), "Anger Happiness Sadness", SUBJECTS),
    "muxspace's facial expressions": (muxspace, PLAIN, 0),
    "AffectNet": (affectnet, "anger happiness sadness", 0)}


def table_of_readme():
    """{data set: options of its command} of README's table."""
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    rows = [[cell.strip(" `") for cell in line.split(" | ")] for line in lines
            if "| `python train_cae.py" in line]
    return {name.removeprefix("| "): shlex.split(command.rstrip("` |"))[2:]
            for name, _, command in rows}


COMMANDS = table_of_readme()


def test_every_row_of_the_table_is_tried():
    assert COMMANDS.keys() - DATASETS.keys() == {"JAFFE", "any other"}


@pytest.mark.parametrize("name", DATASETS)
def test_dataset(name, tmp_path, monkeypatch):
    build, labels, subjects = DATASETS[name]
    options = COMMANDS[name]
    data = tmp_path / options[options.index("--data") + 1]
    protocol = options[options.index("--protocol") + 1]
    build(data)
    monkeypatch.chdir(tmp_path)
    fast_baselines(monkeypatch)
    method = "translate" if subjects else "interpolate"
    folder = sequence(data, tmp_path / "results", *options, *TINY,
                      *(() if subjects else ("--scope", "all")),
                      methods=("--methods", method), arms=("--arms", method))
    metrics = metrics_of(folder)
    assert metrics["dataset"]["emotions"] == labels.split()
    assert metrics["dataset"]["subjects"] == subjects and metrics["protocol"] == protocol
    assert list(metrics["arms"]) == ["none", method]
    rows = predictions_of(folder, arm=method)
    assert len(rows) == metrics["test_faces"] and {row["emotion"] for row in rows} == set(
        labels.split())
    assert all(bool(row["subject"]) == bool(subjects) for row in rows)
    report = (folder / "report" / "report.md").read_text("utf-8")
    assert f"protocol {protocol}" in report and f"| {method} |" in report
