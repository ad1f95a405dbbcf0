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
        codes, views = self.encode(images), {}
        if context.keys is not None:
            noise = context.coefficients["jitter"] * randomness.normal(context.keys, 2 * images[0].size)
            both = images + jnp.moveaxis(noise.reshape(len(images), 2, *images.shape[1:]), 1, 0)
            views = {"first": self.encode(both[0]), "second": self.encode(both[1])}
        return aejax.Output(self.decode(jax.lax.stop_gradient(codes)), codes, extra=views)

    def loss(self, clean, output, coefficients, context):
        def mean(rows):  # over the whole batch
            return rows.mean(axis=0) if context.axis is None else jax.lax.pmean(rows.mean(axis=0), context.axis)

        def standardized(rows):
            centred = rows - mean(rows)
            return centred / jnp.sqrt(mean(jnp.square(centred)) + 1e-6)

        first, second = standardized(output.extra["first"]), standardized(output.extra["second"])
        correlations = mean(first[:, :, None] * second[:, None])
        same = jnp.diag(correlations)
        parts = {"invariance": jnp.square(1 - same).sum()}
        parts["redundancy"] = jnp.square(correlations).sum() - jnp.square(same).sum()
        terms = super().loss(clean, output, coefficients, context)
        return terms | {name: jnp.broadcast_to(part, len(clean)) for name, part in parts.items()}
