"""The devices and processes of a run: how a program of one device runs on all of them.

The state and the images are on every device (of streamed images its share); each takes its share of the batch. A
program is written once, for one device: it takes its `share` of the examples, and its means and sums over examples
go over `axis`. With several processes, each runs the same calls on its own devices, and what must be decided alike
is `gather`ed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from aejax.config import AejaxError, Devices, InputError, Stopped
from aejax.training import start

AXIS = "devices"
"""the name of the mesh's axis"""


class PeerLost(Stopped):
    """Another process of the run is gone; started together again, all go on from the last checkpoint."""


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
        raise lost(error) from error


def lost(error: Exception) -> PeerLost:
    """The failure that another process is gone."""
    reason = str(error).strip().split("\n")[0]
    return PeerLost(
        f"process {jax.process_index()} of {jax.process_count()} lost another one ({reason}); start all of them again, "
        "they go on from the last checkpoint"
    )


class Program(NamedTuple):
    """A compiled program.

    Attributes:
        call: its arguments → its results.
        flops: floating-point operations, a loop's body counted once; 0 where the compiler does not tell.
        memory: bytes on each device by their use, for `sum`: arguments, results that take no argument's place, and
            temporaries; empty where the compiler does not tell.
        text: () → the operations it consists of (HLO); empty where the compiler does not tell.
    """

    call: Callable
    flops: float
    memory: Mapping[str, int]
    text: Callable[[], str]

    @staticmethod
    def of(lowered: jax.stages.Lowered, platform: str, *, on_one_core: bool = False) -> Program:
        """Compile what JAX has lowered for a platform."""
        compiled = lowered.compile(compiler_options=_compiler_options(platform, on_one_core))
        return Program(compiled, _flops(compiled), _memory(compiled), compiled.as_text)


class Absent(NamedTuple):
    """Devices that are not there.

    Attributes:
        devices: of a topology (`jax.experimental.topologies`).
        compiled: is told of each program as soon as it is compiled for them.
    """

    devices: Sequence[jax.Device]
    compiled: Callable[[Program], None]


