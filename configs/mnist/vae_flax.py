"""Variational autoencoder of Flax's examples: 784-500-20-500-784, binarized MNIST, 10 epochs of batches of 128.

    uv run experiments/train.py configs/mnist/vae_flax.py

Takes about 11 s of training on two CPU cores; test -ELBO 102.1 nats (Flax's example: about 104), negative
log-likelihood 97.1 (500 samples).
"""

from aejax import Config, Data, Loss, Model, Training


def get_config() -> Config:
    return Config(
        data=Data(name="mnist", binarize=True),
        model=Model(kind="variational", hidden=(500,), code_size=20),
        loss=Loss(pixels="sum"),
        training=Training(epochs=10, batch_size=128),
    )
