"""For maintainers: results/measured/gains.png and README.md's table, anew from the files beside it.

    python tests/measured.py

Put report/metrics.json of a measurement on JAFFE into results/measured/ as
jaffe-<protocol>.metrics.json first. Files of commit 83ec9e4 and before have shares in place of
percent and other names.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import evaluate  # noqa: E402
import utils  # noqa: E402
from augment import METHODS  # noqa: E402
from data.statistics import points  # noqa: E402

MEASURED = ROOT / "results" / "measured"
PROTOCOLS = {"published": "the paper's split", "holdout": "ten other splits of the same people",
             "loso": "new people"}
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


def read_measured():
    """{protocol: metrics} as `evaluate.py` writes them now, without arms that are no more."""
    several = {}
    for protocol in PROTOCOLS:
        file = MEASURED / f"jaffe-{protocol}.metrics.json"
        metrics = json.loads(file.read_text("utf-8"))
        if "baselines" not in metrics:
            in_percent(metrics)
        several[protocol] = metrics
    return several


def in_percent(metrics):
    """Bring the metrics of an earlier commit to today's form."""
    reference = metrics["reference"]
    metrics["dataset"]["title"] = metrics["dataset"]["name"]
    for values in (*metrics["arms"].values(), reference):
        accuracy = values["accuracy"]
        accuracy["mean"] *= 100
        accuracy["per_unit"] = [100 * share for share in accuracy["per_unit"]]
        values["gain"] = values.pop("gain_points", None)
    metrics["baselines"] = {reference["name"]: reference}
    metrics["arms"] = {arm: metrics["arms"][arm] for arm in ("none", *METHODS)
                       if arm in metrics["arms"]}


def table(several):
    """A row for each protocol: accuracy, and gain over no augmentation with its 95 % interval."""
    rows = [{"JAFFE": "the paper, one run of one classifier", "no augmentation": "65.1 %",
             "`translate`": "", "`interpolate`": f"86.0 %, {evaluate.PAPER['gain']:+.1f}",
             "linear SVM": "", "measured": ""}]
    for protocol, metrics in several.items():
        results = {**metrics["arms"], **metrics["baselines"]}
        row = {"JAFFE": f"{PROTOCOLS[protocol]} (`{protocol}`)",
               "no augmentation": f"{results['none']['accuracy']['mean']:.1f} %"}
        for name in ("translate", "interpolate", "linear SVM"):
            cell = f"{results[name]['accuracy']['mean']:.1f} %, {points(results[name]['gain'])}"
            row[f"`{name}`" if name in METHODS else name] = cell
        commit = metrics["environment"]["commit"]
        rows.append({**row, "measured": f"{evaluate.runs_in_words(metrics)}, commit {commit}"})
    return evaluate.markdown_table(rows)


def main():
    several, readme = read_measured(), ROOT / "README.md"
    utils.save_figure(evaluate.draw_gains(several), MEASURED / "gains.png", "JAFFE")
    text = re.sub(f"(?s){BEGIN}.*{END}", lambda _: f"{BEGIN}\n{table(several)}\n{END}",
                  readme.read_text("utf-8"))
    utils.write_text(readme, text)


if __name__ == "__main__":
    main()
