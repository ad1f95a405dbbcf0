"""Train and evaluate models of the gallery, and the table that comes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from aejax.config import Config
from aejax.config.files import write_json
from aejax.data import Dataset
from aejax.evaluation import drawing, evaluate, figures, fit
from aejax.training.identity import describe_machine
from gallery import IMAGES, LARGE, VECTORS, recovery
from gallery.measures import MEASURES, PICTURES

OTHERS = {
    "vae": "89.78 (pythae)",
    "iwae": "86.82 (pythae)",
    "vamp_prior": "85.57 (Tomczak and Welling), 85.79 (pythae), both static",
    "miwae": "85.09 (pythae)",
    "piwae": "84.58 (pythae)",
}
"""negative log-likelihoods of binary MNIST that others report, after longer training"""

_SHOWN = {
    "label_accuracy": ".1%",
    "codebook_use": ".1%",
    "perplexity": ".0f",
    "bits_entropy": ".0f",
    "psnr": ".2f",
    "total_correlation": ".2f",
    "information": ".2f",
    "unit_kl": ".2f",
    "active_upper": "d",
    "nats_lower": ".1f",
    "nats_upper": ".1f",
    "png_data_bits_per_pixel": ".3f",
}
"""a model's own figures in the table, and their form"""


def measure(
    name: str, config: Config, seeds: int, dataset: Dataset, workdir: Path, command: str, samples: int = 500
) -> dict[str, Any]:
    """Train a model from several seeds, evaluate and draw it; write NAME.json.

    Every run has a folder of its own, `workdir/NAME/SEED`: called again, what is finished is not trained again.

    Args:
        command: that this is called by, for the record.
        samples: codes drawn for each image to estimate the likelihood.

    Returns:
        the content of NAME.json: the command, the machine, and of each seed epochs, seconds, evaluation and figures.
    """
    results: dict[str, Any] = {"command": command, "model": name, "dataset": dataset.name, **describe_machine()}
    results |= {
        "binarize": config.data.binarize,
        "batch_size": config.training.batch_size,
        "pixels": dataset.test[0].size,
    }
    results["seeds"], runs = [], []
    for seed in range(seeds):
        folder = workdir / name / str(seed)
        run = fit(config.replace({"training.seed": seed, "data.name": dataset.name}), folder, dataset=dataset)
        figures.draw_run(run, dataset, folder / "figures")
        if name in PICTURES:
            figures.draw({name: lambda run=run: PICTURES[name](run)}, folder / "figures")
        found = {"seed": seed, "epochs": run.summary["epochs"], "seconds": run.summary["seconds"]}
        found["evaluation"] = evaluate(run, dataset, samples=samples)
        found["figures"] = MEASURES[name](run, dataset) if name in MEASURES else {}
        results["seeds"].append(found)
        runs.append(run)
        if name in VECTORS + LARGE:
            results["agreement"] = recovery.agreement(runs)
        write_json(workdir / f"{name}.json", results)
    return results


def table(results: Mapping[str, Mapping[str, Any]], names: Sequence[str] = IMAGES) -> str:
    """A row for each of these models, measured or not, as a Markdown table."""
    plain = results.get("vae")
    rows = [_row(name, results[name], plain) for name in names if name in results]
    rows += [[name, "not reached", *["-"] * 6] for name in names if name not in results]
    head = ["model", "NLL [nats]", "below vae", "-ELBO", "active units", "its own figures", "others, MNIST", "minutes"]
    return drawing.markdown(head, rows)


def rates(results: Mapping[str, Mapping[str, Any]], claims: Mapping[str, Any]) -> str:
    """Discrete codes beside the quantised codes of claim 2: what the images take, and how close they come.

    Args:
        claims: the content of the claims' results.json.
    """
    rows = []
    for name in sorted({"vq_vae", "fsq"} & set(results)):
        seeds = results[name]["seeds"]
        bits = mean(each["figures"]["bits_entropy"] for each in seeds)
        rows.append((bits, name, mean(_values(seeds, "psnr"))))
    pixels = next(iter(results.values()))["pixels"]
    for row, figures_of in claims["claims"]["2"]["table"].items():
        found = figures_of.get("autoencoder [dB]", {}).get("mean")
        if row.startswith("mnist, ") and found is not None and (rate := float(row.split()[1])) <= 1:
            rows.append((rate * pixels, "quantised code of claim 2, at most", found))
    body = [[name, f"{bits:.0f}", f"{bits / pixels:.3f}", f"{decibel:.2f}"] for bits, name, decibel in sorted(rows)]
    return drawing.markdown(["code", "bits per image", "bits per pixel", "PSNR [dB]"], body)


