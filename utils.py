"""The lowest floor, on which all stages stand: errors, files that are whole or not there, the
training loop, worker processes, figures, the command line.

Read the four scripts first and come here when one of them calls something you want to look up.
"""

import argparse
import contextlib
import functools
import hashlib
import importlib.metadata
import io
import itertools
import json
import multiprocessing
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
import zipfile
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#7F7F7F",
           "#5D3A9B", "#994F00")  # Okabe and Ito's, for the colour-blind, without yellow
MARKERS = "osD^vP*Xh<"
WHICH = "an experiment's folder (default: results/jaffe-published if JAFFE is in data/, else " \
    "results/standin-published)"


# ---------------------------------------------------------------------------------------- errors
class Problem(Exception):
    """Something the user can put right: one line on stderr, exit status 2, no traceback."""


def shown(text):
    """`text`, such as a file's name, on one line that no terminal or Markdown reader acts upon."""
    text = str(text)
    if re.fullmatch(r"[\w ./:;,=+~()%-]*", text, re.ASCII):
        return text
    return re.sub(r"[`|<$\[]", lambda found: f"\\x{ord(found[0]):x}", ascii(text))


def listed(words, most):
    """Words with commas; of more than `most` the first ones and how many there are."""
    words = list(words)
    more = f" ... ({len(words)} in all)" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def warn(*texts):
    for text in texts:
        print(f"warning: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def reading(path, remedy="remove it and run the script that makes it again"):
    """Tell whatever goes wrong with a file's contents as a `Problem`."""
    try:
        yield
    except FileNotFoundError:
        raise Problem(f"{shown(path)}: not there; run the scripts in their sequence") from None
    except Problem:
        raise
    except Exception as error:  # zipfile, zlib, numpy and json each have their own
        said = shown(str(error).partition("\n")[0] or type(error).__name__)
        raise Problem(f"{shown(path)}: damaged ({said}); {remedy}") from error


# ----------------------------------------------------------------------------------------- files
def write_file(path, data):
    """Write bytes so that the file is there whole or not at all, with the folders above it.

    Two processes may write the same file: each has a temporary name of its own, the last one stays.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(part, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise Problem(f"{shown(path)}: cannot be written ({error.strerror}); what was finished is "
                      f"kept: make room or give access, and run the same command again") from error


def write_text(path, text):
    write_file(path, text.encode("utf-8"))


def as_json(value):
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def save_arrays(path, made_from, **arrays):
    """Write an .npz of the arrays and `made_from`, {input: digest}. Same arrays, same bytes."""
    packed = io.BytesIO()
    np.savez(packed, made_from=json.dumps(made_from), **arrays)
    write_file(path, packed.getbuffer())


def load_arrays(path, *names):
    """The named arrays of an .npz, or all as a dict. No pickles. Raises `Problem`."""
    with reading(path), np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in names or stored.files}
    return arrays if not names else arrays[names[0]] if len(names) == 1 else [*arrays.values()]


def named(weights):
    """{w00: the first of a network's weights} and so on, to be saved and read by `load_weights`."""
    return {f"w{number:02d}": weight for number, weight in enumerate(weights)}


def load_weights(path):
    """The weights of a network, in the order of Keras' get_weights()."""
    arrays = load_arrays(path)
    return [arrays[name] for name in sorted(arrays) if re.fullmatch(r"w\d\d", name)]


def digest(*data):
    """16 hexadecimal digits of SHA-256 over texts, arrays and the contents of paths."""
    found = hashlib.sha256()
    for part in data:
        if isinstance(part, Path):
            with reading(part):
                part = part.read_bytes()
        found.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part))
    return found.hexdigest()[:16]


def digests(*paths):
    """{name: digest} of files: what `save_arrays` notes an artifact to be made from."""
    return {path.name: digest(path) for path in paths}


def finished(path, made_from):
    """Whether the artifact is there and was made from what it would be made from now."""
    return path.exists() and str(load_arrays(path, "made_from")) == json.dumps(made_from)


