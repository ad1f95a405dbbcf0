"""The one train step and the one evaluation step: pure functions of a state, a batch and coefficients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.flatten_util import ravel_pytree

from aejax.config import Config, Training
from aejax.models import Autoencoder, ImageShape, build, losses
from aejax.models.corruption import binarize, corrupt
from aejax.models.randomness import Key, per_example, stream

Coefficients = Mapping[str, jax.Array]
Terms = dict[str, jax.Array]
Seed = int | jax.Array


class TrainState(NamedTuple):
    """All that is needed to go on."""

    step: jax.Array
    """int32, number of steps taken"""
    params: Any
    opt_state: Any


MEMBER_AXES: Any = TrainState(None, 0, 0)
"""where the members of a sweep stand in their common state, as `jax.vmap` takes it: the step is one for all"""


class Batch(NamedTuple):
    images: jax.Array
    """[B, H, W, C], uint8, or float32 as given by the user"""
    examples: jax.Array
    """int32[B], the index of each image in its dataset"""


class Steps(NamedTuple):
    """The pure functions that a configuration compiles to.

    The seed is the configuration's where none is given; a sweep gives each of its members another, as a uint32 value.

    Attributes:
        init: (seed) → TrainState.
        train: (state, batch, coefficients, seed) → (state, terms), terms being means over the batch.
        evaluate: (params, batch, coefficients, seed) → (terms per example float32[B], codes float32[B, code_size]);
            what is drawn for an image (binarization, corruption, code) is always the same.
        merge: params → Autoencoder.
    """

    init: Callable[..., TrainState]
    train: Callable[..., tuple[TrainState, Terms]]
    evaluate: Callable[..., tuple[Terms, jax.Array]]
    merge: Callable[[Any], Autoencoder]


def build_steps(config: Config, image_shape: ImageShape, steps_per_epoch: int = 1, axis: str | None = None) -> Steps:
    """Everything static is fixed here: architecture, kinds of loss and corruption, optimizer, schedule.

    Args:
        steps_per_epoch: only the schedules depend on it.
        axis: the name of the axis of devices over which a batch is spread, for the mean over all of it.
    """
    configured = config.training.seed
    schedules = {
        "learning_rate": learning_rate_schedule(config.training, steps_per_epoch),
        "beta": warmup_schedule(config.training.beta_warmup_epochs * steps_per_epoch),
    }
    optimizer = optax.chain(
        optax.identity() if config.training.clip_norm is None else optax.clip_by_global_norm(config.training.clip_norm),
        optax.scale_by_adam() if config.training.optimizer == "adam" else optax.identity(),
    )
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: build(config, image_shape, nnx.Rngs(0))), nnx.Param)

    def merge(params: Any) -> Autoencoder:
        return nnx.merge(graphdef, params)

    def init(seed: Seed = configured) -> TrainState:
        model = build(config, image_shape, nnx.Rngs(stream(seed, "parameters")))
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    def example_terms(
        params: Any, batch: Batch, coefficients: Coefficients, key: Callable[[str], Key]
    ) -> tuple[Terms, jax.Array]:
        clean, seen = inputs(config, batch, coefficients, key)
        model, seen = merge(cast(params, config.model.dtype)), cast(seen, config.model.dtype)
        output = cast(model(seen, per_example(key("code"), batch.examples)), jnp.float32)
        terms = losses.loss_terms(config.loss, clean, output, coefficients, axis)
        return {**terms, "total": sum(terms.values())}, output.codes

    def train(
        state: TrainState, batch: Batch, coefficients: Coefficients, seed: Seed = configured
    ) -> tuple[TrainState, Terms]:
        coefficients = {
            name: value * schedules[name](state.step) if name in schedules else value
            for name, value in coefficients.items()
        }

        def key(name: str) -> Key:
            return jax.random.fold_in(stream(seed, name), state.step)

        def loss(params: Any) -> tuple[jax.Array, Terms]:
            terms, _ = example_terms(params, batch, coefficients, key)
            means = {name: term.mean() for name, term in terms.items()}
            return means["total"], means

        gradients, terms = jax.grad(loss, has_aux=True)(state.params)
        if axis is not None and jax.lax.psum(1, axis) > 1:
            # One exchange and not one for each array: on CPU each makes the devices wait for each other.
            flat, apart = ravel_pytree((gradients, terms))
            gradients, terms = apart(jax.lax.pmean(flat, axis))
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        rate = coefficients["learning_rate"]
        params = jax.tree.map(lambda param, update: param - rate * update, state.params, updates)
        return TrainState(state.step + 1, params, opt_state), terms

    def evaluate(
        params: Any, batch: Batch, coefficients: Coefficients, seed: Seed = configured
    ) -> tuple[Terms, jax.Array]:
        return example_terms(params, batch, coefficients, test_keys(seed))

    return Steps(init, train, evaluate, merge)


def inputs(
    config: Config, batch: Batch, coefficients: Coefficients, key: Callable[[str], Key]
) -> tuple[jax.Array, jax.Array]:
    """A batch as the loss and as the model meet it: (clean, corrupted), both float32[B, H, W, C].

    Binarization comes first and changes both; the corruption changes what the model sees.
    """
    clean = unit_interval(batch.images)
    if config.data.binarize:
        clean = binarize(key("binarization"), batch.examples, clean)
    return clean, corrupt(config.corruption.kind, key("corruption"), batch.examples, clean, coefficients["noise"])


def test_keys(seed: Seed) -> Callable[[str], Key]:
    """Stream → key of the one draw that the test images are evaluated with, be it of noise or of codes."""
    return lambda name: stream(seed, f"test {name}")


def learning_rate_schedule(training: Training, steps_per_epoch: int) -> optax.Schedule:
    """The factor on the learning rate at each step: a linear warm-up, then constant or a cosine down to 0."""
    warmup, total = training.warmup_epochs * steps_per_epoch, training.epochs * steps_per_epoch
    if training.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0 if warmup else 1.0, 1.0, warmup, total)
    return warmup_schedule(warmup)


def warmup_schedule(steps: int) -> optax.Schedule:
    """A factor that rises linearly from 0 over `steps`, then stays 1."""
    return optax.warmup_constant_schedule(0.0, 1.0, steps) if steps else optax.constant_schedule(1.0)


def cast(tree: Any, dtype: Any) -> Any:
    """The same arrays in another floating-point type; gradients come back in the first one."""
    return jax.tree.map(lambda array: array.astype(dtype), tree)


def unit_interval(images: jax.Array) -> jax.Array:
    """uint8 from 0 to 255 → float32 from 0 to 1; floats stay as they are."""
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images
