"""What is refused: one line that names it and the way out, status 2, and nothing left or lost.

Faces that cannot be read are in test_bad_faces.py.
"""

import io
import json
import os
import pickle
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, STAGES, draw_tiny, fast_baselines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import utils
from data import experiment
from data.experiment import SETTINGS
from data.faces import default_data
from data.protocols import PROTOCOLS

PROPERTY = settings(max_examples=150, deadline=None, derandomize=True, database=None,
                    suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def faces(tiny, tmp_path, monkeypatch, no_figures):
    """The folder faces/, to be spoilt, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(tiny, tmp_path / "faces")


# ----------------------------------------------------------------------------------------- splits
def only(pattern):
    """Leave these images and labels alone."""
    def change(faces):
        for file in faces.iterdir():
            if not re.search(pattern, file.name):
                file.unlink()

    return change


def in_folders(*places):
    """The images in folders of their emotions, below one of these places each in turn."""
    def change(faces):
        for number, file in enumerate(sorted(faces.iterdir())):
            place = faces / places[number % len(places)] / file.name[3:5]
            place.mkdir(parents=True, exist_ok=True)
            file.rename(place / file.name.replace(".", "_", 1))

    return change


def spoilt(*names):
    return lambda faces: [(faces / name).write_bytes(b"") for name in names]


def listed(*sides):
    """own.csv with the images, on these sides of a split each in turn."""
    def change(faces):
        names = sorted(file.name for file in faces.iterdir())
        lines = [f"faces/{name},{name[3:5]},{sides[number % len(sides)]}"
                 for number, name in enumerate(names)]
        Path("own.csv").write_text("\n".join(["file,emotion,split", *lines]))

    return change


def other_faces(seed):
    return lambda faces: draw_tiny(Path("other"), "E", seed=seed)


SPLITS = [  # a change of faces/, options, what the line says
    (None, "--protocol given", "cannot be split for given: .*choose another --protocol"),
    (listed("train", "test", ""), "--protocol given", "split for given: .*one without some faces"),
    (listed("train"), "--protocol given", "split for given: .*one without some faces"),
    (only("AN|AA.HA"), "--protocol loso", "split for loso: run 1 has 0 training faces of emotion "
     "HA, two are needed; add faces"),
    (only("AA|BB|CC"), "--protocol kfold --folds 9", "split for kfold: .*3 subjects .* 9 or more"),
    (only("AA|BB"), "--protocol kfold --folds 2", "split for kfold: .*2 subjects .* 3 or more"),
    (only("AA|BB"), "--protocol loso", "split for loso: .*2 subjects .* 3 or more"),
    (only("AA"), "--protocol loso", "there is 1 subject .*such as published"),
    (None, "--protocol cv --runs 7", "--runs 7: is no multiple of 5"),
    (None, "--protocol loso --balance yes", "--balance yes: all emotions are as frequent"),
    (in_folders(""), "--protocol loso", "split for loso: the subject of every face has to be known"
     ".*--subject PATTERN, or a CSV"),
    (in_folders(""), "--protocol holdout --people 2", "split for holdout: the subject of every"),
    (None, "--people 5", "--people 5: a run has 4 training subjects; give 4 or"),
    (None, "--protocol loso --people 4", "--people 4: a run has 3 training subj"),
    (only("AA|BB.AN"), "", "split for published: a quarter of the training faces cannot "
     "show every emotion"),
    (in_folders("train", "test"), "--protocol given --people 1", "split for given: the subject of"),
    (lambda faces: (only("AN|HA1|SU1")(faces), listed("train", "test", "train", "train", "test")(
        faces)), "--protocol given", "run 0 has 0 training faces of emotion SU, two are needed"),
    (spoilt("AA.AN1.png", "BB.HA2.png"), "", "2 images cannot be read: .*BB.HA2.png .*; replace"),
    (lambda faces: (faces / "AA.AN1.png").rename(faces / "1\x1b[2J.png"), "",
     "JAFFE.*rename or remove"),
    (other_faces(6), "--test other", "--test: needs --protocol given"),
    (other_faces(5), "--protocol given --test other", "has the same pixels as the training face"),
    (None, "--protocol given --test nowhere", "nowhere: no such file or folder"),
]


@pytest.mark.parametrize("case", SPLITS)
def test_split(case, faces, script):
    change, options, says = case
    if change:
        change(faces)
    path = "own.csv" if Path("own.csv").exists() else "faces"
    script("train_cae.py", "--data", path, "--results", "results", *options.split(), says=says)
    assert not Path("results").exists()


# ---------------------------------------------------------------------------------------- options
OPTIONS = {  # a command and what its line says
    "train_cae.py --runs 0": "--runs: 0 is not a whole number from 1 to 1000",
    "train_cae.py --runs 1.5": "--runs: 1.5 is not a whole number",
    f"train_cae.py --seed {'1' * 5000}": "is not a whole number",
    "train_cae.py --protocol holdout --steps 0": "--steps: 0 is not a whole number from 1",
    "train_cae.py --steps 200": "--steps has no effect in the protocol published; leave it out",
    "train_cae.py --protocol loso --patience 3": "--patience has no effect in the protocol loso",
    "train_cae.py --keep average": "--keep has no effect in the protocol published",
    "train_cae.py --folds 3": "--folds has no effect in the protocol published",
    "train_cae.py --protocol kfold --folds 1": "--folds: 1 is not a whole number from 2 to 100",
    "train_cae.py --protocol other": "--protocol: other is none of published, cv",
    "train_cae.py --crop 0,0,0": "--crop: 0,0,0 is not X,Y,SIDE in pixels, square or none",
    "train_cae.py --crop manifest": "--crop manifest: these faces bring no boxes; leave it out",
    "train_cae.py --crop 200,0,99": "AA.AN1.png: 256 x 256 pixels, too small for the box 200,0,99",
    "train_cae.py --theta nan": "--theta: nan is not a number from -10 to 10",
    "train_cae.py --theta x": "--theta: x is not a number from -10 to 10",
    "train_cae.py --latent 0": "--latent: 0 is not a whole number from 1 to 4096",
    "train_cae.py --people -1": "--people: -1 is not a whole number from 0",
    "train_cae.py --max-synthetic 0": "--max-synthetic: 0 is not a whole number from 1",
    "train_cae.py --subject (": r"--subject: \( is not a regular expression: missing",
    "train_cae.py --jobs 0": "--jobs: 0 is not a whole number from 1",
    "train_cae.py --batch four": "--batch: four is not a whole number from 1",
    "train_cae.py --scope some": "--scope: invalid choice: .*some",
    "train_cae.py --no-such": "unrecognized arguments: --no-such; see --help",
    "train_cae.py --data ''": "--data: is empty; give a folder",
    "train_cae.py nowhere": "nowhere: holds no experiment.json; train_cae.py makes one",
    "augment.py --methods magic": "no method '?magic'?; there are translate, person-mean",
    "augment.py --methods ''": "no method ''; there are",
    "augment.py --redo magic": "no method 'magic'; there are",
    "augment.py --redo ''": "no method ''; there are",
    "augment.py --redo blend,": "no method ''; there are",
    "augment.py --png ''": "--png: is empty; give a folder",
    "train_classifier.py --arms none,magic": "no arm 'magic'; choose from none, translate",
    "train_classifier.py --arms longer-geometric": "no arm 'longer-geometric'; choose",
    "train_classifier.py --redo magic": "no arm 'magic'; choose from none, translate",
    "train_classifier.py --redo ''": "no arm ''; choose from none, translate",
    "train_classifier.py --arms 'none, blend'": "no arm ' blend'; choose from none, translate",
    f"train_classifier.py '{ROOT / 'utils.py'}'": "utils.py: holds no experiment.json",
    "evaluate.py '$(x)`[b]\x1b\n'": "holds no experiment.json",
    "evaluate.py a b": "a: holds no experiment.json",
}


@pytest.mark.parametrize("case", OPTIONS.items())
def test_option(case, faces, script):
    name, *options = shlex.split(case[0])
    where = ["--data", "faces", "--results", "results"] if name == "train_cae.py" else []
    script(name, *where, *options, says=case[1])
    assert not Path("results").exists()


def test_no_cluster(faces, script, monkeypatch):
    distributed = pytest.importorskip("distributed")
    client = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: client(address, timeout=1))
    script("train_cae.py", "--data", "faces", "--results", "results", "--dask",
           "tcp://127.0.0.1:9", says="--dask tcp://127.0.0.1:9: no scheduler answers there")


@pytest.mark.parametrize("where", ["", "faces-published", "faces-published/run-00"])
def test_file_where_a_folder_should_be(where, faces, script):
    way = Path("results", where)
    way.parent.mkdir(parents=True, exist_ok=True)
    way.write_text("in the way")
    script("train_cae.py", "--data", "faces", "--results", "results",
           says=f"{way.name}.*cannot be written")
    assert way.read_text() == "in the way"


def test_jaffe_is_found_by_its_name(monkeypatch, tmp_path):
    monkeypatch.setattr(utils, "ROOT", tmp_path)
    for name, found in (("README.md", "standin"), ("jaffe-2", "jaffe-2"),
                        ("JAFFE.zip", "JAFFE.zip"), ("jaffe", "jaffe")):
        (tmp_path / "data" / name).mkdir(parents=True)
        assert default_data() == tmp_path / "data" / found


@pytest.mark.parametrize("name", STAGES[1:])
def test_without_any_experiment(name, script, monkeypatch, tmp_path):
    monkeypatch.setattr(utils, "ROOT", tmp_path)
    script(name, says="holds no experiment.json; train_cae.py makes one")


# ------------------------------------------------------------------------------------ experiments
class Hostile:
    def __reduce__(self):
        return exec, ("open('canary', 'w')",)


def fields(**values):
    """experiment.json with other fields."""
    return lambda text: json.dumps(json.loads(text) | values).encode()


def setting(name, value):
    """experiment.json with another setting; None: without it."""
    def change(text):
        values = json.loads(text)
        values["settings"] |= {name: value}
        if value is None:
            del values["settings"][name]
        return json.dumps(values).encode()

    return change


def arrays(**values):
    """An .npz with other arrays; a function is of the old one, None: without it."""
    def change(whole):
        stored, stream = dict(np.load(io.BytesIO(whole))), io.BytesIO()
        for name, value in values.items():
            stored[name] = value(stored[name]) if callable(value) else value
        np.savez(stream, **{name: value for name, value in stored.items() if value is not None})
        return stream.getvalue()

    return change


def flip(whole):
    """One bit of the last array, which stands before the zip's directory."""
    place = whole.index(b"PK\1\2") - 1
    return whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1:]


