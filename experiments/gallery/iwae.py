"""The importance-weighted autoencoder (IWAE), the baseline of MIWAE and PIWAE.

Several codes are drawn for each image, and the loss is the negative logarithm of the mean weight p(x, z) / q(z | x).
This bound lies above the ELBO and approaches the likelihood with more codes. Burda et al. 2016, arXiv 1509.00519.

    uv run experiments/gallery.py iwae --dataset mnist

Takes about 50 seconds of training on two shared CPU cores; negative log-likelihood 92.7 nats (500 samples).
"""

from pathlib import Path

import aejax


def get_config():
    vae = aejax.load_config(Path(__file__).with_name("vae.py"))
    return vae.replace({"loss.bound": "importance", "model.samples": 8})
