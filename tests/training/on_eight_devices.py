"""What must hold on several devices; `test_devices.py` runs this file in a process with eight virtual ones.

With plain gradient descent: Adam would hide gradients that are too large by a factor.
"""

import contextlib
import dataclasses
import functools
import itertools
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aejax
from aejax import Coefficients, Config, Corruption, Data, Dataset, InputError, Interrupted, Loss, Model, Training, fit
from aejax.config import Devices
from aejax.models.corruption import corrupt
from aejax.models.randomness import stream
from aejax.training import build_programs, build_steps, loop
from aejax.training.batches import epoch_order
from aejax.training.devices import Driver, device_bytes, require_memory
from aejax.training.sharding import abstract_state
from aejax.training.step import values_of
from gallery.sparse_features import SparseFeatures

PARALLEL = ("jit", "pmap", "shard_map")
DRIVEN = [  # by default one driver
    pytest.param(Devices(parallel, count), id=f"{parallel}-{count}", marks=[pytest.mark.long] * (each != ("pmap", 8)))
    for each in itertools.product(PARALLEL, (1, 2, 4, 8))
    for parallel, count in [each]
]
EIGHT = [each for each in DRIVEN if each.values[0].count == 8]
# With seed 0, rounding decides at one step whether a unit is on for an image, which moves the parameters by 6e-6; with
# seeds 1 to 4 the devices agree to 2e-8.
SGD = Training(epochs=1, batch_size=32, optimizer="sgd", seed=1, evaluate_test=True)
MODELS = {  # 20 steps each
    "denoising": Config(
        data=Data(augmentation=("shift", "flip", "crop")),
        model=Model((128,), 32),
        corruption=Corruption("gaussian"),
        coefficients=Coefficients(learning_rate=0.5, noise=0.4),
        training=SGD,
    ),
    "sparse": Config(
        data=Data(validation=0.1),  # 18 steps
        model=Model((), 32),
        coefficients=Coefficients(learning_rate=0.5, l1=3.2e-4),
        training=SGD,
    ),
}


@pytest.fixture(scope="module")
def dataset():
    random = np.random.default_rng(0)
    images = (random.random((640 + 45, 28, 28, 1)) ** 4 * 255).astype(np.uint8)
    return Dataset("random", images[:640], images[640:])


@pytest.fixture(scope="module")
def on_one_device(dataset):
    """Name → its run on one device, trained once."""
    return functools.cache(
        lambda name: fit(MODELS[name].replace({"devices.count": 1}), dataset=dataset, progress=False)
    )


def on(config, devices):
    return config.replace({"devices.parallel": devices.parallel, "devices.count": devices.count})


def vector(run):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(run.state.params)]).astype(np.float64)


def require_same(run, other):
    distance = np.linalg.norm(vector(run) - vector(other)) / np.linalg.norm(vector(other))
    assert distance < 1e-6
    for line, expected in zip(run.history, other.history, strict=True):
        assert line.keys() == expected.keys()
        for group in expected.keys() & {"train", "validation", "test", "code"}:
            # A term may be a difference of numbers as large as the whole loss, which float32 has to 1e-7.
            least = max(1e-8, 1e-9 * abs(expected[group].get("total", 0)))
            for name, value in expected[group].items():
                assert np.isclose(line[group][name], value, rtol=1e-5, atol=least), (group, name)


NAMED = ["denoising", pytest.param("sparse", marks=pytest.mark.long)]


@pytest.mark.parametrize("name", NAMED)
def test_there_are_eight_devices_and_training_moves_the_parameters(on_one_device, dataset, name):
    assert len(jax.devices()) == 8
    still = fit(
        MODELS[name].replace({"devices.count": 1, "coefficients.learning_rate": 0.0}), dataset=dataset, progress=False
    )
    assert np.linalg.norm(vector(on_one_device(name)) - vector(still)) > 0.01 * np.linalg.norm(vector(still))


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("devices", DRIVEN)
def test_the_result_does_not_depend_on_the_devices(dataset, on_one_device, name, devices):
    run = fit(on(MODELS[name], devices), dataset=dataset, progress=False)
    require_same(run, on_one_device(name))


@pytest.mark.long
@pytest.mark.parametrize("devices", EIGHT)
def test_a_frozen_part_of_another_run_stays_bit_for_bit(dataset, on_one_device, devices):
    config = MODELS["sparse"].replace({"training.frozen": ["encoder"], "training.average": 0.9})
    source = on_one_device("sparse")
    run = fit(on(config, devices), dataset=dataset, progress=False, start=source)
    for params in (run.state.params, run.state.average):
        assert all(map(np.array_equal, *map(jax.tree.leaves, (params["encoder"], source.state.params["encoder"]))))
    require_same(run, fit(on(config, Devices("jit", 1)), dataset=dataset, progress=False, start=source))
    assert np.linalg.norm(vector(run) - vector(source)) > 1e-3 * np.linalg.norm(vector(source))


