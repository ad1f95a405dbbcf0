import jax
import numpy as np
import pytest

from aejax import InputError, fit, load


@pytest.fixture
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
    logits, again = run.autoencoder(dataset.test / np.float32(255))
    assert np.allclose(again, codes, atol=1e-6) and np.allclose(1 / (1 + np.exp(-logits)), images, atol=1e-6)


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
    monkeypatch.setattr("aejax.run._CHUNK", 7)
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


def test_the_best_parameters_can_be_loaded(small, tmp_path):
    config, dataset = small
    config = config.replace({"training.epochs": 40, "coefficients.learning_rate": 0.05})
    run = fit(config, tmp_path, dataset=dataset, progress=False)
    best = min(run.history, key=lambda line: line["test"]["total"])
    assert best["epoch"] < 39  # it overfits
    loaded = load(tmp_path, "best")
    assert loaded.state.step == best["step"] and loaded.history[-1] == best and loaded.summary == {}
    loaded.save(tmp_path / "best")
    assert load(tmp_path / "best").history[-1] == best and not (tmp_path / "best" / "summary.json").exists()
    assert load(tmp_path).state.step == run.summary["step"]
    with pytest.raises(InputError, match="newest or best"):
        load(tmp_path, "bets")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.encode(np.zeros((2, 6, 6))), r"this model takes \[N, 6, 5, 1\]"),
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
