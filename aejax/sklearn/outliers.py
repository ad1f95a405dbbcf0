"""`AutoencoderOutlierDetector`: detection of rows with large reconstruction errors."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from aejax.config.checks import require
from aejax.sklearn.transformer import AutoencoderTransformer, as_given


class AutoencoderOutlierDetector(OutlierMixin, BaseEstimator):
    """Detect the rows with the largest reconstruction errors of an autoencoder.

    Args:
        autoencoder: an `AutoencoderTransformer`, which is cloned; None takes its defaults. A search names its
            parameters `autoencoder__code_size` and so on.
        contamination: share of outliers among the training rows, above 0 and at most 0.5.

    Attributes:
        autoencoder_: the fitted transformer.
        offset_: threshold; rows with `score_samples` less than `offset_` are outliers.
    """

    def __init__(self, autoencoder: AutoencoderTransformer | None = None, *, contamination: float = 0.1) -> None:
        self.autoencoder = autoencoder
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows float[N, D], which may contain outliers.

        Raises:
            ValueError: a value is not finite.
            InputError: a parameter is out of range.
        """
        require(0 < self.contamination <= 0.5, "contamination", self.contamination, "above 0 and at most 0.5")
        chosen = AutoencoderTransformer() if self.autoencoder is None else clone(self.autoencoder)
        rows = validate_data(self, X, dtype=np.float32, ensure_all_finite=chosen.finite)
        self.autoencoder_ = chosen.fit(rows)
        self.offset_ = float(np.quantile(self.autoencoder_.score_samples(rows), self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return minus the reconstruction error of each row, float[N, D] → float64[N]."""
        check_is_fitted(self)
        finite = self.autoencoder_.finite
        return self.autoencoder_.score_samples(
            validate_data(self, X, dtype=np.float32, reset=False, ensure_all_finite=finite)
        )

    def feature_errors(self, X: Any) -> Any:
        """Return the error of each feature of each row, as `AutoencoderTransformer.feature_errors` does."""
        check_is_fitted(self)
        finite = self.autoencoder_.finite
        rows = validate_data(self, X, dtype=np.float32, reset=False, ensure_all_finite=finite)
        return as_given(X, self.autoencoder_.feature_errors(rows))

    def decision_function(self, X: Any) -> np.ndarray:
        """Return `score_samples` minus the threshold, float[N, D] → float64[N]: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return -1 for outliers and 1 for other rows, float[N, D] → int[N]."""
        return np.where(self.decision_function(X) < 0, -1, 1)
