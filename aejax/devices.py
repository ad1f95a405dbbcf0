"""How a program of one device runs on several: by `jit`, `pmap` or `shard_map`.

The state and the images are on every device; each device takes its share of the batch. A program is written
once, for one device: it takes its `share` of the examples, and its means and sums over examples go over `axis`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from aejax.config import Devices, InputError

_AXIS = "devices"


class Driver:
    """The devices of a run and what they are driven by.

    Attributes:
        devices: the devices in use.
        axis: name of the axis for `lax.pmean` and `lax.psum`; None under `jit`, where the compiler sees whole arrays.

    Raises:
        InputError: there are fewer devices than asked for, or they do not divide the batch.
    """

    def __init__(self, config: Devices, batch_size: int) -> None:
        available = jax.devices()
        count = config.count or len(available)
        if count > len(available):
            raise InputError(f"devices.count is {count}; there are {len(available)} devices")
        if batch_size % count:
            below = batch_size // count * count
            sizes = " or ".join(str(size) for size in (below, below + count) if size)
            raise InputError(
                f"training.batch_size is {batch_size}, which {count} devices do not divide; {sizes} would do"
            )
        self.devices = available[:count]
        self.axis = None if config.parallel == "jit" else _AXIS
        self._parallel = config.parallel
        self._mesh = Mesh(np.array(self.devices), (_AXIS,), axis_types=(AxisType.Auto,))
        # Not compiled ahead: an older pmap returns arrays with a sharding of its own kind.
        self._copy = jax.jit(
            lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=NamedSharding(self._mesh, PartitionSpec())
        )

    def share(self, examples: jax.Array) -> jax.Array:
        """Within a program: the examples of this device, of those of all; under `jit` all, spread over the devices."""
        if self.axis is None:
            return jax.lax.with_sharding_constraint(examples, NamedSharding(self._mesh, PartitionSpec(_AXIS)))
        size = len(examples) // len(self.devices)
        return jax.lax.dynamic_slice_in_dim(examples, jax.lax.axis_index(self.axis) * size, size)

    def replicate(self, tree: Any) -> Any:
        """A copy of every array on every device."""
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    def copy(self, tree: Any) -> Any:
        """A copy, on the devices, that outlives the donation of the original."""
        return self._copy(tree)

    def compile(self, program: Callable, *arguments: Any, donate: bool = False) -> Callable:
        """Compile a program for replicated arguments like these; its results are replicated too.

        Args:
            donate: let the first argument's memory be reused (not under `pmap`, which cannot for such arguments).
        """
        donated = (0,) if donate else ()
        if self._parallel == "pmap":
            # pmap wants at least one argument that differs by device; it is not used.
            mapped = jax.pmap(
                lambda _, *arguments: program(*arguments),
                axis_name=_AXIS,
                in_axes=(0, *(None for _ in arguments)),
                out_axes=None,
                devices=self.devices,
            )
            ranks = np.arange(len(self.devices))
            compiled = mapped.lower(ranks, *arguments).compile()
            return lambda *arguments: compiled(ranks, *arguments)
        if self._parallel == "shard_map":
            # check_vma=False: with it, gradients of replicated parameters would come out summed, not local.
            program = jax.shard_map(
                program, mesh=self._mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
            )
        replicated = NamedSharding(self._mesh, PartitionSpec())
        return jax.jit(program, donate_argnums=donated, out_shardings=replicated).lower(*arguments).compile()
