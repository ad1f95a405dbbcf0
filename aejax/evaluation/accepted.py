"""Examples that a trained model accepts."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from aejax.config import Config, InputError
from aejax.data import Examples, require_range, require_scale
from aejax.data.images import all_fitted
from aejax.data.pixels import as_examples
from aejax.data.tables import columns, is_table
from aejax.training.identity import DatasetIdentity


def accepted(config: Config, trained: DatasetIdentity, given: Any) -> Examples:
    """Convert images [N, H, W, C], or vectors [N, D], as the training examples were converted.

    Images may be flat, [N, H * W * C]. The columns of a data frame are brought into the order of the training.

    Raises InputError: they have another shape, other columns, or another scale than the training examples.
    """
    shape = trained.image_shape[1:2] if trained.vectors else trained.image_shape
    kind, values = ("vectors", "the values") if trained.vectors else ("images", "the pixels")
    data, names = dataclasses.replace(config.data, channels="last"), trained.feature_names
    if names is not None and is_table(given):
        label = data.label if data.label in given.columns else None
        given = columns(given, kind, label, names)[0]
    examples = as_examples(given, kind, data, names)  # the check of the shape follows, with a better message
    examples = (all_fitted(examples, data, kind) if examples.ndim == 4 else examples).plain
    if not trained.vectors and examples.ndim == 2 and examples.shape[1] == math.prod(shape):
        examples = np.asarray(examples).reshape(-1, *shape)
    if examples.shape[1:] != shape:
        taken = ", ".join(map(str, shape))
        raise InputError(f"{kind} have shape {list(np.shape(given))}; this model takes [N, {taken}]")
    if trained.range is not None:
        require_scale(examples, trained.range, values)
    if trained.standardization is None:
        require_range(config, examples, values)
    return examples


def filled(vectors: Examples, means: Sequence[float]) -> np.ndarray:
    """Replace NaN in vectors [N, D] by numbers of each feature, or by one number."""
    vectors = np.asarray(vectors)
    return np.where(np.isnan(vectors), np.asarray(means, vectors.dtype), vectors)
