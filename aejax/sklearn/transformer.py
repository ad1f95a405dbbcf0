"""`AutoencoderTransformer`: rows to codes and back, where PCA would stand."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from aejax.config import Coefficients, Config, Loss, Model, Training
from aejax.data import Dataset
from aejax.evaluation import Run, errors, fit
from aejax.sklearn.rows import by_chunks

DEFAULT = Config(
    model=Model(hidden=(64,), code_size=8, activation="elu", code_activation="identity"),
    loss=Loss(reconstruction="mse"),
    coefficients=Coefficients(learning_rate=1e-3),
    training=Training(epochs=50, batch_size=32),
)
"""what is trained where neither a parameter nor `config` says otherwise: a code without bounds, squared error"""

FIELDS = {
    "hidden": "model.hidden",
    "code_size": "model.code_size",
    "activation": "model.activation",
    "code_activation": "model.code_activation",
    "loss": "loss.reconstruction",
    "standardize": "data.standardize",
    "corruption": "corruption.kind",
    "noise": "coefficients.noise",
    "l1": "coefficients.l1",
    "learning_rate": "coefficients.learning_rate",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
}
"""parameter → field of the configuration"""


class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learns a code of rows of numbers, float[N, D] of any scale; columns of one scale learn best (`standardize`).

    A parameter that is None is as `config` has it, or where that is None too, as `DEFAULT` in this file: 64 hidden
    units, a code of 8, squared error, 50 epochs.

    Args:
        hidden: widths of the layers before the code; `()` for none.
        code_size: units of the code, the columns that `transform` gives.
        activation, code_activation: nonlinearity of the layers and of the code.
        loss: mse, or bce for rows in [0, 1].
        standardize: give each column mean 0 and standard deviation 1 before the model meets it, with which errors are
            measured too; what it gives is on the scale of the rows.
        corruption, noise: of the input in training, for a denoising autoencoder: its kind and strength.
        l1: weight of the code's L1 norm.
        learning_rate, epochs, batch_size: of the training; a batch is at most all rows.
        random_state: of all that is random, a number or a numpy RandomState; None takes the configuration's seed.
        config: an `aejax.Config` for all other fields.

    Attributes:
        run_: the `aejax.Run`.
        n_features_in_, feature_names_in_: of the rows it was fitted on.
    """

    def __init__(
        self,
        code_size: int | None = None,
        *,
        hidden: tuple[int, ...] | None = None,
        activation: str | None = None,
        code_activation: str | None = None,
        loss: str | None = None,
        standardize: bool | None = None,
        corruption: str | None = None,
        noise: float | None = None,
        l1: float | None = None,
        learning_rate: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        config: Config | None = None,
    ) -> None:
        self.code_size = code_size
        self.hidden = hidden
        self.activation = activation
        self.code_activation = code_activation
        self.loss = loss
        self.standardize = standardize
        self.corruption = corruption
        self.noise = noise
        self.l1 = l1
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state
        self.config = config

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on rows float[N, D].

        Raises:
            ValueError: they are no finite numbers.
            InputError: a parameter is out of range, or does not go with these rows.
        """
        rows = validate_data(self, X, dtype=np.float32)
        config = self._configured()
        smaller = min(config.training.batch_size, len(rows))
        config = config.replace({"training.batch_size": smaller})
        # None is set aside, since scikit-learn says what is held out: the test loss is of the same rows.
        trained = fit(config, dataset=Dataset.from_arrays(rows, rows, name="rows"), progress=False)
        self.run_: Run = dataclasses.replace(trained, dataset=None)  # the rows need not stay in memory
        self._n_features_out = config.model.code_size
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Rows float[N, D] → codes float32[N, code_size]."""
        return by_chunks(self.run_.encode, self._rows(X))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Codes float[N, code_size] → rows float32[N, D]."""
        check_is_fitted(self)
        codes = check_array(X, dtype=np.float32)
        return by_chunks(self.run_.decode, codes)

    def score_samples(self, X: Any) -> np.ndarray:
        """Rows float[N, D] → minus the reconstruction error of each, float64[N]: higher is better, as of PCA.

        The error is the mean over columns of the configured loss: squared error, or cross-entropy in nats.
        """
        return -by_chunks(self._errors, self._rows(X))

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the mean reconstruction error of rows float[N, D], which a search maximises."""
        return float(self.score_samples(X).mean())

    def _errors(self, rows: np.ndarray) -> np.ndarray:
        return errors(self.run_, self.run_.encode(rows), self.run_.standardized_inputs(rows)[0])

    def _configured(self) -> Config:
        config = DEFAULT if self.config is None else self.config
        given = {field: getattr(self, name) for name, field in FIELDS.items() if getattr(self, name) is not None}
        if self.random_state is not None:
            given["training.seed"] = (
                int(self.random_state)
                if isinstance(self.random_state, int | np.integer)
                else int(check_random_state(self.random_state).randint(2**31 - 1))
            )
        given = {field: value.item() if isinstance(value, np.generic) else value for field, value in given.items()}
        return config.replace(given)

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float32, reset=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
