"""Measure images per second, or compile the programs for other accelerators: benchmark.py [--models NAME ...]"""

import functools
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aejax
import command_line
import gallery
from aejax.config import files
from aejax.config.checks import require
from benchmark.peers import peer

_ROOT = Path(__file__).parents[1]
_COMPILED = _ROOT / "experiments" / "results" / "compiled" / "compiled.json"


@dataclass(frozen=True)
class Arguments(command_line.StudyArguments):
    models: tuple[str, ...] = ("deep", "shallow", "denoising", "sparse")
    """names of configurations in configs/mnist, or of models in experiments/gallery, separated by commas or spaces"""
    dataset: str | None = None
    """digits, mnist, fashion_mnist, or any dataset or path that data.name of a configuration accepts. By default,
    digits for models of images, and the dataset of the configuration for models of vectors"""
    batches: tuple[int, ...] = (32, 256)
    """batch sizes"""
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """types that the layers compute in"""
    drivers: tuple[Literal["jit", "pmap", "shard_map"], ...] = ("jit",)
    """every row uses the first driver; the others are timed in turn with it"""
    sweep: tuple[int, ...] = ()
    """numbers of models to train as one program, timed in turn with one model"""
    placements: tuple[Literal["device", "stream"], ...] = ("device",)
    """places of the images: every row uses the first; the other is timed in turn with it"""
    repeats: int = 5
    """number of timed epochs, after one epoch of warm-up"""
    scaling: bool = False
    """also measure the time against the number of examples, batch size, code size and epochs, for the first model"""
    cold_start: bool = False
    """also measure the time from the imports to the first step of the first model, in new processes"""
    shards: tuple[int, ...] = ()
    """values of devices.shards, with compile-for; by default that of the configuration"""
    workdir: Path = Path("runs", "benchmark")
    """folder for benchmark.json and the figure"""
    compile_for: tuple[str, ...] = ()
    """accelerators to compile for, without measuring: v5e-1, v5e-4, v5e-16, v5e-64, v5p-4, v5p-64, v6e-1, h100, a100,
    t4. This needs uv run --group compile, and no accelerator; it writes compiled.json"""
    peers_python: Path | None = None
    """an interpreter with Keras, JAX, Flax, Optax and PyTorch, to time their programs in turn with ours"""


def main(given: list[str]) -> None:
    some = "models", "batches", "dtypes", "drivers", "placements", "repeats"
    arguments = command_line.parse(given, Arguments(), some)
    allowed = "numbers of models, each at least 1"
    require(all(count >= 1 for count in arguments.sweep), "sweep", arguments.sweep, allowed)
    if "--compile-for" in given and not arguments.compile_for:
        raise aejax.InputError("compile-for is empty; name at least one accelerator, such as v5e-1 or h100")
    for name in ("repeats", "scaling", "cold_start", "peers_python", "figures") if arguments.compile_for else ():
        if getattr(arguments, name) != getattr(Arguments(), name):
            raise aejax.InputError(f"{name} is for a measurement, and compile-for measures nothing; give one of them")
    if arguments.shards and not arguments.compile_for:
        raise aejax.InputError("shards is for compile-for; set devices.shards in a configuration to measure it")
    python = arguments.peers_python
    executable = python is None or (python.is_file() and os.access(python, os.X_OK))
    require(executable, "peers_python", str(python), "the path of an executable interpreter")
    groups = _groups(arguments)
    for dataset, configs in groups:
        for config in configs.values():
            for batch in arguments.batches:
                aejax.require_fit(config.replace({"training.batch_size": batch}), dataset)
    path = arguments.workdir / ("compiled.json" if arguments.compile_for else "benchmark.json")
    if path.exists():
        raise aejax.InputError(f"{path} exists; give another --workdir, or remove the file")
    command_line.require_workdir(arguments.workdir)
    if arguments.sweep and not arguments.compile_for:
        command_line.spread_over_cores(max(arguments.sweep))

    from benchmark import report  # imports JAX: after all checks of the arguments

    described = {"command": shlex.join(["experiments/benchmark.py", *given]), "commit": report.commit(_ROOT)}
    described["dataset"] = ", ".join(dataset.name for dataset, _ in groups)
    measure = _compile if arguments.compile_for else _measure
    measure(arguments, groups, described, path)


