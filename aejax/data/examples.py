"""Stored examples (`Shards`), computed examples (`Computed`), and the protocol that they share.

The protocol is shape, dtype and len(); nbytes (on a device); fingerprint (of the content); extremes (smallest and
largest value, of computed examples among the first ones); missing (number of NaN values); rows(int[...]) →
[..., *example]; make (None if stored). Stored examples are arrays in memory or in mapped files, read piece by piece so
that they may exceed the memory.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import mmap
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from aejax.config import InputError
from aejax.config.checks import MOST, refusing

if TYPE_CHECKING:
    import jax

LARGE = 2**30
"""bytes of examples above which rows are read from the files instead of the mapping"""

_PIECE = 2**26
_ROWS = 256
"""examples that a program computes at a time for an array, and that represent the range of all"""


def require_memory(needed: int, purpose: str, advice: str) -> None:
    """Raise `InputError` for an operation that needs more bytes of memory than this machine has free."""
    if needed > (free := psutil.virtual_memory().available):
        raise InputError(f"{purpose}, {needed / 1e9:.1f} GB are needed, and {free / 1e9:.1f} GB are free; {advice}")


def size(shape: tuple[int, ...]) -> str:
    """Describe an example in a message: "28x28x1" for images, "64 values" for vectors."""
    return "x".join(map(str, shape)) if len(shape) > 1 else f"{math.prod(shape)} values"


def require_alike(arrays: Mapping[str, Any], where: str = "") -> None:
    """Refuse arrays [N, ...] whose examples differ in size or type; the keys are their names in messages."""
    (first, one), *others = arrays.items()
    for name, other in others:
        sizes, types = (size(one.shape[1:]), size(other.shape[1:])), (one.dtype, other.dtype)
        for what, (wanted, found) in {"size": sizes, "type": types}.items():
            if wanted != found:
                raise InputError(f"{where}{first}: {wanted}, {name}: {found}; they must be of one {what}")


class Shards:
    """One or several arrays, read as one array along their first axis without a copy.

    `shards[3]`, `shards[10:20]`, `shards[indices]` and `numpy.asarray(shards)` return arrays, in memory.

    Args:
        parts: arrays [n, ...] of one type and, except for n >= 1, of one shape.
        names: of the parts in messages, such as file names.
    """

    make = None  # stored, not computed

    def __init__(self, parts: Sequence[np.ndarray], names: Sequence[str] = ("",)) -> None:
        self.parts, self.names = tuple(parts), tuple(names)
        require_alike(dict(zip(names, parts, strict=True)))
        self.dtype = self.parts[0].dtype
        self._ends = np.cumsum([len(part) for part in self.parts])
        self.shape = (int(self._ends[-1]), *self.parts[0].shape[1:])
        self.ndim = len(self.shape)
        self.size = sum(part.size for part in self.parts)
        self.nbytes = sum(part.nbytes for part in self.parts)

    @property
    def plain(self) -> np.ndarray | Shards:
        """The array if there is one part, otherwise these shards."""
        return self.parts[0] if len(self.parts) == 1 else self

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, slice):
            return self.rows(np.arange(*index.indices(len(self))))
        return self.rows(np.arange(len(self))[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("shards become one array only by a copy; leave copy=False out")
        if len(self.parts) > 1:
            self._require_memory(len(self))
        whole = self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)
        return np.asarray(whole).astype(dtype or self.dtype, copy=False)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return rows at random, int[...] → [..., *rows]; an index past the end returns the last row.

        Rows of large mapped files are read from the file. Mapping and unmapping the pages of each row takes three times
        as long, and mapped pages count as memory of the process.

        Raises:
            InputError: a file cannot be opened again, or was truncated.
        """
        indices = np.minimum(indices, len(self) - 1)
        if len(self.parts) == 1:
            return self._readers[0](indices)
        self._require_memory(indices.size)
        rows = np.empty((indices.size, *self.shape[1:]), self.dtype)
        part_of = np.searchsorted(self._ends, indices.ravel(), side="right")
        for number in np.unique(part_of).tolist():
            places = np.flatnonzero(part_of == number)
            begin = self._ends[number] - len(self.parts[number])
            rows[places] = self._readers[number](indices.ravel()[places] - begin)
        return rows.reshape(*indices.shape, *self.shape[1:])

    @functools.cached_property
    def _readers(self) -> list[Callable[[np.ndarray], np.ndarray]]:
        return [_reader(part, self.nbytes) for part in self.parts]

    def _require_memory(self, rows: int) -> None:
        if (needed := self.nbytes // len(self) * rows) > LARGE:
            require_memory(needed, f"to read {rows:,} examples at once", "stream them: --data.placement stream")

    def pieces(self) -> Iterator[np.ndarray]:
        """Yield parts of at most 64 MiB (or one row) in order."""
        for part in self.parts:
            rows = max(1, _PIECE * len(part) // max(1, part.nbytes))
            for first in range(0, len(part), rows):
                yield part[first : first + rows]
                # Pages of a mapped file would otherwise count as memory of this process until it ends.
                if (root := _root(part)) is not None and hasattr(root.base, "madvise"):  # not on Windows
                    root.base.madvise(mmap.MADV_DONTNEED)

    @functools.cached_property
    def _survey(self) -> tuple[tuple[float, float], int, int]:
        checksum, missing, low, high = 0, 0, math.inf, -math.inf
        with np.errstate(invalid="ignore"):  # NaN
            for piece in self.pieces():
                checksum = zlib.crc32(np.ascontiguousarray(piece), checksum)
                least, most = float(piece.min()), float(piece.max())
                if math.isnan(least):
                    known = np.float32(piece[~np.isnan(piece)])
                    missing += piece.size - known.size
                    least, most = float(known.min(initial=math.inf)), float(known.max(initial=-math.inf))
                low, high = min(low, least), max(high, most)
        return (low, high), checksum, missing

    @property
    def extremes(self) -> tuple[float, float]:
        """Smallest and largest value besides NaN; for uint8 the range of pixels as a model meets them."""
        return (0.0, 1.0) if self.dtype == np.uint8 else self._survey[0]

    @property
    def missing(self) -> int:
        """Number of NaN values."""
        return 0 if self.dtype == np.uint8 else self._survey[2]

    @property
    def fingerprint(self) -> str:
        """Type, shape and CRC-32 of the content, which is read once; the number of parts makes no difference."""
        return f"{self.dtype}{list(self.shape)} {self._survey[1]:08x}"


def _reader(array: np.ndarray, whole: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the reader of one part of `whole` bytes of examples."""
    root = _root(array)
    if root is None or whole < LARGE or not array.flags.c_contiguous or not hasattr(os, "preadv"):
        return lambda indices: array.take(indices, axis=0, mode="clip")
    with refusing(f"{root.filename} cannot be opened"):
        file = open(root.filename, "rb", buffering=0)  # noqa: SIM115 (open as long as the examples)
    begin = root.offset + array.ctypes.data - root.ctypes.data
    size = array[0].nbytes

    def read(indices: np.ndarray) -> np.ndarray:
        rows = np.empty((*indices.shape, *array.shape[1:]), array.dtype)
        offsets = begin + size * indices.astype(np.int64).ravel()
        for row, offset in zip(rows.reshape(-1).view(np.uint8).reshape(-1, size), offsets.tolist(), strict=True):
            if os.preadv(file.fileno(), [row], offset) != size:
                raise InputError(f"{root.filename} ends before its last example: it was changed during the run")
        return rows

    return read


def _root(array: np.ndarray) -> np.memmap | None:
    """Return the read-only mapped file that an array is a view of."""
    base = array
    while isinstance(base, np.ndarray) and not isinstance(base.base, mmap.mmap):
        base = base.base
    return base if isinstance(base, np.memmap) and not base.flags.writeable else None


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
