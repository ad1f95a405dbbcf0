"""Numbers of a model: traced or static, declared with defaults, and schedules over steps.

A *traced* number, `coefficients = {"k": 25.0}` of a model's class, is an argument of the compiled programs; sweeps and
schedules may change it. A *static* number, `options = {"dead_after": 1000}`, is compiled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aejax.config.checks import COUNT, EPOCHS, SHARE, Allowed, InputError, Named, Section, is_finite, nearest, require

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
RECONSTRUCTIONS: Mapping[str, Mapping[str, float]] = {
    **{loss: {} for loss in ("bce", "mse", "l1", "ssim", "ms_ssim")},
    "huber": {"delta": 0.1},
}
LEAST_SIDES = {"ssim": 11, "ms_ssim": 22}
"""loss → least side of an image in pixels: one window of 11x11, or two scales of it"""
AUGMENTATIONS: Mapping[str, Mapping[str, float]] = {"shift": {"shift": 2.0}, "flip": {}, "crop": {"crop": 0.8}}
_PENALTIES = {"l1": 0.0, "rate_penalty": 0.0, "rate": 0.05}
KINDS: Mapping[str, Mapping[str, float]] = {
    "plain": _PENALTIES,
    "variational": _PENALTIES | {"beta": 1.0, "free_bits": 0.0},
}

LOSSES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "loss.bound": {"elbo": ("free_bits",), "importance": ()},
    "loss.sparsity": {"l1": ("l1",), "rate": ("rate_penalty", "rate")},
}
"""field of the loss → its value → coefficients of a kind that exist only with this value"""

OWNED = {"corruption.kind": CORRUPTIONS, "loss.reconstruction": RECONSTRUCTIONS, "data.augmentation": AUGMENTATIONS}
"""field → its value, or one of its values → coefficients that the value declares for every kind of model"""

DECLARED_BY = {"model.kind": KINDS, "training.optimizer": OPTIMIZERS, **OWNED, **LOSSES}
"""field → its value → coefficients that the value declares"""

RESERVED = {name for table in (OPTIMIZERS, *OWNED.values()) for numbers in table.values() for name in numbers}
"""coefficients that no class may declare"""

_FINITE = Allowed(is_finite, "a finite number")
_NON_NEGATIVE = Allowed(lambda value: is_finite(value) and value >= 0, "a finite number of at least 0")
_ALLOWED = dict.fromkeys((*RESERVED, *(name for numbers in KINDS.values() for name in numbers)), _NON_NEGATIVE) | {
    "delta": Allowed(lambda value: is_finite(value) and value > 0, "above 0"),
    "shift": Allowed(lambda value: is_finite(value) and value >= 0 and value == int(value), "a whole number of pixels"),
    "crop": Allowed(lambda value: is_finite(value) and 0 < value <= 1, "a share of a side, above 0 and at most 1"),
}
"""coefficient of this library → its values; those of the user's classes may be negative"""


class Coefficients(Named):
    """Values of traced numbers by name: `Coefficients(learning_rate=1e-3, l1=1e-4)`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        for name, value in self.items():
            allowed = _ALLOWED.get(name, _FINITE)
            require(allowed.holds(value), f"coefficients.{name}", value, allowed.text)
            dict.__setitem__(self, name, float(value))

    @classmethod
    def traced(cls, values: Mapping[str, Any]) -> Coefficients:
        """Hold arrays, such as the traced values within a program, without checks."""
        made = cls()
        dict.update(made, values)
        return made

    def __missing__(self, name: str) -> Any:
        raise InputError(f"the coefficient {name!r} is not declared; declared are {', '.join(self) or 'none'}")


@dataclass(frozen=True)
class Schedule(Section):
    """The factor, from 0 to 1, on a traced number over the steps of a run."""

    shape: Literal["constant", "cosine", "cyclical", "plateau"] = "constant"
    """after the warm-up: constant 1; cosine from 1 to 0 at the last step; cyclical, where the factor rises linearly
    over the first half of each cycle and stays 1 over the second half (Fu et al. 2019, arXiv 1903.10145); or plateau,
    where it falls each time that `training.select` of the validation examples stalls"""
    warmup_epochs: Annotated[int, EPOCHS] = 0
    """epochs over which the factor rises linearly from 0"""
    cycles: Annotated[int, COUNT] = 4
    """number of cycles of the shape cyclical"""
    factor: Annotated[float, SHARE] = 0.5
    """multiplier of the shape plateau"""
    patience: Annotated[int, COUNT] = 5
    """epochs without a better value after which the shape plateau multiplies, and counts anew"""

    def __post_init__(self) -> None:
        """Leave the checks to `require_valid`, which knows the coefficient."""

    def require_valid(self, path: str, epochs: int) -> None:
        """Check the fields for a run of so many epochs; `path` names the schedule in messages."""
        self.require_types(path)
        most = {"constant": epochs, "plateau": epochs, "cyclical": 0}.get(self.shape, epochs - 1)
        allowed = f"from 0 to {most} while {path}.shape is {self.shape} and training.epochs is {epochs}"
        require(self.warmup_epochs <= most, f"{path}.warmup_epochs", self.warmup_epochs, allowed)
        for name, shape in (("cycles", "cyclical"), ("factor", "plateau"), ("patience", "plateau")):
            holds = self.shape == shape or getattr(self, name) == getattr(Schedule, name)
            require(holds, f"{path}.{name}", getattr(self, name), f"left out unless {path}.shape is {shape}")


Option = int | float | str | None | tuple[int | float | str, ...]
if TYPE_CHECKING:
    Numbers, Schedules, Options = Mapping[str, float], Mapping[str, Schedule], Mapping[str, Option]
else:  # types that tyro accepts; `experiments/command_line.py` reads these arguments itself
    Numbers = Schedules = Options = Mapping[str, float]


def require_known(
    given: Mapping[str, Any], known: Mapping[str, Any], section: str, settings: Mapping[str, str | tuple[str, ...]]
) -> None:
    """Raise `InputError` for a name that nothing declares; the message says which setting would declare the name.

    Args:
        settings: field → value of the settings that declare `known`, all in `DECLARED_BY`.
    """
    for name, value in given.items():
        if name in known:
            continue
        advice = ""
        for path, current in settings.items():
            values = [each for each, names in DECLARED_BY[path].items() if name in names]
            if values and not set(values).intersection([current] if isinstance(current, str) else current):
                advice += f"the coefficient {name} is declared by {path} {' or '.join(values)}: set {path}; "
        if not advice and (near := nearest(name, known)):
            raise InputError(f"{section}.{name} is declared by nothing{near} Declared are: {', '.join(known)}")
        owner = ", ".join(f"{path} {current}" for path, current in settings.items() if current)
        raise InputError(
            f"{section}.{name} is {value}, and {owner} declares no {name}; {advice}declared are: "
            f"{', '.join(known) or 'none'} (--{section}.{name} None removes it)"
        )
