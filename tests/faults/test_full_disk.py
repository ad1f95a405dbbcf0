"""A disk that fills up while a run is saved or images are prepared: one line, and an end within seconds."""

import subprocess

import jax
import numpy as np
import pytest

from aejax import load

CONFIG = """
from aejax import Config, Model, Training
def get_config():
    return Config(model=Model((512,), 32), training=Training(epochs=6, batch_size=32))
"""


@pytest.fixture
def mount(tmp_path):
    """Options → a disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = []

    def mount(options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", disk], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(disk)
        return disk

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize(
    "options",
    [
        "size=3m",  # room for two or three checkpoints of 0.9 MB
        pytest.param("size=50m,nr_inodes=44", marks=pytest.mark.long),
    ],
)
def test_a_full_disk_is_one_line_and_the_checkpoint_before_is_whole(script, digits, tmp_path, mount, options):
    disk = mount(options)
    (tmp_path / "config.py").write_text(CONFIG)
    run = script("train.py", "config.py", "--workdir", disk / "run")
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1 and "space left" in run.stderr, run.stderr
    before = load(disk / "run")
    assert before.state.step > 0 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(before.state.params))
    assert before.history[-1]["step"] == before.state.step


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        pytest.param("size=8k", marks=pytest.mark.long),
        "size=50m,nr_inodes=16",
        pytest.param("size=50m,nr_inodes=8", marks=pytest.mark.long),
    ],
)
def test_where_there_is_no_room_for_the_first_checkpoint_it_ends_too(script, digits, tmp_path, mount, options):
    """Files that cannot be made leave threads of the saver that wait for ever."""
    disk = mount(options)
    (tmp_path / "config.py").write_text(CONFIG)
    run = script("train.py", "config.py", "--workdir", disk / "run", timeout=60)
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1 and "space left" in run.stderr and str(disk) in run.stderr, run.stderr


def test_a_full_folder_of_prepared_images_is_one_line(script, tmp_path, mount):
    disk = mount("size=24k")
    (tmp_path / "config.py").write_text(CONFIG)
    run = script("train.py", "config.py", "--workdir", "run", AEJAX_DATA_DIR=str(disk))
    advice = "set AEJAX_DATA_DIR to another folder"
    expected = f"train.py: digits could not be prepared in {disk}/arrays: No space left on device; {advice}\n"
    assert (run.returncode, run.stderr) == (1, expected)
    assert not list((disk / "arrays").iterdir())
