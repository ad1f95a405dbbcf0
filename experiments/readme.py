"""Write the tables of README.md anew from the files in experiments/results."""

from __future__ import annotations

import json
import re
from pathlib import Path

from aejax import article, benchmark, command_line

_ROOT = Path(__file__).parents[1]
_RESULTS = _ROOT / "experiments" / "results"


def with_tables(readme: str) -> str:
    """The README with each table between its two markers."""
    measured = json.loads((_RESULTS / "benchmark" / "benchmark.json").read_text())
    tables = {
        "article": article.comparison(json.loads((_RESULTS / "article_mnist" / "results.json").read_text())),
        "benchmark": benchmark.table(measured["rows"]),
        "beside": benchmark.beside_table(measured["rows"]),
    }
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        readme = re.sub(f"{begin}.*?{end}", lambda _, b=begin, t=table, e=end: f"{b}{t}\n{e}", readme, flags=re.DOTALL)
    return readme


def main(given: list[str]) -> None:
    if given:
        command_line.usage_error("it takes no arguments; it writes README.md")
    path = _ROOT / "README.md"
    path.write_text(with_tables(path.read_text()))


if __name__ == "__main__":
    command_line.run(main)
