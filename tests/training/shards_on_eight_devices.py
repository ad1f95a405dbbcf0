"""What must hold for a state that eight devices share; `test_devices.py` runs this file as it runs on_eight_devices.py.

With plain gradient descent: Adam would hide gradients that are too large by a factor.
"""

import contextlib
import dataclasses
import types

import jax
import numpy as np
import pytest
from on_eight_devices import GALLERY, SGD, require_same, vector

import aejax
from aejax import Coefficients, Config, Dataset, InputError, Interrupted, Loss, Model, Training, fit
from aejax.config import Devices
from aejax.training import build_programs, build_steps, loop
from aejax.training.devices import Driver, device_bytes
from aejax.training.sharding import abstract_state, require_memory
from aejax.training.step import values_of

SPARSE = Config(  # k is traced; units die and revive within 20 steps
    model=Model((), 64, kind=f"{GALLERY}/batch_top_k.py:BatchTopK", options={"dead_after": 3}),
    loss=Loss("mse", pixels="sum"),
    coefficients=Coefficients(learning_rate=0.05, k=4.0),
    training=dataclasses.replace(SGD, average=0.9),
)


def vectors(values, train=640, test=64):
    every = np.random.default_rng(0).standard_normal((train + test, values)).astype(np.float32)
    return Dataset("random", every[:train], every[train:])


def split(config, shards, count=8):
    return config.replace({"devices.shards": shards, "devices.count": count})


def require_split(state, shards):
    """Each array along the units is in as many parts, and each device holds one."""
    for leaf in (state.params["encoder"], state.average["decoder"], state.extra["idle"]):
        parts = {str(shard.index) for shard in leaf.addressable_shards}
        assert len(parts) == shards and leaf.addressable_data(0).shape[0] == leaf.shape[0] // shards
    assert state.params["bias"].is_fully_replicated and state.extra["threshold"].is_fully_replicated


@pytest.mark.parametrize("shards", [4, *(pytest.param(each, marks=pytest.mark.long) for each in (2, 8))])
def test_devices_that_share_a_state_compute_what_one_device_computes(tmp_path, shards):
    dataset = vectors(32)
    alone = fit(split(SPARSE, 1, 1), dataset=dataset, progress=False)
    run = fit(split(SPARSE, shards), tmp_path, dataset=dataset, progress=False, figures="none")
    require_same(run, alone)
    loaded = aejax.load(tmp_path, models=f"{GALLERY}/batch_top_k.py")
    for each in (run, loaded):
        require_split(each.state, shards)
        assert np.array_equal(each.state.extra["idle"], alone.state.extra["idle"])
    assert (alone.state.extra["idle"] >= 3).any() and alone.history[-1]["train"]["auxiliary"] > 0
    codes = loaded.encode(dataset.test)
    assert np.allclose(codes, alone.encode(dataset.test), atol=1e-6) and (codes > 0).any()


@pytest.mark.long
@pytest.mark.parametrize(("first", "last"), [(4, 4), (4, 1), (1, 8)])
def test_a_split_state_resumes_bit_for_bit_and_in_another_number_of_parts(tmp_path, monkeypatch, first, last):
    dataset, config = vectors(32), SPARSE.replace({"training.epochs": 2, "training.optimizer": "adam"})
    config = config.replace({"coefficients.learning_rate": 1e-3})
    whole = fit(split(config, last), dataset=dataset, progress=False)

    @contextlib.contextmanager
    def at_once():
        yield types.SimpleNamespace(is_set=iter([False, True]).__next__)  # after the first epoch

    with monkeypatch.context() as stopping, pytest.raises(Interrupted):
        stopping.setattr(loop, "stop_requests", at_once)
        fit(split(config, first), tmp_path, dataset=dataset, progress=False)
    run = fit(split(config, last), tmp_path, dataset=dataset, progress=False)
    require_same(run, whole)
    if first == last:
        assert all(map(np.array_equal, *map(jax.tree.leaves, (run.state, whole.state))))


@pytest.mark.long
def test_evaluate_and_export_a_split_state(tmp_path):
    dataset = vectors(32)
    alone, run = (fit(split(SPARSE, *each), dataset=dataset, progress=False) for each in ((1, 1), (4, 8)))
    found, expected = (aejax.evaluate(each, dataset) for each in (run, alone))
    assert found["mse"] == pytest.approx(expected["mse"], rel=1e-5) and found["mse"] > 0
    for name, value in expected["metrics"].items():
        assert found["metrics"][name] == pytest.approx(value, rel=1e-5)
    for kind in ("jax", "safetensors", "sae_lens"):
        run.export(tmp_path / kind, kind)
    encode = jax.export.deserialize((tmp_path / "jax" / "encode.jax").read_bytes())
    assert encode.nr_devices == 1
    assert np.allclose(encode.call(dataset.test), alone.encode(dataset.test), atol=1e-6)
    run.save(tmp_path / "saved")
    assert np.array_equal(
        aejax.load(tmp_path / "saved", models=f"{GALLERY}/batch_top_k.py").state.params["encoder"],
        run.state.params["encoder"],
    )


