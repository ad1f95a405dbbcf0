"""Where randomness comes from: a seed and the name of a stream, then epoch, step and example.

No key is ever stored, so a resumed run draws what an uninterrupted one would have drawn; and no key
depends on the layout of a batch or the number of devices.
"""

from __future__ import annotations

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np

Key = jax.Array


def stream(seed: int | jax.Array, name: str) -> Key:
    """The key of one stream of randomness, such as "order" or "corruption"."""
    return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))


def per_example(key: Key, examples: jax.Array) -> Key:
    """One key per example: int32[B] → keys [B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, examples)


def uniform(keys: Key, size: int) -> jax.Array:
    """Independent numbers in [0, 1), one row per key: keys [B] → float32[B, size]."""
    return _unit_interval(_blocks(keys, size)[0])


def normal(keys: Key, size: int) -> jax.Array:
    """Independent standard normal numbers, one row per key: keys [B] → float32[B, size] (Box and Muller 1958).

    Of the pair that the method gives only the cosine's number is taken: all of it is then one loop for the compiler,
    which takes about half of the time of an inverse error function.
    """
    radius, angle = _blocks(keys, size)
    return jnp.sqrt(-2 * _logarithm(1 - _unit_interval(radius))) * _cosine(angle)


def _unit_interval(bits: jax.Array) -> jax.Array:
    """23 of 32 random bits as the mantissa of a number in [1, 2), less 1."""
    return jax.lax.bitcast_convert_type(bits >> 9 | np.uint32(0x3F800000), jnp.float32) - 1


def _logarithm(x: jax.Array) -> jax.Array:
    """Natural, of normal positive numbers, to 2e-7 of its value; XLA's own, good for any, takes twice as long."""
    lowest = np.float32(0.5**0.5).view(np.int32)
    bits = jax.lax.bitcast_convert_type(x, jnp.int32) - lowest
    exponent = (bits >> 23).astype(jnp.float32)
    excess = jax.lax.bitcast_convert_type((bits & 0x7FFFFF) + lowest, jnp.float32) - 1  # from √½ - 1 to √2 - 1
    series = jnp.zeros_like(x)
    for coefficient in reversed(_LOG1P_OVER_X):
        series = series * excess + coefficient
    return exponent * np.float32(np.log(2)) + excess * series


_LOG1P_OVER_X = (
    np.polynomial.Chebyshev.interpolate(lambda x: np.log1p(x) / x, 8, domain=(0.5**0.5 - 1, 2**0.5 - 1))
    .convert(kind=np.polynomial.Polynomial)
    .coef.astype(np.float32)
)


def _cosine(bits: jax.Array) -> jax.Array:
    """Of an angle all around the circle, to 1e-7; XLA's own, good for any angle, takes twenty times as long on CPU."""
    angle = jnp.abs(bits.astype(jnp.int32).astype(jnp.float32)) * np.float32(np.pi * 2**-31)  # from 0 to π
    x = np.float32(np.pi / 2) - angle  # whose sine it is: Taylor's series, |x| ≤ π / 2
    series = jnp.zeros_like(x)
    for n in reversed(range(6)):
        series = series * (x * x) + np.float32((-1) ** n / math.factorial(2 * n + 1))
    return x * series


def _blocks(keys: Key, size: int) -> tuple[jax.Array, jax.Array]:
    """64 random bits for each number, in two halves: keys [B] → uint32[B, size] twice.

    The generator is Threefry-2x32 with 20 rounds, as everywhere in JAX (Salmon et al. 2011). It is written
    out here since JAX compiles its own as a loop on CPU, which took a quarter of a denoising step.
    """
    first, second = jax.random.key_data(keys).T[..., None]
    counter = jnp.arange(size, dtype=jnp.uint32)[None]
    return threefry_2x32(first, second, counter, jnp.zeros_like(counter))


def threefry_2x32(key_0: jax.Array, key_1: jax.Array, x_0: jax.Array, x_1: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The block cipher of the generator: uint32 throughout, shapes broadcast."""
    keys = (key_0, key_1, key_0 ^ key_1 ^ np.uint32(0x1BD11BDA))
    x_0, x_1 = x_0 + key_0, x_1 + key_1
    for group in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x_0 = x_0 + x_1
            x_1 = (x_1 << rotation | x_1 >> (32 - rotation)) ^ x_0
        # In brackets what is the same for a whole row, so that the compiler adds it up once.
        x_0, x_1 = x_0 + keys[(group + 1) % 3], x_1 + (keys[(group + 2) % 3] + np.uint32(group + 1))
    return x_0, x_1
