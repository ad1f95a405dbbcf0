"""Estimators of scikit-learn, for pipelines and searches: rows to codes and back, and rows with large errors."""

import dataclasses
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin, clone
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from aejax.config import Coefficients, Config, Loss, Model, Training
from aejax.config.checks import require
from aejax.config.config import ANY_RANGE
from aejax.data import Dataset, resolved, split
from aejax.data.tables import is_table
from aejax.evaluation import Run, errors, fit
from aejax.evaluation.likelihood import in_chunks

_CHUNK = 256

DEFAULT = Config(
    model=Model(hidden=(64,), code_size=8, activation="elu", code_activation="identity"),
    loss=Loss(reconstruction="mse"),
    coefficients=Coefficients(learning_rate=1e-3),
    training=Training(epochs=50, batch_size=32),
)
"""configuration of a transformer without parameters: a code without bounds, squared error; `data.standardize` is set
where loss and corruption allow it"""

FIELDS = {
    "hidden": "model.hidden",
    "code_size": "model.code_size",
    "activation": "model.activation",
    "code_activation": "model.code_activation",
    "loss": "loss.reconstruction",
    "standardize": "data.standardize",
    "missing": "data.missing",
    "corruption": "corruption.kind",
    "noise": "coefficients.noise",
    "l1": "coefficients.l1",
    "learning_rate": "coefficients.learning_rate",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
}
"""parameter → field of the configuration"""