def demand(artifacts, command):
    """Raise `Problem` unless all artifacts, {path: made_from}, are finished."""
    missing = [path for path, made_from in artifacts.items() if not finished(path, made_from)]
    if missing:
        names = listed(dict.fromkeys(shown(path.name) for path in missing), 4)
        runs = listed(dict.fromkeys(shown(path.parent.name) for path in missing), 8)
        raise Problem(f"missing or outdated: {names} in {runs}; run {command}")


# ------------------------------------------------------------------------------------ TensorFlow
def environment():
    """What the numbers depend on beside code and settings: versions, commit, processor."""
    packages = ("tensorflow", "keras", "numpy", "pillow", "scikit-learn", "scipy")
    versions = {package: importlib.metadata.version(package) for package in packages}
    commit, processor = "", platform.machine()
    with contextlib.suppress(OSError):  # no git, no Linux
        if (ROOT / ".git").exists():
            commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True,
                                    capture_output=True).stdout.strip()
        processor = re.search(r"model name\s*: (.*)|$", Path("/proc/cpuinfo").read_text())[1]
    return {"python": platform.python_version(), **versions, "commit": commit or "unknown",
            "processor": processor or platform.machine()}


device = "cpu"  # "gpu" by --device


@functools.cache
def tensorflow():
    """TensorFlow, imported late and quietly, so that it gives the same numbers every time.

    One thread per operation: sums are never cut up differently. oneDNN's convolutions are asked for
    where the default depends on the processor.
    """
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1",
                   "KERAS_BACKEND": "tensorflow"}
    # Two packages that Keras wraps are a third of the import's three seconds.
    unused = {"sklearn", "matplotlib"} - sys.modules.keys()
    sys.modules.update(dict.fromkeys(unused))
    kept = os.dup(2)  # TensorFlow's C++ speaks there before its log level applies
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        for name in unused:
            del sys.modules[name]
    tf.get_logger().setLevel("ERROR")  # not a word of graphs traced for the last, shorter batch
    cards = tf.config.list_physical_devices("GPU")
    if device == "gpu" and not cards:
        raise Problem("--device gpu: TensorFlow finds no GPU here; leave the option out")
    for card in cards:
        tf.config.experimental.set_memory_growth(card, True)
    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    return tf


class Trainer(NamedTuple):
    """A network and its traced functions of (x, y, rows int32 (steps, batch)): they return sums
    over the rows, of the loss and, where it is cross-entropy, of right answers."""

    model: object
    adam: object
    fresh: list  # Adam's variables before the first step
    train: callable  # takes an optimiser step for each batch
    measure: callable  # takes none


@functools.cache
def trainer(build, arguments, loss):
    """The `Trainer` of `build(*arguments)` for one of Keras' losses, traced once per process.

    All steps of a call run in one graph: at four faces a step, Python takes longer than arithmetic.
    """
    tf = tensorflow()
    import keras

    model, adam, losses = build(*arguments), keras.optimizers.Adam(), keras.losses.get(loss)
    adam.build(model.trainable_variables)
    labelled = "crossentropy" in loss

    def traced(learn):
        def over(x, y, rows):
            total, right = 0.0, 0.0
            for batch in rows:
                target = tf.gather(y, batch)
                with tf.GradientTape() as tape:
                    output = model(tf.gather(x, batch), training=learn)
                    # Of the network's own output: Keras finds the logits behind it.
                    values = losses(target, output)
                    each = tf.reduce_mean(tf.reshape(values, (tf.shape(values)[0], -1)), axis=1)
                    mean = tf.reduce_mean(each)
                if learn:
                    gradients = tape.gradient(mean, model.trainable_variables)
                    adam.apply(gradients, model.trainable_variables)
                total += tf.reduce_sum(each)
                if labelled:
                    hits = tf.equal(tf.argmax(output, -1, tf.int32), target)
                    right += tf.reduce_sum(tf.cast(hits, tf.float32))
            return total, right

        images = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
        targets = tf.TensorSpec((None,), tf.int32) if labelled else images
        return tf.function(over, (images, targets, tf.TensorSpec((None, None), tf.int32)))

    fresh = [variable.numpy() for variable in adam.variables]
    return Trainer(model, adam, fresh, traced(True), traced(False))


