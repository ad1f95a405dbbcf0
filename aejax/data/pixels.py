"""Which arrays are images, and which pixels a model can take: one check for training, encoding and evaluation."""

from __future__ import annotations

import math

import numpy as np

from aejax.config import Config, InputError
from aejax.data.mapped import pieces


def as_images(array: np.ndarray, where: str = "images") -> np.ndarray:
    """Bring an array to [N, H, W, C], uint8 or float32.

    Accepts [N, H, W, C], [N, H, W], and flat [N, D] (a square image where D is a square, one row of D
    pixels otherwise). Integers other than uint8 are refused: their scale is unknown.

    Raises:
        InputError: the array has another number of axes, no image, another type, or pixels that are not finite.
    """
    array = np.asarray(array)
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
        _require_finite(array, where)
    elif array.dtype != np.uint8:
        raise InputError(f"{where} are {array.dtype}; give uint8 from 0 to 255, or floats")
    if array.ndim == 2:
        side = math.isqrt(array.shape[1])
        array = array.reshape((len(array), side, side, 1) if side**2 == array.shape[1] else (len(array), 1, -1, 1))
    elif array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or 0 in array.shape:
        raise InputError(f"{where} have shape {list(array.shape)}; it must be [N, H, W, C], [N, H, W] or [N, D]")
    return array


def _require_finite(array: np.ndarray, where: str) -> None:
    first = 0
    for piece in pieces(array):
        if not np.isfinite(piece).all():
            bad = np.argwhere(~np.isfinite(piece))[0]
            place = [first + int(bad[0]), *bad[1:].tolist()]
            raise InputError(f"{where}: the pixel at {place} is {piece[tuple(bad)]}; remove or repair such images")
        first += len(piece)


def require_range(config: Config, images: np.ndarray, where: str, *, trained_on_bytes: bool = False) -> None:
    """Refuse floats beyond [0, 1] where that is the scale of the loss, the corruption, or the images trained on.

    Args:
        where: what the pixels are, for the message.
        trained_on_bytes: whether the model was trained on uint8 pixels, which it meets as floats from 0 to 1.

    Raises:
        InputError: a pixel lies beyond.
    """
    fields = {
        "loss.reconstruction": config.loss.reconstruction,
        "corruption.kind": config.corruption.kind,
        "data.binarize": config.data.binarize,
    }
    needs = [f"{field} {value}" for field, value in fields.items() if value not in ("mse", "none", False)]
    if images.dtype == np.uint8 or not (needs or trained_on_bytes):
        return
    least, most = np.array([(piece.min(), piece.max()) for piece in pieces(images)]).T
    if least.min() < 0 or most.max() > 1:
        found = f"{where} lie in [{least.min():g}, {most.max():g}]"
        if trained_on_bytes:
            raise InputError(f"{found}; the model was trained on uint8 images: give uint8, or floats from 0 to 1")
        raise InputError(
            f"{found}; {' and '.join(needs)} needs [0, 1]: scale them, or use --loss.reconstruction mse "
            "--corruption.kind none"
        )
