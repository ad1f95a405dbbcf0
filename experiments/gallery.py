"""Train and evaluate models of the gallery: gallery.py NAME ... [--dataset NAME] [--seeds N]"""

import dataclasses
import functools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import aejax
import command_line
from aejax.config import complete
from aejax.config.checks import require
from aejax.config.files import addressed
from aejax.storage import opened
from gallery import IMAGES, LARGE, LAYERS, MODELS, VECTORS


@dataclass(frozen=True)
class Arguments(command_line.StudyArguments):
    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """names of models in experiments/gallery; by default all models except the large ones"""
    dataset: str | None = None
    """digits, mnist, fashion_mnist, or any dataset or path that data.name of a configuration accepts. By default,
    digits for models of images, and the dataset of the configuration for models of vectors"""
    seeds: int = 1
    """number of seeds, from 0"""
    epochs: int | None = None
    """epochs of every training, in place of the configuration's"""
    labels: int | None = None
    """training labels that are kept, as many of each class; all others are unknown, for semi_supervised"""
    samples: int = 500
    """codes drawn for each image to estimate the likelihood; 0 skips the estimate"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(given, Arguments(), ["seeds"], takes="NAME")
    require(arguments.samples >= 0, "samples", arguments.samples, "at least 0")
    configs = command_line.configurations(arguments.names or MODELS, Path(__file__).with_suffix(""))
    datasets, load = {}, functools.cache(aejax.load_dataset)
    for name, config in configs.items():
        if arguments.epochs is not None:
            configs[name] = config = _trained_for(config, arguments.epochs)
        usual = "digits" if name in IMAGES else config.data.name
        dataset = load(arguments.dataset or usual, arguments.source_dir)
        _require_classes(config, dataset)
        if arguments.labels is not None:
            require(name == "semi_supervised", "names", name, "semi_supervised with --labels")
            dataset = _with_few_labels(dataset, arguments.labels)
        datasets[name] = dataset
        aejax.require_fit(config, dataset)
        if name == "discretised_logistic" and (dataset.vectors or dataset.train.dtype != "uint8"):
            found = f"{dataset.name} has {'vectors' if dataset.vectors else 'images'} of {dataset.train.dtype}"
            raise aejax.InputError(f"{found}; {name} is a likelihood of grey levels: give uint8 images")
    workdir = arguments.folder("gallery")
    command_line.require_workdir(workdir, bucket=True)

    from gallery import recovery, study  # imports JAX: after all checks of the arguments

    command, options = shlex.join(["experiments/gallery.py", *given]), (arguments.samples, arguments.figures)
    with opened(workdir) as folder:
        results = {
            name: study.measure(name, config, arguments.seeds, datasets[name], folder, command, *options)
            for name, config in configs.items()
        }
    for names, table in ((IMAGES, study.table), (VECTORS + LARGE, recovery.table), (LAYERS, recovery.table)):
        if found := {name: results[name] for name in results if name in names}:
            print(f"\n{table(found, tuple(found))}")
    print(f"\n{addressed(workdir)}")


def _trained_for(config: aejax.Config, epochs: int) -> aejax.Config:
    warmup = {
        f"schedules.{name}.warmup_epochs": min(schedule.warmup_epochs, epochs - (schedule.shape == "cosine"))
        for name, schedule in config.schedules.items()
    }
    return config.replace({"training.epochs": epochs} | warmup)


def _with_few_labels(dataset: aejax.Dataset, count: int) -> aejax.Dataset:
    """Keep the labels of the first training images of each class, and set the others to -1, unknown."""
    labels = dataset.class_indices()[0]
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    most = len(classes) * int(counts.min())
    holds = count > 0 and count % len(classes) == 0 and count <= most
    require(holds, "labels", count, f"a multiple of {len(classes)}, the number of classes, up to {most}")
    kept = np.concatenate([np.flatnonzero(labels == each)[: count // len(classes)] for each in classes])
    known = np.isin(np.arange(len(labels)), kept)
    return dataclasses.replace(dataset, train_labels=np.where(known, labels, -1))


def _require_classes(config: aejax.Config, dataset: aejax.Dataset) -> None:
    """Refuse classes without a unit of the model: within a program the model cannot check the values of labels."""
    if (classes := complete(config).model.options.get("classes")) is None:
        return
    for labels in dataset.class_indices():
        if labels is None:
            raise aejax.InputError(f"{dataset.name} has no labels; {config.model.kind} needs images with classes")
        least = -1 if config.model.kind.endswith("SemiSupervised") else 0  # -1 is unknown
        if labels.size and not least <= labels.min() <= labels.max() < classes:
            found = f"{dataset.name} has classes from {labels.min()} to {labels.max()}"
            raise aejax.InputError(f"{found}; model.options.classes is {classes}, for classes from 0 to {classes - 1}")


if __name__ == "__main__":
    command_line.run(main)
