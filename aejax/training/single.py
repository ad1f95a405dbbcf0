"""The model of an ordinary run, as the loop takes it; `aejax.sweeps` has another for many models in one program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from aejax.config import AejaxError, Config
from aejax.training.devices import Driver, local
from aejax.training.step import TrainState, values_of


class Single:
    """The model of an ordinary run.

    Attributes:
        names: of the members; None where there is but one.
        description: what config.json says of them.
        alone: whether a failure ends the run; else it is noted, and the other members go on.
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

    def each(self, figures: Any) -> list[Any]:
        """What a program returned of the members, for each of them."""
        return [figures]

    def local(self, state: TrainState) -> TrainState:
        """On one device of this process, for use apart from the other processes."""
        return local(state)

    def finished(self, config: Config, lines: Sequence[Mapping[str, Any]]) -> str | None:
        """Why the run is finished before its last epoch, by the lines of metrics.jsonl so far; None where it is not."""
        if lines and lines[-1].get("finish"):
            return "on_epoch"
        totals = [line["test"]["total"] for line in lines]
        if config.training.patience is None or not totals:
            return None
        return "patience" if len(totals) - 1 - totals.index(min(totals)) >= config.training.patience else None

    def resume(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Take note of the lines of metrics.jsonl so far."""

    def diverged(self, member: int, failure: AejaxError) -> None:
        """Take note that a member's loss is not finite."""
        raise failure

    def line(self, member: int, line: dict[str, Any]) -> dict[str, Any]:
        """A member's line of metrics.jsonl."""
        return line

    def shown(self, lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The lines of an epoch as one, for the progress bar."""
        return lines[0]

    def summary(self, summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The content of summary.json."""
        return summaries[0]
