"""The typed configuration of a run: checked when it is built, read and written as JSON."""

from __future__ import annotations

import copy
import dataclasses
import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aejax.config.checks import SHARE, InputError, Named, Section, is_own, require, require_fields
from aejax.config.numbers import (
    DECLARED_BY,
    KINDS,
    LEAST_SIDES,
    LOSSES,
    OPTIMIZERS,
    OWNED,
    Coefficients,
    Numbers,
    Schedule,
    Schedules,
    require_known,
)
from aejax.config.sections import Corruption, Data, Devices, Hosts, Loss, Model, Training

ANY_RANGE = {"loss.reconstruction": ("mse", "l1", "huber"), "corruption.kind": ("none",), "data.binarize": (False,)}
"""field → the values with which examples may lie outside [0, 1]"""

_VARIATIONAL = {"model.tied": (False,), "model.top_k": (None,), "model.code_activation": (None, "identity")}
_VARIATIONAL |= {"loss.reconstruction": ("bce", "mse", "l1", "huber")}  # negative log-likelihoods
_NOT_VARIATIONAL = {"model.samples": (1,), "loss.bound": ("elbo",)}
"""field → the values that it may have with a variational model, with any other model"""

SAME_RESULT = ("devices.", "hosts.", "data.name", "data.source_dir", "data.placement")
SAME_RESULT += "data.channels", "data.size", "data.colour", "data.label"
"""fields that do not change the result; a dataset is identified by its fingerprint"""


