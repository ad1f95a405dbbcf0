"""Test the article's claims by experiments: claims.py [--dataset NAME] [--seeds N] [--only 1 4]"""

from dataclasses import dataclass

import aejax
import command_line
from aejax.data import require_images


@dataclass(frozen=True)
class Arguments(command_line.StudyArguments):
    dataset: str = "digits"
    """digits, mnist, fashion_mnist, or any dataset or path with labels that data.name of a configuration accepts"""
    seeds: int = 2
    """number of seeds, from 0"""
    epochs: int = 5
    """number of epochs of every model; an epoch repeats a dataset of less than 40,000 images"""
    only: tuple[int, ...] = ()
    """numbers of the claims to test, from 1 to 9; none tests all"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(given, Arguments(), ["seeds", "epochs"])
    if wrong := set(arguments.only) - set(range(1, 10)):
        raise aejax.InputError(f"only is {min(wrong)}; the claims have the numbers 1 to 9")
    workdir = arguments.folder("claims")
    dataset = aejax.load_dataset(arguments.dataset, arguments.source_dir)
    require_images(dataset, "a test of the claims")
    if dataset.train_labels is None or dataset.test_labels is None:
        raise aejax.InputError(f"{dataset.name} has no labels; claims 4 to 6 and 8 need labels")
    if any(len(set(labels.tolist())) < 2 for labels in (dataset.train_labels, dataset.test_labels)):
        raise aejax.InputError(f"{dataset.name} has labels of one class; claims 4 to 6 and 8 need several")
    command_line.require_workdir(workdir)

    import claims  # imports JAX: after all checks of the arguments

    study = claims.Study(dataset, arguments.seeds, workdir, arguments.epochs)
    chosen = {n: claim for n, claim in claims.CLAIMS.items() if not arguments.only or n in arguments.only}
    results = claims.write_page(study, chosen, arguments.figures)
    for number, claim in results["claims"].items():
        print(f"\n{number}. {claim['title']}\n{claim['found']}")
    print(f"\n{workdir / 'claims.md'}")


if __name__ == "__main__":
    command_line.run(main)
