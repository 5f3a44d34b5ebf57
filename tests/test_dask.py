"""The work on a Dask cluster: a scheduler and two worker processes here, one of which is killed midway."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, run

pytest.importorskip("distributed")
OPTIONS = ("--runs", 6, "--cae-epochs", 12)


@pytest.fixture
def cluster(tmp_path):
    """(address, [worker processes]); the workers stand in an empty folder: their code comes from the script."""
    elsewhere, file = tmp_path / "elsewhere", tmp_path / "scheduler.json"
    elsewhere.mkdir()
    dask, started = [sys.executable, "-m", "dask"], []

    def start(*arguments):
        started.append(subprocess.Popen([*dask, *map(str, arguments)], cwd=elsewhere, stderr=subprocess.DEVNULL,
                                        env={**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}))
        return started[-1]

    try:
        start("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard", "--scheduler-file", file)
        workers = [start("worker", "--scheduler-file", file, "--nthreads", 1, "--no-nanny", "--no-dashboard",
                         "--local-directory", elsewhere) for _ in range(2)]
        import json

        from distributed import Client

        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        address = json.loads(file.read_text())["address"]
        with Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, workers
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(tiny, tmp_path, cluster):
    address, workers = cluster
    run("train_cae.py", "--data", tiny, "--results", tmp_path / "here", "--jobs", 1, *OPTIONS)
    here, there = (tmp_path / place / "tiny-published-cae-epochs-12" for place in ("here", "there"))
    script = subprocess.Popen([sys.executable, ROOT / "train_cae.py", "--data", tiny, "--results", tmp_path / "there",
                               "--dask", address, *map(str, OPTIONS)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(there.glob("run-*/cae.keras")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(list(there.glob("run-*/cae.keras"))) < 6  # it is not over
    workers[0].kill()
    printed, errors = script.communicate(timeout=180)
    assert script.returncode == 0, errors
    assert "6 of 6" in printed
    for run_number in range(6):
        name = Path(f"run-{run_number:02d}") / "cae.keras"
        assert (here / name).read_bytes() == (there / name).read_bytes()
    run("augment.py", here, "--jobs", 1)
    run("augment.py", there, "--dask", address)
    for file in here.glob("run-*/synthetic-*.npz"):
        assert file.read_bytes() == (there / file.relative_to(here)).read_bytes()


def test_no_scheduler_is_one_line(tiny, tmp_path):
    _, error = run("train_cae.py", "--data", tiny, "--results", tmp_path, "--dask", "tcp://127.0.0.1:9", "--runs", 1, status=2)
    assert error.splitlines()[-1].startswith("train_cae.py: --dask tcp://127.0.0.1:9: no scheduler answers there")
    assert "Traceback" not in error
