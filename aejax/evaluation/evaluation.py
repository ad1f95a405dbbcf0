"""One trained model → one flat dictionary of figures, ready for JSON."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.config.user_files import names_data
from aejax.data import Dataset, as_dataset, is_path, load_dataset
from aejax.evaluation import classes, measures
from aejax.evaluation.fitting import load
from aejax.evaluation.likelihood import likelihood
from aejax.evaluation.run import Run
from aejax.models import Variational, losses
from aejax.training import unit_interval

FIELDS = {
    "dataset": "name of the images",
    "test_images": "how many images all this is measured on",
    "step": "training steps of the model",
    "parameters": "numbers that were trained",
    "code_size": "units of the code",
    "bce": "binary cross-entropy between test images and reconstructions [nats per pixel]",
    "nats": "the same, summed over the pixels [nats per image]",
    "mse": "mean squared error per pixel or feature, on the scale of the data (of uint8, from 0 to 1)",
    "variance_explained": "1 - squared error / variance, of standardized vectors where the model was trained on such",
    "psnr": "peak signal-to-noise ratio, mean over images [dB], of the range of those trained on; at most 100",
    "ssim": "structural similarity, mean over images, windows of 7x7 (smaller for images below 14 pixels)",
    "code_mean": "of the code's values over test images and units",
    "code_variance": "of the same",
    "code_fraction_zero": "share of them that are exactly 0",
    "code_l0": "units that are not 0, mean over images",
    "dead_units": "units whose value is the same for every test image",
    "effective_rank": "exp of the entropy of the normalised singular values of the centred codes",
    "probe_code": "test accuracy of a linear classifier on the code, learnt from (at most 10,000) training images",
    "probe_pixels": "the same from the pixels",
    "probe_pca": "the same from as many principal components as the code has units (at most as there are pixels)",
    "knn_code": "test accuracy of the 5 nearest of those training images, by the code",
    "knn_pixels": "the same by the pixels",
    "knn_pca": "the same by the principal components",
    "bits_8": "bits per example of a code of 8 bits per unit",
    "bits_entropy": "the same after an ideal entropy coder of each unit by itself",
    "psnr_8": "peak signal-to-noise ratio of the images decoded from that code [dB]",
    "elbo": "evidence lower bound [nats per image], the reconstruction averaged over the samples",
    "kl": "divergence of the code's distribution from the prior [nats per image]",
    "active_units": "units whose mean varies by more than 0.01 over the test images (Burda et al. 2016)",
    "nll": "negative log-likelihood by importance sampling [nats per image]",
    "nll_standard_error": "of its mean over the test images, taken as a sample of all images",
    "nll_sampling_error": "the part of that which is due to the number of samples",
    "samples": "codes drawn for each image to estimate it",
}
"""every figure of an evaluation and its meaning, in the order in which they come"""


def evaluate(
    run: Run | str | Path,
    dataset: Any = None,
    *,
    samples: int = 500,
    models: str | Path | Iterable[str | Path] = (),
) -> dict[str, Any]:
    """Measure a trained model on its test images.

    Reconstructions and the values of the code are those of the evaluation in training: of binarized images where
    the model was trained on them, of corrupted ones, against the clean image, where it was trained to denoise. A
    variational model's code is the mean. Classes are predicted from the code of the images as they are.

    Args:
        run: a run, or the workdir of one.
        dataset: the images, as `aejax.fit` takes them; of an array all are test images, unless it is the one that the
            run was trained on. None takes those that the run was trained on, see `trained_on`.
        samples: codes drawn for each image to estimate the likelihood under a variational model; 0 leaves it out.
        models: files of its author's that a workdir's run needs, as in `aejax.load`.

    Returns:
        all of `FIELDS`; None where one does not apply: cross-entropy and likelihood where the loss is squared error,
        the likelihood where the model is not variational, accuracies where there are no classes, what is for images
        where the examples are vectors.

    Raises:
        InputError: there is no run, or the images do not fit the model.
    """
    if not isinstance(run, Run | str | os.PathLike):
        raise InputError(f"the run is of the type {type(run).__name__}; give a Run, or the workdir of one")
    run = run if isinstance(run, Run) else load(run, models=models)
    if samples < 0:
        raise InputError(f"samples is {samples}; it must be at least 0")
    dataset = trained_on(run) if dataset is None else _given(run, dataset)
    images, seen = run.evaluation_inputs(dataset.test)
    codes = run.encode(seen)
    figures: dict[str, Any] = {
        "dataset": dataset.name,
        "test_images": len(images),
        "step": int(run.state.step),
        "parameters": run.parameters,
        "code_size": codes.shape[1],
        **_reconstruction(run, codes, images),
        **measures.code_measures(codes),
        **_classes(run, dataset),
        **_quantised(run, dataset, codes, images),
        **_variational(run, run.standardized_inputs(dataset.test)[0], samples),
    }
    return {name: figures.get(name) for name in FIELDS}


def images_of(run: Run, name: str | None, source_dir: str | Path | None) -> Dataset:
    """The images that a user names for a run, or without a name those that it was trained on."""
    return trained_on(run, source_dir) if name is None else load_dataset(name, source_dir, run.config.data.channels)


def trained_on(run: Run, source_dir: str | Path | None = None) -> Dataset:
    """The images that a run was trained on: those given to `fit`, or else the dataset of that name.

    A workdir is data: no file that it names is read unless the user names it.

    Raises:
        InputError: they must be named or handed over, or what has that name are other images.
    """
    if run.dataset is not None:
        return run.dataset
    recorded = run.description["dataset"]
    name = recorded["name"]
    own = names_data(run.config.data.name)  # the caller named its file, see `replaced`
    advice = "hand them over: --dataset NAME_OR_PATH, or in Python aejax.evaluate(run, images)"
    if not own and (is_path(name) or name == "array" or not re.fullmatch(r"[\w-]+(/[\w.-]+)?(:[\d.*]+)?", name)):
        raise InputError(f"the run was trained on images from {name!r}, which it may not read by itself; {advice}")
    dataset = load_dataset(run.config.data.name if own else name, source_dir, run.config.data.channels)
    if dataset.fingerprint != recorded["fingerprint"]:
        raise InputError(f"the run was trained on other images than those named {name!r} here; {advice}")
    return dataset


def _given(run: Run, given: Any) -> Dataset:
    """The user's own images; of an array of others than those trained on, all are test images."""
    dataset = as_dataset(given, run.config)
    if dataset.set_aside and dataset.fingerprint != run.description["dataset"]["fingerprint"]:
        every = np.concatenate([dataset.train, dataset.test])
        return Dataset(dataset.name, every, every)  # no labels: a classifier would be asked what it learnt
    return dataset


