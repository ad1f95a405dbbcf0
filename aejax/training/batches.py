"""The order of the examples."""

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Training
from aejax.models.randomness import Key, stream

_ROUNDS_PER_BIT = 4
"""rounds per bit of the number of items; with 2, neighbours stay together too often; 3 showed no defect"""


def steps_per_epoch(training: Training, examples: int) -> int:
    """Count the full batches in an epoch; the last, smaller batch of each pass is dropped."""
    return training.passes * (examples // training.batch_size)


def part(most: int, left: int) -> int:
    """Return the steps of the next part: `most`, or one more rather than leave a single step.

    XLA inlines a loop of one turn, and then rounds differently.
    """
    return left if left <= most + 1 else max(2, most)


def epoch_order(training: Training, examples: int, epoch: jax.Array, seed: int | jax.Array) -> jax.Array:
    """Draw the examples of every step of an epoch: int32[steps, batch_size], a fresh permutation per pass."""
    key = jax.random.fold_in(stream(seed, "order"), epoch)
    kept = examples // training.batch_size * training.batch_size
    # A loop: with a second axis for the passes, a TPU would fill an eighth of its vectors.
    passes = jax.lax.map(lambda key: permutation(key, examples)[:kept], jax.random.split(key, training.passes))
    return passes.reshape(-1, training.batch_size)


def permutation(key: Key, count: int) -> jax.Array:
    """Draw a random permutation, int32[count], by the swap-or-not shuffle (Hoang, Morris and Rogaway 2012).

    Each round pairs all positions, x with offset - x, and a pseudorandom bit decides whether a pair swaps.
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
    """Hash int32 and two keys to a bool by additions and shifts (Jenkins 1997), which a TPU prefers to products."""
    right = jax.lax.shift_right_logical
    bits = bits + first
    bits = bits + (bits << 10)
    bits = (bits ^ right(bits, np.int32(6))) + second
    bits = bits + (bits << 3)
    bits = bits ^ right(bits, np.int32(11))
    return bits + (bits << 15) < 0
