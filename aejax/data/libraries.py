"""Datasets of other libraries: Hugging Face `datasets`, PyTorch (map-style), `tf.data` of finite size.

We know them by their methods and import none of these libraries.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aejax.config import InputError
from aejax.config.checks import refusing
from aejax.config.sections import Data
from aejax.data import images
from aejax.data.examples import require_memory
from aejax.data.parts import PART_OF, PARTS, TARGETS, chosen
from aejax.data.pixels import as_array, shaped

_LABELS = ("label", "labels", "target", "y")
"""keys of an example that may hold its class, if `data.label` is not set"""


def is_one(given: Any) -> bool:
    """Return whether something is a dataset that `read` reads: it has a length and examples by number, and no array."""
    if hasattr(given, "as_numpy_iterator"):  # of tf.data
        return True
    known = isinstance(given, Mapping | list | tuple | str | bytes) or not hasattr(type(given), "__getitem__")
    known = known or any(hasattr(given, name) for name in ("__array__", "__array_interface__", "to_numpy"))
    iterable = any(base.__name__ == "IterableDataset" for base in type(given).__mro__)  # of PyTorch
    return not known and not iterable and hasattr(type(given), "__len__")


def parts(given: Any, data: Data) -> dict[str, Any] | None:
    """Read the datasets in what `aejax.fit` takes: one dataset, a pair for training and test, or a mapping of splits.

    Returns:
        a mapping with the names of `Dataset.from_arrays`, images as [N, H, W, C]; None if `given` has no such dataset.
    """
    if is_one(given) or (isinstance(given, tuple) and given and all(map(is_one, given))):
        given = dict(zip(("train", "test"), given if isinstance(given, tuple) else (given,), strict=False))
    if not isinstance(given, Mapping) or not any(map(is_one, given.values())):
        return None
    part_of = {name: name if name in (*PARTS, *TARGETS) else PART_OF.get(str(name).lower()) for name in given}
    made = {part: given[name] for part, name in chosen("the dataset", part_of).items()}
    for part, value in list(made.items()):
        where = f"the dataset ({part})"
        if is_one(value):
            made[part], labels = _read(value, data, where)
            made |= {} if labels is None else {f"{part}_labels": labels}
        elif np.ndim(value) == 4:
            made[part] = shaped(as_array(value, where, "images"), where, data.channels)
    return made


def _read(given: Any, data: Data, where: str) -> tuple[Any, Any]:
    """Return the examples, an array or a data frame, and their classes or None."""
    if hasattr(given, "as_numpy_iterator"):
        if (count := int(given.cardinality())) < 0:
            size = "infinite" if count == -1 else "unknown"
            raise InputError(f"{where} has an {size} number of examples; end it by .take(COUNT), or give arrays")
        if "Batch" in type(given).__name__:  # batches of vectors would look like images
            raise InputError(f"{where} holds batches; give its examples, by .unbatch()")
        items = given.as_numpy_iterator()
    else:
        count, items = len(given), (given[at] for at in range(len(given)))
    examples, labels = [], []
    with refusing(f"{where} ({type(given).__name__}) cannot be read"):
        for item in items:
            example, label = _split(item, data, where, hasattr(given, "to_pandas"))
            if example is None:  # a row of numbers
                frame = given.to_pandas()
                return frame, None if label is None else frame.pop(label)
            if not examples:
                advice = "give train.npy and test.npy, which are mapped"
                require_memory(2 * count * example.nbytes, f"{where}: to read its {count:,} examples", advice)
            examples.append(example)
            labels.append(label)
    if not examples:
        raise InputError(f"{where} holds no examples")
    array = images.joined(examples, [f"{where}, example {at}," for at in range(len(examples))])
    return array, None if all(label is None for label in labels) else labels


def _split(item: Any, data: Data, where: str, table: bool) -> tuple[np.ndarray | None, Any]:
    """Return an example as an array, and its class or None; of a row of a table None, and the key of its class."""
    label = None
    if isinstance(item, Mapping):
        named = [data.label] if data.label else [key for key in _LABELS if key in item]
        others = {key: value for key, value in item.items() if key not in named}
        arrays = [key for key, value in others.items() if np.ndim(value) or hasattr(value, "getbands")]
        if not arrays and table:
            return None, next(iter(named), None)
        if len(arrays) != 1 or not set(named) <= set(item):
            advice = "keep one column of images or vectors, and name that of the classes by data.label"
            raise InputError(f"{where} has {', '.join(map(str, item))} in each example; {advice}")
        item, label = item[arrays[0]], item[named[0]] if named else None
    elif isinstance(item, tuple):
        if len(item) > 2:
            raise InputError(f"{where} has {len(item)} parts in each example; give an example and its class")
        item, label = item if len(item) == 2 else (item[0], None)
    if hasattr(item, "getbands"):  # an image of Pillow
        return images.fitted(images.pixels(item, where, data), data, where), label
    array = as_array(item, where, "images or vectors")
    if array.ndim in (2, 3):
        array = images.fitted(shaped(array[None], where, data.channels)[0], data, where)
    return array, label
