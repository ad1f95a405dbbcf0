"""Metrics of sparse autoencoders of vectors, against the true features if they are known, and tables of the results.

The metrics against the true features are those of SynthSAEBench (Chanin and Garriga-Alonso 2026, arXiv 2602.14687).
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from aejax import Dataset, Run
from aejax.evaluation import drawing
from gallery import LAYERS, VECTORS

SHOWN = {
    "l0": ("active units", ".1f"),
    "unexplained": ("variance unexplained", ".3f"),
    "dead": ("dead units", ".0f"),
    "cosine": ("cosine", ".3f"),
    "matched_cosine": ("matched cosine", ".3f"),
    "f1": ("F1", ".3f"),
}
"""metrics in the table → their heading and format"""
_OF_LAYERS = {"unexplained_linear": ("unexplained by a linear map", ".3f")}


def of_run(run: Run, dataset: Dataset) -> dict[str, float]:
    """Measure a sparse autoencoder on test examples.

    Returns:
        l0: mean number of active units per example.
        unexplained: squared error over variance.
        dead: number of units that are active for no test example.
        The metrics of `against`, if the dataset has a truth.
    """
    codes = run.encode(dataset.test)
    test = np.float64(dataset.test).reshape(len(codes), -1)
    errors = np.square(np.float64(run.decode(codes)).reshape(test.shape) - test)
    found = {
        "l0": float((codes != 0).sum(axis=1).mean()),
        "unexplained": float(errors.sum() / np.square(test - test.mean(axis=0)).sum()),
        "dead": int((codes == 0).all(axis=0).sum()),
    }
    if dataset.truth is None:
        return found
    return found | against(_directions(run), codes, dataset.truth.directions, dataset.truth.activations())


def _directions(run: Run) -> np.ndarray:
    return np.asarray(run.autoencoder.directions())  # float32[F, D]


def against(learned: np.ndarray, codes: np.ndarray, true: np.ndarray, activations: np.ndarray) -> dict[str, float]:
    """Compare learned directions and active units with the true features.

    Args:
        learned, true: unit vectors, float32[F, D] and float32[T, D].
        codes, activations: of the same examples, float32[N, F] and float32[N, T], 0 where inactive.

    Returns:
        cosine: magnitude of the cosine between a unit and the nearest feature, mean over units.
        matched_cosine: mean magnitude of the cosines if no two units may have the same feature (MCC).
        precision, recall, f1: of a unit as a detector of the nearest feature, mean over units; 0 for a unit that is
            never active.
    """
    cosines = np.abs(learned @ true.T)
    nearest = cosines.argmax(axis=1)
    active, present = codes != 0, activations[:, nearest] > 0
    both = np.float64((active & present).sum(axis=0))
    precision = both / np.maximum(active.sum(axis=0), 1)
    recall = both / np.maximum(present.sum(axis=0), 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    return {
        "cosine": float(cosines.max(axis=1).mean()),
        "matched_cosine": matched_cosine(learned, true),
        "precision": float(precision.mean()),
        "recall": float(recall.mean()),
        "f1": float(f1.mean()),
    }


def matched_cosine(some: np.ndarray, others: np.ndarray) -> float:
    """Return the mean magnitude of the cosines between directions in the best one-to-one matching."""
    cosines = np.abs(some @ others.T)
    return float(cosines[linear_sum_assignment(-cosines)].mean())


def agreement(runs: Sequence[Run]) -> float | None:
    """Return the mean `matched_cosine` over all pairs of runs; None for a single run."""
    found = [matched_cosine(*map(_directions, pair)) for pair in itertools.combinations(runs, 2)]
    return float(np.mean(found)) if found else None


def spread(values: Sequence[float], form: str) -> str:
    """Format the mean of values over seeds, ± their standard deviation if there are several; "-" without values."""
    return drawing.with_spread(*drawing.mean_and_std(values).values(), form)


def table(results: Mapping[str, Mapping[str, Any]], names: Sequence[str] = VECTORS) -> str:
    """Format a Markdown table with a row for each model, also for models without results."""
    shown = SHOWN | _OF_LAYERS if set(names) <= set(LAYERS) else SHOWN
    heads = ["model", "seeds", *[head for head, _ in shown.values()], "agreement of seeds"]
    rows = []
    for name in names:
        result = results.get(name, {"seeds": [], "agreement": None})
        found = [seed["metrics"] for seed in result["seeds"]]
        cells = [spread([each[key] for each in found if key in each], form) for key, (_, form) in shown.items()]
        agreement = "-" if result["agreement"] is None else f"{result['agreement']:.3f}"
        rows.append([name, len(found) or "not trained", *cells, agreement])
    return drawing.markdown(heads, rows)


def fastest(rates: Mapping[str, float], ours: str) -> float:
    """Return the rate of the fastest of SAELens's ways to train one model, or 16 models if `ours` trains 16."""
    return max(rate for way, rate in rates.items() if way.startswith("sae_lens") and ("16" in way) == ("16" in ours))


def speeds(results: Sequence[Mapping[str, Any]]) -> str:
    """Format a Markdown table of results of compare_sae_lens.py --speed: aejax / SAELens, with the ratio."""
    rows = []
    for result in results:
        device = f"{result['cores']} cores, {result['vector_bits']}-bit vectors"
        row = [result["model"], device if result["device"] == "cpu" else result["device"]]
        for ours, ratio in result["speed"]["aejax / best of SAELens"].items():
            rates = result["speed"]["median"]
            row.append(f"{rates[ours]:,.0f} / {fastest(rates, ours):,.0f}, {ratio:.2f} times")
        rows.append(row)
    return drawing.markdown(["model", "on", "vectors/s of one model", "of 16 models"], rows)


def features(results: Sequence[Mapping[str, Any]]) -> str:
    """Format a Markdown table of results of compare_sae_lens.py, with a row for each program."""
    rows = []
    for result in results:
        for program, found in result["features"]["programs"].items():
            cells = [drawing.with_spread(*found["mean"][key], form) for key, (_, form) in SHOWN.items()]
            rows.append([result["model"], program.replace("sae_lens", "SAELens"), len(found["models"]), *cells])
    return drawing.markdown(["model", "program", "seeds", *[head for head, _ in SHOWN.values()]], rows)
