"""Random changes of each image: corruption of the input, and binarization."""

from __future__ import annotations

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
