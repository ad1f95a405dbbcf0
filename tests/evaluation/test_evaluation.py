"""Metrics of any model in one dictionary, and the likelihood of models with a known likelihood."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aejax
from aejax import Dataset, InputError, fit
from aejax.evaluation import measures
from aejax.evaluation.evaluation import FIELDS
from aejax.evaluation.likelihood import likelihood
from aejax.models import build

VARIATIONAL = {"model.kind": "variational", "loss.pixels": "sum"}
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pictures():
    """Make 8x8 images of two classes: the bright half is the class."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 120)
    images = random.random((120, 8, 8, 1)) * 0.4
    images[labels == 1, :, :4] += 0.6
    images[labels == 0, :, 4:] += 0.6
    images = np.round(255 * images).astype(np.uint8)
    return Dataset("pictures", images[:90], images[90:], labels[:90], labels[90:])


@pytest.fixture(scope="module")
def trained(pictures):
    config = aejax.Config(model=aejax.Model(hidden=(), code_size=5), training=aejax.Training(epochs=4))
    return fit(config.replace({"coefficients.learning_rate": 1e-2}), dataset=pictures, progress=False)


def test_every_figure_is_there_and_agrees_with_the_record_of_training(trained, pictures):
    figures = aejax.evaluate(trained, pictures)
    assert list(figures) == list(FIELDS) and json.loads(json.dumps(figures)) == figures
    summary = trained.summary
    assert figures["bce"] == pytest.approx(summary["test"]["reconstruction"], rel=1e-5)
    assert figures["nats"] == pytest.approx(summary["test_nats_per_image"], rel=1e-5)
    assert figures["code_mean"] == pytest.approx(summary["code"]["mean"], rel=1e-4)
    assert figures["code_variance"] == pytest.approx(summary["code"]["variance"], rel=1e-4)
    assert figures["code_fraction_zero"] == pytest.approx(summary["code"]["fraction_zero"])
    images = pictures.test / np.float32(255)
    assert figures["mse"] == pytest.approx(np.square(images - trained.reconstruct(images)).mean(), rel=1e-5)
    assert figures["parameters"] == 64 * 5 + 5 + 5 * 64 + 64 and figures["test_images"] == 30
    assert figures["bits_8"] == 40 and 0 < figures["bits_entropy"] <= 5 * np.log2(30)
    assert figures["psnr_8"] == pytest.approx(figures["psnr"], abs=0.2)
    assert figures["nll"] is None and figures["elbo"] is None


def test_classes_are_predicted_where_there_are_any(trained, pictures):
    figures = aejax.evaluate(trained, pictures)
    assert all(figures[f"{probe}_{of}"] == 1 for probe in ("probe", "knn") for of in ("pixels", "pca"))
    assert figures["probe_code"] > 0.8
    without = aejax.evaluate(trained, Dataset("none", pictures.train, pictures.test))
    assert without["probe_code"] is without["knn_pixels"] is None and without["bce"] == figures["bce"]


def test_labels_that_mean_nothing_are_not_predicted():
    rows, labels = RANDOM.normal(size=(400, 3)), RANDOM.integers(0, 4, 400)
    for measure in (measures.linear_probe, measures.knn):
        assert measure(rows[:200], labels[:200], rows[200:], labels[200:]) < 0.4
        assert measure(rows[:200], rows[:200, 0] > 0, rows[200:], rows[200:, 0] > 0) > 0.8


@pytest.mark.long
def test_a_squared_error_is_no_likelihood(pictures):
    config = aejax.Config().replace(
        VARIATIONAL | {"loss.reconstruction": "mse", "training.epochs": 1, "model.code_size": 3}
    )
    figures = aejax.evaluate(fit(config, dataset=pictures, progress=False), pictures)
    assert figures["bce"] is figures["nats"] is figures["nll"] is None and figures["mse"] > 0


@pytest.mark.long
def test_a_variational_model_gets_its_bounds(pictures, tmp_path):
    config = aejax.Config().replace(VARIATIONAL | {"training.epochs": 2, "data.binarize": True, "model.code_size": 3})
    run = fit(config, tmp_path, dataset=pictures, progress=False)
    figures = aejax.evaluate(tmp_path, pictures, samples=60)
    assert figures["samples"] == 60 and figures["active_units"] <= 3
    assert -figures["elbo"] == pytest.approx(run.summary["test"]["total"], rel=0.05)
    assert figures["kl"] == pytest.approx(run.summary["test"]["kl"], rel=1e-4)
    assert figures["nll"] <= -figures["elbo"]
    assert figures["nll_standard_error"] > figures["nll_sampling_error"] > 0
    assert aejax.evaluate(run, pictures, samples=0)["nll"] is None


def linear_variational(code_size, spread):
    """Make a variational model of 12 pixels with a linear decoder and an inexact posterior."""
    config = aejax.Config().replace(VARIATIONAL | {"model.hidden": (), "model.code_size": code_size})
    model = nnx.jit(lambda: build(config, (3, 4, 1), nnx.Rngs(3)))()
    model.encoder.layers.layers[1].bias[...] = jnp.full(2 * code_size, spread)
    return model


