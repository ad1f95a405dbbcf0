"""Validation examples: which runs need them, and which training examples are set aside for them."""

import dataclasses

import numpy as np

from aejax.config import Config, InputError
from aejax.config.checks import counted
from aejax.config.sections import Data
from aejax.data.dataset import Dataset, aside
from aejax.data.examples import Later, require_memory

SHARE = 0.1
"""share of the training examples that is set aside where something chooses and the dataset has no validation part"""


def resolved(config: Config, dataset: Dataset, chooses: bool = False) -> Config:
    """Return the configuration with the share of validation examples that a run sets aside.

    Args:
        chooses: whether something besides the configuration chooses.
    """
    if config.data.validation is None and dataset.validation is None and (chooses or config.chooses):
        return config.replace({"data.validation": SHARE})
    return config


def split(data: Data, dataset: Dataset) -> Dataset:
    """Set the share `data.validation` of the training examples aside as validation examples.

    Which examples these are depends on `data.order_seed` alone (0 if None). Each class has its share. Validation
    examples of computed examples are further ones, and all training examples remain.

    Raises:
        InputError: the dataset has a validation part of its own, too few examples, or needs more memory for a copy.
    """
    share, train, name = data.validation, dataset.examples["train"], dataset.name
    if share is None:
        return dataset
    if share == 0:
        return dataclasses.replace(dataset, validation=None, validation_labels=None, validation_targets=None)
    if dataset.validation is not None:
        advice = "leave data.validation out to choose by this part, or set it to 0"
        raise InputError(f"data.validation is {share}, and {name} has a validation part of its own; {advice}")
    count = max(1, round(share * len(train)))
    if train.make is not None:
        return dataclasses.replace(dataset, validation=Later(train, count))
    if count == len(train):
        raise InputError(f"data.validation is {share}, which leaves no training example of the {count} of {name}")
    advice = "give validation examples too (validation.npy, or shards validation-...), or set data.validation to 0"
    require_memory(train.nbytes, f"{name}: to set validation examples aside", advice)
    held_out = stratified(len(train), count, dataset.class_indices()[0], data.order_seed or 0)
    kept = np.delete(np.arange(len(train)), held_out)
    return dataclasses.replace(dataset, **aside(vars(dataset), "validation", held_out, kept))


def stratified(examples: int, count: int, labels: np.ndarray | None, seed: int) -> np.ndarray:
    """Draw `count` different numbers below `examples`, sorted, int[count]; every class has its share, up to rounding.

    Args:
        labels: int[examples]; None draws without classes.
    """
    order = np.random.default_rng(seed).permutation(examples)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    places = ((np.arange(count) + 0.5) * examples / count).astype(np.int64)  # even steps through the sorted classes
    return np.sort(order[places])


def describe(config: Config, dataset: Dataset) -> str | None:
    """Describe in one line the validation examples of a run; None without them.

    Args:
        dataset: from `split`.
    """
    if dataset.validation is None:
        return None
    train, share = counted(len(dataset.train), "training example"), config.data.validation
    held_out = counted(len(dataset.validation), "validation example")
    source = "of the dataset" if share is None else f"set aside (data.validation {share:g})"
    return f"{train}; the best is chosen by {held_out}, {source}"