Groups = list[tuple[aejax.Dataset, dict[str, aejax.Config]]]
"""each dataset, and the configurations of the models that are trained on it"""


def _groups(arguments: Arguments) -> Groups:
    folders = _ROOT / "configs" / "mnist", _ROOT / "experiments" / "gallery"
    groups: dict[str, dict[str, aejax.Config]] = {}
    for model, config in command_line.configurations(arguments.models, *folders).items():
        usual = config.data.name if model in gallery.VECTORS + gallery.LARGE else "digits"
        groups.setdefault(arguments.dataset or usual, {})[model] = config
    return [(aejax.load_dataset(name, arguments.source_dir), of_it) for name, of_it in groups.items()]


def _rows(
    measure: Callable, shown: Callable[[dict[str, Any]], str], arguments: Arguments, groups: Groups
) -> list[dict[str, Any]]:
    """Call `measure` for each dataset, and print a line for each row; JAX is imported only in the callers."""
    options = {name: getattr(arguments, name) for name in ("batches", "dtypes", "drivers", "placements")}
    rows = []
    for dataset, configs in groups:
        for row in measure(configs, dataset, **options):
            rows.append({"dataset": dataset.name, **row})
            print(f"{row['model']} on {dataset.name} at batch {row['batch']}{shown(row)}", flush=True)
    return rows


def _measure(arguments: Arguments, groups: Groups, described: dict[str, Any], path: Path) -> None:
    import jax

    from aejax.evaluation.drawing import draw
    from aejax.training.identity import describe_machine
    from benchmark import compiled, report, roofline, throughput

    peers = peer.commands(arguments.peers_python)
    measure = functools.partial(throughput.measure, members=arguments.sweep, repeats=arguments.repeats, peers=peers)
    rows = _rows(measure, lambda row: f": {row['images_per_second']:,.0f} images/s", arguments, groups)
    if _COMPILED.is_file():
        known = json.loads(_COMPILED.read_text(encoding="utf-8"))["rows"]
        compiled.add_counts(rows, known, jax.devices()[0].device_kind)
    content = {**described, **describe_machine(), "rows": rows}
    dataset, configs = groups[0]
    first = next(iter(configs.values()))
    if arguments.scaling:
        content["scaling"] = throughput.scaling(first, dataset, arguments.repeats)
    if arguments.cold_start:
        own = first.replace({"data.name": dataset.name, "data.source_dir": arguments.source_dir})
        content["cold_start_seconds"] = throughput.cold_start(own, arguments.repeats)
        print(f"cold start: at best {min(content['cold_start_seconds']):.2f} s after the imports")
    files.write_json(path, content)
    roof = functools.partial(roofline.figure, rows, roofline.machine(content), arguments.repeats)
    draw({"roofline": roof}, arguments.workdir, arguments.figures)
    print(f"\n{report.text(content)}\n\n{path}")


def _compile(arguments: Arguments, groups: Groups, described: dict[str, Any], path: Path) -> None:
    from aejax.training.identity import describe_machine
    from benchmark import compiled, targets

    measure = functools.partial(
        compiled.rows, arguments.compile_for, members=arguments.sweep or (1,), shards=arguments.shards
    )
    rows = _rows(measure, lambda row: f" for {row['target']}: {row.get('error', 'compiled')}", arguments, groups)
    versions = describe_machine()["versions"]
    content = {**described, "versions": versions, "compilers": targets.compilers(), "rows": rows}
    files.write_json(path, content)
    print(f"\n{compiled.table(rows)}\n\n{path}")
    if failed := [row for row in rows if "error" in row]:
        raise aejax.InputError(f"{len(failed)} of {len(rows)} do not compile; {path} has the reasons")


if __name__ == "__main__":
    command_line.run(main)
