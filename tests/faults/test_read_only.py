"""A run on a disk that cannot be written."""

import subprocess

import pytest

from aejax import fit


@pytest.fixture
def archived(tmp_path, small, digits):
    """The workdir of a run on a disk that is mounted for reading only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "none", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        fit(small[0].replace({"training.epochs": 1}), disk / "run", dataset=digits, progress=False, figures=())
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        yield disk / "run"
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.long
def test_the_figures_of_a_run_that_cannot_be_written_are_shown(script, archived, tmp_path):
    shown = script("evaluate.py", archived)
    assert shown.returncode == 1 and "psnr" in shown.stdout and "give another file with --json" in shown.stderr
    assert shown.stderr.count("\n") == 1, shown.stderr
    before = script("evaluate.py", archived, "--json", tmp_path / "nowhere" / "figures.json")
    assert before.returncode == 1 and before.stdout == "" and "must be a writable folder" in before.stderr
    assert script("evaluate.py", archived, "--json", tmp_path / "figures.json").returncode == 0
