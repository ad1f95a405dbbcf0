"""Convolutional layers for images of any size.

Each convolution of an encoder (3x3, stride 2) halves height and width, rounded up. Each step of a decoder doubles
them: a convolution to four times the channels, then a 2x2 square of pixels from these channels (Shi et al. 2016). The
result is cut to the encoder's size at that layer, so odd sizes are restored exactly.
"""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

_SIDE = 3


def convolve(images: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolve float32[B, H, W, C] with [3, 3, C, F] → [B, ⌈H/stride⌉, ⌈W/stride⌉, F]; zeros beyond the borders."""
    cpu, default = (functools.partial(each, stride=stride) for each in (_convolve_on_cpu, _convolve))
    return jax.lax.platform_dependent(images, kernel, cpu=cpu, default=default)


def _convolve(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _convolve_on_cpu(images: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolve by matrix products: training with XLA's convolution takes ten times as long on a CPU."""
    batch, height, width, channels = images.shape
    rows, columns = -(-height // stride), -(-width // stride)
    shifts = [(i, j) for i in range(_SIDE) for j in range(_SIDE)]

    def window(padded: jax.Array, i: int, j: int) -> jax.Array:
        return padded[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]

    def pad(array: jax.Array) -> jax.Array:
        return jnp.pad(array, ((0, 0), (1, 1), (1, 1), (0, 0)))

    features = kernel.shape[3]
    if stride == 1 and features < channels:  # multiply first, then shift and add: fewer bytes to copy
        products = images.reshape(-1, channels) @ kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
        products = pad(products.reshape(batch, height, width, -1))
        return sum(window(products[..., n * features : (n + 1) * features], i, j) for n, (i, j) in enumerate(shifts))
    padded = pad(images)
    patches = jnp.concatenate([window(padded, i, j) for i, j in shifts], axis=-1)
    products = patches.reshape(-1, _SIDE**2 * channels) @ kernel.reshape(-1, features)
    return products.reshape(batch, rows, columns, features)


class Convolution(nnx.Module):
    """3x3 convolution with Glorot-uniform weights and zero biases."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, rngs: nnx.Rngs) -> None:
        shape = (_SIDE, _SIDE, inputs, outputs)
        self.kernel = nnx.Param(nnx.initializers.glorot_uniform()(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32))
        self.stride = stride

    def __call__(self, images: jax.Array) -> jax.Array:
        return convolve(images, self.kernel[...], self.stride) + self.bias[...]


class Doubling(nnx.Module):
    """Layer that doubles height and width: float32[B, ⌈H/2⌉, ⌈W/2⌉, inputs] → [B, H, W, outputs]."""

    def __init__(self, inputs: int, outputs: int, size: tuple[int, int], *, rngs: nnx.Rngs) -> None:
        self.convolution = Convolution(inputs, 4 * outputs, 1, rngs=rngs)
        self.size = size

    def __call__(self, images: jax.Array) -> jax.Array:
        squares = self.convolution(images)
        batch, rows, columns, channels = squares.shape
        squares = squares.reshape(batch, rows, columns, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
        return squares.reshape(batch, 2 * rows, 2 * columns, -1)[:, : self.size[0], : self.size[1]]


def halved(size: tuple[int, int], times: int) -> tuple[int, int]:
    """Return (height, width) after a number of convolutions with stride 2."""
    return -(-size[0] // 2**times), -(-size[1] // 2**times)
