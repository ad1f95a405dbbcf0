import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import entropy

from aejax import InputError, Loss, fit
from aejax.config.numbers import KINDS
from aejax.models import Output, losses

cross_entropy = jax.jit(losses.binary_cross_entropy)
RANDOM = np.random.default_rng(0)
LOGITS = jnp.asarray(RANDOM.normal(0, 4, (5, 3, 4, 2)), jnp.float32)
IMAGES = jnp.asarray(RANDOM.random((5, 3, 4, 2)), jnp.float32)


def test_cross_entropy_agrees_with_optax_in_value_and_gradient():
    def reference(logits):
        return optax.sigmoid_binary_cross_entropy(logits, IMAGES).mean(axis=(1, 2, 3))

    assert np.allclose(cross_entropy(LOGITS, IMAGES), jax.jit(reference)(LOGITS), rtol=2e-6)
    ours = jax.jit(jax.grad(lambda logits: losses.binary_cross_entropy(logits, IMAGES).sum()))(LOGITS)
    assert np.allclose(ours, jax.jit(jax.grad(lambda logits: reference(logits).sum()))(LOGITS), atol=1e-8, rtol=2e-6)


def test_cross_entropy_where_the_answer_is_known():
    zeros = jnp.zeros((2, 3, 4, 1))
    assert np.allclose(cross_entropy(zeros, zeros), np.log(2))
    far = jnp.full((1, 2, 2, 1), 1e4)
    assert cross_entropy(far, jnp.ones_like(far)) == 0
    assert cross_entropy(far, jnp.zeros_like(far)) == 1e4
    slope = jax.jit(jax.grad(lambda logits: losses.binary_cross_entropy(logits, jnp.zeros_like(far)).sum()))
    assert np.allclose(slope(far), 1 / 4) and np.allclose(slope(-far), 0)


def test_squared_error_is_a_mean_over_pixels():
    assert np.allclose(losses.mean_squared_error(LOGITS, LOGITS + 3), 9, rtol=1e-5)


def test_terms_are_per_example_and_without_their_weights():
    codes = jnp.array([[1.0, -2.0], [0.0, 0.5]])
    output = Output(LOGITS[:2], codes)
    weights = {"l1": jnp.float32(0.1)}
    terms = losses.loss_terms(Loss("mse"), IMAGES[:2], output, weights)
    assert np.allclose(terms["l1"], [3, 0.5])
    assert terms["reconstruction"].shape == (2,)
    summed = losses.loss_terms(Loss("mse", pixels="sum"), IMAGES[:2], output, weights)
    assert np.allclose(summed["reconstruction"], 24 * terms["reconstruction"])


def test_a_term_for_every_model_is_a_declaration_and_a_line_of_the_loss(small, monkeypatch):
    """The two places: `KINDS` in aejax.config.numbers, and `losses.loss_terms`."""
    config, dataset = small
    monkeypatch.setitem(KINDS["plain"], "l2", 0.0)
    original = losses.loss_terms

    def with_l2(loss, clean, output, coefficients, axis=None):
        terms = original(loss, clean, output, coefficients, axis)
        return terms | {"l2": jnp.square(output.codes).sum(axis=1)}

    monkeypatch.setattr(losses, "loss_terms", with_l2)
    norms = []
    for weight in (0.0, 0.1):
        run = fit(config.replace({"coefficients.l2": weight}), dataset=dataset, progress=False)
        norms.append(np.square(run.encode(dataset.test)).sum(axis=1).mean())
    assert norms[1] < norms[0] / 2
    assert np.isclose(run.summary["test"]["l2"], 0.1 * norms[1], rtol=1e-4)
    with pytest.raises(InputError, match=r"coefficients.l3 is .* declared are: learning_rate, l1, l2"):
        config.replace({"coefficients.l3": 1})


def test_the_rate_divergence_is_that_of_bernoulli_distributions():
    codes = jnp.asarray(RANDOM.random((50, 6)), jnp.float32)
    mean = np.asarray(codes, np.float64).mean(axis=0)
    expected = sum(entropy([0.1, 0.9], [p, 1 - p]) for p in mean)
    divergence = jax.jit(losses.rate_divergence)
    assert np.isclose(divergence(codes, np.float32(0.1)), expected, rtol=1e-5)
    assert abs(divergence(np.full((4, 3), 0.1, np.float32), np.float32(0.1))) < 1e-6
    assert np.isfinite(divergence(np.zeros((4, 3), np.float32), np.float32(0.1)))
