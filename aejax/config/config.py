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
    InputError,
    Named,
    is_finite,
    is_non_negative,
    is_own,
    is_seed,
    require,
    require_names,
    require_types,
)
from aejax.config.devices import Devices, Hosts
from aejax.config.model import Model
from aejax.config.training import Coefficients, Training


@dataclass(frozen=True)
class Data:
    """Which images."""

    name: str = "digits"
    """digits, mnist, fashion_mnist, another image dataset of tensorflow-datasets, or the path of a
    .npy or .npz file, or of a folder of images or of shards (train-0.npy, train-1.npy, ...)"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist, or with one such folder per dataset;
    the environment variable AEJAX_SOURCE_DIR where none is given"""
    binarize: bool = False
    """draw each pixel as 0 or 1 with its value as the probability, anew at every step; the target too"""
    order_seed: int | None = None
    """seed of the order of examples; None takes training.seed"""
    channels: Literal["auto", "first", "last"] = "auto"
    """where the channels of arrays [N, C, H, W] or [N, H, W, C] from a file are; auto refuses what looks like first"""
    standardize: bool = False
    """of vectors: give each feature mean 0 and standard deviation 1 over the training examples; what the trained model
    takes and returns stays on the scale of the data"""
    placement: Literal["auto", "device", "stream"] = "auto"
    """all images on the device, or streamed to it in blocks; auto takes the device where they and the state fit
    in half of its free memory. The result does not depend on it"""

    def __post_init__(self) -> None:
        require_types(self, "data")
        require(self.name != "", "data.name", self.name, "a dataset's name or a path")
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
        require_types(self, "loss")