def bits_per_pixel(results: Sequence[Mapping[str, Any]]) -> str:
    """What discretised_logistic takes for a pixel beside PNG, by dataset, as a Markdown table."""
    rows = []
    for result in results:
        bits = [nats / math.log(2) / result["pixels"] for nats in _values(result["seeds"], "nll")]
        row = [result["dataset"], drawing.with_spread(mean(bits), stdev(bits) if len(bits) > 1 else None, ".3f")]
        for figure in ("png_data_bits_per_pixel", "png_bits_per_pixel"):
            row.append(f"{mean(each['figures'][figure] for each in result['seeds']):.3f}")
        rows.append(row)
    return drawing.markdown(["dataset", "bits per pixel", "PNG, data only", "PNG, whole file"], rows)


def at_equal_divergence(members: Sequence[Mapping[str, Any]], nats: Sequence[float]) -> str:
    """Total correlation of tc_vae by its weight, where the whole divergence is so many nats, as a Markdown table.

    A sweep over the weight and beta has other divergences: of each weight and seed the figures are interpolated
    linearly between the values of beta; where no model has as large a divergence or as small a one, there is a dash.
    ± is the standard deviation over seeds.

    Args:
        members: of the sweep's results.json.
    """
    curves: dict[float, dict[int, list[tuple[float, float]]]] = {}
    for member in members:
        weight = next(value for path, value in member.items() if path.endswith(".total_correlation"))
        beta = member["coefficients.beta"]
        parts = {name: member["test"][name] / beta for name in ("information", "total_correlation", "unit_kl")}
        parts["total_correlation"] /= weight
        curve = curves.setdefault(weight, {}).setdefault(member["training.seed"], [])
        curve.append((sum(parts.values()), parts["total_correlation"]))
    rows = []
    for weight, of_seeds in sorted(curves.items()):
        row = [f"{weight:g}"]
        for divergence in nats:
            lines = [tuple(zip(*sorted(curve), strict=True)) for curve in of_seeds.values()]
            within = all(divergences[0] <= divergence <= divergences[-1] for divergences, _ in lines)
            found = [np.interp(divergence, *line) for line in lines]
            row.append(drawing.with_spread(mean(found), stdev(found), ".2f") if within else "-")
        rows.append(row)
    return drawing.markdown(["weight", *[f"total correlation at {each:g} nats" for each in nats]], rows)


def _row(name: str, result: Mapping[str, Any], plain: Mapping[str, Any] | None) -> list[str]:
    seeds = result["seeds"]
    nll, elbo, active = (_values(seeds, figure) for figure in ("nll", "elbo", "active_units"))
    error = _values(seeds, "nll_standard_error")
    row = [name, "-", "-", "-", "-"]
    if nll:
        row[1] = drawing.with_spread(mean(nll), stdev(nll) if len(nll) > 1 else None, ".2f")
        row[1] += f" (error {mean(error):.2f})" if error else ""
        row[3], row[4] = f"{-mean(elbo):.2f}", f"{mean(active):.0f}"
    if nll and plain is not None and name != "vae" and result["binarize"] == plain["binarize"]:
        row[2] = f"{mean(_values(plain['seeds'], 'nll')) - mean(nll):.2f}"
    others = OTHERS.get(name, "-") if result["dataset"] == "mnist" else "-"
    return [*row, ", ".join(_own(result)) or "-", others, f"{mean(_each(seeds, 'seconds')) / 60:.1f}"]


def _own(result: Mapping[str, Any]) -> list[str]:
    """Figures of this model that others do not have, as `name value`."""
    seeds = result["seeds"]
    own = {name: mean(each["figures"][name] for each in seeds) for name in seeds[0]["figures"] if name in _SHOWN}
    if not _values(seeds, "nll") and _values(seeds, "psnr"):
        own["psnr"] = mean(_values(seeds, "psnr"))
    if "png_data_bits_per_pixel" in own:
        nats = mean(_values(seeds, "nll"))
        own = {
            "bits per pixel": nats / math.log(2) / result["pixels"],
            "PNG, data only": own["png_data_bits_per_pixel"],
        }
    return [f"{name.replace('_', ' ')} {_format(name, value)}" for name, value in own.items()]


def _format(name: str, value: float) -> str:
    form = _SHOWN.get(name, ".3f")
    return format(round(value) if form == "d" else value, form)


def _values(seeds: Sequence[Mapping[str, Any]], figure: str) -> list[float]:
    return [value for each in seeds if (value := each["evaluation"][figure]) is not None]


def _each(seeds: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [each[name] for each in seeds]
