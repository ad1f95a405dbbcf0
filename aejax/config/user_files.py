"""Python files of the user: a configuration, a model's class, an optimizer, a dataset.

A configuration names a class or function of the user as FILE.py:NAME or MODULE:NAME. A run records the digest of the
file and keeps a copy of it. A workdir is data: no code that it names is executed, unless the caller names the file too.
"""

import contextlib
import dataclasses
import dis
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
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from aejax.config.checks import InputError, is_own, nearest, plain, reason, refusing, require, shown
from aejax.config.config import Config
from aejax.config.files import local, scripts_dir
from aejax.config.numbers import KINDS, OPTIMIZERS, RESERVED


def load_config(path: str | Path) -> Config:
    """Load the `Config` that the function `get_config` of a Python file returns.

    A relative FILE.py:NAME in it starts at the folder of that file, or else at the current folder.

    Args:
        path: of a file, or the name of a configuration of aejax, such as "mnist/sparse"; see `config_file`.

    Raises:
        InputError: there is no such file, it fails, or its `get_config` returns no `Config`.
    """
    path = config_file(path)
    if path.suffix != ".py":
        raise InputError(f"the config file {path} is not a Python file (.py)")
    with refusing(f"the config file {path} fails", say=described):
        module = _executed(path.resolve(), _sha256(path))
        config = module.get_config() if hasattr(module, "get_config") else None
    if not isinstance(config, Config):
        raise InputError(f"the config file {path} needs a function get_config() that returns an aejax Config")
    return located(config, path.parent)


def config_file(path: str | Path) -> Path:
    """Return the file of a configuration: `path`, with or without .py, or else a file of aejax in `configs/`.

    Raises:
        InputError: there is no such file.
    """
    path, ours = local(path, "the config file"), scripts_dir() / "configs"
    for place in (path, ours / path, ours.parent / path):
        for file in (place, Path(f"{place}.py")):
            if file.is_file():
                return file
    known = list(map(str, path.parent.glob("*.py")))
    for short in (file.relative_to(ours) for file in ours.rglob("*.py")):
        known += [str(ours.name / short), str(short.with_suffix(""))]
    raise InputError(f"there is no config file {path}{nearest(path, known)}")


def own(spec: str, field: str) -> Any:
    """Load the object that FILE.py:NAME or MODULE:NAME names; None if the file or module has no such name.

    Args:
        field: field of the configuration that has this value, for messages.

    Raises:
        InputError: there is no such file or module, or it fails.
    """
    place, _, name = spec.rpartition(":")
    file = local(place, field) if place.endswith(".py") else None
    if file is not None and not file.is_file():
        raise InputError(f"{field} is '{spec}', and there is no file {file.absolute()}")
    with refusing(f"{field} is '{spec}', and {place} cannot be loaded", say=described):
        module = importlib.import_module(place) if file is None else _executed(file.resolve(), _sha256(file))
    if getattr(module, "__file__", None) and module.__name__.partition(".")[0] != "aejax":
        _EXECUTED[module.__file__] = module
    return getattr(module, name, None)


def _named_by(config: Config) -> list[tuple[str, str, str]]:
    """List the names of the user in a configuration: (field, file or module, name in it)."""
    specs = {"model.kind": config.model.kind, "training.optimizer": config.training.optimizer}
    specs = {field: spec for field, spec in specs.items() if is_own(spec)}
    specs |= {"data.name": config.data.name} if names_data(config.data.name) else {}
    return [(field, *spec.rpartition(":")[::2]) for field, spec in specs.items()]


def names_data(name: str) -> bool:
    """Tell FILE.py:NAME and MODULE:NAME from paths and from names of tensorflow-datasets, such as mnist:3.*.*."""
    place, _, attribute = name.rpartition(":")
    top, *rest = place.split(".")
    if place.endswith(".py") or not all(map(str.isidentifier, (attribute, top, *rest))):
        return place.endswith(".py") and attribute.isidentifier()
    return top in sys.modules or importlib.util.find_spec(top) is not None  # without importing it


def located(config: Config, folder: Path = Path()) -> Config:
    """Return the configuration with absolute paths of the user's files that lie in a folder (the current folder)."""
    changes = {}
    for field, place, name in _named_by(config):
        if place.endswith(".py") and (found := folder / local(place, field)).is_file():
            changes[field] = f"{found.resolve()}:{name}"
    return config.replace(changes)


def named(config: Config) -> Config:
    """Return the configuration without the folders of the user's files, as config.json has it."""
    return config.replace({field: f"{Path(place).name}:{name}" for field, place, name in _named_by(config)})


