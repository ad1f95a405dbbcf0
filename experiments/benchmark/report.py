"""The tables of a benchmark, in Markdown."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aejax.evaluation import drawing


def text(content: Mapping[str, Any]) -> str:
    """Return all tables of a benchmark's content, as Markdown."""
    rows = content["rows"]
    shown = [table(rows), alternatives_table(rows), scaling_table(content.get("scaling", []))]
    return "\n\n".join(each for each in shown if each)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a Markdown table, with the rates of peers and the compiler's counts where known."""
    peers = [{name: each for name, each in row["alternatives"].items() if "peer" in each} for row in rows]
    head = ["model", "batch", "type", "ms per step", "images/s", "of the matmul rate"]
    head += ["peers, images/s", "ours / best peer"] if any(peers) else []
    head += ["as compiled for it"] if (counted := any("compiled" in row for row in rows)) else []
    lines = []
    for row, known in zip(rows, peers, strict=True):
        rate = drawing.with_spread(row["images_per_second"], row["images_per_second_std"], ",.0f")
        line = [row["model"], row["batch"], row["dtype"], f"{row['ms_per_step']:.3f}", rate]
        line.append(f"{row['share_of_matmul']:.0%}")
        if any(peers):
            line.append(", ".join(f"{name} {each['images_per_second']:,.0f}" for name, each in known.items()) or "-")
            line.append(f"{min(each['ratio'] for each in known.values()):.2f}" if known else "-")
        if counted:
            counts = row.get("compiled", {}).items()
            each = [f"{count:,} {unit}, {1e6 * row['ms_per_step'] / count:,.1f} ns each" for unit, count in counts]
            line += each or ["-"]
        lines.append(line)
    return drawing.markdown(head, lines)


def alternatives_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rate of each other configuration as a multiple of the rate of its row, as a Markdown table."""
    others = [{name: each for name, each in row["alternatives"].items() if "peer" not in each} for row in rows]
    names = list(dict.fromkeys(name for each in others for name in each))
    if not names:
        return ""
    lines = []
    for row, each in zip(rows, others, strict=True):
        ratios = [f"{each[name]['ratio']:.2f}" if name in each else "-" for name in names]
        lines.append([row["model"], row["batch"], f"{row['images_per_second']:,.0f}", *ratios])
    return drawing.markdown(["model", "batch", "images/s", *names], lines)


def scaling_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows of `throughput.scaling` as a Markdown table."""
    if not rows:
        return ""
    lines = [
        [row["varied"], row["value"], f"{row['ms_per_step']:.3f}", f"{row['seconds_per_epoch']:.3f}"] for row in rows
    ]
    return drawing.markdown(["varied", "value", "ms per step", "s per epoch"], lines)


def commit(checkout: Path) -> str | None:
    """Return the commit of a checkout, with a + if files differ from it; None outside a checkout."""
    try:
        head, changed = (
            subprocess.run(["git", "-C", str(checkout), *command], capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.strip() + ("+" if changed else "")
