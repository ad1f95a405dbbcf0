"""Examples to learn from and to test on: images or vectors, with their classes where these are known."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.data.generated import GeneratedArray, Truth
from aejax.data.labels import as_classes
from aejax.data.mapped import Shards, crc32, require_memory
from aejax.data.pixels import Channels, as_examples, scale, size

Examples = np.ndarray | Shards | GeneratedArray
"""what holds examples: an array, several files as one, or what computes them"""


@dataclass(frozen=True, repr=False)
class Dataset:
    """Examples to learn from and examples to test on.

    Attributes:
        name: what figures and reports call it.
        train, test: images uint8[N, H, W, C], or float32, float16 or bfloat16 where the user's own pixels are floats;
            or vectors [N, D] of the same types. They may lie in mapped files that are larger than memory, each in one
            or in several (`Shards`), or be generated as they are needed (`generated.py`).
        train_labels, test_labels: classes [N], where known; only a model of the user's own trains on them.
        set_aside: whether the test examples are a fifth of those that were given.
    """

    name: str
    train: Examples
    test: Examples
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    set_aside: bool = False

    def __post_init__(self) -> None:
        if self.train.shape[1:] != self.test.shape[1:]:
            raise InputError(
                f"{self.name}: training examples are {size(self.train.shape[1:])}, test examples "
                f"{size(self.test.shape[1:])}; they must be of one size"
            )
        if self.train.dtype != self.test.dtype:
            raise InputError(
                f"{self.name}: training examples are {self.train.dtype}, test examples {self.test.dtype}; "
                "they must be of one type"
            )

    def __repr__(self) -> str:
        kind = "vectors" if self.vectors else "images"
        return f"Dataset({self.name}: {len(self.train)} and {len(self.test)} {kind}, {size(self.train.shape[1:])})"

    @property
    def vectors(self) -> bool:
        """Whether the examples are vectors [N, D], not images."""
        return self.train.ndim == 2

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels), as models meet an example: a vector of D values is (1, D, 1)."""
        return (1, self.train.shape[1], 1) if self.vectors else self.train.shape[1:]

    @functools.cached_property
    def range(self) -> tuple[float, float] | None:
        """On which scale a model meets the training pixels, see `scale`; None of vectors, which have no common one."""
        return None if self.vectors and self.train.dtype != np.uint8 else scale(self.train)

    @functools.cached_property
    def truth(self) -> Truth | None:
        """The features that generated examples are made of; None of other examples."""
        return Truth(self.train.specification) if isinstance(self.train, GeneratedArray) else None

    def passes(self, images: int) -> int:
        """How often an epoch passes over the training images to meet about so many, at least once.

        So a small dataset has about as many steps per epoch as a large one.
        """
        return 1 if isinstance(self.train, GeneratedArray) else max(1, images // len(self.train))

    @property
    def fingerprint(self) -> str:
        """Tells one content from another: sizes, types and a CRC-32 of the pixels, or of generated ones their law."""
        if isinstance(self.train, GeneratedArray):
            return f"{self.train.fingerprint}, {self.test.fingerprint}"
        return ", ".join(
            f"{part} {images.dtype}{list(images.shape)} {crc32(images):08x}"
            for part, images in (("train", self.train), ("test", self.test))
        )

    @property
    def labels_fingerprint(self) -> str | None:
        """The same of the labels; None where there are none."""
        train, test = self.class_indices()
        return None if train is None else f"{crc32(train):08x}" + ("" if test is None else f" {crc32(test):08x}")

    def class_indices(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The labels of both parts as models meet them, int32[N], or None where there are none.

        Integers stay as they are; of any other kind each class has its place among all of them, sorted.
        """
        given = [None if labels is None else np.asarray(labels) for labels in (self.train_labels, self.test_labels)]
        known = [labels for labels in given if labels is not None]
        if all(labels.dtype.kind in "iu" for labels in known):
            return tuple(None if labels is None else labels.astype(np.int32) for labels in given)
        classes = np.unique(np.concatenate(known))
        return tuple(None if labels is None else np.searchsorted(classes, labels).astype(np.int32) for labels in given)

    def standardized(self) -> tuple[Dataset, Standardization]:
        """The same vectors with mean 0 and standard deviation 1 in each feature of the training part, float32.

        Raises:
            InputError: these are images, or a copy does not fit in memory.
        """
        if not self.vectors:
            raise InputError(f"data.standardize is for vectors [N, D]; {self.name} holds images")
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
        name: str = "array",
        channels: Channels = "auto",
    ) -> Dataset:
        """Take the user's own arrays; see `as_examples` and `as_classes` for what is accepted.

        Without test examples a fixed, random fifth of the training examples is set aside as such.

        Raises:
            InputError: the arrays hold no images or vectors, are of two sizes, or hold values that are not finite; or
                the labels are no classes, one for each example.
        """
        if test is None and test_labels is not None:
            raise InputError(f"{name}: there are test labels, but no test examples; give both")
        train = as_examples(train, f"{name}: training examples", channels)
        if train_labels is not None:
            train_labels = as_classes(train_labels, len(train), f"{name}: training labels")
        if test is not None:
            test = as_examples(test, f"{name}: test examples", channels)
            if test_labels is not None:
                test_labels = as_classes(test_labels, len(test), f"{name}: test labels")
            return Dataset(name, train, test, train_labels, test_labels)
        if len(train) < 2:
            raise InputError(f"{name}: one example cannot be split into training and test examples")
        advice = "give test examples too: train.npy and test.npy in a folder, or shards train-... and test-..."
        require_memory(2 * train.nbytes, f"{name}: to set a fifth aside", advice)
        order = np.random.default_rng(0).permutation(len(train))
        held_out, kept = np.split(order, [max(1, len(train) // 5)])
        labels = [None if train_labels is None else train_labels[part] for part in (kept, held_out)]
        return Dataset(name, train[kept], train[held_out], *labels, set_aside=True)


@dataclass(frozen=True)
class Standardization:
    """Mean and standard deviation of each feature, float32[D]; a feature that is constant is only moved to 0."""

    mean: np.ndarray
    deviation: np.ndarray

    @staticmethod
    def of(vectors: np.ndarray | Shards) -> Standardization:
        """Of vectors [N, D], computed in float64."""
        vectors = np.asarray(vectors, np.float32)
        mean, deviation = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
        return Standardization(np.float32(mean), np.float32(np.where(deviation > 0, deviation, 1)))

    @staticmethod
    def from_dict(recorded: Mapping[str, Any]) -> Standardization:
        """The inverse of `to_dict`."""
        return Standardization(np.float32(recorded["mean"]), np.float32(recorded["deviation"]))

    def to_dict(self) -> dict[str, list[float]]:
        """Ready for JSON, without loss."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    def apply(self, vectors: np.ndarray | Shards) -> np.ndarray:
        """Vectors [N, D] as a model meets them, float32."""
        return (np.asarray(vectors, np.float32) - self.mean) / self.deviation

    def invert(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors [N, D] of a model on the scale of the data, float32."""
        return vectors * self.deviation + self.mean
