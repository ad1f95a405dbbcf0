"""Several processes give the result of one, go on from each other's checkpoints, and end when one of them dies."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from processes import finish, free_address, start

from aejax import Coefficients, Config, Corruption, Dataset, Loss, Model, Training, fit, load

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


def require_same(workdir, expected, **how):
    run = load(workdir, **how)
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
def test_processes_without_a_shared_disk_are_refused_when_they_resume(dataset, tmp_path):
    workdirs, log = [tmp_path / "first", tmp_path / "second"], tmp_path / "log"
    assert finish(start(CONFIG, workdirs, dataset, log, 2, stopped=True)) == [75] * 2, logged(log, 2)
    assert finish(start(CONFIG, workdirs, dataset, log, 2)) == [1, 1], logged(log, 2)
    first, second = (printed.splitlines()[-1] for printed in logged(log, 2))
    assert "process 1 of this run was refused" in first
    assert "/13 cannot be read: No such file" in second and "must be on a disk that all processes" in second
    assert load(workdirs[0]).state.step == 13


@pytest.mark.long
def test_processes_whose_devices_share_a_state_give_the_result_of_one_device(tmp_path):
    """Two processes of two devices: first all devices hold the state together, then those of each process."""
    gallery = Path(__file__).parents[2] / "experiments/gallery/batch_top_k.py"
    config = CONFIG.replace(
        {
            "model": Model((), 16, kind=f"{gallery}:BatchTopK", options={"dead_after": 3}),
            "loss": Loss("mse", pixels="sum"),
            "corruption.kind": "none",
            "coefficients": {"learning_rate": 0.05, "k": 4.0},
            "training.average": 0.9,
            "training.epochs": 1,
        }
    )
    vectors = np.random.default_rng(0).standard_normal((640 + 45, 12)).astype(np.float32)
    dataset, workdir, log = Dataset("random", vectors[:640], vectors[640:]), tmp_path / "run", tmp_path / "log"
    stopped = start(config.replace({"devices.shards": 4}), workdir, dataset, log, 2, devices=2, stopped=True)
    assert finish(stopped) == [75, 75], logged(log, 2)
    resumed = start(config.replace({"devices.shards": 2}), workdir, dataset, log, 2, devices=2)
    assert finish(resumed) == [0, 0], logged(log, 2)
    require_same(workdir, fit(config, dataset=dataset, progress=False), models=gallery)


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
    # JAX aborts a process whose coordinator dies; Gloo a process that meets the next program of a process that knows.
    reasons = "lost another process", "another task died", "gloo::EnforceNotMet"
    for index, printed in enumerate(logged(log, 4)):
        assert index == killed or any(reason in printed for reason in reasons), printed
    assert finish(start(CONFIG, workdir, dataset, log, 4)) == [0] * 4, logged(log, 4)
    require_same(workdir, alone)


@pytest.mark.long
def test_a_process_that_is_stopped_for_less_than_a_heartbeat_costs_only_time(dataset, alone, tmp_path):
    workdir, log = tmp_path / "run", tmp_path / "log"
    processes = start(CONFIG, workdir, dataset, log, 4)
    while not list((workdir / "checkpoints").glob("[0-9]*")):
        assert all(process.is_alive() for process in processes), logged(log, 4)
        time.sleep(0.05)
    os.kill(processes[1].pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(processes[1].pid, signal.SIGCONT)
    assert finish(processes) == [0] * 4, logged(log, 4)
    require_same(workdir, alone)


@pytest.mark.long
def test_a_process_may_start_30_seconds_after_the_others(dataset, alone, tmp_path):
    """Below hosts.startup_seconds, which is 60."""
    workdir, log = tmp_path / "run", tmp_path / "log"
    processes = start(CONFIG, workdir, dataset, log, 4, begins={3: 30})
    assert finish(processes) == [0] * 4, logged(log, 4)
    require_same(workdir, alone)


def test_a_process_that_does_not_start_ends_the_others_with_one_line(dataset, tmp_path):
    config, log = CONFIG.replace({"hosts.startup_seconds": 6}), tmp_path / "log"
    first, second = start(config, tmp_path / "run", dataset, log, 3, begins={2: 60})[:2]
    assert finish([first, second], 40) == [1, 1], logged(log, 2)
    for printed in logged(log, 2):
        assert "hosts.coordinator is" in printed.splitlines()[-1] and "within 6 s" in printed.splitlines()[-1], printed
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_a_second_run_with_the_address_of_the_first_is_refused_after_the_time_for_the_start(dataset, tmp_path):
    """JAX alone would let process 0 of the second run listen at the same address, and would mix the two runs."""
    log, address = tmp_path / "log", free_address()
    [waits, _] = start(CONFIG, tmp_path / "first", dataset, log, 2, coordinator=address, begins={1: 60})
    while "waiting" not in logged(log, 1)[0]:
        time.sleep(0.05)
    host, _, port = address.partition(":")
    while socket.socket().connect_ex((host, int(port))):
        time.sleep(0.05)
    config, other = CONFIG.replace({"hosts.startup_seconds": 3}), tmp_path / "other"
    [second, _] = start(config, tmp_path / "second", dataset, other, 2, coordinator=address, begins={1: 60})
    assert finish([second], 30) == [1]
    assert "it is not free within 3 s (another run uses this address)" in logged(other, 1)[0]
    assert waits.is_alive() and not (tmp_path / "second").exists()
    waits.kill()
