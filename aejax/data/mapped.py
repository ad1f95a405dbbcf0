"""Stored examples: arrays in memory or in mapped files, read piece by piece so that they may exceed the memory."""

from __future__ import annotations

import functools
import math
import mmap
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import psutil

from aejax.config import InputError
from aejax.config.checks import refusing

LARGE = 2**30
"""bytes of examples above which rows are read from the files instead of the mapping"""

_PIECE = 2**26


def require_memory(needed: int, purpose: str, advice: str) -> None:
    """Raise `InputError` for an operation that needs more bytes of memory than this machine has free."""
    if needed > (free := psutil.virtual_memory().available):
        raise InputError(f"{purpose}, {needed / 1e9:.1f} GB are needed, and {free / 1e9:.1f} GB are free; {advice}")


class Shards:
    """One or several arrays, read as one array along their first axis without a copy.

    `shards[3]`, `shards[10:20]`, `shards[indices]` and `numpy.asarray(shards)` return arrays, in memory unless they lie
    within one of the parts.

    Args:
        parts: arrays [n, ...] of one type and, except for n >= 1, of one shape.
        names: of the parts in messages, such as file names.
    """

    make = None  # stored, not computed

    def __init__(self, parts: Sequence[np.ndarray], names: Sequence[str] = ("",)) -> None:
        self.parts, self.names = tuple(parts), tuple(names)
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
        if isinstance(index, slice) and index.indices(len(self))[2] == 1:
            return self._between(*index.indices(len(self))[:2])
        return self.rows(np.arange(len(self))[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("shards become one array only by a copy; leave copy=False out")
        return self._between(0, len(self)).astype(dtype or self.dtype, copy=False)

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

    def _between(self, first: int, end: int) -> np.ndarray:
        spans = [(part, last - len(part)) for part, last in zip(self.parts, self._ends.tolist(), strict=True)]
        within = [part[max(0, first - begin) : max(0, end - begin)] for part, begin in spans]
        within = [np.asarray(part) for part in within if len(part)] or [np.asarray(self.parts[0][:0])]
        if len(within) == 1:
            return within[0]
        self._require_memory(end - first)
        return np.concatenate(within)

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
                raise InputError(f"{root.filename} ends before its last image: it was changed during the run")
        return rows

    return read


def _root(array: np.ndarray) -> np.memmap | None:
    """Return the read-only mapped file that an array is a view of."""
    base = array
    while isinstance(base, np.ndarray) and not isinstance(base.base, mmap.mmap):
        base = base.base
    return base if isinstance(base, np.memmap) and not base.flags.writeable else None
