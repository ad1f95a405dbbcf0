"""What single models of the gallery have to show, beside the evaluation that all of them get."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

from aejax import Dataset, Run
from aejax.evaluation import figures
from aejax.evaluation.measures import entropy_bits
from aejax.models import losses
from aejax.models.randomness import per_example, stream
from aejax.training import unit_interval
from gallery import LARGE, VECTORS, recovery

_KNOWN, _EACH, _PNG = 10_000, 100, 1000


def codebook_use(codes: np.ndarray, entries: int, width: int) -> dict[str, float]:
    """Codes float32[N, code_size] of groups of `width` units, each one of `entries` vectors → figures by name.

    `perplexity` is the exponential of the entropy of all groups together; `codebook_use` the share of the entries that
    occur; `bits` what a code takes as it is, and `bits_entropy` after an ideal coder of each group by itself.
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


def of_each_class(run: Run, count: int, seed: int = 0) -> np.ndarray:
    """New images of every class, of a model whose code ends with a unit for each: float32[classes, count, H, W, C].

    Their codes are from the model's prior, the first that are of the class.
    """
    classes = run.autoencoder.classes
    keys = per_example(stream(seed, "sample"), np.arange(3 * classes * count))
    codes = np.asarray(run.autoencoder.prior(keys))
    return np.stack([run.decode(codes[codes[:, number - classes] == 1][:count]) for number in range(classes)])


def label_accuracy(run: Run, dataset: Dataset) -> dict[str, float]:
    """How many of 100 new images of each class a classifier takes for such, and how many test images it gets right.

    It is a support vector machine, trained on the first 10,000 training images.
    """
    from sklearn.svm import SVC

    names, numbers = np.unique(dataset.train_labels, return_inverse=True)
    classifier = SVC(C=10).fit(_flat(dataset.train[:_KNOWN]), numbers[:_KNOWN])
    drawn = of_each_class(run, _EACH)[: len(names)]
    found = classifier.predict(_flat(drawn.reshape(-1, *drawn.shape[2:]))).reshape(len(names), _EACH)
    return {
        "label_accuracy": float((found == np.arange(len(names))[:, None]).mean()),
        "classifier_accuracy": float((names[classifier.predict(_flat(dataset.test))] == dataset.test_labels).mean()),
    }


def _vq_vae(run: Run, dataset: Dataset) -> dict[str, float]:
    return codebook_use(run.encode(dataset.test), *run.state.extra["book"].shape)


def _fsq(run: Run, dataset: Dataset) -> dict[str, float]:
    levels = run.config.model.options["levels"]
    return codebook_use(np.round(run.encode(dataset.test), 3), math.prod(levels), len(levels))


def _parts_of_the_divergence(run: Run, dataset: Dataset) -> dict[str, float]:
    names, beta = ("information", "total_correlation", "unit_kl"), run.config.coefficients["beta"]
    return {name: run.summary["test"][name] / run.config.coefficients[name] / beta for name in names}


def _use_of_layers(run: Run, dataset: Dataset) -> dict[str, float]:
    """Nats that each layer's posterior is from its prior, for the lower one from that given the upper one.

    A lower unit that only repeats what the upper layer says does not add to them. An upper unit is active from 0.01 on.
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


def _against_png(run: Run, dataset: Dataset) -> dict[str, float]:
    from claims.compression import lossless

    whole, data = lossless(dataset.test[:_PNG])
    return {"png_bits_per_pixel": whole, "png_data_bits_per_pixel": data}


MEASURES: dict[str, Callable[[Run, Dataset], dict[str, float]]] = {
    "vq_vae": _vq_vae,
    "fsq": _fsq,
    "tc_vae": _parts_of_the_divergence,
    "ladder": _use_of_layers,
    "conditional": label_accuracy,
    "discretised_logistic": _against_png,
    **dict.fromkeys(VECTORS + LARGE, recovery.of_run),
}

PICTURES: dict[str, Callable[[Run], Figure]] = {
    "conditional": lambda run: figures.image_rows(
        {f"class {number}": row for number, row in enumerate(of_each_class(run, 10))}
    ),
}


def _flat(images: np.ndarray) -> np.ndarray:
    return unit_interval(images).reshape(len(images), -1)
