"""A variational autoencoder of the rows of a table, with columns of numbers and of categories.

Xu et al. 2019, arXiv 1907.00503, without its mixtures for numbers.
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

import aejax
from aejax.models import losses


class TableVAE(aejax.Variational):
    """`columns` has the width of each column: 1 of a number, or the number of categories, which are one-hot."""

    options = {"columns": (1, 1, 3)}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        ends = list(itertools.accumulate(config.model.options["columns"], initial=0))
        if ends[-1] != image_shape[1]:
            raise aejax.InputError(f"model.options.columns have {ends[-1]} values; the rows have {image_shape[1]}")
        self.spans, self.log_variance = tuple(itertools.pairwise(ends)), nnx.Param(jnp.zeros(image_shape[1]))

    def log_density(self, rows, logits, codes):
        """Return log p(row | code) [nats], float32[B, K], of rows [B, 1, D, 1] given logits [B, K, 1, D, 1]."""
        nats = 0
        for begin, end in self.spans:
            seen, told = rows[:, None, 0, begin:end, 0], logits[:, :, 0, begin:end, 0]
            if end - begin == 1:
                nats += losses.normal_log_density(seen, told, self.log_variance[begin:end])
            else:
                nats += (seen * jax.nn.log_softmax(told)).sum(axis=-1)
        return nats

    def reconstruction(self, logits):
        parts = [logits[:, :, begin:end] for begin, end in self.spans]
        likely = [part if part.shape[2] == 1 else part == part.max(axis=2, keepdims=True) for part in parts]
        return jnp.concatenate(likely, axis=2, dtype=logits.dtype)
