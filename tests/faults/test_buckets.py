"""A run in a bucket ends as on a disk, whatever is killed, and one run at a time writes to a bucket."""

import json
import os
import random
import re
import time

import jax
import numpy as np
import pytest
from processes import finish, start
from test_kill import CONFIG, outcome

from aejax import Dataset, load
from aejax.storage import Store
from buckets import s3_server

COUNT = 640 + 45


@pytest.fixture(scope="module")
def dataset():
    images = (np.random.default_rng(0).random((COUNT, 12, 12, 1)) ** 4 * 255).astype(np.uint8)
    return Dataset("random", images[:640], images[640:])


@pytest.fixture(scope="module")
def on_a_disk(dataset, tmp_path_factory):
    """Number of epochs, number of processes → configuration, and outcome of a run on a disk that nothing stopped."""

    def trained(epochs, count=1):
        folder, config = tmp_path_factory.mktemp("disk"), CONFIG.replace({"training.epochs": epochs})
        codes = finish(start(config, folder / "run", dataset, folder / "log", count))
        assert codes == [0] * count, (folder / "log.0").read_text()
        return config, outcome(folder / "run")

    return trained


@pytest.fixture
def place(request, gcs, monkeypatch):
    """The environment of a store, and the address of a workdir there."""
    if request.param == "gs":
        gcs.faults = 0.1
        names = ("TENSORSTORE_GCS_HTTP_URL", "GOOGLE_AUTH_TOKEN_FOR_TESTING")
        return {name: os.environ[name] for name in names}, "gs://bucket/runs/a"
    environment = request.getfixturevalue("s3")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return environment, f"s3://bucket/runs/{time.monotonic_ns()}"


@pytest.fixture(scope="session")
def s3():
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    with s3_server("bucket") as environment:
        yield environment


def outcome_in_bucket(address):
    lines = Store(address).read("metrics.jsonl")[0].decode().splitlines()
    kept = [{name: value for name, value in json.loads(line).items() if "second" not in name} for line in lines]
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(load(address).state)], kept


def newest(names):
    found = [re.fullmatch(r"checkpoints/(\d+)/manifest.json", name) for name in names]
    return max((int(each[1]) for each in found if each), default=0)


@pytest.mark.long  # by default tests/storage/test_mirror.py, where each request may be the last
@pytest.mark.parametrize(
    ("place", "least", "epochs"),
    [pytest.param("gs", 2, 3, id="gs"), pytest.param("s3", 4, 6, id="s3")],
    indirect=["place"],
)
def test_kills_at_random_moments_in_a_bucket(place, least, epochs, dataset, on_a_disk, tmp_path, longest):
    environment, address = place
    least, epochs = (20, 12) if longest else (least, epochs)
    config, expected = on_a_disk(epochs)
    moments, kills, after, machines, runs = random.Random(0), 0, 0, 0, 0
    while kills < least or after < least // 2:
        runs += 1
        workdir = f"{address}-{runs}"
        store, log = Store(workdir), tmp_path / f"log-{runs}"
        names = []
        while "summary.json" not in names:
            machines += moments.random() < 0.5  # another machine has nothing of the files of the run
            disks = {"folder": str(tmp_path / f"machine-{machines}"), "environment": environment}
            [process] = start(config, workdir, dataset, log, disks=disks)
            begun = time.monotonic()
            saved = moments.randint(newest(store.names()), 20 * epochs)
            while process.is_alive() and newest(store.names()) < saved and time.monotonic() - begun < 20:
                time.sleep(0.01)
            more = kills < least or after < least // 2
            process.join(moments.uniform(0.0, 0.3) if more else 60)
            if process.is_alive():
                process.kill()
                kills, after = kills + 1, after + (newest(store.names()) > 0)
            process.join()
            printed = (log.parent / f"{log.name}.0").read_text()
            assert process.exitcode in (0, -9, 75), printed
            assert process.exitcode != 75 or "is in use by a run on" in printed.splitlines()[-1]
            assert "machine-" not in printed
            names = store.names()
        assert outcome_in_bucket(workdir) == expected
    print(f"{kills} kills, {after} after the first manifest, {runs} runs, {machines + 1} machines")


