"""Figures that several claims share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from claims.study import Table, mean, std


def panels(count: int, width: float = 3.4, height: float = 2.9) -> tuple[Figure, Sequence[Axes]]:
    """A row of empty panels."""
    figure = Figure(figsize=(width * count, height), layout="constrained")
    return figure, figure.subplots(1, count, squeeze=False)[0]


def line(axis: Axes, table: Table, rows: Mapping[str, float], column: str, label: str, style: str = "oC0-") -> None:
    """One column of a table against a number per row, with the spread over the seeds."""
    values = [table[row][column] for row in rows]
    axis.errorbar(
        list(rows.values()),
        [mean(value) for value in values],
        yerr=[std(value) or 0.0 for value in values],
        fmt=style,
        markersize=4,
        capsize=2,
        label=label,
    )


def bars(axis: Axes, table: Table, column: str, form: str = "{:.3f}") -> None:
    """One column of a table as horizontal bars, one per row, from the top."""
    rows = list(table)
    shown = axis.barh(
        range(len(rows)),
        [mean(table[row][column]) for row in rows],
        xerr=[std(table[row][column]) or 0.0 for row in rows],
        color=[f"C{position}" for position in range(len(rows))],
        height=0.65,
    )
    axis.bar_label(shown, [form.format(mean(table[row][column])) for row in rows], padding=4)
    axis.set_yticks(range(len(rows)), rows)
    axis.invert_yaxis()
    axis.margins(x=0.18)
