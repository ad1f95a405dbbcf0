"""What must hold on several devices; `test_devices.py` runs this file in a process with eight virtual ones.

With plain gradient descent: Adam would hide gradients that are too large by a factor.
"""

import contextlib
import functools
import itertools
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import Coefficients, Config, Corruption, Data, Dataset, InputError, Interrupted, Loss, Model, Training, fit
from aejax.config import Devices
from aejax.models.corruption import corrupt
from aejax.models.randomness import stream
from aejax.training import build_programs, build_steps, loop
from aejax.training.batches import epoch_order
from aejax.training.devices import Driver
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


@pytest.mark.long
@pytest.mark.parametrize("placement", ["device", "stream"])
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


@pytest.mark.parametrize("placement", ["device", pytest.param("stream", marks=pytest.mark.long)])
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


@pytest.mark.long
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
