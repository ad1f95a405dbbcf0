"""Style and writing of figures (PNG for a screen, PDF or SVG for a paper), and Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from aejax.config import Config
from aejax.config.numbers import LEAST_SIDES
from aejax.models import Autoencoder, SparseAutoencoder, model_class

STYLE = {
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
styled = rc_context(STYLE)
"""decorator of a function that makes a figure"""


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

    Raises:
        OSError: a file cannot be written; the figures before it are written.
    """
    for name, make in figures.items():
        paths = [folder / f"{name}.{form}" for form in formats]
        if wanted := [path for path in paths if replace or not path.exists()]:
            folder.mkdir(parents=True, exist_ok=True)
            with rc_context(STYLE):
                figure = make()
                for path in wanted:
                    partial = path.with_name(f".{path.name}.partial")
                    try:
                        figure.savefig(partial, format=path.suffix[1:])
                        partial.replace(path)
                    finally:
                        partial.unlink(missing_ok=True)


def loss_unit(config: Config, shape: tuple[int, ...]) -> str | None:
    """Return the unit of the loss of a model; None if its class has a loss of its own.

    The mean of a reconstruction is over features of vectors, over pixels of images with one channel, and over channel
    values of other images: an RGB pixel has three.

    Args:
        shape: of a target: (D,) of a vector, or (H, W, C) of an image.
    """
    if model_class(config.model.kind).loss not in (Autoencoder.loss, SparseAutoencoder.loss):
        return None
    whole, part = "image", "pixel" if shape[-1:] == (1,) else "channel value"
    if len(shape) != 3:
        whole, part = "vector", "feature"
    per = {"mean": part, "sum": whole}[config.loss.pixels]
    unit = _UNITS[config.loss.reconstruction]
    return unit if config.loss.reconstruction in LEAST_SIDES else f"{unit} per {per}"


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


def with_spread(mean: float | None, std: float | None, form: str) -> str:
    """Format `mean ± std`, for example with ".4f"; without a std only the mean, without a mean "-"."""
    if mean is None:
        return "-"
    return format(mean, form) + ("" if std is None else f" ± {format(std, form)}")
