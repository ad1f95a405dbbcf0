"""Images by name or path: `load_dataset("mnist")`, `load_dataset("my/images.npz")`, or plain arrays."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from aejax.config import Config, InputError
from aejax.config.environment import data_dir
from aejax.config.user_files import digests
from aejax.data import cache, image_files
from aejax.data.mapped import crc32
from aejax.data.pixels import as_images, require_range

_PARTS = ("train", "test", "train_labels", "test_labels")


@dataclass(frozen=True, repr=False)
class Dataset:
    """Images to learn from and images to test on.

    Attributes:
        name: what figures and reports call it.
        train, test: uint8[N, H, W, C], or float32[N, H, W, C] where the user's own pixels are floats; they may lie in
            mapped files that are larger than memory.
        train_labels, test_labels: classes [N], where known; only a model of the user's own trains on them.
    """

    name: str
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.train.shape[1:] != self.test.shape[1:]:
            raise InputError(
                f"{self.name}: training images are {_size(self.train)}, test images {_size(self.test)}; "
                "they must be of one size"
            )
        if self.train.dtype != self.test.dtype:
            raise InputError(
                f"{self.name}: training images are {self.train.dtype}, test images {self.test.dtype}; "
                "they must be of one type"
            )

    def __repr__(self) -> str:
        return f"Dataset({self.name}: {len(self.train)} and {len(self.test)} images, {_size(self.train)})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)"""
        return self.train.shape[1:]

    def passes(self, images: int) -> int:
        """How often an epoch passes over the training images to meet about so many, at least once.

        So a small dataset has about as many steps per epoch as a large one.
        """
        return max(1, images // len(self.train))

    @property
    def fingerprint(self) -> str:
        """Tells one content from another: sizes, types and a CRC-32 of the pixels."""
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

    @staticmethod
    def from_arrays(
        train: np.ndarray,
        test: np.ndarray | None = None,
        *,
        train_labels: np.ndarray | None = None,
        test_labels: np.ndarray | None = None,
        name: str = "array",
    ) -> Dataset:
        """Take the user's own arrays; see `as_images` for what is accepted.

        Without test images a fixed, random fifth of the training images is set aside as such.

        Raises:
            InputError: the arrays hold no images, are of two sizes, or hold pixels that are not finite.
        """
        train = as_images(train, f"{name}: training images")
        for labels, count in ((train_labels, len(train)), (test_labels, None if test is None else len(test))):
            if labels is not None and np.shape(labels) != (count,):
                raise InputError(f"{name}: labels of shape {list(np.shape(labels))} for {count} images; give one each")
        if test is not None:
            test = as_images(test, f"{name}: test images")
            return Dataset(name, train, test, train_labels, test_labels)
        if len(train) < 2:
            raise InputError(f"{name}: one image cannot be split into training and test images")
        if 2 * train.nbytes > (free := psutil.virtual_memory().available):
            raise InputError(
                f"{name}: to set a fifth aside, {train.nbytes / 1e9:.1f} GB would be copied, and of memory "
                f"{free / 1e9:.1f} GB are free; give a folder with train.npy and test.npy"
            )
        order = np.random.default_rng(0).permutation(len(train))
        held_out, kept = np.split(order, [max(1, len(train) // 5)])
        label = (lambda part: None) if train_labels is None else (lambda part: np.asarray(train_labels)[part])
        return Dataset(name, train[kept], train[held_out], label(kept), label(held_out))


def load_dataset(name: str, source_dir: str | Path | None = None) -> Dataset:
    """Load images by name or path.

    Args:
        name: `digits` (comes with scikit-learn), `mnist`, `fashion_mnist`, another image dataset of
            tensorflow-datasets, or the path of a `.npy` or `.npz` file or of a folder of images, or of
            `train.npy` and `test.npy`, which are mapped and may be larger than memory.
        source_dir: folder with the original files of MNIST or Fashion-MNIST, so that nothing is
            downloaded; the environment variable AEJAX_SOURCE_DIR where it is None.

    Raises:
        InputError: there is no such dataset, its files are missing or damaged, or they cannot be fetched.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"the dataset is {name!r}; it must be a name or a path")
    if name == "digits":
        return _from_parts(name, cache.cached(name, _digits, _PARTS))
    if name in ("mnist", "fashion_mnist"):
        return _from_parts(name, cache.cached(name, lambda: _quietly(_mnist, name, source_dir), _PARTS))
    if image_files.is_path(name):
        return _from_parts(name, image_files.read(Path(name)))
    return _from_parts(name, cache.cached(name, lambda: _quietly(_tfds, name)))


def dataset_for(config: Config, given: Dataset | np.ndarray | None) -> Dataset:
    """What a function was given as images: a dataset, an array, or None for those that the configuration names."""
    if given is None:
        return load_dataset(config.data.name, config.data.source_dir)
    return given if isinstance(given, Dataset) else Dataset.from_arrays(given)


def require_fit(config: Config, dataset: Dataset) -> None:
    """Refuse what a configuration and its images cannot do together.

    Raises:
        InputError: a batch is larger than the training set, or the loss or the corruption cannot take the pixels.
    """
    if config.training.batch_size > len(dataset.train):
        raise InputError(
            f"training.batch_size is {config.training.batch_size}; it must be at most "
            f"{len(dataset.train)}, the number of training images"
        )
    for part, images in (("training", dataset.train), ("test", dataset.test)):
        require_range(config, images, f"the {part} pixels of {dataset.name}")
    config.model.code_shape(dataset.image_shape)
    digests(config)  # a file of the user's own that fails is refused here too


def _from_parts(name: str, parts: Mapping[str, np.ndarray]) -> Dataset:
    return Dataset.from_arrays(
        parts["train"],
        parts.get("test"),
        train_labels=parts.get("train_labels"),
        test_labels=parts.get("test_labels"),
        name=name,
    )


def _digits() -> dict[str, np.ndarray]:
    """The 1,797 handwritten digits of scikit-learn, 8x8: a fixed, stratified split of 1,437 and 360."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # they count from 0 to 16
    train, test, train_labels, test_labels = train_test_split(
        images, digits.target.astype(np.int32), test_size=360, random_state=0, stratify=digits.target
    )
    return dict(train=train, test=test, train_labels=train_labels, test_labels=test_labels)


def _mnist(name: str, source_dir: str | Path | None) -> dict[str, np.ndarray]:
    from aejax.data import mnist_tfds  # tensorflow-datasets takes a second to import; a cached dataset does without

    source_dir = source_dir or os.environ.get("AEJAX_SOURCE_DIR")
    folder = data_dir() / "tfds"
    try:
        builder = mnist_tfds.builder(name, folder)
    except Exception as error:  # damage shows as one of many types
        raise InputError(f"the prepared data in {folder} is damaged ({type(error).__name__}); remove it") from error
    if not builder.is_prepared() and source_dir is None:
        _require_network(builder.URL, f"{name}: give --source-dir with the original files")
    return mnist_tfds.read(builder, None if source_dir is None else Path(source_dir))


def _quietly(prepare: Callable[..., dict[str, np.ndarray]], *arguments: object) -> dict[str, np.ndarray]:
    """Keep the chatter of tensorflow-datasets from the terminal."""
    level = (absl := logging.getLogger("absl")).level
    absl.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return prepare(*arguments)
    finally:
        absl.setLevel(level)


def _tfds(name: str) -> dict[str, np.ndarray]:
    """Any dataset of tensorflow-datasets with one image per example, all of one size."""
    import tensorflow_datasets as tfds

    elsewhere = f"prepare it with tensorflow-datasets where that works and copy it to {data_dir()}/tfds"
    try:
        builder = tfds.builder(name, data_dir=data_dir() / "tfds")
    except Exception as error:  # a name that is none, or a version that there is not, shows as one of many types
        raise InputError(
            f"there is no dataset {name!r}: use digits, mnist, fashion_mnist, a name that "
            "tensorflow-datasets knows, or the path of a .npy or .npz file or of a folder"
        ) from error
    if not builder.is_prepared():
        _require_network("https://storage.googleapis.com", f"{name}: {elsewhere}")
        try:
            builder.download_and_prepare()
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"tensorflow-datasets could not prepare {name}: {type(error).__name__}: {reason}; {elsewhere}"
            ) from error
    image_keys = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.Image)]
    if len(image_keys) != 1 or "train" not in builder.info.splits:
        raise InputError(
            f"{name} has {len(image_keys)} image features and the splits {list(builder.info.splits)}; "
            "it needs one image feature and a split named train"
        )
    parts = {}
    for split in {"train", "test"} & set(builder.info.splits):
        source = builder.as_data_source(split)
        examples = source.__getitems__(range(len(source)))
        images = [np.asarray(example[image_keys[0]]) for example in examples]
        if len({image.shape for image in images}) > 1:
            raise InputError(f"the images of {name} are of several sizes; they must be of one")
        parts[split] = np.stack(images)
        if "label" in examples[0]:
            parts[f"{split}_labels"] = np.array([example["label"] for example in examples], np.int32)
    return parts


def _require_network(url: str, advice: str, seconds: float = 3.0) -> None:
    """Fail at once where the host of `url` does not answer: tensorflow-datasets would retry for minutes."""
    host = url.split("/")[2]
    reached = []

    def connect() -> None:
        try:
            socket.create_connection((host, 443 if url.startswith("https") else 80), timeout=seconds).close()
            reached.append(host)
        except OSError:
            pass

    # A thread, since looking a name up has no time limit of its own.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(seconds)
    if not reached:
        raise InputError(
            f"{host} does not answer and this machine does not have {advice}, "
            "or use the dataset digits, which needs no download"
        )


def _size(images: np.ndarray) -> str:
    return "x".join(map(str, images.shape[1:]))
