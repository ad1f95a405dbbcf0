"""Variational autoencoder of vae.py, trained on the importance-weighted bound of 50 samples (Burda et al. 2016).

    uv run experiments/train.py configs/mnist/iwae.py

Takes about 15 minutes on two CPU cores; negative log-likelihood 87.9 nats (500 samples).
"""

from pathlib import Path

from aejax import Config, load_config


def get_config() -> Config:
    vae = load_config(Path(__file__).with_name("vae.py"))
    return vae.replace({"loss.bound": "importance", "model.samples": 50})
