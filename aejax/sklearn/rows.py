"""What every row of a table gives, whatever rows it comes with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

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