@pytest.mark.long
@pytest.mark.parametrize("parallel", PARALLEL)
def test_8_devices_are_streamed_to_as_they_hold_all_images(dataset, on_one_device, parallel):
    config = on(MODELS["denoising"], Devices(parallel, 8)).replace({"data.placement": "stream"})
    require_same(fit(config, dataset=dataset, progress=False), on_one_device("denoising"))


@pytest.mark.parametrize("placement", ["device", pytest.param("stream", marks=pytest.mark.long)])
@pytest.mark.parametrize("devices", EIGHT)
def test_missing_values_are_left_out_on_any_devices(devices, placement):
    random = np.random.default_rng(0)
    rows = np.where(random.random((96, 6)) < 0.2, np.nan, random.normal(size=(96, 6)))
    config = Config(
        data=Data(missing="mask", standardize=True, placement=placement),
        model=Model((), 4),
        loss=Loss("mse"),
        coefficients=Coefficients(learning_rate=0.5),
        training=SGD,
    )
    one = fit(on(config, Devices("jit", 1)), dataset=rows, progress=False)
    require_same(fit(on(config, devices), dataset=rows, progress=False), one)


@pytest.mark.long
@pytest.mark.parametrize("parallel", PARALLEL)
def test_8_devices_make_their_share_of_generated_examples(parallel):
    law = SparseFeatures(64, 8, 2, depth=1, orthogonalization_steps=1, train=640, test=45).dataset()
    config = Config(model=Model((), 16), loss=Loss("mse"), coefficients=Coefficients(learning_rate=0.05), training=SGD)
    one = fit(on(config, Devices("jit", 1)), dataset=law, progress=False)
    require_same(fit(on(config, Devices(parallel, 8)), dataset=law, progress=False), one)


@pytest.mark.parametrize("placement", ["device", "stream"])
def test_each_device_computes_its_share_of_a_batch_alone(dataset, placement):
    config, flops = Config(model=Model((), 64), training=SGD).replace({"data.placement": placement}), {}
    for count in (1, 8):
        each = on(config, Devices("jit", count))
        driver, steps = Driver(each.devices, 32), build_steps(each, dataset.image_shape, 20)
        values = values_of([each], alone=True)
        state = abstract_state(driver, steps, each, dataset.image_shape, values)
        flops[count] = build_programs(steps, each, driver, state, dataset, values).flops(20)
    assert flops[8] < 0.5 * flops[1]  # the updates of the parameters are not shared


OWN = Path(__file__).parents[1] / "own"
GALLERY = Path(__file__).parents[2] / "experiments" / "gallery"
OWN_MODELS = {
    # Small steps: larger ones bring two entries of the codebook so close that rounding decides which is nearer.
    "vq_vae": {
        "model.kind": f"{GALLERY}/vq_vae.py:VQVAE",
        "model.options.entries": 32,
        "model.options.width": 2,
        "model.options.dead": 0.9,  # so that entries die within 20 steps
        "coefficients.commitment": 0.25,
        "coefficients.learning_rate": 0.05,
    },
    "tc_vae": {
        "model.kind": f"{GALLERY}/tc_vae.py:TCVAE",
        "coefficients.total_correlation": 4.0,
        "loss.pixels": "sum",
        "coefficients.learning_rate": 1e-4,
    },
    "batch_norm": {"model.kind": f"{OWN}/batch_norm.py:Normalised", "model.options.dropout": 0},
    "dropout": {"model.kind": f"{OWN}/batch_norm.py:Normalised"},
    "ssim": {"model.kind": f"{OWN}/ssim.py:Similar"},
    "head": {"model.kind": f"{OWN}/head.py:Head", "coefficients.learning_rate": 0.05},
    "lion": {
        "training.optimizer": f"{OWN}/lion.py:lion",
        "coefficients.weight_decay": 0.1,
        "coefficients.learning_rate": 1e-4,
    },
}


