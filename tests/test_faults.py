"""Interruptions: killed, refused by the disk, started twice. A later run ends with the same bytes all the same.

The scripts run in children forked from a process that has imported TensorFlow but not used it, which spares 5 s each.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, draw_tiny

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# A line of JSON in for each child, its wait status out. `fault`: [what, step], where every write of a file has six steps.
SERVER = '''
import builtins, errno, importlib, json, os, signal, sys, types
sys.path.insert(0, {root!r})
sys.argv = ["server"]
import utils
utils.tensorflow()
import matplotlib.pyplot, scipy.stats, sklearn.model_selection
import evaluate


def fit_for_fault(what, at):
    steps = 0

    def step():
        nonlocal steps
        steps += 1
        if steps == at and what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if steps == at and what == "full":
            raise OSError(errno.ENOSPC, "No space left on device")
        if what == "count":
            builtins.open(at, "w").write(str(steps))

    def stepped(function):
        def call(*arguments):
            step()
            return function(*arguments)
        return call

    def replace(old, new):
        step()
        os.replace(old, new)
        step()

    def opened(file, mode="r", *others, **named):
        if mode != "wb":
            return builtins.open(file, mode, *others, **named)
        step()
        stream = builtins.open(file, mode, *others, **named)
        write = stream.write

        class Halves:  # the first half of the bytes is on the disk when the fault comes
            def __enter__(self):
                return self
            def __exit__(self, *error):
                stream.close()
            def __getattr__(self, name):
                return getattr(stream, name)
            def write(self, data):
                write(data[:len(data) // 2])
                stream.flush()
                step()
                write(data[len(data) // 2:])

        return Halves()

    class Os(types.ModuleType):
        def __getattr__(self, name):
            return getattr(os, name)

    utils.open, utils.os = opened, Os("os")
    utils.os.fsync, utils.os.replace = stepped(os.fsync), replace


def reversed_listing():
    real, iterdir, scandir = os.listdir, utils.Path.iterdir, os.scandir
    os.listdir = lambda *path: sorted(real(*path), reverse=True)

    class Scan:
        def __init__(self, *path):
            with scandir(*path) as entries:
                self.entries = iter(sorted(entries, key=lambda entry: entry.name, reverse=True))
        def __enter__(self):
            return self.entries
        def __exit__(self, *error):
            pass
        def __iter__(self):
            return self.entries

    os.scandir = Scan


for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        for number, file in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
            os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)
        sys.argv = asked["argv"]
        os.chdir(asked["cwd"])  # the report names its commands as one would type them from here
        utils.CHECKPOINT_SECONDS = asked["checkpoint"]
        utils.code_fingerprint = lambda: "0" * 16  # whoever edits a script meanwhile changes no byte below
        # Half a minute and some seconds; they write and read nothing that another stage knows of.
        evaluate.predict_lda = lambda experiment, faces: [
            faces.emotions[utils.experiment_split(experiment, faces, run).test].tolist()
            for run in range(experiment["settings"]["runs"])]
        evaluate.draw = lambda *arguments: []
        if asked["reversed"]:
            reversed_listing()
        if asked["fault"]:
            fit_for_fault(*asked["fault"])
        status = 1
        try:
            utils.run_script(importlib.import_module(sys.argv[0].removesuffix(".py")).main)
            status = 0
        except SystemExit as end:
            status = end.code
        finally:
            sys.exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
'''
CAE = ["--runs", "2", "--cae-epochs", "2", "--latent", "4"]
PUBLISHED, HOLDOUT = [*CAE, "--classifier-epochs", "3"], [*CAE, "--protocol", "holdout", "--steps", "200"]
STAGES = ["train_cae.py", "augment.py", "train_classifier.py", "evaluate.py"]


class Lab:
    """A tiny data set, a server and what an undisturbed run leaves."""

    def __init__(self, here, env=None):
        self.here = here
        self.server = subprocess.Popen([sys.executable, "-c", SERVER.format(root=str(ROOT))], text=True, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, env={**os.environ, **(env or {})}, cwd=here)

    def run(self, stage, results, options=PUBLISHED, fault=None, jobs=1, checkpoint=20, reverse=False):
        """(exit status or minus the signal, stderr without warnings) of a stage on the experiment in `results`."""
        asked = {"argv": [stage, *([] if stage == "evaluate.py" else ["--jobs", str(jobs)])], "fault": fault,
                 "checkpoint": checkpoint, "reversed": reverse, "cwd": str(results.parent),
                 "out": str(self.here / "out"), "err": str(self.here / "err")}
        if stage == "train_cae.py":
            asked["argv"] += ["--data", str(self.here / "tiny"), "--results", results.name, *options]
        else:
            asked["argv"] += [str(only(results).relative_to(results.parent))]
        print(json.dumps(asked), file=self.server.stdin, flush=True)
        status = int(self.server.stdout.readline())
        lines = (self.here / "err").read_text().splitlines()
        return status, "\n".join(line for line in lines if not line.startswith("warning: "))

    def all(self, results, options=PUBLISHED, **settings):
        for stage in STAGES:
            status, stderr = self.run(stage, results, options, **settings)
            assert (status, stderr) == (0, ""), stage
        return files(results)


def only(results):
    """The one experiment in `results`."""
    found, = results.iterdir()
    return found


def files(results):
    """{path from `results`: bytes} of all that a run leaves, without the lock's text, which names a process."""
    return {str(path.relative_to(results)): path.read_bytes() for path in results.rglob("*")
            if path.is_file() and path.name != ".lock"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    here = tmp_path_factory.mktemp("faults")
    draw_tiny(here / "tiny", ("AA", "BB", "CC"), ("AN", "HA", "SU"), 3)
    lab = Lab(here)
    yield lab
    lab.server.stdin.close()
    lab.server.wait()


@pytest.fixture(scope="module")
def undisturbed(lab):
    """(results, {path: bytes} after each stage): the yardstick of every test below."""
    results, after = lab.here / "undisturbed" / "results", {}
    results.parent.mkdir()
    for stage in STAGES:
        assert lab.run(stage, results) == (0, "")
        after[stage] = files(results)
    artifacts = [path for path in after["evaluate.py"] if path.endswith((".keras", ".npz"))]
    assert len(artifacts) == 21  # splits, CAEs, synthetic faces, classifiers
    assert not [path for path in after["evaluate.py"] if path.endswith((".part", ".checkpoint"))]
    return results, after


def before(stage, undisturbed, tmp_path):
    """A results folder as it is when `stage` begins."""
    results = tmp_path / "results"
    for path, data in (undisturbed[1][STAGES[STAGES.index(stage) - 1]] if stage != STAGES[0] else {}).items():
        (results / path).parent.mkdir(parents=True, exist_ok=True)
        (results / path).write_bytes(data)
    return results


# ---------------------------------------------------------------------------------------------------- killed
# Each run dies some steps after the last one died, so the kills walk over all files and all of the six steps of a write.
WALK = {"train_cae.py": 3 * [*range(1, 9)], "augment.py": 4 * [1, 2, 3, 4] + [5, 6, 5, 6, 6],
        "train_classifier.py": 2 * [*range(1, 12)], "evaluate.py": range(1, 44, 2)}


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_step(stage, lab, undisturbed, tmp_path):
    results, expected, kills = before(stage, undisturbed, tmp_path), undisturbed[1][stage], 0
    for step in WALK[stage]:
        status, _ = lab.run(stage, results, fault=["kill", step], checkpoint=0)  # every epoch is checkpointed, and so killed in
        if status == 0:
            break
        assert status == -signal.SIGKILL
        kills += 1
        if results.exists():
            for path, data in files(results).items():
                if not path.endswith((".part", ".checkpoint")):  # whatever has its final name is whole
                    assert data == expected[path], (path, step)
    assert kills >= 20
    assert lab.run(stage, results, checkpoint=0) == (0, "")
    assert files(results) == expected


def test_killed_training_goes_on_from_its_checkpoint(lab, undisturbed, tmp_path):
    """And from its own only: the one of another run, with other weights, must cost nothing but time."""
    results = tmp_path / "results"
    assert lab.run("train_cae.py", results, fault=["kill", 19], checkpoint=0)[0] == -signal.SIGKILL  # after run 0's first epoch
    run_0, run_1 = (only(results) / f"run-0{run}" for run in (0, 1))
    assert (run_0 / "cae.checkpoint").exists()
    shutil.copy(run_0 / "cae.checkpoint", run_1 / "cae.checkpoint")
    assert lab.run("train_cae.py", results, fault=["count", str(tmp_path / "steps")], checkpoint=0) == (0, "")
    # Six steps a write: run 0 has a checkpoint less to write than run 1, of two; and both a history and a model.
    assert int((tmp_path / "steps").read_text()) == 6 * (1 + 2 + 2 + 2)
    assert files(results) == undisturbed[1]["train_cae.py"]


# ---------------------------------------------------------------------------------------------------- no room
# The write that fails, counted from where each run begins: together all writes of the stage (of train_classifier.py, whose six
# pairs of a history and a model are written alike, those of the first three).
FULL = {"train_cae.py": [0, 1, 1, 1, 1, 1], "augment.py": [0, 1, 1, 1, 1], "train_classifier.py": [0, 1, 2, 1, 2, 1],
        "evaluate.py": range(9)}


@pytest.mark.parametrize("stage", STAGES)
def test_no_room_at_any_write(stage, lab, undisturbed, tmp_path):
    """Every write in turn, at one of its steps after the other: one line, and what was finished stays as it was."""
    results, expected = before(stage, undisturbed, tmp_path), undisturbed[1][stage]
    there = files(results) if results.exists() else {}
    for number, write in enumerate(FULL[stage]):
        status, stderr = lab.run(stage, results, fault=["full", 6 * write + 1 + number % 4])
        assert status == 2 and len(stderr.splitlines()) == 1
        assert "(No space left on device); what was finished before is kept" in stderr
        now = files(results) if results.exists() else {}
        assert now.items() >= there.items() and now.items() <= expected.items()
        there = now
    assert lab.run(stage, results) == (0, "") and files(results) == expected


def test_full_disk(lab, undisturbed, tmp_path):
    """The same with a real disk that is full."""
    (tmp_path / "disk").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", tmp_path / "disk"], capture_output=True).returncode:
        pytest.skip("may not mount")
    try:
        results = tmp_path / "disk" / "results"
        status, stderr = lab.run("train_cae.py", results)
        assert status == 2 and len(stderr.splitlines()) == 1
        assert "cae.keras: cannot be written (No space left on device)" in stderr
        expected = undisturbed[1]["train_cae.py"]
        assert 4 <= len(files(results)) < len(expected) and files(results).items() <= expected.items()
        subprocess.run(["mount", "-o", "remount,size=50m", tmp_path / "disk"], check=True)
        assert lab.run("train_cae.py", results) == (0, "") and files(results) == expected
    finally:
        subprocess.run(["umount", tmp_path / "disk"], check=True)


# ---------------------------------------------------------------------------------------------------- real signals
def children(pid):
    """Process ids of all descendants, from Linux' /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found += [int(stat.parent.name), *children(int(stat.parent.name))]
        except OSError:  # it has just ended
            pass
    return found


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(what, seconds):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("kind, jobs", [(signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGKILL, 2)])
def test_signal_while_training(kind, jobs, lab, tmp_path):
    """As from the shell, with worker processes or without: Ctrl-C goes to all of them, the others to the script alone."""
    results = tmp_path / "results"
    command = [sys.executable, ROOT / "train_cae.py", "--data", lab.here / "tiny", "--results", results, *CAE,
               "--jobs", str(jobs)]
    command[command.index("--cae-epochs") + 1] = "100000"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                               env={**os.environ, "CHECKPOINT_SECONDS": "0"})
    try:
        wait_for(lambda: process.poll() is not None or len(list(results.glob("*/run-*/cae.checkpoint"))) == jobs, 120)
        workers = children(process.pid)
        assert jobs == 1 or len(workers) >= 2
        if kind == signal.SIGKILL:  # a second process is told of the first
            status, stderr = lab.run("augment.py", results)
            assert status == 2 and len(stderr.splitlines()) == 1
            assert f"train_cae.py, process {process.pid} on " in stderr and "wait for it to end, or stop it" in stderr
        (os.killpg if kind == signal.SIGINT else os.kill)(process.pid, kind)
        _, stderr = process.communicate(timeout=20)
        if kind == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 130
            assert stderr.strip() == "train_cae.py: interrupted; finished files are kept, the same command goes on from there"
        wait_for(lambda: all(map(ended, workers)), 10)
        status, stderr = lab.run("augment.py", results)  # the lock is free: the run now lacks its CAE, which is another matter
        assert status == 2 and "cae.keras: not there" in stderr
        assert not list(results.rglob("*.part"))
    finally:
        for pid in (process.pid, *children(process.pid)):
            if not ended(pid):
                os.kill(pid, signal.SIGKILL)


# ---------------------------------------------------------------------------------------------------- the same bytes
def test_same_bytes_whatever_the_surroundings(lab, undisturbed, tmp_path):
    """Two worker processes, other hashes, clock, language, core count and order of files in their folders."""
    other = Lab(lab.here, {"PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo", "LC_ALL": "C", "OMP_NUM_THREADS": "2"})
    try:
        found = other.all(tmp_path / "results", jobs=2, reverse=True)
    finally:
        other.server.stdin.close()
        other.server.wait()
    assert found == undisturbed[1]["evaluate.py"]


def test_holdout_killed_and_resumed_is_the_same(lab, tmp_path):
    """The other way of training: looks at validation by the step, the best weights kept, a checkpoint after each look."""
    (tmp_path / "killed").mkdir()
    whole, results = tmp_path / "results", tmp_path / "killed" / "results"
    for stage, step in (("train_cae.py", 21), ("train_classifier.py", 7)):
        assert lab.run(stage, whole, HOLDOUT) == (0, "")
        assert lab.run(stage, results, HOLDOUT, fault=["kill", step], checkpoint=0)[0] == -signal.SIGKILL
        assert list(results.rglob("*.checkpoint"))
        assert lab.run(stage, results, HOLDOUT, checkpoint=0) == (0, "")
    assert files(results) == files(whole)
