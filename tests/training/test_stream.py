"""Streamed images give what resident ones give, bit for bit, and need no memory that grows with them."""

import itertools
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
import pytest

from aejax import InputError, Interrupted, fit
from aejax.data import examples
from aejax.data.examples import Shards
from aejax.training import batches, placement
from aejax.training.devices import Driver
from aejax.training.placement import Resident, Streamed, blocks, place

NOISY = {"corruption.kind": "gaussian", "coefficients.noise": 0.3, "training.passes": 2, "training.epochs": 2}
NOISY["data.augmentation"] = ["shift", "flip", "crop"]


def require_same(run, other):
    assert all(map(np.array_equal, jax.tree.leaves(run.state), jax.tree.leaves(other.state)))
    for group in ("step", "train", "test", "code"):
        assert [line[group] for line in run.history] == [line[group] for line in other.history]


@pytest.fixture
def blocks_of_three_steps(small, monkeypatch):
    images = small[1].train
    monkeypatch.setattr(placement, "BLOCK_BYTES", 3 * 16 * images[0].nbytes)
    monkeypatch.setattr("aejax.training.epoch._EVALUATION_BATCH", 7)


@pytest.mark.long  # by default the test after this one compares the placements
@pytest.mark.parametrize("parallel", ["jit", "pmap", "shard_map"])
def test_the_result_does_not_depend_on_the_placement(small, blocks_of_three_steps, parallel):
    config, dataset = small  # an epoch of 10 steps in 3, 3 and 4
    config = config.replace({**NOISY, "devices.parallel": parallel})
    resident, streamed = (
        fit(config.replace({"data.placement": kind}), dataset=dataset, progress=False) for kind in ("device", "stream")
    )
    require_same(streamed, resident)


@pytest.mark.long
@pytest.mark.bits
def test_a_streamed_run_goes_on_within_an_epoch(small, blocks_of_three_steps, tmp_path, stop_after):
    config, dataset = small
    config = config.replace(NOISY)
    whole = fit(config.replace({"data.placement": "device"}), dataset=dataset, progress=False)

    with stop_after(4):
        for kind, step in (("stream", 4), ("device", 8), ("stream", 10)):
            with pytest.raises(Interrupted, match=f"after step {step} of 20"):
                fit(config.replace({"data.placement": kind}), tmp_path, dataset=dataset, progress=False)
    require_same(fit(config.replace({"data.placement": "stream"}), tmp_path, dataset=dataset, progress=False), whole)


@pytest.mark.long
@pytest.mark.bits
def test_shards_are_trained_on_as_one_file_also_within_an_epoch(small, monkeypatch, tmp_path, stop_after):
    vectors = np.random.default_rng(0).random((103, 30)).astype(ml_dtypes.bfloat16)
    for folder, cuts in (("one", ()), ("shards", (5, 6, 40))):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "test.npy", vectors[80:])
        for number, part in enumerate(np.split(vectors[:80], cuts)):
            np.save(tmp_path / folder / f"train-{number}.npy", part)
    monkeypatch.setattr(placement, "BLOCK_BYTES", 3 * 16 * vectors[0].nbytes)
    monkeypatch.setattr(examples, "LARGE", 0)  # else such small files are mapped, and none of their rows is read
    config = small[0].replace({**NOISY, "data.augmentation": (), "training.epochs": 1})
    shards = str(tmp_path / "shards")
    whole = fit(config.replace({"data.placement": "device"}), dataset=str(tmp_path / "one"), progress=False)
    require_same(fit(config.replace({"data.placement": "device"}), dataset=shards, progress=False), whole)

    streamed = config.replace({"data.placement": "stream"})
    with stop_after(4), pytest.raises(Interrupted, match="after step 4 of 10"):
        fit(streamed, tmp_path / "run", dataset=shards, progress=False)
    require_same(fit(streamed, tmp_path / "run", dataset=shards, progress=False), whole)


@pytest.mark.parametrize(("first", "count", "most"), [(0, 10, 4), (13, 10, 4), (6, 4, 3), (29, 3, 8), (0, 2, 2)])
def test_blocks_follow_each_other_through_the_epochs(first, count, most):
    chunk_end = expected = first
    for begin, steps in itertools.islice(blocks(first, count, most, 10), 40):
        if begin == chunk_end:  # the next chunk, within one epoch
            chunk_end += batches.part(count, 10 - begin % 10)
        assert begin == expected and steps == batches.part(most, chunk_end - begin)
        assert steps > 1 or begin % 10 == 9
        expected = begin + steps


