"""How long a TPU's core works on a turn of a loop, counted in the bundles of its schedule.

A bundle is what a core begins in one cycle. libtpu writes the final schedule of every operation into a file of its own,
and that of the program, which calls them, into one named TLP. What is counted leaves out waiting for memory, takes both
arms of a branch, and takes a loop of unknown length once. It was not held against a device.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_LINE = re.compile(r"^\s*(?:0x[0-9a-f]+|0)\s+(LB|LH|LE|PB|PF|CT)?\s*:\s*((?:> ?)*)\s*\{(.*)$")
_CALL = re.compile(r"inlined_call [^/]*/\* %(\S+) = ")
_EXIT = re.compile(r"totalorder %s\w+, (\d+) /\* loop exit test")
_LITERAL = re.compile(r"totalorder (?:/\*lhs=\*/)?%s\w+, (?:/\*rhs=\*/)?(\d+)")


class Bundle(NamedTuple):
    begins_loop: bool
    depth: int
    """of the loops around it"""
    text: str


class Schedule(NamedTuple):
    """What the schedule of a program says.

    Attributes:
        step: bundles of one turn of the training loop: of the loop that calls most operations.
        outside: bundles of a call of the program but for that loop.
        operations: of that loop, (bundles, name as in the program's text), the dearest first.
        unknown: loops whose length was not found, and which are counted once.
    """

    step: int
    outside: int
    operations: list[tuple[int, str]]
    unknown: int


def read(folder: Path) -> Schedule:
    """The schedule of the one program whose dump is in a folder."""
    files: dict[str, Path] = {}
    for file in sorted(folder.glob("*final_bundles.txt")):
        if named := re.match(r"\d+-(.*)-\d+-final_bundles\.txt$", file.name):
            files[named[1]] = file
    unknown: list[int] = []

    @functools.cache
    def cost(name: str) -> int:
        file = files.get(name)
        if file is None:  # one of several alike, of which one is written
            alike = [each for each in files if re.sub(r"[.\d]+$", "", each) == re.sub(r"[.\d]+$", "", name)]
            return cost(alike[0]) if alike else 0
        return _total(_bundles(file), unknown)

    # The longest of several is the program itself; the others begin and end it.
    program = max((_bundles(file) for file in folder.glob("*-TLP-*-final_bundles.txt")), key=len)
    parts = _parts(program)
    calls = [[call for bundle in part for call in _CALL.findall(bundle.text)] for part in parts]
    loops = [index for index, part in enumerate(parts) if part[0].begins_loop]
    training = max(loops, key=lambda index: len(calls[index]))
    outside = 0
    for index, part in enumerate(parts):
        if index != training:
            turns = _turns(part, unknown) if part[0].begins_loop else 1
            outside += turns * (_total(_inside(part), unknown) + sum(map(cost, calls[index])))
    step = _total(_inside(parts[training]), unknown) + sum(map(cost, calls[training]))
    operations = sorted(((cost(call), call) for call in calls[training]), reverse=True)
    return Schedule(step, outside, operations, len(unknown))


def _bundles(file: Path) -> list[Bundle]:
    found: list[Bundle] = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _LINE.match(line):
            mark, nesting, text = match.groups()
            depth = nesting.count(">")
            if found and not mark and text.lstrip().startswith("}"):  # an empty bundle says nothing of its depth
                depth = found[-1].depth
            found.append(Bundle(mark == "LB", depth, text))
    return found


def _parts(bundles: Sequence[Bundle]) -> list[list[Bundle]]:
    """Cut into outermost loops, each beginning with its mark, and what is between them."""
    if not bundles:
        return []
    parts: list[list[Bundle]] = [[]]
    outer = None
    for bundle in bundles:
        if outer is not None and (bundle.depth < outer or (bundle.begins_loop and bundle.depth == outer)):
            outer = None
            parts.append([])
        if outer is None and bundle.begins_loop:
            outer = bundle.depth
            parts.append([])
        parts[-1].append(bundle)
    return [part for part in parts if part]


def _inside(part: Sequence[Bundle]) -> list[Bundle]:
    """A loop's body, as bundles of no loop of its own."""
    return [part[0]._replace(begins_loop=False), *part[1:]]


def _total(bundles: Sequence[Bundle], unknown: list[int]) -> int:
    """Bundles with those of loops as often as they turn."""
    total = 0
    for part in _parts(bundles):
        if part[0].begins_loop:
            total += _turns(part, unknown) * _total(_inside(part), unknown)
        else:
            total += len(part)
    return total


def _turns(part: Sequence[Bundle], unknown: list[int]) -> int:
    """How often a loop turns, from the number that its exit compares with."""
    own = [bundle.text for bundle in part if bundle.depth == part[0].depth]
    exits = [int(found[1]) for text in own if (found := _EXIT.search(text))]
    literals = [int(number) for text in own for number in _LITERAL.findall(text) if int(number) > 1]
    turns = exits[0] if exits else literals[-1] if literals else None
    if turns is None:
        unknown.append(len(part))
        return 1
    # Of a pipeline the first and the last turn do nothing but fill and empty it.
    pipelined = turns > 2 and any("iteration index, stage" in text for text in own)
    return turns - 2 if pipelined else turns
