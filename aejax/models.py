"""Encoder, decoder and autoencoder, built from a config and an image shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import jax
from flax import nnx

from aejax.config import Config

ImageShape = tuple[int, int, int]

_ACTIVATIONS: dict[str, Callable] = {
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jax.numpy.tanh,
    "identity": lambda x: x,
}


def _dense(widths: Sequence[int], activations: Sequence[Callable], rngs: nnx.Rngs) -> nnx.Sequential:
    """Linear layers, each followed by its activation: Glorot-uniform weights, zero biases."""
    layers = []
    for inputs, outputs, activation in zip(widths[:-1], widths[1:], activations, strict=True):
        layers += [nnx.Linear(inputs, outputs, kernel_init=nnx.initializers.glorot_uniform(), rngs=rngs), activation]
    return nnx.Sequential(*layers)


class Encoder(nnx.Module):
    """Images float32[B, H, W, C] → codes float32[B, code_size]."""

    def __init__(
        self, image_shape: ImageShape, hidden: Sequence[int], code_size: int, activation: str, *, rngs: nnx.Rngs
    ) -> None:
        widths = (math.prod(image_shape), *hidden, code_size)
        self.layers = _dense(widths, [_ACTIVATIONS[activation]] * (len(widths) - 1), rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        return self.layers(images.reshape(len(images), -1))


class Decoder(nnx.Module):
    """Codes float32[B, code_size] → logits float32[B, H, W, C]."""

    def __init__(
        self, image_shape: ImageShape, hidden: Sequence[int], code_size: int, activation: str, *, rngs: nnx.Rngs
    ) -> None:
        widths = (code_size, *hidden, math.prod(image_shape))
        self.image_shape = image_shape
        self.layers = _dense(widths, [_ACTIVATIONS[activation]] * len(hidden) + [_ACTIVATIONS["identity"]], rngs)

    def __call__(self, codes: jax.Array) -> jax.Array:
        return self.layers(codes).reshape(len(codes), *self.image_shape)


class Autoencoder(nnx.Module):
    """Images float32[B, H, W, C] → (logits float32[B, H, W, C], codes float32[B, code_size])."""

    def __init__(self, encoder: nnx.Module, decoder: nnx.Module) -> None:
        self.encoder = encoder
        self.decoder = decoder

    def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        codes = self.encoder(images)
        return self.decoder(codes), codes


def build(config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> Autoencoder:
    """The autoencoder that a configuration describes, with fresh weights."""
    model = config.model
    mirrored = model.hidden[::-1] if model.decoder_hidden is None else model.decoder_hidden
    return Autoencoder(
        Encoder(image_shape, model.hidden, model.code_size, model.activation, rngs=rngs),
        Decoder(image_shape, mirrored, model.code_size, model.activation, rngs=rngs),
    )
