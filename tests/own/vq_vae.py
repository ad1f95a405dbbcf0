"""A VQ-VAE whose codebook follows moving averages (van den Oord et al. 2017, appendix A.1)."""

import jax
import jax.numpy as jnp
from flax import nnx

import aejax


class VQVAE(aejax.Autoencoder):
    """Each group of units of the code is replaced by the nearest entry of a codebook."""

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        options = config.model.options
        self.decay, shape = options.get("decay", 0.99), (options.get("entries", 32), options.get("width", 2))
        self.book = nnx.Variable(jax.random.normal(rngs.params(), shape))
        self.counts, self.sums = nnx.Variable(jnp.ones(shape[0])), nnx.Variable(self.book[...])

    def nearest(self, codes):
        groups = codes.reshape(-1, self.book.shape[1])
        distances = jnp.square(self.book[...]).sum(axis=1) - 2 * groups @ self.book[...].T
        return groups, jax.nn.one_hot(distances.argmin(axis=1), len(self.book[...]))

    def encode(self, images):
        codes = self.encoder(images)
        return (self.nearest(codes)[1] @ self.book[...]).reshape(codes.shape)

    def __call__(self, images, context=aejax.Context()):
        codes = self.encoder(images)
        groups, chosen = self.nearest(jax.lax.stop_gradient(codes))
        used, sums = chosen.mean(axis=0), chosen.T @ groups / len(groups)
        if context.axis is not None:
            used, sums = jax.lax.pmean((used, sums), context.axis)
        quantised = (chosen @ self.book[...]).reshape(codes.shape)
        if context.training:
            self.counts[...] = self.decay * self.counts[...] + (1 - self.decay) * used
            self.sums[...] = self.decay * self.sums[...] + (1 - self.decay) * sums
            self.book[...] = self.sums[...] / jnp.maximum(self.counts[...], 1e-5)[:, None]
        distance, perplexity = jnp.square(codes - quantised).sum(axis=1), jnp.exp(jax.scipy.special.entr(used).sum())
        passed = codes + jax.lax.stop_gradient(quantised - codes)
        return aejax.Output(self.decode(passed), passed, metrics={"distance": distance, "perplexity": perplexity})

    def loss(self, clean, output, coefficients, context):
        return super().loss(clean, output, coefficients, context) | {"commitment": output.metrics["distance"]}
