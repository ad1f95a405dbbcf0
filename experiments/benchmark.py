"""Images per second of the compiled program, against the device's floors and, where asked for, other programs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aejax
import peers
from aejax.config import command_line, environment

_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Arguments(command_line.StudyArguments):
    models: tuple[str, ...] = ("deep", "shallow", "denoising", "sparse")
    """names of configurations in configs/mnist, with commas or spaces between them"""
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
    workdir: Path = Path("runs", "benchmark")
    """folder for benchmark.json and roofline.png"""
    peers_python: Path | None = None
    """an interpreter that has Keras, JAX, Flax, Optax and PyTorch: their programs are timed in turn with ours"""


def main(given: list[str]) -> None:
    split = command_line.without_commas(Arguments, given)
    arguments = command_line.parse(Arguments, split, Arguments(), program="benchmark.py")
    command_line.require_some(arguments, "models", "batches", "dtypes", "drivers", "placements", "repeats")
    if any(count < 1 for count in arguments.sweep):
        raise aejax.InputError(f"sweep is {arguments.sweep}; give numbers of models of at least 1")
    if arguments.peers_python is not None and not arguments.peers_python.is_file():
        raise aejax.InputError(f"there is no interpreter {arguments.peers_python}")
    configs = {model: aejax.load_config(_ROOT / "configs" / "mnist" / f"{model}.py") for model in arguments.models}
    dataset = aejax.load_dataset(arguments.dataset, arguments.source_dir)
    for config in configs.values():
        for batch in arguments.batches:
            aejax.require_fit(config.replace({"training.batch_size": batch}), dataset)
    path = arguments.workdir / "benchmark.json"
    if path.exists():
        raise aejax.InputError(f"{path} is there already; give another --workdir, or remove it")
    command_line.require_workdir(arguments.workdir)
    if arguments.sweep:
        environment.spread_over_cores(max(arguments.sweep))

    from aejax.performance import benchmark, report

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
        peers=peers.commands(arguments.peers_python),
    ):
        rows.append(row)
        print(f"{row['model']} at batch {row['batch']}: {row['images_per_second']:,.0f} images/s", flush=True)
    command = shlex.join(["experiments/benchmark.py", *given])
    content = {**report.describe(command, _ROOT, dataset.name), "rows": rows}
    first = next(iter(configs.values()))
    if arguments.scaling:
        content["scaling"] = benchmark.scaling(first, dataset, arguments.repeats)
    if arguments.cold_start:
        own = {"data.name": arguments.dataset, "data.source_dir": arguments.source_dir}
        content["cold_start_seconds"] = benchmark.cold_start(first.replace(own), arguments.repeats)
        print(f"cold start: {min(content['cold_start_seconds']):.2f} s after the imports, at best")
    report.write(content, arguments.workdir)
    print(f"\n{report.text(content)}\n\n{path}")


if __name__ == "__main__":
    command_line.run(main)
