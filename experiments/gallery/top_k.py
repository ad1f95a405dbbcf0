"""TopK: the k largest units of each example are active.

No penalty shrinks the units, and k is their number. The k-th largest unit is found by bisection, so that k is a traced
number and a sweep over k is one program.
Makhzani and Frey 2013, arXiv 1312.5663; Gao et al. 2024, arXiv 2406.04093.

    uv run experiments/gallery.py top_k

Takes about 5 seconds of training on two CPU cores; 10 active units, F1 0.50 against the true features.
"""

from pathlib import Path

import jax
import jax.numpy as jnp

import aejax
from aejax.models.sparse import nth_largest


class TopK(aejax.SparseAutoencoder):
    """`k` units are active, or fewer if fewer are positive."""

    coefficients = aejax.SparseAutoencoder.coefficients | {"k": 10.0}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.require_count("k")

    def activate(self, units, context):
        units = jax.nn.relu(units)
        least = nth_largest(jax.lax.stop_gradient(units), context.coefficients["k"], axis=1)
        return jnp.where(units >= least, units, 0)

    def sae_lens(self):
        return "topk", self.arrays() | {"k": self.config.coefficients["k"]}


def get_config():
    l1 = aejax.load_config(Path(__file__).with_name("l1.py"))
    return l1.replace({"model.kind": "top_k.py:TopK", "model.options.dead_after": 20})
