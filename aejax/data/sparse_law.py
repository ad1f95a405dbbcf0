"""What a specification of sparse features becomes on a device: its numbers, and which features fire how strongly."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aejax.data.sparse_features import SparseFeatures

if TYPE_CHECKING:
    import jax

LAW = 1
"""raised with every change of what is drawn from a specification"""


class Part(NamedTuple):
    """Features that are made together, a level of the trees or those beside them, in the order of `places`."""

    weights: jax.Array
    """float32[..., rank], of the hidden variables; a bfloat16 has each exactly"""
    thresholds: jax.Array
    """float32[...]: a feature fires where a normal number is above this less its weighted hidden variables"""
    mean: jax.Array
    """float32[...], of the strength"""
    deviation: jax.Array
    """float32[...], of the strength"""
    directions: jax.Array
    """float32[..., D]"""


class Law(NamedTuple):
    """What the examples of a specification are computed from."""

    keys: jax.Array
    """uint32[3, 2], of the hidden variables, of what fires, of how strongly; other ones for test than for training"""
    bias: jax.Array
    """float32[D]"""
    parts: tuple[Part, ...]
    """[numbers as children, roots, ...] of each level of the trees, [features, ...] of those beside them"""


def strengths(law: SparseFeatures, arrays: Law, examples: jax.Array) -> list[jax.Array]:
    """How strongly each feature fires, float32[..., B] of each part of the law.

    In a tree at most one feature of each level fires, so one uniform and one normal number are drawn for a level of a
    tree, and not for each feature. The uniform one decides at once whether a child fires, and which. That of a feature
    beside the trees is compared with the probability that it fires given the hidden variables, which takes half as many
    random bits as to draw a normal number for it. Examples are columns, so that families are rows: an accelerator takes
    rows apart and puts them together for nothing, and not columns.
    """
    import jax
    import jax.numpy as jnp

    from aejax.models.randomness import GENERATOR, normal_columns, uniform_columns

    keys = jax.random.wrap_key_data(arrays.keys, impl=GENERATOR)
    count, slots = len(examples), law.roots * len(law.levels) + law.features - law.in_trees
    # Both factors of this product are bfloat16: one pass of a matrix unit gives it exactly, to float32.
    hidden = normal_columns(keys[0], law.rank, examples)
    hidden = jax.lax.reduce_precision(hidden, exponent_bits=8, mantissa_bits=7)
    # In the middle of each of 2**23 intervals: the least one is not always below a small probability.
    chance = uniform_columns(keys[1], slots, examples) + np.float32(2**-24)
    strength = normal_columns(keys[2], slots, examples)
    # Else a processor would draw them again for each of the features that they are for.
    chance, strength = jax.lax.optimization_barrier((chance, strength))

    found, slot = [], 0
    active = jnp.ones((law.roots, count), jnp.float32)  # strength of a tree's feature over its mean; 0 of none
    path = jnp.zeros((law.roots, count), jnp.int32)  # which of its level it is
    for part in arrays.parts:
        bounds = part.thresholds[..., None] - jnp.tensordot(part.weights, hidden, 1)
        mean, deviation = part.mean[..., None], part.deviation[..., None]
        if bounds.ndim == 2:  # beside the trees
            own = jax.nn.relu(mean + deviation * strength[slot:slots])
            found.append(jnp.where(chance[slot:slots] < _above(bounds), own, 0))
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


def _winner(probabilities: jax.Array, chance: jax.Array) -> jax.Array:
    """Which of several siblings fires: int32[N, B], their number where none does.

    Each would fire by itself; of those that would, each is as likely to be left. That one of k is left has the
    probability 1/k, and the mean of 1/(1 + others) is the integral over y from 0 to 1 of the product of (1 - p y) over
    the others, a polynomial, which so many nodes of Gauss integrate exactly.

    Args:
        probabilities: float32[siblings, N, B], that each would fire.
        chance: float32[N, B], uniform in (0, 1).
    """
    import jax.numpy as jnp

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
"""standard deviations, beyond which a normal number is once in 10**12"""


def _above(bounds: jax.Array) -> jax.Array:
    """The probability that a normal number is above these, to 1e-5 of the lesser of it and its complement."""
    import jax.numpy as jnp

    distance = jnp.minimum(jnp.abs(bounds), _FAR)
    logarithm = jnp.zeros_like(distance)
    for coefficient in reversed(_LOG2_ABOVE):
        logarithm = logarithm * distance + coefficient
    beyond = jnp.exp2(logarithm)
    return jnp.where(bounds < 0, 1 - beyond, beyond)


def _polynomial(values: Sequence[float]) -> np.ndarray:
    return np.log2([NormalDist().cdf(-value) for value in values])


_LOG2_ABOVE = (
    np.polynomial.Chebyshev.interpolate(_polynomial, 9, domain=(0, _FAR))
    .convert(kind=np.polynomial.Polynomial)
    .coef.astype(np.float32)
)


@functools.lru_cache(4)
def law_of(law: SparseFeatures, part: str) -> Law:
    import jax

    from aejax.models.randomness import normal, stream

    def key(name: str) -> jax.Array:
        return stream(law.seed, f"sparse features: {name}")

    if part == "train":  # of which only the keys differ
        keys = jax.random.key_data(jax.random.split(key("training"), 3))
        return law_of(law, "test")._replace(keys=np.asarray(keys))
    rows = np.arange(law.features, dtype=np.int32)
    keys = jax.random.key_data(jax.random.split(key("test"), 3))

    @jax.jit
    def drawn() -> tuple[jax.Array, ...]:
        sizes = {"correlations": law.rank, "deviations": 1, "bias": law.dimensions, "directions": law.dimensions}
        *few, directions = (normal(key(name), size, rows) for name, size in sizes.items())
        return *few, _orthogonalized(law, directions)

    factor, spread, bias, directions = jax.device_get(drawn())
    factor = law.correlation * np.float64(factor)
    shared = np.minimum(np.square(factor).sum(axis=1, keepdims=True), 1e12)
    factor *= np.sqrt(np.minimum(1, 0.99 / np.maximum(shared, 1e-12)))
    # Over the standard deviation of a feature's own part, so that this has the variance 1; then of 8 bits.
    weights = _rounded(factor / np.sqrt(1 - np.square(factor).sum(axis=1, keepdims=True)))
    inverse = NormalDist().inv_cdf
    quantiles = np.array([-inverse(min(probability, 1 - 2**-24)) for probability in law.raised()])
    thresholds = quantiles * np.sqrt(1 + np.square(np.float64(weights)).sum(axis=1))

    bias = np.float64(bias[0])
    features = Part(
        weights,
        np.float32(thresholds),
        np.float32(np.linspace(law.first_strength, law.last_strength, law.features)),
        np.float32(np.abs(law.deviation + law.deviation_spread * spread[:, 0])),
        directions,
    )
    parts = np.split(np.argsort(law.places()), np.cumsum([math.prod(each) for each in law.parts])[:-1])
    return Law(
        np.asarray(keys),
        np.float32(law.bias * bias / np.linalg.norm(bias)),
        tuple(
            Part(*(leaf[part].reshape(*shape, *leaf.shape[1:]) for leaf in features))
            for part, shape in zip(parts, law.parts, strict=True)
        ),
    )


def _rounded(array: np.ndarray) -> np.ndarray:
    """To the nearest bfloat16, as float32."""
    import jax.numpy as jnp

    return np.float32(np.asarray(array, np.float32).astype(jnp.bfloat16))


def _orthogonalized(law: SparseFeatures, directions: jax.Array) -> jax.Array:
    """Unit vectors [F, D] whose inner products have become small.

    Minimised is the sum of the squares of all inner products of two directions, and F times the sum of the squares of
    what their squared lengths differ from 1 by. The gradient goes by the sum of all outer products, [D, D], so that no
    array [F, F] is made.
    """
    import jax
    import jax.numpy as jnp

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

    def all_steps(rows: jax.Array) -> jax.Array:
        rows = unit(rows)
        zeros = jnp.zeros_like(rows)
        return unit(jax.lax.fori_loop(0, law.orthogonalization_steps, step, (rows, zeros, zeros))[0])

    with jax.default_matmul_precision("highest"):
        return all_steps(directions)
