"""The typed configuration of a run: checked when it is built, read and written as JSON."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from aejax.config.checks import (
    COUNT,
    SEED,
    WIDTH,
    WIDTHS,
    Allowed,
    InputError,
    Named,
    is_non_negative,
    is_own,
    is_whole,
    require,
    require_names,
    require_types,
)
from aejax.config.numbers import CORRUPTIONS, KINDS, OPTIMIZERS, UNUSED, Coefficients, Schedule, require_known

_Activation = Literal["relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"]
_POSITIVE = Allowed(lambda value: is_non_negative(value) and value > 0, "above 0")
_SHARE = Allowed(lambda value: is_non_negative(value) and 0 < value < 1, "between 0 and 1")
Option = int | float | str | None | tuple[int | float | str, ...]
if TYPE_CHECKING:
    _Numbers, _Schedule, _Options = Mapping[str, float], Mapping[str, Schedule], Mapping[str, Option]
else:  # types that tyro accepts; `experiments/command_line.py` reads these arguments itself
    _Numbers = _Schedule = _Options = Mapping[str, float]


@dataclass(frozen=True)
class Data:
    """The examples."""

    name: str = "digits"
    """digits, mnist, fashion_mnist, another image dataset of tensorflow-datasets, the path of a .npy or .npz file or of
    a folder of images or of shards (train-0.npy, train-1.npy, ...), or a dataset of your own, FILE.py:NAME"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist, or with one folder per dataset; default: the
    environment variable AEJAX_SOURCE_DIR"""
    binarize: bool = False
    """draw each pixel as 0 or 1 with its value as the probability, anew at every step; the target too"""
    order_seed: Annotated[int, SEED] | None = None
    """seed of the order of examples; None takes training.seed"""
    channels: Literal["auto", "first", "last"] = "auto"
    """position of the channels of arrays from a file, [N, C, H, W] or [N, H, W, C]; auto refuses arrays that look like
    the first form"""
    standardize: bool = False
    """give each feature of vectors mean 0 and standard deviation 1 over the training examples; the trained model takes
    and returns values on the scale of the data"""
    placement: Literal["auto", "device", "stream"] = "auto"
    """keep all images on the device, or stream them to it in blocks; auto keeps them on the device if they and the
    state fit in half of its free memory. The result does not depend on the placement"""

    def __post_init__(self) -> None:
        require_types(self, "data")
        require(self.name != "", "data.name", self.name, "a dataset's name or a path")


@dataclass(frozen=True)
class Model:
    """The architecture: number of layers and nodes per layer (`hidden`) and the code size."""

    hidden: Annotated[tuple[int, ...], WIDTHS] = (128,)
    """widths of the encoder's layers before the code; no widths make the model shallow"""
    code_size: Annotated[int, WIDTH] = 32
    """number of units of the code"""
    decoder_hidden: Annotated[tuple[int, ...], WIDTHS] | None = None
    """widths of the decoder's layers after the code; None mirrors the encoder"""
    activation: _Activation = "relu"
    """nonlinearity of every layer, including the code, except the last layer"""
    kind: str = "plain"
    """plain, variational, or a class of your own that extends `aejax.Autoencoder`: FILE.py:CLASS or MODULE:CLASS"""
    code_activation: _Activation | None = None
    """nonlinearity of the code; None takes `activation` (a variational code has none)"""
    channels: Annotated[tuple[int, ...], WIDTHS] = ()
    """widths of 3x3 convolutions of stride 2 before the dense layers, mirrored in the decoder; () is dense"""
    spatial_code: bool = False
    """make the code by one more such convolution instead of dense layers: [h, w, code_size / (h w)], flattened"""
    tied: bool = False
    """the decoder's weights are the encoder's, transposed (dense layers only)"""
    top_k: int | None = None
    """keep only the k largest units of each code; None keeps all"""
    samples: Annotated[int, COUNT] = 1
    """codes that a variational model draws for each image in training"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """type in which the layers compute; parameters, optimizer and loss are always float32"""
    precision: Literal["default", "high", "highest"] = "default"
    """precision of products of float32 arrays in training: by default an accelerator rounds the factors (a TPU to
    bfloat16, a GPU to TF32); on a TPU, high takes three products instead of one, highest six; a CPU rounds nothing"""
    options: _Options = field(default_factory=Named)
    """static numbers, strings or lists that a class of your own declares: --model.options.NAME"""

    def __post_init__(self) -> None:
        require_types(self, "model")
        require_names(self.options, "model.options")
        object.__setattr__(self, "options", Named(self.options))
        for name, value in self.options.items():
            for each in value if isinstance(value, tuple) else (value,):
                holds = isinstance(each, str | None) or (isinstance(each, int | float) and abs(each) < 2**63)
                require(holds, f"model.options.{name}", value, "a finite number, a string, or a list of them")
        allowed = f"{', '.join(KINDS)}, FILE.py:CLASS or MODULE:CLASS"
        require(self.kind in KINDS or is_own(self.kind), "model.kind", self.kind, allowed)
        if self.kind in KINDS:
            require_known(self.options, {}, "model.options", f"model.kind {self.kind}")
        holds = self.top_k is None or is_whole(self.top_k, 1, self.code_size)
        require(holds, "model.top_k", self.top_k, f"from 1 to {self.code_size}, the code size, or None")
        if self.spatial_code:
            require(self.hidden == (), "model.hidden", self.hidden, "empty while model.spatial_code is set")
        if self.tied:
            mirrored = self.channels == () and not self.spatial_code and self.decoder_hidden is None
            require(mirrored, "model.tied", True, "False except for mirrored dense layers")

    def code_shape(self, image_shape: tuple[int, int, int]) -> tuple[int, ...]:
        """Return [code_size], or [h, w, channels] of a spatial code.

        Raises:
            InputError: a spatial code of this size does not fit these images.
        """
        if not self.spatial_code:
            return (self.code_size,)
        halvings = len(self.channels) + 1
        height, width = (-(-side // 2**halvings) for side in image_shape[:2])
        channels, rest = divmod(self.code_size, height * width)
        made = f"{halvings} convolutions of stride 2 make {height}x{width} of {image_shape[0]}x{image_shape[1]} images"
        require(rest == 0, "model.code_size", self.code_size, f"a multiple of {height * width}, since {made}")
        return height, width, channels


@dataclass(frozen=True)
class Loss:
    """The comparison of a reconstruction with the clean image."""

    reconstruction: Literal["bce", "mse"] = "bce"
    """binary cross-entropy on logits, or mean squared error"""
    pixels: Literal["mean", "sum"] = "mean"
    """reduction of the reconstruction over pixels; a sum of bce is in nats per image, as an ELBO needs it"""
    bound: Literal["elbo", "importance"] = "elbo"
    """objective of a variational model: the ELBO, or the importance-weighted bound of `model.samples` codes"""
    sparsity: Literal["l1", "rate"] = "l1"
    """penalty on the code: its L1 norm, or the divergence of each unit's mean from a target rate"""

    def __post_init__(self) -> None:
        require_types(self, "loss")


