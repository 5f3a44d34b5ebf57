"""What the stages share: errors, files that are whole or not there, jobs and worker processes,
TensorFlow, figures, the command line.

Read the four scripts first and come here when one of them calls something you want to look up.
"""

import argparse
import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import io
import itertools
import json
import multiprocessing
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unicodedata
import uuid
import warnings
import zipfile
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent
EXPERIMENT_HELP = "an experiment's folder (default: the one that train_cae.py makes without " \
    "options, of JAFFE if it is in data/, else of the stand-in)"


# ---------------------------------------------------------------------------------------- errors
class Problem(Exception):
    """Something the user can put right: one line on stderr, exit status 2, no traceback."""


def printable(text):
    """`text` on one line: control, format and direction characters are escaped, others stay."""
    return "".join(letter if letter.isprintable() or unicodedata.category(letter) == "Zs"
                   else letter.encode("unicode_escape").decode() for letter in str(text))


def listed(words, most):
    """Words with commas; of more than `most` the first ones and how many there are."""
    words = list(map(str, words))
    more = f" ... ({len(words)} in all)" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def warn(*texts):
    for text in texts:
        print(f"warning: {printable(text)}", file=sys.stderr, flush=True)


def path_quoted(path):
    """A path as one would type it in a shell in the current folder."""
    relative = os.path.relpath(path)
    return shlex.quote(str(path) if relative.startswith("..") else relative)


def command(script, *words):
    """python augment.py results/standin-published: what to paste in the current folder. The words
    are quoted already, where that is needed."""
    return " ".join(["python", path_quoted(ROOT / script), *words])


@contextlib.contextmanager
def reading(path, remedy="remove it and run the script that makes it again"):
    """Turn whatever goes wrong while a file is read into a `Problem`."""
    try:
        yield
    except FileNotFoundError:
        raise Problem(f"{path}: not there; run the scripts in their sequence") from None
    except PermissionError as error:
        raise Problem(f"{path}: may not be read ({error.strerror}); give access") from error
    except Problem:
        raise
    except Exception as error:  # zipfile, zlib, numpy and json each have their own
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise Problem(f"{path}: damaged ({reason}); {remedy}") from error


# ----------------------------------------------------------------------------------------- files
def write_file(path, data):
    """Write bytes so that the file is there whole or not at all, with the folders above it.

    Two processes may write the same file: each has a temporary name of its own, the last one stays.
    """
    path = Path(path)
    part = path.with_name(f".{uuid.uuid4().hex[:8]}.part")
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
        raise Problem(f"{path}: cannot be written ({error.strerror}); what was finished is kept: "
                      f"make room or give access, and run the same command again, or give "
                      f"train_cae.py --results another folder") from error


def write_text(path, text):
    write_file(path, text.encode("utf-8", "backslashreplace"))


