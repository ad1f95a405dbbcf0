"""Training, validation and test examples: images or vectors, with their classes and targets if there are any."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.config.sections import Data
from aejax.data import tables
from aejax.data.examples import Computed, Examples, Shards, examples_of, require_alike, require_memory, size
from aejax.data.images import all_fitted
from aejax.data.parts import CALLED
from aejax.data.pixels import Channels, as_classes, as_examples, as_targets, is_known, scale


@dataclass(frozen=True, repr=False)
class Dataset:
    """Training and test examples, and validation examples if there are any.

    Attributes:
        name: appears in figures and reports.
        train, test: images uint8[N, H, W, C], or float32, float16 or bfloat16; or vectors [N, D] of these types. They
            are NumPy arrays, possibly in mapped files larger than memory; `Shards` in several files; or `Computed`.
        train_labels, test_labels: classes [N] if known, -1 (or "" among names) where one is missing; only models of
            your own train on them.
        set_aside: whether the test examples are a fifth of the given ones.
        train_targets, test_targets: arrays [N, ...] that models learn to return; None where the target is the input.
        validation, validation_labels, validation_targets: like those of `test`; everything that chooses
            (`training.patience`, a sweep, the best checkpoint) chooses by them. None without validation examples.
        feature_names: of vectors, [D]; None without names.
        examples: "train", "test" and, if given, "validation" → the examples as `aejax.data.examples` describes them;
            read them only once.
    """

    name: str
    train: Examples
    test: Examples
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    set_aside: bool = False
    train_targets: np.ndarray | None = None
    test_targets: np.ndarray | None = None
    validation: Examples | None = None
    validation_labels: np.ndarray | None = None
    validation_targets: np.ndarray | None = None
    feature_names: tuple[str, ...] | None = None
    examples: Mapping[str, Shards | Computed] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        given = {part: getattr(self, part) for part in CALLED}
        examples = {part: examples_of(each) for part, each in given.items() if each is not None}
        plain = {part: getattr(each, "plain", each) for part, each in examples.items()}
        vars(self).update(plain, examples=examples)
        for name in (f"{part}_{what}" for part in CALLED for what in ("labels", "targets")):
            if (array := getattr(self, name)) is not None:
                vars(self)[name] = np.asanyarray(array)
        if self.feature_names is not None and self.train.shape[1:] != (len(self.feature_names),):
            found = f"{len(self.feature_names)} feature_names for examples of {size(self.train.shape[1:])}"
            raise InputError(f"{self.name}: there are {found}; give a name for each value of a vector")
        require_alike({f"{CALLED[part]} examples": each for part, each in examples.items()}, f"{self.name}: ")
        targets = {part: getattr(self, f"{part}_targets") for part in examples}
        if any(each is not None for each in targets.values()):
            for part, each in targets.items():
                found, wanted = 0 if each is None else len(each), len(examples[part])
                if found != wanted:
                    advice = f"give a target for each {CALLED[part]} example"
                    raise InputError(f"{self.name}: there are {found} {part}_targets for {wanted} examples; {advice}")
            require_alike({f"{CALLED[part]} targets": each for part, each in targets.items()}, f"{self.name}: ")

    def __repr__(self) -> str:
        counts = " and ".join(str(len(examples)) for examples in self.examples.values())
        return f"Dataset({self.name}: {counts} {self.kind}, {size(self.train.shape[1:])})"

    @property
    def vectors(self) -> bool:
        """Whether the examples are vectors [N, D], not images."""
        return self.train.ndim == 2

    @property
    def kind(self) -> str:
        """What the examples are, in messages: images or vectors."""
        return "vectors" if self.vectors else "images"

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
            parts |= {f"{part} targets": Shards([getattr(self, f"{part}_targets")]) for part in self.examples}
        return ", ".join(f"{part} {array.fingerprint}" for part, array in parts.items())

    @property
    def labels_fingerprint(self) -> str | None:
        """Identifies the labels; None without labels."""
        given = [Shards([labels]).fingerprint for labels in self.class_indices() if labels is not None]
        return ", ".join(given) if self.train_labels is not None else None

    def class_indices(self) -> tuple[np.ndarray | None, ...]:
        """Return the labels of each part of `examples` as models meet them, int32[N]; None without labels.

        Integers keep their values. Names become their indices among the sorted names of all parts. A missing label is
        -1.
        """
        given = [getattr(self, f"{part}_labels") for part in self.examples]
        known = [labels for labels in given if labels is not None]
        if any(labels.dtype.kind not in "iu" for labels in known):
            classes = np.unique(np.concatenate([labels[is_known(labels)] for labels in known]))
            given = [
                None if labels is None else np.where(is_known(labels), np.searchsorted(classes, labels), -1)
                for labels in given
            ]
        return tuple(None if labels is None else labels.astype(np.int32) for labels in given)

    def targets(self) -> tuple[np.ndarray | None, ...]:
        """Return the targets of each part of `examples` as models meet them, [N, ...] (see `as_met`), or None."""
        given = [getattr(self, f"{part}_targets") for part in self.examples]
        return tuple(
            None if each is None else each.reshape(len(each), *as_met(each.shape[1:], self.vectors)) for each in given
        )

    def fitted(self, data: Data) -> Dataset:
        """Return the dataset with the size and the colours of a configuration (`data.size`, `data.colour`)."""
        made = {part: all_fitted(examples, data, self.name) for part, examples in self.examples.items()}
        changed = {part: each.plain for part, each in made.items() if each is not self.examples[part]}
        return replace(self, **changed) if changed else self

    def means(self) -> np.ndarray:
        """Return the mean of each feature over the observed training values, float32[D]; refuse a feature without."""
        train = self.examples["train"]
        sums = sum(np.nansum(np.float32(piece), axis=0, dtype=np.float64) for piece in train.pieces())
        counts = sum((~np.isnan(piece)).sum(axis=0) for piece in train.pieces())
        for at in np.flatnonzero(counts == 0):
            column = at if self.feature_names is None else self.feature_names[at]
            raise InputError(f"{self.name}: column {column} has no value in any training example; remove the column")
        return np.float32(sums / counts)

    def standardized(self) -> tuple[Dataset, Standardization]:
        """Return the vectors with mean 0 and standard deviation 1 in each training feature, float32.

        Raises:
            InputError: a copy does not fit in memory.
        """
        needed = 4 * sum(examples.size for examples in self.examples.values())
        require_memory(needed, f"{self.name}: to standardize them", "leave it out")
        change = Standardization.of(self.train)
        return replace(self, **{part: change.apply(getattr(self, part)) for part in self.examples}), change

    @staticmethod
    def from_arrays(
        train: Any,
        test: Any = None,
        *,
        train_labels: Any = None,
        test_labels: Any = None,
        train_targets: Any = None,
        test_targets: Any = None,
        validation: Any = None,
        validation_labels: Any = None,
        validation_targets: Any = None,
        name: str = "array",
        channels: Channels = "auto",
        size: int | None = None,
        colour: str | None = None,
        missing: str = "refuse",
        label: str | None = None,
        feature_names: Sequence[str] | None = None,
    ) -> Dataset:
        """Convert arrays to a dataset; `as_examples` and `as_classes` say which arrays are accepted.

        Without test examples, a fixed random fifth of the training examples is set aside as test examples. Targets
        [N, ...] are uint8, which a model meets from 0 to 1, or floats of any scale.

        Args:
            channels, size, colour, missing, label: as `aejax.config.sections.Data` describes them.
            feature_names: of the values of a vector; None takes the names of a data frame's columns.

        Raises:
            InputError: the arrays are no images or vectors of one size and finite values, the labels are not one class
                per example, or the targets are not one array per example of both parts.
        """
        data = Data(channels=channels, size=size, colour=colour, missing=missing, label=label)
        given = {
            "train": (train, train_labels, train_targets),
            "test": (test, test_labels, test_targets),
            "validation": (validation, validation_labels, validation_targets),
        }
        made: dict[str, Any] = {}
        for part, (examples, labels, targets) in given.items():
            called = f"{name}: {CALLED[part]}"
            if examples is None and part != "train":
                if labels is not None or targets is not None:
                    raise InputError(f"{name}: there are {part} labels or targets, but no {part} examples; give both")
                continue
            if tables.is_table(examples):
                like = made.get("feature_names")
                examples, classes, names = tables.columns(examples, f"{called} examples", label, like)
                labels, feature_names = classes if labels is None else labels, feature_names or names
            elif label is not None:
                raise InputError(f"{called} examples have no named columns, and data.label is {label!r}; give a table")
            examples = as_examples(examples, f"{called} examples", data, feature_names)
            made[part] = all_fitted(examples, data, f"{called} examples")
            made["feature_names"] = None if feature_names is None else tuple(map(str, feature_names))
            if labels is not None:
                made[f"{part}_labels"] = as_classes(labels, len(made[part]), f"{called} labels")
            if targets is not None:
                made[f"{part}_targets"] = as_targets(targets, len(made[part]), f"{called} targets", channels)
        if "test" in made:
            return Dataset(name, **made)
        train = made["train"]
        if len(train) < 2:
            raise InputError(f"{name}: one example cannot be split into training and test examples; give both parts")
        advice = "give test examples too: train.npy and test.npy in a folder, or shards train-... and test-..."
        require_memory(2 * train.nbytes, f"{name}: to set a fifth aside", advice)
        order = np.random.default_rng(0).permutation(len(train))
        held_out, kept = np.split(order, [max(1, len(train) // 5)])
        return Dataset(name, **made | aside(made, "test", held_out, kept), set_aside=True)


def aside(arrays: Mapping[str, Any], part: str, held_out: np.ndarray, kept: np.ndarray) -> dict[str, Any]:
    """Divide training examples, labels and targets: name → rows `kept`, or rows `held_out` under the name of a part.

    Args:
        arrays: name of an attribute of `Dataset` → its value; only those of the training examples are used.
    """
    given = {name: array for name, array in arrays.items() if name.startswith("train") and array is not None}
    divided = {name.replace("train", part): array[held_out] for name, array in given.items()}
    return {name: array[kept] for name, array in given.items()} | divided


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
        """Compute both of vectors [N, D], in float64, over observed values."""
        vectors = np.asarray(vectors, np.float32)
        of_mean, of_deviation = (np.nanmean, np.nanstd) if np.isnan(vectors).any() else (np.mean, np.std)
        mean, deviation = (of(vectors, axis=0, dtype=np.float64) for of in (of_mean, of_deviation))
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
