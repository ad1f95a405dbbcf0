"""An encoder or a decoder as a list of plain operations, for programs that know nothing of JAX: a browser, ONNX."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from aejax.config import InputError
from aejax.models import autoencoder, convolutional, dense
from aejax.models.autoencoder import Autoencoder
from aejax.models.dense import ImageShape
from aejax.models.variational import Variational


class Dense(NamedTuple):
    """Rows [B, I] → rows @ kernel + bias [B, O]."""

    kernel: np.ndarray
    bias: np.ndarray


class Convolution(NamedTuple):
    """Images [B, H, W, C] → [B, *size, F], by a kernel [3, 3, C, F] with zeros beyond the borders."""

    kernel: np.ndarray
    bias: np.ndarray
    stride: int
    size: tuple[int, int]


class Doubling(NamedTuple):
    """[B, h, w, 4 F] → [B, *size, F]: each pixel's channels become a 2x2 square, cut to a size."""

    size: tuple[int, int]


class Activation(NamedTuple):
    """Of each number: relu, elu, gelu (by tanh), silu, tanh or sigmoid."""

    name: str


class Reshape(NamedTuple):
    """[B, ...] → [B, *shape]."""

    shape: tuple[int, ...]


class Largest(NamedTuple):
    """Rows, of which all but the so many largest by magnitude are set to 0; of equal ones the first are kept."""

    count: int


class Scale(NamedTuple):
    """Rows [B, D] → rows * factor [D]."""

    factor: np.ndarray


class Shift(NamedTuple):
    """Rows [B, D] → rows + offset [D]."""

    offset: np.ndarray


class EverySecond(NamedTuple):
    """Rows [B, 2 D] → [B, D], beginning with the first: of pairs of a mean and a log-variance the means."""


Shape = tuple[int, ...]
Operation = Dense | Convolution | Doubling | Activation | Reshape | Largest | Scale | Shift | EverySecond


def operations(model: Autoencoder, image_shape: ImageShape) -> tuple[list[Operation], list[Operation]]:
    """What `model.encode` and `model.decode` compute: images float32[B, H, W, C] → codes, and codes → logits.

    Raises:
        InputError: the model is of its author's, and computes otherwise than the layers of this library.
    """
    kind = type(model)
    ours = kind.encode in (Autoencoder.encode, Variational.encode) and kind.decode is Autoencoder.decode
    if isinstance(model, Variational):
        ours = ours and kind.moments is Variational.moments and kind.draw is Variational.draw
    if not ours:
        raise InputError(f"{kind.__name__} encodes or decodes by code of its own, which only JAX can run")
    encoder, _ = _listed(model.encoder, image_shape)
    decoder, shape = _listed(model.decoder, (model.config.model.code_size,))
    if isinstance(model, Variational):
        encoder.append(EverySecond())
    elif model.config.model.top_k is not None:
        encoder.append(Largest(model.config.model.top_k))
    return encoder, decoder if shape == image_shape else [*decoder, Reshape(image_shape)]


def _listed(half: nnx.Module, shape: Shape) -> tuple[list[Operation], Shape]:
    """The operations of an encoder or decoder on inputs [B, *shape], and the shape of what it gives."""
    if type(half) not in _HALVES:
        raise InputError(f"{type(half).__name__} is no encoder or decoder of this library; only JAX can run it")
    first = [convolutional.flatten] if isinstance(half, dense.Encoder) else []
    listed = []
    for layer in (*first, *half.layers.layers):
        operations, shape = _of(layer, shape)
        listed += operations
    return listed, shape


_HALVES = (
    dense.Encoder,
    dense.Decoder,
    dense.TiedDecoder,
    convolutional.ConvolutionalEncoder,
    convolutional.ConvolutionalDecoder,
)


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