def as_json(value):
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def save_arrays(path, note, arrays):
    """Write an .npz of arrays and of a note `made_from`, as JSON. The same give the same bytes.

    Raises `Problem` for an array that is not finite, before it is written.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Problem(f"{path}: not written, since {name} came out as not finite; begin with "
                          f"other settings, or leave this method out")
    packed = io.BytesIO()
    np.savez(packed, made_from=json.dumps(note), contents=digest_of_arrays(arrays), **arrays)
    write_file(path, packed.getbuffer())


def load_arrays(path):
    """All arrays of an .npz of ours as a dict. No pickles.

    Raises `Problem` for a file that is missing, damaged, or changed since it was written.
    """
    with reading(path), np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files
                  if name not in ("made_from", "contents")}
        if str(stored["contents"]) != digest_of_arrays(arrays):
            raise ValueError("it was changed after it was written")
    return arrays


def digest_of_arrays(arrays):
    """A digest of names, dtypes, shapes and values."""
    parts = []
    for name, array in sorted(arrays.items()):
        parts += [f"{name} {array.dtype.str} {array.shape}", array]
    return digest(*parts)


def named_weights(weights):
    """{w00: the first of a network's weights} and so on, as arrays, to be saved."""
    return {f"w{number:02d}": np.asarray(weight) for number, weight in enumerate(weights)}


def weights_of(arrays):
    """The weights of a network among a file's arrays, in the order of Keras' get_weights()."""
    return [arrays[name] for name in sorted(arrays) if re.fullmatch(r"w\d\d", name)]


def digest(*parts):
    """16 hexadecimal digits of SHA-256 over texts and arrays."""
    sha = hashlib.sha256()
    for part in parts:
        sha.update(part.encode("utf-8", "surrogateescape") if isinstance(part, str)
                   else np.ascontiguousarray(part))
    return sha.hexdigest()[:16]


def file_digest(path):
    """`digest` of a file's contents, which are read again only if the file has changed."""
    with reading(path):
        status = path.stat()
        return digest_of_version(path, status.st_mtime_ns, status.st_size, status.st_ino)


@functools.cache
def digest_of_version(path, *version):
    return digest(np.frombuffer(path.read_bytes(), np.uint8))


# ------------------------------------------------------------------------------------------ jobs
class Job(NamedTuple):
    """A file to make: `function(**arrays of the input files, **settings)` returns its arrays."""

    path: Path
    function: Callable
    inputs: dict  # {argument: path, or a list of paths}, in the folder of the file itself
    settings: dict
    cost: float = 1  # what it takes, in any unit, for the estimate of what is left

    def input_files(self):
        for value in self.inputs.values():
            yield from value if isinstance(value, list) else [value]

    def load_inputs(self):
        """{argument: the arrays of its file, or a list of those of its files}"""
        return {name: list(map(load_arrays, value)) if isinstance(value, list)
                else load_arrays(value) for name, value in self.inputs.items()}


def place_of(path):
    """run-00/cae.npz: the same wherever the experiment lies."""
    return f"{path.parent.name}/{path.name}"


def made_from(path, settings, input_files=()):
    """What a file notes about itself: its place, its settings, what is in the files it is made of.
    """
    return {"file": place_of(path), "settings": settings,
            "inputs": {file.name: file_digest(file) for file in input_files}}


def read_made_from(path):
    """A file's own `made_from`."""
    with reading(path), np.load(path, allow_pickle=False) as stored:
        note = json.loads(str(stored["made_from"]))
        if {name: type(value) for name, value in note.items()} != {
                "file": str, "settings": dict, "inputs": dict}:
            raise ValueError("it does not say what it was made from")
        return note


def up_to_date(path):
    """Whether a file is there, in its own place, and made from its inputs as they are now, which
    are up to date themselves."""
    if not path.exists():
        return False
    note = read_made_from(path)
    return note["file"] == place_of(path) and all(
        up_to_date(path.parent / name) and file_digest(path.parent / name) == digest_then
        for name, digest_then in note["inputs"].items())


def require(paths, remedy):
    """Raise `Problem` unless all files are up to date; `remedy` is the command that makes them."""
    missing = [path for path in paths if not up_to_date(path)]
    if missing:
        names = listed(dict.fromkeys(path.name for path in missing), 4)
        runs = listed(dict.fromkeys(path.parent.name for path in missing), 8)
        raise Problem(f"missing or outdated: {names} in {runs}; run {remedy}")


def run_jobs(jobs, label, options, redo=()):
    """Make the files that are missing, or made from other inputs or settings than now, and those of
    the jobs to redo."""
    todo = []
    for job in jobs:
        # Noted before inputs are read: another process may replace one.
        note = made_from(job.path, job.settings, job.input_files())
        if job in redo or not job.path.exists() or \
                read_made_from(job.path) != json.loads(json.dumps(note)):
            todo.append((job, note))
    calls = (functools.partial(job.function, **job.load_inputs(), **job.settings)
             for job, _ in todo)
    for number, arrays in run_calls(calls, [job.cost for job, _ in todo], label, options):
        job, note = todo[number]
        save_arrays(job.path, note, arrays)


def run_calls(calls, costs, label, options):
    """Yield (number of the call, result) as the calls end, in worker processes.

    Parameters
    ----------
    calls : iterable of functions without arguments
        A generator is asked for one when its turn comes, so memory holds few of them.
    costs : list of float
        What each of them takes, in any unit, for the estimate of what is left.
    label : str
        What is shown beside the progress; "" shows none.
    options : argparse.Namespace
        jobs, how many processes; dask, a scheduler's address to use instead.
    """
    if not costs:
        return
    with contextlib.ExitStack() as stack:
        if options.dask:
            client = stack.enter_context(dask_client(options.dask))
            results = run_in_pool(calls, client.get_executor(), len(client.nthreads()))
        elif options.jobs == 1:
            results = enumerate(map(run_single_threaded, calls))
        else:
            results = run_in_pool(calls, local_pool(options.jobs), options.jobs)
        yield from with_progress(results, label, costs)


def call_once(function, options, *arguments):
    """function(*arguments) where TensorFlow is loaded already: in a worker, if there are any."""
    (_, result), = run_calls([functools.partial(function, *arguments)], [1], "", options)
    return result


@functools.cache
def local_pool(jobs):
    # When we are interrupted Python's tracker of resources tidies up; it need not say so.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    sys.modules["__main__"].__file__ = None  # workers need not load the script a second time
    try:
        context = multiprocessing.get_context("spawn")
        return futures.ProcessPoolExecutor(jobs, context, end_with_parent)
    except OSError as error:
        raise Problem(f"/dev/shm: worker processes cannot be started ({error.strerror}); make it "
                      f"writable, or give --jobs 1") from error


def run_in_pool(calls, pool, workers):
    """`run_calls` on an executor, one call more handed over than there are workers."""
    todo, waiting = enumerate(calls), {}
    try:
        while True:
            for number, call in itertools.islice(todo, workers + 1 - len(waiting)):
                with ctrl_c_blocked():
                    waiting[pool.submit(run_single_threaded, call)] = number
            if not waiting:
                return
            for future in futures.wait(waiting, return_when=futures.FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except futures.BrokenExecutor:
        raise Problem("a worker process was ended from outside, for lack of memory perhaps; run "
                      "the same command again, with fewer --jobs") from None


@contextlib.contextmanager
def ctrl_c_blocked():
    """Processes started meanwhile never see Ctrl-C: it is their parent's, and they end with it. Nor
    does the parent end meanwhile, for then one that is half started would print a traceback."""
    came = []
    handlers = {kind: signal.signal(kind, lambda *arguments: came.append(arguments))
                for kind in (signal.SIGINT, signal.SIGTERM)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
        for kind, frame in came:
            handlers[kind](kind, frame)


one_at_a_time = threading.Lock()  # threads of a Dask worker would train the same variables


def run_single_threaded(call):
    with one_at_a_time, one_thread():
        return call()


def one_thread():
    """Within this context linear algebra has one thread: sums are never cut up differently."""
    import scipy.linalg  # noqa: F401  (which brings a library of its own, to be told too)
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def end_with_parent():
    """Make this worker process end with its parent, however that ends."""
    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def dask_client(address):
    """A client of the scheduler there, whose workers get our files and have our versions."""
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise Problem("--dask: needs `pip install dask[distributed]`, on workers too") from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise Problem(f"--dask {address}: no scheduler answers there ({error}); start one with "
                      f"`dask scheduler`") from error
    warnings.filterwarnings("ignore", message="Sending large graph")  # faces are what is sent
    with client, tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "scripts.zip"
        with zipfile.ZipFile(archive, "w") as packed:
            for file in (*ROOT.glob("*.py"), *ROOT.glob("data/**/*.py")):
                packed.write(file, file.relative_to(ROOT))
        client.upload_file(str(archive))
        if set(client.nthreads().values()) != {1}:  # the others would only wait
            raise Problem(f"--dask {address}: needs workers of one thread each; start them with "
                          f"`dask worker {address} --nthreads 1`")
        here = environment()
        for place, there in client.run(environment).items():
            for key in here.keys() - {"commit", "processor"}:
                if there[key] != here[key]:
                    raise Problem(f"--dask: {place} has {key} {there[key]}, here it is "
                                  f"{here[key]}; install the same version")
        try:
            yield client
        except KilledWorker:
            raise Problem(f"--dask {address}: its workers ended again and again, for lack of "
                          f"memory perhaps; run the same command again") from None


def with_progress(results, label, costs):
    """Pass on (number, result) and show how far they are: a bar, or lines if not on a terminal."""
    from rich.progress import Progress, TimeElapsedColumn

    began = printed = time.monotonic()
    done, total, terminal = 0, sum(costs), sys.stdout.isatty()
    columns = (*Progress.get_default_columns(), TimeElapsedColumn())
    with Progress(*columns, disable=not (terminal and label), speed_estimate_period=600) as bar:
        task = bar.add_task(label, total=total)
        for count, (number, result) in enumerate(results, 1):
            yield number, result
            done += costs[number]
            bar.advance(task, costs[number])
            now, last = time.monotonic(), count == len(costs)
            if label and not terminal and (count == 1 or last or now - printed > 15):
                printed, spent = now, now - began
                left = "" if last else f", about {duration(spent * (total / done - 1))} left"
                print(f"{label}: {count} of {len(costs)} after {duration(spent)}{left}")


def duration(seconds):
    seconds = round(seconds)
    if seconds < 100:
        return f"{seconds} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


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


@functools.cache
def tensorflow():
    """TensorFlow, imported late and quietly, so that it gives the same numbers every time.

    One thread per operation: sums are never cut up differently. oneDNN's convolutions are asked for
    where the default depends on the processor.
    """
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1",
                   "KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull}
    stderr = os.dup(2)  # TensorFlow's C++ speaks there before its log level applies
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        import tensorflow as tf
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    tf.get_logger().setLevel("ERROR")  # not a word of graphs traced for the last, shorter batch
    tf.config.set_visible_devices([], "GPU")  # batches of four gain nothing from one
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    return tf


@functools.cache
def xla_works():
    """Whether TensorFlow's compiler, XLA, works here: the same code runs without it, slower."""
    tf = tensorflow()
    try:
        tf.function(lambda: tf.constant(1.0) + 1.0, jit_compile=True)()
    except (tf.errors.OpError, ValueError):
        return False
    return True


def initial_weights(model, seed):
    """Initial weights of a Keras model that was just built, by a seed of their own: those of two or
    more axes are drawn, Glorot's uniform as is Keras' usual; others, such as biases, are as built.

    Keras' own draw takes from generators that all threads of a process share.
    """
    from keras.initializers import GlorotUniform

    seeds = np.random.default_rng(seed).integers(2**31, size=len(model.weights)).tolist()
    return [np.asarray(GlorotUniform(seed)(weight.shape) if len(weight.shape) > 1 else weight)
            for seed, weight in zip(seeds, model.weights)]


def outputs(network, inputs):
    """The outputs of a Keras network for (n, ...) inputs, a few hundred at a time, as an array."""
    parts = [np.asarray(network(inputs[first:first + 256], training=False))
             for first in range(0, len(inputs), 256)]
    return np.concatenate(parts) if parts else np.empty((0, *network.output_shape[1:]), np.float32)


# --------------------------------------------------------------------------------------- figures
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#7F7F7F",
           "#5D3A9B", "#994F00")  # Okabe and Ito's, for the colour-blind, without yellow
MARKERS = "osD^vP*Xh<"
FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC",
         "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Microsoft YaHei", "SimHei", "PingFang SC",
         "Hiragino Sans", "Malgun Gothic", "Arial Unicode MS", "Droid Sans Fallback",
         "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Sans")


def new_figure(width, height, **subplots):
    """(figure, axes) of matplotlib, in inches."""
    import matplotlib.pyplot as plt

    plt.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                     "figure.dpi": 130, "legend.frameon": False, "pdf.fonttype": 42,
                     "font.family": ["DejaVu Sans", *installed_fonts()]}
    return plt.subplots(figsize=(width, height), layout="constrained", **subplots)


