"""Sparse autoencoder of vectors: many units, few of which are active, each with one direction in the data.

It is used on activations of neural networks (Bricken et al. 2023, Gao et al. 2024, arXiv 2406.04093).
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from aejax.config import Config, InputError
from aejax.config.checks import COUNT, require
from aejax.models.autoencoder import Autoencoder
from aejax.models.largest import nth_largest
from aejax.models.networks import ImageShape
from aejax.models.output import Context, Output

_ALLOWED = {"model.hidden": ((),), "model.channels": ((),), "model.tied": (False,), "model.top_k": (None,)}
_ALLOWED |= {"corruption.kind": ("none",), "loss.reconstruction": ("mse",)}
"""field → the values that it may have with a sparse autoencoder"""


class Rows(NamedTuple):
    """Parameters of units, a row for each unit."""

    encoder: jax.Array
    encoder_bias: jax.Array
    decoder: jax.Array


class SparseAutoencoder(Autoencoder):
    """Autoencoder of vectors x of D values with F units: x ≈ bias + codes · directions.

    The units before the activation are (encoder · (x - bias) + encoder_bias) · lengths. The directions are the rows of
    the decoder divided by their lengths. So the size of a unit in the code is its size in the data, while rows may
    grow. Rows start short and turn faster, since Adam's step does not depend on their length.

    A class may override `activate`. A unit is dead after `options.dead_after` steps in which it was not active.

    Attributes:
        encoder, decoder: float32[F, D], a row for each unit.
        encoder_bias: float32[F].
        bias: float32[D], subtracted before encoding and added after decoding.
        norms: float32[F], lengths of the decoder's rows at the last step.
        idle: int32[F], steps since each unit was active.
    """

    coefficients: Mapping[str, float] = {"auxiliary": 1.0}
    """weight of the dead units' loss"""
    options: Mapping[str, Any] = {"dead_after": 1000}

    def __init__(self, config: Config, image_shape: ImageShape, rngs: nnx.Rngs) -> None:
        config.require(_ALLOWED, f"while model.kind is {config.model.kind}")
        self.config, self.image_shape = config, image_shape
        self.dead_after = config.model.options["dead_after"]
        require(COUNT.holds(self.dead_after), "model.options.dead_after", self.dead_after, COUNT.text)
        values, units = math.prod(image_shape), config.model.code_size
        rows = jax.random.normal(rngs.params(), (units, values))
        rows = rows * (_LENGTH / jnp.linalg.norm(rows, axis=1, keepdims=True))
        self.encoder, self.decoder = nnx.Param(rows), nnx.Param(jnp.copy(rows))
        self.encoder_bias, self.bias = nnx.Param(jnp.zeros(units)), nnx.Param(jnp.zeros(values))
        self.norms, self.idle = nnx.Variable(jnp.full(units, _LENGTH)), nnx.Variable(jnp.zeros(units, jnp.int32))

    def activate(self, units: jax.Array, context: Context) -> jax.Array:
        """Keep the positive units: float32[B, F] → codes float32[B, F], few of which are not 0.

        Args:
            context: as in `__call__`; in `encode` a context with `coefficients` only.
        """
        return jax.nn.relu(units)

    def __call__(self, images: jax.Array, context: Context = Context()) -> Output:
        """Encode and decode a batch; in training, count the steps since each unit was active."""
        units = self.units(images)
        codes = self.activate(units, context)
        if context.training:
            largest = jnp.abs(jax.lax.stop_gradient(codes)).max(axis=0)  # a TPU takes longer for `any`
            if context.axis is not None:
                largest = jax.lax.pmax(largest, context.axis)
            self.idle[...] = jnp.where(largest == 0, self.idle[...] + 1, 0)
            self.norms[...] = jax.lax.stop_gradient(self.lengths())
        dead = (self.idle[...] >= self.dead_after).sum()
        metrics = {"l0": (codes != 0).astype(jnp.float32).sum(axis=1), "dead": dead}  # a CPU adds integers slowly
        return Output(self.decode(codes), codes, metrics=metrics, extra={"input": images, "units": units})

    def loss(
        self, clean: jax.Array, output: Output, coefficients: Mapping[str, jax.Array], context: Context
    ) -> dict[str, jax.Array]:
        """Compute the squared error, and "auxiliary": the dead units' squared error on the residual of the others.

        Of the dead units we take those that were idle for the longest, at most half as many as values; Gao et al.
        (2024, appendix A.2) choose them for each example. No term makes the code sparse.
        """
        errors = (clean - output.logits).reshape(len(clean), -1)
        scale = errors.shape[1] if self.config.loss.pixels == "mean" else 1
        terms = {"reconstruction": jnp.square(errors).sum(axis=1) / scale}
        left = jax.lax.stop_gradient(errors)
        most = max(1, min(left.shape[1] // 2, self.config.model.code_size))
        idle, numbers = jax.lax.top_k(self.idle[...], most)
        dead = (idle >= self.dead_after).astype(left.dtype)

        def unexplained(rows: Rows, images: jax.Array) -> jax.Array:
            chosen = Rows(*(_chosen(each, numbers) for each in rows))
            units = self.units(images, chosen) * dead
            return jnp.square(units @ self.directions(chosen) - left).sum(axis=1) / scale * dead.mean()

        def if_any(*given: Any) -> jax.Array:
            return jax.lax.cond(dead[0] > 0, unexplained, lambda *_: jnp.zeros(len(left)), *given)

        given = self.rows(), clean if context.targets is None else output.extra["input"]
        return terms | {"auxiliary": jax.lax.platform_dependent(*given, cpu=if_any, default=unexplained)}

    def encode(self, images: jax.Array) -> jax.Array:
        return self.activate(self.units(images), Context(coefficients=self.config.coefficients))

    def decode(self, codes: jax.Array) -> jax.Array:
        return self.as_images(_product(codes, self.directions()) + self.bias[...])

    def as_images(self, vectors: jax.Array) -> jax.Array:
        """Reshape vectors float32[B, D] → float32[B, H, W, C]."""
        return vectors.reshape(vectors.shape[0], *self.image_shape)

    def rows(self) -> Rows:
        """Return the parameters that have a row for each unit."""
        return Rows(self.encoder[...], self.encoder_bias[...], self.decoder[...])

    def units(self, images: jax.Array, chosen: Rows | None = None) -> jax.Array:
        """Compute the units before the activation: float32[B, H, W, C] → float32[B, F].

        Args:
            chosen: rows of M units; the result has only these units, float32[B, M].
        """
        # We multiply the rows by the lengths, because their products with a batch are more numbers.
        rows, lengths, bias = chosen or self.rows(), self.lengths(chosen), jax.lax.stop_gradient(self.bias[...])
        encoder = rows.encoder * lengths[:, None]
        centred = images.reshape(images.shape[0], -1) - bias
        # The gradient of the bias through `shift` takes a product of a vector; through `images - bias`, of the batch.
        shift = encoder @ (bias - self.bias[...])
        return _encoded(centred, encoder) + (rows.encoder_bias * lengths + shift)

    def directions(self, chosen: Rows | None = None) -> jax.Array:
        """Return the directions float32[F, D], each of length 1; or those of some units, as in `units`."""
        return (chosen or self.rows()).decoder / self.lengths(chosen)[:, None]

    def lengths(self, chosen: Rows | None = None) -> jax.Array:
        """Return the lengths float32[F] of the decoder's rows; or those of some units, as in `units`."""
        squares = jnp.square((chosen or self.rows()).decoder).sum(axis=1)
        return jnp.sqrt(jnp.maximum(squares, _SHORTEST**2))

    def arrays(self) -> dict[str, jax.Array]:
        """Return W_enc [D, F], b_enc [F], W_dec [F, D] and b_dec [D] of SAELens, with the lengths folded in."""
        lengths = self.lengths()
        return {
            "W_enc": (self.encoder[...] * lengths[:, None]).T,
            "b_enc": self.encoder_bias[...] * lengths,
            "W_dec": self.directions(),
            "b_dec": self.bias[...],
        }

    def sae_lens(self) -> tuple[str, dict[str, jax.Array]]:
        """Return the architecture and the arrays for `Run.export` to SAELens.

        Raises:
            InputError: the class overrides `activate` but not this method.
        """
        if type(self).activate is not SparseAutoencoder.activate:
            raise InputError(f"{type(self).__name__} has an activation of its own; it needs a method sae_lens() too")
        return "standard", self.arrays()

    def require_count(self, name: str) -> None:
        """Raise `InputError` if a coefficient is below 1 or above F."""
        units, value = self.config.model.code_size, self.config.coefficients[name]
        require(1 <= value <= units, f"coefficients.{name}", value, f"from 1 to {units}, the code size")


_LENGTH, _SHORTEST = 0.1, 1e-8
"""length of the rows at the start (Conerly et al. 2024, transformer-circuits.pub/2024/april-update); at any time"""


@jax.custom_vjp
def _product(codes: jax.Array, directions: jax.Array) -> jax.Array:
    """Multiply [B, F] by [F, D]; with the sum over D of its consumer, a TPU would transpose the second gradient."""
    return codes @ directions


@jax.custom_vjp
def _encoded(vectors: jax.Array, encoder: jax.Array) -> jax.Array:
    """Multiply [B, D] by the transpose of [F, D]."""
    return vectors @ encoder.T


def _of_rows(units: jax.Array, vectors: jax.Array) -> jax.Array:
    """Multiply the transpose of [B, F] by [B, D]; a CPU takes two thirds of the time if the wider factor is second."""
    return jax.lax.platform_dependent(
        units,
        vectors,
        cpu=lambda units, vectors: jax.lax.optimization_barrier(vectors.T @ units).T,
        default=lambda units, vectors: units.T @ vectors,
    )


_product.defvjp(
    lambda codes, directions: (codes @ directions, (codes, directions)),
    lambda given, gradient: (gradient @ given[1].T, jax.lax.optimization_barrier(_of_rows(given[0], gradient))),
)
_encoded.defvjp(
    lambda vectors, encoder: (vectors @ encoder.T, (vectors, encoder)),
    lambda given, gradient: (gradient @ given[1], _of_rows(gradient, given[0])),
)


@jax.custom_vjp
def _chosen(rows: jax.Array, numbers: jax.Array) -> jax.Array:
    """Choose rows; the gradient is a matrix product, since a TPU would scatter the rows one by one."""
    return jnp.asarray(rows).at[numbers].get(mode="clip", unique_indices=True)


_chosen.defvjp(
    lambda rows, numbers: (_chosen(rows, numbers), (rows, numbers)),
    lambda given, gradient: (jax.nn.one_hot(given[1], len(given[0])).T @ gradient, None),
)


def largest_of_batch(
    units: jax.Array, count: jax.Array | float, context: Context, guess: jax.Array | float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Keep the largest units of a batch and set all others to 0; return also the smallest unit that is kept.

    Args:
        units: float32[B, F], at least 0.
        count: number of units to keep per example, on average.
        guess: a value near the smallest unit that is kept: it shortens the search, and does not change the result.
    """
    least = nth_largest(jax.lax.stop_gradient(units), count * len(units), None, context.axis, guess)
    return jnp.where(units >= least, units, 0), least


def take_in(average: nnx.Variable, count: nnx.Variable, value: jax.Array, decay: float) -> None:
    """Update a moving average in place.

    At first about the last tenth of the values counts (polynomial decay, Shamir and Zhang 2013), so that the average
    follows a model in its first steps. Later the decay is `decay`.

    Args:
        average, count: float32 scalars; `count` is the number of values so far, 0 at first.
    """
    count[...] += 1
    average[...] += jnp.maximum(1 - decay, 9 / (count[...] + 8)) * (value - average[...])