def with_nan(array):
    array = array.copy()
    array.flat[-1] = np.nan
    return array


HOSTILE = arrays(names=np.array([Hostile()], object))
ANEW = "damaged .*; remove it and run"
SETTING = "experiment.json: damaged .*; restore it, or remove the folder and begin again"
DAMAGE = [  # file, its bytes or where it is cut or a function of it, a script, what its line says
    *[("experiment.json", change, "augment.py", SETTING) for change in (
        b"", 100, b"[]", b"{}", b"null", b"[" * 200_000, lambda text: b"\xff" + text,
        fields(runs="1"), fields(extra=1), fields(faces=None), fields(emotions="AN"),
        fields(emotions=[]), fields(emotions=["AN", 1]), fields(settings=[]), fields(settings={}),
        fields(stand_in=0), fields(environment=None), fields(fingerprint=1))],
    *[("experiment.json", setting(name, value), "train_classifier.py", SETTING)
      for name, value in (
        ("runs", 0), ("runs", 10**6), ("runs", True), ("runs", 2.0), ("runs", "2"), ("runs", None),
        ("runs", [2]), ("crop", "bogus"), ("crop", 1), ("latent", -1), ("latent", 0),
        ("protocol", "other"), ("protocol", []), ("protocol", {}), ("protocol", None),
        ("protocol", "loso"), ("steps", 100), ("patience", None), ("theta", "0.5"),
        ("theta", float("nan")), ("theta", 11), ("align", "median"), ("batch", 0),
        ("repeats", 101), ("subject", "("), ("seed", -1), ("extra", 1), ("emotion", 5))],
    *[("experiment.json", setting(name, value), "augment.py",
       "train.npz: made with other settings than .*experiment.json has now; restore them")
      for name, value in (("latent", 5), ("seed", 1), ("batch", 8), ("theta", 0.25))],
    ("experiment.json", setting("runs", 3), "augment.py", "missing or outdated: train.npz in "
     "run-02; run python .*train_cae.py"),
    ("experiment.json", fields(fingerprint="0" * 16), "augment.py", "train.npz: made with other "),
    *[("experiment.json", fields(**{name: value}), "train_cae.py", says) for name, value, says in (
        ("data", "/nowhere/at\0all", "no such file or folder|embedded null"),
        ("fingerprint", "0" * 16, "made with other settings than .*; restore them"),
        ("emotions", ["AN", "HA"], "made with other settings than .*; restore them"))],
    # An .npz that cannot be read.
    *[("train.npz", change, "augment.py", f"train.npz: {ANEW}") for change in (
        flip, b"", 3000, pickle.dumps(Hostile()), HOSTILE)],
    *[("test.npz", change, "evaluate.py", f"test.npz: {ANEW}") for change in (flip, -50, HOSTILE)],
    *[("cae.npz", change, script, f"cae.npz: {ANEW}") for script in ("train_cae.py", "augment.py")
      for change in (b"", 5000, pickle.dumps(Hostile()))],
    ("synthetic-interpolate.npz", -50, "train_classifier.py", f"interpolate.npz: {ANEW}"),
    ("synthetic-interpolate.npz", HOSTILE, "train_classifier.py", "damaged .*allow_pickle"),
    ("synthetic-interpolate.npz", HOSTILE, "evaluate.py", "interpolate.npz|interpolate-0.npz"),
    ("classifier-none-0.npz", flip, "evaluate.py", f"classifier-none-0.npz: {ANEW}"),
    ("classifier-none-0.npz", 90_000, "train_classifier.py", f"none-0.npz: {ANEW}"),
    # One that can be read, and holds something else.
    *[("test.npz", change, "evaluate.py", f"test.npz: {ANEW}") for change in (
        arrays(images=None), arrays(images=lambda x: x[1:]), arrays(images=lambda x: x / 255),
        arrays(images=lambda x: x[:, :32]), arrays(emotions=lambda x: x[:, None]),
        arrays(emotions=np.arange(8)), arrays(transforms=with_nan), arrays(made_from=None),
        arrays(made_from="{}"), arrays(made_from="{"), arrays(images=lambda x: x[:0]),
        arrays(emotions=lambda x: np.full_like(x, "XX")),
        lambda whole: arrays(**{name: lambda x: x[:0] for name in (
            "names", "subjects", "emotions", "images", "transforms")})(whole))],
    *[("train.npz", change, "train_classifier.py --arms none", f"train.npz: {ANEW}|a face of "
       "emotion XX, which the experiment does not have; restore its files") for change in (
        arrays(images=lambda x: x.astype(np.int64)), arrays(subjects=None),
        arrays(emotions=lambda x: np.full_like(x, "XX")))],
    *[("cae.npz", change, "augment.py --methods interpolate --redo interpolate",
       "cae.* damaged .*; remove it and run") for change in (
        arrays(w00=with_nan), arrays(w00=lambda x: x[..., :5]), arrays(w19=None), arrays(w09=None),
        arrays(w05=lambda x: x.astype("U9")), arrays(w03=np.zeros(()), w09=np.zeros(())))],
    ("cae.npz", arrays(w00=lambda x: x[..., :5]), "train_cae.py --scope pairs", "cae.* damaged"),
    *[("synthetic-interpolate.npz", change, "train_classifier.py --arms interpolate",
       f"polate.npz: {ANEW}|a face "
       "of emotion XX, which the experiment does not have") for change in (
        arrays(images=with_nan), arrays(images=lambda x: x[..., 0]),
        arrays(images=lambda x: np.uint8(x)), arrays(emotions=lambda x: x[1:]),
        arrays(emotions=lambda x: np.full_like(x, "XX")), arrays(parents=lambda x: x + 1000),
        arrays(parents=lambda x: x - 1000), arrays(parents=lambda x: x / 2),
        arrays(coefficients=lambda x: x[:, :1]), arrays(names=None))],
    *[("classifier-none-0.npz", change, "evaluate.py", f"classifier-none-0.npz: {ANEW}")
      for change in (
        arrays(w00=with_nan), arrays(w00=lambda x: x[:3]), arrays(w09=None),
        arrays(history=None), arrays(history=lambda x: x[0]), arrays(history=with_nan),
        arrays(history=lambda x: x[:0]), arrays(w02=lambda x: x.astype("U9")))],
]


