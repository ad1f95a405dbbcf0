"""Figures of a run: rows of images, code histograms, weights as images, loss curves, errors of vectors.

Each function returns a matplotlib figure, without a screen; `aejax.evaluation.drawing` writes figures to files.
"""

import itertools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from aejax.config.checks import reason
from aejax.data import Dataset
from aejax.evaluation.drawing import PALETTE, STYLE, draw, loss_unit, minus, note, styled, with_unit
from aejax.evaluation.measures import feature_errors
from aejax.evaluation.run import Run
from aejax.models import Encoder, Variational
from aejax.training import unit_interval
from aejax.training.unreached import unreached

_COLUMNS = 10
_CELL = 0.6  # inches of an image in a row: ten images and their label fill the width of a page
_CODES = 10_000  # most test images in a histogram of codes; of a larger test set we take every n-th image
_NAMED = 40  # most features that get a bar each; more features are sorted along a curve


def draw_run(
    run: Run, dataset: Dataset, folder: Path, formats: Sequence[str] = ("png",), *, replace: bool = False
) -> None:
    """Draw the figures of `of_run` into a folder; skip a figure that fails, with a warning."""
    for name, make in of_run(run, dataset).items():
        try:
            draw({name: make}, folder, formats, replace=replace)
        except Exception as error:  # a user's model may raise any type; the training has succeeded
            logging.getLogger("aejax").warning("skipped the figure %s: %s", folder / name, reason(error))


