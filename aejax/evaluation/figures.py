"""Figures: rows of images, code histograms, weights as images, loss curves.

Each function returns a matplotlib figure; `draw` writes them. Nothing here needs a screen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from aejax.data import Dataset
from aejax.evaluation.run import Run
from aejax.evaluation.vector_figures import error_histogram, feature_error_bars
from aejax.training import unit_interval

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "legend.frameon": False,
}
_COLUMNS = 10


def draw(figures: Mapping[str, Callable[[], Figure]], folder: Path) -> None:
    """Write figures as PNG, each by its name; one that is there already is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in figures.items():
        path = folder / f"{name}.png"
        if not path.exists():
            partial = folder / f".{name}.png"
            make().savefig(partial)
            partial.rename(path)


def draw_run(run: Run, dataset: Dataset, folder: Path) -> None:
    """The figures of one model: reconstructions (or denoised images), codes, weights, losses.

    Of a variational one also samples, the way from one code to another, and what single units of the code do. A model
    of the user's own whose encoder begins otherwise than ours has no figure of weights. Of vectors there are no rows of
    images, but errors, over the examples and over the features.
    """
    if run.vectors:
        drawn = {
            "errors": lambda: error_histogram(run, dataset, STYLE),
            "features": lambda: feature_error_bars(run, dataset, STYLE),
            "codes": lambda: code_histogram({"code": run.encode(run.corrupt(dataset.test))}),
            "losses": lambda: loss_curves({"": run}),
        }
        draw(drawn, folder)
        return
    first = "reconstructions" if run.config.corruption.kind == "none" else "denoised"
    drawn = {
        first: lambda: reconstructions(run, dataset.test),
        "codes": lambda: code_histogram({"code": run.encode(run.corrupt(dataset.test))}),
        "losses": lambda: loss_curves({"": run}),
    }
    if _first_kernel(run) is not None:
        drawn["weights"] = lambda: first_layer_weights(run)
    if run.is_variational:
        drawn |= {
            "samples": lambda: samples(run),
            "interpolations": lambda: interpolations(run, dataset.test),
            "traversals": lambda: traversals(run, dataset.test),
        }
    draw(drawn, folder)


def reconstructions(run: Run, images: np.ndarray) -> Figure:
    """Originals over reconstructions; for a denoising model originals, noisy images, denoised images."""
    images = images[:_COLUMNS]
    if run.config.corruption.kind == "none":
        return image_rows({"original": images, "reconstructed": run.reconstruct(images)})
    noisy = run.corrupt(images)
    return image_rows({"original": images, "corrupted": noisy, "denoised": run.reconstruct(noisy)})


def samples(run: Run) -> Figure:
    """Thirty new images from the prior of a variational model."""
    drawn = run.sample(3 * _COLUMNS)
    rows = range(0, len(drawn), _COLUMNS)
    return image_rows({f"{row + 1} to {row + _COLUMNS}": drawn[row : row + _COLUMNS] for row in rows})


