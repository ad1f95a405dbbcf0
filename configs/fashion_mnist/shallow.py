"""Shallow autoencoder of configs/mnist on Fashion-MNIST.

uv run experiments/train.py configs/fashion_mnist/shallow.py
"""

from pathlib import Path

from aejax import Config, load_config


def get_config() -> Config:
    mnist = load_config(Path(__file__).parents[1] / "mnist" / "shallow.py")
    return mnist.replace({"data.name": "fashion_mnist"})
