"""The time of each operation of the compiled program, from a trace of a few steps."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from jax.profiler import ProfileData

from aejax.config import Config, InputError
from aejax.data import Dataset
from aejax.evaluation import drawing
from benchmark import hlo
from benchmark.prepared import Prepared

_CONTAINERS = ("while", "conditional", "call", "async-start", "async-done")
"""kinds of operations that contain other operations, and so their time"""


class Timed(NamedTuple):
    """All executions of one operation in a trace, on all devices; kind and origin as in `hlo.Operation`."""

    name: str
    kind: str
    origin: str
    count: int
    milliseconds: float
    share: float  # of the time of all operations
    flops_per_second: float | None  # of a matmul of known sizes; else None


def profile(config: Config, dataset: Dataset, folder: Path, steps: int = 100) -> list[Timed]:
    """Trace `steps` train steps, but at most one epoch, after as many steps of warm-up.

    Args:
        folder: for the trace, which TensorBoard, XProf and Perfetto (the .json.gz) open.

    Returns the operations, the longest first.

    Raises InputError: the trace holds no operations in the format of this version of JAX.
    """
    prepared = Prepared(config, dataset)
    count = min(steps, prepared.in_epoch)
    prepared.seconds(count)
    with jax.profiler.trace(str(folder)):
        prepared.seconds(count)
    newest = max(Path(folder).rglob("*.xplane.pb"), key=lambda file: file.stat().st_mtime)
    training = next(prepared.programs.compiled(count))[1]
    return operations(newest, hlo.operations(training.text()))


def operations(trace: Path, described: Mapping[str, hlo.Operation]) -> list[Timed]:
    """Read the operations of a trace file, the longest first."""
    times: dict[str, list[float]] = {}
    known = dict(described)
    for name, milliseconds in _events(trace):
        operation = known.setdefault(name, hlo.Operation(re.sub(r"[.\d]+$", "", name), "", 0.0))
        if operation.kind not in _CONTAINERS:
            times.setdefault(name, []).append(milliseconds)
    if not times:
        raise InputError(f"the trace {trace} holds no operations")
    total = sum(map(sum, times.values()))
    found = []
    for name, each in sorted(times.items(), key=lambda item: -sum(item[1])):
        kind, origin, flop = known[name]
        rate = flop * len(each) / (sum(each) / 1000) if flop and sum(each) else None
        found.append(Timed(name, kind, origin, len(each), sum(each), sum(each) / total, rate))
    return found


def table(found: Sequence[Timed], most: int = 15) -> str:
    """Return a Markdown table of the longest operations, and a line with the share of each kind."""
    kinds: Counter[str] = Counter()
    for each in found:
        kinds[each.kind] += each.share
    rows = []
    for each in found[:most]:
        rate = "-" if each.flops_per_second is None else f"{each.flops_per_second / 1e9:,.0f}"
        times = [each.count, f"{each.milliseconds:.2f}", f"{each.share:.1%}"]
        rows.append([each.name, each.kind, each.origin or "-", *times, rate])
    shown = drawing.markdown(["operation", "kind", "from", "count", "ms", "share", "GFLOP/s"], rows)
    return shown + "\n\n" + ", ".join(f"{kind} {share:.1%}" for kind, share in kinds.most_common())


def _events(trace: Path) -> Iterator[tuple[str, float]]:
    """Yield (operation, milliseconds) of each execution on the devices."""
    for plane in ProfileData.from_file(str(trace)).planes:
        on_device = plane.name.startswith("/device:")
        for line in plane.lines:
            # A TPU has a line of operations. A GPU has lines of kernels, each with the name of its operation if known.
            whole = on_device and (line.name == "XLA Ops" or line.name.startswith("Stream"))
            for event in line.events:
                operation = dict(event.stats).get("hlo_op") if whole or not on_device else None
                if operation is not None or whole:
                    name = str(operation or event.name).split(" = ")[0].lstrip("%")
                    yield name, event.duration_ns / 1e6
