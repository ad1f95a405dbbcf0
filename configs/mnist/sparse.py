"""Sparse autoencoder of the article: the standard model with an L1 penalty on the code.

    uv run experiments/train.py configs/mnist/sparse.py

Takes about 4 s of training on two CPU cores; test total 0.102, mean code 0.78 (the article: 0.10195, 0.777).

The article's l1(10e-6) is a sum over a batch of 32 in its version of Keras: 3.2e-4 per example.
"""

from pathlib import Path

from aejax import Config, load_config


def get_config() -> Config:
    return load_config(Path(__file__).with_name("standard.py")).replace({"coefficients.l1": 3.2e-4})
