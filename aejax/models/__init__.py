"""Autoencoders, the terms of their loss, and random numbers.

autoencoder.py   Autoencoder: base class of every kind, with its loss
variational.py   Variational: a posterior of the code, and a prior
sparse.py        SparseAutoencoder: many units, few of which are active, each with one direction
largest.py       the n-th largest of many values
kinds.py         from the name of a kind to a model
output.py        Context, Output, Posterior: further input of a model, and its result
networks.py      encoder and decoder, dense or convolutional
convolutional.py convolutional layers
operations.py    an encoder or a decoder as a list of plain operations, for other runtimes
losses.py        named terms of the loss
similarity.py    structural similarity as a loss
corruption.py    changes of images: noise on the input, binarization, augmentation
randomness.py    random numbers from seed, stream, epoch or step, and example
"""

from aejax.models.autoencoder import Autoencoder
from aejax.models.kinds import build, frozen, model_class
from aejax.models.networks import Decoder, Encoder, ImageShape
from aejax.models.output import Context, Output, Posterior
from aejax.models.sparse import SparseAutoencoder
from aejax.models.variational import Variational
