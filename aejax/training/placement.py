"""Placement of the examples: resident on the devices, streamed to them in blocks, or generated inside the program.

A program depends on a layout alone, which holds no arrays; `feed` gives the arrays. With every layout, the same
examples come at the same steps.
"""

import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Config, Training
from aejax.data import Dataset
from aejax.data.examples import Computed, examples_of
from aejax.models import ImageShape
from aejax.training.batches import epoch_order, part
from aejax.training.devices import Driver, abstract, device_bytes, gather
from aejax.training.programs import memoised
from aejax.training.step import Batch, TrainState

BLOCK_BYTES = 2**24
"""bytes of images in a block of at least two batches; memory holds about five blocks: read ahead, sent, in use"""
_LANES = 128
"""numbers in a row of a TPU's vector register"""

Step = Callable[[Any, Batch, Any], tuple[Any, Any]]
"""(carry, batch, at) → (carry, result); `at` is this step's part of the last argument of `scan`"""
Feed = Callable[[int, int], Iterator[tuple[int, Any]]]
"""(first step, number of steps of one epoch) → (steps, data) of each part"""


@dataclass(frozen=True)
class Layout:
    """Placement and order of the examples of a program.

    All examples, or their description, are a `Batch` without numbers: images [N, H, W, C] or vectors [N, D], and labels
    [N] and targets [N, ...] as models meet them.
    """

    driver: Driver
    every: Batch  # description of the examples
    shape: ImageShape  # (height, width, channels) of an image inside the model
    batch_size: int
    steps: int  # number of steps in an epoch
    training: Training | None = None  # gives the order of an epoch; None takes the examples in turn

    def order_of(self, epoch: Any, seed: Any) -> jax.Array:
        """Inside a program, return the examples of an epoch, int32[steps, batch_size]."""
        if self.training is None:
            return jnp.arange(self.steps * self.batch_size, dtype=jnp.int32).reshape(self.steps, self.batch_size)
        return epoch_order(self.training, self.every.images.shape[0], epoch, seed)


