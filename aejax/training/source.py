"""The start of a run from the arrays of another run (`training.start`). Reading that run executes none of its code."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aejax.config import Config, InputError
from aejax.config.checks import shown
from aejax.config.files import local
from aejax.training.checkpoint import form, restore
from aejax.training.paths import name_of
from aejax.training.records import identity_of_run, stored
from aejax.training.step import TrainState, for_evaluation


@dataclass(frozen=True)
class Source:
    """The arrays of a trained model: its parameters (or their moving average) and other variables.

    Attributes:
        place: the workdir, for messages.
        step: number of steps that the model was trained.
        arrays: by their names, see `name_of`.
    """

    place: str
    step: int
    arrays: Mapping[str, np.ndarray]

    @staticmethod
    def of(state: TrainState, place: str = "the given run") -> Source:
        """Take the arrays of a state."""
        held = jax.device_get(for_evaluation(state))
        return Source(place, int(held.step), {name: np.asarray(array) for name, array in _arrays(held).items()})

    @staticmethod
    def read(place: str, sharding: Any) -> Source:
        """Read the newest checkpoint in the workdir of another run.

        Raises InputError: the folder holds no run of one model, or is damaged.
        """
        folder = local(place, "training.start")
        if not (folder / "config.json").exists() and not (folder / "sweep.json").exists():
            raise InputError(f"training.start is {place}, which holds no run; give the workdir of a run")
        try:
            found, _ = stored(folder, identity_of_run(folder))
            state, _ = restore(folder / "checkpoints", found[-1], None, sharding)
        except InputError as error:
            raise InputError(f"training.start cannot be read: {error}") from error
        return Source.of(state, place)

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all arrays with their names, types and shapes."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {form(array)} ".encode() + array.tobytes())
        return digest.hexdigest()

    def agreeing(
        self, fresh: TrainState, drawn: frozenset[str], frozen: Sequence[str]
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays that a new model takes, by their names, and a description for config.json.

        Args:
            fresh: the fresh state of one model, or its abstract values.
            drawn: names of the model's own generators, which follow its seed and take nothing.
            frozen: `training.frozen`.

        Raises InputError: no array agrees in path, shape and type, or an array of a frozen part does not.
        """
        here, there = ({name: form(array) for name, array in each.items()} for each in (_arrays(fresh), self.arrays))
        taken, left = {}, {}
        for name in {**here, **there}:
            if name in drawn:
                left[name] = "follows training.seed"
            elif here.get(name) == there.get(name):
                taken[name] = self.arrays[name]
            elif name not in there:
                left[name] = f"{here[name]} in the new model only"
            else:
                left[name] = f"{there[name]} in the source, {here.get(name, 'nothing')} in the new model"
        if not taken:
            reasons = shown("; ".join(f"{name}: {reason}" for name, reason in left.items()), str)
            raise InputError(
                f"training.start is {self.place}, and no array of it has path, shape and type of an array of the new "
                f"model ({reasons}); give a run of a similar model"
            )
        for name in left.keys() & here.keys() - drawn:
            if part := next((part for part in frozen if f"{name}.".startswith(f"{part}.")), None):
                raise InputError(
                    f"training.frozen names {part}, and training.start gives no values of {name} ({left[name]}), which "
                    f"would stay random; freeze only parts that are taken from {self.place}"
                )
        return taken, {"digest": self.digest, "step": self.step, "taken": list(taken), "left": left}


def _arrays(state: TrainState) -> dict[str, Any]:
    """Return name → array of the parameters and other variables."""
    every = jax.tree_util.tree_leaves_with_path((state.params, state.extra))
    return {name_of(path[1:]): array for path, array in every}


def source_of(config: Config, workdir: Path | None, begun: bool, sharding: Any) -> Source | None:
    """Read the source of a run or sweep; None without a source, or if the run has begun and no longer needs it.

    Raises InputError: the source cannot be read, or is the workdir of the run.
    """
    place = config.training.start
    if place is None:
        return None
    if workdir is not None and local(place, "training.start").resolve() == workdir.resolve():
        raise InputError(f"training.start is {place}, the workdir of this run; give this run another workdir")
    return None if begun else Source.read(place, sharding)


def report(place: str, start: Mapping[str, Any]) -> str:
    """Tell what a run took from its source; `start` is the description in config.json."""
    total = len(start["taken"]) + len(start["left"])
    line = f"starts from {place} after step {start['step']}, {start['digest'][:12]}: takes {len(start['taken'])} of "
    lines = [f"{line}{total} arrays: {', '.join(start['taken'])}"]
    return "\n".join(lines + [f"not taken: {name}, {reason}" for name, reason in start["left"].items()])