@functools.cache
def installed_fonts():
    """{family: file} of those of FONTS that are installed, for letters that matplotlib's own font
    lacks."""
    from matplotlib import font_manager

    return {font.name: font.fname for font in font_manager.fontManager.ttflist
            if font.name in FONTS}


@functools.cache
def drawable(letter):
    """Whether a font of ours has the letter."""
    from matplotlib import font_manager, ft2font

    files = [font_manager.findfont("DejaVu Sans"), *installed_fonts().values()]
    return any(ft2font.FT2Font(file).get_char_index(ord(letter)) for file in files)


def figure_text(text, most=200):
    """Text of the user's own on one line of a figure, without its middle if it has more than `most`
    letters; a dollar sign begins no formula."""
    return cut(printable(text), most).replace("$", r"\$")


def cut(text, most):
    return text if len(text) <= most else f"{text[:most // 2]}…{text[-most // 2 + 1:]}"


def figure_labels(labels, most=20):
    """Labels as a figure can show them: wrapped, short and distinct, or else numbers from 1.

    A number stands for a label that no installed font can draw, or that is another's once it is cut
    to `most` letters; the report lists those of the emotions. Where labels are numbers themselves,
    all are numbered or none.
    """
    short = []
    for label in map(printable, labels):
        label = cut(label, most)
        middle = min((k for k, letter in enumerate(label) if letter == " "), default=None,
                     key=lambda k: abs(k - len(label) / 2))
        if middle is not None and len(label) > 9:
            label = f"{label[:middle]}\n{label[middle + 1:]}"
        short.append(label)
    fit = [short.count(label) == 1 and all(map(drawable, label.replace("\n", "")))
           for label in short]
    if not all(fit) and any(map(str.isdecimal, short)):
        fit = [False] * len(short)
    return [label.replace("$", r"\$") if fits else str(number)
            for number, (label, fits) in enumerate(zip(short, fit), 1)]


