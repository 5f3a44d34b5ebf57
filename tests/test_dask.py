"""The work on a Dask cluster: a scheduler and two workers here, one of which is killed midway."""

import json
import os
import subprocess
import sys

import pytest
from conftest import PUBLISHED, contents, start, wait_until

distributed = pytest.importorskip("distributed")


@pytest.fixture
def cluster(tmp_path):
    """(address, worker processes); the workers stand in a folder that has a data/ of its own: their
    code comes from the script."""
    elsewhere, file, started = tmp_path / "elsewhere", tmp_path / "scheduler.json", []
    (elsewhere / "data").mkdir(parents=True)
    by_file = ("--scheduler-file", file)
    worker = ("worker", "--nthreads", "1", "--no-nanny", "--local-directory", elsewhere)
    environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    try:
        for command in (("scheduler", "--host", "127.0.0.1", "--port", "0"), worker, worker):
            started.append(subprocess.Popen(
                [sys.executable, "-m", "dask", *command, "--no-dashboard", *by_file],
                cwd=elsewhere, env=environment, stderr=subprocess.DEVNULL))
        wait_until(file.exists)
        address = json.loads(file.read_text())["address"]
        with distributed.Client(address) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker_gives_the_same_arrays(published, tiny, tmp_path, cluster,
                                                             script, no_figures):
    address, workers = cluster
    results = tmp_path / "results"
    process = start("train_cae.py", "--data", tiny, "--results", results, "--dask", address,
                    *PUBLISHED)
    wait_until(lambda: list(results.glob("*/run-*/cae-*.npz")))
    workers[0].kill()
    assert len(list(results.glob("*/run-*/cae-*.npz"))) < 12  # it is not over
    printed, errors = process.communicate(timeout=180)
    assert process.returncode == 0 and "emotion pair: 12 of 12" in printed, errors
    folder = results / published.name
    script("augment.py", folder, "--methods", "interpolate", "--dask", address)
    script("train_classifier.py", folder, "--arms", "interpolate", "--dask", address)
    here, there = contents(published, ".npz"), contents(folder, ".npz")
    assert there.items() <= here.items() and any("-interpolate-" in path for path in there)
