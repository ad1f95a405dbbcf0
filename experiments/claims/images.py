"""More images for the experiments: patches of a photograph, random pixels."""

from __future__ import annotations

import numpy as np

from aejax.data import Dataset

_TRAIN, _TEST = 10_000, 1_000


def photograph_patches(shape: tuple[int, int, int] = (28, 28, 1)) -> Dataset:
    """Cut grey patches from a photograph of scikit-learn: training from its left 3/4, test from the rest."""
    from sklearn.datasets import load_sample_image

    height, width, channels = shape
    grey = np.round(load_sample_image("china.jpg").mean(axis=2)).astype(np.uint8)
    border = grey.shape[1] * 3 // 4
    random = np.random.default_rng(0)

    def patches(part: np.ndarray, count: int) -> np.ndarray:
        rows = random.integers(0, part.shape[0] - height + 1, count)
        columns = random.integers(0, part.shape[1] - width + 1, count)
        cut = np.stack([part[r : r + height, c : c + width] for r, c in zip(rows, columns, strict=True)])
        return np.repeat(cut[..., None], channels, axis=3)

    return Dataset("photograph", patches(grey[:, :border], _TRAIN), patches(grey[:, border:], _TEST))


def random_pixels(shape: tuple[int, int, int], count: int) -> Dataset:
    """Draw images of uniform, independent pixels, whose only structure is their mean."""
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (n, *shape), dtype=np.uint8) for n in (count, _TEST))
    return Dataset("random", train, test)
