"""The images and models of the experiments on the claims, and the form of their results."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aejax.config import Coefficients, Config, Model, Schedule, Training
from aejax.data import Dataset, is_known
from aejax.evaluation import Run, drawing, errors, fit
from aejax.evaluation.measures import chosen, linear_probe, psnr
from aejax.training import unit_interval

Table = dict[str, dict[str, list[float | None]]]
"""row → column → one number per seed; None for a missing number"""

_EXAMPLES_PER_EPOCH = 40_000
_PATCHES, _TESTED = 10_000, 1_000
"""training patches of the photograph, and test images that are made"""


@dataclass(frozen=True)
class Result:
    """The result of one experiment."""

    claim: str  # the article's claim, in one line
    title: str  # the finding, in one line
    method: str
    found: str  # the finding, with its numbers
    table: Table
    figure: Callable[[], Figure] | None  # None where the table says all
    caption: str = ""  # what the figure shows, and of how many seeds


@dataclass(frozen=True)
class Study:
    """The images, the seeds and the training of all experiments."""

    dataset: Dataset  # the images of the main domain, with classes
    seeds: int  # number of seeds, from 0
    workdir: Path  # folder of all runs; a finished run is not trained again
    epochs: int = 5

    def train(self, name: str, changes: Mapping[str, Any] | None = None, dataset: Dataset | None = None) -> list[Run]:
        """Train one model per seed: the deep autoencoder 128-32-128 with the changed fields.

        Adam starts at 2e-3 and follows a cosine to 0. An epoch repeats a dataset of less than 40,000 images.
        """
        dataset = dataset or self.dataset
        passes = dataset.passes(_EXAMPLES_PER_EPOCH)
        config = Config(
            model=Model(hidden=(128,), code_size=32),
            coefficients=Coefficients(learning_rate=2e-3),
            schedules={"learning_rate": Schedule("cosine")},
            training=Training(epochs=self.epochs, batch_size=64, passes=passes),
        ).replace({"data.name": dataset.name, **(changes or {})})
        runs = []
        for seed in range(self.seeds):
            print(f"{name}, seed {seed}", flush=True)
            folder = self.workdir / "runs" / name.replace(" ", "-") / f"seed-{seed}"
            seeded = config.replace({"training.seed": seed})
            runs.append(fit(seeded, folder, dataset=dataset, progress=False, figures=()))
        return runs

    @functools.cached_property
    def learnt(self) -> np.ndarray:
        """The training images for classifiers, as in an evaluation."""
        return self.dataset.train[chosen(len(self.dataset.train))]

    def accuracy(self, classify: Callable[..., float], train: np.ndarray, test: np.ndarray) -> float:
        """Return the test accuracy of a classifier on representations of `learnt` and of the test images."""
        labels = np.asarray(self.dataset.train_labels)[chosen(len(self.dataset.train))]
        known, tested = is_known(labels), is_known(self.dataset.test_labels)
        return classify(train[known], labels[known], test[tested], self.dataset.test_labels[tested])

    def probe(self, run: Run) -> float:
        """Return the test accuracy of a linear classifier on the code."""
        return self.accuracy(linear_probe, run.encode(self.learnt), run.encode(self.dataset.test))


def photograph_patches(shape: tuple[int, int, int] = (28, 28, 1)) -> Dataset:
    """Cut grey patches from a photograph of scikit-learn: training from its left 3/4, test from the rest."""
    from sklearn.datasets import load_sample_image

    height, width, channels = shape
    grey = np.round(load_sample_image("china.jpg").mean(axis=2)).astype(np.uint8)
    border = grey.shape[1] * 3 // 4
    random = np.random.default_rng(0)

    def patches(part: np.ndarray, count: int) -> np.ndarray:
        rows = random.integers(0, part.shape[0] - height + 1, count)
        columns = random.integers(0, part.shape[1] - width + 1, count)
        cut = np.stack([part[r : r + height, c : c + width] for r, c in zip(rows, columns, strict=True)])
        return np.repeat(cut[..., None], channels, axis=3)

    return Dataset("photograph", patches(grey[:, :border], _PATCHES), patches(grey[:, border:], _TESTED))


def random_pixels(shape: tuple[int, int, int], count: int) -> Dataset:
    """Draw images of uniform, independent pixels, whose only structure is their mean."""
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (n, *shape), dtype=np.uint8) for n in (count, _TESTED))
    return Dataset("random", train, test)


def bce_of(run: Run, images: np.ndarray) -> float:
    """Return the binary cross-entropy of the reconstructions of any images [nats per pixel]."""
    return float(errors(run, run.encode(images), unit_interval(images)).mean())


def psnr_of(run: Run, images: np.ndarray) -> float:
    """Return the PSNR of the reconstructions, mean over images [dB]."""
    return float(psnr(unit_interval(images), np.clip(run.reconstruct(images), 0, 1)).mean())


def over_seeds(runs: list[Run], **columns: Callable[[Run], float]) -> dict[str, list[float]]:
    """Return a row of a table, whose columns are functions of a run."""
    return {name.replace("_", " "): [float(measure(run)) for run in runs] for name, measure in columns.items()}


def mean(values: list[float | None]) -> float:
    """Return the mean of the known values; NaN if none is known."""
    found = drawing.mean_and_std(values)["mean"]
    return float("nan") if found is None else found


def std(values: list[float | None]) -> float | None:
    """Return the sample standard deviation of the known values; None for fewer than two."""
    return drawing.mean_and_std(values)["std"]


def differs(some: list[float | None], others: list[float | None]) -> bool:
    """Tell whether two means differ by more than twice the larger standard deviation over the seeds."""
    return abs(mean(some) - mean(others)) > 2 * max(std(some) or 0.0, std(others) or 0.0)


def margin(better: list[float], worse: list[float]) -> str:
    return "beyond their spread" if differs(better, worse) else "within the spread of the seeds"
