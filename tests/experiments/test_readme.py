"""The README says what the results say, and its code runs."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

import aejax

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

pytestmark = pytest.mark.compiled_soon


def test_its_tables_are_those_of_the_results():
    with_tables = runpy.run_path(str(ROOT / "experiments" / "readme.py"))["with_tables"]
    assert with_tables(README) == README
    assert README.count("| deep | train loss, epoch 3 | 0.0935 |") == 1 and "| deep | 256 |" in README


def test_its_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = CODE[0]
    names = {}
    exec(code.replace("epochs=20", "epochs=2"), names)
    assert names["codes"].shape == (360, 32) and names["images"].shape == (360, 8, 8, 1)
    assert (tmp_path / "runs" / "mine" / "summary.json").exists()


def test_its_guide_to_a_variety_of_your_own_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _, model, experiment = CODE
    assert len(model.splitlines()) + len(experiment.splitlines()) <= 40
    (tmp_path / "contractive.py").write_text(model.replace("passes=10", "passes=1"))
    names = {}
    exec(experiment, names)
    with_penalty, without = names["run"], aejax.load("runs/contractive-0")
    assert with_penalty.summary["test"]["contraction"] > 0 == without.summary["test"]["contraction"]
    images = names["digits"].test[:4].astype(np.float32) / 255

    def moves(run):
        """The mean squared norm of the Jacobian, by finite differences of every pixel."""
        steps = np.eye(64, dtype=np.float32).reshape(64, 1, 8, 8, 1) * 1e-2
        moved = run.encode((images + steps).reshape(-1, 8, 8, 1)).reshape(64, 4, -1)
        return np.square((moved - run.encode(images)) / 1e-2).sum(axis=(0, 2)).mean()

    assert moves(with_penalty) < 0.8 * moves(without)
    penalties = with_penalty.autoencoder(images).penalties["contraction"]
    assert np.isclose(np.mean(penalties), moves(with_penalty), rtol=0.1)
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_what_it_links_to_is_there():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
