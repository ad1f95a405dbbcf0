"""The variational autoencoder (Kingma and Welling 2014): a code that is drawn, and a prior to draw new ones from."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from aejax.config import Config, InputError
from aejax.config.numbers import KINDS
from aejax.models import losses, randomness
from aejax.models.autoencoder import Autoencoder
from aejax.models.dense import ImageShape
from aejax.models.output import Context, Output, Posterior
from aejax.models.randomness import Key

_DRAWS = 64
"""codes whose mean is the code of an image where the posterior is of the user's own"""


class Variational(Autoencoder):
    """The encoder gives mean and log-variance of each unit; the prior is a standard normal distribution.

    Training, `sample`, the ELBO, the likelihood and the active units go through `draw`, `prior` and `log_likelihood`:
    they are right for a class that overrides `log_prior` and `prior` for another prior, `draw` for another posterior,
    or `log_likelihood` for another distribution of the pixels.
    """

    coefficients = KINDS["variational"]
    outputs_per_unit = 2

    def __init__(self, config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> None:
        super().__init__(config, image_shape, rngs)
        self.samples = config.model.samples

    def __call__(self, images: jax.Array, context: Context = Context()) -> Output:
        """Draw `model.samples` codes for each image and decode them; without keys, take one that is always the same."""
        if type(self).draw is Variational.draw:
            posterior = self._normal(*self.moments(images), context.keys, self.samples)
            codes = posterior.mean
        else:
            keys, count = (_same_keys(images), 1) if context.keys is None else (context.keys, self.samples)
            posterior = Posterior(*self.draw(images, keys, count), self.kl(images))
            # In training only a penalty on the code reads it, which is not worth another pass through the encoder.
            codes = posterior.samples.mean(axis=1) if context.training else self.encode(images)
        return Output(self._decode_each(posterior.samples, images.dtype), codes, posterior)

    def encode(self, images: jax.Array) -> jax.Array:
        """Images float32[B, H, W, C] → the means of their codes float32[B, code_size].

        Of a posterior of the user's own it is the mean of 64 draws, which are always the same.
        """
        if type(self).draw is Variational.draw:
            return self.moments(images)[0]
        return self.draw(images, _same_keys(images), _DRAWS)[0].mean(axis=1)

    def moments(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Images float32[B, H, W, C] → mean and log-variance of each unit, float32[B, code_size] both."""
        pairs = self.encoder(images).reshape(images.shape[0], -1, 2)  # neighbours: a spatial code stays in place
        return pairs[..., 0], pairs[..., 1]

    def draw(self, images: jax.Array, keys: Key, count: int) -> tuple[jax.Array, jax.Array]:
        """Draw codes from the posterior.

        Args:
            images: float32[B, H, W, C].
            keys: [B], one for each image.
            count: K, codes for each.

        Returns:
            the codes float32[B, K, code_size], and log q(code | image) - log p(code) of each in nats, float32[B, K].
        """
        posterior = self._normal(*self.moments(images), keys, count)
        return posterior.samples, posterior.log_ratio

    def prior(self, keys: Key) -> jax.Array:
        """Draw codes from the prior, one for each key: keys [N] → float32[N, code_size]."""
        return randomness.normal(keys, self.config.model.code_size)

    def log_prior(self, codes: jax.Array) -> jax.Array:
        """Log-density of codes under the prior: float32[..., code_size] → nats float32[...]."""
        return -(jnp.square(codes) + math.log(2 * math.pi)).sum(axis=-1) / 2

    def log_likelihood(self, images: jax.Array, codes: jax.Array) -> jax.Array:
        """Log-probability of images under codes: float32[B, H, W, C], float32[B, K, code_size] → nats float32[B, K].

        Each pixel is Bernoulli with the decoder's logit.

        Raises:
            InputError: the loss is squared error, which is no likelihood.
        """
        if self.config.loss.reconstruction != "bce":
            raise InputError(f"{type(self).__name__} has no log_likelihood: loss.reconstruction is not bce")
        logits = self._decode_each(codes, images.dtype)
        return -images[0].size * losses.binary_cross_entropy(logits, images[:, None])

    def kl(self, images: jax.Array) -> jax.Array | None:
        """Divergence of the posterior from the prior in closed form: float32[B, code_size], nats of each unit.

        None where there is none: the mean of `draw`'s log ratios is then taken for it.
        """
        return losses.normal_kl(*self.moments(images)) if self.has_closed_form() else None

    @classmethod
    def has_closed_form(cls) -> bool:
        """Whether `kl` has a closed form: posterior and prior are ours, or the class overrides it."""
        own = cls.draw is not Variational.draw or cls.log_prior is not Variational.log_prior
        return cls.kl is not Variational.kl or not own

    def _normal(self, mean: jax.Array, log_variance: jax.Array, keys: Key | None, count: int) -> Posterior:
        """Codes of a normal posterior; without keys its mean. In float32, whatever the layers compute in."""
        mean, log_variance = mean.astype(jnp.float32), log_variance.astype(jnp.float32)
        samples = mean[:, None]
        if keys is not None:
            noise = randomness.normal(keys, count * mean.shape[1]).reshape(len(mean), count, -1)
            samples = samples + jnp.exp(log_variance / 2)[:, None] * noise
        if type(self).log_prior is Variational.log_prior:
            ratio = losses.log_density_ratio(samples, mean, log_variance)
        else:
            ratio = losses.normal_log_density(samples, mean[:, None], log_variance[:, None]) - self.log_prior(samples)
        closed = losses.normal_kl(mean, log_variance) if self.has_closed_form() else None
        return Posterior(samples, ratio, closed, mean, log_variance)

    def _decode_each(self, codes: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
        """Codes [B, K, code_size] → logits [B, K, H, W, C]; what was drawn is float32, the layers may be not."""
        rows = codes.reshape(-1, codes.shape[2]).astype(dtype)
        if codes.shape[1] > 1:
            # Else XLA for GPUs makes rows of codes within the decoder's first product, and fails to compile that.
            rows = jax.lax.optimization_barrier(rows)
        logits = self.decode(rows)
        return logits.reshape(*codes.shape[:2], *logits.shape[1:])


def _same_keys(images: jax.Array) -> Key:
    """The same key for every image: what is drawn depends on the image alone."""
    return randomness.per_example(randomness.stream(0, "code"), jnp.zeros(len(images), jnp.int32))
