"""The notebook for Colab runs from top to bottom, here on digits."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = json.loads((ROOT / "experiments" / "colab.ipynb").read_text())
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_no_cell_is_long_or_holds_results():
    assert all(len(code.splitlines()) <= 15 for code in CODE)
    assert all(not cell["outputs"] for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code")


def test_its_badge_opens_it():
    badge = "https://colab.research.google.com/github/aejax/aejax/blob/main/experiments/colab.ipynb"
    assert badge in "".join(NOTEBOOK["cells"][0]["source"])


@pytest.mark.long
def test_it_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "repository").symlink_to(ROOT)  # the first cell would clone it
    names = {}
    for code in CODE:
        assert code.count('"mnist"') <= 1
        exec(compile(code.replace('"mnist"', '"digits"'), "a cell of colab.ipynb", "exec"), names)
    shown = capsys.readouterr().out
    assert names["dataset"].name == "digits" and "| deep | train loss, epoch 3 | 0.0935 |" in shown
    assert "stopped after step" in shown and "the same, bit for bit" in shown
    assert len(names["resumed"].history) == 20 and len(names["sweep"].runs) == 8
