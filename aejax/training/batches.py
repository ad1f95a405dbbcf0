"""Which examples come when."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Training
from aejax.models.randomness import Key, stream

_ROUNDS_PER_BIT = 4
"""of the number of things; with 2, neighbours stay together too often, with 3 nothing was seen any more"""


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
    # One after another: with an axis of passes beside that of places, a TPU's vectors would be filled by an eighth.
    passes = jax.lax.map(lambda key: permutation(key, examples)[:kept], jax.random.split(key, training.passes))
    return passes.reshape(-1, training.batch_size)


def permutation(key: Key, count: int) -> jax.Array:
    """A random order of `count` things: int32[count], without sorting them.

    This is the swap-or-not shuffle (Hoang, Morris and Rogaway 2012), a bijection whose every place is computed alone.
    Each round pairs all places at random, x with offset - x, and every pair swaps or not by a bit of its own.
    """
    rounds = _ROUNDS_PER_BIT * max(8, count.bit_length())
    offsets, *keys = jax.random.bits(key, (3, rounds), jnp.uint32)
    offsets = (offsets % np.uint32(count)).astype(jnp.int32)
    keys = jax.lax.bitcast_convert_type(jnp.stack(keys), jnp.int32)

    def swap_or_not(index: jax.Array, places: jax.Array) -> jax.Array:
        partners = offsets[index] - places
        partners = jnp.where(partners < 0, partners + count, partners)
        return jnp.where(_coin(jnp.maximum(places, partners), *keys[:, index]), partners, places)

    places = jnp.arange(count, dtype=jnp.int32)
    return jax.lax.fori_loop(0, rounds, swap_or_not, places, unroll=_ROUNDS_PER_BIT)


def _coin(bits: jax.Array, first: jax.Array, second: jax.Array) -> jax.Array:
    """int32 and two keys → bool, by additions and shifts (Jenkins 1997): a TPU takes tens of them for a product."""
    right = jax.lax.shift_right_logical
    bits = bits + first
    bits = bits + (bits << 10)
    bits = (bits ^ right(bits, np.int32(6))) + second
    bits = bits + (bits << 3)
    bits = bits ^ right(bits, np.int32(11))
    return bits + (bits << 15) < 0


def in_turn(steps: int, batch_size: int) -> jax.Array:
    """The first examples in order, each once: int32[steps, batch_size]."""
    return jnp.arange(steps * batch_size, dtype=jnp.int32).reshape(steps, batch_size)
