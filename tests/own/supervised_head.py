"""An autoencoder with a linear classifier on its code, trained where the label is known.

Le, Patterson and White 2018, "Supervised autoencoders: improving generalization performance with unsupervised
regularizers", NeurIPS.
"""

import jax
import jax.numpy as jnp
from flax import nnx

import aejax


class SupervisedHead(aejax.Autoencoder):
    coefficients = {"classification": 1.0}
    options = {"classes": 10}
    select = "max accuracy"

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.head = nnx.Linear(config.model.code_size, config.model.options["classes"], rngs=rngs)

    def loss(self, clean, output, coefficients, context):
        scores = jax.nn.log_softmax(self.head(output.codes))
        label = jax.nn.one_hot(context.labels, scores.shape[1])  # only zeros of an unknown label, -1
        terms = super().loss(clean, output, coefficients, context)
        return terms | {"classification": -(label * scores).sum(axis=1)}

    def metrics(self, clean, output, context):
        right = self.head(output.codes).argmax(axis=1) == context.labels
        return {"accuracy": jnp.where(context.labels >= 0, right, jnp.nan)}  # of the known labels
