"""Random changes of each training image, and of its target: shift, horizontal flip, crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from aejax.models import randomness
from aejax.models.randomness import Key


def augment(
    kinds: Sequence[str], key: Key, examples: jax.Array, images: jax.Array, coefficients: Mapping[str, jax.Array]
) -> jax.Array:
    """Crop, flip and shift each image of a batch, by those that `kinds` names.

    A crop enlarges a window to the size of the image, by bilinear interpolation. The sides of the window are a share of
    the image's sides, drawn from `crop` to 1. A flip exchanges left and right with probability 1/2. A shift moves the
    image by whole pixels, at most `shift` along each axis, and fills with 0.

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
