"""What the compilers make of our programs for accelerators, which need not be there.

Compiled are the very programs that `fit` and `sweep` train and evaluate with, and that the likelihood is estimated by.
A process of its own compiles for each target, since a compiler is told at its start where to write what it made.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import itertools
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from aejax.config import AejaxError, Config, InputError
from aejax.data import Dataset, SparseFeatures
from aejax.evaluation import tables
from aejax.evaluation.likelihood import estimator
from aejax.models import Variational, build
from aejax.models.kinds import model_class
from aejax.performance import bundles, launches, roofline
from aejax.performance.profile import describe
from aejax.performance.targets import TARGETS, Target, devices, environment, require_compilable
from aejax.sweeps import Members
from aejax.training import Driver, Program, Single, abstract, build_programs, build_steps, steps_per_epoch

_DEAREST = 10
"""operations of a step that are listed"""

_SMALL = 2**16
"""bytes of an array that need not be in the chip's own memory"""

_WITH_HOST = re.compile(r"\b(?:infeed|outfeed|send|recv)\(|callback|S\(5\)")
"""operations between device and host, and arrays that lie there"""


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
) -> Iterator[dict[str, Any]]:
    """Compile each model for each target; yield a row for each as soon as it is compiled.

    Args:
        dataset: of which only the sizes matter.
        members: numbers of models that are trained as one program; more than one have no driver.

    Yields:
        target, model, batch, dtype, driver, members, placement; and either error, the compiler's reason, or
        device, devices, state_bytes, image_bytes, memory_bytes (of the largest program on a device), fits,
        floor (of the matrix units for a step: bundles of a TPU, microseconds of a GPU), and for each of the programs
        what `_program` says of it.

    Raises:
        InputError: a target is not known, or what compiles for it is missing or fails.
    """
    for name in targets:
        require_compilable(name)
    jobs = []
    for (model, config), batch, dtype, placement in itertools.product(configs.items(), batches, dtypes, placements):
        changed = config.replace(
            {"training.batch_size": batch, "model.dtype": dtype, "data.placement": placement, "devices.count": None}
        )
        named = {"model": model, "batch": batch, "dtype": dtype, "placement": placement}
        for driver, count in itertools.product(drivers, members):
            if count == 1 or driver == drivers[0]:
                with_driver = changed.replace({"devices.parallel": driver})
                shown = named | {"driver": driver if count == 1 else "sweep", "members": count}
                jobs.append({"named": shown, "config": with_driver.to_dict()})
    for name in targets:
        yield from _rows(name, jobs, dataset)