@pytest.mark.long
@pytest.mark.parametrize("place", ["gs"], indirect=True)
def test_a_signal_uploads_and_another_machine_goes_on(place, dataset, on_a_disk, tmp_path):
    environment, address = place
    config, expected = on_a_disk(4)
    [process] = start(
        config, address, dataset, tmp_path / "log", uploads=60.0, stopped=True,
        disks={"folder": str(tmp_path / "first"), "environment": environment},
    )  # fmt: skip
    assert finish([process]) == [75]
    printed = (tmp_path / "log.0").read_text()
    assert f"saved in {address}: run the same command to go on" in printed and str(tmp_path) not in printed
    assert newest(Store(address).names()) == 13 and list((tmp_path / "first/0/buckets").iterdir()) == []
    disks = {"folder": str(tmp_path / "second"), "environment": environment}
    assert finish(start(config, address, dataset, tmp_path / "log", disks=disks)) == [0]
    assert outcome_in_bucket(address) == expected


@pytest.mark.long
@pytest.mark.parametrize("place", ["gs"], indirect=True)
def test_one_of_eight_trains_and_another_takes_over(place, dataset, tmp_path):
    environment, address = place
    config = CONFIG.replace({"training.epochs": 2000})

    def begin(machine, config, uploads):
        disks = {"folder": str(tmp_path / str(machine)), "environment": environment}
        return start(config, address, dataset, tmp_path / f"log-{machine}", disks=disks, uploads=uploads)[0]

    processes = [begin(machine, config, 0.2) for machine in range(8)]
    end = time.monotonic() + 30
    while sum(process.is_alive() for process in processes) > 1 and time.monotonic() < end:
        time.sleep(0.05)
    [owner] = [index for index, process in enumerate(processes) if process.is_alive()]
    for index, process in enumerate(processes):
        if index != owner:
            # TensorStore logs which credentials it takes.
            printed = (tmp_path / f"log-{index}.0").read_text().splitlines()
            [line] = [each for each in printed if "google_auth_provider" not in each]
            assert process.exitcode == 75 and f"{address} is in use by a run on {os.uname().nodename}" in line
    while not newest(Store(address).names()):
        time.sleep(0.05)
        assert processes[owner].is_alive()
    processes[owner].kill()
    processes[owner].join()
    code, kept = 75, newest(Store(address).names())
    while code == 75:
        [code] = finish([begin(8, config.replace({"training.epochs": 3}), 0.2)])
    printed = (tmp_path / "log-8.0").read_text()
    # The lease has run out, and the run has more epochs than the new command asks for: the files were read.
    assert code == 1 and f"{address} holds another run" in printed and kept > 0, printed


@pytest.mark.long
@pytest.mark.parametrize("place", ["gs"], indirect=True)
@pytest.mark.parametrize("killed", [0, 1])
def test_two_processes_without_a_shared_disk(place, killed, dataset, on_a_disk, tmp_path, longest):
    if killed and not longest:
        pytest.skip("only with --longest")
    environment, address = place
    config, expected = on_a_disk(4, 2)
    disks, log = {"folder": str(tmp_path / "machines"), "environment": environment}, tmp_path / "log"
    processes = start(config, address, dataset, log, 2, disks=disks)
    while not newest(Store(address).names()):
        assert all(process.is_alive() for process in processes), (tmp_path / "log.0").read_text()
        time.sleep(0.05)
    processes[killed].kill()
    assert finish(processes, 40)[1 - killed] in (75, -6)
    codes = [75]
    while 75 in codes:
        codes = finish(start(config, address, dataset, log, 2, disks=disks))
    assert codes == [0, 0], [(tmp_path / f"log.{index}").read_text() for index in range(2)]
    assert outcome_in_bucket(address) == expected
