"""The notebook for Colab: executed in a kernel as its users do, here on digits, it shows its figures."""

import ast
import copy
import importlib
import json
import os
import re
import runpy
import shutil
import sys
import time
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "experiments" / "colab.ipynb").read_text(encoding="utf-8")
NOTEBOOK = json.loads(TEXT)
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def cell(*texts):
    """Return the code of the cells that contain these texts, in this order, without magics."""
    found = [next(code for code in CODE if text in code) for text in texts]
    return re.sub(r"(?m)^%.*$", "", "\n".join(found))


def test_each_function_that_it_takes_from_this_repository_exists():
    tree = ast.parse(re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", "\n".join(CODE)))
    modules, used = {}, 0
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("aejax", "article", "benchmark"):
            for each in node.names:
                parent = importlib.import_module(node.module)
                if not hasattr(parent, each.name):
                    modules[each.name] = importlib.import_module(f"{node.module}.{each.name}")
                modules[each.name] = getattr(parent, each.name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{node.value.id}.{node.attr}"
            used += 1
    assert used >= 10


def test_no_cell_is_long_and_each_shows_what_a_processor_gave():
    assert all(len(code.splitlines()) <= 15 for code in CODE) and len(TEXT) < 600_000
    cells = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    shown = ["".join(text for output in cell["outputs"] for text in output.get("text", ())) for cell in cells]
    assert all(re.search(r"\(\d+\.\d s\)\n$", text) for text in shown[2:])
    assert not re.search(r"\.0*[1-9]\d{4}|/tmp|/work|/home|Error|Traceback|\x1b", "\n".join(shown))
    assert "0 of" in shown[
        CODE.index(next(code for code in CODE if "constraints.txt" in code))
    ] and "bit for bit" in "\n".join(shown)
    drawn = [any("image/png" in output.get("data", {}) for output in cell["outputs"]) for cell in cells]
    assert drawn == [code.splitlines()[-1].startswith(("figures.", "comparison.figure")) for code in CODE]


def google(monkeypatch, name, **functions):
    """Put a module in the place of google.colab.NAME."""
    package = types.SimpleNamespace(**{name: types.SimpleNamespace(**functions)})
    monkeypatch.setitem(sys.modules, "google.colab", package)


def test_uploads_and_runs_on_google_drive(monkeypatch):
    called = []
    google(monkeypatch, "files", upload=lambda: called.append("upload"))
    exec(cell("if UPLOAD"), {"UPLOAD": True})
    google(monkeypatch, "drive", mount=called.append)
    for drive, place in ((True, "/content/drive/MyDrive/aejax/runs"), (False, "runs")):
        exec(cell("if DRIVE"), names := {"DRIVE": drive, "pathlib": importlib.import_module("pathlib")})
        assert names["RUNS"] == Path(place)
    assert called == ["upload", "/content/drive"]
    assert len(re.findall(r'["/]runs"', "".join(CODE))) == 2  # all cells write to RUNS


def test_each_cell_tells_its_seconds(capsys):
    registered = {}
    shell = types.SimpleNamespace(events=types.SimpleNamespace(register=registered.__setitem__))
    names = {"get_ipython": lambda: shell, "time": time}
    exec(cell("class Clock"), names)
    first = dict(registered)
    exec(cell("class Clock"), names)
    assert registered == first  # each time is printed once
    registered["pre_run_cell"](None), registered["post_run_cell"](None)
    assert re.fullmatch(r"\(0\.\d s\)\n", capsys.readouterr().out)


def test_a_newer_archive_replaces_the_code_of_an_older_one(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def upload(name, seconds):
        (tmp_path / "made" / name / "aejax").mkdir(parents=True)
        (tmp_path / "made" / name / "aejax" / "__init__.py").write_text(name)
        made = shutil.make_archive(tmp_path / name, "zip", tmp_path / "made")
        shutil.rmtree(tmp_path / "made")
        os.utime(made, (time.time() + seconds,) * 2)

    def code():
        exec(cell("REPOSITORY =", "unpack_archive", "git"), names := {})
        return (names["ROOT"] / "aejax" / "__init__.py").read_text()

    with monkeypatch.context() as patch:  # at first nothing is imported
        patch.delitem(sys.modules, "aejax")
        upload("first", -10)
        assert code() == "first"
        upload("older", -20)
        assert code() == "first"
    upload("second", 10)
    with pytest.raises(RuntimeError, match="older code: choose Runtime, Restart session"):
        code()
    os.utime(tmp_path / "repository", (time.time() + 20,) * 2)
    assert code() == "second"


def test_no_installed_package_is_replaced(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    commands = []

    def run(command, **_):
        commands.append(command)
        return types.SimpleNamespace(stdout="jax==0.7.2\nlibtpu==0.0.23\nnumpy==2.1.3\n")

    names = {"ROOT": ROOT}
    exec(cell("REPOSITORY =", "def satisfied"), names)
    assert [names["satisfied"](text) for text in ("numpy>=2.0", "numpy>=99", "no-such-package>=1")] == [
        True,
        False,
        False,
    ]
    exec(cell("constraints.txt"), names | {"subprocess": types.SimpleNamespace(run=run)})
    assert not commands  # nothing is missing
    names |= {"satisfied": lambda text: not text.startswith("tyro"), "subprocess": types.SimpleNamespace(run=run)}
    exec(cell("constraints.txt"), names)
    assert (tmp_path / "constraints.txt").read_text().split() == ["jax==0.7.2", "libtpu==0.0.23", "numpy==2.1.3"]
    (install,) = (command for command in commands if "install" in command)
    assert install[4:-1] == ["-q", "-c", "constraints.txt"] and install[-1].startswith("tyro>=")


def test_a_batch_is_not_larger_than_the_training_images():
    line = re.search(r"(?m)^batches = .*$", cell("throughput.measure"))[0]
    exec(line, names := {"dataset": types.SimpleNamespace(train=range(1437))})
    assert names["batches"] == [32, 256]


def test_one_place_says_where_the_code_is():
    """Badges of notebook and README are made from it; nobody's repository is named where it is empty."""
    script = runpy.run_path(str(ROOT / "experiments" / "readme.py"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert TEXT.count("REPOSITORY =") == 1
    assert script["with_badges"](NOTEBOOK, readme) == (NOTEBOOK, readme)
    if 'REPOSITORY = \\"\\"' in TEXT:
        assert "github" not in TEXT and "colab.research.google.com" not in readme
    changed = json.loads(re.sub(r'REPOSITORY = \\".*?\\"', r'REPOSITORY = \\"https://github.com/some/where\\"', TEXT))
    badge = "https://colab.research.google.com/github/some/where/blob/main/experiments/colab.ipynb"
    notebook, readme = script["with_badges"](changed, readme)
    assert badge in "".join(notebook["cells"][0]["source"]) and badge in readme.splitlines()[0]
    elsewhere = copy.deepcopy(changed)
    elsewhere["cells"] = json.loads(json.dumps(notebook["cells"]).replace("github.com/some/where", "example.org/code"))
    notebook, readme = script["with_badges"](elsewhere, readme)  # which Colab cannot open
    assert notebook["cells"][0] == NOTEBOOK["cells"][0] and readme == (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("variable", ["TPU_ACCELERATOR_TYPE", "nvidia-smi"])
def test_an_accelerator_that_jax_does_not_find_is_told_of(variable, monkeypatch, tmp_path):
    import jax

    if jax.default_backend() != "cpu":
        pytest.skip("there is an accelerator here")
    if variable == "nvidia-smi":
        (tmp_path / variable).write_text("#!/bin/sh\necho 'GPU 0: Some GPU'\n")
        (tmp_path / variable).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    else:
        monkeypatch.setenv(variable, "v5litepod-1")
    cell = next(code for code in CODE if "default_backend" in code)
    has = "gpu" if variable == "nvidia-smi" else "tpu"
    with pytest.raises(RuntimeError, match=f"this runtime has a {has}, and JAX .* found a cpu: choose Runtime"):
        exec(cell, {"shutil": shutil, "subprocess": __import__("subprocess")})


def test_without_code_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="set UPLOAD to True"):
        exec(cell("REPOSITORY =", "unpack_archive", "git"), {})


def archive(folder):
    """What somebody would upload: the repository without what is not in git."""
    made = folder / "made" / "aejax-main"
    for name in ("aejax", "configs", "experiments"):
        shutil.copytree(ROOT / name, made / name, ignore=shutil.ignore_patterns("results", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", made)
    shutil.make_archive(folder / "uploaded", "zip", made.parent)
    shutil.rmtree(made.parent)


SHORTER = {
    '\\"mnist\\"': '\\"digits\\"',
    "(32, 256, 4096)": "(256, 4096)",
    "batches=batches)": "batches=batches, repeats=1)",
    "results = article.reproduce(": "article._MNIST_TRAINING_IMAGES = 1; results = article.reproduce(",  # one pass
}


@pytest.mark.long
def test_it_runs_in_a_kernel_and_each_cell_twice(tmp_path):
    """From an uploaded archive."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    archive(tmp_path)
    text = TEXT
    for old, new in SHORTER.items():
        assert old in text
        text = text.replace(old, new)
    notebook = nbformat.reads(text, as_version=4)
    twice = copy.deepcopy(notebook)
    twice["cells"] = [
        copy.deepcopy(cell) for cell in notebook["cells"] for _ in range(1 + (cell["cell_type"] == "code"))
    ]
    for number, cell in enumerate(twice["cells"]):
        cell["id"] = f"cell-{number}"
    client = nbclient.NotebookClient(twice, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    cells = [cell for cell in twice["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        drawn = any("image/png" in output.get("data", {}) for output in cell["outputs"])
        last = cell["source"].splitlines()[-1]
        assert drawn == last.startswith(("figures.", "comparison.figure")), cell["source"]
    shown = ["".join(output.get("text", "") for output in cell["outputs"]) for cell in cells]
    by_last = {cell["source"]: text for cell, text in zip(cells, shown, strict=True)}  # the second time
    text = "\n".join(by_last.values())
    assert "| deep | train loss, epoch 3 | 0.0935 |" in text
    assert re.search(r"stopped after step [\d,]+: [1-3]\.\d\d of 20 epochs", "\n".join(shown))  # the first time
    assert sum("the same, bit for bit" in each for each in shown) == 2
    results = list(tmp_path.glob("runs/benchmark/*/benchmark.json"))
    assert results and all(row["images_per_second"] > 0 for row in json.loads(results[0].read_text())["rows"])
    assert len(list(tmp_path.glob("runs/sweep/digits/members/*"))) == 8
