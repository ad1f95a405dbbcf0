"""Identity of a run: everything that its states follow from, with the software and the machine that compute it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aejax.config import Config, InputError
from aejax.config.checks import is_own
from aejax.config.user_files import digests, named
from aejax.data import Dataset, Standardization
from aejax.models.randomness import DRAWS
from aejax.training.start import devices

_VECTOR_BITS = {"avx512f": 512, "avx2": 256, "sse2": 128}


@dataclass(frozen=True)
class DatasetIdentity:
    """Identity of a dataset, and the form in which a model takes its examples."""

    name: str  # for messages only; two runs may name the same examples differently
    image_shape: tuple[int, int, int]  # (height, width, channels); a vector of D values is (1, D, 1)
    vectors: bool  # whether the examples are vectors [N, D]
    range: tuple[float, float] | None  # lowest and highest value of a pixel; None for vectors of floats
    fingerprint: str
    standardization: dict[str, list[float]] | None  # from `Standardization.to_dict`
    labels: str | None  # `Dataset.labels_fingerprint`; None without labels
    target_shape: tuple[int, ...] | None = None  # of one target as the user gave it; None without targets
    means: tuple[float, ...] | None = None  # of each feature, in place of missing values (data.missing mask)
    feature_names: tuple[str, ...] | None = None  # of vectors, if the user gave names

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_shape", tuple(self.image_shape))
        for name in ("range", "target_shape", "means", "feature_names"):
            object.__setattr__(self, name, None if getattr(self, name) is None else tuple(getattr(self, name)))
        sizes, texts = list(map(type, self.image_shape)), (self.name, self.fingerprint)
        if sizes != [int] * 3 or not all(isinstance(text, str) for text in texts):
            raise ValueError("dataset.image_shape must be three whole numbers, dataset.name and .fingerprint strings")

    @property
    def imputed(self) -> tuple[float, ...]:
        """Values in place of missing values as a model meets them, see `build_steps`."""
        return (0.0,) if self.means is None or self.standardization is not None else self.means


@dataclass(frozen=True)
class Identity:
    """Identity of a run; the content of config.json."""

    config: Config
    dataset: DatasetIdentity
    files: dict[str, str]  # SHA-256 of each file of the user's, by its name
    draws: int  # version of the random draws (`aejax.models.randomness`)
    settings: dict[str, Any]  # JAX's settings that change random draws or the rounding of products
    versions: dict[str, str]  # this field and the next three are from `describe_machine`
    device: str
    cores: int | None
    vector_bits: int | None
    members: dict[str, dict[str, float]] | None = None  # swept values of each member of a sweep's program
    start: dict[str, Any] | None = None  # from `aejax.training.source`: the state that the run began with

    @staticmethod
    def of(
        config: Config,
        dataset: Dataset,
        standardization: Standardization | None = None,
        means: np.ndarray | None = None,
        members: dict[str, dict[str, float]] | None = None,
    ) -> Identity:
        """Describe a run that this process begins or resumes, on the examples as the user gave them."""
        same = ("name", "image_shape", "vectors", "range", "fingerprint", "target_shape", "feature_names")
        form = {name: getattr(dataset, name) for name in same} | {"labels": dataset.labels_fingerprint}
        form["means"] = None if means is None else means.tolist()
        scale = None if standardization is None else standardization.to_dict()
        examples = DatasetIdentity(**form, standardization=scale)
        names = ("jax_enable_x64", "jax_threefry_partitionable", "jax_default_matmul_precision")
        settings = {name: getattr(jax.config, name) for name in names}
        return Identity(config, examples, digests(config), DRAWS, settings, **describe_machine(), members=members)

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> Identity:
        """Read the content of config.json; a missing, unknown or wrong part raises one of many errors."""
        rest = dict(content)
        config = Config.from_dict({section.name: rest.pop(section.name) for section in dataclasses.fields(Config)})
        return Identity(config, DatasetIdentity(**rest.pop("dataset")), **rest)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of config.json, ready for JSON and without the folders of the user's files."""
        rest = dataclasses.asdict(self)
        del rest["config"]
        return named(self.config).to_dict() | json.loads(json.dumps(rest))

    def of_length(self, config: Config) -> Identity:
        """Return the same identity with the patience of another configuration and, if it may change, the epochs."""
        length = {"training.patience": config.training.patience}
        if self.config.epochs_may_grow:
            length["training.epochs"] = config.training.epochs
        return dataclasses.replace(self, config=self.config.replace(length))

    def require_resumes(self, saved: Identity, workdir: Path) -> None:
        """Refuse to resume the run in a workdir as another run.

        Raises InputError: it lists what differs. The patience may differ; there may be more epochs, unless a schedule
            depends on their number.
        """
        here, there, free = self.determining, saved.determining, {"training.patience"}
        if self.config.epochs_may_grow and here["training.epochs"] > there["training.epochs"]:
            free.add("training.epochs")
        if self.start is None:  # the source was not read
            free.add("state of training.start")
        differing = [name for name in {**here, **there} if name not in free and here.get(name) != there.get(name)]
        listed = "; ".join(f"{name}: {here.get(name)} here, {there.get(name)} there" for name in differing)
        if differing:
            raise InputError(
                f"{workdir} holds another run, by its config.json ({listed}); use the same (epochs can only be "
                "added, if no schedule depends on their number), or give another workdir"
            )
        saved.require_files(self.config, workdir)
        if saved.versions["jax"] != self.versions["jax"]:
            logging.getLogger("aejax").warning(
                "%s was begun with jax %s and is resumed with %s: results agree to rounding, not bit for bit",
                workdir, saved.versions["jax"], self.versions["jax"],
            )  # fmt: skip

    @property
    def determining(self) -> dict[str, Any]:
        """Name → value of all that the states follow from, besides the user's files and the versions."""
        labels = self.dataset.labels if is_own(self.config.model.kind) else None
        examples = {"examples": self.dataset.fingerprint, "labels": labels}
        draws = {"members": self.members, "version of the random draws": self.draws}
        draws["state of training.start"] = self.start and self.start["digest"]
        return self.config.computed | examples | draws | self.settings

    def require_files(self, config: Config, workdir: Path) -> None:
        """Refuse a configuration whose user's files have changed since this run, in a workdir, began."""
        for name, digest in digests(config).items():
            if self.files.get(name) != digest:
                raise InputError(
                    f"{workdir} was trained with another {name}; put that file back ({workdir / 'files' / name} is a "
                    "copy), or give another workdir"
                )


def describe_machine() -> dict[str, Any]:
    """Return the versions of Python and of packages, the kind of device, and the processor's cores and vector width.

    vector_bits is None where the system does not tell, or the processor is not x86.
    """
    described = Path("/proc/cpuinfo")
    flags = described.read_text(encoding="utf-8", errors="replace").split() if described.exists() else []
    packages = ("jax", "flax", "optax", "orbax-checkpoint")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "device": devices()[0].device_kind,
        "cores": os.cpu_count(),
        "vector_bits": next((bits for name, bits in _VECTOR_BITS.items() if name in flags), None),
    }
