"""The likelihood of images under a variational model, estimated by importance sampling (Burda et al. 2016)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aejax.models import Variational
from aejax.models.randomness import per_example, stream
from aejax.training import memoised

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
    """divergence of the code's distribution from the prior: in closed form, or else the mean over the samples"""
    means: np.ndarray
    """float32[N, code_size], of the code's distribution"""
    means_variance: np.ndarray
    """float32[N, code_size], of `means`, which come from the samples where the posterior is of the user's own"""

    @property
    def elbo(self) -> float:
        """Evidence lower bound, the mean over the images."""
        return -float((self.reconstruction + self.kl).mean())

    @property
    def active_units(self) -> int:
        """Units whose mean varies by more than 0.01 over the images, the error of the means taken off."""
        return int((self.means.var(axis=0) - self.means_variance.mean(axis=0) > 0.01).sum())


def likelihood(model: Variational, images: np.ndarray, samples: int, seed: int = 0) -> Likelihood:
    """Estimate the likelihood of each image with `samples` codes drawn for it.

    Args:
        model: that says its posterior (`draw`) and the likelihood of the pixels (`log_likelihood`).
        images: float32[N, H, W, C] in [0, 1]; a likelihood in the strict sense only where they are 0 or 1.
        samples: per image.
        seed: of the samples; they depend on the place of an image in `images`.
    """
    compiled, batch, given = estimator(model, len(images), images[0].size, samples, seed)
    examples = np.arange(len(images), dtype=np.int32)
    starts = range(0, len(images), batch)
    parts = [compiled(*given, images[start : start + batch], examples[start : start + batch]) for start in starts]
    parts = jax.device_get(parts)
    *figures, means, spread = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Likelihood(*(figure.astype(np.float64) for figure in figures), means, spread)


def estimator(
    model: Variational, count: int, pixels: int, samples: int, seed: int = 0
) -> tuple[Any, int, tuple[Any, Any, Any]]:
    """Return a jitted function of several arguments; the number B of images that it takes; its first arguments.

    The first arguments are the state, the coefficients and the seed. Images [B, H, W, C] and examples [B] follow.
    """
    batch = min(_IMAGES, count)
    chunk = int(np.clip(_FLOATS // (batch * pixels), 1, samples))
    graphdef, state = nnx.split(model)
    model = nnx.merge(graphdef, state)  # a copy, whose configuration has no values
    model.config = model.config.differing_in_values
    coefficients = {name: np.float32(value) for name, value in nnx.merge(graphdef, state).config.coefficients.items()}
    return _estimator(nnx.split(model)[0], samples, chunk), batch, (state, coefficients, np.uint32(seed))


@memoised
def _estimator(graphdef: nnx.GraphDef, samples: int, chunk: int) -> Any:
    return exact(functools.partial(_batch, graphdef, samples, chunk))


def exact(function: Callable) -> Callable:
    """`jax.jit` with products of float32 arrays in full precision: metrics of a model need no rounding of a device."""

    def in_full(*arguments: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*arguments)

    return jax.jit(in_full)


def _batch(
    graphdef: nnx.GraphDef,
    samples: int,
    chunk: int,
    state: nnx.State,
    coefficients: dict[str, jax.Array],
    seed: jax.Array,
    images: jax.Array,
    examples: jax.Array,
) -> Likelihood:
    model: Variational = nnx.merge(graphdef, state)
    model.config = model.config.with_values(coefficients)
    keys = per_example(stream(seed, "importance"), examples)

    def step(sums: Any, index: jax.Array) -> tuple[Any, None]:
        codes, log_ratio = model.draw(images, jax.vmap(jax.random.fold_in, (0, None))(keys, index), chunk)
        log_likelihood = model.log_likelihood(images, codes)
        counts = index * chunk + jnp.arange(chunk) < samples  # the last chunk may reach past the end
        log_weights = jnp.where(counts, log_likelihood - log_ratio, -jnp.inf)
        drawn = jnp.where(counts[:, None], codes, 0)
        first, second, others = sums
        return (
            jnp.logaddexp(first, jax.nn.logsumexp(log_weights, axis=1)),
            jnp.logaddexp(second, jax.nn.logsumexp(2 * log_weights, axis=1)),
            jax.tree.map(
                jnp.add,
                others,
                (
                    -jnp.where(counts, log_likelihood, 0).sum(axis=1),
                    jnp.where(counts, log_ratio, 0).sum(axis=1),
                    drawn.sum(axis=1),
                    jnp.square(drawn).sum(axis=1),
                ),
            ),
        ), None

    count, size = len(images), model.config.model.code_size
    nothing, none_of_each = jnp.full(count, -jnp.inf), jnp.zeros((count, size))
    begin = nothing, nothing, (jnp.zeros(count), jnp.zeros(count), none_of_each, none_of_each)
    (first, second, others), _ = jax.lax.scan(step, begin, jnp.arange(-(-samples // chunk)))
    reconstruction, log_ratio, mean, square = jax.tree.map(lambda total: total / samples, others)
    # Of weights w: the variance of log(mean w) is that of w over samples · (mean w)², or Σw² / (Σw)² - 1 / samples.
    variance = jnp.maximum(jnp.exp(second - 2 * first) - 1 / samples, 0)
    closed = model.kl(images)
    kl = log_ratio if closed is None else closed.sum(axis=1)
    spread = jnp.maximum(square - jnp.square(mean), 0) / max(1, samples - 1)
    if type(model).draw is Variational.draw:
        mean, spread = model.encode(images), jnp.zeros_like(spread)
    return Likelihood(np.log(samples) - first, variance, reconstruction, kl, mean, spread)
