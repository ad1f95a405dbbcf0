"""Train and evaluate the models beyond the article, and compare them with published results: beyond.py"""

import shlex
from dataclasses import dataclass
from pathlib import Path

import aejax
import command_line

_CONFIGS = Path(__file__).parents[1] / "configs" / "mnist"


@dataclass(frozen=True)
class Arguments(command_line.StudyArguments):
    models: tuple[str, ...] = ("deep", "convolutional", "convolutional_denoising", "vae_flax", "vae", "iwae")
    """names of configurations in configs/mnist, separated by commas or spaces"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(given, Arguments(dataset="mnist"), ["models"])
    workdir = arguments.folder("beyond")
    configs = command_line.configurations(arguments.models, _CONFIGS)
    dataset = aejax.load_dataset(arguments.dataset, arguments.source_dir)
    for config in configs.values():
        aejax.require_fit(config, dataset)
    command_line.require_workdir(workdir)

    from gallery import study  # imports JAX: after all checks of the arguments

    command = shlex.join(["experiments/beyond.py", *given])
    results = {
        name: study.measure(name, config, 1, dataset, workdir, command, formats=arguments.figures)
        for name, config in configs.items()
    }
    print(f"\n{study.compared(results)}\n\n{workdir}")


if __name__ == "__main__":
    command_line.run(main)
