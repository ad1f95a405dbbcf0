"""Checks of values, and the errors that refuse them in one line."""

import contextlib
import dataclasses
import difflib
import errno
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, Self


class AejaxError(Exception):
    """A failure that its message explains in one line: the problem, the place and the remedy."""


class InputError(AejaxError):
    """A value, a file or a dataset of the user that cannot be used."""


class Stopped(AejaxError):
    """A run that ended early through no fault of its own; the same call resumes it from the last checkpoint."""

    everywhere = False
    """whether all processes of the run raise this error together"""


def reason(error: BaseException) -> str:
    """Give the reason of a failure in one line; of an OSError, also a wrapped one, the message of the system."""
    text = str(error).strip()
    full = os.strerror(errno.ENOSPC)
    if full in text or re.search(r"\d+ requested and \d+ written", text):  # NumPy's words for a full disk
        return full
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "allow_pickle" in text:  # NumPy's advice would execute code
        return "it holds pickled objects, or is no NumPy file; save arrays of numbers by np.savez"
    if "inhomogeneous" in text:  # NumPy's word for nested lists and arrays
        return "they are of several sizes"
    return text.split("\n")[0].rstrip(".") or type(error).__name__


@contextlib.contextmanager
def refusing(
    what: str,
    advice: str = "",
    *,
    only: type[BaseException] = BaseException,
    say: Callable[[BaseException], str | None] = reason,
) -> Iterator[None]:
    """Turn an exception in the block into an `InputError`: `what` failed, the reason that `say` gives, and the advice.

    Damaged files, libraries and the user's code raise exceptions of many types. Our own errors, and those for which
    `say` returns None, are not changed.
    """
    try:
        yield
    except (AejaxError, KeyboardInterrupt):
        raise
    except only as error:
        if (said := say(error)) is None:
            raise
        raise InputError(f"{what}: {said}{advice}" if what else said) from error


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Raise `InputError` with the name, the value and the allowed values, unless the condition holds."""
    if not holds:
        raise InputError(f"{name} is {shown(value)}; it must be {allowed}")


def shown(value: object, form: Callable[[object], str] = repr) -> str:
    """Format a value for a message: one line, cut if it is long."""
    text = " ".join(form(value).split())
    return text if len(text) <= 250 else f"{text[:200]}... ({len(text):,} characters)"


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: 1 example, 2,000 examples."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Iterable[object], most: int = 10) -> str:
    """Format names for a message, the first ones if there are many: "a, b, c and 4 more"."""
    names = list(map(str, names))
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


MOST = 2**31 - 1
"""largest count: steps are int32 on a device"""

WIDEST = 2**20
"""most units in one layer; XLA hangs on allocations that no memory can hold, so larger layers are refused early"""


def is_finite(value: object) -> bool:
    """Return whether a float32 can hold the value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= (2 - 2**-23) * 2.0**127


def is_own(value: object) -> bool:
    """Return whether the value has the form FILE.py:NAME or MODULE:NAME."""
    return isinstance(value, str) and all(value.rpartition(":"))


@dataclasses.dataclass(frozen=True)
class Allowed:
    """Metadata of a field's type: the values that the field takes, as a condition and as text for messages."""

    holds: Callable[[Any], bool]
    text: str

    def __repr__(self) -> str:
        return self.text  # the command line shows the type of a field


def whole(least: int, most: int = MOST) -> Allowed:
    """Allow whole numbers from `least` to `most`."""
    allowed = f"a whole number from {least} to {most:,}"
    return Allowed(lambda value: type(value) is int and least <= value <= most, allowed)


COUNT, EPOCHS, SEED, WIDTH = whole(1), whole(0), whole(0, 2**32 - 1), whole(1, WIDEST)
POSITIVE = Allowed(lambda value: is_finite(value) and value > 0, "above 0")
SHARE = Allowed(lambda value: is_finite(value) and 0 < value < 1, "between 0 and 1")
WIDTHS = Allowed(
    lambda value: isinstance(value, tuple) and all(map(WIDTH.holds, value)),
    f"a list of layer widths, each from 1 to {WIDEST:,}",
)


class Named(dict):
    """An immutable mapping of names to plain values, as a part of a configuration; lists become tuples."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__({name: plain(value) for name, value in dict(*given, **named).items()})

    @classmethod
    def of(cls, values: object, path: str) -> Self:
        """Make a part of the configuration; refuse names that a command line cannot have."""
        holds = isinstance(values, Mapping) and all(isinstance(key, str) and key.isidentifier() for key in values)
        require(holds, path, values, "a mapping of names (letters, digits and _) to values")
        return cls(values)

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.items(), key=lambda item: item[0])))

    def __reduce__(self) -> tuple:
        return type(self), (dict(self),)

    def _refuse(self, *_: object, **__: object) -> None:
        raise TypeError("a configuration is immutable; Config.replace makes a changed copy")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


def nearest(name: object, known: Iterable[str], least: float = 0.5) -> str:
    """Return "; did you mean NAME?" with the nearest known name; "" if none is `least` similar, from 0 to 1."""
    near = difflib.get_close_matches(str(name), known, 1, least)
    return f"; did you mean {near[0]}?" if near else ""


def require_fields(given: Iterable[object], known: Iterable[str], prefix: str) -> None:
    """Refuse names of fields that are unknown; the prefix is the path of their section, with a dot."""
    for name in given:
        if name not in known:
            raise InputError(f"there is no field '{prefix}{name}' in the configuration{nearest(name, known)}")


class Section:
    """A part of the configuration: a frozen dataclass that refuses unknown fields, and values of a wrong type."""

    def __new__(cls, *_: Any, **given: Any) -> Self:
        require_fields(given, cls.__dataclass_fields__, f"{cls.__name__.lower()}.")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        self.require_types(type(self).__name__.lower())

    def require_types(self, prefix: str) -> None:
        """Make the fields plain values, and check each against its type: choices, switches, `Allowed`."""
        for field, hint in typing.get_type_hints(type(self), include_extras=True).items():
            value = plain(getattr(self, field))
            object.__setattr__(self, field, value)
            optional = type(None) in typing.get_args(hint)
            if value is None and optional:
                continue
            for allowed in _allowed(hint):
                require(allowed.holds(value), f"{prefix}.{field}", value, allowed.text + " or None" * optional)


def _allowed(hint: Any) -> Iterator[Allowed]:
    """Yield the conditions of a type, or of the alternatives of a type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for each in arguments:
            yield from _allowed(each)
    elif origin is typing.Annotated:
        yield from (*_allowed(hint.__origin__), *hint.__metadata__)
    elif origin is Literal:
        yield Allowed(lambda value: value in arguments, f"one of {', '.join(arguments)}")
    elif hint is bool:
        yield Allowed(lambda value: isinstance(value, bool), "True or False")
    elif hint is str:
        yield Allowed(lambda value: isinstance(value, str), "a string")


def plain(value: Any) -> Any:
    """Convert NumPy values to Python's, paths to strings and lists to tuples."""
    if type(value).__module__ == "numpy":
        value = value.tolist()
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


FigureFormat = Literal["png", "pdf", "svg", "none"]
"""file formats of figures; none for no figure"""


def figure_formats(formats: str | Iterable[str]) -> tuple[str, ...]:
    """Return the formats of figures, given as one or several, and () for "none"; refuse unknown formats."""
    given = (formats,) if isinstance(formats, str) else tuple(formats)
    known = typing.get_args(FigureFormat)[:-1]
    holds = given == ("none",) or all(each in known for each in given)
    require(holds, "figures", formats, f"some of {', '.join(known)}, or none")
    return () if given == ("none",) else given
