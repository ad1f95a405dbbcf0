"""Base class of every kind of autoencoder: an encoder, a decoder and a loss, built from a configuration."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from aejax.config import Config, InputError
from aejax.config.numbers import KINDS
from aejax.config.user_files import line_of
from aejax.models import losses
from aejax.models.networks import Decoder, Encoder, ImageShape, TiedDecoder, identity
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

    Your own kind extends this class, or `Variational`, in a file that `model.kind` names: FILE.py:CLASS. It declares
    its own `coefficients` and `options`. It may add layers, a loss, and any `nnx.Variable` as state (running means,
    codebooks, counters), which we keep, save and resume with the parameters.

    Attributes:
        config: the configuration of the model.
        encoder, decoder: the networks within `encode` and `decode`.
    """

    coefficients: Mapping[str, float] = KINDS["plain"]
    """traced numbers with their defaults; a coefficient with the name of a loss term is the weight of that term"""
    options: Mapping[str, Any] = {}
    """static numbers, strings or lists with their defaults, for `config.model.options`"""
    select: str = "total"
    """term of the loss or metric by which the best epoch and the best member of a sweep are chosen, as "total",
    "min l0" or "max accuracy"; `training.select` overrides it"""
    outputs_per_unit = 1
    """outputs of the encoder for each unit of the code; with several, the code has no activation"""
    log_density: Callable[..., jax.Array] | None = None
    """likelihood of a `Variational` of your own: images [B, H, W, C], logits [B, K, H, W, C] of codes
    [B, K, code_size] → log p(image | code) in nats, float32[B, K]; None for the likelihood of the loss "bce" """

    def __init__(self, config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> None:
        self.config, model, outputs = config, config.model, self.outputs_per_unit
        activation = ACTIVATIONS[model.activation]
        last = ACTIVATIONS[model.code_activation or model.activation if outputs == 1 else "identity"]
        outputs *= model.code_shape(image_shape)[-1]
        self.encoder = Encoder(model, image_shape, outputs, activation, last, rngs)
        if model.tied:
            self.decoder = TiedDecoder(image_shape, self.encoder, activation)
        else:
            self.decoder = Decoder(model, image_shape, activation, rngs)

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
            clean: float32[B, H, W, C], the target: the clean input, or the dataset's own targets [B, ...].
            output: the result of the model for the (possibly corrupted) input, in float32.
            coefficients: traced numbers by name: `coefficients["beta"]`.
        """
        if self.log_density is not None:
            nats = self.log_density(clean, output.logits, output.posterior.samples)
            return losses.variational_terms(self.config.loss.bound, -nats, output.posterior, coefficients)
        return losses.loss_terms(self.config.loss, clean, output, coefficients, context.axis, context.observed)

    def metrics(self, clean: jax.Array, output: Output, context: Context) -> dict[str, jax.Array]:
        """Compute metrics by name, float32[B] or scalars, which are recorded and do not change the loss.

        The arguments are those of `loss`. A metric of the whole batch needs `context.axis`.
        """
        return {}

    def reconstruction(self, logits: jax.Array) -> jax.Array:
        """Return the examples that logits [B, ...] stand for: float32[B, H, W, C], or of the shape of the targets.

        By default, these are probabilities with the losses "bce", "ssim" and "ms_ssim", and otherwise the logits.
        """
        return losses.TO_EXAMPLES[self.config.loss.reconstruction](logits)

    def encode(self, images: jax.Array) -> jax.Array:
        """Encode images float32[B, H, W, C] → codes float32[B, code_size]."""
        codes = self.encoder(images)
        top_k = self.config.model.top_k
        return codes if top_k is None else largest(codes, top_k)

    def decode(self, codes: jax.Array) -> jax.Array:
        """Decode codes float32[B, code_size] → logits float32[B, H, W, C]."""
        return self.decoder(codes)


def reconstructed(model: Autoencoder, codes: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Decode codes [B, code_size] → examples or targets [B, *shape]; refuse a model that returns another shape."""
    made = model.reconstruction(model.decode(codes))
    if made.shape[1:] != shape or made.shape[0] != codes.shape[0]:
        raise InputError(
            f"the reconstruction of {type(model).__name__}{line_of(type(model).reconstruction)} has shape "
            f"{list(made.shape)}; it must be {[codes.shape[0], *shape]}: define reconstruction(logits) in the class"
        )
    return made


def largest(codes: jax.Array, count: int) -> jax.Array:
    """Keep the `count` largest units of each code, by magnitude, and set the others to 0 (Makhzani and Frey 2013).

    Among equal units the first are kept, so that at most `count` units are not 0.
    """
    magnitudes = jnp.abs(codes)
    threshold = jax.lax.top_k(magnitudes, count)[0][:, -1:]
    above, level = magnitudes > threshold, magnitudes == threshold
    first = jnp.cumsum(level, axis=1) <= count - above.sum(axis=1, keepdims=True)
    return jnp.where(above | (level & first), codes, 0)
