"""Variational autoencoder: 784-200-200-50-200-200-784 (Burda et al. 2016), dynamically binarized MNIST.

    uv run experiments/train.py configs/mnist/vae.py

Takes about a minute and a half on two CPU cores; negative log-likelihood 89.8 nats (500 samples).
"""

from aejax import Coefficients, Config, Data, Loss, Model, Schedule, Training


def get_config() -> Config:
    return Config(
        data=Data(name="mnist", binarize=True),
        model=Model(kind="variational", hidden=(200, 200), code_size=50),
        loss=Loss(pixels="sum"),
        coefficients=Coefficients(learning_rate=1e-3),
        schedules={"learning_rate": Schedule("cosine", warmup_epochs=1), "beta": Schedule(warmup_epochs=10)},
        training=Training(epochs=70, batch_size=32),
    )
