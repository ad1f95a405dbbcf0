"""Semi-supervised variational autoencoder: it learns to classify from a few labels and many images without a label.

The code ends with the class. Without a label, the bound is the mean over all classes, weighted by the encoder's guess,
and the entropy of the guess. Kingma et al. 2014, arXiv 1406.5298, model M2.

    uv run experiments/gallery.py semi_supervised --dataset mnist --labels 1000

Takes about five minutes of training on two busy CPU cores; 93.8% of the test images classified correctly.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

import aejax
from aejax.models import losses, randomness


class SemiSupervised(aejax.Variational):
    coefficients = aejax.Variational.coefficients | {"classification": 400.0}
    options = {"classes": 10}
    select = "max accuracy"

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.classes = config.model.options["classes"]
        if (size := config.model.code_size - self.classes) < 1:
            raise aejax.InputError(f"model.code_size is {config.model.code_size}; it must be above {self.classes}")
        self.size, self.shift = size, nnx.Linear(self.classes, 2 * size, rngs=rngs)

    def guess(self, images):
        return jax.nn.log_softmax(self.moments(images)[0][:, self.size :].astype(jnp.float32))

    def of_class(self, images, label, keys):
        """Draw codes of classes float32[B, K, classes], and log q(code | image, class) - log p(code, class)."""
        pairs = zip(self.moments(images), jnp.split(self.shift(label), 2, axis=-1), strict=True)
        mean, log_variance = ((part[:, None, : self.size] + shift).astype(jnp.float32) for part, shift in pairs)
        noise = 0 if keys is None else randomness.normal(keys, mean[0].size).reshape(mean.shape)
        codes = jnp.concatenate([mean + jnp.exp(log_variance / 2) * noise, label], axis=-1)
        return codes, losses.normal_log_density(codes[..., : self.size], mean, log_variance) - self.log_prior(codes)

    def __call__(self, images, context=aejax.Context()):
        if context.labels is None:
            raise aejax.InputError("SemiSupervised needs images with classes, and these images have none")
        guess, every = self.guess(images), jnp.eye(self.classes)[None].repeat(len(images), axis=0)
        codes, log_ratio = self.of_class(images, every, context.keys)
        mean, logits = (jnp.exp(guess)[..., None] * codes).sum(axis=1), self.decode_each(codes, images.dtype)
        return aejax.Output(logits, mean, aejax.Posterior(codes, log_ratio), extra={"guess": guess})

    def loss(self, clean, output, coefficients, context):
        guess, label = output.extra["guess"], jax.nn.one_hot(context.labels, self.classes)  # only zeros if unknown
        guessed = (context.labels < 0)[:, None] * jnp.exp(guess)
        pixels = clean[0].size * losses.binary_cross_entropy(output.logits, clean[:, None])
        terms = {"reconstruction": (label + guessed) * pixels, "classification": -label * guess}
        terms["kl"] = coefficients["beta"] * ((label + guessed) * output.posterior.log_ratio + guessed * guess)
        return {name: term.sum(axis=1) for name, term in terms.items()}

    def metrics(self, clean, output, context):
        right = output.extra["guess"].argmax(axis=1) == context.labels
        return {"accuracy": jnp.where(context.labels >= 0, right, jnp.nan)}  # of the known labels

    def draw(self, images, keys, count, context=aejax.Context()):
        guess, choose = self.guess(images), jax.vmap(lambda key, log: jax.random.categorical(key, log, shape=(count,)))
        label = jax.nn.one_hot(choose(jax.vmap(jax.random.fold_in, (0, None))(keys, 1), guess), self.classes)
        codes, log_ratio = self.of_class(images, label, keys)
        return codes, log_ratio + (guess[:, None] * label).sum(axis=2)

    def log_prior(self, codes):
        return super().log_prior(codes[..., : self.size]) - jnp.log(self.classes)

    def prior(self, keys):
        drawn = jax.vmap(lambda key: jax.random.randint(jax.random.fold_in(key, 1), (), 0, self.classes))(keys)
        return jnp.concatenate([randomness.normal(keys, self.size), jax.nn.one_hot(drawn, self.classes)], axis=1)


def get_config():
    vae = aejax.load_config(Path(__file__).with_name("vae.py"))
    return vae.replace({"model.kind": "semi_supervised.py:SemiSupervised", "model.code_size": 20})
