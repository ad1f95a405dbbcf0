"""The autoencoder that every kind extends: an encoder, a decoder and a loss, built from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aejax.config import Config, Model
from aejax.config.numbers import KINDS
from aejax.models import losses
from aejax.models.convolutional import ConvolutionalDecoder, ConvolutionalEncoder
from aejax.models.dense import Decoder, Encoder, ImageShape, TiedDecoder, identity
from aejax.models.output import Context, Output

ACTIVATIONS: dict[str, Callable] = {
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jax.numpy.tanh,
    "sigmoid": jax.nn.sigmoid,
    "identity": identity,
}


class Autoencoder(nnx.Module):
    """An encoder and a decoder, built from a configuration.

    A kind of your own extends this class, or `Variational`, in a file of yours that `model.kind` names: FILE.py:CLASS.
    It may bring layers, a loss, and any `nnx.Variable` as state (running means, codebooks, counters), which is kept,
    saved and resumed with the parameters. It declares its own numbers, `coefficients` and `options`.

    Attributes:
        config: the configuration it was built from.
        encoder, decoder: usable apart; `encode` and `decode` are the same with what comes after the encoder.
    """

    coefficients: Mapping[str, float] = KINDS["plain"]
    """traced numbers with their defaults; a coefficient with the name of a loss term is the weight of that term"""
    options: Mapping[str, Any] = {}
    """static numbers, strings or lists with their defaults; read them from `config.model.options`"""
    outputs_per_unit = 1
    """numbers that the encoder gives for each unit of the code"""

    def __init__(self, config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> None:
        self.config = config
        self.encoder, self.decoder = _halves(config.model, image_shape, self.outputs_per_unit, rngs)

    def __call__(self, images: jax.Array, context: Context = Context()) -> Output:
        """Encode and decode a batch, float32[B, H, W, C]."""
        codes = self.encode(images)
        return Output(self.decode(codes), codes)

    def loss(
        self, clean: jax.Array, output: Output, coefficients: Mapping[str, jax.Array], context: Context
    ) -> dict[str, jax.Array]:
        """Compute the terms of the loss by name, float32[B] each.

        Training minimises the mean over examples of the sum of the terms, each times the coefficient of its name, if
        the class declares one.

        Args:
            clean: float32[B, H, W, C], the target.
            output: the result of the model for the (possibly corrupted) input, in float32.
            coefficients: traced numbers by name: `coefficients["beta"]`.
        """
        return losses.loss_terms(self.config.loss, clean, output, coefficients, context.axis)

    def encode(self, images: jax.Array) -> jax.Array:
        """Images float32[B, H, W, C] → codes float32[B, code_size]."""
        codes = self.encoder(images)
        top_k = self.config.model.top_k
        return codes if top_k is None else largest(codes, top_k)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Codes float32[B, code_size] → logits float32[B, H, W, C]."""
        return self.decoder(codes)


def largest(codes: jax.Array, count: int) -> jax.Array:
    """Keep the `count` largest units of each code, by magnitude, and set the others to 0 (Makhzani and Frey 2013).

    Of units that are equally large the first ones are kept, so that there are never more than `count`.
    """
    magnitudes = jnp.abs(codes)
    threshold = jax.lax.top_k(magnitudes, count)[0][:, -1:]
    above, level = magnitudes > threshold, magnitudes == threshold
    # Of those that equal the threshold, which are several where values are coarse, the first ones.
    first = jnp.cumsum(level, axis=1) <= count - above.sum(axis=1, keepdims=True)
    return jnp.where(above | (level & first), codes, 0)


def _halves(
    model: Model, image_shape: ImageShape, outputs_per_unit: int, rngs: nnx.Rngs
) -> tuple[nnx.Module, nnx.Module]:
    """The encoder, which gives several numbers per unit where asked to (no activation then), and the decoder."""
    activation = ACTIVATIONS[model.activation]
    last = ACTIVATIONS[model.code_activation or model.activation if outputs_per_unit == 1 else "identity"]
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
