"""Style and writing of figures (PNG for a screen, PDF or SVG for a paper), and Markdown tables.

The rules of all figures: colours of `PALETTE`, panel letters and minus signs by `styled`, ticks at tested values by
`tested_ticks`, error bars that end at the limits of a quantity by `within`.
"""

import functools
import io
import math
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from aejax.config import Config
from aejax.config.files import write
from aejax.config.numbers import LEAST_SIDES
from aejax.models import Autoencoder, SparseAutoencoder, model_class

PALETTE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#774400", "#882255", "#8000F0"
"""colours of Okabe and Ito (2008), with brown, wine and violet in place of yellow, which a white page hides"""
NAMES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "photograph": "a photograph", "random": "random pixels"}
"""dataset → its name in figures and prose; other datasets have no other name"""
STYLE = {
    "axes.prop_cycle": f"cycler('color', {PALETTE})",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "figure.titlesize": 10,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "errorbar.capsize": 2,
    "lines.markersize": 4,
    "pdf.fonttype": 42,  # text stays text, as journals require
    "svg.fonttype": "none",
}


def styled(make: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a function that makes a figure: our style, a letter for each of several panels, real minus signs."""

    @functools.wraps(make)
    def styled_make(*given: object, **named: object) -> Figure:
        with rc_context(STYLE):
            figure = make(*given, **named)
            panels = [axis for axis in figure.axes if axis.axison and axis.get_label() != "<colorbar>"]
            for axis, letter in zip(panels if len(panels) > 1 else (), string.ascii_lowercase, strict=False):
                axis.set_title(letter, loc="left", fontweight="bold")
            for text in figure.findobj(Text):
                text.set_text(minus(text.get_text()))
            if tested := [axis for axis in figure.axes if axis.xaxis.get_gid() == "tested"]:
                figure.draw_without_rendering()  # places the labels
                for axis in tested:
                    _stagger(axis)
        return figure

    return styled_make


def shades(count: int) -> np.ndarray:
    """Return the colours of ordered values, from dark to light; a white page hides none."""
    return colormaps["viridis"](np.linspace(0, 0.7, count))


def minus(text: str) -> str:
    """Replace the hyphen before a negative number by a minus sign."""
    return re.sub(r"(?<![\w.)-])-(?=[\d.])", "\N{MINUS SIGN}", text)


def number(value: float) -> str:
    """Format a number for a label; small and large numbers with a power of ten."""
    if value == 0 or 0.01 < abs(value) < 100_000:
        return minus(f"{value:g}")
    mantissa, exponent = f"{value:.3e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if float(mantissa) == 1 else rf"${float(mantissa):g}\times{power}$"


def tested_ticks(axis: Axes, values: Iterable[float]) -> None:
    """Use the tested values as the ticks of a horizontal axis.

    The axis is logarithmic for sizes (positive integers) and for numbers of different magnitudes. `styled` moves labels
    that would overlap others into a second line, and omits labels that would overlap there too.
    """
    values = sorted(values)
    positive = [value for value in values if value > 0] or [1.0]
    wide = positive[-1] >= 9.9 * positive[0]
    if values[0] > 0 and (wide or all(isinstance(value, int) for value in values)):
        axis.set_xscale("log")
    elif wide:
        linear = 0.22 * math.log10(positive[-1] / positive[0])
        axis.set_xscale("symlog", linthresh=positive[0], linscale=max(0.5, linear))
    axis.set_xticks(values, map(number, values))
    axis.set_xticks([], minor=True)
    axis.xaxis.set_gid("tested")


def _stagger(axis: Axes) -> None:
    """Move each label of a horizontal axis that would overlap the label before into a second line."""
    ends = [-math.inf, -math.inf]
    for tick in axis.xaxis.get_major_ticks():
        box = tick.label1.get_window_extent().padded(2)
        line = next((line for line, end in enumerate(ends) if end < box.x0), None)
        tick.label1.set_visible(line is not None and tick.label1.get_visible())
        if tick.label1.get_visible():
            ends[line] = box.x1
            tick.set_pad(tick.get_pad() + 1.3 * line * STYLE["font.size"])


def within(mean: float, std: float | None, low: float = -math.inf, high: float = math.inf) -> np.ndarray | None:
    """Return the error bar [2, 1] of a mean, at most to the limits of a quantity; None without a deviation."""
    return None if std is None else np.clip([[mean - low], [high - mean]], 0, std)


def draw(
    figures: Mapping[str, Callable[[], Figure]],
    folder: Path,
    formats: Sequence[str] = ("png",),
    *,
    replace: bool = False,
) -> None:
    """Write each figure in each format to FOLDER/NAME.FORMAT, completely or not at all.

    Args:
        figures: name → function that makes the figure.
        formats: png (200 dots per inch), pdf or svg.
        replace: whether to draw existing files again; by default they are kept.

    Raises: as `aejax.config.files.write`; the figures before are written.
    """
    for name, make in figures.items():
        paths = [folder / f"{name}.{form}" for form in formats]
        if wanted := [path for path in paths if replace or not path.exists()]:
            folder.mkdir(parents=True, exist_ok=True)
            with rc_context(STYLE):
                figure = make()
                for path in wanted:
                    figure.savefig(content := io.BytesIO(), format=path.suffix[1:])
                    write(path, content.getvalue())


def loss_unit(config: Config, shape: tuple[int, ...]) -> str | None:
    """Return the unit of the loss of a model; None if its class has a loss of its own.

    The mean of a reconstruction is over features of vectors, over pixels of images with one channel, and over channel
    values of other images: an RGB pixel has three.

    Args:
        shape: of a target: (D,) of a vector, or (H, W, C) of an image.
    """
    kind, reconstruction = model_class(config.model.kind), config.loss.reconstruction
    if kind.loss not in (Autoencoder.loss, SparseAutoencoder.loss):
        return None
    whole, part = "vector", "feature"
    if len(shape) == 3:
        whole, part = "image", "pixel" if shape[2] == 1 else "channel value"
    if kind.log_density is not None:
        return f"nats per {whole}"
    per = f" per {part if config.loss.pixels == 'mean' else whole}"
    return _UNITS[reconstruction] + ("" if reconstruction in LEAST_SIDES else per)


_UNITS = dict(bce="nats", mse="squared error", l1="absolute error", huber="Huber loss", ssim="1 - SSIM")
_UNITS["ms_ssim"] = "1 - MS-SSIM"


def with_unit(label: str, unit: str | None) -> str:
    """Return the label of an axis, with the unit in a second line."""
    return label if unit is None else f"{label}\n[{unit}]"


def note(figure: Figure, text: str) -> None:
    """Write a line below a figure that explains its marks."""
    figure.supxlabel(text, fontsize=7.5, color="0.35")


def spread_over(seeds: int, shown: str = "Points") -> str:
    """Explain points and error bars over a number of seeds, for `note`."""
    if seeds == 1:
        return f"{shown}: one seed."
    return f"{shown}: means over {seeds} seeds; error bars: ± one standard deviation."


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table from the cells of its head and of its rows."""
    lines = ["|" + "".join(f" {cell} |" if cell != "" else " |" for cell in cells) for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def mean_and_std(values: Iterable[float | None]) -> dict[str, float | None]:
    """Return "mean" and sample standard deviation "std" of the known values; None where there are too few."""
    known = [value for value in values if value is not None]
    mean = float(np.mean(known)) if known else math.nan
    return {"mean": None if math.isnan(mean) else mean, "std": float(np.std(known, ddof=1)) if known[1:] else None}


def with_spread(mean: float | None, std: float | None, form: str) -> str:
    """Format `mean ± std`, for example with ".4f"; without a std only the mean, without a mean "-"."""
    if mean is None:
        return "-"
    return format(mean, form) + ("" if std is None else f" ± {format(std, form)}")
