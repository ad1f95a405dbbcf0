"""Input of a model besides the images, and its result."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from aejax.models.randomness import Key


class Context(NamedTuple):
    """Input of a model for a batch, besides the images."""

    keys: Key | None = None
    """[B], a key for each image, for random numbers, in training and evaluation; None only in a call of your own"""
    step: jax.Array | int = 0
    """int32, number of steps taken"""
    examples: int = 0
    """number of training examples; 0 if unknown"""
    labels: jax.Array | None = None
    """int32[B], the classes, -1 where a class is unknown; None without classes"""
    training: bool = False
    """whether the model is trained on this batch"""
    axis: str | None = None
    """name of the axis of devices that share the batch, for `jax.lax.pmean`; None if no devices share it"""
    coefficients: Mapping[str, jax.Array | float] = {}
    """traced numbers by name, as `config.coefficients` of the model: arrays within a program, else floats"""
    targets: jax.Array | None = None
    """float32[B, ...], targets of the dataset's own; None where the target is the input"""
    observed: jax.Array | None = None
    """bool[B, H, W, C], False where a value of the target is missing, which the loss leaves out; None unless
    `data.missing` is mask"""

    def whole(self, arrays: Any) -> Any:
        """Gather arrays [B, ...] of all devices that share the batch, for a term over the whole batch: [all B, ...]."""
        return arrays if self.axis is None else jax.lax.all_gather(arrays, self.axis, tiled=True)


class Posterior(NamedTuple):
    """Codes that a variational model drew for each image, in float32."""

    samples: jax.Array
    """[B, K, code_size], K codes for each image"""
    log_ratio: jax.Array
    """[B, K], log q(code | image) - log p(code) in nats"""
    kl: jax.Array | None = None
    """[B, code_size], divergence of each unit from the prior in nats, or [B] of the code as a whole; None without a
    closed form"""
    mean: jax.Array | None = None
    """[B, code_size], of a normal posterior"""
    log_variance: jax.Array | None = None
    """[B, code_size], of a normal posterior"""


class Output(NamedTuple):
    """Result of a model for a batch; the loss is computed from it."""

    logits: jax.Array
    """float32[B, H, W, C]; of a variational model [B, K, H, W, C] for K samples of the code. With a loss of its own, a
    model may return any shape [B, ...]"""
    codes: jax.Array
    """float32[B, code_size]"""
    posterior: Posterior | None = None
    """only of variational models"""
    metrics: Mapping[str, jax.Array] = {}
    """metrics by name, float32[B] or scalars, which are recorded with the terms of the loss but not part of it"""
    extra: Mapping[str, Any] = {}
    """arrays for `loss` and `metrics`, such as a mask or a second view; they are not recorded"""
