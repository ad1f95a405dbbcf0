"""Encoders and decoders as lists of plain operations, for runtimes without JAX: a browser, ONNX."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aejax.config import InputError
from aejax.models import autoencoder, convolutional, networks
from aejax.models.autoencoder import Autoencoder
from aejax.models.networks import Decoder, Encoder, ImageShape, TiedDecoder
from aejax.models.variational import Variational


class Dense(NamedTuple):
    """Linear layer: rows [B, I] → rows @ kernel + bias [B, O]."""

    kernel: np.ndarray
    bias: np.ndarray


class Convolution(NamedTuple):
    """Convolution with a kernel [3, 3, C, F] and zeros beyond the borders: images [B, H, W, C] → [B, *size, F]."""

    kernel: np.ndarray
    bias: np.ndarray
    stride: int
    size: tuple[int, int]


class Doubling(NamedTuple):
    """A 2x2 square of pixels from the channels of each pixel, cut to a size: [B, h, w, 4 F] → [B, *size, F]."""

    size: tuple[int, int]


class Activation(NamedTuple):
    """Elementwise function: relu, elu, gelu (tanh approximation), silu, tanh or sigmoid."""

    name: str


class Reshape(NamedTuple):
    """Change of shape: [B, ...] → [B, *shape]."""

    shape: tuple[int, ...]


class Largest(NamedTuple):
    """Zeros for all values of a row but the `count` largest by magnitude; among equal values the first are kept."""

    count: int


class Filled(NamedTuple):
    """Numbers [D], or one number, in place of NaN: rows [B, D] → [B, D]."""

    numbers: np.ndarray


class Elementwise(NamedTuple):
    """Sum or product with the same numbers [D] in each row: rows [B, D] → rows + numbers, or rows * numbers."""

    kind: Literal["add", "mul"]
    numbers: np.ndarray


class EverySecond(NamedTuple):
    """Every second column, from the first: pairs of mean and log-variance [B, 2 D] → means [B, D]."""


Shape = tuple[int, ...]
Operation = Dense | Convolution | Doubling | Activation | Reshape | Largest | Elementwise | Filled | EverySecond


def operations(model: Autoencoder, image_shape: ImageShape) -> tuple[list[Operation], list[Operation]]:
    """List the operations of `model.encode`, images float32[B, H, W, C] → codes, and of `model.decode`, → logits.

    Raises:
        InputError: a user's model encodes or decodes with anything but the layers of this library.
    """
    kind, ours = type(model), type(model).reconstruction is Autoencoder.reconstruction
    ours = ours and kind.encode in (Autoencoder.encode, Variational.encode) and kind.decode is Autoencoder.decode
    if isinstance(model, Variational):
        ours = ours and kind.moments is Variational.moments and kind.draw is Variational.draw
    if not ours:
        raise InputError(
            f"{kind.__name__} overrides encode, decode, reconstruction or a part of them, and only JAX can run its code"
        )
    encoder, decoder = _listed(model.encoder, image_shape), _listed(model.decoder, (model.config.model.code_size,))
    if isinstance(model, Variational):
        encoder.append(EverySecond())
    elif model.config.model.top_k is not None:
        encoder.append(Largest(model.config.model.top_k))
    return encoder, decoder


def _listed(half: nnx.Module, shape: Shape) -> list[Operation]:
    """List the operations of an encoder or decoder on inputs [B, *shape]."""
    if type(half) not in (Encoder, Decoder, TiedDecoder):
        raise InputError(f"{type(half).__name__} is no encoder or decoder of this library, and only JAX can run it")
    listed = []
    for layer in half.layers.layers:
        shape = jax.eval_shape(lambda rows, layer=layer: layer(rows), jnp.zeros((1, *shape))).shape[1:]
        listed += _of(layer, shape)
    return listed


def _of(layer: Any, shape: Shape) -> list[Operation]:
    """List the operations of a layer with outputs [B, *shape]."""
    if isinstance(layer, nnx.Linear):
        return [Dense(_numbers(layer.kernel), _numbers(layer.bias))]
    if isinstance(layer, networks.Transposed):
        return [Dense(_numbers(layer.layer.kernel).T, _numbers(layer.bias))]
    if isinstance(layer, convolutional.Convolution):
        return [Convolution(_numbers(layer.kernel), _numbers(layer.bias), layer.stride, shape[:2])]
    if isinstance(layer, convolutional.Doubling):
        return [*_of(layer.convolution, convolutional.halved(shape, 1)), Doubling(shape[:2])]
    if isinstance(layer, networks.Reshape):
        return [Reshape(shape)]
    name = next(name for name, function in autoencoder.ACTIVATIONS.items() if function is layer)
    return [] if name == "identity" else [Activation(name)]


def _numbers(parameter: nnx.Param) -> np.ndarray:
    return np.asarray(parameter[...], np.float32)
