"""Dense encoder and decoder, and a decoder that shares the encoder's weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

ImageShape = tuple[int, int, int]
# We read the size of a batch from `shape`, not by `len`: an export has batches of symbolic size.


def identity(rows: jax.Array) -> jax.Array:
    """Return the input: no activation."""
    return rows


def linear(inputs: int, outputs: int, rngs: nnx.Rngs) -> nnx.Linear:
    """Make a linear layer with Glorot-uniform weights and zero biases."""
    return nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs)


def _dense(widths: Sequence[int], activations: Sequence[Callable], rngs: nnx.Rngs) -> nnx.Sequential:
    layers = []
    for inputs, outputs, activation in zip(widths[:-1], widths[1:], activations, strict=True):
        layers += [linear(inputs, outputs, rngs), activation]
    return nnx.Sequential(*layers)


class Encoder(nnx.Module):
    """Dense encoder: images float32[B, H, W, C] → float32[B, outputs]."""

    def __init__(
        self,
        image_shape: ImageShape,
        hidden: Sequence[int],
        outputs: int,
        activation: Callable,
        last: Callable,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        widths = (math.prod(image_shape), *hidden, outputs)
        self.layers = _dense(widths, [activation] * len(hidden) + [last], rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.layers(images.reshape(images.shape[0], -1))


class Decoder(nnx.Module):
    """Dense decoder: codes float32[B, code_size] → logits float32[B, H, W, C]."""

    def __init__(
        self, image_shape: ImageShape, hidden: Sequence[int], code_size: int, activation: Callable, *, rngs: nnx.Rngs
    ) -> None:
        widths = (code_size, *hidden, math.prod(image_shape))
        self.image_shape = image_shape
        self.layers = _dense(widths, [activation] * len(hidden) + [identity], rngs)

    def __call__(self, codes: jax.Array) -> jax.Array:
        return self.layers(codes).reshape(codes.shape[0], *self.image_shape)


class TiedDecoder(nnx.Module):
    """Dense decoder with the encoder's transposed weights and its own biases: codes → logits."""

    def __init__(self, image_shape: ImageShape, encoder: Encoder, activation: Callable) -> None:
        layers = []
        for layer in encoder.layers.layers[-2::-2]:
            layers += [Transposed(layer), activation]
        self.image_shape = image_shape
        self.layers = nnx.Sequential(*layers[:-1])

    def __call__(self, codes: jax.Array) -> jax.Array:
        return self.layers(codes).reshape(codes.shape[0], *self.image_shape)


class Transposed(nnx.Module):
    """Linear layer with the transposed kernel of another layer; both share one parameter."""

    def __init__(self, layer: nnx.Linear) -> None:
        self.layer = layer
        self.bias = nnx.Param(jnp.zeros(layer.in_features, jnp.float32))

    def __call__(self, rows: jax.Array) -> jax.Array:
        return rows @ self.layer.kernel[...].T + self.bias[...]
