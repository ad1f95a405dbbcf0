"""Claim 4: an autoencoder that is too powerful learns to copy."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from aejax.evaluation.classes import IMAGES
from claims import images, plots
from claims.study import Result, Study, Table, bce_of, mean, over_seeds, psnr_of

_DEPTHS = {"shallow": (), "two hidden layers": (256, 256)}


def too_powerful(study: Study) -> Result:
    """Code sizes up to twice the number of pixels, shallow and deep."""
    pixels = math.prod(study.dataset.image_shape)
    sizes = sorted({2, 8, 32, 128, pixels, 2 * pixels} - {128 if pixels < 128 else 0})
    noise = images.random_pixels(study.dataset.image_shape, 1).test
    train, test = study.dataset.train[:IMAGES], study.dataset.test
    table: Table = {}
    for depth, hidden in _DEPTHS.items():
        for size in sizes:
            runs = study.train(f"capacity {depth} {size}", {"model.hidden": hidden, "model.code_size": size})
            table[f"{depth}, code of {size}"] = over_seeds(
                runs,
                train_BCE=lambda run: bce_of(run, train),
                test_BCE=lambda run: bce_of(run, test),
                PSNR_of_random_pixels=lambda run: psnr_of(run, noise),
                probe_accuracy=study.probe,
            )
    shallow = [table[f"shallow, code of {size}"] for size in sizes]
    best_probe = max(table, key=lambda row: mean(table[row]["probe accuracy"]))
    gap = max(table, key=lambda row: mean(table[row]["test BCE"]) - mean(table[row]["train BCE"]))
    probes = [mean(row["probe accuracy"]) for row in shallow]
    found = (
        f"From {sizes[0]} to {sizes[-1]} units the shallow model's test BCE goes from "
        f"{mean(shallow[0]['test BCE']):.4f} to {mean(shallow[-1]['test BCE']):.4f}, and random pixels, which it was "
        f"never trained on, come back at {mean(shallow[0]['PSNR of random pixels']):.1f} and "
        f"{mean(shallow[-1]['PSNR of random pixels']):.1f} dB: the higher, the more it copies. The probe goes from "
        f"{probes[0]:.3f} to {probes[-1]:.3f}; the best of all is {mean(table[best_probe]['probe accuracy']):.3f} "
        f"({best_probe}). The largest gap from train to test BCE is "
        f"{mean(table[gap]['test BCE']) - mean(table[gap]['train BCE']):.4f} ({gap})."
    )

    def figure() -> Figure:
        drawn, axes = plots.panels(3, width=3.1)
        for depth, colour in zip(_DEPTHS, ("C0", "C1"), strict=True):
            rows = {f"{depth}, code of {size}": size for size in sizes}
            plots.line(axes[0], table, rows, "test BCE", f"{depth}, test", f"o{colour}-")
            plots.line(axes[0], table, rows, "train BCE", f"{depth}, train", f"x{colour}:")
            plots.line(axes[1], table, rows, "PSNR of random pixels", depth, f"o{colour}-")
            plots.line(axes[2], table, rows, "probe accuracy", depth, f"o{colour}-")
        for axis, label in zip(
            axes, ("BCE [nats per pixel]", "PSNR of random pixels [dB]", "probe accuracy"), strict=True
        ):
            axis.axvline(pixels, color="0.6", linestyle=":")
            axis.set_xscale("log", base=2)
            axis.set_xticks(sizes, map(str, sizes), fontsize=7)
            axis.set(xlabel="units of the code (dotted: pixels)", ylabel=label)
        axes[0].legend(fontsize=7)
        axes[1].legend(fontsize=7)
        return drawn

    return Result(
        "A too powerful autoencoder copies",
        f"Codes of {', '.join(map(str, sizes))} units ({pixels} pixels), shallow and with hidden layers of 256 and "
        "256; random pixels, never trained on, show how much of it is copying.",
        found,
        table,
        figure,
    )
