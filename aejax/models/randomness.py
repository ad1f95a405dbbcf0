"""Where randomness comes from: a seed and the name of a stream, then epoch, step and example.

No key is ever stored, so a resumed run draws what an uninterrupted one would have drawn; and no key
depends on the layout of a batch or the number of devices.
"""

from __future__ import annotations

import functools
import itertools
import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np

Key = jax.Array

DRAWS = 2
"""raised with every change of what is drawn from a seed: orders of examples, noise, codes"""

GENERATOR = "threefry2x32"
"""of all keys, whatever JAX's own default is"""


def stream(seed: int | jax.Array, name: str) -> Key:
    """The key of one stream of randomness, such as "order" or "corruption"."""
    return jax.random.fold_in(jax.random.key(seed, impl=GENERATOR), zlib.crc32(name.encode()))


def per_example(key: Key, examples: jax.Array) -> Key:
    """One key per example: int32[B] → keys [B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, examples)


def uniform(keys: Key, size: int, rows: jax.Array | None = None) -> jax.Array:
    """Independent numbers in [0, 1): float32[B, size].

    Args:
        keys: [B], each of a row; or one for all.
        rows: int32[B], which rows, where there is one key.
    """
    return _side_by_side(_uniforms(_blocks(keys, size, rows)), size)


def normal(keys: Key, size: int, rows: jax.Array | None = None) -> jax.Array:
    """Independent standard normal numbers: float32[B, size], by pairs (Box and Muller 1958).

    Args:
        keys, rows: as in `uniform`.
    """
    return _side_by_side(_normals(_blocks(keys, size, rows)), size)


def uniform_columns(key: Key, size: int, columns: jax.Array) -> jax.Array:
    """The numbers of `uniform` with the examples in columns: float32[size, B] for int32[B], of one key."""
    return jnp.concatenate(_uniforms(_column_blocks(key, size, columns)))[:size]


def normal_columns(key: Key, size: int, columns: jax.Array) -> jax.Array:
    """The numbers of `normal` with the examples in columns: float32[size, B] for int32[B], of one key."""
    return jnp.concatenate(_normals(_column_blocks(key, size, columns)))[:size]


def _side_by_side(halves: tuple[jax.Array, jax.Array], size: int) -> jax.Array:
    return jnp.concatenate(halves, axis=1)[:, :size]


def _uniforms(halves: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    return _unit_interval(halves[0]), _unit_interval(halves[1])


def _normals(halves: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    radius, angle = halves
    radius = jnp.sqrt(-2 * jax.lax.platform_dependent(1 - _unit_interval(radius), cpu=_logarithm, default=jnp.log))
    cosine, sine = _on_the_circle(angle)
    return radius * cosine, radius * sine


def _unit_interval(bits: jax.Array) -> jax.Array:
    """23 of 32 random bits as the mantissa of a number in [1, 2), less 1."""
    return jax.lax.bitcast_convert_type(bits >> 9 | np.uint32(0x3F800000), jnp.float32) - 1


def _logarithm(x: jax.Array) -> jax.Array:
    """Natural, of normal positive numbers, to 2e-7 of its value; on CPU in half the time of XLA's own."""
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
    """Cosine and sine of an angle that 32 bits choose all around the circle, to 4e-7.

    30 bits choose an angle from -π/4 to π/4, where Taylor's series are short. The other two turn it: one exchanges
    cosine and sine, the other changes the sign of the cosine (that of the sine is either one already).
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
"""of a vector on a TPU: two halves of whole vectors are put together for nothing"""


def _blocks(keys: Key, size: int, rows: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Two halves of rows of 32 random bits, which side by side have at least `size`: uint32[B, half] twice.

    The generator is JAX's, Threefry-2x32 (Salmon et al. 2011), with 13 rounds, the faster variant of those that its
    authors give known answers for; JAX takes their default of 20.
    """
    first, second = jax.random.key_data(keys).T[..., None]
    columns = jnp.arange(_half(size), dtype=jnp.uint32)[None]
    rows = jnp.zeros((), jnp.uint32) if rows is None else rows.astype(jnp.uint32)[:, None]
    return threefry_2x32(first, second, columns, rows, rounds=13)


def _column_blocks(key: Key, size: int, columns: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Those of one key, one above the other: uint32[half, B] twice."""
    first, second = jax.random.key_data(key)
    counters = jnp.arange(_half(size), dtype=jnp.uint32)[:, None]
    return threefry_2x32(first, second, counters, columns.astype(jnp.uint32)[None], rounds=13)


def _half(size: int) -> int:
    return -(-size // (2 * _ROWS)) * _ROWS


def threefry_2x32(
    key_0: jax.Array, key_1: jax.Array, x_0: jax.Array, x_1: jax.Array, *, rounds: int
) -> tuple[jax.Array, jax.Array]:
    """The block cipher of the generator: uint32 throughout, shapes broadcast."""
    keys = (key_0, key_1, key_0 ^ key_1 ^ np.uint32(0x1BD11BDA))
    x_0, x_1 = x_0 + key_0, x_1 + key_1
    for number, rotation in zip(range(1, rounds + 1), itertools.cycle(_ROTATIONS), strict=False):
        x_0 = x_0 + x_1
        x_1 = (x_1 << rotation | x_1 >> (32 - rotation)) ^ x_0
        if number % 4 == 0:
            group = number // 4
            # In brackets what is the same for a whole row, so that the compiler adds it up once.
            x_0, x_1 = x_0 + keys[group % 3], x_1 + (keys[(group + 1) % 3] + np.uint32(group))
    return x_0, x_1


_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
