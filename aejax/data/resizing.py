"""Images of one size and of one number of channels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from aejax.config import InputError
from aejax.config.sections import Data
from aejax.data.mapped import Shards, require_memory

_LUMA = np.float32([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow has it


def fitted(image: np.ndarray, data: Data, where: str) -> np.ndarray:
    """Apply `data.size` and `data.colour` to an image [H, W] or [H, W, C], or [C, H, W] if `data.channels` is first.

    Raises:
        InputError: colours are neither one nor three channels.
    """
    from PIL import Image

    if data.size is None and data.colour is None:
        return image
    first, dtype = data.channels == "first" and image.ndim == 3, image.dtype
    pixels = image[..., None] if image.ndim == 2 else np.moveaxis(image, 0, -1) if first else image
    if data.colour is not None and pixels.shape[2] not in (1, 3):
        raise InputError(f"{where} have {pixels.shape[2]} channels; data.colour takes images of 1 or 3 channels")
    if data.colour == "grey" and pixels.shape[2] == 3:
        pixels = np.float32(pixels) @ _LUMA[:, None]
        pixels = np.rint(pixels).astype(np.uint8) if dtype == np.uint8 else pixels
    if data.size is not None and pixels.shape[:2] != (data.size, data.size):
        height, width, side = *pixels.shape[:2], min(pixels.shape[:2])
        left, top = (width - side) / 2, (height - side) / 2
        plain = np.ascontiguousarray(np.moveaxis(pixels, -1, 0), None if dtype == np.uint8 else np.float32)
        box = left, top, left + side, top + side
        square = [Image.fromarray(each).resize((data.size,) * 2, Image.Resampling.BILINEAR, box) for each in plain]
        pixels = np.stack(square, axis=-1)
    if data.colour == "rgb" and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    return (np.moveaxis(pixels, -1, 0) if first else pixels).astype(dtype, copy=False)


def all_fitted(images: Shards, data: Data, where: str) -> Shards:
    """Apply `data.size` and `data.colour` to images [N, H, W, C]; images that need no change stay where they are.

    Raises:
        InputError: the examples are vectors, or a copy does not fit in memory.
    """
    if data.size is None and data.colour is None:
        return images
    if images.ndim != 4 or images.make is not None:
        raise InputError(f"{where} are vectors, or computed; data.size and data.colour are for stored images")
    data = dataclasses.replace(data, channels="last")
    first = fitted(images[0], data, where)
    if first.shape == images.shape[1:]:
        return images
    require_memory(len(images) * first.nbytes, f"{where}: to resize them", "resize them in their files")
    return Shards([np.stack([fitted(image, data, where) for piece in images.pieces() for image in piece])])


def joined(images: Sequence[np.ndarray], where: str) -> np.ndarray:
    """Return images as one array, [N, ...]; refuse images of several sizes."""
    if others := [image.shape for image in images if image.shape != images[0].shape]:
        found = f"{list(images[0].shape)} and {list(others[0])}"
        raise InputError(f"{where} are of several sizes, such as {found}; take --data.size 32, or --data.colour rgb")
    return np.stack(images)
