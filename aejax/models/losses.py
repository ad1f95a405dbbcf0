"""The terms of the loss, by name.

A term is float32[B], one value per example. The step multiplies each term by the coefficient of its name, if the model
declares one, and records the product. The loss is the mean over examples of the sum of the terms. To add a term for
every model, add it to `loss_terms` and declare its weight in `aejax.config.numbers`.
"""

import functools
import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax

from aejax.config import Loss
from aejax.config.numbers import RECONSTRUCTIONS as DECLARED
from aejax.models.networks import identity
from aejax.models.output import Output, Posterior
from aejax.models.similarity import dissimilarity, scales


def loss_terms(
    config: Loss,
    clean: jax.Array,
    output: Output,
    coefficients: Mapping[str, jax.Array],
    axis: str | None = None,
    observed: jax.Array | None = None,
) -> dict[str, jax.Array]:
    """Compute every term of the loss per example, without its weight.

    Args:
        clean: float32[B, H, W, C], or targets [B, ...].
        output: the result of the model for the (possibly corrupted) input.
        coefficients: traced numbers by name; a penalty on the code is computed if its weight is declared.
        axis: the name of the axis of devices over which a batch is spread.
        observed: bool[B, H, W, C], False for values that the reconstruction leaves out; None takes all.
    """
    if clean.ndim != 4:  # targets that are no images
        leading = output.logits.shape[: 1 if output.posterior is None else 2]
        output = output._replace(logits=output.logits.reshape(*leading, 1, 1, -1))
        clean = clean.reshape(len(clean), 1, 1, -1)
    pixels = clean[0].size if config.pixels == "sum" else 1
    if observed is not None:
        logits, clean, share = of_observed(config.reconstruction, output.logits, clean, observed)
        output, pixels = output._replace(logits=logits), pixels if config.pixels == "sum" else 1 / share
    if output.posterior is None:
        terms = {"reconstruction": pixels * reconstruction(config, output.logits, clean, coefficients)}
    else:
        each = reconstruction(config, output.logits, clean[:, None], coefficients)
        terms = variational_terms(config.bound, pixels * each, output.posterior, coefficients)
    if "l1" in coefficients:
        terms["l1"] = jnp.abs(output.codes).sum(axis=1)
    if "rate_penalty" in coefficients:
        divergence = rate_divergence(output.codes, coefficients["rate"], axis)
        terms["rate_penalty"] = jnp.broadcast_to(divergence, (len(clean),))
    return terms


def reconstruction(config: Loss, logits: jax.Array, images: jax.Array, coefficients: Mapping) -> jax.Array:
    """Return the configured comparison, a mean over H, W and C: float32[..., H, W, C] twice → float32[...]."""
    numbers = {name: coefficients[name] for name in DECLARED[config.reconstruction]}
    return RECONSTRUCTIONS[config.reconstruction](logits, images, **numbers)