@dataclass(frozen=True)
class Corruption:
    """What is done to the input; the target stays clean."""

    kind: Literal["none", "gaussian", "masking", "salt_and_pepper"] = "none"
    """gaussian adds noise and clips to [0, 1]; masking sets pixels to 0; salt_and_pepper to 0 or 1"""

    def __post_init__(self) -> None:
        require_types(self, "corruption")


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
    weights: Mapping[str, float] = field(default_factory=Named)
    """weight of each term of the loss that a model of your own adds, by the term's name, 1 where none is given:
    --weights.NAME"""
    numbers: Mapping[str, float] = field(default_factory=Named)
    """numbers that a model of your own reads as it is called, `context.numbers`, such as how many units are kept:
    --numbers.NAME. Unlike model.options they enter the compiled program as values, as coefficients do"""
    training: Training = field(default_factory=Training)
    devices: Devices = field(default_factory=Devices)
    hosts: Hosts = field(default_factory=Hosts)

    def __post_init__(self) -> None:
        if type(self) is not Config:
            raise InputError(
                f"{type(self).__name__} extends Config, and what it adds would be lost; a model's own numbers are "
                "model.options and numbers, its own weights are weights"
            )
        require_names(self.weights, "weights")
        for name, value in self.weights.items():
            require(is_non_negative(value), f"weights.{name}", value, "a finite number of at least 0")
        require_names(self.numbers, "numbers")
        for name, value in self.numbers.items():
            require(is_finite(value), f"numbers.{name}", value, "a finite number")
        for field_ in NAMED:
            values = {name: float(value) for name, value in getattr(self, field_).items()}
            object.__setattr__(self, field_, Named(values))
        for part in dataclasses.fields(self):
            value = getattr(self, part.name)
            require(type(value) is part.default_factory, part.name, value, f"a {part.default_factory.__name__}")
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
        optimizer, decay = self.training.optimizer, self.coefficients.weight_decay
        allowed = f"0 while training.optimizer is {optimizer} (or choose adamw)"
        require(decay == 0 or optimizer not in ("adam", "sgd"), "coefficients.weight_decay", decay, allowed)
        if self.data.standardize:
            reason = "while data.standardize is set, which leaves [0, 1]"
            require(self.loss.reconstruction == "mse", "loss.reconstruction", self.loss.reconstruction, f"mse {reason}")
            require(kind == "none", "corruption.kind", kind, f"none {reason}")
            require(not self.data.binarize, "data.binarize", self.data.binarize, f"False {reason}")
        self._require_sparsity()
        if not is_own(self.model.kind):
            self.require_kind(variational=self.model.kind == "variational")
            allowed = f"empty while model.kind is {self.model.kind}, whose terms are weighted by coefficients"
            require(not self.weights, "weights", dict(self.weights), allowed)
            require(not self.numbers, "numbers", dict(self.numbers), f"empty while model.kind is {self.model.kind}")

    def _require_sparsity(self) -> None:
        loss, weights = self.loss, self.coefficients
        if loss.sparsity == "rate":
            code = self.model.code_activation or self.model.activation
            require(code == "sigmoid", "model.code_activation", code, "sigmoid while loss.sparsity is rate")
            require(0 < weights.rate < 1, "coefficients.rate", weights.rate, "between 0 and 1")
            require(weights.l1 == 0, "coefficients.l1", weights.l1, "0 while loss.sparsity is rate")
        else:
            allowed = "0 while loss.sparsity is l1"
            require(weights.rate_penalty == 0, "coefficients.rate_penalty", weights.rate_penalty, allowed)

    def require_kind(self, variational: bool, own_loss: bool = False) -> None:
        """Refuse what a kind of model would ignore, or compute in other units; of a loss of its own less is known.

        Raises:
            InputError: a field has no meaning for this kind.
        """
        loss, ours = self.loss, f"while model.kind is {self.model.kind}"
        if variational and own_loss:
            return
        if variational:
            require(loss.pixels == "sum", "loss.pixels", loss.pixels, f"sum {ours}: the ELBO is in nats per image")
            floor = self.coefficients.free_bits
            require(loss.bound == "elbo" or floor == 0, "coefficients.free_bits", floor, "0 with loss.bound importance")
            return
        ignored = [("model", "samples", 1), ("loss", "bound", "elbo")]
        if not own_loss:
            ignored += [("coefficients", "beta", 1.0), ("coefficients", "free_bits", 0.0)]
            ignored += [("training", "beta_warmup_epochs", 0)]
        for section, name, only in ignored:
            value = getattr(getattr(self, section), name)
            require(value == only, f"{section}.{name}", value, f"{only} {ours}")

    @property
    def traced(self) -> dict[str, float]:
        """What enters the compiled program as values: coefficients, each weight as `weights.NAME`, `numbers.NAME`."""
        named = {f"{field}.{name}": value for field in NAMED for name, value in getattr(self, field).items()}
        return dataclasses.asdict(self.coefficients) | named

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """A copy with some fields changed, each named by its path, as in `{"model.code_size": 16}`.

        Raises:
            InputError: a field is unknown or its value is out of range.
        """
        values = self.to_dict()
        for path, value in changes.items():
            section, _, name = path.rpartition(".") if isinstance(path, str) else ("", "", "")
            if path in NAMED:
                require_names(value, path)
                values[path] = dict(value)
            elif section in (*NAMED, "model.options"):
                named = values["model"]["options"] if section == "model.options" else values[section]
                named[name] = value
            elif isinstance(values.get(section), dict) and name in values[section]:
                values[section][name] = value
            else:
                raise InputError(f"there is no field {path!r} in the configuration")
        return Config.from_dict(values)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain dictionaries, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_dict(values: Mapping[str, Mapping[str, Any]]) -> Config:
        """The inverse of `to_dict`; fields that are left out take their defaults."""
        sections = {f.name: f.default_factory for f in dataclasses.fields(Config)}
        require(isinstance(values, Mapping), "the configuration", values, "a mapping of sections")
        made = {}
        for section, fields in values.items():
            if section not in sections:
                raise InputError(f"there is no field {section!r} in the configuration")
            require(isinstance(fields, Mapping), section, fields, "a mapping of its fields")
            if section not in NAMED:
                gone = _GONE.get(section, {})
                fields = {name: value for name, value in fields.items() if gone.get(name, _GONE) != value}
                known = {f.name for f in dataclasses.fields(sections[section])}
                if unknown := [name for name in fields if name not in known]:
                    raise InputError(f"there is no field '{section}.{unknown[0]}' in the configuration")
            made[section] = sections[section](**fields)
        return Config(**made)

    @property
    def computed(self) -> dict[str, Any]:
        """Path → value of every field that changes the result."""
        return _computed(self.to_dict())

    def differences(self, other: Config) -> list[str]:
        """The fields in which two configurations differ, as `name: here, there`.

        Left out is what does not change what is computed: `devices`, `hosts`, the folder of a file of the user's own,
        `data.placement`, and how the images were named, of which the fingerprint is compared.
        """
        here, there = self.computed, other.computed
        return [
            f"{path}: {here.get(path)} here, {there.get(path)} there"
            for path in {**here, **there}
            if here.get(path) != there.get(path)
        ]


NAMED = ("weights", "numbers")
"""fields whose values a model of the user's own names"""

_GONE = {"coefficients": {"penalty": 0.0}}
"""fields that older configurations hold, with the only value that means what it means without them"""


def _computed(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Path → value of what changes the result."""
    paths = {f"{section}.{name}": value for section, fields in sections.items() for name, value in fields.items()}
    for path in ("model.kind", "training.optimizer"):
        if is_own(paths[path]):
            paths[path] = paths[path].rpartition("/")[2]
    same = ("devices.", "hosts.", "data.name", "data.source_dir", "data.channels", "data.placement")
    return {path: value for path, value in paths.items() if not path.startswith(same)}
