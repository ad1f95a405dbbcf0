"""A stretch of an epoch, and an evaluation, each as one compiled program with the data on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.batches import epoch_order, in_turn, steps_per_epoch
from aejax.config import Config
from aejax.datasets import Dataset
from aejax.devices import Driver, Program
from aejax.step import Batch, Coefficients, Steps, Terms, TrainState

_EVALUATION_BATCH = 1000


class Programs(NamedTuple):
    """What the loop calls; `train` is compiled once for each number of steps.

    Attributes:
        flops: steps → the floating-point operations of each of so many, for which it compiles `train`.
        train: (state, steps) → (state, terms), so many steps on within one epoch; the state is donated, each term is
            float32[steps].
        evaluate: params → sums over the test images, for `summarize`.
        snapshot: state → a copy, for use after the state itself has been donated.
    """

    flops: Callable[[int], float]
    train: Callable[[TrainState, int], tuple[TrainState, Terms]]
    evaluate: Callable[[Any], dict[str, Any]]
    snapshot: Callable[[TrainState], TrainState]


def build_programs(steps: Steps, config: Config, driver: Driver, state: TrainState, dataset: Dataset) -> Programs:
    """Put the images on the devices; the programs are for states like this one, which lies there."""
    coefficients = {name: np.float32(value) for name, value in config.to_dict()["coefficients"].items()}
    train_images, test_images, coefficients = driver.replicate((dataset.train, dataset.test, coefficients))

    def train(count: int, state: TrainState, images: jax.Array, coefficients: Coefficients) -> tuple[TrainState, Terms]:
        flat = images.reshape(len(images), -1)  # rows of one axis are gathered faster than images of three

        def step(state: TrainState, examples: jax.Array) -> tuple[TrainState, Terms]:
            examples = driver.share(examples)
            return steps.train(state, Batch(flat[examples].reshape(-1, *images.shape[1:]), examples), coefficients)

        in_epoch = steps_per_epoch(config.training, len(images))
        order = epoch_order(config.training, len(images), state.step // in_epoch)
        return jax.lax.scan(step, state, jax.lax.dynamic_slice_in_dim(order, state.step % in_epoch, count))

    def evaluate(params: Any, images: jax.Array, coefficients: Coefficients) -> dict[str, Any]:
        def step(_: None, examples: jax.Array) -> tuple[None, dict[str, Any]]:
            examples = driver.share(examples)
            counts = examples < len(images)
            kept = jnp.minimum(examples, len(images) - 1)
            terms, codes = steps.evaluate(params, Batch(images[kept], kept), coefficients)
            codes = jnp.where(counts[:, None], codes, 0)
            return None, {
                "terms": {name: jnp.where(counts, term, 0).sum() for name, term in terms.items()},
                "code": {
                    "sum": codes.sum(),
                    "square": jnp.square(codes).sum(),
                    "zeros": ((codes == 0) & counts[:, None]).sum(),
                },
            }

        batch_size = -(-min(_EVALUATION_BATCH, len(images)) // len(driver.devices)) * len(driver.devices)
        sums = jax.lax.scan(step, None, in_turn(len(images), batch_size))[1]
        return sums if driver.axis is None else jax.lax.psum(sums, driver.axis)

    @functools.cache
    def compiled_train(count: int) -> Program:
        return driver.compile(functools.partial(train, count), state, train_images, coefficients, donate=True)

    compiled_evaluate = driver.compile(evaluate, state.params, test_images, coefficients)
    return Programs(
        lambda count: compiled_train(count).flops,
        lambda state, count: compiled_train(count).call(state, train_images, coefficients),
        lambda params: compiled_evaluate.call(params, test_images, coefficients),
        driver.copy,
    )


def summarize(sums: dict[str, Any], examples: int, code_size: int) -> tuple[dict[str, float], dict[str, float]]:
    """Means over all examples from the sums of `Programs.evaluate`, each example counted once.

    Returns:
        the terms of the loss; and mean, variance and fraction_zero of the code over examples and units.
    """
    sums = jax.tree.map(lambda per_batch: float(np.sum(per_batch, dtype=np.float64)), jax.device_get(sums))
    values = examples * code_size
    mean = sums["code"]["sum"] / values
    return {name: total / examples for name, total in sums["terms"].items()}, {
        "mean": mean,
        "variance": max(0.0, sums["code"]["square"] / values - mean**2),
        "fraction_zero": sums["code"]["zeros"] / values,
    }
