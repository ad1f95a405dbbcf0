"""Train many autoencoders at once: sweep.py CONFIG --sweep.FIELD VALUE ... [--workdir DIR] [--FIELD VALUE ...]

    sweep.py configs/mnist/sparse.py --sweep.seed 0:8 --sweep.l1 0 1e-5 1e-4 3.2e-4 1e-3

Each --sweep.FIELD is an axis of the grid: the path of a field, or its last name if that is unique, and the values.
0:8 stands for 0 to 7, and 128,64 for two widths.
"""

from dataclasses import dataclass
from pathlib import Path

import aejax
import command_line
from aejax.config.files import addressed
from aejax.config.grid import field_path, grid, parse_values, require_size
from aejax.data import as_dataset

_MANY = 1000
"""most models without --yes"""


@dataclass(frozen=True)
class Arguments(command_line.ConfigArguments):
    """--sweep.FIELD VALUE ... is an axis of the grid: the path of a field, or its last name if that is unique, and the
    values. 0:8 stands for 0 to 7, and 128,64 for two widths.

    A TPU trains the models in groups whose states fill at most half of its vector memory, a GPU trains all models at
    once, and each core of a CPU trains one model after another. report.md says the size of a group.
    """

    workdir: Path | None = None
    """folder for the members, the table and the figure, on a disk or in a bucket, default: runs/sweeps/mnist/sparse for
    configs/mnist/sparse.py; an interrupted sweep in this folder is resumed"""
    yes: bool = False
    """allow more than 1,000 models"""


def main(given: list[str]) -> None:
    named, rest = command_line.split(given, ".*?", r"sweep\.")
    example = "configs/digits.py --sweep.seed 0:8"
    arguments, config, default = command_line.parse_configured(Arguments, rest, example)
    axes = {name: parse_values(field_path(name, config), texts) for name, texts in named.items()}
    workdir = arguments.workdir or Path("runs", "sweeps", *default.parts[1:])

    # All checks of the arguments come before the import of JAX, which takes seconds.
    if not arguments.yes:
        takes = f"each is a folder in {workdir} and takes {config.training.epochs} epochs of training"
        advice = f"{takes}; give fewer values, or confirm with --yes"
        require_size({path: len(values) for path, values in axes.items()}, _MANY, advice)
    planned = grid(config, axes)
    dataset = as_dataset(None, config)
    for names in planned.programs:  # the members of a program differ only in traced values
        aejax.require_fit(planned.members[names[0]], dataset)
    command_line.require_workdir(workdir, bucket=True)
    command_line.spread_over_cores(max(map(len, planned.programs)))
    found = aejax.sweep(config, axes, workdir, dataset=dataset, figures=arguments.figures)

    from aejax.sweeps import comparison

    report = addressed(workdir / "report.md")
    print(f"\n{comparison.table(found.results)}\n\n{comparison.best(found.results)}\n{report}")


if __name__ == "__main__":
    command_line.run(main)