def replaced(config: Config, files: str | Path | Iterable[str | Path], where: str) -> Config:
    """Return the configuration of a workdir with the user's files that the caller names.

    Args:
        files: the files (or modules) that may be executed; each replaces the file of the same name.
        where: the workdir, for messages.

    Raises:
        InputError: the configuration needs a file that the caller does not name.
    """
    files = [files] if isinstance(files, str | Path) else files
    given = {Path(file).name: str(local(file, "models") if str(file).endswith(".py") else file) for file in files}
    for name, file in given.items():
        if name.endswith(".py") and not Path(file).is_file():
            raise InputError(f"there is no file {file}, which was named for {where}")
    changes = {}
    for field, place, name in _named_by(config):
        file = Path(place).name
        if file in given:
            changes[field] = f"{given[file]}:{name}"
        elif field == "data.name":
            changes[field] = "array"  # a trained model needs no examples, and examples cannot be loaded by this name
        else:
            copy = f" ({Path(where, 'files', file)} is a copy: read it first)" if file.endswith(".py") else ""
            raise InputError(
                f"{where} needs {field} {file}:{name}, and reading a workdir executes no code: "
                f"name it, models={file!r}, or --models {file}{copy}"
                + (f"; named were {', '.join(given)}" if given else "")
            )
    return located(config.replace(changes)) if changes else config


def sources(config: Config) -> dict[str, Path]:
    """Return name → path of each of the user's files and modules; raise `InputError` for two files of one name."""
    found: dict[str, Path] = {}
    for field, place, name in _named_by(config):
        own(f"{place}:{name}", field)  # imports the module
        file = place if place.endswith(".py") else getattr(sys.modules[place], "__file__", None)
        if file is not None and _sha256(found.setdefault(Path(place).name, Path(file))) != _sha256(Path(file)):
            raise InputError(f"two files of this configuration are named {Path(place).name}; rename one of them")
    return found


def digests(config: Config) -> dict[str, str]:
    """Return name → SHA-256 of each file of `sources`."""
    return {name: _sha256(path) for name, path in sources(config).items()}


def complete(config: Config) -> Config:
    """Return the configuration with every declared coefficient and option, given or default.

    Raises:
        InputError: a given name is not declared, or a class declares a name of an optimizer or corruption.
    """
    kind, optimizer = config.model.kind, config.training.optimizer
    made = own(kind, "model.kind") if is_own(kind) else None
    coefficients = getattr(made, "coefficients", {}) if is_own(kind) else KINDS[kind]
    options = {name: plain(value) for name, value in getattr(made, "options", {}).items()}
    for name in coefficients:
        if name in RESERVED:
            raise InputError(f"{kind} declares the coefficient {name}, which aejax declares elsewhere; rename it")
    declared = OPTIMIZERS["adamw"] | config.owned | coefficients
    takes = own_optimizer(optimizer, declared)[1] if is_own(optimizer) else OPTIMIZERS[optimizer]
    known = config.require_declared(coefficients, takes, options)
    for name, value in config.model.options.items():
        default = options[name]
        value = (value,) if isinstance(default, tuple) and not isinstance(value, tuple) else value
        kinds = (int, float) if isinstance(default, float) else type(default)
        holds = default is None or value is None or isinstance(value, kinds)
        allowed = f"of the type {type(default).__name__}, as the default {default}"
        require(holds, f"model.options.{name}", value, allowed)
        options[name] = value
    model = dataclasses.replace(config.model, options=options)
    return dataclasses.replace(config, model=model, coefficients={**known, **config.coefficients})


def require_scheduled(config: Config) -> None:
    """Refuse a schedule of a coefficient that is 0, since a schedule multiplies it; a member of a sweep may be 0."""
    values = complete(config).coefficients
    for name in config.schedules:
        allowed = f"other than 0 while schedules.{name} is set, which multiplies it: set it, or leave the schedule out"
        require(values[name] != 0, f"coefficients.{name}", values[name], allowed)


def own_optimizer(spec: str, known: Mapping[str, float]) -> tuple[Callable[..., Any], dict[str, float]]:
    """Return the function that training.optimizer names, and the coefficients that it takes with their values.

    Args:
        known: the coefficients that it may take, by the names of its arguments.
    """
    make = own(spec, "training.optimizer")
    if not callable(make):
        place, _, name = spec.rpartition(":")
        raise InputError(f"training.optimizer is {spec!r}; {place} must define a function {name}")
    parameters = inspect.signature(make).parameters
    needs = [name for name, each in parameters.items() if each.default is each.empty and name not in known]
    if needs:
        raise InputError(
            f"training.optimizer is {spec!r}, which takes {', '.join(needs)}; it may take {', '.join(known)}, "
            "by these names, and arguments with a default"
        )
    return make, {name: value for name, value in known.items() if name in parameters}


