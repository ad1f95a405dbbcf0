"""The article's five models, and a comparison of our results with the article's.

Source: Arden Dertat, "Applied Deep Learning - Part 3: Autoencoders" (2017), and its notebook.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aejax.config import Config
from aejax.config.files import write, write_json
from aejax.data import Dataset
from aejax.evaluation import Run, drawing, figures, fit
from aejax.evaluation.drawing import draw

_MNIST_TRAINING_IMAGES = 60_000
_LABELS = {"train_total": "train loss", "test_total": "test loss", "code_mean": "mean of the code"}

PRINTED = (
    *(("deep", "train_total", epoch, value) for epoch, value in ((1, 0.1416), (2, 0.0997), (3, 0.0935))),
    *(
        ("shallow", "train_total", epoch, value)
        for epoch, value in ((1, 0.1624), (2, 0.1041), (3, 0.0962), (4, 0.0949), (5, 0.0944))
    ),
    *(("denoising", "train_total", epoch, value) for epoch, value in ((1, 0.1690), (3, 0.1255), (10, 0.1151))),
    ("standard", "train_total", 20, 0.0933),
    ("standard", "test_total", None, 0.09204),
    ("standard", "code_mean", None, 6.60018),
    ("sparse", "train_total", 20, 0.1032),
    ("sparse", "test_total", None, 0.10195),
    ("sparse", "code_mean", None, 0.776899),
)
"""(model, figure, epoch, value) of each number that the article or its notebook prints"""


def reproduce(
    configs: Mapping[str, Config], dataset: Dataset, workdir: Path, seeds: int = 1, formats: Sequence[str] = ("png",)
) -> dict[str, Any]:
    """Train the five models with each seed, and write results.json, report.md and the figures.

    Each run has the folder `workdir/MODEL/seed-SEED`; a finished run is not trained again. An epoch repeats a dataset
    smaller than MNIST, so that an epoch has about as many steps as in the article.

    Args:
        configs: of deep, shallow, denoising, standard and sparse, by name.

    Returns the content of results.json.
    """
    begin = time.perf_counter()
    passes = dataset.passes(_MNIST_TRAINING_IMAGES)
    runs: dict[str, list[Run]] = {}
    for model, config in configs.items():
        runs[model] = []
        for seed in range(seeds):
            print(f"{model}, seed {seed}", flush=True)
            changes = {"training.seed": seed, "training.passes": passes, "training.evaluate_test": True}
            seeded = config.replace({"data.name": dataset.name} | changes)
            folder = workdir / model / f"seed-{seed}"
            runs[model].append(fit(seeded, folder, dataset=dataset, figures=()))
    results = {"dataset": dataset.name, "seeds": seeds, "passes": passes}
    results |= {name: runs["deep"][0].identity.to_dict()[name] for name in ("versions", "device")}
    results["models"] = {model: _over_seeds([_results_of(run) for run in runs[model]]) for model in runs}
    first = {model: runs[model][0] for model in runs}
    codes = {model: first[model].encode(dataset.test) for model in ("standard", "sparse")}
    # The shallow model is the standard model after fewer epochs: its curve would be the beginning of the same curve.
    curves = {model: run for model, run in first.items() if model != "shallow"}
    drawn = {"codes": functools.partial(figures.code_histogram, codes, "test images; seed 0")}
    drawn["losses"] = functools.partial(figures.loss_curves, curves)
    for model in ("deep", "shallow", "denoising"):
        drawn[model] = functools.partial(figures.reconstructions, first[model], dataset.test)
    drawn["weights"] = functools.partial(figures.first_layer_weights, {name: first[name] for name in codes})
    drawn = {name: functools.partial(_of_seeds, make, seeds) for name, make in drawn.items()}
    draw(drawn, workdir / "figures", formats)
    results["seconds"] = time.perf_counter() - begin
    write_json(workdir / "results.json", results)
    write(workdir / "report.md", report(results, formats))
    return results


def _of_seeds(make: Callable[[], Figure], seeds: int) -> Figure:
    """Make a figure whose note ends with its seed, and add the number of seeds."""
    figure = make()
    drawing.note(figure, f"{figure.get_supxlabel()} of {seeds}")
    return figure


def comparison(results: Mapping[str, Any]) -> str:
    """Return a Markdown table of each number that the article prints, and ours."""
    rows = []
    for model, figure, epoch, value in PRINTED:
        label = _LABELS[figure] + ("" if epoch is None else f", epoch {epoch}")
        rows.append([model, label, f"{value:.4g}", _cell(results, model, figure, epoch)])
        if (model, figure) == ("sparse", "test_total"):
            without = _cell(results, "sparse", "test_reconstruction", None)
            rows.append(["sparse", "test BCE, without the penalty", "-", without])
    return drawing.markdown(["model", "metric", "article (MNIST)", "aejax"], rows)


def report(results: Mapping[str, Any], formats: Sequence[str] = ("png",)) -> str:
    """Return the content of report.md; the figures appear in the first format."""
    seeds, passes = results["seeds"], results["passes"]
    spread = "one seed" if seeds == 1 else f"mean ± standard deviation over {seeds} seeds"
    dataset = drawing.NAMES.get(results["dataset"], results["dataset"])
    noted = [f"Dataset: {dataset}; {spread}; batch size 32, Adam, 1e-3."]
    if results["dataset"] != "mnist":
        noted.append("The article's numbers are for MNIST and only serve as orientation.")
    if passes > 1:
        noted.append(f"An epoch repeats these images {passes} times, to have about as many steps as on MNIST.")
    noted.append(
        "Losses are means over pixels, in nats; a train loss is the mean over the steps of its epoch. The noise of the "
        "denoising model is new at every step; in the article, it is the same in every epoch. The figures show seed 0."
    )
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    drawn = "\n\n".join(
        f"![{shown}; seed 0 of {seeds}](figures/{name}.{form})"
        for form in formats[:1]
        for name, shown in _FIGURES.items()
    )
    seconds = [[model, _cell(results, model, "seconds", None, ".1f")] for model in results["models"]]
    return (
        f"# The article's five autoencoders\n\n{' '.join(noted)}\n\n{comparison(results)}\n\n"
        f"{drawing.markdown(['model', 'seconds of training'], seconds)}\n\n"
        f"Total: {results['seconds']:.0f} s on {results['device']} ({versions}).\n\n{drawn}\n"
    )


_FIGURES = {
    "deep": "deep: test images and their reconstructions",
    "shallow": "shallow: test images and their reconstructions",
    "denoising": "denoising: test images, the images with noise, and the denoised images",
    "codes": "histograms of the codes of the test images, of the standard and the sparse model",
    "weights": "weights of the first layer of the standard and the sparse model, on one scale",
    "losses": "loss per epoch; the shallow model has the curve of the standard model's first five epochs",
}


def _results_of(run: Run) -> dict[str, Any]:
    summary = run.summary
    results = {"train_total": [line["train"]["total"] for line in run.history]}
    results |= {f"test_{name}": summary["test"][name] for name in ("total", "reconstruction")}
    results |= {f"code_{name}": summary["code"][name] for name in ("mean", "variance", "fraction_zero")}
    return results | {name: summary[name] for name in ("seconds", "images_per_second")}


def _over_seeds(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means; for several seeds also `std`, and `runs` with a list over seeds for each number."""
    runs = {name: [result[name] for result in results] for name in results[0]}
    means = {name: np.mean(values, axis=0).tolist() for name, values in runs.items()}
    if len(results) == 1:
        return means
    std = {name: np.std(values, axis=0, ddof=1).tolist() for name, values in runs.items()}
    return means | {"std": std, "runs": runs}


def _cell(results: Mapping[str, Any], model: str, figure: str, epoch: int | None, form: str = ".4f") -> str:
    """Format a number for a table, with its standard deviation over several seeds."""
    found = results["models"][model]
    mean, std = found[figure], found.get("std", {}).get(figure)
    if epoch is not None:
        mean, std = mean[epoch - 1], std and std[epoch - 1]
    return drawing.with_spread(mean, std, form)
