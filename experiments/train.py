"""Train one autoencoder: train.py CONFIG [--workdir DIR] [--FIELD VALUE ...]

The config file comes first; every field of the configuration can be given another value after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

import aejax
from aejax import command_line


@dataclass(frozen=True)
class Arguments:
    workdir: Path | None = None
    """folder for records and checkpoints, where a run goes on that is there already; runs/mnist/deep for
    configs/mnist/deep.py where none is given"""
    source_dir: str | None = None
    """the same as --data.source_dir"""
    dataset: str | None = None
    """the same as --data.name"""
    profile: Path | None = None
    """trace a few steps into this folder and print where their time goes, instead of training"""
    config: Annotated[aejax.Config, tyro.conf.arg(name="")] = field(default_factory=aejax.Config)


def main(given: list[str]) -> None:
    file = None if not given or given[0].startswith("-") else Path(given[0])
    if file is None and not {"-h", "--help"} & set(given):
        command_line.usage_error("the config file comes first, as in train.py configs/digits.py --training.epochs 5")
    config = aejax.Config() if file is None else aejax.load_config(file)
    arguments = command_line.parse(
        Arguments, given[file is not None :], Arguments(config=config), program="train.py CONFIG"
    )
    shortcuts = {"data.source_dir": arguments.source_dir, "data.name": arguments.dataset}
    config = arguments.config.replace({path: value for path, value in shortcuts.items() if value is not None})
    workdir = arguments.workdir or command_line.default_workdir(file)

    # First what can be refused, then JAX, which takes seconds to import.
    dataset = aejax.load_dataset(config.data.name, config.data.source_dir)
    aejax.require_fit(config, dataset)
    command_line.require_workdir(arguments.profile or workdir)
    if arguments.profile is not None:
        from aejax import profiling

        print(f"{profiling.table(profiling.profile(config, dataset, arguments.profile))}\n\n{arguments.profile}")
        return
    run = aejax.fit(config, workdir, dataset=dataset)

    from aejax import figures
    from aejax.devices import is_first

    if not is_first():
        return
    figures.draw_run(run, dataset, workdir / "figures")
    test, code = run.summary["test"], run.summary["code"]
    print(
        f"test {', '.join(f'{name} {value:.4f}' for name, value in test.items())}; code mean {code['mean']:.3f}, "
        f"variance {code['variance']:.3f}, zeros {code['fraction_zero']:.1%}; "
        f"{run.summary['images_per_second']:,.0f} images/s\n{workdir}"
    )


if __name__ == "__main__":
    command_line.run(main)
