"""The devices and processes of a run: how a program of one device runs on all of them.

The state and the images are on every device; each device takes its share of the batch. A program is written
once, for one device: it takes its `share` of the examples, and its means and sums over examples go over `axis`.
With several processes, each runs the same calls on its own devices, and what must be decided alike is `gather`ed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from aejax.config import AejaxError, Devices, Hosts, InputError, Stopped

_AXIS = "devices"


class PeerLost(Stopped):
    """Another process of the run is gone; started together again, all go on from the last checkpoint."""


def join(hosts: Hosts) -> None:
    """Make this process one of those of a run; nothing to do for a run of one process.

    Raises:
        InputError: JAX was used before, or the other processes cannot be found.
    """
    if hosts.coordinator is None or jax.distributed.is_initialized():
        return
    named = {}
    if hosts.coordinator != "auto":
        named = {
            "coordinator_address": hosts.coordinator,
            "num_processes": hosts.count,
            "process_id": hosts.index,
            "coordinator_bind_address": hosts.coordinator if hosts.index == 0 else None,  # not all interfaces
        }
        # JAX aborts the process when the others do not come: this line is then the one that explains it.
        print(
            f"process {hosts.index} of {hosts.count}: waiting for the others at {hosts.coordinator}, at most "
            f"{hosts.startup_seconds} s",
            file=sys.stderr,
            flush=True,
        )
    try:
        jax.distributed.initialize(
            **named,
            initialization_timeout=hosts.startup_seconds,
            heartbeat_timeout_seconds=hosts.heartbeat_seconds,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"hosts.coordinator is {hosts.coordinator}; joining the run failed: {reason}") from error


def is_first() -> bool:
    """Whether this process is the one that writes the records."""
    return jax.process_index() == 0


def local(tree: Any) -> Any:
    """A copy of replicated arrays on one device of this process, for use apart from the other processes."""
    return jax.tree.map(lambda array: array.addressable_data(0), tree)


def gather(values: Sequence[float]) -> np.ndarray:
    """The same few numbers of every process, alike everywhere: [processes, values], int32 or float32."""
    own = np.asarray(values)
    own = own.astype(np.float32 if own.dtype.kind == "f" else np.int32)
    return own[None] if jax.process_count() == 1 else np.asarray(multihost_utils.process_allgather(own))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What one process refuses within, all refuse after it."""
    refusal = None
    try:
        yield
    except AejaxError as error:
        refusal = error
    refused = gather([refusal is not None])[:, 0]
    if refusal is not None:
        raise refusal
    if refused.any():
        raise InputError(f"process {int(refused.argmax())} of this run was refused; its line says why")


@contextlib.contextmanager
def peers() -> Iterator[None]:
    """Within, the loss of another process becomes `PeerLost`."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        reason = str(error).strip().split("\n")[0]
        raise PeerLost(
            f"process {jax.process_index()} of {jax.process_count()} lost another one ({reason}); start all of them "
            "again, they go on from the last checkpoint"
        ) from error


class Program(NamedTuple):
    """A compiled program.

    Attributes:
        call: its arguments → its results.
        flops: floating-point operations, a loop's body counted once; 0 where the compiler does not tell.
    """

    call: Callable
    flops: float


class Driver:
    """The devices of a run and what they are driven by.

    Attributes:
        devices: the devices in use, of all processes.
        axis: name of the axis for `lax.pmean` and `lax.psum`; None under `jit`, where the compiler sees whole arrays.
        replicated: the sharding of an array that is whole on every device.

    Raises:
        InputError: there are fewer devices than asked for, or they do not divide the batch.
    """

    def __init__(self, config: Devices, batch_size: int) -> None:
        available = jax.devices()
        count = config.count or len(available)
        if count > len(available):
            raise InputError(f"devices.count is {count}; there are {len(available)} devices")
        if count < len(available) and jax.process_count() > 1:
            raise InputError(
                f"devices.count is {count}; {jax.process_count()} processes use all their {len(available)} devices: "
                "leave it out"
            )
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
        self.replicated = NamedSharding(self._mesh, PartitionSpec())
        # Not compiled ahead: an older pmap returns arrays with a sharding of its own kind.
        self._copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=self.replicated)

    def share(self, examples: jax.Array) -> jax.Array:
        """Within a program: the examples of this device, of those of all; under `jit` all, spread over the devices."""
        if self.axis is None:
            return jax.lax.with_sharding_constraint(examples, NamedSharding(self._mesh, PartitionSpec(_AXIS)))
        size = len(examples) // len(self.devices)
        return jax.lax.dynamic_slice_in_dim(examples, jax.lax.axis_index(self.axis) * size, size)

    def replicate(self, tree: Any) -> Any:
        """A copy of every array, the same in every process, on every device."""
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(self.replicated, np.asarray(array), np.shape(array)),
            tree,
        )

    def copy(self, tree: Any) -> Any:
        """A copy, on the devices, that outlives the donation of the original."""
        return self._copy(tree)

    def compile(self, program: Callable, *arguments: Any, donate: bool = False) -> Program:
        """Compile a program for replicated arguments like these; its results are replicated too.

        Args:
            donate: let the first argument's memory be reused (not under `pmap`, which cannot for such arguments).
        """
        if self._parallel == "pmap":
            # pmap wants at least one argument that differs by device; it is not used.
            mapped = jax.pmap(
                lambda _, *arguments: program(*arguments),
                axis_name=_AXIS,
                in_axes=(0, *(None for _ in arguments)),
                out_axes=None,
                devices=self.devices,
            )
            ranks = np.arange(len(self._mesh.local_devices))
            if jax.process_count() > 1:
                # Compiled ahead, it would not take the ranks of this process alone; its results know of no other.
                return Program(lambda *arguments: self._of_all_processes(mapped(ranks, *arguments)), 0.0)
            compiled = mapped.lower(ranks, *arguments).compile()
            return Program(lambda *arguments: compiled(ranks, *arguments), _flops(compiled))
        if self._parallel == "shard_map":
            # check_vma=False: with it, gradients of replicated parameters would come out summed, not local.
            program = jax.shard_map(
                program, mesh=self._mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
            )
        donated = (0,) if donate else ()
        compiled = jax.jit(program, donate_argnums=donated, out_shardings=self.replicated).lower(*arguments).compile()
        return Program(compiled, _flops(compiled))

    def _of_all_processes(self, tree: Any) -> Any:
        """Arrays that are whole on every device of this process, as those of all processes."""
        return jax.tree.map(
            lambda array: jax.make_array_from_single_device_arrays(
                array.shape, self.replicated, [shard.data for shard in array.addressable_shards]
            ),
            tree,
        )


def _flops(compiled: Any) -> float:
    costs = compiled.cost_analysis() or {}
    costs = costs[0] if isinstance(costs, list) else costs
    return float(costs.get("flops", 0))
