"""Classes of examples: integers, names, whole floats, a column or one-hot rows; some may be missing."""

from __future__ import annotations

from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.data.pixels import as_array


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
        named, shape = any(isinstance(each, str) for each in labels.flat), labels.shape
        filled = [("" if named else -1) if no else each for each, no in zip(labels.flat, missing, strict=True)]
        labels = as_array(filled, where, wanted).reshape(shape)
    shape = f"have shape {list(labels.shape)}"
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.dtype.kind in "iufb":
        one_hot = ((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()
        check(bool(one_hot), f"{shape} and are not one-hot")
        labels = labels.argmax(axis=1)
    check(labels.shape == (count,), f"{shape} for {count} examples")
    if labels.dtype.kind == "f":
        labels = np.where(np.isnan(labels), -1, labels)
        check(np.isfinite(labels) & (labels == np.rint(labels)), "are no whole numbers")
        labels = labels.astype(np.int64)
    check(labels.dtype.kind in "iubUS", f"are {labels.dtype}")
    labels = labels.astype(np.int32) if labels.dtype.kind == "b" else labels
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
