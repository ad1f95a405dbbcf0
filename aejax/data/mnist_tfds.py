"""MNIST and Fashion-MNIST through tensorflow-datasets, without TensorFlow.

The builders of tensorflow-datasets need TensorFlow to prepare these two sets, since they encode each image
as PNG. Ours keep the pixels as a plain tensor, and so do without; addresses and checksums stay theirs.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.image_classification import mnist as upstream

from aejax.config import InputError

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


# A name that tensorflow-datasets does not have yet: mnist and fashion_mnist are taken.
class AejaxMnist(_WithoutTensorFlow, upstream.MNIST):
    """MNIST (Y. LeCun, C. Cortes, C. Burges)."""

    url_infos = upstream.MNIST.url_infos


class AejaxFashionMnist(_WithoutTensorFlow, upstream.FashionMNIST):
    """Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf)."""

    url_infos = upstream.FashionMNIST.url_infos


def builder(name: str, data_dir: Path) -> tfds.core.DatasetBuilder:
    """The builder of `mnist` or `fashion_mnist`, preparing below `data_dir`."""
    builders = {"mnist": AejaxMnist, "fashion_mnist": AejaxFashionMnist}
    return builders[name](data_dir=data_dir, file_format="array_record")


def read(dataset: tfds.core.DatasetBuilder, source_dir: Path | None) -> dict[str, np.ndarray]:
    """Prepare the dataset if it is not yet, and read it whole.

    Args:
        dataset: from `builder`.
        source_dir: folder with the original files, or None to download them.

    Returns:
        train and test: uint8[N, 28, 28, 1]; train_labels and test_labels: int32[N].

    Raises:
        InputError: a file is missing, truncated or fails its checksum, or cannot be downloaded.
    """
    name = {AejaxMnist: "mnist", AejaxFashionMnist: "fashion_mnist"}[type(dataset)]
    if not dataset.is_prepared():
        folder = None if source_dir is None else _find_files(dataset, name, source_dir)
        try:
            dataset.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=folder))
        except (OSError, tfds.download.DownloadError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"{name} could not be prepared in {dataset.data_dir}: {reason}") from error
    parts = {}
    for split in _FILES:
        source = dataset.as_data_source(split)
        examples = source.__getitems__(range(len(source)))
        parts[split] = np.stack([example["image"] for example in examples])
        parts[f"{split}_labels"] = np.array([example["label"] for example in examples], np.int32)
    return parts


def _find_files(dataset: tfds.core.DatasetBuilder, name: str, source_dir: Path) -> Path:
    """The folder with the original files, each looked at before anything is written."""
    folder = source_dir / name if (source_dir / name).is_dir() else source_dir
    for url, expected in dataset.url_infos.items():
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
