"""The README says what the results say, and its code runs."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_its_tables_are_those_of_the_results():
    with_tables = runpy.run_path(str(ROOT / "experiments" / "readme.py"))["with_tables"]
    assert with_tables(README) == README
    assert README.count("| deep | train loss, epoch 3 | 0.0935 |") == 1 and "| deep | 256 |" in README


def test_its_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(code.replace("epochs=20", "epochs=2"), names)
    assert names["codes"].shape == (360, 32) and names["images"].shape == (360, 8, 8, 1)
    assert (tmp_path / "runs" / "mine" / "summary.json").exists()


def test_what_it_links_to_is_there():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_its_map_names_every_file():
    for path in (ROOT / "aejax").glob("[!_]*.py"):
        assert f"`{path.name}`" in README, path.name