def save_figure(figure, path, title="", stand_in=False, pdf=False):
    """Write a PNG, and a PDF if asked for, under a line that says what it shows or, in large
    letters, that the faces are drawn."""
    import matplotlib.pyplot as plt

    style = {"fontsize": 8, "color": "#555555"}
    if stand_in:
        title = "DRAWN STAND-IN FACES, NOT JAFFE"
        style = {"fontsize": 13, "fontweight": "bold", "color": "#B3400A"}
    if title:
        figure.suptitle(figure_text(title), x=0.01, ha="left", **style)
    for suffix in (".png", ".pdf") if pdf else (".png",):
        stream = io.BytesIO()
        metadata = {"CreationDate": None} if suffix == ".pdf" else {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # shown as a box
            figure.savefig(stream, format=suffix[1:], metadata=metadata)
        write_file(path.with_suffix(suffix), stream.getvalue())
    plt.close(figure)


def show_face(axes, image, title="", frame=None):
    """Draw one face, values in [0, 1], with a title, as `figure_text` makes it, and, if asked for,
    a frame of that colour."""
    axes.imshow(np.clip(np.squeeze(image), 0, 1), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=frame is not None, color=frame, linewidth=2)
    axes.set_title(title, fontsize=7)


# ---------------------------------------------------------------------------------- command line
def run_script(file):
    """Call `main` of a script with errors told in one line on stderr, exit status 2.

    The script is imported under its own name: worker processes then find the same functions.
    """
    script = Path(file)
    open_closed_streams()
    if not hasattr(sys.stdout, "reconfigure"):
        print(f"{script.name}: these are not a terminal's streams; in a notebook or IDLE start it "
              f"as !python {script.name} or from a shell", file=sys.stderr)
        sys.exit(2)
    # Names may hold what a terminal cannot show; a log shows lines when they are printed.
    sys.stdout.reconfigure(errors="backslashreplace", line_buffering=True)
    sys.stderr.reconfigure(errors="backslashreplace")
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, interrupted)
    # Nothing of the user's own settings files: they may change a figure, or be broken.
    os.environ |= {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "Agg"}
    try:
        try:
            os.getcwd()
        except FileNotFoundError:
            raise Problem("the current folder has been removed; change to one that is there") \
                from None
        importlib.import_module(script.stem).main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        os._exit(141)
    except (Problem, OSError) as error:
        text = str(error)
        if isinstance(error, OSError):
            text = f"{error.filename or 'failed'}: {error.strerror or error}; put it right and " \
                f"run the same command again"
        print(f"{script.name}: {printable(text)}", file=sys.stderr, flush=True)
        if multiprocessing.active_children():
            os._exit(2)  # they end with us; Python would wait until their work is done
        sys.exit(2)


