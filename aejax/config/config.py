"""The typed configuration of a run: checked when built, read and written as JSON.

Nothing here imports JAX, so that `--help` and a refused value answer at once.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aejax.config.checks import (
    AejaxError,
    InputError,
    Stopped,
    is_count,
    is_non_negative,
    is_seed,
    require,
    require_choices,
)
from aejax.config.model import Model

__all__ = ["AejaxError", "Config", "InputError", "Stopped"]


@dataclass(frozen=True)
class Data:
    """Which images."""

    name: str = "digits"
    """digits, mnist, fashion_mnist, another image dataset of tensorflow-datasets, or the path of a
    .npy or .npz file or of a folder of images"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist, or with one such folder per dataset;
    the environment variable AEJAX_SOURCE_DIR where none is given"""
    binarize: bool = False
    """draw each pixel as 0 or 1 with its value as the probability, anew at every step; the target too"""
    order_seed: int | None = None
    """seed of the order of examples; None takes training.seed"""
    placement: Literal["auto", "device", "stream"] = "auto"
    """all images on the device, or streamed to it in blocks; auto takes the device where they and the state fit
    in half of its free memory. The result does not depend on it"""

    def __post_init__(self) -> None:
        require_choices(self, "data")
        require(isinstance(self.name, str) and self.name != "", "data.name", self.name, "a dataset's name or a path")
        holds = self.order_seed is None or is_seed(self.order_seed)
        require(holds, "data.order_seed", self.order_seed, "a whole number from 0 to 2**32 - 1, or None")


@dataclass(frozen=True)
class Loss:
    """How a reconstruction is compared with the clean image."""

    reconstruction: Literal["bce", "mse"] = "bce"
    """binary cross-entropy on logits, or mean squared error"""
    pixels: Literal["mean", "sum"] = "mean"
    """reduction of the reconstruction over pixels; a sum of bce is in nats per image, as an ELBO needs it"""
    bound: Literal["elbo", "importance"] = "elbo"
    """what a variational model maximises: the ELBO, or the importance-weighted bound of `model.samples` codes"""
    sparsity: Literal["l1", "rate"] = "l1"
    """penalty on the code: its L1 norm, or the divergence of each unit's mean from a target rate"""

    def __post_init__(self) -> None:
        require_choices(self, "loss")


@dataclass(frozen=True)
class Corruption:
    """What is done to the input; the target stays clean."""

    kind: Literal["none", "gaussian", "masking", "salt_and_pepper"] = "none"
    """gaussian adds noise and clips to [0, 1]; masking sets pixels to 0; salt_and_pepper to 0 or 1"""

    def __post_init__(self) -> None:
        require_choices(self, "corruption")


