"""Prepared datasets as plain arrays on disk: they open in milliseconds, and damage is noticed."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from aejax.config import InputError
from aejax.config.checks import reason
from aejax.config.files import data_dir
from aejax.data.mapped import crc32

_CHECKSUMS = "crc32.json"
_KINDS = "buif"
"""of the types of pixels and labels in a cache"""


def cached(
    name: str, prepare: Callable[[], dict[str, np.ndarray]], parts: Collection[str] = ("train",)
) -> dict[str, np.ndarray]:
    """The arrays of dataset `name`, from the cache or else from `prepare()`, which is then cached.

    A cached array is mapped, not read: uint8 pixels go from the page cache to the device.

    Args:
        parts: what `prepare` gives at least; a cache that lacks one of them, as an older version left it, is damaged.

    Raises:
        InputError: the folder of prepared data cannot be written, or the disk is full.
    """
    folder = data_dir() / "arrays" / name.replace("/", "_").replace(":", "_")
    if folder.exists():
        try:
            return _open(folder, parts)
        except Exception as error:  # damage shows as one of many types
            logging.getLogger("aejax").warning(
                "the prepared data in %s is damaged (%s); preparing it again", folder, reason(error)
            )
    _require_writable(folder.parent)
    partial = None
    try:
        arrays = prepare()
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        for key, array in arrays.items():
            np.save(partial / f"{key}.npy", np.ascontiguousarray(array))
        (partial / _CHECKSUMS).write_text(json.dumps({"files": {key: _checksum(partial, key) for key in arrays}}))
        shutil.rmtree(folder, ignore_errors=True)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():  # else another process has just prepared the same
                raise
        return _open(folder, parts)
    except OSError as error:
        raise InputError(f"{name} could not be prepared in {folder.parent}: {reason(error)}") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _open(folder: Path, parts: Collection[str]) -> dict[str, np.ndarray]:
    checksums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))
    whole = isinstance(checksums, dict) and "files" in checksums  # older caches have those of the arrays only
    checksums = checksums["files"] if whole else checksums
    missing = set(parts) - set(checksums if isinstance(checksums, dict) else ())
    if missing:
        raise ValueError(f"{_CHECKSUMS} lacks {', '.join(sorted(missing))}")
    arrays = {}
    for key, checksum in checksums.items():
        if whole and _checksum(folder, key) != checksum:
            raise ValueError(f"{key}.npy fails its checksum")
        array = arrays[key] = np.load(folder / f"{key}.npy", mmap_mode="r")
        if not whole and (array.dtype.kind not in _KINDS or not array.dtype.isnative or crc32(array) != checksum):
            raise ValueError(f"{key}.npy fails its checksum")
    return arrays


def _checksum(folder: Path, key: str) -> int:
    """The CRC-32 of an array's file, with what it says of type and shape."""
    value = 0
    with open(folder / f"{key}.npy", "rb") as file:
        while piece := file.read(2**24):
            value = zlib.crc32(piece, value)
    return value


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"the folder for prepared data {folder} cannot be written ({error.strerror}); "
            "set AEJAX_DATA_DIR to one that can"
        ) from error
