"""The models beyond the article: train and evaluate them, and set our figures beside those of others."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import aejax
from aejax.config import command_line

_CONFIGS = Path(__file__).parents[1] / "configs" / "mnist"


@dataclass(frozen=True)
class Arguments:
    models: tuple[str, ...] = ("deep", "convolutional", "convolutional_denoising", "vae_flax", "vae", "iwae")
    """names of configurations in configs/mnist"""
    dataset: str = "mnist"
    """mnist, fashion_mnist, or any dataset or path that data.name of a configuration takes"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist"""
    workdir: Path | None = None
    """folder for results.json and the runs (default: runs/beyond/DATASET)"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(Arguments, given, Arguments(), program="beyond.py")
    if not arguments.models:
        raise aejax.InputError("models is empty; give at least one")
    workdir = arguments.workdir or Path("runs", "beyond", Path(arguments.dataset).resolve().stem)
    configs = {model: aejax.load_config(_CONFIGS / f"{model}.py") for model in arguments.models}
    dataset = aejax.load_dataset(arguments.dataset, arguments.source_dir)
    for config in configs.values():
        aejax.require_fit(config, dataset)
    command_line.require_workdir(workdir)

    from article import beyond  # imports JAX: after all that can be refused

    results = beyond.measure(configs, dataset, workdir, shlex.join(["experiments/beyond.py", *given]))
    print(f"\n{beyond.table(results)}\n\n{workdir / 'results.json'}")


if __name__ == "__main__":
    command_line.run(main)
