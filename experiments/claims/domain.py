"""Claims 1 and 3: an autoencoder is specific to its training data, and works because data has structure."""

import contextlib
import math
from collections.abc import Iterable

import numpy as np
from matplotlib.figure import Figure

from aejax.config import InputError
from aejax.data import load_dataset
from aejax.evaluation.drawing import NAMES
from aejax.evaluation.figures import image_rows
from aejax.training import unit_interval
from claims.study import Result, Study, Table, bce_of, margin, mean, photograph_patches, psnr_of, random_pixels

_SHOWN = 3
"""number of images of each kind in the figure"""


def data_specific(study: Study) -> Result:
    """Train on each of several kinds of images, and test on all kinds."""
    kinds = [study.dataset]
    with contextlib.suppress(InputError):  # it cannot be downloaded
        kinds += [load_dataset("fashion_mnist")] if study.dataset.image_shape == (28, 28, 1) else []
    if len(kinds) == 1:
        print("left out: Fashion-MNIST, which has another size or is not available", flush=True)
    kinds.append(photograph_patches(study.dataset.image_shape))
    trained = {kind.name: study.train(f"domain {kind.name}", dataset=kind) for kind in kinds}
    table: Table = {}
    for source, runs in trained.items():
        table[f"trained on {source}"] = {
            f"{figure} on {kind.name}": [measure(run, kind.test) for run in runs]
            for figure, measure in (("BCE", bce_of), ("PSNR", psnr_of))
            for kind in kinds
        }
    own, *others = (kind.name for kind in kinds)
    psnr = {(s, t): mean(table[f"trained on {s}"][f"PSNR on {t}"]) for s in trained for t in trained}
    lost = ", ".join(
        f"{psnr[other, other] - psnr[own, other]:.1f} dB on {NAMES.get(other, other)} "
        f"({psnr[own, other]:.1f} against {psnr[other, other]:.1f} of the model trained there)"
        for other in others
    )
    worst = min(value - psnr[target, target] for (_, target), value in psnr.items())
    holds = all(value <= psnr[target, target] for (_, target), value in psnr.items())

    def figure() -> Figure:
        picked = []
        for kind in kinds:  # an almost white patch of the photograph would look like an empty panel
            plain = unit_interval(kind.test[:100]).std(axis=(1, 2, 3)) < 0.1
            picked.append(kind.test[np.argsort(plain, kind="stable")[:_SHOWN]])
        rows = {"original": _grouped(map(unit_interval, picked))}
        for source, (run, *_) in trained.items():
            rows[f"trained on\n{NAMES.get(source, source)}"] = _grouped(map(run.reconstruct, picked))
        columns, caption = {}, f"seed 0 of {study.seeds}; images of almost one grey are left out"
        for kind in kinds:  # a column without images, whose label is blank, is between two kinds
            columns |= {" " * len(columns): 1} if columns else {}
            columns[NAMES.get(kind.name, kind.name)] = _SHOWN
        return image_rows(rows, columns, caption=caption)

    return Result(
        "Autoencoders are data-specific",
        f"{'Each' if holds else 'Not every'} autoencoder is best on the kind of images it was trained on",
        f"The deep autoencoder trained on each of {', '.join(NAMES.get(kind, kind) for kind in trained)}, tested on "
        "all of them.",
        f"The model of {NAMES.get(own, own)} loses {lost}. "
        + ("On every kind of images the model trained on it is best" if holds else "Not every model is best at home")
        + f"; the largest loss away from home is {-worst:.1f} dB.",
        table,
        figure,
        f"Test images of each kind, and their reconstructions by the model of each kind; seed 0 of {study.seeds}",
    )


def _grouped(parts: Iterable[np.ndarray]) -> np.ndarray:
    """Concatenate images, with a white image between two parts."""
    white = [np.concatenate([np.ones_like(part[:1]), part]) for part in parts]
    return np.concatenate(white)[1:]


def structure(study: Study) -> Result:
    """Train an undercomplete model on images without structure, and compare it with the mean image."""
    pixels = math.prod(study.dataset.image_shape)
    size = max(4, pixels // 24)
    noise = random_pixels(study.dataset.image_shape, len(study.dataset.train))
    table: Table = {}
    for kind in (study.dataset, noise):
        tested = unit_interval(kind.test).astype(np.float64)
        middle = np.clip(unit_interval(kind.train).mean(axis=0, dtype=np.float64), 1e-4, 1 - 1e-4)
        constant, floor = (
            -(tested * np.log(guess) + (1 - tested) * np.log1p(-guess)).mean()
            for guess in (middle, np.clip(tested, 1e-12, 1 - 1e-12))
        )
        runs = study.train(f"structure {kind.name}", {"model.code_size": size}, kind)
        reached = [bce_of(run, kind.test) for run in runs]
        table[kind.name] = {
            "test BCE": reached,
            "BCE of the mean image": [constant] * study.seeds,
            "lowest possible BCE": [floor] * study.seeds,
            "share of it explained": [(constant - each) / (constant - floor) for each in reached],
        }
    shares = [mean(row["share of it explained"]) for row in table.values()]
    name = NAMES.get(study.dataset.name, study.dataset.name)
    beats = "does not beat" if shares[1] <= 0 else "beats"
    return Result(
        "An undercomplete autoencoder works because data has structure",
        f"The autoencoder removes {shares[0]:z.0%} of the avoidable loss on {name}, {shares[1]:z.0%} on random pixels",
        f"The deep autoencoder with a code of {size}, trained on the images and on as many images of uniform random "
        "pixels; the mean training image as a constant guess; and the entropy of the grey values, below which no guess "
        "can come.",
        f"On {name} the model removes {shares[0]:.0%} of the loss that the mean image leaves above the "
        f"lowest possible one; on random pixels it {beats} the mean image ({shares[1]:z.1%}, "
        f"{margin(table['random']['test BCE'], table['random']['BCE of the mean image'])}; the code has "
        f"{size / pixels:.1%} as many numbers as the image, and could copy so many pixels).",
        table,
        None,
    )
