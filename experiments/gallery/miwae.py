"""MIWAE: the mean of several importance-weighted bounds.

With more codes, a bound approaches the likelihood, and the gradient of the encoder becomes noisier. MIWAE splits the
codes of an image into groups and averages the bounds of the groups. Its bound lies between the ELBO (groups of one) and
the IWAE (one group). Rainforth et al. 2018, arXiv 1802.04537.

    uv run experiments/gallery.py miwae --dataset mnist

Takes about 50 seconds of training on two shared CPU cores; negative log-likelihood 92.6 nats (500 samples).
"""

from pathlib import Path

import aejax


class MIWAE(aejax.Variational):
    """The `model.samples` codes of an image form `groups` groups of one size."""

    options = {"groups": 2}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.groups = config.model.options["groups"]
        if config.loss.bound != "importance" or self.groups < 1 or config.model.samples % self.groups:
            given = f"model.samples is {config.model.samples} and loss.bound {config.loss.bound}"
            raise aejax.InputError(f"{given}; MIWAE needs a multiple of {self.groups} (groups) and importance")

    def loss(self, clean, output, coefficients, context):
        def grouped(array):  # a group takes the place of an image
            return array.reshape(len(clean) * self.groups, -1, *array.shape[2:])

        posterior = aejax.Posterior(grouped(output.posterior.samples), grouped(output.posterior.log_ratio))
        codes = output.codes.repeat(self.groups, axis=0)
        each = aejax.Output(grouped(output.logits), codes, posterior)
        terms = super().loss(clean.repeat(self.groups, axis=0), each, coefficients, context)
        return {name: term.reshape(-1, self.groups).mean(axis=1) for name, term in terms.items()}


def get_config():
    iwae = aejax.load_config(Path(__file__).with_name("iwae.py"))
    return iwae.replace({"model.kind": "miwae.py:MIWAE"})
