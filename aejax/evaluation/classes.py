"""How much a representation knows of the classes: a linear probe, and the nearest neighbours."""

from __future__ import annotations

import warnings

import numpy as np

EXAMPLES = 10_000
"""training examples that a probe learns from. All 60,000 of MNIST give about a point more for any representation, and
take minutes for pixels"""
NEIGHBOURS = 5
_ITERATIONS = 50


def chosen(examples: int, most: int = EXAMPLES) -> np.ndarray:
    """Which of so many examples stand for all: all, or a fixed random `most` of them, int[N] in their order.

    Not the first ones: people's examples are often sorted by class.
    """
    return np.sort(np.random.default_rng(0).permutation(examples)[:most])


def linear_probe(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Test accuracy, from 0 to 1, of multinomial logistic regression (scikit-learn, L-BFGS, C = 1).

    Args:
        train, test: float[N, D]. They are centred and divided by one number, so that no feature is blown up that
            hardly varies.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, scale = train.mean(axis=0), max(float(train.std(axis=0).max()), 1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # more iterations fit the training images closer, and the test images no better
        probe = LogisticRegression(max_iter=_ITERATIONS).fit((train - mean) / scale, train_labels)
    return float(probe.score((test - mean) / scale, test_labels))


def knn(train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray) -> float:
    """Test accuracy, from 0 to 1, of the majority among the 5 nearest training images (Euclidean, all compared)."""
    from sklearn.neighbors import KNeighborsClassifier

    neighbours = KNeighborsClassifier(min(NEIGHBOURS, len(train)), algorithm="brute")
    return float(neighbours.fit(train, train_labels).score(test, test_labels))


def pca(train: np.ndarray, test: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Both projected on the principal components of `train`: as many as asked for, or as there are."""
    from sklearn.decomposition import PCA

    model = PCA(min(components, *train.shape), svd_solver="covariance_eigh").fit(train)
    return model.transform(train), model.transform(test)
