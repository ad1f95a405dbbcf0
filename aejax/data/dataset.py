"""Training and test examples: images or vectors, with their classes and targets if there are any."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.data.examples import Computed, Examples, examples_of
from aejax.data.labels import as_classes, is_known
from aejax.data.mapped import Shards, require_memory
from aejax.data.pixels import Channels, as_targets, converted, scale, size


@dataclass(frozen=True, repr=False)
class Dataset:
    """Training and test examples.

    Attributes:
        name: appears in figures and reports.
        train, test: images uint8[N, H, W, C], or float32, float16 or bfloat16; or vectors [N, D] of these types. They
            are NumPy arrays, possibly in mapped files larger than memory; `Shards` in several files; or `Computed`.
        train_labels, test_labels: classes [N] if known, -1 (or "" among names) where one is missing; only models of
            your own train on them.
        set_aside: whether the test examples are a fifth of the given ones.
        train_targets, test_targets: arrays [N, ...] that models learn to return; None where the target is the input.
        examples: "train" and "test" → the examples as `aejax.data.examples` describes them; read them only once.
    """

    name: str
    train: Examples
    test: Examples
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    set_aside: bool = False
    train_targets: np.ndarray | None = None
    test_targets: np.ndarray | None = None
    examples: Mapping[str, Shards | Computed] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", {part: examples_of(getattr(self, part)) for part in ("train", "test")})
        for part, examples in self.examples.items():
            object.__setattr__(self, part, getattr(examples, "plain", examples))
        parts = {"examples": (self.train, self.test)}
        if self.train_targets is not None or self.test_targets is not None:
            parts["targets"] = self.train_targets, self.test_targets
            if [0 if each is None else len(each) for each in parts["targets"]] != [len(self.train), len(self.test)]:
                raise InputError(f"{self.name}: give a target for each training example and for each test example")
        for called, both in parts.items():
            sizes, types = [size(each.shape[1:]) for each in both], [each.dtype for each in both]
            for what, (train, test) in {"size": sizes, "type": types}.items():
                if train != test:
                    found = f"training {called} are {train}, test {called} {test}"
                    raise InputError(f"{self.name}: {found}; they must be of one {what}")

    def __repr__(self) -> str:
        kind = "vectors" if self.vectors else "images"
        return f"Dataset({self.name}: {len(self.train)} and {len(self.test)} {kind}, {size(self.train.shape[1:])})"

    @property
    def vectors(self) -> bool:
        """Whether the examples are vectors [N, D], not images."""
        return self.train.ndim == 2

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of an example as models meet it; (1, D, 1) of a vector."""
        return as_met(self.train.shape[1:], self.vectors)

    @property
    def target_shape(self) -> tuple[int, ...] | None:
        """Shape of the target of an example as a user gave it; None where the target is the input."""
        return None if self.train_targets is None else self.train_targets.shape[1:]

    @functools.cached_property
    def range(self) -> tuple[float, float] | None:
        """Range of the training pixels, see `scale`; None for vectors of floats, which have no common range."""
        return None if self.vectors and self.train.dtype != np.uint8 else scale(self.examples["train"])

    @property
    def truth(self) -> Any:
        """The ground truth of computed examples (`Computed.truth`); None for stored examples."""
        return getattr(self.examples["test"], "truth", None)

    def passes(self, images: int) -> int:
        """Return the passes per epoch that add up to about `images` training examples; 1 for computed examples."""
        return max(1, images // len(self.train)) if self.examples["train"].make is None else 1

    @functools.cached_property
    def fingerprint(self) -> str:
        """Identifies sizes, types and content of the examples, by a CRC-32 or by the identity of computed examples.

        Targets are a part of it.
        """
        parts: dict[str, Any] = dict(self.examples)
        if self.target_shape is not None:
            parts |= {"train targets": Shards([self.train_targets]), "test targets": Shards([self.test_targets])}
        return ", ".join(f"{part} {array.fingerprint}" for part, array in parts.items())

    @property
    def labels_fingerprint(self) -> str | None:
        """Identifies the labels; None without labels."""
        given = [Shards([labels]).fingerprint for labels in self.class_indices() if labels is not None]
        return ", ".join(given) if self.train_labels is not None else None

    def class_indices(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return training and test labels as models meet them, int32[N]; None without labels.

        Integers keep their values. Names become their indices among the sorted names of both parts. A missing label is
        -1.
        """
        given = [None if labels is None else np.asarray(labels) for labels in (self.train_labels, self.test_labels)]
        known = [labels for labels in given if labels is not None]
        if any(labels.dtype.kind not in "iu" for labels in known):
            classes = np.unique(np.concatenate([labels[is_known(labels)] for labels in known]))
            given = [
                None if labels is None else np.where(is_known(labels), np.searchsorted(classes, labels), -1)
                for labels in given
            ]
        train, test = (None if labels is None else labels.astype(np.int32) for labels in given)
        return train, test

    def targets(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return training and test targets as models meet them, [N, ...] (see `as_met`); None without targets."""
        given = self.train_targets, self.test_targets
        train, test = (
            None if each is None else each.reshape(len(each), *as_met(each.shape[1:], self.vectors)) for each in given
        )
        return train, test

    def standardized(self) -> tuple[Dataset, Standardization]:
        """Return the vectors with mean 0 and standard deviation 1 in each training feature, float32.

        Raises:
            InputError: a copy does not fit in memory.
        """
        require_memory(4 * (self.train.size + self.test.size), f"{self.name}: to standardize them", "leave it out")
        change = Standardization.of(self.train)
        return replace(self, train=change.apply(self.train), test=change.apply(self.test)), change

    @staticmethod
    def from_arrays(
        train: Any,
        test: Any = None,
        *,
        train_labels: Any = None,
        test_labels: Any = None,
        train_targets: Any = None,
        test_targets: Any = None,
        name: str = "array",
        channels: Channels = "auto",
    ) -> Dataset:
        """Convert arrays to a dataset; `as_examples` and `labels.as_classes` say which arrays are accepted.

        Without test examples, a fixed random fifth of the training examples is set aside as test examples. Targets
        [N, ...] are uint8, which a model meets from 0 to 1, or floats of any scale.

        Raises:
            InputError: the arrays are no images or vectors of one size and finite values, the labels are not one class
                per example, or the targets are not one array per example of both parts.
        """
        for what, given in {"labels": test_labels, "targets": test_targets}.items():
            if test is None and given is not None:
                raise InputError(f"{name}: there are test {what}, but no test examples; give both")
        train = converted(train, f"{name}: training examples", channels)
        if train_labels is not None:
            train_labels = as_classes(train_labels, len(train), f"{name}: training labels")
        if train_targets is not None:
            train_targets = as_targets(train_targets, f"{name}: training targets", channels)
        if test is not None:
            test = converted(test, f"{name}: test examples", channels)
            if test_labels is not None:
                test_labels = as_classes(test_labels, len(test), f"{name}: test labels")
            if test_targets is not None:
                test_targets = as_targets(test_targets, f"{name}: test targets", channels)
            return Dataset(name, train, test, train_labels, test_labels, False, train_targets, test_targets)
        if len(train) < 2:
            raise InputError(f"{name}: one example cannot be split into training and test examples")
        advice = "give test examples too: train.npy and test.npy in a folder, or shards train-... and test-..."
        require_memory(2 * train.nbytes, f"{name}: to set a fifth aside", advice)
        order = np.random.default_rng(0).permutation(len(train))
        held_out, kept = np.split(order, [max(1, len(train) // 5)])
        labels, targets = (
            [None if each is None else each[part] for part in (kept, held_out)]
            for each in (train_labels, train_targets)
        )
        return Dataset(name, train[kept], train[held_out], *labels, True, *targets)


def as_met(shape: tuple[int, ...], vectors: bool) -> tuple[int, ...]:
    """Return the shape in which models meet an example or a target; (1, D, 1) for those of a dataset of vectors."""
    return (1, *shape, 1) if vectors and len(shape) == 1 else shape


@dataclass(frozen=True)
class Standardization:
    """Mean and standard deviation of each feature, float32[D]; a constant feature is only shifted to 0."""

    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def of(vectors: np.ndarray | Shards) -> Standardization:
        """Compute both of vectors [N, D], in float64."""
        vectors = np.asarray(vectors, np.float32)
        mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
        return Standardization(np.float32(mean), np.float32(np.where(deviation > 0, deviation, 1)))

    @staticmethod
    def from_dict(recorded: Mapping[str, Any]) -> Standardization:
        """Invert `to_dict`."""
        return Standardization(np.float32(recorded["mean"]), np.float32(recorded["deviation"]))

    def to_dict(self) -> dict[str, list[float]]:
        """Convert to JSON content without loss."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    def apply(self, vectors: np.ndarray | Shards) -> np.ndarray:
        """Return vectors [N, D] as a model meets them, float32."""
        return (np.asarray(vectors, np.float32) - self.mean) / self.deviation

    def invert(self, vectors: np.ndarray) -> np.ndarray:
        """Return a model's vectors [N, D] on the scale of the data, float32."""
        return vectors * self.deviation + self.mean
