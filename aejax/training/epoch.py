"""A stretch of an epoch, and an evaluation, each as one compiled program (or, of streamed images, one per block)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Config
from aejax.data import Dataset
from aejax.training.batches import epoch_order, in_turn, steps_per_epoch
from aejax.training.devices import Driver, Program
from aejax.training.placement import place
from aejax.training.step import MEMBER_AXES, Batch, Steps, Terms, TrainState

_EVALUATION_BATCH = 1000


class Programs(NamedTuple):
    """What the loop calls; `train` is compiled once for each number of steps.

    Attributes:
        flops: steps → the floating-point operations of each of so many, for which it compiles `train`.
        train: (state, steps) → (state, terms), so many steps on within one epoch; the state is donated, each term is
            float32[steps], or of a sweep's members float32[steps, members].
        evaluate: params → sums over the test images, for `summarize`.
        snapshot: state → a copy, for use after the state itself has been donated.
        memory: steps → bytes that these programs need on each device, one at a time, their arguments included.
        text: steps → the operations that `train` consists of (HLO).
    """

    flops: Callable[[int], float]
    train: Callable[[TrainState, int], tuple[TrainState, Terms]]
    evaluate: Callable[[Any], dict[str, Any]]
    snapshot: Callable[[TrainState], TrainState]
    memory: Callable[[int], float]
    text: Callable[[int], str]


def build_programs(
    steps: Steps,
    config: Config,
    driver: Driver,
    state: TrainState,
    dataset: Dataset,
    values: tuple[Any, ...] | None = None,
) -> Programs:
    """Place the images; the programs are for states like this one, which lies on the devices.

    Args:
        values: what the steps take after the batch, for each member of a sweep; None takes the configuration's.
    """
    if values is None:
        values = ({name: np.float32(value) for name, value in config.to_dict()["coefficients"].items()},)
    values = driver.replicate(values)
    in_epoch, examples = steps_per_epoch(config.training, len(dataset.train)), len(dataset.test)
    batch_size = -(-min(_EVALUATION_BATCH, examples) // len(driver.devices)) * len(driver.devices)
    batches = -(-examples // batch_size)
    placed = place(config, driver, state, dataset)
    order = functools.partial(epoch_order, config.training, len(dataset.train), seed=config.data.order_seed)
    train_images = placed(driver, dataset.train, order, in_epoch)
    test_images = placed(driver, dataset.test, lambda _: in_turn(examples, batch_size), batches)

    def train(state: TrainState, images: Any, values: tuple[Any, ...], order: Any) -> tuple[TrainState, Terms]:
        def step(state: TrainState, batch: Batch) -> tuple[TrainState, Terms]:
            return steps.train(state, batch, *values)

        return train_images.scan(step, state, images, order)

    def evaluate(params: Any, images: Any, values: tuple[Any, ...], order: Any) -> dict[str, Any]:
        def step(_: None, batch: Batch) -> tuple[None, dict[str, Any]]:
            # Else the compiler would merge the gathering of resident images with what follows, and round otherwise.
            batch = jax.lax.optimization_barrier(batch)
            counts = batch.examples < examples
            kept = Batch(batch.images, jnp.minimum(batch.examples, examples - 1))
            terms, codes = steps.evaluate(params, kept, *values)
            codes = jnp.where(counts[:, None], codes, 0)
            return None, {
                "terms": {name: jnp.where(counts, term, 0).sum() for name, term in terms.items()},
                "code": {
                    "sum": codes.sum(),
                    "square": jnp.square(codes).sum(),
                    "zeros": ((codes == 0) & counts[:, None]).sum(),
                },
            }

        sums = test_images.scan(step, None, images, order)[1]
        return sums if driver.axis is None else jax.lax.psum(sums, driver.axis)

    @functools.cache
    def compiled_train(count: int) -> Program:
        arguments, axes = (state, train_images.like(count), values), ((MEMBER_AXES, None, 0), (MEMBER_AXES, 1))
        return driver.compile(
            train, *arguments, donate=True, axes=axes, shared=lambda state, *_: train_images.order(state.step, count)
        )

    @functools.cache
    def compiled_evaluate(count: int) -> Program:
        arguments, axes = (state.params, test_images.like(count), values), ((0, None, 0), 1)
        return driver.compile(evaluate, *arguments, axes=axes, shared=lambda *_: test_images.order(0, count))

    def flops(count: int) -> float:
        return max(compiled_train(length).flops for length in train_images.lengths(count))

    def memory(count: int) -> float:
        programs = [compiled_train(length) for length in train_images.lengths(count)]
        programs += [compiled_evaluate(length) for length in test_images.lengths(batches)]
        return max(program.memory for program in programs)

    def run_train(state: TrainState, count: int) -> tuple[TrainState, Terms]:
        terms = []
        for length, images in train_images.parts(state.step, count):
            state, part = compiled_train(length).call(state, images, values)
            terms.append(part)
            _wait_for_all_but_two(terms)
        train_images.reached(state.step)
        return state, join(terms)

    evaluations = itertools.count()

    def run_evaluate(params: Any) -> dict[str, Any]:
        sums = []
        for length, images in test_images.parts(next(evaluations) * batches, batches):
            sums.append(compiled_evaluate(length).call(params, images, values))
            _wait_for_all_but_two(sums)
        return join(sums)

    concatenate = jax.jit(
        lambda parts: jax.tree.map(lambda *each: jnp.concatenate(each), *parts), out_shardings=driver.replicated
    )

    def join(parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else concatenate(parts)

    for length in test_images.lengths(batches):
        compiled_evaluate(length)

    def text(count: int) -> str:
        return compiled_train(max(train_images.lengths(count))).text()

    return Programs(flops, run_train, run_evaluate, driver.copy, memory, text)


def _wait_for_all_but_two(parts: list[Any]) -> None:
    """Of a long row of parts only two are under way: each has its images in memory."""
    if len(parts) > 2:
        jax.block_until_ready(parts[-3])


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
