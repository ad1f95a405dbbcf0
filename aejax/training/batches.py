"""Batches: the examples of each step of an epoch, and the input and the target of a model."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from aejax.config import Config, Training
from aejax.models.corruption import augment, binarize, corrupt
from aejax.models.randomness import Key, stream
from aejax.training.optimizer import Values

Keys = Callable[[str], Key]
Imputed = tuple[float, ...]

OBSERVED = "observed"
"""name of the mask in a traced step, by which `require_observed` finds it"""

_ROUNDS_PER_BIT = 4
"""rounds per bit of the number of items; with 2, neighbours stay together too often; 3 showed no defect"""


class Batch(NamedTuple):
    images: jax.Array  # [B, H, W, C], uint8, or float32, float16 or bfloat16 as given by the user
    examples: jax.Array  # int32[B], the index of each image in its dataset
    labels: jax.Array | None = None  # int32[B], the classes; None without labels
    targets: jax.Array | None = None  # [B, ...] of a type of the images; None where the target is the input


def inputs(
    config: Config, batch: Batch, coefficients: Values, key: Keys, imputed: Imputed, training: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Return the target of the loss and the corrupted input of the model, both float32[B, H, W, C], binarized first.

    In `training`, both are augmented before anything else.
    The third result, bool[B, H, W, C], is False where a value of the target is missing. It is None unless
    `data.missing` is mask. Target and input have the numbers of `imputed`, of each feature, in place of missing values.
    Targets of the dataset's own are float32[B, ...], neither binarized nor corrupted, and never missing.
    """
    clean, observed = unit_interval(batch.images), None
    if training and (kinds := config.data.augmentation):
        clean = augment(kinds, key("augmentation"), batch.examples, clean, coefficients)
    if config.data.missing == "mask":
        missing = jnp.isnan(clean)
        clean = jnp.where(missing, jnp.float32(imputed)[:, None], clean)
        observed = checkpoint_name(~missing, OBSERVED) if batch.targets is None else None
    seen = clean
    if config.data.binarize:
        clean = seen = binarize(key("binarization"), batch.examples, clean)
    if config.corruption.kind != "none":
        seen = corrupt(config.corruption.kind, key("corruption"), batch.examples, clean, coefficients["noise"])
    return clean if batch.targets is None else unit_interval(batch.targets), seen, observed


def unit_interval(images: jax.Array) -> jax.Array:
    """Convert uint8 from 0 to 255 to float32 from 0 to 1, and floats to float32."""
    pixels = images.astype(jnp.float32)
    return pixels / 255 if images.dtype == jnp.uint8 else pixels


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
