"""Parts of figures that several claims use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aejax.evaluation.drawing import note, spread_over
from claims.study import Table, mean, std


def panels(rows: int, columns: int, height: float = 2.3, **shared: bool | str) -> tuple[Figure, np.ndarray]:
    """Make a figure of empty panels [rows, columns], as wide as a page."""
    figure = Figure(figsize=(7.2, height * rows + 0.3), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def line(
    axis: Axes, table: Table, rows: Mapping[str, float], column: str, label: str = "", style: str = "oC0-", **more: str
) -> None:
    """Draw a column of a table against a number per row, with the standard deviation over the seeds."""
    values = [table[row][column] for row in rows]
    errors = [std(value) or 0.0 for value in values]
    axis.errorbar(list(rows.values()), list(map(mean, values)), errors, fmt=style, label=label or None, **more)


def bars(axis: Axes, values: Mapping[str, Sequence[float]], form: str = "{:.3f}") -> None:
    """Draw each mean as a horizontal bar, with its value to the right."""
    means, spread = [mean(each) for each in values.values()], [std(each) or 0.0 for each in values.values()]
    axis.barh(range(len(values)), means, xerr=spread, color="C0", height=0.6)
    for place, (centre, error) in enumerate(zip(means, spread, strict=True)):
        right = max(0.0, centre + error), place
        axis.annotate(form.format(centre), right, xytext=(5, 0), textcoords="offset points", va="center")
    axis.set_yticks(range(len(values)), values)
    axis.invert_yaxis()
    axis.margins(x=0.15)


def explain(figure: Figure, table: Table, shown: str = "Points", more: str = "") -> Figure:
    """Add a note about the marks and error bars below a figure, and return the figure."""
    seeds = len(next(iter(next(iter(table.values())).values())))
    note(figure, spread_over(seeds, shown) + more)
    return figure
