import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from aejax import Config, Loss, fit
from aejax.models import Context, Posterior, build, losses
from aejax.models.randomness import per_example, stream
from aejax.models.variational import every_other
from aejax.training.step import Batch, build_steps
from runs import traced

normal_kl, log_density_ratio = jax.jit(losses.normal_kl), jax.jit(losses.log_density_ratio)
variational_terms = jax.jit(losses.variational_terms, static_argnums=0)
VARIATIONAL = {"model.kind": "variational", "loss.pixels": "sum"}
RANDOM = np.random.default_rng(0)


def posterior_of(samples, mean=None, log_variance=None):
    shape = (4, 3)
    mean = RANDOM.normal(size=shape) if mean is None else mean
    log_variance = RANDOM.normal(size=shape) if log_variance is None else log_variance
    drawn = mean[:, None] + np.exp(log_variance / 2)[:, None] * RANDOM.normal(size=(4, samples, 3))
    mean, log_variance, drawn = (jnp.asarray(part, jnp.float32) for part in (mean, log_variance, drawn))
    ratio = log_density_ratio(drawn, mean, log_variance)
    return Posterior(drawn, ratio, normal_kl(mean, log_variance), mean, log_variance)


def weights(**given):
    return {name: jnp.float32(given.get(name, default)) for name, default in dict(beta=1, free_bits=0).items()}


def test_the_divergence_is_the_closed_form_and_the_mean_of_the_density_ratio():
    posterior = posterior_of(200_000)
    mean, deviation = np.float64(posterior.mean), np.exp(np.float64(posterior.log_variance) / 2)
    closed = (np.log(1 / deviation) + (deviation**2 + mean**2) / 2 - 0.5).sum(axis=1)
    ours = normal_kl(posterior.mean, posterior.log_variance).sum(axis=1)
    assert np.allclose(ours, closed, rtol=1e-5)
    ratio = posterior.log_ratio
    samples = np.float64(posterior.samples)
    q = stats.norm.logpdf(samples, mean[:, None], deviation[:, None]).sum(axis=2)
    assert np.allclose(ratio, q - stats.norm.logpdf(samples).sum(axis=2), rtol=1e-5, atol=1e-5)
    assert np.allclose(ratio.mean(axis=1), closed, atol=0.03)


def test_the_terms_of_both_bounds_add_up_to_them():
    posterior, reconstruction = posterior_of(6), jnp.asarray(RANDOM.random((4, 6)) * 90, jnp.float32)
    elbo = variational_terms("elbo", reconstruction, posterior, weights(beta=0.5))
    kl = np.float64(normal_kl(posterior.mean, posterior.log_variance)).sum(axis=1)
    assert np.allclose(elbo["reconstruction"] + elbo["kl"], np.mean(reconstruction, axis=1) + 0.5 * kl, rtol=1e-5)
    bound = variational_terms("importance", reconstruction, posterior, weights())
    log_weights = -np.float64(reconstruction) - np.float64(posterior.log_ratio)
    assert np.allclose(sum(bound.values()), -np.log(np.exp(log_weights).mean(axis=1)), rtol=1e-5)
    assert (bound["importance"] < 0).all()  # Jensen
    one = variational_terms("importance", reconstruction[:, :1], posterior_of(1), weights())
    assert np.allclose(one["importance"], 0, atol=1e-4)


def test_the_density_of_a_mixture_is_the_sum_of_its_parts():
    means, log_variances = RANDOM.normal(size=(5, 3)), RANDOM.normal(size=(5, 3))
    shares, codes = RANDOM.dirichlet(np.ones(5)), 2 * RANDOM.normal(size=(4, 2, 3))
    parts = stats.norm.pdf(codes[..., None, :], means, np.exp(log_variances / 2)).prod(axis=-1)
    arrays = (jnp.asarray(array, jnp.float32) for array in (codes, means, log_variances, np.log(shares)))
    assert np.allclose(jax.jit(losses.mixture_log_density)(*arrays), np.log(parts @ shares), rtol=1e-4, atol=1e-4)


