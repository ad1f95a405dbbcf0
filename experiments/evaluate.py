"""Compute all metrics of a trained autoencoder, and draw its figures: evaluate.py WORKDIR [--json PATH]"""

import os
from dataclasses import dataclass
from pathlib import Path

import aejax
import command_line
from aejax.config.checks import FigureFormat, refusing
from aejax.config.files import addressed, require_file, write_json


@dataclass(frozen=True)
class Arguments(command_line.RunArguments):
    json: Path | None = None
    """file for the metrics (default: evaluation.json in WORKDIR)"""
    samples: int = 500
    """codes drawn for each image to estimate the likelihood of a variational model; 0 skips the estimate"""
    figures: tuple[FigureFormat, ...] = ("png",)
    """formats of the figures, in the folder evaluation_figures next to evaluation.json; none draws no figure"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(given, Arguments())
    with arguments.opened() as folder:
        path = arguments.json or folder / "evaluation.json"
        require_file(path)
        if arguments.json is not None and not os.access(path.parent, os.W_OK):
            raise aejax.InputError(f"json is {path}; {path.parent} must be a writable folder")

        from aejax.evaluation import evaluation, figures

        run, dataset = arguments.load(folder)
        metrics = aejax.evaluate(run, dataset, samples=arguments.samples)
        for name, value in metrics.items():
            if isinstance(value, dict):
                for metric, mean in value.items():
                    of = "of the model" if name == "metrics" else "squared error / variance of the feature"
                    print(f"{metric:<20}{mean:>12.4f}  {of}")
            elif value is not None:
                shown = f"{value:.4f}" if isinstance(value, float) else value
                print(f"{name:<20}{shown!s:>12}  {evaluation.FIELDS[name]}")
        with refusing(f"{path} cannot be written", "; give another file with --json", only=OSError):
            write_json(path, metrics)
        print(addressed(path))
        if arguments.figures:
            folder = path.with_name(f"{path.stem}_figures")
            figures.draw_run(run, evaluation.tested(run, dataset), folder, arguments.figures, replace=True)
            print(addressed(folder))


if __name__ == "__main__":
    command_line.run(main)
