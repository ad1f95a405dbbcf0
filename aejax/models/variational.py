"""Variational autoencoder (Kingma and Welling 2014): a posterior of the code for each image, and a prior."""

import math

import jax
import jax.numpy as jnp

from aejax.config import InputError
from aejax.config.numbers import KINDS
from aejax.models import losses, randomness
from aejax.models.autoencoder import Autoencoder
from aejax.models.output import Context, Output, Posterior
from aejax.models.randomness import Key

_DRAWS = 64
"""draws from a user's posterior whose mean is the code of an image"""


class Variational(Autoencoder):
    """Autoencoder with a normal posterior, whose moments the encoder gives, and a standard normal prior.

    A class may override `log_prior` and `prior` for another prior, `draw` for another posterior, or `log_density` for
    another distribution of the pixels. Training and all metrics use these methods.
    """

    coefficients = KINDS["variational"]
    outputs_per_unit = 2

    def __call__(self, images: jax.Array, context: Context = Context()) -> Output:
        """Draw `model.samples` codes for each image and decode them; without keys, one code that is always the same."""
        if type(self).draw is Variational.draw:
            posterior = self._normal(*self.moments(images), context.keys, self.config.model.samples)
            if type(self).kl is not Variational.kl:
                posterior = posterior._replace(kl=self.kl(images))
            codes = posterior.mean
        else:
            samples = self.config.model.samples
            keys, count = (_same_keys(images), 1) if context.keys is None else (context.keys, samples)
            posterior = Posterior(*self.draw(images, keys, count, context), self.kl(images))
            # In training only a penalty on the code reads the codes: we save a second pass through the encoder.
            codes = posterior.samples.mean(axis=1) if context.training else self.encode(images)
        return Output(self.decode_each(posterior.samples, images.dtype), codes, posterior)

    def encode(self, images: jax.Array) -> jax.Array:
        """Encode images float32[B, H, W, C] → the means of their codes float32[B, code_size].

        The mean of a user's posterior is the mean of 64 draws, which are always the same.
        """
        if type(self).draw is Variational.draw:
            return self.moments(images)[0]
        context = Context(coefficients=self.config.coefficients)
        return self.draw(images, _same_keys(images), _DRAWS, context)[0].mean(axis=1)

    def moments(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Encode images float32[B, H, W, C] → mean and log-variance of each unit, float32[B, code_size] both."""
        pairs = self.encoder(images).reshape(images.shape[0], -1)  # neighbours: a spatial code stays in place
        return jax.lax.platform_dependent(pairs, tpu=every_other, default=_neighbours)

    def draw(
        self, images: jax.Array, keys: Key, count: int, context: Context = Context()
    ) -> tuple[jax.Array, jax.Array]:
        """Draw K = `count` codes for each image float32[B, H, W, C] from the posterior, with keys [B].

        Args:
            context: as in `__call__`; in `encode` and in an estimate of the likelihood one with `coefficients` only.

        Returns codes float32[B, K, code_size], and log q(code | image) - log p(code) of each in nats, float32[B, K].
        """
        posterior = self._normal(*self.moments(images), keys, count)
        return posterior.samples, posterior.log_ratio

    def prior(self, keys: Key) -> jax.Array:
        """Draw codes from the prior, one for each key: keys [N] → float32[N, code_size]."""
        return randomness.normal(keys, self.config.model.code_size)

    def log_prior(self, codes: jax.Array) -> jax.Array:
        """Return the log-density of codes under the prior: float32[..., code_size] → nats float32[...]."""
        return -(jnp.square(codes) + math.log(2 * math.pi)).sum(axis=-1) / 2

    def log_likelihood(self, images: jax.Array, codes: jax.Array) -> jax.Array:
        """Return log p(image | code): float32[B, H, W, C], float32[B, K, code_size] → nats float32[B, K].

        Each pixel is Bernoulli with the decoder's logit, or has the distribution of `log_density`.

        Raises InputError: the loss is squared error, which is no likelihood.
        """
        logits = self.decode_each(codes, images.dtype)
        if self.log_density is not None:
            return self.log_density(images, logits, codes)
        if self.config.loss.reconstruction != "bce":
            raise InputError(f"{type(self).__name__} has no log_likelihood: loss.reconstruction is not bce")
        return -images[0].size * losses.binary_cross_entropy(logits, images[:, None])

    def kl(self, images: jax.Array) -> jax.Array | None:
        """Return the divergence of each unit from the prior in nats, float32[B, code_size]; None without a closed form.

        Without a closed form we use the mean of the log ratios of `draw`. A divergence of the code as a whole is
        float32[B]; `free_bits`, which are for each unit, do not apply to it.
        """
        return self._normal_kl(*self.moments(images))

    def _normal_kl(self, mean: jax.Array, log_variance: jax.Array) -> jax.Array | None:
        ours = type(self).draw is Variational.draw and type(self).log_prior is Variational.log_prior
        return losses.normal_kl(mean, log_variance) if ours else None

    def _normal(self, mean: jax.Array, log_variance: jax.Array, keys: Key | None, count: int) -> Posterior:
        """Draw codes in float32 from a normal posterior; without keys return its mean."""
        mean, log_variance = mean.astype(jnp.float32), log_variance.astype(jnp.float32)
        samples = mean[:, None]
        if keys is not None:
            noise = randomness.normal(keys, count * mean.shape[1]).reshape(len(mean), count, -1)
            samples = samples + jnp.exp(log_variance / 2)[:, None] * noise
        if type(self).log_prior is Variational.log_prior:
            ratio = losses.log_density_ratio(samples, mean, log_variance)
        else:
            ratio = losses.normal_log_density(samples, mean[:, None], log_variance[:, None]) - self.log_prior(samples)
        return Posterior(samples, ratio, self._normal_kl(mean, log_variance), mean, log_variance)

    def decode_each(self, codes: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
        """Decode codes float32[B, K, code_size] → logits [B, K, H, W, C], with layers of type `dtype`."""
        rows = codes.reshape(-1, codes.shape[2]).astype(dtype)
        if codes.shape[1] > 1:
            # Without the barrier, XLA for GPUs fuses the codes into the decoder's first product and fails to compile.
            rows = jax.lax.optimization_barrier(rows)
        logits = self.decode(rows)
        return logits.reshape(*codes.shape[:2], *logits.shape[1:])


def _same_keys(images: jax.Array) -> Key:
    """Return the same key for every image, so that draws depend on the image alone."""
    return randomness.per_example(randomness.stream(0, "code"), jnp.zeros(len(images), jnp.int32))


def _neighbours(pairs: jax.Array) -> tuple[jax.Array, jax.Array]:
    pairs = pairs.reshape(pairs.shape[0], -1, 2)
    return pairs[..., 0], pairs[..., 1]


def every_other(pairs: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Separate the columns 0, 2, ... and 1, 3, ... of an array [B, 2 · N]: slices, cheaper on a TPU than a reshape."""
    return pairs[:, ::2], pairs[:, 1::2]
