"""A ground truth for sparse autoencoders: vectors made of known features, drawn on the device and stored nowhere.

An example is a sum of some of F unit directions in D dimensions, each times how strongly its feature fires, and a
bias. Which fire follows the law of SynthSAEBench (arXiv 2602.14687): rare features by Zipf's law, correlated with each
other, some of them in trees, where a feature fires only with its parent and never with its siblings.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aejax.config import InputError
from aejax.config.checks import is_count, is_non_negative, is_seed, is_whole, require, require_types
from aejax.data.mapped import require_memory

if TYPE_CHECKING:
    import jax

LAW = 1
"""raised with every change of what is drawn from a specification"""

_ROWS = 256
"""examples that are made at a time where they are wanted as an array"""

_LANES = 256
"""two vectors of a TPU: so many numbers of an example are drawn at a time, since they come in two halves"""


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

    def dataset(self, name: str = "array") -> Any:
        """The `Dataset` of this law.

        Args:
            name: what figures and reports call it.
        """
        from aejax.data.dataset import Dataset

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
        """Where each feature is among those of `_strengths`, int[F].

        There a level of the trees is [child of ..., child of its root, root]: what a child of number j takes part in
        is then a row of whole vectors, and its parents are one of the rows before.
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


class Law(NamedTuple):
    """What the examples of a specification are computed from; features in the order of `SparseFeatures.places`."""

    keys: jax.Array
    """uint32[3, 2], of the hidden variables, of what fires, of how strongly; other ones for test than for training"""
    weights: jax.Array
    """float32[rank, F], of the hidden variables; a bfloat16 has each exactly"""
    thresholds: jax.Array
    """float32[F]: a feature fires where a normal number is above its threshold minus the weighted hidden variables"""
    mean: jax.Array
    """float32[F], of the strength"""
    deviation: jax.Array
    """float32[F], of the strength"""
    directions: jax.Array
    """float32[F, D]"""
    bias: jax.Array
    """float32[D]"""


