"""Encoder, decoder and autoencoder, built from a config and an image shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from aejax.config import Config, Model, model_class
from aejax.models.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from aejax.models.dense import Decoder, Encoder, ImageShape, TiedDecoder
from aejax.models.randomness import Key

_ACTIVATIONS: dict[str, Callable] = {
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jax.numpy.tanh,
    "sigmoid": jax.nn.sigmoid,
    "identity": lambda x: x,
}


class Posterior(NamedTuple):
    """What a variational encoder knows of the code of each image: a normal distribution per unit."""

    mean: jax.Array
    """float32[B, code_size]"""
    log_variance: jax.Array
    """float32[B, code_size]"""
    samples: jax.Array
    """float32[B, K, code_size], drawn from it"""


class Output(NamedTuple):
    """What a model makes of a batch; the loss is computed from it."""

    logits: jax.Array
    """float32[B, H, W, C]; of a variational model [B, K, H, W, C], one for each of K samples of the code"""
    codes: jax.Array
    """float32[B, code_size]"""
    penalties: Mapping[str, jax.Array] = {}
    """terms of the model's own, by name: float32[B] each, before their weight `coefficients.penalty`"""
    posterior: Posterior | None = None
    """only of variational models"""


class Autoencoder(nnx.Module):
    """An encoder and a decoder, built from a configuration.

    A kind of your own extends this class, or `Variational`; `model.kind` names it (see `aejax.config.user_files`).

    Attributes:
        encoder, decoder: usable apart; `encode` and `decode` are the same with what comes after the encoder.
    """

    outputs_per_unit = 1
    """how many numbers the encoder gives for each unit of the code"""

    def __init__(self, config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> None:
        self.top_k = config.model.top_k
        self.encoder, self.decoder = _halves(config.model, image_shape, self.outputs_per_unit, rngs)

    def __call__(self, images: jax.Array, keys: Key | None = None) -> Output:
        """Encode and decode a batch.

        Args:
            images: float32[B, H, W, C].
            keys: one per image, for models that draw; None takes the most probable code.
        """
        codes = self.encode(images)
        return Output(self.decode(codes), codes)

    def encode(self, images: jax.Array) -> jax.Array:
        """Images float32[B, H, W, C] → codes float32[B, code_size]."""
        codes = self.encoder(images)
        return codes if self.top_k is None else largest(codes, self.top_k)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes float32[B, code_size] → logits float32[B, H, W, C]."""
        return self.decoder(codes)


def largest(codes: jax.Array, count: int) -> jax.Array:
    """Keep the `count` largest units of each code, by magnitude, and set the others to 0 (Makhzani and Frey 2013)."""
    magnitudes = jnp.abs(codes)
    threshold = jax.lax.top_k(magnitudes, count)[0][:, -1:]
    return jnp.where(magnitudes >= threshold, codes, 0)


def build(config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> Autoencoder:
    """The autoencoder that a configuration describes, with fresh weights."""
    return model_class(config.model.kind)(config, image_shape, rngs)


def _halves(
    model: Model, image_shape: ImageShape, outputs_per_unit: int, rngs: nnx.Rngs
) -> tuple[nnx.Module, nnx.Module]:
    """The encoder, which gives several numbers per unit where asked to (no activation then), and the decoder."""
    activation = _ACTIVATIONS[model.activation]
    last = _ACTIVATIONS[model.code_activation or model.activation if outputs_per_unit == 1 else "identity"]
    outputs = outputs_per_unit * model.code_size
    mirrored = model.hidden[::-1] if model.decoder_hidden is None else model.decoder_hidden
    if model.channels or model.spatial_code:
        shape = model.code_shape(image_shape)
        return (
            ConvolutionalEncoder(
                image_shape, model.channels, model.hidden, outputs_per_unit * shape[-1], len(shape) == 3,
                activation, last, rngs=rngs,
            ),
            ConvolutionalDecoder(image_shape, model.channels, mirrored, shape, activation, rngs=rngs),
        )  # fmt: skip
    encoder = Encoder(image_shape, model.hidden, outputs, activation, last, rngs=rngs)
    if model.tied:
        return encoder, TiedDecoder(image_shape, encoder, activation)
    return encoder, Decoder(image_shape, mirrored, model.code_size, activation, rngs=rngs)
