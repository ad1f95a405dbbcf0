"""Classes of examples, as people have them: integers, names, whole floats, a column, one-hot rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from aejax.config import InputError


def as_classes(given: Any, count: int, where: str) -> np.ndarray:
    """One class for each example: int[N], or strings [N].

    Args:
        given: integers, bools, strings, or floats that are whole, as [N] or [N, 1]; or one-hot rows [N, classes].
        count: the number of examples.
        where: what they are, for messages.

    Raises:
        InputError: there are more or fewer than examples, or some are missing, or they are no classes.
    """
    wanted = "give a class for each example, integers or names"
    try:
        if hasattr(given, "detach"):  # a tensor of PyTorch
            given = given.detach().cpu()
        labels = given.to_numpy() if hasattr(given, "to_numpy") else np.asarray(given)
        values = labels.ravel().tolist() if labels.dtype == object else []
        missing = [index for index, value in enumerate(values) if value is None or value != value]
        labels = labels if missing or labels.dtype != object else np.asarray(labels.tolist())
    except Exception as error:  # whatever another library raises
        raise InputError(f"{where} ({type(given).__name__}) are no array; {wanted}") from error
    if missing:
        raise InputError(f"{where}: number {missing[0]} is {values[missing[0]]}; {wanted}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind in "fc" and not np.isfinite(labels).all():
        bad = tuple(np.argwhere(~np.isfinite(labels))[0])
        raise InputError(f"{where}: number {int(bad[0])} is {labels[bad]}; {wanted}")
    if labels.ndim == 2 and labels.dtype.kind in "iufb":
        if not (((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise InputError(f"{where} have shape {list(labels.shape)} and are not one-hot; {wanted}")
        labels = labels.argmax(axis=1)
    if labels.shape != (count,):
        raise InputError(f"{where} have shape {list(labels.shape)} for {count} examples; give one each")
    if labels.dtype.kind == "f":
        if (fractions := labels != np.rint(labels)).any():
            raise InputError(f"{where}: number {int(fractions.argmax())} is {labels[fractions][0]}; {wanted}")
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iubUS":
        raise InputError(f"{where} are {labels.dtype}; {wanted}")
    if labels.dtype.kind in "iu" and labels.size and max(-int(labels.min()), int(labels.max())) >= 2**31:
        raise InputError(f"{where} go from {labels.min()} to {labels.max()}; {wanted} below 2**31")
    return labels.astype(np.int32) if labels.dtype.kind == "b" else labels