@pytest.mark.parametrize("case", DAMAGE)
def test_damage(case, published, script, tmp_path, monkeypatch, no_figures):
    name, change, command, says = case
    fast_baselines(monkeypatch)
    monkeypatch.chdir(tmp_path)  # where a pickle would leave its canary
    folder = shutil.copytree(published, tmp_path / "experiment", copy_function=os.link)
    file = folder / ("" if name == "experiment.json" else "run-00") / name
    whole = file.read_bytes()
    file.unlink()  # the link alone
    file.write_bytes(change(whole) if callable(change) else
                     whole[:change] if isinstance(change, int) else change)
    assert file.read_bytes() != whole
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
    script(*command.split(), folder, says=says)
    assert before == {path: (path.stat().st_mtime_ns, path.stat().st_size)
                      for path in folder.rglob("*")} and not Path("canary").exists()


@pytest.mark.parametrize("name", ["experiment.json", "run-00/train.npz"])
def test_what_may_not_be_read_is_not_called_damaged(name, copied, script, monkeypatch):
    opened = io.open

    def refuse(file, *arguments, **options):
        if str(file).endswith(name):
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, *arguments, **options)

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    script("augment.py", copied, says=f"{name}: may not be read .Permission denied.; give access$")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (st.lists(inner, max_size=3)
                   | st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=4)


