"""Autoencoders, the terms of their loss, and what is drawn for an image.

autoencoder.py   Autoencoder: what every kind extends, and what makes one of a configuration
dense.py  convolutional.py   encoders and decoders
variational.py   Variational: a code that is drawn, and a prior
losses.py        the named terms of the loss
corruption.py    noise on the input, binarization
randomness.py    where randomness comes from: seed, stream, epoch or step, example
"""

from aejax.models.autoencoder import Autoencoder, Output, Posterior, build
from aejax.models.dense import Decoder, Encoder, ImageShape
from aejax.models.variational import Variational

__all__ = ["Autoencoder", "Decoder", "Encoder", "ImageShape", "Output", "Posterior", "Variational", "build"]
