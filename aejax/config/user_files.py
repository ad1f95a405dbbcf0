"""What Python files of the user's give: a configuration, a model's class, an optimizer.

A configuration names a class or function of the user's own as FILE.py:NAME or MODULE:NAME. A file becomes a part of
the run: its digest is recorded with it, and a copy is kept in the workdir. What a workdir names is never run: whoever
reads one names the files that may be (`replaced`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import operator
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aejax.config.checks import InputError, is_own, plain, require, shown
from aejax.config.config import Config, Option
from aejax.config.files import local
from aejax.config.numbers import CORRUPTIONS, KINDS, OPTIMIZERS, require_known

FIELDS = ("data.name", "model.kind", "training.optimizer")
"""those that may name something of the user's own"""


def load_config(path: str | Path) -> Config:
    """The `Config` that the function `get_config` of a Python file returns.

    A FILE.py:NAME in it is found beside that file, or else where the process runs.

    Raises:
        InputError: there is no such file, it fails, or it has no `get_config` that returns a `Config`.
    """
    path = local(path, "the config file")
    if not path.is_file():
        raise InputError(f"there is no config file {path}")
    if path.suffix != ".py":
        raise InputError(f"the config file {path} is not a Python file (.py)")
    try:
        module = _module(str(path))
        config = module.get_config() if hasattr(module, "get_config") else None
    except InputError:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise InputError(f"the config file {path} fails: {_reason(error, path)}") from error
    if not isinstance(config, Config):
        raise InputError(f"the config file {path} needs a function get_config() that returns an aejax Config")
    return located(config, path.parent)


def located(config: Config, folder: Path | None = None) -> Config:
    """The same configuration, with whole paths of the user's files that are in a folder (the current one)."""
    changes = {}
    for field, spec in _specs(config).items():
        place, _, name = spec.rpartition(":")
        if _is_file(place) and (found := (folder or Path()) / local(place, field)).is_file():
            changes[field] = f"{found.resolve()}:{name}"
    return config.replace(changes) if changes else config


def named(config: Config) -> Config:
    """The same configuration, without the folders of the user's files: as config.json has it."""
    return config.replace({field: spec.rpartition("/")[2] for field, spec in _specs(config).items()})


def replaced(config: Config, files: str | Path | Iterable[str | Path], where: str) -> Config:
    """A configuration as a workdir has it, with the user's files that the caller names.

    Args:
        files: the files (or modules) that may be run; each takes the place of one of the same name.
        where: the workdir, for messages.

    Raises:
        InputError: the configuration needs a file that is not among them.
    """
    files = [files] if isinstance(files, str | Path) else files
    given = {Path(file).name: str(local(file, "models") if _is_file(str(file)) else file) for file in files}
    for name, file in given.items():
        if _is_file(name) and not Path(file).is_file():
            raise InputError(f"there is no file {file}, which was named for {where}")
    changes = {}
    for field, spec in _specs(config).items():
        place, _, name = spec.rpartition(":")
        place = place.rpartition("/")[2]
        if place not in given:
            copy = f" ({Path(where, 'files', place)} is a copy: look at it first)" if _is_file(place) else ""
            raise InputError(
                f"{where} needs {field} {place}:{name}, code of its author's, and reading a workdir runs none: "
                f"name it, models={place!r}, or --models {place}{copy}"
                + (f"; named were {', '.join(given)}" if given else "")
            )
        changes[field] = f"{given[place]}:{name}"
    return located(config.replace(changes)) if changes else config


def digests(config: Config) -> dict[str, str]:
    """Name of each of the user's files or modules → SHA-256 of its content.

    Raises:
        InputError: one cannot be found or fails, or two have one name.
    """
    found: dict[str, str] = {}
    for field, path in _paths(config).items():
        name, digest = _name(_specs(config)[field]), _sha256(path)
        if found.setdefault(name, digest) != digest:
            raise InputError(f"two files of this configuration are named {name}; rename one of them")
    return found


def sources(config: Config) -> dict[str, Path]:
    """Name → path of each of the user's files; modules are left out."""
    specs = _specs(config)
    return {_name(specs[field]): path for field, path in _paths(config).items() if _is_file(_name(specs[field]))}


def own(spec: str, field: str) -> Any:
    """What FILE.py:NAME or MODULE:NAME names; None where the file has no such name.

    Raises:
        InputError: there is no such file or module, or it fails.
    """
    place, _, name = spec.rpartition(":")
    try:
        module = _module(str(local(place, field))) if _is_file(place) else importlib.import_module(place)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        place = Path(place).absolute() if _is_file(place) else place
        raise InputError(f"{field} is {spec!r}, and {place} cannot be loaded: {_reason(error, place)}") from error
    if getattr(module, "__file__", None) and module.__name__.partition(".")[0] != "aejax":
        _EXECUTED.add(module.__file__)
    return getattr(module, name, None)


def complete(config: Config) -> Config:
    """Return the configuration with every declared coefficient and option, given or default.

    Raises:
        InputError: a given name is not declared, or a class declares a name of an optimizer or corruption.
    """
    kind, optimizer = config.model.kind, config.training.optimizer
    made = own(kind, "model.kind") if is_own(kind) else None
    coefficients = getattr(made, "coefficients", {}) if is_own(kind) else KINDS[kind]
    options = {name: plain(value) for name, value in getattr(made, "options", {}).items()}
    for name in {name for numbers in (*OPTIMIZERS.values(), *CORRUPTIONS.values()) for name in numbers}:
        if name in coefficients:
            raise InputError(f"{kind} declares the coefficient {name}, which an optimizer or corruption has; rename it")
    takes = own_optimizer(optimizer)[1] if is_own(optimizer) else OPTIMIZERS[optimizer]
    known = config.require_declared(coefficients, takes)
    require_known(config.model.options, options, "model.options", kind)
    given = {name: _option(name, value, options[name]) for name, value in config.model.options.items()}
    model = dataclasses.replace(config.model, options={**options, **given})
    return dataclasses.replace(config, model=model, coefficients={**known, **config.coefficients})


