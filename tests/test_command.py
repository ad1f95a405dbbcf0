"""The installed command `aejax`, and the public names as type checkers see them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import aejax
from aejax.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]


def command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "aejax", *arguments], capture_output=True, text=True, **options)


def test_every_command_is_a_script_and_in_the_package():
    included = set(
        re.findall(r'"experiments/(\S+)" = "aejax_scripts/experiments/\1"', (ROOT / "pyproject.toml").read_text())
    )
    modules = {"command_line"}
    scripts = {path.stem for path in (ROOT / "experiments").glob("*.py")} - modules - {"readme"}
    assert set(COMMANDS) == scripts
    folders = {path.parent.name for path in (ROOT / "experiments").glob("*/__init__.py")}
    assert included == {f"{name}.py" for name in scripts | modules} | folders


def test_it_says_what_there_is():
    assert "evaluate" in command("--help").stdout and command("--help").returncode == 0
    assert command().returncode == 2
    wrong = command("tarin")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "no command 'tarin'" in wrong.stderr


def test_it_runs_the_script_from_anywhere(tmp_path):
    done = command("train", str(ROOT / "configs" / "digits.py"), "--training.epochs", "0", cwd=tmp_path)
    assert done.returncode == 1 and "training.epochs is 0" in done.stderr and not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_public_names_have_types(tmp_path):
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--warn-unused-ignores", "--follow-imports=silent", "--ignore-missing-imports",
         "--cache-dir", str(tmp_path), "tests/typed/public.py"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    named = re.findall(r"\bas (\w+)", (ROOT / "aejax" / "__init__.pyi").read_text())
    assert sorted(named) == aejax.__all__
