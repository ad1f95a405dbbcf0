"""Conversion of arrays to images, vectors, targets or classes, and checks of their scale."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import ml_dtypes
import numpy as np

from aejax.config import Config, InputError
from aejax.config.checks import listed, refusing
from aejax.config.config import ANY_RANGE
from aejax.config.sections import Data
from aejax.data.examples import Examples, Shards, examples_of, require_memory

Channels = Literal["auto", "first", "last"]

_WANTED = "an array of images [N, H, W, C] or [N, H, W], or of vectors [N, D], or a data frame of pandas"


def as_examples(given: Any, where: str, data: Data, names: Sequence[str] | None = None) -> Shards:
    """Convert an array to images [N, H, W, C] or vectors [N, D], uint8, float16, bfloat16 or float32.

    Args:
        given: [N, H, W, C], [N, H, W] or [N, D]: a NumPy array, nested lists, a tensor of PyTorch, a table of pandas,
            or `Shards`. Integers other than uint8 are refused as pixels, since their scale is unknown, and accepted as
            values of vectors.
        where: name of the examples in messages.
        data: `data.channels` for arrays of four axes; `data.missing`, whether vectors may have NaN.
        names: of features, for messages.

    Raises:
        InputError: the array has another number of axes, is empty, has another type, or has values that are not finite.
    """
    parts, files = (given.parts, given.names) if isinstance(given, Shards) else ((given,), ("",))
    called = [f"{where} in {file}" if file else where for file in files]
    arrays = [_numbers(part, place) for part, place in zip(parts, called, strict=True)]
    images = [shaped(array, place, data.channels) for array, place in zip(arrays, called, strict=True)]
    examples = Shards(images, files)
    masked = data.missing == "mask" and examples.ndim == 2
    if not np.isfinite(examples.extremes).all() or (examples.missing and not masked):
        _require_finite(dict(zip(called, arrays, strict=True)), examples, masked, names)
    return examples


def _require_finite(
    arrays: Mapping[str, np.ndarray], examples: Shards, masked: bool, names: Sequence[str] | None
) -> None:
    """Refuse infinite values, and NaN unless `masked`, with the first position; for vectors, count NaN."""
    advice = "remove or repair such examples"
    if examples.missing and examples.ndim == 2 and not masked:
        in_each = sum(np.isnan(piece).sum(axis=0) for piece in examples.pieces())
        columns = [str(at) if names is None else names[at] for at in np.flatnonzero(in_each)]
        found = f"{examples.missing:,} of {examples.size:,} values are missing, in the columns {listed(columns)}"
        advice = f"{advice}, or leave missing values out of the loss by --data.missing mask: {found}"
    for where, array in arrays.items():
        for number, row in enumerate(array):
            wrong = np.isinf(row) if masked else ~np.isfinite(row)
            if wrong.any():
                at = np.argwhere(wrong)[0].tolist()
                column = f" (column {names[at[0]]})" if names is not None else ""
                kind = "value" if array.ndim == 2 else "pixel"
                raise InputError(f"{where}: the {kind} at {[number, *at]}{column} is {row[tuple(at)]}; {advice}")


def as_targets(given: Any, count: int, where: str, channels: Channels = "auto") -> np.ndarray:
    """Convert targets [N, ...] to uint8, float16, bfloat16 or float32; three or four axes are images, as examples are.

    Raises:
        InputError: the array has a type that is no number, another type of integers, values that are not finite, or not
            a target for each of `count` examples.
    """
    array = _numbers(given, where)
    if array.ndim == 0 or 0 in array.shape or len(array) != count:
        raise InputError(f"{where} have shape {list(array.shape)} for {count} examples; give an array [N, ...]")
    array = shaped(array, where, channels) if array.ndim in (3, 4) else array
    if not all(np.isfinite(piece).all() for piece in Shards([array]).pieces()):
        raise InputError(f"{where} hold NaN or infinity; remove or repair such examples")
    return array


def as_array(given: Any, where: str, wanted: str) -> np.ndarray:
    """Convert nested lists, a tensor of PyTorch or a table of pandas; raise `InputError` if their library cannot."""
    with refusing(f"{where} ({type(given).__name__}) are no array", f"; give {wanted}"):
        if hasattr(given, "detach"):  # a tensor: on any device, with or without a gradient
            given = given.detach().cpu()
            given = given.float() if str(given.dtype) == "torch.bfloat16" else given
        return given.to_numpy() if hasattr(given, "to_numpy") else np.asarray(given)


def _numbers(given: Any, where: str) -> np.ndarray:
    """Convert to uint8, float32, or float16 and bfloat16 in the byte order of this machine."""
    kind = type(given).__name__
    known = ("__array__", "__array_interface__", "to_numpy")  # of arrays, tensors, tables and images
    if not isinstance(given, list | tuple) and not any(hasattr(given, name) for name in known):
        raise InputError(f"{where} are of the type {kind}; give {_WANTED}")
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{where} are an array with masked values; fill them in, or leave out these examples")
    array = as_array(given, where, _WANTED)
    if array.dtype == object and array.ndim:
        array = as_array(array.tolist(), where, _WANTED)  # columns of several types may have a common type
    if array.dtype.kind in "OUSMmc" or array.dtype.names:
        what = "text, or contain text" if array.dtype.kind in "US" else str(array.dtype)
        raise InputError(f"{where} ({kind}) are {what}; give {_WANTED}, of numbers")
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.dtype("V2"):  # bfloat16, which NumPy saves without a name
        array = array.view(ml_dtypes.bfloat16)
    kept = array.dtype.name in ("uint8", "float16", "bfloat16")
    if not kept and array.dtype.kind != "f" and not (array.dtype.kind in "iu" and array.ndim == 2):
        raise InputError(f"{where} are {array.dtype}; give uint8 from 0 to 255, or floats")
    dtype = np.dtype(array.dtype.name if kept else np.float32)
    if array.dtype != dtype:
        needed = dtype.itemsize * array.size
        require_memory(needed, f"{where}: to make {dtype} of {array.dtype}", "save them as float32 or float16")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite and are refused
        return array.astype(dtype, copy=False)


def shaped(array: np.ndarray, where: str, channels: Channels) -> np.ndarray:
    """Return images as [N, H, W, C], and vectors [N, D] as they are; refuse other shapes."""
    if array.ndim not in (2, 3, 4) or 0 in array.shape:
        found = "are empty, of" if array.size == 0 else "have"
        raise InputError(f"{where} {found} shape {list(array.shape)}; give {_WANTED}")
    if array.ndim == 3:
        return array[..., None]
    if array.ndim == 4 and channels == "first":
        return np.moveaxis(array, 1, -1)
    if array.ndim == 4 and channels == "auto" and array.shape[1] in (1, 3, 4) and min(array.shape[2:]) > 4:
        raise InputError(
            f"{where} have shape {list(array.shape)}, which looks like [N, C, H, W]: say channels first or last "
            "(--data.channels, or channels= of Dataset.from_arrays)"
        )
    return array


_ROUNDING = 1e-5
"""distance by which floats may lie outside [0, 1], as filters and conversions leave them"""


def scale(images: Examples) -> tuple[float, float]:
    """Return the range of the pixels as a model meets them: [0, 1], [-1, 1], or otherwise their extremes."""
    low, high = examples_of(images).extremes
    for usual in ((0.0, 1.0), (-1.0, 1.0)):
        if low >= usual[0] - _ROUNDING and high <= usual[1] + _ROUNDING:
            return usual
    return low, high


def require_range(config: Config, images: Examples, where: str, seen: bool = True) -> None:
    """Raise `InputError` for floats outside [0, 1] if the loss or the corruption needs that range.

    Args:
        seen: whether the images are input of a model; targets alone are not corrupted.
    """
    allowed = ANY_RANGE if seen else {"loss.reconstruction": ANY_RANGE["loss.reconstruction"]}
    needs = [f"{path} {value}" for path, value in config.others(allowed).items()]
    low, high = examples_of(images).extremes if needs else (0.0, 1.0)
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise InputError(
            f"{where} lie in [{low:g}, {high:g}]; {' and '.join(needs)} needs [0, 1]: scale them, or use "
            "--loss.reconstruction mse --corruption.kind none"
        )


def require_scale(images: Examples, trained: tuple[float, float], where: str) -> None:
    """Raise `InputError` for images on another scale than the training images.

    Refused are uint8 images if `trained` is not [0, 1], and images far outside `trained`. If `trained` reaches 20 or
    more, images in [-1, 1] or with values around 0 are refused too.

    Args:
        trained: range of the training images, from `scale`.
    """
    low, high = examples_of(images).extremes
    margin = 0.5 * (trained[1] - trained[0])
    beyond = low < trained[0] - margin or high > trained[1] + margin
    largest = max(-low, high)
    small = trained[1] >= 20 and (0 < largest <= 1 + _ROUNDING or (low < 0 <= trained[0] and largest < 10))
    if not beyond and not small and (images.dtype != np.uint8 or trained == (0.0, 1.0)):
        return
    found = f"are {images.dtype}" if images.dtype == np.uint8 else f"lie in [{low:g}, {high:g}]"
    wanted = "uint8, or floats from 0 to 1" if trained == (0.0, 1.0) else "floats on that scale"
    raise InputError(
        f"{where} {found}; the model was trained on values in [{trained[0]:g}, {trained[1]:g}]: give {wanted}"
    )


def as_classes(given: Any, count: int, where: str) -> np.ndarray:
    """Convert labels to one class for each of `count` examples: int[N], or strings [N].

    A missing label is -1, None or NaN; the result has -1 for it, or "" among names.

    Args:
        given: integers, bools, strings or whole floats, [N] or [N, 1]; or one-hot rows [N, classes].
        where: name of the labels in messages.

    Raises:
        InputError: the number of labels is wrong, the labels are no classes, or they are all -1 or 1.
    """
    wanted = "a class for each example, integers or names"
    labels = as_array(given, where, wanted)

    def check(holds: bool | np.ndarray, found: str) -> None:
        if not np.all(holds):
            at = "" if isinstance(holds, bool) else f" (number {int(np.argmin(holds))} is {labels[np.argmin(holds)]})"
            raise InputError(f"{where} {found}{at}; give {wanted}")

    if labels.dtype == object:
        missing = [type(each).__name__ in _MISSING or each != each for each in labels.flat]
        filler = "" if any(isinstance(each, str) for each in labels.flat) else -1
        filled = np.where(np.reshape(missing, labels.shape), filler, labels)
        labels = as_array(filled.tolist(), where, wanted)
    shape = f"have shape {list(labels.shape)}"
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.dtype.kind in "iufb":
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        check(bool(one_hot), f"{shape} and are not one-hot")
        labels = labels.argmax(axis=1)
    check(labels.shape == (count,), f"{shape} for {count} examples")
    if labels.dtype.kind in "fb":
        labels = np.where(np.isnan(labels), -1, labels)
        check(np.isfinite(labels) & (labels == np.rint(labels)), "are no whole numbers")
        labels = labels.astype(np.int64)
    check(labels.dtype.kind in "iuUS", f"are {labels.dtype}")
    if labels.dtype.kind in "iu":
        check(int(labels.min()) > -(2**31) and int(labels.max()) < 2**31, "go beyond 2**31")
        classes = set(np.unique(labels).tolist())
        check(classes != {-1, 1}, "are -1 and 1, and -1 is a missing label: write 0 and 1 for two classes")
    return labels


_MISSING = "NoneType", "NAType", "NaTType"
"""names of the types of None and of the missing values of pandas"""


def is_known(labels: np.ndarray) -> np.ndarray:
    """Return whether each label is a class and not missing: [N] → bool[N]."""
    missing = {"U": "", "S": b"", "i": -1}.get(labels.dtype.kind)
    return np.ones(len(labels), bool) if missing is None else labels != missing
