"""The work of a TPU's core, counted in the bundles of its schedule.

A core issues one bundle per cycle. libtpu writes the final schedule of each operation into its own file. The schedule
of the program, which calls the operations, has the name TLP. The counts leave out waits for memory, include both arms
of a branch, and count a loop of unknown length once. We have not compared them with a device.

A pipelined loop reads, computes and writes in stages: an elementwise operation on 5 windows is a loop of 7 iterations
that computes in iterations 1 to 5 (`scmp.ge i, 1` and `scmp.lt i, 6`). Such a loop counts as often as it computes: in
12 programs for v5e and v6e, as often as the `iteration_bounds` of all 51 loops whose operations state them.
"""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aejax.config import InputError
from benchmark import hlo

_LINE = re.compile(r"^\s*(?:0x[0-9a-f]+|0)\s+(LB|LH|LE|PB|PF|CT)?\s*:\s*((?:> ?)*)\s*\{(.*)$")
_CALL = re.compile(r"inlined_call [^/]*/\* %(\S+) = ")
_EXIT = re.compile(r"totalorder %s\w+, (\d+) /\* loop exit test")
_PIPELINE = re.compile(r"%(\w+) = sphi [^/;]*/\* phi copy :: iteration index, stage = 0 :: iteration index")
_LITERAL = re.compile(r"totalorder (?:/\*lhs=\*/)?%s\w+, (?:/\*rhs=\*/)?(\d+)")


class Bundle(NamedTuple):
    begins_loop: bool
    depth: int
    """number of loops around the bundle"""
    text: str


class Schedule(NamedTuple):
    bundles: int
    """in one iteration of the main loop, which calls the most operations"""
    bundles_outside: int
    """in one call of the program, outside the main loop"""
    operations: list[tuple[int, str]]
    """(bundles, name in the program's text) of each operation in the main loop, the longest first"""
    unknown_loops: int
    """number of loops with unknown trip counts, each counted once"""


def read(folder: Path, text: str, repeats: int = 1) -> Schedule:
    """Read the schedule of the one program in a folder of libtpu's files.

    Args:
        text: the program's text.
        repeats: iterations of a loop around the main loop; 1 if no loop contains the main loop.

    Raises InputError: an operation has no schedule, and no operation with the same description has a schedule.
    """
    files = {
        named[1]: file
        for file in sorted(folder.glob("*final_bundles.txt"))
        if (named := re.match(r"\d+-(.*)-\d+-final_bundles\.txt$", file.name))
    }
    unknown: list[int] = []

    @functools.cache
    def cost(name: str) -> int:
        # libtpu writes one file for several equal operations.
        equal = [each for each in files if each == name or described.get(each, 0) == described.get(name)]
        if not equal:
            raise InputError(f"the compiler has written no schedule of {name}")
        found = name if name in files else equal[0]
        return _total(_bundles(files[found]), unknown)

    # The longest of several is the program itself; the others begin and end it.
    program = max((_bundles(file) for file in folder.glob("*-TLP-*-final_bundles.txt")), key=len)
    described = hlo.described(text)

    def costs(parts: list[tuple[bool, list[Bundle]]]) -> tuple[int, list[str], int, list[Bundle]]:
        """Return the bundles of the main loop, its calls, the bundles of the other parts, and the body."""
        calls = [[name for bundle in part for name in _CALL.findall(bundle.text)] for _, part in parts]
        once = [_total(part, unknown) + sum(map(cost, names)) for (_, part), names in zip(parts, calls, strict=True)]
        main = max((i for i, (is_loop, _) in enumerate(parts) if is_loop), key=lambda i: len(calls[i]))
        rest = [(part, once[i], is_loop) for i, (is_loop, part) in enumerate(parts) if i != main]
        outside = sum(_trips(part, unknown) * bundles if is_loop else bundles for part, bundles, is_loop in rest)
        return once[main], calls[main], outside, parts[main][1]

    once, calls, outside, body = costs(_parts(program))
    if repeats > 1:
        once, calls, inside, _ = costs(_parts(body))
        outside += repeats * inside
    operations = sorted(((cost(call), call) for call in calls), reverse=True)
    return Schedule(once, outside, operations, len(unknown))


def _bundles(file: Path) -> list[Bundle]:
    found: list[Bundle] = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if match := _LINE.match(line):
            mark, nesting, text = match.groups()
            depth = nesting.count(">")
            if found and not mark and text.lstrip().startswith("}"):  # an empty bundle does not show its depth
                depth = found[-1].depth
            found.append(Bundle(mark == "LB", depth, text))
    return found


def _parts(bundles: Sequence[Bundle]) -> list[tuple[bool, list[Bundle]]]:
    """Split the bundles into the outermost loops (True), without their marks, and the parts between them (False)."""
    parts: list[tuple[bool, list[Bundle]]] = [(False, [])]
    outer = None
    for bundle in bundles:
        if outer is not None and (bundle.depth < outer or (bundle.begins_loop and bundle.depth == outer)):
            outer = None
            parts.append((False, []))
        if outer is None and bundle.begins_loop:
            outer, bundle = bundle.depth, bundle._replace(begins_loop=False)
            parts.append((True, []))
        parts[-1][1].append(bundle)
    return [(is_loop, part) for is_loop, part in parts if part]


def _total(bundles: Sequence[Bundle], unknown: list[int]) -> int:
    """Count the bundles, those of a loop once per iteration."""
    parts = _parts(bundles)
    return sum(_trips(part, unknown) * _total(part, unknown) if is_loop else len(part) for is_loop, part in parts)


def _trips(part: Sequence[Bundle], unknown: list[int]) -> int:
    """Read the trip count of a loop from the constant of its exit test; 1, and an entry in `unknown`, without one."""
    own = [bundle.text for bundle in part if bundle.depth == part[0].depth]
    exits = [int(found[1]) for text in own if (found := _EXIT.search(text))]
    literals = [int(number) for text in own for number in _LITERAL.findall(text) if int(number) > 1]
    if not exits and not literals:
        unknown.append(len(part))
        return 1
    trips = exits[0] if exits else literals[-1]
    if not (index := _PIPELINE.search(text := " ".join(own))):
        return trips
    # Comparisons with the index of the pipeline guard its stages.
    compared = re.findall(rf"scmp\.(\w+)\.s32\.totalorder (?:\(\S+\), )?%{index[1]}, (\d+)", text)
    begins, ends = ([int(number) for kind, number in compared if kind == wanted] for wanted in ("ge", "lt"))
    if begins and ends and min(begins) < max(ends):
        return max(ends) - min(begins)
    return trips - min(ends, default=2)  # without a third stage, the computation skips only the first iterations
