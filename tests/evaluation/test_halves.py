"""float16 and bfloat16 keep their type on the devices, and give the results of the same values in float32."""

import jax
import ml_dtypes
import numpy as np
import pytest

from aejax import Config, Dataset, InputError, evaluate, fit, load, sweep
from aejax.data.examples import Shards
from aejax.training import Batch
from aejax.training.devices import Driver
from aejax.training.placement import Resident, Streamed

RANDOM = np.random.default_rng(0)
HALVES = [np.float16, ml_dtypes.bfloat16]
IMAGES = RANDOM.random((60, 4, 4))
CONFIG = Config().replace(
    {
        "model.hidden": (),
        "model.code_size": 3,
        "training.epochs": 1,
        "training.batch_size": 16,
        "corruption.kind": "masking",
    }
)
VECTORS = CONFIG.replace({"loss.reconstruction": "mse", "corruption.kind": "none"})


def both(dtype, vectors):
    """Return the examples in two bytes, as shards, and the same values in float32, as one array."""
    halves = (RANDOM.normal(size=(60, 7)) if vectors else IMAGES).astype(dtype)
    floats = halves.astype(np.float32)
    labels = {"train_labels": np.arange(48) % 2, "test_labels": np.arange(12) % 2}
    shards = [Shards(np.split(part, [3, 5]), "abc") for part in (halves[:48], halves[48:])]
    return Dataset.from_arrays(*shards, **labels), Dataset.from_arrays(floats[:48], floats[48:], **labels)


@pytest.mark.long
@pytest.mark.parametrize(
    ("dtype", "vectors"), [pytest.param(np.float16, False, marks=pytest.mark.long), (ml_dtypes.bfloat16, True)]
)
@pytest.mark.figures
def test_a_run_of_halves_is_that_of_the_same_values(dtype, vectors, tmp_path):
    halves, floats = both(dtype, vectors)
    config = VECTORS if vectors else CONFIG
    run = fit(config, tmp_path, dataset=halves, progress=False, figures="png" if vectors else ())
    same = fit(config, dataset=floats, progress=False)
    assert halves.train.dtype == dtype and halves.range == floats.range
    assert all(map(np.array_equal, jax.tree.leaves(run.state), jax.tree.leaves(same.state)))
    assert run.summary["test"] == same.summary["test"]
    assert np.array_equal(run.encode(halves.test), run.encode(floats.test)) and run.encode(halves.test).dtype == "f4"
    assert np.array_equal(run.reconstruct(halves.test), run.reconstruct(floats.test))
    assert np.array_equal(run.corrupt(halves.test), run.corrupt(floats.test))
    assert evaluate(run) == evaluate(same)
    assert np.array_equal(load(tmp_path).encode(halves.test), run.encode(floats.test))
    assert not vectors or len(list((tmp_path / "figures").iterdir())) == 4


@pytest.mark.parametrize("dtype", HALVES)
def test_the_devices_get_two_bytes(dtype):
    halves, _ = both(dtype, True)
    described = jax.ShapeDtypeStruct(halves.train.shape, halves.train.dtype)
    given = Driver(VECTORS.devices, 16), Batch(described, None), halves.image_shape, 16, 3, VECTORS.training
    for layout in (Resident(*given), Streamed(*given)):
        _, data = next(layout.feed(Batch(halves.train, None), np.uint32(0))(0, 3))
        images = jax.tree.leaves(data)[0]
        assert images.dtype == jax.tree.leaves(layout.like(3))[0].dtype == dtype
        assert images.nbytes == halves.train.nbytes


def test_halves_are_standardized_as_the_same_values():
    (halves, how), (floats, same) = (data.standardized() for data in both(ml_dtypes.bfloat16, True))
    assert halves.fingerprint == floats.fingerprint and how.to_dict() == same.to_dict()


@pytest.mark.long
def test_a_sweep_of_halves_is_that_of_the_same_values():
    halves, floats = both(np.float16, True)
    swept = [sweep(VECTORS, {"training.seed": [3, 4]}, dataset=data, progress=False) for data in (halves, floats)]
    runs = [found.runs["seed-3"] for found in swept]
    assert all(map(np.array_equal, *(jax.tree.leaves(run.state) for run in runs)))


@pytest.mark.parametrize("dtype", HALVES)
def test_what_is_infinite_in_two_bytes_is_refused(dtype):
    with np.errstate(over="ignore"):
        array = np.full((5, 3), 1.0).astype(dtype)
        array[2, 1] = np.inf
    with pytest.raises(InputError, match=r"value at \[2, 1\] is inf"):
        Dataset.from_arrays(array)
