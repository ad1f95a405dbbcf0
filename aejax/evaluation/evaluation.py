"""Metrics of one trained model, in a flat dictionary for JSON."""

import functools
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import InputError
from aejax.config.checks import require
from aejax.config.user_files import names_data
from aejax.data import Dataset, as_dataset, is_known, is_path, load_dataset
from aejax.data.pixels import scale
from aejax.evaluation import measures
from aejax.evaluation.accepted import filled
from aejax.evaluation.fitting import load
from aejax.evaluation.likelihood import exact, in_chunks, likelihood
from aejax.evaluation.run import Run
from aejax.models import Variational, losses
from aejax.training import Steps, build_steps, for_evaluation, memoised, unit_interval
from aejax.training.epoch import mean_of_known
from aejax.training.step import values_of

FIELDS = {
    "dataset": "name of the dataset",
    "test_images": "number of test examples",
    "step": "training steps of the model",
    "parameters": "number of parameters, without those that no gradient reaches (`training.frozen` counts)",
    "code_size": "units of the code",
    "bce": "binary cross-entropy between test examples and reconstructions [nats per pixel; per channel value if"
    " an image has channels, per feature of vectors]",
    "nats": "binary cross-entropy, summed over the values of an example [nats per example]",
    "mse": "mean squared error per pixel, channel value or feature, on the scale of the data (uint8: 0 to 1)",
    "variance_explained": "1 - squared error / variance; of the standardized vectors where the model standardizes",
    "feature_errors": "squared error / variance of each named feature of vectors",
    "psnr": "peak signal-to-noise ratio, mean over images [dB], of the range of the training images; at most 100",
    "ssim": "structural similarity, mean over images, windows of 7x7 (smaller for images below 14 pixels)",
    "code_mean": "mean of the code over test examples and units",
    "code_variance": "variance of the code over test examples and units",
    "code_fraction_zero": "share of the code that is exactly 0",
    "code_l0": "units that are not 0, mean over test examples",
    "dead_units": "units that have the same value for every test example (of several)",
    "effective_rank": "exp of the entropy of the normalised singular values of the centred codes",
    "probe_code": "test accuracy of a linear classifier on the code, trained on at most 10,000 training examples",
    "probe_pixels": "test accuracy of a linear classifier on the pixels, or features of vectors",
    "probe_pca": "test accuracy of a linear classifier on code_size principal components (at most one per value)",
    "knn_code": "test accuracy of the 5 nearest of the same training examples, by the code",
    "knn_pixels": "test accuracy of the 5 nearest training examples, by the pixels or features",
    "knn_pca": "test accuracy of the 5 nearest training examples, by the principal components",
    "bits_8": "bits per example of a code quantised to 8 bits per unit",
    "bits_entropy": "bits per example of the quantised code after an ideal entropy coder of each unit",
    "psnr_8": "peak signal-to-noise ratio of the images decoded from the quantised code [dB]",
    "elbo": "evidence lower bound [nats per example], with the reconstruction averaged over the samples",
    "kl": "divergence of the code's distribution from the prior [nats per example]",
    "active_units": "units whose mean varies by more than 0.01 over the test examples (Burda et al. 2016)",
    "nll": "negative log-likelihood by importance sampling [nats per example]",
    "nll_standard_error": "standard error of the mean nll, with the test examples as a sample of all examples",
    "nll_sampling_error": "part of nll_standard_error that more samples would remove",
    "samples": "codes drawn for each example to estimate nll",
    "metrics": "the model's own metrics by name, means over the test examples",
}
"""metric → its meaning, in the order of an evaluation"""


