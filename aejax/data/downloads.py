"""Datasets that tensorflow-datasets downloads and prepares; MNIST and Fashion-MNIST without TensorFlow.

The builders of tensorflow-datasets need TensorFlow to prepare these two, since they encode each image as PNG. Our
builders store the pixels as a plain tensor. Addresses and checksums are those of tensorflow-datasets.
"""

from __future__ import annotations

import contextlib
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
from aejax.data.array_files import idx

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
        for index, (image, label) in enumerate(zip(idx(images)[..., None], idx(labels), strict=True)):
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
            return _read(name, source_dir)
    finally:
        absl.setLevel(level)


def _read(name: str, source_dir: str | Path | None) -> dict[str, np.ndarray]:
    folder = data_dir() / "tfds"
    mnist = {"mnist": AejaxMnist, "fashion_mnist": AejaxFashionMnist}.get(name)
    try:
        builder = mnist(data_dir=folder, file_format="array_record") if mnist else tfds.builder(name, data_dir=folder)
    except Exception as error:  # an unknown name or damaged data raise many types
        raise InputError(
            f"there is no dataset {name!r}, or its prepared data in {folder} is damaged ({type(error).__name__}): "
            "remove that data, or give digits, mnist, fashion_mnist, sparse_features_512 or _16k, another name of "
            "tensorflow-datasets, FILE.py:NAME, or the path of a .npy or .npz file or of a folder"
        ) from error
    if not builder.is_prepared():
        files, url = None, builder.URL if mnist else "https://storage.googleapis.com"
        advice = f"prepare it with tensorflow-datasets on another machine and copy it to {folder}"
        advice = "give --source-dir with the original files" if mnist else advice
        if mnist and (source_dir := source_dir or os.environ.get("AEJAX_SOURCE_DIR")):
            files = _find_files(builder, name, local(source_dir, "source_dir"))
        else:
            require_network(url, f"{name}: {advice}")
        try:
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=files))
        except Exception as error:  # of any type
            raise InputError(
                f"{name} could not be prepared in {builder.data_dir}: {reason(error)}; {advice}"
            ) from error
    features = builder.info.features
    keys = ["image"] if mnist else [key for key in features if isinstance(features[key], tfds.features.Image)]
    if len(keys) != 1 or "train" not in builder.info.splits:
        raise InputError(
            f"{name} has {len(keys)} image features and the splits {list(builder.info.splits)}; "
            "it needs one image feature and a split named train"
        )
    parts = {}
    for split in {"train", "test"} & set(builder.info.splits):
        source = builder.as_data_source(split)
        examples = source.__getitems__(range(len(source)))
        images = [np.asarray(example[keys[0]]) for example in examples]
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
        size = file.stat().st_size if file.is_file() else 0
        if not file.is_file():
            wrong = "is missing"
        elif size != expected.size:
            wrong = f"has {size:,} bytes instead of {int(expected.size):,}"
        elif hashlib.sha256(file.read_bytes()).hexdigest() != expected.checksum:
            wrong = "fails its checksum (SHA-256)"
        else:
            continue
        advice = f"--source-dir names a folder with the original files, or with a folder {name}/ of them"
        raise InputError(f"{name}: {file} {wrong}; {advice}")
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
        raise InputError(f"{host} does not answer and this machine does not have {advice}, or use the dataset digits")
