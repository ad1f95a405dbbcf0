"""Numbers of a model: traced or static, declared with defaults, and schedules over steps.

A *traced* number, `coefficients = {"k": 25.0}` of a model's class, is an argument of the compiled programs; sweeps and
schedules may change it. A *static* number, `options = {"dead_after": 1000}`, is compiled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from aejax.config.checks import COUNT, EPOCHS, InputError, Named, is_finite, require, require_types

OPTIMIZERS: Mapping[str, Mapping[str, float]] = {
    "adam": {"learning_rate": 1e-3},
    "adamw": {"learning_rate": 1e-3, "weight_decay": 0.0},
    "sgd": {"learning_rate": 1e-3},
}
CORRUPTIONS: Mapping[str, Mapping[str, float]] = {
    "none": {},
    "gaussian": {"noise": 0.0},
    "masking": {"noise": 0.0},
    "salt_and_pepper": {"noise": 0.0},
}
_PENALTIES = {"l1": 0.0, "rate_penalty": 0.0, "rate": 0.05}
KINDS: Mapping[str, Mapping[str, float]] = {
    "plain": _PENALTIES,
    "variational": _PENALTIES | {"beta": 1.0, "free_bits": 0.0},
}

UNUSED = {
    ("sparsity", "l1"): ("rate_penalty", "rate"),
    ("sparsity", "rate"): ("l1",),
    ("bound", "importance"): ("free_bits",),
}
"""(field of the section loss, its value) → coefficients that the loss then does not have"""

NON_NEGATIVE = {name for table in (OPTIMIZERS, CORRUPTIONS, KINDS) for numbers in table.values() for name in numbers}
"""coefficients of this library; those of the user's classes may be negative"""


class Coefficients(Named):
    """Values of traced numbers by name: `Coefficients(learning_rate=1e-3, l1=1e-4)`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        for name, value in self.items():
            ours = name in NON_NEGATIVE
            holds = is_finite(value) and (value >= 0 or not ours)
            require(holds, f"coefficients.{name}", value, f"a finite number{' of at least 0' if ours else ''}")
        dict.__init__(self, {name: float(value) for name, value in self.items()})

    @classmethod
    def traced(cls, values: Mapping[str, Any]) -> Coefficients:
        """Hold arrays, such as the traced values within a program, without checks."""
        made = cls()
        dict.update(made, values)
        return made

    def __missing__(self, name: str) -> Any:
        raise InputError(f"the coefficient {name!r} is not declared; declared are {', '.join(self) or 'none'}")


@dataclass(frozen=True)
class Schedule:
    """The factor, from 0 to 1, on a traced number over the steps of a run."""

    shape: Literal["constant", "cosine", "cyclical"] = "constant"
    """after the warm-up: constant 1; cosine from 1 to 0 at the last step; or cyclical, where the factor rises linearly
    over the first half of each cycle and stays 1 over the second half (Fu et al. 2019, arXiv 1903.10145)"""
    warmup_epochs: Annotated[int, EPOCHS] = 0
    """epochs over which the factor rises linearly from 0"""
    cycles: Annotated[int, COUNT] = 4
    """number of cycles of the shape cyclical"""

    def __post_init__(self) -> None:
        require_types(self, "schedules")
        if self.shape == "cyclical":
            require(self.warmup_epochs == 0, "schedules.warmup_epochs", self.warmup_epochs, "0 with the shape cyclical")


def require_known(given: Mapping[str, Any], known: Mapping[str, Any], section: str, owner: str) -> None:
    """Raise `InputError` for a name that nothing declares; the message lists the declared names."""
    for name, value in given.items():
        if name not in known:
            declared = ", ".join(known) or "none"
            raise InputError(
                f"{section}.{name} is {value}, and {owner} declares no {name}; declared are: {declared} "
                f"(--{section}.{name} None removes it)"
            )