def interpolations(run: Run, images: np.ndarray) -> Figure:
    """From the code of one image to that of another in even steps, for four pairs of the first eight images."""
    pairs = min(4, len(images) // 2)
    between = run.interpolate(images[:pairs], images[pairs : 2 * pairs], _COLUMNS)
    return image_rows({f"pair {number}": row for number, row in enumerate(between, start=1)})


def traversals(run: Run, images: np.ndarray, units: int = 6) -> Figure:
    """The first image with one unit of its code moved from -3 to 3, for the units that vary most over the images."""
    varying = np.argsort(-run.encode(images).var(axis=0))[:units]
    values = np.linspace(-3, 3, _COLUMNS)
    return image_rows({f"unit {unit}": run.traverse(images[:1], unit, values)[0] for unit in varying})


def image_rows(rows: Mapping[str, np.ndarray]) -> Figure:
    """One labelled row of images for each entry: [N, H, W, C], uint8, or floats from 0 to 1.

    Floats beyond that are shown on the scale of the first row.
    """
    rows = {label: unit_interval(images) for label, images in rows.items()}
    first = next(iter(rows.values()))
    low, high = min(0.0, float(first.min())), max(1.0, float(first.max()))
    count = max(len(images) for images in rows.values())
    ratio = float(np.clip(first.shape[1] / first.shape[2], 0.4, 2.5))  # of a cell: height to width
    with rc_context(STYLE):
        figure = Figure(figsize=(0.9 + 0.8 * count, 0.8 * len(rows) * ratio), layout="constrained")
        axes = figure.subplots(len(rows), count, squeeze=False)
        for line, (label, images) in zip(axes, rows.items(), strict=True):
            for axis, image in zip(line, images, strict=False):
                scaled = np.clip((image - low) / (high - low), 0, 1)
                colour = image.shape[-1] == 3  # any other number of channels is shown as their mean
                axis.imshow(scaled if colour else scaled.mean(axis=-1), cmap="gray", vmin=0, vmax=1)
            for axis in line:
                axis.set_axis_off()
            line[0].text(-0.15, 0.5, label, transform=line[0].transAxes, ha="right", va="center")
    return figure


def code_histogram(codes: Mapping[str, np.ndarray]) -> Figure:
    """Values of the code: how many are exactly zero, and how the others are spread.

    The zeros have a panel of their own: in a common histogram their bar hides all others.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.8), layout="constrained")
        zeros, others = figure.subplots(1, 2, width_ratios=[1, 3.2])
        largest = max(float(np.quantile(np.abs(values), 0.999)) for values in codes.values())
        lowest = 0.0 if all(values.min() >= 0 for values in codes.values()) else -largest
        edges = np.linspace(lowest, largest if largest > 0 else 1.0, 61)
        for position, (label, values) in enumerate(codes.items()):
            fraction = float((values == 0).mean())
            bar = zeros.bar(position, 100 * fraction, color=f"C{position}", width=0.7)
            zeros.bar_label(bar, [f"{fraction:.1%}"], padding=2)
            nonzero = values[values != 0]
            others.hist(
                nonzero,
                bins=edges,
                weights=np.full(len(nonzero), 100 / values.size),
                color=f"C{position}",
                alpha=0.6,
                label=f"{label} (of all its values: mean {values.mean():.2f}, variance {values.var():.2f})",
            )
        zeros.set(title="exactly zero", ylabel="share of all values [%]", ylim=(0, 100), xticks=range(len(codes)))
        zeros.set_xticklabels(codes)
        others.set(title="not zero", xlabel="value of a code unit", ylabel="share of all values per bin [%]")
        others.legend()
    return figure


def first_layer_weights(run: Run, units: int = 32) -> Figure:
    """The weights from the pixels to each of the first units, or the kernels of the first convolution, as images."""
    kernel = _first_kernel(run)
    seen = kernel.shape[:-1] if kernel.ndim == 4 else run.image_shape  # a 3x3 window, or the whole image
    images = kernel.reshape(*seen, -1)[..., :units].mean(axis=2).transpose(2, 0, 1)
    columns = 8
    rows = -(-len(images) // columns)
    limit = float(np.quantile(np.abs(images), 0.97))  # border pixels, always black, keep or drift to large weights
    with rc_context(STYLE):
        figure = Figure(figsize=(0.8 * columns + 0.8, 0.8 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat:
            axis.set_axis_off()
        for axis, image in zip(axes.flat, images, strict=False):
            shown = axis.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
        figure.colorbar(shown, ax=axes, label="weight", shrink=0.8, extend="both")
        figure.suptitle(f"first layer: {len(images)} of {kernel.shape[-1]} units", fontsize=10)
    return figure


def _first_kernel(run: Run) -> np.ndarray | None:
    layers = getattr(getattr(run.autoencoder.encoder, "layers", None), "layers", [None])
    kernel = getattr(layers[0], "kernel", None)
    return None if kernel is None else np.asarray(kernel[...])


def loss_curves(runs: Mapping[str, Run]) -> Figure:
    """Total loss per epoch of one or several runs: training (mean over the epoch's steps) and test (after it)."""
    units = {"bce": "binary cross-entropy [nats per {}]", "mse": "squared error per {}"}
    per = {"mean": "pixel", "sum": "image"}
    losses = [run.config.loss for run in runs.values()]
    kinds = sorted({units[loss.reconstruction].format(per[loss.pixels]) for loss in losses})
    with rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.2), layout="constrained")
        axis = figure.subplots()
        for position, (label, run) in enumerate(runs.items()):
            epochs = [line["epoch"] for line in run.history]
            marker = "." if len(epochs) < 4 else None
            width = 1.2 + 0.6 * (len(runs) - 1 - position)  # so that a curve below another is seen
            for part, style in (("train", "-"), ("test", ":")):
                values = [line[part]["total"] for line in run.history]
                axis.plot(epochs, values, style, color=f"C{position}", linewidth=width, marker=marker)
            if label:
                axis.plot([], [], color=f"C{position}", label=label)
        for part, style in (("train", "-"), ("test", ":")):
            axis.plot([], [], style, color="0.4", label=part)
        axis.set(xlabel="epoch", ylabel="total loss\n" + " / ".join(kinds))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlim(left=0)
        figure.legend(loc="outside right center", fontsize=8)
    return figure
