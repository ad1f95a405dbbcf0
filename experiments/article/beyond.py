"""Comparison of the models beyond the article with published results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aejax.evaluation import drawing

REPORTED = (
    ("convolutional", "bce", "test BCE", "0.0622, 50 epochs (keras-io)"),
    ("convolutional_denoising", "bce", "test BCE, σ = 0.4", "0.0839, 100 epochs (keras-io)"),
    ("vae_flax", "elbo", "test ELBO [nats]", "about -104 (Flax's example)"),
    ("vae", "nll", "test NLL [nats]", "89.78 (pythae), 86.76 (Burda et al.)"),
    ("iwae", "nll", "test NLL [nats]", "86.82 (pythae), 84.78 (Burda et al.)"),
    ("deep", "probe_code", "linear probe on the code of 32", "{probe_pca:.4f} (PCA of 32)"),
    ("deep", "knn_code", "nearest neighbours by the code of 32", "{knn_pca:.4f} (PCA of 32)"),
)
"""(model, metric of `aejax.evaluation.FIELDS`, its meaning, the other result) of each number to compare with ours

Names in braces stand for metrics of the same evaluation. Sources: the keras-io examples; the benchmark of pythae
(binary MNIST, 200 samples); Burda et al. 2016, table 1.
"""


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the measured entries of `REPORTED` as a Markdown table.

    Args:
        results: model → what `gallery.study.measure` returns; the first seed counts.
    """
    rows = []
    for model, metric, meaning, others in REPORTED:
        found = results[model]["seeds"][0] if model in results else None
        if found and (value := found["evaluation"][metric]) is not None:
            ours, minutes = f"{value:.{2 if abs(value) > 10 else 4}f}", f"{found['seconds'] / 60:.1f}"
            rows.append([model, meaning, others.format(**found["evaluation"]), ours, found["epochs"], minutes])
    return drawing.markdown(["model", "metric", "others", "aejax", "epochs", "minutes"], rows)