class GeneratedArray:
    """Examples float32[N, D] that are computed when they are asked for: by an index, a slice, an array of indices.

    Attributes:
        specification: of the law.
        part: "train" or "test", whose random numbers have nothing in common.
        nbytes: of the training part, what a device keeps for it, which is the law; of the test part, all examples.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, specification: SparseFeatures, part: str) -> None:
        self.specification, self.part = specification, part
        self.shape = getattr(specification, part), specification.dimensions
        self.size = self.shape[0] * self.shape[1]
        sizes = [leaf.size for leaf in self.shapes]
        self.nbytes = 4 * (sum(sizes) if part == "train" else self.size)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"GeneratedArray({self.part} of {self.specification})"

    def __getitem__(self, index: Any) -> np.ndarray:
        """These rows, float32[D] or [..., D], as of an array."""
        columns = ()
        if isinstance(index, tuple):
            index, *columns = index
        chosen = np.asarray(index)
        if isinstance(index, slice) or index is Ellipsis or chosen.dtype == bool:
            chosen = np.arange(len(self))[index]
        elif chosen.size and not (-len(self) <= chosen.min() and chosen.max() < len(self)):
            raise IndexError(f"index {index} is out of bounds for {len(self)} examples")
        chosen = np.where(chosen < 0, chosen + len(self), chosen)
        rows = self._in_parts(_compiled("make"), chosen.ravel(), self.shape[1])
        return rows.reshape(*chosen.shape, self.shape[1])[(..., *columns)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._whole if dtype is None else self._whole.astype(dtype)

    @functools.cached_property
    def _whole(self) -> np.ndarray:
        rows = self[:]
        rows.setflags(write=False)
        return rows

    @property
    def arrays(self) -> Law:
        """What `make` takes, NumPy arrays; the first time the directions are made orthogonal, which takes a while."""
        return _law(self.specification, self.part)

    @property
    def shapes(self) -> Law:
        """The shapes and types of `arrays`, which are not computed for it."""
        features, dimensions = self.specification.features, self.specification.dimensions
        shapes = (
            (3, 2),
            (self.specification.rank, features),
            *[(features,)] * 3,
            (features, dimensions),
            (dimensions,),
        )
        types = (np.uint32, *[np.float32] * 6)
        return Law(*(np.broadcast_to(np.zeros((), each), shape) for shape, each in zip(shapes, types, strict=True)))

    def make(self, arrays: Law, examples: jax.Array) -> jax.Array:
        """Within a program: the examples of these numbers, int32[B] → float32[B, D].

        An example depends on its number alone, whatever else is in the batch. The product with the directions is of
        JAX's default precision: on a TPU of bfloat16, on a GPU of TF32.
        """
        import jax.numpy as jnp

        return jnp.dot(_strengths(self.specification, arrays, examples), arrays.directions) + arrays.bias

    def activations(self, arrays: Law, examples: jax.Array) -> jax.Array:
        """Within a program: how strongly each feature fires in these, 0 where it does not, float32[B, F]."""
        return _strengths(self.specification, arrays, examples)[:, self.specification.places()]

    def strengths(self, examples: Any = None) -> np.ndarray:
        """The same as an array, of these examples, or of all: float32[N, F]."""
        chosen = np.arange(len(self))[slice(None) if examples is None else examples]
        return self._in_parts(_compiled("activations"), chosen, self.specification.features)

    @property
    def fingerprint(self) -> str:
        """Tells one law and its examples from another."""
        content = json.dumps([LAW, dataclasses.asdict(self.specification)], sort_keys=True)
        return f"{self.part} generated{list(self.shape)} {hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def _in_parts(self, compiled: Any, chosen: np.ndarray, columns: int) -> np.ndarray:
        """Rows of examples int[N], all computed by one program for `_ROWS`, whatever their number."""
        require_memory(4 * len(chosen) * columns, f"to make {len(chosen):,} examples", "ask for fewer")
        rows = np.empty((len(chosen), columns), np.float32)
        for first in range(0, len(chosen), _ROWS):
            part = chosen[first : first + _ROWS]
            examples = np.resize(part, _ROWS).astype(np.int32)
            rows[first : first + _ROWS] = compiled(self, self.arrays, examples)[: len(part)]
        return rows


class Truth:
    """What a trained model can be held against.

    Attributes:
        specification: of the law.
        probabilities: how often each feature is meant to fire, float32[F].
    """

    def __init__(self, specification: SparseFeatures) -> None:
        self.specification, self._test = specification, GeneratedArray(specification, "test")
        self.probabilities = np.float32(specification.probabilities())

    @property
    def directions(self) -> np.ndarray:
        """Of each feature, of length 1: float32[F, D]."""
        return self._test.arrays.directions[self.specification.places()]

    @property
    def bias(self) -> np.ndarray:
        """What is added to every example: float32[D]."""
        return self._test.arrays.bias

    def activations(self, examples: Any = None) -> np.ndarray:
        """How strongly each feature fires in test examples, 0 where it does not: float32[N, F].

        Args:
            examples: a slice or int[N] of them; None takes all, of which the full size is 1 GB.
        """
        return self._test.strengths(examples)


@functools.cache
def _compiled(method: str) -> Any:
    import jax

    def call(array: GeneratedArray, arrays: Law, examples: jax.Array) -> jax.Array:
        return getattr(array, method)(arrays, examples)

    @functools.cache
    def of(specification: SparseFeatures) -> Any:
        return jax.jit(functools.partial(call, GeneratedArray(specification, "test")))

    return lambda array, arrays, examples: np.asarray(of(array.specification)(arrays, examples))


def _strengths(law: SparseFeatures, arrays: Law, examples: jax.Array) -> jax.Array:
    """How strongly each feature fires, float32[B, F], in the order of `places`.

    In a tree at most one feature of each level fires, so one uniform and one normal number are drawn for a level of a
    tree, and not for each feature. The uniform one decides at once whether a child fires, and which. That of a feature
    beside the trees is compared with the probability that it fires given the hidden variables, which takes half as many
    random bits as to draw a normal number for it.
    """
    import jax
    import jax.numpy as jnp

    from aejax.models.randomness import GENERATOR, normal, uniform

    keys = jax.random.wrap_key_data(arrays.keys, impl=GENERATOR)
    count, levels = len(examples), law.levels
    slots = law.roots * len(levels) + law.features - law.in_trees
    drawn = -(-slots // _LANES) * _LANES
    # Both factors of this product are bfloat16: one pass of a matrix unit gives it exactly, to float32.
    hidden = jax.lax.reduce_precision(normal(keys[0], law.rank, examples), exponent_bits=8, mantissa_bits=7)
    bounds = arrays.thresholds - jnp.dot(hidden, arrays.weights)
    # In the middle of each of 2**23 intervals: the least one is not always below a small probability.
    chance = uniform(keys[1], drawn, examples) + np.float32(2**-24)
    strength = normal(keys[2], drawn, examples)

    first, parts = 0, []
    active = jnp.ones((count, law.roots), jnp.float32)  # strength of a tree's parent over its mean; 0 of none
    path = jnp.zeros((count, law.roots), jnp.int32)  # which of its level it is
    for level, size in enumerate(levels):
        here, slot = slice(first, first + size), slice(level * law.roots, (level + 1) * law.roots)
        width = law.branching**level
        if level == 0:
            path = jnp.where(chance[:, slot] < _above(bounds[:, here]), 0, 1)
        elif law.roots:
            families = bounds[:, here].reshape(count, law.branching, width // law.branching, law.roots)
            found = families[:, :, 0]
            for parent in range(1, width // law.branching):
                found = jnp.where(path[:, None] == parent, families[:, :, parent], found)
            child = _winner(_above(found), chance[:, slot])
            path = path + child * (width // law.branching)
        own, of_tree = [leaf[here].reshape(1, width, law.roots) for leaf in (arrays.mean, arrays.deviation)]
        own = jax.nn.relu(own + of_tree * strength[:, None, slot]) * active[:, None]
        own = jnp.where(path[:, None] == jnp.arange(width)[:, None], own, 0)
        active = (own / arrays.mean[here].reshape(1, width, law.roots)).sum(axis=1)
        parts.append(own.reshape(count, size))
        first += size
    beside = slice(law.roots * len(levels), slots)
    fires = chance[:, beside] < _above(bounds[:, first:])
    alone = jax.nn.relu(arrays.mean[first:] + arrays.deviation[first:] * strength[:, beside])
    return jnp.concatenate([*parts, jnp.where(fires, alone, 0)], axis=1)


def _winner(probabilities: jax.Array, chance: jax.Array) -> jax.Array:
    """Which of several siblings fires: int32[B, N], their number where none does.

    Each would fire by itself; of those that would, each is as likely to be left. That one of k is left has the
    probability 1/k, and the mean of 1/(1 + others) is the integral over y from 0 to 1 of the product of (1 - p y) over
    the others, a polynomial, which so many nodes of Gauss integrate exactly.

    Args:
        probabilities: float32[B, siblings, N], that each would fire.
        chance: float32[B, N], uniform in (0, 1).
    """
    import jax.numpy as jnp

    each = [probabilities[:, sibling] for sibling in range(probabilities.shape[1])]
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
def _law(law: SparseFeatures, part: str) -> Law:
    import jax

    from aejax.models.randomness import normal, stream

    def key(name: str) -> jax.Array:
        return stream(law.seed, f"sparse features: {name}")

    if part == "train":  # of which only the keys differ
        keys = jax.random.key_data(jax.random.split(key("training"), 3))
        return _law(law, "test")._replace(keys=np.asarray(keys))
    order = np.argsort(law.places())
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
    return Law(
        np.asarray(keys),
        weights[order].T.copy(),
        np.float32(thresholds[order]),
        np.float32(np.linspace(law.first_strength, law.last_strength, law.features)[order]),
        np.float32(np.abs(law.deviation + law.deviation_spread * spread[:, 0])[order]),
        directions[order],
        np.float32(law.bias * bias / np.linalg.norm(bias)),
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


def require_generated(examples: GeneratedArray, config: Any) -> None:
    """Refuse what a configuration asks for and generated examples have not.

    Raises:
        InputError: passes over the same examples, standardized ones, a stream of them, or more than int32 can number.
    """
    if config.training.passes != 1:
        raise InputError(f"training.passes is {config.training.passes}; generated examples come once: leave it 1")
    if config.data.standardize:
        raise InputError("data.standardize is set; generated examples have a known scale: leave it out")
    if config.data.placement == "stream":
        raise InputError("data.placement is stream; generated examples are made on the device: take auto or device")
    if (count := config.training.epochs * len(examples)) >= 2**31:
        raise InputError(
            f"training.epochs is {config.training.epochs}, which needs {count:,} generated examples; there are "
            f"{2**31 - 1:,}: at most {(2**31 - 1) // len(examples)} epochs of {len(examples):,}"
        )
