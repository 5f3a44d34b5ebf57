"""Time what users run against the paper as a notebook would have it; `make bench` runs this.

    python tests/bench.py [--data FOLDER] [--runs 5] [--line-runs 5]

The four scripts as `make reproduce` runs them, then straight_line.py with the same arms and
settings, once for each run (or for --line-runs of them, scaled up). Prints a Markdown table of the
seconds of each stage, their ratio (the aim is 8 for all of them) and peak memory. Hours on two
cores.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STAGES = {"train_cae.py": ("cae", "translate"), "augment.py": ("interpolate",),
          "train_classifier.py": ("classifiers",), "evaluate.py": ()}


def timed(*command):
    """(seconds, peak resident memory in MB of the largest process) of a command."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="faces in JAFFE's naming (default: the stand-in)")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--line-runs", type=int, help="default: as many as --runs")
    options = parser.parse_args()
    line_runs = options.line_runs or options.runs
    with tempfile.TemporaryDirectory() as folder:
        data, results = options.data or Path(folder) / "standin", Path(folder) / "results"
        if not options.data:
            timed(ROOT / "data" / "standin.py", "--out", data)
        ours = {}
        for script in STAGES:
            what = ("--data", data, "--results", results, "--runs", options.runs)
            ours[script] = timed(ROOT / script, *(what if script == "train_cae.py"
                                                  else results.iterdir()))
        theirs, peak, total = dict.fromkeys(STAGES, 0.0), 0, 0.0
        for seed in range(line_runs):
            seconds, memory = timed(ROOT / "tests" / "straight_line.py", "--data", data, "--seed",
                                    seed, "--json", Path(folder) / "line.json")
            stages = json.loads((Path(folder) / "line.json").read_text())["seconds"]
            total, peak = total + seconds * options.runs / line_runs, max(peak, memory)
            for script, names in STAGES.items():
                theirs[script] += options.runs / line_runs * sum(
                    spent for stage, spent in stages.items() if stage.startswith(names))
    print(f"{options.runs} runs, the default arms; the straight line from {line_runs} runs.\n")
    print("| stage | four scripts, s | straight line, s | ratio | peak MB | straight line, MB |")
    print("|---|---|---|---|---|---|")
    for script, (seconds, memory) in ours.items():
        ratio = f"{theirs[script] / seconds:.1f}" if STAGES[script] else ""
        print(f"| {script} | {seconds:.0f} | {theirs[script]:.0f} | {ratio} | {memory:.0f} | |")
    seconds = sum(spent for spent, _ in ours.values())
    memory = max(most for _, most in ours.values())
    print(f"| all | {seconds:.0f} | {total:.0f} | {total / seconds:.1f} | {memory:.0f} | "
          f"{peak:.0f} |")


if __name__ == "__main__":
    main()
