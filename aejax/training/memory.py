"""What cannot fit in memory, refused before anything is compiled: a compiler would be at it for many minutes."""

from __future__ import annotations

import math
from typing import Any

import jax

from aejax.config import Config, InputError
from aejax.training.devices import Driver


def require_memory(
    config: Config, state: Any, driver: Driver, image_shape: tuple[int, ...], steps_in_epoch: int, *, alone: bool = True
) -> None:
    """Refuse a run that needs more of a device's memory than is free, by what it needs at the least.

    Args:
        state: of the run, or its abstract values.
        alone: whether devices share the batches of one model, or else the members of a sweep.

    Raises:
        InputError: it names what is too large, and says how many bytes it takes and how many there are.
    """
    batch, images, devices = config.training.batch_size, math.prod(image_shape), len(driver.devices)
    kept = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    needs = {
        "weights, their optimizer's state and a copy of both, by model.hidden, model.code_size and the size of the "
        "images,": 2 * kept // (1 if alone else devices),
        "the order of the examples of an epoch, by training.passes,": 4 * steps_in_epoch * batch,
        "a batch and what is decoded of it, by training.batch_size, model.samples and the size of the images,": (
            4 * batch * (1 + config.model.samples) * images // (devices if alone else 1)
        ),
    }
    free = min(driver.free_bytes())
    if sum(needs.values()) > free:
        largest = max(needs, key=needs.get)
        raise InputError(f"{largest} would take {_size(needs[largest])}, and of memory {_size(free)} are free")


def _size(count: float) -> str:
    units = ["bytes", "kB", "MB", "GB", "TB", "PB"]
    power = min(len(units) - 1, int(math.log10(max(count, 1)) / 3))
    return f"{count / 1000**power:,.1f} {units[power]}"
