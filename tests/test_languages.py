"""Names in any language and of any letters: on the terminal, in a shell, in reports and figures."""

import re
import subprocess
import unicodedata

import pytest
from conftest import STAGES, TINY, draw_tiny, metrics_of, predictions_of, sequence

import utils
from data import report

LABELS = [
    ["Fearfully Angry", "Fearfully Surprised", "Happily Surprised"], ["开心", "开怀", "生气"],
    ["dégoût", "joie"], ["غضب", "فرح"], ["गुस्सा", "खुशी"], ["1", "2", "7"], ["1", "3", "开心"],
    ["very " * 20 + "angry", "very " * 20 + "sad", "very " * 9 + "angry"],
    ["$x$", "$x_1", "%&_#{}"],
    ["2", "a" * 11 + "b" + "c" * 30, "a" * 11 + "d" + "c" * 30], ["😀", "‏ימין", "a\nb"]]


@pytest.mark.parametrize("labels", LABELS, ids=lambda labels: labels[0][:9])
def test_figures_tell_labels_apart(labels):
    shown = utils.figure_labels(labels)
    assert len(set(shown)) == len(labels)
    for number, (label, text) in enumerate(zip(labels, shown), 1):
        assert max(map(len, text.split("\n"))) <= 21
        assert all(map(utils.drawable, text.replace("\n", "")))
        plain = text.replace("\n", " ").replace(r"\$", "$")
        assert plain in (str(number), utils.printable(label)) or "…" in plain


def test_each_program_has_its_own_quoting():
    text = "50 % & $x_1$ #{y} a|b `c` *d* [e](f) <g> ~^\\"
    assert re.sub(r"\\([\\`*_{}\[\]<>|#])", r"\1", report.markdown_text(text)) == text
    assert not re.search(r"(?<!\\)[|`*<\[_]", report.markdown_text(text))
    latex = report.latex_text(text)
    assert not re.search(r"(?<!\\)[%&$#_{}~^]", latex) and latex.endswith(r"\textbackslash ")
    assert report.latex_text("dégoût 表情") == "dégoût 表情"


ODD = ["غضب شديد ‏ימין खुशी", "开心 a|b`c` *b* [x](y) <b>", "50 % $x_1^2$ & {y} #1\\n"]


def test_odd_labels_and_folders(tmp_path, capfd):
    """Through all four scripts with figures; the printed commands hold when pasted."""
    faces, lines = draw_tiny(tmp_path / "faces"), ["file,emotion,subject"]
    for number, file in enumerate(sorted(faces.iterdir())):
        lines.append(f'faces/{file.name},"{ODD[number % 3]}","P|$x_1$é {file.name[0]}"')
    data = tmp_path / "l'é $x%.csv"
    data.write_text("\n".join(lines), "utf-8")
    results = tmp_path / "r 'é' $y z"
    folder = sequence(data, results, *TINY, "--runs", 1, "--repeats", 1, "--protocol", "holdout",
                      "--steps", 20, "--align", "none", "--scope", "all", figures=STAGES,
                      methods=("--methods", "interpolate"), arms=("--arms", "interpolate"))
    emotions = metrics_of(folder)["dataset"]["emotions"]
    assert emotions == sorted(unicodedata.normalize("NFC", label) for label in ODD)
    assert set(predictions_of(folder)[0]) >= {f"p_{emotion}" for emotion in emotions}
    printed = [line for line in capfd.readouterr().out.splitlines() if line.startswith("next: ")]
    text = (folder / "report" / "report.md").read_text("utf-8")
    block = text.split("```")[-2].strip().splitlines()
    assert len(printed) == 3 and len(block) == 4
    for command in [line.removeprefix("next: ") for line in printed] + block:
        words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True)
        words = words.stdout.decode().split("\0")
        if "train_cae.py" in command:
            assert words[words.index("--data") + 1] == str(data)
            assert results.samefile(words[words.index("--results") + 1])
        else:
            assert folder.samefile(words[2])
    numbers = [f"; {number}: {report.markdown_text(emotion)}"
               for number, emotion in enumerate(emotions, 1)
               if not all(map(utils.drawable, emotion))]
    assert all(number in text for number in numbers)
