"""`AutoencoderOutlierDetector`: what an autoencoder reconstructs worse than most of what it learned from."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from aejax.config.checks import require
from aejax.sklearn.transformer import AutoencoderTransformer


class AutoencoderOutlierDetector(OutlierMixin, BaseEstimator):
    """Takes for outliers the rows that an autoencoder reconstructs worst.

    Args:
        autoencoder: an `AutoencoderTransformer`, which is cloned; None takes its defaults. Its parameters are
            `autoencoder__code_size` and so on in a search.
        contamination: the share of outliers among the rows it is fitted on, above 0 and at most 0.5.

    Attributes:
        autoencoder_: the transformer as fitted.
        offset_: `score_samples` below it is an outlier.
    """

    def __init__(self, autoencoder: AutoencoderTransformer | None = None, *, contamination: float = 0.1) -> None:
        self.autoencoder = autoencoder
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows float[N, D], outliers among them.

        Raises:
            ValueError: they are no finite numbers.
            InputError: a parameter is out of range.
        """
        require(0 < self.contamination <= 0.5, "contamination", self.contamination, "above 0 and at most 0.5")
        rows = validate_data(self, X, dtype=np.float32)
        chosen = AutoencoderTransformer() if self.autoencoder is None else clone(self.autoencoder)
        self.autoencoder_ = chosen.fit(rows)
        self.offset_ = float(np.quantile(self.autoencoder_.score_samples(rows), self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Rows float[N, D] → minus the reconstruction error of each, float64[N]: the lower, the more of an outlier."""
        check_is_fitted(self)
        return self.autoencoder_.score_samples(validate_data(self, X, dtype=np.float32, reset=False))

    def decision_function(self, X: Any) -> np.ndarray:
        """The same less the threshold, float64[N]: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Rows float[N, D] → int[N]: -1 for outliers, 1 for all others."""
        return np.where(self.decision_function(X) < 0, -1, 1)
