"""Priors and posteriors of their authors' own (tests/own): what evaluation makes of them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aejax
from aejax import Dataset, InputError, fit
from aejax.models import build
from aejax.models.randomness import per_example, stream

OWN = Path(__file__).parents[1] / "own"


@pytest.mark.long
@pytest.mark.parametrize("prior", ["flow.py:Flow", "mixture.py:Mixture"])
def test_the_likelihood_is_that_of_an_integral_over_the_code(small, prior):
    """A code of 2 units: log p(x) = log of the integral of p(x | z) p(z) over a grid."""
    config, _ = small
    images = (np.random.default_rng(0).random((60, 4, 4, 1)) < 0.4).astype(np.uint8) * np.uint8(255)
    changes = {"model.kind": f"{OWN}/{prior}", "loss.pixels": "sum", "model.code_size": 2, "training.epochs": 8}
    config = config.replace(changes | {"training.batch_size": 8})
    dataset = Dataset("small", images[:48], images[48:])
    run = fit(config, dataset=dataset, progress=False)
    figures = aejax.evaluate(run, dataset, samples=4000)
    model, side = run.autoencoder, np.linspace(-9, 9, 361)
    grid = jnp.asarray(np.stack(np.meshgrid(side, side), axis=-1).reshape(1, -1, 2), jnp.float32)
    target = jnp.asarray(dataset.test / np.float32(255))
    each = jax.lax.map(lambda image: model.log_likelihood(image[None], grid)[0] + model.log_prior(grid)[0], target)
    exact = jax.nn.logsumexp(each, axis=1) + 2 * np.log(side[1] - side[0])
    assert abs(figures["nll"] + exact.mean()) < 0.02
    assert figures["nll"] <= -figures["elbo"] and figures["kl"] > 0
    # Codes drawn from the prior have its moments, by the same grid.
    density = np.exp(np.asarray(model.log_prior(grid)[0], np.float64)) * (side[1] - side[0]) ** 2
    codes = np.asarray(model.prior(per_example(stream(0, "sample"), jnp.arange(20_000))))
    assert np.isclose(density.sum(), 1, atol=1e-3)
    mean = density @ np.asarray(grid[0])
    assert np.allclose(codes.mean(axis=0), mean, atol=0.05)
    assert np.allclose(codes.var(axis=0), density @ np.square(np.asarray(grid[0]) - mean), rtol=0.06)
    assert np.allclose(run.sample(5), run.decode(codes[:5]), atol=1e-5)


def test_what_a_variational_model_does_not_say_is_refused_by_name(small, tmp_path):
    config, dataset = small
    (tmp_path / "half.py").write_text(
        "import aejax\n\n\nclass OnlyPrior(aejax.Variational):\n    def log_prior(self, codes):\n"
        "        return -abs(codes).sum(axis=-1)\n\n\nclass OnlyCall(aejax.Variational):\n"
        "    def __call__(self, images, context=aejax.Context()):\n        return super().__call__(images, context)\n"
    )
    config = config.replace({"loss.pixels": "sum", "training.epochs": 1})
    run = fit(config.replace({"model.kind": f"{tmp_path}/half.py:OnlyPrior"}), dataset=dataset, progress=False)
    with pytest.raises(InputError, match=r"OnlyPrior has a log_prior of its own and no prior\(keys\)"):
        run.sample(2)
    run = fit(config.replace({"model.kind": f"{tmp_path}/half.py:OnlyCall"}), dataset=dataset, progress=False)
    with pytest.raises(InputError, match="OnlyCall has a __call__ of its own and no draw"):
        aejax.evaluate(run, dataset)
    assert aejax.evaluate(run, dataset, samples=0)["bce"] > 0
    for changes in ({"coefficients.free_bits": 0.1}, {"model.top_k": 2}):
        with pytest.raises(InputError, match=r"free_bits is 0\.1; it must be 0 for OnlyPrior|top_k is 2"):
            fit(config.replace(changes | {"model.kind": f"{tmp_path}/half.py:OnlyPrior"}), dataset=dataset)


def test_the_kl_of_our_own_prior_and_posterior_is_in_closed_form(small):
    config, dataset = small
    model = build(config.replace({"model.kind": "variational", "loss.pixels": "sum"}), (6, 5, 1), nnx.Rngs(0))
    images = jnp.asarray(dataset.test / np.float32(255))
    keys = per_example(stream(0, "code"), jnp.arange(len(images)))
    _, log_ratio = model.draw(images, keys, 20_000)
    error = np.asarray(log_ratio).std(axis=1) / np.sqrt(20_000)
    assert (np.abs(log_ratio.mean(axis=1) - model.kl(images).sum(axis=1)) < 5 * error).all()
