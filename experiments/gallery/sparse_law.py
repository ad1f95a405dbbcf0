"""The distribution of sparse features: arrays drawn once, and the features of an example computed within a program.

`sparse_features.py` specifies the distribution.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.models.randomness import GENERATOR, normal, threefry_2x32

if TYPE_CHECKING:
    from gallery.sparse_features import SparseFeatures


class Part(NamedTuple):
    """Arrays of the features of one tree level, or of the features outside trees, in the order of `places`."""

    weights: jax.Array
    """float32[..., rank] of the hidden variables, each exact in bfloat16"""
    thresholds: jax.Array
    """float32[...]; a feature is active if a normal number exceeds this minus the weighted hidden variables"""
    mean: jax.Array
    """float32[...] of the strength"""
    deviation: jax.Array
    """float32[...] of the strength"""
    directions: jax.Array
    """float32[..., D]"""


class Law(NamedTuple):
    """Arrays that the examples of a specification are computed from."""

    keys: jax.Array
    """uint32[3, 2] for hidden variables, activity and strength; training and test have different keys"""
    bias: jax.Array
    """float32[D]"""
    parts: tuple[Part, ...]
    """[position, roots, ...] of each tree level, then [members, groups, ...] of the features outside trees"""


def strengths(law: SparseFeatures, arrays: Law, examples: jax.Array) -> list[jax.Array]:
    """Compute the strength of each feature, float32[..., B] for each part of the law.

    At most one feature per level of a tree is active. So each level of a tree draws one uniform and one normal number,
    and the uniform number selects the active child, if any. Outside trees, each group of features draws one uniform
    number, which selects the active features of the group, and two normal numbers, which these features use in turn.
    Examples are columns: accelerators split and join rows for free, but not columns.
    """
    keys = jax.random.wrap_key_data(arrays.keys, impl=GENERATOR)
    count, in_levels = len(examples), law.roots * len(law.levels)
    slots = in_levels + law.groups
    # Both factors of this product are exact in bfloat16: one pass of a matrix unit computes it to float32.
    hidden = normal(keys[0], law.rank, examples, axis=0)
    hidden = jax.lax.reduce_precision(hidden, exponent_bits=8, mantissa_bits=7)
    chance, strength = _chance(keys[1], slots, examples), normal(keys[2], slots + law.groups, examples, axis=0)
    # Without the barrier, XLA for a CPU draws the numbers again for each feature.
    chance, strength = jax.lax.optimization_barrier((chance, strength))

    found, slot = [], 0
    active = jnp.ones((law.roots, count), jnp.float32)  # strength over mean of the active feature; 0 if none
    path = jnp.zeros((law.roots, count), jnp.int32)  # index of the active feature in its level
    for part in arrays.parts:
        bounds = part.thresholds[..., None] - jnp.tensordot(part.weights, hidden, 1)
        mean, deviation = part.mean[..., None], part.deviation[..., None]
        if slot == in_levels:
            found.append(_of_groups(bounds, chance[slot:], mean, deviation, strength[slot:slots], strength[slots:]))
            break
        here = slice(slot, slot + law.roots)
        width, slot = len(bounds), slot + law.roots
        if width == 1:
            path = jnp.where(chance[here] < _above(bounds[0]), 0, 1)
        else:
            parents = width // law.branching
            families = bounds.reshape(law.branching, parents, law.roots, count)
            family = families[:, 0]
            for parent in range(1, parents):
                family = jnp.where(path == parent, families[:, parent], family)
            path = path + parents * _winner(_above(family), chance[here])
        own = jax.nn.relu(mean + deviation * strength[here]) * active
        own = jnp.where(path == jnp.arange(width)[:, None, None], own, 0)
        active = (own / mean).sum(axis=0)
        found.append(own)
    return found


def _chance(key: jax.Array, size: int, examples: jax.Array) -> jax.Array:
    """Draw uniform numbers, float32[size, B]: the middle of one of 2**31 intervals, rounded to float32."""
    half, (first, second) = -(-size // 2), jax.random.key_data(key)
    rows, columns = jnp.arange(half, dtype=jnp.uint32)[:, None], examples.astype(jnp.uint32)
    bits = jnp.concatenate(threefry_2x32(first, second, rows, columns, rounds=13))[:size]
    return ((bits >> 1).astype(jnp.int32).astype(jnp.float32) + np.float32(0.5)) * np.float32(2**-31)


def _of_groups(
    bounds: jax.Array, chance: jax.Array, mean: jax.Array, deviation: jax.Array, *normals: jax.Array
) -> jax.Array:
    """Compute the strengths of the features outside trees: float32[members, groups, B], 0 where inactive.

    An interval of the uniform number belongs to each set of active members. Each member in turn divides the interval
    of the members before.

    Args:
        bounds: float32[members, groups, B].
        chance: float32[groups, B], uniform in (0, 1).
        normals: float32[groups, B] twice, for the first, third, ... and for the second, fourth, ... active member.
    """
    found, low, width = [], jnp.zeros_like(chance), jnp.ones_like(chance)
    turn = jnp.zeros(chance.shape, bool)
    for member, probability in enumerate(_above(bounds)):
        share = width * probability
        active = chance < low + share
        low, width = jnp.where(active, low, low + share), jnp.where(active, share, width - share)
        own = jax.nn.relu(mean[member] + deviation[member] * jnp.where(turn, normals[1], normals[0]))
        found.append(jnp.where(active, own, 0))
        turn = turn ^ active
    return jnp.stack(found)


def _winner(probabilities: jax.Array, chance: jax.Array) -> jax.Array:
    """Choose the active sibling: int32[N, B], or the number of siblings if none is active.

    Siblings are active independently, and one of the active ones is chosen uniformly. The expectation of
    1 / (1 + other active siblings) is the integral over y from 0 to 1 of the product of (1 - p y) over the others.
    Gauss-Legendre quadrature integrates this polynomial exactly.

    Args:
        probabilities: float32[siblings, N, B] of each sibling alone.
        chance: float32[N, B], uniform in (0, 1).
    """
    each = list(probabilities)
    nodes, weights = np.polynomial.legendre.leggauss((len(each) + 1) // 2)
    alone = [0.0] * len(each)
    for node, weight in zip(np.float32(nodes / 2 + 0.5), np.float32(weights / 2), strict=True):
        silent = [1 - probability * node for probability in each]
        for sibling in range(len(each)):
            others = silent[:sibling] + silent[sibling + 1 :]
            alone[sibling] = alone[sibling] + functools.reduce(lambda a, b: a * b, others, weight)
    winner, until = jnp.zeros(chance.shape, jnp.int32), 0.0
    for probability, share in zip(each, alone, strict=True):
        until = until + probability * share
        winner = winner + (chance >= until)
    return winner


_FAR = 7.0
"""standard deviations; a normal number exceeds them once in 10**12"""

_LOG2_ABOVE = (
    np.polynomial.Chebyshev.interpolate(np.vectorize(lambda x: np.log2(math.erfc(x / 2**0.5) / 2)), 7, domain=(0, _FAR))
    .convert(kind=np.polynomial.Polynomial)
    .coef.astype(np.float32)
)


def _above(bounds: jax.Array) -> jax.Array:
    """Compute the upper tail of the normal distribution, to a relative error of 2e-5 in the smaller tail."""
    distance = jnp.minimum(jnp.abs(bounds), _FAR)
    logarithm = jnp.zeros_like(distance)
    for coefficient in reversed(_LOG2_ABOVE):
        logarithm = logarithm * distance + coefficient
    beyond = jnp.exp2(logarithm)
    return jnp.where(bounds < 0, 1 - beyond, beyond)


@functools.lru_cache(2)
def drawn(law: SparseFeatures) -> tuple[np.ndarray, tuple[Part, ...]]:
    """Draw the bias and the parts of a specification, which training and test examples share."""
    rows = np.arange(law.features, dtype=np.int32)

    @jax.jit
    def random() -> tuple[jax.Array, ...]:
        sizes = {"correlations": law.rank, "deviations": 1, "bias": law.dimensions, "directions": law.dimensions}
        *few, directions = (normal(law.stream(name), size, rows) for name, size in sizes.items())
        return *few, _orthogonalized(law, directions)

    factor, spread, bias, directions = jax.device_get(random())
    factor = law.correlation * np.float64(factor)
    shared = np.minimum(np.square(factor).sum(axis=1, keepdims=True), 1e12)
    factor *= np.sqrt(np.minimum(1, 0.99 / np.maximum(shared, 1e-12)))
    # Divided by the standard deviation of the feature's own noise, which then has variance 1; rounded to bfloat16.
    weights = np.float32(factor / np.sqrt(1 - np.square(factor).sum(axis=1, keepdims=True)))
    weights = weights.astype(jnp.bfloat16).astype(np.float32)
    quantiles = [-NormalDist().inv_cdf(min(probability, 1 - 2**-24)) for probability in law.raised()]
    features = Part(
        weights,
        np.float32(quantiles * np.sqrt(1 + np.square(np.float64(weights)).sum(axis=1))),
        np.float32(np.linspace(law.first_strength, law.last_strength, law.features)),
        np.float32(np.abs(law.deviation + law.deviation_spread * spread[:, 0])),
        directions,
    )
    parts, order, first = [], np.argsort(law.places()), 0
    for shape in law.parts:
        chosen = order[first : first + math.prod(shape)].reshape(shape)
        parts.append(Part(*(leaf[chosen] for leaf in features)))
        first += chosen.size
    bias = np.float64(bias[0])
    return np.float32(law.bias * bias / np.linalg.norm(bias)), tuple(parts)


def _orthogonalized(law: SparseFeatures, directions: jax.Array) -> jax.Array:
    """Reduce the inner products of unit vectors [F, D] by Adam.

    The loss is the sum of all squared inner products of two directions, plus F times the sum of the squared deviations
    of their squared lengths from 1. Its gradient needs the matrix [D, D] of summed outer products, not [F, F].
    """

    def unit(rows: jax.Array) -> jax.Array:
        return rows / jnp.linalg.norm(rows, axis=1, keepdims=True)

    def step(number: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        rows, first, second = state
        square = jnp.square(rows).sum(axis=1, keepdims=True)
        gradient = 4 * (rows @ (rows.T @ rows) - square * rows + law.features * (square - 1) * rows)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        turn = jnp.float32(number + 1)
        mean, variance = first / (1 - 0.9**turn), second / (1 - 0.999**turn)
        return rows - law.orthogonalization_rate * mean / (jnp.sqrt(variance) + 1e-8), first, second

    with jax.default_matmul_precision("highest"):
        rows = unit(directions)
        state = rows, jnp.zeros_like(rows), jnp.zeros_like(rows)
        return unit(jax.lax.fori_loop(0, law.orthogonalization_steps, step, state)[0])