def evaluate(
    run: Run | str | Path, dataset: Any = None, *, samples: int = 500, models: str | Path | Iterable[str | Path] = ()
) -> dict[str, Any]:
    """Measure a trained model on its test examples.

    Reconstructions and codes are computed as in the evaluation during training. Images are binarized if the model was
    trained on binarized images. A denoising model gets corrupted images, and its target is the clean image. The code
    of a variational model is the mean. Classes are predicted from the code of the clean images.

    Args:
        run: a run, or the workdir of a run.
        dataset: the examples, in any form that `aejax.fit` takes, or a single example. All examples of an array are
            test examples, unless the run was trained on this array. None takes the dataset of the training, see
            `images_of`.
        samples: codes drawn for each image to estimate the likelihood under a variational model; 0 skips the estimate.
        models: Python files of the run's author that the workdir needs, as in `aejax.load`.

    Returns:
        All names of `FIELDS`. The value is None where the metric does not apply. Cross-entropy and likelihood need the
        loss "bce", the likelihood needs a variational model, accuracies need classes, and PSNR and SSIM need images.
        With targets of the dataset's own, reconstructions are compared with the targets. Examples without a class are
        left out of accuracies. A model whose `decode` returns no examples has no metrics of reconstructions.

    Raises InputError: the workdir holds no run, or the examples do not fit the model.
    """
    if isinstance(run, Run):
        require(not models, "models", models, "left out with a Run, which has its model")
    else:
        run = load(run, models=models)
    require(samples >= 0, "samples", samples, "at least 0")
    dataset = np.asarray(dataset)[None] if run.is_one(dataset) else dataset
    if hasattr(dataset, "shape") and len(dataset) == 1:  # a single example cannot be split
        dataset = {"train": dataset, "test": dataset}
    dataset = tested(run, images_of(run) if dataset is None else as_dataset(dataset, run.config))
    targets = run.targets_of(dataset)
    images, seen = run.evaluation_inputs(dataset.test, targets)
    target = run.standardized_inputs(dataset.test, targets)[0]
    codes = run.encode(seen)
    return dict.fromkeys(FIELDS) | {
        "dataset": dataset.name,
        "test_images": len(images),
        "step": int(run.state.step),
        "parameters": run.parameters,
        "code_size": codes.shape[1],
        **_reconstruction(run, dataset, codes, images, target),
        **measures.code_measures(codes),
        **_classes(run, dataset),
        **(_variational(run, target, samples) if targets is None and not np.isnan(target).any() else {}),
        "metrics": _own_metrics(run, dataset),
    }


def tested(run: Run, dataset: Dataset) -> Dataset:
    """Return a dataset whose test examples are all examples of an array that the run was not trained on.

    Raises InputError: the names of the features differ from those of the training.
    """
    names, trained = dataset.feature_names, run.identity.dataset.feature_names
    if names and trained and names != trained:
        raise InputError(f"{dataset.name} has the columns {', '.join(names)}; the run takes {', '.join(trained)}")
    if not dataset.set_aside or dataset.fingerprint == run.identity.dataset.fingerprint:
        return dataset
    every = np.concatenate([dataset.train, dataset.test])
    targets = None
    if dataset.target_shape is not None:
        targets = np.concatenate([dataset.train_targets, dataset.test_targets])
    # Without labels, since a probe would train on its test examples.
    return Dataset(dataset.name, every, every, train_targets=targets, test_targets=targets, feature_names=names)


def images_of(run: Run, name: str | None = None, source_dir: str | Path | None = None) -> Dataset:
    """Load the dataset that the user names for a run, or else the dataset that the run was trained on.

    This function reads no file that only the workdir names, since a workdir is untrusted data.

    Raises InputError: the user must name or give the dataset, or the dataset of the recorded name has other examples.
    """
    if name is not None:
        return load_dataset(name, source_dir, **run.config.data.reading)
    if run.dataset is not None:
        return run.dataset
    recorded = run.identity.dataset
    name, own = recorded.name, names_data(run.config.data.name)  # the caller named the file of an own dataset
    advice = "give the dataset: --dataset NAME_OR_PATH, or in Python aejax.evaluate(run, dataset)"
    if not own and (is_path(name) or name == "array" or not re.fullmatch(r"[\w-]+(/[\w.-]+)?(:[\d.*]+)?", name)):
        raise InputError(f"the run was trained on {name!r}, and a workdir may not name a file to be read; {advice}")
    dataset = load_dataset(run.config.data.name if own else name, source_dir, **run.config.data.reading)
    if dataset.fingerprint != recorded.fingerprint:
        raise InputError(f"the run was trained on other examples than those of {name!r} here; {advice}")
    return dataset


def errors(run: Run, codes: np.ndarray, images: np.ndarray, by_value: bool = False) -> np.ndarray:
    """Return the error of each image, decoded from its code: nats or squared error, mean over all values, float64[N].

    Nats need `Run.logits_are_of_probabilities`.

    Args:
        images: float32[N, H, W, C], the target on the scale of the model's loss (`Run.standardized_inputs`).
        by_value: return the error of each value instead, float64[N * H * W * C].
    """
    nats, flat = run.logits_are_of_probabilities, (images.size if by_value else len(images), 1, 1, -1)
    made = (run.logits(codes) if nats else run.standardized_outputs(codes)).reshape(flat)
    name, images = "bce" if nats else "mse", images.reshape(flat)
    return np.asarray(_errors(name, made, images), np.float64)


@functools.partial(jax.jit, static_argnums=0)
def _errors(name: str, made: jax.Array, images: jax.Array) -> jax.Array:
    made, images, share = losses.of_observed(name, made, images, ~jnp.isnan(images))
    return losses.RECONSTRUCTIONS[name](made, images) / share


