"""The kernel launches of a GPU in one iteration of a loop, from XLA's list of thunks.

The list has one line per thunk. Deeper lines are the parts of a loop or of a CUDA graph.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_LINE = re.compile(r"^(\s*)(?:\d+: (k\w+)|(condition|body):)")
_CONTAINERS = ("kCommandBuffer", "kWhile", "kConditional")
Line = tuple[int, str]
"""indentation, and the kind of the thunk, or "condition" or "body" for the head of a part of a loop"""


class Launches(NamedTuple):
    """The launches of one iteration of the main loop."""

    launches: int
    """kernels, copies and library calls"""
    kinds: dict[str, int]
    graphs: int
    """CUDA graphs, each of which holds several launches"""
    submissions: int
    """graphs, and launches outside of graphs"""
    condition: int
    """launches that compute whether the loop continues, for which the host waits; 0 for a known trip count"""
    launches_outside: int
    """in one call of the program, outside the main loop; other loops count once"""


def read(folder: Path, length_is_known: bool) -> Launches:
    """Count the launches of the one program in a folder of XLA's files."""
    file = max(folder.glob("*thunk_sequence_after_thunk_passes.txt"), key=lambda file: file.stat().st_size)
    text = file.read_text(encoding="utf-8", errors="replace")
    lines = [(len(found[1]), found[2] or found[3]) for line in text.splitlines() if (found := _LINE.match(line))]
    main = max((i for i, (_, kind) in enumerate(lines) if kind == "body"), key=lambda i: len(_below(lines, i)))
    # XLA does not indent the head of a condition; its lines come directly before the head of the body.
    head = max(i for i in range(main) if lines[i][1] == "condition")
    body, condition = _below(lines, main), _kinds(lines[head:main]).total()
    kinds, top = _kinds(body), min(indent for indent, _ in body)
    graphs = sum(kind == "kCommandBuffer" for _, kind in body)
    submissions = sum(indent == top for indent, _ in body)
    outside = _kinds(lines).total() - kinds.total() - condition
    waits = 0 if length_is_known else condition
    return Launches(kinds.total(), dict(kinds), graphs, submissions, waits, outside)


def _below(lines: Sequence[Line], place: int) -> list[Line]:
    """Return the lines that are parts of this line."""
    return list(itertools.takewhile(lambda line: line[0] > lines[place][0], lines[place + 1 :]))


def _kinds(lines: Sequence[Line]) -> Counter[str]:
    """Count the launches by kind, without the containers."""
    return Counter(kind for _, kind in lines if kind.startswith("k") and kind not in _CONTAINERS)
