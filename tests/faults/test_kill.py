"""A run that is killed at random moments, or stopped by a signal, ends with the result of one that never was."""

import functools
import json
import os
import random
import signal
import time

import jax
import numpy as np
import pytest
from processes import finish, start

from aejax import Coefficients, Config, Corruption, Dataset, Model, Schedule, Training, load

CONFIG = Config(
    model=Model((24,), 8),
    corruption=Corruption("gaussian"),
    coefficients=Coefficients(noise=0.4),
    schedules={"learning_rate": Schedule("cosine")},
    training=Training(batch_size=32),
)
CLOCK = ("seconds", "images_per_second")


@pytest.fixture(scope="module")
def dataset():
    images = (np.random.default_rng(0).random((640 + 45, 12, 12, 1)) ** 4 * 255).astype(np.uint8)
    return Dataset("random", images[:640], images[640:])


def outcome(workdir):
    """Every leaf of the final state, and metrics.jsonl without its clock."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    figures = [{name: value for name, value in json.loads(line).items() if name not in CLOCK} for line in lines]
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(load(workdir).state)], figures


def state_of(path):
    """What changes when a file is written again, as a run does with its records when it begins to train."""
    return path.stat().st_mtime_ns if path.exists() else None


def newest(workdir):
    """The step of the newest checkpoint."""
    return max((int(path.name) for path in (workdir / "checkpoints").glob("[0-9]*")), default=0)


@pytest.fixture(scope="module")
def uninterrupted(dataset, tmp_path_factory):
    """Number of epochs → the configuration, and the outcome of a run that nothing stopped."""

    @functools.cache
    def trained(epochs):
        folder = tmp_path_factory.mktemp("whole")
        config = CONFIG.replace({"training.epochs": epochs})
        [code] = finish(start(config, folder / "run", dataset, folder / "log"))
        assert code == 0, (folder / "log.0").read_text()
        expected = outcome(folder / "run")
        assert [line["epoch"] for line in expected[1]] == list(range(1, epochs + 1))
        return config, expected

    return trained


@pytest.mark.long
def test_a_signal_ends_with_75_once_the_run_is_saved_and_it_goes_on(dataset, uninterrupted, tmp_path):
    config, expected = uninterrupted(4)
    workdir, log = tmp_path / "run", tmp_path / "log"
    [process] = start(config, workdir, dataset, log)
    while process.is_alive() and not newest(workdir):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    assert finish([process]) == [75]
    printed = (tmp_path / "log.0").read_text().splitlines()
    assert "run the same command to go on" in printed[-1] and 0 < newest(workdir) < 80
    assert finish(start(config, workdir, dataset, log)) == [0]
    assert outcome(workdir) == expected


@pytest.mark.parametrize(
    ("least", "epochs"),
    [(1, 3), pytest.param(10, 12, marks=[pytest.mark.long, pytest.mark.bits])],
    ids=["once", "10 times"],
)
def test_kill_at_random_moments(dataset, uninterrupted, tmp_path, least, epochs, longest):
    config, expected = uninterrupted(epochs)
    least = 200 if longest and least == 10 else least
    moments, kills, runs = random.Random(0), 0, 0
    while kills < least:
        runs += 1
        workdir, log = tmp_path / f"killed-{runs}", tmp_path / f"log-{runs}"
        while not (workdir / "summary.json").exists():
            before = state_of(workdir / "metrics.jsonl")
            [process] = start(config, workdir, dataset, log)
            begun = time.monotonic()
            saved = moments.randint(newest(workdir), 20 * epochs)  # by progress: a slow machine would come to none
            while process.is_alive() and (
                state_of(workdir / "metrics.jsonl") == before or newest(workdir) < saved  # it writes soon
            ):
                time.sleep(0.01)
            process.join(moments.uniform(0.0, 0.3) if kills < least else 60)
            if process.is_alive():
                process.kill()
                kills += 1
            process.join()
            assert process.exitcode in (0, -9), (log.parent / f"{log.name}.0").read_text()
            assert time.monotonic() - begun < 60
        assert outcome(workdir) == expected
    print(f"{kills} kills, {runs} runs")