def compilers() -> dict[str, str]:
    """The versions of what compiles for accelerators, as far as it is installed."""
    found = {}
    for name in ("libtpu", "jax-cuda13-pjrt", "nvidia-cuda-nvcc"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _rows(name: str, jobs: list[dict[str, Any]], dataset: Dataset) -> Iterator[dict[str, Any]]:
    shapes = {
        "train": dataset.train.shape,
        "test": dataset.test.shape,
        "dtype": str(dataset.train.dtype),
        "labels": dataset.train_labels is not None,
        "generated": dataclasses.asdict(dataset.truth.specification) if dataset.truth else None,
    }
    with (
        tempfile.TemporaryDirectory() as dump,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env=environment(TARGETS[name], Path(dump)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        with process:
            json.dump({"target": name, "dump": dump, "jobs": jobs, "dataset": shapes}, process.stdin)
            process.stdin.close()
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
        if process.returncode:
            errors.seek(0)
            reason = (errors.read().strip() or "no message").splitlines()[-1]
            raise InputError(f"compiling for {name} fails: {reason}")


def _main() -> None:
    given = json.load(sys.stdin)
    target, dump = TARGETS[given["target"]], Path(given["dump"])
    sizes, dtype = given["dataset"], given["dataset"]["dtype"]
    made = sizes["generated"] and SparseFeatures(**sizes["generated"]).dataset().train
    images = [made or np.zeros(sizes["train"], dtype), np.zeros(sizes["test"], dtype)]
    labels = [np.arange(len(each)) % 10 for each in images] if sizes["labels"] else [None, None]
    dataset = Dataset("sizes", *images, *labels)
    for job in given["jobs"]:
        row = {"target": given["target"], **job["named"]}
        try:
            row |= _row(target, Config.from_dict(job["config"]), job["named"]["members"], dataset, dump)
        except (AejaxError, jax.errors.JaxRuntimeError) as error:
            row["error"] = str(error).strip().splitlines()[0]
        print(json.dumps(row), flush=True)


def _row(target: Target, config: Config, members: int, dataset: Dataset, dump: Path) -> dict[str, Any]:
    models = Single()
    if members > 1:
        same = {"data.order_seed": config.training.seed}
        models = Members({f"{seed}": config.replace(same | {"training.seed": seed}) for seed in range(members)})
    each = -(-members // len(devices(target)))  # models on a device
    driver, values = models.driver(config, devices(target)), models.values(config)
    in_epoch = steps_per_epoch(config.training, len(dataset.train))
    steps = build_steps(config, dataset.image_shape, in_epoch, driver.batch_axis, len(dataset.train))
    state = abstract(jax.eval_shape(functools.partial(driver.init, steps.init), values[1]), driver.state_sharding)
    compiled = build_programs(steps, config, driver, state, dataset, values).compiled(in_epoch)
    if members == 1 and issubclass(model_class(config.model.kind), Variational):
        compiled = itertools.chain(compiled, _likelihood(config, dataset, driver))
    found, said, begin = {}, {}, time.perf_counter()
    for program_name, program in compiled:
        found[program_name] = program
        said[program_name] = {"seconds": time.perf_counter() - begin, **_program(target, program, dump, each)}
        for file in dump.iterdir():
            file.unlink()
        begin = time.perf_counter()
    largest = max(sum(program.memory.values()) for program in found.values())
    by_hand = roofline.flops_per_image(config, dataset.image_shape)
    return {
        "device": driver.devices[0].device_kind,
        "devices": len(driver.devices),
        "steps": in_epoch,
        "state_bytes": sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)),
        "image_bytes": dataset.train.nbytes if config.data.placement == "device" else 0,
        "memory_bytes": largest,
        "fits": largest < target.memory,
        "floor": None if by_hand is None else _floor(target, config, by_hand, len(driver.devices), members),
        "programs": said,
    }


def _floor(target: Target, config: Config, flop_per_image: int, count: int, members: int) -> float:
    """Of the matrix units for a step of one model: bundles of a TPU's core, or microseconds of a GPU."""
    images = config.training.batch_size / (count if members == 1 else 1)
    least = images * flop_per_image / target.rates[config.model.dtype]
    return least if target.platform == "tpu" else 1e6 * least


def _likelihood(config: Config, dataset: Dataset, driver: Driver) -> Iterator[tuple[str, Program]]:
    """The estimate of the likelihood, as `evaluate` makes it with 500 samples."""
    model = nnx.eval_shape(lambda: build(config, dataset.image_shape, nnx.Rngs(0)))
    compiled, batch, state = estimator(model, len(dataset.test), math.prod(dataset.image_shape), samples=500)
    images = jax.ShapeDtypeStruct((batch, *dataset.image_shape), np.float32)
    examples = jax.ShapeDtypeStruct((batch,), np.int32)
    arguments = abstract((*state, images, examples), driver.replicated)
    yield "likelihood", Program.of(compiled.lower(*arguments), driver.platform)


def _program(target: Target, program: Program, dump: Path, members: int) -> dict[str, Any]:
    """What a compiler made of a program.

    Args:
        members: models that a device trains at once; figures of a step are for one of them.

    Returns:
        memory (bytes by use), loop_length (None where the compiler does not know it, or there is no loop),
        host_transfers (in a turn of the loop); of a TPU: bundles (of a turn), bundles_outside, unknown_loops, dearest
        (bundles, operation, what it comes from), outside_vmem (shape and bytes of what the loop keeps elsewhere); of a
        GPU: launches, graphs, submissions, kinds, launches_outside, host_waits (in a turn).
    """
    text = program.text()
    loop = _loop(text)
    said: dict[str, Any] = {"memory": dict(program.memory)}
    if loop is None:
        return said
    length = _length(text, loop)
    transfers = len(_WITH_HOST.findall(_computation(text, loop["body"])))
    said |= {"loop_length": length, "host_transfers": transfers}
    if target.platform == "gpu":
        made = launches.read(dump, length is not None)
        return said | {
            "launches": made.step,
            "graphs": made.graphs,
            "submissions": made.submissions,
            "kinds": made.kinds,
            "host_waits": (made.condition > 0) + transfers,
            "launches_outside": made.outside,
        }
    schedule, described = bundles.read(dump), describe(text)
    return said | {
        "bundles": round(schedule.step / members),
        "bundles_outside": schedule.outside,
        "unknown_loops": schedule.unknown,
        "dearest": [
            {"bundles": count, "operation": name, "from": described[name].origin if name in described else ""}
            for count, name in schedule.operations[:_DEAREST]
        ],
        "outside_vmem": [each for each in _outside_vmem(loop["shape"])],
    }


def _loop(text: str) -> dict[str, str] | None:
    """The loop with the longest body: that over the steps."""
    pattern = re.compile(r"= (\(.*\)) while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)(.*)")
    found = [dict(zip(("shape", "condition", "body", "rest"), m, strict=True)) for m in pattern.findall(text)]
    return max(found, key=lambda loop: len(_computation(text, loop["body"])), default=None)


def _length(text: str, loop: dict[str, str]) -> int | None:
    """How often a loop turns, as far as the compiler knows: it says so, or compares with a constant."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop["rest"]):
        return int(known[1])
    condition = _computation(text, loop["condition"])
    compared = re.search(r"compare\(%?[\w.\-]+, %?([\w.\-]+)\)", condition)
    constant = compared and re.search(rf"%?{re.escape(compared[1])} = s32\[\]\S* constant\((\d+)\)", condition)
    return int(constant[1]) if constant else None


def _computation(text: str, name: str) -> str:
    begin = re.search(rf"^%?{re.escape(name)} \(", text, re.MULTILINE)
    return text[begin.start() : text.index("\n}", begin.start())] if begin else ""


def _outside_vmem(shape: str) -> Iterator[dict[str, Any]]:
    """Of what a TPU's loop goes on with, the arrays that are not in the chip's own memory, S(1) in their layout."""
    for kind, sides, layout in re.findall(r"(\w+)\[([\d,]*)\](\{[^}]*\})?", shape):
        size = math.prod(int(side) for side in sides.split(",") if side) * _itemsize(kind)
        if size >= _SMALL and "S(1)" not in layout:
            yield {"array": f"{kind}[{sides}]", "bytes": size}


def _itemsize(kind: str) -> int:
    bits = re.search(r"\d+", kind)
    return max(1, int(bits[0]) // 8) if bits else 1


def table(content: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table, of each the program that trains."""
    head = ["for", "model", "batch", "type", "driver", "models", "MB on a device", "length known", "host in the loop"]
    lines = []
    for row in content:
        named = [row[key] for key in ("target", "model", "batch", "dtype", "driver", "members")]
        if "error" in row:
            lines.append([*named, f"not compiled: {row['error']}", *["-"] * 5])
            continue
        train = next(iter(row["programs"].values()))
        fits = "" if row["fits"] else ", too much"
        waits = train.get("host_waits", train["host_transfers"])
        known = "yes" if train["loop_length"] is not None else "no"
        lines.append([*named, f"{row['memory_bytes'] / 1e6:,.0f}{fits}", known, waits, *_figures(row, train)])
    return tables.markdown([*head, "a step", "over the floor", "outside the loop, of an epoch"], lines)


def overview(content: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with a column for each target: what a step takes there, and the memory of a device."""
    targets = list(dict.fromkeys(row["target"] for row in content))
    what = ("model", "batch", "dtype", "driver", "members")
    cells: dict[tuple[Any, ...], dict[str, str]] = {}
    for row in content:
        key = tuple(row[name] for name in what)
        if "error" in row:
            cells.setdefault(key, {})[row["target"]] = "does not compile"
            continue
        train = next(iter(row["programs"].values()))
        if "bundles" in train:
            over = "" if row["floor"] is None else f" ({train['bundles'] / row['floor']:.1f} ×)"
            step = f"{train['bundles']:,} bundles{over}"
        else:
            waits = f", {train['host_waits']} waits" if train["host_waits"] else ""
            step = f"{train['launches']} launches{waits}"
        fits = "" if row["fits"] else ", too much"
        cells.setdefault(key, {})[row["target"]] = f"{step}, {row['memory_bytes'] / 1e6:,.0f} MB{fits}"
    lines = [[*key, *(cell.get(target, "-") for target in targets)] for key, cell in cells.items()]
    varied = [place for place in range(len(what)) if len({line[place] for line in lines}) > 1 or place == 0]
    names = ["model", "batch", "type", "driver", "models"]
    shown = [[line[place] for place in varied] + line[len(what) :] for line in lines]
    return tables.markdown([*(names[place] for place in varied), *targets], shown)


def beside(measured: Sequence[dict[str, Any]], content: Sequence[Mapping[str, Any]], device: str) -> None:
    """Give each measured row, of one model on one device, what was compiled for a device of this kind as "compiled"."""
    for row in measured:
        for other in content:
            same = all(row[key] == other[key] for key in ("model", "batch", "dtype"))
            alone = other["members"] == 1 and other["driver"] == "jit" and other["placement"] == "device"
            if same and alone and other.get("device") == device and other["devices"] == row["devices"]:
                train = next(iter(other["programs"].values()))
                unit = "bundles" if "bundles" in train else "launches"
                row["compiled"] = {unit: train[unit]}


def _figures(row: Mapping[str, Any], train: Mapping[str, Any]) -> list[str]:
    if "launches" in train:
        step = f"{train['launches']} launches, {train['submissions']} submissions"
        return [step, "-", f"{train['launches_outside']} launches"]
    floor = "-" if row["floor"] is None else f"{train['bundles'] / row['floor']:.1f}"
    share = train["bundles_outside"] / (train["bundles"] * row["members"] / row["devices"] ** (row["members"] > 1))
    outside = f"{share / (train['loop_length'] or 1):.1%}"
    return [f"{train['bundles']:,} bundles", floor, outside]


if __name__ == "__main__":
    _main()
