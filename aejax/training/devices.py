"""Devices and processes of a run: a program that is written for one device runs on all of them.

Each device holds the state (or a part of it, see `sharding`) and the images (of streamed images its share), and takes
its share of every batch. With several processes, each process makes the same calls on its own devices; decisions that
must agree use `gather`.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import psutil
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, Sharding

from aejax import signals
from aejax.config import AejaxError, Devices, Hosts, InputError, Stopped
from aejax.config.checks import reason, require
from aejax.config.files import address
from aejax.storage import opened
from aejax.training import start
from aejax.training.programs import Like, Program, memoised

AXIS, MODEL = "devices", "model"
"""names of the mesh's axes: of the devices that share a batch, and with `devices.shards` of those that share a state"""


class PeerLost(Stopped):
    """Another process of the run is lost; when all are started again, they resume from the last checkpoint."""


def is_first() -> bool:
    """Return whether this process writes the records."""
    return jax.process_index() == 0


def gather(values: Sequence[float]) -> np.ndarray:
    """Collect numbers from every process: int32 or float32[processes, values], equal in all processes."""
    own = np.asarray(values)
    own = own.astype(np.float32 if own.dtype.kind == "f" else np.int32)
    return own[None] if jax.process_count() == 1 else np.asarray(multihost_utils.process_allgather(own))


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Raise an error in all processes if the body raises an `AejaxError` in one process."""
    try:
        yield
    except AejaxError as error:
        gather([1 + isinstance(error, Stopped)])
        raise
    refused = gather([0])[:, 0]
    if refused.any():
        kind = Stopped if refused.max() > 1 else InputError
        raise kind(f"process {int(refused.argmax())} of this run was refused; its line says why")


@contextlib.contextmanager
def peers() -> Iterator[None]:
    """Turn the error that JAX raises when another process is lost into `PeerLost`."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # the type depends on where JAX meets the failure
        if (found := lost(error)) is None:
            raise
        raise found from error


@contextlib.contextmanager
def shared(place: str | Path | None, hosts: Hosts) -> Iterator[Path | None]:
    """Yield the local folder of a workdir in each process of a run; see `aejax.storage.opened`.

    The first process owns a workdir in a bucket; each of the others downloads it at the start.
    """
    if place is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        if hosts.coordinator is None or address(place) is None:
            yield stack.enter_context(opened(place))
            return
        start.join(hosts)
        signals.renew()
        stack.enter_context(peers())
        folder = None
        for first in (True, False):
            with together():
                if is_first() == first:
                    folder = stack.enter_context(opened(place, reads=not first))
        yield folder


def lost(error: Exception) -> PeerLost | None:
    """Describe the loss of another process; None if the error of JAX or Orbax shows no such loss."""
    # Orbax reports a lost process as the timeout of a barrier; a program may report it as a ValueError of Gloo.
    named = any(name in str(error) for name in ("coordination service", "Gloo"))
    shown = isinstance(error, jax.errors.JaxRuntimeError) or named
    if jax.process_count() == 1 or not shown:
        return None
    this = f"process {jax.process_index()} of {jax.process_count()}"
    advice = "start all of them again: they resume from the last checkpoint"
    return PeerLost(f"{this} lost another process ({reason(error)}); {advice}")


