"""The models beyond the article, evaluated and compared with published results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aejax.config import Config
from aejax.config.files import write_json
from aejax.data import Dataset
from aejax.evaluation import drawing, evaluate, fit
from aejax.training.identity import describe_machine

REPORTED = (
    ("convolutional", "bce", "test BCE", "0.0622, 50 epochs (keras-io)"),
    ("convolutional_denoising", "bce", "test BCE, σ = 0.4", "0.0839, 100 epochs (keras-io)"),
    ("vae_flax", "elbo", "test ELBO [nats]", "about -104 (Flax's example)"),
    ("vae", "nll", "test NLL [nats]", "89.78 (pythae), 86.76 (Burda et al.)"),
    ("iwae", "nll", "test NLL [nats]", "86.82 (pythae), 84.78 (Burda et al.)"),
    ("deep", "probe_code", "linear probe on the code of 32", "{probe_pca:.4f} (PCA of 32)"),
    ("deep", "knn_code", "nearest neighbours by the code of 32", "{knn_pca:.4f} (PCA of 32)"),
)
"""(model, figure of `aejax.evaluation.FIELDS`, its meaning, the other result) of each number to compare with ours

Names in braces stand for figures of the same evaluation. Sources: the keras-io examples; the benchmark of pythae
(binary MNIST, 200 samples); Burda et al. 2016, table 1.
"""


def measure(configs: Mapping[str, Config], dataset: Dataset, workdir: Path, command: str) -> dict[str, Any]:
    """Train and evaluate each configuration, and write results.json.

    Each run has the folder `workdir/MODEL`; a finished run is not trained again.

    Args:
        command: the command line, for the record.

    Returns:
        the content of results.json: the command, the machine, and epochs, seconds and evaluation of each model.
    """
    results: dict[str, Any] = {"command": command, "dataset": dataset.name, **describe_machine(), "models": {}}
    for model, config in configs.items():
        print(model, flush=True)
        run = fit(config.replace({"data.name": dataset.name}), workdir / model, dataset=dataset)
        results["models"][model] = {
            "epochs": run.summary["epochs"],
            "seconds": run.summary["seconds"],
            "evaluation": evaluate(run, dataset),
        }
        write_json(workdir / "results.json", results)
    return results


def table(results: Mapping[str, Any]) -> str:
    """Return the measured entries of `REPORTED` as a Markdown table."""
    rows = []
    for model, figure, meaning, others in REPORTED:
        found = results["models"].get(model)
        if found and (value := found["evaluation"][figure]) is not None:
            ours, minutes = f"{value:.{2 if abs(value) > 10 else 4}f}", f"{found['seconds'] / 60:.1f}"
            rows.append([model, meaning, others.format(**found["evaluation"]), ours, found["epochs"], minutes])
    return drawing.markdown(["model", "figure", "others", "aejax", "epochs", "minutes"], rows)
