"""Encoders and decoders as lists of plain operations, for runtimes without JAX: a browser, ONNX.

An operation is a dictionary with its kind and its numbers; arrays are float32, and B is the size of a batch.

dense        kernel, bias: rows [B, I] → rows @ kernel + bias [B, O]
convolution  kernel [3, 3, C, F], bias, stride, size: images [B, H, W, C] → [B, *size, F]; zeros beyond the borders
doubling     size: a 2x2 square of pixels from the channels of each pixel, cut to a size: [B, h, w, 4 F] → [B, *size, F]
activation   name: an elementwise relu, elu, gelu (tanh approximation), silu, tanh or sigmoid
reshape      shape: [B, ...] → [B, *shape]
largest      count: zeros for all values of a row but so many, the largest by magnitude, the first among equal values
everysecond  every second column, from the first: pairs of mean and log-variance [B, 2 D] → means [B, D]
filled       numbers, [D] or one number, in place of NaN: rows [B, D] → [B, D]
add, mul     numbers [D]: rows [B, D] → rows + numbers, or rows * numbers
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aejax.config import InputError
from aejax.models import autoencoder, convolutional, networks
from aejax.models.autoencoder import Autoencoder
from aejax.models.losses import TO_EXAMPLES
from aejax.models.networks import Decoder, Encoder, ImageShape, TiedDecoder
from aejax.models.variational import Variational

Shape = tuple[int, ...]
Operation = dict[str, Any]


def operations(model: Autoencoder, image_shape: ImageShape) -> tuple[list[Operation], list[Operation]]:
    """List the operations from images float32[B, H, W, C] to codes, and from codes to reconstructed images.

    Raises InputError: a user's model encodes or decodes with anything but the layers of this library.
    """
    kind, ours = type(model), type(model).reconstruction is Autoencoder.reconstruction
    ours = ours and kind.encode in (Autoencoder.encode, Variational.encode) and kind.decode is Autoencoder.decode
    if isinstance(model, Variational):
        ours = ours and kind.moments is Variational.moments and kind.draw is Variational.draw
    if not ours:
        raise InputError(
            f"{kind.__name__} overrides encode, decode, reconstruction or a part of them, and only JAX can run its code"
        )
    encoder, decoder = _listed(model.encoder, image_shape), _listed(model.decoder, (model.config.model.code_size,))
    if isinstance(model, Variational):
        encoder.append({"kind": "everysecond"})
    elif model.config.model.top_k is not None:
        encoder.append({"kind": "largest", "count": model.config.model.top_k})
    if TO_EXAMPLES[model.config.loss.reconstruction] is jax.nn.sigmoid:
        decoder.append({"kind": "activation", "name": "sigmoid"})
    return encoder, decoder


def _listed(half: nnx.Module, shape: Shape) -> list[Operation]:
    """List the operations of an encoder or decoder on inputs [B, *shape]."""
    if type(half) not in (Encoder, Decoder, TiedDecoder):
        raise InputError(f"{type(half).__name__} is no encoder or decoder of this library, and only JAX can run it")
    listed = []
    for layer in half.layers.layers:
        shape = jax.eval_shape(lambda rows, layer=layer: layer(rows), jnp.zeros((1, *shape))).shape[1:]
        listed += _of(layer, shape)
    return listed


def _of(layer: Any, shape: Shape) -> list[Operation]:
    """List the operations of a layer with outputs [B, *shape]."""
    if isinstance(layer, nnx.Linear):
        return [_dense(layer.kernel[...], layer.bias)]
    if isinstance(layer, networks.Transposed):
        return [_dense(layer.layer.kernel[...].T, layer.bias)]
    if isinstance(layer, convolutional.Convolution):
        return [
            _dense(layer.kernel[...], layer.bias) | {"kind": "convolution", "stride": layer.stride, "size": shape[:2]}
        ]
    if isinstance(layer, convolutional.Doubling):
        return [*_of(layer.convolution, convolutional.halved(shape, 1)), {"kind": "doubling", "size": shape[:2]}]
    if isinstance(layer, networks.Reshape):
        return [{"kind": "reshape", "shape": shape}]
    name = next(name for name, function in autoencoder.ACTIVATIONS.items() if function is layer)
    return [] if name == "identity" else [{"kind": "activation", "name": name}]


def _dense(kernel: jax.Array, bias: nnx.Param) -> Operation:
    return {"kind": "dense", "kernel": np.asarray(kernel, np.float32), "bias": np.asarray(bias[...], np.float32)}
