"""The grid of a sweep: axes of values for fields of the configuration, and the members of the sweep."""

import contextlib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aejax.config.checks import InputError, nearest, plain, require
from aejax.config.config import SAME_RESULT, Config
from aejax.config.user_files import complete

SEED = "training.seed"
LARGEST = 1_000_000
"""most members; each is a configuration in memory, and a folder"""


@dataclass(frozen=True)
class Grid:
    """The members of a sweep.

    Attributes:
        axes: the values of each swept field, by its path.
        settings: name of a member → the value of each swept field.
        members: name → configuration.
        programs: lists of names; the members of a list differ in traced values only, and one program trains them.
    """

    axes: dict[str, list[Any]]
    settings: dict[str, dict[str, Any]]
    members: dict[str, Config]
    programs: list[list[str]]


def grid(config: Config, axes: Mapping[str, Iterable[Any]]) -> Grid:
    """Combine all values of some fields, on top of a configuration.

    All members have the same order of examples: that of `data.order_seed`, or of the configuration's seed.

    Args:
        axes: field → its values; a field by its path, as "coefficients.l1", or by its last name where that is unique.

    Raises:
        InputError: a field is unknown, a value is not allowed or given twice, an axis is empty, or there are more
            members than `LARGEST`.
    """
    require(isinstance(axes, Mapping), "axes", axes, "a mapping of fields to their values")
    paths: dict[str, list[Any]] = {}
    for field, values in axes.items():
        holds = isinstance(values, Iterable) and not isinstance(values, str)
        require(holds, field, values, "a list of values to sweep")
        path = field_path(field, config)
        found = [_plain(value) for value in itertools.islice(values, LARGEST + 1)]
        if not found or path in paths:
            raise InputError(f"{path} is swept over {'nothing' if not found else 'twice'}; give its values once")
        paths[path] = found
    require_size({path: len(values) for path, values in paths.items()}, LARGEST, "give fewer values")
    if not paths:
        raise InputError("nothing is swept; name a field and its values, such as --sweep.seed 0:8")
    if config.data.order_seed is None:
        config = config.replace({"data.order_seed": config.training.seed})
    names = [path.rpartition(".")[2] for path in paths]
    labels = [name if names.count(name) == 1 else path for name, path in zip(names, paths, strict=True)]
    settings, members, programs = {}, {}, {}
    for values in itertools.product(*paths.values()):
        name = "_".join(f"{label}-{text_of(value)}" for label, value in zip(labels, values, strict=True))
        name = re.sub(r"[^\w.+-]", "-", name)
        if name in members:
            raise InputError(f"two members of the sweep would have the name {name}; give each value once")
        settings[name] = dict(zip(paths, values, strict=True))
        members[name] = complete(config.replace(settings[name]))
        programs.setdefault(members[name].differing_in_values, []).append(name)
    return Grid(paths, settings, members, list(programs.values()))


def require_size(lengths: Mapping[str, int], most: int, advice: str) -> None:
    """Raise `InputError` for a grid of more members than `most`; `lengths` is field → number of values."""
    if (members := math.prod(lengths.values())) > most:
        product = " x ".join(f"{length:,} of {field.rpartition('.')[2]}" for field, length in lengths.items())
        raise InputError(f"the sweep has {members:,} members ({product}), of at most {most:,}: {advice}")


def field_path(field: str, config: Config) -> str:
    """Return the path of a field, given as its path or last part; raise `InputError` if it cannot be swept."""
    section, _, name = field.rpartition(".") if isinstance(field, str) else ("", "", "")
    if section.startswith(("coefficients", "schedules.", "model.options")) and name.isidentifier():
        return field
    declared = complete(config)
    sections = Config().to_dict() | {"coefficients": declared.coefficients, "model.options": declared.model.options}
    known = [f"{section}.{name}" for section, fields in sections.items() for name in fields]
    found = [path for path in known if field in (path, path.rpartition(".")[2])]
    if len(found) != 1:
        near = nearest(field, [path.rpartition(".")[2] for path in known] + known, 0.6)
        advice = near or f"; its coefficients are {', '.join(declared.coefficients)}"
        missing = f"there is no field {field!r} in the configuration{advice}"
        raise InputError(f"{field!r} could be {' or '.join(found)}; give its path" if found else missing)
    if found[0].startswith(SAME_RESULT):
        raise InputError(
            f"{found[0]} cannot be swept: sweep a field that changes the result, in one sweep for each dataset"
        )
    if found[0] == "training.start":
        raise InputError("training.start cannot be swept; start one sweep for each source")
    return found[0]


def parse_values(path: str, texts: Sequence[str]) -> list[Any]:
    """Parse the values of a field on a command line: `0:8` is range(8), `128,64` a list of widths."""
    section, _, name = path.partition(".")
    default = getattr(getattr(Config(), section), name, None)
    lists = isinstance(default, tuple) or path == "model.decoder_hidden"
    options = path.startswith("model.options.")
    values: list[Any] = []
    for text in texts:
        if re.fullmatch(r"[0-9]{1,20}:[0-9]{1,20}(:0*[1-9][0-9]{,20})?", text):
            span = range(*map(int, text.split(":")))
            if not span:
                raise InputError(f"{path} is {text}, an empty range; give an end above {span.start}")
            count = -(-(span.stop - span.start) // span.step)  # `len` fails for large spans
            require_size({path: len(values) + count}, LARGEST, "give fewer values")
            values += span
        elif re.fullmatch(r"[0-9]+-[0-9]+", text) and not options:
            raise InputError(f"{path} is {text}; a sweep takes a range as {text.replace('-', ':')}, without its end")
        elif lists or (options and "," in text):
            parts = text.split(",") if text else []
            if "" in parts:
                raise InputError(f"{path} is {text!r}; give numbers with a comma between them: 128,64")
            values.append(None if text == "None" else [_scalar(part) for part in parts])
        elif text == "":
            raise InputError(f"{path} is empty; give it a value")
        else:
            values.append(_scalar(text))
    return values


def _scalar(text: str) -> Any:
    if text in (known := {"None": None, "True": True, "False": False}):
        return known[text]
    for kind in (int, float) if text.isascii() else ():
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _plain(value: Any) -> Any:
    """Convert a value to the types of JSON."""
    value = plain(value)
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def text_of(value: Any) -> str:
    """Format the value of an axis for tables, figures and names of members."""
    if isinstance(value, list):
        return "x".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
