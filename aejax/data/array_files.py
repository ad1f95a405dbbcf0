"""The user's own arrays in files: `.npy`, `.npz`, and the IDX files of MNIST and its relatives."""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from aejax.config import InputError

ENDINGS = {".npy", ".npz"}

PARTS = ("train", "test", "train_labels", "test_labels")

NAMES = {
    "train": ("train", "x_train", "train_images", "images", "x", "X", "data"),
    "validation": ("validation", "val", "x_val", "val_images"),
    "test": ("test", "x_test", "test_images"),
    "train_labels": ("train_labels", "y_train", "labels", "y", "target"),
    "validation_labels": ("validation_labels", "val_labels", "y_val"),
    "test_labels": ("test_labels", "y_test"),
}
"""how a `.npz` file may name its arrays: ours, Keras's, MedMNIST's, scikit-learn's"""

_IDX = {
    "train": "train-images*idx3-ubyte*",
    "test": "t10k-images*idx3-ubyte*",
    "train_labels": "train-labels*idx1-ubyte*",
    "test_labels": "t10k-labels*idx1-ubyte*",
}


def read(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays `train` and, where given, `test`, `train_labels`, `test_labels` of a `.npy` or `.npz` file.

    A `.npz` file names them as in `NAMES`, or holds one array. Validation examples are the test examples where there
    are no others.

    Raises:
        InputError: it cannot be read, or lacks the training examples, or has two arrays for one part.
    """
    if path.suffix == ".npy":
        return {"train": load(path)}
    arrays = load(path)
    if len(arrays) == 1 and not set(arrays) & {name for part in ("validation", "test") for name in NAMES[part]}:
        return {"train": next(iter(arrays.values()))}
    named = {part: [name for name in names if name in arrays] for part, names in NAMES.items()}
    for part, names in named.items():
        if len(names) > 1:
            raise InputError(
                f"{path} holds {' and '.join(names)}; only one of them can be its {part.replace('_', ' ')}"
            )
    if not named["train"]:
        raise InputError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; it needs an array train (or "
            f"{', '.join(NAMES['train'][1:])}), or a single array"
        )
    parts = {part: arrays[names[0]] for part, names in named.items() if names}
    parts, unused = with_test(parts)
    used = {names[0] for part, names in named.items() if names and part not in unused}
    say_left_out(path, [name for name in arrays if name not in used])
    return parts


def idx_folder(folder: Path) -> Path | None:
    """Where the IDX files of a dataset are: in a folder, or in `raw/` or `MNIST/raw/` below it; None where not."""
    for place in (folder, folder / "raw", folder / "MNIST" / "raw"):
        if any(place.glob(_IDX["train"])):
            return place
    return None


def read_idx(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of the IDX files of a folder, each as it is or by gzip, as torchvision leaves them.

    Raises:
        InputError: the training images are missing, or a file is not what it should be.
    """
    found = {part: sorted(folder.glob(pattern)) for part, pattern in _IDX.items()}
    return {part: _idx(files[0]) for part, files in found.items() if files}


def with_test(parts: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The parts with the validation examples as test examples where there are no others.

    Returns:
        the parts, without any for validation; and the names of those that are left out.
    """
    validation = ("validation", "validation_labels")
    unused = tuple(part for part in validation if part in parts and "test" in parts)
    named = {part if "test" in parts else part.replace("validation", "test"): value for part, value in parts.items()}
    return {part: value for part, value in named.items() if part not in unused}, unused


def say_left_out(where: Path, names: Iterable[str]) -> None:
    """Warn of what is there and not used."""
    if names := list(names):
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        logging.getLogger("aejax").warning("%s: left out: %s", where, shown)


def load(path: Path) -> Any:
    """The array of a `.npy` file, mapped; or those of a `.npz` file by name.

    NumPy writes bfloat16 as values of two bytes without a type (`|V2`), which are taken for bfloat16.

    Raises:
        InputError: it is damaged, or has pickled objects in it.
    """
    try:
        content = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        return _typed(content) if path.suffix == ".npy" else {key: _typed(content[key]) for key in content.files}
    except Exception as error:  # damage shows as one of many types
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} cannot be read as arrays: {reason}") from error


def _typed(array: np.ndarray) -> np.ndarray:
    return array.view(ml_dtypes.bfloat16) if array.dtype == np.dtype("V2") else array


def _idx(path: Path) -> np.ndarray:
    """An IDX file of bytes: two zeros, the type 8, the number of axes, their lengths (big-endian), the values."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        axes = content[3] if content[:3] == b"\0\0\x08" else 0
        lengths = [int(length) for length in np.frombuffer(content, ">u4", count=axes, offset=4)]
        if axes not in (1, 3) or len(content) != 4 + 4 * axes + math.prod(lengths):
            raise ValueError("it is no whole IDX file of bytes")
    except Exception as error:  # damage shows as one of many types
        raise InputError(f"{path} cannot be read: {error}; fetch it again") from error
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(lengths)
