import json
import math

import numpy as np
import pytest

from aejax import Config, Dataset, InputError, evaluate, fit, load
from aejax.data import require_fit
from aejax.evaluation import figures
from aejax.evaluation.measures import variance_explained

RANDOM = np.random.default_rng(0)
# 16 features from three latent features, on scales from 1e-3 to 1e3 and far from 0; 16 is a square.
VECTORS = (RANDOM.normal(size=(200, 3)) @ RANDOM.normal(size=(3, 16)) + 5) * np.geomspace(1e-3, 1e3, 16)
CONFIG = Config().replace(
    {
        "loss.reconstruction": "mse",
        "model.hidden": (),
        "model.code_size": 3,
        "model.activation": "identity",
        "data.standardize": True,
        "training.epochs": 20,
        "coefficients.learning_rate": 0.02,
    }
)


@pytest.fixture(scope="module")
def run():
    return fit(CONFIG, dataset=VECTORS, progress=False)


def test_vectors_stay_vectors(run):
    assert run.dataset.vectors and run.dataset.train.shape == (160, 16)
    codes = run.encode(VECTORS)
    assert codes.shape == (200, 3) and run.decode(codes).shape == (200, 16)
    assert run.interpolate(VECTORS[:2], VECTORS[2:4], 5).shape == (2, 5, 16)
    with pytest.raises(InputError, match=r"vectors have shape \[2, 15\]; this model takes \[N, 16\]"):
        run.encode(VECTORS[:2, :15])


def test_what_is_standardized_comes_back_on_the_scale_of_the_data(run, tmp_path):
    mean, deviation = run.dataset.train.mean(axis=0), run.dataset.train.std(axis=0)
    target, _ = run.standardized_inputs(run.dataset.test)
    assert np.allclose(target[:, 0, :, 0], (run.dataset.test - mean) / deviation, atol=1e-4)
    others = run.reconstruct(run.dataset.test)
    relative = np.square((others - run.dataset.test) / deviation).mean()
    assert relative < 0.05  # three latent features explain all 16
    assert math.isclose(relative, run.summary["test"]["reconstruction"], rel_tol=1e-3)
    run.save(tmp_path / "saved")
    assert np.allclose(load(tmp_path / "saved").reconstruct(run.dataset.test), others, rtol=1e-5, atol=1e-6)


def test_a_feature_that_is_constant_is_no_division_by_zero():
    vectors = np.concatenate([VECTORS, np.full((200, 1), 7.0)], axis=1)
    run = fit(CONFIG.replace({"training.epochs": 2}), dataset=vectors, progress=False)
    assert np.isfinite(run.reconstruct(vectors)).all() and math.isfinite(run.summary["test"]["total"])


def test_vectors_are_measured_as_vectors(run):
    found = evaluate(run)
    for name in ("psnr", "ssim", "psnr_8", "bce"):
        assert found[name] is None
    assert 0.95 < found["variance_explained"] <= 1 and found["bits_8"] == 24
    means = np.broadcast_to(run.dataset.test.mean(axis=0), run.dataset.test.shape)
    assert math.isclose(variance_explained(run.dataset.test, means), 0, abs_tol=1e-9)
    assert variance_explained(run.dataset.test, run.dataset.test) == 1


@pytest.mark.figures
def test_no_images_are_drawn_of_vectors(run, tmp_path):
    figures.draw_run(run, run.dataset, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"errors", "features", "codes", "losses"}


def test_bytes_are_vectors_from_0_to_1():
    bytes_ = RANDOM.integers(0, 256, (50, 9), dtype=np.uint8)
    run = fit(Config().replace({"training.epochs": 1}), dataset=bytes_, progress=False)
    assert run.dataset.vectors and np.allclose(run.encode(bytes_), run.encode(np.float32(bytes_) / 255), atol=1e-6)
    with pytest.raises(InputError, match=r"values lie in \[0, 255\]; the model was trained on values in \[0, 1\]"):
        run.encode(np.float32([[0, 255] + [1] * 7]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.standardize": False, "model.channels": (4,)}, "vectors .* model.channels .* needs images"),
        ({"loss.reconstruction": "bce"}, "must be mse or l1 or huber while data.standardize"),
        ({"corruption.kind": "gaussian"}, "must be none while data.standardize"),
    ],
)
def test_what_vectors_cannot_be_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        require_fit(CONFIG.replace(changes), Dataset.from_arrays(VECTORS))


def test_images_are_not_standardized():
    with pytest.raises(InputError, match=r"data\.standardize is for vectors"):
        fit(CONFIG, dataset=np.zeros((50, 4, 4)), progress=False)


def test_a_standardized_run_goes_on(tmp_path):
    config = CONFIG.replace({"training.epochs": 3})
    whole = fit(config, dataset=VECTORS, progress=False)
    fit(config.replace({"training.epochs": 1}), tmp_path, dataset=VECTORS, progress=False)
    longer = fit(config, tmp_path, dataset=VECTORS, progress=False)
    assert np.array_equal(whole.encode(VECTORS), longer.encode(VECTORS))
    recorded = json.loads((tmp_path / "config.json").read_text())["dataset"]
    assert recorded["vectors"] and len(recorded["standardization"]["mean"]) == 16
