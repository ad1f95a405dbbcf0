"""Where the time of training goes: a trace of a few steps, by operation of the compiled program."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.profiler import ProfileData

from aejax.config import Config, InputError
from aejax.data import Dataset
from aejax.evaluation import tables
from aejax.training import Driver, build_programs, build_steps, initializer, steps_per_epoch

_CONTAINERS = ("while", "conditional", "call", "async-start", "async-done")
"""kinds of operations whose time is that of others"""

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (\((?:[^()]|\([^()]*\))*\)|\S+) ([\w\-]+)\((.*)$")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_MATMUL = re.compile(r"^(dot|convolution)$|gemm|matmul")


@dataclass(frozen=True)
class Operation:
    """An operation of the compiled program, over all steps that were traced.

    Attributes:
        name: as in the trace.
        kind: its opcode; matmul for a matrix product or convolution, alone or fused with others.
        origin: what it comes from in JAX; empty where the compiler does not tell.
        count: how often it ran, on all devices.
        milliseconds: that it took in all.
        share: of the time of all operations.
        flops_per_second: of a matmul; None for others, and where the compiler does not tell the sizes.
    """

    name: str
    kind: str
    origin: str
    count: int
    milliseconds: float
    share: float
    flops_per_second: float | None


class Described(NamedTuple):
    """What the text of a program says of an operation; FLOP of one execution, 0 for any but matrix products."""

    kind: str
    origin: str
    flop: float


def profile(config: Config, dataset: Dataset, folder: Path, steps: int = 100) -> list[Operation]:
    """Trace a few steps of training, after as many that warm up.

    Args:
        folder: for the trace, which TensorBoard, XProf and (the .json.gz) Perfetto show.

    Returns:
        the operations, the longest first.

    Raises:
        InputError: the trace holds no operations: what this version of JAX writes is not known here.
    """
    driver = Driver(config.devices, config.training.batch_size)
    in_epoch = steps_per_epoch(config.training, len(dataset.train))
    count = min(steps, in_epoch)
    functions = build_steps(config, dataset.image_shape, in_epoch, driver.batch_axis, len(dataset.train))
    state = initializer(driver, functions, functions.own)(np.uint32(config.training.seed))
    programs = build_programs(functions, config, driver, state, dataset)
    state, _ = jax.block_until_ready(programs.train(state, count))
    state = state._replace(step=jax.device_put(state.step * 0, driver.replicated))
    with jax.profiler.trace(str(folder)):
        jax.block_until_ready(programs.train(state, count))
    newest = max(Path(folder).rglob("*.xplane.pb"), key=lambda file: file.stat().st_mtime)
    training = next(programs.compiled(count))[1]
    return operations(newest, describe(training.text()))


def operations(trace: Path, described: Mapping[str, Described]) -> list[Operation]:
    """The operations in the file of a trace, the longest first."""
    times: dict[str, list[float]] = {}
    for name, milliseconds in _events(trace):
        if described.get(name, _unknown(name)).kind not in _CONTAINERS:
            times.setdefault(name, []).append(milliseconds)
    if not times:
        raise InputError(f"the trace {trace} holds no operations")
    total = sum(map(sum, times.values()))
    found = []
    for name, each in sorted(times.items(), key=lambda item: -sum(item[1])):
        kind, origin, flop = described.get(name, _unknown(name))
        rate = flop * len(each) / (sum(each) / 1000) if flop and sum(each) else None
        found.append(Operation(name, kind, origin, len(each), sum(each), sum(each) / total, rate))
    return found


def table(found: Sequence[Operation], most: int = 15) -> str:
    """The longest operations as a Markdown table, and what each kind takes."""
    kinds: dict[str, float] = {}
    for each in found:
        kinds[each.kind] = kinds.get(each.kind, 0.0) + each.share
    rows = []
    for each in found[:most]:
        rate = "-" if each.flops_per_second is None else f"{each.flops_per_second / 1e9:,.0f}"
        times = [each.count, f"{each.milliseconds:.2f}", f"{each.share:.1%}"]
        rows.append([each.name, each.kind, each.origin or "-", *times, rate])
    longest = sorted(kinds.items(), key=lambda item: -item[1])
    shown = tables.markdown(["operation", "kind", "from", "count", "ms", "share", "GFLOP/s"], rows)
    return shown + "\n\n" + ", ".join(f"{kind} {share:.1%}" for kind, share in longest)


def describe(text: str) -> dict[str, Described]:
    """Operation → its description, from the text of a compiled program (HLO)."""
    computations: dict[str, list[re.Match]] = {}
    body: list[re.Match] = []
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            body = computations.setdefault(start[1], [])
        elif instruction := _INSTRUCTION.match(line):
            body.append(instruction)
    shapes = {name: {each[1]: each[2] for each in body} for name, body in computations.items()}
    return {
        each[1]: _describe(each, computations, shapes[name]) for name, body in computations.items() for each in body
    }


def _describe(instruction: re.Match, computations: Mapping[str, list[re.Match]], shapes: dict[str, str]) -> Described:
    _, shape, opcode, rest = instruction.groups()
    origin = re.search(r'op_name="([^"]*)"', rest)
    origin = re.sub(r"^jit\([^/]*\)/|(shard_map|while|body|closed_call)/", "", origin[1]) if origin else ""
    called = re.search(r"(?:calls|to_apply)=%?([\w.\-]+)", rest)
    if opcode == "fusion" and called:
        inner = computations.get(called[1], [])
        parts = [_describe(each, computations, {part[1]: part[2] for part in inner}) for each in inner]
        kind = "matmul" if any(part.kind == "matmul" for part in parts) else "fusion"
        return Described(kind, origin, sum(part.flop for part in parts))
    target = re.search(r'custom_call_target="([^"]*)"', rest)
    if not _MATMUL.search(target[1] if target else opcode):
        return Described(opcode, origin, 0.0)
    contracted = re.search(r'lhs_contracting_dim(?:s|ensions)"?[=:][{\[]([\d,"]*)[}\]]', rest)
    left = re.match(r"(?:\w+\[\S* )?%?([\w.\-]+)", rest)  # with or without its type
    if contracted is None or left is None or left[1] not in shapes:
        return Described("matmul", origin, 0.0)
    sizes = _sizes(shapes[left[1]])
    inner = math.prod(sizes[int(axis)] for axis in contracted[1].replace('"', "").split(",") if axis)
    return Described("matmul", origin, 2.0 * inner * math.prod(_sizes(shape)))


def _sizes(shape: str) -> list[int]:
    """f32[256,784]{1,0} → [256, 784]; of a tuple, its first."""
    found = re.search(r"\[([\d,]*)\]", shape)
    return [int(size) for size in found[1].split(",") if size] if found else []


def _unknown(name: str) -> Described:
    return Described(re.sub(r"[.\d]+$", "", name), "", 0.0)


def _events(trace: Path) -> Iterator[tuple[str, float]]:
    """(operation, milliseconds) of all that ran on the devices."""
    for plane in ProfileData.from_file(str(trace)).planes:
        on_device = plane.name.startswith("/device:")
        for line in plane.lines:
            # TPUs have a line of operations; GPUs lines of kernels, each with its operation's name where it is known.
            whole = on_device and (line.name == "XLA Ops" or line.name.startswith("Stream"))
            for event in line.events:
                operation = dict(event.stats).get("hlo_op") if whole or not on_device else None
                if operation is not None or whole:
                    name = str(operation or event.name).split(" = ")[0].lstrip("%")
                    yield name, event.duration_ns / 1e6
