"""Classes of examples: integers, names, whole floats, a column or one-hot rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.data.pixels import as_array


def as_classes(given: Any, count: int, where: str) -> np.ndarray:
    """Convert labels to one class for each of `count` examples: int[N], or strings [N].

    Args:
        given: integers, bools, strings or whole floats, [N] or [N, 1]; or one-hot rows [N, classes].
        where: name of the labels in messages.

    Raises:
        InputError: the number of labels is wrong, a label is missing, or the labels are no classes.
    """
    wanted = "a class for each example, integers or names"
    labels = as_array(given, where, wanted)
    if labels.dtype == object and all(value is not None and value == value for value in labels.flat):
        labels = as_array(labels.tolist(), where, wanted)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]

    def refuse(bad: np.ndarray) -> None:
        if bad.any():
            place = tuple(np.argwhere(bad)[0])
            raise InputError(f"{where}: number {int(place[0])} is {labels[place]}; give {wanted}")

    if labels.dtype.kind in "Ofc":
        refuse(~np.isfinite(labels) if labels.dtype != object else (labels == None) | (labels != labels))  # noqa: E711
    if labels.ndim == 2 and labels.dtype.kind in "iufb":
        if not (((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise InputError(f"{where} have shape {list(labels.shape)} and are not one-hot; give {wanted}")
        labels = labels.argmax(axis=1)
    if labels.shape != (count,):
        raise InputError(f"{where} have shape {list(labels.shape)} for {count} examples; give one class each")
    if labels.dtype.kind == "f":
        refuse(labels != np.rint(labels))
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iubUS":
        raise InputError(f"{where} are {labels.dtype}; give {wanted}")
    if labels.dtype.kind in "iu" and labels.size and max(-int(labels.min()), int(labels.max())) >= 2**31:
        raise InputError(f"{where} go from {labels.min()} to {labels.max()}; give {wanted}, below 2**31")
    return labels.astype(np.int32) if labels.dtype.kind == "b" else labels
