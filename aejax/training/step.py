"""The train step and the evaluation step: pure functions of a state, a batch and coefficients."""

import contextlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from aejax.config import Coefficients, Config, InputError, Schedule, complete
from aejax.config.checks import is_own
from aejax.config.user_files import explained, own
from aejax.data import Dataset, as_met
from aejax.models import Autoencoder, Context, ImageShape, build, model_class
from aejax.models.randomness import GENERATOR, Key, per_example, stream
from aejax.training import paths
from aejax.training.batches import Batch, Imputed, Keys, inputs
from aejax.training.optimizer import Values, build_optimizer
from aejax.training.own_models import (
    kept,
    of_known,
    require_matched,
    require_observed,
    require_output,
    require_used,
    weighted_terms,
)
from aejax.training.selection import Selection

Terms = dict[str, jax.Array]
Seed = int | jax.Array
Traced = tuple[dict[str, Any], Any, Any]
"""coefficients (float32 by name), seed and seed of the order (uint32), of one model or of the members of a sweep"""


class TrainState(NamedTuple):
    """The state of training, complete for a resumed run."""

    step: jax.Array  # int32, number of steps taken
    params: Any  # every `nnx.Param` of the model
    opt_state: Any
    extra: Any = {}  # every other `nnx.Variable` of the model: running means, codebooks, counters, generators
    average: Any = None  # the moving average of the parameters; None without `training.average`


MEMBER_AXES: Any = TrainState(None, 0, 0, 0, 0)
"""axes of a sweep's members in their common state, as `jax.vmap` takes them: all members are at the same step"""


def for_evaluation(state: TrainState) -> TrainState:
    """Return the part of a state that an evaluation reads, with the moving average as parameters."""
    params = state.params if state.average is None else state.average
    return TrainState(state.step, params, (), state.extra)


class At(NamedTuple):
    """Values that depend on the number of a train step alone; a program computes them for a whole epoch at once."""

    coefficients: dict[str, jax.Array]  # with their schedules
    keys: dict[str, jax.Array]  # data of the key, uint32[2], of each stream
    scalars: Values  # from `Optimizer.scalars`


_STREAMS = ("binarization", "corruption", "code")
"""streams of random numbers in a step"""


@dataclass(frozen=True)
class Steps:
    """The pure functions that a configuration compiles to. Steps that compile to the same programs are equal.

    Terms of `train` are means over the batch, and metrics of the model, which are not part of "total". `evaluate` takes
    (state, batch, coefficients, seed), and `shared=False` if each device has the whole batch. It returns terms and
    metrics, float32[B] each, and codes float32[B, code_size]. An image always gets the same random numbers.
    """

    key: Hashable  # everything that the functions but `init` depend on, for memoised programs
    imputed: Imputed = field(compare=False)
    own: Hashable = field(compare=False)  # configuration of a user's class, whose `init` may depend on any field
    init: Callable[..., TrainState] = field(compare=False)  # of a seed, and of arrays in place of new ones, by name
    drawn: frozenset[str] = field(compare=False)  # names of the model's own generators
    at: Callable[..., At] = field(compare=False)  # of step, coefficients and seed
    train: Callable[[TrainState, Batch, At], tuple[TrainState, Terms]] = field(compare=False)
    gradients: Callable[..., tuple[Any, Any]] = field(compare=False)  # as `train`: gradients, (terms, variables)
    evaluate: Callable[..., tuple[Terms, Terms, jax.Array]] = field(compare=False)
    model: Callable[..., Autoencoder] = field(compare=False)  # of state and coefficients, for evaluation

    def alone(self, state: TrainState, batch: Batch, *values: Any) -> tuple[TrainState, Terms]:
        """Take a single train step; `values` are the arguments of `at` after the step."""
        return self.train(state, batch, self.at(state.step, *values))


