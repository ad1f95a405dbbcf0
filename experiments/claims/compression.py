"""Claim 2: autoencoders are lossy, and JPEG compresses photographs better."""

import io
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from aejax.data import Dataset
from aejax.evaluation import Run
from aejax.evaluation.drawing import NAMES, PALETTE, note, shades, styled, tested_ticks
from aejax.evaluation.measures import chosen, dequantise, entropy_bits, psnr, quantise
from aejax.training import unit_interval
from claims import plots
from claims.study import Result, Study, Table, differs, mean, photograph_patches

_SIZES = (4, 16, 64)
_BITS = (2, 3, 4, 6, 8)
_QUALITIES = (2, 5, 10, 20, 35, 50, 70, 85, 95)
_RATES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
_FILES = 200
"""number of test images that we write as JPEG and PNG"""

Curve = list[tuple[float, float]]
"""(bits per pixel, PSNR in dB)"""


def rate_distortion(study: Study) -> Result:
    """Measure bits per pixel and PSNR of quantised codes, JPEG and PNG, for the images and for a photograph."""
    curves: dict[str, dict[str, list[Curve]]] = {}
    png: dict[str, tuple[float, float]] = {}
    for kind in (study.dataset, photograph_patches(study.dataset.image_shape)):
        coders: dict[str, list[Curve]] = {}
        for size in _SIZES:
            changes = {"model.code_size": size, "model.code_activation": "identity", "loss.reconstruction": "mse"}
            runs = study.train(f"rate {kind.name} {size}", changes, kind)
            coders[f"code of {size}"] = [quantised_codes(run, kind) for run in runs]
        whole, scan = jpeg(kind.test[:_FILES])
        curves[kind.name] = coders | {"JPEG, file": [whole], "JPEG, data only": [scan]}
        png[kind.name] = lossless(kind.test[:_FILES])
    table: Table = {}
    for kind, coders in curves.items():
        codes = list(zip(*(coders[f"code of {size}"] for size in _SIZES), strict=True))  # the curves of each seed
        for rate in _RATES:
            table[f"{kind}, {rate} bits per pixel"] = {
                "autoencoder [dB]": [best(at_one, rate) for at_one in codes],
                "JPEG, data only [dB]": [best(coders["JPEG, data only"], rate)] * study.seeds,
                "JPEG, file [dB]": [best(coders["JPEG, file"], rate)] * study.seeds,
            }
        table[f"{kind}, PNG (lossless), bits per pixel"] = {
            "PNG, data only": [png[kind][1]] * study.seeds,
            "PNG, file": [png[kind][0]] * study.seeds,
        }
    found = [f"Headers left out, the better coder on {ahead(kind, table)}." for kind in curves]
    return Result(
        "Autoencoders are lossy, and JPEG compresses photographs better",
        title(list(curves)[-1], table),
        f"Deep autoencoders with codes of {', '.join(map(str, _SIZES))} units, trained on squared error; every unit "
        f"quantised to {', '.join(map(str, _BITS))} bits and counted by its entropy, the best of all at each rate. "
        "JPEG and PNG (Pillow) of each image, counted with and without headers and tables; the weights of the "
        "autoencoder are not counted.",
        " ".join(found),
        table,
        lambda: figure(curves, png, table),
        "PSNR against the rate of quantised codes, JPEG and PNG, for each kind of images; " + plots.lines(study.seeds),
    )


def winners(kind: str, table: Table) -> dict[str, list[str]]:
    """Find the better coder at each rate, without headers; neither is better within the spread of the seeds."""
    found: dict[str, list[str]] = {"autoencoder": [], "JPEG": [], "neither": []}
    for rate in _RATES:
        row = table[f"{kind}, {rate} bits per pixel"]
        ours, theirs = row["autoencoder [dB]"], row["JPEG, data only [dB]"]
        unreached = [np.isnan(mean(each)) for each in (ours, theirs)]
        if not all(unreached):
            jpeg_leads = unreached[0] or mean(theirs) > mean(ours)
            neither = not any(unreached) and not differs(ours, theirs)
            found["neither" if neither else "JPEG" if jpeg_leads else "autoencoder"].append(f"{rate:g}")
    return {name: rates for name, rates in found.items() if rates}


def ahead(kind: str, table: Table) -> str:
    """Name the images, the better coder at each rate, and the rates that JPEG does not reach."""
    said = [f"{name} at {', '.join(rates)}" for name, rates in winners(kind, table).items()]
    jpeg_at = {f"{rate:g}": table[f"{kind}, {rate} bits per pixel"]["JPEG, data only [dB]"] for rate in _RATES}
    unreached = [rate for rate, values in jpeg_at.items() if np.isnan(mean(values))]
    omitted = f" (JPEG does not reach {', '.join(unreached)})" if unreached else ""
    return f"{NAMES.get(kind, kind)}: {'; '.join(said)} bits per pixel{omitted}"


def title(kind: str, table: Table) -> str:
    """Return the finding on the photograph, in one line."""
    found = winners(kind, table)
    if "JPEG" not in found:
        return "Autoencoders are lossy; JPEG compresses photographs no better"
    if list(found) == ["JPEG"]:
        return "Autoencoders are lossy, and JPEG compresses photographs better"
    names = {"JPEG": "JPEG is ahead", "autoencoder": "the autoencoder", "neither": "neither"}
    said = [f"{name} at {', '.join(found[coder])}" for coder, name in names.items() if coder in found]
    return f"Autoencoders are lossy; on photographs {'; '.join(said)} bits per pixel"


