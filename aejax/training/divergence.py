"""Divergence: a loss or a state that is not finite."""

from collections.abc import Mapping

import jax
import numpy as np

from aejax.config import AejaxError
from aejax.training.step import TrainState

_ADVICE = "try a smaller coefficients.learning_rate, or set training.clip_norm, in another workdir"


class Diverged(AejaxError):
    """The loss is no longer finite; the last checkpoint is from an earlier step."""


def failure_of(terms: dict[str, np.ndarray], found: Mapping[str, Mapping[str, float]], step: int) -> str | None:
    """Describe a loss that is not finite, with its step and its term; None if there is none.

    Args:
        terms: of each step, by name.
        found: part of the dataset → term → mean over its examples.
    """
    every = {"the loss is not finite at": terms}
    for part, means in found.items():
        every[f"the {part} loss is not finite after"] = {name: np.array([value]) for name, value in means.items()}
    for what, values in every.items():
        bad = ~np.isfinite(values.get("total", []))
        if bad.any():
            first = int(bad.argmax())
            names = sorted(values, key=lambda name: name == "total")  # the sum last
            term = next(name for name in names if not np.isfinite(values[name][first]))
            at = step - len(bad) + first + 1
            return f"{what} step {at}: the term {term} is {values[term][first]}; {_ADVICE}"
    return None


def require_finite_state(state: TrainState, step: int) -> None:
    """Refuse to save a state that is not finite although its last loss was."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if not np.isfinite(leaf).all():
            name = jax.tree_util.keystr(path).lstrip(".")
            raise Diverged(f"the state is not finite after step {step}: {name}; {_ADVICE}")