def build_steps(
    config: Config,
    image_shape: ImageShape,
    steps_per_epoch: int = 1,
    axis: str | None = None,
    examples: int = 0,
    imputed: Imputed = (0.0,),
) -> Steps:
    """Build the steps, with everything static: architecture, kinds of loss and corruption, optimizer, schedules.

    Args:
        steps_per_epoch: for the schedules.
        axis: the name of the axis of devices that share a batch.
        examples: number of training examples, for `Context.examples`.
        imputed: values in place of missing values, of each feature or of all features (`data.missing` mask).
    """
    config = complete(config)
    configured, average = config.training.seed, config.training.average
    last = config.training.epochs * steps_per_epoch
    schedules = {name: factor(schedule, steps_per_epoch, last) for name, schedule in config.schedules.items()}
    optimizer = build_optimizer(config)
    streams = _STREAMS + ("augmentation",) * bool(config.data.augmentation)
    owned = is_own(config.model.kind) or is_own(config.training.optimizer)
    # A class of the user may read any field that is not traced.
    fixed = config.differing_in_values if owned else config.compiled_in
    abstract = nnx.eval_shape(lambda: build(config, image_shape, nnx.Rngs(stream(0, "parameters"))))
    # The default is the user's setting of JAX, jax_default_matmul_precision.
    chosen = None if config.model.precision == "default" else config.model.precision
    frozen = paths.frozen(abstract, config.training.frozen)
    abstract.config = fixed  # a number that the class has copied to another attribute stays in the graphdef
    graphdef, _, variables = nnx.split(abstract, nnx.Param, ...)
    generators = jax.tree.map(_is_generator, nnx.to_pure_dict(variables))
    marked = jax.tree_util.tree_leaves_with_path(generators)
    drawn = frozenset(paths.name_of(path) for path, is_key in marked if is_key)
    if axis is not None and drawn:
        raise InputError(
            f"{config.model.kind} has a generator of its own, which would draw the same on each device: choose "
            "devices.parallel jit, or draw from the keys of its context"
        )

    def merge(params: Any, extra: Any, coefficients: Values) -> Autoencoder:
        typed = jax.tree.map(
            lambda key, leaf: jax.random.wrap_key_data(leaf, impl=GENERATOR) if key else leaf, generators, extra
        )
        model = nnx.merge(graphdef, params, typed)
        model.config = fixed.with_values(coefficients)
        return model

    def init(seed: Seed = configured, begun: Mapping[str, Any] | None = None) -> TrainState:
        model = build(config, image_shape, nnx.Rngs(stream(seed, "parameters")))
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        state = TrainState(jnp.zeros((), jnp.int32), params, (), variables_of(model))
        if begun:
            state = jax.tree_util.tree_map_with_path(lambda path, leaf: begun.get(paths.name_of(path[1:]), leaf), state)
        averaged = None if average is None else jax.tree.map(jnp.copy, state.params)
        trained, _ = paths.split(state.params, frozen)
        return state._replace(opt_state=optimizer.init(trained), average=averaged)

    def example_terms(
        params: Any, state: TrainState, batch: Batch, coefficients: Values, key: Keys, context: Context
    ) -> tuple[Terms, Terms, jax.Array, Any]:
        clean, seen, observed = inputs(config, batch, coefficients, key, imputed, context.training)
        coefficients = Coefficients.traced(coefficients)
        model = merge(cast(params, config.model.dtype), state.extra, coefficients)
        seen = cast(seen, config.model.dtype)
        (model.train if context.training else model.eval)()
        for part in paths.parts(model, config.training.frozen):
            if isinstance(part, nnx.Module):
                part.eval()
        model.set_attributes(nnx.BatchNorm, axis_name=context.axis, raise_if_not_found=False)
        given = {"labels": batch.labels, "coefficients": coefficients, "step": state.step, "examples": examples}
        given |= {"targets": None if batch.targets is None else clean, "observed": observed}
        context = context._replace(keys=per_example(key("code"), batch.examples), **given)
        with jax.default_matmul_precision(chosen) if chosen else contextlib.nullcontext():
            output = model(seen, context)
            require_output(config, model, output, clean)
            extras = jax.tree.map(lambda leaf: cast(leaf, jnp.float32) if _is_real(leaf) else leaf, output.extra)
            output = cast(output._replace(extra={}), jnp.float32)._replace(extra=extras)
            terms = model.loss(clean, output, coefficients, context)
            metrics = model.metrics(clean, output, context)
        terms, metrics = weighted_terms(config, model, terms, metrics, output, coefficients)
        return terms, metrics, output.codes, kept(variables_of(model), state.extra)

    def at(step: jax.Array, coefficients: Values, seed: Seed = configured) -> At:
        scheduled = {
            name: jnp.float32(value * schedules[name](step) if name in schedules else value)
            for name, value in coefficients.items()
        }
        keys = {name: jax.random.key_data(jax.random.fold_in(stream(seed, name), step)) for name in streams}
        return At(scheduled, keys, optimizer.scalars(step))

    def gradients_of(state: TrainState, batch: Batch, at: At) -> tuple[Any, tuple[Terms, Any]]:
        def key(name: str) -> Key:
            return jax.random.wrap_key_data(at.keys[name], impl=GENERATOR)

        trained, still = paths.split(state.params, frozen)

        def loss(trained: Any) -> tuple[jax.Array, tuple[Terms, Any]]:
            context, params = Context(training=True, axis=axis), paths.joined(trained, still)
            terms, metrics, _, extra = example_terms(params, state, batch, at.coefficients, key, context)
            metrics = {name: of_known(metric, axis) for name, metric in metrics.items()}
            return terms["total"].mean(), ({**terms, **metrics}, extra)

        return jax.grad(loss, has_aux=True)(trained)

    def train(state: TrainState, batch: Batch, at: At) -> tuple[TrainState, Terms]:
        trained, still = paths.split(state.params, frozen)
        gradients, (terms, extra) = gradients_of(state, batch, at)
        # One reduction of all terms: with several, some would pass over all pixels once more.
        names, each = list(terms), jax.lax.optimization_barrier(list(terms.values()))
        each = jnp.stack([jnp.broadcast_to(term, terms["total"].shape) for term in each])
        terms = dict(zip(names, each.mean(axis=1), strict=True))
        if axis is not None:
            gradients, terms = jax.lax.pmean((gradients, terms), axis)
            extra = jax.tree.map(  # the mean of a constant would be rounded
                lambda leaf, before: jax.lax.pmean(leaf, axis) if leaf is not before and _is_real(leaf) else leaf,
                extra,
                state.extra,
            )
        extra = paths.joined(paths.split(extra, frozen)[0], paths.split(state.extra, frozen)[1])
        trained, opt_state = optimizer.update(gradients, state.opt_state, trained, at.coefficients, at.scalars)
        averaged = state.average
        if averaged is not None:
            moved, _ = paths.split(averaged, frozen)
            moved = jax.tree.map(lambda mean, param: average * mean + (1 - average) * param, moved, trained)
            averaged = paths.joined(moved, still)
        return TrainState(state.step + 1, paths.joined(trained, still), opt_state, extra, averaged), terms

    def evaluate(
        state: TrainState, batch: Batch, coefficients: Values, seed: Seed = configured, *, shared: bool = True
    ) -> tuple[Terms, Terms, jax.Array]:
        state, context = for_evaluation(state), Context(axis=axis if shared else None)
        return example_terms(state.params, state, batch, coefficients, test_keys(seed), context)[:3]

    def model(state: TrainState, coefficients: Values = config.coefficients) -> Autoencoder:
        state = for_evaluation(state)
        merged = merge(state.params, state.extra, coefficients)
        merged.eval()
        return merged

    key = fixed, tuple(image_shape), steps_per_epoch, axis, examples, config.data.missing == "mask" and imputed
    if owned:
        spec = config.training.optimizer
        optimizer_class = own(spec, "training.optimizer") if is_own(spec) else None
        key = (*key, model_class(config.model.kind), optimizer_class, graphdef)
    return Steps(key, imputed, config if owned else None, init, drawn, at, train, gradients_of, evaluate, model)


