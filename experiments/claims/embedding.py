"""Claim 8: an autoencoder is a good preprocessing for t-SNE."""

import time
from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from aejax.data import is_known
from aejax.evaluation import drawing
from aejax.evaluation.drawing import PALETTE, note, styled
from aejax.evaluation.measures import chosen, knn, pca
from aejax.training import unit_interval
from claims import plots
from claims.study import Result, Study, Table, mean, std

_POINTS = 2_000
_NEIGHBOURS = 10
_ACCURACY = "accuracy of nearest neighbours in the plane"


def tsne(study: Study) -> Result:
    """Compare t-SNE of codes, of pixels and of principal components, for some test images."""
    from sklearn.manifold import TSNE, trustworthiness

    data = study.dataset
    known = np.flatnonzero(is_known(data.test_labels))
    points = known[chosen(len(known), _POINTS)]
    shown, labels = data.test[points], np.asarray(data.test_labels)[points]
    pixels = [unit_interval(part).reshape(len(part), -1) for part in (study.learnt, shown)]
    runs = study.train("embedding")
    sources = {
        "code of 32": [run.encode(shown) for run in runs],
        "PCA of 32": [pca(*pixels, 32)[1]] * study.seeds,
        "pixels": [pixels[1]] * study.seeds,
    }
    half = len(shown) // 2
    columns = ("trustworthiness", _ACCURACY, "accuracy of nearest neighbours before", "seconds")
    table: Table = {name: {column: [] for column in columns} for name in sources}
    planes = {}
    for name, per_seed in sources.items():
        print(f"t-SNE of {name}", flush=True)
        for seed, rows in enumerate(per_seed):
            begin = time.perf_counter()
            plane = TSNE(random_state=seed, init="pca").fit_transform(rows.astype(np.float32))
            seconds = time.perf_counter() - begin
            planes.setdefault(name, plane)
            trust = float(trustworthiness(pixels[1], plane, n_neighbors=min(_NEIGHBOURS, half - 1)))
            after, before = (knn(at[:half], labels[:half], at[half:], labels[half:]) for at in (plane, rows))
            for column, value in zip(columns, (trust, after, before, seconds), strict=True):
                table[name][column].append(value)
    best = max(table, key=lambda name: mean(table[name][_ACCURACY]))
    trusted = max(table, key=lambda name: mean(table[name]["trustworthiness"]))

    def listed(column: str, form: str) -> str:
        return ", ".join(f"{name} {format(mean(row[column]), form)}" for name, row in table.items())

    return Result(
        "An autoencoder is a good preprocessing for t-SNE",
        _title(table),
        f"t-SNE (scikit-learn, perplexity 30, one random state per seed) of {len(shown):,} test images; accuracy of 5 "
        "nearest neighbours from one half of the points to the other; trustworthiness for 10 neighbours.",
        f"Accuracy of the nearest neighbours in the plane: {listed(_ACCURACY, '.3f')}: best from {best}. "
        f"Trustworthiness to the neighbours by pixels: {listed('trustworthiness', '.3f')}: best from {trusted}. "
        f"Seconds of t-SNE: {listed('seconds', '.1f')}.",
        table,
        lambda: figure(table, planes, labels),
        "Planes of t-SNE of the code, of the principal components and of the pixels of test images, coloured by class; "
        f"seed 0 of {study.seeds}",
    )


def _title(table: Table) -> str:
    """Name the representation from which the plane separates the classes best."""
    first, *others = sorted(table, key=lambda name: -mean(table[name][_ACCURACY]))
    listed = ", ".join(f"{name} {mean(table[name][_ACCURACY]):.3f}" for name in others)
    return f"t-SNE keeps the classes best from {first} ({mean(table[first][_ACCURACY]):.3f}; {listed})"


@styled
def figure(table: Table, planes: Mapping[str, np.ndarray], labels: np.ndarray) -> Figure:
    """Draw the planes of seed 0 by class, with the accuracy of nearest neighbours over all seeds."""
    drawn, axes = plots.panels(1, len(planes), height=3.0)
    classes, indices = np.unique(labels, return_inverse=True)
    few = len(classes) <= len(PALETTE)
    colours = PALETTE[: len(classes)] if few else colormaps["turbo"](np.linspace(0, 1, len(classes)))
    colours = ListedColormap(colours)
    for axis, (name, plane) in zip(axes[0], planes.items(), strict=True):
        dots = axis.scatter(*plane.T, c=indices, cmap=colours, vmin=-0.5, vmax=len(classes) - 0.5, s=3, linewidths=0)
        shown = drawing.with_spread(mean(table[name][_ACCURACY]), std(table[name][_ACCURACY]) or None, ".3f")
        axis.set_title(f"{name}\naccuracy {shown}")
        axis.set_aspect("equal", adjustable="datalim")
        axis.set(xticks=[], yticks=[], xlabel="t-SNE dimension 1", ylabel="t-SNE dimension 2")
        for index, name in enumerate(classes if few else ()):  # ten colours are too many for some readers
            edge = [patheffects.withStroke(linewidth=2, foreground="white")]
            own = plane[indices == index]
            near = np.exp(-np.square(own[:, None] - own).sum(axis=2) / (0.05 * np.ptp(plane)) ** 2)
            axis.text(*own[near.sum(axis=1).argmax()], name, ha="center", va="center", weight="bold", path_effects=edge)
    if not few:
        ticks = np.arange(len(classes))[:: -(-len(classes) // 15)]
        bar = drawn.colorbar(dots, ax=axes, label="class", ticks=ticks, fraction=0.04)
        bar.ax.set_yticklabels(classes[ticks])
        bar.ax.tick_params(length=0)
    seeds = len(next(iter(table.values()))["seconds"])
    spread = f", mean ± standard deviation over {seeds} seeds (without ±: no spread)" if seeds > 1 else ""
    note(drawn, f"Accuracy of the 5 nearest neighbours in the plane{spread}.\nThe planes are of seed 0 of {seeds}.")
    return drawn
