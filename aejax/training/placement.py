"""Where images lie while a program works on them: all of them on the devices, streamed there in blocks, or nowhere.

The first two serve the same examples at the same steps, so that the result does not depend on it.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Config
from aejax.data import Dataset
from aejax.data.examples import Computed
from aejax.data.mapped import Shards, reader
from aejax.models import ImageShape
from aejax.training.devices import Driver, gather
from aejax.training.step import Batch, TrainState

BLOCK_BYTES = 2**24
"""images in a block, unless a batch has more; about five blocks are in memory: read ahead, sent, in use"""

_LANES = 128
"""numbers in a row of a TPU's vector"""

Order = Callable[[Any], jax.Array]
"""epoch → the examples of its steps, int32[steps, batch_size]"""

Step = Callable[[Any, Batch, Any], tuple[Any, Any]]
"""(carry, batch, at) → (carry, result), `at` being this step's part of what `scan` is given for each"""


class Block(NamedTuple):
    """What the devices get of a stream: a few steps."""

    images: jax.Array
    """[steps, B, H, W, C], on each device its share of every batch"""
    examples: jax.Array
    """int32[steps, B], on every device"""
    labels: jax.Array | None
    """int32[steps, B], on every device; None where there are none"""


def _scan(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, batches: Any) -> tuple[Any, Any]:
    """`lax.scan`, compiled as a loop whatever its length.

    The compiler would take a loop of one turn apart, and round otherwise: where training is cut must not show in its
    result. So of one turn it is told neither the length nor which batch it takes. Of more it knows the length: a GPU
    would else ask the host after every turn.
    """

    def batch(index: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), several)

    def turn(index: jax.Array, done: tuple[Any, Any]) -> tuple[Any, Any]:
        carry, result = step(done[0], batch(index))
        put = functools.partial(jax.lax.dynamic_update_index_in_dim, index=index, axis=0)
        return carry, jax.tree.map(put, done[1], result)

    count = len(jax.tree.leaves(batches)[0])
    several = jax.tree.map(_several, batches)
    one = jax.eval_shape(step, carry, batch(0))[1]
    results = jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), one)
    turns = jax.lax.optimization_barrier(count) if count == 1 else count
    return jax.lax.fori_loop(0, turns, turn, (carry, results))


def _several(rows: jax.Array) -> jax.Array:
    """The same rows; one of them twice, so that the compiler cannot tell which is taken."""
    return jax.lax.optimization_barrier(jnp.concatenate([rows, rows])) if len(rows) == 1 else rows


