"""Metrics of single models of the gallery, in addition to `aejax.evaluate`."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from aejax import Dataset, Run, load_dataset
from aejax.evaluation.measures import entropy_bits
from aejax.models import losses
from aejax.models.randomness import per_example, stream
from aejax.training import unit_interval
from gallery import LARGE, VECTORS, recovery
from gallery.wae_mmd import discrepancy


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
    return {
        "perplexity": 2 ** entropy_bits(which.reshape(-1, 1)),
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


def _flat(images: np.ndarray) -> np.ndarray:
    return unit_interval(images).reshape(len(images), -1)


def _classify(dataset: Dataset, images: np.ndarray) -> np.ndarray:
    """Predict the class of each image by a support vector machine, trained on at most 10,000 labelled images."""
    from sklearn.svm import SVC

    labels = dataset.class_indices()[0]
    learnt = np.flatnonzero(labels >= 0)[:10_000]
    return SVC(C=10).fit(_flat(dataset.train[learnt]), labels[learnt]).predict(_flat(images))


def label_accuracy(run: Run, dataset: Dataset) -> dict[str, float]:
    """Classify 100 sampled images of each class, and the test images: the share of correct classes of both."""
    labels = dataset.class_indices()[1]
    drawn = of_each_class(run, 100)[: len(np.unique(dataset.train_labels))]
    found = _classify(dataset, np.concatenate([*drawn, unit_interval(dataset.test)]))
    sampled, tested = np.split(found, [100 * len(drawn)])
    return {
        "label_accuracy": float((sampled.reshape(len(drawn), -1) == np.arange(len(drawn))[:, None]).mean()),
        "classifier_accuracy": float((tested == labels).mean()),
    }


def frechet(images: np.ndarray, others: np.ndarray, components: int = 50) -> float:
    """Return the Fréchet distance of normal distributions with the means and covariances of two sets of images.

    Heusel et al. 2017, arXiv 1706.08500, with the first principal components of the pixels of `others` in place of the
    features of a network.
    """
    images, others = np.float64(_flat(images)), np.float64(_flat(others))
    axes = np.linalg.svd(others - others.mean(axis=0), full_matrices=False)[2][:components]
    some, rest = images @ axes.T, others @ axes.T
    common = np.linalg.eigvals(np.cov(some.T) @ np.cov(rest.T)).real
    traces = some.var(axis=0, ddof=1).sum() + rest.var(axis=0, ddof=1).sum()
    distance = np.square(some.mean(axis=0) - rest.mean(axis=0)).sum()
    return float(distance + traces - 2 * np.sqrt(np.maximum(common, 0)).sum())


def sampling(run: Run, dataset: Dataset) -> dict[str, float]:
    """Compare as many sampled images as there are test images with the test images."""
    return {"frechet": frechet(run.sample(len(dataset.test)), dataset.test)}


def _without_density(run: Run, dataset: Dataset) -> dict[str, float]:
    """Compare sampled images with the test images, and 2,000 codes of test images with draws of the prior."""
    codes = run.encode(run.corrupt(dataset.test[:2000]))
    draws = run.autoencoder.prior(per_example(stream(1, "sample"), np.arange(len(codes))))
    distance = discrepancy(jnp.asarray(codes), draws, (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))
    return sampling(run, dataset) | {"discrepancy": float(distance)}


def _masked(run: Run, dataset: Dataset) -> dict[str, float]:
    """Measure the squared error of hidden patches, and that of the mean training image there."""
    mean = _flat(dataset.train).mean(axis=0)
    return {
        "hidden_mse": run.summary["test"]["reconstruction"],
        "hidden_mse_of_mean": float(np.square(_flat(dataset.test) - mean).mean()),
    }


def _gumbel_softmax(run: Run, dataset: Dataset) -> dict[str, float]:
    width = run.config.model.options["width"]
    chosen = run.encode(run.corrupt(dataset.test)).reshape(len(dataset.test), -1, width).argmax(axis=2)
    return {"bits": chosen.shape[1] * math.log2(width), "bits_entropy": entropy_bits(chosen)}


def _semi_supervised(run: Run, dataset: Dataset) -> dict[str, float]:
    known, labels = dataset.class_indices()[:2]
    return {
        "labels": int((known >= 0).sum()),
        "accuracy": run.summary["test"]["accuracy"],
        "classifier_accuracy": float((_classify(dataset, dataset.test) == labels).mean()),
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


def _transcoder(run: Run, dataset: Dataset) -> dict[str, float]:
    """Measure the prediction of the targets, that of a linear map, and the directions of the input.

    The vectors of `transcoder.layer` have known features, as those of sparse_features_512.
    """
    inputs, targets = np.float64(dataset.train), np.float64(dataset.train_targets)
    offset, scale = inputs.mean(axis=0), targets.mean(axis=0)
    linear = np.linalg.lstsq(inputs - offset, targets - scale, rcond=None)[0]
    codes, wanted = run.encode(dataset.test), np.float64(dataset.test_targets)
    variance = np.square(wanted - wanted.mean(axis=0)).sum()
    predicted = {"unexplained": run.decode(codes), "unexplained_linear": (dataset.test - offset) @ linear + scale}
    found = {name: float(np.square(each - wanted).sum() / variance) for name, each in predicted.items()}
    found |= {"l0": float((codes != 0).sum(axis=1).mean()), "dead": int((codes == 0).all(axis=0).sum())}
    if dataset.name != "layer":
        return found
    truth, rows = load_dataset("sparse_features_512").truth, np.asarray(run.autoencoder.encoder[...])
    read = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return found | recovery.against(read, codes, truth.directions, truth.activations())


MEASURES: dict[str, Callable[[Run, Dataset], dict[str, float]]] = {
    "vq_vae": lambda run, dataset: codebook_use(run.encode(dataset.test), *run.state.extra["book"].shape),
    "fsq": _fsq,
    "tc_vae": _tc_vae,
    "ladder": _ladder,
    "vae": sampling,
    "conditional": label_accuracy,
    "semi_supervised": _semi_supervised,
    "gumbel_softmax": _gumbel_softmax,
    "adversarial": _without_density,
    "wae_mmd": _without_density,
    "masked": _masked,
    "transcoder": _transcoder,
    "discretised_logistic": _discretised_logistic,
    **dict.fromkeys(VECTORS + LARGE, recovery.of_run),
}
"""model → function of its own metrics, beyond those of `aejax.evaluate`"""
