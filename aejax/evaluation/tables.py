"""Tables in Markdown, of figures and their spread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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
