"""The likelihood of images under a variational model, estimated by importance sampling (Burda et al. 2016)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aejax.models import Context, Variational
from aejax.models.randomness import per_example, stream
from aejax.training import memoised

_FLOATS = 2**21  # logits computed at once: 8 MB fit into the cache of a processor
_IMAGES = 100
CHUNK = 1000
"""examples per compiled call"""


class Likelihood(NamedTuple):
    """Estimates for each image, in nats: float64[N]."""

    nll: np.ndarray
    """negative log-likelihood: in expectation an upper bound, tighter with more samples"""
    sampling_variance: np.ndarray
    """variance of `nll` that more samples would remove, from the variance of the weights (delta method)"""
    reconstruction: np.ndarray
    """negative log-likelihood given the code, mean over the samples"""
    kl: np.ndarray
    """divergence of the code's distribution from the prior: in closed form, or else the mean over the samples"""
    means: np.ndarray
    """means of the code's distribution: float32[N, code_size]"""
    means_variance: np.ndarray
    """variance of `means`, which a custom posterior estimates from the samples: float32[N, code_size]"""

    @property
    def elbo(self) -> float:
        """Evidence lower bound, mean over the images."""
        return -float((self.reconstruction + self.kl).mean())

    @property
    def active_units(self) -> int:
        """Number of units whose mean has a variance above 0.01 over the images, less the variance of the estimate."""
        return int((self.means.var(axis=0) - self.means_variance.mean(axis=0) > 0.01).sum())


def likelihood(model: Variational, images: np.ndarray, samples: int, seed: int = 0) -> Likelihood:
    """Estimate the likelihood of each image with `samples` codes drawn for it.

    Args:
        model: a model with a posterior (`draw`) and the likelihood of the pixels (`log_likelihood`).
        images: float32[N, H, W, C] in [0, 1]; the result is a likelihood in the strict sense only for pixels 0 and 1.
        samples: codes per image.
        seed: seed of the samples, which also depend on the index of an image in `images`.
    """
    compiled, batch, given = estimator(model, len(images), images[0].size, samples, seed)
    examples = np.arange(len(images), dtype=np.int32)
    *metrics, means, spread = in_chunks(lambda part: compiled(*given, *part), (images, examples), batch)
    return Likelihood(*(metric.astype(np.float64) for metric in metrics), means, spread)


def estimator(
    model: Variational, count: int, pixels: int, samples: int, seed: int = 0
) -> tuple[Any, int, tuple[Any, Any, Any]]:
    """Return a jitted function; the number B of images that it takes; its first arguments.

    The first arguments are the state, the coefficients and the seed. Images [B, H, W, C] and examples [B] follow.
    """
    batch = min(_IMAGES, count)
    chunk = int(np.clip(_FLOATS // (batch * pixels), 1, samples))
    coefficients = {name: np.float32(value) for name, value in model.config.coefficients.items()}
    model = nnx.clone(model)
    model.config = model.config.differing_in_values
    graphdef, state = nnx.split(model)
    return _estimator(graphdef, samples, chunk), batch, (state, coefficients, np.uint32(seed))


def exact(function: Callable) -> Callable:
    """Apply `jax.jit` with matrix products in full float32, so that metrics do not depend on a device's rounding."""
    return jax.jit(jax.default_matmul_precision("highest")(function))


def in_chunks(compiled: Callable, arrays: Any, size: int | None = None) -> Any:
    """Apply a function to chunks of arrays [N, ...], and to the remainder: no padding. Join the results in NumPy."""
    size = size or CHUNK
    starts = range(0, len(jax.tree.leaves(arrays)[0]), size)
    parts = [compiled(jax.tree.map(lambda array, at=at: array[at : at + size], arrays)) for at in starts]
    return jax.tree.map(lambda *each: np.concatenate(each), *jax.device_get(parts))


@memoised
def _estimator(graphdef: nnx.GraphDef, samples: int, chunk: int) -> Any:
    @exact
    def estimate(state: Any, coefficients: Any, seed: jax.Array, images: jax.Array, examples: jax.Array) -> Likelihood:
        model: Variational = nnx.merge(graphdef, state)
        model.config = model.config.with_values(coefficients)
        keys = per_example(stream(seed, "importance"), examples)

        def step(sums: Any, index: jax.Array) -> tuple[Any, None]:
            each = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
            codes, log_ratio = model.draw(images, each, chunk, Context(coefficients=model.config.coefficients))
            log_likelihood = model.log_likelihood(images, codes)
            counts = index * chunk + jnp.arange(chunk) < samples  # the last chunk may have fewer samples
            log_weights = jnp.where(counts, log_likelihood - log_ratio, -jnp.inf)
            drawn = jnp.where(counts[:, None], codes, 0)
            first, second, others = sums
            first = jnp.logaddexp(first, jax.nn.logsumexp(log_weights, axis=1))
            second = jnp.logaddexp(second, jax.nn.logsumexp(2 * log_weights, axis=1))
            terms = (
                -jnp.where(counts, log_likelihood, 0).sum(axis=1),
                jnp.where(counts, log_ratio, 0).sum(axis=1),
                drawn.sum(axis=1),
                jnp.square(drawn).sum(axis=1),
            )
            return (first, second, jax.tree.map(jnp.add, others, terms)), None

        count, size = len(images), model.config.model.code_size
        nothing, none_of_each = jnp.full(count, -jnp.inf), jnp.zeros((count, size))
        begin = nothing, nothing, (jnp.zeros(count), jnp.zeros(count), none_of_each, none_of_each)
        (first, second, others), _ = jax.lax.scan(step, begin, jnp.arange(-(-samples // chunk)))
        reconstruction, log_ratio, mean, square = jax.tree.map(lambda total: total / samples, others)
        # For weights w, the variance of log(mean w) is var(w) / (samples · (mean w)²) = Σw² / (Σw)² - 1 / samples.
        variance = jnp.maximum(jnp.exp(second - 2 * first) - 1 / samples, 0)
        closed = model.kl(images)
        kl = log_ratio if closed is None else closed.reshape(count, -1).sum(axis=1)
        spread = jnp.maximum(square - jnp.square(mean), 0) / max(1, samples - 1)
        if type(model).draw is Variational.draw:
            mean, spread = model.encode(images), jnp.zeros_like(spread)
        return Likelihood(np.log(samples) - first, variance, reconstruction, kl, mean, spread)

    return estimate
