"""Prepared datasets as arrays on disk, which open in milliseconds and have checksums."""

import contextlib
import hashlib
import json
import logging
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

    def write(folder: Path) -> None:
        for part, array in prepare().items():
            np.save(folder / f"{part}.npy", np.ascontiguousarray(array))

    key = name.replace("/", "_").replace(":", "_")
    folder = _kept(key, name, write, [f"{part}.npy" for part in parts])
    files = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))["files"]
    return {file.removesuffix(".npy"): np.load(folder / file, mmap_mode="r") for file in files}


def copied(address: str) -> Path:
    """Return the local copy of a .npy or .npz file in a bucket, or of a folder of them.

    The copy is made once and verified by its checksums; a later change in the bucket is not seen.

    Raises:
        InputError: there are no such files, or the copy cannot be written.
        StoreError: the store refuses a request or does not answer.
    """
    above, _, last = address.rstrip("/").rpartition("/")
    single = last.endswith(_COPIED)

    def write(folder: Path) -> None:
        store = Store(above if single else address)
        for name in [last] if single else store.names():
            if name.endswith(_COPIED):
                with contextlib.suppress(FileNotFoundError):
                    store.fetch(name, folder / last if single else folder / last / name)
        if not any(folder.iterdir()):
            raise InputError(f"{address} has no arrays ({', '.join(_COPIED)})")

    return _kept(hashlib.sha256(address.encode()).hexdigest()[:16], address, write) / last


def _kept(key: str, name: str, write: Callable[[Path], None], required: Collection[str] = ()) -> Path:
    """Return the folder `key` of the cache, after a check of the checksums of its files.

    Several processes may call this function at once: the first folder that is complete is used by all.

    Args:
        name: of the dataset, for messages.
        write: writes the files into an empty folder.
        required: names of files without which the folder is damaged.
    """
    folder = data_dir() / "arrays" / key
    advice = "; set AEJAX_DATA_DIR to another folder"
    with refusing(f"{name} could not be prepared in {folder.parent}", advice, only=OSError):
        if folder.exists():
            try:
                return _verified(folder, required)
            except Exception as error:  # damage raises many types
                why = "the prepared data of %s in %s is damaged (%s); preparing it again"
                logging.getLogger("aejax").warning(why, name, folder, reason(error))
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{key}-", dir=folder.parent, ignore_cleanup_errors=True) as temporary:
            damaged, partial = Path(temporary, "damaged"), Path(temporary, "partial")
            with contextlib.suppress(FileNotFoundError):
                folder.rename(damaged)
            partial.mkdir()
            write(partial)
            paths = [path for path in partial.rglob("*") if path.is_file()]
            checksums = {path.relative_to(partial).as_posix(): _crc32(path) for path in paths}
            (partial / _CHECKSUMS).write_text(json.dumps({"files": checksums}))
            with contextlib.suppress(OSError):  # another process has just prepared this dataset
                partial.rename(folder)
            return _verified(folder, required)


def _verified(folder: Path, required: Collection[str]) -> Path:
    checksums = json.loads((folder / _CHECKSUMS).read_text(encoding="utf-8"))["files"]
    if missing := set(required) - set(checksums):
        raise ValueError(f"{_CHECKSUMS} lacks {', '.join(sorted(missing))}")
    for name, checksum in checksums.items():
        if _crc32(folder / name) != checksum:
            raise ValueError(f"{name} fails its checksum")
    return folder


def _crc32(path: Path) -> int:
    return zlib.crc32(np.memmap(path, np.uint8, "r"))
