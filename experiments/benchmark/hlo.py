"""The text of a compiled program (HLO): its operations, and its loop over the steps."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (\((?:[^()]|\([^()]*\))*\)|\S+) ([\w\-]+)\((.*)$")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_MATMUL = re.compile(r"^(dot|convolution)$|gemm|matmul")
_WHILE = re.compile(r"= (\(.*\)) while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)(.*)")


class Operation(NamedTuple):
    kind: str  # the opcode; "matmul" for a matrix product or convolution, alone or fused with other operations
    origin: str  # the operation of JAX; empty if unknown
    flop: float  # floating-point operations of one execution if it is a matmul of known sizes, else 0


class Loop(NamedTuple):
    name: str  # of the computation that is its body
    shape: str  # of the values that the loop carries
    body: str  # its text
    trip_count: int | None  # None if the compiler does not know it


def main_loop(text: str, nested: bool = False) -> Loop | None:
    """Find the loop over the steps: the loop with the longest body, or if `nested` the longest loop within that."""

    def longest(calls: str) -> Loop | None:
        found = [
            Loop(body, shape, _computation(text, body), _trip_count(_computation(text, condition), rest))
            for shape, condition, body, rest in _WHILE.findall(calls)
        ]
        return max(found, key=lambda loop: len(loop.body), default=None)

    found = longest(text)
    return longest(found.body) if nested else found


def _trip_count(condition: str, rest: str) -> int | None:
    """Read the trip count, which is an attribute of the loop or a constant in its condition."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', rest):
        return int(known[1])
    compared = re.search(r"compare\(%?[\w.\-]+, %?([\w.\-]+)\)", condition)
    constant = compared and re.search(rf"%?{re.escape(compared[1])} = s32\[\]\S* constant\((\d+)\)", condition)
    return int(constant[1]) if constant else None


def _computation(text: str, name: str) -> str:
    begin = re.search(rf"^%?{re.escape(name)} \(", text, re.MULTILINE)
    return text[begin.start() : text.index("\n}", begin.start())] if begin else ""


def arrays(shape: str) -> list[tuple[str, int, str]]:
    """List the arrays of a shape: (type and sizes, bytes, layout) of each."""
    found = []
    for dtype, sizes, layout in re.findall(r"(\w+)\[([\d,]*)\](\{[^}]*\})?", shape):
        bits = re.search(r"\d+", dtype)
        itemsize = max(1, int(bits[0]) // 8) if bits else 1
        found.append((f"{dtype}[{sizes}]", itemsize * math.prod(_sizes(f"[{sizes}]")), layout))
    return found


def operations(text: str) -> dict[str, Operation]:
    """Describe every operation of a program, by name."""
    every = computations(text)
    shapes = {each[1]: each[2] for body in every.values() for each in body}

    def describe(instruction: re.Match) -> Operation:
        _, shape, opcode, rest = instruction.groups()
        origin = re.search(r'op_name="([^"]*)"', rest)
        origin = re.sub(r"^jit\([^/]*\)/|(shard_map|while|body|closed_call)/", "", origin[1]) if origin else ""
        if opcode == "fusion":
            parts = [describe(each) for each in _called(rest, every)]
            kind = "matmul" if any(part.kind == "matmul" for part in parts) else "fusion"
            return Operation(kind, origin, sum(part.flop for part in parts))
        target = re.search(r'custom_call_target="([^"]*)"', rest)
        if not _MATMUL.search(target[1] if target else opcode):
            return Operation(opcode, origin, 0.0)
        contracted = re.search(r'lhs_contracting_dim(?:s|ensions)"?[=:][{\[]([\d,"]*)[}\]]', rest)
        left = re.match(r"(?:\w+\[\S* )?%?([\w.\-]+)", rest)  # with or without its type
        if contracted is None or left is None or left[1] not in shapes:
            return Operation("matmul", origin, 0.0)
        sizes = _sizes(shapes[left[1]])
        inner = math.prod(sizes[int(axis)] for axis in contracted[1].replace('"', "").split(",") if axis)
        return Operation("matmul", origin, 2.0 * inner * math.prod(_sizes(shape)))

    return {each[1]: describe(each) for body in every.values() for each in body}


def described(text: str) -> dict[str, tuple]:
    """Return for every operation, by name, a description that equal operations share: opcodes, types and layouts."""
    every = computations(text)
    shapes = {each[1]: each[2] for body in every.values() for each in body}

    def description(instruction: re.Match) -> tuple:
        _, shape, opcode, rest = instruction.groups()
        operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
        return shape, opcode, tuple(map(shapes.get, operands)), tuple(map(description, _called(rest, every)))

    return {each[1]: description(each) for body in every.values() for each in body}


def computations(text: str) -> dict[str, list[re.Match]]:
    """Return the instructions of each computation, as matches of (name, shape, opcode, the rest of the line)."""
    computations: dict[str, list[re.Match]] = {}
    body: list[re.Match] = []
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            body = computations.setdefault(start[1], [])
        elif instruction := _INSTRUCTION.match(line):
            body.append(instruction)
    return computations


def _called(rest: str, computations: Mapping[str, Sequence[re.Match]]) -> Sequence[re.Match]:
    """Return the instructions of the computation that an instruction calls."""
    called = re.search(r"calls=%?([\w.\-]+)", rest)
    return computations.get(called[1], ()) if called else ()


def _sizes(shape: str) -> list[int]:
    """Return [256, 784] for f32[256,784]{1,0}; for a tuple, the sizes of its first array."""
    found = re.search(r"\[([\d,]*)\]", shape)
    return [int(size) for size in found[1].split(",") if size] if found else []
