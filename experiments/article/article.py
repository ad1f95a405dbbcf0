"""The article's five models, and our figures beside the article's.

Source: Arden Dertat, "Applied Deep Learning - Part 3: Autoencoders" (2017), and its notebook.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aejax.config import Config
from aejax.config.files import write, write_json
from aejax.data import Dataset
from aejax.evaluation import Run, drawing, figures, fit
from aejax.evaluation.drawing import draw

_MNIST_TRAINING_IMAGES = 60_000
_LABELS = {
    "train_total": "train loss",
    "test_total": "test loss",
    "test_reconstruction": "test BCE",
    "code_mean": "mean of the code",
}


class Printed(NamedTuple):
    """A figure that the article or its notebook prints."""

    model: str
    figure: str
    epoch: int | None
    value: float


PRINTED = (
    *(Printed("deep", "train_total", epoch, value) for epoch, value in ((1, 0.1416), (2, 0.0997), (3, 0.0935))),
    *(
        Printed("shallow", "train_total", epoch, value)
        for epoch, value in ((1, 0.1624), (2, 0.1041), (3, 0.0962), (4, 0.0949), (5, 0.0944))
    ),
    *(Printed("denoising", "train_total", epoch, value) for epoch, value in ((1, 0.1690), (3, 0.1255), (10, 0.1151))),
    Printed("standard", "train_total", 20, 0.0933),
    Printed("standard", "test_total", None, 0.09204),
    Printed("standard", "code_mean", None, 6.60018),
    Printed("sparse", "train_total", 20, 0.1032),
    Printed("sparse", "test_total", None, 0.10195),
    Printed("sparse", "code_mean", None, 0.776899),
)


def reproduce(
    configs: Mapping[str, Config],
    dataset: Dataset,
    workdir: Path,
    *,
    seeds: int = 1,
    progress: bool = True,
    formats: Sequence[str] = ("png",),
) -> dict[str, Any]:
    """Train the five models with each seed; write results.json, report.md and the figures.

    Every run has a folder of its own, `workdir/<model>/seed-<k>`: called again, what is finished is not
    trained again. A dataset smaller than MNIST passes several times per epoch, so that an epoch has as
    many steps as the article's.

    Args:
        configs: of deep, shallow, denoising, standard and sparse, by name.
        dataset: the images.
        seeds: the number of seeds, from 0.
        formats: of the figures: png, pdf, svg.

    Returns:
        the content of results.json.
    """
    begin = time.perf_counter()
    passes = dataset.passes(_MNIST_TRAINING_IMAGES)
    runs: dict[str, list[Run]] = {}
    for model, config in configs.items():
        runs[model] = []
        for seed in range(seeds):
            if progress:
                print(f"{model}, seed {seed}", flush=True)
            seeded = config.replace({"data.name": dataset.name, "training.seed": seed, "training.passes": passes})
            folder = workdir / model / f"seed-{seed}"
            runs[model].append(fit(seeded, folder, dataset=dataset, progress=progress, figures=()))
    description = runs["deep"][0].description
    results = {
        "dataset": dataset.name,
        "seeds": seeds,
        "passes": passes,
        "versions": description["versions"],
        "device": description["device"],
        "models": {model: _over_seeds([_results_of(run) for run in runs[model]]) for model in runs},
    }
    _draw({model: runs[model][0] for model in runs}, dataset, workdir / "figures", formats)
    results["seconds"] = time.perf_counter() - begin
    write_json(workdir / "results.json", results)
    write(workdir / "report.md", report(results, formats))
    return results


def comparison(results: Mapping[str, Any]) -> str:
    """A Markdown table: each figure that the article prints, beside ours."""
    rows = []
    for printed in PRINTED:
        figure = _LABELS[printed.figure] + ("" if printed.epoch is None else f", epoch {printed.epoch}")
        ours = _cell(results, printed.model, printed.figure, printed.epoch)
        rows.append([printed.model, figure, f"{printed.value:.4g}", ours])
        if printed.figure == "test_total" and printed.model == "sparse":
            without = _cell(results, "sparse", "test_reconstruction", None)
            rows.append(["sparse", "test BCE, without the penalty", "-", without])
    return drawing.markdown(["model", "figure", "article (MNIST)", "aejax"], rows)


def report(results: Mapping[str, Any], formats: Sequence[str] = ("png",)) -> str:
    """The content of report.md, with the figures in the first of their formats."""
    seeds = results["seeds"]
    passes = results["passes"]
    noted = [
        f"Dataset: {results['dataset']}; "
        + ("one seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds")
        + "; batch size 32, Adam, 1e-3."
    ]
    if results["dataset"] != "mnist":
        noted.append("The article's figures are for MNIST and stand here for orientation only.")
    if passes > 1:
        noted.append(f"An epoch passes {passes} times over these images, to have about as many steps as on MNIST.")
    noted.append(
        "Losses are means over pixels, in nats; a train loss is the mean over the steps of its epoch. The "
        "denoising model meets fresh noise at every step, the article's the same noise in every epoch. The figures "
        "show seed 0."
    )
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    drawn = "\n\n".join(
        f"![{title}](figures/{name}.{form})" for form in formats[:1] for name, title in _FIGURES.items()
    )
    seconds = [[model, _cell(results, model, "seconds", None, ".1f")] for model in results["models"]]
    return (
        f"# The article's five autoencoders\n\n{' '.join(noted)}\n\n{comparison(results)}\n\n"
        f"{drawing.markdown(['model', 'seconds of training'], seconds)}\n\n"
        f"All of it: {results['seconds']:.0f} s on {results['device']} ({versions}).\n\n{drawn}\n"
    )


_FIGURES = {
    "deep": "deep: test images and their reconstructions",
    "shallow": "shallow: test images and their reconstructions",
    "denoising": "denoising: test images, with noise, denoised",
    "codes": "code values of the standard and the sparse model over the test images",
    "weights_standard": "first layer of the standard model",
    "weights_sparse": "first layer of the sparse model",
    "losses": "loss per epoch",
}


def _draw(runs: Mapping[str, Run], dataset: Dataset, folder: Path, formats: Sequence[str]) -> None:
    draw(
        {
            **{
                model: lambda model=model: figures.reconstructions(runs[model], dataset.test)
                for model in ("deep", "shallow", "denoising")
            },
            "codes": lambda: figures.code_histogram(
                {model: runs[model].encode(dataset.test) for model in ("standard", "sparse")}
            ),
            **{
                f"weights_{model}": lambda model=model: figures.first_layer_weights(runs[model])
                for model in ("standard", "sparse")
            },
            "losses": lambda: figures.loss_curves(runs),
        },
        folder,
        formats,
    )


def _results_of(run: Run) -> dict[str, Any]:
    summary = run.summary
    return {
        "train_total": [line["train"]["total"] for line in run.history],
        "test_total": summary["test"]["total"],
        "test_reconstruction": summary["test"]["reconstruction"],
        "code_mean": summary["code"]["mean"],
        "code_variance": summary["code"]["variance"],
        "code_fraction_zero": summary["code"]["fraction_zero"],
        "seconds": summary["seconds"],
        "images_per_second": summary["images_per_second"],
    }


def _over_seeds(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Means; with several seeds also `std`, and `runs` with a list over seeds for each figure."""
    runs = {figure: [result[figure] for result in results] for figure in results[0]}
    means = {figure: np.mean(values, axis=0).tolist() for figure, values in runs.items()}
    if len(results) == 1:
        return means
    return means | {
        "std": {figure: np.std(values, axis=0, ddof=1).tolist() for figure, values in runs.items()},
        "runs": runs,
    }


def _cell(results: Mapping[str, Any], model: str, figure: str, epoch: int | None, form: str = ".4f") -> str:
    """A figure as it stands in a table, with its standard deviation over several seeds."""

    def at_epoch(values: Any) -> float:
        return values if epoch is None else values[epoch - 1]

    found = results["models"][model]
    std = at_epoch(found["std"][figure]) if "std" in found else None
    return drawing.with_spread(at_epoch(found[figure]), std, form)
