"""How every figure looks, and how it is written: PNG for a screen, PDF or SVG for a paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from aejax.config import Loss

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
    "pdf.fonttype": 42,  # letters stay letters, as journals ask
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
    """Write figures, each by its name in each format, whole or not at all.

    Args:
        formats: of png (200 dots per inch), pdf and svg.
        replace: draw again what is there already, which else is left alone.

    Raises:
        OSError: one cannot be written; those before it are there.
    """
    for name, make in figures.items():
        paths = [folder / f"{name}.{form}" for form in formats]
        if wanted := [path for path in paths if replace or not path.exists()]:
            folder.mkdir(parents=True, exist_ok=True)
            with rc_context(STYLE):
                figure = make()
                for path in wanted:
                    _write(figure, path)


def _write(figure: Figure, path: Path) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        figure.savefig(partial, format=path.suffix[1:])
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def loss_unit(loss: Loss) -> str:
    """In what a loss is measured."""
    per = {"mean": "pixel", "sum": "image"}[loss.pixels]
    return f"{'nats' if loss.reconstruction == 'bce' else 'squared error'} per {per}"


def note(figure: Figure, text: str) -> None:
    """A line below a figure, for what its marks are."""
    figure.supxlabel(text, fontsize=7.5, color="0.35")


def spread_over(seeds: int, shown: str = "Points") -> str:
    """What points and error bars over so many seeds are, for `note`."""
    if seeds == 1:
        return f"{shown}: one seed."
    return f"{shown}: means over {seeds} seeds; error bars: ± one standard deviation."


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown: a line for the head, the rule below it, and one for each row."""
    lines = [_line(head), "|" + "---|" * len(head), *map(_line, rows)]
    return "\n".join(lines)


def with_spread(mean: float | None, std: float | None, form: str) -> str:
    """`mean ± std` in a format such as ".4f": without the spread where there is none, and - where there is no mean."""
    if mean is None:
        return "-"
    return format(mean, form) + ("" if std is None else f" ± {format(std, form)}")


def _line(cells: Sequence[object]) -> str:
    return "|" + "".join(f" {cell} |" if cell != "" else " |" for cell in cells)
