"""The estimators of scikit-learn keep what scikit-learn demands, and map to the configuration."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aejax import Config, InputError, Model
from aejax.sklearn import DEFAULT, FIELDS, AutoencoderOutlierDetector, AutoencoderTransformer

RANDOM = np.random.default_rng(0)
# On a plane within nine columns, far from 0 and far apart: of the scale of a table as it is.
ROWS = 1e3 + 50 * RANDOM.normal(size=(120, 2)) @ RANDOM.normal(size=(2, 9))


@pytest.fixture(scope="module")
def fitted():
    scaled = AutoencoderTransformer(2, hidden=(), activation="identity", epochs=250, learning_rate=1e-2, random_state=1)
    return make_pipeline(StandardScaler(), scaled).fit(ROWS)


CHECKS = """
import json, sys
from sklearn.utils.estimator_checks import check_estimator
from aejax.sklearn import AutoencoderOutlierDetector, AutoencoderTransformer
inner = AutoencoderTransformer(epochs=2)
checked = {"transformer": inner, "outliers": AutoencoderOutlierDetector(inner)}[sys.argv[1]]
found = check_estimator(checked, on_fail=None, on_skip=None)
print(json.dumps([[each["check_name"], each["status"], repr(each["exception"])] for each in found]))
"""


@pytest.mark.long
@pytest.mark.parametrize("kind", ["transformer", "outliers"])
def test_every_check_of_scikit_learn(kind):
    # In a process of its own: SciPy reads the variable when it is imported, and without it one check is skipped.
    environment = {**os.environ, "SCIPY_ARRAY_API": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    done = subprocess.run([sys.executable, "-c", CHECKS, kind], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 40 and [each for each in found if each[1] != "passed"] == []


def test_it_learns_a_plane_from_rows_of_any_scale(fitted):
    codes = fitted.transform(ROWS)
    assert codes.shape == (120, 2) and codes.dtype == np.float32
    error = np.square(fitted.inverse_transform(codes) - ROWS).mean() / ROWS.var(axis=0).mean()
    assert error < 0.02 and np.isclose(-fitted.score(ROWS), error, rtol=1e-2)
    samples = fitted.score_samples(ROWS)
    assert samples.shape == (120,) and np.isclose(samples.mean(), fitted.score(ROWS))
    as_it_is = AutoencoderTransformer(2, epochs=1).fit(ROWS)  # nothing refuses the scale
    assert np.isfinite(as_it_is.score(ROWS))
    alone = fitted[-1].get_params() | {"standardize": True}
    by_itself = AutoencoderTransformer(**alone).fit(ROWS)
    assert np.allclose(by_itself.inverse_transform(by_itself.transform(ROWS)), fitted.inverse_transform(codes), atol=1)
    assert np.isclose(by_itself.score(ROWS), fitted.score(ROWS), rtol=1e-2)
    assert by_itself.run_.dataset is None  # and no data is in a pickle


def test_what_a_row_gives_does_not_depend_on_the_others(fitted):
    whole = fitted.score_samples(ROWS)
    assert np.array_equal(whole, np.concatenate([fitted.score_samples(ROWS[at : at + 1]) for at in range(120)]))


def test_copies_pickles_and_frames(fitted):
    scaler, autoencoder = fitted[0], fitted[-1]
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.transform(ROWS), fitted.transform(ROWS))
    assert np.array_equal(
        pickle.loads(pickle.dumps(autoencoder.run_)).decode([[0, 1]]), autoencoder.run_.decode([[0, 1]])
    )
    twin = clone(autoencoder)
    assert not hasattr(twin, "run_") and twin.get_params() == autoencoder.get_params()
    assert np.array_equal(twin.fit(scaler.transform(ROWS)).transform(ROWS), autoencoder.transform(ROWS))
    frame = twin.set_output(transform="pandas").transform(ROWS)
    assert list(frame.columns) == ["autoencodertransformer0", "autoencodertransformer1"]


@pytest.mark.parametrize(
    ("given", "standardized"),
    [
        ({}, True),
        ({"loss": "bce"}, False),
        ({"corruption": "masking", "noise": 0.2}, False),
        ({"standardize": False}, False),
        ({"config": DEFAULT}, True),
        ({"config": Config()}, False),
    ],
)
def test_rows_are_standardized_where_loss_and_noise_allow_it(given, standardized, monkeypatch):
    class Taken(Exception): ...

    def fit(config, **_):
        raise Taken(config.data.standardize)

    monkeypatch.setattr("aejax.sklearn.fit", fit)
    with pytest.raises(Taken, match=str(standardized)):
        AutoencoderTransformer(**given).fit(RANDOM.random((12, 4)))


def test_an_estimator_that_is_not_fitted_says_so():
    for method in ("transform", "inverse_transform", "score_samples", "feature_errors"):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            getattr(AutoencoderTransformer(), method)(ROWS)


def test_images_are_standardized_too_and_cross_entropy_refuses_them():
    images = RANDOM.integers(0, 256, (12, 4)).astype(np.uint8)
    made = AutoencoderTransformer(epochs=1).fit(images)
    assert made.run_.config.data.standardize and made.inverse_transform(made.transform(images)).shape == images.shape
    with pytest.raises(InputError, match=r"bce needs \[0, 1\]"):
        AutoencoderTransformer(loss="bce").fit(images)


def test_errors_of_features_have_the_names_of_the_table(fitted):
    frame = pandas.DataFrame(fitted[0].transform(ROWS[:5]), columns=list("abcdefghi"), index=list("vwxyz"))
    twin = clone(fitted[-1]).set_params(epochs=1)
    for made in (twin.fit(frame), AutoencoderOutlierDetector(twin).fit(frame)):
        found = made.feature_errors(frame)
        assert list(found.columns) == list(made.feature_names_in_) == list("abcdefghi")
        assert list(found.index) == list("vwxyz")
        assert np.allclose(found.mean(axis=1), -made.score_samples(frame), rtol=1e-5)
    twin.fit(frame.to_numpy())
    change = twin.run_.standardization
    decoded = twin.inverse_transform(twin.transform(frame.to_numpy()))
    expected = np.square(change.apply(frame) - change.apply(decoded))
    assert np.allclose(twin.feature_errors(frame.to_numpy()), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.long
def test_a_search_takes_the_larger_code():
    autoencoder = AutoencoderTransformer(hidden=(), activation="identity", epochs=60, learning_rate=1e-2)
    axes = {"autoencodertransformer__code_size": [1, 2]}
    search = GridSearchCV(make_pipeline(StandardScaler(), autoencoder), axes, cv=2, error_score="raise").fit(ROWS)
    assert search.best_params_ == {"autoencodertransformer__code_size": 2}


@pytest.mark.long
def test_parameters_are_fields_of_the_configuration():
    taken = {
        "hidden": (5,),
        "code_size": 3,
        "activation": "tanh",
        "code_activation": "relu",
        "loss": "bce",
        "standardize": False,
        "missing": "refuse",
        "corruption": "masking",
        "noise": 0.2,
        "l1": 0.01,
        "learning_rate": 0.1,
        "epochs": 2,
        "batch_size": 7,
    }
    assert taken.keys() == FIELDS.keys() and taken.keys() | {"random_state", "config"} == DEFAULTS.keys()
    config = AutoencoderTransformer(random_state=4).set_params(**taken).fit(RANDOM.random((9, 4))).run_.config
    expected = DEFAULT.replace({FIELDS[name]: value for name, value in taken.items()} | {"training.seed": 4})
    assert config == expected
    rest = Config(model=Model(hidden=(6,), tied=True)).replace({"training.epochs": 1, "loss.reconstruction": "mse"})
    config = AutoencoderTransformer(3, config=rest).fit(RANDOM.random((9, 4))).run_.config
    assert config.model.hidden == (6,) and config.model.tied and config.model.code_size == 3
    assert config.training.batch_size == 9  # there are no more rows
    with pytest.raises(InputError, match=r"model\.code_size is 0"):
        AutoencoderTransformer(0).fit(ROWS)


DEFAULTS = AutoencoderTransformer().get_params()


@pytest.mark.long
def test_the_state_of_numpy_s_generator_seeds_it():
    seeds = [
        AutoencoderTransformer(epochs=1, random_state=each).fit(ROWS[:8]).run_.config.training.seed
        for each in (np.random.RandomState(0), np.random.RandomState(0), np.int64(5))
    ]
    assert seeds[0] == seeds[1] != 0 and seeds[2] == 5


def test_rows_off_the_plane_are_outliers_whatever_the_scale_of_a_column(fitted):
    off = ROWS[:6] + 300 * RANDOM.normal(size=(6, 9))
    rows = np.concatenate([ROWS, off])
    off[:, 1:], rows[-6:, 1:] = ROWS[:6, 1:], ROWS[:6, 1:]  # in the column of the smallest scale only
    rows, off = rows * 10.0 ** np.arange(9), off * 10.0 ** np.arange(9)
    found = AutoencoderOutlierDetector(fitted[-1], contamination=0.05).fit(rows)
    answers = found.predict(rows)
    assert set(answers) == {-1, 1} and (answers[-6:] == -1).all() and (answers == -1).sum() == 7  # a twentieth of 126
    assert found.score_samples(off).max() < found.score_samples(rows[:-6]).mean()
    assert np.array_equal(found.feature_errors(off).argmax(axis=1), np.zeros(6))
    with pytest.raises(InputError, match=r"contamination is 0\.6; it must be above 0 and at most 0\.5"):
        AutoencoderOutlierDetector(contamination=0.6).fit(ROWS)


def test_missing_values_are_imputed_and_left_out():
    rows = ROWS.copy()
    rows[::7, 1] = np.nan
    with pytest.raises(ValueError, match=r'18 of 1,080 values of X are missing \(NaN\); give .*missing="mask"'):
        AutoencoderTransformer(epochs=1).fit(rows)
    detector = AutoencoderOutlierDetector(AutoencoderTransformer(missing="mask", epochs=2)).fit(rows)
    filled = np.where(np.isnan(rows), np.nanmean(rows, axis=0), rows)
    transformer = detector.autoencoder_
    assert np.allclose(transformer.transform(rows), transformer.transform(filled), atol=1e-4)
    assert np.array_equal(np.isnan(found := detector.feature_errors(rows)), np.isnan(rows))
    assert np.allclose(np.nanmean(found, axis=1), -detector.score_samples(rows), rtol=1e-5)
    assert np.isfinite(detector.score_samples(rows)).all() and set(detector.predict(rows)) == {-1, 1}
