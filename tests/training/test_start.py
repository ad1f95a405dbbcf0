"""What must hold before JAX computes in a process."""

import os
import pickle
import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import jax
import numpy as np
import pytest

import aejax
from aejax import Hosts, InputError
from aejax.training import start


def test_a_device_that_is_not_there(script, digits, tmp_path):
    config = os.path.join(os.path.dirname(__file__), "..", "..", "configs", "digits.py")
    run = script("train.py", config, "--workdir", "run", JAX_PLATFORMS="cuda")
    assert run.returncode == 1 and "JAX_PLATFORMS is cuda: unset it" in run.stderr, run.stderr
    assert run.stderr.count("\n") == 1 and list((tmp_path / "run").iterdir()) == []


def test_nothing_works_without_compilation(small):
    config, dataset = small
    with jax.disable_jit(), pytest.raises(InputError, match="JAX_DISABLE_JIT is set"):
        aejax.fit(config, dataset=dataset, progress=False)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
@pytest.mark.filterwarnings("ignore:os.fork")
def test_a_fork_of_a_process_that_used_jax_is_refused(small):
    config, dataset = small
    jax.numpy.zeros(3).block_until_ready()  # by somebody else
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        try:
            aejax.fit(config, dataset=dataset, progress=False)
        except InputError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        assert "forked from one that had used JAX" in (said := answer.read()) and "spawn" in said
    os.waitpid(child, 0)
    start.devices()  # in this process all is as before


def test_a_run_goes_to_another_process_before_and_after_it_was_used(small):
    config, dataset = small
    run = aejax.fit(config.replace({"training.epochs": 1}), dataset=dataset, progress=False)
    before = pickle.dumps(run)
    codes = run.encode(dataset.test)
    run.reconstruct(dataset.test)
    for pickled in (before, pickle.dumps(run)):
        again = pickle.loads(pickled)
        assert np.array_equal(again.encode(dataset.test), codes) and again.history == run.history


@pytest.mark.long
def test_a_pool_of_processes_encodes(small):
    config, dataset = small
    run = aejax.fit(config.replace({"training.epochs": 1}), dataset=dataset, progress=False)
    codes = run.encode(dataset.test)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert np.array_equal(pool.submit(aejax.Run.encode, run, dataset.test).result(120), codes)


def free_address():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def test_a_coordinator_that_does_not_answer_is_one_line(capsys):
    hosts = Hosts(coordinator=free_address(), count=2, index=1, startup_seconds=1)
    with pytest.raises(InputError, match=r"it does not answer within 1 s"):
        start.join(hosts)


@pytest.mark.long
def test_the_others_who_do_not_come_are_the_last_line(tmp_path):
    program = (
        "from aejax import Hosts; from aejax.training.start import join; import sys; "
        "join(Hosts(coordinator=sys.argv[1], count=2, index=0, startup_seconds=1))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program, free_address()], capture_output=True, text=True, timeout=120
    )
    *_, last = finished.stderr.splitlines()
    assert finished.returncode == 1 and "did not join within 1 s" in last, finished.stderr
    assert "@" not in finished.stderr  # as the frames of C++ begin
