"""Write an interactive page about a trained model, for any browser: explore.py WORKDIR [--output FILE]"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import command_line
from aejax.config.checks import InputError, refusing, require
from aejax.config.files import addressed, require_file


@dataclass(frozen=True)
class Arguments(command_line.RunArguments):
    output: Path | None = None
    """file of the page (default: explore.html in WORKDIR); an existing file is replaced"""
    images: int = 500
    """number of test images on the page; fewer if the images are large"""
    plane: Literal["pca", "tsne"] = "pca"
    """layout of codes of more than two units: principal components, or t-SNE (van der Maaten and Hinton 2008)"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(given, Arguments())
    require(arguments.images >= 2, "images", arguments.images, "at least 2")
    with arguments.opened() as folder:
        path = arguments.output or folder / "explore.html"
        require_file(path)
        if not path.parent.is_dir():
            raise InputError(f"output is {path}; the folder {path.parent} does not exist")

        from explore import write_page

        run, dataset = arguments.load(folder)
        with refusing(f"{path} cannot be written", "; give another file with --output", only=OSError):
            count = write_page(run, dataset, path, arguments.images, arguments.plane)
        print(f"{addressed(path)}: {count} images, {path.stat().st_size / 1e6:.1f} MB; open it in a browser")


if __name__ == "__main__":
    command_line.run(main)
