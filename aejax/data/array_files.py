"""Files of arrays: `.npy`, `.npz`, tables, the IDX files of MNIST and similar datasets, and others in `FORMATS`."""

import gzip
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.config.checks import listed, refusing
from aejax.data import tables
from aejax.data.examples import require_memory
from aejax.data.parts import chosen, of_array


def _npy(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as content:
        unpacked = sum(member.file_size for member in content.zip.infolist())
        require_memory(unpacked, f"{path}: to read it", "save its arrays as .npy, which are mapped")
        return dict(content)


def idx(path: Path) -> np.ndarray:
    """Read an IDX file of bytes, plain or gzip: two zeros, 8, the number of axes, their lengths, the values."""
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    axes = content[3] if content[:3] == b"\0\0\x08" else 0
    lengths = [int(length) for length in np.frombuffer(content, ">u4", count=axes, offset=4)]
    if axes not in (1, 3) or len(content) != 4 + 4 * axes + math.prod(lengths):
        raise ValueError("it is not a complete IDX file of bytes; fetch it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(lengths)


Reader = Callable[[Path], np.ndarray | Mapping[str, np.ndarray]]
FORMATS: dict[str, Reader] = {".npy": _npy, ".npz": _npz}
FORMATS |= dict.fromkeys((".csv", ".parquet"), tables.read)
FORMATS |= dict.fromkeys(("idx3-ubyte", "idx1-ubyte", "idx3-ubyte.gz", "idx1-ubyte.gz"), idx)
"""ending of a file's name → function that reads the file as one array, or as arrays by name"""


def reader(path: Path) -> Reader | None:
    """Return the function that reads a file; None if its format is unknown."""
    return next((read for ending, read in FORMATS.items() if path.name.endswith(ending)), None)


def load(path: Path) -> Any:
    """Read the array or table of a file, or its arrays by name; `.npy` files are mapped.

    Raises:
        InputError: the file is damaged, or contains pickled objects.
    """
    with refusing(f"{path} cannot be read as arrays"):
        return reader(path)(path)


def read(path: Path) -> Mapping[str, np.ndarray]:
    """Read the arrays of a file: `train` and, if given, the others of `parts.PARTS`.

    The file holds one array, or arrays with the names of `parts.py`.

    Raises:
        InputError: the file cannot be read, lacks training examples, or has two arrays for one part.
    """
    arrays = load(path)
    if not isinstance(arrays, Mapping):
        return {"train": arrays}
    part_of = {name: of_array(name) for name in arrays}
    if len(arrays) == 1 and not str(*part_of.values()).startswith(("validation", "test")):
        return {"train": next(iter(arrays.values()))}
    if "train" not in part_of.values():
        held = listed(arrays) or "nothing"
        raise InputError(f"{path} holds {held}; it needs an array train (or x_train, images, x, data), or one array")
    return {part: arrays[name] for part, name in chosen(path, part_of).items()}
