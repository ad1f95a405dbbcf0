"""What a sparse autoencoder of vectors found: how few units it needs, and of the true features, how many it has.

The measures against the truth are those of SynthSAEBench (Chanin and Garriga-Alonso 2026, arXiv 2602.14687).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from aejax import Dataset, InputError, Run
from aejax.evaluation import drawing
from gallery import VECTORS

_SHOWN = {
    "l0": ("active units", ".1f"),
    "unexplained": ("variance unexplained", ".3f"),
    "dead": ("dead units", ".0f"),
    "cosine": ("cosine", ".3f"),
    "matched_cosine": ("matched cosine", ".3f"),
    "f1": ("F1", ".3f"),
}
"""figures in the table, their heads and forms"""


def of_run(run: Run, dataset: Dataset) -> dict[str, float]:
    """Of test examples: how sparse and how exact the codes are; where the truth is known, what of it was found.

    `l0` is the mean number of active units, `unexplained` the squared error divided by the variance, `dead` the number
    of units that no test example makes active. The others are those of `against`.
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
    return found | against(directions(run), codes, dataset.truth.directions, dataset.truth.activations())


def directions(run: Run) -> np.ndarray:
    """Of each unit, of length 1: float32[F, D].

    Raises:
        InputError: the model has none.
    """
    if not hasattr(run.autoencoder, "directions"):
        raise InputError(f"{type(run.autoencoder).__name__} has no directions; give a SparseAutoencoder")
    return np.asarray(run.autoencoder.directions())


def against(learned: np.ndarray, codes: np.ndarray, true: np.ndarray, activations: np.ndarray) -> dict[str, float]:
    """How well learned directions are true ones, and active units active features.

    Args:
        learned, true: directions of length 1, float32[F, D] and float32[T, D].
        codes, activations: of the same examples, float32[N, F] and float32[N, T], 0 where not active.

    Returns:
        cosine: of a unit's direction with the nearest true one, its magnitude, mean over units.
        matched_cosine: the same where no two units may have one feature, by the best matching (MCC).
        precision, recall, f1: of a unit as a detector of the nearest feature, mean over units; 0 of one that is never
            active.
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
    """Mean magnitude of the cosines between directions that are matched one to one so that it is the largest."""
    cosines = np.abs(some @ others.T)
    return float(cosines[linear_sum_assignment(-cosines)].mean())


def agreement(runs: Sequence[Run]) -> float | None:
    """`matched_cosine` of the models of several seeds, mean over all pairs; None of one model."""
    found = [matched_cosine(*map(directions, pair)) for pair in itertools.combinations(runs, 2)]
    return float(np.mean(found)) if found else None


def table(results: Mapping[str, Mapping[str, Any]], names: Sequence[str] = VECTORS) -> str:
    """A row for each of these models, measured or not, as a Markdown table; ± is the standard deviation over seeds."""
    heads = ["model", "seeds", *[head for head, _ in _SHOWN.values()], "agreement of seeds"]
    return drawing.markdown(heads, [_row(name, results.get(name)) for name in names])


def _row(name: str, result: Mapping[str, Any] | None) -> list[str]:
    if result is None:
        return [name, "not trained", *["-"] * (len(_SHOWN) + 1)]
    seeds, row = result["seeds"], [name, str(len(result["seeds"]))]
    for figure, (_, form) in _SHOWN.items():
        values = [seed["figures"][figure] for seed in seeds if figure in seed["figures"]]
        spread = stdev(values) if len(values) > 1 else None
        row.append(drawing.with_spread(mean(values), spread, form) if values else "-")
    agreement = result["agreement"]
    return [*row, "-" if agreement is None else f"{agreement:.3f}"]


def beside(result: Mapping[str, Any]) -> str:
    """What beside_sae_lens.py found, as a Markdown table: ours / theirs, with the ratio of the speeds."""
    heads = ["model", "on", "vectors/s of one model", "of 16 models", "steps"]
    heads += ["active", "F1", "cosine", "matched cosine"]
    device = f"{result['cores']} cores" if result["device"] == "cpu" else result["device"]
    return drawing.markdown(heads, [_row_beside(name, device, found) for name, found in result["models"].items()])


def _row_beside(name: str, device: str, found: Mapping[str, Any]) -> list[str]:
    row = [name, device]
    for ours, theirs in (("aejax", "sae_lens, "), ("aejax, 16 as one sweep", "sae_lens, 16")):
        rates, ratio = found["speed"]["median"], found["speed"]["ours / best of theirs"][ours]
        other = max(rates[way] for way in rates if way.startswith(theirs) and ("16" in way) == ("16" in ours))
        row.append(f"{rates[ours]:,.0f} / {other:,.0f}, {ratio:.2f} times")
    if "recovery" not in found:
        return [*row, *["-"] * 5]
    means = found["recovery"]["mean"]
    row.append(f"{found['recovery']['steps']:,}")
    for figure, form in (("l0", ".2f"), ("f1", ".4f"), ("cosine", ".4f"), ("matched_cosine", ".4f")):
        both = (drawing.with_spread(*means[program][figure], form) for program in ("aejax", "sae_lens"))
        row.append(" / ".join(both))
    return row
