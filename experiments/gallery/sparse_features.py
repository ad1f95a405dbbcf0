"""Synthetic vectors of known features, computed on the device: a ground truth for sparse autoencoders.

An example is a bias plus the sum of the unit directions of its active features, each multiplied by its strength. The
distribution is that of SynthSAEBench (arXiv 2602.14687). Feature probabilities follow Zipf's law, features are
correlated, and some form trees: a child is active only if its parent is, and at most one sibling is active.

    uv run experiments/train.py experiments/gallery/l1.py --dataset experiments/gallery/sparse_features.py:small
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

import aejax
from aejax.config.checks import COUNT, EPOCHS, POSITIVE, SEED, Allowed, Section, is_finite, require
from aejax.config.user_files import own
from aejax.data import Computed
from aejax.models.randomness import stream

# By its path, as users load this file: the folder need not be on the path of modules.
Law, Part, drawn, strengths = (
    own(f"{Path(__file__).with_name('sparse_law.py')}:{name}", "data.name")
    for name in ("Law", "Part", "drawn", "strengths")
)
LAW = 2
"""version of the distribution; raise it when a specification draws other examples"""

Count = Annotated[int, COUNT]
Whole = Annotated[int, EPOCHS]
NonNegative = Annotated[float, Allowed(lambda value: is_finite(value) and value >= 0, "a finite number of at least 0")]
Positive = Annotated[float, POSITIVE]


def small() -> aejax.Dataset:
    """Return `sparse_features_512`: for two processor cores, about 10 active features per example."""
    return SparseFeatures(features=512, dimensions=64, roots=8, depth=2, least=9e-3).dataset("sparse_features_512")


def large() -> aejax.Dataset:
    """Return `sparse_features_16k`: the distribution of SynthSAEBench-16k, about 34 active features per example."""
    law = SparseFeatures(features=16_384, dimensions=768, roots=128, train=8_388_608, test=16_384)
    return law.dataset("sparse_features_16k")


@dataclass(frozen=True)
class SparseFeatures(Section):
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
        self.require_types("SparseFeatures")
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
    def groups(self) -> int:
        """Number of groups of the features outside trees, of at most 16 members, which share random numbers.

        Two normal numbers serve the active members of a group. So groups have more than 2 members only where three
        active members are rare, about once in a million groups.
        """
        outside = self.features - self.in_trees
        most = self.probabilities()[self.in_trees :].max(initial=0.0)
        sizes = (size for size in range(16, 0, -1) if size <= 2 or (size * most) ** 3 <= 8e-6)
        return outside // next(size for size in sizes if outside % size == 0)

    @property
    def parts(self) -> list[tuple[int, ...]]:
        """Shapes [position, roots] of the tree levels, and [members, groups] of the features outside trees."""
        levels = [(size // self.roots, self.roots) for size in self.levels if self.roots]
        return levels + ([((self.features - self.in_trees) // self.groups, self.groups)] if self.groups else [])

    def dataset(self, name: str = "array") -> aejax.Dataset:
        """Return the `Dataset` of this distribution.

        Args:
            name: appears in figures and reports.
        """
        return aejax.Dataset(name, SparseVectors(self, "train"), SparseVectors(self, "test"))

    def stream(self, name: str) -> jax.Array:
        """Return the random key for a purpose."""
        return stream(self.seed, f"sparse features: {name}")

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
        key = self.specification.stream("training" if self.part == "train" else "test")
        return Law(np.asarray(jax.random.key_data(jax.random.split(key, 3))), *drawn(self.specification))

    @property
    def shapes(self) -> Law:
        """Shapes and types of `arrays`, without computing them."""
        law, zeros = self.specification, functools.partial(np.broadcast_to, np.float32(0))
        last = (law.rank,), (), (), (), (law.dimensions,)
        parts = [Part(*(zeros(each + axes) for axes in last)) for each in law.parts]
        return Law(np.broadcast_to(np.uint32(0), (3, 2)), zeros((law.dimensions,)), tuple(parts))

    def make(self, arrays: Law, examples: jax.Array) -> jax.Array:
        """Compute examples within a program: int32[B] → float32[B, D]."""

        def product(*factors: jax.Array) -> jax.Array:
            axes = tuple(range(factors[0].ndim - 1))
            return jnp.tensordot(*factors, (axes, axes))

        def flat(*factors: jax.Array) -> jax.Array:  # XLA for a CPU multiplies only matrices fast
            return jnp.tensordot(*(factor.reshape(-1, factor.shape[-1]) for factor in factors), (0, 0))

        # One product per part: XLA for a TPU fuses the strengths into it, and need not concatenate them.
        made = arrays.bias
        for active, part in zip(strengths(self.specification, arrays, examples), arrays.parts, strict=True):
            made = made + jax.lax.platform_dependent(active, part.directions, cpu=flat, default=product)
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
