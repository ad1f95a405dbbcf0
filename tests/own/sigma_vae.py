"""A variational autoencoder whose pixels are normal, with one trained standard deviation for all of them.

Rybkin et al. 2021, arXiv 2006.13202.
"""

import math

import jax.numpy as jnp
from flax import nnx

import aejax


class SigmaVAE(aejax.Variational):
    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.log_sigma = nnx.Param(jnp.zeros(()))

    def log_density(self, images, logits, codes):
        """Return log p(image | code) [nats], float32[B, K], of images [B, H, W, C] given means [B, K, H, W, C]."""
        squares, log_sigma = jnp.square(logits - images[:, None]).mean(axis=(2, 3, 4)), self.log_sigma[...]
        return -images[0].size * (squares * jnp.exp(-2 * log_sigma) / 2 + log_sigma + math.log(2 * math.pi) / 2)

    def metrics(self, clean, output, context):
        return {"sigma": jnp.exp(self.log_sigma[...])}
