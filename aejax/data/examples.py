"""Computed examples, and the protocol that they share with the stored examples of `Shards`.

The protocol is shape, dtype and len(); nbytes (on a device); fingerprint (of the content); extremes (smallest and
largest value, of computed examples among the first ones); missing (number of NaN values); rows(int[...]) →
[..., *example]; make (None if stored).
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from aejax.config.checks import MOST
from aejax.data.mapped import Shards, require_memory

if TYPE_CHECKING:
    import jax

_ROWS = 256
"""examples that a program computes at a time for an array, and that represent the range of all"""


class Computed:
    """Examples float32[N, ...] that programs compute from their numbers; a base class for your own.

    An array's operations (`examples[3]`, `examples[10:20]`, `numpy.asarray(examples)`) compute what they return.

    Args:
        part: "train" or "test"; `make` must not compute an example of both.
        shape: (N, D) of vectors or (N, H, W, C) of images; N training examples are an epoch.
        identity: JSON content that all values follow from, such as a version and the constructor's arguments.
    """

    dtype = np.dtype(np.float32)
    arrays: Any = ()
    """pytree of NumPy arrays that `make` needs on the device"""
    missing = 0
    truth: Any = None
    """anything that a trained model can be compared with; becomes `Dataset.truth`"""

    def __init__(self, part: str, shape: tuple[int, ...], identity: Any) -> None:
        self.part, self.shape, self.ndim, self.size = part, shape, len(shape), int(np.prod(shape))
        content = json.dumps(identity, sort_keys=True)
        self.fingerprint = f"generated{list(shape)} {hashlib.sha256(content.encode()).hexdigest()[:16]}"

    @property
    def shapes(self) -> Any:
        """`arrays` for ahead-of-time compilation; override this if `arrays` takes long to compute."""
        return self.arrays

    def make(self, arrays: Any, examples: jax.Array) -> jax.Array:
        """Compute examples within a program: `arrays` as JAX arrays, int32[B] → float32[B, *shape[1:]].

        Each example must depend on its number alone. The second epoch has the numbers from N to 2 N - 1, and so on.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method make(arrays, examples)")

    @functools.cached_property
    def nbytes(self) -> int:
        """Bytes on a device: `arrays` for training; all examples for a test, which computes them once."""
        import jax

        return sum(leaf.nbytes for leaf in jax.tree.leaves(self.shapes)) if self.part == "train" else 4 * self.size

    @functools.cached_property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest value of the first examples."""
        first = self[:_ROWS]
        return float(first.min()), float(first.max())

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (other.part, other.fingerprint) == (self.part, self.fingerprint)

    def __hash__(self) -> int:
        return hash((type(self), self.part, self.fingerprint))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        index, *rest = index if isinstance(index, tuple) else (index,)
        return self.rows(np.arange(len(self))[index])[(..., *rest)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._whole.astype(dtype or self.dtype, copy=False)

    @functools.cached_property
    def _whole(self) -> np.ndarray:
        rows = self[:]
        rows.setflags(write=False)
        return rows

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return examples by number, int[...] → float32[..., *example]."""
        return self.in_chunks("make", indices.ravel(), *self.shape[1:]).reshape(*indices.shape, *self.shape[1:])

    def in_chunks(self, method: str, numbers: np.ndarray, *shape: int) -> np.ndarray:
        """Call a method like `make` for int[N], with a result of `shape` for each example; one program serves any N."""
        purpose = f"to make {len(numbers):,} examples"
        require_memory(4 * len(numbers) * int(np.prod(shape)), purpose, "ask for fewer")
        rows = np.empty((len(numbers), *shape), np.float32)
        for first in range(0, len(numbers), _ROWS):
            chosen = numbers[first : first + _ROWS]
            made = _compiled(self, method)(self.arrays, np.resize(chosen, _ROWS).astype(np.int32))
            rows[first : first + _ROWS] = np.asarray(made)[: len(chosen)]
        return rows


class Later(Computed):
    """The last examples of the numbering of training examples, which no epoch reaches, as validation examples."""

    def __init__(self, train: Computed, count: int) -> None:
        super().__init__("validation", (count, *train.shape[1:]), ["last", train.fingerprint])
        self.dtype, self.arrays, self._train, self._first = train.dtype, train.arrays, train, MOST - count

    def make(self, arrays: Any, examples: jax.Array) -> jax.Array:
        return self._train.make(arrays, examples + self._first)


Examples = np.ndarray | Shards | Computed
"""the examples of a dataset as users see them"""


def examples_of(given: Any) -> Shards | Computed:
    """Return the protocol object of an array, of `Shards` or of `Computed` examples."""
    return given if hasattr(given, "make") else Shards([given])


@functools.lru_cache(16)
def _compiled(examples: Computed, method: str) -> Any:
    import jax

    return jax.jit(getattr(examples, method))
