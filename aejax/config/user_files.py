"""What Python files of the user's give: a configuration, or a model's class."""

from __future__ import annotations

import importlib
import importlib.util
import types
from pathlib import Path

from aejax.config.config import Config, InputError

KINDS = {"plain": "aejax.models.autoencoder:Autoencoder", "variational": "aejax.models.variational:Variational"}


def load_config(path: str | Path) -> Config:
    """The `Config` that the function `get_config` of a Python file returns.

    Raises:
        InputError: there is no such file, it fails, or it has no `get_config` that returns a `Config`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no config file {path}")
    if path.suffix != ".py":
        raise InputError(f"the config file {path} is not a Python file (.py)")
    try:
        module = _execute(path)
        config = module.get_config() if hasattr(module, "get_config") else None
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"the config file {path} fails: {_reason(error)}") from error
    if not isinstance(config, Config):
        raise InputError(f"the config file {path} needs a function get_config() that returns an aejax Config")
    return config


def model_class(kind: str) -> type:
    """The class that `model.kind` names: a name in `KINDS`, `FILE.py:CLASS`, or `MODULE:CLASS`.

    Raises:
        InputError: there is no such file, module or class, it fails, or the class is no `aejax.Autoencoder`.
    """
    place, _, name = KINDS.get(kind, kind).rpartition(":")
    try:
        module = _execute(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise InputError(f"model.kind is {kind!r}, and {place} cannot be loaded: {_reason(error)}") from error
    from aejax.models import Autoencoder

    found = getattr(module, name, None)
    if not (isinstance(found, type) and issubclass(found, Autoencoder)):
        raise InputError(f"model.kind is {kind!r}; {place} must define a class {name} that extends aejax.Autoencoder")
    return found


def _execute(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
