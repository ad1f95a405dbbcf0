"""Matryoshka: nested groups of units, each of which reconstructs the data.

The first few units form a group, some more form the next one, and all units the last one. The loss is the sum of the
reconstruction errors of all groups, so that the first units learn general features. Units are active as in BatchTopK.
Bussmann et al. 2025, arXiv 2503.17547.

    uv run experiments/gallery.py matryoshka

Takes about 5 seconds of training on two CPU cores; 10 active units, F1 0.49 against the true features.
"""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

import aejax
from aejax.models.sparse import largest_of_batch, take_in


class Matryoshka(aejax.SparseAutoencoder):
    """`widths` are the widths of the inner groups, by default a sixteenth and a quarter of the units."""

    coefficients = aejax.SparseAutoencoder.coefficients | {"k": 10.0, "inner": 1.0}
    options = aejax.SparseAutoencoder.options | {"widths": None, "decay": 0.99}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.require_count("k")
        options, units = config.model.options, config.model.code_size
        self.widths, self.decay = tuple(options["widths"] or (units // 16, units // 4)), options["decay"]
        if list(self.widths) != sorted({*self.widths}) or not 0 < self.widths[0] <= self.widths[-1] < units:
            raise aejax.InputError(f"model.options.widths is {self.widths}; they must rise from 1 to below {units}")
        self.threshold, self.steps = nnx.Variable(jnp.zeros(())), nnx.Variable(jnp.zeros(()))

    def activate(self, units, context):
        units = jax.nn.relu(units)
        if not context.training:
            return jnp.where(units > self.threshold[...], units, 0)
        codes, least = largest_of_batch(units, context.coefficients["k"], context, self.threshold[...])
        take_in(self.threshold, self.steps, least, self.decay)
        return codes

    def sae_lens(self):
        return "matryoshka", self.arrays() | {"threshold": self.threshold[...]}

    def nested(self, codes):
        """Return the reconstruction of each group; the last group holds all units."""
        edges, directions, rebuilt = (0, *self.widths, codes.shape[1]), self.directions(), [self.bias[...]]
        for first, last in itertools.pairwise(edges):
            rebuilt.append(rebuilt[-1] + codes[:, first:last] @ directions[first:last])
        return [self.as_images(each) for each in rebuilt[1:]]

    def decode(self, codes):
        return self.nested(codes)[-1]

    def loss(self, clean, output, coefficients, context):
        inner = sum(jnp.square(each - clean).sum(axis=(1, 2, 3)) for each in self.nested(output.codes)[:-1])
        return super().loss(clean, output, coefficients, context) | {"inner": inner}


def get_config():
    top_k = aejax.load_config(Path(__file__).with_name("top_k.py"))
    return top_k.replace({"model.kind": "matryoshka.py:Matryoshka", "model.options.dead_after": 10})
