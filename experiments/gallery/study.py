"""Training and evaluation of the gallery's models and of those beyond the article, and tables of models of images."""

import functools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from aejax.config import Config
from aejax.config.files import write_json
from aejax.data import Dataset
from aejax.evaluation import drawing, evaluate, fit
from aejax.training.identity import describe_machine
from gallery import IMAGES, LARGE, LAYERS, VECTORS, figures, recovery
from gallery.measures import MEASURES
from gallery.recovery import spread

_PUBLISHED = {
    "vae": "89.78 (pythae)",
    "iwae": "86.82 (pythae)",
    "vamp_prior": "85.57 (Tomczak and Welling), 85.79 (pythae), both static",
    "miwae": "85.09 (pythae)",
    "piwae": "84.58 (pythae)",
}
"""published negative log-likelihoods of binary MNIST, after longer training"""

REPORTED = (
    ("convolutional", "bce", "test BCE", "0.0622, 50 epochs (keras-io)"),
    ("convolutional_denoising", "bce", "test BCE, σ = 0.4", "0.0839, 100 epochs (keras-io)"),
    ("vae_flax", "elbo", "test ELBO [nats]", "about -104 (Flax's example)"),
    ("vae", "nll", "test NLL [nats]", "89.78 (pythae), 86.76 (Burda et al.)"),
    ("iwae", "nll", "test NLL [nats]", "86.82 (pythae), 84.78 (Burda et al.)"),
    ("deep", "probe_code", "linear probe on the code of 32", "{probe_pca:.4f} (PCA of 32)"),
    ("deep", "knn_code", "nearest neighbours by the code of 32", "{knn_pca:.4f} (PCA of 32)"),
)
"""(model, metric of `aejax.evaluation.FIELDS`, its meaning, the other result) of each number to compare with ours

Names in braces stand for metrics of the same evaluation. Sources: the keras-io examples; the benchmark of pythae
(binary MNIST, 200 samples); Burda et al. 2016, table 1.
"""


def measure(
    name: str,
    config: Config,
    seeds: int,
    dataset: Dataset,
    workdir: Path,
    command: str,
    samples: int = 500,
    formats: Sequence[str] = ("png",),
) -> dict[str, Any]:
    """Train a model from several seeds, evaluate it, draw figures, and write NAME.json.

    Each seed has its own workdir, WORKDIR/NAME/SEED. A second call does not train finished runs again.

    Args:
        command: the command line, for the record.
        samples: codes drawn for each image to estimate the likelihood.
        formats: of the figures: png, pdf, svg.

    Returns the content of NAME.json: the command, the machine, and epochs, seconds, evaluation and metrics of each
        seed.
    """
    results: dict[str, Any] = {"command": command, "model": name, "dataset": dataset.name, **describe_machine()}
    results |= {"binarize": config.data.binarize, "batch_size": config.training.batch_size}
    results |= {"pixels": dataset.test[0].size, "seeds": []}
    runs = []
    for seed in range(seeds):
        print(f"{name}, seed {seed}", flush=True)
        seeded, folder = config.replace({"training.seed": seed, "data.name": dataset.name}), workdir / name / str(seed)
        run = fit(seeded, folder, dataset=dataset, figures=formats)
        runs.append(run)
        if name in figures.ROWS:
            drawing.draw({name: functools.partial(figures.figure, name, run, seeds)}, folder / "figures", formats)
        found = {"seed": seed, "epochs": run.summary["epochs"], "seconds": run.summary["seconds"]}
        found["evaluation"] = evaluate(run, dataset, samples=samples)
        found["metrics"] = MEASURES[name](run, dataset) if name in MEASURES else {}
        results["seeds"].append(found)
        if name in VECTORS + LARGE + LAYERS:
            results["agreement"] = recovery.agreement(runs)
        write_json(workdir / f"{name}.json", results)
    return results


def table(results: Mapping[str, Mapping[str, Any]], names: Sequence[str] = IMAGES) -> str:
    """Format a Markdown table with a row for each model, also for models without results."""
    bound = "\N{MINUS SIGN}ELBO"
    head = ["model", "NLL [nats]", "below vae", bound, "active units", "its own metrics", "others, MNIST", "minutes"]
    return drawing.markdown(head, [_row(name, results.get(name), results.get("vae")) for name in names])


