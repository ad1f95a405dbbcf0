"""Metrics of single models of the gallery, in addition to `aejax.evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from aejax import Dataset, Run
from aejax.evaluation.figures import image_rows
from aejax.evaluation.measures import entropy_bits
from aejax.models import losses
from aejax.models.randomness import per_example, stream
from aejax.training import unit_interval
from gallery import LARGE, VECTORS, recovery


def codebook_use(codes: np.ndarray, entries: int, width: int) -> dict[str, float]:
    """Measure the use of a codebook: codes float32[N, code_size] → metrics by name.

    Args:
        codes: groups of `width` units; each group is one of `entries` vectors.

    Returns:
        perplexity: exponential of the entropy of all groups together.
        codebook_use: share of the entries that occur.
        bits: length of a code without compression.
        bits_entropy: length of a code after an ideal entropy coder of each group.
    """
    groups = codes.reshape(len(codes), -1, width)
    _, which, counts = np.unique(groups.reshape(-1, width), axis=0, return_inverse=True, return_counts=True)
    shares = counts / counts.sum()
    return {
        "perplexity": float(np.exp(-(shares * np.log(shares)).sum())),
        "codebook_use": len(counts) / entries,
        "bits": groups.shape[1] * math.log2(entries),
        "bits_entropy": entropy_bits(which.reshape(groups.shape[:2])),
    }


def of_each_class(run: Run, count: int) -> np.ndarray:
    """Sample images of every class from the model `conditional`: float32[classes, count, H, W, C]."""
    classes = run.autoencoder.classes
    keys = per_example(stream(0, "sample"), np.arange(3 * classes * count))
    codes = np.asarray(run.autoencoder.prior(keys))
    return np.stack([run.decode(codes[codes[:, number - classes] == 1][:count]) for number in range(classes)])


def label_accuracy(run: Run, dataset: Dataset) -> dict[str, float]:
    """Classify 100 sampled images of each class, and the test images: the share of correct classes of both.

    The classifier is a support vector machine, trained on the first 10,000 training images.
    """
    from sklearn.svm import SVC

    def flat(images: np.ndarray) -> np.ndarray:
        return unit_interval(images).reshape(len(images), -1)

    names, numbers = np.unique(dataset.train_labels, return_inverse=True)
    classifier = SVC(C=10).fit(flat(dataset.train[:10_000]), numbers[:10_000])
    drawn = of_each_class(run, 100)[: len(names)]
    found = classifier.predict(flat(np.concatenate(drawn))).reshape(len(names), -1)
    return {
        "label_accuracy": float((found == np.arange(len(names))[:, None]).mean()),
        "classifier_accuracy": float((names[classifier.predict(flat(dataset.test))] == dataset.test_labels).mean()),
    }


def _ladder(run: Run, dataset: Dataset) -> dict[str, float]:
    """Measure the KL divergence of each layer [nats], of the lower layer given the upper one.

    A lower unit that only repeats the upper layer adds nothing. An upper unit counts as active from 0.01 nats.
    """
    mean, log_variance = run.autoencoder.moments(run.corrupt(dataset.test))
    lower = run.autoencoder.lower
    upper = np.asarray(losses.normal_kl(mean[:, lower:], log_variance[:, lower:]), np.float64).mean(axis=0)
    whole = run.summary["test"]["kl"] / run.config.coefficients["beta"]
    return {
        "nats_lower": whole - float(upper.sum()),
        "nats_upper": float(upper.sum()),
        "active_upper": int((upper > 0.01).sum()),
    }


def _fsq(run: Run, dataset: Dataset) -> dict[str, float]:
    levels = run.config.model.options["levels"]
    return codebook_use(np.round(run.encode(dataset.test), 3), math.prod(levels), len(levels))


def _tc_vae(run: Run, dataset: Dataset) -> dict[str, float]:
    names, weights = ("information", "total_correlation", "unit_kl"), run.config.coefficients
    return {name: run.summary["test"][name] / weights[name] / weights["beta"] for name in names}


def _discretised_logistic(run: Run, dataset: Dataset) -> dict[str, float]:
    from claims.compression import lossless

    return dict(zip(("png_bits_per_pixel", "png_data_bits_per_pixel"), lossless(dataset.test[:1000]), strict=True))


MEASURES: dict[str, Callable[[Run, Dataset], dict[str, float]]] = {
    "vq_vae": lambda run, dataset: codebook_use(run.encode(dataset.test), *run.state.extra["book"].shape),
    "fsq": _fsq,
    "tc_vae": _tc_vae,
    "ladder": _ladder,
    "conditional": label_accuracy,
    "discretised_logistic": _discretised_logistic,
    **dict.fromkeys(VECTORS + LARGE, recovery.of_run),
}
"""model → function of its own metrics, beyond those of `aejax.evaluate`"""

FIGURES: dict[str, Callable[[Run], Figure]] = {
    "conditional": lambda run: image_rows(
        {f"class {number}": images for number, images in enumerate(of_each_class(run, 10))}
    ),
}
"""model → function of its own figure"""
