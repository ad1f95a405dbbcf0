"""Autoencoders, the terms of their loss, and what is drawn for an image.

autoencoder.py   Autoencoder: what every kind extends, with its loss
variational.py   Variational: a code that is drawn, and a prior
sparse.py        SparseAutoencoder: many units of which few are active, each with a direction
kinds.py         from the name of a kind to a model
output.py        Context, Output, Posterior: what a model is given beside the images, and what it returns
dense.py  convolutional.py   encoders and decoders
operations.py    an encoder or a decoder as a list of plain operations, for other runtimes
losses.py        the named terms of the loss
corruption.py    noise on the input, binarization
randomness.py    where randomness comes from: seed, stream, epoch or step, example
"""

from aejax.models.autoencoder import Autoencoder
from aejax.models.dense import Decoder, Encoder, ImageShape
from aejax.models.kinds import build, model_class, require_model
from aejax.models.output import Context, Output, Posterior
from aejax.models.sparse import SparseAutoencoder
from aejax.models.variational import Variational
