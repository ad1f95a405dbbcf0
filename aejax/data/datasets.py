"""Loading of datasets by name, path, code or arrays: `load_dataset("mnist")`, `load_dataset("my/images.npz")`."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aejax.config import Config, InputError, complete
from aejax.config.checks import MOST, is_own, listed, refusing, require
from aejax.config.files import address, local, scripts_dir
from aejax.config.numbers import LEAST_SIDES
from aejax.config.sections import Data
from aejax.config.user_files import described, digests, names_data, own
from aejax.data import array_files, cache, folders, libraries
from aejax.data.dataset import Dataset
from aejax.data.examples import size
from aejax.data.parts import CALLED, PARTS, TARGETS
from aejax.data.pixels import require_range

ALIASES = {
    "sparse_features_512": "experiments/gallery/sparse_features.py:small",
    "sparse_features_16k": "experiments/gallery/sparse_features.py:large",
}
"""name → function in our scripts that returns the dataset"""


def load_dataset(name: str | Path, source_dir: str | Path | None = None, **reading: Any) -> Dataset:
    """Load images or vectors.

    Args:
        name: the name of a known dataset, the path of a file or of a folder, an address in a bucket, or FILE.py:NAME or
            MODULE:NAME; see `aejax/data/README.md`.
        source_dir: folder with the original files of MNIST or Fashion-MNIST, so that nothing is downloaded; None takes
            the environment variable AEJAX_SOURCE_DIR.
        reading: `channels`, `size`, `colour`, `missing` and `label`, as `aejax.config.sections.Data` describes them.

    Raises:
        InputError: there is no such dataset, or its files or its code cannot be used.
    """
    if not isinstance(name, str | Path) or not str(name).strip():
        wrong = "has an empty name" if isinstance(name, str) else f"is of the type {type(name).__name__}"
        advice = "load_dataset takes a name or a path, and aejax.Dataset.from_arrays takes arrays"
        raise InputError(f"the dataset {wrong}; {advice}")
    name, data = str(name), Data(**reading)
    if name in ALIASES or names_data(name):
        return _from_code(f"{scripts_dir()}/{ALIASES[name]}" if name in ALIASES else name, data)
    if name == "digits":
        arrays = cache.cached(name, _digits, PARTS[:4])
    elif (place := address(name)) is not None:
        name, arrays = place, _read(cache.copied(place), data)
    elif is_path(name):
        path = local(name, "the dataset").absolute()  # the name is known from any folder
        name, arrays = str(path), _read(path, data)
    else:
        require(data.channels != "first", "data.channels", "first", f"auto or last for the images of {name}")

        def prepare() -> dict[str, np.ndarray]:
            from aejax.data import downloads  # imports tensorflow-datasets, which takes a second

            return downloads.read(name, source_dir, data)

        # Images of tensorflow-datasets may be of several sizes until they are resized.
        original = name in ("mnist", "fashion_mnist")
        key = name if original or not (data.size or data.colour) else f"{name} {data.size} {data.colour}"
        arrays = cache.cached(key, prepare, PARTS[: 4 if original else 1])
    return Dataset.from_arrays(**arrays, name=name, **reading)


def is_path(name: str) -> bool:
    """Tell a file or folder from the name of a known dataset."""
    return (
        array_files.reader(Path(name)) is not None
        or os.path.exists(name)
        or "://" in name
        or name.startswith((".", "/", "~"))
        or (os.sep in name and Path(name).parent.exists())
    )


def as_dataset(given: Any, config: Config) -> Dataset:
    """Convert the `dataset` argument of `aejax.fit` and similar functions.

    Args:
        given: None for `config.data`, or any of the sources in README.md.

    Raises:
        InputError: `given` is no such source, or cannot be used.
    """
    data = config.data
    if given is None or isinstance(given, str | Path):
        return load_dataset(data.name if given is None else given, data.source_dir, **data.reading)
    return _from_arrays("array", given, data)


_COMPUTED = {"training.passes": (1,), "data.standardize": (False,)}
_COMPUTED |= {"data.missing": ("refuse",), "data.placement": ("auto", "device")}
"""field → values that computed examples allow"""


def require_fit(config: Config, dataset: Dataset) -> None:
    """Refuse a configuration and a dataset that do not fit together.

    Raises:
        InputError: a batch is larger than the training set; the loss or the corruption cannot use the pixels; the model
            is for images and the examples are vectors; the model cannot use the targets; or computed examples do not
            support an option.
    """
    training, data, train = config.training, config.data, dataset.examples["train"]
    parts = {"test": dataset.set_aside, "validation": bool(data.validation) and train.make is None}
    parts["validation"] &= dataset.validation is not None  # not yet in a script's first check
    given = "{} of those given were set aside as {} examples"
    counts = [given.format(len(getattr(dataset, part)), part) for part, is_aside in parts.items() if is_aside]
    aside = f", after {' and '.join(counts)}" if counts else ""
    allowed = f"at most {len(train)}, the number of training examples{aside}"
    require(training.batch_size <= len(train), "training.batch_size", training.batch_size, allowed)
    if config.model.channels or config.model.spatial_code:
        require_images(dataset, "model.channels (set it without values for dense layers)")
    if (loss := config.loss.reconstruction) in LEAST_SIDES:
        require_images(dataset, f"loss.reconstruction {loss}")
        shape, least = dataset.target_shape or dataset.image_shape, LEAST_SIDES[loss]
        allowed = f"bce, mse, l1 or huber for images of {size(shape)}: {loss} needs {least} pixels a side"
        require(len(shape) == 3 and min(shape[:2]) >= least, "loss.reconstruction", loss, allowed)
    if data.augmentation:
        require_images(dataset, "data.augmentation")
        if dataset.target_shape is not None:
            raise InputError(f"data.augmentation is set, and {dataset.name} has targets: augment both yourself")
        most, shift = min(dataset.image_shape[:2]) - 1, complete(config).coefficients.get("shift", 0.0)
        require(shift <= most, "coefficients.shift", shift, f"at most {most} for images of {size(dataset.image_shape)}")
    for name, chosen in {"standardize": data.standardize, "missing mask": data.missing == "mask"}.items():
        if chosen and not dataset.vectors:
            raise InputError(f"data.{name} is for vectors [N, D]; {dataset.name} holds images")
    if data.missing == "refuse" and (missing := sum(each.missing for each in dataset.examples.values())):
        raise InputError(f"{dataset.name} has {missing:,} missing values; take --data.missing mask")
    if train.make is not None:
        config.require(_COMPUTED, "for computed examples, which are made on the device, each once")
        most = (MOST - len(dataset.examples.get("validation", ()))) // len(train)
        allowed = f"at most {most}: int32 numbers the computed examples, {len(train):,} per epoch"
        require(training.epochs <= most, "training.epochs", training.epochs, allowed)
    for part, examples in dataset.examples.items():
        values = "values" if dataset.vectors else "pixels"
        require_range(config, examples, f"the {CALLED[part]} {values} of {dataset.name}")
    if dataset.target_shape is not None:
        require(not data.standardize, "data.standardize", True, "False: standardize inputs and targets yourself")
        if train.make is not None:
            raise InputError(f"{dataset.name} has targets, and computed examples have none; store the examples")
        if not is_own(config.model.kind) and dataset.target_shape != dataset.train.shape[1:]:
            sizes = f"targets of {size(dataset.target_shape)} for examples of {size(dataset.train.shape[1:])}"
            raise InputError(f"{dataset.name} has {sizes}; only a model of your own can return another size")
        for part in dataset.examples:
            require_range(config, getattr(dataset, f"{part}_targets"), f"the targets of {dataset.name}", seen=False)
    config.model.code_shape(dataset.image_shape)
    complete(config)  # refuses numbers that nothing declares
    digests(config)  # refuses a file of the user's own that fails


def require_images(dataset: Dataset, purpose: str) -> None:
    """Raise `InputError` if a dataset holds vectors, for a purpose that needs images."""
    if dataset.vectors:
        raise InputError(f"{dataset.name} holds vectors [N, {dataset.train.shape[1]}]; {purpose} needs images")


def _read(path: Path, data: Data) -> Mapping[str, Any]:
    if path.is_dir():
        below = [path / "raw", path / "MNIST" / "raw"]  # where torchvision saves MNIST
        return folders.read(next((raw for raw in below if any(raw.glob("train-images*"))), path), data)
    if not path.is_file():
        raise InputError(f"there is no file or folder {path}")
    if array_files.reader(path) is None:
        table = path.suffix in (".tsv", ".xlsx")
        advice = ": read the table with pandas in a file of your own and give FILE.py:NAME" if table else ""
        endings = listed(ending for ending in array_files.FORMATS if ending.startswith("."))
        raise InputError(f"{path} is no folder, and no file of a known format ({endings}){advice}")
    return array_files.read(path)


def _from_code(spec: str, data: Data) -> Dataset:
    """Make the dataset that FILE.py:NAME or MODULE:NAME names."""
    place, _, name = spec.rpartition(":")
    made = own(spec, "data.name")
    with refusing(f"data.name is {spec!r}, and {name} fails", say=described):
        made = made() if callable(made) else made
        if made is None:
            raise InputError(f"data.name is {spec!r}: {place} has no {name}, or it is or returns None")
        return _from_arrays(f"{Path(place).name}:{name}", made, data)


def _from_arrays(name: str, given: Any, data: Data) -> Dataset:
    if isinstance(given, Dataset):
        return given.fitted(data)
    if (parts := libraries.parts(given, data)) is not None:
        given, data = parts, dataclasses.replace(data, label=None, channels="last")  # classes and channels were found
    elif isinstance(given, tuple) and len(given) == 2:
        given = _by_part(given)
    elif not isinstance(given, Mapping):
        given = {"train": given}
    if "train" not in given or not set(given) <= {*PARTS, *TARGETS}:
        wrong, others = f"holds {listed(given) or 'nothing'}", ", ".join(PARTS[1:] + TARGETS)
        raise InputError(f"the dataset {wrong}; a mapping has train and may have {others}")
    return Dataset.from_arrays(**given, name=name, **data.reading)


def _by_part(given: tuple[Any, Any]) -> dict[str, Any]:
    """Name the members of a pair (examples, classes), or of two such pairs, for training and for test."""
    pairs = given if all(isinstance(part, tuple) and len(part) == 2 for part in given) else (given,)
    parts = {}
    for part, (examples, labels) in zip(("train", "test"), pairs, strict=False):
        if np.ndim(labels) > 2:
            raise InputError(
                "the dataset is a pair, which is taken as examples and their classes, but the second has "
                f"{np.ndim(labels)} axes; give aejax.Dataset.from_arrays(train, test)"
            )
        # Tables of pandas with other indices: in their order, rows would get the classes of other rows.
        rows = [getattr(table, "index", None) for table in (examples, labels)]
        if all(hasattr(each, "equals") for each in rows) and not rows[0].equals(rows[1]):
            raise InputError("the examples and their classes have other indices; bring them into one order")
        parts |= {part: examples, f"{part}_labels": labels}
    return parts


def _digits() -> dict[str, np.ndarray]:
    """Return the 1,797 handwritten digits of scikit-learn, 8x8, in a fixed stratified split of 1,437 and 360."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # from 0 to 16
    labels = digits.target.astype(np.int32)
    made = train_test_split(images, labels, test_size=360, random_state=0, stratify=labels)
    return dict(zip(("train", "test", "train_labels", "test_labels"), made, strict=True))
