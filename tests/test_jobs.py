"""Jobs: which files are made, which are left alone, which are noticed; workers that are killed."""

import argparse
import functools
import multiprocessing
import time
from concurrent import futures

import numpy as np
import pytest
from conftest import changing, wait_until

import utils
from utils import Job, Problem, load_arrays, run_calls, run_jobs, save_arrays, up_to_date

ALONE = argparse.Namespace(jobs=1, dask=None)


def summed(first=None, others=(), plus=0, calls=None):
    """A job's function: the sum of its inputs' w00, and `plus`."""
    inputs = [*([first] if first else []), *others]
    return {"w00": sum((arrays["w00"] for arrays in inputs), np.float32([plus]))}


@pytest.fixture
def jobs(tmp_path):
    """In two runs: cae.npz, cae-two.npz made from it, cae-three.npz from both."""
    listed = []
    for run in range(2):
        one, two, three = (tmp_path / f"run-{run:02d}" / f"{name}.npz"
                           for name in ("cae", "cae-two", "cae-three"))
        listed += [Job(one, summed, {}, {"plus": 1}),
                   Job(two, summed, {"first": one}, {"plus": 2}),
                   Job(three, summed, {"first": one, "others": [two]}, {"plus": 4})]
    make(listed)
    return listed


def make(jobs, **how):
    """Run the jobs, each after its inputs; the places of those that were made."""
    before = {job.path: job.path.stat().st_mtime_ns for job in jobs if job.path.exists()}
    for job in jobs:
        run_jobs([job], "", ALONE, **how)
    return [utils.place_of(job.path) for job in jobs
            if before.get(job.path) != job.path.stat().st_mtime_ns]


def outdated(jobs):
    return [utils.place_of(job.path) for job in jobs if not up_to_date(job.path)]


def test_a_job_is_made_once_from_its_inputs_and_settings(jobs):
    assert [load_arrays(job.path)["w00"].tolist() for job in jobs] == [[1], [3], [8]] * 2
    assert outdated(jobs) == [] == make(jobs)
    jobs[1].path.unlink()
    whole = jobs[2].path.read_bytes()
    assert outdated(jobs) == ["run-00/cae-two.npz", "run-00/cae-three.npz"]
    # The same numbers again: what is made from them is as it was.
    assert make(jobs) == ["run-00/cae-two.npz"] and jobs[2].path.read_bytes() == whole
    assert outdated(jobs) == []


def test_a_changed_setting_makes_a_file_and_what_follows_anew(jobs):
    jobs[1] = jobs[1]._replace(settings={"plus": 7})
    assert outdated(jobs) == []  # the file is what it says that it is
    assert make(jobs) == ["run-00/cae-two.npz", "run-00/cae-three.npz"]
    assert [load_arrays(job.path)["w00"].item() for job in jobs] == [1, 8, 13, 1, 3, 8]


def test_a_changed_input_makes_what_follows_anew(jobs):
    with changing(jobs[3].path) as arrays:
        arrays["w00"] = arrays["w00"] + np.float32(1)
    assert outdated(jobs) == ["run-01/cae-two.npz", "run-01/cae-three.npz"]
    with pytest.raises(Problem, match="outdated: cae-three.npz in run-01; run what makes it"):
        utils.require([jobs[2].path, jobs[5].path], "what makes it")
    assert make(jobs) == ["run-01/cae-two.npz", "run-01/cae-three.npz"]
    assert load_arrays(jobs[5].path)["w00"] == 4 + 4 + 2


def test_an_input_replaced_meanwhile_is_not_claimed(jobs):
    """As by another terminal, while a file is being made from it."""
    def slow(first, plus):
        with changing(jobs[0].path) as arrays:
            arrays["w00"] = arrays["w00"] + np.float32(5)
        return summed(first, plus=plus)

    jobs[1].path.unlink()
    run_jobs([jobs[1]._replace(function=slow)], "", ALONE)
    assert load_arrays(jobs[1].path)["w00"] == 3 and not up_to_date(jobs[1].path)
    assert make(jobs[:3]) == ["run-00/cae-two.npz", "run-00/cae-three.npz"]
    assert load_arrays(jobs[1].path)["w00"] == 8


@pytest.mark.parametrize("source, target", [(4, 1), (1, 2), (2, 0)])
def test_a_file_in_anothers_place_is_noticed(jobs, source, target):
    """Of another run, or under another name of its run."""
    jobs[target].path.write_bytes(jobs[source].path.read_bytes())
    place = utils.place_of(jobs[target].path)
    assert place in outdated(jobs) and outdated(jobs[3:]) == []
    # It is made as it was, so that what follows is up to date again.
    assert make(jobs) == [place] and outdated(jobs) == []