@styled
def figure(
    curves: Mapping[str, Mapping[str, list[Curve]]], png: Mapping[str, tuple[float, float]], table: Table
) -> Figure:
    """Draw rate against distortion with one line per seed, and name the better coder at each rate."""
    drawn, axes = plots.panels(1, len(curves), height=3.6, sharey=True)
    for axis, (kind, coders) in zip(axes[0], curves.items(), strict=True):
        colours, marks = iter(shades(len(_SIZES))), iter("o^D")
        for name, of_seeds in coders.items():
            style = _JPEG.get(name) or {"color": next(colours), "marker": next(marks)}
            for seed, curve in enumerate(of_seeds):
                label = name if seed == 0 else None
                axis.plot(*zip(*curve, strict=True), ms=3.5, lw=1.2, label=label, **style)
        for rate, part, style in zip(png[kind], ("file", "data only"), ("--", ":"), strict=True):
            axis.axvline(rate, color="0.5", linestyle=style, label=f"PNG, {part} (lossless)")
        name = NAMES.get(kind, kind).removeprefix("a ")
        axis.set(xlabel="rate [bits per pixel]", ylabel="PSNR [dB]", title=name[:1].upper() + name[1:])
        tested_ticks(axis, [0.02, *_RATES])
    handles, blank = axes[0, -1].get_legend_handles_labels()[0], Line2D([], [], linestyle="", label=" ")
    drawn.legend(handles=[*handles[:5], blank, *handles[5:]], title="coder", loc="outside upper center", ncols=3)
    count = len(coders[f"code of {_SIZES[0]}"])
    seeds = "one seed" if count == 1 else f"one of {count} seeds"
    lines = [f"Ahead without headers, {ahead(kind, table)}." for kind in curves]
    note(drawn, "\n".join([*lines, f"Each line of a code: {seeds}; weights of the autoencoder not counted."]))
    return drawn


_JPEG = {
    "JPEG, data only": {"color": PALETTE[3], "marker": "s"},
    "JPEG, file": {"color": PALETTE[3], "marker": "s", "linestyle": "--", "markerfacecolor": "none"},
}


def quantised_codes(run: Run, kind: Dataset) -> Curve:
    """Return the rates and distortions of a model's code for several numbers of bits per unit."""
    known, codes = run.encode(kind.train[chosen(len(kind.train))]), run.encode(kind.test)
    low, high = known.min(axis=0), known.max(axis=0)
    pixels = unit_interval(kind.test)
    curve = []
    for bits in _BITS:
        levels = quantise(codes, low, high, bits)
        decoded = np.clip(run.decode(dequantise(levels, low, high, bits)), 0, 1)
        curve.append((entropy_bits(levels) / pixels[0].size, float(psnr(pixels, decoded).mean())))
    return sorted(curve)


def best(curves: Sequence[Curve], rate: float) -> float | None:
    """Return the highest PSNR at a rate, with linear interpolation; None if no curve reaches the rate.

    A curve continues at its best PSNR above its highest rate.
    """
    found = []
    for curve in curves:
        rates, distortions = np.array(curve).T
        if rates[0] <= rate:
            found.append(float(np.interp(rate, rates, np.maximum.accumulate(distortions))))
    return max(found, default=None)


def jpeg(pictures: np.ndarray) -> tuple[Curve, Curve]:
    """Return the curves of JPEG over its quality: for whole files, and for the entropy-coded data alone."""
    whole, scan = [], []
    for quality in _QUALITIES:
        data, decoded = [], []
        files = [_encoded(picture, "JPEG", quality=quality, optimize=True) for picture in pictures]
        for file in files:
            begin = file.rindex(b"\xff\xda")  # start of scan: the length of its header, then the data
            data.append(len(file) - begin - 2 - int.from_bytes(file[begin + 2 : begin + 4]) - 2)
            decoded.append(np.asarray(Image.open(io.BytesIO(file))).reshape(pictures[0].shape))
        decibel = float(psnr(unit_interval(pictures), unit_interval(np.stack(decoded))).mean())
        whole.append((_rate(map(len, files), pictures), decibel))
        scan.append((_rate(data, pictures), decibel))
    return sorted(whole), sorted(scan)


def lossless(pictures: np.ndarray) -> tuple[float, float]:
    """Return bits per pixel of PNG: for whole files, and for the compressed data alone."""
    files = [_encoded(picture, "PNG", optimize=True) for picture in pictures]
    data = [int.from_bytes(file.partition(b"IDAT")[0][-4:]) for file in files]
    return _rate(map(len, files), pictures), _rate(data, pictures)


def _rate(sizes: Iterable[int], pictures: np.ndarray) -> float:
    """Return the bits per pixel of files of some sizes [bytes]."""
    return 8 * np.mean(list(sizes)) / pictures[0].size


def _encoded(picture: np.ndarray, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture if picture.shape[2] == 3 else picture[..., 0]).save(file, form, **options)
    return file.getvalue()
