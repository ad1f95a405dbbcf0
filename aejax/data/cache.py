"""Prepared datasets as arrays on disk, which open in milliseconds and have checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from aejax.config.checks import InputError, reason, refusing
from aejax.config.files import data_dir
from aejax.storage import Store

_CHECKSUMS = "crc32.json"
_COPIED = ".npy", ".npz"


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


def copied(address: str) -> Path:
    """Return the local copy of a .npy or .npz file in a bucket, or of a folder of them.

    The copy is made once and verified by its checksums; a later change in the bucket is not seen.

    Raises:
        InputError: there are no such files, or the copy cannot be written.
        StoreError: the store refuses a request or does not answer.
    """
    above, _, last = address.rstrip("/").rpartition("/")
    folder = data_dir() / "arrays" / f"{hashlib.sha256(address.encode()).hexdigest()[:16]}"
    if folder.exists():
        try:
            checksums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))["files"]
            if wrong := [name for name, checksum in checksums.items() if _crc32(folder / name) != checksum]:
                raise ValueError(f"{wrong[0]} fails its checksum")
            return folder / last
        except Exception as error:  # damage raises many types
            why = "the copy of %s in %s is damaged (%s); downloading it again"
            logging.getLogger("aejax").warning(why, address, folder, reason(error))
    single = last.endswith(_COPIED)
    store = Store(above if single else address)
    names = [name for name in ([last] if single else store.names()) if name.endswith(_COPIED)]
    with refusing(f"{address} could not be copied to {folder.parent}", "; set AEJAX_DATA_DIR", only=OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
        ) as made:
            checksums, partial = {}, Path(made)
            for name in names:
                content, _ = store.read(name)
                if content is not None:
                    path = partial / last if single else partial / last / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
                    checksums[path.relative_to(partial).as_posix()] = zlib.crc32(content)
            if not checksums:
                raise InputError(f"{address} has no arrays ({', '.join(_COPIED)})")
            (partial / _CHECKSUMS).write_text(json.dumps({"files": checksums}))
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process may have just copied it
                partial.rename(folder)
    return folder / last


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
    return _crc32(folder / f"{key}.npy")


def _crc32(path: Path) -> int:
    return zlib.crc32(np.memmap(path, np.uint8, "r"))