@pytest.mark.filterwarnings("ignore:Possible nested set")
@PROPERTY
@given(st.data())
def test_any_experiment_opens_equal_or_is_refused(published, tmp_path, data):
    values = json.loads((published / "experiment.json").read_text())
    part = values["settings"] if data.draw(st.booleans()) else values
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(JSON)
    text = json.dumps(values)
    (tmp_path / "experiment.json").write_text(text)
    try:
        opened = experiment.read_experiment(tmp_path)
    except utils.Problem as problem:
        assert utils.printable(problem) and "experiment.json: damaged" in str(problem)
    else:
        opened.save()
        assert json.loads((tmp_path / "experiment.json").read_text()) == values
        assert len(opened.identity) == 16 and len(opened.runs) >= 1


def defaults(given, faces, subjects):
    data = SimpleNamespace(dataset="own", faces=faces, subjects=subjects)
    return experiment.default_settings(given, data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_default_is_a_setting_that_may_be_given(protocol):
    for name, value in defaults({"protocol": protocol}, 213, 10).items():
        assert SETTINGS[name].read(str(value)) == value or not value, name
        assert experiment.setting_help(name)


def test_settings_that_others_decide():
    given = {"protocol": "kfold", "folds": 10}
    assert defaults(given, 213, 20)["runs"] == 10
    given = {"protocol": "given", "batch": 128}
    assert defaults(given, 35_887, 0)["steps"] == 8000
    assert defaults({**given, "batch": 4}, 35_887, 0)["steps"] == 143_600