def _option(name: str, value: Option, default: Option) -> Option:
    """Check the type of an option against that of its default."""
    if isinstance(default, tuple) and not isinstance(value, tuple):
        value = (value,)
    kinds = (int, float) if isinstance(default, float) else type(default)
    holds = default is None or value is None or isinstance(value, kinds)
    require(holds, f"model.options.{name}", value, f"of the type {type(default).__name__}, as the default {default}")
    return value


def own_optimizer(spec: str) -> tuple[Callable[..., Any], dict[str, float]]:
    """Return the function that training.optimizer names, and the coefficients that it takes with their defaults.

    Raises:
        InputError: there is no such function, or it needs other arguments.
    """
    make, known = own(spec, "training.optimizer"), OPTIMIZERS["adamw"]
    if not callable(make):
        place, _, name = spec.rpartition(":")
        raise InputError(f"training.optimizer is {spec!r}; {place} must define a function {name}")
    parameters = inspect.signature(make).parameters
    needs = [name for name, each in parameters.items() if each.default is each.empty and name not in known]
    if needs:
        raise InputError(
            f"training.optimizer is {spec!r}, which takes {', '.join(needs)}; it may take {' and '.join(known)}, "
            "by these names, and arguments with a default"
        )
    return make, {name: value for name, value in known.items() if name in parameters}


def failure(error: BaseException) -> str | None:
    """One line of where one of the user's files failed, frame by frame; None where none of them had a part in it."""
    places, file = [], ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename in _EXECUTED:
            named = "" if frame.filename == file else f"{frame.filename}, "
            places.append(f"{named}line {frame.lineno} in {frame.name}")
            file = frame.filename
    places = places or _signature(error)
    if not places:
        return None
    reason = " ".join(str(error).strip().split("\n\n")[0].split()) or "no message"
    left_out = [f"... {len(places) - 6} more ..."] if len(places) > 7 else []
    places = places[:3] + left_out + places[-3:] if left_out else places
    return f"{', '.join(places)}: {type(error).__name__}: {shown(reason, str)}"


def _signature(error: BaseException) -> list[str]:
    """The function of the user's that was called with other arguments than it takes, by its name in the message."""
    named = re.match(r"([\w.]+)\(\) ", str(error)) if isinstance(error, TypeError) else None
    for module in reversed(list(sys.modules.values())) if named else ():  # the file that was run last
        if getattr(module, "__dict__", {}).get("__file__") not in _EXECUTED:
            continue  # not asked for the name: a module of a library may load itself, or fail, for it
        with contextlib.suppress(AttributeError):
            code = inspect.unwrap(operator.attrgetter(named[1])(module)).__code__
            if code.co_filename in _EXECUTED:
                return [f"{code.co_filename}, line {code.co_firstlineno} in {code.co_name}"]
    return []


_EXECUTED: set[str] = set()
"""the paths of the user's files that were run"""


def _specs(config: Config) -> dict[str, str]:
    """Field → FILE.py:NAME or MODULE:NAME, of the fields that name something of the user's own."""
    values = {field: getattr(getattr(config, field.partition(".")[0]), field.partition(".")[2]) for field in FIELDS}
    return {field: value for field, value in values.items() if (names_data if field == "data.name" else is_own)(value)}


def names_data(name: str) -> bool:
    """Tell FILE.py:NAME and MODULE:NAME from paths and from names of tensorflow-datasets, such as mnist:3.*.*."""
    place, _, attribute = name.rpartition(":")
    top, *rest = place.split(".")
    if _is_file(place) or not all(map(str.isidentifier, (attribute, top, *rest))):
        return _is_file(place) and attribute.isidentifier()
    return top in sys.modules or importlib.util.find_spec(top) is not None  # without importing it


def _paths(config: Config) -> dict[str, Path]:
    """Field → the file that it names, or in which its module is; a module without one is left out."""
    paths = {}
    for field, spec in _specs(config).items():
        place = spec.rpartition(":")[0]
        own(spec, field)
        path = place if _is_file(place) else getattr(sys.modules[place], "__file__", None)
        if path is not None:
            paths[field] = Path(path)
    return paths


def _is_file(place: str) -> bool:
    return place.endswith(".py")


def _name(spec: str) -> str:
    return spec.rpartition(":")[0].rpartition("/")[2]


def _module(path: str) -> types.ModuleType:
    return _executed(str(Path(path).resolve()), _sha256(Path(path)))


@functools.cache
def _executed(path: str, digest: str) -> types.ModuleType:
    """The module of a file, executed once for each content, so that a class stays one and the same."""
    spec = importlib.util.spec_from_file_location(f"{Path(path).stem}_{digest[:12]}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    _EXECUTED.add(path)
    try:
        # Not by the loader, which leaves files of its own beside the user's, and may run what it left there of another
        # content.
        exec(compile(Path(path).read_bytes(), path, "exec"), module.__dict__)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _reason(error: BaseException, path: str | Path) -> str:
    """The first line of a failure, and the line of the user's file in which it came up."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) == Path(path).resolve()
    ]
    place = f"line {lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
