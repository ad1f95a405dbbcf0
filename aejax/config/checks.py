"""What a value of the configuration may be, and the one line that says so."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import types
import typing
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping
from typing import Any, Literal


class AejaxError(Exception):
    """A failure that its message, one line, explains: what, where and what would do."""


class InputError(AejaxError):
    """What the user gave cannot be used."""


class Stopped(AejaxError):
    """The run ended before its end, through no fault of its own: the same call goes on from the last checkpoint."""


def reason(error: BaseException) -> str:
    """One line of why something failed: of an OSError what the system says of it, also where a library wrapped it."""
    text = str(error).strip()
    full = os.strerror(errno.ENOSPC)
    if full in text or re.search(r"\d+ requested and \d+ written", text):  # as NumPy has it
        return full
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text.split("\n")[0] or type(error).__name__


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise InputError(f"{name} is {shown(value)}; it must be {allowed}")


def shown(value: object, form: Callable[[object], str] = repr) -> str:
    """A value within a message: one line, and not all of a long one."""
    text = " ".join(form(value).split())
    return text if len(text) <= 250 else f"{text[:200]}... ({len(text):,} characters)"


MOST = 2**31 - 1
"""of anything that is counted: steps are int32 on a device"""


def is_whole(value: object, least: int, most: int = MOST) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_count(value: object) -> bool:
    return is_whole(value, 1)


def is_seed(value: object) -> bool:
    return is_whole(value, 0, 2**32 - 1)


def is_non_negative(value: object) -> bool:
    """Whether it is a number of at least 0 that a float32 holds."""
    return is_finite(value) and value >= 0


def is_finite(value: object) -> bool:
    """Whether it is a number that a float32 holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST <= value <= _LARGEST


_LARGEST = (2 - 2**-23) * 2.0**127


def is_own(value: object) -> bool:
    """Whether it names something of the user's own: FILE.py:NAME or MODULE:NAME."""
    return isinstance(value, str) and all(value.rpartition(":"))


class Named(dict):
    """Values by name, as a part of a configuration: nobody changes them, and lists become tuples."""

    def __init__(self, *given: object, **named: object) -> None:
        values = dict(*given, **named)
        super().__init__({name: plain(value) for name, value in values.items()})

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


def require_types(section: Any, prefix: str) -> None:
    """Make the fields of a section plain values, and check those whose type says all: choices, switches, strings."""
    hints = typing.get_type_hints(type(section))
    for field in dataclasses.fields(section):
        given = getattr(section, field.name)
        value = given if isinstance(given, Mapping) else plain(given)
        if value is not given:
            object.__setattr__(section, field.name, value)
        name, hint = f"{prefix}.{field.name}", hints[field.name]
        kinds = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
        if value is None and type(None) in kinds:
            continue
        choices = [each for kind in kinds if typing.get_origin(kind) is Literal for each in typing.get_args(kind)]
        if choices:
            require(isinstance(value, str) and value in choices, name, value, "one of " + ", ".join(choices))
        elif bool in kinds:
            require(isinstance(value, bool), name, value, "True or False")
        elif str in kinds:
            require(isinstance(value, str), name, value, "a string" + (" or None" if type(None) in kinds else ""))


def plain(value: Any) -> Any:
    """A value as JSON has it, but for lists, which become tuples: NumPy's numbers become Python's, a path a string."""
    if type(value).__module__ == "numpy":
        value = value.tolist()
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, list | tuple):
        parts = tuple(map(plain, value))
        return value if isinstance(value, tuple) and all(a is b for a, b in zip(parts, value, strict=True)) else parts
    return value


FigureFormat = Literal["png", "pdf", "svg"]
"""what a figure can be written as"""


def figure_formats(formats: str | Iterable[str]) -> tuple[str, ...]:
    """The formats of figures, checked; one may stand by itself."""
    given = (formats,) if isinstance(formats, str) else tuple(formats)
    known = typing.get_args(FigureFormat)
    require(all(each in known for each in given), "figures", formats, f"some of {', '.join(known)}, or empty")
    return given


# More units in one layer than any device has memory for: refused here, since XLA would hang on such an allocation.
WIDEST = 2**20


def is_width(value: object) -> bool:
    return is_count(value) and value <= WIDEST


def require_widths(widths: object, name: str) -> None:
    holds = isinstance(widths, tuple) and all(is_width(width) for width in widths)
    require(holds, name, widths, f"a list of layer widths, each from 1 to {WIDEST:,}")