class Driver:
    """The devices of a run and what they are driven by.

    Args:
        absent: devices that are not there, to be used in place of those that are: programs are compiled for them and
            not called, and arrays are described and not placed.

    Attributes:
        devices: the devices in use, of all processes.
        platform: their kind: cpu, gpu or tpu.
        axis: name of the axis for `lax.pmean` and `lax.psum`; None under `jit`, where the compiler sees whole arrays.
        batch_axis: the same, and None also where there is one device, which has the whole batch.
        replicated: the sharding of an array that is whole on every device.
        state_sharding: that of a state, or of its branches.
        by_example: the sharding of [steps, B, ...] with its share of every batch on each device.

    Raises:
        InputError: there are fewer devices than asked for, or they do not divide the batch.
    """

    def __init__(self, config: Devices, batch_size: int, absent: Absent | None = None) -> None:
        self._absent = absent
        available = start.devices() if absent is None else absent.devices
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
        self.platform = self.devices[0].platform
        self.axis = None if config.parallel == "jit" else AXIS
        self.batch_axis = self.axis if count > 1 else None
        self._parallel = config.parallel
        self._mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        self.replicated = self.state_sharding = NamedSharding(self._mesh, PartitionSpec())
        self.by_example = NamedSharding(self._mesh, PartitionSpec(None, AXIS))
        # Not compiled ahead: an older pmap returns arrays with a sharding of its own kind.
        self._copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=self.replicated)

    @property
    def is_absent(self) -> bool:
        """Whether the devices are not there: of an array only its shape and type are looked at."""
        return self._absent is not None

    def share(self, examples: jax.Array) -> jax.Array:
        """Within a program: the examples of this device, of those of all; under `jit` all, spread over the devices."""
        if self.axis is None:
            return jax.lax.with_sharding_constraint(examples, NamedSharding(self._mesh, PartitionSpec(AXIS)))
        size = len(examples) // len(self.devices)
        return jax.lax.dynamic_slice_in_dim(examples, jax.lax.axis_index(self.axis) * size, size)

    def replicate(self, tree: Any) -> Any:
        """A copy of every array, the same in every process, on every device."""
        if self._absent is not None:
            return abstract(tree, self.replicated)
        return jax.tree.map(
            lambda array: jax.make_array_from_process_local_data(self.replicated, np.asarray(array), np.shape(array)),
            tree,
        )

    def spread(self, shape: tuple[int, ...], read: Callable[[tuple[slice, ...]], np.ndarray]) -> Any:
        """An array [steps, B, ...], on each device its share of every batch.

        Args:
            read: part of the array → its values; called for the shares of this process only.
        """
        if self._parallel != "pmap":
            return jax.make_array_from_callback(shape, self.by_example, read)
        shares = self.by_example.addressable_devices_indices_map(shape)
        return np.stack([read(shares[device]) for device in self._mesh.local_devices])

    def free_bytes(self) -> list[int]:
        """Memory that is free on each device of this process; of a processor's, that of the machine in equal parts."""
        devices = self._mesh.local_devices
        stats = [device.memory_stats() for device in devices]
        if None in stats:
            return [psutil.virtual_memory().available // len(devices)]
        return [each["bytes_limit"] - each["bytes_in_use"] for each in stats]

    def copy(self, tree: Any) -> Any:
        """A copy of a state, on the devices, that outlives the donation of the original."""
        return self._copy(tree)

    def compile(
        self, program: Callable, *arguments: Any, shared: Callable, donate: bool = False, axes: Any = None
    ) -> Program:
        """Compile a program for arguments like these, replicated or spread; its results are replicated.

        Args:
            shared: the arguments → the program's last one, which is the same for all members of a sweep.
            donate: let the first argument's memory be reused (not under `pmap`, which cannot for such arguments).
            axes: (of the arguments, of the results) where the members of a sweep stand, as `jax.vmap` takes it; only
                a `MemberDriver` looks at it.
        """

        def whole(*arguments: Any) -> Any:
            return program(*arguments, shared(*arguments))

        spread = jax.tree.map(lambda leaf: getattr(leaf, "sharding", None) == self.by_example, arguments)
        if self._parallel == "pmap":
            # pmap wants at least one argument that differs by device; it is not used.
            mapped = jax.pmap(
                lambda _, *arguments: whole(*arguments),
                axis_name=AXIS,
                in_axes=(0, *jax.tree.map(lambda is_spread: 0 if is_spread else None, spread)),
                out_axes=None,
                devices=self.devices,
            )
            ranks = np.arange(len(self._mesh.local_devices))
            if jax.process_count() > 1:
                # Compiled ahead, it would not take the ranks of this process alone; its results know of no other.
                return Program(lambda *arguments: self._of_all_processes(mapped(ranks, *arguments)), 0.0, {}, str)
            compiled = self.compiled(mapped.lower(ranks, *jax.tree.map(self._stacked, arguments, spread)))
            return compiled._replace(call=lambda *arguments: compiled.call(ranks, *arguments))
        if self._parallel == "shard_map":
            # check_vma=False: with it, gradients of replicated parameters would come out summed, not local.
            specs = jax.tree.map(lambda is_spread: (self.by_example if is_spread else self.replicated).spec, spread)
            whole = jax.shard_map(whole, mesh=self._mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)
        donated = (0,) if donate else ()
        lowered = jax.jit(whole, donate_argnums=donated, out_shardings=self.replicated).lower(*arguments)
        return self.compiled(lowered)

    def compiled(self, lowered: jax.stages.Lowered, *, on_one_core: bool = False) -> Program:
        """Compile what JAX has lowered for these devices; `on_one_core` keeps one that is a core from the others."""
        program = Program.of(lowered, self.platform, on_one_core=on_one_core)
        if self._absent is not None:
            self._absent.compiled(program)
        return program

    def _stacked(self, leaf: Any, is_spread: bool) -> Any:
        """The same leaf as pmap takes it: the shares of this process one above the other."""
        if not is_spread:
            return leaf
        count = len(self._mesh.local_devices)
        return jax.ShapeDtypeStruct((count, *self.by_example.shard_shape(leaf.shape)), leaf.dtype)

    def _of_all_processes(self, tree: Any) -> Any:
        """Arrays that are whole on every device of this process, as those of all processes."""
        return jax.tree.map(
            lambda array: jax.make_array_from_single_device_arrays(
                array.shape, self.replicated, [shard.data for shard in array.addressable_shards]
            ),
            tree,
        )


def abstract(tree: Any, sharding: Any) -> Any:
    """Shapes and types that lie so: one sharding for all, or a tree of them, each for a branch."""

    def lying(where: Sharding, branch: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), branch)

    return jax.tree.map(lying, sharding, tree)


def _memory(compiled: Any) -> dict[str, int]:
    found = compiled.memory_analysis()
    if found is None:
        return {}
    return {
        "arguments": int(found.argument_size_in_bytes),
        "results": int(found.output_size_in_bytes - found.alias_size_in_bytes),
        "temporaries": int(found.temp_size_in_bytes),
    }


@functools.cache
def _compiler_options(platform: str, on_one_core: bool) -> dict[str, Any]:
    """For a processor, of these options those that this version of XLA knows.

    Matrix products by Eigen, where XLA has another library for them that is slower at these sizes; vectors as wide
    as the processor has them, where XLA would take half of 512 bits; and on one core, no operation cut in parts.
    """
    if platform != "cpu":
        return {}
    wanted = {
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
        "xla_cpu_prefer_vector_width": 512,
    }
    if on_one_core:
        wanted |= {"xla_cpu_multi_thread_eigen": False, "xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    return {name: value for name, value in wanted.items() if _is_known({name: value})}


def _is_known(options: dict[str, Any]) -> bool:
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return False
    return True


def _flops(compiled: Any) -> float:
    costs = compiled.cost_analysis() or {}
    costs = costs[0] if isinstance(costs, list) else costs
    return float(costs.get("flops", 0))
