"""Codes of two noisy views of an image that agree unit by unit, while different units are independent.

The decoder only shows the content of the code: its gradient does not reach the encoder.
Zbontar et al. 2021, arXiv 2103.03230.
"""

import jax
import jax.numpy as jnp

import aejax
from aejax.models import randomness


class BarlowTwins(aejax.Autoencoder):
    """`jitter` is the standard deviation of the noise; `redundancy` weighs the correlations of different units."""

    coefficients = {"redundancy": 5e-3, "jitter": 0.3}
    select = "invariance"

    def __call__(self, images, context=aejax.Context()):
        codes, noise = self.encode(images), randomness.normal(context.keys, 2 * images[0].size)
        noise = jnp.moveaxis(noise.reshape(len(images), 2, *images.shape[1:]), 1, 0)
        views = [self.encode(images + context.coefficients["jitter"] * each) for each in noise]
        return aejax.Output(self.decode(jax.lax.stop_gradient(codes)), codes, extra={"views": views})

    def loss(self, clean, output, coefficients, context):
        def standardized(rows):
            return (rows - rows.mean(axis=0)) / jnp.sqrt(rows.var(axis=0) + 1e-6)

        first, second = map(standardized, context.whole(output.extra["views"]))
        correlations = (first[:, :, None] * second[:, None]).mean(axis=0)
        same = jnp.diag(correlations)
        parts = {"invariance": jnp.square(1 - same).sum()}
        parts["redundancy"] = jnp.square(correlations).sum() - jnp.square(same).sum()
        terms = super().loss(clean, output, coefficients, context)
        return terms | {name: jnp.broadcast_to(part, len(clean)) for name, part in parts.items()}
