"""Encoder and decoder, dense or convolutional, and a decoder that shares the encoder's weights."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aejax.config import Model
from aejax.models.convolutional import Convolution, Doubling, halved

ImageShape = tuple[int, int, int]
_GLOROT = nnx.initializers.glorot_uniform()  # one function: in Flax 0.11 it is part of the key of a program
# We read the size of a batch from `shape`, not by `len`: an export has batches of symbolic size.


def identity(rows: jax.Array) -> jax.Array:
    """Return the input: no activation."""
    return rows


def linear(widths: Sequence[int], activation: Callable, last: Callable, rngs: nnx.Rngs) -> list[Any]:
    """Make linear layers with Glorot-uniform weights and zero biases, each followed by its activation."""
    layers = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nnx.Linear(inputs, outputs, kernel_init=_GLOROT, rngs=rngs), activation]
    return [*layers[:-1], last]


class Encoder(nnx.Module):
    """Encoder: images float32[B, H, W, C] → float32[B, outputs], or [B, h · w · outputs] of a spatial code.

    Dense layers follow the convolutions, if any. With `model.spatial_code`, one more convolution follows instead.
    """

    def __init__(
        self, model: Model, image_shape: ImageShape, outputs: int, activation: Callable, last: Callable, rngs: nnx.Rngs
    ) -> None:
        layers, inputs = [], image_shape[2]
        for width in model.channels:
            layers += [Convolution(inputs, width, 2, rngs=rngs), activation]
            inputs = width
        if model.spatial_code:
            pixels = math.prod(halved(image_shape[:2], len(model.channels) + 1))
            layers += [Convolution(inputs, outputs, 2, rngs=rngs), last, Reshape((pixels * outputs,))]
        else:
            inputs *= math.prod(halved(image_shape[:2], len(model.channels)))
            layers += [Reshape((inputs,)), *linear((inputs, *model.hidden, outputs), activation, last, rngs)]
        self.layers = nnx.Sequential(*layers)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.layers(images)


class Decoder(nnx.Module):
    """Decoder, the mirror of the encoder: codes float32[B, code_size] → logits float32[B, H, W, C]."""

    def __init__(self, model: Model, image_shape: ImageShape, activation: Callable, rngs: nnx.Rngs) -> None:
        steps = len(model.channels) + model.spatial_code
        smallest, layers = halved(image_shape[:2], steps), []
        hidden = model.hidden[::-1] if model.decoder_hidden is None else model.decoder_hidden
        widths = [model.code_shape(image_shape)[-1], *model.channels[::-1], image_shape[2]]
        if not model.spatial_code:
            code, *widths = widths
            last = activation if steps else identity  # logits have no activation
            layers = linear((code, *hidden, math.prod(smallest) * widths[0]), activation, last, rngs)
        layers.append(Reshape((*smallest, widths[0])))
        for step, (inputs, outputs) in zip(reversed(range(steps)), itertools.pairwise(widths), strict=True):
            last = activation if step else identity
            layers += [Doubling(inputs, outputs, halved(image_shape[:2], step), rngs=rngs), last]
        self.layers = nnx.Sequential(*layers)

    def __call__(self, codes: jax.Array) -> jax.Array:
        return self.layers(codes)


class TiedDecoder(Decoder):
    """Dense decoder with the encoder's transposed weights and its own biases: codes → logits."""

    def __init__(self, image_shape: ImageShape, encoder: Encoder, activation: Callable) -> None:
        layers = []
        for layer in encoder.layers.layers[-2::-2]:
            layers += [Transposed(layer), activation]
        self.layers = nnx.Sequential(*layers[:-1], Reshape(image_shape))


class Transposed(nnx.Module):
    """Linear layer with the transposed kernel of another layer; both share one parameter."""

    def __init__(self, layer: nnx.Linear) -> None:
        self.layer = layer
        self.bias = nnx.Param(jnp.zeros(layer.in_features, jnp.float32))

    def __call__(self, rows: jax.Array) -> jax.Array:
        return rows @ self.layer.kernel[...].T + self.bias[...]


class Reshape(nnx.Module):
    """Layer that reshapes [B, ...] → [B, *shape]."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __call__(self, rows: jax.Array) -> jax.Array:
        return rows.reshape(rows.shape[0], *self.shape)
