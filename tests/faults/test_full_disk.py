"""A disk that fills up while a checkpoint is saved."""

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
def small_disk(tmp_path):
    """A disk with room for two or three checkpoints of 0.9 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_one_line_and_the_checkpoint_before_is_whole(script, digits, tmp_path, small_disk):
    (tmp_path / "config.py").write_text(CONFIG)
    run = script("train.py", "config.py", "--workdir", small_disk / "run")
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1 and "space left" in run.stderr, run.stderr
    before = load(small_disk / "run")
    assert before.state.step > 0 and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(before.state.params))
    assert before.history[-1]["step"] == before.state.step