def of_observed(
    reconstruction: str, logits: jax.Array, clean: jax.Array, observed: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Make the error of missing values 0: a mean over all values is then a share of the mean over observed values.

    Args:
        reconstruction: a loss of each value, a name in `RECONSTRUCTIONS`.
        logits: [B, H, W, C], or [B, K, H, W, C].
        clean, observed: [B, H, W, C]; `observed` is False for missing values.

    Returns:
        logits and targets, with numbers of error 0 in place of missing values; and the share, [B] or [B, 1].
    """
    certain = 100.0 if reconstruction == "bce" else 1.0  # the logit, or the value, that stands for 1
    each = observed if logits.ndim == clean.ndim else observed[:, None]
    share = jnp.maximum(each.mean(axis=(-3, -2, -1)), 1 / clean[0].size)  # no division by 0 if all are missing
    return jnp.where(each, logits, certain), jnp.where(observed, clean, 1.0), share


def variational_terms(
    bound: str, reconstruction: jax.Array, posterior: Posterior, coefficients: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """Compute the negative ELBO, or the negative importance-weighted bound, as terms in nats per image.

    Args:
        bound: "elbo", with the KL divergence in closed form if the posterior has it; or "importance" (Burda et al.
            2016): the reconstruction, the KL divergence estimated from the samples, and the gain of the bound on both.
        reconstruction: float32[B, K], the negative log-likelihood of each image under each sample of its code.
    """
    beta = coefficients["beta"]
    if bound == "elbo":
        if posterior.kl is None:
            kl = posterior.log_ratio.mean(axis=1)
        elif posterior.kl.ndim == 1:
            kl = posterior.kl
        else:
            kl = jnp.maximum(posterior.kl, coefficients["free_bits"]).sum(axis=1)
        return {"reconstruction": reconstruction.mean(axis=1), "kl": beta * kl}
    kl = beta * posterior.log_ratio
    terms = {"reconstruction": reconstruction.mean(axis=1), "kl": kl.mean(axis=1)}
    whole = math.log(kl.shape[1]) - jax.nn.logsumexp(-reconstruction - kl, axis=1)
    return terms | {"importance": whole - terms["reconstruction"] - terms["kl"]}


def normal_kl(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Return KL(N(mean, variance) || N(0, 1)) in nats, elementwise (Kingma and Welling 2014, appendix B)."""
    return (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance) / 2


def normal_log_density(codes: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Return the log-density of codes under independent normal distributions, a sum over the last axis: nats."""
    deviation = jnp.square(codes - mean) * jnp.exp(-log_variance)
    return -((deviation + log_variance + math.log(2 * math.pi)) / 2).sum(axis=-1)


def mixture_log_density(
    codes: jax.Array, means: jax.Array, log_variances: jax.Array, log_shares: jax.Array | float
) -> jax.Array:
    """Return the log-density of codes under a mixture of C normal distributions with independent units: nats.

    Args:
        codes: float32[..., D].
        means, log_variances: float32[C, D].
        log_shares: float32[C], or one number if all parts have the same share.
    """
    precisions = jnp.exp(-log_variances)
    # Matrix products avoid C * D numbers for each code. Rounded squares would cost nats, so they are in full float32.
    product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    constant = (jnp.square(means) * precisions + log_variances + math.log(2 * math.pi)).sum(axis=1)
    squares = product(jnp.square(codes), precisions.T) - 2 * product(codes, (means * precisions).T) + constant
    return jax.nn.logsumexp(log_shares - squares / 2, axis=-1)


def log_density_ratio(samples: jax.Array, mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Return log q(z | image) - log p(z) of samples z [B, K, D], with p = N(0, 1), summed over units: nats [B, K]."""
    deviation = jnp.square(samples - mean[:, None]) * jnp.exp(-log_variance)[:, None]
    return ((jnp.square(samples) - deviation - log_variance[:, None]) / 2).sum(axis=2)


def binary_cross_entropy(logits: jax.Array, images: jax.Array) -> jax.Array:
    """Return the binary cross-entropy in nats, mean over H, W and C: float32[..., H, W, C] twice → float32[...]."""
    return _cross_entropy(_flat(logits), _flat(images))


def rate_divergence(codes: jax.Array, rate: jax.Array, axis: str | None = None) -> jax.Array:
    """Return the KL divergence of a target rate from the units' mean activations, summed: a scalar (Ng 2011).

    Args:
        codes: float32[B, code_size] in (0, 1). The mean is over the batch, on all the devices of `axis`.
        rate: in (0, 1).
    """
    mean = codes.mean(axis=0)
    if axis is not None:
        mean = jax.lax.pmean(mean, axis)
    mean = jnp.clip(mean, 1e-6, 1 - 1e-6)
    return (rate * jnp.log(rate / mean) + (1 - rate) * jnp.log((1 - rate) / (1 - mean))).sum()


_PIXELS_PER_LOGARITHM = 7
"""at most; 112 logarithms remain for the 784 pixels of MNIST, whole vectors of a CPU"""


def _mean_error(error: Callable) -> Callable:
    """Make a loss of images, a mean over H, W and C, from the error of each value."""
    return lambda logits, images, **numbers: error(_flat(logits), _flat(images), **numbers).mean(axis=-1)


RECONSTRUCTIONS = {
    "bce": binary_cross_entropy,
    "mse": _mean_error(lambda logits, images: jnp.square(logits - images)),
    "l1": _mean_error(lambda logits, images: jnp.abs(logits - images)),
    "huber": _mean_error(optax.huber_loss),
    "ssim": lambda logits, images: dissimilarity(jax.nn.sigmoid(logits), images),
    "ms_ssim": lambda logits, images: dissimilarity(jax.nn.sigmoid(logits), images, scales(min(images.shape[-3:-1]))),
}
TO_EXAMPLES = dict.fromkeys(RECONSTRUCTIONS, identity) | dict.fromkeys(("bce", "ssim", "ms_ssim"), jax.nn.sigmoid)
"""functions from the decoder's logits to examples: a structural similarity is defined for pixels from 0 to 1"""


def _flat(images: jax.Array) -> jax.Array:
    return images.reshape(*images.shape[:-3], -1)


@jax.custom_vjp
def _cross_entropy(logits: jax.Array, images: jax.Array) -> jax.Array:
    """Return the mean of softplus(logits) - images · logits over the last axis; no gradient for the images."""
    return _cross_entropy_forward(logits, images)[0]


def _cross_entropy_forward(logits: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    cpu, default = (functools.partial(_by_exponential, mean) for mean in (_mean_on_cpu, _mean))
    return jax.lax.platform_dependent(logits, images, cpu=cpu, tpu=by_tanh, default=default)


def _by_exponential(mean: Callable, logits: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    # One exponential serves the value and its gradient, sigmoid(logits) - images.
    e = jnp.exp(-jnp.abs(logits))
    return mean(e, jnp.maximum(logits, 0) - images * logits), jnp.where(logits >= 0, 1, e) / (1 + e) - images


def by_tanh(logits: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the mean cross-entropy and its gradient with an error of at most 2e-7 for each pixel.

    A TPU has an instruction for tanh(logits / 2) = 2 · sigmoid(logits) - 1, and none for a division.
    """
    half = jnp.tanh(logits / 2) / 2
    each = jnp.maximum(logits, 0) - images * logits - jnp.log(0.5 + jnp.abs(half))
    return each.mean(axis=-1), 0.5 + half - images


def _mean(e: jax.Array, others: jax.Array) -> jax.Array:
    return (jnp.log(1 + e) + others).mean(axis=-1)


def _mean_on_cpu(e: jax.Array, others: jax.Array) -> jax.Array:
    """Compute `_mean` with fewer logarithms: the sum over a few pixels is the logarithm of their product."""
    pixels = e.shape[-1]
    few = max(number for number in range(1, _PIXELS_PER_LOGARITHM + 1) if pixels % number == 0)
    factors, rest = jnp.split(1 + e, few, axis=-1), jnp.split(others, few, axis=-1)
    nats = jnp.log(functools.reduce(jnp.multiply, factors)) + functools.reduce(jnp.add, rest)
    # A matrix product, since XLA does not vectorise logarithms within a sum.
    return nats @ jnp.full(nats.shape[-1], 1 / pixels, nats.dtype)


def _cross_entropy_backward(gradient: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None]:
    gradient = cotangent[..., None] / gradient.shape[-1] * gradient
    # The TPU compiler would compute the gradient in both products that read it. On a CPU that is faster.
    once = jax.lax.optimization_barrier
    return jax.lax.platform_dependent(gradient, cpu=lambda gradient: gradient, default=once), None


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)
