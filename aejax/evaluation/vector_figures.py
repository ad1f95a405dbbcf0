"""Figures of a model of vectors: how large its errors are, over the examples and over the features."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from aejax.data import Dataset
from aejax.evaluation.drawing import styled
from aejax.evaluation.measures import feature_errors, variance_explained
from aejax.evaluation.run import Run

_NAMED = 40
"""features up to which each has a bar of its own; more are shown sorted"""


@styled
def error_histogram(run: Run, dataset: Dataset) -> Figure:
    """How many test vectors have which mean squared error, and what their own variance is in the mean."""
    vectors, seen = run.evaluation_inputs(dataset.test)
    others = run.reconstruct(seen)
    explained = variance_explained(vectors, others, run.standardization)
    if run.standardization is not None:
        vectors, others = run.standardization.apply(vectors), run.standardization.apply(others)
    errors = np.square(np.float64(vectors) - others).mean(axis=1)
    variance = np.float64(vectors).var(axis=0).mean()
    lowest = max(float(errors.min()), 1e-12 * max(variance, 1e-30), 1e-30)
    figure = Figure(figsize=(5.6, 3.0), layout="constrained")
    axis = figure.subplots()
    edges = np.geomspace(lowest, max(float(errors.max()), 1.001 * lowest), 41)
    axis.hist(np.maximum(errors, lowest), bins=edges, color="C0")
    if variance > 0:
        axis.axvline(variance, color="0.4", linestyle="--", label="mean variance of the features")
        figure.legend(loc="outside lower right", fontsize=8)
    title = "" if explained is None else f": {explained:.1%} of the variance explained"
    scale = "" if run.standardization is None else " standardized"
    axis.set(xscale="log", xlabel=f"mean squared error of a{scale} vector", ylabel="test vectors")
    axis.set_title(f"reconstruction errors{title}")
    return figure


@styled
def feature_error_bars(run: Run, dataset: Dataset) -> Figure:
    """The squared error of each feature as a share of its variance; of many features from the best to the worst."""
    vectors, seen = run.evaluation_inputs(dataset.test)
    errors = feature_errors(vectors, run.reconstruct(seen))
    constant = int(np.isnan(errors).sum())
    figure = Figure(figsize=(5.6, 3.0), layout="constrained")
    axis = figure.subplots()
    if len(errors) <= _NAMED:
        axis.bar(np.arange(len(errors)), errors, color="C0")
        axis.set(xlabel="feature")
        axis.xaxis.get_major_locator().set_params(integer=True)
    else:
        axis.plot(np.sort(errors[~np.isnan(errors)]), color="C0")
        axis.set(xlabel="features, the best first")
    axis.axhline(1, color="0.4", linestyle="--", label="what the feature's mean would give")
    axis.set(ylabel="squared error / variance")
    axis.set_ylim(bottom=0)
    axis.set_title("errors by feature" + (f" ({constant} constant ones left out)" if constant else ""))
    figure.legend(loc="outside lower right", fontsize=8)
    return figure
