"""Encoders and decoders as lists of plain operations, for runtimes without JAX: a browser, ONNX."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from aejax.config import InputError
from aejax.models import autoencoder, convolutional, dense
from aejax.models.autoencoder import Autoencoder
from aejax.models.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from aejax.models.dense import Decoder, Encoder, ImageShape, TiedDecoder
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


class Scale(NamedTuple):
    """Product: rows [B, D] → rows * factor [D]."""

    factor: np.ndarray


class Shift(NamedTuple):
    """Sum: rows [B, D] → rows + offset [D]."""

    offset: np.ndarray


class EverySecond(NamedTuple):
    """Every second column, from the first: pairs of mean and log-variance [B, 2 D] → means [B, D]."""


Shape = tuple[int, ...]
Operation = Dense | Convolution | Doubling | Activation | Reshape | Largest | Scale | Shift | EverySecond


def operations(model: Autoencoder, image_shape: ImageShape) -> tuple[list[Operation], list[Operation]]:
    """List the operations of `model.encode`, images float32[B, H, W, C] → codes, and of `model.decode`, → logits.

    Raises:
        InputError: a user's model encodes or decodes with anything but the layers of this library.
    """
    kind = type(model)
    ours = kind.encode in (Autoencoder.encode, Variational.encode) and kind.decode is Autoencoder.decode
    if isinstance(model, Variational):
        ours = ours and kind.moments is Variational.moments and kind.draw is Variational.draw
    if not ours:
        raise InputError(f"{kind.__name__} overrides encode, decode or a part of them, and only JAX can run its code")
    encoder, _ = _listed(model.encoder, image_shape)
    decoder, shape = _listed(model.decoder, (model.config.model.code_size,))
    if isinstance(model, Variational):
        encoder.append(EverySecond())
    elif model.config.model.top_k is not None:
        encoder.append(Largest(model.config.model.top_k))
    return encoder, decoder if shape == image_shape else [*decoder, Reshape(image_shape)]


def _listed(half: nnx.Module, shape: Shape) -> tuple[list[Operation], Shape]:
    """Return the operations of an encoder or decoder on inputs [B, *shape], and the shape of its output."""
    if type(half) not in (Encoder, Decoder, TiedDecoder, ConvolutionalEncoder, ConvolutionalDecoder):
        raise InputError(f"{type(half).__name__} is no encoder or decoder of this library, and only JAX can run it")
    first = [convolutional.flatten] if isinstance(half, Encoder) else []
    listed = []
    for layer in (*first, *half.layers.layers):
        operations, shape = _of(layer, shape)
        listed += operations
    return listed, shape


def _of(layer: Any, shape: Shape) -> tuple[list[Operation], Shape]:
    if isinstance(layer, nnx.Linear):
        return [Dense(_numbers(layer.kernel), _numbers(layer.bias))], (layer.out_features,)
    if isinstance(layer, dense.Transposed):
        return [Dense(_numbers(layer.layer.kernel).T, _numbers(layer.bias))], (layer.layer.in_features,)
    if isinstance(layer, convolutional.Convolution):
        size = tuple(-(-side // layer.stride) for side in shape[:2])
        kernel = _numbers(layer.kernel)
        return [Convolution(kernel, _numbers(layer.bias), layer.stride, size)], (*size, kernel.shape[3])
    if isinstance(layer, convolutional.Doubling):
        listed, (*_, channels) = _of(layer.convolution, shape)
        return [*listed, Doubling(tuple(layer.size))], (*layer.size, channels // 4)
    if isinstance(layer, convolutional.Reshape):
        return [Reshape(tuple(layer.shape))], tuple(layer.shape)
    if layer is convolutional.flatten:
        flat = (math.prod(shape),)
        return ([] if shape == flat else [Reshape(flat)]), flat
    name = next(name for name, function in autoencoder.ACTIVATIONS.items() if function is layer)
    return ([] if name == "identity" else [Activation(name)]), shape


def _numbers(parameter: nnx.Param) -> np.ndarray:
    return np.asarray(parameter[...], np.float32)
