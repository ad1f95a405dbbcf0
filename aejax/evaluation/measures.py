"""Metrics of reconstructions, of codes and of classifiers on a representation, independent of models."""

import warnings
from typing import Any

import numpy as np
from scipy.special import entr

PERFECT = 100.0
"""dB, the largest PSNR that is reported: the PSNR of an image without any error is infinite"""
EXAMPLES = 10_000
"""training examples of a probe: all 60,000 of MNIST add about a point of accuracy, and take minutes for pixels"""


def psnr(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio [dB], at most `PERFECT`: float[N, H, W, C] in [0, 1] twice → float64[N]."""
    error = np.square(images.astype(np.float64) - others).mean(axis=(1, 2, 3))
    return -10 * np.log10(np.maximum(error, 10 ** (-PERFECT / 10)))


def ssim(images: np.ndarray, others: np.ndarray) -> np.ndarray | None:
    """Return the structural similarity (Wang et al. 2004): float[N, H, W, C] in [0, 1] twice → float64[N].

    The window is 7x7. Below 14 pixels it is the largest odd window up to half the smaller side, but at least 3x3.
    The result is None for images smaller than the window.
    """
    from skimage.metrics import structural_similarity

    side = min(images.shape[1:3])
    if side < 3:
        return None
    window = min(7, max(3, (side // 2 - 1) | 1))
    pairs = zip(images.astype(np.float64), others.astype(np.float64), strict=True)
    return np.array([structural_similarity(*pair, win_size=window, data_range=1.0, channel_axis=-1) for pair in pairs])


def variance_explained(examples: np.ndarray, others: np.ndarray) -> float | None:
    """Return 1 - squared error / variance, both summed over examples and features: float[N, ...] twice → at most 1.

    NaN in `examples` are missing values, which are left out. The variance of each feature is about its mean over these
    examples. The result is None if all examples are equal.
    """
    examples = examples.astype(np.float64)
    variance = np.nansum(np.square(examples - np.nanmean(examples, axis=0)))
    return float(1 - np.nansum(np.square(examples - others)) / variance) if variance > 0 else None


def feature_errors(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the squared error of each feature over its variance: float[N, D] twice → float64[D].

    NaN in `vectors` are missing values, which are left out. The result is NaN for a constant feature.
    """
    vectors = np.float64(vectors)
    errors, variance = np.nanmean(np.square(vectors - others), axis=0), np.nanvar(vectors, axis=0)
    return np.where(variance > 0, errors / np.where(variance > 0, variance, 1), np.nan)


def code_measures(codes: np.ndarray) -> dict[str, Any]:
    """Return the metrics of codes by name (see `evaluation.FIELDS`): float[N, code_size] → numbers.

    Those that compare codes are None for a single code.
    """
    codes, single = codes.astype(np.float64), len(codes) == 1
    deviations = codes.std(axis=0)
    zeros = codes == 0
    return {
        "code_mean": float(codes.mean()),
        "code_variance": float(codes.var()),
        "code_fraction_zero": float(zeros.mean()),
        "code_l0": float((~zeros).sum(axis=1).mean()),
        "dead_units": None if single else int((deviations <= 1e-6 * max(deviations.max(), 1e-30)).sum()),
        "effective_rank": None if single else effective_rank(codes),
    }


def effective_rank(codes: np.ndarray) -> float:
    """Return the exponential of the entropy of the normalised singular values (Roy and Vetterli 2007).

    The codes are centred first. The rank lies between 1 and code_size, and is 0 if all codes are equal.
    """
    centred = codes.astype(np.float64) - codes.mean(axis=0)
    values = np.sqrt(np.clip(np.linalg.eigvalsh(centred.T @ centred), 0, None))
    if values.sum() == 0:
        return 0.0
    return float(np.exp(entr(values / values.sum()).sum()))


def quantise(codes: np.ndarray, low: np.ndarray, high: np.ndarray, bits: int = 8) -> np.ndarray:
    """Return the nearest of 2**bits evenly spaced levels from `low` to `high` [code_size]: → int64[N, code_size]."""
    levels = 2**bits - 1
    span = np.where(high > low, high - low, 1)
    return np.clip(np.rint((codes - low) / span * levels), 0, levels).astype(np.int64)


def dequantise(levels: np.ndarray, low: np.ndarray, high: np.ndarray, bits: int = 8) -> np.ndarray:
    """Invert `quantise`, up to half a level: → float32[N, code_size]."""
    return (low + levels * (high - low) / (2**bits - 1)).astype(np.float32)


def entropy_bits(levels: np.ndarray) -> float:
    """Return the bits per image of an ideal entropy coder of each unit: the sum of the entropies of the units.

    Args:
        levels: int[N, code_size]. The coder's frequencies are those of the N images; its table is not counted.
    """
    counts = (np.unique(unit, return_counts=True)[1] for unit in levels.T)
    return float(sum(entr(each / len(levels)).sum() for each in counts) / np.log(2))


def chosen(examples: int, most: int = EXAMPLES) -> np.ndarray:
    """Choose all examples, or a fixed random `most` of them: sorted indices int[N].

    The first examples are no fair choice, because datasets are often sorted by class.
    """
    return np.sort(np.random.default_rng(0).permutation(examples)[:most])


def linear_probe(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Return the test accuracy, from 0 to 1, of multinomial logistic regression (scikit-learn, L-BFGS, C = 1).

    Args:
        train, test: float[N, D], which are centred and divided by one number. A division by the deviation of each
            feature would amplify features that hardly vary.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, scale = train.mean(axis=0), max(float(train.std(axis=0).max()), 1e-12)
    with warnings.catch_warnings():
        # More iterations fit the training images better, but not the test images.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = LogisticRegression(max_iter=50).fit((train - mean) / scale, train_labels)
    return float(probe.score((test - mean) / scale, test_labels))


def knn(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Return the test accuracy, from 0 to 1, of the majority of the 5 nearest training images (Euclidean, exact)."""
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = KNeighborsClassifier(min(5, len(train)), algorithm="brute")
    return float(neighbours.fit(train, train_labels).score(test, test_labels))


def pca(train: np.ndarray, test: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Project both arrays on the principal components of `train`, at most as many as there are."""
    from sklearn.decomposition import PCA

    model = PCA(min(components, *train.shape), svd_solver="covariance_eigh").fit(train)
    return model.transform(train), model.transform(test)
