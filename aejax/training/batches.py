"""Which examples come when."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Training
from aejax.models.randomness import Key, stream

_ROUNDS_PER_BIT = 6
"""of the number of things: beyond what its authors need for an order that nobody tells from a random one"""


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
    """A random order of `count` things: int32[count], without sorting them.

    This is the swap-or-not shuffle (Hoang, Morris and Rogaway 2012), a bijection whose every place is computed alone.
    Each round pairs all places at random, x with offset - x, and every pair swaps or not by a bit of its own.
    """
    rounds = _ROUNDS_PER_BIT * max(8, count.bit_length())
    offsets, masks = jax.random.bits(key, (2, rounds))
    offsets = offsets % np.uint32(count)

    def swap_or_not(index: jax.Array, places: jax.Array) -> jax.Array:
        offset = offsets[index]
        partners = jnp.where(places > offset, offset + np.uint32(count) - places, offset - places)
        pair = jnp.maximum(places, partners) ^ masks[index]
        return jnp.where(_mixed(pair) >> 31 == 0, places, partners)

    places = jnp.arange(count, dtype=jnp.uint32)
    return jax.lax.fori_loop(0, rounds, swap_or_not, places, unroll=_ROUNDS_PER_BIT).astype(jnp.int32)


def _mixed(bits: jax.Array) -> jax.Array:
    """uint32 → uint32 whose every bit depends on all (the finalizer of MurmurHash3)."""
    bits = (bits ^ bits >> 16) * np.uint32(0x85EBCA6B)
    bits = (bits ^ bits >> 13) * np.uint32(0xC2B2AE35)
    return bits ^ bits >> 16


def in_turn(steps: int, batch_size: int) -> jax.Array:
    """The first examples in order, each once: int32[steps, batch_size]."""
    return jnp.arange(steps * batch_size, dtype=jnp.int32).reshape(steps, batch_size)
