"""From a name, a path or arrays to a `Dataset`: `load_dataset("mnist")`, `load_dataset("my/images.npz")`."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aejax.config import Config, InputError, complete
from aejax.config.environment import data_dir
from aejax.config.paths import local
from aejax.data import array_files, array_folders, cache, image_folders
from aejax.data.array_files import PARTS
from aejax.data.dataset import Dataset
from aejax.data.generated import GeneratedArray, require_generated
from aejax.data.pixels import Channels, require_range
from aejax.data.sparse_features import KNOWN, SparseFeatures


def load_dataset(name: str | Path, source_dir: str | Path | None = None, channels: Channels = "auto") -> Dataset:
    """Load images or vectors by name or path.

    Args:
        name: `digits` (comes with scikit-learn), `mnist`, `fashion_mnist`, `sparse_features_512` and
            `sparse_features_16k` (generated, see `sparse_features.py`), another image dataset of
            tensorflow-datasets, or the path of a `.npy` or `.npz` file, or of a folder: of images, of the IDX files of
            MNIST, of `train.npy` and `test.npy`, or of shards `train-0.npy`, `train-1.npy`, ... (or `train/` with
            such). Arrays in `.npy` files are mapped and may be larger than memory.
        source_dir: folder with the original files of MNIST or Fashion-MNIST, so that nothing is
            downloaded; the environment variable AEJAX_SOURCE_DIR where it is None.
        channels: whether arrays [N, C, H, W] of a file have their channels first; see `as_examples`.

    Raises:
        InputError: there is no such dataset, its files are missing or damaged, or they cannot be fetched.
    """
    if not isinstance(name, str | Path) or not str(name).strip():
        raise InputError(
            f"the dataset is of the type {type(name).__name__}; load_dataset takes a name or a path, and "
            "aejax.Dataset.from_arrays takes arrays"
            if not isinstance(name, str)
            else "the dataset has an empty name; give a name or a path"
        )
    name = str(name)
    if name == "digits":
        return _from_parts(name, cache.cached(name, _digits, PARTS))
    if name in ("mnist", "fashion_mnist"):
        return _from_parts(name, cache.cached(name, lambda: _quietly(_mnist, name, source_dir), PARTS))
    if name in KNOWN:
        return KNOWN[name].dataset(name)
    if is_path(name):
        return _from_files(local(name, "the dataset"), channels)
    return _from_parts(name, cache.cached(name, lambda: _quietly(_tfds, name)))


def is_path(name: str) -> bool:
    """Whether a dataset's name means a file or folder rather than a known dataset."""
    return (
        Path(name).suffix in array_files.ENDINGS
        or os.path.exists(name)
        or "://" in name
        or name.startswith((".", "/", "~"))
        or (os.sep in name and Path(name).parent.exists())
    )


def as_dataset(given: Any, config: Config) -> Dataset:
    """What `aejax.fit` and its siblings are given as images: None stands for `config.data`.

    Args:
        given: a `Dataset`; a `SparseFeatures`; a name or path; an array; a pair (examples, labels); two such pairs, for
            training and for test; or a mapping with the names of `Dataset.from_arrays`.

    Raises:
        InputError: it is none of these, or what it names or holds cannot be used.
    """
    data = config.data
    if given is None or isinstance(given, str | Path):
        return load_dataset(data.name if given is None else given, data.source_dir, data.channels)
    if isinstance(given, Dataset):
        return given
    if isinstance(given, SparseFeatures):
        return given.dataset()
    if isinstance(given, Mapping):
        if "train" not in given or not set(given) <= set(PARTS):
            wrong = f"holds {', '.join(map(str, given)) or 'nothing'}"
            raise InputError(f"the dataset {wrong}; a mapping has train and may have {', '.join(PARTS[1:])}")
        return _from_parts("array", given, data.channels)
    if isinstance(given, tuple) and len(given) == 2:
        pairs = given if all(isinstance(part, tuple) and len(part) == 2 for part in given) else (given,)
        parts = {}
        for part, (examples, labels) in zip(("train", "test"), pairs, strict=False):
            if np.ndim(labels) > 2:
                raise InputError(
                    "the dataset is a pair, which is taken as examples and their classes, but the second has "
                    f"{np.ndim(labels)} axes; give aejax.Dataset.from_arrays(train, test)"
                )
            _require_same_rows(examples, labels)
            parts |= {part: examples, f"{part}_labels": labels}
        return _from_parts("array", parts, data.channels)
    return Dataset.from_arrays(given, channels=data.channels)


