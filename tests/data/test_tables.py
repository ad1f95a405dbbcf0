"""Tables with names and with missing values, from files and from pandas."""

import json
import sys

import jax.export
import numpy as np
import pandas
import pytest
from sklearn.datasets import load_breast_cancer

from aejax import Config, Dataset, InputError, Interrupted, evaluate, fit, load, load_dataset
from aejax.data.dataset import Standardization
from aejax.evaluation import figures
from runs import same

NAMES = ("height", "age", "income", "score")
RANDOM = np.random.default_rng(0)
ROWS = np.float32(RANDOM.normal(size=(64, 2)) @ RANDOM.normal(size=(2, 4)) * [1, 10, 1000, 0.1] + [0, 40, 3000, 0.5])
HOLES = np.where(RANDOM.random(ROWS.shape) < 0.1, np.float32(np.nan), ROWS)
FRAME = pandas.DataFrame(HOLES, columns=NAMES)
CITIES = FRAME.assign(city=np.where(ROWS[:, 1] > 40, "Oslo", "Rome"))
CONFIG = Config().replace(
    {
        "data.missing": "mask",
        "data.standardize": True,
        "loss.reconstruction": "mse",
        "model.hidden": (8,),
        "model.code_size": 2,
        "model.code_activation": "identity",
        "training.batch_size": 8,
        "training.epochs": 2,
    }
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    CITIES.to_csv(path, index=False)
    return str(path)


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    config = CONFIG.replace({"data.name": table, "data.label": "city"})
    return fit(config, tmp_path_factory.mktemp("run") / "run", progress=False, figures=())


def test_csv_and_parquet_are_the_same_vectors_with_names_and_classes(table, tmp_path):
    CITIES.to_parquet(tmp_path / "table.parquet")
    CITIES.to_csv(tmp_path / "indexed.csv")  # with an index, which is no column
    expected = Dataset.from_arrays(HOLES, missing="mask")
    for path in (table, tmp_path / "table.parquet", tmp_path / "indexed.csv"):
        found = load_dataset(path, missing="mask", label="city")
        assert found.fingerprint == expected.fingerprint and found.feature_names == NAMES
        assert set(found.train_labels) == {"Oslo", "Rome"}
    assert Dataset.from_arrays(pandas.DataFrame(ROWS)).feature_names is None  # pandas numbered the columns
    assert load_dataset(table, missing="mask", label="city").examples["train"].missing > 0


def test_parts_of_a_table_have_the_columns_of_the_training_examples(tmp_path):
    for number in (0, 1):
        FRAME[32 * number : 32 * number + 32].to_csv(tmp_path / f"train-{number}.csv", index=False)
    FRAME[list(reversed(NAMES))].to_csv(tmp_path / "test.csv", index=False)
    found = load_dataset(tmp_path, missing="mask")
    assert found.fingerprint == Dataset.from_arrays(HOLES, HOLES, missing="mask").fingerprint
    FRAME.rename(columns={"age": "years"}).to_csv(tmp_path / "test.csv", index=False)
    with pytest.raises(InputError, match="other columns than the training examples; they differ in age, years"):
        load_dataset(tmp_path, missing="mask")


@pytest.mark.parametrize(
    ("text", "reading", "message"),
    [
        ("a,b\n1,x\n2,y\n", {}, "these columns hold no numbers: b; remove them, .* --data.label NAME"),
        ("a,b\n1,x\n2,y\n", {"label": "c"}, "no column 'c', the data.label; the columns are a, b"),
        ("a,b\n1,\n2,3\n,4\n5,6\n", {}, r"--data.missing mask: 2 of 8 values are missing, in the columns a, b$"),
        ("1.5,2.5\n1,2\n2,3\n", {}, "holds numbers only; write the names of the columns there"),
        ("a,b\n1,2\n2,3,4\n", {}, "rows have different numbers of fields in line 3; separate"),
        ("", {}, "is no table: it is empty; write the names"),
        ("a\xe9,b\n1,2\n2,3\n", {}, "is no table: it is not UTF-8; save it as UTF-8"),
        ("a,b\n1,2,3\n2,3,4\n", {}, "rows have more fields than its first line has names; separate"),
        ("a;b\n0,5;0,2\n1,5;0,2\n", {}, "rows have more fields than its first line has names; separate"),
        ("a,b,a\n1,2,3\n2,3,4\n", {}, "several columns have the name a; give each its own name"),
        ("a,b\n", {}, "are a table without rows"),
        ("a,b\n1,2\n2,inf\n", {}, r"the value at \[1, 1\] \(column b\) is inf"),
        ("a,b\n1,\n2,\n3,\n", {"missing": "mask"}, "column b has no value in any training example"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(tmp_path, text, reading, message):
    (tmp_path / "bad.csv").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=message) as failure:
        load_dataset(tmp_path / "bad.csv", **reading).means()
    assert "\n" not in str(failure.value)


def test_packages_that_are_missing_are_named(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"needs the packages pandas and pyarrow: pip install 'aejax\[tables\]'"):
        load_dataset(table)


def test_descriptions_beside_images_are_no_examples(tmp_path):
    from PIL import Image

    for number in range(3):
        Image.new("L", (4, 4)).save(tmp_path / f"{number}.png")
    FRAME.to_csv(tmp_path / "captions.csv")
    assert load_dataset(tmp_path).image_shape == (4, 4, 1)


def test_means_and_deviations_are_of_observed_values():
    dataset, change = Dataset.from_arrays(HOLES, HOLES, missing="mask"), Standardization.of(HOLES)
    for feature, column in enumerate(HOLES.T):
        known = np.float64(column[~np.isnan(column)])
        assert np.isclose(dataset.means()[feature], known.mean()) and np.isclose(change.mean[feature], known.mean())
        assert np.isclose(change.deviation[feature], known.std(), rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("standardize", [True, False])
def test_where_nothing_is_missing_masks_change_nothing(standardize):
    changes = {"data.standardize": standardize, "training.epochs": 1}
    losses = [
        fit(CONFIG.replace(changes | {"data.missing": missing}), dataset=ROWS, progress=False).summary["test"]["total"]
        for missing in ("mask", "refuse")
    ]
    assert np.isclose(*losses, rtol=1e-5)


@pytest.mark.long
def test_a_run_with_missing_values_resumes_bit_for_bit_wherever_the_examples_are(run, table, tmp_path, stop_after):
    with stop_after(3), pytest.raises(Interrupted):
        fit(run.config, tmp_path / "run", progress=False)
    assert same(run, fit(run.config, tmp_path / "run", progress=False, figures=()))
    assert same(run, fit(run.config.replace({"data.placement": "stream"}), progress=False))
    with pytest.raises(InputError, match=r"data.missing: refuse here, mask there"):
        complete = pandas.DataFrame(ROWS, columns=NAMES)
        fit(run.config.replace({"data.missing": "refuse", "data.label": None}), tmp_path / "run", dataset=complete)


def test_missing_values_are_imputed_where_a_run_is_used(run, tmp_path):
    means = Dataset.from_arrays(HOLES, missing="mask").means()
    filled = np.where(np.isnan(HOLES), means, HOLES)
    read = load(next(run_folder for run_folder in [tmp_path / "saved"] if run.save(run_folder) is None))
    for each in (run, read):
        assert np.allclose(each.encode(HOLES), each.encode(filled), atol=1e-5)
        assert np.array_equal(each.encode(HOLES), each.encode(CITIES[["city", *reversed(NAMES)]]))
    found = evaluate(run)
    vectors, others = run.dataset.test, run.reconstruct(run.dataset.test)
    expected = {name: np.nanmean(np.square(vectors - others)[:, at]) / np.nanvar(vectors[:, at])
                for at, name in enumerate(NAMES)}  # fmt: skip
    assert found["feature_errors"] == pytest.approx(expected, rel=1e-4)
    assert np.isclose(found["mse"], np.nanmean(np.square(vectors - others)), rtol=1e-4)
    assert found["variance_explained"] < 1 and 0 <= found["probe_code"] <= 1
    json.dumps(found, allow_nan=False)
    run.export(tmp_path / "jax", "jax")
    encode = jax.export.deserialize((tmp_path / "jax" / "encode.jax").read_bytes())
    assert np.allclose(encode.call(HOLES), run.encode(HOLES), atol=1e-4)
    run.export(tmp_path / "onnx", "onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession(tmp_path / "onnx" / "reconstruct.onnx")
    assert np.allclose(session.run(None, {"images": HOLES})[0], run.reconstruct(HOLES), rtol=1e-3, atol=1e-3)


def test_figures_name_the_features(run):
    with pytest.raises(InputError, match="has the columns score, income, age, height; the run takes height, age"):
        evaluate(run, CITIES[["city", *reversed(NAMES)]])
    figure = figures.feature_error_bars(run, run.dataset)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(NAMES)


@pytest.mark.long
def test_a_tenth_of_the_values_removed_costs_at_most_a_tenth_of_the_error():
    """Measure both errors on the observed values of the test rows."""
    rows = load_breast_cancer().data
    removed = np.where(np.random.default_rng(0).random(rows.shape) < 0.1, np.nan, rows)
    config = CONFIG.replace({"model.hidden": (64,), "model.code_size": 4, "training.epochs": 5, "training.passes": 5})
    complete = fit(config.replace({"data.missing": "refuse"}), dataset=rows, progress=False)
    masked = fit(config, dataset=removed, progress=False)
    scale, observed = complete.standardization.deviation, ~np.isnan(masked.dataset.test)

    def error(run):
        errors = (run.reconstruct(run.dataset.test) - complete.dataset.test) / scale
        return np.square(errors[observed]).mean()

    assert error(complete) < 0.5 and error(masked) < 1.1 * error(complete)


def test_a_loss_that_would_count_imputed_values_is_refused(tmp_path):
    (tmp_path / "own.py").write_text(
        "import aejax, jax.numpy as jnp\n"
        "class Careless(aejax.Autoencoder):\n"
        "    def loss(self, clean, output, coefficients, context):\n"
        "        return {'error': jnp.square(clean - output.logits).mean(axis=(1, 2, 3))}\n"
        "class Careful(aejax.Autoencoder):\n"
        "    def loss(self, clean, output, coefficients, context):\n"
        "        return super().loss(clean, output, coefficients, context) | {'more': 0 * output.codes[:, 0]}\n"
    )
    config = CONFIG.replace({"model.kind": f"{tmp_path}/own.py:Careless", "training.epochs": 1})
    with pytest.raises(InputError, match=r"Careless .*does not read context.observed, and would count the imputed"):
        fit(config, dataset=HOLES, progress=False)
    careful = config.replace({"model.kind": f"{tmp_path}/own.py:Careful"})
    assert np.isfinite(fit(careful, dataset=HOLES, progress=False).summary["test"]["total"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full((20, 4, 4), np.nan, np.float32), r"the pixel at \[0, 0, 0\] is nan; remove"),
        (np.ones((20, 4, 4), np.float32), "data.missing mask is for vectors"),
        (np.where(ROWS[3, 2] == ROWS, np.inf, ROWS), r"the value at \[3, 2\] is inf"),
    ],
)
def test_other_values_that_are_missing_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        fit(CONFIG.replace({"data.standardize": False}), dataset=given, progress=False)


def test_a_dataset_with_missing_values_needs_a_mask():
    with pytest.raises(InputError, match=r"missing values; take --data\.missing mask"):
        fit(CONFIG.replace({"data.missing": "refuse"}), dataset=Dataset.from_arrays(HOLES, missing="mask"))
