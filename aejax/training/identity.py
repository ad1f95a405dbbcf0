"""Identity of a run: everything that its states follow from, with the software and the machine that compute it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from aejax.config import Config, InputError
from aejax.config.checks import is_own
from aejax.config.user_files import digests, named
from aejax.data import Dataset, Standardization
from aejax.models.randomness import DRAWS
from aejax.training.start import devices

_LENGTH = "training.epochs", "training.patience"
"""fields that say how long to train: a resumed run may change them"""


@dataclass(frozen=True)
class DatasetIdentity:
    """Identity of a dataset, and the form in which a model takes its examples.

    Attributes:
        name: for messages only; two runs may name the same examples differently.
        image_shape: (height, width, channels); a vector of D values is (1, D, 1).
        vectors: whether the examples are vectors [N, D].
        range: lowest and highest value of a pixel (see `Dataset.range`); None for vectors of floats.
        fingerprint: `Dataset.fingerprint`.
        standardization: from `Standardization.to_dict`; None where vectors are not standardized.
        labels: `Dataset.labels_fingerprint`; None without labels.
    """

    name: str
    image_shape: tuple[int, int, int]
    vectors: bool
    range: tuple[float, float] | None
    fingerprint: str
    standardization: dict[str, list[float]] | None
    labels: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        object.__setattr__(self, "range", None if self.range is None else tuple(self.range))
        if [type(size) for size in self.image_shape] != [int] * 3:
            raise ValueError(f"dataset.image_shape is {list(self.image_shape)}; it must be three whole numbers")
        if not isinstance(self.name, str) or not isinstance(self.fingerprint, str):
            raise ValueError("dataset.name and dataset.fingerprint must be strings")


@dataclass(frozen=True)
class Identity:
    """Identity of a run; the content of config.json.

    Attributes:
        config: the configuration.
        dataset: the examples.
        files: SHA-256 of each file of the user's, by its name.
        draws: version of the random draws (`aejax.models.randomness`).
        settings: JAX's settings that change the numbers, by their names in JAX.
        versions: of Python and of the packages that a result depends on.
        device, cores, vector_bits: from `describe_machine`.
        members: of a sweep's program: the swept values of each member, by its name; else None.
    """

    config: Config
    dataset: DatasetIdentity
    files: dict[str, str]
    draws: int
    settings: dict[str, Any]
    versions: dict[str, str]
    device: str
    cores: int | None
    vector_bits: int | None
    members: dict[str, dict[str, float]] | None = None

    @staticmethod
    def of(
        config: Config,
        dataset: Dataset,
        standardization: Standardization | None = None,
        members: dict[str, dict[str, float]] | None = None,
    ) -> Identity:
        """Describe a run that this process begins or resumes.

        Args:
            dataset: the examples as the user gave them.
            standardization: the change that is made to them before training.
        """
        examples = DatasetIdentity(
            dataset.name,
            dataset.image_shape,
            dataset.vectors,
            dataset.range,
            dataset.fingerprint,
            None if standardization is None else standardization.to_dict(),
            dataset.labels_fingerprint,
        )
        return Identity(config, examples, digests(config), DRAWS, settings(), **describe_machine(), members=members)

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Identity:
        """Read the content of config.json.

        Raises:
            InputError, KeyError, TypeError, ValueError: a part is missing, unknown or has a wrong value.
        """
        rest = dict(content)
        config = Config.from_dict({section.name: rest.pop(section.name) for section in dataclasses.fields(Config)})
        return Identity(config, DatasetIdentity(**rest.pop("dataset")), **rest)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of config.json, ready for JSON and without the folders of the user's files."""
        rest = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "config"}
        rest["dataset"] = dataclasses.asdict(self.dataset)
        if self.members is None:
            del rest["members"]
        return named(self.config).to_dict() | json.loads(json.dumps(rest))

    def of_length(self, config: Config) -> Identity:
        """Return the same identity with the number of epochs and the patience of another configuration."""
        length = {path: getattr(config.training, path.partition(".")[2]) for path in _LENGTH}
        return dataclasses.replace(self, config=self.config.replace(length))

    def equals(self, other: Identity) -> bool:
        """Whether two identities are the same except for the length of the training."""
        return self.of_length(other.config).to_dict() == other.to_dict()

    def same_run(self, other: Identity) -> bool:
        """Whether the states of one run are states of the other one too."""
        return self._determining() == other._determining()

    def _determining(self) -> list[Any]:
        free = _LENGTH if _may_be_longer(self.config) else _LENGTH[1:]
        computed = {path: value for path, value in self.config.computed.items() if path not in free}
        return [computed, dataclasses.replace(self.dataset, name=""), self.files, self.draws, self.members]

    def require_resumes(self, saved: Identity, workdir: Path) -> None:
        """Refuse to resume the run in a workdir as another run.

        Raises:
            InputError: the configuration, the examples or JAX's settings differ, or the run would become shorter.
        """
        config, other = self.config, "give another workdir"
        differences = config.differences(saved.config)
        if any(not difference.startswith(tuple(f"{path}:" for path in _LENGTH)) for difference in differences):
            raise InputError(
                f"{workdir / 'config.json'} describes another configuration ({'; '.join(differences)}); give the same "
                "configuration or another workdir, or remove this workdir"
            )
        if config.training.epochs < saved.config.training.epochs:
            raise InputError(
                f"{workdir} holds a run of more epochs ({'; '.join(differences)}); the number of epochs can only be "
                f"raised: {other}"
            )
        if config.training.epochs > saved.config.training.epochs and not _may_be_longer(config):
            raise InputError(
                f"{workdir} holds a run of fewer epochs ({'; '.join(differences)}), and the {config.training.schedule} "
                f"schedule depends on their number: it cannot be trained longer; {other}"
            )
        saved.require_files(config, workdir)
        here, there = self.dataset, saved.dataset
        if (here.image_shape, here.fingerprint) != (there.image_shape, there.fingerprint):
            raise InputError(
                f"{workdir} holds a run on other images ({there.fingerprint} there, {here.fingerprint} here); {other}"
            )
        if is_own(config.model.kind) and here.labels != there.labels:
            raise InputError(f"{workdir} holds a run on the same images with other labels; {other}")
        if self.members != saved.members:
            raise InputError(f"{workdir} holds a sweep of other members; {other}")
        if self.draws != saved.draws:
            raise InputError(
                f"{workdir} was begun by a version of aejax that draws other random numbers from a seed; use that "
                f"version, or {other}"
            )
        for name, now in self.settings.items():
            if (before := saved.settings.get(name)) != now:
                raise InputError(
                    f"{workdir} was begun with {name} = {before}, and {now} gives other numbers: set {name} to "
                    f"{before}, or {other}"
                )
        before, now = saved.versions["jax"], self.versions["jax"]
        if before != now:
            logging.getLogger("aejax").warning(
                "%s was begun with jax %s and is resumed with %s: results agree to rounding, not bit for bit",
                workdir, before, now,
            )  # fmt: skip

    def require_files(self, config: Config, workdir: Path) -> None:
        """Refuse a configuration whose user's files have changed since this run, in a workdir, began.

        Raises:
            InputError: the content of a file differs.
        """
        for name, digest in digests(config).items():
            if self.files.get(name) != digest:
                raise InputError(
                    f"{workdir} was trained with another {name}; put that file back ({workdir / 'files' / name} is a "
                    "copy), or give another workdir"
                )


def _may_be_longer(config: Config) -> bool:
    """Whether the states of the first epochs do not depend on the number of epochs."""
    return config.training.schedule == "constant"


def describe_machine() -> dict[str, Any]:
    """Return the versions, the kind of device, and the processor's number of cores and width of vectors in bits."""
    device = devices()[0].device_kind
    return {"versions": versions(), "device": device, "cores": os.cpu_count(), "vector_bits": _vector_bits()}


def settings() -> dict[str, Any]:
    """Return JAX's settings that change random draws or the rounding of products, by their names in JAX."""
    names = ("enable_x64", "threefry_partitionable", "default_matmul_precision")
    return {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    packages = ("jax", "flax", "optax", "orbax-checkpoint")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def _vector_bits() -> int | None:
    """Return the width of the widest vectors of an x86 processor; None where the system does not tell."""
    try:
        flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return None
    return next((bits for name, bits in {"avx512f": 512, "avx2": 256, "sse2": 128}.items() if name in flags), None)
