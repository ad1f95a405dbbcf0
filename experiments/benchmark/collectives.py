"""Communication between the chips of a compiled program, and whether it or the arithmetic bounds a step: estimates."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aejax.evaluation import drawing
from aejax.training import Program
from benchmark import hlo
from benchmark.targets import TARGETS, Published

_SENT = {
    "all-reduce": lambda chips: 2 * (chips - 1) / chips,
    "all-gather": lambda chips: (chips - 1) / chips,
    "reduce-scatter": lambda chips: chips - 1,
    "all-to-all": lambda chips: (chips - 1) / chips,
    "collective-permute": lambda chips: 1,
}
"""kind → bytes that a chip sends for each byte of the result, in a ring of so many chips"""


def estimate(program: Program, shards: int, published: Published) -> dict[str, Any]:
    """Estimate the times of a train step from its operations and its messages alone, at the published rates.

    Returns:
        sent: axis of the mesh ("units" or "batch") → kind → bytes that a chip sends per step; flops of a chip per step;
        seconds of computation, units, batch (the communication along these axes); bound, the longer of both.
    """
    bytes_sent = sent(program.text(), shards)
    seconds = {"computation": program.flops / published.flops}
    seconds |= {axis: sum(kinds.values()) / published.sent for axis, kinds in bytes_sent.items()}
    communicates = seconds["units"] + seconds["batch"] > seconds["computation"]
    bound = "communication" if communicates else "computation"
    return {"sent": bytes_sent, "flops": program.flops, "seconds": seconds, "bound": bound}


def sent(text: str, shards: int) -> dict[str, dict[str, float]]:
    """Add up the bytes that a chip sends per iteration of the loop over the steps.

    Args:
        text: the optimized HLO.
        shards: chips that share a state; their numbers follow each other.

    Returns "units", between the chips that share a state, and "batch", between all others: kind → bytes.
    """
    computations, loop = hlo.computations(text), hlo.main_loop(text)
    found: dict[str, dict[str, float]] = {"units": {}, "batch": {}}
    if loop is None:
        return found
    # An asynchronous message appears at its start, in the operation that hides it, and at its end.
    starting = {
        _channel(each[4])
        for body in computations.values()
        if any("AsyncCollectiveStart" in other[4] for other in body)
        for each in body
    } - {None}

    def visit(name: str, times: int) -> None:
        body = computations.get(name, [])
        starts = any("AsyncCollectiveStart" in each[4] for each in body)
        for _, shape, opcode, rest in (each.groups() for each in body):
            kind = opcode.removesuffix("-start")
            if kind in _SENT and (starts or _channel(rest) not in starting):
                group = _group(rest)
                sizes = [size for _, size, _ in hlo.arrays(shape)]
                size = max(sizes) if opcode.endswith("-start") and kind != "all-reduce" else sum(sizes)
                kinds = found["units" if shards > 1 and max(group) - min(group) < shards else "batch"]
                kinds[kind] = kinds.get(kind, 0.0) + times * size * _SENT[kind](len(group))
            inner = re.search(r'known_trip_count":\{"n":"(\d+)"', rest) if opcode == "while" else None
            called = re.findall(r"(?:calls|body|to_apply|true_computation|false_computation)=%?([\w.\-]+)", rest)
            branches = re.search(r"branch_computations=\{([^}]*)\}", rest)
            called += re.findall(r"[\w.\-]+", branches[1]) if branches else []
            for each in called:
                visit(each, times * (int(inner[1]) if inner else 1))

    visit(loop.name, 1)
    return found


def _channel(rest: str) -> str | None:
    channel = re.search(r"channel_id=(\d+)", rest)
    return channel and channel[1]


def _group(rest: str) -> list[int]:
    """Return the chips of the first group of a collective operation."""
    if pairs := re.search(r"source_target_pairs=\{\{(\d+),(\d+)\}", rest):
        return [int(pairs[1]), int(pairs[2])]
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return [int(chip) for chip in listed[1].split(",")]
    order = re.search(r"(?:<=|device_ids=\()\[([\d,]+)\](?:T\(([\d,]+)\))?", rest)
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\].*?\{([^}]*)\}", rest):
        axes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh[1])}
        chips = _ordered(order, int(np.prod([*axes.values()]))).reshape([*axes.values()])
        named = re.findall(r"'(\w+)'", mesh[2])
        return chips[tuple(slice(None) if name in named else 0 for name in axes)].ravel().tolist()
    groups = _numbers(re.search(r"replica_groups=\[([\d,]+)\]", rest)[1])
    return _ordered(order, int(np.prod(groups))).reshape(groups)[0].tolist()


def _ordered(order: re.Match | None, count: int) -> np.ndarray:
    """Return the chips in an order such as [4,4]T(1,0)."""
    chips = np.arange(count)
    if order is None:
        return chips
    chips = chips.reshape(_numbers(order[1]))
    return chips.transpose(_numbers(order[2])) if order[2] else chips


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def table(content: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of the estimates, a line for each row with a state that chips share."""
    lines = []
    for row in content:
        if "error" in row:
            lines.append([row["target"], f"{row['batch']:,}", "1 × 1", "too little", *["-"] * 6])
            continue
        parts = row["shards"], row["devices"] // row["shards"]
        room = TARGETS[row["target"]].memory / (row["memory_bytes"] + row["state_bytes"] / row["shards"])
        begin = [row["target"], f"{row['batch']:,}", " × ".join(map(str, parts)), f"{row['memory_bytes'] / 1e9:.1f} GB"]
        begin.append(f"{room:.1f} ×")
        found = row["communication"]
        seconds = found["seconds"]
        sizes = [sum(found["sent"][axis].values()) / 1e6 for axis in ("units", "batch")]
        splits = [seconds["computation"] / seconds[axis] if seconds[axis] else None for axis in ("units", "batch")]
        times = f"{1e3 * seconds['computation']:.1f} + {1e3 * (seconds['units'] + seconds['batch']):.1f} ms"
        further = " / ".join("-" if split is None else f"{split:.1f} ×" for split in splits)
        lines.append([*begin, *(f"{size:,.0f} MB" for size in sizes), times, found["bound"], further])
    head = ["slice", "batch", "parts × groups", "memory per chip", "room for the code", "sent along the units"]
    head += ["sent along the batch", "computation + communication", "bound", "further split, units / batch"]
    return drawing.markdown(head, lines)