def _require_same_rows(examples: Any, labels: Any) -> None:
    """Refuse tables of pandas whose rows are named otherwise: by their order they would get each other's classes."""
    names = [getattr(table, "index", None) for table in (examples, labels)]
    if all(hasattr(rows, "equals") for rows in names) and not names[0].equals(names[1]):
        raise InputError("the examples and their classes have other indices; bring them into one order")


def require_fit(config: Config, dataset: Dataset) -> None:
    """Refuse what a configuration and its examples cannot do together.

    Raises:
        InputError: a batch is larger than the training set, the loss or the corruption cannot take the pixels, or the
            model is made for images and these are vectors.
    """
    if config.training.batch_size > len(dataset.train):
        aside = (
            f", after {len(dataset.test)} of those given were set aside as test examples" if dataset.set_aside else ""
        )
        raise InputError(
            f"training.batch_size is {config.training.batch_size}; it must be at most "
            f"{len(dataset.train)}, the number of training examples{aside}"
        )
    if dataset.vectors and (config.model.channels or config.model.spatial_code):
        raise InputError(
            f"{dataset.name} holds vectors [N, {dataset.train.shape[1]}], and model.channels is for images; give "
            "images [N, H, W, C], or --model.channels without values"
        )
    if config.data.standardize and not dataset.vectors:
        raise InputError(f"data.standardize is for vectors [N, D]; {dataset.name} holds images")
    if isinstance(dataset.train, GeneratedArray):
        require_generated(dataset.train, config)
    for part, images in (("training", dataset.train), ("test", dataset.test)):
        require_range(config, images, f"the {part} {'values' if dataset.vectors else 'pixels'} of {dataset.name}")
    config.model.code_shape(dataset.image_shape)
    complete(config)  # refuses a user's file that fails, and numbers that nothing declares


def require_images(dataset: Dataset, purpose: str) -> None:
    """Refuse vectors where only images make sense.

    Raises:
        InputError: the dataset holds vectors.
    """
    if dataset.vectors:
        raise InputError(f"{dataset.name} holds vectors [N, {dataset.train.shape[1]}]; {purpose} needs images")


def _from_files(path: Path, channels: Channels) -> Dataset:
    """A file or folder of the user's own; the whole path is its name, so that it is known for one from anywhere."""
    path = path.absolute()
    return _from_parts(str(path), _read(path), channels)


def _read(path: Path) -> Mapping[str, np.ndarray]:
    if path.is_dir():
        if not (path / "train.npy").is_file() and (folder := array_files.idx_folder(path)) is not None:
            return array_files.read_idx(folder)
        arrays = array_folders.read(path)
        return image_folders.read(path) if arrays is None else arrays
    if not path.is_file():
        raise InputError(f"there is no file or folder {path}")
    if path.suffix not in array_files.ENDINGS:
        table = path.suffix in (".csv", ".tsv", ".parquet", ".xlsx")
        advice = ": read a table with pandas and hand it over, aejax.fit(config, dataset=table)" if table else ""
        raise InputError(f"{path} is neither a .npy or .npz file nor a folder of images{advice}")
    return array_files.read(path)


def _from_parts(name: str, parts: Mapping[str, Any], channels: Channels = "auto") -> Dataset:
    return Dataset.from_arrays(
        parts["train"],
        parts.get("test"),
        train_labels=parts.get("train_labels"),
        test_labels=parts.get("test_labels"),
        name=name,
        channels=channels,
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

    source_dir = source_dir or os.environ.get("AEJAX_SOURCE_DIR") or None
    source_dir = None if source_dir is None else local(source_dir, "source_dir")
    folder = data_dir() / "tfds"
    try:
        builder = mnist_tfds.builder(name, folder)
    except Exception as error:  # damage shows as one of many types
        raise InputError(f"the prepared data in {folder} is damaged ({type(error).__name__}); remove it") from error
    if not builder.is_prepared() and source_dir is None:
        _require_network(builder.URL, f"{name}: give --source-dir with the original files")
    return mnist_tfds.read(builder, source_dir)


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
            f"there is no dataset {name!r}: use digits, mnist, fashion_mnist, {', '.join(KNOWN)}, a name that "
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
