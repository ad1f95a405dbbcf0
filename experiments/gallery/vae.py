"""The variational autoencoder 784-200-200-50-200-200-784, the baseline of the gallery.

The encoder gives means and log-variances of a code, the decoder logits of pixels. The loss is the negative ELBO with a
normal posterior and a standard normal prior. Images are binarized anew at every step. All models of images start from
this configuration. Kingma and Welling 2014, arXiv 1312.6114; layers of Burda et al. 2016, arXiv 1509.00519.

    uv run experiments/gallery.py vae --dataset mnist

Takes about 11 seconds of training on two shared CPU cores; negative log-likelihood 94.4 nats (500 samples).
"""

from pathlib import Path

import aejax


def get_config():
    vae = aejax.load_config(Path(__file__).parents[2] / "configs" / "mnist" / "vae.py")
    changes = {"training.epochs": 15, "training.batch_size": 128, "schedules.beta.warmup_epochs": 3}
    return vae.replace(changes | {"coefficients.learning_rate": 2e-3})
