"""Images per second of the compiled program, against the device's floors and, where asked for, other programs.

Or what the compilers make of it for accelerators that are not there.
"""

from __future__ import annotations

if __name__ == "__main__":  # first of all: from here on Ctrl-C and SIGTERM end it with one line
    from aejax import signals

    signals.install()

import json
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aejax
import gallery
import peers
from aejax.config import command_line, environment, files

_ROOT = Path(__file__).parents[1]
_COMPILED = _ROOT / "experiments" / "results" / "compiled" / "compiled.json"


@dataclass(frozen=True)
class Arguments(command_line.StudyArguments):
    models: tuple[str, ...] = ("deep", "shallow", "denoising", "sparse")
    """names of configurations in configs/mnist, or of models in experiments/gallery, with commas or spaces between"""
    batches: tuple[int, ...] = (32, 256)
    """batch sizes"""
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """types that the layers compute in"""
    drivers: tuple[Literal["jit", "pmap", "shard_map"], ...] = ("jit",)
    """the first one for every row, the others in turn with it"""
    sweep: tuple[int, ...] = ()
    """numbers of models to train as one program, in turn with the one"""
    placements: tuple[Literal["device", "stream"], ...] = ("device",)
    """where the images are: the first for every row, the other in turn with it"""
    repeats: int = 5
    """epochs that are timed, after one that is not"""
    scaling: bool = False
    """measure also how time follows examples, batch, code size and epochs, for the first model"""
    cold_start: bool = False
    """measure also the first model's way from the imports to its first step, in processes of its own"""
    figures: tuple[command_line.FigureFormat, ...] = ("png",)
    """formats of the figure, with commas or spaces between them; none draws none"""
    workdir: Path = Path("runs", "benchmark")
    """folder for benchmark.json and the figure"""
    compile_for: tuple[str, ...] = ()
    """accelerators that need not be there: compile for them and measure nothing (v5e-1, v5e-4, v5p-4, v6e-1, h100,
    a100, t4; uv run --group compile); writes compiled.json"""
    peers_python: Path | None = None
    """an interpreter that has Keras, JAX, Flax, Optax and PyTorch: their programs are timed in turn with ours"""


def main(given: list[str]) -> None:
    split = command_line.without_commas(Arguments, given)
    arguments = command_line.parse(Arguments, split, Arguments(), program="benchmark.py")
    command_line.require_some(arguments, "models", "batches", "dtypes", "drivers", "placements", "repeats")
    if any(count < 1 for count in arguments.sweep):
        raise aejax.InputError(f"sweep is {arguments.sweep}; give numbers of models of at least 1")
    if "--compile-for" in split and not arguments.compile_for:
        raise aejax.InputError("compile-for is empty; name at least one accelerator, such as v5e-1 or h100")
    python = arguments.peers_python
    if python is not None and not (python.is_file() and os.access(python, os.X_OK)):
        raise aejax.InputError(f"there is no interpreter {python} that can be run")
    configs = _configs(arguments.models)
    dataset = aejax.load_dataset(arguments.dataset, arguments.source_dir)
    for config in configs.values():
        for batch in arguments.batches:
            aejax.require_fit(config.replace({"training.batch_size": batch}), dataset)
    path = arguments.workdir / ("compiled.json" if arguments.compile_for else "benchmark.json")
    if path.exists():
        raise aejax.InputError(f"{path} is there already; give another --workdir, or remove it")
    command_line.require_workdir(arguments.workdir)
    command = shlex.join(["experiments/benchmark.py", *given])
    if arguments.compile_for:
        _compile(arguments, configs, dataset, command, path)
        return
    if arguments.sweep:
        environment.spread_over_cores(max(arguments.sweep))

    import jax

    from aejax.performance import benchmark, compiled, report

    rows = []
    for row in benchmark.measure(
        configs,
        dataset,
        batches=arguments.batches,
        dtypes=arguments.dtypes,
        drivers=arguments.drivers,
        members=arguments.sweep,
        placements=arguments.placements,
        repeats=arguments.repeats,
        peers=peers.commands(python),
    ):
        rows.append(row)
        print(f"{row['model']} at batch {row['batch']}: {row['images_per_second']:,.0f} images/s", flush=True)
    if _COMPILED.is_file():
        compiled.beside(rows, json.loads(_COMPILED.read_text(encoding="utf-8"))["rows"], jax.devices()[0].device_kind)
    content = {**report.describe(command, _ROOT, dataset.name), "rows": rows}
    first = next(iter(configs.values()))
    if arguments.scaling:
        content["scaling"] = benchmark.scaling(first, dataset, arguments.repeats)
    if arguments.cold_start:
        own = {"data.name": arguments.dataset, "data.source_dir": arguments.source_dir}
        content["cold_start_seconds"] = benchmark.cold_start(first.replace(own), arguments.repeats)
        print(f"cold start: {min(content['cold_start_seconds']):.2f} s after the imports, at best")
    report.write(content, arguments.workdir, arguments.figures)
    print(f"\n{report.text(content)}\n\n{path}")


def _configs(models: tuple[str, ...]) -> dict[str, aejax.Config]:
    mnist, others = _ROOT / "configs" / "mnist", _ROOT / "experiments" / "gallery"
    own = tuple(
        model for model in models if model in gallery.MODELS + gallery.LARGE and not (mnist / f"{model}.py").is_file()
    )
    rest = tuple(model for model in models if model not in own)
    return command_line.configurations(mnist, rest) | command_line.configurations(others, own)


def _compile(
    arguments: Arguments, configs: dict[str, aejax.Config], dataset: aejax.Dataset, command: str, path: Path
) -> None:
    from aejax.performance import compiled, report
    from aejax.training.identity import versions

    rows = []
    for row in compiled.rows(
        arguments.compile_for,
        configs,
        dataset,
        batches=arguments.batches,
        dtypes=arguments.dtypes,
        drivers=arguments.drivers,
        members=arguments.sweep or (1,),
        placements=arguments.placements,
    ):
        rows.append(row)
        print(f"{row['model']} at batch {row['batch']} for {row['target']}: {row.get('error', 'compiled')}", flush=True)
    described = {"command": command, "commit": report.commit(_ROOT), "dataset": dataset.name, "versions": versions()}
    files.write_json(path, {**described, "compilers": compiled.compilers(), "rows": rows})
    print(f"\n{compiled.table(rows)}\n\n{path}")
    if failed := [row for row in rows if "error" in row]:
        raise aejax.InputError(f"{len(failed)} of {len(rows)} do not compile; {path} says why")


if __name__ == "__main__":
    command_line.run(main)