def values_of(configs: Sequence[Config], *, alone: bool = False) -> Traced:
    """Return the traced values of the members of a sweep or, `alone`, of one model."""
    first, every = configs[0], [complete(config).coefficients for config in configs]
    coefficients = {name: np.float32([each[name] for each in every]) for name in every[0]}
    seeds = np.uint32([config.training.seed for config in configs])
    order = first.training.seed if first.data.order_seed is None else first.data.order_seed
    if alone:
        coefficients, seeds = jax.tree.map(lambda values: values[0], (coefficients, seeds))
    return coefficients, seeds, np.uint32(order)


def variables_of(model: Autoencoder) -> Any:
    """Return every `nnx.Variable` of a model but its parameters, as plain arrays: of a key its data."""
    state = nnx.to_pure_dict(nnx.split(model, nnx.Param, ...)[2])
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_generator(leaf) else leaf, state)


def test_keys(seed: Seed) -> Keys:
    """Return stream → key of the one draw (of noise, of codes) with which the test images are evaluated."""
    return lambda name: stream(seed, f"test {name}")


def factor(schedule: Schedule, steps_per_epoch: int, steps: int) -> optax.Schedule:
    """Return the factor of a schedule, step → float32 from 0 to 1, in a run of so many steps, without plateaus."""
    warmup = schedule.warmup_epochs * steps_per_epoch
    if schedule.shape == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0 if warmup else 1.0, 1.0, warmup, steps)
    if schedule.shape == "cyclical":
        return lambda step: jnp.minimum(1.0, 2.0 * ((step * schedule.cycles / steps) % 1.0))
    return optax.warmup_constant_schedule(0.0, 1.0, warmup) if warmup else optax.constant_schedule(1.0)


