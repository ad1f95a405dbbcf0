"""Train one autoencoder: train.py CONFIG [--workdir DIR] [--FIELD VALUE ...]

The config file is the first argument. Options after it change any field of the configuration.
"""

from dataclasses import dataclass
from pathlib import Path

import aejax
import command_line
from aejax.config.files import addressed
from aejax.data import as_dataset


@dataclass(frozen=True)
class Arguments(command_line.ConfigArguments):
    workdir: Path | None = None
    """folder for records and checkpoints, on a disk or in a bucket (gs://BUCKET/FOLDER, s3://BUCKET/FOLDER), default:
    runs/mnist/deep for configs/mnist/deep.py; an interrupted run in this folder is resumed"""
    images_every: int | None = None
    """number of epochs between pictures in TensorBoard: reconstructions, samples, a histogram of the code"""
    profile: Path | None = None
    """trace a few steps into this folder and print the time of each operation, instead of training"""
    summary: bool = False
    """print a table of the layers (shapes, parameters, bytes) instead of training"""


def main(given: list[str]) -> None:
    example = "configs/digits.py --training.epochs 5"
    arguments, config, default = command_line.parse_configured(Arguments, given, example)
    if arguments.summary and arguments.profile is not None:
        command_line.usage_error("--summary and --profile are two tasks; give one of them")
    for name in ("workdir", "images_every") if arguments.summary or arguments.profile is not None else ():
        if getattr(arguments, name) is not None:
            command_line.usage_error(f"--{name} is for training; leave it out with --summary or --profile")
    workdir = arguments.workdir or default

    # All checks of the arguments come before the import of JAX, which takes seconds.
    dataset = as_dataset(None, config)
    aejax.require_fit(config, dataset)
    if arguments.summary:
        from aejax.evaluation.fitting import untrained

        print(untrained(config, dataset))
        return
    command_line.require_workdir(arguments.profile or workdir, bucket=True)
    if arguments.profile is not None:
        from benchmark import profile

        print(f"{profile.table(profile.profile(config, dataset, arguments.profile))}\n\n{arguments.profile}")
        return
    run = aejax.fit(config, workdir, dataset=dataset, figures=arguments.figures, images_every=arguments.images_every)

    from aejax.training import is_first

    if not is_first():
        return
    code, terms = run.summary["code"], ", ".join(f"{name} {value:.4f}" for name, value in run.summary["test"].items())
    rate = f"{run.summary['images_per_second']:,.0f} {run.dataset.kind}/s"
    print(
        f"test {terms}; code mean {code['mean']:.3f}, variance {code['variance']:.3f}, "
        f"zeros {code['fraction_zero']:.1%}; {rate}\n{addressed(workdir)}"
    )


if __name__ == "__main__":
    command_line.run(main)