def test_redo_makes_what_is_asked_for(jobs):
    assert make(jobs, redo=[jobs[4]]) == ["run-01/cae-two.npz"]


def test_jobs_are_the_same_wherever_the_experiment_lies(jobs, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for run in tmp_path.glob("run-*"):
        run.rename(elsewhere / run.name)
    moved = [job._replace(path=elsewhere / utils.place_of(job.path),
                          inputs={utils.place_of(path): elsewhere / utils.place_of(path)
                                  for path in job.input_files()})
             for job in jobs]
    assert outdated(moved) == [] == make(moved)


@pytest.mark.parametrize("made_from", [[], {}, {"file": "run-00/cae.npz"}, None,
                                       {"file": "run-00/cae.npz", "inputs": 1, "settings": {}}])
def test_a_file_that_does_not_say_what_it_was_made_from(tmp_path, made_from):
    file = tmp_path / "run-00" / "cae.npz"
    save_arrays(file, made_from, {"w00": np.float32([1])})
    for look in (up_to_date, lambda path: make([Job(path, summed, {}, {})])):
        with pytest.raises(Problem, match="cae.npz: damaged .*; remove it and run the script"):
            look(file)


def test_the_same_arrays_give_the_same_bytes(tmp_path, monkeypatch):
    files = [tmp_path / name / "cae.npz" for name in "ab"]
    for file, now in zip(files, (1e9, 1.5e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        save_arrays(file, {"settings": {}}, {"w00": np.float32([1]), "loss": np.float32([2])})
    assert files[0].read_bytes() == files[1].read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_two_terminals_make_the_same_files(tmp_path):
    """Started twice at the same time."""
    def slow(number):
        time.sleep(0.01)
        return {"w00": np.float32([number])}

    listed = [Job(tmp_path / "run-00" / f"cae-{number}.npz", slow, {}, {"number": number})
              for number in range(9)]
    with futures.ThreadPoolExecutor() as terminals:
        list(terminals.map(lambda _: run_jobs(listed, "", ALONE), range(2)))
    assert [load_arrays(job.path)["w00"].item() for job in listed] == list(range(9))
    assert outdated(listed) == [] and len(list(tmp_path.rglob("*"))) == 10


# ---------------------------------------------------------------------------------------- workers
def workers():
    return multiprocessing.active_children()


@pytest.fixture
def pool():
    """Options for two worker processes, which are gone when the test is over."""
    utils.local_pool.cache_clear()
    yield argparse.Namespace(jobs=2, dask=None)
    for process in workers():
        process.kill()
        process.join()
    utils.local_pool.cache_clear()


def kill(process):
    process.kill()  # does nothing to a process that has ended: the pool itself ends the others
    process.join()


def test_calls_are_asked_for_when_their_turn_comes(pool):
    asked = []

    def calls():
        for number in range(20):
            asked.append(number)
            yield functools.partial(abs, -number)

    results = {}
    for number, result in run_calls(calls(), [1] * 20, "", pool):
        results[number] = result
        assert len(asked) <= len(results) + 3
    assert results == {number: number for number in range(20)} and len(workers()) == 2


def test_an_error_in_a_worker_is_told_as_it_is(pool):
    with pytest.raises(Problem, match="nowhere.npz: not there"):
        list(run_calls([functools.partial(load_arrays, utils.ROOT / "nowhere.npz")], [1], "", pool))


ENDED = "a worker process was ended from outside, .*run the same command again, with fewer --jobs"


@pytest.mark.parametrize("moment", ["starting", "at work", "idle", "long idle"])
def test_a_killed_worker_is_one_line(pool, moment):
    def calls(*seconds):
        for number, duration in enumerate(seconds):
            if moment == "starting" and number == 1:
                kill(wait_until(workers)[0])
            yield functools.partial(time.sleep, duration)

    results = run_calls(calls(0, 0, 0, 0, *([] if "idle" in moment else [100] * 5)), [1] * 9, "",
                        pool)
    with pytest.raises(Problem, match=ENDED):
        for _ in range(4):  # both workers are there, and have ended two calls each or so
            next(results)
        if "idle" in moment:
            assert list(results) == []
            kill(workers()[0])
            time.sleep(0.5 if moment == "long idle" else 0)  # the pool has noticed, or not yet
            results = run_calls(calls(0.2, 0.2, 0.2, 0.2), [1] * 4, "", pool)
        elif moment == "at work":
            kill(workers()[0])
        list(results)
