"""Residual blocks in encoder and decoder, and a loss on the features of a fixed network.

Blocks: He et al. 2016, arXiv 1512.03385; loss: Hou et al. 2017, arXiv 1610.00291, with the random weights of He, Wang
and Hopcroft 2016, arXiv 1606.04801.
"""

import jax
import jax.numpy as jnp
from flax import nnx

import aejax


class Block(nnx.Module):
    def __init__(self, width, rngs):
        self.first, self.second = (nnx.Conv(width, width, (3, 3), rngs=rngs) for _ in range(2))

    def __call__(self, images):
        return jax.nn.relu(images + self.second(jax.nn.relu(self.first(images))))


class ResNet(aejax.Autoencoder):
    coefficients = {"features": 1.0}
    options = {"width": 8, "features": 16}

    def __init__(self, config, image_shape, rngs):
        self.config, self.image_shape = config, image_shape
        (height, width, channels), wide = image_shape, config.model.options["width"]
        self.small = -(-height // 2), -(-width // 2), wide
        inside, size = self.small[0] * self.small[1] * wide, config.model.code_size
        self.stem, self.into = nnx.Conv(channels, wide, (3, 3), 2, rngs=rngs), nnx.Linear(inside, size, rngs=rngs)
        self.out = nnx.Linear(size, inside, rngs=rngs)
        self.tail = nnx.ConvTranspose(wide, channels, (3, 3), 2, rngs=rngs)
        self.encoding, self.decoding = Block(wide, rngs), Block(wide, rngs)
        kernel = jax.random.normal(rngs.params(), (3, 3, channels, config.model.options["features"]))
        self.kernel = aejax.frozen(kernel / (9 * channels) ** 0.5)

    def encode(self, images):
        return self.into(self.encoding(self.stem(images)).reshape(images.shape[0], -1))

    def decode(self, codes):
        images = self.tail(self.decoding(self.out(codes).reshape(codes.shape[0], *self.small)))
        return images[:, : self.image_shape[0], : self.image_shape[1]]

    def features(self, images):
        numbers = "NHWC", "HWIO", "NHWC"
        return jax.nn.relu(jax.lax.conv_general_dilated(images, self.kernel[...], (1, 1), "SAME", None, None, numbers))

    def loss(self, clean, output, coefficients, context):
        differences = self.features(self.reconstruction(output.logits)) - self.features(clean)
        terms = super().loss(clean, output, coefficients, context)
        return terms | {"features": jnp.square(differences).mean(axis=(1, 2, 3))}
