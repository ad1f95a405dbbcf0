"""A loss on the clean target that is no sum over pixels: structural similarity of whole images (Wang et al. 2004)."""

import jax

import aejax


class Similar(aejax.Autoencoder):
    coefficients = {}

    def loss(self, clean, output, coefficients, context):
        x, y = clean.reshape(len(clean), -1), jax.nn.sigmoid(output.logits).reshape(len(clean), -1)
        dx, dy = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
        brightness = (2 * x.mean(axis=1) * y.mean(axis=1) + 1e-4) / (x.mean(axis=1) ** 2 + y.mean(axis=1) ** 2 + 1e-4)
        structure = (2 * (dx * dy).mean(axis=1) + 9e-4) / ((dx**2).mean(axis=1) + (dy**2).mean(axis=1) + 9e-4)
        return {"dissimilarity": 1 - brightness * structure}
