"""Claim 4: an autoencoder that is too powerful learns to copy."""

import math

from matplotlib.figure import Figure

from aejax.evaluation.drawing import styled, tested_ticks
from claims import plots
from claims.study import Result, Study, Table, bce_of, differs, mean, over_seeds, psnr_of, random_pixels

_DEPTHS = {"shallow": (), "two hidden layers": (256, 256)}
_GREY = 10 * math.log10(12)
"""PSNR of a constant grey of 0.5 for uniform random pixels, whose variance is 1/12 [dB]"""


def too_powerful(study: Study) -> Result:
    """Train shallow and deep models with codes of up to twice the number of pixels."""
    pixels = math.prod(study.dataset.image_shape)
    sizes = sorted({2, 8, 32, 128, pixels, 2 * pixels} - {128 if pixels < 128 else 0})
    noise, test = random_pixels(study.dataset.image_shape, 1).test, study.dataset.test
    table: Table = {}
    for depth, hidden in _DEPTHS.items():
        for size in sizes:
            runs = study.train(f"capacity {depth} {size}", {"model.hidden": hidden, "model.code_size": size})
            table[f"{depth}, code of {size}"] = over_seeds(
                runs,
                train_BCE=lambda run: bce_of(run, study.learnt),
                test_BCE=lambda run: bce_of(run, test),
                PSNR_of_random_pixels=lambda run: psnr_of(run, noise),
                probe_accuracy=study.probe,
            )
    shallow = [table[f"shallow, code of {size}"] for size in sizes]
    best_probe = max(table, key=lambda row: mean(table[row]["probe accuracy"]))
    gap = max(table, key=lambda row: mean(table[row]["test BCE"]) - mean(table[row]["train BCE"]))
    probes = [mean(row["probe accuracy"]) for row in shallow]
    return Result(
        "A too powerful autoencoder copies",
        _title(table),
        f"Codes of {', '.join(map(str, sizes))} units ({pixels} pixels), shallow and with hidden layers of 256 and "
        "256; random pixels, never trained on, show how much of it is copying: a constant grey of 0.5 has "
        f"{_GREY:.1f} dB, and a copy more.",
        f"From {sizes[0]} to {sizes[-1]} units the shallow model's test BCE goes from "
        f"{mean(shallow[0]['test BCE']):.4f} to {mean(shallow[-1]['test BCE']):.4f}. Random pixels come back at "
        f"{mean(shallow[0]['PSNR of random pixels']):.1f} and {mean(shallow[-1]['PSNR of random pixels']):.1f} dB. Of "
        f"all models the best has {max(mean(row['PSNR of random pixels']) for row in table.values()):.1f} dB. The "
        f"probe of the shallow model goes from "
        f"{probes[0]:.3f} to {probes[-1]:.3f}; the best of all is {mean(table[best_probe]['probe accuracy']):.3f} "
        f"({best_probe}). The largest gap from train to test BCE is "
        f"{mean(table[gap]['test BCE']) - mean(table[gap]['train BCE']):.4f} ({gap}).",
        table,
        lambda: figure(table, pixels),
        "Test BCE, its difference to the train BCE, PSNR of random pixels and accuracy of a linear probe against the "
        f"size of the code; {plots.means(study.seeds)}",
    )


def _title(table: Table) -> str:
    """Compare the reconstructions of random pixels with a constant grey."""
    psnr = {name: row["PSNR of random pixels"] for name, row in table.items()}
    best = max(psnr, key=lambda name: mean(psnr[name]))
    if mean(psnr[best]) > _GREY and differs(psnr[best], [_GREY]):
        return f"Random pixels come back better than a constant grey ({mean(psnr[best]):.1f} of {_GREY:.1f} dB; {best})"
    return f"No model copies: random pixels come back no better than a constant grey ({_GREY:.1f} dB)"


@styled
def figure(table: Table, pixels: int) -> Figure:
    """Draw loss, generalization, copying and classification against the size of the code."""
    shown = {
        row: {**each, "gap": [test - train for test, train in zip(each["test BCE"], each["train BCE"], strict=True)]}
        for row, each in table.items()
    }
    labels = {
        "test BCE": "test BCE\n[nats per pixel]",
        "gap": "BCE of test minus train\n[nats per pixel]",
        "PSNR of random pixels": "PSNR of random pixels\n[dB]",
        "probe accuracy": "accuracy of\na linear probe",
    }
    drawn, axes = plots.panels(2, 2, height=2.5, sharex=True)
    for axis, (column, label) in zip(axes.flat, labels.items(), strict=True):
        for place, depth in enumerate(_DEPTHS):
            rows = {row: int(row.rpartition(" ")[2]) for row in table if row.startswith(f"{depth},")}
            plots.line(axis, shown, rows, column, depth, place, (0, 1) if column == "probe accuracy" else ())
        axis.axvline(pixels, color="0.6", linestyle=":")
        if column == "PSNR of random pixels":
            axis.axhline(_GREY, color="0.3", linestyle="--", linewidth=1.2, zorder=0)
            place = {"xycoords": ("axes fraction", "data"), "va": "bottom", "fontsize": 8}
            axis.annotate(f"constant grey, {_GREY:.1f} dB", (0.02, _GREY), (0, 2), textcoords="offset points", **place)
            axis.set_ylim(top=_GREY + 0.15 * (_GREY - axis.get_ylim()[0]))
        axis.set(ylabel=label)
        tested_ticks(axis, rows.values())
    for axis in axes[1]:
        axis.set_xlabel(f"code [units] (dotted: {pixels} pixels)")
    drawn.legend(*axes[0, 0].get_legend_handles_labels(), title="encoder", loc="outside upper center", ncols=2)
    return plots.explain(drawn, table)