class Resident(Layout):
    """All images on every device."""

    def lengths(self, count: int) -> list[int]:
        """Return the different numbers of steps of the parts into which `count` steps are split."""
        return [count]

    def like(self, count: int) -> Any:
        """Describe the data of a part of `count` steps."""
        columns, dtype = math.prod(self.every.images.shape[1:]) + self._padding, self.every.images.dtype
        if self._packed:
            columns, dtype = columns // 4, jnp.int32
        images = jax.ShapeDtypeStruct((self.every.images.shape[0], columns), dtype)
        return abstract(self.every._replace(images=images), self.driver.replicated)

    @property
    def _packed(self) -> bool:
        """Whether an integer holds four pixels, a quarter of a row apart: a TPU gathers bytes more slowly."""
        return self.driver.platform == "tpu" and self.every.images.dtype == jnp.uint8

    @property
    def _padding(self) -> int:
        """Columns that fill the vector registers of a TPU, which would otherwise transpose the images at each call."""
        lanes = {"tpu": _LANES * (4 if self._packed else 1)}.get(self.driver.platform, 1)
        return -math.prod(self.every.images.shape[1:]) % lanes

    def feed(self, every: Batch, seed: Any) -> Feed:
        """Return the function that gives the data of the examples; its first call puts the arrays on the devices."""
        data = functools.cache(lambda: self.driver.replicate(self.arrays(every)))
        return lambda first, count: iter([(count, data())])

    def arrays(self, every: Batch) -> Any:
        """Return the data on the host, with one axis of pixels: compilers would change a layout of three at calls."""
        rows = np.asarray(every.images).reshape(len(every.images), -1)
        rows = np.pad(rows, ((0, 0), (0, self._padding)))
        if self._packed:
            quarters = rows.reshape(len(rows), 4, -1).swapaxes(1, 2)
            rows = np.ascontiguousarray(quarters).view("<i4")[..., 0]
        return every._replace(images=rows)

    def order(self, first: Any, count: int, seed: Any) -> Any:
        """Inside a program, return the order that `scan` needs for `count` steps from `first`."""
        return jax.lax.dynamic_slice_in_dim(self.order_of(first // self.steps, seed), first % self.steps, count)

    def scan(self, step: Step, carry: Any, data: Any, order: Any, at: Any = None) -> tuple[Any, Any]:
        """Inside a program, scan a step over the batches of a part, with `at` split among the steps."""
        images, others = data.images, data._replace(images=None)
        if self._packed:
            # Arrays made by the program stay in the memory of the chip if they fit; arguments do not.
            images = images ^ jax.lax.optimization_barrier(jnp.zeros((), images.dtype))

        def with_batch(carry: Any, turn: tuple[jax.Array, Any]) -> tuple[Any, Any]:
            examples = self.driver.share(turn[0])
            rows = images.at[examples].get(mode="clip")
            if self._packed:
                quarters = [(rows >> bits) & 255 for bits in (0, 8, 16, 24)]
                rows = jnp.concatenate(quarters, axis=1).astype(jnp.float32) / 255  # what `unit_interval` gives
            rows = rows[:, : math.prod(self.shape)].reshape(-1, *self.shape)
            chosen = jax.tree.map(lambda array: array.at[examples].get(mode="clip"), others)
            return step(carry, chosen._replace(images=rows, examples=examples), turn[1])

        return jax.lax.scan(with_batch, carry, (order, at))


@dataclass(frozen=True)
class Generated(Resident):
    """No images on the devices: the program computes each batch from arrays that every device holds.

    No example comes twice: each epoch continues the numbering of the epoch before.
    """

    examples: Computed | None = None

    def like(self, count: int) -> Any:
        return abstract(self.examples.shapes, self.driver.replicated)

    def arrays(self, every: Batch) -> Any:
        return every.images.arrays

    @property
    def _block(self) -> int:
        """Steps whose batches a GPU computes at once, in as many launches as a batch."""
        return 1 if self.driver.platform in ("cpu", "tpu") else 8

    def lengths(self, count: int) -> list[int]:
        return sorted({count - count % self._block, count % self._block} - {0})

    def feed(self, every: Batch, seed: Any) -> Feed:
        given = super().feed(every, seed)

        def parts(first: int, count: int) -> Iterator[tuple[int, Any]]:
            """Separate whole blocks, counted from the start of the epoch, from steps in part of a block."""
            while count:
                before = first % self.steps % self._block
                length = (0 if before else count - count % self._block) or min(count, self._block - before)
                yield from given(first, length)
                first, count = first + length, count - length

        return parts

    def order(self, first: Any, count: int, seed: Any) -> Any:
        return (first + jnp.arange(count, dtype=jnp.int32)) * self.batch_size

    def scan(self, step: Step, carry: Any, data: Any, order: Any, at: Any = None) -> tuple[Any, Any]:
        size, block, count = self.batch_size, self._block, len(order)

        def numbers(first: jax.Array) -> jax.Array:
            return self.driver.share(first + jnp.arange(size, dtype=jnp.int32))

        def made(first: jax.Array) -> jax.Array:
            examples = numbers(first)[:, None] + size * jnp.arange(block, dtype=jnp.int32)
            # Without the barrier, the compiler repeats the last operation in each consumer.
            rows = jax.lax.optimization_barrier(self.examples.make(data, examples.reshape(-1)))
            return rows.reshape(len(examples), block, *self.shape)

        # The carry counts the examples: a CPU would read an order again for every number that it draws.
        def with_batch(carry: Any, turn: tuple[Any, Any], rows: jax.Array) -> tuple[Any, Any]:
            first, carry = carry
            carry, result = step(carry, Batch(rows[:, turn[0]], numbers(first)), turn[1])
            return (first + size, carry), result

        def alone(carry: Any, at: Any) -> tuple[Any, Any]:
            place = carry[0] // size % self.steps % block if block > 1 else 0
            return with_batch(carry, (place, at), made(carry[0] - place * size))

        def together(carry: Any, places: jax.Array) -> tuple[Any, Any]:
            rows = made(carry[0])

            def of_block(carry: Any, place: jax.Array) -> tuple[Any, Any]:
                of_step = jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, place, keepdims=False), at)
                return with_batch(carry, (place % block, of_step), rows)

            return jax.lax.scan(of_block, carry, places)

        if block == 1 or count % block:
            (_, carry), results = jax.lax.scan(alone, (order[0], carry), at, length=count)
            return carry, results
        (_, carry), results = jax.lax.scan(together, (order[0], carry), jnp.arange(count).reshape(-1, block))
        return carry, jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), results)


