"""Random changes of each image: corruption of the input, binarization, and augmentation of input and target."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from aejax.models import randomness
from aejax.models.randomness import Key


def gaussian(key: Key, examples: jax.Array, pixels: jax.Array, strength: jax.Array) -> jax.Array:
    """Add normal noise of standard deviation `strength` and clip to [0, 1]."""
    return jnp.clip(pixels + strength * randomness.normal(key, pixels.shape[1], examples), 0, 1)


def masking(key: Key, examples: jax.Array, pixels: jax.Array, strength: jax.Array) -> jax.Array:
    """Set each pixel to 0 with probability `strength` (Vincent et al. 2010)."""
    return jnp.where(randomness.uniform(key, pixels.shape[1], examples) < strength, 0, pixels)


def salt_and_pepper(key: Key, examples: jax.Array, pixels: jax.Array, strength: jax.Array) -> jax.Array:
    """Set each pixel to 0 or 1, evenly, with probability `strength` (Vincent et al. 2010)."""
    draw = randomness.uniform(key, pixels.shape[1], examples)
    return jnp.where(draw < strength / 2, 0, jnp.where(draw < strength, 1, pixels))


CORRUPTIONS = {"gaussian": gaussian, "masking": masking, "salt_and_pepper": salt_and_pepper}


def corrupt(kind: str, key: Key, examples: jax.Array, images: jax.Array, strength: jax.Array) -> jax.Array:
    """Corrupt a batch.

    Args:
        kind: a name in `CORRUPTIONS`, or "none".
        key: key of the step.
        examples: int32[B], the index of each image in its dataset, which determines the noise together with `key`.
        images: float32[B, H, W, C] in [0, 1].
        strength: a scalar, the standard deviation or the probability.
    """
    if kind == "none":
        return images
    flat = images.reshape(len(images), -1)  # the compiler does not vectorise a last axis of one channel
    corrupted = CORRUPTIONS[kind](key, examples, flat, strength)
    # Without the barrier, the TPU compiler draws the noise again in each matrix product that reads it.
    return jax.lax.optimization_barrier(corrupted).reshape(images.shape)


def binarize(key: Key, examples: jax.Array, images: jax.Array) -> jax.Array:
    """Draw each pixel as 0 or 1, with its value as the probability of 1 (Salakhutdinov and Murray 2008).

    The arguments are those of `corrupt`. A new key for each step makes it "dynamic" (Burda et al. 2016).
    """
    flat = images.reshape(len(images), -1)
    draw = randomness.uniform(key, flat.shape[1], examples)
    return jax.lax.optimization_barrier((draw < flat).astype(jnp.float32)).reshape(images.shape)  # see `corrupt`


def augment(
    kinds: Sequence[str], key: Key, examples: jax.Array, images: jax.Array, coefficients: Mapping[str, jax.Array]
) -> jax.Array:
    """Crop, flip and shift each image of a batch, by those that `kinds` names; aejax/README.md describes them.

    Args:
        key: key of the step.
        examples: int32[B], the index of each image in its dataset, which determines the draws together with `key`.
        images: float32[B, H, W, C].
        coefficients: `shift` and `crop`, where `kinds` names them.
    """
    down, right, mirror, share, top, left = randomness.uniform(key, 6, examples, axis=0)
    most, share = jnp.round(coefficients.get("shift", 0.0)), 1 - (1 - coefficients.get("crop", 1.0)) * share
    weights = []
    for side, move, place, flips in zip(images.shape[1:3], (down, right), (top, left), (False, True), strict=True):
        pixels = jnp.arange(side, dtype=jnp.float32)[:, None]
        at = jnp.broadcast_to(pixels, (side, len(images)))  # the place in the image of each pixel of the result
        if "shift" in kinds:
            at = at + most - jnp.floor(move * (2 * most + 1))
        inside = (at >= 0) & (at < side)
        if flips and "flip" in kinds:
            at = jnp.where(mirror < 0.5, side - 1 - at, at)
        if "crop" in kinds:
            at = jnp.clip((at + 0.5) * share - 0.5 + place * (1 - share) * side, 0, side - 1)
        weights.append(jnp.where(inside[:, None], jnp.maximum(0, 1 - jnp.abs(at[:, None] - pixels)), 0))
    made = jax.lax.platform_dependent(*weights, images, tpu=_sums, default=_products)
    return jax.lax.optimization_barrier(made)  # otherwise, each reader could compute it again


def _products(rows: jax.Array, columns: jax.Array, images: jax.Array) -> jax.Array:
    """Apply weights [H, H, B] and [W, W, B]: in full float32, so that whole pixels keep their values."""
    moved = jnp.einsum("ihb,bhwc->biwc", rows, images, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("jwb,biwc->bijc", columns, moved, precision=jax.lax.Precision.HIGHEST)


def _sums(rows: jax.Array, columns: jax.Array, images: jax.Array) -> jax.Array:
    """Compute `_products` with the batch along the lanes of a TPU, whose matrix units are too large for one image."""
    batch, height, width, channels = images.shape
    rows, columns = jax.lax.optimization_barrier((rows, columns))
    moved = images.reshape(batch, -1).T.reshape(height, -1, batch)
    moved = (rows[:, :, None] * moved).sum(axis=1).reshape(height, width, channels, batch)
    moved = moved.swapaxes(0, 1).reshape(width, -1, batch)
    moved = (columns[:, :, None] * moved).sum(axis=1).reshape(width, height, channels, batch)
    return moved.swapaxes(0, 1).reshape(-1, batch).T.reshape(images.shape)
