"""What a value of the configuration may be, and the one line that says so."""

from __future__ import annotations

import math
import typing
from typing import Literal


class AejaxError(Exception):
    """A failure that its message, one line, explains: what, where and what would do."""


class InputError(AejaxError):
    """What the user gave cannot be used."""


class Stopped(AejaxError):
    """The run ended before its end, through no fault of its own: the same call goes on from the last checkpoint."""


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise InputError(f"{name} is {value!r}; it must be {allowed}")


def is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_seed(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def is_non_negative(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def require_choices(section: object, prefix: str) -> None:
    """Check every `Literal` field of a section against its choices."""
    for name, hint in typing.get_type_hints(type(section)).items():
        if typing.get_origin(hint) is Literal:
            choices = typing.get_args(hint)
            require(
                getattr(section, name) in choices,
                f"{prefix}.{name}",
                getattr(section, name),
                "one of " + ", ".join(choices),
            )


# More units in one layer than any device has memory for: refused here, since XLA would hang on such an allocation.
WIDEST = 2**20


def is_width(value: object) -> bool:
    return is_count(value) and value <= WIDEST


def require_widths(widths: object, name: str) -> None:
    holds = isinstance(widths, tuple) and all(is_width(width) for width in widths)
    require(holds, name, widths, f"a list of layer widths, each from 1 to {WIDEST:,}")
