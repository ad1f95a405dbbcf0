"""A posterior of another form: a normal distribution bent by affine coupling layers (RealNVP, Dinh et al. 2017)."""

import jax.numpy as jnp
from flax import nnx

import aejax


class Flow(aejax.Variational):
    """What the encoder's normal distribution gives passes `layers` couplings that depend on the image's moments."""

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        size, width = config.model.code_size, config.model.options.get("width", 16)
        self.layers = nnx.Sequential(
            *[
                nnx.Sequential(nnx.Linear(3 * size, width, rngs=rngs), jnp.tanh, nnx.Linear(width, 2 * size, rngs=rngs))
                for _ in range(config.model.options.get("layers", 4))
            ]
        )

    def draw(self, images, keys, count):
        mean, log_variance = self.moments(images)
        codes, log_ratio = super().draw(images, keys, count)
        log_q = log_ratio + super().log_prior(codes)
        seen = jnp.concatenate([mean, log_variance], axis=1)[:, None].repeat(count, axis=1)
        for number, layer in enumerate(self.layers.layers):
            kept = (jnp.arange(codes.shape[2]) + number) % 2
            scale, shift = jnp.split(layer(jnp.concatenate([codes * kept, seen], axis=2)), 2, axis=2)
            scale = jnp.tanh(scale) * (1 - kept)
            codes = codes * jnp.exp(scale) + shift * (1 - kept)
            log_q = log_q - scale.sum(axis=2)
        return codes, log_q - self.log_prior(codes)
