"""Which examples come when."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from aejax.config import Training
from aejax.streams import stream


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
    # Sorting 32 random bits per example takes half the time of jax.random.permutation, which sorts twice lest
    # two keys be equal; such a pair stands in the order of its indices, which no one will notice.
    passes = jnp.argsort(jax.random.bits(key, (training.passes, examples)), axis=1)[:, :kept]
    return passes.reshape(-1, training.batch_size).astype(jnp.int32)


def in_turn(examples: int, batch_size: int) -> jax.Array:
    """Every example once, in order: int32[steps, batch_size], the last batch filled up with indices past the end."""
    steps = -(-examples // batch_size)
    return jnp.arange(steps * batch_size, dtype=jnp.int32).reshape(steps, batch_size)