def _reconstruction(
    run: Run, dataset: Dataset, codes: np.ndarray, images: np.ndarray, target: np.ndarray
) -> dict[str, Any]:
    known = run.encode(run.corrupt(dataset.train[measures.chosen(len(dataset.train))]))
    low, high = known.min(axis=0), known.max(axis=0)
    levels = measures.quantise(codes, low, high)
    entropy = measures.entropy_bits(levels) if len(codes) > 1 else None  # of frequencies
    metrics = {"bits_8": 8 * codes.shape[1], "bits_entropy": entropy}
    if not run.reconstructs:
        return metrics
    reconstructed = run.decode(codes)
    metrics |= {
        "mse": float(np.nanmean(np.square(images.astype(np.float64) - reconstructed))),
        "variance_explained": measures.variance_explained(target, run.standardized_outputs(codes)),
    }
    span = run.identity.dataset.range if run.targets_of(dataset) is None else scale(dataset.train_targets)
    if not run.vectors and images.ndim == 4:
        least, most = span

        def unit_scaled(pixels: np.ndarray) -> np.ndarray:
            return (np.clip(pixels, least, most) - least) / max(most - least, 1e-12)

        pair = unit_scaled(images), unit_scaled(reconstructed)
        similarity = measures.ssim(*pair)
        metrics["psnr"] = float(measures.psnr(*pair).mean())
        metrics["ssim"] = None if similarity is None else float(similarity.mean())
        if len(known) > 1:  # a single code has no range
            decoded = run.decode(measures.dequantise(levels, low, high))
            metrics["psnr_8"] = float(measures.psnr(pair[0], unit_scaled(decoded)).mean())
    if run.logits_are_of_probabilities:
        metrics["bce"] = float(errors(run, codes, target).mean())
        metrics["nats"] = None if np.isnan(target).any() else metrics["bce"] * math.prod(images.shape[1:])
    if dataset.feature_names is not None and run.target_shape == run.example_shape:
        each = zip(dataset.feature_names, measures.feature_errors(images, reconstructed).tolist(), strict=True)
        metrics["feature_errors"] = {name: error for name, error in each if not math.isnan(error)}
    return metrics


def _classes(run: Run, dataset: Dataset) -> dict[str, Any]:
    if dataset.train_labels is None or dataset.test_labels is None:
        return {}
    known, tested = (
        np.flatnonzero(is_known(np.asarray(labels))) for labels in (dataset.train_labels, dataset.test_labels)
    )
    learnt = known[measures.chosen(len(known))]
    labels, test_labels = np.asarray(dataset.train_labels)[learnt], np.asarray(dataset.test_labels)[tested]
    if len(np.unique(labels)) < 2 or len(tested) == 0:
        return {}
    parts = dataset.train[learnt], dataset.test[tested]
    means = run.identity.dataset.means
    pixels = [np.asarray(part) if means is None else filled(part, means) for part in parts]
    pixels = [unit_interval(part).reshape(len(part), -1) for part in pixels]
    codes = [run.encode(part) for part in parts]
    metrics, pca = {}, measures.pca(*pixels, codes[0].shape[1])
    for name, (train, test) in {"code": codes, "pixels": pixels, "pca": pca}.items():
        metrics[f"probe_{name}"] = measures.linear_probe(train, labels, test, test_labels)
        metrics[f"knn_{name}"] = measures.knn(train, labels, test, test_labels)
    return metrics


def _variational(run: Run, images: np.ndarray, samples: int) -> dict[str, Any]:
    model = run.autoencoder
    if not isinstance(model, Variational) or samples == 0:
        return {}
    ours = type(model).log_likelihood is Variational.log_likelihood and model.log_density is None
    if ours and run.config.loss.reconstruction != "bce":
        return {}
    if type(model).__call__ is not Variational.__call__ and type(model).draw is Variational.draw:
        raise InputError(
            f"{type(model).__name__} overrides __call__ but not draw(images, keys, count, context), so its likelihood "
            "cannot be estimated; define draw, skip the likelihood with samples=0, or override metrics for metrics"
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


def _own_metrics(run: Run, dataset: Dataset) -> dict[str, float]:
    """Compute the model's own metrics by name, means over the test examples whose metric is not NaN.

    The result is empty if the model has none, or if it was trained with classes and the examples have none.
    """
    if run.identity.dataset.labels is not None and dataset.test_labels is None:
        return {}
    batch = run.batch(dataset.test, run.targets_of(dataset))._replace(labels=dataset.class_indices()[1])
    imputed = run.identity.dataset.imputed
    steps = build_steps(run.config, run.image_shape, examples=len(dataset.train), imputed=imputed)
    given = for_evaluation(run.state), *values_of([run.config], alone=True)[:2]
    measure = _measure(steps)
    return jax.tree.map(mean_of_known, in_chunks(lambda part: measure(*given, part), batch))


@memoised
def _measure(steps: Steps) -> Callable:
    """Compile (state, coefficients, seed, batch) → the model's own metrics, float32[B]."""
    return exact(lambda state, coefficients, seed, batch: steps.evaluate(state, batch, coefficients, seed)[1])
