"""Dense encoder and decoder, and a decoder that shares the encoder's weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

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
        self.layers = nnx.Sequential(*linear((math.prod(image_shape), *hidden, outputs), activation, last, rngs))

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.layers(images.reshape(images.shape[0], -1))


class Decoder(nnx.Module):
    """Dense decoder: codes float32[B, code_size] → logits float32[B, H, W, C]."""

    def __init__(
        self, image_shape: ImageShape, hidden: Sequence[int], code_size: int, activation: Callable, *, rngs: nnx.Rngs
    ) -> None:
        self.image_shape = image_shape
        self.layers = nnx.Sequential(*linear((code_size, *hidden, math.prod(image_shape)), activation, identity, rngs))

    def __call__(self, codes: jax.Array) -> jax.Array:
        return self.layers(codes).reshape(codes.shape[0], *self.image_shape)


class TiedDecoder(Decoder):
    """Dense decoder with the encoder's transposed weights and its own biases: codes → logits."""

    def __init__(self, image_shape: ImageShape, encoder: Encoder, activation: Callable) -> None:
        layers = []
        for layer in encoder.layers.layers[-2::-2]:
            layers += [Transposed(layer), activation]
        self.image_shape = image_shape
        self.layers = nnx.Sequential(*layers[:-1])


class Transposed(nnx.Module):
    """Linear layer with the transposed kernel of another layer; both share one parameter."""

    def __init__(self, layer: nnx.Linear) -> None:
        self.layer = layer
        self.bias = nnx.Param(jnp.zeros(layer.in_features, jnp.float32))

    def __call__(self, rows: jax.Array) -> jax.Array:
        return rows @ self.layer.kernel[...].T + self.bias[...]
