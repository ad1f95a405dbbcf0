"""Custom priors and posteriors: the methods that evaluation needs. test_gallery.py tests their metrics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aejax
from aejax import InputError, fit
from aejax.models import build
from aejax.models.randomness import per_example, stream
from runs import untrained


def test_what_a_variational_model_does_not_say_is_refused_by_name(small, tmp_path):
    config, dataset = small
    (tmp_path / "half.py").write_text(
        "import aejax\n\n\nclass OnlyPrior(aejax.Variational):\n    def log_prior(self, codes):\n"
        "        return -abs(codes).sum(axis=-1)\n\n\nclass OnlyCall(aejax.Variational):\n"
        "    def __call__(self, images, context=aejax.Context()):\n        return super().__call__(images, context)\n"
    )
    config = config.replace({"loss.pixels": "sum"})
    run = untrained(config.replace({"model.kind": f"{tmp_path}/half.py:OnlyPrior"}), dataset)
    with pytest.raises(InputError, match=r"OnlyPrior has a log_prior of its own and no prior\(keys\)"):
        run.sample(2)
    run = untrained(config.replace({"model.kind": f"{tmp_path}/half.py:OnlyCall"}), dataset)
    with pytest.raises(InputError, match="OnlyCall overrides __call__ but not draw"):
        aejax.evaluate(run, dataset)
    assert aejax.evaluate(run, dataset, samples=0)["bce"] > 0
    for changes in ({"coefficients.free_bits": 0.1}, {"model.top_k": 2}):
        with pytest.raises(InputError, match=r"free_bits is 0\.1, and .*OnlyPrior does not use it|top_k is 2"):
            fit(config.replace(changes | {"model.kind": f"{tmp_path}/half.py:OnlyPrior"}), dataset=dataset)


def test_the_kl_of_our_own_prior_and_posterior_is_in_closed_form(small):
    config, dataset = small
    config = config.replace({"model.kind": "variational", "loss.pixels": "sum"})
    model = nnx.jit(lambda: build(config, (6, 5, 1), nnx.Rngs(0)))()
    images = jnp.asarray(dataset.test / np.float32(255))
    keys = per_example(stream(0, "code"), jnp.arange(len(images)))
    log_ratio, kl = jax.jit(lambda: (model.draw(images, keys, 20_000)[1], model.kl(images)))()
    error = np.asarray(log_ratio).std(axis=1) / np.sqrt(20_000)
    assert (np.abs(log_ratio.mean(axis=1) - kl.sum(axis=1)) < 5 * error).all()


def test_a_class_that_overrides_only_kl_is_trained_with_it(small):
    config, dataset = small
    config = config.replace({"model.kind": "variational", "loss.pixels": "sum"})

    class Doubled(aejax.Variational):
        def kl(self, images):
            return 2 * super().kl(images)

    images = jnp.asarray(dataset.test / np.float32(255))
    ours, doubled = (
        nnx.jit(lambda kind=kind: kind(config, (6, 5, 1), nnx.Rngs(0))(images).posterior.kl)()
        for kind in (aejax.Variational, Doubled)
    )
    assert np.allclose(doubled, 2 * ours, rtol=1e-6) and np.asarray(ours).max() > 0