@pytest.mark.long
def test_eight_shards_of_4096_units_agree_in_a_fifth_of_the_memory():
    dataset = vectors(128, 3200)  # 100 steps
    config = SPARSE.replace({"model.code_size": 4096, "coefficients.k": 8.0, "model.options.dead_after": 30})
    alone = fit(split(config, 1, 1), dataset=dataset, progress=False)
    for shards in (2, 4, 8):
        run = fit(split(config, shards), dataset=dataset, progress=False)
        distance = np.abs(vector(run) - vector(alone)).max()
        assert run.state.step == 100 and distance < 1e-6, (shards, distance)
    taken = {}
    for shards in (1, 8):
        each = split(config, shards)
        driver, steps = Driver(each.devices, 32), build_steps(each, dataset.image_shape, 100, examples=3200)
        values = values_of([each], alone=True)
        state = abstract_state(driver, steps, each, dataset.image_shape, values)
        programs = build_programs(steps, each, driver, state, dataset, values)
        taken[shards] = sum(next(programs.compiled(100))[1].memory.values())
    assert taken[8] <= 0.2 * taken[1], taken


def shardings_of(config, shape):
    driver, values = Driver(config.devices, 32), values_of([config], alone=True)
    state = abstract_state(driver, build_steps(config, shape), config, shape, values)
    assert device_bytes(state) < sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return {jax.tree_util.keystr(path): leaf.sharding.spec for path, leaf in jax.tree_util.tree_leaves_with_path(state)}


def test_a_model_s_partitioning_metadata_chooses_the_axis_of_a_parameter_its_moments_and_its_average(tmp_path):
    (tmp_path / "own.py").write_text(
        "import aejax\nfrom flax import nnx\n\n\nclass Own(aejax.Autoencoder):\n"
        "    def __init__(self, config, image_shape, rngs):\n"
        "        super().__init__(config, image_shape, rngs)\n"
        "        split = nnx.with_partitioning(nnx.initializers.lecun_normal(), (None, 'model'))\n"
        "        self.wide = nnx.Linear(16, 20, kernel_init=split, rngs=rngs)\n"
    )
    config = Config(
        model=Model((12,), 16, kind=f"{tmp_path}/own.py:Own"), training=Training(average=0.9, batch_size=32)
    )
    specs = shardings_of(split(config, 4), (6, 5, 1))
    of_kernel = [spec for path, spec in specs.items() if path.endswith("['wide']['kernel']")]
    assert len(of_kernel) == 4 and {*of_kernel} == {jax.P(None, "model")}  # itself, two moments, and the average
    coded = {path: spec for path, spec in specs.items() if path.startswith(".params['decoder']") and "kernel" in path}
    assert [*coded.values()] == [jax.P("model"), jax.P()]  # from the code to 12 units, and to the pixels
    with pytest.raises(InputError, match=r"devices\.shards is 8; it must divide axis 1 of .*wide.*kernel"):
        shardings_of(split(config, 8), (6, 5, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"devices.shards": 3, "model.code_size": 66}, "shards is 3; .* divisor of the number of devices: 1, 2, 4, 8"),
        ({"devices.shards": 8, "model.code_size": 36}, "shards is 8; .* divisor of model.code_size, which is 36"),
        ({"devices.shards": 2, "devices.parallel": "pmap"}, "shards is 2; .* 1 while devices.parallel is pmap"),
        ({"devices.shards": 2, "training.batch_size": 30}, "8 devices in 2 shards do not divide it: take 28 or 32"),
    ],
)
def test_shards_that_cannot_be_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        fit(SPARSE.replace(change), dataset=vectors(32), progress=False)


def test_shards_that_cut_the_devices_of_a_process_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    for shards in (2, 4, 8):
        assert Driver(Devices(shards=shards), 32).shards == shards
    monkeypatch.setattr(jax, "local_device_count", lambda: 3)
    with pytest.raises(InputError, match=r"shards is 2; it must be a divisor or a multiple of 3, .* each process"):
        Driver(Devices(shards=2), 32)


def test_a_sweep_refuses_shards(tmp_path):
    with pytest.raises(InputError, match=r"devices\.shards is 2; .* 1 in a sweep"):
        aejax.sweep(
            split(SPARSE, 2), {"training.seed": [0, 1]}, tmp_path / "sweep", dataset=vectors(32), progress=False
        )
    assert not (tmp_path / "sweep").exists()


def test_a_state_that_exceeds_a_device_is_refused_by_the_name_of_the_device_and_fits_in_parts():
    config = SPARSE.replace({"model.code_size": 2**17, "devices.count": 4})
    too_large = r"devices\.shards.* would take 17\.2GB; .* of memory are free on each cpu"
    for shards, message in ((1, too_large), (4, None)):
        each = config.replace({"devices.shards": shards})
        driver, values = Driver(each.devices, 32), values_of([each], alone=True)
        state = abstract_state(driver, build_steps(each, (1, 4096, 1)), each, (1, 4096, 1), values)
        with pytest.raises(InputError, match=message) if message else contextlib.nullcontext():
            require_memory(each, state, driver, (1, 4096, 1), 20, free=16 * 2**30)
