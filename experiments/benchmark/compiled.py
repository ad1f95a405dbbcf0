"""Programs compiled ahead of time for other accelerators, not run.

These are the programs that `fit` and `sweep` call, and the estimate of the likelihood. The environment of a process
tells a compiler where to write its schedules, so each target has its own process.
"""

import itertools
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from aejax.config import AejaxError, Config
from aejax.data import Dataset, load_dataset
from aejax.evaluation import drawing
from aejax.evaluation.likelihood import estimator
from aejax.models import Variational, build
from aejax.models.kinds import model_class
from aejax.training import Driver, Program, abstract
from aejax.training.sharding import require_memory
from aejax.training.step import for_evaluation
from benchmark import bundles, collectives, hlo, launches, processes, roofline
from benchmark.prepared import Prepared
from benchmark.targets import TARGETS, Target, devices, environment, require_compilable

_DEAREST = 10
"""operations of a step that a row lists"""
_SMALL = 2**16
"""bytes of an array whose place in memory does not matter"""
_WITH_HOST = re.compile(r"\b(?:infeed|outfeed|send|recv)\(|callback|S\(5\)")
"""operations that transfer between device and host, and arrays in the memory of the host"""
_VARIED = {"model": "model", "batch": "batch", "dtype": "type", "driver": "driver", "members": "models"}
"""keys of a row → columns of a table"""


def rows(
    targets: Sequence[str],
    configs: Mapping[str, Config],
    dataset: Dataset,
    *,
    batches: Sequence[int],
    dtypes: Sequence[str] = ("float32",),
    drivers: Sequence[str] = ("jit",),
    members: Sequence[int] = (1,),
    placements: Sequence[str] = ("device",),
    shards: Sequence[int] = (),
) -> Iterator[dict[str, Any]]:
    """Compile each model for each target, and yield each row as soon as its programs are compiled.

    Args:
        dataset: only its shapes, types and number of examples matter.
        members: numbers of models to train as one program; programs of several models have no driver.
        shards: values of `devices.shards`; by default that of the configuration.

    Yields:
        target, model, batch, dtype, driver, members, placement; and either error, the message of the compiler, or
        device, devices, shards (the common divisor of `devices.shards` and devices), steps, state_bytes, image_bytes,
        memory_bytes (of the largest program, per device), fits;
        of several TPUs communication (`collectives.estimate`);
        floor, the least that the matrix units need for a step (bundles of a TPU, microseconds of a GPU); and programs,
        name → counts (see `_program`).

    Raises:
        InputError: a target is unknown, or its compiler is missing or fails.
    """
    for name in targets:
        require_compilable(name)
    generated = dataset.name if dataset.examples["train"].make is not None else None
    sizes = dataset.train.shape, dataset.test.shape, str(dataset.train.dtype), dataset.train_labels is not None
    jobs = []
    varied = itertools.product(configs.items(), batches, dtypes, placements, shards or (None,), drivers, members)
    for (model, config), batch, dtype, placement, parts, driver, count in varied:
        if count > 1 and driver != drivers[0]:
            continue
        changes = {"training.batch_size": batch, "model.dtype": dtype, "data.placement": placement}
        changes["devices.shards"] = parts or config.devices.shards
        config = config.replace(changes | {"devices.count": None, "devices.parallel": driver})
        named = {"model": model, "batch": batch, "dtype": dtype, "placement": placement}
        named |= {"driver": driver if count == 1 else "sweep", "members": count}
        jobs.append(json.dumps([named, config.to_dict(), *sizes, generated]))
    for name in targets:
        with tempfile.TemporaryDirectory() as dump:
            variables = environment(TARGETS[name], Path(dump))
            with processes.python(f"compiling for {name}", "-m", __name__, name, dump, **variables) as process:
                for job in jobs:
                    yield process.ask(job, dict)


