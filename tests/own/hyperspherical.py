"""A variational autoencoder with codes on a sphere: the posterior is power spherical, the prior is uniform.

Davidson et al. 2018, arXiv 1804.00891; the power spherical distribution: De Cao and Aziz 2020, arXiv 2006.04437.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln

import aejax
from aejax.models import randomness


class Hyperspherical(aejax.Variational):
    def spherical(self, images):
        """Return the direction float32[B, D], and the concentration and the two numbers of its beta distribution."""
        direction, spread = (part.astype(jnp.float32) for part in self.moments(images))
        concentration = 1 + jax.nn.softplus(spread.mean(axis=1))
        half = (direction.shape[1] - 1) / 2
        return unit(direction), concentration, half + concentration, jnp.full_like(concentration, half)

    def encode(self, images):
        return self.spherical(images)[0]

    def draw(self, images, keys, count, context=aejax.Context()):
        direction, concentration, a, b = self.spherical(images)
        height = jax.vmap(lambda key, a, b: jax.random.beta(jax.random.fold_in(key, 1), a, b, (count,)))(keys, a, b)
        height = jnp.clip(2 * height - 1, -1 + 1e-6, 1 - 1e-6)[..., None]  # along the direction
        noise = randomness.normal(keys, count * (direction.shape[1] - 1)).reshape(len(keys), count, -1)
        above = jnp.concatenate([height, jnp.sqrt(1 - height**2) * unit(noise)], axis=2)
        mirror = unit(jnp.eye(1, direction.shape[1]) - direction)[:, None]  # turns the first axis to the direction
        codes = above - 2 * mirror * (mirror * above).sum(axis=2, keepdims=True)
        log_q = concentration[:, None] * jnp.log1p(height[..., 0]) - log_normalizer(a, b)[:, None]
        return codes, log_q - self.log_prior(codes)

    def kl(self, images):
        _, concentration, a, b = self.spherical(images)
        log_q = concentration * (math.log(2) + digamma(a) - digamma(a + b)) - log_normalizer(a, b)
        return log_q + log_area(self.config.model.code_size)

    def log_prior(self, codes):
        return jnp.full(codes.shape[:-1], -log_area(codes.shape[-1]))

    def prior(self, keys):
        return unit(randomness.normal(keys, self.config.model.code_size))


def unit(rows):
    return rows / jnp.sqrt(jnp.square(rows).sum(axis=-1, keepdims=True) + 1e-12)


def log_area(size):
    return math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2)


def log_normalizer(a, b):
    return (a + b) * math.log(2) + b * math.log(math.pi) + gammaln(a) - gammaln(a + b)
