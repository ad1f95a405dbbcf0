"""Start from another run: a frozen encoder on other images, and a warm start on more data: transfer.py"""

import shlex
from dataclasses import dataclass

import aejax
import command_line
from aejax.data import require_images


@dataclass(frozen=True)
class Arguments(command_line.StudyArguments):
    dataset: str = "mnist"
    """source images: digits, mnist, fashion_mnist, or any dataset or path that data.name of a configuration takes"""
    target: str = "fashion_mnist"
    """images of the same size, on which decoders are trained"""
    seeds: int = 3
    """number of seeds, from 0"""
    epochs: int = 10
    """number of epochs of every model, except of that on a tenth of the images"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(given, Arguments(), ["seeds", "epochs"])
    workdir = arguments.folder("transfer")
    source, target = (aejax.load_dataset(name, arguments.source_dir) for name in (arguments.dataset, arguments.target))
    for dataset in (source, target):
        require_images(dataset, "a study of transfer")
    if source.image_shape != target.image_shape:
        raise aejax.InputError(f"{source.name} and {target.name} have images of other sizes; give images of one size")
    command_line.require_workdir(workdir)

    from transfer import study  # imports JAX: after all checks of the arguments

    command = shlex.join(["experiments/transfer.py", *given])
    counts = arguments.seeds, arguments.epochs
    results = study.measure(source, target, *counts, workdir, command, arguments.figures)
    print(f"\n{study.tables(results)}\n\n{workdir / 'transfer.md'}")


if __name__ == "__main__":
    command_line.run(main)
