"""Interruptions: killed, refused by the disk, started twice. A later run ends with the same numbers.

Scripts run in children forked from a process that has imported TensorFlow but not used it, which spares
seconds for each of them.
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
from conftest import PUBLISHED, ROOT, contents, draw_tiny

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
STAGES = ["train_cae.py", "augment.py", "train_classifier.py", "evaluate.py"]

# A line of JSON in for each child, its exit status out. fault: [what, step]; a write has three steps:
# half of it on the disk, all of it under its temporary name, all of it under its own.
SERVER = '''
import errno, importlib, json, os, signal, sys
sys.path.insert(0, {root!r})
import utils
utils.tensorflow()
import matplotlib.pyplot, scipy.stats, sklearn.model_selection, sklearn.svm, keras
import evaluate
real, steps = dict(fsync=os.fsync, replace=os.replace, link=os.link), 0


def fail_at(what, at):
    def step(half=None):
        global steps
        steps += 1
        if steps == at:
            if half is not None:
                os.ftruncate(half, os.fstat(half).st_size // 2)
            if what == "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            os.kill(os.getpid(), signal.SIGKILL)

    def fsync(handle):
        step(handle)
        real["fsync"](handle)

    def moved(name):
        def move(old, new):
            step()
            real[name](old, new)
            step()
        return move

    os.fsync, os.replace, os.link = fsync, moved("replace"), moved("link")


def plain_figure(figure, path, *label, **how):
    matplotlib.pyplot.close(figure)
    utils.write_file(path, b"a figure")


utils.save_figure = plain_figure
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        for number, file in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
            os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = open(1, "w"), open(2, "w", buffering=1)
        sys.argv = asked["argv"]
        if asked["fault"]:
            fail_at(*asked["fault"])
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


class Lab:
    """A server, and what an undisturbed run leaves after each stage."""

    def __init__(self, here):
        self.here, self.after = here, {}
        self.server = subprocess.Popen([sys.executable, "-c", SERVER.format(root=str(ROOT))], text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for stage in STAGES:
            assert self.run(stage, here / "whole") == (0, "")
            self.after[stage] = contents(here / "whole")

    def run(self, stage, results, fault=None):
        """(exit status or minus the signal, stderr without warnings) of a stage."""
        argv = [stage, *(["--jobs", "1"] if stage != "evaluate.py" else []), *(
            ["--data", self.here / "tiny", "--results", results, *PUBLISHED] if stage == STAGES[0]
            else list(results.iterdir()))]
        asked = {"argv": list(map(str, argv)), "fault": fault, "out": str(self.here / "out"),
                 "err": str(self.here / "err")}
        print(json.dumps(asked), file=self.server.stdin, flush=True)
        status = int(self.server.stdout.readline())
        lines = (self.here / "err").read_text().splitlines()
        return status, "\n".join(line for line in lines if not line.startswith("warning: "))

    def before(self, stage, results):
        """A results folder as it is when the stage begins."""
        if stage != STAGES[0]:
            shutil.copytree(self.here / "whole", results)
            before = self.after[STAGES[STAGES.index(stage) - 1]]
            for path in contents(results).keys() - before.keys():
                (results / path).unlink()
        return results


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    here = tmp_path_factory.mktemp("faults")
    draw_tiny(here / "tiny", subjects="ABC")
    lab = Lab(here)
    yield lab
    lab.server.stdin.close()
    lab.server.wait()


def without_paths(files):
    """What is the same wherever the experiment lies: the report names the folder."""
    return {path: data for path, data in files.items()
            if not path.endswith((".part", "report.md", "experiment.json"))}


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_twenty_moments(stage, lab, tmp_path):
    """Each run dies some steps after the last one did, so the kills walk over the files and over
    what a write consists of; of train_cae.py more than one dies between two CAEs of emotion pairs."""
    results, expected, pairs = lab.before(stage, tmp_path / "results"), lab.after[stage], set()
    for kill in range(20):
        step = 1 + kill % {"train_cae.py": 8, "evaluate.py": 20}.get(stage, 4)
        status, _ = lab.run(stage, results, ["kill", step])
        if status == 0:
            break
        assert status == -signal.SIGKILL
        found = without_paths(contents(results))
        pairs.add(sum("cae-" in path for path in found if path.endswith(".npz")))
        for path, data in found.items():  # whatever has its own name is whole
            assert data == expected[path], (path, step)
    assert kill == 19 and (stage != STAGES[0] or len(pairs - {0, 12}) > 1)
    assert lab.run(stage, results) == (0, "")
    assert without_paths(contents(results)) == without_paths(expected)


@pytest.mark.parametrize("stage", STAGES)
def test_no_room_at_any_write(stage, lab, tmp_path):
    """One line, status 2, and what was finished stays as it was."""
    results, expected = lab.before(stage, tmp_path / "results"), without_paths(lab.after[stage])
    there = without_paths(contents(results)) if results.exists() else {}
    for number, write in enumerate([0, 1, 2, 3, 1, 4, 1, 6, 8]):
        status, stderr = lab.run(stage, results, ["full", 3 * write + 1 + number % 2])
        if status == 0:
            break
        assert status == 2 and len(stderr.splitlines()) == 1
        assert "(No space left on device); what was finished is kept" in stderr
        assert not list(results.rglob("*.part"))
        now = without_paths(contents(results))
        assert now.items() >= there.items() and now.items() <= expected.items()
        there = now
    assert number > 3
    assert lab.run(stage, results) == (0, "")
    assert without_paths(contents(results)) == expected


def ended(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def children(pid):
    """Process ids of all descendants, from Linux' /proc."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_while_training(kind, lab, tmp_path):
    """From the shell, with workers: Ctrl-C goes to all of them, the others to the script alone."""
    options = [*map(str, PUBLISHED[4:-4]), "--runs", "2", "--cae-epochs", "100000", "--jobs", "2"]
    process = subprocess.Popen([sys.executable, ROOT / "train_cae.py", "--data", lab.here / "tiny", "--results",
                                tmp_path, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        line = process.stdout.readline()
        while "optimiser steps of" not in line:  # a worker has tried some: now they train
            line = process.stdout.readline()
            assert line, process.stderr.read()
        time.sleep(1)
        workers = children(process.pid)
        assert len(workers) >= 2
        (os.killpg if kind == signal.SIGINT else os.kill)(process.pid, kind)
        _, stderr = process.communicate(timeout=20)
        told = "" if kind == signal.SIGKILL else \
            "train_cae.py: interrupted; the same command goes on from here\n"
        assert (process.returncode, stderr) == (-kind if kind == signal.SIGKILL else 130, told)
        until = time.monotonic() + 10
        while not all(map(ended, workers)):
            assert time.monotonic() < until, "workers live on"
            time.sleep(0.1)
    finally:
        for pid in (process.pid, *children(process.pid)):
            if not ended(pid):
                os.kill(pid, signal.SIGKILL)


def test_two_at_once_do_no_harm(lab, tmp_path):
    """The same command twice at the same time: both end well, and as one alone."""
    both = [subprocess.Popen([sys.executable, ROOT / "train_cae.py", "--data", lab.here / "tiny", "--results",
                              tmp_path / "results", *map(str, PUBLISHED)], stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        assert process.communicate(timeout=120)[1] == "" and process.returncode == 0
    expected = {path: data for path, data in lab.after[STAGES[0]].items() if path.endswith(".npz")}
    assert contents(tmp_path / "results", ".npz") == expected
    assert not list(tmp_path.rglob("*.part"))
