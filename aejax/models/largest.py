"""The n-th largest of many values, found by counting the values above thresholds."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp


def nth_largest(
    values: jax.Array,
    count: jax.Array | float,
    axis: int | None,
    devices: str | None = None,
    guess: jax.Array | float = 0.0,
) -> jax.Array:
    """Return the `count`-th largest value of each row, float32[B, 1], or of all rows, a scalar.

    We count the values above thresholds: `count` may be a traced number, and nothing is sorted. The result is exact for
    up to 2**24 values; 0 if fewer than `count` values are above 0; NaN if `count` is not above 0.

    Args:
        values: float32[B, F], at least 0.
        axis: 1 for each row, None for all rows.
        devices: name of the axis of devices that share the values; `count` is per device.
        guess: a value near the result, where the search begins, except on a GPU; 0 if unknown.
    """
    # Without the barrier, the TPU compiler computes the values again in every pass.
    bits = jax.lax.optimization_barrier(jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.int32))
    bisected = functools.partial(_bisected, axis=axis, devices=devices)
    interpolated = functools.partial(_interpolated, guess=guess, axis=axis, devices=devices)
    on_cpu = functools.partial(bisected, at_once=1, few=_FEW, unroll=False)
    return jax.lax.platform_dependent(
        bits,
        jnp.float32(count),
        cpu=on_cpu if axis == 1 else functools.partial(interpolated, few=_FEW),
        tpu=interpolated,
        default=functools.partial(bisected, at_once=3, few=1, unroll=True),  # GPU: fewer passes, fewer launches
    )


_FEW = 32
"""values: of so few, the compiler for a CPU adds several rows at once"""
_INTERPOLATED = 24
"""passes by interpolation; 8 to 16 suffice if few values are equal"""


def _interpolated(
    bits: jax.Array,
    count: jax.Array,
    *,
    guess: jax.Array | float,
    axis: int | None,
    devices: str | None,
    few: int = 1,
) -> jax.Array:
    """Compute `nth_largest` from the bits of the values, whose order is that of the values.

    We interpolate the logarithm of the number of values at or above a threshold (the Illinois method, Dowell and
    Jarratt 1971), and bisect the bits if that takes long. A GPU's host would wait for each pass.
    """
    begin = jax.lax.bitcast_convert_type(jnp.float32(guess), jnp.int32)
    values = jax.lax.bitcast_convert_type(bits, jnp.float32)
    wanted = jnp.ceil(count * (1 if devices is None else jax.lax.psum(1, devices)))

    def over_all(reduce: Callable, across: Callable, array: jax.Array) -> jax.Array:
        array = reduce(array, axis=1, keepdims=axis == 1)
        array = array if axis == 1 else reduce(jax.lax.optimization_barrier(array))  # in one step: twice the bundles
        return array if devices is None else across(array, devices)

    def at_least(threshold: jax.Array) -> jax.Array:
        above = bits >= threshold
        if few > 1:
            above = above.reshape(-1, math.gcd(few, len(bits)), bits.shape[1]).astype(jnp.int32).sum(axis=1)
            above = jax.lax.optimization_barrier(above)
        return over_all(jnp.sum, jax.lax.psum, above.astype(jnp.float32))

    def excess(number: jax.Array) -> jax.Array:
        return jnp.log((number + 0.5) / wanted)

    def going_on(state: tuple[jax.Array, ...]) -> jax.Array:
        _, low, high, number, *_ = state
        return ((high - low > 1) & (number != wanted)).any()

    def narrowed(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        turn, low, high, number, above, below, side = state
        first, last = (jax.lax.bitcast_convert_type(each, jnp.float32) for each in (low, high))
        between = jax.lax.bitcast_convert_type(first + (last - first) * (above / (above - below)), jnp.int32)
        middle = jnp.where(turn < _INTERPOLATED, between, low + (high - low) // 2)
        middle = jnp.where((turn == 0) & (begin > 0), begin, middle)
        middle = jnp.clip(middle, jnp.minimum(low + 1, high - 1), high - 1)
        found = at_least(middle)
        enough, new = found >= wanted, excess(found)
        # The end that stays twice weighs half.
        above = jnp.where(enough, new, jnp.where(side < 0, above / 2, above))
        below = jnp.where(enough, jnp.where(side > 0, below / 2, below), new)
        low, high = jnp.where(enough, middle, low), jnp.where(enough, high, middle)
        return turn + 1, low, high, jnp.where(enough, found, number), above, below, jnp.where(enough, 1, -1)

    most = jax.lax.bitcast_convert_type(over_all(jnp.max, jax.lax.pmax, values), jnp.int32)
    number = at_least(jnp.ones_like(most))
    enough = number >= wanted
    low, high = enough.astype(jnp.int32), jnp.where(enough, most + 1, 1)
    ends = excess(number), excess(jnp.zeros_like(number))
    _, low, *_ = jax.lax.while_loop(going_on, narrowed, (0, low, high, number, *ends, jnp.zeros_like(low)))
    least = over_all(jnp.min, jax.lax.pmin, jnp.where(bits >= low, values, jnp.inf))
    return jnp.where(count > 0, jnp.where(low > 0, least, 0), jnp.nan)


def _bisected(
    bits: jax.Array, count: jax.Array, *, axis: int | None, devices: str | None, at_once: int, few: int, unroll: bool
) -> jax.Array:
    """Compute `nth_largest` from the bits of the values.

    Args:
        at_once: bits of the threshold per pass over the values; divides 30.
        few: number of values per partial sum, if it divides the axis.
        unroll: whether to unroll the passes. A GPU's host would launch each iteration of a loop. On a CPU, unrolled
            passes would compute the thresholds again for every value.
    """
    few = math.gcd(few, bits.shape[axis or 0])
    shape = (bits.shape[0], few, -1) if axis == 1 else (-1, few, bits.shape[1])
    grouped = bits.reshape(shape)

    def at_least(threshold: jax.Array) -> jax.Array:
        sums = (grouped >= (threshold[..., None] if axis == 1 else threshold)).astype(jnp.int32).sum(axis=1)
        sums = (jax.lax.optimization_barrier(sums) if few > 1 else sums).astype(jnp.float32)
        return sums.sum(axis=1, keepdims=axis == 1)

    def narrowed(found: jax.Array, shift: jax.Array | int, steps: int) -> jax.Array:
        # The thresholds rise, so the number of those with enough values at or above them is the step to take.
        above = jnp.stack([at_least(found + (jnp.int32(step) << shift)) for step in range(1, steps)])
        if axis is None:  # of all thresholds at once, since a GPU launches this sum separately
            above = above.sum(axis=1)
        if devices is not None:
            above = jax.lax.pmean(above, devices)
        return found + ((above >= count).sum(axis=0).astype(jnp.int32) << shift)

    # 31 bits without the sign, the first in its own pass unless there is a pass for each.
    first, passes = int(at_once > 1), 30 // at_once
    found = jnp.zeros((bits.shape[0], 1) if axis == 1 else (), jnp.int32)
    if first:
        found = narrowed(found, 30, 2)
    found = jax.lax.fori_loop(
        first, passes + 1, lambda turn, found: narrowed(found, 30 - at_once * turn, 2**at_once), found, unroll=unroll
    )
    return jax.lax.bitcast_convert_type(found, jnp.float32)
