"""The kernel launches of a GPU in one iteration of a loop, from XLA's list of thunks.

The list has one line per thunk. Deeper lines are the parts of a loop or of a CUDA graph.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_LINE = re.compile(r"^(\s*)(?:\d+: (k\w+)|(condition|body):)")
_CONTAINERS = ("kCommandBuffer", "kWhile", "kConditional")


class Line(NamedTuple):
    indent: int
    kind: str
    """of a thunk, or "condition" or "body" for the head of a part of a loop"""


class Launches(NamedTuple):
    """The launches of one iteration of the main loop.

    Attributes:
        launches: kernels, copies and library calls.
        kinds: kind → number of launches.
        graphs: CUDA graphs, each of which holds several launches.
        submissions: graphs, and launches outside of graphs.
        condition: launches that compute whether the loop continues, for which the host waits; 0 for a known trip count.
        launches_outside: in one call of the program, outside the main loop; other loops count once.
    """

    launches: int
    kinds: dict[str, int]
    graphs: int
    submissions: int
    condition: int
    launches_outside: int


def read(folder: Path, length_is_known: bool) -> Launches:
    """Count the launches of the one program in a folder of XLA's files."""
    file = max(folder.glob("*thunk_sequence_after_thunk_passes.txt"), key=lambda file: file.stat().st_size)
    text = file.read_text(encoding="utf-8", errors="replace")
    lines = [Line(len(found[1]), found[2] or found[3]) for line in text.splitlines() if (found := _LINE.match(line))]
    main = max((i for i, line in enumerate(lines) if line.kind == "body"), key=lambda i: len(_below(lines, i)))
    # XLA does not indent the head of a condition; its lines come directly before the head of the body.
    head = max(i for i in range(main) if lines[i].kind == "condition")
    body, condition = _below(lines, main), _kinds(lines[head:main]).total()
    kinds, top = _kinds(body), min(line.indent for line in body)
    graphs = sum(line.kind == "kCommandBuffer" for line in body)
    submissions = sum(line.indent == top for line in body)
    outside = _kinds(lines).total() - kinds.total() - condition
    waits = 0 if length_is_known else condition
    return Launches(kinds.total(), dict(kinds), graphs, submissions, waits, outside)


def _below(lines: Sequence[Line], place: int) -> list[Line]:
    """Return the lines that are parts of this line."""
    after = lines[place + 1 :]
    end = next((i for i, line in enumerate(after) if line.indent <= lines[place].indent), len(after))
    return list(after[:end])


def _kinds(lines: Sequence[Line]) -> Counter[str]:
    """Count the launches by kind, without the containers."""
    return Counter(line.kind for line in lines if line.kind.startswith("k") and line.kind not in _CONTAINERS)
