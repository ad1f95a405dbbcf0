"""The loss: named terms that add up to the total.

A term is float32[B], one value per example, and is recorded as it enters the total: weight included.
The loss is the mean over examples of their sum. To add a term, write it and name it in `loss_terms`.
"""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp


def loss_terms(
    reconstruction: str, clean: jax.Array, logits: jax.Array, codes: jax.Array, coefficients: Mapping[str, jax.Array]
) -> dict[str, jax.Array]:
    """Every term of the loss, per example.

    Args:
        reconstruction: a name in `RECONSTRUCTIONS`.
        clean: float32[B, H, W, C], the target.
        logits: float32[B, H, W, C], from the (possibly corrupted) input.
        codes: float32[B, code_size].
        coefficients: the weights, by name.
    """
    return {
        "reconstruction": RECONSTRUCTIONS[reconstruction](logits, clean),
        "l1": coefficients["l1"] * l1(codes),
    }


def binary_cross_entropy(logits: jax.Array, images: jax.Array) -> jax.Array:
    """Nats, mean over pixels: float32[B, H, W, C] twice → float32[B]."""
    return _cross_entropy(_flat(logits), _flat(images)).mean(axis=1)


def mean_squared_error(logits: jax.Array, images: jax.Array) -> jax.Array:
    """Mean over pixels of the squared difference, no sigmoid: float32[B, H, W, C] twice → float32[B]."""
    return jnp.square(_flat(logits) - _flat(images)).mean(axis=1)


def l1(codes: jax.Array) -> jax.Array:
    """L1 norm of the code, a sum over units: float32[B, code_size] → float32[B]."""
    return jnp.abs(codes).sum(axis=1)


RECONSTRUCTIONS = {"bce": binary_cross_entropy, "mse": mean_squared_error}


def _flat(images: jax.Array) -> jax.Array:
    return images.reshape(len(images), -1)


@jax.custom_vjp
def _cross_entropy(logits: jax.Array, images: jax.Array) -> jax.Array:
    """softplus(logits) - images · logits, elementwise; no gradient with respect to the images."""
    return _cross_entropy_forward(logits, images)[0]


def _cross_entropy_forward(logits: jax.Array, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    # One exponential serves the value and its gradient, sigmoid(logits) - images. log(1 + e) in place of
    # log1p(e) is off by less than one rounding of a loss near 0.1, and cheaper.
    e = jnp.exp(-jnp.abs(logits))
    value = jnp.maximum(logits, 0) + jnp.log(1 + e) - images * logits
    return value, jnp.where(logits >= 0, 1, e) / (1 + e) - images


def _cross_entropy_backward(gradient: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None]:
    return cotangent * gradient, None


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)