class Driver:
    """The devices of a run, and how a program runs on them. Drivers with the same devices and programs are equal.

    Args:
        devices: devices in place of those of this process; those of a topology (`jax.experimental.topologies`) serve
            for ahead-of-time compilation.

    Raises InputError: there are fewer devices than `devices.count`, `devices.shards` does not divide their number, or
        the number of devices that share a batch does not divide the batch size.
    """

    def __init__(self, config: Devices, batch_size: int, devices: Sequence[jax.Device] | None = None) -> None:
        available = start.devices() if devices is None else devices
        count = config.count or len(available)
        if count > len(available) or (count < len(available) and jax.process_count() > 1):
            there = f"there are {len(available)} devices, of which a run of several processes uses all"
            raise InputError(f"devices.count is {count}; {there}")
        self.shards = config.shards
        self.shares, rest = divmod(count, self.shards)  # of a batch
        divisors = ", ".join(str(shards) for shards in range(1, count + 1) if count % shards == 0)
        require(not rest, "devices.shards", self.shards, f"a divisor of the number of devices: {divisors}")
        if jax.process_count() > 1:
            own = jax.local_device_count()
            holds, allowed = own % self.shards * (self.shards % own) == 0, f"a divisor or a multiple of {own}"
            require(holds, "devices.shards", self.shards, f"{allowed}, the number of devices of each process")
            # A TPU numbers the devices of a slice by their places, so that those of a host do not follow each other.
            available = sorted(available, key=lambda device: device.process_index)
        if batch_size % self.shares:
            below = batch_size // self.shares * self.shares
            sizes = " or ".join(str(size) for size in (below, below + self.shares) if size)
            of = f"{self.shares} devices" if self.shards == 1 else f"{count} devices in {self.shards} shards"
            raise InputError(f"training.batch_size is {batch_size}; {of} do not divide it: take {sizes}")
        self.devices = tuple(available[:count])  # those in use, of all processes
        self.platform = self.devices[0].platform  # cpu, gpu or tpu
        self.parallel = config.parallel
        self.axis = AXIS if WAYS[config.parallel].by_device else None  # under jit, a program sees whole arrays
        self.batch_axis = self.axis if count > 1 else None  # a single device has the whole batch
        self._mesh = Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))
        if self.shards > 1:
            grid = np.array(self.devices).reshape(self.shares, self.shards)
            self._mesh = Mesh(grid, (AXIS, MODEL), axis_types=(AxisType.Auto,) * 2)
        self.replicated = self.state_sharding = NamedSharding(self._mesh, PartitionSpec())
        self.by_example = NamedSharding(self._mesh, PartitionSpec(None, AXIS))  # shares of [steps, B, ...]

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.parallel, self.devices))

    def share(self, examples: jax.Array) -> jax.Array:
        """Inside a program: select the examples of this device; under `jit`, spread all of them over the devices."""
        if self.axis is None:
            return jax.lax.with_sharding_constraint(examples, NamedSharding(self._mesh, PartitionSpec(AXIS)))
        size = len(examples) // len(self.devices)
        return jax.lax.dynamic_slice_in_dim(examples, jax.lax.axis_index(self.axis) * size, size)

    def replicate(self, tree: Any) -> Any:
        """Copy arrays, which are equal in all processes, to every device."""
        make = functools.partial(jax.make_array_from_process_local_data, self.replicated)
        return jax.tree.map(lambda array: make(np.asarray(array), np.shape(array)), tree)

    def spread(self, shape: tuple[int, ...], read: Callable[[tuple[slice, ...]], np.ndarray]) -> Any:
        """Make an array [steps, B, ...], of which each device holds its share; `read` gives the values of a part."""
        if not WAYS[self.parallel].stacked:
            return jax.make_array_from_callback(shape, self.by_example, read)
        shares = self.by_example.addressable_devices_indices_map(shape)
        return np.stack([read(shares[device]) for device in self._mesh.local_devices])

    def free_bytes(self) -> list[int]:
        """Return the free memory of each device of this process; CPU devices share that of the machine equally."""
        devices = self._mesh.local_devices
        stats = [device.memory_stats() for device in devices]
        if None in stats:
            return [psutil.virtual_memory().available // len(devices)]
        return [each["bytes_limit"] - each["bytes_in_use"] for each in stats]

    def init(self, init: Callable, seed: Any, *begun: Any) -> Any:
        """Make a fresh state, while tracing; `begun` are the other arguments of `Steps.init`."""
        return init(seed, *begun)

    def compile(
        self, program: Callable, *arguments: Any, shared: Callable, donate: bool = False, axes: Any = None
    ) -> Program:
        """Compile a program for arguments of these shapes, types and shardings; its results are replicated.

        Args:
            shared: arguments → the last argument of the program, which is common to all members of a sweep.
            donate: let the program reuse the memory of its first argument (ignored under `pmap`) for its first result,
                which then has the shardings of this argument.
            axes: axes of a sweep's members (in the arguments, in the results) for `jax.vmap`, in `MemberDriver`.
        """

        def whole(*arguments: Any) -> Any:
            return program(*arguments, shared(*arguments))

        spread = jax.tree.map(lambda leaf: leaf.sharding == self.by_example, arguments)
        return WAYS[self.parallel].compile(self, whole, arguments, spread, (0,) if donate else ())


def _by_jit(driver: Driver, program: Callable, arguments: Any, spread: Any, donated: tuple[int, ...]) -> Program:
    """Compile under `jit`; `spread` says of each argument whether it is spread over the devices."""
    results = driver.replicated
    if driver.shards > 1 and donated:
        results = shardings(arguments[0]), results
    compiled = jax.jit(program, donate_argnums=donated, out_shardings=results)
    return Program.of(compiled.lower(*arguments), driver.platform)


def _by_shard_map(driver: Driver, program: Callable, arguments: Any, spread: Any, donated: tuple[int, ...]) -> Program:
    specs = jax.tree.map(lambda is_spread: (driver.by_example if is_spread else driver.replicated).spec, spread)
    # With check_vma, gradients of replicated parameters are sums over the devices.
    mesh = driver.by_example.mesh
    mapped = jax.shard_map(program, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(), check_vma=False)
    return _by_jit(driver, mapped, arguments, spread, donated)


def _by_pmap(driver: Driver, program: Callable, arguments: Any, spread: Any, donated: tuple[int, ...]) -> Program:
    # pmap needs at least one argument that differs by device; the program does not use it.
    axes = (0, *jax.tree.map(lambda is_spread: 0 if is_spread else None, spread))
    mapped = jax.pmap(lambda _, *given: program(*given), AXIS, in_axes=axes, out_axes=None, devices=driver.devices)
    count = len(driver.by_example.mesh.local_devices)
    ranks = np.arange(count)

    def stacked(leaf: Any, is_spread: bool) -> Any:
        shape = (count, *driver.by_example.shard_shape(leaf.shape)) if is_spread else leaf.shape
        return jax.ShapeDtypeStruct(shape, leaf.dtype)

    def of_all_processes(array: jax.Array) -> jax.Array:
        shards = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, driver.replicated, shards)

    if jax.process_count() > 1:
        # Compiled ahead of time, pmap refuses the ranks of one process; its results describe this process alone.
        return Program(lambda *given: jax.tree.map(of_all_processes, mapped(ranks, *given)), 0.0, {}, lambda: "")
    compiled = Program.of(mapped.lower(ranks, *jax.tree.map(stacked, arguments, spread)), driver.platform)
    return compiled._replace(call=lambda *arguments: compiled.call(ranks, *arguments))


