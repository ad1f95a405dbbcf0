"""Several processes give the result of one, go on from each other's checkpoints, and end when one of them dies."""

import json
import time

import jax
import numpy as np
import pytest
from processes import finish, start

from aejax import Coefficients, Config, Corruption, Dataset, Model, Training, fit, load

CONFIG = Config(  # plain gradient descent: Adam would hide gradients that are too large by a factor
    model=Model((24,), 8),
    corruption=Corruption("gaussian"),
    coefficients=Coefficients(learning_rate=0.5, noise=0.4),
    training=Training(epochs=2, batch_size=32, optimizer="sgd", evaluate_test=True),
)


@pytest.fixture(scope="module")
def dataset():
    images = (np.random.default_rng(0).random((640 + 45, 12, 12, 1)) ** 4 * 255).astype(np.uint8)
    return Dataset("random", images[:640], images[640:])


@pytest.fixture(scope="module")
def alone(dataset):
    return fit(CONFIG, dataset=dataset, progress=False)


def require_same(workdir, expected):
    run = load(workdir)
    ours, theirs = (
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(run.state.params)]).astype(np.float64)
        for run in (run, expected)
    )
    assert np.linalg.norm(ours - theirs) < 1e-6 * np.linalg.norm(theirs)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [line["step"] for line in expected.history]
    for line, other in zip(lines, expected.history, strict=True):
        assert {"train", "test", "code"} <= line.keys() == other.keys()
        for group in ("train", "test", "code"):
            for name, value in other[group].items():
                assert np.isclose(line[group][name], value, rtol=1e-5), (group, name)


def logged(log, count):
    return [(log.parent / f"{log.name}.{index}").read_text() for index in range(count)]


@pytest.mark.long
@pytest.mark.parametrize(("count", "parallel"), [(2, "pmap"), (4, "jit")])
def test_several_processes_give_the_result_of_one(dataset, alone, tmp_path, count, parallel):
    config = CONFIG.replace({"devices.parallel": parallel})
    log = tmp_path / "log"
    assert finish(start(config, tmp_path / "run", dataset, log, count)) == [0] * count, logged(log, count)
    require_same(tmp_path / "run", alone)
    printed = logged(log, count)
    assert "epoch 2/2" in printed[0] and not any("epoch" in other for other in printed[1:])


def test_processes_of_different_configurations_are_refused(dataset, tmp_path):
    log, other = tmp_path / "log", CONFIG.replace({"training.seed": 1})
    assert finish(start([CONFIG, other], tmp_path / "run", dataset, log, 2)) == [1, 1]
    for printed in logged(log, 2):
        assert "process 1 has another configuration" in printed, printed
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_a_run_goes_on_in_another_number_of_processes(dataset, alone, tmp_path):
    workdir, log = tmp_path / "run", tmp_path / "log"
    assert finish(start(CONFIG, workdir, dataset, log, 4, stopped=True, late=1)) == [75] * 4, logged(log, 4)
    assert load(workdir).state.step == 13  # within the first epoch
    assert finish(start(CONFIG, workdir, dataset, log, 1, stopped=True)) == [75], logged(log, 1)
    config = CONFIG.replace({"devices.parallel": "shard_map"})
    assert finish(start(config, workdir, dataset, log, 2)) == [0, 0], logged(log, 2)
    require_same(workdir, alone)


@pytest.mark.long
@pytest.mark.parametrize("killed", [0, 2])
def test_when_one_of_four_dies_the_others_end_and_together_they_go_on(dataset, alone, tmp_path, killed):
    workdir, log = tmp_path / "run", tmp_path / "log"
    processes = start(CONFIG, workdir, dataset, log, 4)
    while not list((workdir / "checkpoints").glob("[0-9]*")):
        assert all(process.is_alive() for process in processes), logged(log, 4)
        time.sleep(0.05)
    processes[killed].kill()
    others = [process for process in processes if process is not processes[killed]]
    codes = finish(others, 15)
    assert all(code in (75, -6) for code in codes), (codes, logged(log, 4))
    for index, printed in enumerate(logged(log, 4)):
        assert index == killed or "lost another process" in printed or "another task died" in printed, printed
    assert finish(start(CONFIG, workdir, dataset, log, 4)) == [0] * 4, logged(log, 4)
    require_same(workdir, alone)
