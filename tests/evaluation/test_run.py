import sys

import jax
import numpy as np
import pytest

from aejax import Config, InputError, fit, load


@pytest.fixture(scope="module")
def run(small):
    config, dataset = small
    return fit(config.replace({"coefficients.l1": 1e-3}), dataset=dataset, progress=False)


def test_encode_decode_reconstruct(run, small):
    _, dataset = small
    codes = run.encode(dataset.test)
    assert codes.shape == (23, 4) and codes.dtype == np.float32
    images = run.decode(codes)
    assert images.shape == (23, 6, 5, 1) and images.min() >= 0 and images.max() <= 1
    assert np.array_equal(images, run.reconstruct(dataset.test))
    as_floats = run.encode(dataset.test.astype(np.float32)[..., 0] / 255)
    assert np.allclose(codes, as_floats, atol=1e-6)
    output = run.autoencoder(dataset.test / np.float32(255))
    assert np.allclose(output.codes, codes, atol=1e-6)
    assert np.allclose(1 / (1 + np.exp(-output.logits)), images, atol=1e-6)


def test_the_summary_is_about_the_model_that_is_returned(run, small):
    _, dataset = small
    target = dataset.test / 255
    p = run.reconstruct(dataset.test).astype(np.float64)
    bce = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
    assert np.isclose(run.summary["test"]["reconstruction"], bce, rtol=1e-4)
    assert np.isclose(run.summary["test_nats_per_image"], 30 * bce, rtol=1e-4)
    codes = run.encode(dataset.test)
    assert np.isclose(run.summary["test"]["l1"], 1e-3 * np.abs(codes).sum(axis=1).mean(), rtol=1e-4)
    assert np.isclose(run.summary["code"]["mean"], codes.mean(), rtol=1e-4)


def test_chunks_make_no_difference(run, small, monkeypatch):
    _, dataset = small
    whole = run.reconstruct(dataset.test)
    monkeypatch.setattr(sys.modules["aejax.evaluation.likelihood"], "CHUNK", 7)
    assert np.allclose(run.reconstruct(dataset.test), whole, atol=1e-6)


def test_save_and_load(run, small, tmp_path):
    _, dataset = small
    run.save(tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    assert loaded.config == run.config and loaded.history == run.history and loaded.summary == run.summary
    for ours, theirs in zip(jax.tree.leaves(loaded.state), jax.tree.leaves(run.state), strict=True):
        assert np.array_equal(ours, theirs)
    assert np.array_equal(loaded.encode(dataset.test), run.encode(dataset.test))
    with pytest.raises(InputError, match="holds a run already"):
        run.save(tmp_path / "saved")
    with pytest.raises(InputError, match="holds no run"):
        load(tmp_path)


@pytest.mark.long
def test_the_best_parameters_can_be_loaded(small, tmp_path):
    config, dataset = small
    config = config.replace({"training.epochs": 40, "coefficients.learning_rate": 0.05, "data.validation": 0.2})
    run = fit(config, tmp_path, dataset=dataset, progress=False)
    best = min(run.history, key=lambda line: line["validation"]["total"])
    assert best["epoch"] < 39  # the model overfits
    loaded = load(tmp_path, "best")
    assert loaded.state.step == best["step"] and loaded.history[-1] == best
    assert loaded.summary["step"] == best["step"]
    loaded.save(tmp_path / "best")
    saved = load(tmp_path / "best")
    assert saved.history[-1] == best and saved.summary == loaded.summary
    assert load(tmp_path).state.step == run.summary["step"]
    with pytest.raises(InputError, match="newest or best"):
        load(tmp_path, "bets")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.encode(np.zeros((2, 6, 6))), r"have shape \[2, 6, 6\]; this model takes \[N, 6, 5, 1\]"),
        (lambda run: run.encode(np.full((2, 6, 5), np.nan)), "pixel"),
        (lambda run: run.decode(np.zeros((2, 5))), r"this model takes \[N, 4\]"),
    ],
)
def test_what_does_not_fit_the_model_is_refused(run, call, message):
    with pytest.raises(InputError, match=message):
        call(run)


def test_corrupted_images_are_those_of_the_evaluation(small):
    config, dataset = small
    config = config.replace({"corruption.kind": "masking", "coefficients.noise": 0.4})
    run = fit(config, dataset=dataset, progress=False)
    codes = run.encode(run.corrupt(dataset.test))
    assert np.isclose(run.summary["code"]["mean"], codes.mean(), rtol=1e-5)


@pytest.fixture(scope="module")
def variational():
    images = np.random.default_rng(0).random((60, 6, 5)).astype(np.float32)
    config = Config().replace({"model.kind": "variational", "loss.pixels": "sum", "model.code_size": 3})
    return fit(config.replace({"training.epochs": 1}), dataset=images, progress=False), images


def test_samples_are_new_images_and_follow_from_the_seed(variational):
    run, _ = variational
    images = run.sample(5)
    assert images.shape == (5, 6, 5, 1) and images.min() >= 0 and images.max() <= 1
    assert np.array_equal(run.sample(5), images) and np.allclose(run.sample(9)[:5], images, atol=1e-6)
    assert not np.allclose(run.sample(5, seed=1), images) and len(np.unique(images, axis=0)) == 5


def test_lines_through_the_code(variational):
    run, images = variational
    between = run.interpolate(images[:4], images[4:8], 3)
    assert between.shape == (4, 3, 6, 5, 1)
    assert np.allclose(between[:, 0], run.reconstruct(images[:4]), atol=1e-6)
    assert np.allclose(between[:, 2], run.reconstruct(images[4:8]), atol=1e-6)
    middle = (run.encode(images[:4]) + run.encode(images[4:8])) / 2
    assert np.allclose(between[:, 1], run.decode(middle), atol=1e-6)
    single = run.interpolate(images[0], images[4][..., None], 3)
    assert single.shape == (3, 6, 5, 1) and np.allclose(single, between[0], atol=1e-6)
    codes = run.encode(images[:2])
    along = run.traverse(images[:2], 1, [codes[0, 1], 5.0])
    assert along.shape == (2, 2, 6, 5, 1) and np.allclose(along[0, 0], run.reconstruct(images[:1])[0], atol=1e-6)
    codes[:, 1] = 5
    assert np.allclose(along[:, 1], run.decode(codes), atol=1e-6)


def test_what_cannot_be_drawn_is_refused(run, variational):
    with pytest.raises(InputError, match="has no method prior"):
        run.sample(3)
    drawn, images = variational
    for call, message in (
        (lambda: drawn.sample(0), "count is 0"),
        (lambda: drawn.interpolate(images[:2], images[:3]), "2 examples, 3 others"),
        (lambda: drawn.traverse(images[:2], 3, [0.0]), "unit is 3"),
    ):
        with pytest.raises(InputError, match=message):
            call()