@dataclasses.dataclass(eq=False, repr=False)
class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learn a code of rows of numbers, float[N, D]; columns may have any scale, since they are standardized.

    A parameter None takes its value from `config`. Without `config`, it takes the value of `DEFAULT`: 64 hidden units,
    a code of 8, squared error, 50 epochs. Rows are converted to float32, which keeps seven digits.

    Args:
        hidden: widths of the layers before the code; `()` for none.
        code_size: number of units of the code, which are the columns of the result of `transform`.
        activation, code_activation: nonlinearity of the layers and of the code.
        loss: mse, or bce for rows in [0, 1].
        standardize: train and measure errors on columns with mean 0 and standard deviation 1; `inverse_transform`
            returns rows on the scale of the data. None standardizes, flat images of uint8 or from 0 to 1 too, unless
            the loss or the corruption needs rows in [0, 1].
        missing: refuse, or mask: accept missing values (NaN), which are left out of the loss and of errors, and are
            replaced by the mean of their column in the input.
        corruption, noise: kind and strength of the input's noise in training, for a denoising autoencoder.
        l1: weight of the code's L1 norm.
        learning_rate, epochs, batch_size: of the training; a batch has at most all rows.
        random_state: seed of all randomness or a numpy RandomState; None takes the configuration's seed.
        config: an `aejax.Config` for all other fields.

    Attributes:
        run_: the `aejax.Run`.
        n_features_in_, feature_names_in_: number and names of the columns of the training rows.
    """

    code_size: int | None = None
    _: dataclasses.KW_ONLY
    hidden: tuple[int, ...] | None = None
    activation: str | None = None
    code_activation: str | None = None
    loss: str | None = None
    standardize: bool | None = None
    missing: str | None = None
    corruption: str | None = None
    noise: float | None = None
    l1: float | None = None
    learning_rate: float | None = None
    epochs: int | None = None
    batch_size: int | None = None
    random_state: int | np.random.RandomState | None = None
    config: Config | None = None

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows float[N, D].

        Raises:
            ValueError: a value is infinite, or is missing without `missing="mask"`.
            InputError: a parameter is out of range, or does not fit the rows.
        """
        rows = self._rows(X, reset=True)
        given = {field: getattr(self, name) for name, field in FIELDS.items() if getattr(self, name) is not None}
        if self.random_state is not None:
            seeded = isinstance(self.random_state, int | np.integer)
            seed = self.random_state if seeded else check_random_state(self.random_state).randint(2**31 - 1)
            given["training.seed"] = int(seed)
        config = (DEFAULT if self.config is None else self.config).replace(given)
        if self.standardize is None and not config.others(ANY_RANGE):
            config = config.replace({"data.standardize": True})
        # The test rows are the training rows, since scikit-learn holds rows out itself.
        dataset = Dataset.from_arrays(rows, rows, name="rows", missing=config.data.missing)
        config = resolved(config, dataset)
        most = len(split(config.data, dataset).train)
        config = config.replace({"training.batch_size": min(config.training.batch_size, most)})
        trained = fit(config, dataset=dataset, progress=False)
        self.run_: Run = dataclasses.replace(trained, dataset=None)  # the rows need not stay in memory
        self._n_features_out = config.model.code_size
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the codes of rows, float[N, D] → float32[N, code_size]."""
        rows = self._rows(X)  # first, since it refuses an estimator that is not fitted
        return _by_chunks(self.run_.encode, rows)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the rows of codes, float[N, code_size] → float32[N, D]."""
        check_is_fitted(self)
        return _by_chunks(self.run_.decode, check_array(X, dtype=np.float32))

    def score_samples(self, X: Any) -> np.ndarray:
        """Return minus the reconstruction error of each row, float[N, D] → float64[N].

        The error is the mean over columns of the configured loss: squared error, or cross-entropy in nats.
        """
        return -self._errors(self._rows(X))

    def feature_errors(self, X: Any) -> Any:
        """Return the error of each feature of each row, float[N, D] → float64[N, D]; NaN where the value is missing.

        The mean of the known errors of a row is minus its `score_samples`. A table of pandas gives a table with its
        index and columns.
        """
        rows = self._rows(X)
        found = np.where(np.isnan(rows), np.nan, self._errors(rows, by_value=True))
        return type(X)(found, index=X.index, columns=X.columns) if is_table(X) else found

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus the mean reconstruction error of rows float[N, D], which a search maximises."""
        return float(self.score_samples(X).mean())

    def _errors(self, rows: np.ndarray, by_value: bool = False) -> np.ndarray:
        run = self.run_

        def of_chunk(chunk: np.ndarray) -> np.ndarray:
            found = errors(run, run.encode(chunk), run.standardized_inputs(chunk)[0], by_value)
            return found.reshape(len(chunk), -1) if by_value else found

        return _by_chunks(of_chunk, rows)

    def _rows(self, X: Any, reset: bool = False) -> np.ndarray:
        """Return rows as float32[N, D], checked as scikit-learn demands; refuse missing values unless `masked`."""
        if not reset:
            check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float32, reset=reset, ensure_all_finite="allow-nan")
        if not self.masked and (missing := int(np.isnan(rows).sum())):
            advice = 'give AutoencoderTransformer(missing="mask"), which leaves them out of the loss, or fill them in'
            raise ValueError(f"{missing:,} of {rows.size:,} values of X are missing (NaN); {advice}")
        return rows

    @property
    def masked(self) -> bool:
        """Whether rows may have missing values."""
        return (self.missing or (self.config or DEFAULT).data.missing) == "mask"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.allow_nan = self.masked
        return tags


@dataclasses.dataclass(eq=False, repr=False)
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

    autoencoder: AutoencoderTransformer | None = None
    _: dataclasses.KW_ONLY
    contamination: float = 0.1

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows float[N, D], which may contain outliers.

        Raises:
            ValueError: a value is infinite, or is missing without `missing="mask"`.
            InputError: a parameter is out of range.
        """
        require(0 < self.contamination <= 0.5, "contamination", self.contamination, "above 0 and at most 0.5")
        chosen = AutoencoderTransformer() if self.autoencoder is None else clone(self.autoencoder)
        self.autoencoder_ = chosen.fit(X)
        validate_data(self, X, skip_check_array=True)  # notes the number and the names of the columns
        self.offset_ = float(np.quantile(self.autoencoder_.score_samples(X), self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return minus the reconstruction error of each row, float[N, D] → float64[N]."""
        check_is_fitted(self)
        return self.autoencoder_.score_samples(X)

    def feature_errors(self, X: Any) -> Any:
        """Return the error of each feature of each row, as `AutoencoderTransformer.feature_errors` does."""
        check_is_fitted(self)
        return self.autoencoder_.feature_errors(X)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return `score_samples` minus the threshold, float[N, D] → float64[N]: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return -1 for outliers and 1 for other rows, float[N, D] → int[N]."""
        return np.where(self.decision_function(X) < 0, -1, 1)


def _by_chunks(function: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Apply a function to chunks of one size, [N, ...] → [N, ...], the last chunk padded with copies of its rows.

    Compilers order sums by the shape of a batch. With one shape, a row's result is the same bit for bit in any batch, a
    requirement of scikit-learn, and another number of rows compiles nothing.
    """

    def of_chunk(chunk: np.ndarray) -> np.ndarray:
        return function(np.resize(chunk, (_CHUNK, *chunk.shape[1:])))[: len(chunk)]

    return in_chunks(of_chunk, rows, _CHUNK)
