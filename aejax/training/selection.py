"""Selection of the best epoch of a run, and of the best member of a sweep, by the validation examples."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aejax.config import Config, InputError, Schedule
from aejax.config.checks import Named, require
from aejax.config.sections import SELECT
from aejax.models import model_class


class Selection(NamedTuple):
    """The term of the loss or the metric that selects."""

    name: str
    largest: bool  # whether the largest value is the best

    @staticmethod
    def of(config: Config) -> Selection:
        """Return what `training.select` names, or else the attribute `select` of the model's class."""
        kind = model_class(config.model.kind)
        chosen = kind.select if config.training.select is None else config.training.select
        require(isinstance(chosen, str) and SELECT.holds(chosen), f"{kind.__name__}.select", chosen, SELECT.text)
        order, _, name = chosen.rpartition(" ")
        return Selection(name, order == "max")

    @property
    def place(self) -> str:
        """The selected number in words, as "lowest validation total"."""
        return f"{'highest' if self.largest else 'lowest'} validation {self.name}"

    def value(self, line: Mapping[str, Any]) -> float | None:
        """Return the number by which lines of metrics.jsonl are compared: lower is better.

        None without validation examples; infinity for a value that is not finite.
        """
        if "validation" not in line:
            return None
        value = line["validation"][self.name]
        return math.inf if value is None or not math.isfinite(value) else -value if self.largest else value

    def lowest(self, lines: Sequence[Mapping[str, Any]]) -> float | None:
        """Return the lowest finite `value` of some lines; None without one."""
        values = [value for line in lines if (value := self.value(line)) is not None]
        return min(filter(math.isfinite, values), default=None)

    def report(self, lines: Sequence[Mapping[str, Any]]) -> str:
        """Tell after which epoch a run finished, and which epoch is the best."""
        values, last = [self.value(line) for line in lines], lines[-1]["epoch"]
        if math.isinf(min(values)):
            return f"finished after epoch {last}; validation {self.name} was finite in no epoch"
        best = lines[values.index(min(values))]
        found = f"epoch {best['epoch']} has the {self.place}, {best['validation'][self.name]:.4f}"
        return f"finished after epoch {last}; {found} (the best checkpoint)"

    def require_among(self, names: Collection[str], config: Config) -> None:
        """Raise `InputError` unless the name is that of a term or metric of the model."""
        if self.name not in names:
            raise InputError(
                f"the best is to be chosen by {self.name} (training.select), and {config.model.kind} has no such term "
                f"or metric; it has {', '.join(names)}"
            )


def factors(config: Config, lines: Sequence[Mapping[str, Any]], members: int = 1) -> Named:
    """Return the factors of the schedules of shape plateau after some lines: name → one factor for each member.

    They follow from the recorded values alone, so a resumed run has the factors of an uninterrupted run.
    """
    found = {}
    for name, schedule in config.plateaus.items():
        value = Selection.of(config).value
        found[name] = [_fallen(schedule, map(value, lines[member::members])) for member in range(members)]
    return Named(found)


def _fallen(schedule: Schedule, values: Iterable[float]) -> float:
    factor, best, stalled = 1.0, math.inf, 0
    for value in values:
        stalled = 0 if value < best else stalled + 1
        best = min(best, value)
        if stalled == schedule.patience:
            factor, stalled = factor * schedule.factor, 0
    return factor
