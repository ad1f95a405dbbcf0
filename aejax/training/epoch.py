"""Training and evaluation as compiled programs, each for a part of an epoch."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Config, InputError
from aejax.config.checks import Named, is_own
from aejax.data import Dataset
from aejax.training.batches import steps_per_epoch
from aejax.training.devices import Driver, abstract, copier, shardings
from aejax.training.placement import Feed, Generated, Layout, Resident, place
from aejax.training.programs import Like, Program, like, memoised
from aejax.training.step import MEMBER_AXES, At, Batch, Steps, Terms, Traced, TrainState, build_steps, for_evaluation

_EVALUATION_BATCH = 1000

_AXES = MEMBER_AXES, None, (0, 0, None)
"""axes of a sweep's members in the state, the data and the values (coefficients, seeds, common seed of the order)"""


class Programs(NamedTuple):
    """The programs of a run; each is compiled when it is first needed, unless an earlier run has compiled it.

    `train` donates the state, and multiplies coefficients by factors (name → one for each member). Its terms are
    float32[steps] or, in a sweep, float32[steps, members].
    """

    compiled: Callable[[int], Iterator[tuple[str, Program]]]  # steps → (name, program), the training programs first
    flops: Callable[[int], float]  # steps → floating-point operations per step; compiles `train` for so many steps
    train: Callable[..., tuple[TrainState, Terms]]  # (state, steps, first step, factors=...) → (state, terms)
    evaluate: Callable[..., dict[str, Any]]  # state, part ("test") → sums over its images, for `summarize`
    snapshot: Callable[[TrainState], TrainState]  # state → a copy that outlives the donation of the state


class _Part(NamedTuple):
    """Training or evaluation."""

    lengths: Callable[[int], list[int]]  # number of steps → the different lengths of its calls
    feed: Feed
    compiled: Callable[[int], Program]  # length of a call → program