def open_closed_streams():
    """Where stdout or stderr is closed, the next file to be opened would take its place."""
    for handle in (1, 2):
        try:
            os.fstat(handle)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), handle)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def interrupted(signum, frame):
    """End after Ctrl-C or SIGTERM: files are whole or not there, and workers end with us."""
    os.write(2, f"{Path(sys.argv[0]).name}: interrupted; the same command resumes\n".encode())
    if os.isatty(1):
        os.write(1, b"\x1b[?25h")  # the progress bar hides the cursor
    os._exit(130)


def parser(docstring, workers=True):
    """An argument parser whose --help is the docstring, with the options that scripts share."""
    result = argparse.ArgumentParser(description=docstring, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)

    def refuse(message):  # argparse would print the usage before it
        raise Problem(f"{message}; see --help")

    result.error = refuse
    result.add_argument("--pdf", action="store_true", help="figures as PDF too")
    if workers:
        import joblib

        result.add_argument("--jobs", type=whole(1), default=joblib.cpu_count(), metavar="N",
                            help="worker processes (default: one per core, here %(default)s); the "
                            "numbers do not depend on it")
        result.add_argument("--dask", metavar="ADDRESS", help="a Dask scheduler, such "
                            "as tcp://host:8786, whose workers, of one thread each, do the work")
    return result


def choice(*names):
    """argparse type: one of these names."""
    def read(text):
        if text in names:
            return text
        raise argparse.ArgumentTypeError(f"{text} is none of {', '.join(names)}")

    return read


def number(low, high, kind=float, noun="a number"):
    """argparse type: a number from low to high."""
    def read(text):
        with contextlib.suppress(ValueError):
            if low <= kind(text) <= high:
                return kind(text)
        raise argparse.ArgumentTypeError(f"{text} is not {noun} from {low} to {high}")

    return read


def whole(low, high=10**9):
    """argparse type: a whole number from low to high."""
    return number(low, high, int, "a whole number")