@pytest.mark.parametrize("samples", [7, *(pytest.param(count, marks=pytest.mark.long) for count in (1, 4000))])
def test_the_likelihood_is_that_of_a_decoder_that_ignores_its_code(samples):
    model = linear_variational(2, 0.0)
    linear = model.decoder.layers.layers[0]
    linear.kernel[...] = jnp.zeros((2, 12))
    linear.bias[...] = jnp.asarray(RANDOM.normal(size=12), jnp.float32)
    encoder = model.encoder.layers.layers[1]
    encoder.kernel[...] = jnp.zeros_like(encoder.kernel[...])  # the posterior is the prior, so all weights are equal
    images = (RANDOM.random((7, 3, 4, 1)) < 0.5).astype(np.float32)
    found = likelihood(model, images, samples)
    p = 1 / (1 + np.exp(-np.float64(linear.bias[...])))
    pixels = images.reshape(7, 12)
    exact = -(pixels * np.log(p) + (1 - pixels) * np.log(1 - p)).sum(axis=1)
    assert np.allclose(found.nll, exact, rtol=1e-5) and np.allclose(found.reconstruction, exact, rtol=1e-5)
    assert np.allclose(found.kl, 0, atol=1e-6) and np.allclose(found.sampling_variance, 0, atol=1e-5)


def test_the_likelihood_agrees_with_an_integral_over_the_code_within_its_error():
    model = linear_variational(1, 0.3)
    images = (RANDOM.random((5, 3, 4, 1)) < 0.5).astype(np.float32)
    codes = np.linspace(-9, 9, 4001, dtype=np.float32)[:, None]
    logits = np.float64(model.decode(codes)).reshape(-1, 1, 12)
    given = -(np.logaddexp(0, logits) - images.reshape(5, 12) * logits).sum(axis=2)
    prior = np.exp(-(codes**2) / 2) / np.sqrt(2 * np.pi)
    exact = -np.log((np.exp(given) * prior).sum(axis=0) * (codes[1, 0] - codes[0, 0]))
    found = likelihood(model, images, 20_000)
    assert (found.sampling_variance > 0).all()
    assert (np.abs(found.nll - exact) < 4 * np.sqrt(found.sampling_variance)).all()
    assert np.sqrt(found.sampling_variance).max() < 0.02
    assert (likelihood(model, images, 3, seed=1).reconstruction != likelihood(model, images, 3).reconstruction).all()


@pytest.mark.long
def test_the_bound_tightens_with_the_samples_and_begins_at_the_elbo():
    model = linear_variational(4, 0.5)
    images = jax.device_get(jax.random.bernoulli(jax.random.key(0), 0.5, (400, 3, 4, 1)).astype(jnp.float32))
    means = [likelihood(model, images, samples).nll.mean() for samples in (1, 10, 300)]
    assert means[0] > means[1] > means[2]
    many = likelihood(model, images, 300)
    elbo = (many.reconstruction + many.kl).mean()
    one = likelihood(model, images, 1)
    assert means[0] == pytest.approx(elbo, abs=4 * one.nll.std() / 20)


def test_the_script_writes_the_figures_and_refuses_a_folder_without_a_run(script, tmp_path, pictures, trained):
    trained.save(tmp_path / "run")
    np.savez(tmp_path / "pictures.npz", train=pictures.train, test=pictures.test)
    given = ("--dataset", tmp_path / "pictures.npz", "--json", tmp_path / "metrics.json", "--figures", "svg")
    done = script("evaluate.py", tmp_path / "run", *given)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "metrics_figures").iterdir()} == {
        f"{name}.svg" for name in ("codes", "losses", "reconstructions", "weights")
    }
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert list(figures) == list(FIELDS) and f"{figures['bce']:.4f}" in done.stdout
    refused = script("evaluate.py", tmp_path / "nothing")
    assert refused.returncode == 1 and "holds no run" in refused.stderr and "Traceback" not in refused.stderr


def test_a_single_image_has_the_metrics_that_compare_no_images(trained, pictures):
    image, whole = pictures.test[0], aejax.evaluate(trained, pictures)
    with_training = Dataset("single", pictures.train, pictures.test[:1])
    for given in (image, image[..., 0], image[None], with_training):
        metrics = aejax.evaluate(trained, given)
        error = np.square(image / 255 - trained.reconstruct(image[None])[0]).mean()
        assert metrics["test_images"] == 1 and metrics["mse"] == pytest.approx(error, rel=1e-5)
        assert whole.keys() == metrics.keys()
        assert {metrics[name] for name in ("dead_units", "effective_rank", "bits_entropy", "probe_code")} == {None}
    with pytest.raises(InputError, match=r"one example cannot be split .* give both parts"):
        aejax.evaluate(trained, (pictures.test[:1], [1]))


def test_what_a_run_has_already_is_refused(trained, pictures):
    with pytest.raises(InputError, match=r"models is 'own\.py'; it must be left out with a Run"):
        aejax.evaluate(trained, pictures, models="own.py")


def test_images_that_do_not_fit_are_refused(trained, pictures):
    with pytest.raises(InputError, match="images have shape"):
        aejax.evaluate(trained, Dataset("other", pictures.train[:, :5], pictures.test[:, :5]))
    with pytest.raises(InputError, match="samples is -1"):
        aejax.evaluate(trained, pictures, samples=-1)
