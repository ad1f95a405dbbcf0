"""Synthetic vectors of known features, computed on the device: a ground truth for sparse autoencoders.

An example is a bias plus the sum of the unit directions of its active features, each multiplied by its strength. The
distribution is that of SynthSAEBench (arXiv 2602.14687). Feature probabilities follow Zipf's law, features are
correlated, and some form trees: a child is active only if its parent is, and at most one sibling is active.

    uv run experiments/train.py experiments/gallery/l1.py --dataset experiments/gallery/sparse_features.py:small
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import aejax
from aejax.config.checks import COUNT, SEED, Allowed, is_non_negative, is_whole, require, require_types
from aejax.data import Computed
from aejax.models.randomness import GENERATOR, normal, stream, uniform

LAW = 1
"""version of the distribution; raise it when a specification draws other examples"""

Count = Annotated[int, COUNT]
Whole = Annotated[int, Allowed(lambda value: is_whole(value, 0), "a whole number of at least 0")]
NonNegative = Annotated[float, Allowed(is_non_negative, "a finite number of at least 0")]
Positive = Annotated[float, Allowed(lambda value: is_non_negative(value) and value > 0, "above 0")]


def small() -> aejax.Dataset:
    """Return `sparse_features_512`: for two processor cores, about 10 active features per example."""
    return SparseFeatures(features=512, dimensions=64, roots=8, depth=2, least=9e-3).dataset("sparse_features_512")


def large() -> aejax.Dataset:
    """Return `sparse_features_16k`: the distribution of SynthSAEBench-16k, about 34 active features per example."""
    law = SparseFeatures(features=16_384, dimensions=768, roots=128, train=8_388_608, test=16_384)
    return law.dataset("sparse_features_16k")


@dataclass(frozen=True)
class SparseFeatures:
    """Specify the distribution; `SparseFeatures(...).dataset()` is a `Dataset` of it.

    The first features form `roots` trees, numbered breadth first. If several siblings would be active, one is chosen at
    random. The strength of a child is multiplied by its parent's strength over the parent's mean strength. The
    probabilities of children are raised, so that each is active about as often as without a tree.
    """

    features: Count
    """F"""
    dimensions: Count
    """D"""
    roots: Whole
    """number of trees; 0 for none"""
    branching: Count = 4
    """children of each feature in a tree, except in its last level"""
    depth: Whole = 3
    """levels of a tree below its root"""
    exponent: NonNegative = 0.5
    """of Zipf's law: probabilities fall as 1 / rank**exponent, rescaled to the interval from `least` to `most`"""
    most: float = 0.4
    """probability that the first feature is active"""
    least: float = 5e-4
    """probability that the last feature is active"""
    rank: Count = 25
    """number of hidden normal variables that correlate the features"""
    correlation: NonNegative = 0.1
    """standard deviation of a feature's weights of the hidden variables"""
    first_strength: Positive = 5.0
    """mean strength of the first feature; the mean falls linearly"""
    last_strength: Positive = 4.0
    """mean strength of the last feature"""
    deviation: NonNegative = 0.5
    """mean of the normal distribution whose magnitude is the standard deviation of a feature's strength"""
    deviation_spread: NonNegative = 0.5
    """standard deviation of that normal distribution"""
    bias: NonNegative = 0.5
    """length of the bias"""
    orthogonalization_steps: Whole = 100
    """steps of Adam that make the random directions more orthogonal"""
    orthogonalization_rate: NonNegative = 3e-4
    """learning rate of these steps"""
    seed: Annotated[int, SEED] = 0
    """of the distribution and of its examples"""
    train: Count = 262_144
    """training examples in an epoch; the next epoch continues with new examples"""
    test: Count = 8_192
    """test examples"""

    def __post_init__(self) -> None:
        require_types(self, "SparseFeatures")
        require(0 < self.least <= self.most < 1, "most", self.most, f"from least, {self.least}, to below 1")
        most = self.features // (self.in_trees // max(1, self.roots) or 1)
        require(self.in_trees <= self.features, "roots", self.roots, f"at most {most}, for {self.features} features")

    @property
    def levels(self) -> list[int]:
        """Number of features in each level of the trees."""
        return [self.roots * self.branching**level for level in range(self.depth + 1)]

    @property
    def in_trees(self) -> int:
        """Number of features in trees."""
        return sum(self.levels)

    @property
    def parts(self) -> list[tuple[int, ...]]:
        """Shapes [position, roots] of the tree levels, and [features] of the features outside trees."""
        outside = self.features - self.in_trees
        levels = [(size // self.roots, self.roots) for size in self.levels if self.roots]
        return levels + ([(outside,)] if outside else [])

    def dataset(self, name: str = "array") -> aejax.Dataset:
        """Return the `Dataset` of this distribution.

        Args:
            name: appears in figures and reports.
        """
        return aejax.Dataset(name, SparseVectors(self, "train"), SparseVectors(self, "test"))

    def probabilities(self) -> np.ndarray:
        """Return the intended probability of each feature, float64[F]."""
        ranks = np.arange(1, self.features + 1) ** -float(self.exponent)
        share = (ranks - ranks[-1]) / ((ranks[0] - ranks[-1]) or 1)
        return self.least + (self.most - self.least) * share

    def raised(self) -> np.ndarray:
        """Return the probability of each feature given its parent and no siblings, float64[F]."""
        alone = self.probabilities()
        raised, first = alone.copy(), 0
        for parents, children in zip(self.levels[:-1], self.levels[1:], strict=True):
            own = alone[first + parents : first + parents + children].reshape(parents, self.branching)
            parent = alone[first : first + parents, None]
            competing = (own.sum(axis=1, keepdims=True) - own) / parent
            raised[first + parents : first + parents + children] = (own / parent * (1 + competing)).ravel()
            first += parents
        return np.minimum(raised, 1)

    def places(self) -> np.ndarray:
        """Return the index of each feature in the concatenated parts of `strengths`, int[F].

        A tree level has the axes [child, index of the parent as a child, ..., root]. The first children of all parents
        are adjacent, and the parents keep the order of the level above.
        """
        order, first = [], 0
        for level, count in enumerate(self.levels):
            numbers = first + np.arange(count).reshape(self.roots, *[self.branching] * level)
            order.append(numbers.transpose().ravel())
            first += count
        return np.argsort(np.concatenate([*order, np.arange(first, self.features)]))


class SparseVectors(Computed):
    """Examples float32[N, D] of a specification.

    The product with the directions has JAX's default precision: bfloat16 on a TPU, TF32 on a GPU.
    """

    def __init__(self, specification: SparseFeatures, part: str) -> None:
        shape = getattr(specification, part), specification.dimensions
        super().__init__(part, shape, [LAW, dataclasses.asdict(specification)])
        self.specification = specification

    @property
    def arrays(self) -> Law:
        """NumPy arrays of the distribution; the first access orthogonalizes the directions, which takes a while."""
        key = _stream(self.specification, "training" if self.part == "train" else "test")
        return Law(np.asarray(jax.random.key_data(jax.random.split(key, 3))), *_drawn(self.specification))

    @property
    def shapes(self) -> Law:
        """Shapes and types of `arrays`, without computing them."""
        law, zeros = self.specification, functools.partial(np.broadcast_to, np.float32(0))
        parts = [
            Part(zeros((*each, law.rank)), zeros(each), zeros(each), zeros(each), zeros((*each, law.dimensions)))
            for each in law.parts
        ]
        return Law(np.broadcast_to(np.uint32(0), (3, 2)), zeros((law.dimensions,)), tuple(parts))

    def make(self, arrays: Law, examples: jax.Array) -> jax.Array:
        """Compute examples within a program: int32[B] → float32[B, D]."""
        # One product per part: XLA for a TPU fuses the strengths into it, and need not concatenate them.
        made = arrays.bias
        for active, part in zip(strengths(self.specification, arrays, examples), arrays.parts, strict=True):
            axes = tuple(range(active.ndim - 1))
            made = made + jnp.tensordot(active, part.directions, (axes, axes))
        return made

    def active(self, arrays: Law, examples: jax.Array) -> jax.Array:
        """Compute the strength of each feature within a program, 0 where inactive: int32[B] → float32[B, F]."""
        parts = strengths(self.specification, arrays, examples)
        every = jnp.concatenate([active.reshape(-1, len(examples)) for active in parts])
        return every[self.specification.places()].T

    @property
    def truth(self) -> SparseVectors:
        """The features that the examples are made of."""
        return self

    @property
    def probabilities(self) -> np.ndarray:
        """Intended probability of each feature, float32[F]."""
        return np.float32(self.specification.probabilities())

    @property
    def directions(self) -> np.ndarray:
        """Unit vector of each feature, float32[F, D]."""
        parts = [part.directions.reshape(-1, self.specification.dimensions) for part in self.arrays.parts]
        return np.concatenate(parts)[self.specification.places()]

    @property
    def bias(self) -> np.ndarray:
        """The bias of all examples, float32[D]."""
        return self.arrays.bias

    def activations(self, examples: Any = None) -> np.ndarray:
        """Return the strength of each feature, 0 where inactive: float32[N, F].

        Args:
            examples: a slice or int[N]; None takes all, 1 GB for the test examples of `sparse_features_16k`.
        """
        chosen = np.arange(len(self))[slice(None) if examples is None else examples]
        return self.in_chunks("active", chosen, self.specification.features)


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
    """[position, roots, ...] of each tree level, then [features, ...] of the features outside trees"""


def strengths(law: SparseFeatures, arrays: Law, examples: jax.Array) -> list[jax.Array]:
    """Compute the strength of each feature, float32[..., B] for each part of the law.

    At most one feature per level of a tree is active. So each level of a tree draws one uniform and one normal number,
    and the uniform number selects the active child, if any. Outside trees, a uniform number is compared with the
    probability given the hidden variables, which needs half the random bits of a normal number. Examples are columns:
    accelerators split and join rows for free, but not columns.
    """
    keys = jax.random.wrap_key_data(arrays.keys, impl=GENERATOR)
    count, slots = len(examples), law.roots * len(law.levels) + law.features - law.in_trees
    # Both factors of this product are exact in bfloat16: one pass of a matrix unit computes it to float32.
    hidden = normal(keys[0], law.rank, examples, axis=0)
    hidden = jax.lax.reduce_precision(hidden, exponent_bits=8, mantissa_bits=7)
    # The middle of each of 2**23 intervals: 0 itself would be below every probability.
    chance = uniform(keys[1], slots, examples, axis=0) + np.float32(2**-24)
    strength = normal(keys[2], slots, examples, axis=0)
    # Without the barrier, XLA for a CPU draws the numbers again for each feature.
    chance, strength = jax.lax.optimization_barrier((chance, strength))

    found, slot = [], 0
    active = jnp.ones((law.roots, count), jnp.float32)  # strength over mean of the active feature; 0 if none
    path = jnp.zeros((law.roots, count), jnp.int32)  # index of the active feature in its level
    for part in arrays.parts:
        bounds = part.thresholds[..., None] - jnp.tensordot(part.weights, hidden, 1)
        mean, deviation = part.mean[..., None], part.deviation[..., None]
        if bounds.ndim == 2:  # outside trees
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
    np.polynomial.Chebyshev.interpolate(np.vectorize(lambda x: np.log2(NormalDist().cdf(-x))), 9, domain=(0, _FAR))
    .convert(kind=np.polynomial.Polynomial)
    .coef.astype(np.float32)
)


def _above(bounds: jax.Array) -> jax.Array:
    """Compute the upper tail of the normal distribution, to a relative error of 1e-5 in the smaller tail."""
    distance = jnp.minimum(jnp.abs(bounds), _FAR)
    logarithm = jnp.zeros_like(distance)
    for coefficient in reversed(_LOG2_ABOVE):
        logarithm = logarithm * distance + coefficient
    beyond = jnp.exp2(logarithm)
    return jnp.where(bounds < 0, 1 - beyond, beyond)


def _stream(law: SparseFeatures, name: str) -> jax.Array:
    return stream(law.seed, f"sparse features: {name}")


@functools.lru_cache(2)
def _drawn(law: SparseFeatures) -> tuple[np.ndarray, tuple[Part, ...]]:
    """Draw the bias and the parts of a specification, which training and test examples share."""
    rows = np.arange(law.features, dtype=np.int32)

    @jax.jit
    def drawn() -> tuple[jax.Array, ...]:
        sizes = {"correlations": law.rank, "deviations": 1, "bias": law.dimensions, "directions": law.dimensions}
        *few, directions = (normal(_stream(law, name), size, rows) for name, size in sizes.items())
        return *few, _orthogonalized(law, directions)

    factor, spread, bias, directions = jax.device_get(drawn())
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