def _reconstruction(run: Run, codes: np.ndarray, images: np.ndarray) -> dict[str, Any]:
    reconstructed = run.decode(codes)
    figures = {
        "mse": float(np.square(images.astype(np.float64) - reconstructed).mean()),
        "variance_explained": measures.variance_explained(images, reconstructed, run.standardization),
    }
    if not run.vectors and run.range is not None:
        pair = _shown(run, images), _shown(run, reconstructed)
        similarity = measures.ssim(*pair)
        figures["psnr"] = float(measures.psnr(*pair).mean())
        figures["ssim"] = None if similarity is None else float(similarity.mean())
    if run.config.loss.reconstruction == "bce":
        figures["bce"] = cross_entropy(run, codes, images)
        figures["nats"] = figures["bce"] * math.prod(images.shape[1:])
    return figures


def cross_entropy(run: Run, codes: np.ndarray, images: np.ndarray) -> float:
    """Nats per pixel between images float32[N, H, W, C] in [0, 1] and what the model decodes from the codes."""
    logits = run.logits(codes)
    each = losses.binary_cross_entropy(logits, images.reshape(logits.shape))
    return float(np.asarray(each, np.float64).mean())


def errors(run: Run, codes: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Of each image and what is decoded from its code: float64[N].

    Means over pixels of the loss, cross-entropy in nats or squared error, on the scale on which the model is trained.

    Args:
        images: float32[N, H, W, C], the target as the model meets it (`Run.standardized_inputs`).
    """
    if run.config.loss.reconstruction == "bce":
        return np.asarray(losses.binary_cross_entropy(run.logits(codes), images), np.float64)
    return np.square(run.logits(codes).astype(np.float64) - images).mean(axis=(1, 2, 3))


def _classes(run: Run, dataset: Dataset) -> dict[str, Any]:
    if dataset.train_labels is None or dataset.test_labels is None:
        return {}
    learnt = classes.chosen(len(dataset.train))
    train, labels = dataset.train[learnt], np.asarray(dataset.train_labels)[learnt]
    if len(np.unique(labels)) < 2:
        return {}
    pixels = [_flat(part) for part in (train, dataset.test)]
    codes = [run.encode(part) for part in (train, dataset.test)]
    figures = {}
    for name, (known, asked) in {
        "code": codes,
        "pixels": pixels,
        "pca": classes.pca(*pixels, codes[0].shape[1]),
    }.items():
        figures[f"probe_{name}"] = classes.linear_probe(known, labels, asked, dataset.test_labels)
        figures[f"knn_{name}"] = classes.knn(known, labels, asked, dataset.test_labels)
    return figures


def _quantised(run: Run, dataset: Dataset, codes: np.ndarray, images: np.ndarray) -> dict[str, Any]:
    known = run.encode(run.evaluation_inputs(dataset.train[classes.chosen(len(dataset.train))])[1])
    low, high = known.min(axis=0), known.max(axis=0)
    levels = measures.quantise(codes, low, high)
    figures = {"bits_8": 8 * codes.shape[1], "bits_entropy": measures.entropy_bits(levels)}
    if not run.vectors and run.range is not None:
        decoded = run.decode(measures.dequantise(levels, low, high))
        figures["psnr_8"] = float(measures.psnr(_shown(run, images), _shown(run, decoded)).mean())
    return figures


def _shown(run: Run, images: np.ndarray) -> np.ndarray:
    """Images from 0 to 1 where they were on the range of those trained on, as one would show them."""
    low, high = run.range
    return (np.clip(images, low, high) - low) / max(high - low, 1e-12)


def _variational(run: Run, images: np.ndarray, samples: int) -> dict[str, Any]:
    if not run.is_variational or samples == 0:
        return {}
    model = run.autoencoder
    if type(model).log_likelihood is Variational.log_likelihood and run.config.loss.reconstruction != "bce":
        return {}
    if type(model).__call__ is not Variational.__call__ and type(model).draw is Variational.draw:
        raise InputError(
            f"{type(model).__name__} has a __call__ of its own and no draw(images, keys, count): its likelihood cannot "
            "be estimated; define draw, or leave the likelihood out (samples=0)"
        )
    found = likelihood(model, images, samples)
    count = len(images)
    return {
        "elbo": found.elbo,
        "kl": float(found.kl.mean()),
        "active_units": found.active_units,
        "nll": float(found.nll.mean()),
        "nll_standard_error": float(found.nll.std(ddof=1) / math.sqrt(count)) if count > 1 else None,
        "nll_sampling_error": float(math.sqrt(found.sampling_variance.sum()) / count),
        "samples": samples,
    }


def _flat(images: np.ndarray) -> np.ndarray:
    return unit_interval(np.asarray(images)).reshape(len(images), -1)
