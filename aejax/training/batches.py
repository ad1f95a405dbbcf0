"""Which examples come when."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from aejax.config import Training
from aejax.models.randomness import Key, stream


def steps_per_epoch(training: Training, examples: int) -> int:
    """Full batches in an epoch; the last, smaller batch of each pass is dropped."""
    return training.passes * (examples // training.batch_size)


def epoch_order(training: Training, examples: int, epoch: jax.Array, seed: int | None = None) -> jax.Array:
    """The examples of every step of an epoch: int32[steps, batch_size], a fresh permutation per pass.

    Args:
        seed: of the order; None takes that of everything else.
    """
    key = jax.random.fold_in(stream(training.seed if seed is None else seed, "order"), epoch)
    kept = examples // training.batch_size * training.batch_size
    passes = jax.vmap(permutation, (0, None))(jax.random.split(key, training.passes), examples)[:, :kept]
    return passes.reshape(-1, training.batch_size)


def permutation(key: Key, count: int) -> jax.Array:
    """A random order of `count` things: int32[count].

    Things are sorted by 32 random bits each; two that have the same (few will) keep the order of their indices. The
    bits come in parts, the lower ones first, each beside the place where a thing stands: numbers are sorted five times
    as fast as pairs, which on a processor would take 5 % of an epoch.
    """
    place_bits = (count - 1).bit_length()
    places = order = jnp.arange(count, dtype=jnp.uint32)
    for random in jax.random.bits(key, (math.ceil(32 / (32 - place_bits)), count)):
        order = order[jnp.sort(random << place_bits | places) & (2**place_bits - 1)]
    return order.astype(jnp.int32)


def in_turn(steps: int, batch_size: int) -> jax.Array:
    """The first examples in order, each once: int32[steps, batch_size]."""
    return jnp.arange(steps * batch_size, dtype=jnp.int32).reshape(steps, batch_size)
