"""Measures of reconstructions and of codes, in NumPy: nothing here knows of models."""

from __future__ import annotations

from typing import Any

import numpy as np

from aejax.data import Standardization

PERFECT = 100.0
"""dB, the largest PSNR that is reported: an image without any error would have an infinite one"""
_SSIM_WINDOW = 7


def psnr(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of images in [0, 1]: float[N, H, W, C] twice → float64[N], at most `PERFECT`."""
    error = np.square(images.astype(np.float64) - others).mean(axis=(1, 2, 3))
    return -10 * np.log10(np.maximum(error, 10 ** (-PERFECT / 10)))


def ssim(images: np.ndarray, others: np.ndarray) -> np.ndarray | None:
    """Structural similarity (Wang et al. 2004; scikit-image): float[N, H, W, C] in [0, 1] twice → float64[N].

    The window is 7x7, and for images below 14 pixels the largest odd one up to half their smaller side, but at least
    3x3; None for images that are smaller than that.
    """
    from skimage.metrics import structural_similarity

    side = min(images.shape[1:3])
    if side < 3:
        return None
    window = min(_SSIM_WINDOW, max(3, (side // 2 - 1) | 1))
    return np.array(
        [
            structural_similarity(image, other, win_size=window, data_range=1.0, channel_axis=-1)
            for image, other in zip(images.astype(np.float64), others.astype(np.float64), strict=True)
        ]
    )


def variance_explained(
    examples: np.ndarray, others: np.ndarray, standardization: Standardization | None = None
) -> float | None:
    """1 - squared error / variance, both summed over examples and features: float[N, ...] twice; at most 1.

    The variance is of each feature about its mean over these examples; None where all examples are equal.

    Args:
        standardization: what puts the features on one scale first.
    """
    if standardization is not None:
        examples, others = standardization.apply(examples), standardization.apply(others)
    examples = examples.astype(np.float64)
    variance = np.square(examples - examples.mean(axis=0)).sum()
    return float(1 - np.square(examples - others).sum() / variance) if variance > 0 else None


def feature_errors(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Mean squared error of each feature over its variance: float[N, D] twice → float64[D].

    0 is perfect, and 1 what the feature's mean would give; NaN for a feature that is constant.
    """
    vectors = vectors.astype(np.float64)
    error, variance = np.square(vectors - others).mean(axis=0), vectors.var(axis=0)
    return np.divide(error, variance, out=np.full_like(error, np.nan), where=variance > 0)


def code_measures(codes: np.ndarray) -> dict[str, Any]:
    """What the codes of many images look like: float[N, code_size] → figures by name (see `aejax.evaluation`)."""
    codes = codes.astype(np.float64)
    deviations = codes.std(axis=0)
    zeros = codes == 0
    return {
        "code_mean": float(codes.mean()),
        "code_variance": float(codes.var()),
        "code_fraction_zero": float(zeros.mean()),
        "code_l0": float((~zeros).sum(axis=1).mean()),
        "dead_units": int((deviations <= 1e-6 * max(deviations.max(), 1e-30)).sum()),
        "effective_rank": effective_rank(codes),
    }


def effective_rank(codes: np.ndarray) -> float:
    """Exponential of the entropy of the normalised singular values of the centred codes (Roy and Vetterli 2007).

    Between 1 and code_size; 0 where all codes are equal.
    """
    centred = codes.astype(np.float64) - codes.mean(axis=0)
    values = np.sqrt(np.clip(np.linalg.eigvalsh(centred.T @ centred), 0, None))
    if values.sum() == 0:
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def quantise(codes: np.ndarray, low: np.ndarray, high: np.ndarray, bits: int = 8) -> np.ndarray:
    """The nearest of 2**bits evenly spaced levels between `low` and `high` [code_size]: → int64[N, code_size]."""
    levels = 2**bits - 1
    span = np.where(high > low, high - low, 1)
    return np.clip(np.rint((codes - low) / span * levels), 0, levels).astype(np.int64)


def dequantise(levels: np.ndarray, low: np.ndarray, high: np.ndarray, bits: int = 8) -> np.ndarray:
    """The inverse of `quantise`, up to half a level: → float32[N, code_size]."""
    return (low + levels * (high - low) / (2**bits - 1)).astype(np.float32)


def entropy_bits(levels: np.ndarray) -> float:
    """Bits per image that an ideal coder of each unit by itself needs: the sum of the entropies of its values.

    Args:
        levels: int[N, code_size]; the frequencies are those among the N images, and their table is not counted.
    """
    total = 0.0
    for unit in levels.T:
        shares = np.unique(unit, return_counts=True)[1] / len(unit)
        total -= float((shares * np.log2(shares)).sum())
    return abs(total)
