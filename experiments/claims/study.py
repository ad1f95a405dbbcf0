"""What the experiments on the article's claims share: the models they train, and the form of a result."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aejax.config import Coefficients, Config, Model, Schedule, Training
from aejax.data import Dataset
from aejax.evaluation import Run, errors, fit
from aejax.evaluation.classes import chosen, linear_probe
from aejax.evaluation.measures import psnr
from aejax.training import unit_interval

Table = dict[str, dict[str, list[float | None]]]
"""row → column → one figure per seed; None where there is none"""

_EXAMPLES_PER_EPOCH = 40_000


@dataclass(frozen=True)
class Result:
    """What was found on one claim."""

    claim: str
    """the article's claim, in a line"""
    title: str
    """what was found, in a line made from the figures"""
    method: str
    """what was trained and measured"""
    found: str
    """the finding in words, made from the figures"""
    table: Table
    figure: Callable[[], Figure]


@dataclass(frozen=True)
class Study:
    """The images, the seeds and the training that all claims share.

    Attributes:
        dataset: the in-domain images, with classes.
        seeds: how many, from 0.
        workdir: each trained model has a folder below it, and is not trained again.
        epochs: of every model; at batches of 64, Adam from 2e-3 down to 0 along a cosine.
        report: called with the name of each model before it is trained.
    """

    dataset: Dataset
    seeds: int
    workdir: Path
    epochs: int = 5
    report: Callable[[str], None] = lambda name: None

    def train(self, name: str, changes: Mapping[str, Any] | None = None, dataset: Dataset | None = None) -> list[Run]:
        """One model per seed: the deep autoencoder 128-32-128 with the changed fields, on `dataset` or the study's.

        A smaller dataset than 40,000 images passes several times per epoch.
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
            self.report(f"{name}, seed {seed}")
            folder = self.workdir / "runs" / name.replace(" ", "-") / f"seed-{seed}"
            seeded = config.replace({"training.seed": seed})
            runs.append(fit(seeded, folder, dataset=dataset, progress=False, figures=()))
        return runs

    @functools.cached_property
    def learnt(self) -> np.ndarray:
        """The training images that classifiers learn from, as in an evaluation."""
        return self.dataset.train[chosen(len(self.dataset.train))]

    @functools.cached_property
    def learnt_labels(self) -> np.ndarray:
        """Theirs."""
        return np.asarray(self.dataset.train_labels)[chosen(len(self.dataset.train))]

    def probe(self, run: Run) -> float:
        """Test accuracy of a linear classifier on the code."""
        return self.probe_of(run.encode(self.learnt), run.encode(self.dataset.test))

    def probe_of(self, train: np.ndarray, test: np.ndarray) -> float:
        """The same on any representation of `learnt` and of the test images."""
        return linear_probe(train, self.learnt_labels, test, self.dataset.test_labels)


def bce_of(run: Run, images: np.ndarray) -> float:
    """Binary cross-entropy of a model's reconstructions [nats per pixel], of images it may never have met."""
    return float(errors(run, run.encode(images), unit_interval(images)).mean())


def psnr_of(run: Run, images: np.ndarray) -> float:
    """PSNR of a model's reconstructions, mean over images [dB]."""
    return float(psnr(unit_interval(images), np.clip(run.reconstruct(images), 0, 1)).mean())


def over_seeds(runs: list[Run], **columns: Callable[[Run], float]) -> dict[str, list[float]]:
    """A row of a table: each column a function of a run."""
    return {name.replace("_", " "): [float(measure(run)) for run in runs] for name, measure in columns.items()}


def mean(values: list[float | None]) -> float:
    """Over the seeds that have one; NaN where none has."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")


def std(values: list[float | None]) -> float | None:
    """Of a sample; None for less than two."""
    known = [value for value in values if value is not None]
    return float(np.std(known, ddof=1)) if len(known) > 1 else None


def differs(some: list[float | None], others: list[float | None]) -> bool:
    """Whether two means differ by more than the spread over the seeds."""
    return abs(mean(some) - mean(others)) > 2 * max(std(some) or 0.0, std(others) or 0.0)


def margin(better: list[float], worse: list[float]) -> str:
    """The same in words."""
    return "beyond their spread" if differs(better, worse) else "within the spread of the seeds"
