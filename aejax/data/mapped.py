"""Arrays that may lie in mapped files, one or several: read in pieces, so that no more than a piece is in memory."""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import psutil

from aejax.config import InputError

LARGE = 2**30
"""bytes of an array from which on its rows are read from its files, not mapped"""

_PIECE = 2**26


def require_memory(needed: int, purpose: str, advice: str) -> None:
    """Refuse what would take more memory of this machine than is free.

    Args:
        needed: bytes.

    Raises:
        InputError: there are fewer.
    """
    if needed > (free := psutil.virtual_memory().available):
        raise InputError(f"{purpose}, {needed / 1e9:.1f} GB are needed, and {free / 1e9:.1f} GB are free; {advice}")


class Shards:
    """Arrays one after another along their first axis, which is read as one array and copied nowhere.

    It has of a NumPy array what is needed to learn from it. What is taken out of it (`shards[3]`, `shards[10:20]`,
    `shards[indices]`, `numpy.asarray(shards)`) is an array, in memory unless it lies within one of them.

    Args:
        parts: arrays [n, ...] with n at least 1, of one type and, but for n, of one shape.
        names: what to call each of them in messages: the names of their files.
    """

    def __init__(self, parts: Sequence[np.ndarray], names: Sequence[str]) -> None:
        self.parts, self.names = tuple(parts), tuple(names)
        self.dtype = self.parts[0].dtype
        self._ends = np.cumsum([len(part) for part in self.parts])
        self.shape = (int(self._ends[-1]), *self.parts[0].shape[1:])
        self.ndim = len(self.shape)
        self.size = sum(part.size for part in self.parts)
        self.nbytes = sum(part.nbytes for part in self.parts)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, slice):
            first, end, step = index.indices(len(self))
            if step == 1:
                return self._between(first, end)
            index = np.arange(first, end, step)
        indices = np.asarray(index)
        indices = np.flatnonzero(indices) if indices.dtype == bool and len(indices) == len(self) else indices
        if isinstance(index, tuple) or indices.dtype.kind not in "iu":
            raise IndexError("examples in several files are taken by their numbers: an integer, a slice, a list")
        if indices.size and not -len(self) <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"there are {len(self)} examples; {index} is out of bounds")
        return self.take(np.where(indices < 0, indices + len(self), indices))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("arrays in several files are one array only as a copy")
        return self._between(0, len(self)).astype(dtype or self.dtype, copy=False)

    def take(
        self, indices: np.ndarray, readers: Sequence[Callable[[np.ndarray], np.ndarray]] | None = None
    ) -> np.ndarray:
        """The examples of these numbers, from 0 on: int[...] → [..., *example].

        Args:
            readers: how they are fetched from each part, as by `reader`.
        """
        readers = readers or [part.__getitem__ for part in self.parts]
        self._require_memory(indices.size)
        rows = np.empty((indices.size, *self.shape[1:]), self.dtype)
        part_of = np.searchsorted(self._ends, indices.ravel(), side="right")
        by_part = np.argsort(part_of, kind="stable")
        numbers, firsts = np.unique(part_of[by_part], return_index=True)
        groups = np.split(by_part, firsts[1:])  # of no indices one group, which is empty
        for number, places in zip(numbers.tolist(), groups, strict=False):
            begin = self._ends[number] - len(self.parts[number])
            rows[places] = readers[number](indices.ravel()[places] - begin)
        return rows.reshape(*indices.shape, *self.shape[1:])

    def _between(self, first: int, end: int) -> np.ndarray:
        begins = self._ends - [len(part) for part in self.parts]
        spans = zip(self.parts, begins.tolist(), strict=True)
        within = [part[max(0, first - begin) : max(0, end - begin)] for part, begin in spans]
        within = [np.asarray(part) for part in within if len(part)] or [np.asarray(self.parts[0][:0])]
        if len(within) == 1:
            return within[0]
        self._require_memory(end - first)
        return np.concatenate(within)

    def _require_memory(self, rows: int) -> None:
        if (needed := self.nbytes // len(self) * rows) > LARGE:
            require_memory(needed, f"to read {rows:,} examples at once", "stream them: --data.placement stream")


def pieces(array: np.ndarray | Shards) -> Iterator[np.ndarray]:
    """The array in parts of at most 64 MiB (or one row), one after another along its first axis."""
    if isinstance(array, Shards):
        for part in array.parts:
            yield from pieces(part)
        return
    rows = max(1, _PIECE * len(array) // max(1, array.nbytes))
    for first in range(0, len(array), rows):
        yield array[first : first + rows]
        _forget(array)


def crc32(array: np.ndarray | Shards) -> int:
    """The CRC-32 of an array's bytes: that of shards is that of the one array that they are."""
    value = 0
    for piece in pieces(array):
        value = zlib.crc32(np.ascontiguousarray(piece), value)
    return value


def reader(array: np.ndarray | Shards) -> Callable[[np.ndarray], np.ndarray]:
    """How rows of an array are fetched at random: int[...] → [..., *rows], the last row for an index past the end.

    Those of a large mapped file are read from the file: to map the pages around each row and let them go again takes
    three times as long, and they count as memory of this process.

    Raises:
        InputError: a file cannot be opened once more.
    """
    if isinstance(array, Shards):
        readers = [_reader(part, array.nbytes) for part in array.parts]
        return lambda indices: array.take(np.minimum(indices, len(array) - 1), readers)
    return _reader(array, array.nbytes)


def _reader(array: np.ndarray, whole: int) -> Callable[[np.ndarray], np.ndarray]:
    """The same of one file, or of one of several with so many bytes in all."""
    root = _root(array)
    if root is None or whole < LARGE or not array.flags.c_contiguous or not hasattr(os, "preadv"):
        return lambda indices: array.take(indices, axis=0, mode="clip")
    try:
        file = open(root.filename, "rb", buffering=0)  # noqa: SIM115 (open as long as there is something to read)
    except OSError as error:
        raise InputError(f"{root.filename} cannot be opened: {error.strerror}") from error
    begin = root.offset + array.ctypes.data - root.ctypes.data
    size = array[0].nbytes

    def read(indices: np.ndarray) -> np.ndarray:
        rows = np.empty((*indices.shape, *array.shape[1:]), array.dtype)
        offsets = begin + size * np.minimum(indices, len(array) - 1).astype(np.int64).ravel()
        for row, offset in zip(rows.reshape(-1).view(np.uint8).reshape(-1, size), offsets.tolist(), strict=True):
            if os.preadv(file.fileno(), [row], offset) != size:
                raise InputError(f"{root.filename} ends before its last image: it was changed during the run")
        return rows

    return read


def _forget(array: np.ndarray) -> None:
    """Let the pages of a mapped file that were read go: they would count as memory of this process until it ends."""
    if (root := _root(array)) is not None and hasattr(root.base, "madvise"):  # Windows has none
        root.base.madvise(mmap.MADV_DONTNEED)


def _root(array: np.ndarray) -> np.memmap | None:
    """The mapped file of which an array is a view, unless what is written to it is nowhere else."""
    base = array
    while isinstance(base, np.ndarray) and not isinstance(base.base, mmap.mmap):
        base = base.base
    return base if isinstance(base, np.memmap) and not base.flags.writeable else None
