"""A supervised head on the code: the class of an image, where it is known."""

import jax
import jax.numpy as jnp
from flax import nnx

import aejax


class Head(aejax.Autoencoder):
    coefficients = aejax.Autoencoder.coefficients | {"classification": 0.1}
    options = {"classes": 10}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.head = nnx.Linear(config.model.code_size, config.model.options["classes"], rngs=rngs)

    def __call__(self, images, context=aejax.Context()):
        output = super().__call__(images, context)
        return output._replace(extra={"scores": self.head(output.codes)})

    def loss(self, clean, output, coefficients, context):
        likely = jax.nn.log_softmax(output.extra["scores"])
        label = jax.nn.one_hot(context.labels, likely.shape[1])  # zeros for the class -1
        return super().loss(clean, output, coefficients, context) | {"classification": -(likely * label).sum(axis=1)}

    def metrics(self, clean, output, context):
        return {"accuracy": jnp.float32(output.extra["scores"].argmax(axis=1) == context.labels)}
