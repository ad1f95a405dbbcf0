"""The model of an ordinary run, for the loop; `aejax.sweeps.Members` is the class for many models in one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from aejax.config import Config
from aejax.training.devices import Driver, local
from aejax.training.identity import Identity
from aejax.training.records import summary_of
from aejax.training.step import TrainState, values_of


class Single:
    """The model of an ordinary run, as its only member.

    Attributes:
        names: names of the members; None for a single model.
        alone: whether a failure ends the run; otherwise the run notes it and the other members continue.
        description: entries of config.json about the members.
    """

    names: Sequence[str | None] = (None,)
    alone = True
    description: Mapping[str, Any] = {}

    def driver(self, config: Config, devices: Sequence[jax.Device] | None = None) -> Driver:
        """Choose the devices, among those of this process or among others."""
        return Driver(config.devices, config.training.batch_size, devices)

    def values(self, config: Config) -> tuple[Any, Any, Any]:
        """Return the traced values: coefficients, seed and seed of the order (see `build_programs`)."""
        return values_of([config], alone=True)

    def each(self, results: Any) -> list[Any]:
        """Split the results of a program into those of each member."""
        return [results]

    def local(self, state: TrainState) -> TrainState:
        """Return the state on one device of this process, for use without the other processes."""
        return local(state)

    def summary(self, identity: Identity, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the content of summary.json for the lines of metrics.jsonl."""
        return summary_of(identity, lines)
