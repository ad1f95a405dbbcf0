"""Everything that can be said of one trained autoencoder: evaluate.py WORKDIR [--json PATH]"""

from __future__ import annotations

if __name__ == "__main__":  # first of all: from here on Ctrl-C and SIGTERM end it with one line
    from aejax import signals

    signals.install()

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import aejax
import command_line
from aejax.config.files import require_file, write_json


@dataclass(frozen=True)
class Arguments:
    workdir: Annotated[Path, tyro.conf.Positional] = Path()
    """folder of a run, as train.py leaves it"""
    json: Path | None = None
    """file for the figures (default: evaluation.json in WORKDIR)"""
    dataset: str | None = None
    """the images, by a name or path as for train.py; needed where the run was trained on files of the user's own, or to
    measure it on others"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist"""
    samples: int = 500
    """codes drawn for each image to estimate the likelihood under a variational model; 0 leaves it out"""
    models: tuple[Path, ...] = ()
    """files of the run's author, with its model or optimizer, which may be run: a workdir by itself runs no code"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(Arguments, given, Arguments(), program="evaluate.py WORKDIR")
    if not (arguments.workdir / "config.json").is_file():
        raise aejax.InputError(f"{arguments.workdir} holds no run; give the workdir of one, as train.py leaves it")
    path = arguments.json or arguments.workdir / "evaluation.json"
    require_file(path)
    if arguments.json is not None and not os.access(path.parent, os.W_OK):
        raise aejax.InputError(f"json is {path}, and {path.parent} is no folder that can be written")

    from aejax.evaluation import evaluation

    run = aejax.load(arguments.workdir, models=arguments.models)
    dataset = evaluation.images_of(run, arguments.dataset, arguments.source_dir)
    figures = aejax.evaluate(run, dataset, samples=arguments.samples)
    for name, value in figures.items():
        if value is not None:
            shown = f"{value:.4f}" if isinstance(value, float) else value
            print(f"{name:<20}{shown!s:>12}  {evaluation.FIELDS[name]}")
    try:
        write_json(path, figures)
    except OSError as error:
        raise aejax.InputError(f"{path} cannot be written ({error.strerror}); --json names another file") from error
    print(path)


if __name__ == "__main__":
    command_line.run(main)
