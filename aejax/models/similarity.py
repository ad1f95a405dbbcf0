"""Structural similarity of images as a loss, at one scale (SSIM) and at several scales (MS-SSIM)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from aejax.config.numbers import LEAST_SIDES

_WINDOW, _DEVIATION = LEAST_SIDES["ssim"], 1.5
"""side of the window, and standard deviation of its normal weights, in pixels (Wang et al. 2004)"""
_CONSTANTS = 0.01**2, 0.03**2
"""constants that keep the two ratios finite, for pixels from 0 to 1"""
_WEIGHTS = 0.0448, 0.2856, 0.3001, 0.2363, 0.1333
"""exponents of the scales from the finest (Wang, Simoncelli and Bovik 2003)"""
_LEAST = 1e-6
"""least mean structure of a scale: a power of a number below 0 is not defined"""


def scales(side: int) -> int:
    """Return how many of the five scales the window fits in, each half as large: a side of 22 pixels has two."""
    return next((count for count in range(len(_WEIGHTS), 0, -1) if side >> count - 1 >= _WINDOW), 0)


def dissimilarity(images: jax.Array, others: jax.Array, count: int = 1) -> jax.Array:
    """Return 1 - SSIM, or 1 - MS-SSIM of several scales: float32[..., H, W, C] in [0, 1] twice → float32[...].

    The mean is over channels and over all windows within the image. The weights of the scales are divided by their sum.
    """
    whole, structure = _similarity(images, others)
    if count == 1:
        return 1 - whole
    parts = [structure]
    for _ in range(1, count):
        images, others = (nnx.avg_pool(each, (2, 2), strides=(2, 2)) for each in (images, others))
        whole, structure = _similarity(images, others)
        parts.append(structure)
    weights = np.float32(_WEIGHTS[:count]) / sum(_WEIGHTS[:count])
    logarithms = jnp.log(jnp.maximum(jnp.stack([*parts[:-1], whole]), _LEAST))
    return 1 - jnp.exp(jnp.tensordot(weights, logarithms, axes=1, precision=jax.lax.Precision.HIGHEST))


def _similarity(x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the means of SSIM and of its factor without the brightness."""
    x_mean, y_mean, squares, product = map(_blurred, (x, y, x * x + y * y, x * y))
    brightness, structure = _CONSTANTS
    both, mean_squares = 2 * x_mean * y_mean, x_mean * x_mean + y_mean * y_mean
    structure = (2 * product - both + structure) / (squares - mean_squares + structure)
    whole = (both + brightness) / (mean_squares + brightness) * structure
    return whole.mean(axis=(-3, -2, -1)), structure.mean(axis=(-3, -2, -1))


def _blurred(images: jax.Array) -> jax.Array:
    """Return the weighted means of all windows: [..., H, W, C] → [..., H - 10, W - 10, C].

    These are products with two matrices, in full float32: a variance is the difference of two such means.
    """
    height, width = images.shape[-3:-1]
    product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
    return product("...hwc,ih,jw->...ijc", images, _windows(height), _windows(width))


@functools.cache
def _windows(side: int) -> np.ndarray:
    weights = np.exp(-np.square((np.arange(_WINDOW) - _WINDOW // 2) / _DEVIATION) / 2)
    rows = [np.pad(weights / weights.sum(), (first, side - _WINDOW - first)) for first in range(side - _WINDOW + 1)]
    return np.float32(rows)
