"""From a batch as it is stored to the input and the target of a model."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from aejax.config import Config
from aejax.models.corruption import augment, binarize, corrupt
from aejax.models.randomness import Key
from aejax.training.optimizer import Values

Keys = Callable[[str], Key]
Imputed = tuple[float, ...]

OBSERVED = "observed"
"""name of the mask in a traced step, by which `require_observed` finds it"""


class Batch(NamedTuple):
    images: jax.Array  # [B, H, W, C], uint8, or float32, float16 or bfloat16 as given by the user
    examples: jax.Array  # int32[B], the index of each image in its dataset
    labels: jax.Array | None = None  # int32[B], the classes; None without labels
    targets: jax.Array | None = None  # [B, ...] of a type of the images; None where the target is the input


def inputs(
    config: Config, batch: Batch, coefficients: Values, key: Keys, imputed: Imputed, training: bool = False
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Return the target of the loss and the corrupted input of the model, both float32[B, H, W, C], binarized first.

    In `training`, both are augmented before anything else.
    The third result, bool[B, H, W, C], is False where a value of the target is missing. It is None unless
    `data.missing` is mask. Target and input have the numbers of `imputed`, of each feature, in place of missing values.
    Targets of the dataset's own are float32[B, ...], neither binarized nor corrupted, and never missing.
    """
    clean, observed = unit_interval(batch.images), None
    if training and (kinds := config.data.augmentation):
        clean = augment(kinds, key("augmentation"), batch.examples, clean, coefficients)
    if config.data.missing == "mask":
        missing = jnp.isnan(clean)
        clean = jnp.where(missing, jnp.float32(imputed)[:, None], clean)
        observed = checkpoint_name(~missing, OBSERVED) if batch.targets is None else None
    seen = clean
    if config.data.binarize:
        clean = seen = binarize(key("binarization"), batch.examples, clean)
    if config.corruption.kind != "none":
        seen = corrupt(config.corruption.kind, key("corruption"), batch.examples, clean, coefficients["noise"])
    return clean if batch.targets is None else unit_interval(batch.targets), seen, observed


def unit_interval(images: jax.Array) -> jax.Array:
    """Convert uint8 from 0 to 255 to float32 from 0 to 1, and floats to float32."""
    pixels = images.astype(jnp.float32)
    return pixels / 255 if images.dtype == jnp.uint8 else pixels
