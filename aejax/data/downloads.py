"""Datasets that tensorflow-datasets downloads and prepares; MNIST and Fashion-MNIST without TensorFlow.

The builders of tensorflow-datasets need TensorFlow to prepare these two, since they encode each image as PNG. Our
builders store the pixels as a plain tensor. Addresses and checksums are those of tensorflow-datasets.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.image_classification import mnist as upstream

from aejax.config import InputError
from aejax.config.checks import reason
from aejax.config.files import data_dir, local

tfds.disable_progress_bar()

_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


class _WithoutTensorFlow:
    """Reads the IDX files with gzip and stores uint8 tensors, in the order of the files."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8),
                "label": tfds.features.ClassLabel(num_classes=10),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        # `download`, not `download_and_extract`: extraction needs TensorFlow.
        paths = dl_manager.download({split: [self.URL + file for file in files] for split, files in _FILES.items()})
        return {split: self._generate_examples(*files) for split, files in paths.items()}

    def _generate_examples(self, images: Path, labels: Path) -> Iterator[tuple[int, dict]]:
        pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28, 1)
        classes = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8)
        for index, (image, label) in enumerate(zip(pixels, classes, strict=True)):
            yield index, {"image": image, "label": int(label)}


# Names that tensorflow-datasets does not have: mnist and fashion_mnist are taken.
class AejaxMnist(_WithoutTensorFlow, upstream.MNIST):
    """MNIST (Y. LeCun, C. Cortes, C. Burges)."""

    url_infos = upstream.MNIST.url_infos


class AejaxFashionMnist(_WithoutTensorFlow, upstream.FashionMNIST):
    """Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf)."""

    url_infos = upstream.FashionMNIST.url_infos


def read(name: str, source_dir: str | Path | None = None) -> dict[str, np.ndarray]:
    """Prepare a dataset if necessary, without output on the terminal, and read all of it.

    Args:
        source_dir: folder with the original files of MNIST or Fashion-MNIST; None downloads them, or takes
            AEJAX_SOURCE_DIR.

    Returns:
        train and test: uint8[N, H, W, C]; train_labels and test_labels: int32[N], if there are labels.

    Raises:
        InputError: there is no such dataset, it cannot be downloaded, its files are damaged, or it does not have one
            image per example, all of one size.
    """
    level = (absl := logging.getLogger("absl")).level
    absl.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return _mnist(name, source_dir) if name in ("mnist", "fashion_mnist") else _images(name)
    finally:
        absl.setLevel(level)


def _mnist(name: str, source_dir: str | Path | None) -> dict[str, np.ndarray]:
    source_dir = source_dir or os.environ.get("AEJAX_SOURCE_DIR") or None
    folder = data_dir() / "tfds"
    try:
        kind = {"mnist": AejaxMnist, "fashion_mnist": AejaxFashionMnist}[name]
        builder = kind(data_dir=folder, file_format="array_record")
    except Exception as error:  # damage raises many types
        raise InputError(f"the prepared data in {folder} is damaged ({type(error).__name__}); remove it") from error
    if not builder.is_prepared():
        files = None
        if source_dir is None:
            require_network(builder.URL, f"{name}: give --source-dir with the original files")
        else:
            files = _find_files(builder, name, local(source_dir, "source_dir"))
        try:
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=files))
        except (OSError, tfds.download.DownloadError, ValueError) as error:
            raise InputError(f"{name} could not be prepared in {builder.data_dir}: {reason(error)}") from error
    return _arrays(name, builder, "image")


def _images(name: str) -> dict[str, np.ndarray]:
    folder = data_dir() / "tfds"
    elsewhere = f"prepare it with tensorflow-datasets on another machine and copy it to {folder}"
    try:
        builder = tfds.builder(name, data_dir=folder)
    except Exception as error:  # an unknown name or version raises many types
        raise InputError(
            f"there is no dataset {name!r}: give digits, mnist, fashion_mnist, sparse_features_512 or 16k, "
            "a name that tensorflow-datasets knows, FILE.py:NAME, or the path of a .npy or .npz file or of a folder"
        ) from error
    if not builder.is_prepared():
        require_network("https://storage.googleapis.com", f"{name}: {elsewhere}")
        try:
            builder.download_and_prepare()
        except Exception as error:
            raise InputError(
                f"tensorflow-datasets could not prepare {name}: {type(error).__name__}: {reason(error)}; {elsewhere}"
            ) from error
    keys = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.Image)]
    if len(keys) != 1 or "train" not in builder.info.splits:
        raise InputError(
            f"{name} has {len(keys)} image features and the splits {list(builder.info.splits)}; "
            "it needs one image feature and a split named train"
        )
    return _arrays(name, builder, keys[0])


def _arrays(name: str, builder: tfds.core.DatasetBuilder, key: str) -> dict[str, np.ndarray]:
    parts = {}
    for split in {"train", "test"} & set(builder.info.splits):
        source = builder.as_data_source(split)
        examples = source.__getitems__(range(len(source)))
        images = [np.asarray(example[key]) for example in examples]
        if len({image.shape for image in images}) > 1:
            raise InputError(f"the images of {name} are of several sizes; they must be of one size")
        parts[split] = np.stack(images)
        if "label" in examples[0]:
            parts[f"{split}_labels"] = np.array([example["label"] for example in examples], np.int32)
    return parts


def _find_files(builder: tfds.core.DatasetBuilder, name: str, source_dir: Path) -> Path:
    """Return the folder with the original files, after checking each of them."""
    folder = source_dir / name if (source_dir / name).is_dir() else source_dir
    for url, expected in builder.url_infos.items():
        file = folder / url.rpartition("/")[2]
        if not file.is_file():
            raise InputError(
                f"{name}: {file} is missing; --source-dir names a folder with the original files, "
                f"or with a folder {name}/ of them"
            )
        size = file.stat().st_size
        if size != expected.size:
            raise InputError(f"{name}: {file} has {size:,} bytes instead of {int(expected.size):,}; fetch it again")
        if hashlib.sha256(file.read_bytes()).hexdigest() != expected.checksum:
            raise InputError(f"{name}: {file} fails its checksum (SHA-256); fetch it again")
    return folder


def require_network(url: str, advice: str, seconds: float = 3.0) -> None:
    """Fail at once if the host of `url` does not answer; tensorflow-datasets would retry for minutes.

    Raises:
        InputError: the host does not answer.
    """
    host = url.split("/")[2]
    reached = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, 443 if url.startswith("https") else 80), timeout=seconds).close()
            reached.set()

    # In a thread, since the look-up of a name has no time limit.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(seconds)
    if not reached.is_set():
        raise InputError(
            f"{host} does not answer and this machine does not have {advice}, "
            "or use the dataset digits, which needs no download"
        )