def pictures(run: Run) -> tuple[dict[str, Figure], dict[str, np.ndarray]]:
    """Return figures of reconstructions and samples, and values of the code, of the test examples by name."""
    made, dataset = {}, run.dataset
    for name, make in of_run(run, dataset).items():
        if name in ("reconstructions", "denoised", "samples"):
            try:
                made[name] = styled(make)()
            except Exception as error:  # as in `draw_run`
                logging.getLogger("aejax").warning("skipped the figure %s: %s", name, reason(error))
    some = dataset.test[:: -(-len(dataset.test) // _CODES)]
    return made, {"code/values": run.encode(run.corrupt(some)).ravel()}


def of_run(run: Run, dataset: Dataset) -> dict[str, Callable[[], Figure]]:
    """Return name → function that makes the figure, for each figure of a run.

    Every run has codes and losses. Runs on images add reconstructions (or denoised images), and weights if the encoder
    begins with a layer of this library. Models with a prior add samples, variational models also interpolations and
    traversals. Runs on vectors add errors over the examples and over the features.
    """
    some = dataset.test[:: -(-len(dataset.test) // _CODES)]
    drawn = {
        "codes": lambda: code_histogram({"code": run.encode(run.corrupt(some))}, one_model(run)),
        "losses": lambda: loss_curves({"": run}),
    }
    if run.vectors:
        if run.reconstructs and len(run.target_shape) == 1:
            drawn["errors"] = lambda: error_histogram(run, dataset)
            drawn["features"] = lambda: feature_error_bars(run, dataset)
        return drawn
    if run.reconstructs and run.target_shape == run.example_shape:
        first = "reconstructions" if run.config.corruption.kind == "none" else "denoised"
        drawn[first] = lambda: reconstructions(run, dataset.test, run.targets_of(dataset))
    if _first_kernel(run) is not None:
        drawn["weights"] = lambda: first_layer_weights({"first layer": run})
    if hasattr(run.autoencoder, "prior"):
        drawn["samples"] = lambda: samples(run)
    if isinstance(run.autoencoder, Variational):
        drawn |= {
            "interpolations": lambda: interpolations(run, dataset.test),
            "traversals": lambda: traversals(run, some),
        }
    return drawn


def one_model(run: Run) -> str:
    """Return the caption of a figure of one run: its seed."""
    return f"seed {run.config.training.seed}"


def reconstructions(run: Run, images: np.ndarray, targets: np.ndarray | None = None) -> Figure:
    """Draw originals above reconstructions; for a denoising model originals, corrupted images, denoised images.

    Targets of the dataset's own are drawn below the originals.
    """
    images = images[:_COLUMNS]
    rows = {"original": images} | ({} if targets is None else {"target": targets[:_COLUMNS]})
    if run.config.corruption.kind == "none":
        return image_rows(rows | {"reconstructed": run.reconstruct(images)}, caption=one_model(run))
    noisy, noise = run.corrupt(images), run.config.coefficients.get("noise", 0.0)
    kind = "noisy, σ = " if run.config.corruption.kind == "gaussian" else "corrupted, share "
    rows |= {f"{kind}{noise:g}": noisy, "denoised": run.reconstruct(noisy)}
    return image_rows(rows, caption=one_model(run))


def samples(run: Run) -> Figure:
    """Draw thirty new images from the prior of a variational model."""
    rows = np.split(run.sample(3 * _COLUMNS), 3)
    rows = {f"samples {_COLUMNS * at + 1} to {_COLUMNS * (at + 1)}": row for at, row in enumerate(rows)}
    return image_rows(rows, caption=one_model(run))


def interpolations(run: Run, images: np.ndarray) -> Figure:
    """Draw even steps from the code of one image to the code of another, for four pairs of the first eight images."""
    pairs = min(4, len(images) // 2)
    between = run.interpolate(images[:pairs], images[pairs : 2 * pairs], _COLUMNS)
    rows = {f"pair {number}": row for number, row in enumerate(between, start=1)}
    shares = {f"{share:.2f}": 1 for share in np.linspace(0, 1, _COLUMNS)}
    across = "share of the second image's code (the rest: the first image's)"
    return image_rows(rows, shares, across, one_model(run))


def traversals(run: Run, images: np.ndarray, units: int = 6) -> Figure:
    """Draw the first image with one unit of its code set from -3 to 3, for the units with the largest variance."""
    varying = np.argsort(-run.encode(images).var(axis=0))[:units]
    values = np.linspace(-3, 3, _COLUMNS)
    rows = {f"unit {unit}": run.traverse(images[:1], unit, values)[0] for unit in varying}
    return image_rows(rows, {minus(f"{value:.2f}"): 1 for value in values}, "value of the unit", one_model(run))


@styled
def image_rows(
    rows: Mapping[str, np.ndarray], columns: Mapping[str, int] | None = None, across: str = "", caption: str = ""
) -> Figure:
    """Draw one labelled row of images for each entry: uint8 or float[N, H, W, C], all of one size.

    Floats are drawn on the scale from 0 to 1, or on the range of the first row if it is larger.

    Args:
        columns: labels above the images: label → number of columns that it spans.
        across: label of the horizontal axis, below the images.
        caption: a line below the figure, for example about the number of seeds.
    """
    rows = {label: unit_interval(images) for label, images in rows.items()}
    first = next(iter(rows.values()))
    low, high = min(0.0, float(first.min())), max(1.0, float(first.max()))
    shown = [np.clip((images - low) / (high - low), 0, 1) for images in rows.values()]
    if first.shape[-1] != 3:  # no RGB: draw the mean of the channels in grey
        shown = [np.repeat(images.mean(axis=-1, keepdims=True), 3, axis=-1) for images in shown]
    sheet, across_at, down_at = _tiled(shown, 1.0)
    across_inches = _CELL / (across_at[1] - across_at[0]) if len(across_at) > 1 else _CELL / first.shape[2]
    ratio = first.shape[1] / first.shape[2]
    down_inches = across_inches * np.clip(ratio, 0.4, 2.5) / ratio  # strips stay visible
    size = sheet.shape[1] * across_inches, sheet.shape[0] * down_inches
    lines = [TextPath((0, 0), line, size=STYLE["font.size"]) for label in rows for line in label.splitlines()]
    left = 0.2 + max(line.get_extents().width for line in lines) / 72
    below, above = 0.05 + 0.3 * bool(across) + 0.15 * bool(caption), 0.05 + 0.2 * bool(columns)
    figure = Figure(figsize=(left + size[0] + 0.05, below + size[1] + above))
    width, height = figure.get_size_inches()
    axis = figure.add_axes((left / width, below / height, size[0] / width, size[1] / height))
    axis.imshow(sheet, aspect="auto", interpolation="nearest" if max(first.shape[1:3]) <= 64 else None)
    axis.spines[:].set_visible(False)
    axis.set_xticks([])
    axis.set_yticks(down_at, rows)
    if columns:
        ends = np.cumsum(list(columns.values()))
        spans = zip(ends - list(columns.values()), ends, strict=True)
        axis.set_xticks([np.mean(across_at[begin:end]) for begin, end in spans], columns, fontsize=8)
        axis.xaxis.tick_top()
    axis.tick_params(length=0)
    if across:
        axis.set_xlabel(across)
        axis.xaxis.set_label_position("bottom")
    note(figure, caption)
    return figure


def _tiled(rows: Sequence[np.ndarray], background: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tile rows of images on a background; return the sheet, and the centres of its columns and of its rows."""
    height, width, *channels = rows[0].shape[1:]
    right, below = (max(1, round(0.09 * side)) for side in (width, height))
    count = max(map(len, rows))
    cells = np.full((len(rows), count, height + below, width + right, *channels), background)
    for cell, images in zip(cells, rows, strict=True):
        cell[: len(images), :height, :width] = images
    sheet = np.concatenate(np.concatenate(cells, axis=1), axis=1)[:-below, :-right]
    across_at = np.arange(count) * (width + right) + (width - 1) / 2
    return sheet, across_at, np.arange(len(rows)) * (height + below) + (height - 1) / 2


@styled
def code_histogram(codes: Mapping[str, np.ndarray], caption: str = "") -> Figure:
    """Draw a histogram of the values of codes that are not zero; the legend has the share of exact zeros.

    The zeros have no bar, because their bar would dwarf all other bars.

    Args:
        codes: label → codes.
        caption: a line below the figure, for example about the number of seeds.
    """
    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    axis = figure.subplots()
    largest = max(float(np.quantile(np.abs(values), 0.999)) for values in codes.values())
    lowest = 0.0 if all(values.min() >= 0 for values in codes.values()) else -largest
    edges = np.linspace(lowest, largest if largest > 0 else 1.0, 61)
    for (label, values), colour, hatch in zip(codes.items(), itertools.cycle(PALETTE), itertools.cycle(("", "///"))):
        nonzero, share = values[values != 0], f"{100 * (values == 0).mean():.3g}% exactly zero"
        moments = f"mean {values.mean():.3g}, variance {values.var():.3g}"
        weights = np.full(len(nonzero), 100 / values.size)
        style = {"color": colour, "alpha": 0.6, "hatch": hatch, "label": f"{label}: {share}; {moments}"}
        axis.hist(nonzero, bins=edges, weights=weights, **style)
    axis.set(xlabel="value of a code unit that is not zero (all but the largest 0.1%)")
    axis.set_ylabel("share of all values per bin [%]")
    figure.legend(loc="outside upper right")
    note(figure, caption)
    return figure


@styled
def first_layer_weights(runs: Mapping[str, Run], units: int = 32) -> Figure:
    """Draw weights of the first units, or kernels of the first convolution, of runs on one scale; of RGB, in colour."""
    made, colour = {}, next(iter(runs.values())).image_shape[-1] == 3
    for label, run in runs.items():
        kernel = _first_kernel(run)
        seen = kernel.shape[:-1] if kernel.ndim == 4 else run.image_shape  # a 3x3 window or the whole image
        images = kernel.reshape(*seen, -1)[..., :units].transpose(3, 0, 1, 2)
        made[f"{label}: {len(images)} of {kernel.shape[-1]} units"] = images if colour else images.mean(axis=3)
    limit = max(float(np.quantile(np.abs(images), 0.97)) for images in made.values())  # always black: large weights
    figure = Figure(layout="constrained")
    axes = figure.subplots(1, len(runs), squeeze=False)[0]
    for axis, (title, images) in zip(axes, made.items(), strict=True):
        images = np.clip(0.5 + images / (2 * limit or 1), 0, 1) if colour else images
        rows = [images[at : at + 8] for at in range(0, len(images), 8)]
        sheet, _, _ = _tiled(rows, 1.0 if colour else np.nan)  # the page shows between the images
        shown = axis.imshow(sheet, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.set(xticks=[], yticks=[], title=title)
        axis.spines[:].set_visible(False)
    figure.set_size_inches(6.8, 5.4 / len(runs) * sheet.shape[0] / sheet.shape[1] + 0.6)
    if not colour:
        figure.colorbar(shown, ax=axes, label="weight", shrink=0.8, extend="both")
    note(figure, one_model(run) + ("; grey: weight 0; a channel is brighter for a larger weight" if colour else ""))
    return figure


def _first_kernel(run: Run) -> np.ndarray | None:
    """Return the first kernel [pixels, units] or [height, width, channels, units].

    The result is None for any other encoder, and if a user's class does not use this layer.
    """
    encoder = getattr(run.autoencoder, "encoder", None)
    if not isinstance(encoder, Encoder):
        return None
    layers = encoder.layers.layers
    first = next(at for at, layer in enumerate(layers) if hasattr(layer, "kernel"))
    unused = unreached(run.config.replace({"training.frozen": ()}), run.identity.dataset)
    if ("encoder", "layers", "layers", first, "kernel") in unused:
        return None
    kernel = np.asarray(layers[first].kernel[...])
    return kernel if kernel.ndim == 4 or len(kernel) == math.prod(run.image_shape) else None


_OF_PART = {
    "train": {"color": PALETTE[0], "linewidth": 3, "alpha": 0.45},
    "validation": {"color": PALETTE[3], "linewidth": 1.2, "linestyle": "--"},
    "test": {"color": "0.15", "linewidth": 1.2},
}
"""style of the curve of each part"""


@styled
def loss_curves(runs: Mapping[str, Run]) -> Figure:
    """Draw the total loss per epoch of each evaluated part, in one panel for each run."""
    units = [loss_unit(run.config, run.target_shape) for run in runs.values()]
    columns = min(2 if len(runs) == 4 else 3, len(runs))
    rows = -(-len(runs) // columns)
    common, lines = len(set(units)) == 1, [line for run in runs.values() for line in run.history]
    marker = {"marker": "o", "markersize": 3} if max(line["epoch"] for line in lines) <= 20 else {}
    size = (4.6, 3.0) if len(runs) == 1 else (0.6 + 2.2 * columns, 0.4 + 1.9 * rows)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, sharey=common, squeeze=False).ravel()
    for axis, (label, run), unit in zip(axes, runs.items(), units, strict=False):
        for part, style in _OF_PART.items():
            points = [(line["epoch"], line[part]["total"]) for line in run.history if part in line]
            if points:
                axis.plot(*zip(*points, strict=True), label=part, **marker, **style)
        axis.set(title=label, xlabel="epoch", xlim=(0.5, None))
        axis.xaxis.get_major_locator().set_params(integer=True)
        if not common or axis.get_subplotspec().is_first_col():
            axis.set_ylabel(with_unit("total loss", unit))
    for axis in axes[len(runs) :]:
        axis.set_axis_off()
    axes[0].legend(loc="upper right")
    after = "".join(f"{part}: after the epoch; " for part in list(_OF_PART)[1:] if any(part in line for line in lines))
    note(figure, f"train: mean over the epoch; {after}{', '.join(sorted(set(map(one_model, runs.values()))))}")
    return figure


@styled
def error_histogram(run: Run, dataset: Dataset) -> Figure:
    """Draw a histogram of the mean squared error of test vectors, with the mean variance of the features."""
    target = run.standardized_inputs(dataset.test, run.targets_of(dataset))[0]
    made = run.standardized_outputs(run.encode(run.corrupt(dataset.test)))
    vectors, others = (each.reshape(len(each), -1) for each in (target, made))
    known = ~np.isnan(vectors).all(axis=1)
    errors = np.nanmean(np.square(np.float64(vectors[known]) - others[known]), axis=1)
    variance = np.nanvar(np.float64(vectors), axis=0).mean()
    lowest = max(float(errors.min()), 1e-12 * variance, 1e-30)
    figure = Figure(figsize=(5.6, 3.0), layout="constrained")
    axis = figure.subplots()
    edges = np.geomspace(lowest, max(float(errors.max()), 1.001 * lowest), 41)
    axis.hist(np.maximum(errors, lowest), bins=edges, color=PALETTE[0])
    if variance > 0:
        axis.axvline(variance, color="0.4", linestyle="--", label="mean variance of the features")
        figure.legend(loc="outside lower right", fontsize=8)
    title = f": {1 - errors.mean() / variance:.1%} of the variance explained" if variance > 0 else ""
    scale = "" if run.standardization is None else " standardized"
    axis.set(xscale="log", xlabel=f"mean squared error of a{scale} vector", ylabel="test vectors")
    axis.set_title(f"reconstruction errors{title}; {one_model(run)}")
    return figure


@styled
def feature_error_bars(run: Run, dataset: Dataset) -> Figure:
    """Draw the squared error of each feature over its variance; many features are sorted by error."""
    vectors, seen = run.evaluation_inputs(dataset.test, run.targets_of(dataset))
    every = feature_errors(vectors, run.reconstruct(seen))
    varying = np.flatnonzero(~np.isnan(every))
    errors, constant = every[varying], len(every) - len(varying)
    figure = Figure(figsize=(5.6, 3.0), layout="constrained")
    axis = figure.subplots()
    if len(every) > _NAMED:
        axis.plot(np.sort(errors), color=PALETTE[0])
        axis.set(xlabel="features, sorted by error")
    elif dataset.feature_names is not None and run.target_shape == run.example_shape:
        axis.bar([dataset.feature_names[at] for at in varying], errors, color=PALETTE[0])
        axis.tick_params("x", rotation=90)
    else:
        axis.bar(varying, errors, color=PALETTE[0])
        axis.set(xlabel="feature")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axis.axhline(1, color="0.4", linestyle="--", label="error of the feature's mean")
    omitted = f" ({constant} constant features omitted)" if constant else ""
    axis.set(ylabel="squared error / variance", ylim=(0, None), title=f"errors by feature{omitted}; {one_model(run)}")
    figure.legend(loc="outside lower right", fontsize=8)
    return figure
