"""The notebook for Colab: executed in a kernel as its users do, here on digits, it shows its figures."""

import ast
import copy
import importlib
import json
import re
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "experiments" / "colab.ipynb").read_text(encoding="utf-8")
NOTEBOOK = json.loads(TEXT)
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


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


def test_no_cell_is_long_or_holds_results():
    assert all(len(code.splitlines()) <= 15 for code in CODE)
    assert all(not cell["outputs"] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")


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
    with pytest.raises(FileNotFoundError, match="upload an archive"):
        exec("\n".join(CODE[:2]), {})


def archive(folder):
    """What somebody would upload: the repository without what is not in git."""
    made = folder / "made" / "aejax-main"
    for name in ("aejax", "configs", "experiments"):
        shutil.copytree(ROOT / name, made / name, ignore=shutil.ignore_patterns("results", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", made)
    shutil.make_archive(folder / "uploaded", "zip", made.parent)
    shutil.rmtree(made.parent)


@pytest.mark.long
def test_it_runs_in_a_kernel_and_each_cell_twice(tmp_path):
    """From an uploaded archive."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    archive(tmp_path)
    notebook = nbformat.reads(
        TEXT.replace('\\"mnist\\"', '\\"digits\\"').replace("[32, 256, 4096]", "[32]"), as_version=4
    )
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
    assert "| deep | train loss, epoch 3 | 0.0935 |" in text and "stopped after step" in text
    assert sum("the same, bit for bit" in each for each in shown) == 2
    results = list(tmp_path.glob("runs/benchmark/*/benchmark.json"))
    assert results and all(row["images_per_second"] > 0 for row in json.loads(results[0].read_text())["rows"])
    assert len(list(tmp_path.glob("runs/sweep/digits/members/*"))) == 8
