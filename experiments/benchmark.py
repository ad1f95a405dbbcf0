"""Images per second of the compiled epoch, with or without Keras beside it in the same run."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import aejax
from aejax import command_line

_CONFIGS = Path(__file__).parents[1] / "configs" / "mnist"


@dataclass(frozen=True)
class Arguments:
    models: tuple[str, ...] = ("deep", "shallow", "denoising", "sparse")
    """names of configurations in configs/mnist"""
    batches: tuple[int, ...] = (32, 256)
    """batch sizes"""
    repeats: int = 5
    """epochs that are timed, after one that is not"""
    dataset: str = "digits"
    """digits, mnist, fashion_mnist, or any dataset or path that data.name of a configuration takes"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist"""
    workdir: Path = Path("runs", "benchmark")
    """folder for benchmark.json"""
    peers_python: Path | None = None
    """an interpreter that has Keras and JAX, to be measured in turn with ours"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(Arguments, given, Arguments(), program="benchmark.py")
    if arguments.repeats < 1:
        raise aejax.InputError(f"repeats is {arguments.repeats}; it must be at least 1")
    if arguments.peers_python is not None and not arguments.peers_python.is_file():
        raise aejax.InputError(f"there is no interpreter {arguments.peers_python}")
    configs = {model: aejax.load_config(_CONFIGS / f"{model}.py") for model in arguments.models}
    dataset = aejax.load_dataset(arguments.dataset, arguments.source_dir)
    for config in configs.values():
        for batch in arguments.batches:
            aejax.require_fit(config.replace({"training.batch_size": batch}), dataset)
    command_line.require_workdir(arguments.workdir)

    from aejax import benchmark
    from aejax.record import describe_machine, write

    peer = arguments.peers_python and [str(arguments.peers_python), str(Path(__file__).with_name("keras_peer.py"))]
    rows = []
    for row in benchmark.measure(configs, dataset, list(arguments.batches), arguments.repeats, peer or None):
        rows.append(row)
        print(f"{row['model']} at batch {row['batch']}: {row['images_per_second']:,.0f} images/s", flush=True)
    command = shlex.join(["experiments/benchmark.py", *given])
    content = {"command": command, "dataset": dataset.name, **describe_machine(), "rows": rows}
    write(arguments.workdir / "benchmark.json", json.dumps(content, indent=2) + "\n")
    print(f"\n{benchmark.table(rows)}\n\n{arguments.workdir / 'benchmark.json'}")


if __name__ == "__main__":
    command_line.run(main)