@dataclass(frozen=True)
class Corruption:
    """The noise on the input; the target stays clean."""

    kind: Literal["none", "gaussian", "masking", "salt_and_pepper"] = "none"
    """gaussian adds noise and clips to [0, 1]; masking sets pixels to 0; salt_and_pepper to 0 or 1"""

    def __post_init__(self) -> None:
        require_types(self, "corruption")


@dataclass(frozen=True)
class Training:
    """Duration, batches, randomness and optimizer."""

    epochs: Annotated[int, COUNT] = 10
    """number of epochs"""
    passes: Annotated[int, COUNT] = 1
    """passes over the training set in an epoch (several passes give a small dataset epochs of a useful length)"""
    batch_size: Annotated[int, COUNT] = 32
    """examples per step; the last, smaller batch of a pass is dropped"""
    seed: Annotated[int, SEED] = 0
    """seed of everything random: initial weights, order of examples, corruption"""
    optimizer: str = "adam"
    """adam, adamw, sgd (plain gradient descent), or a function of your own that returns an optax transformation,
    FILE.py:NAME or MODULE:NAME (see `aejax.training.optimizer`)"""
    average: Annotated[float, _SHARE] | None = None
    """decay of an exponential moving average (EMA) of the weights, which evaluation and the trained model then use;
    None uses the weights themselves"""
    patience: Annotated[int, COUNT] | None = None
    """epochs without a lower test loss after which the run finishes (early stopping); None trains all epochs"""
    clip_norm: Annotated[float, _POSITIVE] | None = None
    """largest global norm of the gradient; None does not clip"""

    def __post_init__(self) -> None:
        require_types(self, "training")
        known = self.optimizer in OPTIMIZERS or is_own(self.optimizer)
        require(known, "training.optimizer", self.optimizer, f"one of {', '.join(OPTIMIZERS)}, or FILE.py:NAME")


