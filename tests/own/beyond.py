"""Models that need more than codes and logits of the shape of an image: each uses one method or field of its base."""

import jax
import jax.numpy as jnp

import aejax


class Levels(aejax.Autoencoder):
    """Logits of two levels of each pixel, [B, H, W, C, 2]."""

    def decode(self, codes):
        logits = self.decoder(codes)
        return jnp.stack([-logits, logits], axis=-1)

    def loss(self, clean, output, coefficients, context):
        chosen = jnp.take_along_axis(output.logits, jnp.int32(clean > 0.5)[..., None], axis=-1)
        return {"reconstruction": (jax.nn.logsumexp(output.logits, axis=-1) - chosen[..., 0]).mean(axis=(1, 2, 3))}


class Read(Levels):
    def reconstruction(self, logits):
        return jax.nn.softmax(logits)[..., 1]


class Shifted(aejax.Autoencoder):
    """Reads a mask from its output, targets from its context; a prior makes it a generator."""

    coefficients = aejax.Autoencoder.coefficients | {"momentum": 0.5}

    def __call__(self, images, context=aejax.Context()):
        return super().__call__(images, context)._replace(extra={"bright": images > 0.5})

    def metrics(self, clean, output, context):
        assert context.targets is None or context.targets is clean
        return {"bright": output.extra["bright"].mean(axis=(1, 2, 3)), "target": clean.mean()}

    def prior(self, keys):
        return jax.vmap(lambda key: jax.random.uniform(key, (self.config.model.code_size,)))(keys)
