"""The work on a Dask cluster: a scheduler and two worker processes here, one of which is killed midway."""

import json
import os
import subprocess
import sys
import time

import pytest
from conftest import PUBLISHED, ROOT, contents, one_line, shell

distributed = pytest.importorskip("distributed")
OPTIONS = (*PUBLISHED[:-4], "--runs", 6, "--cae-epochs", 12)


@pytest.fixture
def cluster(tmp_path):
    """(address, [worker processes]); the workers stand in a folder that has a data/ of its own: their
    code comes from the script."""
    elsewhere, file, started = tmp_path / "elsewhere", tmp_path / "scheduler.json", []
    (elsewhere / "data").mkdir(parents=True)

    def start(*arguments):
        started.append(subprocess.Popen([sys.executable, "-m", "dask", *map(str, arguments)], cwd=elsewhere,
                                        stderr=subprocess.DEVNULL, env={
                                            **os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}))
        return started[-1]

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file)
        workers = [start("worker", "--scheduler-file", file, "--nthreads", 1, "--no-nanny", "--no-dashboard",
                         "--local-directory", elsewhere) for _ in range(2)]
        until = time.monotonic() + 60
        while not file.exists() and time.monotonic() < until:
            time.sleep(0.2)
        address = json.loads(file.read_text())["address"]
        with distributed.Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, workers
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker_gives_the_same_arrays(tiny, tmp_path, cluster):
    address, workers = cluster
    shell("train_cae.py", "--data", tiny, "--results", tmp_path / "here", "--jobs", 1, *OPTIONS)
    here, = (tmp_path / "here").iterdir()
    there = tmp_path / "there" / here.name
    process = subprocess.Popen([sys.executable, ROOT / "train_cae.py", "--data", tiny, "--results",
                                tmp_path / "there", "--dask", address, *map(str, OPTIONS)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not list(there.glob("run-*/cae.npz")) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(list(there.glob("run-*/cae.npz"))) < 6  # it is not over
    workers[0].kill()
    printed, errors = process.communicate(timeout=180)
    assert process.returncode == 0 and "training CAEs: 6 of 6" in printed, errors
    for name, folder, options in (("augment.py", here, ("--jobs", 1)), ("augment.py", there, ("--dask", address)),
                                  ("train_classifier.py", there, ("--dask", address)),
                                  ("train_classifier.py", here, ("--jobs", 1))):
        shell(name, folder, *options)
    assert contents(here, ".npz") == contents(there, ".npz")


def test_no_scheduler_is_one_line(tiny, tmp_path):
    _, error = shell("train_cae.py", "--data", tiny, "--results", tmp_path, "--dask", "tcp://127.0.0.1:9",
                     *OPTIONS, status=2)
    assert one_line(2, error).startswith("train_cae.py: --dask tcp://127.0.0.1:9: no scheduler answers there")
