"""Prepared datasets as plain arrays on disk: they open in milliseconds, and damage is noticed."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from aejax.config import InputError
from aejax.config.environment import data_dir
from aejax.data.mapped import crc32

_CHECKSUMS = "crc32.json"


def cached(
    name: str, prepare: Callable[[], dict[str, np.ndarray]], parts: Collection[str] = ("train",)
) -> dict[str, np.ndarray]:
    """The arrays of dataset `name`, from the cache or else from `prepare()`, which is then cached.

    A cached array is mapped, not read: uint8 pixels go from the page cache to the device.

    Args:
        parts: what `prepare` gives at least; a cache that lacks one of them, as an older version left it, is damaged.

    Raises:
        InputError: the folder of prepared data cannot be written.
    """
    folder = data_dir() / "arrays" / name.replace("/", "_").replace(":", "_")
    if folder.exists():
        try:
            return _open(folder, parts)
        except (OSError, ValueError, KeyError) as error:
            logging.getLogger("aejax").warning(
                "the prepared data in %s is damaged (%s); preparing it again", folder, error
            )
    _require_writable(folder.parent)
    arrays = prepare()
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for key, array in arrays.items():
            np.save(partial / f"{key}.npy", np.ascontiguousarray(array))
        (partial / _CHECKSUMS).write_text(json.dumps({key: crc32(array) for key, array in arrays.items()}))
        shutil.rmtree(folder, ignore_errors=True)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():  # else another process has just prepared the same
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _open(folder, parts)


def _open(folder: Path, parts: Collection[str]) -> dict[str, np.ndarray]:
    checksums = json.loads((folder / _CHECKSUMS).read_text())
    missing = set(parts) - set(checksums if isinstance(checksums, dict) else ())
    if missing:
        raise ValueError(f"{_CHECKSUMS} lacks {', '.join(sorted(missing))}")
    arrays = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in checksums}
    for key, array in arrays.items():
        if crc32(array) != checksums[key]:
            raise ValueError(f"{key}.npy fails its checksum")
    return arrays


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(
            f"the folder for prepared data {folder} cannot be written ({error.strerror}); "
            "set AEJAX_DATA_DIR to one that can"
        ) from error
