"""Optimizers: Adam, AdamW, plain gradient descent, or a function of the user."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from aejax.config import Config, InputError
from aejax.config.checks import is_own
from aejax.config.user_files import own_optimizer

_MEAN, _SQUARE, _EPSILON = 0.9, 0.999, 1e-8
"""decay rates of Adam's two moments, and the constant that keeps its denominator above 0"""

Values = Mapping[str, jax.Array]


class Optimizer(NamedTuple):
    """Pure functions: `update` takes gradients, state, params, coefficients with their schedules, and scalars."""

    init: Callable[[Any], Any]  # params → state
    scalars: Callable[[jax.Array], Values]  # step → values that depend on the step alone
    update: Callable[[Any, Any, Any, Values, Values], tuple[Any, Any]]  # → (params, state)


def build_optimizer(config: Config) -> Optimizer:
    """Build the optimizer that `training.optimizer` names, after `training.clip_norm`.

    A function of the user returns an optax transformation: `def lion(learning_rate, weight_decay): return
    optax.lion(...)`. It gets every declared coefficient, of the optimizer or of the model's class, that it has an
    argument for.

    Args:
        config: complete.

    Raises InputError: the function does not exist, or it has no use for a coefficient that is set.
    """
    name, clip = config.training.optimizer, config.training.clip_norm
    first = optax.identity() if clip is None else optax.clip_by_global_norm(clip)
    if is_own(name):
        return _own(name, first, config.coefficients)
    adam = name in ("adam", "adamw")

    def update(gradients: Any, state: Any, params: Any, coefficients: Values, scalars: Values) -> tuple[Any, Any]:
        updates, clipped = first.update(gradients, state[0])
        moments = state[1]
        if adam:
            updates, moments = _adam(updates, moments, scalars)
        if name == "adamw":
            updates = jax.tree.map(lambda step, param: step + coefficients["weight_decay"] * param, updates, params)
        rate = coefficients["learning_rate"]
        return jax.tree.map(lambda param, step: param - rate * step, params, updates), (clipped, moments)

    init = optax.chain(first, optax.scale_by_adam() if adam else optax.identity()).init
    return Optimizer(init, _corrections if adam else lambda step: {}, update)


def _corrections(step: jax.Array) -> Values:
    """Return the bias correction of both moments as one scale, and epsilon to match."""
    steps = (step + 1).astype(jnp.float32)
    root = jnp.sqrt(1 - _SQUARE**steps)
    return {"scale": root / (1 - _MEAN**steps), "epsilon": root * _EPSILON}


def _adam(gradients: Any, state: optax.ScaleByAdamState, scalars: Values) -> tuple[Any, Any]:
    """Compute `optax.scale_by_adam` in the efficient order of Kingma and Ba (2015, section 2), with one division."""
    means = jax.tree.map(lambda mean, g: _MEAN * mean + (1 - _MEAN) * g, state.mu, gradients)
    squares = jax.tree.map(lambda square, g: _SQUARE * square + (1 - _SQUARE) * (g * g), state.nu, gradients)
    scale, epsilon = scalars["scale"], scalars["epsilon"]
    divided = functools.partial(jax.lax.platform_dependent, tpu=divided_on_tpu, default=_divided)
    updates = jax.tree.map(lambda mean, square: divided(scale * mean, square, epsilon), means, squares)
    return updates, optax.ScaleByAdamState(state.count + 1, means, squares)


def _divided(mean: jax.Array, square: jax.Array, epsilon: jax.Array) -> jax.Array:
    return mean / (jnp.sqrt(square) + epsilon)


def divided_on_tpu(mean: jax.Array, square: jax.Array, epsilon: jax.Array) -> jax.Array:
    """Return mean / (sqrt(square) + epsilon) with a relative error of at most 1e-5.

    A TPU has instructions for exponentials and logarithms; the exact root and division take twice as many.
    """
    return mean * jnp.exp(-jnp.log(jnp.exp(jnp.log(square) / 2) + epsilon))


def _own(spec: str, first: optax.GradientTransformation, known: Values) -> Optimizer:
    make, takes = own_optimizer(spec, known)

    def transformation(coefficients: Mapping[str, Any]) -> optax.GradientTransformation:
        made = make(**{name: coefficients[name] for name in takes})
        if not (hasattr(made, "init") and hasattr(made, "update")):
            raise InputError(f"training.optimizer is {spec!r}; it returned {made!r}, which is no optax transformation")
        return optax.chain(first, made)

    def update(gradients: Any, state: Any, params: Any, coefficients: Values, _: Values) -> tuple[Any, Any]:
        updates, state = transformation(coefficients).update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return Optimizer(lambda params: transformation(takes).init(params), lambda step: {}, update)
