"""The installed command `aejax`, and the public names as type checkers see them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aejax
from aejax.__main__ import commands

ROOT = Path(__file__).parents[1]


def command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "aejax", *arguments], capture_output=True, text=True, **options)


def test_every_command_is_a_script_and_in_the_package():
    included = set(
        re.findall(r'"experiments/(\S+)" = "aejax_scripts/experiments/\1"', (ROOT / "pyproject.toml").read_text())
    )
    modules = {"command_line"}
    scripts = {path.stem for path in (ROOT / "experiments").glob("*.py")} - modules - {"readme"}
    assert set(commands()) == scripts
    folders = {path.parent.name for path in (ROOT / "experiments").glob("*/__init__.py")}
    assert included == {f"{name}.py" for name in scripts | modules} | folders


def test_it_says_what_there_is():
    assert "evaluate" in command("--help").stdout and command("--help").returncode == 0
    assert command().returncode == 2
    wrong = command("tarin")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "no command 'tarin'" in wrong.stderr


def test_it_finds_our_configurations_and_names_itself_in_usage_and_errors(tmp_path):
    done = command("train", "mnist/sparse", "--training.epochs", "0", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("aejax train: training.epochs is 0")
    wrong = command("sweep.py", cwd=tmp_path)
    assert wrong.stderr.startswith("aejax sweep: the config file comes first, as in aejax sweep configs/")
    assert not list(tmp_path.iterdir())


def test_the_name_of_a_configuration_is_that_of_its_file(tmp_path, monkeypatch):
    """A file of the current folder comes before a configuration of ours."""
    monkeypatch.chdir(tmp_path)
    names = ["mnist/sparse", "mnist/sparse.py", "configs/mnist/sparse", ROOT / "configs" / "mnist" / "sparse.py"]
    assert len({aejax.load_config(name) for name in names}) == 1
    with pytest.raises(aejax.InputError, match=r"no config file mnist/sprase; did you mean mnist/sparse\?$"):
        aejax.load_config("mnist/sprase")
    (tmp_path / "digits.py").write_text("import aejax\ndef get_config(): return aejax.Config()")
    assert aejax.load_config("digits") == aejax.Config() != aejax.load_config(ROOT / "configs" / "digits.py")


BRIEFLY = {
    "train": "--dataset digits --training.epochs 1 --figures none",
    "sweep": "--dataset digits --training.epochs 1",
    "evaluate": "",
    "explore": "--images 20",
    "claims": "--only 10",  # refused: the claims take minutes
    "benchmark": "--repeats 0",  # refused too
}
"""options that shorten each command of README.md"""

IN_FORKS = """
import os, shlex, sys
import aejax.evaluation, aejax.sweeps
from aejax.__main__ import main, scripts_dir
sys.path.insert(0, f"{scripts_dir()}/experiments")
import claims
from benchmark import throughput
for line in sys.stdin:
    if os.fork() == 0:
        sys.argv = shlex.split(line)
        main()
        sys.exit()
    print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.mark.long
def test_every_command_of_the_readme_runs_in_an_empty_folder_from_what_a_wheel_holds(tmp_path):
    packed = re.findall(r'^"?(\S+?)"? = "(aejax_scripts/\S+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for source, target in [("aejax", "aejax"), *packed]:
        (tmp_path / "site" / target).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / "site" / target)
    block = re.search(r"## Commands\n```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    block = block.replace("uv run experiments/", "aejax ").replace("0:8", "0:1")
    lines = [line.partition("#")[0] for line in block.splitlines()]
    assert [line.split()[1] for line in lines] == [f"{name}.py" for name in BRIEFLY]
    lines = [f"{line} {more}\n" for line, more in zip(lines, BRIEFLY.values(), strict=True)]
    (tmp_path / "empty").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    program, cwd = [sys.executable, "-c", IN_FORKS], tmp_path / "empty"
    done = subprocess.run(program, input="".join(lines), env=environment, cwd=cwd, capture_output=True, text=True)
    codes = re.findall(r"^-?\d+$", done.stdout, re.MULTILINE)
    assert codes == ["0", "0", "0", "0", "1", "1"], done.stderr
    assert "the claims have the numbers 1 to 9" in done.stderr and "repeats is 0" in done.stderr
    wanted = {"sparse/summary.json", "sparse/evaluation.json", "sparse/evaluation_figures/reconstructions.png",
              "sparse/explore.html", "sweeps/mnist/sparse/report.md"}  # fmt: skip
    assert all((cwd / "runs" / path).is_file() for path in wanted)
    drawn = {path.parent.relative_to(cwd / "runs").as_posix() for path in cwd.rglob("*.png")}
    assert drawn == {"sparse/evaluation_figures", "sweeps/mnist/sparse/figures"}


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