@dataclass(frozen=True)
class Coefficients:
    """Numbers that enter the compiled program as values: another value compiles nothing."""

    learning_rate: float = 1e-3
    """step size of the optimizer, times the schedule"""
    l1: float = 0.0
    """weight of the code's L1 norm (sum over units, mean over examples)"""
    noise: float = 0.0
    """standard deviation of gaussian corruption, or probability that a pixel is masked or replaced"""
    beta: float = 1.0
    """weight of a variational model's KL divergence, times its warm-up"""
    free_bits: float = 0.0
    """nats of KL divergence that each unit of a variational code has without paying more"""
    rate_penalty: float = 0.0
    """weight of the KL divergence of the rate from each unit's mean activation (sum over units)"""
    rate: float = 0.05
    """the target of that mean activation"""
    penalty: float = 0.0
    """weight of the penalties that a model of your own returns"""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            require(is_non_negative(value), f"coefficients.{name}", value, "a finite number of at least 0")


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
    beta_warmup_epochs: int = 0
    """epochs over which coefficients.beta rises linearly from 0"""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam, or plain gradient descent"""
    clip_norm: float | None = None
    """largest global norm of the gradient; None does not clip"""

    def __post_init__(self) -> None:
        require_choices(self, "training")
        for name in ("epochs", "passes", "batch_size"):
            require(
                is_count(getattr(self, name)), f"training.{name}", getattr(self, name), "a whole number of at least 1"
            )
        require(is_seed(self.seed), "training.seed", self.seed, "a whole number from 0 to 2**32 - 1")
        require(
            isinstance(self.warmup_epochs, int) and 0 <= self.warmup_epochs < self.epochs,
            "training.warmup_epochs",
            self.warmup_epochs,
            f"from 0 to {self.epochs - 1}, below training.epochs",
        )
        require(
            isinstance(self.beta_warmup_epochs, int) and self.beta_warmup_epochs >= 0,
            "training.beta_warmup_epochs",
            self.beta_warmup_epochs,
            "a whole number of at least 0",
        )
        require(
            self.clip_norm is None or (is_non_negative(self.clip_norm) and self.clip_norm > 0),
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
        require_choices(self, "devices")
        require(self.count is None or is_count(self.count), "devices.count", self.count, "at least 1, or None for all")


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
            require(is_count(getattr(self, name)), f"hosts.{name}", getattr(self, name), "a whole number above 0")
        if self.coordinator in (None, "auto"):
            for name in ("count", "index"):
                value = getattr(self, name)
                require(value is None, f"hosts.{name}", value, "left out unless hosts.coordinator is HOST:PORT")
            return
        _, _, port = str(self.coordinator).rpartition(":")
        holds = port.isdecimal() and len(str(self.coordinator)) > len(port) + 1
        require(holds, "hosts.coordinator", self.coordinator, "HOST:PORT, auto or None")
        require(is_count(self.count), "hosts.count", self.count, "the number of processes, with hosts.coordinator")
        holds = isinstance(self.index, int) and 0 <= self.index < self.count
        require(holds, "hosts.index", self.index, f"from 0 to {self.count - 1}, below hosts.count")


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
            require(isinstance(value, part.default_factory), part.name, value, f"a {part.default_factory.__name__}")
        noise, kind = self.coefficients.noise, self.corruption.kind
        require(
            kind != "none" or noise == 0,
            "coefficients.noise",
            noise,
            "0 while corruption.kind is none (or choose gaussian, masking, salt_and_pepper)",
        )
        require(
            kind in ("none", "gaussian") or noise <= 1,
            "coefficients.noise",
            noise,
            f"a probability from 0 to 1 while corruption.kind is {kind}",
        )
        self._require_kind()

    def _require_kind(self) -> None:
        """Refuse what the kind of model would ignore, or cannot be trained with."""
        model, loss, weights = self.model, self.loss, self.coefficients
        ours = f"while model.kind is {model.kind}"
        if model.kind == "variational":
            require(loss.pixels == "sum", "loss.pixels", loss.pixels, f"sum {ours}: the ELBO is in nats per image")
        if model.kind == "plain":
            for section, name, only in (
                ("coefficients", "beta", 1.0),
                ("coefficients", "free_bits", 0.0),
                ("coefficients", "penalty", 0.0),
                ("model", "samples", 1),
                ("loss", "bound", "elbo"),
                ("training", "beta_warmup_epochs", 0),
            ):
                value = getattr(getattr(self, section), name)
                require(value == only, f"{section}.{name}", value, f"{only} {ours}")
        if loss.bound == "importance":
            require(weights.free_bits == 0, "coefficients.free_bits", weights.free_bits, "0 with loss.bound importance")
        if loss.sparsity == "rate":
            code = model.code_activation or model.activation
            require(code == "sigmoid", "model.code_activation", code, "sigmoid while loss.sparsity is rate")
            require(0 < weights.rate < 1, "coefficients.rate", weights.rate, "between 0 and 1")
            require(weights.l1 == 0, "coefficients.l1", weights.l1, "0 while loss.sparsity is rate")
        else:
            allowed = "0 while loss.sparsity is l1"
            require(weights.rate_penalty == 0, "coefficients.rate_penalty", weights.rate_penalty, allowed)

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

        `data.source_dir`, `data.placement`, `devices` and `hosts` are left out: they do not change what is computed.
        """
        here, there = self.to_dict(), other.to_dict()
        return [
            f"{section}.{name}: {value} here, {there[section][name]} there"
            for section, fields in here.items()
            for name, value in fields.items()
            if value != there[section][name]
            and section not in ("devices", "hosts")
            and (section, name) not in (("data", "source_dir"), ("data", "placement"))
        ]
