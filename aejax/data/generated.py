"""Examples that are computed as they are needed: as an array that others index, and within programs."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from aejax.config import InputError
from aejax.data.mapped import require_memory
from aejax.data.sparse_features import SparseFeatures
from aejax.data.sparse_law import LAW, Law, Part, law_of, strengths

if TYPE_CHECKING:
    import jax

_ROWS = 256
"""examples that are made at a time where they are wanted as an array"""


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
        of_feature = specification.rank + 3 + specification.dimensions
        self.nbytes = 4 * (specification.features * of_feature if part == "train" else self.size)

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
        return law_of(self.specification, self.part)

    @property
    def shapes(self) -> Law:
        """The shapes and types of `arrays`, which are not computed for it."""
        law = self.specification

        def like(*shape: int, dtype: Any = np.float32) -> np.ndarray:
            return np.broadcast_to(np.zeros((), dtype), shape)

        parts = tuple(
            Part(like(*each, law.rank), like(*each), like(*each), like(*each), like(*each, law.dimensions))
            for each in law.parts
        )
        return Law(like(3, 2, dtype=np.uint32), like(law.dimensions), parts)

    def make(self, arrays: Law, examples: jax.Array) -> jax.Array:
        """Within a program: the examples of these numbers, int32[B] → float32[B, D].

        An example depends on its number alone, whatever else is in the batch. The product with the directions is of
        JAX's default precision: on a TPU of bfloat16, on a GPU of TF32.
        """
        import jax.numpy as jnp

        # One product for each part: a TPU makes its strengths as it multiplies, and does not put them together before.
        made = arrays.bias
        for fired, part in zip(strengths(self.specification, arrays, examples), arrays.parts, strict=True):
            axes = tuple(range(fired.ndim - 1))
            made = made + jnp.tensordot(fired, part.directions, (axes, axes))
        return made

    def activations(self, arrays: Law, examples: jax.Array) -> jax.Array:
        """Within a program: how strongly each feature fires in these, 0 where it does not, float32[B, F]."""
        import jax.numpy as jnp

        parts = strengths(self.specification, arrays, examples)
        every = jnp.concatenate([fired.reshape(-1, len(examples)) for fired in parts])
        return every[self.specification.places()].T

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
        parts = [part.directions.reshape(-1, self.specification.dimensions) for part in self._test.arrays.parts]
        return np.concatenate(parts)[self.specification.places()]

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
