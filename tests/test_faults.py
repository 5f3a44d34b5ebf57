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
from pathlib import Path

import pytest
from conftest import (
    PUBLISHED,
    STAGES,
    TINY,
    contents,
    draw_tiny,
    fast_baselines,
    start,
    wait_until,
    without_figures,
)

import utils

ONE_RUN = (*PUBLISHED, "--runs", 1, "--repeats", 1)
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def serve():
    """For each [arguments, fault, file for stderr] in JSON run a stage in a child: its status."""
    utils.tensorflow()
    for module in ("matplotlib.pyplot", "scipy.stats", "sklearn.svm", "evaluate", "keras"):
        importlib.import_module(module)
    with pytest.MonkeyPatch.context() as patch:
        without_figures(patch)
        fast_baselines(patch)
        patch.setattr("data.experiment.Experiment.save_figure", a_figure)
        for place, name in (("train_cae.draw_faces", "faces.png"),
                            ("augment.draw", "synthetic.png"),
                            ("train_classifier.draw", "learning-curves.png")):
            patch.setattr(place, lambda experiment, *_, name=name: a_figure(experiment, None, name))
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
            sys.exit(utils.run_script(utils.ROOT / arguments[0]))


def a_figure(experiment, figure, name, *_):
    utils.write_file(experiment.folder / "report" / name, b"a figure")


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

    def __init__(self, made_once, here):
        self.here, self.server = here, None
        self.stages = made_once("lab", self.undisturbed)
        self.after = {stage: without_paths(self.stages / f"after-{stage}") for stage in STAGES}

    def undisturbed(self, folder):
        self.stages, whole = folder, folder / "whole"
        draw_tiny(folder / "tiny", subjects="ABC", takes=2)
        whole.mkdir()
        for stage in STAGES:
            shutil.copytree(whole, folder / f"before-{stage}")
            assert self.run(stage, whole) == (0, "")
            shutil.copytree(whole, folder / f"after-{stage}")

    def run(self, stage, results, fault=None):
        """(exit status or minus the signal, stderr without warnings) of a stage."""
        if not self.server:
            self.server = subprocess.Popen([sys.executable, __file__], text=True,
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                           env={**os.environ, "PYTHONPATH": str(utils.ROOT)})
        first = ("--data", self.stages / "tiny", "--results", results, *ONE_RUN)
        arguments = first if stage == STAGES[0] else [*results.iterdir()]
        jobs = ["--jobs", 1] if stage != STAGES[3] else []
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
def lab(made_once, tmp_path_factory):
    lab = Lab(made_once, tmp_path_factory.mktemp("faults"))
    yield lab
    if lab.server:
        lab.server.stdin.close()
        lab.server.wait()


@pytest.fixture(params=STAGES)
def begun(request, lab, tmp_path):
    """(stage, a results folder as it is when the stage begins, what is there when it has ended)."""
    stage = request.param
    results = shutil.copytree(lab.stages / f"before-{stage}", tmp_path / "results")
    return stage, results, lab.after[stage]


MOMENTS = {"train_cae.py": (1, 5, 9, 4, 8), "augment.py": (1, 2, 3),
           "train_classifier.py": (1, 2, 3), "evaluate.py": (1, 5, 9, 14)}


def test_killed_at_several_moments(begun, lab):
    """Each run dies some steps after the last one did, so the kills walk over the files and over
    what a write consists of; of train_cae.py more than one dies between two CAEs of pairs."""
    (stage, results, expected), pairs = begun, set()
    for step in MOMENTS[stage]:
        assert lab.run(stage, results, ["kill", step])[0] == -signal.SIGKILL
        now = without_paths(results)
        pairs.add(sum("cae-" in path for path in now if path.endswith(".npz")))
        assert now.items() <= expected.items(), step  # whatever has its own name is whole
    assert stage != STAGES[0] or len(pairs - {0, 6}) > 1
    assert lab.run(stage, results) == (0, "") and without_paths(results) == expected


def test_no_room_at_any_write(begun, lab):
    """One line, status 2, and what was finished stays as it was."""
    stage, results, expected = begun
    there = without_paths(results)
    for number, write in enumerate([0, 1, 4]):
        status, stderr = lab.run(stage, results, ["full", 3 * write + 1 + number % 2])
        if status == 0:
            break
        assert status == 2 and len(stderr.splitlines()) == 1
        assert "(No space left on device); what was finished is kept" in stderr
        now = without_paths(results)
        assert there.items() <= now.items() <= expected.items()
        assert not list(results.rglob("*.part"))
        there = now
    assert number > 1
    assert lab.run(stage, results) == (0, "") and without_paths(results) == expected


# ---------------------------------------------------------------------------------------- signals
def living(group):
    """Process ids of a process group without those that have ended, from Linux' /proc."""
    pids = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group, *_ = file.read_text().rpartition(")")[2].split()[:4]
            if its_group == str(group) and state != "Z":
                pids.append(int(file.parent.name))
    return pids


def workers_of(process):
    """Process ids of the workers, which Python's tracker of resources is none of."""
    pids = []
    for pid in living(process.pid):
        with contextlib.suppress(OSError):
            if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text():
                pids.append(pid)
    return pids


def at_moment(process, moment):
    """Wait until the script is there."""
    if moment == "starting":
        assert wait_until(lambda: workers_of(process))
    else:  # a first call is over: now others are at work
        while f"{moment}: 1 of 40" not in (line := process.stdout.readline()):
            assert line, process.stderr.read()


@pytest.fixture
def processes():
    """A list of processes, which end with the test."""
    started = []
    yield started
    for process in started:
        for pid in living(process.pid):
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGKILL)
        process.communicate()


def forty_runs(moment, lab, tmp_path, processes):
    """A script from the shell, with workers, in a process group of its own, at a moment. Only for
    "training CAEs" do its workers need TensorFlow."""
    options = (*PUBLISHED, "--cae-epochs", 60) if moment == "training CAEs" else (
        *TINY, "--protocol", "holdout")
    process = start("train_cae.py", "--data", lab.stages / "tiny", "--results", tmp_path, *options,
                    "--runs", 40, "--jobs", 2, start_new_session=True)
    processes.append(process)
    at_moment(process, moment)
    return process


needs_proc = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("kind, moment", [
    (signal.SIGINT, "starting"), (signal.SIGINT, "training CAEs"),
    (signal.SIGTERM, "mean faces"), (signal.SIGKILL, "mean faces")])
def test_signal(kind, moment, lab, tmp_path, processes):
    """Ctrl-C goes to the whole group, the others to the script alone: one line and no orphan."""
    process = forty_runs(moment, lab, tmp_path, processes)
    (os.killpg if kind == signal.SIGINT else os.kill)(process.pid, kind)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == ((-kind, "") if kind == signal.SIGKILL else (
        130, "train_cae.py: interrupted; the same command resumes\n"))
    wait_until(lambda: not living(process.pid))


@needs_proc
@pytest.mark.parametrize("moment", ["starting", "mean faces"])
def test_killed_worker(moment, lab, tmp_path, processes):
    process = forty_runs(moment, lab, tmp_path, processes)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2 and stderr == (
        "train_cae.py: a worker process was ended from outside, for lack of memory perhaps; run "
        "the same command again, with fewer --jobs\n")
    wait_until(lambda: not living(process.pid))


if __name__ == "__main__":
    serve()
