"""A ground truth for sparse autoencoders: vectors made of known features, drawn on the device and stored nowhere.

An example is a sum of some of F unit directions in D dimensions, each times how strongly its feature fires, and a
bias. Which fire follows the law of SynthSAEBench (arXiv 2602.14687): rare features by Zipf's law, correlated with each
other, some of them in trees, where a feature fires only with its parent and never with its siblings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aejax.config.checks import is_count, is_non_negative, is_seed, is_whole, require, require_types


@dataclass(frozen=True)
class SparseFeatures:
    """What such examples follow from. `SparseFeatures(...).dataset()` is a `Dataset`, made as it is needed.

    The first features are `roots` trees, numbered breadth first. A child fires only where its parent does, of several
    children that would fire one is left at random, and its strength is multiplied by that of its parent divided by the
    parent's mean. Their probabilities are raised so that each fires about as often as it would alone.
    """

    features: int
    """F"""
    dimensions: int
    """D"""
    roots: int
    """number of trees; 0 has none"""
    branching: int = 4
    """children of each feature in a tree but the last level's"""
    depth: int = 3
    """levels of a tree below its root"""
    exponent: float = 0.5
    """of Zipf's law: probabilities fall as 1 / rank**exponent, moved and scaled to go from `most` to `least`"""
    most: float = 0.4
    """probability that the first feature fires"""
    least: float = 5e-4
    """probability that the last feature fires"""
    rank: int = 25
    """number of hidden normal variables that all features depend on, by which they are correlated"""
    correlation: float = 0.1
    """standard deviation of each feature's weights of these"""
    first_strength: float = 5.0
    """mean strength of the first feature; it falls linearly"""
    last_strength: float = 4.0
    """mean strength of the last feature"""
    deviation: float = 0.5
    """mean of the normal distribution whose magnitude is the standard deviation of a feature's strength"""
    deviation_spread: float = 0.5
    """standard deviation of that distribution"""
    bias: float = 0.5
    """length of the vector that is added to all examples"""
    orthogonalization_steps: int = 100
    """steps of Adam by which the directions, random at first, are made more orthogonal"""
    orthogonalization_rate: float = 3e-4
    """their learning rate"""
    seed: int = 0
    """of the law and of all its examples"""
    train: int = 262_144
    """training examples in an epoch; the next epoch goes on where the last one ended"""
    test: int = 8_192
    """test examples"""

    def __post_init__(self) -> None:
        require_types(self, "sparse features")
        for name in ("features", "dimensions", "branching", "rank", "train", "test"):
            require(is_count(getattr(self, name)), name, getattr(self, name), "a whole number of at least 1")
        for name in ("roots", "depth", "orthogonalization_steps"):
            require(is_whole(getattr(self, name), 0), name, getattr(self, name), "a whole number of at least 0")
        for name in ("exponent", "correlation", "deviation", "deviation_spread", "bias", "orthogonalization_rate"):
            require(is_non_negative(getattr(self, name)), name, getattr(self, name), "a finite number of at least 0")
        for name in ("first_strength", "last_strength"):
            value = getattr(self, name)
            require(is_non_negative(value) and value > 0, name, value, "above 0")
        require(0 < self.least <= self.most < 1, "most", self.most, f"from least, {self.least}, to below 1")
        require(is_seed(self.seed), "seed", self.seed, "a whole number from 0 to 2**32 - 1")
        require(
            self.in_trees <= self.features,
            "roots",
            self.roots,
            f"at most {self.features // (self.in_trees // max(1, self.roots) or 1)}, whose trees have "
            f"{self.features} features",
        )

    @property
    def levels(self) -> list[int]:
        """How many features each level of the trees has."""
        return [self.roots * self.branching**level for level in range(self.depth + 1)]

    @property
    def in_trees(self) -> int:
        """How many features are in trees."""
        return sum(self.levels)

    @property
    def parts(self) -> list[tuple[int, ...]]:
        """[numbers as children, roots] of each level of the trees, and [features] of those beside them."""
        beside = self.features - self.in_trees
        levels = [(size // self.roots, self.roots) for size in self.levels if self.roots]
        return levels + ([(beside,)] if beside else [])

    def dataset(self, name: str = "array") -> Any:
        """The `Dataset` of this law.

        Args:
            name: what figures and reports call it.
        """
        from aejax.data.dataset import Dataset
        from aejax.data.generated import GeneratedArray

        return Dataset(name, GeneratedArray(self, "train"), GeneratedArray(self, "test"))

    def probabilities(self) -> np.ndarray:
        """How often each feature is meant to fire: float64[F]."""
        ranks = np.arange(1, self.features + 1) ** -float(self.exponent)
        share = (ranks - ranks[-1]) / ((ranks[0] - ranks[-1]) or 1)
        return self.least + (self.most - self.least) * share

    def raised(self) -> np.ndarray:
        """How often each would fire if it were in no tree, float64[F]: so that within it, it fires about as meant."""
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
        """Where each feature is among those of `sparse_law.strengths`, int[F].

        There a level of the trees is [child, its parent's number as a child, ..., root], so that the first children of
        all parents are side by side, then the second ones, and the parents are in the order of the level before.
        """
        order, first = [], 0
        for level, count in enumerate(self.levels):
            numbers = first + np.arange(count).reshape(self.roots, *[self.branching] * level)
            order.append(numbers.transpose().ravel())
            first += count
        return np.argsort(np.concatenate([*order, np.arange(first, self.features)]))


KNOWN = {
    "sparse_features_512": SparseFeatures(features=512, dimensions=64, roots=8, depth=2, least=9e-3),
    "sparse_features_16k": SparseFeatures(
        features=16_384, dimensions=768, roots=128, train=8_388_608, test=16_384
    ),
}  # fmt: skip
"""by name: one for two cores, of which about 10 features are active in an example, and that of SynthSAEBench-16k, with
about 34"""