def _main(name: str, dump: str) -> None:
    """Read one job per line, and answer each with its row."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a compiler may print
    for line in sys.stdin:
        named, given, train, test, dtype, labeled, generated = json.loads(line)
        row = {"target": name, **named}
        made = load_dataset(generated).train if generated else np.zeros(train, dtype)
        labels = [np.arange(shape[0]) % 10 for shape in (train, test)] if labeled else []
        dataset = Dataset("sizes", made, np.zeros(test, dtype), *labels)
        try:
            row |= _row(TARGETS[name], Config.from_dict(given), named["members"], dataset, Path(dump))
        except (AejaxError, jax.errors.JaxRuntimeError) as error:
            row["error"] = str(error).strip().splitlines()[0]
        print(json.dumps(row), file=answers, flush=True)


def _row(target: Target, config: Config, members: int, dataset: Dataset, dump: Path) -> dict[str, Any]:
    available = devices(target)
    config = config.replace({"devices.shards": math.gcd(config.devices.shards, len(available))})
    prepared = Prepared(config, dataset, members, available)
    driver, programs = prepared.driver, prepared.programs.compiled(prepared.in_epoch)
    require_memory(config, prepared.state, driver, dataset.image_shape, prepared.in_epoch, free=target.memory)
    if members == 1 and issubclass(model_class(config.model.kind), Variational):
        programs = itertools.chain(programs, _likelihood(config, dataset, driver))
    counts, communication, largest, begin = {}, {}, 0, time.perf_counter()
    for name, program in programs:
        seconds = time.perf_counter() - begin
        if not counts and target.published and len(available) > 1:
            communication["communication"] = collectives.estimate(program, driver.shards, target.published)
        each = -(-members // len(available))
        read = prepared.state if name.startswith("train") else for_evaluation(prepared.state)
        group = 1 if members == 1 else driver.group(read)
        counts[name] = {"seconds": seconds, **_program(target, program, dump, group, -(-each // group))}
        largest = max(largest, sum(program.memory.values()))
        for file in dump.iterdir():
            file.unlink()
        begin = time.perf_counter()
    return {
        "device": driver.devices[0].device_kind,
        "devices": len(driver.devices),
        "shards": driver.shards,
        "steps": prepared.in_epoch,
        "state_bytes": sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(prepared.state)),
        "image_bytes": dataset.train.nbytes if config.data.placement == "device" else 0,
        "memory_bytes": largest,
        "fits": largest < target.memory,
        **communication,
        "floor": roofline.floor(config, dataset, target, driver.shares if members == 1 else 1, driver.shards),
        "programs": counts,
    }


def _likelihood(config: Config, dataset: Dataset, driver: Driver) -> Iterator[tuple[str, Program]]:
    """Compile the estimate of the likelihood, with 500 samples as in `evaluate`."""
    model = nnx.eval_shape(lambda: build(config, dataset.image_shape, nnx.Rngs(0)))
    compiled, batch, given = estimator(model, len(dataset.test), math.prod(dataset.image_shape), samples=500)
    images = jax.ShapeDtypeStruct((batch, *dataset.image_shape), np.float32)
    examples = jax.ShapeDtypeStruct((batch,), np.int32)
    arguments = abstract((*given, images, examples), driver.replicated)
    yield "likelihood", Program.of(compiled.lower(*arguments), driver.platform)


def _program(target: Target, program: Program, dump: Path, members: int, repeats: int = 1) -> dict[str, Any]:
    """Count the work of a compiled program.

    Args:
        dump: the compiler's files about this program.
        members: models that a device trains at a time; bundles are per model.
        repeats: groups of such models, in turn.

    Returns:
        memory, bytes by use. If the program has a loop: loop_length, None if the compiler does not know the trip count,
        and host_transfers per iteration. For a TPU: bundles per iteration, bundles_outside the loop, unknown_loops,
        dearest (bundles, operation, its origin), outside_vmem (the arrays of the loop outside the vector memory).
        For a GPU, per iteration: launches, graphs, submissions, kinds, host_waits; and launches_outside the loop. For a
        slice of several hosts, none of these.
    """
    text = program.text()
    counts: dict[str, Any] = {"memory": dict(program.memory)}
    if (loop := hlo.main_loop(text, repeats > 1)) is None:
        return counts
    transfers = len(_WITH_HOST.findall(loop.body))
    counts |= {"loop_length": loop.trip_count, "host_transfers": transfers}
    if target.platform == "gpu":
        made = launches.read(dump, loop.trip_count)
        return counts | made._asdict() | {"host_waits": (made.condition > 0) + transfers}
    if not target.counted:
        return counts
    counts |= bundles.read(dump, text, repeats)._asdict()
    origins = {name: operation.origin for name, operation in hlo.operations(text).items()}
    counts["bundles"] = round(counts["bundles"] / members)
    counts["dearest"] = [
        {"bundles": count, "operation": name, "from": origins.get(name, "")}
        for count, name in counts.pop("operations")[:_DEAREST]
    ]
    counts["outside_vmem"] = [
        {"array": array, "bytes": size}
        for array, size, layout in hlo.arrays(loop.shape)
        if size >= _SMALL and "S(1)" not in layout  # S(1) is the vector memory
    ]
    return counts


def table(content: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table with a column for each target: the counts of a step, and the memory of a device."""
    targets = list(dict.fromkeys(row["target"] for row in content))
    varied = [key for key in _VARIED if key == "model" or len({row[key] for row in content}) > 1]
    cells: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in content:
        cells.setdefault(tuple(row[key] for key in varied), {})[row["target"]] = _cell(row)
    lines = [[*key, *(cell.get(target, "-") for target in targets)] for key, cell in cells.items()]
    return drawing.markdown([*(_VARIED[key] for key in varied), *targets], lines)


def _cell(row: Mapping[str, Any]) -> str:
    if "error" in row:
        return "does not compile"
    train = _train(row)
    known = "bundles" in train and row["floor"] is not None
    over = f" ({train['bundles'] / row['floor']:.1f} ×)" if known else ""
    parts = [f"{train[unit]:,} {unit}{over}" for unit in ("bundles", "launches") if unit in train]
    if waits := train.get("host_waits", train["host_transfers"]):
        parts.append(f"{waits} waits")
    if train["loop_length"] is None:
        parts.append("unknown trip count")
    parts.append(f"{row['memory_bytes'] / 1e6:,.0f} MB")
    return ", ".join(parts if row["fits"] else [*parts, "too much"])


def add_counts(measured: Sequence[dict[str, Any]], content: Sequence[Mapping[str, Any]], device: str) -> None:
    """Add "compiled", the counts of the same program compiled for a kind of device, to each measured row."""
    for row, other in itertools.product(measured, content):
        same = all(row[key] == other[key] for key in ("model", "batch", "dtype"))
        alone = (other["members"], other["driver"], other["placement"]) == (1, "jit", "device")
        if same and alone and other.get("device") == device and other["devices"] == row["devices"]:
            unit = "bundles" if "bundles" in _train(other) else "launches"
            row["compiled"] = {unit: _train(other)[unit]}


def _train(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(row["programs"].values()))


if __name__ == "__main__":
    _main(*sys.argv[1:])
