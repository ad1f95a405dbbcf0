"""Prepared datasets as arrays on disk, which open in milliseconds and have checksums."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from aejax.config.checks import reason, refusing
from aejax.config.files import data_dir

_CHECKSUMS = "crc32.json"


def cached(
    name: str, prepare: Callable[[], dict[str, np.ndarray]], parts: Collection[str] = ("train",)
) -> dict[str, np.ndarray]:
    """Return the arrays of dataset `name` from the cache, or else cache the result of `prepare()`.

    Cached arrays are mapped, not read: uint8 pixels go from the page cache to the device.

    Args:
        parts: arrays that `prepare` returns at least; a cache without one of them is damaged.

    Raises:
        InputError: the folder of prepared data cannot be written, or the disk is full.
    """
    folder = data_dir() / "arrays" / name.replace("/", "_").replace(":", "_")
    if folder.exists():
        try:
            return _open(folder, parts)
        except Exception as error:  # damage raises many types
            logging.getLogger("aejax").warning(
                "the prepared data in %s is damaged (%s); preparing it again", folder, reason(error)
            )
    advice = "; set AEJAX_DATA_DIR to another folder"
    with refusing(f"the folder for prepared data {folder.parent} cannot be written", advice, only=OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)  # before the download
        made = tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True)
    with refusing(f"{name} could not be prepared in {folder.parent}", only=OSError), made as partial:
        partial, arrays = Path(partial), prepare()
        for key, array in arrays.items():
            np.save(partial / f"{key}.npy", np.ascontiguousarray(array))
        (partial / _CHECKSUMS).write_text(json.dumps({"files": {key: _checksum(partial, key) for key in arrays}}))
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process may have just prepared this dataset
            partial.rename(folder)
        return _open(folder, parts)


def _open(folder: Path, parts: Collection[str]) -> dict[str, np.ndarray]:
    checksums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))["files"]
    if missing := set(parts) - set(checksums):
        raise ValueError(f"{_CHECKSUMS} lacks {', '.join(sorted(missing))}")
    for key, checksum in checksums.items():
        if _checksum(folder, key) != checksum:
            raise ValueError(f"{key}.npy fails its checksum")
    return {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in checksums}


def _checksum(folder: Path, key: str) -> int:
    """Return the CRC-32 of an array's file, whose header holds type and shape."""
    return zlib.crc32(np.memmap(folder / f"{key}.npy", np.uint8, "r"))
