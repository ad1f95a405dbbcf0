"""What a benchmark leaves behind: benchmark.json, roofline.png, and its tables."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aejax.config.files import write_json
from aejax.evaluation import tables
from aejax.evaluation.drawing import draw
from aejax.performance import roofline
from aejax.training.identity import describe_machine


def describe(command: str, checkout: Path, dataset: str) -> dict[str, Any]:
    """What was run, by which code, on which images and machine."""
    return {"command": command, "commit": commit(checkout), "dataset": dataset, **describe_machine()}


def write(content: Mapping[str, Any], workdir: Path, formats: Sequence[str] = ("png",)) -> None:
    """Write benchmark.json and, of its rows and in each format, roofline."""
    write_json(workdir / "benchmark.json", content)
    draw({"roofline": lambda: roofline.figure(content["rows"])}, workdir, formats)


def text(content: Mapping[str, Any]) -> str:
    """All tables of a benchmark's content."""
    rows = content["rows"]
    shown = [table(rows), beside_table(rows), scaling_table(content.get("scaling", []))]
    return "\n\n".join(each for each in shown if each)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, and below it what was timed beside them."""
    head = "model", "batch", "type", "ms per step", "images/s", "of the matmul rate"
    lines = []
    for row in rows:
        peers = {name: each for name, each in row["beside"].items() if "peer" in each}
        shown = ", ".join(f"{name} {each['images_per_second']:,.0f}" for name, each in peers.items()) or "-"
        best = f"{min(each['ratio'] for each in peers.values()):.2f}" if peers else "-"
        rate = tables.with_spread(row["images_per_second"], row["images_per_second_std"], ",.0f")
        figures = [f"{row['ms_per_step']:.3f}", rate, f"{row['share_of_matmul']:.0%}"]
        lines.append([row["model"], row["batch"], row["dtype"], *figures, shown, best, *_predicted(row, rows)])
    predicted = ["as compiled for it"] if any("compiled" in row for row in rows) else []
    return tables.markdown([*head, "peers, images/s", "ours / best peer", *predicted], lines)


def _predicted(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the compiler counts for a step, and the time that one of it took; nothing where it is known for no row."""
    if not any("compiled" in each for each in rows):
        return []
    counted = [
        f"{count:,} {unit}, {1e6 * row['ms_per_step'] / count:,.1f} ns each"
        for unit, count in row.get("compiled", {}).items()
    ]
    return counted or ["-"]


def beside_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What was timed in turn with each row, peers apart: its rate, and theirs as multiples of it."""
    beside = [{name: each for name, each in row["beside"].items() if "peer" not in each} for row in rows]
    names = list(dict.fromkeys(name for each in beside for name in each))
    if not names:
        return ""
    lines = []
    for row, each in zip(rows, beside, strict=True):
        ratios = [f"{each[name]['ratio']:.2f}" if name in each else "-" for name in names]
        lines.append([row["model"], row["batch"], f"{row['images_per_second']:,.0f}", *ratios])
    return tables.markdown(["model", "batch", "images/s", *names], lines)


def scaling_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """What should be linear."""
    if not rows:
        return ""
    lines = []
    for row in rows:
        lines.append([row["varied"], row["value"], f"{row['ms_per_step']:.3f}", f"{row['seconds_per_epoch']:.3f}"])
    return tables.markdown(["varied", "value", "ms per step", "s per epoch"], lines)


def commit(checkout: Path) -> str | None:
    """The commit of a checkout, with a + where files differ from it; None where there is none."""
    git = ["git", "-C", str(checkout)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")
