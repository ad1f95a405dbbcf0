"""The kernel launches of a GPU in one iteration of a loop, from XLA's list of thunks.

The list has one line per thunk. Deeper lines are the parts of a loop or of a CUDA graph.
"""

import itertools
import math
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


def read(folder: Path, trip_count: int | None) -> Launches:
    """Count the launches of the one program in a folder of XLA's files.

    If the main loop is in a loop over blocks of steps, its iteration has its share of the block's other launches.

    Args:
        trip_count: of the main loop, None if the compiler does not know it.
    """
    file = max(folder.glob("*thunk_sequence_after_thunk_passes.txt"), key=lambda file: file.stat().st_size)
    text = file.read_text(encoding="utf-8", errors="replace")
    lines = [(len(found[1]), found[2] or found[3]) for line in text.splitlines() if (found := _LINE.match(line))]
    heads = [i for i, (_, kind) in enumerate(lines) if kind == "condition"]
    # XLA does not indent the head of a condition; its lines come directly before the head of the body.
    for i in heads:
        lines[i] = next(line for line in lines[i:] if line[1] == "body")[0], "condition"
    outer = main = _longest(lines, range(len(lines)))
    body = whole = _below(lines, outer)
    inner = _longest(lines, range(outer + 1, outer + 1 + len(whole)))
    if blocks := inner is not None and 2 * _kinds(_below(lines, inner)).total() > _kinds(whole).total():
        main, body = inner, _below(lines, inner)
    condition = _kinds(lines[max(i for i in heads if i < main) : main]).total()
    kinds, top = _kinds(body), min(indent for indent, _ in body)
    graphs = sum(kind == "kCommandBuffer" for _, kind in body)
    submissions = sum(indent == top for indent, _ in body)
    outside = _kinds(lines).total() - kinds.total() - condition
    if blocks:
        shared = _kinds(whole).total() - kinds.total() - condition
        kinds["shared"], outside = math.ceil(shared / (trip_count or 1)), outside - shared
    waits = 0 if trip_count is not None else condition
    return Launches(kinds.total(), dict(kinds), graphs, submissions, waits, outside)


def _longest(lines: Sequence[Line], places: range) -> int | None:
    """Return the place of the longest body of a loop, None without a loop."""
    bodies = [i for i in places if lines[i][1] == "body"]
    return max(bodies, key=lambda i: len(_below(lines, i)), default=None)


def _below(lines: Sequence[Line], place: int) -> list[Line]:
    """Return the lines that are parts of this line."""
    return list(itertools.takewhile(lambda line: line[0] > lines[place][0], lines[place + 1 :]))


def _kinds(lines: Sequence[Line]) -> Counter[str]:
    """Count the launches by kind, without the containers."""
    return Counter(kind for _, kind in lines if kind.startswith("k") and kind not in _CONTAINERS)
