"""Datasets that tensorflow-datasets downloads and prepares; MNIST and Fashion-MNIST without TensorFlow.

The builders of tensorflow-datasets need TensorFlow to prepare these two, since they encode each image as PNG. We read
the original files. tensorflow-datasets downloads them, and has their addresses and checksums.
"""

import contextlib
import hashlib
import io
import logging
import os
import socket
import threading
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.image_classification import mnist as upstream

from aejax.config import InputError
from aejax.config.checks import nearest, refusing
from aejax.config.files import data_dir, local
from aejax.config.sections import Data
from aejax.data import libraries
from aejax.data.array_files import idx

tfds.disable_progress_bar()

_ORIGINAL = {"mnist": upstream.MNIST, "fashion_mnist": upstream.FashionMNIST}
_FILES = {
    "train": "train-images-idx3-ubyte.gz",
    "test": "t10k-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}


def read(name: str, source_dir: str | Path | None, data: Data) -> dict[str, np.ndarray]:
    """Download or prepare a dataset if necessary, without output on the terminal, and read all of it.

    Args:
        source_dir: as in `load_dataset`.
        data: `data.size` and `data.colour` of images that may be of several sizes.

    Returns:
        the parts of the dataset: uint8[N, H, W, C]; and the labels of each, integers [N], if there are labels.

    Raises:
        InputError: there is no such dataset, it cannot be downloaded, its files are damaged, or it does not have one
            image per example, all of one size.
    """
    level = (absl := logging.getLogger("absl")).level
    absl.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return _original(name, source_dir) if name in _ORIGINAL else _prepared(name, data)
    finally:
        absl.setLevel(level)


def _original(name: str, source_dir: str | Path | None) -> dict[str, np.ndarray]:
    url, infos = _ORIGINAL[name].URL, _ORIGINAL[name].url_infos
    if source_dir := source_dir or os.environ.get("AEJAX_SOURCE_DIR"):
        folder = local(source_dir, "source_dir")
        folder = folder / name if (folder / name).is_dir() else folder
        files = {part: folder / file for part, file in _FILES.items()}
        for file in files.values():
            expected, content = infos[url + file.name], file.read_bytes() if file.is_file() else b""
            if hashlib.sha256(content).hexdigest() != expected.checksum:
                sizes = f"{len(content):,} of {int(expected.size):,} bytes"
                wrong = f"fails its checksum (SHA-256), with {sizes}" if content else "is missing, or empty"
                advice = f"--source-dir names a folder with the original files, or with a folder {name}/ of them"
                raise InputError(f"{name}: {file} {wrong}; {advice}")
    else:
        advice = "give --source-dir with the original files"
        require_network(url, f"{name}: {advice}")
        with refusing(f"{name} could not be downloaded", f"; {advice}"):
            manager = tfds.download.DownloadManager(download_dir=data_dir() / "tfds" / "downloads", url_infos=infos)
            files = manager.download({part: url + file for part, file in _FILES.items()})
    arrays = {part: idx(file) for part, file in files.items()}
    return {part: array[..., None] if array.ndim == 3 else array.astype(np.int32) for part, array in arrays.items()}


def _prepared(name: str, data: Data) -> dict[str, np.ndarray]:
    folder = data_dir() / "tfds"
    advice = nearest(name, ["digits", *_ORIGINAL], 0.7) or (
        "; give digits, mnist, fashion_mnist, sparse_features_512 or _16k, another name of tensorflow-datasets, "
        "FILE.py:NAME, or the path of a .npy or .npz file or of a folder; or remove damaged data"
    )
    wrong = f"there is no dataset {name!r}, or its prepared data in {folder} is damaged"
    with refusing(wrong, advice, say=lambda error: type(error).__name__):
        builder = tfds.builder(name, data_dir=folder)
    if not builder.is_prepared():
        advice = f"prepare it with tensorflow-datasets on another machine and copy it to {folder}"
        require_network("https://storage.googleapis.com", f"{name}: {advice}")
        with refusing(f"{name} could not be prepared in {builder.data_dir}", f"; {advice}"):
            builder.download_and_prepare()
    features = builder.info.features
    keys = [key for key in features if isinstance(features[key], tfds.features.Image)]
    if len(keys) != 1 or "train" not in builder.info.splits:
        raise InputError(
            f"{name} has {len(keys)} image features and the splits {list(builder.info.splits)}; "
            "it needs one image feature and a split named train"
        )
    return libraries.parts({split: builder.as_data_source(split) for split in builder.info.splits}, data)


def require_network(url: str, advice: str, seconds: float = 3.0) -> None:
    """Raise `InputError` if the host of `url` does not answer; tensorflow-datasets would retry for minutes."""
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
