"""The gallery's models: train and evaluate them: gallery.py NAME ... [--dataset NAME] [--seeds N]"""

from __future__ import annotations

if __name__ == "__main__":  # first of all: from here on Ctrl-C and SIGTERM end it with one line
    from aejax import signals

    signals.install()

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

import aejax
import command_line
from aejax.config import complete
from aejax.config.checks import require
from gallery import IMAGES, LARGE, MODELS, VECTORS


@dataclass(frozen=True)
class Arguments(command_line.StudyArguments):
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """names of models in experiments/gallery; all but the large ones where none is given"""
    dataset: str | None = None
    """digits, mnist, fashion_mnist, photograph (the patches of the claims), or any dataset or path that data.name of a
    configuration takes; None takes digits for models of images, and for models of vectors what their configuration
    names, sparse_features_512"""
    seeds: int = 1
    """how many models of each, from the seeds 0, 1, ..."""
    epochs: int | None = None
    """of every training, in place of the configuration's"""
    samples: int = 500
    """codes drawn for each image to estimate the likelihood; 0 leaves it out"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(Arguments, given, Arguments(), program="gallery.py NAME")
    command_line.require_some(arguments, "seeds")
    require(arguments.samples >= 0, "samples", arguments.samples, "at least 0")
    known = MODELS + LARGE
    require(set(arguments.names) <= set(known), "names", arguments.names, f"some of {', '.join(known)}")
    configs = command_line.configurations(Path(__file__).with_suffix(""), arguments.names or MODELS)
    if arguments.epochs is not None:
        configs = {name: _trained_for(config, arguments.epochs) for name, config in configs.items()}
    usual = {name: "digits" if name in IMAGES else config.data.name for name, config in configs.items()}
    wanted = {name: arguments.dataset or dataset for name, dataset in usual.items()}
    datasets = {name: _dataset(name, arguments.source_dir) for name in dict.fromkeys(wanted.values())}
    for name, config in configs.items():
        aejax.require_fit(config, datasets[wanted[name]])
        _require_classes(config, datasets[wanted[name]])
        if name == "discretised_logistic":
            _require_grey_levels(name, datasets[wanted[name]])
    workdir = arguments.folder("gallery") if arguments.dataset else arguments.workdir or Path("runs", "gallery")
    command_line.require_workdir(workdir)

    from gallery import recovery, study  # import JAX: after all that can be refused

    command, results = shlex.join(["experiments/gallery.py", *given]), {}
    for name, config in configs.items():
        print(name, flush=True)
        dataset = datasets[wanted[name]]
        results[name] = study.measure(name, config, arguments.seeds, dataset, workdir, command, arguments.samples)
    for names, table in ((IMAGES, study.table), (VECTORS + LARGE, recovery.table)):
        if found := {name: results[name] for name in results if name in names}:
            print(f"\n{table(found, tuple(found))}")
    print(f"\n{workdir}")


def _trained_for(config: aejax.Config, epochs: int) -> aejax.Config:
    warmup = {
        f"schedules.{name}.warmup_epochs": min(schedule.warmup_epochs, epochs - 1)
        for name, schedule in config.schedules.items()
        if schedule.shape == "cosine"
    }
    return config.replace({"training.epochs": epochs} | warmup)


def _dataset(name: str, source_dir: Path | None) -> aejax.Dataset:
    if name != "photograph":
        return aejax.load_dataset(name, source_dir)
    from claims.images import photograph_patches

    return photograph_patches((28, 28, 1))


def _require_grey_levels(name: str, dataset: aejax.Dataset) -> None:
    """Refuse what is no image of 8 bits, whose likelihood would be one of other values."""
    if dataset.vectors or dataset.train.dtype != "uint8":
        found = f"{dataset.name} has {'vectors' if dataset.vectors else 'images'} of {dataset.train.dtype}"
        raise aejax.InputError(f"{found}; {name} is a likelihood of grey levels: give uint8 images")


def _require_classes(config: aejax.Config, dataset: aejax.Dataset) -> None:
    """Refuse classes that a model has no units for; it sees the shapes of labels only, before it is too late."""
    if (classes := complete(config).model.options.get("classes")) is None:
        return
    for labels in dataset.class_indices():
        if labels is None:
            raise aejax.InputError(f"{dataset.name} has no labels, and {config.model.kind} is trained with classes")
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            found = f"{dataset.name} has classes from {labels.min()} to {labels.max()}"
            raise aejax.InputError(f"{found}; model.options.classes is {classes}, for classes from 0 to {classes - 1}")


if __name__ == "__main__":
    command_line.run(main)