def compared(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the measured entries of `REPORTED` as a Markdown table.

    Args:
        results: model → what `measure` returns; the first seed counts.
    """
    rows = []
    for model, metric, meaning, others in REPORTED:
        found = results[model]["seeds"][0] if model in results else None
        if found and (value := found["evaluation"][metric]) is not None:
            ours, minutes = f"{value:.{2 if abs(value) > 10 else 4}f}", f"{found['seconds'] / 60:.1f}"
            rows.append([model, meaning, others.format(**found["evaluation"]), ours, found["epochs"], minutes])
    return drawing.markdown(["model", "metric", "others", "aejax", "epochs", "minutes"], rows)


def _row(name: str, result: Mapping[str, Any] | None, plain: Mapping[str, Any] | None) -> list[str]:
    if result is None:
        return [name, "not reached", *["-"] * 6]
    nll, error = _evaluated(result, "nll"), _evaluated(result, "nll_standard_error")
    row = [name, spread(nll, ".2f") + (f" (error {mean(error):.2f})" if error else ""), "-", "-", "-"]
    if nll:
        row[3:] = f"{-mean(_evaluated(result, 'elbo')):.2f}", f"{mean(_evaluated(result, 'active_units')):.0f}"
        if plain is not None and name != "vae" and result["binarize"] == plain["binarize"]:
            row[2] = f"{mean(_evaluated(plain, 'nll')) - mean(nll):.2f}"
    seeds = result["seeds"]
    own = {metric: mean(each["metrics"][metric] for each in seeds) for metric in seeds[0]["metrics"]}
    if not nll and (psnr := _evaluated(result, "psnr")):
        own["psnr"] = mean(psnr)
    if not result["binarize"] and nll:
        own["bits_per_pixel"] = mean(_bits(result))
    shown = [f"{metric.replace('_', ' ')} {value:,.4g}" for metric, value in own.items()]
    published = _PUBLISHED.get(name, "-") if result["dataset"] == "mnist" else "-"
    minutes = mean(each["seconds"] for each in seeds) / 60
    return [*row, ", ".join(shown) or "-", published, f"{minutes:.1f}"]


def _evaluated(result: Mapping[str, Any], metric: str) -> list[float]:
    return [value for each in result["seeds"] if (value := each["evaluation"][metric]) is not None]


def _bits(result: Mapping[str, Any]) -> list[float]:
    """Return the negative log-likelihood [bits per pixel] of each seed."""
    return [nats / math.log(2) / result["pixels"] for nats in _evaluated(result, "nll")]


def rates(results: Mapping[str, Mapping[str, Any]], claims: Mapping[str, Any]) -> str:
    """Format a Markdown table of bits and errors of discrete codes, and of the quantised codes of claim 2.

    Args:
        claims: the content of results.json of the claims.
    """
    rows = []
    for name in sorted({"vq_vae", "fsq"} & set(results)):
        bits = mean(each["metrics"]["bits_entropy"] for each in results[name]["seeds"])
        rows.append((bits, name, mean(_evaluated(results[name], "psnr"))))
    pixels = next(iter(results.values()))["pixels"]
    for row, coders in claims["claims"]["2"]["table"].items():
        found = coders.get("autoencoder [dB]", {}).get("mean")
        if row.startswith("mnist, ") and found is not None and (rate := float(row.split()[1])) <= 1:
            rows.append((rate * pixels, "quantised code of claim 2, at most", found))
    body = [[name, f"{bits:.0f}", f"{bits / pixels:.3f}", f"{decibel:.2f}"] for bits, name, decibel in sorted(rows)]
    return drawing.markdown(["code", "bits per image", "bits per pixel", "PSNR [dB]"], body)


def bits_per_pixel(results: Sequence[Mapping[str, Any]]) -> str:
    """Format a Markdown table of the bits per pixel of discretised_logistic and PNG, with a row for each dataset."""
    rows = []
    for result in results:
        png = [[each["metrics"][f"png_{part}bits_per_pixel"] for each in result["seeds"]] for part in ("data_", "")]
        rows.append([result["dataset"], spread(_bits(result), ".3f"), *(f"{mean(bits):.3f}" for bits in png)])
    return drawing.markdown(["dataset", "bits per pixel", "PNG, data only", "PNG, whole file"], rows)


def at_equal_divergence(members: Sequence[Mapping[str, Any]], nats: Sequence[float]) -> str:
    """Format a Markdown table of the total correlation of tc_vae by its weight, at given KL divergences.

    The divergences of a sweep over the weight and beta differ from the given ones. For each weight and seed, the total
    correlation is interpolated linearly between the values of beta. A cell is "-" if a divergence lies outside of the
    swept ones. ± is the standard deviation over seeds.

    Args:
        members: of results.json of the sweep.
        nats: the divergences.
    """
    curves: dict[float, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for member in members:
        weight, beta, test = member["coefficients.total_correlation"], member["coefficients.beta"], member["test"]
        correlation = test["total_correlation"] / weight / beta
        divergence = (test["information"] + test["unit_kl"]) / beta + correlation
        curves[weight][member["training.seed"]].append((divergence, correlation))
    rows = []
    for weight, of_seeds in sorted(curves.items()):
        lines = [np.transpose(sorted(curve)) for curve in of_seeds.values()]
        cells = [[np.interp(divergence, *line, left=np.nan, right=np.nan) for line in lines] for divergence in nats]
        rows.append([f"{weight:g}", *("-" if np.isnan(cell).any() else spread(cell, ".2f") for cell in cells)])
    return drawing.markdown(["weight", *[f"total correlation at {each:g} nats" for each in nats]], rows)