@pytest.mark.long
@pytest.mark.parametrize("name", OWN_MODELS)
def test_models_of_one_s_own_give_the_same_on_4_devices(dataset, name):
    labels = np.arange(680) % 11 - 1  # -1: unknown
    test = dataset.test[:40]  # a metric of a batch depends on its size
    dataset = Dataset("random", dataset.train, test, labels[:640], labels[640:])
    config = Config(model=Model((16,), 8), coefficients=Coefficients(learning_rate=0.5), training=SGD)
    config = config.replace(OWN_MODELS[name])
    alone = fit(config.replace({"devices.count": 1}), dataset=dataset, progress=False)
    still = fit(
        config.replace({"devices.count": 1, "coefficients.learning_rate": 0.0}), dataset=dataset, progress=False
    )
    assert np.linalg.norm(vector(alone) - vector(still)) > 1e-3 * np.linalg.norm(vector(still))
    for parallel in ("jit", "pmap", "shard_map"):
        shared = on(config, Devices(parallel, 4))
        if name == "dropout" and parallel != "jit":
            with pytest.raises(InputError, match=r"has a generator of its own.*choose devices\.parallel jit"):
                fit(shared, dataset=dataset, progress=False)
            continue
        run = fit(shared, dataset=dataset, progress=False)
        require_same(run, alone)
        for ours, expected in zip(*map(jax.tree.leaves, (run.state.extra, alone.state.extra)), strict=True):
            assert np.allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_a_term_of_each_device_s_own_share_is_refused_before_training(dataset, tmp_path):
    (tmp_path / "own.py").write_text(
        "import aejax, jax, jax.numpy as jnp\n\n\nclass Own(aejax.Autoencoder):\n"
        "    options = {'local': True}\n\n    def loss(self, clean, output, coefficients, context):\n"
        "        mean = output.codes.mean(axis=0)\n"
        "        if context.axis is not None and not self.config.model.options['local']:\n"
        "            mean = jax.lax.pmean(mean, context.axis)\n"
        "        terms = super().loss(clean, output, coefficients, context)\n"
        "        return terms | {'even': jnp.broadcast_to(jnp.square(mean).sum(), len(clean))}\n"
    )
    config = on(MODELS["sparse"].replace({"model.kind": f"{tmp_path}/own.py:Own"}), Devices("pmap", 8))
    with pytest.raises(
        InputError, match=r"even of .* on 8 devices by pmap.*context\.axis; or choose devices.parallel jit"
    ):
        fit(config, tmp_path / "run", dataset=dataset, progress=False)
    assert not (tmp_path / "run").exists()
    config = config.replace({"model.options.local": False})
    dataset = Dataset("random", dataset.train, dataset.test[:40])  # a mean over a batch depends on its size
    require_same(
        fit(config, dataset=dataset, progress=False),
        fit(config.replace({"devices.count": 1}), dataset=dataset, progress=False),
    )


def order_and_noise(devices):
    """The examples of one step and what the model sees of them."""
    driver = Driver(devices, 32)
    images = jnp.full((640, 28, 28, 1), 0.5)

    def batch(images, order):
        examples = driver.share(order)
        noisy = corrupt("gaussian", stream(0, "corruption"), examples, images[examples], jnp.float32(0.4))
        shares = examples, noisy
        return shares if driver.axis is None else jax.lax.all_gather(shares, driver.axis, tiled=True)

    images = driver.replicate(images)
    return driver.compile(batch, images, shared=lambda _: epoch_order(SGD, 640, jnp.int32(3), SGD.seed)[7]).call(images)


@pytest.mark.parametrize("devices", DRIVEN)
def test_order_and_noise_are_the_same_bit_for_bit(devices):
    examples, noisy = order_and_noise(devices)
    expected_examples, expected_noisy = order_and_noise(Devices("jit", 1))
    assert noisy.std() > 0.2
    assert np.array_equal(examples, expected_examples) and np.array_equal(noisy, expected_noisy)


@pytest.mark.parametrize(
    ("first", "second", "last"),
    [  # by default by programs that the tests above have compiled
        (Devices("pmap", 8), Devices("jit", 1), Devices("pmap", 8)),
        pytest.param(Devices("pmap", 8), Devices("jit", 1), Devices("shard_map", 8), marks=pytest.mark.long),
        pytest.param(Devices("jit", 8), Devices("pmap", 1), Devices("shard_map", 4), marks=pytest.mark.long),
    ],
    ids=["8-1-8 by one driver", "8-1-8", "8-1-4"],
)
def test_a_run_goes_on_with_another_number_of_devices(dataset, tmp_path, monkeypatch, first, second, last):
    config = MODELS["denoising"].replace({"training.epochs": 3})
    whole = fit(config.replace({"devices.count": 1}), dataset=dataset, progress=False)

    @contextlib.contextmanager
    def at_once():
        yield types.SimpleNamespace(is_set=iter([False, True]).__next__)  # after the first epoch

    with monkeypatch.context() as stopping:
        stopping.setattr(loop, "stop_requests", at_once)
        for devices in (first, second):
            with pytest.raises(Interrupted):
                fit(on(config, devices), tmp_path, dataset=dataset, progress=False)
    run = fit(on(config, last), tmp_path, dataset=dataset, progress=False)
    require_same(run, whole)


@pytest.mark.parametrize(
    ("devices", "batch_size", "message"),
    [
        (Devices(count=8), 36, r"training.batch_size is 36; 8 devices do not divide it: take 32 or 40"),
        (Devices(), 7, "training.batch_size is 7; 8 devices do not divide it: take 8"),
        (Devices(count=9), 36, "devices.count is 9; there are 8 devices"),
    ],
)
def test_what_the_devices_cannot_do_is_refused_with_the_numbers(devices, batch_size, message):
    with pytest.raises(InputError, match=message):
        Driver(devices, batch_size)


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