class Way(NamedTuple):
    """A way to run a program on several devices; `compile` takes the arguments of `_by_jit`."""

    compile: Callable[[Driver, Callable, Any, Any, tuple[int, ...]], Program]
    by_device: bool = True  # whether the program sees the share of one device, and takes means over `AXIS`
    stacked: bool = False  # whether the shares of spread arguments are stacked, [devices, ...]


WAYS = {"jit": Way(_by_jit, by_device=False), "shard_map": Way(_by_shard_map), "pmap": Way(_by_pmap, stacked=True)}
"""`devices.parallel` → how a program runs; add the name of a new entry to `aejax.config.Devices`"""


@memoised
def initializer(driver: Driver, steps: Any, own: Any, state: Like) -> Callable[[Any], Any]:
    """Compile seed → fresh state with these shardings; only `init` depends on `own`, which is `Steps.own`."""
    placed = shardings(jax.tree.unflatten(*state))
    return jax.jit(functools.partial(driver.init, steps.init), out_shardings=placed)


@memoised
def copier(state: Like) -> Callable[[Any], Any]:
    """Compile state → its copy, which outlives the donation of the original."""
    # Not compiled ahead of time: before jax 0.10, the results of pmap have a sharding of another type.
    placed = shardings(jax.tree.unflatten(*state))
    return jax.jit(lambda tree: jax.tree.map(jnp.copy, tree), out_shardings=placed)


def shardings(tree: Any) -> Any:
    """Return the shardings of arrays."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def device_bytes(tree: Any) -> int:
    """Return the bytes that arrays with shardings take on each device."""
    shapes = ((leaf.sharding.shard_shape(leaf.shape), leaf.dtype.itemsize) for leaf in jax.tree.leaves(tree))
    return sum(math.prod(shape) * size for shape, size in shapes)


def abstract(tree: Any, sharding: Any) -> Any:
    """Describe the shapes and types of arrays, with one sharding for all, or a tree of shardings for the branches."""

    def with_sharding(sharding: Sharding, branch: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), branch)

    return jax.tree.map(with_sharding, sharding, tree)
