"""The likelihood of images under a variational model, estimated by importance sampling (Burda et al. 2016)."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aejax.models import Posterior, Variational, losses
from aejax.models.randomness import normal, per_example, stream

_FLOATS = 2**21  # logits alive at a time: 8 MB stay in the cache of a processor
_IMAGES = 100


class Likelihood(NamedTuple):
    """In nats per image, each float64[N]."""

    nll: np.ndarray
    """negative log-likelihood: an upper bound in expectation, the tighter the more samples"""
    sampling_variance: np.ndarray
    """of `nll`, from the variance of the weights (delta method): the part that more samples would remove"""
    reconstruction: np.ndarray
    """negative log-likelihood given the code, the mean over the samples"""
    kl: np.ndarray
    """divergence of the code's distribution from the prior, in closed form"""
    means: np.ndarray
    """float32[N, code_size], of the code's distribution"""

    @property
    def elbo(self) -> float:
        """Evidence lower bound, the mean over the images."""
        return -float((self.reconstruction + self.kl).mean())

    @property
    def active_units(self) -> int:
        """Units whose mean varies by more than 0.01 over the images."""
        return int((self.means.var(axis=0) > 0.01).sum())


def likelihood(model: Variational, images: np.ndarray, samples: int, seed: int = 0) -> Likelihood:
    """Estimate the likelihood of each image with `samples` codes drawn for it.

    Args:
        model: with a Bernoulli likelihood (binary cross-entropy) of each pixel.
        images: float32[N, H, W, C] in [0, 1]; a likelihood in the strict sense only where they are 0 or 1.
        samples: per image.
        seed: of the samples; they depend on the place of an image in `images`.
    """
    graphdef, state = nnx.split(model)
    batch = min(_IMAGES, len(images))
    chunk = int(np.clip(_FLOATS // (batch * images[0].size), 1, samples))
    compiled = jax.jit(functools.partial(_batch, graphdef, samples, chunk, seed))
    padded = np.concatenate([images, np.repeat(images[:1], -len(images) % batch, axis=0)])
    parts = []
    for start in range(0, len(images), batch):
        examples = np.arange(start, start + batch, dtype=np.int32)
        parts.append(compiled(state, padded[start : start + batch], examples))
    parts = jax.device_get(parts)
    *figures, means = (np.concatenate(column)[: len(images)] for column in zip(*parts, strict=True))
    return Likelihood(*(figure.astype(np.float64) for figure in figures), means)


def _batch(
    graphdef: nnx.GraphDef,
    samples: int,
    chunk: int,
    seed: int,
    state: nnx.State,
    images: jax.Array,
    examples: jax.Array,
) -> Likelihood:
    model = nnx.merge(graphdef, state)
    mean, log_variance = model.moments(images)
    keys = per_example(stream(seed, "importance"), examples)

    def step(sums: tuple[jax.Array, ...], index: jax.Array) -> tuple[tuple[jax.Array, ...], None]:
        drawn = normal(jax.vmap(jax.random.fold_in, (0, None))(keys, index), chunk * mean.shape[1])
        codes = mean[:, None] + jnp.exp(log_variance / 2)[:, None] * drawn.reshape(len(mean), chunk, -1)
        logits = model.decode(codes.reshape(-1, codes.shape[2])).reshape(len(mean), chunk, *images.shape[1:])
        reconstruction = images[0].size * losses.binary_cross_entropy(logits, images[:, None])
        log_weights = -reconstruction - losses.log_density_ratio(Posterior(mean, log_variance, codes))
        counts = index * chunk + jnp.arange(chunk) < samples  # the last chunk may reach past the end
        log_weights = jnp.where(counts, log_weights, -jnp.inf)
        first, second, total = sums
        return (
            jnp.logaddexp(first, jax.nn.logsumexp(log_weights, axis=1)),
            jnp.logaddexp(second, jax.nn.logsumexp(2 * log_weights, axis=1)),
            total + jnp.where(counts, reconstruction, 0).sum(axis=1),
        ), None

    nothing = jnp.full(len(images), -jnp.inf)
    begin = (nothing, nothing, jnp.zeros(len(images)))
    (first, second, total), _ = jax.lax.scan(step, begin, jnp.arange(-(-samples // chunk)))
    # Of weights w: the variance of log(mean w) is that of w over samples · (mean w)², or Σw² / (Σw)² - 1 / samples.
    variance = jnp.maximum(jnp.exp(second - 2 * first) - 1 / samples, 0)
    kl = losses.normal_kl(mean, log_variance).sum(axis=1)
    return Likelihood(np.log(samples) - first, variance, total / samples, kl, mean)
