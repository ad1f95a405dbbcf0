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

    def same_run(self, other: Identity) -> bool:
        """Whether the states of one run are states of the other one too."""
        return self._determining() == other._determining()

    def _determining(self) -> list[Any]:
        free = _LENGTH if self.config.epochs_may_grow else _LENGTH[1:]
        computed = {path: value for path, value in self.config.computed.items() if path not in free}
        return [computed, dataclasses.replace(self.dataset, name=""), self.files, self.draws, self.members]

    def require_resumes(self, saved: Identity, workdir: Path) -> None:
        """Refuse to resume the run in a workdir as another run.

        Raises:
            InputError: the configuration, the examples or JAX's settings differ, or the run would become shorter.
        """
        config, here, there = self.config, self.dataset, saved.dataset
        differences = config.differences(saved.config)
        listed, length = "; ".join(differences), tuple(f"{path}:" for path in _LENGTH)
        more = config.training.epochs - saved.config.training.epochs
        for refused, held in (
            (
                any(not difference.startswith(length) for difference in differences),
                f"a run with another configuration, by its config.json ({listed})",
            ),
            (more < 0, f"a run of more epochs ({listed}), and their number can only be raised"),
            (
                more > 0 and not config.epochs_may_grow,
                f"a run of fewer epochs ({listed}), and a schedule depends on their "
                "number: it cannot be trained longer",
            ),
            (
                (here.image_shape, here.fingerprint) != (there.image_shape, there.fingerprint),
                f"a run on other images, by its config.json ({there.fingerprint} there, {here.fingerprint} here)",
            ),
            (is_own(config.model.kind) and here.labels != there.labels, "a run on the same images with other labels"),
            (self.members != saved.members, "a sweep of other members"),
            (self.draws != saved.draws, "a run of a version of aejax that draws other numbers from a seed"),
            *(
                (
                    now != (before := saved.settings.get(name)),
                    f"a run that was begun with {name} = {before}, and {now} gives other numbers",
                )
                for name, now in self.settings.items()
            ),
        ):
            if refused:
                raise InputError(f"{workdir} holds {held}; use the same, or give another workdir")
        saved.require_files(config, workdir)
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
