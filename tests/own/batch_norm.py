"""Batch normalisation and dropout, with a generator of its own, between encoder and code."""

from flax import nnx

import aejax


class Normalised(aejax.Autoencoder):
    options = {"dropout": 0.2}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.norm = nnx.BatchNorm(config.model.code_size, momentum=0.9, rngs=rngs)
        rate = config.model.options["dropout"]
        self.dropout = nnx.Dropout(rate, rngs=rngs) if rate else lambda codes: codes

    def encode(self, images):
        return self.dropout(self.norm(self.encoder(images)))