def test_free_bits_are_a_floor_for_each_unit():
    posterior = posterior_of(1)
    kl = normal_kl(posterior.mean, posterior.log_variance)
    terms = variational_terms("elbo", jnp.zeros((4, 1)), posterior, weights(free_bits=0.5))
    assert (kl < 0.5).any() and (kl > 0.5).any()
    assert np.allclose(terms["kl"], np.maximum(kl, 0.5).sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize("samples", [5, pytest.param(1, marks=pytest.mark.long)])
def test_samples_follow_the_posterior_and_depend_on_the_example_only(samples):
    config = Config().replace(VARIATIONAL | {"model.samples": samples, "model.code_size": 6})
    model = nnx.jit(lambda: build(config, (6, 5, 1), nnx.Rngs(0)))()
    images = jnp.broadcast_to(jax.random.uniform(jax.random.key(1), (6, 5, 1)), (4000, 6, 5, 1))
    keys = per_example(stream(0, "code"), jnp.arange(4000))
    output = jax.jit(lambda: model(images, Context(keys)))()
    assert output.logits.shape == (4000, samples, 6, 5, 1) and output.posterior.samples.shape == (4000, samples, 6)
    drawn = np.asarray(output.posterior.samples).reshape(-1, 6)
    assert np.allclose(drawn.mean(axis=0), output.posterior.mean[0], atol=0.08)
    assert np.allclose(drawn.var(axis=0), np.exp(output.posterior.log_variance[0]), rtol=0.12)
    part = jax.jit(lambda: model(images[:3], Context(keys[5:8])))()
    assert np.allclose(part.posterior.samples, output.posterior.samples[5:8], atol=1e-6)
    without = jax.jit(lambda: model(images[:3]))()
    assert np.array_equal(without.posterior.samples[:, 0], without.codes)


def test_the_loss_of_a_batch_is_the_elbo(small):
    config, dataset = small
    config = config.replace(VARIATIONAL)
    steps = build_steps(config, dataset.image_shape)
    state = jax.jit(steps.init)()
    weights = traced(config)
    terms, _, codes = jax.jit(steps.evaluate)(state, Batch(jnp.asarray(dataset.test), jnp.arange(23)), weights)
    images, keys = jnp.asarray(dataset.test / np.float32(255)), per_example(stream(0, "test code"), jnp.arange(23))
    output = jax.jit(lambda: steps.model(state)(images, Context(keys)))()
    p = 1 / (1 + np.exp(-np.float64(output.logits[:, 0])))
    likelihood = np.where(images == 1, np.log(p), np.log(1 - p)).sum(axis=(1, 2, 3))
    divergence = losses.normal_kl(output.posterior.mean, output.posterior.log_variance).sum(axis=1)
    assert np.allclose(terms["total"], divergence - likelihood, rtol=1e-5)
    assert np.allclose(codes, output.codes, atol=1e-6)
    assert terms["reconstruction"].mean() > 10  # nats per image of 30 pixels


@pytest.mark.long
def test_beta_warms_up_and_binarization_is_of_input_and_target(small):
    config, dataset = small
    grey = np.full_like(dataset.train, 100)
    config = config.replace(
        VARIATIONAL | {"data.binarize": True, "schedules.beta.warmup_epochs": 2, "coefficients.beta": 3.0}
    )
    steps = build_steps(config.replace({"data.binarize": False}), dataset.image_shape, 10)
    weights = traced(config)
    batch, state = Batch(jnp.asarray(grey[:16]), jnp.arange(16)), jax.jit(steps.init)()
    train = jax.jit(steps.alone)
    kl = [train(state._replace(step=jnp.int32(step)), batch, weights)[1]["kl"] for step in (0, 10, 20, 99)]
    assert kl[0] == 0 and np.allclose(np.array(kl[1:]) / kl[2], [0.5, 1, 1], rtol=1e-5)
    run = fit(config, dataset=type(dataset)("grey", grey, grey[:23]), progress=False)
    target, seen = run.evaluation_inputs(grey)
    assert np.array_equal(target, seen) and set(np.unique(seen)) == {0, 1}
    assert abs(seen.mean() - 100 / 255) < 0.03


def test_the_loss_of_a_plain_model_has_no_variational_terms(small):
    config, dataset = small
    run = fit(config.replace({"loss.pixels": "sum"}), dataset=dataset, progress=False)
    assert set(run.summary["test"]) == {"reconstruction", "l1", "total"}
    assert np.isclose(run.summary["test_nats_per_image"], run.summary["test"]["reconstruction"])
    assert Loss().pixels == "mean"


def test_slices_of_a_tpu_separate_means_and_log_variances_like_the_reshape_of_other_devices():
    pairs = jax.random.normal(jax.random.key(0), (3, 14))
    for slices, reshaped in zip(every_other(pairs), jnp.moveaxis(pairs.reshape(3, 7, 2), 2, 0), strict=True):
        np.testing.assert_array_equal(slices, reshaped)
