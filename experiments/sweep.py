"""Train many autoencoders at once: sweep.py CONFIG --sweep.FIELD VALUE ... [--workdir DIR] [--FIELD VALUE ...]

    sweep.py configs/mnist/sparse.py --sweep.seed 0:8 --sweep.l1 0 1e-5 1e-4 3.2e-4 1e-3

Each --sweep.FIELD is an axis of the grid: a field of the configuration (its last name will do where it is unique)
and its values; 0:8 stands for 0 to 7, 128,64 for two widths.
"""

from __future__ import annotations

if __name__ == "__main__":  # first of all: from here on Ctrl-C and SIGTERM end it with one line
    from aejax import signals

    signals.install()

from dataclasses import dataclass
from pathlib import Path

import aejax
import command_line
from aejax.config.grid import grid, require_size
from aejax.data import as_dataset

_MANY = 1000
"""models that are trained without asking"""


@dataclass(frozen=True)
class Arguments(command_line.ConfigArguments):
    """--sweep.FIELD VALUE ... is an axis of the grid: a field of the configuration (its last name will do where it is
    unique) and its values; 0:8 stands for 0 to 7, 128,64 for two widths.
    """

    workdir: Path | None = None
    """folder for the members, the table and the figure, where a sweep goes on that is there already;
    runs/sweeps/mnist/sparse for configs/mnist/sparse.py where none is given"""
    yes: bool = False
    """train also more than 1,000 models"""


def main(given: list[str]) -> None:
    file = command_line.config_file(given, "sweep.py configs/digits.py --sweep.seed 0:8")
    config = aejax.Config() if file is None else aejax.load_config(file)
    axes, rest = command_line.swept(given[file is not None :], config)
    arguments = command_line.parse_configured(Arguments, rest, config, program="sweep.py CONFIG")
    config = arguments.configured(file)
    workdir = arguments.workdir or Path("runs", "sweeps", *command_line.default_workdir(file).parts[1:])

    # First what can be refused, then JAX, which takes seconds to import.
    if not arguments.yes:
        takes = f"each is a folder below {workdir}, and {config.training.epochs} epochs of training"
        advice = f"{takes}; give fewer values, or --yes where that is meant"
        require_size({path: len(values) for path, values in axes.items()}, _MANY, advice)
    planned = grid(config, axes)
    dataset = as_dataset(None, config)
    for names in planned.programs:  # the members of one differ in values only
        aejax.require_fit(planned.members[names[0]], dataset)
    command_line.require_workdir(workdir)
    command_line.spread_over_cores(max(map(len, planned.programs)))
    found = aejax.sweep(config, axes, workdir, dataset=dataset, figures=arguments.figures)

    from aejax.sweeps import comparison

    print(f"\n{comparison.table(found.results)}\n\n{comparison.best(found.results)}\n{workdir / 'report.md'}")


if __name__ == "__main__":
    command_line.run(main)