def cast(tree: Any, dtype: Any) -> Any:
    """Convert arrays to another floating-point type; their gradients keep the first type."""
    return jax.tree.map(lambda array: array.astype(dtype), tree)


def require_trainable(config: Config, dataset: Dataset, axis: str | None = None) -> list[str]:
    """Trace a step of a user's model or optimizer, and return the names of the model's own metrics.

    The term or metric that selects is also looked for in the models of this library.

    Raises InputError: it cannot be trained; the message says why.
    """
    config, selection = complete(config), Selection.of(config)
    owned = is_own(config.model.kind) or is_own(config.training.optimizer)
    if not owned and selection.name == "total":
        return []
    steps = build_steps(config, dataset.image_shape, axis=axis, examples=len(dataset.train))
    state, batch, at = described(steps, config, dataset, labeled=dataset.train_labels is not None)

    def alone(function: Callable) -> Callable:
        return jax.vmap(function, in_axes=None, axis_size=1, axis_name=axis)  # for means over the devices

    with explained():
        program = jax.make_jaxpr(alone(lambda at, *given: steps.train(*given, at)))(at, state, batch)
        terms, metrics, _ = jax.eval_shape(alone(steps.evaluate), state, batch, at.coefficients)
    selection.require_among([*terms, *metrics], config)
    if owned:
        require_used(config, program)
        require_observed(config, program)
    if is_own(config.model.kind):
        target = batch.images if batch.targets is None else batch.targets
        require_matched(config, program, len(target), target.shape[1:])
    return list(metrics)


def described(steps: Steps, config: Config, dataset: Any, *, labeled: bool) -> tuple[TrainState, Batch, At]:
    """Describe the arguments of `Steps.train` for the examples of a `Dataset`, or of a `DatasetIdentity`."""

    def examples(shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((config.training.batch_size, *shape), dtype)

    images, numbers, targets = examples(dataset.image_shape), examples((), jnp.int32), dataset.target_shape
    targets = None if targets is None else examples(as_met(targets, dataset.vectors))
    state = jax.eval_shape(steps.init)
    coefficients = dict.fromkeys(config.coefficients, jax.ShapeDtypeStruct((), jnp.float32))
    at = jax.eval_shape(steps.at, state.step, coefficients)
    return state, Batch(images, numbers, numbers if labeled else None, targets), at


def _is_real(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.floating)


def _is_generator(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
