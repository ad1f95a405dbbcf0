"""The user's own images: a `.npy` or `.npz` file, or a folder of equally sized images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aejax.config import InputError

_IMAGE_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
_ARRAY_ENDINGS = {".npy", ".npz"}
# Names of the parts in a .npz file, Keras's among them.
_PARTS = {
    "train": ("train", "x_train"),
    "test": ("test", "x_test"),
    "train_labels": ("train_labels", "y_train"),
    "test_labels": ("test_labels", "y_test"),
}


def is_path(name: str) -> bool:
    """Whether a dataset's name means a file or folder rather than a known dataset."""
    return (
        Path(name).suffix in _ARRAY_ENDINGS
        or Path(name).exists()
        or name.startswith((".", "/", "~"))
        or (os.sep in name and Path(name).parent.exists())
    )


def read(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays `train` and, where given, `test`, `train_labels`, `test_labels`.

    A `.npz` file names them so (or `x_train`, `x_test`, `y_train`, `y_test`) or holds one array.
    A folder holds images, or the folders `train/` and `test/` that do, or the files `train.npy` and `test.npy`; what
    is read from a `.npy` file is mapped.

    Raises:
        InputError: nothing is there, it cannot be read, it is empty, or its images are of several sizes.
    """
    path = path.expanduser()
    if path.is_dir():
        if (path / "train.npy").is_file():
            return {part: _load(path / f"{part}.npy") for part in _PARTS if (path / f"{part}.npy").is_file()}
        if (path / "train").is_dir():
            return {part: _read_folder(path / part) for part in ("train", "test") if (path / part).is_dir()}
        return {"train": _read_folder(path)}
    if not path.is_file():
        raise InputError(f"there is no file or folder {path}")
    if path.suffix not in _ARRAY_ENDINGS:
        raise InputError(f"{path} is neither a .npy or .npz file nor a folder of images")
    content = _load(path)
    arrays = {"train": content} if path.suffix == ".npy" else content
    if len(arrays) == 1 and not set(arrays) & {"test", "x_test"}:
        return {"train": next(iter(arrays.values()))}
    parts = {part: arrays[key] for part, keys in _PARTS.items() for key in keys if key in arrays}
    if "train" not in parts:
        raise InputError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; it needs an array train (or x_train), or a single array"
        )
    return parts


def _load(path: Path) -> Any:
    """The array of a `.npy` file, mapped; or those of a `.npz` file by name."""
    try:
        content = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        return content if path.suffix == ".npy" else {key: content[key] for key in content.files}
    except Exception as error:  # damage shows as one of many types
        raise InputError(f"{path} cannot be read as arrays: {error}") from error


def _read_folder(folder: Path) -> np.ndarray:
    from PIL import Image

    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _IMAGE_ENDINGS)
    if not files:
        raise InputError(f"the folder {folder} holds no images ({', '.join(sorted(_IMAGE_ENDINGS))})")
    images = []
    for file in files:
        try:
            with Image.open(file) as image:
                if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
                    raise InputError(f"{file} has pixels of the kind {image.mode}; convert it to 8 bits per channel")
                images.append(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
        except OSError as error:
            raise InputError(f"{file} cannot be read as an image: {error}") from error
    for file, image in zip(files, images, strict=True):
        if image.size != images[0].size:
            raise InputError(
                f"{file} is {image.width}x{image.height} and {files[0]} is "
                f"{images[0].width}x{images[0].height}; the images must be of one size"
            )
    grey = all(image.mode == "L" for image in images)
    pixels = np.stack([np.asarray(image if grey else image.convert("RGB")) for image in images])
    return pixels[..., None] if grey else pixels
