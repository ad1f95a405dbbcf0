"""The typed configuration of a run: checked when built, read and written as JSON.

Nothing here imports JAX, so that `--help` and a refused value answer at once.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


class AejaxError(Exception):
    """A failure that its message, one line, explains: what, where and what would do."""


class InputError(AejaxError):
    """What the user gave cannot be used."""


class Stopped(AejaxError):
    """The run ended before its end, through no fault of its own: the same call goes on from the last checkpoint."""


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise InputError(f"{name} is {value!r}; it must be {allowed}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_non_negative(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _require_choices(section: object, prefix: str) -> None:
    """Check every `Literal` field of a section against its choices."""
    for name, hint in typing.get_type_hints(type(section)).items():
        if typing.get_origin(hint) is Literal:
            choices = typing.get_args(hint)
            _require(
                getattr(section, name) in choices,
                f"{prefix}.{name}",
                getattr(section, name),
                "one of " + ", ".join(choices),
            )


# More units in one layer than any device has memory for: refused here, since XLA would hang on such an allocation.
_WIDEST = 2**20


def _is_width(value: object) -> bool:
    return _is_count(value) and value <= _WIDEST


def _require_widths(widths: object, name: str) -> None:
    holds = isinstance(widths, tuple) and all(_is_width(width) for width in widths)
    _require(holds, name, widths, f"a list of layer widths, each from 1 to {_WIDEST:,}")


@dataclass(frozen=True)
class Data:
    """Which images."""

    name: str = "digits"
    """digits, mnist, fashion_mnist, another image dataset of tensorflow-datasets, or the path of a
    .npy or .npz file or of a folder of images"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist, or with one such folder per dataset;
    the environment variable AEJAX_SOURCE_DIR where none is given"""

    def __post_init__(self) -> None:
        _require(isinstance(self.name, str) and self.name != "", "data.name", self.name, "a dataset's name or a path")


@dataclass(frozen=True)
class Model:
    """The architecture: number of layers and nodes per layer (`hidden`) and the code size."""

    hidden: tuple[int, ...] = (128,)
    """widths of the encoder's layers before the code; none makes it shallow"""
    code_size: int = 32
    """number of units of the code"""
    decoder_hidden: tuple[int, ...] | None = None
    """widths of the decoder's layers after the code; None mirrors the encoder"""
    activation: Literal["relu", "elu", "gelu", "silu", "tanh", "identity"] = "relu"
    """nonlinearity of every layer but the last, the code included"""

    def __post_init__(self) -> None:
        for name in ("hidden", "decoder_hidden"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        _require_choices(self, "model")
        _require_widths(self.hidden, "model.hidden")
        if self.decoder_hidden is not None:
            _require_widths(self.decoder_hidden, "model.decoder_hidden")
        _require(_is_width(self.code_size), "model.code_size", self.code_size, f"a whole number from 1 to {_WIDEST:,}")


@dataclass(frozen=True)
class Loss:
    """How a reconstruction is compared with the clean image."""

    reconstruction: Literal["bce", "mse"] = "bce"
    """binary cross-entropy on logits, or mean squared error"""

    def __post_init__(self) -> None:
        _require_choices(self, "loss")


@dataclass(frozen=True)
class Corruption:
    """What is done to the input; the target stays clean."""

    kind: Literal["none", "gaussian", "masking", "salt_and_pepper"] = "none"
    """gaussian adds noise and clips to [0, 1]; masking sets pixels to 0; salt_and_pepper to 0 or 1"""

    def __post_init__(self) -> None:
        _require_choices(self, "corruption")


@dataclass(frozen=True)
class Coefficients:
    """Numbers that enter the compiled program as values: another value compiles nothing."""

    learning_rate: float = 1e-3
    """step size of the optimizer, times the schedule"""
    l1: float = 0.0
    """weight of the code's L1 norm (sum over units, mean over examples)"""
    noise: float = 0.0
    """standard deviation of gaussian corruption, or probability that a pixel is masked or replaced"""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            _require(_is_non_negative(value), f"coefficients.{name}", value, "a finite number of at least 0")


@dataclass(frozen=True)
class Training:
    """How long, in what batches, with which randomness."""

    epochs: int = 10
    """number of epochs; each is one compiled program"""
    passes: int = 1
    """passes over the training set in an epoch (more than one gives a small dataset epochs of a useful length)"""
    batch_size: int = 32
    """examples per step; the last, smaller batch of a pass is dropped"""
    seed: int = 0
    """of everything random: initial weights, order of examples, corruption"""
    schedule: Literal["constant", "cosine"] = "constant"
    """of the learning rate after the warm-up: constant, or a cosine down to 0"""
    warmup_epochs: int = 0
    """epochs over which the learning rate rises linearly from 0"""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam, or plain gradient descent"""
    clip_norm: float | None = None
    """largest global norm of the gradient; None does not clip"""

    def __post_init__(self) -> None:
        _require_choices(self, "training")
        for name in ("epochs", "passes", "batch_size"):
            _require(
                _is_count(getattr(self, name)), f"training.{name}", getattr(self, name), "a whole number of at least 1"
            )
        _require(
            isinstance(self.seed, int) and 0 <= self.seed < 2**32,
            "training.seed",
            self.seed,
            "a whole number from 0 to 2**32 - 1",
        )
        _require(
            isinstance(self.warmup_epochs, int) and 0 <= self.warmup_epochs < self.epochs,
            "training.warmup_epochs",
            self.warmup_epochs,
            f"from 0 to {self.epochs - 1}, below training.epochs",
        )
        _require(
            self.clip_norm is None or (_is_non_negative(self.clip_norm) and self.clip_norm > 0),
            "training.clip_norm",
            self.clip_norm,
            "above 0, or None",
        )


@dataclass(frozen=True)
class Devices:
    """What a run is computed on; the result does not depend on it."""

    parallel: Literal["jit", "pmap", "shard_map"] = "jit"
    """how several devices are driven: by the compiler (jit), or each with its share of the batch"""
    count: int | None = None
    """number of devices; None takes all that there are"""

    def __post_init__(self) -> None:
        _require_choices(self, "devices")
        _require(
            self.count is None or _is_count(self.count), "devices.count", self.count, "at least 1, or None for all"
        )


@dataclass(frozen=True)
class Hosts:
    """The processes that make one run together, usually one per host; the result does not depend on them."""

    coordinator: str | None = None
    """HOST:PORT at which process 0 can be reached by all; auto where JAX finds the others by itself (TPU pods,
    SLURM); None runs in this process alone"""
    count: int | None = None
    """number of processes; not with auto"""
    index: int | None = None
    """which of them this one is, from 0; not with auto"""
    heartbeat_seconds: int = 10
    """a process that is silent for so long counts as dead"""
    startup_seconds: int = 60
    """how long to wait for all processes at the start"""

    def __post_init__(self) -> None:
        for name in ("heartbeat_seconds", "startup_seconds"):
            _require(_is_count(getattr(self, name)), f"hosts.{name}", getattr(self, name), "a whole number above 0")
        if self.coordinator in (None, "auto"):
            for name in ("count", "index"):
                value = getattr(self, name)
                _require(value is None, f"hosts.{name}", value, "left out unless hosts.coordinator is HOST:PORT")
            return
        _, _, port = str(self.coordinator).rpartition(":")
        holds = port.isdecimal() and len(str(self.coordinator)) > len(port) + 1
        _require(holds, "hosts.coordinator", self.coordinator, "HOST:PORT, auto or None")
        _require(_is_count(self.count), "hosts.count", self.count, "the number of processes, with hosts.coordinator")
        holds = isinstance(self.index, int) and 0 <= self.index < self.count
        _require(holds, "hosts.index", self.index, f"from 0 to {self.count - 1}, below hosts.count")


@dataclass(frozen=True)
class Config:
    """Everything that determines a run.

    >>> Config(model=Model(code_size=16)).replace({"training.epochs": 3})
    """

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    corruption: Corruption = field(default_factory=Corruption)
    coefficients: Coefficients = field(default_factory=Coefficients)
    training: Training = field(default_factory=Training)
    devices: Devices = field(default_factory=Devices)
    hosts: Hosts = field(default_factory=Hosts)

    def __post_init__(self) -> None:
        for part in dataclasses.fields(self):
            value = getattr(self, part.name)
            _require(isinstance(value, part.default_factory), part.name, value, f"a {part.default_factory.__name__}")
        noise, kind = self.coefficients.noise, self.corruption.kind
        _require(
            kind != "none" or noise == 0,
            "coefficients.noise",
            noise,
            "0 while corruption.kind is none (or choose gaussian, masking, salt_and_pepper)",
        )
        _require(
            kind in ("none", "gaussian") or noise <= 1,
            "coefficients.noise",
            noise,
            f"a probability from 0 to 1 while corruption.kind is {kind}",
        )

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """A copy with some fields changed, each named by its path, as in `{"model.code_size": 16}`.

        Raises:
            InputError: a field is unknown or its value is out of range.
        """
        values = self.to_dict()
        for path, value in changes.items():
            section, _, name = path.partition(".")
            if not isinstance(values.get(section), dict) or name not in values[section]:
                raise InputError(f"there is no field {path!r} in the configuration")
            values[section][name] = value
        return Config.from_dict(values)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain dictionaries, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_dict(values: Mapping[str, Mapping[str, Any]]) -> Config:
        """The inverse of `to_dict`; fields that are left out take their defaults."""
        sections = {f.name: f.default_factory for f in dataclasses.fields(Config)}
        for section, fields in values.items():
            known = {f.name for f in dataclasses.fields(sections[section])} if section in sections else set()
            unknown = [f"{section}.{name}" for name in fields if name not in known] if known else [section]
            if unknown:
                raise InputError(f"there is no field {unknown[0]!r} in the configuration")
        return Config(**{section: sections[section](**fields) for section, fields in values.items()})

    def differences(self, other: Config) -> list[str]:
        """The fields in which two configurations differ, as `name: here, there`.

        `data.source_dir`, `devices` and `hosts` are left out: they do not change what is computed.
        """
        here, there = self.to_dict(), other.to_dict()
        return [
            f"{section}.{name}: {value} here, {there[section][name]} there"
            for section, fields in here.items()
            for name, value in fields.items()
            if value != there[section][name]
            and section not in ("devices", "hosts")
            and (section, name) != ("data", "source_dir")
        ]


def load_config(path: str | Path) -> Config:
    """The `Config` that the function `get_config` of a Python file returns.

    Raises:
        InputError: there is no such file, it fails, or it has no `get_config` that returns a `Config`.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no config file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None:
        raise InputError(f"the config file {path} is not a Python file (.py)")
    module: types.ModuleType = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config() if hasattr(module, "get_config") else None
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise InputError(f"the config file {path} fails: {type(error).__name__}: {reason}") from error
    if not isinstance(config, Config):
        raise InputError(f"the config file {path} needs a function get_config() that returns an aejax Config")
    return config
