"""The work on a Dask cluster: a scheduler and two workers here, one of which is killed midway."""

import argparse
import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import contents, wait_until

import utils
from data.faces import load_faces
from data.registration import mean_face

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


def test_a_cluster_that_loses_a_worker_gives_the_same_arrays(published, copied, tiny, cluster,
                                                             script):
    address, workers = cluster
    wide_crops, means = load_faces(tiny).wide_crops, {}
    calls = [functools.partial(mean_face, wide_crops[first:first + 12]) for first in range(24)]
    for number, mean in utils.run_calls(calls, [1] * 24, "", argparse.Namespace(dask=address)):
        means[number] = mean
        if len(means) == 2:
            workers[0].kill()
    assert len(means) == 24
    assert all(np.array_equal(means[number], utils.run_single_threaded(call))
               for number, call in enumerate(calls))
    # The other one trains.
    (copied / "run-00" / "cae.npz").unlink()
    script("train_cae.py", copied, "--dask", address)
    assert contents(copied, ".npz") == contents(published, ".npz")
