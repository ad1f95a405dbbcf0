"""Which arrays are images or vectors, and on which scale: one check for training, encoding and evaluation."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from aejax.config import Config, InputError
from aejax.data.generated import GeneratedArray
from aejax.data.mapped import Shards, pieces, require_memory

Channels = Literal["auto", "first", "last"]

HALVES = ("float16", "bfloat16")
"""types of two bytes that stay as they are; a step computes with them in float32"""

_WANTED = "an array of images [N, H, W, C] or [N, H, W], or of vectors [N, D]"


def as_examples(given: Any, where: str = "images", channels: Channels = "auto") -> np.ndarray | Shards:
    """Bring an array to images [N, H, W, C] or vectors [N, D], uint8, float16, bfloat16 or float32.

    Args:
        given: [N, H, W, C], [N, H, W] or [N, D]: a NumPy array, or what has the values of one (nested lists, a tensor
            of PyTorch, a table of pandas); or `Shards` of such, which stay shards. Integers other than uint8 are
            refused as pixels, whose scale they do not tell, and taken as they are in vectors.
        where: what is given, for messages.
        channels: whether the channels of [N, C, H, W] or [N, H, W, C] come first or last; "auto" refuses what looks
            like channels first.

    Raises:
        InputError: the array has another number of axes, nothing in it, another type, or values that are not finite.
    """
    if isinstance(given, Shards):
        named = zip(given.parts, given.names, strict=True)
        return Shards([as_examples(part, f"{where} in {name}", channels) for part, name in named], given.names)
    array = _array(given, where)
    if array.dtype == bool:
        array = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype.kind == "f" or array.dtype.name == "bfloat16" or (array.dtype.kind in "iu" and array.ndim == 2):
        if array.dtype != np.uint8:
            array = _floats(array, where)
    elif array.dtype != np.uint8:
        raise InputError(f"{where} are {array.dtype}; give uint8 from 0 to 255, or floats")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim not in (2, 4) or 0 in array.shape:
        raise InputError(f"{where} have shape {list(array.shape)}; give {_WANTED}")
    if array.ndim == 4:
        if channels == "first":
            return np.moveaxis(array, 1, -1)
        if channels == "auto" and array.shape[1] in (1, 3, 4) and min(array.shape[2:]) > 4:
            raise InputError(
                f"{where} have shape {list(array.shape)}, which looks like [N, C, H, W]: say channels first or last "
                "(--data.channels, or channels= of Dataset.from_arrays)"
            )
    return array


_ARRAYS = ("__array__", "__array_interface__", "to_numpy")
"""by one of which arrays, tensors, tables and images of other libraries are known"""


def _array(given: Any, where: str) -> np.ndarray:
    """A NumPy array of what has the values of one."""
    kind = type(given).__name__
    if not isinstance(given, list | tuple) and not any(hasattr(given, name) for name in _ARRAYS):
        raise InputError(f"{where} are of the type {kind}; give {_WANTED}")
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{where} are an array with masked values; fill them in, or leave such examples out")
    try:
        if hasattr(given, "detach"):  # a tensor of PyTorch: on any device, with or without a gradient
            given = given.detach().cpu()
            given = given.float() if str(given.dtype) == "torch.bfloat16" else given
        array = given.to_numpy() if hasattr(given, "to_numpy") else np.asarray(given)
        if array.dtype == object and array.ndim:
            array = np.asarray(array.tolist())  # of columns or rows of several types, where they have a common one
    except Exception as error:  # whatever another library raises
        why = str(error).splitlines()[0].rstrip(".")
        why = "they are of several sizes" if "inhomogeneous" in why else why
        raise InputError(f"{where} ({kind}) are no array: {why}; give {_WANTED}") from error
    if array.dtype.kind in "OUSMmc" or array.dtype.names:
        what = "text, or have some in them" if array.dtype.kind in "US" else str(array.dtype)
        raise InputError(f"{where} ({kind}) are {what}; give {_WANTED}, of numbers")
    return array


def _floats(array: np.ndarray, where: str) -> np.ndarray:
    """As finite float32, or float16 or bfloat16 as they are (but in the order of bytes of this machine)."""
    dtype = np.dtype(array.dtype.name if array.dtype.name in HALVES else np.float32)
    if array.dtype != dtype:
        needed = dtype.itemsize * array.size
        require_memory(needed, f"{where}: to make {dtype} of {array.dtype}", "save them as float32 or float16")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is named
        array = array.astype(dtype, copy=False)
    first, what = 0, "value" if array.ndim == 2 else "pixel"
    for piece in pieces(array) if array.ndim else ():
        if not np.isfinite(piece).all():
            bad = np.argwhere(~np.isfinite(piece))[0]
            place = [first + int(bad[0]), *bad[1:].tolist()]
            raise InputError(f"{where}: the {what} at {place} is {piece[tuple(bad)]}; remove or repair such examples")
        first += len(piece)
    return array


_ROUNDING = 1e-5
"""by which a float may lie beyond [0, 1]: filters and conversions of others leave it so"""

_SOME = 256
"""of generated examples, those that are looked at to tell their range"""

_BEYOND = 0.5
"""of the width of the range trained on, that other images may lie beyond it where the loss does not forbid it"""


def extremes(images: np.ndarray | Shards) -> tuple[float, float]:
    """The smallest and the largest value."""
    least, most = zip(*((float(piece.min()), float(piece.max())) for piece in pieces(images)), strict=True)
    return min(least), max(most)


def scale(images: np.ndarray | Shards) -> tuple[float, float]:
    """The range that pixels are meant to have, as a model meets them: [0, 1], [-1, 1], or where they lie otherwise."""
    if images.dtype == np.uint8:
        return 0.0, 1.0
    low, high = extremes(images)
    for usual in ((0.0, 1.0), (-1.0, 1.0)):
        if low >= usual[0] - _ROUNDING and high <= usual[1] + _ROUNDING:
            return usual
    return low, high


def require_range(config: Config, images: np.ndarray | Shards, where: str) -> None:
    """Refuse floats beyond [0, 1] where that is the scale of the loss or of the corruption.

    Args:
        where: what the pixels are, for the message.

    Raises:
        InputError: a pixel lies beyond.
    """
    fields = {
        "loss.reconstruction": config.loss.reconstruction,
        "corruption.kind": config.corruption.kind,
        "data.binarize": config.data.binarize,
    }
    needs = [f"{field} {value}" for field, value in fields.items() if value not in ("mse", "none", False)]
    if images.dtype == np.uint8 or not needs:
        return
    low, high = extremes(images[:_SOME] if isinstance(images, GeneratedArray) else images)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise InputError(
            f"{where} lie in [{low:g}, {high:g}]; {' and '.join(needs)} needs [0, 1]: scale them, or use "
            "--loss.reconstruction mse --corruption.kind none"
        )


def require_scale(images: np.ndarray | Shards, trained: tuple[float, float], where: str) -> None:
    """Refuse images on another scale than those that a model was trained on.

    Args:
        trained: the range of those, by `scale`.
        where: what the pixels are, for the message.

    Raises:
        InputError: they are uint8 and the model knows another range than [0, 1]; or they lie far beyond that range, or
            it goes up to 20 and more and they lie in [-1, 1] or have a mean near 0.
    """
    low, high = (0.0, 1.0) if images.dtype == np.uint8 else extremes(images)
    margin = _BEYOND * (trained[1] - trained[0])
    beyond = low < trained[0] - margin or high > trained[1] + margin
    largest = max(-low, high)
    small = trained[1] >= 20 and (0 < largest <= 1 + _ROUNDING or (low < 0 <= trained[0] and largest < 10))
    if not beyond and not small and (images.dtype != np.uint8 or trained == (0.0, 1.0)):
        return
    found = f"are {images.dtype}" if images.dtype == np.uint8 else f"lie in [{low:g}, {high:g}]"
    wanted = "uint8, or floats from 0 to 1" if trained == (0.0, 1.0) else "floats on that scale"
    raise InputError(
        f"{where} {found}; the model was trained on pixels in [{trained[0]:g}, {trained[1]:g}]: give {wanted}"
    )


def size(shape: tuple[int, ...]) -> str:
    """28x28x1 of images, "64 values" of vectors: for messages."""
    return "x".join(map(str, shape)) if len(shape) == 3 else f"{math.prod(shape)} values"
