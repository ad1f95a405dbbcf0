"""Images per second of the compiled program, against the device's floors and, where asked for, other programs."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import aejax
from aejax.config import command_line, environment

_ROOT = Path(__file__).parents[1]
_PEERS = {
    "plain": {
        "Keras fit": ["keras_fit.py"],
        "PyTorch": ["pytorch.py"],
        "PyTorch compiled": ["pytorch.py", "compile"],
        "Flax loop": ["flax_loop.py"],
    },
    "variational": {"Flax's example": ["flax_vae.py"]},
}
_LISTS = ("--models", "--batches", "--dtypes", "--drivers", "--sweep", "--placements")


@dataclass(frozen=True)
class Arguments:
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
    dataset: str = "digits"
    """digits, mnist, fashion_mnist, or any dataset or path that data.name of a configuration takes"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist"""
    workdir: Path = Path("runs", "benchmark")
    """folder for benchmark.json and roofline.png"""
    peers_python: Path | None = None
    """an interpreter that has Keras, JAX, Flax, Optax and PyTorch: their programs are timed in turn with ours"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(Arguments, _without_commas(given), Arguments(), program="benchmark.py")
    for name in ("models", "batches", "dtypes", "drivers", "placements"):
        if not getattr(arguments, name):
            raise aejax.InputError(f"{name} is empty; give at least one")
    if arguments.repeats < 1:
        raise aejax.InputError(f"repeats is {arguments.repeats}; it must be at least 1")
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

    from aejax.performance import benchmark, roofline
    from aejax.training.record import describe_machine, write

    python = arguments.peers_python
    peers = {} if python is None else {
        kind: {name: _command(python, *parts) for name, parts in programs.items()} for kind, programs in _PEERS.items()
    }  # fmt: skip
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
        peers=peers,
    ):
        rows.append(row)
        print(f"{row['model']} at batch {row['batch']}: {row['images_per_second']:,.0f} images/s", flush=True)
    content = {
        "command": shlex.join(["experiments/benchmark.py", *given]),
        "commit": _commit(),
        "dataset": dataset.name,
        **describe_machine(),
        "rows": rows,
    }
    if arguments.scaling:
        content["scaling"] = benchmark.scaling(next(iter(configs.values())), dataset, arguments.repeats)
    if arguments.cold_start:
        own = {"data.name": arguments.dataset, "data.source_dir": arguments.source_dir}
        first = next(iter(configs.values())).replace(own)
        content["cold_start_seconds"] = benchmark.cold_start(first, arguments.repeats)
        print(f"cold start: {min(content['cold_start_seconds']):.2f} s after the imports, at best")
    write(path, json.dumps(content, indent=2) + "\n")
    roofline.figure(rows).savefig(arguments.workdir / "roofline.png")
    tables = [benchmark.table(rows), benchmark.beside_table(rows), benchmark.scaling_table(content.get("scaling", []))]
    print("\n" + "\n\n".join(table for table in tables if table))
    print(f"\n{path}")


def _without_commas(given: list[str]) -> list[str]:
    """`--batches 32,256` as `--batches 32 256`."""
    parts, flag = [], ""
    for token in given:
        flag = token if token.startswith("--") else flag
        parts += token.split(",") if flag in _LISTS and token != flag else [token]
    return parts


def _command(python: Path, script: str, *arguments: str) -> list[str]:
    return [str(python), str(Path(__file__).parent / "peers" / script), *arguments]


def _commit() -> str | None:
    """The commit of this checkout, with a + where files differ from it; None outside of one."""
    git = ["git", "-C", str(_ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


if __name__ == "__main__":
    command_line.run(main)
