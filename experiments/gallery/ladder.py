"""A variational autoencoder with two stochastic layers and the posterior of the ladder.

The upper code is normal. The lower code is normal, with mean and variance from the upper code, and gives the pixels. In
the posterior, the upper code is drawn first. The lower code combines the image and the upper code, weighted by their
precisions. Posterior and prior share the layers from the upper to the lower code, which keeps the upper code in use.
Sønderby et al. 2016, arXiv 1602.02282.

    uv run experiments/gallery.py ladder --dataset mnist

Takes about 20 seconds of training on two shared CPU cores; negative log-likelihood 93.3 nats (500 samples).
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

import aejax
from aejax.models import losses, randomness


class Ladder(aejax.Variational):
    """A code ends with `upper` units of the upper layer; `width` is the width of the layer between the two codes."""

    options = {"upper": 10, "width": 100}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.upper, width = config.model.options["upper"], config.model.options["width"]
        if not 0 < self.upper < config.model.code_size:
            raise aejax.InputError(f"model.options.upper is {self.upper}; it must be from 1 to below model.code_size")
        self.lower = config.model.code_size - self.upper
        layers = nnx.Linear(self.upper, width, rngs=rngs), jnp.tanh, nnx.Linear(width, 2 * self.lower, rngs=rngs)
        self.down = nnx.Sequential(*layers)

    def moments_below(self, upper):
        """Return mean and log-variance of the lower code, [..., lower], given the upper code [..., upper]."""
        mean, log_variance = jnp.split(self.down(upper).astype(jnp.float32), 2, axis=-1)
        return mean, 6 * jnp.tanh(log_variance / 6)  # bounded, or a code far away has an infinite density

    def log_prior(self, codes):
        lower, upper = codes[..., : self.lower], codes[..., self.lower :]
        return super().log_prior(upper) + losses.normal_log_density(lower, *self.moments_below(upper))

    def prior(self, keys):
        noise = super().prior(keys)
        mean, log_variance = self.moments_below(noise[:, self.lower :])
        return noise.at[:, : self.lower].multiply(jnp.exp(log_variance / 2)).at[:, : self.lower].add(mean)

    def draw(self, images, keys, count, context=aejax.Context()):
        mean, log_variance = (moment.astype(jnp.float32)[:, None] for moment in self.moments(images))
        noise = randomness.normal(keys, count * mean.shape[2]).reshape(len(images), count, -1)
        seen, above = (mean[..., : self.lower], log_variance[..., : self.lower]), mean[..., self.lower :]
        spread = log_variance[..., self.lower :]
        upper = above + jnp.exp(spread / 2) * noise[..., self.lower :]
        told, told_log_variance = self.moments_below(upper)
        share = jax.nn.sigmoid(told_log_variance - seen[1])  # of the precision of the image in the sum of both
        below, log_below = told + share * (seen[0] - told), seen[1] + jnp.log(share)
        lower = below + jnp.exp(log_below / 2) * noise[..., : self.lower]
        log_q = losses.normal_log_density(upper, above, spread) + losses.normal_log_density(lower, below, log_below)
        codes = jnp.concatenate([lower, upper], axis=-1)
        return codes, log_q - self.log_prior(codes)

    def decode(self, codes):
        return self.decoder(codes.at[:, self.lower :].set(0))


def get_config():
    vae = aejax.load_config(Path(__file__).with_name("vae.py"))
    return vae.replace({"model.kind": "ladder.py:Ladder", "model.code_size": 60})
