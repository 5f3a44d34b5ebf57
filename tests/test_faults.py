"""Killed, refused by the disk: a later run ends with the numbers of an undisturbed one.

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
    OTHER,
    TINY,
    contents,
    fast_baselines,
    start,
    wait_until,
    without_figures,
)

import utils

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def serve():
    """For each [arguments, step or null, file for stderr] in JSON run a stage in a child, which is
    killed at that step: its status."""
    utils.tensorflow()
    for module in ("matplotlib.pyplot", "scipy.stats", "sklearn.svm", "evaluate", "keras"):
        importlib.import_module(module)
    with pytest.MonkeyPatch.context() as patch:
        without_figures(patch)
        fast_baselines(patch)
        for line in sys.stdin:
            arguments, step, errors = json.loads(line)
            child = os.fork()
            if child:
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
                continue
            for handle, file in ((1, os.devnull), (2, errors)):
                os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
            kill_at(step)
            sys.argv = arguments
            sys.exit(utils.run_script(utils.ROOT / arguments[0]))


def kill_at(number):
    """Kill the process at this step of all writes. A write has three: half of it is on the disk,
    all of it under its temporary name, all of it under its own."""
    steps, fsync, replace = itertools.count(1), os.fsync, os.replace

    def step(handle=None):
        if next(steps) == number:
            if handle is not None:
                os.ftruncate(handle, os.fstat(handle).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def syncing(handle):
        step(handle)
        fsync(handle)

    def renaming(source, target):
        step()
        replace(source, target)
        step()

    os.fsync, os.replace = syncing, renaming


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function (stage, folder, step at which it is killed): the exit status, or minus the signal,
    and stderr without warnings."""
    errors = tmp_path_factory.mktemp("faults") / "stderr"
    server = subprocess.Popen([sys.executable, __file__], text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE,
                              env={**os.environ, **OTHER, "PYTHONPATH": str(utils.ROOT)})

    def call(stage, folder, step=None):
        jobs = ["--jobs", "1"] if stage != "evaluate.py" else []
        print(json.dumps([[stage, str(folder), *jobs], step, str(errors)]), file=server.stdin,
              flush=True)
        status, lines = int(server.stdout.readline()), errors.read_text().splitlines()
        return status, "\n".join(line for line in lines if not line.startswith("warning: "))

    yield call
    server.stdin.close()
    server.wait()


# Some files of each stage, and the step of all writes at which it is killed while it makes them:
# train_cae.py halfway through the CAE of a pair.
KILLED = {"train_cae.py": ("run-01/[tc][rea]*", 13), "augment.py": ("run-01/synthetic-*", 6),
          "train_classifier.py": ("run-01/classifier-[nb]*", 8),
          "evaluate.py": ("predictions.csv", 2)}


@pytest.mark.parametrize("stage", KILLED)
def test_a_killed_stage_is_resumed(stage, published, tmp_path, run):
    """Whatever has its own name is whole, and the next run ends with the same arrays."""
    pattern, step = KILLED[stage]
    folder, expected = tmp_path / "experiment", contents(published, ".npz", ".csv")
    shutil.copytree(published, folder)
    for file in folder.glob(pattern):
        file.unlink()
    assert run(stage, folder, step)[0] == -signal.SIGKILL
    assert contents(folder, ".npz", ".csv").items() < expected.items()
    # The half of a file, or all of it under its temporary name.
    assert len(list(folder.rglob("*.part"))) == (step % 3 != 0)
    assert run(stage, folder) == (0, "")
    assert contents(folder, ".npz", ".csv") == expected


@pytest.mark.parametrize("stage, file", [("augment.py", "run-01/synthetic-blend.npz"),
                                         ("evaluate.py", "predictions.csv")])
def test_no_room(stage, file, copied, script, monkeypatch):
    """One line, and nothing half written."""
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (copied / file).unlink()
    there = contents(copied)
    monkeypatch.setattr(os, "fsync", full)
    script(stage, copied, says=f"{file}: cannot be written .No space left on device.; what was "
           f"finished is kept")
    assert contents(copied) == there


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


def forty_runs(moment, tiny, tmp_path, processes):
    """A script from the shell, with workers, in a process group of its own, at a moment."""
    process = start("train_cae.py", "--data", tiny, "--results", tmp_path, *TINY,
                    "--protocol", "holdout", "--runs", 40, "--jobs", 2, start_new_session=True)
    processes.append(process)
    at_moment(process, moment)
    return process


needs_proc = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("kind, moment", [
    (signal.SIGINT, "starting"), (signal.SIGINT, "mean faces"),
    (signal.SIGTERM, "mean faces"), (signal.SIGKILL, "mean faces")])
def test_signal(kind, moment, tiny, tmp_path, processes):
    """Ctrl-C goes to the whole group, the others to the script alone: one line and no orphan."""
    process = forty_runs(moment, tiny, tmp_path, processes)
    (os.killpg if kind == signal.SIGINT else os.kill)(process.pid, kind)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == ((-kind, "") if kind == signal.SIGKILL else (
        130, "train_cae.py: interrupted; the same command resumes\n"))
    wait_until(lambda: not living(process.pid))


@needs_proc
@pytest.mark.parametrize("moment", ["starting", "mean faces"])
def test_killed_worker(moment, tiny, tmp_path, processes):
    process = forty_runs(moment, tiny, tmp_path, processes)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2 and stderr == (
        "train_cae.py: a worker process was ended from outside, for lack of memory perhaps; run "
        "the same command again, with fewer --jobs\n")
    wait_until(lambda: not living(process.pid))


if __name__ == "__main__":
    serve()
