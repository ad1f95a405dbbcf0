"""From gradients to the next weights: Adam, AdamW, plain gradient descent, or an optimizer of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from aejax.config import Config, InputError
from aejax.config.checks import is_own
from aejax.config.user_files import own_optimizer


class Optimizer(NamedTuple):
    """Pure functions.

    Attributes:
        init: params → state.
        scalars: step → what depends on it alone, by name.
        update: (gradients, state, params, coefficients, scalars) → (params, state); `coefficients["learning_rate"]` is
            that of this step, schedule included.
    """

    init: Callable[[Any], Any]
    scalars: Callable[[jax.Array], dict[str, jax.Array]]
    update: Callable[[Any, Any, Any, Mapping[str, jax.Array], Mapping[str, jax.Array]], tuple[Any, Any]]


def build_optimizer(config: Config) -> Optimizer:
    """The optimizer that `training.optimizer` names, after `training.clip_norm`.

    One of the user's own is a function that returns an optax transformation whose updates are added to the weights, as
    those of optax's own optimizers are: `def lion(learning_rate, weight_decay): return optax.lion(...)`. It gets those
    of the two arguments that it has; they are traced, so that a schedule and a sweep change them.

    Raises:
        InputError: there is no such function, or it has no use for a coefficient that is set.
    """
    clip = config.training.clip_norm
    first = optax.identity() if clip is None else optax.clip_by_global_norm(clip)
    if is_own(config.training.optimizer):
        return _own(config, first)
    adam = config.training.optimizer in ("adam", "adamw")
    init = optax.chain(first, optax.scale_by_adam() if adam else optax.identity()).init
    decays = config.training.optimizer == "adamw"

    def update(
        gradients: Any, state: Any, params: Any, coefficients: Mapping[str, jax.Array], scalars: Any
    ) -> tuple[Any, Any]:
        updates, clipped = first.update(gradients, state[0])
        moments = state[1]
        if adam:
            updates, moments = _adam(updates, moments, scalars)
        state = clipped, moments
        if decays:
            updates = jax.tree.map(lambda step, param: step + coefficients["weight_decay"] * param, updates, params)
        rate = coefficients["learning_rate"]
        return jax.tree.map(lambda param, step: param - rate * step, params, updates), state

    return Optimizer(init, _corrections if adam else lambda step: {}, update)


_MEAN, _SQUARE, _EPSILON = 0.9, 0.999, 1e-8
"""the decay of Adam's two moments, and what keeps it from dividing by 0"""


def _corrections(step: jax.Array) -> dict[str, jax.Array]:
    """What Adam corrects its moments by, at the beginning of training, at this step."""
    steps = (step + 1).astype(jnp.float32)
    root = jnp.sqrt(1 - _SQUARE**steps)
    return {"scale": root / (1 - _MEAN**steps), "epsilon": root * _EPSILON}


def _adam(gradients: Any, state: optax.ScaleByAdamState, scalars: Mapping[str, jax.Array]) -> tuple[Any, Any]:
    """What `optax.scale_by_adam` computes, in the order for efficiency of Kingma and Ba (2015, section 2).

    Both corrections are numbers, so that a weight costs one division and not three.
    """
    means = jax.tree.map(lambda mean, g: _MEAN * mean + (1 - _MEAN) * g, state.mu, gradients)
    squares = jax.tree.map(lambda square, g: _SQUARE * square + (1 - _SQUARE) * (g * g), state.nu, gradients)
    scale, epsilon = scalars["scale"], scalars["epsilon"]
    updates = jax.tree.map(lambda mean, square: scale * mean / (jnp.sqrt(square) + epsilon), means, squares)
    return updates, optax.ScaleByAdamState(state.count + 1, means, squares)


def _own(config: Config, first: optax.GradientTransformation) -> Optimizer:
    spec = config.training.optimizer
    make, takes = own_optimizer(spec)

    def transformation(coefficients: Mapping[str, Any]) -> optax.GradientTransformation:
        made = make(**{name: coefficients[name] for name in takes})
        if not (hasattr(made, "init") and hasattr(made, "update")):
            raise InputError(f"training.optimizer is {spec!r}; it returned {made!r}, which is no optax transformation")
        return optax.chain(first, made)

    def update(
        gradients: Any, state: Any, params: Any, coefficients: Mapping[str, jax.Array], _: Any
    ) -> tuple[Any, Any]:
        updates, state = transformation(coefficients).update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return Optimizer(lambda params: transformation(takes).init(params), lambda step: {}, update)
