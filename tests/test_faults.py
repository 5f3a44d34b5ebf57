"""Killed, refused by the disk, started twice: a later run ends with the same numbers.

Stages run in children forked from a process that has imported TensorFlow but not used it, which
spares seconds for each of them.
"""

import contextlib
import errno
import importlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import utils

import pytest
from conftest import PUBLISHED, STAGES, TINY, contents, draw_tiny, start, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def serve():
    """For each [arguments, fault, file for stderr] in JSON run a stage in a child: its status."""
    utils.tensorflow()
    for module in ("matplotlib.pyplot", "scipy.stats", "sklearn.svm", "evaluate", "keras"):
        importlib.import_module(module)
    utils.save_figure = lambda figure, path, *label: utils.write_file(path, b"a figure")
    for line in sys.stdin:
        arguments, fault, errors = json.loads(line)
        child = os.fork()
        if child:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        for handle, file in ((1, os.devnull), (2, errors)):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
        if fault:
            fail_at(*fault)
        sys.argv = arguments
        sys.exit(utils.run_script(importlib.import_module(arguments[0].removesuffix(".py")).main))


def fail_at(what, number):
    """At this step of all writes "kill" the process, or let the disk be "full". A write has three:
    half of it on the disk, all of it under its temporary name, all of it under its own."""
    steps = itertools.count(1)

    def step(first=None, *_):
        if next(steps) == number:
            if isinstance(first, int):  # a file that is about to be synced
                os.ftruncate(first, os.fstat(first).st_size // 2)
            if what == "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            os.kill(os.getpid(), signal.SIGKILL)

    def failing(real):
        def call(*arguments):
            step(*arguments)
            real(*arguments)
            if len(arguments) == 2:  # renamed
                step()

        return call

    os.fsync, os.replace = map(failing, (os.fsync, os.replace))


class Lab:
    """A server, and what an undisturbed run finds before each stage and leaves after it."""

    def __init__(self, here):
        self.here, self.after, whole = here, {}, here / "whole"
        self.server = subprocess.Popen([sys.executable, __file__], text=True, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
        draw_tiny(here / "tiny", subjects="ABC")
        whole.mkdir()
        for stage in STAGES:
            shutil.copytree(whole, here / f"before-{stage}")
            assert self.run(stage, whole) == (0, "")
            self.after[stage] = without_paths(whole)

    def run(self, stage, results, fault=None):
        """(exit status or minus the signal, stderr without warnings) of a stage."""
        first = ("--data", self.here / "tiny", "--results", results, *PUBLISHED)
        arguments = first if stage == STAGES[0] else [*results.iterdir()]
        jobs = ["--jobs", 1] if stage in STAGES[1:3] else []
        asked = [[stage, *map(str, [*arguments, *jobs])], fault, str(self.here / "stderr")]
        print(json.dumps(asked), file=self.server.stdin, flush=True)
        status = int(self.server.stdout.readline())
        lines = (self.here / "stderr").read_text().splitlines()
        return status, "\n".join(line for line in lines if not line.startswith("warning: "))


def without_paths(results):
    """What is the same wherever the experiment lies: the report names the folder."""
    return {path: data for path, data in contents(results).items()
            if not path.endswith((".part", "report.md", "experiment.json"))}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("faults"))
    yield lab
    lab.server.stdin.close()
    lab.server.wait()


@pytest.fixture(params=STAGES)
def begun(request, lab, tmp_path):
    """(stage, a results folder as it is when the stage begins, what is there when it has ended)."""
    stage = request.param
    results = shutil.copytree(lab.here / f"before-{stage}", tmp_path / "results")
    return stage, results, lab.after[stage]


def test_killed_at_twenty_moments(begun, lab):
    """Each run dies some steps after the last one did, so the kills walk over the files and over
    what a write consists of; of train_cae.py more than one dies between two CAEs of pairs."""
    (stage, results, expected), pairs = begun, set()
    for kill in range(20):
        step = 1 + kill % {"train_cae.py": 8, "evaluate.py": 20}.get(stage, 3)
        assert lab.run(stage, results, ["kill", step])[0] == -signal.SIGKILL
        found = without_paths(results)
        pairs.add(sum("cae-" in path for path in found if path.endswith(".npz")))
        assert found.items() <= expected.items(), step  # whatever has its own name is whole
    assert stage != STAGES[0] or len(pairs - {0, 12}) > 1
    assert lab.run(stage, results) == (0, "") and without_paths(results) == expected


def test_no_room_at_any_write(begun, lab):
    """One line, status 2, and what was finished stays as it was."""
    stage, results, expected = begun
    there = without_paths(results)
    for number, write in enumerate([0, 1, 2, 3, 4, 6]):
        status, stderr = lab.run(stage, results, ["full", 3 * write + 1 + number % 2])
        if status == 0:
            break
        assert status == 2 and len(stderr.splitlines()) == 1
        assert "(No space left on device); what was finished is kept" in stderr
        now = without_paths(results)
        assert there.items() <= now.items() <= expected.items()
        assert not list(results.rglob("*.part"))
        there = now
    assert number > 3
    assert lab.run(stage, results) == (0, "") and without_paths(results) == expected


def living(group):
    """Process ids of a process group without those that have ended, from Linux' /proc."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group, *_ = file.read_text().rpartition(")")[2].split()
            if its_group == str(group) and state != "Z":
                found.append(int(file.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_while_training(kind, lab, tmp_path):
    """From the shell, with workers: Ctrl-C goes to all of them, the others to the script alone."""
    process = start("train_cae.py", "--data", lab.here / "tiny", "--results", tmp_path, *TINY,
                    "--runs", 2, "--cae-epochs", 100_000, "--jobs", 2, start_new_session=True)
    try:
        while "optimiser steps of" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()
        time.sleep(1)  # a worker has tried some: now they train
        assert len(living(process.pid)) > 2
        (os.killpg if kind == signal.SIGINT else os.kill)(process.pid, kind)
        _, stderr = process.communicate(timeout=20)
        assert (process.returncode, stderr) == ((-kind, "") if kind == signal.SIGKILL else (
            130, "train_cae.py: interrupted; the same command goes on from here\n"))
        wait_until(lambda: not living(process.pid), 10)
    finally:
        for pid in living(process.pid):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    serve()
