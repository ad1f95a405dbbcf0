"""Claim 8: an autoencoder is a good preprocessing for t-SNE."""

from __future__ import annotations

import time

import numpy as np
from matplotlib.figure import Figure

from aejax.evaluation.classes import IMAGES, knn, pca
from aejax.training import unit_interval
from claims import plots
from claims.study import Result, Study, Table, mean

_POINTS = 2_000
_NEIGHBOURS = 10


def tsne(study: Study) -> Result:
    """The plane made from codes, from pixels and from principal components of the first test images."""
    from sklearn.manifold import TSNE, trustworthiness

    data = study.dataset
    shown, labels = data.test[:_POINTS], np.asarray(data.test_labels[:_POINTS])
    pixels = [unit_interval(part).reshape(len(part), -1) for part in (data.train[:IMAGES], shown)]
    runs = study.train("embedding")
    sources = {
        "code of 32": [run.encode(shown) for run in runs],
        "PCA of 32": [pca(*pixels, 32)[1]] * study.seeds,
        "pixels": [pixels[1]] * study.seeds,
    }
    half = len(shown) // 2
    table: Table = {}
    planes = {}
    for name, per_seed in sources.items():
        study.report(f"t-SNE of {name}")
        columns = {"trustworthiness": [], "kNN accuracy in the plane": [], "kNN accuracy before": [], "seconds": []}
        for seed, rows in enumerate(per_seed):
            begin = time.perf_counter()
            plane = TSNE(random_state=seed, init="pca").fit_transform(rows.astype(np.float32))
            columns["seconds"].append(time.perf_counter() - begin)
            planes.setdefault(name, plane)
            columns["trustworthiness"].append(
                float(trustworthiness(pixels[1], plane, n_neighbors=min(_NEIGHBOURS, half - 1)))
            )
            for column, points in (("kNN accuracy in the plane", plane), ("kNN accuracy before", rows)):
                columns[column].append(knn(points[:half], labels[:half], points[half:], labels[half:]))
        table[name] = columns
    best = max(table, key=lambda name: mean(table[name]["kNN accuracy in the plane"]))
    trusted = max(table, key=lambda name: mean(table[name]["trustworthiness"]))

    def listed(column: str, form: str) -> str:
        return ", ".join(f"{name} {format(mean(row[column]), form)}" for name, row in table.items())

    found = (
        f"Accuracy of the nearest neighbours in the plane: {listed('kNN accuracy in the plane', '.3f')}: best from "
        f"{best}. Trustworthiness to the neighbours by pixels: {listed('trustworthiness', '.3f')}: best from "
        f"{trusted}. Seconds of t-SNE: {listed('seconds', '.1f')}."
    )

    def figure() -> Figure:
        drawn, axes = plots.panels(len(planes), width=3.0, height=3.2)
        for axis, (name, plane) in zip(axes, planes.items(), strict=True):
            dots = axis.scatter(*plane.T, c=labels, cmap="tab10", s=3, linewidths=0)
            accuracy = mean(table[name]["kNN accuracy in the plane"])
            axis.set(title=f"{name}: {accuracy:.3f}", xticks=[], yticks=[])
        drawn.colorbar(dots, ax=axes, label="class", ticks=np.unique(labels), shrink=0.8)
        return drawn

    return Result(
        "An autoencoder is a good preprocessing for t-SNE",
        f"t-SNE (scikit-learn, perplexity 30, one random state per seed) of {len(shown):,} test images; accuracy of 5 "
        "nearest neighbours from one half of the points to the other; trustworthiness for 10 neighbours.",
        found,
        table,
        figure,
    )