def in_batches(function, x, y, rows, batch):
    """(mean loss, share right) of a traced function over rows in batches, the last one shorter."""
    rows = np.asarray(rows, np.int32)
    whole = len(rows) // batch * batch
    parts = rows[:whole].reshape(-1, batch), rows[None, whole:]
    return np.sum([function(x, y, part) for part in parts if part.size], axis=0) / len(rows)


def fit(trained, start, x, y, rounds, batch):
    """Train from the weights `start` with Adam (Keras' defaults, which are the paper's).

    trained: a `Trainer`; x, y: arrays or tensors, float32 or, for labels, int32; rounds: for each
    the rows of x in it. Yields (mean loss, share right) after each round, when the weights are
    those of trained.model: callers stop, average or keep them.
    """
    tf = tensorflow()
    trained.model.set_weights(start)
    for variable, value in zip(trained.adam.variables, trained.fresh):
        variable.assign(value)
    inputs = tf.constant(x)
    targets = inputs if y is x else tf.constant(y)
    for rows in rounds:
        yield in_batches(trained.train, inputs, targets, rows, batch)


def predict(network, x):
    """The network's output for x, in parts: Keras copies whatever it is given."""
    return np.concatenate([network.predict(x[first:first + 4096], batch_size=64, verbose=0)
                           for first in range(0, len(x), 4096)])


def initial_weights(model, seed):
    """Weights as Keras draws them, Glorot's uniform and zero biases, by a seed of their own.

    Keras' own draw takes from generators that all threads of a process share.
    """
    from keras.initializers import GlorotUniform

    seeds = np.random.default_rng(seed).integers(2**31, size=len(model.weights)).tolist()
    return [np.asarray(GlorotUniform(seed)(weight.shape)) if len(weight.shape) > 1
            else np.zeros(weight.shape, np.float32) for seed, weight in zip(seeds, model.weights)]


def seconds_a_step(network):
    """How long an optimiser step takes here: the mean of twenty, on nothing. network: what
    `trainer` takes, and how many faces are in a batch."""
    *what, loss, batch = network
    trained = trainer(*what, loss)
    x = np.zeros((batch, *trained.model.input_shape[1:]), np.float32)
    y = np.zeros(batch, np.int32) if "crossentropy" in loss else x
    rounds = [np.arange(batch), np.arange(20 * batch) % batch]  # the first one traces the graph
    steps = fit(trained, trained.model.get_weights(), x, y, rounds, batch)
    next(steps)
    began = time.perf_counter()
    next(steps)
    return (time.perf_counter() - began) / 20


# ----------------------------------------------------------------------------------------- tasks
class Artifact(NamedTuple):
    """A file that a stage makes."""

    path: Path
    made_from: dict  # {input: digest}
    key: tuple  # which one it is: what the stage's `task` and `cost` take


def make_missing(function, artifacts, task, label, options, cost=lambda *key: 1, network=None):
    """Save function(**task(*key)), a dict of arrays, of all artifacts that are not finished.

    cost: in optimiser steps or any other unit, asked of what is missing alone. network: what
    `seconds_a_step` takes, to say before long work how long it will be.
    """
    todo = [artifact for artifact in artifacts if not finished(artifact.path, artifact.made_from)]
    tasks = [functools.partial(task, *artifact.key) for artifact in todo]
    costs = [cost(*artifact.key) for artifact in todo]
    steps, cores = sum(costs), 1 if options.device == "gpu" else min(options.jobs, len(todo))
    if network and steps > 5000 and not options.dask:
        (_, seconds), = run_tasks(seconds_a_step, [lambda: {"network": network}], "", options)
        print(f"{steps:.0f} optimiser steps of {1000 * seconds:.1f} ms, {cores} at a time: about "
              f"{duration(steps * seconds / cores)}")
    for number, arrays in run_tasks(function, tasks, label, options, costs):
        save_arrays(todo[number].path, todo[number].made_from, **arrays)