def test_a_failed_read_fails_where_the_block_is_needed(small, blocks_of_three_steps, monkeypatch):
    config, dataset = small

    def failing(images, indices, rows=Shards.rows):
        return 1 / 0 if len(indices) == 4 else rows(images, indices)

    monkeypatch.setattr(Shards, "rows", failing)
    with pytest.raises(ZeroDivisionError):
        fit(config.replace({**NOISY, "data.placement": "stream"}), dataset=dataset, progress=False)


def test_auto_takes_the_device_where_all_fits_in_half_of_its_free_memory(small, monkeypatch):
    config, dataset = small
    driver = Driver(config.devices, 16)
    state = {"weights": jax.numpy.zeros(1000)}
    needed = dataset.train.nbytes + dataset.test.nbytes + 2 * 4000
    for free, kind in ((2 * needed + 2, Resident), (2 * needed - 2, Streamed)):
        monkeypatch.setattr(Driver, "free_bytes", lambda self, free=free: [10**12, free])
        assert place(config, driver, state, dataset) is kind
        assert place(config.replace({"data.placement": "device"}), driver, state, dataset) is Resident
        assert place(config.replace({"data.placement": "stream"}), driver, state, dataset) is Streamed
    monkeypatch.undo()
    assert all(free > 2**20 for free in driver.free_bytes())


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_rows_read_from_a_large_file_are_those_of_the_array(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(examples, "LARGE", 0)
    array = np.random.default_rng(0).integers(0, 256, (50, 9, 9)).astype(dtype)
    np.save(tmp_path / "array.npy", array)
    file = np.load(tmp_path / "array.npy", mmap_mode="r")
    indices = np.array([[3, 49], [50, 0]], np.int32)
    for view, plain in ((file, array), (np.asarray(file)[..., None], array[..., None]), (file[7:], array[7:])):
        rows = examples.Shards([view]).rows(indices)
        assert rows.dtype == dtype and np.array_equal(rows, plain[np.minimum(indices, len(plain) - 1)])
    read = examples.Shards([file]).rows
    (tmp_path / "array.npy").write_bytes((tmp_path / "array.npy").read_bytes()[:-1])
    with pytest.raises(InputError, match="ends before its last example"):
        read(indices)


def test_a_digest_by_pieces_is_that_of_the_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(examples, "_PIECE", 1000)
    array = np.random.default_rng(0).integers(0, 256, (50, 9, 9, 1), dtype=np.uint8)
    np.save(tmp_path / "array.npy", array)
    for each in (array, array[::-1], np.load(tmp_path / "array.npy", mmap_mode="r"), array[:1]):
        assert next(len(piece) for piece in examples.Shards([each]).pieces()) <= 12
        assert examples.Shards([each]).fingerprint.endswith(f" {zlib.crc32(np.ascontiguousarray(each)):08x}")


LARGER = """
import re, resource, sys
import aejax
folder, limit = sys.argv[1], int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
dataset = aejax.load_dataset(folder)
config = aejax.Config(model=aejax.Model(hidden=(), code_size=4), training=aejax.Training(epochs=1, batch_size=64))
config = config.replace({"data.placement": "stream", "loss.reconstruction": "mse"})
aejax.fit(config, dataset=dataset, progress=False)
print(dataset.train.nbytes, 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]))
"""


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the limit and the peak are Linux's")
def test_a_dataset_larger_than_the_memory_is_trained_on(tmp_path):
    for part, count in (("train", 3 * 2**13), ("test", 100)):  # 1.5 GiB, and nothing on the disk where they are zeros
        images = np.lib.format.open_memmap(tmp_path / f"{part}.npy", "w+", np.float32, (count, 128, 128))
        images[::500] = 0.8
    limit = 2**30
    finished = subprocess.run(
        [sys.executable, "-c", LARGER, tmp_path, str(limit)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    size, peak = map(int, finished.stdout.split())  # resident, the peak would be above the size
    assert limit < size and peak < size / 2