def build_programs(
    steps: Steps, config: Config, driver: Driver, state: TrainState, dataset: Dataset, values: Traced
) -> Programs:
    """Build the programs of a run, for a state or its abstract values; with `devices.shards`, with their shardings.

    Nothing is compiled or put on a device before it is needed.
    """
    state = abstract(state, driver.state_sharding if driver.shards == 1 else shardings(state))
    of = steps, like((state, abstract(values, driver.replicated)))  # common to the keys of all programs
    in_epoch = steps_per_epoch(config.training, len(dataset.train))

    @functools.lru_cache(2)
    def placed_values(factors: Named | None = None) -> Traced:
        coefficients = dict(values[0])
        for name, factor in (factors or {}).items():
            coefficients[name] = coefficients[name] * np.float32(factor).reshape(np.shape(coefficients[name]))
        return driver.replicate((coefficients, *values[1:]))

    @functools.cache
    def parts() -> dict[str, tuple[Callable[..., Layout], Batch]]:
        """Return the placement and all examples of each part of the dataset."""
        made, images = dataset.examples["train"], [getattr(dataset, name) for name in dataset.examples]
        placed = Resident if made.make is not None else place(config, driver, state, dataset)
        trained = functools.partial(Generated, examples=made) if made.make is not None else placed
        every = zip(dataset.examples, images, dataset.class_indices(), dataset.targets(), strict=True)
        return {name: (trained if name == "train" else placed, Batch(part, None, *rest)) for name, part, *rest in every}

    def part(name: str, make: Callable, *size: Any) -> _Part:
        kind, every = parts()[name]
        described = jax.tree.map(lambda each: jax.ShapeDtypeStruct(each.shape, each.dtype), every)
        layout = kind(driver, described, dataset.image_shape, *size)
        compiled = functools.cache(functools.partial(make, *of, layout))
        return _Part(layout.lengths, layout.feed(every, values[2]), compiled)

    @functools.cache
    def training() -> _Part:
        return part("train", _train, config.training.batch_size, in_epoch, config.compiled_in.training)

    def flops(count: int) -> float:
        return max(training().compiled(length).flops for length in training().lengths(count))

    def train(state: TrainState, count: int, first: int, factors: Named | None = None) -> tuple[TrainState, Terms]:
        terms = []
        for length, images in training().feed(first, count):
            state, of_part = training().compiled(length).call(state, images, placed_values(factors))
            terms.append(of_part)
            _wait_for_all_but_two(terms)
        return state, _joined(terms)

    @functools.cache
    def evaluation(name: str) -> dict[str, tuple[int, _Part]]:
        """Return name of the programs → (number of batches, part): together each example of a part of the dataset once.

        The devices share whole batches, and each has the rest. Nothing is padded: a model's metrics may be of a batch.
        """
        examples, shares, found = len(dataset.examples[name]), driver.shares, {}
        batch_size = max(1, min(_EVALUATION_BATCH, examples) // shares) * shares
        batches, rest = divmod(examples, batch_size)
        if batches:
            found["evaluate {} batches"] = batches, part(name, _evaluate, batch_size, batches)
        if rest:
            chosen = np.arange(examples - rest, examples, dtype=np.int32)
            last = jax.tree.map(lambda each: np.asarray(each[chosen]), parts()[name][1])
            last = last._replace(images=last.images.reshape(rest, *dataset.image_shape), examples=chosen)
            placed = functools.cache(lambda: driver.replicate(last))
            given = *of, driver, like(abstract(last, driver.replicated))
            compiled = functools.cache(lambda _: _evaluate_rest(*given))
            found["evaluate the rest"] = 1, _Part(lambda count: [count], lambda *_: iter([(1, placed())]), compiled)
        return found

    calls = Counter[str]()

    def evaluate(state: TrainState, name: str = "test") -> dict[str, Any]:
        state, sums = for_evaluation(state), []
        for batches, each in evaluation(name).values():
            for length, images in each.feed(calls[name] * batches, batches):
                sums.append(each.compiled(length).call(state, images, placed_values()))
                _wait_for_all_but_two(sums)
        calls[name] += 1
        return _joined(sums)

    def compiled(count: int) -> Iterator[tuple[str, Program]]:
        for length in reversed(training().lengths(count)):
            yield f"train {length} steps", training().compiled(length)
        for name in [name for name in dataset.examples if name != "train"]:
            for called, (batches, each) in evaluation(name).items():
                for length in each.lengths(batches):
                    yield called.format(length) + ("" if name == "test" else f" of {name}"), each.compiled(length)

    return Programs(compiled, flops, train, evaluate, copier(like(state)))


@memoised
def _train(steps: Steps, arguments: Like, layout: Layout, count: int) -> Program:
    def train(state: TrainState, images: Any, values: Traced, order: Any) -> tuple[TrainState, Terms]:
        names: list[str] = []

        def step(state: TrainState, batch: Batch, at: At) -> tuple[TrainState, jax.Array]:
            state, terms = steps.train(state, batch, at)
            names[:] = terms
            return state, jnp.stack(list(terms.values()))  # each turn writes one array instead of several

        # Computed for all steps of the epoch, so that the results do not depend on where a chunk ends.
        first = state.step % layout.steps
        every = jax.vmap(lambda step: steps.at(step, *values[:2]))(state.step - first + jnp.arange(layout.steps))
        every = jax.lax.optimization_barrier(every)
        at = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, first, count), every)
        state, terms = layout.scan(step, state, images, order, at)
        return state, dict(zip(names, terms.T, strict=True))

    def order(state: TrainState, _: Any, values: Traced) -> Any:
        return layout.order(state.step, count, values[2])

    state, values = jax.tree.unflatten(*arguments)
    given = state, layout.like(count), values
    return layout.driver.compile(train, *given, shared=order, axes=(_AXES, (MEMBER_AXES, 1)), donate=True)


@memoised
def _evaluate(steps: Steps, arguments: Like, layout: Layout, count: int) -> Program:
    def evaluate(state: TrainState, images: Any, values: Traced, order: Any) -> dict[str, Any]:
        def sums(_: None, batch: Batch, __: None) -> tuple[None, dict[str, Any]]:
            return None, _sums(steps, state, batch, values)

        found = layout.scan(sums, None, images, order)[1]
        return found if layout.driver.axis is None else jax.lax.psum(found, layout.driver.axis)

    def order(state: TrainState, _: Any, values: Traced) -> Any:
        return layout.order(0, count, values[2])

    state, values = jax.tree.unflatten(*arguments)
    given = for_evaluation(state), layout.like(count), values
    return layout.driver.compile(evaluate, *given, shared=order, axes=(_AXES, 1))


@memoised
def _evaluate_rest(steps: Steps, arguments: Like, driver: Driver, batch: Like) -> Program:
    def evaluate(state: TrainState, batch: Batch, values: Traced, _: None) -> dict[str, Any]:
        return jax.tree.map(lambda array: array[None], _sums(steps, state, batch, values, shared=False))

    state, values = jax.tree.unflatten(*arguments)
    given = for_evaluation(state), jax.tree.unflatten(*batch), values
    return driver.compile(evaluate, *given, shared=lambda *_: None, axes=(_AXES, 1))


