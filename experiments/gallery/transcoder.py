"""Transcoder: sparse units that map the input of a layer to its output.

A sparse autoencoder describes the vectors at one point of a network. A transcoder describes what a layer computes: each
unit reads one direction of the input and writes one direction of the output, and k units are active. The targets are
`train_targets` and `test_targets` of the dataset.
Dunefsky et al. 2024, arXiv 2406.11944; the k largest units as in Gao et al. 2024, arXiv 2406.04093.

    uv run experiments/gallery.py transcoder

Takes about a minute of training on two busy CPU cores; 10 active units, 31% of the variance unexplained.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import aejax
from aejax.models.sparse import nth_largest


class Transcoder(aejax.SparseAutoencoder):
    """`k` units are active; the bias belongs to the output, so the units read the input as it is."""

    coefficients = {"k": 10.0}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.require_count("k")

    def units(self, images, chosen=None):
        return (images.reshape(len(images), -1) @ self.encoder[...].T + self.encoder_bias[...]) * self.lengths()

    def activate(self, units, context):
        units = jax.nn.relu(units)
        least = nth_largest(jax.lax.stop_gradient(units), context.coefficients["k"], axis=1)
        return jnp.where(units >= least, units, 0)

    def loss(self, clean, output, coefficients, context):
        return {"reconstruction": jnp.square(clean - output.logits).sum(axis=(1, 2, 3))}


def layer(width=256):
    """Return vectors of known features, and as targets the output of a random layer with `width` ReLUs."""
    vectors, random = aejax.load_dataset("sparse_features_512"), np.random.default_rng(0)
    train, test = vectors.train[np.arange(2**16)], np.asarray(vectors.test)
    first, last = (random.normal(size=(rows, columns)) / rows**0.5 for rows, columns in ((64, width), (width, 64)))
    targets = [np.float32(np.maximum(part @ first - 1, 0) @ last) for part in (train, test)]
    return aejax.Dataset.from_arrays(train, test, train_targets=targets[0], test_targets=targets[1], name="layer")


def get_config():
    l1 = aejax.load_config(Path(__file__).with_name("l1.py"))
    changes = {"model.kind": "transcoder.py:Transcoder", "data.name": "transcoder.py:layer"}
    return l1.replace(
        changes | {"coefficients.learning_rate": 3e-3, "training.epochs": 32, "training.batch_size": 1024}
    )
