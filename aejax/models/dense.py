"""A dense encoder and decoder, and a decoder whose weights are the encoder's."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

ImageShape = tuple[int, int, int]
# Below, sizes of a batch are taken from `shape`: an export leaves them open, and then `len` has no number to give.


def identity(rows: jax.Array) -> jax.Array:
    """No activation."""
    return rows


def _dense(widths: Sequence[int], activations: Sequence[Callable], rngs: nnx.Rngs) -> nnx.Sequential:
    """Linear layers, each followed by its activation: Glorot-uniform weights, zero biases."""
    layers = []
    for inputs, outputs, activation in zip(widths[:-1], widths[1:], activations, strict=True):
        layers += [nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs), activation]
    return nnx.Sequential(*layers)


class Encoder(nnx.Module):
    """Dense: images float32[B, H, W, C] → float32[B, outputs]."""

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
    """Dense: codes float32[B, code_size] → logits float32[B, H, W, C]."""

    def __init__(
        self, image_shape: ImageShape, hidden: Sequence[int], code_size: int, activation: Callable, *, rngs: nnx.Rngs
    ) -> None:
        widths = (code_size, *hidden, math.prod(image_shape))
        self.image_shape = image_shape
        self.layers = _dense(widths, [activation] * len(hidden) + [identity], rngs)

    def __call__(self, codes: jax.Array) -> jax.Array:
        return self.layers(codes).reshape(codes.shape[0], *self.image_shape)


class TiedDecoder(nnx.Module):
    """A dense encoder backwards, its weights transposed, with biases of its own: codes → logits."""

    def __init__(self, image_shape: ImageShape, encoder: Encoder, activation: Callable) -> None:
        layers = []
        for layer in encoder.layers.layers[-2::-2]:
            layers += [Transposed(layer), activation]
        self.image_shape = image_shape
        self.layers = nnx.Sequential(*layers[:-1])

    def __call__(self, codes: jax.Array) -> jax.Array:
        return self.layers(codes).reshape(codes.shape[0], *self.image_shape)


class Transposed(nnx.Module):
    """A linear layer backwards; the layer's kernel is one parameter, however often it is used."""

    def __init__(self, layer: nnx.Linear) -> None:
        self.layer = layer
        self.bias = nnx.Param(jnp.zeros(layer.in_features, jnp.float32))

    def __call__(self, rows: jax.Array) -> jax.Array:
        return rows @ self.layer.kernel[...].T + self.bias[...]
