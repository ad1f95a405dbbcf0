"""A prior that is learned: a mixture of normal distributions."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

import aejax


class Mixture(aejax.Variational):
    """The prior has `components` normal parts, whose means, variances and shares are trained."""

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        shape = config.model.options.get("components", 5), config.model.code_size
        self.means = nnx.Param(jax.random.normal(rngs.params(), shape))
        self.log_variances, self.shares = nnx.Param(jnp.zeros(shape)), nnx.Param(jnp.zeros(shape[0]))

    def log_prior(self, codes):
        deviation = jnp.square(codes[..., None, :] - self.means[...]) * jnp.exp(-self.log_variances[...])
        each = -(deviation + self.log_variances[...] + math.log(2 * math.pi)).sum(axis=-1) / 2
        return jax.nn.logsumexp(jax.nn.log_softmax(self.shares[...]) + each, axis=-1)

    def prior(self, keys):
        def one(key):
            chosen = jax.random.categorical(key, self.shares[...])
            noise = jax.random.normal(jax.random.fold_in(key, 1), self.means.shape[1:])
            return self.means[chosen] + jnp.exp(self.log_variances[chosen] / 2) * noise

        return jax.vmap(one)(keys)
