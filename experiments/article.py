"""Train the article's five autoencoders, and compare the results with the article: article.py [--dataset NAME]"""

from dataclasses import dataclass
from pathlib import Path

import aejax
import command_line
from aejax.config.files import addressed
from aejax.data import require_images
from aejax.storage import opened

_CONFIGS = Path(__file__).parents[1] / "configs" / "mnist"
_MODELS = ("deep", "shallow", "denoising", "standard", "sparse")


@dataclass(frozen=True)
class Arguments(command_line.StudyArguments):
    seeds: int = 1
    """number of seeds, from 0"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(given, Arguments(), ["seeds"])
    workdir = arguments.folder("article")
    dataset = aejax.load_dataset(arguments.dataset, arguments.source_dir)
    require_images(dataset, "the article")
    configs = {model: aejax.load_config(_CONFIGS / f"{model}.py") for model in _MODELS}
    for config in configs.values():
        aejax.require_fit(config, dataset)
    command_line.require_workdir(workdir, bucket=True)

    from article import article  # imports JAX: after all checks of the arguments

    with opened(workdir) as folder:
        results = article.reproduce(configs, dataset, folder, seeds=arguments.seeds, formats=arguments.figures)
    print(f"\n{article.comparison(results)}\n\n{results['seconds']:.0f} s; {addressed(workdir / 'report.md')}")


if __name__ == "__main__":
    command_line.run(main)
