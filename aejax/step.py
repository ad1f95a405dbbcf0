"""The one train step and the one evaluation step: pure functions of a state, a batch and coefficients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from aejax import losses, models
from aejax.config import Config, Training
from aejax.corruption import corrupt
from aejax.streams import Key, stream

Coefficients = Mapping[str, jax.Array]
Terms = dict[str, jax.Array]


class TrainState(NamedTuple):
    """All that is needed to go on."""

    step: jax.Array
    """int32, number of steps taken"""
    params: Any
    opt_state: Any


class Batch(NamedTuple):
    images: jax.Array
    """[B, H, W, C], uint8, or float32 as given by the user"""
    examples: jax.Array
    """int32[B], the index of each image in its dataset"""


class Steps(NamedTuple):
    """The pure functions that a configuration compiles to.

    Attributes:
        init: () → TrainState.
        train: (state, batch, coefficients) → (state, terms), terms being means over the batch.
        evaluate: (params, batch, coefficients) → (terms per example float32[B], codes float32[B, code_size]);
            the corruption of an image is always the same.
        merge: params → Autoencoder.
    """

    init: Callable[[], TrainState]
    train: Callable[[TrainState, Batch, Coefficients], tuple[TrainState, Terms]]
    evaluate: Callable[[Any, Batch, Coefficients], tuple[Terms, jax.Array]]
    merge: Callable[[Any], models.Autoencoder]


def build_steps(
    config: Config, image_shape: models.ImageShape, steps_per_epoch: int = 1, axis: str | None = None
) -> Steps:
    """Everything static is fixed here: architecture, kinds of loss and corruption, optimizer, schedule.

    Args:
        steps_per_epoch: only the schedule of the learning rate depends on it.
        axis: the name of the axis of devices over which a batch is spread, for the mean over all of it.
    """
    seed = config.training.seed
    schedule = learning_rate_schedule(config.training, steps_per_epoch)
    optimizer = optax.chain(
        optax.identity() if config.training.clip_norm is None else optax.clip_by_global_norm(config.training.clip_norm),
        optax.scale_by_adam() if config.training.optimizer == "adam" else optax.identity(),
    )
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: models.build(config, image_shape, nnx.Rngs(0))), nnx.Param)

    def merge(params: Any) -> models.Autoencoder:
        return nnx.merge(graphdef, params)

    def init() -> TrainState:
        model = models.build(config, image_shape, nnx.Rngs(stream(seed, "parameters")))
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    def example_terms(params: Any, batch: Batch, coefficients: Coefficients, key: Key) -> tuple[Terms, jax.Array]:
        clean = unit_interval(batch.images)
        corrupted = corrupt(config.corruption.kind, key, batch.examples, clean, coefficients["noise"])
        logits, codes = merge(params)(corrupted)
        terms = losses.loss_terms(config.loss.reconstruction, clean, logits, codes, coefficients)
        return {**terms, "total": sum(terms.values())}, codes

    def train(state: TrainState, batch: Batch, coefficients: Coefficients) -> tuple[TrainState, Terms]:
        key = jax.random.fold_in(stream(seed, "corruption"), state.step)

        def loss(params: Any) -> tuple[jax.Array, Terms]:
            terms, _ = example_terms(params, batch, coefficients, key)
            means = {name: term.mean() for name, term in terms.items()}
            return means["total"], means

        gradients, terms = jax.grad(loss, has_aux=True)(state.params)
        if axis is not None:
            gradients, terms = jax.lax.pmean((gradients, terms), axis)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        rate = coefficients["learning_rate"] * schedule(state.step)
        params = jax.tree.map(lambda param, update: param - rate * update, state.params, updates)
        return TrainState(state.step + 1, params, opt_state), terms

    def evaluate(params: Any, batch: Batch, coefficients: Coefficients) -> tuple[Terms, jax.Array]:
        return example_terms(params, batch, coefficients, test_corruption(config))

    return Steps(init, train, evaluate, merge)


def test_corruption(config: Config) -> Key:
    """The key of the one corruption of the test images."""
    return stream(config.training.seed, "test corruption")


def learning_rate_schedule(training: Training, steps_per_epoch: int) -> optax.Schedule:
    """The factor on the learning rate at each step: a linear warm-up, then constant or a cosine down to 0."""
    warmup, total = training.warmup_epochs * steps_per_epoch, training.epochs * steps_per_epoch
    if training.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0 if warmup else 1.0, 1.0, warmup, total)
    return optax.warmup_constant_schedule(0.0, 1.0, warmup) if warmup else optax.constant_schedule(1.0)


def unit_interval(images: jax.Array) -> jax.Array:
    """uint8 from 0 to 255 → float32 from 0 to 1; floats stay as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images