class Resident:
    """All images on every device.

    Args:
        images: [N, H, W, C], or vectors [N, D].
        shape: (height, width, channels) of an image, as the model meets it.
        labels: int32[N], or None.
        order: how they come.
        in_epoch: number of steps of an epoch.
    """

    def __init__(
        self, driver: Driver, images: np.ndarray | Shards, shape: ImageShape, labels: np.ndarray | None, order: Order,
        in_epoch: int,
    ) -> None:  # fmt: skip
        self._driver, self._shape, self._order, self._in_epoch = driver, shape, order, in_epoch
        # One axis of pixels: a compiler would lay images of three axes out anew at every call. For a TPU, rows of whole
        # vectors: else it has the first pixels of all images side by side, and would transpose them at every call.
        rows = np.asarray(images).reshape(len(images), -1)
        if driver.platform == "tpu":
            rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % _LANES)))
        self._data = driver.replicate((rows, labels))

    def lengths(self, count: int) -> list[int]:
        """How many steps the parts have in which `count` steps are computed, each length once."""
        return [count]

    def like(self, steps: int) -> Any:
        """Describes to the compiler the data of a part of so many steps."""
        return self._data

    def parts(self, first: Any, count: int) -> Iterator[tuple[int, Any]]:
        """(steps, data) of the parts, for `count` steps of one epoch from step `first` on."""
        yield count, self._data

    def reached(self, step: Any) -> None:
        """Take the array that holds the step after those parts: its value need not be waited for."""

    def order(self, first: Any, count: int) -> Any:
        """Within a program: what `scan` needs to know of the order of `count` steps from step `first` on."""
        return jax.lax.dynamic_slice_in_dim(self._order(first // self._in_epoch), first % self._in_epoch, count)

    def scan(self, step: Step, carry: Any, data: Any, order: Any, at: Any = None) -> tuple[Any, Any]:
        """Within a program: `lax.scan` of a step over the batches of a part, and what each step is given beside."""
        images, labels = data
        if self._driver.platform == "tpu" and images.dtype == jnp.uint8:
            # The same images, as an array of this program: the compiler keeps such in the chip's own memory where they
            # fit, where it would gather each batch of its arguments from far away.
            images = images ^ jax.lax.optimization_barrier(jnp.zeros((), images.dtype))

        def with_batch(carry: Any, turn: tuple[jax.Array, Any]) -> tuple[Any, Any]:
            examples = self._driver.share(turn[0])
            rows = images.at[examples].get(mode="clip")[:, : math.prod(self._shape)].reshape(-1, *self._shape)
            classes = None if labels is None else labels.at[examples].get(mode="clip")
            return step(carry, Batch(rows, examples, classes), turn[1])

        return _scan(with_batch, carry, (order, at))


class Generated(Resident):
    """Nowhere: each batch is made within the program, from what its law is computed from, which every device has.

    No example comes twice: an epoch goes on with the numbers after those of the one before.
    """

    def __init__(self, driver: Driver, examples: Computed, shape: ImageShape, batch_size: int) -> None:
        self._driver, self._examples, self._shape, self._batch_size = driver, examples, shape, batch_size
        self._data = driver.replicate(examples.shapes if driver.is_absent else examples.arrays)

    def order(self, first: Any, count: int) -> Any:
        return (first + jnp.arange(count, dtype=jnp.int32)) * self._batch_size

    def scan(self, step: Step, carry: Any, data: Any, order: Any, at: Any = None) -> tuple[Any, Any]:
        # Counted on, not read from the order: a processor would look it up for every number that it draws.
        def with_batch(carry: Any, turn: tuple[jax.Array, Any]) -> tuple[Any, Any]:
            first, carry = carry
            examples = self._driver.share(first + jnp.arange(self._batch_size, dtype=jnp.int32))
            # Else the last operation on them would be a part of each that follows.
            rows = jax.lax.optimization_barrier(self._examples.make(data, examples)).reshape(-1, *self._shape)
            carry, result = step(carry, Batch(rows, examples), turn[1])
            return (first + self._batch_size, carry), result

        (_, carry), results = _scan(with_batch, (order[0], carry), (order, at))
        return carry, results


class Streamed:
    """Blocks of images, read ahead in a thread and sent to the devices; each process reads its own share.

    A block follows from a step and a number of steps, so that a run goes on anywhere. Arguments and methods are those
    of `Resident`.
    """

    def __init__(
        self, driver: Driver, images: np.ndarray | Shards, shape: ImageShape, labels: np.ndarray | None, order: Order,
        in_epoch: int,
    ) -> None:  # fmt: skip
        self._driver, self._images, self._labels, self._in_epoch = driver, images, labels, in_epoch
        self._rows, self._shape = reader(images), shape
        order = jax.jit(order)
        self._batch = jax.eval_shape(order, np.int32(0)).shape[1]
        # Two are needed at a time: one epoch's, and that of the next, which is read ahead.
        self._order = functools.lru_cache(2)(lambda epoch: np.asarray(order(np.int32(epoch))))
        most = max(1, BLOCK_BYTES // (self._batch * images[0].nbytes))
        self._most = math.ceil(in_epoch / math.ceil(in_epoch / most))  # of one length, where that can be
        self._count = 0
        self._next = 0, None  # the step that follows, and the array that holds it
        self._ahead = iter(())

    def lengths(self, count: int) -> list[int]:
        return sorted({steps for _, steps in spans(0, count, count, self._most)})

    def like(self, steps: int) -> Block:
        shape = (steps, self._batch)
        examples = jax.ShapeDtypeStruct(shape, np.int32, sharding=self._driver.replicated)
        return Block(
            jax.ShapeDtypeStruct(shape + self._shape, self._images.dtype, sharding=self._driver.by_example),
            examples,
            None if self._labels is None else examples,
        )

    def parts(self, first: Any, count: int) -> Iterator[tuple[int, Block]]:
        number, array = self._next
        first = number if first is array else int(first)
        if first != number or count != min(self._count, self._in_epoch - first % self._in_epoch):
            self._count = count
            self._ahead = self._read_ahead(first)
        for _, steps in spans(first, first + count, count, self._most):
            yield steps, next(self._ahead)
        self._next = first + count, None

    def reached(self, step: Any) -> None:
        self._next = self._next[0], step

    def order(self, first: Any, count: int) -> None:
        return None  # a block says which examples it has

    def scan(self, step: Step, carry: Any, data: Block, order: None, at: Any = None) -> tuple[Any, Any]:
        steps, *shape = data.images.shape
        flat = _several(data.images.reshape(steps, shape[0], -1))

        def with_batch(carry: Any, turn: tuple[jax.Array, jax.Array, jax.Array | None, Any]) -> tuple[Any, Any]:
            index, examples, labels, at = turn
            # Gathered as above: a slice would be read again, byte by byte, by each operation on the images.
            images = flat.at[index, jnp.arange(shape[0])].get(mode="clip").reshape(shape)
            return step(carry, Batch(images, *jax.tree.map(self._driver.share, (examples, labels))), at)

        return _scan(with_batch, carry, (jnp.arange(steps), data.examples, data.labels, at))

    def _read_ahead(self, first: int) -> Iterator[Block]:
        import grain  # takes a second, which resident images do without

        blocks = Blocks(self._block, first, self._count, self._most, self._in_epoch)
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
        return iter(grain.MapDataset.source(blocks).to_iter_dataset(options))

    def _block(self, first: int, steps: int) -> Block:
        epoch, begin = divmod(first, self._in_epoch)
        examples = self._order(epoch)[begin : begin + steps]

        def read(index: tuple[slice, ...]) -> np.ndarray:
            chosen = examples[index[:2]]
            return self._rows(chosen).reshape(*chosen.shape, *self._shape)

        images = self._driver.spread((*examples.shape, *self._shape), read)
        labels = None if self._labels is None else self._labels.take(examples)
        return Block(images, *self._driver.replicate((examples, labels)))


class Blocks:
    """The blocks of a run from a step on, without end, as a random-access source for grain.

    Args:
        read: (first step, number of steps) → a block.
        first: the step to begin with.
        count: steps that are asked for at a time; fewer at the end of an epoch.
        most: steps of a block; fewer at the end of those asked for.
    """

    def __init__(self, read: Callable[[int, int], Any], first: int, count: int, most: int, in_epoch: int) -> None:
        self._read, self._in_epoch = read, in_epoch
        self._following = (first // in_epoch + 1) * in_epoch
        self._begun = spans(first, self._following, count, most)
        self._epoch = spans(0, in_epoch, count, most)

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> Any:
        if index < len(self._begun):
            return self._read(*self._begun[index])
        epochs, index = divmod(index - len(self._begun), len(self._epoch))
        first, steps = self._epoch[index]
        return self._read(self._following + epochs * self._in_epoch + first, steps)


def spans(first: int, end: int, count: int, most: int) -> list[tuple[int, int]]:
    """The steps from `first` up to `end`, `count` at a time, and those in blocks of `most`: (first, steps) of each."""
    return [
        (begin, min(most, asked + count - begin, end - begin))
        for asked in range(first, end, count)
        for begin in range(asked, min(asked + count, end), most)
    ]


def place(config: Config, driver: Driver, state: TrainState, dataset: Dataset) -> type[Resident] | type[Streamed]:
    """What `data.placement` asks for; all processes agree."""
    if config.data.placement != "auto":
        return Resident if config.data.placement == "device" else Streamed
    # The state twice: its snapshot is there with it.
    own = sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    needed = dataset.train.nbytes + dataset.test.nbytes + 2 * own
    fits = all(2 * needed < free for free in driver.free_bytes())
    return Resident if gather([fits]).all() else Streamed