def described(error: BaseException) -> str:
    """Describe in one line where and why code of the user failed."""
    return failure(error) or f"{type(error).__name__}: {reason(error)}"


def failure(error: BaseException) -> str | None:
    """Describe in one line where a user's file failed, frame by frame, and the remedy of a usual mistake.

    The result is None if no user's file took part.
    """
    places, file = [], ""
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename in _EXECUTED:
            place = "" if frame.filename == file else f"{frame.filename}, "
            places.append(f"{place}line {frame.lineno} in {frame.name}")
            file = frame.filename
    places = _uninitialized(error) or places or _called_wrongly(error)
    if not places:
        return None
    message, kind = " ".join(str(error).strip().split("\n\n")[0].split()) or "no message", type(error).__name__
    if _uninitialized(error):
        message = f"{error.name} is missing: __init__ must first call super().__init__(config, image_shape, rngs)"
    elif remedy := next((text for sign, text in _REMEDIES.items() if sign == kind or sign in str(error)), None):
        message = f"{re.split(r'[.] | of Pytree', message)[0]}: {remedy}"
    if len(places) > 7:
        places[3:-3] = [f"... {len(places) - 6} more ..."]
    return f"{', '.join(places)}: {kind}: {shown(message, str)}"


_TRACED = "JAX traces a program once, for all values"
_REMEDIES = {
    "TracerBoolConversionError": f"{_TRACED}; instead of `if`, use jnp.where, or an option, which is static",
    "TracerIntegerConversionError": f"{_TRACED}; a size or an index of a list must be static, as an option is",
    "TracerArrayConversionError": f"{_TRACED}; use jnp instead of np",
    "ConcretizationTypeError": f"{_TRACED}; use jnp instead of np, float and int",
    "__init__() missing": "call super().__init__(config, image_shape, rngs)",
    "nnx.List": "make layers a nnx.List(...) or nnx.Sequential(*layers), and each array aejax.frozen(array)",
}
"""name of an error, or a part of its message → what to do"""


def explained() -> contextlib.AbstractContextManager[None]:
    """Turn a failure in a user's file into an `InputError` with its lines, the reason and the remedy."""
    return refusing("", only=Exception, say=failure)


def line_of(function: Callable[..., Any]) -> str:
    """Return " (line N)" for a function in a user's file, and "" for any other function."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" (line {code.co_firstlineno})" if code is not None and code.co_filename in _EXECUTED else ""


def _uninitialized(error: BaseException) -> list[str]:
    """Find the user's `__init__` that skipped the `__init__` of our class, whose attribute an error misses."""
    made = type(error.obj) if isinstance(error, AttributeError) else object
    code = getattr(made.__init__, "__code__", None)
    if code is None or code.co_filename not in _EXECUTED:
        return []
    ours = [base.__init__ for base in made.__mro__ if base.__module__.startswith("aejax.")]
    lines = [line for each in ours if hasattr(each, "__code__") for line in dis.get_instructions(each)]
    made_by_us = {line.argval for line in lines if line.opname == "STORE_ATTR"}
    return [f"{code.co_filename}, line {code.co_firstlineno} in __init__"] if error.name in made_by_us else []


def _called_wrongly(error: BaseException) -> list[str]:
    """Find the user's function whose arguments a TypeError names: the traceback has no frame of it."""
    called = re.match(r"([\w.]+)\(\) ", str(error)) if isinstance(error, TypeError) else None
    for module in reversed(_EXECUTED.values()) if called else ():  # the last executed file first
        with contextlib.suppress(AttributeError):
            code = inspect.unwrap(operator.attrgetter(called[1])(module)).__code__
            if code.co_filename in _EXECUTED:
                return [f"{code.co_filename}, line {code.co_firstlineno} in {code.co_name}"]
    return []


_EXECUTED: dict[str, types.ModuleType] = {}
"""path → module of each file of the user that was executed"""


@functools.cache
def _executed(path: Path, digest: str) -> types.ModuleType:
    """Execute a file once for each content, so that a class stays the same object."""
    spec = importlib.util.spec_from_file_location(f"{path.stem}_{digest[:12]}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    _EXECUTED[str(path)] = module
    try:
        # Not by the loader: it writes a cache into the user's folder, and may execute a cache of another content.
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
