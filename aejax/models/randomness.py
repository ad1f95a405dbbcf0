"""Random numbers from a seed and the name of a stream, then epoch or step, and example.

We store no key, so a resumed run draws the numbers of an uninterrupted run. No key depends on the layout of a batch or
on the number of devices.
"""

import functools
import itertools
import math
import zlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Key = jax.Array

DRAWS = 2
"""version of all numbers drawn from a seed (orders of examples, noise, codes); raise it with every change of them"""

GENERATOR = "threefry2x32"
"""generator of all keys, independent of JAX's default"""


def stream(seed: int | jax.Array, name: str) -> Key:
    """Return the key of a stream of random numbers, such as "order" or "corruption"."""
    return jax.random.fold_in(jax.random.key(seed, impl=GENERATOR), zlib.crc32(name.encode()))


def per_example(key: Key, examples: jax.Array) -> Key:
    """Return one key for each example: int32[B] → keys [B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, examples)


def uniform(keys: Key, size: int, rows: jax.Array | None = None, *, axis: int = 1) -> jax.Array:
    """Draw independent numbers in [0, 1): float32[B, size].

    Args:
        keys: one key for each row, [B], or a single key.
        rows: int32[B], the index of each row, needed with a single key.
        axis: 1, or 0 for the transposed numbers float32[size, B] of a single key.
    """
    return _joined([*map(_unit_interval, _blocks(keys, size, rows, axis))], size, axis)


def normal(keys: Key, size: int, rows: jax.Array | None = None, *, axis: int = 1) -> jax.Array:
    """Draw standard normal numbers in pairs (Box and Muller 1958): float32[B, size]; arguments as in `uniform`."""
    radius, angle = _blocks(keys, size, rows, axis)
    radius = jnp.sqrt(-2 * jax.lax.platform_dependent(1 - _unit_interval(radius), cpu=_logarithm, default=jnp.log))
    cosine, sine = _on_the_circle(angle)
    return _joined((radius * cosine, radius * sine), size, axis)


def _joined(halves: Sequence[jax.Array], size: int, axis: int) -> jax.Array:
    numbers = jnp.concatenate(halves, axis=axis)
    return numbers[:, :size] if axis == 1 else numbers[:size]


def _unit_interval(bits: jax.Array) -> jax.Array:
    """Return a number in [0, 1) from 32 random bits: 23 of them are the mantissa of a number in [1, 2), less 1."""
    return jax.lax.bitcast_convert_type(bits >> 9 | np.uint32(0x3F800000), jnp.float32) - 1


def _logarithm(x: jax.Array) -> jax.Array:
    """Return the natural logarithm of normal positive numbers to 2e-7, in half the time of XLA on a CPU."""
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


def _on_the_circle(bits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return cosine and sine, to 4e-7, of a uniform angle from 32 bits.

    30 bits choose an angle from -π/4 to π/4, where the Taylor series are short. One further bit exchanges cosine and
    sine, and the last bit is the sign of the cosine. The sine has either sign already.
    """
    x = jax.lax.bitcast_convert_type(bits << 2, jnp.int32).astype(jnp.float32) * np.float32(np.pi / 4 * 2**-31)
    square = x * x
    cosine, sine = (
        functools.reduce(
            lambda series, n, odd=odd: series * square + np.float32((-1) ** n / math.factorial(2 * n + odd)),
            reversed(range(5 - odd)),
            jnp.zeros_like(x),
        )
        for odd in (0, 1)
    )
    sign = bits & np.uint32(0x80000000)
    cosine = jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(cosine, jnp.uint32) ^ sign, jnp.float32)
    exchanged = bits & np.uint32(0x40000000) != 0
    return jnp.where(exchanged, x * sine, cosine), jnp.where(exchanged, cosine, x * sine)


_ROWS = 8
"""rows of a TPU vector: concatenating two halves of whole vectors is free"""


def _blocks(keys: Key, size: int, rows: jax.Array | None, axis: int) -> tuple[jax.Array, jax.Array]:
    """Draw 32 random bits for at least `size` numbers of each row, as two halves of the row: uint32[B, half] twice.

    The generator is JAX's Threefry-2x32 (Salmon et al. 2011), but with 13 rounds where JAX uses 20. Its authors publish
    known answers for both.
    """
    first, second = jax.random.key_data(keys).T[..., None] if axis == 1 else jax.random.key_data(keys)
    half = -(-size // (2 * _ROWS)) * _ROWS
    columns = jnp.expand_dims(jnp.arange(half, dtype=jnp.uint32), 1 - axis)
    rows = jnp.zeros((), jnp.uint32) if rows is None else jnp.expand_dims(rows.astype(jnp.uint32), axis)
    return threefry_2x32(first, second, columns, rows, rounds=13)


def threefry_2x32(
    key_0: jax.Array, key_1: jax.Array, x_0: jax.Array, x_1: jax.Array, *, rounds: int
) -> tuple[jax.Array, jax.Array]:
    """Apply the block cipher of the generator to uint32 arrays, whose shapes broadcast."""
    keys = (key_0, key_1, key_0 ^ key_1 ^ np.uint32(0x1BD11BDA))
    x_0, x_1 = x_0 + key_0, x_1 + key_1
    for number, rotation in zip(range(1, rounds + 1), itertools.cycle(_ROTATIONS), strict=False):
        x_0 = x_0 + x_1
        x_1 = (x_1 << rotation | x_1 >> (32 - rotation)) ^ x_0
        if number % 4 == 0:
            group = number // 4
            # The bracketed sum is the same for a whole row, so the compiler computes it once.
            x_0, x_1 = x_0 + keys[group % 3], x_1 + (keys[(group + 1) % 3] + np.uint32(group))
    return x_0, x_1


_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
