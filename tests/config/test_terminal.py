"""Scripts under an ASCII locale, with closed or full streams, and with odd arguments."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "digits.py"
SCRIPTS = {**os.environ, "PYTHONPATH": str(ROOT / "experiments")}
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


def test_a_locale_of_ascii_is_left_at_the_start():
    program = "from command_line import *; import sys; use_utf8(); open_streams(); print(sys.argv[1])"
    finished = subprocess.run(
        [sys.executable, "-c", program, "größe"], env={**SCRIPTS, **ASCII}, capture_output=True, timeout=60
    )
    assert finished.stdout.decode() == "größe\n", finished.stderr


@pytest.mark.long
def test_a_workdir_of_any_name_under_a_locale_of_ascii(script, digits, tmp_path):
    run = script(
        "sweep.py",
        CONFIG,
        "--sweep.learning_rate",
        "1e-3",
        "1e-2",
        "--training.epochs",
        "1",
        "--workdir",
        "größe",
        **ASCII,
    )
    assert run.returncode == 0, run.stderr
    assert "größe" in (tmp_path / "größe" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "closed", [">&- 2>&-", ">/dev/full", *(pytest.param(each, marks=pytest.mark.long) for each in ("2>&-", "<&-"))]
)
def test_streams_that_are_closed_or_full(closed, tmp_path):
    command = f'"{sys.executable}" "{ROOT}/experiments/train.py" "{CONFIG}" --training.epochs 0 {closed}'
    finished = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 1 and "Traceback" not in finished.stderr
    assert finished.stderr.count("\n") == ("2>&-" not in closed)


def test_who_reads_the_output_may_stop(tmp_path):
    command = f'"{sys.executable}" "{ROOT}/experiments/train.py" --help | true; echo ${{PIPESTATUS[0]}}'
    finished = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert finished.stdout.strip() in ("0", "1") and "Exception ignored" not in finished.stderr, finished.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--workdir", ""], 2, "--workdir is empty"),
        (["--workdir", "a\nb", "--model.code_size", "0"], 1, "code_size is 0"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                (["--workdir="], 2, "--workdir is empty"),
                (["--"], 2, "no arguments are allowed after --"),
                (["--model.code_size", "١٦"], 2, "another script"),
                (["--workdir", "hdfs://host/run"], 1, "is no disk"),
                (["--coefficients.l1", "1" + "0" * 400], 1, "coefficients.l1"),
                (["--training.epochs", "9" * 30], 1, "training.epochs"),
            )
        ),
    ],
)
def test_odd_arguments(script, tmp_path, arguments, code, message):
    run = script("train.py", CONFIG, *arguments)
    assert run.returncode == code and re.search(message, run.stderr) and run.stderr.count("\n") == 1, run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["--sweep.seed", "0:20000"], r"20,000 members .*10 epochs of training.*--yes"),
        (["--sweep.l1", "1e999"], "coefficients.l1 is inf"),
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in (
                (["--sweep.seed", "0:1000000000000"], "1,000,000,000,000 members"),
                (
                    ["--sweep.seed", "0:40", "--sweep.l1", *map(str, range(40))],
                    r"1,600 members \(40 of seed x 40 of l1\)",
                ),
                (["--sweep.binarize", "yes"], "must be True or False"),
                (["--sweep.hidden", ","], "with a comma between"),
                (["--sweep.learning_rate", "True"], "learning_rate"),
            )
        ),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_anything_begins(script, tmp_path, axes, message):
    run = script("sweep.py", CONFIG, "--training.epochs", "10", *axes)
    assert run.returncode == 1 and re.search(message, run.stderr) and run.stderr.count("\n") == 1, run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["beyond.py", "benchmark.py"])
def test_only_names_of_configurations_are_run(script, tmp_path, name):
    (tmp_path / "mine.py").write_text("open('ran', 'w').close()")
    path = os.path.relpath(tmp_path / "mine", ROOT / "configs" / "mnist")
    for models, message in ((path, "is no configuration in"), ("deep,deep", "is given twice")):
        run = script(name, "--models", models)
        assert run.returncode == 1 and message in run.stderr and run.stderr.count("\n") == 1, run.stderr
    assert not (tmp_path / "ran").exists() and not (ROOT / "ran").exists()


def test_no_file_takes_the_number_of_a_closed_stream_and_every_letter_can_be_printed(tmp_path):
    program = (
        "from command_line import open_streams; open_streams(); print(open('file', 'w').fileno() > 2, chr(0xD8FF))"
    )
    command = f'"{sys.executable}" -c "{program}" 2>&- <&-'
    finished = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=SCRIPTS, capture_output=True, text=True, timeout=60
    )
    assert finished.stdout == "True \\ud8ff\n", finished
