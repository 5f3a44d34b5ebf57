"""For maintainers: results/measured/gains.png and README.md's table, anew from the files beside it.

    python tests/measured.py

Put report/metrics.json of a measurement into results/measured/ first, and its name into ROWS. Files
of commit 83ec9e4 have shares in place of percent and other names; those of 7707f59 have the gains
over other arms than none in `against`.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import utils  # noqa: E402
from data import report  # noqa: E402
from data.statistics import points, pooled  # noqa: E402

MEASURED = ROOT / "results" / "measured"
ROWS = {"jaffe-published": "JAFFE, one split by the paper's rule (`published`)",
        "jaffe-holdout": "JAFFE, ten other splits of the same people (`holdout`)",
        "jaffe-loso-10-repeats": "JAFFE, new people (`loso`)",
        "ck-kfold-10-repeats": "CK+, new people (`kfold`)"}
NEW_PEOPLE = "jaffe-loso-10-repeats", "ck-kfold-10-repeats"
ARMS = ("none", "geometric", "translate", "translate+geometric", "interpolate")
OVER_GEOMETRIC = "`translate+geometric` over `geometric`"
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


def read_measured():
    """{name: metrics} as `evaluate.py` writes them now, as far as table and figure need them."""
    several = {}
    for name in ROWS:
        metrics = json.loads((MEASURED / f"{name}.metrics.json").read_text("utf-8"))
        if "baselines" not in metrics:
            in_percent(metrics)
        several[name] = metrics
    return several


def in_percent(metrics):
    """Bring the metrics of commit 83ec9e4 to the form of 7707f59."""
    reference = metrics["reference"]
    for values in (*metrics["arms"].values(), reference):
        values["accuracy"]["mean"] *= 100
        values["gain"] = values.pop("gain_points", None)
    metrics["baselines"] = {reference["name"]: reference}
    metrics["against"] = {}


def table(several):
    """A row for each measurement: accuracy, and gain over no augmentation with its 95 % interval;
    and one for the gains of both data sets together on new people."""
    names = [*ARMS, "linear SVM"]
    columns = {"none": "no augmentation", "linear SVM": "linear SVM"}
    columns = {name: columns.get(name, f"`{name}`") for name in names}
    empty = dict.fromkeys(["faces", *columns.values(), OVER_GEOMETRIC, "measured"], "")
    rows = [{**empty, "faces": "the paper: JAFFE, one run of one classifier",
             columns["none"]: "65.1 %",
             columns["interpolate"]: f"86.0 %, {report.PAPER['gain']:+.1f}"}]
    for name, metrics in several.items():
        row = {**empty, "faces": ROWS[name]}
        results = {**metrics["arms"], **metrics["baselines"]}
        for arm in filter(results.__contains__, names):
            row[columns[arm]] = ", ".join(filter(None, [
                f"{results[arm]['accuracy']['mean']:.1f} %", report.gain_in_points(results[arm])]))
        over = over_geometric(metrics)
        if over:
            row[OVER_GEOMETRIC] = points(over["mean"], over["ci95"])
        commit = metrics["environment"]["commit"]
        rows.append({**row, "measured": f"{report.runs_in_words(metrics)}, commit {commit}"})
    both = [several[name] for name in NEW_PEOPLE]
    row = {**empty, "faces": "both data sets, new people, gains pooled"}
    for arm in ARMS[1:]:
        row[columns[arm]] = pooled_points([metrics["arms"][arm]["gain"] for metrics in both])
    row[OVER_GEOMETRIC] = pooled_points([over_geometric(metrics) for metrics in both])
    return report.markdown_table([*rows, row])


def over_geometric(metrics):
    """The gain of translate+geometric over geometric, None where it was not measured."""
    return metrics["against"].get("translate+geometric", {}).get("geometric")


def pooled_points(gains):
    result = pooled(gains)
    return points(result["mean"], result["ci95"])


def with_arms_of_the_figure(metrics):
    shown = *ARMS, "interpolate+geometric"
    return {**metrics, "arms": {arm: metrics["arms"][arm] for arm in shown
                                if arm in metrics["arms"]}}


def main():
    several, readme = read_measured(), ROOT / "README.md"
    shown = {ROWS[name].replace("`", ""): with_arms_of_the_figure(metrics)
             for name, metrics in several.items()}
    utils.save_figure(report.draw_gains(shown), MEASURED / "gains.png", "JAFFE and CK+")
    text = re.sub(f"(?s){BEGIN}.*{END}", lambda _: f"{BEGIN}\n{table(several)}\n{END}",
                  readme.read_text("utf-8"))
    utils.write_text(readme, text)


if __name__ == "__main__":
    main()