class Streamed(Layout):
    """Blocks of batches [steps, B, ...], read ahead in a thread.

    Each device holds its share of the images and targets, and all indices and labels; each process reads its own share.
    """

    @property
    def most(self) -> int:
        """Steps of a block; blocks are of one length if that is possible."""
        images = self.every.images
        of_batch = self.batch_size * math.prod(images.shape[1:]) * images.dtype.itemsize
        return math.ceil(self.steps / math.ceil(self.steps / max(2, BLOCK_BYTES // of_batch)))

    def lengths(self, count: int) -> list[int]:
        of_chunk = itertools.takewhile(lambda block: block[0] < count, blocks(0, count, self.most, count))
        return sorted({steps for _, steps in of_chunk})

    def like(self, count: int) -> Batch:
        shape = (count, self.batch_size)
        examples = jax.ShapeDtypeStruct(shape, np.int32, sharding=self.driver.replicated)

        def block(like: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(shape + like.shape[1:], like.dtype, sharding=self.driver.by_example)

        images, targets = jax.tree.map(block, self._spread)
        return Batch(images, examples, None if self.every.labels is None else examples, targets)

    @property
    def _spread(self) -> tuple[Any, Any]:
        """Descriptions of all images and of all targets, as models meet them."""
        images = self.every.images
        return jax.ShapeDtypeStruct((images.shape[0], *self.shape), images.dtype), self.every.targets

    def feed(self, every: Batch, seed: Any) -> Feed:
        """Return the function that gives the blocks; it reads ahead while its calls follow each other."""
        rows = jax.tree.map(lambda each: examples_of(each).rows, (every.images, every.targets))
        compiled = _compiled_order(self)
        # Two orders are in use: that of the epoch, and that of the next epoch, which is read ahead.
        order = functools.lru_cache(2)(lambda epoch: np.asarray(compiled(np.int32(epoch), seed)))
        asked, following, ahead = 0, None, iter(())

        def read_block(first: int, steps: int) -> Batch:
            epoch, begin = divmod(first, self.steps)
            examples = order(epoch)[begin : begin + steps]

            def spread(rows: Callable, like: jax.ShapeDtypeStruct) -> Any:
                def read(index: tuple[slice, ...]) -> np.ndarray:
                    chosen = examples[index[:2]]
                    return rows(chosen).reshape(*chosen.shape, *like.shape[1:])

                return self.driver.spread(examples.shape + like.shape[1:], read)

            images, targets = jax.tree.map(spread, rows, self._spread)
            classes = None if every.labels is None else every.labels.take(examples)
            return Batch(images, *self.driver.replicate((examples, classes)), targets)

        def parts(first: int, count: int) -> Iterator[tuple[int, Batch]]:
            nonlocal asked, following, ahead
            if first != following or count != part(asked, self.steps - first % self.steps):
                asked, ahead = count, _ahead(read_block, blocks(first, count, self.most, self.steps))
            following = first + count
            while first < following:
                steps, block = next(ahead)
                yield steps, block
                first += steps

        return parts

    def order(self, first: Any, count: int, seed: Any) -> None:
        return None  # blocks contain it

    def scan(self, step: Step, carry: Any, data: Batch, order: None, at: Any = None) -> tuple[Any, Any]:
        steps, size, *_ = data.images.shape
        spread = data.images, data.targets
        flat = jax.tree.map(lambda array: array.reshape(steps, size, -1), spread)
        shared = self.driver.axis is None and not self.driver.by_example.is_fully_replicated

        def with_batch(carry: Any, turn: tuple[jax.Array, jax.Array, jax.Array | None, Any]) -> tuple[Any, Any]:
            index, examples, labels, at = turn

            # A gather, as for resident images: each operation would read a slice again, byte by byte.
            def gathered(rows: jax.Array, like: jax.Array) -> jax.Array:
                if not shared:
                    return rows.at[index, jnp.arange(size)].get(mode="clip").reshape(like.shape[1:])
                # The compiler would give all rows of the batch to every device.
                chosen = jax.vmap(lambda each: each.at[index].get(mode="clip"), in_axes=1)(rows)
                return self.driver.share(chosen).reshape(like.shape[1:])

            images, targets = jax.tree.map(gathered, flat, spread)
            return step(carry, Batch(images, *jax.tree.map(self.driver.share, (examples, labels)), targets), at)

        return jax.lax.scan(with_batch, carry, (jnp.arange(steps), data.examples, data.labels, at))


@memoised
def _compiled_order(layout: Streamed) -> Callable:
    return jax.jit(layout.order_of)


def _ahead(read: Callable[[int, int], Batch], ranges: Iterator[tuple[int, int]]) -> Iterator[tuple[int, Batch]]:
    """Yield (steps, block) for each range; a thread reads two blocks ahead."""
    thread, under_way = ThreadPoolExecutor(1), deque()
    try:
        for first, steps in ranges:
            under_way.append((steps, thread.submit(read, first, steps)))
            if len(under_way) > 2:
                steps, block = under_way.popleft()
                yield steps, block.result()
    finally:
        thread.shutdown(wait=False, cancel_futures=True)


def blocks(first: int, count: int, most: int, in_epoch: int) -> Iterator[tuple[int, int]]:
    """Cut the steps from `first` on, without end, into chunks of `count`, and these into blocks: (first, steps)."""
    while True:
        chunk_end = first + part(count, in_epoch - first % in_epoch)
        while first < chunk_end:
            steps = part(most, chunk_end - first)
            yield first, steps
            first += steps


def place(config: Config, driver: Driver, state: TrainState, dataset: Dataset) -> type[Resident] | type[Streamed]:
    """Choose the placement by `data.placement`; all processes choose the same."""
    if config.data.placement != "auto":
        return Resident if config.data.placement == "device" else Streamed
    # Twice the state: its snapshot needs memory too.
    arrays = [getattr(dataset, part + what) for part in dataset.examples for what in ("", "_targets")]
    needed = sum(array.nbytes for array in arrays if array is not None) + 2 * device_bytes(state)
    fits = all(2 * needed < free for free in driver.free_bytes())
    return Resident if gather([fits]).all() else Streamed