@dataclass(frozen=True)
class Config(Section):
    """All that determines a run.

    >>> Config(model=Model(code_size=16)).replace({"training.epochs": 3})
    """

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    corruption: Corruption = field(default_factory=Corruption)
    coefficients: Numbers = field(default_factory=Coefficients)
    """values of traced numbers, which sweeps and schedules may change: --coefficients.NAME. Of every model:
    learning_rate (step size of the optimizer); l1 (weight of the code's L1 norm: sum over units, mean over examples).
    With training.optimizer adamw: weight_decay (share of each weight that a step removes, times the learning rate).
    With a corruption: noise (standard deviation, or probability that a pixel is masked or replaced). With
    loss.sparsity rate: rate (target of each unit's mean activation), rate_penalty (weight of the KL divergence from
    it). With loss.reconstruction huber: delta (difference from which the loss is linear). With data.augmentation shift:
    shift (most pixels along each axis); crop: crop (least share of a side). With model.kind variational: beta (weight
    of the KL divergence), free_bits (nats that each unit has without a penalty). A class of your own declares others"""
    schedules: Schedules = field(default_factory=Named)
    """schedules of traced numbers: --schedules.NAME.warmup_epochs (epochs over which a factor rises linearly from 0),
    --schedules.NAME.shape (constant, cosine, cyclical or plateau), --schedules.NAME.cycles of the shape cyclical,
    --schedules.NAME.factor and .patience of the shape plateau"""
    training: Training = field(default_factory=Training)
    devices: Devices = field(default_factory=Devices)
    hosts: Hosts = field(default_factory=Hosts)

    def __post_init__(self) -> None:
        if type(self) is not Config:
            raise InputError(
                f"{type(self).__name__} extends Config, which would lose the added fields; declare a model's own "
                "numbers in its class, as coefficients and options"
            )
        for part in dataclasses.fields(self):
            object.__setattr__(self, part.name, _section(part.default_factory, part.name, getattr(self, part.name)))
        made = {name: _section(Schedule, f"schedules.{name}", given) for name, given in self.schedules.items()}
        schedules = Named({name: schedule for name, schedule in made.items() if schedule != Schedule()})
        object.__setattr__(self, "schedules", schedules)
        if not (is_own(self.model.kind) or is_own(self.training.optimizer)):
            self.require_declared(KINDS[self.model.kind], OPTIMIZERS[self.training.optimizer], {})
        for name, schedule in self.schedules.items():
            schedule.require_valid(f"schedules.{name}", self.training.epochs)
        units, shards = self.model.code_size, self.devices.shards
        require(units % shards == 0, "devices.shards", shards, f"a divisor of model.code_size, which is {units}")
        noise, kind = self.coefficients.get("noise", 0), self.corruption.kind
        allowed = f"a probability from 0 to 1 while corruption.kind is {kind}"
        require(kind in ("none", "gaussian") or noise <= 1, "coefficients.noise", noise, allowed)
        if self.data.standardize:
            self.require(ANY_RANGE, "while data.standardize is set, since standardized values leave [0, 1]")
        allowed = "left out or above 0 while training.patience, .select or a schedule of the shape plateau is set"
        require(not self.chooses or self.data.validation != 0, "data.validation", 0, allowed)
        if self.loss.sparsity == "rate":
            code = self.model.code_activation or self.model.activation
            require(code == "sigmoid", "model.code_activation", code, "sigmoid while loss.sparsity is rate")
            rate = self.coefficients.get("rate", 0.05)
            require(SHARE.holds(rate), "coefficients.rate", rate, SHARE.text)
        holds = self.loss.pixels == "mean" or self.loss.reconstruction not in LEAST_SIDES
        require(holds, "loss.pixels", "sum", f"mean while loss.reconstruction is {self.loss.reconstruction}")
        if not is_own(self.model.kind):
            self.require_kind(variational=self.model.kind == "variational")

    def others(self, allowed: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        """Return path → value of the fields that have none of the allowed values."""
        values = {path: operator.attrgetter(path)(self) for path in allowed}
        return {path: value for path, value in values.items() if value not in allowed[path]}

    def require(self, allowed: Mapping[str, tuple[Any, ...]], why: str) -> None:
        """Raise `InputError` for a field that has none of the allowed values; `why` ends the message."""
        for path, value in self.others(allowed).items():
            require(False, path, value, f"{' or '.join(map(str, allowed[path]))} {why}")

    def require_declared(
        self, kind: Mapping[str, float], optimizer: Mapping[str, float], options: Mapping[str, Any]
    ) -> dict[str, float]:
        """Return the declared coefficients with their defaults; refuse coefficients, schedules, options of other names.

        Args:
            kind, optimizer: coefficients that the kind of model and the optimizer declare.
            options: options that the kind of model declares.
        """
        settings = {path: operator.attrgetter(path)(self) for path in DECLARED_BY}
        for path, table in LOSSES.items():
            unused = {name for value, names in table.items() if value != settings[path] for name in names}
            kind = {name: default for name, default in kind.items() if name not in unused}
        known = {**optimizer, **self.owned, **kind}
        require_known(self.coefficients, known, "coefficients", settings)
        require_known(self.schedules, known, "schedules", settings)
        require_known(self.model.options, options, "model.options", {"model.kind": self.model.kind})
        return known

    @property
    def owned(self) -> dict[str, float]:
        """Coefficients, with their defaults, that settings besides the kind of model and the optimizer declare."""
        settings = (self.corruption.kind, self.loss.reconstruction, *self.data.augmentation)
        tables = dict(pair for table in OWNED.values() for pair in table.items())
        return {name: default for value in settings for name, default in tables[value].items()}

    def require_kind(self, variational: bool, own_loss: bool = False) -> None:
        """Raise `InputError` for fields that a kind of model would ignore, or compute in other units."""
        while_kind = f"while model.kind is {self.model.kind}"
        self.require(_VARIATIONAL if variational else _NOT_VARIATIONAL, while_kind)
        holds = self.loss.pixels == "sum" or not variational or own_loss
        require(holds, "loss.pixels", self.loss.pixels, f"sum {while_kind}: the ELBO is in nats per example")

    @property
    def epochs_may_grow(self) -> bool:
        """Whether a finished run may be trained for more epochs: no schedule depends on their number."""
        return all(schedule.shape in ("constant", "plateau") for schedule in self.schedules.values())

    @property
    def plateaus(self) -> dict[str, Schedule]:
        """The schedules that depend on the validation examples."""
        return {name: schedule for name, schedule in self.schedules.items() if schedule.shape == "plateau"}

    @property
    def chooses(self) -> bool:
        """Whether a run of this configuration needs validation examples."""
        training = self.training
        return training.patience is not None or training.select is not None or bool(self.plateaus)

    def with_values(self, values: Mapping[str, Any]) -> Config:
        """Return a copy with these values of the coefficients, such as the traced ones within a program, unchecked."""
        made = copy.copy(self)
        vars(made).update(coefficients=Coefficients.traced(values))
        return made

    @property
    def differing_in_values(self) -> Config:
        """The configuration without the values that the members of one program of a sweep may differ in."""
        made = self.with_values(dict.fromkeys(self.coefficients, 0.0))
        vars(made).update(training=dataclasses.replace(self.training, seed=0, start=None))
        return made

    @property
    def compiled_in(self) -> Config:
        """The configuration with one value for each part that no program depends on: a key of compiled programs."""
        made, epochs = self.differing_in_values, 1 if self.epochs_may_grow else self.training.epochs
        drawn = {name: getattr(self.data, name) for name in ("binarize", "augmentation", "missing")}
        free = {"patience": None, "select": None, "evaluate_test": False}
        training = dataclasses.replace(made.training, epochs=epochs, **free)
        vars(made).update(training=training, data=Data(**drawn), devices=Devices(), hosts=Hosts())
        return made

    def replace(self, changes: Mapping[str, Any]) -> Config:
        """Return a copy with some fields changed, each named by its path, as in `{"model.code_size": 16}`.

        None removes a coefficient, an option or a schedule, so that its default holds again.

        Raises:
            InputError: a field is unknown or its value is out of range.
        """
        values = self.to_dict()
        for path, value in changes.items():
            *outer, name = str(path).split(".")
            section, named = values, ".".join(outer) in _NAMED
            for part in outer:
                section = section.setdefault(part, {}) if isinstance(section, dict) else None
            if not isinstance(section, dict):
                raise InputError(f"there is no field {path!r} in the configuration")
            section[name] = dict(value) if path in _NAMED and isinstance(value, Mapping) else value
            if named and value is None:
                del section[name]
        return Config.from_dict(values)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return plain dictionaries, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @staticmethod
    def from_dict(values: Mapping[str, Mapping[str, Any]]) -> Config:
        """Build a configuration from the result of `to_dict`; missing fields take their defaults."""
        require(isinstance(values, Mapping), "the configuration", values, "a mapping of sections")
        return Config(**values)

    @property
    def computed(self) -> dict[str, Any]:
        """Path → value of every field that changes the result; the dataset is left out, since it has a fingerprint."""
        sections = self.to_dict()
        sections |= {f"schedules.{name}": fields for name, fields in sections.pop("schedules").items()}
        paths = {f"{section}.{name}": value for section, fields in sections.items() for name, value in fields.items()}
        for path in ("model.kind", "training.optimizer"):
            if is_own(paths[path]):
                paths[path] = paths[path].rpartition("/")[2]
        return {path: value for path, value in paths.items() if not path.startswith(SAME_RESULT)}


_NAMED = ("coefficients", "schedules", "model.options")
"""mappings whose names the user's classes declare"""


def _section(made: Any, path: str, given: Any) -> Any:
    """Build a part of the configuration from a mapping of its fields, or of names to values."""
    if not dataclasses.is_dataclass(made):
        return made.of(given, path)
    if type(given) is made:
        return given
    example = f", such as {dataclasses.asdict(Schedule())} (--{path}.shape cosine)" if made is Schedule else ""
    require(isinstance(given, Mapping), path, given, f"a {made.__name__}, or a mapping of its fields{example}")
    require_fields(given, made.__dataclass_fields__, f"{path}.")
    return made(**given)
