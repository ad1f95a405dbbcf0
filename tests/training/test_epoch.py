import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import Dataset
from aejax.training.batches import epoch_order, steps_per_epoch
from aejax.training.devices import Driver
from aejax.training.epoch import build_programs, summarize
from aejax.training.step import Batch, build_steps, values_of
from runs import traced


def programs_of(config, dataset, state, steps):
    driver = Driver(config.devices, config.training.batch_size)
    return build_programs(steps, config, driver, state, dataset, values_of([config], alone=True))


def test_an_epoch_is_its_steps_one_after_another(small):
    config, dataset = small
    config = config.replace({"corruption.kind": "masking", "coefficients.noise": 0.2, "coefficients.l1": 0.01})
    steps = build_steps(config, dataset.image_shape, steps_per_epoch(config.training, 80))
    programs = programs_of(config, dataset, jax.jit(steps.init)(), steps)
    second = jax.jit(steps.init)()._replace(step=jnp.int32(5))  # 80 images in batches of 16: the second epoch
    after, terms = programs.train(second, 5, 5)
    state, one_by_one = jax.jit(steps.init)()._replace(step=jnp.int32(5)), []
    coefficients = traced(config)
    for examples in epoch_order(config.training, 80, jnp.int32(1), config.training.seed):
        batch = Batch(jnp.asarray(dataset.train)[examples], examples)
        state, step_terms = jax.jit(steps.alone)(state, batch, coefficients)
        one_by_one.append(float(step_terms["total"]))
    assert np.allclose(terms["total"], one_by_one, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
        assert np.allclose(ours, theirs, atol=1e-5)


def test_evaluation_counts_every_example_once(small, monkeypatch):
    config, dataset = small  # 23 test images
    config = config.replace({"corruption.kind": "gaussian", "coefficients.noise": 0.3, "coefficients.l1": 0.1})
    steps = build_steps(config, dataset.image_shape)
    state = jax.jit(steps.init)()
    coefficients = traced(config)
    terms, _, codes = jax.jit(steps.evaluate)(state, Batch(jnp.asarray(dataset.test), jnp.arange(23)), coefficients)
    for batch in (5, 23, 1000):
        monkeypatch.setattr("aejax.training.epoch._EVALUATION_BATCH", batch)
        programs = programs_of(config, dataset, state, steps)
        test, code = summarize(programs.evaluate(state), 23, config.model.code_size)
        assert all(np.isclose(test[name], terms[name].mean(), rtol=1e-5) for name in terms)
        assert np.isclose(code["mean"], codes.mean(), rtol=1e-5)
        assert np.isclose(code["variance"], codes.var(), rtol=1e-4)
        assert np.isclose(code["fraction_zero"], (codes == 0).mean())


def test_the_state_is_donated_and_a_snapshot_outlives_it(small):
    config, dataset = small
    steps = build_steps(config, dataset.image_shape)
    state = jax.jit(steps.init)()
    programs = programs_of(config, dataset, state, steps)
    kept, before = programs.snapshot(state), jax.tree.map(np.array, state)
    programs.train(state, 5, 0)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.params))
    for ours, theirs in zip(jax.tree.leaves(kept), jax.tree.leaves(before), strict=True):
        assert np.array_equal(ours, theirs)


SPATIAL = {"model.hidden": (), "model.channels": (32,), "model.spatial_code": True, "model.code_size": 7 * 7 * 32}


@pytest.mark.bits
@pytest.mark.parametrize(
    ("changes", "placement"),
    [
        pytest.param({}, "device", id="dense-device"),
        pytest.param({}, "stream", id="dense-stream", marks=pytest.mark.long),
        pytest.param(SPATIAL, "device", id="convolutional-device", marks=pytest.mark.long),
        pytest.param(SPATIAL, "stream", id="convolutional-stream", marks=pytest.mark.long),
    ],
)
def test_chunks_of_any_length_are_the_whole_bit_for_bit(small, changes, placement):
    config, dataset = small
    if changes:  # of the usual size: the compiler's choices depend on it
        random = np.random.default_rng(0)
        images = (random.random((653, 28, 28, 1)) ** 4 * 255).astype(np.uint8)
        dataset = Dataset("random", images[:640], images[640:])
        config = config.replace({"training.batch_size": 128})
    noisy = {"corruption.kind": "gaussian", "coefficients.noise": 0.3, "data.placement": placement}
    config = config.replace(noisy | changes)
    steps = build_steps(config, dataset.image_shape, 5)
    programs = programs_of(config, dataset, jax.jit(steps.init)(), steps)
    whole, whole_terms = programs.train(jax.jit(steps.init)(), 5, 0)
    state, parts = jax.jit(steps.init)(), []
    for count, first in ((2, 0), (3, 2)):
        state, terms = programs.train(state, count, first)
        parts.append(terms)
    for name, values in whole_terms.items():
        assert np.array_equal(np.concatenate([terms[name] for terms in parts]), values)
    for ours, theirs in zip(jax.tree.leaves(state), jax.tree.leaves(whole), strict=True):
        assert np.array_equal(ours, theirs)


def test_images_laid_out_for_a_tpu_are_the_same_images(small):
    config, dataset = small
    steps = build_steps(config, dataset.image_shape, 5)
    driver = Driver(config.devices, config.training.batch_size)
    driver.platform = "tpu"
    for_tpu = build_programs(steps, config, driver, jax.jit(steps.init)(), dataset, values_of([config], alone=True))
    ours = programs_of(config, dataset, jax.jit(steps.init)(), steps)
    for laid_out, plain in zip(
        for_tpu.train(jax.jit(steps.init)(), 5, 0), ours.train(jax.jit(steps.init)(), 5, 0), strict=True
    ):
        for first, second in zip(jax.tree.leaves(laid_out), jax.tree.leaves(plain), strict=True):
            assert np.allclose(first, second, atol=1e-6)
