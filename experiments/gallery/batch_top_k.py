"""BatchTopK: the largest units of a batch are active, k per example on average.

The number of active units varies between examples. After training, a unit is active above a threshold: the moving
average of the smallest active unit of a batch. Bussmann et al. 2024, arXiv 2412.06410.

    uv run experiments/gallery.py batch_top_k

Takes about 5 seconds of training on two CPU cores; 10 active units, F1 0.54 against the true features.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

import aejax
from aejax.models.sparse import largest_of_batch, take_in


class BatchTopK(aejax.SparseAutoencoder):
    """In training `k` units are active on average; after training, the units above `threshold` are active."""

    coefficients = aejax.SparseAutoencoder.coefficients | {"k": 10.0}
    options = aejax.SparseAutoencoder.options | {"decay": 0.99}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.require_count("k")
        self.decay = config.model.options["decay"]
        self.threshold, self.steps = nnx.Variable(jnp.zeros(())), nnx.Variable(jnp.zeros(()))

    def activate(self, units, context):
        units = jax.nn.relu(units)
        if not context.training:
            return jnp.where(units > self.threshold[...], units, 0)
        codes, least = largest_of_batch(units, context.coefficients["k"], context, self.threshold[...])
        take_in(self.threshold, self.steps, least, self.decay)
        return codes

    def sae_lens(self):
        return "batchtopk", self.arrays() | {"threshold": self.threshold[...]}


def get_config():
    top_k = aejax.load_config(Path(__file__).with_name("top_k.py"))
    return top_k.replace({"model.kind": "batch_top_k.py:BatchTopK", "model.options.dead_after": 10})