def _sums(steps: Steps, state: TrainState, batch: Batch, values: Traced, shared: bool = True) -> dict[str, Any]:
    # Without the barrier, the compiler merges the gather of resident images with its consumers, and rounds differently.
    terms, metrics, codes = steps.evaluate(state, jax.lax.optimization_barrier(batch), *values[:2], shared=shared)
    known = {name: ~jnp.isnan(metric) for name, metric in metrics.items()}
    return {
        "terms": {name: term.sum() for name, term in terms.items()},
        "metrics": {name: jnp.where(known[name], metric, 0).sum() for name, metric in metrics.items()},
        "known": {name: each.sum() for name, each in known.items()},
        "code": {"sum": codes.sum(), "square": jnp.square(codes).sum(), "zeros": (codes == 0).sum()},
    }


def _joined(parts: list[Any]) -> Any:
    """Put the results of the parts one after another."""
    return parts[0] if len(parts) == 1 else _concatenate(parts)


_concatenate = jax.jit(lambda parts: jax.tree.map(lambda *each: jnp.concatenate(each), *parts))


_COMPARED = 64
"""examples that `require_same_terms` takes, about as many"""


def require_same_terms(config: Config, steps: Steps, driver: Driver, dataset: Dataset, values: Traced) -> None:
    """Refuse a model of the user's own whose loss depends on how the devices share a batch.

    A mean over the share of one device is not the mean over the batch. One small program computes the terms and metrics
    of fresh parameters both ways, without schedules, which may begin at 0.
    """
    if driver.batch_axis is None or not is_own(config.model.kind):
        return
    count = len(driver.devices)
    chosen = np.linspace(0, len(dataset.train) - 1, count * max(1, _COMPARED // count)).astype(np.int32)
    images = np.asarray(dataset.train[chosen]).reshape(-1, *dataset.image_shape)
    annotations = [
        None if each is None else each[chosen] for each in (dataset.class_indices()[0], dataset.targets()[0])
    ]
    given = Batch(images, chosen, *annotations), values[:2]
    whole = build_steps(config, dataset.image_shape, examples=len(dataset.train), imputed=steps.imputed)
    program = _compared(steps, steps.own, whole, driver, like(abstract(given, driver.replicated)))
    shared, alone = jax.device_get(program.call(*driver.replicate(given)))
    least = 1e-6 * np.abs(alone["total"])
    for name, value in alone.items():
        if not np.isclose(shared[name], value, rtol=1e-4, atol=least, equal_nan=True):
            raise InputError(
                f"{name} of {config.model.kind} is {shared[name]:.6g} on {count} devices by {driver.parallel}, and "
                f"{value:.6g} as one computation: a mean or sum over the batch needs jax.lax.pmean or psum over "
                "context.axis; or choose devices.parallel jit"
            )


@memoised
def _compared(steps: Steps, own: Any, whole: Steps, driver: Driver, given: Like) -> Program:
    """Compile batch, (coefficients, seed) → terms that the devices compute together, and terms of each device alone."""

    def terms(batch: Batch, values: Any, _: None) -> tuple[Terms, Terms]:
        state = steps.init(values[1])
        at = steps.at(state.step, *values)._replace(coefficients=values[0])
        return steps.train(state, jax.tree.map(driver.share, batch), at)[1], whole.train(state, batch, at)[1]

    return driver.compile(terms, *jax.tree.unflatten(*given), shared=lambda *_: None)


def _wait_for_all_but_two(parts: list[Any]) -> None:
    """Limit the parts under way, each of which has its images in memory."""
    if len(parts) > 2:
        jax.block_until_ready(parts[-3])


def mean_of_known(metric: np.ndarray) -> float:
    """Return the mean of the entries that are not NaN; NaN without any."""
    known = metric[~np.isnan(metric)]
    return float(known.mean(dtype=np.float64)) if len(known) else math.nan


def summarize(sums: dict[str, Any], examples: int, code_size: int) -> tuple[dict[str, float], dict[str, float]]:
    """Compute means over all examples from the sums of `Programs.evaluate`.

    Returns the terms of the loss and the metrics, a metric without a known value as NaN; and mean, variance and
    fraction_zero of the code over examples and units.
    """
    sums = jax.tree.map(lambda per_batch: float(np.sum(per_batch, dtype=np.float64)), jax.device_get(sums))
    values = examples * code_size
    mean = sums["code"]["sum"] / values
    means = {name: total / examples for name, total in sums["terms"].items()}
    for name, total in sums["metrics"].items():
        means[name] = total / known if (known := sums["known"][name]) else math.nan
    return means, {
        "mean": mean,
        "variance": max(0.0, sums["code"]["square"] / values - mean**2),
        "fraction_zero": sums["code"]["zeros"] / values,
    }
