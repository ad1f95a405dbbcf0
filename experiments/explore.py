"""A page to look at a trained model, for any browser: explore.py WORKDIR [--output FILE]"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

import aejax
import command_line
from aejax.config.files import require_file


@dataclass(frozen=True)
class Arguments:
    workdir: Annotated[Path, tyro.conf.Positional] = Path()
    """folder of a run, as train.py leaves it"""
    output: Path | None = None
    """the file (default: explore.html in WORKDIR); one that is there is written again"""
    images: int = 500
    """test images that it shows, from the first on; fewer where they are large"""
    plane: Literal["pca", "tsne"] = "pca"
    """how codes of more than two units are laid out: principal components, or t-SNE (van der Maaten and Hinton 2008)"""
    dataset: str | None = None
    """the images, by a name or path as for train.py; needed where the run was trained on files of the user's own, or to
    show others"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist"""
    models: tuple[Path, ...] = ()
    """files of the run's author, with its model or optimizer, which may be run: a workdir by itself runs no code"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(Arguments, given, Arguments(), program="explore.py WORKDIR")
    if not (arguments.workdir / "config.json").is_file():
        raise aejax.InputError(f"{arguments.workdir} holds no run; give the workdir of one, as train.py leaves it")
    if arguments.images < 2:
        raise aejax.InputError(f"images is {arguments.images}; it must be at least 2")
    path = arguments.output or arguments.workdir / "explore.html"
    require_file(path)
    if not path.parent.is_dir():
        raise aejax.InputError(f"there is no folder {path.parent} for the page")

    from aejax.evaluation import evaluation
    from explore import write_page

    run = aejax.load(arguments.workdir, models=arguments.models)
    dataset = evaluation.images_of(run, arguments.dataset, arguments.source_dir)
    try:
        count = write_page(run, dataset, path, arguments.images, arguments.plane)
    except OSError as error:
        raise aejax.InputError(f"{path} cannot be written ({error.strerror}); --output names another file") from error
    print(f"{path}: {count} images, {path.stat().st_size / 1e6:.1f} MB; open it in a browser")


if __name__ == "__main__":
    command_line.run(main)