@dataclass(frozen=True)
class Devices:
    """The devices of a run; the result does not depend on them."""

    parallel: Literal["jit", "pmap", "shard_map"] = "jit"
    """driver of several devices: the compiler (jit), or each device with its share of the batch"""
    count: Annotated[int, COUNT] | None = None
    """number of devices; None takes all devices"""

    def __post_init__(self) -> None:
        require_types(self, "devices")


@dataclass(frozen=True)
class Hosts:
    """The processes that compute one run together, usually one per host; the result does not depend on them."""

    coordinator: str | None = None
    """HOST:PORT at which all processes reach process 0; auto where JAX finds the others by itself (TPU pods, SLURM);
    None runs in this process alone"""
    count: int | None = None
    """number of processes; not with auto"""
    index: int | None = None
    """index of this process, from 0; not with auto"""
    heartbeat_seconds: Annotated[int, COUNT] = 10
    """seconds without a heartbeat after which a process counts as dead"""
    startup_seconds: Annotated[int, COUNT] = 60
    """seconds to wait for all processes at the start"""

    def __post_init__(self) -> None:
        require_types(self, "hosts")
        if self.coordinator in (None, "auto"):
            for name in ("count", "index"):
                value = getattr(self, name)
                require(value is None, f"hosts.{name}", value, "left out unless hosts.coordinator is HOST:PORT")
            return
        host, _, port = self.coordinator.rpartition(":")
        holds = host != "" and port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 2**16
        require(holds, "hosts.coordinator", self.coordinator, "HOST:PORT, auto or None")
        require(COUNT.holds(self.count), "hosts.count", self.count, "the number of processes, with hosts.coordinator")
        holds = is_whole(self.index, 0, self.count - 1)
        require(holds, "hosts.index", self.index, f"from 0 to {self.count - 1}, below hosts.count")


class _Schedules(Named):
    """Schedules by the names of their coefficients."""

    def __init__(self, *given: Any, **named: Any) -> None:
        made = {name: _section(Schedule, f"schedules.{name}", value) for name, value in dict(*given, **named).items()}
        super().__init__({name: schedule for name, schedule in made.items() if schedule != Schedule()})


