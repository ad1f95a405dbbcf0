"""Parts of figures that several claims use."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aejax.evaluation.drawing import PALETTE, note, spread_over, within
from claims.study import Table, mean, std


def panels(rows: int, columns: int, height: float = 2.3, **shared: bool | str) -> tuple[Figure, np.ndarray]:
    """Make a figure of empty panels [rows, columns], as wide as a page."""
    figure = Figure(figsize=(7.2, height * rows + 0.3), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def line(
    axis: Axes,
    table: Table,
    rows: Mapping[str, float],
    column: str,
    label: str = "",
    place: int = 0,
    limits: tuple[float, ...] = (),
    **more: str,
) -> None:
    """Draw a column of a table against a number per row, with the standard deviation over the seeds.

    Args:
        place: of the line among the lines of its panel; decides its colour, marker and dashes.
        limits: smallest and largest value of the quantity, at which error bars end.
    """
    values = [table[row][column] for row in rows]
    errors = np.hstack([within(mean(value), std(value) or 0.0, *limits) for value in values])
    style = {"color": PALETTE[place], "fmt": "os^"[place] + ("-", "--", "-.")[place]}
    axis.errorbar(list(rows.values()), list(map(mean, values)), errors, label=label or None, **style, **more)


def lines(seeds: int) -> str:
    """Say what the lines of a figure with a line for each seed are."""
    return "one seed" if seeds == 1 else f"a line for each of {seeds} seeds"


def means(seeds: int) -> str:
    """Say what the points of a figure are."""
    return "one seed" if seeds == 1 else f"means over {seeds} seeds"


def explain(figure: Figure, table: Table, more: str = "") -> Figure:
    """Add a note about the marks and error bars below a figure, and return the figure."""
    seeds = len(next(iter(next(iter(table.values())).values())))
    cut = " Bars of fractions end at 0 and 1." if seeds > 1 else ""
    note(figure, spread_over(seeds) + cut + more.format(seeds=seeds))
    return figure