def run_tasks(function, tasks, label, options, costs=None):
    """Yield (number of the task, function(**task())) as they end, in worker processes.

    tasks: functions that make the arguments when their turn comes: memory holds few of them.
    options: jobs, how many processes; dask, a scheduler's address to use instead; device. costs:
    what each task takes, in any unit, for the estimate of what is left. label: "" for no progress.
    """
    with contextlib.ExitStack() as stack:
        if options.dask and tasks:
            client = stack.enter_context(dask_client(options.dask))
            results = spread(function, tasks, client.get_executor(), len(client.nthreads()))
        elif options.jobs == 1 or options.device == "gpu":
            global device
            device = options.device
            results = ((number, function(**task())) for number, task in enumerate(tasks))
        else:
            results = spread(function, tasks, local_pool(options.jobs), options.jobs)
        yield from with_progress(results, label, costs or [1] * len(tasks))


@functools.cache
def local_pool(jobs):
    # When we are interrupted Python's tracker of resources tidies up; it need not say so.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    context = multiprocessing.get_context("spawn")
    return futures.ProcessPoolExecutor(jobs, context, end_with_parent)


def spread(function, tasks, pool, workers):
    """`run_tasks` on an executor, one task more handed over than there are workers."""
    todo, waiting = enumerate(tasks), {}
    while True:
        for number, task in itertools.islice(todo, workers + 1 - len(waiting)):
            waiting[pool.submit(perform, function, task())] = number
        if not waiting:
            return
        for future in futures.wait(waiting, return_when=futures.FIRST_COMPLETED).done:
            try:
                yield waiting.pop(future), future.result()
            except futures.BrokenExecutor:
                raise Problem("a worker process was ended from outside, for lack of memory "
                              "perhaps; run the same command again, with fewer --jobs") from None


one_at_a_time = threading.Lock()  # threads of a Dask worker would train the same variables


def perform(function, task):
    with one_at_a_time:
        return function(**task)


