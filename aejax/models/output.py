"""What a model is given beside the images, and what it makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax

from aejax.models.randomness import Key


class Context(NamedTuple):
    """What a model may want to know of a batch beside its images."""

    keys: Key | None = None
    """one for each image, [B], which determine what is drawn for it; None where nothing is to be drawn"""
    step: jax.Array | int = 0
    """int32, number of steps taken"""
    examples: int = 0
    """number of training examples; 0 where it is not known"""
    labels: jax.Array | None = None
    """int32[B], the classes, where the dataset has them"""
    training: bool = False
    """whether the model is trained on this batch"""
    axis: str | None = None
    """name of the axis of devices that share the batch, for `jax.lax.pmean` and its like; None where they share none"""
    coefficients: Mapping[str, jax.Array | float] = {}
    """traced numbers by name, as `config.coefficients` of the model: arrays within a program, else floats"""


class Posterior(NamedTuple):
    """What a variational model drew for each image, in float32."""

    samples: jax.Array
    """[B, K, code_size], K codes drawn for each image"""
    log_ratio: jax.Array
    """[B, K], log q(code | image) - log p(code) of each in nats"""
    kl: jax.Array | None = None
    """[B, code_size], divergence from the prior in nats, of each unit, where there is a closed form"""
    mean: jax.Array | None = None
    """[B, code_size], of a normal posterior"""
    log_variance: jax.Array | None = None
    """[B, code_size], of a normal posterior"""


class Output(NamedTuple):
    """What a model makes of a batch; the loss is computed from it."""

    logits: jax.Array
    """float32[B, H, W, C]; of a variational model [B, K, H, W, C], one for each of K samples of the code"""
    codes: jax.Array
    """float32[B, code_size]"""
    posterior: Posterior | None = None
    """only of variational models"""
    metrics: Mapping[str, jax.Array] = {}
    """figures by name, float32[B] or scalars, that are recorded beside the terms of the loss and are no part of it"""
