"""What a GPU is given to do in a turn of a loop: kernels, graphs, and how often the host is needed for them.

XLA writes the list of what a program launches, with loops and graphs as nested parts.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

_THUNK = re.compile(r"^(\s*)\d+: (k\w+)")


class Launches(NamedTuple):
    """Of one turn of the training loop.

    Attributes:
        step: kernels, copies and library calls.
        kinds: how many of each kind.
        graphs: CUDA graphs, each of which holds several.
        submissions: graphs, and launches outside of them.
        condition: launches that decide whether there is another turn, on which the host waits; 0 where the loop's
            length is known.
        outside: launches of a call of the program but for this loop, other loops' counted once.
    """

    step: int
    kinds: dict[str, int]
    graphs: int
    submissions: int
    condition: int
    outside: int


def read(folder: Path, length_is_known: bool) -> Launches:
    """The launches of the one program whose dump is in a folder."""
    file = max(folder.glob("*thunk_sequence_after_thunk_passes.txt"), key=lambda file: file.stat().st_size)
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    loops = [_loop(lines, place) for place, line in enumerate(lines) if "kWhile" in line]
    condition, body = max(loops, key=lambda loop: len(loop[1]))
    every = sum(_kinds(lines).values())
    kinds = _kinds(body)
    depths = [len(match[1]) for line in body if (match := _THUNK.match(line))]
    top = [match[2] for line in body if (match := _THUNK.match(line)) and len(match[1]) == min(depths)]
    return Launches(
        sum(kinds.values()),
        dict(kinds),
        sum("kCommandBuffer" in line for line in body),
        len(top),
        0 if length_is_known else sum(_kinds(condition).values()),
        every - sum(kinds.values()) - sum(_kinds(condition).values()),
    )


def _loop(lines: list[str], place: int) -> tuple[list[str], list[str]]:
    """(condition, body) of the loop at this line."""
    outer = _indent(lines[place])
    condition: list[str] = []
    body: list[str] = []
    current = None
    for line in lines[place + 1 :]:
        if line.strip() == "condition:" and current is None:
            current = condition
        elif line.strip() == "body:" and current is condition:
            current = body
        elif line.strip():
            if current is body and _indent(line) <= outer:
                break
            if current is not None:
                current.append(line)
    return condition, body


def _kinds(lines: list[str]) -> Counter[str]:
    """Launches by kind: graphs and loops are none themselves."""
    found = Counter(match[2] for line in lines if (match := _THUNK.match(line)))
    for container in ("kCommandBuffer", "kWhile", "kConditional"):
        found.pop(container, None)
    return found


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
