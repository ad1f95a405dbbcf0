"""The variational autoencoder (Kingma and Welling 2014): a code that is drawn, and a prior to draw new ones from."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from aejax.config import Config
from aejax.models import randomness
from aejax.models.autoencoder import Autoencoder, ImageShape, Output, Posterior
from aejax.models.randomness import Key


class Variational(Autoencoder):
    """The encoder gives mean and log-variance of each unit; the prior is a standard normal distribution.

    The code of an image, as `encode` gives it, is the mean.
    """

    outputs_per_unit = 2

    def __init__(self, config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> None:
        super().__init__(config, image_shape, rngs)
        self.samples = config.model.samples

    def __call__(self, images: jax.Array, keys: Key | None = None) -> Output:
        """Draw `model.samples` codes for each image, or take the mean where there are no keys, and decode them."""
        mean, log_variance = self.moments(images)
        samples = mean[:, None]
        if keys is not None:
            noise = randomness.normal(keys, self.samples * mean.shape[1]).reshape(len(mean), self.samples, -1)
            samples = samples + jnp.exp(log_variance / 2)[:, None] * noise
        logits = self.decode(samples.reshape(-1, mean.shape[1]).astype(mean.dtype))  # the noise is float32
        logits = logits.reshape(*samples.shape[:2], *logits.shape[1:])
        return Output(logits, mean, posterior=Posterior(mean, log_variance, samples))

    def encode(self, images: jax.Array) -> jax.Array:
        """Images float32[B, H, W, C] → the means of their codes float32[B, code_size]."""
        return self.moments(images)[0]

    def moments(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Images float32[B, H, W, C] → mean and log-variance of each unit, float32[B, code_size] both."""
        pairs = self.encoder(images).reshape(len(images), -1, 2)  # neighbours, so that a spatial code stays in place
        return pairs[..., 0], pairs[..., 1]
