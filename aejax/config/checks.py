"""What a value of the configuration may be, and the one line that says so."""

from __future__ import annotations

import math
import typing
from collections.abc import ItemsView, Iterable, Iterator, Mapping
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


def is_own(value: object) -> bool:
    """Whether it names something of the user's own: FILE.py:NAME or MODULE:NAME."""
    return isinstance(value, str) and all(value.rpartition(":"))


class Named(dict):
    """Values by name, as a part of a configuration: nobody changes them, and lists become tuples."""

    def __init__(self, *given: object, **named: object) -> None:
        values = dict(*given, **named)
        super().__init__({name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.items(), key=lambda item: item[0])))

    def __reduce__(self) -> tuple:
        return type(self), (dict(self),)

    def _refuse(self, *_: object, **__: object) -> None:
        raise TypeError("a configuration is not changed; Config.replace makes another")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


class Watched(Named):
    """Values by name, with the names that were asked for in `read`: all of them once somebody goes through them.

    Args:
        what: they are, for the message about one that is not there.
    """

    def __init__(self, values: Mapping[str, object], what: str = "value") -> None:
        super().__init__(values)
        self.what = what
        self.read: set[str] = set()

    def __missing__(self, name: str) -> object:
        raise InputError(
            f"the model asks for the {self.what} {name!r}, which is not given: there are {list(self.keys())}"
        )

    def __getitem__(self, name: str) -> object:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: object = None) -> object:
        """The value, or a default where there is none."""
        self.read.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        self.read.update(super().keys())
        return super().__iter__()

    def items(self) -> ItemsView[str, object]:
        """The names with their values."""
        self.read.update(super().keys())
        return super().items()


def require_names(values: object, name: str) -> None:
    """Check that a section of names chosen by the user is one: identifiers, so that a command line can name them."""
    holds = isinstance(values, Mapping) and all(isinstance(key, str) and key.isidentifier() for key in values)
    require(holds, name, values, "a mapping of names (letters, digits and _) to values")


FigureFormat = Literal["png", "pdf", "svg"]
"""what a figure can be written as"""


def figure_formats(formats: str | Iterable[str]) -> tuple[str, ...]:
    """The formats of figures, checked; one may stand by itself."""
    given = (formats,) if isinstance(formats, str) else tuple(formats)
    known = typing.get_args(FigureFormat)
    require(all(each in known for each in given), "figures", formats, f"some of {', '.join(known)}, or empty")
    return given


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