def end_with_parent():
    """Make this worker process end with its parent, however that ends; Ctrl-C is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def dask_client(address):
    """A client of the scheduler there, whose workers get our files and have our versions."""
    try:
        from distributed import Client
    except ImportError:
        raise Problem("--dask: needs `pip install dask[distributed]`, here and there") from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise Problem(f"--dask {shown(address)}: no scheduler answers there ({shown(error)}); "
                      f"start one with `dask scheduler`") from error
    warnings.filterwarnings("ignore", message="Sending large graph")  # faces are what is sent
    with client, tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "scripts.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("data/__init__.py", "")  # a worker may have a folder of that name
            for file in (*ROOT.glob("*.py"), *ROOT.glob("data/*.py")):
                packed.write(file, file.relative_to(ROOT))
        client.upload_file(str(archive))
        if set(client.nthreads().values()) != {1}:  # the others would only wait
            raise Problem(f"--dask {shown(address)}: needs workers of one thread each; start them "
                          f"with `dask worker {shown(address)} --nthreads 1`")
        here = environment()
        for place, there in client.run(environment).items():
            for key in here.keys() - {"commit", "processor"}:
                if there[key] != here[key]:
                    raise Problem(f"--dask: {shown(place)} has {key} {there[key]}, here it is "
                                  f"{here[key]}; install the same version")
        yield client


def with_progress(results, label, costs):
    """Pass on (number, result) and show how far they are: a bar, or lines if not on a terminal."""
    from rich.progress import Progress, TimeElapsedColumn

    began = printed = time.monotonic()
    done, total, terminal = 0, sum(costs), sys.stdout.isatty()
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    hidden = not (terminal and label)
    with Progress(*columns, disable=hidden, speed_estimate_period=600) as bar:
        shown_task = bar.add_task(label, total=total)
        for count, (number, result) in enumerate(results, 1):
            done += costs[number]
            bar.advance(shown_task, costs[number])
            yield number, result
            now, last = time.monotonic(), count == len(costs)
            if label and not terminal and (last or now - printed > 15):
                printed, spent = now, now - began
                left = "" if last else f", about {duration(spent * (total / done - 1))} left"
                print(f"{label}: {count} of {len(costs)} after {duration(spent)}{left}")


def duration(seconds):
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else \
        f"{seconds / 3600:.1f} h"


# --------------------------------------------------------------------------------------- figures
def new_figure(width, height, **subplots):
    """(figure, axes) of matplotlib, in inches."""
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.use("Agg")
    plt.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                     "figure.dpi": 130, "legend.frameon": False, "pdf.fonttype": 42}
    return plt.subplots(figsize=(width, height), layout="constrained", **subplots)


def save_figure(figure, path, label="", stand_in=False):
    """Write PNG and PDF under a line that says what it shows, and large that faces are drawn."""
    import matplotlib.pyplot as plt

    style = {"fontsize": 8, "color": "#555555"}
    if stand_in:
        label = "DRAWN STAND-IN FACES, NOT JAFFE"
        style = {"fontsize": 13, "fontweight": "bold", "color": "#B3400A"}
    if label:
        figure.suptitle(label, x=0.01, ha="left", **style)
    for suffix, metadata in ((".png", {}), (".pdf", {"CreationDate": None})):
        stream = io.BytesIO()
        figure.savefig(stream, format=suffix[1:], metadata=metadata)
        write_file(path.with_suffix(suffix), stream.getvalue())
    plt.close(figure)


def show_face(axes, image, title="", frame=None):
    """Draw one face, values in [0, 1], with a title and, if asked for, a frame of that colour."""
    axes.imshow(np.clip(np.squeeze(image), 0, 1), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=frame is not None, color=frame, linewidth=2)
    axes.set_title(title, fontsize=7)


# ---------------------------------------------------------------------------------- command line
def run_script(main):
    """main() with errors told in one line on stderr, exit status 2; 130 after Ctrl-C or SIGTERM."""
    name = Path(sys.argv[0]).name

    def interrupted(signum, frame):
        # Files are whole or not there and workers end with us: what is left to tidy is the cursor,
        # which the progress bar hides.
        os.write(2, f"{name}: interrupted; the same command goes on from here\n".encode())
        if sys.stdout.isatty():
            os.write(1, b"\x1b[?25h")
        os._exit(130)

    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, interrupted)
    # Names may hold what a terminal cannot show; a log shows lines when they are printed.
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os._exit(141)
    except (Problem, OSError) as error:
        said = str(error)
        if isinstance(error, OSError):
            said = f"{shown(error.filename or 'failed')}: {error.strerror or shown(error)}; put " \
                f"it right and run the same command again"
        print(f"{name}: {said}", file=sys.stderr, flush=True)
        if multiprocessing.active_children():
            os._exit(2)  # they end with us; Python would wait until their work is done
        sys.exit(2)


def parser(docstring, workers=True):
    """An argument parser whose --help is the docstring, with the options that scripts share."""
    result = argparse.ArgumentParser(description=docstring, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)

    def refuse(message):  # argparse would print the usage before it
        raise Problem(f"{shown(message)}; see --help")

    result.error = refuse
    if workers:
        import joblib

        result.add_argument("--jobs", type=whole(1), default=joblib.cpu_count(), metavar="N",
                            help="worker processes (default: one per core, here %(default)s); the "
                            "numbers do not depend on it")
        result.add_argument("--dask", metavar="ADDRESS", help="use the workers, of one "
                            "thread each, of the Dask scheduler there, such as tcp://host:8786")
        result.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="gpu: one "
                            "process that may use a GPU, whose numbers are a little different")
    return result


def whole(low, high=10**9):
    form = f"a whole number from {low} to {high}"
    return checked(r"\d{1,10}", form, int, lambda value: low <= value <= high)


def checked(pattern, form, convert=str, fits=lambda value: True):
    """argparse type: what `convert` makes of a text that the pattern matches, where that `fits`."""

    def read(text):
        why = ""
        try:
            if re.fullmatch(pattern, text, re.ASCII) and fits(value := convert(text)):
                return value
        except (OverflowError, re.error) as error:
            why = f": {error}"
        raise argparse.ArgumentTypeError(f"{text} is not {form}{why}")

    return read