@dataclass(frozen=True)
class Config:
    """All that determines a run.

    >>> Config(model=Model(code_size=16)).replace({"training.epochs": 3})
    """

    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    corruption: Corruption = field(default_factory=Corruption)
    coefficients: _Numbers = field(default_factory=Coefficients)
    """values of traced numbers, which sweeps and schedules may change: --coefficients.NAME. Of every model:
    learning_rate (step size of the optimizer); l1 (weight of the code's L1 norm: sum over units, mean over examples).
    With training.optimizer adamw: weight_decay (share of each weight that a step removes, times the learning rate).
    With a corruption: noise (standard deviation, or probability that a pixel is masked or replaced). With
    loss.sparsity rate: rate (target of each unit's mean activation), rate_penalty (weight of the KL divergence from
    it). With model.kind variational: beta (weight of the KL divergence), free_bits (nats that each unit has without a
    penalty). A class of your own declares others"""
    schedules: _Schedule = field(default_factory=_Schedules)
    """schedules of traced numbers: --schedules.NAME.warmup_epochs (epochs over which a factor rises linearly from 0),
    --schedules.NAME.shape (constant, cosine or cyclical), --schedules.NAME.cycles"""
    training: Training = field(default_factory=Training)
    devices: Devices = field(default_factory=Devices)
    hosts: Hosts = field(default_factory=Hosts)

    def __post_init__(self) -> None:
        if type(self) is not Config:
            raise InputError(
                f"{type(self).__name__} extends Config, which would lose the added fields; declare a model's own "
                "numbers in its class, as coefficients and options"
            )
        for part, made in (("coefficients", Coefficients), ("schedules", _Schedules)):
            require_names(getattr(self, part), part)
            object.__setattr__(self, part, made(getattr(self, part)))
        for part in dataclasses.fields(self):
            value = getattr(self, part.name)
            require(type(value) is part.default_factory, part.name, value, f"a {part.default_factory.__name__}")
        if not (is_own(self.model.kind) or is_own(self.training.optimizer)):
            self.require_declared(KINDS[self.model.kind], OPTIMIZERS[self.training.optimizer])
        for name, schedule in self.schedules.items():
            allowed = f"from 0 to {self.training.epochs - 1}, below training.epochs"
            holds = schedule.warmup_epochs < self.training.epochs or schedule.shape == "constant"
            require(holds, f"schedules.{name}.warmup_epochs", schedule.warmup_epochs, allowed)
        noise, kind = self.coefficients.get("noise", 0), self.corruption.kind
        allowed = f"a probability from 0 to 1 while corruption.kind is {kind}"
        require(kind in ("none", "gaussian") or noise <= 1, "coefficients.noise", noise, allowed)
        if self.data.standardize:
            reason = "while data.standardize is set, since standardized values leave [0, 1]"
            require(self.loss.reconstruction == "mse", "loss.reconstruction", self.loss.reconstruction, f"mse {reason}")
            require(kind == "none", "corruption.kind", kind, f"none {reason}")
            require(not self.data.binarize, "data.binarize", self.data.binarize, f"False {reason}")
        if self.loss.sparsity == "rate":
            code = self.model.code_activation or self.model.activation
            require(code == "sigmoid", "model.code_activation", code, "sigmoid while loss.sparsity is rate")
            rate = self.coefficients.get("rate", 0.05)
            require(0 < rate < 1, "coefficients.rate", rate, "between 0 and 1")
        if not is_own(self.model.kind):
            self.require_kind(variational=self.model.kind == "variational")

    def require_declared(self, kind: Mapping[str, float], optimizer: Mapping[str, float]) -> dict[str, float]:
        """Return the declared coefficients with their defaults; refuse coefficients and schedules of other names."""
        unused = {
            name for (field, value), names in UNUSED.items() if getattr(self.loss, field) == value for name in names
        }
        kind = {name: default for name, default in kind.items() if name not in unused}
        known = {**optimizer, **CORRUPTIONS[self.corruption.kind], **kind}
        parts = f"model.kind {self.model.kind}, corruption.kind {self.corruption.kind}, training.optimizer "
        owner = f"{parts}{self.training.optimizer}, loss.sparsity {self.loss.sparsity}"
        require_known(self.coefficients, known, "coefficients", owner)
        require_known(self.schedules, known, "schedules", owner)
        return known

    def require_kind(self, variational: bool, own_loss: bool = False) -> None:
        """Raise `InputError` for fields that a kind of model would ignore, or compute in other units."""
        model, loss, ours = self.model, self.loss, f"while model.kind is {self.model.kind}"
        if not variational:
            require(model.samples == 1, "model.samples", model.samples, f"1 {ours}")
            require(loss.bound == "elbo", "loss.bound", loss.bound, f"elbo {ours}")
            return
        require(not model.tied, "model.tied", True, f"False {ours}")
        require(model.top_k is None, "model.top_k", model.top_k, f"None {ours}")
        holds = model.code_activation in (None, "identity")
        require(holds, "model.code_activation", model.code_activation, f"None {ours}")
        holds = loss.pixels == "sum" or own_loss
        require(holds, "loss.pixels", loss.pixels, f"sum {ours}: the ELBO is in nats per image")

    @property
    def epochs_may_grow(self) -> bool:
        """Whether a finished run may be trained for more epochs: no schedule depends on their number."""
        return all(schedule.shape == "constant" for schedule in self.schedules.values())

    def with_values(self, values: Mapping[str, Any]) -> Config:
        """Return a copy with these values of the coefficients, such as the traced ones within a program, unchecked."""
        made = copy.copy(self)
        vars(made).update(coefficients=Coefficients.traced(values))
        return made

    @property
    def differing_in_values(self) -> Config:
        """The configuration without the values that the members of one program of a sweep may differ in."""
        made = self.with_values(dict.fromkeys(self.coefficients, 0.0))
        vars(made).update(training=dataclasses.replace(self.training, seed=0))
        return made

    @property
    def compiled_in(self) -> Config:
        """The configuration with one value for each part that no program depends on: a key of compiled programs."""
        made, epochs = self.differing_in_values, 1 if self.epochs_may_grow else self.training.epochs
        training = dataclasses.replace(made.training, patience=None, epochs=epochs)
        vars(made).update(training=training, data=Data(binarize=self.data.binarize), devices=Devices(), hosts=Hosts())
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
            named, of_schedule = ".".join(outer) in _NAMED, len(outer) == 2 and outer[0] == "schedules"
            if path in _NAMED:
                require_names(value, path)
                value = dict(value)
            elif not (named or of_schedule or (len(outer) == 1 and name in values.get(outer[0], {}))):
                raise InputError(f"there is no field {path!r} in the configuration")
            section = functools.reduce(lambda inside, each: inside.setdefault(each, {}), outer, values)
            section[name] = value
            if named and value is None:
                del section[name]
        return Config.from_dict(values)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return plain dictionaries, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=dataclasses.asdict))

    @staticmethod
    def from_dict(values: Mapping[str, Mapping[str, Any]]) -> Config:
        """Build a configuration from the result of `to_dict`; missing fields take their defaults."""
        sections = {each.name: each.default_factory for each in dataclasses.fields(Config)}
        require(isinstance(values, Mapping), "the configuration", values, "a mapping of sections")
        for section in values:
            if section not in sections:
                raise InputError(f"there is no field {section!r} in the configuration")
        return Config(**{name: _section(sections[name], name, fields) for name, fields in values.items()})

    @property
    def computed(self) -> dict[str, Any]:
        """Path → value of every field that changes the result; the dataset is left out, since it has a fingerprint."""
        sections = self.to_dict()
        sections |= {f"schedules.{name}": fields for name, fields in sections.pop("schedules").items()}
        paths = {f"{section}.{name}": value for section, fields in sections.items() for name, value in fields.items()}
        for path in ("model.kind", "training.optimizer"):
            if is_own(paths[path]):
                paths[path] = paths[path].rpartition("/")[2]
        same = ("devices.", "hosts.", "data.name", "data.source_dir", "data.channels", "data.placement")
        return {path: value for path, value in paths.items() if not path.startswith(same)}

    def differences(self, other: Config) -> list[str]:
        """List the fields of `computed` in which two configurations differ, as `name: 1 here, 2 there`."""
        here, there = self.computed, other.computed
        differing = [path for path in {**here, **there} if here.get(path) != there.get(path)]
        return [f"{path}: {here.get(path)} here, {there.get(path)} there" for path in differing]


_NAMED = ("coefficients", "schedules", "model.options")
"""mappings whose names the user's classes declare"""


def _section(made: Any, section: str, fields: Any) -> Any:
    """Build a section from its fields."""
    if isinstance(fields, made):
        return fields
    require(isinstance(fields, Mapping), section, fields, "a mapping of its fields")
    if not dataclasses.is_dataclass(made):
        return made(fields)
    known = {each.name for each in dataclasses.fields(made)}
    if unknown := [name for name in fields if name not in known]:
        raise InputError(f"there is no field '{section}.{unknown[0]}' in the configuration")
    return made(**fields)
