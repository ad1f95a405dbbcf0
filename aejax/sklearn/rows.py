"""Rows of numbers as the images that the library takes: the one place that says how."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aejax.data import Dataset


def as_images(rows: np.ndarray) -> np.ndarray:
    """Float[N, D] → float32[N, 1, D, 1]: each row is an image of one line."""
    return rows.astype(np.float32).reshape(len(rows), 1, -1, 1)


def as_rows(images: np.ndarray) -> np.ndarray:
    """The inverse: float32[N, 1, D, 1] → float32[N, D]."""
    return images.reshape(len(images), -1)


def as_dataset(rows: np.ndarray) -> Dataset:
    """Rows to learn from. None is set aside, since scikit-learn says what is held out: the test loss is theirs too."""
    images = as_images(rows)
    return Dataset.from_arrays(images, images, name="rows")


_CHUNK = 256


def by_chunks(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Apply a function to chunks of one size, [N, ...] → [N, ...], the last one filled up with copies of its last row.

    Compilers order sums by the shape of a batch. So what a row gives is the same, bit for bit, whatever rows it comes
    with, as scikit-learn demands of its estimators; and another number of rows compiles nothing.
    """
    made = []
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        filled = np.concatenate([chunk, np.repeat(chunk[-1:], _CHUNK - len(chunk), axis=0)])
        made.append(function(filled)[: len(chunk)])
    return np.concatenate(made)
