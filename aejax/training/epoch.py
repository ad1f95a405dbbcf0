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
from aejax.training.placement import Generated, place
from aejax.training.step import MEMBER_AXES, At, Batch, Steps, Terms, TrainState, for_evaluation

_EVALUATION_BATCH = 1000


class Programs(NamedTuple):
    """What the loop calls; `train` is compiled once for each number of steps.

    Attributes:
        compiled: steps → the programs that train so many and evaluate, by name; what trains comes first.
        flops: steps → the floating-point operations of each of so many, for which it compiles `train`.
        train: (state, steps) → (state, terms), so many steps on within one epoch; the state is donated, each term is
            float32[steps], or of a sweep's members float32[steps, members].
        evaluate: state → sums over the test images, for `summarize`.
        snapshot: state → a copy, for use after the state itself has been donated.
    """

    compiled: Callable[[int], dict[str, Program]]
    flops: Callable[[int], float]
    train: Callable[[TrainState, int], tuple[TrainState, Terms]]
    evaluate: Callable[[TrainState], dict[str, Any]]
    snapshot: Callable[[TrainState], TrainState]


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
        values = ({name: np.float32(value) for name, value in config.coefficients.items()},)
    values = driver.replicate(values)
    evaluated = for_evaluation(state)
    in_epoch, examples = steps_per_epoch(config.training, len(dataset.train)), len(dataset.test)
    # Whole batches, which the devices share, and the rest, which each of them has: nothing is padded, since a model's
    # statistics may be those of a batch.
    batch_size = max(1, min(_EVALUATION_BATCH, examples) // len(driver.devices)) * len(driver.devices)
    batches, rest = divmod(examples, batch_size)
    placed = place(config, driver, state, dataset)
    order = functools.partial(epoch_order, config.training, len(dataset.train), seed=config.data.order_seed)
    train_labels, test_labels = dataset.class_indices()
    shape = dataset.image_shape
    tests = dataset.test
    if dataset.examples["train"].make is not None:
        train_images = Generated(driver, dataset.train, shape, config.training.batch_size)
        tests = np.asarray(tests)  # made once, since every evaluation meets the same
    else:
        train_images = placed(driver, dataset.train, shape, train_labels, order, in_epoch)
    if batches:
        in_batches = placed(driver, tests, shape, test_labels, lambda _: in_turn(batches, batch_size), batches)
    if rest:
        last = np.arange(examples - rest, examples, dtype=np.int32)
        labels = None if test_labels is None else test_labels[last]
        last_batch = driver.replicate(Batch(np.asarray(tests[last]).reshape(rest, *shape), last, labels))

    def train(
        count: int, state: TrainState, images: Any, values: tuple[Any, ...], order: Any
    ) -> tuple[TrainState, Terms]:
        names: list[str] = []

        def step(state: TrainState, batch: Batch, at: At) -> tuple[TrainState, jax.Array]:
            state, terms = steps.train(state, batch, at)
            names[:] = terms
            return state, jnp.stack(list(terms.values()))  # one array to write to in every turn, and not several

        # Of all steps of the epoch, and then of these, so that each is computed alike however training is cut.
        first = state.step % in_epoch
        every = jax.vmap(lambda step: steps.at(step, *values))(state.step - first + jnp.arange(in_epoch))
        every = jax.lax.optimization_barrier(every)
        at = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, count), every)
        state, terms = train_images.scan(step, state, images, order, at)
        return state, dict(zip(names, terms.T, strict=True))

    def sums_of(state: TrainState, batch: Batch, values: tuple[Any, ...], shared: bool) -> dict[str, Any]:
        # Else the compiler would merge the gathering of resident images with what follows, and round otherwise.
        terms, codes = steps.evaluate(state, jax.lax.optimization_barrier(batch), *values, shared=shared)
        return {
            "terms": {name: term.sum() for name, term in terms.items()},
            "code": {"sum": codes.sum(), "square": jnp.square(codes).sum(), "zeros": (codes == 0).sum()},
        }

    def evaluate(state: TrainState, images: Any, values: tuple[Any, ...], order: Any) -> dict[str, Any]:
        sums = in_batches.scan(lambda _, batch, __: (None, sums_of(state, batch, values, True)), None, images, order)[1]
        return sums if driver.axis is None else jax.lax.psum(sums, driver.axis)

    def evaluate_rest(state: TrainState, batch: Batch, values: tuple[Any, ...], _: None) -> dict[str, Any]:
        return jax.tree.map(lambda array: array[None], sums_of(state, batch, values, False))

    @functools.cache
    def compiled_train(count: int) -> Program:
        arguments, axes = (state, train_images.like(count), values), ((MEMBER_AXES, None, 0), (MEMBER_AXES, 1))
        return driver.compile(
            functools.partial(train, count),
            *arguments,
            donate=True,
            axes=axes,
            shared=lambda state, *_: train_images.order(state.step, count),
        )

    @functools.cache
    def compiled_evaluate(count: int) -> Program:
        arguments, axes = (evaluated, in_batches.like(count), values), ((MEMBER_AXES, None, 0), 1)
        return driver.compile(evaluate, *arguments, axes=axes, shared=lambda *_: in_batches.order(0, count))

    @functools.cache
    def compiled_rest() -> Program:
        arguments, axes = (evaluated, last_batch, values), ((MEMBER_AXES, None, 0), 1)
        return driver.compile(evaluate_rest, *arguments, axes=axes, shared=lambda *_: None)

    def compiled(count: int) -> dict[str, Program]:
        return trains(count) | evaluates()

    def trains(count: int) -> dict[str, Program]:
        return {f"train {length} steps": compiled_train(length) for length in reversed(train_images.lengths(count))}

    def evaluates() -> dict[str, Program]:
        lengths = in_batches.lengths(batches) if batches else []
        programs = {f"evaluate {length} batches": compiled_evaluate(length) for length in lengths}
        return programs | ({"evaluate the rest": compiled_rest()} if rest else {})

    def flops(count: int) -> float:
        return max(program.flops for program in trains(count).values())

    def run_train(state: TrainState, count: int) -> tuple[TrainState, Terms]:
        terms = []
        for length, images in train_images.parts(state.step, count):
            state, part = compiled_train(length).call(state, images, values)
            terms.append(part)
            _wait_for_all_but_two(terms)
        train_images.reached(state.step)
        return state, join(terms)

    epochs = itertools.count()

    def run_evaluate(state: TrainState) -> dict[str, Any]:
        state, sums = for_evaluation(state), []
        for length, images in in_batches.parts(next(epochs) * batches, batches) if batches else ():
            sums.append(compiled_evaluate(length).call(state, images, values))
            _wait_for_all_but_two(sums)
        return join([*sums, compiled_rest().call(state, last_batch, values)] if rest else sums)

    concatenate = jax.jit(
        lambda parts: jax.tree.map(lambda *each: jnp.concatenate(each), *parts), out_shardings=driver.replicated
    )

    def join(parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else concatenate(parts)

    evaluates()
    return Programs(compiled, flops, run_train, run_evaluate, driver.copy)


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
