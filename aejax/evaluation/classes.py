"""Accuracy of classifiers on a representation: a linear probe and the nearest neighbours."""

from __future__ import annotations

import warnings

import numpy as np

EXAMPLES = 10_000
"""training examples of a probe: all 60,000 of MNIST add about a point of accuracy, and take minutes for pixels"""


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
