"""Arrays that may lie in a mapped file: read in pieces, so that no more than a piece of them is in memory."""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import psutil

from aejax.config import InputError

LARGE = 2**30
"""bytes of a file from which on its rows are read, not mapped"""

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


def pieces(array: np.ndarray) -> Iterator[np.ndarray]:
    """The array in parts of at most 64 MiB (or one row), one after another along its first axis."""
    rows = max(1, _PIECE * len(array) // max(1, array.nbytes))
    for first in range(0, len(array), rows):
        yield array[first : first + rows]
        _forget(array)


def crc32(array: np.ndarray) -> int:
    """The CRC-32 of an array's bytes."""
    value = 0
    for piece in pieces(array):
        value = zlib.crc32(np.ascontiguousarray(piece), value)
    return value


def reader(array: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """How rows of an array are fetched at random: int[...] → [..., *rows], the last row for an index past the end.

    Those of a large mapped file are read from the file: to map the pages around each row and let them go again takes
    three times as long, and they count as memory of this process.
    """
    root = _root(array)
    if root is None or array.nbytes < LARGE or not array.flags.c_contiguous or not hasattr(os, "preadv"):
        return lambda indices: array.take(indices, axis=0, mode="clip")
    file = open(root.filename, "rb", buffering=0)  # noqa: SIM115 (open as long as there is something to read)
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
