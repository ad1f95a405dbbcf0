"""PIWAE: one importance-weighted bound for the decoder, the mean of several bounds for the encoder.

The decoder gains from a bound of many codes, which is close to the likelihood. The encoder gains from the less noisy
gradient of a mean of bounds of fewer codes (MIWAE). PIWAE uses both, with the same codes.
Rainforth et al. 2018, arXiv 1802.04537.

    uv run experiments/gallery.py piwae --dataset mnist

Takes about 60 seconds of training on two shared CPU cores; negative log-likelihood 92.6 nats (500 samples).
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

import aejax
from aejax.models import losses


class PIWAE(aejax.Variational):
    """The decoder's bound has all `model.samples` codes, the encoder's bounds have `groups` groups of one size."""

    options = {"groups": 2}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.groups = config.model.options["groups"]
        if config.loss.bound != "importance" or self.groups < 1 or config.model.samples % self.groups:
            given = f"model.samples is {config.model.samples} and loss.bound {config.loss.bound}"
            raise aejax.InputError(f"{given}; PIWAE needs a multiple of {self.groups} (groups) and importance")

    def loss(self, clean, output, coefficients, context):
        posterior, fixed = output.posterior, jax.lax.stop_gradient(output.posterior)
        terms = self.bound(clean, self.decoder, fixed.samples, fixed.log_ratio, 1, coefficients)
        graphdef, weights = nnx.split(self.decoder)
        decoder = nnx.merge(graphdef, jax.lax.stop_gradient(weights))
        whole = self.bound(clean, decoder, posterior.samples, posterior.log_ratio, self.groups, coefficients)
        encoders = sum(whole.values())
        # The value is the decoder's bound. The term "encoder" is 0 and has the gradient of the encoder's bounds.
        return terms | {"encoder": encoders - jax.lax.stop_gradient(encoders)}

    def bound(self, clean, decoder, samples, log_ratio, groups, coefficients):
        """Return the terms of the mean of the bounds of some groups, float32[B] each."""
        rows, shape = samples.reshape(-1, samples.shape[2]), (len(clean) * groups, -1)
        logits = decoder(rows.astype(self.config.model.dtype)).astype(jnp.float32)
        logits = logits.reshape(*samples.shape[:2], *clean.shape[1:])
        nats = clean[0].size * losses.reconstruction(self.config.loss, logits, clean[:, None], coefficients)
        posterior = aejax.Posterior(samples.reshape(*shape, samples.shape[2]), log_ratio.reshape(shape))
        terms = losses.variational_terms("importance", nats.reshape(shape), posterior, coefficients)
        return {name: term.reshape(len(clean), groups).mean(axis=1) for name, term in terms.items()}


def get_config():
    iwae = aejax.load_config(Path(__file__).with_name("iwae.py"))
    return iwae.replace({"model.kind": "piwae.py:PIWAE"})
