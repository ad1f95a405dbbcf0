"""β-TC-VAE: a weight on one of the three parts of the KL divergence, the total correlation.

The mean divergence is the information of the code about the image, plus the total correlation of the units, plus the
divergence of each unit from the prior. A penalty on the total correlation makes units independent and removes no
information. The parts need the density of the codes of all images, estimated from the batch by stratified sampling.
Chen et al. 2018, arXiv 1802.04942, appendix C.2.

    uv run experiments/gallery.py tc_vae --dataset mnist

Takes about 50 seconds of training on two shared CPU cores; total correlation 0.7 nats of a divergence of 10.7.
"""

import math
from pathlib import Path

import jax
import jax.numpy as jnp

import aejax
from aejax.models import losses


class TCVAE(aejax.Variational):
    """The terms of the divergence are `information`, `total_correlation` and `unit_kl` [nats]."""

    coefficients = {"beta": 1.0, "information": 1.0, "total_correlation": 4.0, "unit_kl": 1.0}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        if config.loss.bound != "elbo":
            raise aejax.InputError(f"loss.bound is {config.loss.bound}; it must be elbo")

    def loss(self, clean, output, coefficients, context):
        codes, mean, log_variance = output.posterior.samples, output.posterior.mean, output.posterior.log_variance
        each = losses.reconstruction(self.config.loss, output.logits, clean[:, None], coefficients)
        whole, by_unit = densities(codes, mean, log_variance, context)
        own = losses.normal_log_density(codes, mean[:, None], log_variance[:, None])
        parts = {"information": own - whole, "total_correlation": whole - by_unit}
        parts["unit_kl"] = by_unit - self.log_prior(codes)
        weighted = {name: coefficients["beta"] * part.mean(axis=1) for name, part in parts.items()}
        return {"reconstruction": clean[0].size * each.mean(axis=1)} | weighted


def densities(codes, mean, log_variance, context):
    """Return log-densities [B, K] of codes [B, K, D] under the mean of all posteriors: joint, and summed over units."""
    means, log_variances = context.whole((mean, log_variance))
    first = 0 if context.axis is None else jax.lax.axis_index(context.axis) * len(codes)
    itself = first + jnp.arange(len(codes))[:, None] == jnp.arange(len(means))
    examples = max(context.examples, len(means))
    others = (examples - 1) / examples / max(len(means) - 1, 1)
    log_shares = jnp.log(jnp.where(itself, 1 / examples, others))[:, None]  # [B, 1, images of the batch]
    squares = jnp.square(codes[..., None] - means.T) * jnp.exp(-log_variances.T)  # [B, K, D, images of the batch]
    each = -(squares + log_variances.T + math.log(2 * math.pi)) / 2
    whole = jax.nn.logsumexp(each.sum(axis=2) + log_shares, axis=-1)
    return whole, jax.nn.logsumexp(each + log_shares[:, None], axis=-1).sum(axis=2)


def get_config():
    vae = aejax.load_config(Path(__file__).with_name("vae.py"))
    return vae.replace({"model.kind": "tc_vae.py:TCVAE"})
