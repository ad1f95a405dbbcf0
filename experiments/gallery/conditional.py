"""A conditional variational autoencoder: images of a class that one chooses.

The decoder is given the class beside the code, so that the code need not hold it. Here the class is a part of the code,
a unit for each: known in training, and guessed by the encoder where it is not. So the likelihood of an image without a
label is defined too, and its bound has a part for the guess: log q(class | image) - log p(class).

Sohn et al. 2015 (NIPS); Kingma et al. 2014, arXiv 1406.5298, model M2 where every image has a label.

    uv run experiments/gallery.py conditional --dataset mnist

Not trained on MNIST yet.
"""

import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

import aejax
from aejax.models import losses, randomness


class Conditional(aejax.Variational):
    """The last `classes` units of a code are 1 for its class, else 0; `classification` is the loss of the guess."""

    def __init__(self, config, image_shape, rngs):
        self.classes = config.model.options.get("classes", 10)
        self.size = config.model.code_size - self.classes
        if self.size < 1:
            raise aejax.InputError(f"model.code_size is {config.model.code_size}; it must be above {self.classes}")
        super().__init__(config, image_shape, rngs)
        self.shift = nnx.Linear(self.classes, 2 * self.size, rngs=rngs)

    def __call__(self, images, context=aejax.Context()):
        if context.labels is None:
            raise aejax.InputError("Conditional is trained with classes, and these images have none; name a dataset")
        label = jax.nn.one_hot(context.labels, self.classes)[:, None].repeat(self.samples, axis=1)
        codes, log_ratio, log_guess = self.of_class(images, label, context.keys)
        posterior, metrics = aejax.Posterior(codes, log_ratio), {"surprise": -log_guess.mean(axis=1)}
        return aejax.Output(self._decode_each(codes, images.dtype), codes.mean(axis=1), posterior, metrics)

    def loss(self, clean, output, coefficients, context):
        return super().loss(clean, output, coefficients, context) | {"classification": output.metrics["surprise"]}

    def guess(self, images):
        return jax.nn.log_softmax(self.moments(images)[0][:, self.size :].astype(jnp.float32))

    def of_class(self, images, label, keys):
        """Of classes float32[B, K, classes]: codes, log q(z | x, class) - log p(z), log q(class | x)."""
        moments = zip(self.moments(images), jnp.split(self.shift(label), 2, axis=-1), strict=True)
        mean, log_variance = ((moment[:, None, : self.size] + shift).astype(jnp.float32) for moment, shift in moments)
        noise = 0 if keys is None else randomness.normal(keys, mean[0].size).reshape(mean.shape)
        codes = mean + jnp.exp(log_variance / 2) * noise
        log_ratio = losses.normal_log_density(codes, mean, log_variance) - super().log_prior(codes)
        return jnp.concatenate([codes, label], axis=-1), log_ratio, (self.guess(images)[:, None] * label).sum(axis=2)

    def draw(self, images, keys, count):
        one = functools.partial(jax.random.categorical, shape=(count,))
        drawn = jax.vmap(one)(jax.vmap(jax.random.fold_in, (0, None))(keys, 1), self.guess(images))
        codes, log_ratio, log_guess = self.of_class(images, jax.nn.one_hot(drawn, self.classes), keys)
        return codes, log_ratio + log_guess + math.log(self.classes)

    def encode(self, images):
        label = jax.nn.one_hot(self.guess(images).argmax(axis=1), self.classes)
        return self.of_class(images, label[:, None], None)[0][:, 0]

    def log_prior(self, codes):
        return super().log_prior(codes[..., : self.size]) - math.log(self.classes)

    def prior(self, keys):
        chosen = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 0, self.classes))(keys)
        return super().prior(keys).at[:, self.size :].set(jax.nn.one_hot(chosen, self.classes))


def get_config():
    vae = aejax.load_config(Path(__file__).with_name("vae.py"))
    return vae.replace({"model.kind": "conditional.py:Conditional", "model.code_size": 60, "model.options.classes": 10})
