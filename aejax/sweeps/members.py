"""Members of a sweep, trained as one program by the loop of ordinary runs.

In their common state, every array but the step has a first axis of members. In the results of a program, the members
are the second axis.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from aejax.config import Config, InputError
from aejax.config.checks import require
from aejax.training.devices import AXIS, Driver
from aejax.training.identity import Identity
from aejax.training.loop import Single
from aejax.training.programs import Program
from aejax.training.step import MEMBER_AXES, Traced, TrainState, values_of

IN_TURN = ("cpu",)
"""platforms on which a device trains its members one after another: a core gains nothing from many members at a time,
since their states leave its cache"""
_VECTOR_MEMORY = {"TPU v5 lite": 2**27, "TPU v6 lite": 2**27, "TPU v5": 2**26, "TPU7x": 2**26}
"""kind of TPU → bytes of a core's own memory; 16 MiB in the other kinds"""


def group_size(members: int, member_bytes: float, device: jax.Device) -> int:
    """Return how many of the members on a device train at a time; the groups train one after another.

    On a TPU, the states of a group fill at most half of the vector memory, so that they stay there during an epoch.
    Gradients and activations need the other half. Members that do not fit one by one train all at once, as on a GPU.

    Args:
        member_bytes: size of the state of one member.
    """
    if device.platform in IN_TURN:
        return 1
    most = members
    if device.platform == "tpu":
        most = int(_VECTOR_MEMORY.get(device.device_kind, 2**24) / 2 / member_bytes) or members
    if members <= most:
        return members
    even = [size for size in range(most // 2 + 1, most + 1) if members % size == 0]
    return max(even, default=-(-members // -(-members // most)))


class Members(Single):
    """The members of a sweep. If a member diverges, the loop logs a warning, and the others continue.

    Args:
        members: name → configuration; they differ in `training.seed` and `coefficients` only.
    """

    alone = False

    def __init__(self, members: Mapping[str, Config]) -> None:
        self.names, self._configs = tuple(members), list(members.values())
        swept = {name: {"seed": config.training.seed, **config.coefficients} for name, config in members.items()}
        self.description = {"members": swept}

    def driver(self, config: Config, devices: Sequence[jax.Device] | None = None) -> Driver:
        return MemberDriver(config, len(self.names), devices)

    def values(self, config: Config) -> Traced:
        return values_of(self._configs)

    def each(self, results: Any) -> list[Any]:
        return [jax.tree.map(lambda array: array[:, member], results) for member in range(len(self.names))]  # noqa: B023

    def local(self, state: TrainState) -> TrainState:
        return jax.device_get(state)

    def summary(self, identity: Identity, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        count, members = len(self.names), {}
        for place, name in enumerate(self.names):
            own = lines[place::count]
            members[name] = super().summary(identity, own)
            if diverged := next((line["diverged"] for line in reversed(own) if "diverged" in line), None):
                members[name]["diverged"] = diverged
        first = members[self.names[0]]
        images = {"model_images_per_second": count * first["images_per_second"]}
        return {name: first[name] for name in ("step", "epochs", "seconds")} | images | {"members": members}


class MemberDriver(Driver):
    """Devices that share the members of a sweep; each device computes every batch for its own members.

    If the devices cannot share the members evenly, the last member is computed several times and saved once.
    """

    def __init__(self, config: Config, members: int, devices: Sequence[jax.Device] | None = None) -> None:
        if jax.process_count() > 1:
            raise InputError("hosts.coordinator is set; a sweep runs in one process: start one on each host, by seeds")
        shards = config.devices.shards
        require(shards == 1, "devices.shards", shards, "1 in a sweep, whose members share the devices")
        super().__init__(config.devices, 0, devices)
        self.axis, self.batch_axis, self.by_example, self.parallel = None, None, self.replicated, "jit"
        self._members = members
        self._padding = -members % len(self.devices)
        self._each = -(-members // len(self.devices))  # on every device
        self._in_turn = self.platform in IN_TURN
        self.state_sharding = jax.tree.map(self._sharding, MEMBER_AXES, is_leaf=_is_axis)

    def share(self, examples: jax.Array) -> jax.Array:
        return examples

    def init(self, init: Callable, seed: Any, *begun: Any) -> Any:
        return jax.vmap(lambda seed: init(seed, *begun), out_axes=MEMBER_AXES)(seed)

    def group(self, state: TrainState) -> int:
        """Return how many members with these states, arrays or their descriptions, a device trains at a time."""
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        return group_size(self._each, size / self._members, self.devices[0])

    def compile(
        self, program: Callable, *arguments: Any, shared: Callable, donate: bool = False, axes: tuple[Any, Any]
    ) -> Program:
        inputs, outputs = (*axes[0], None), axes[1]
        group = self.group(arguments[0])
        at_once = group == self._each and not self._in_turn
        mapped = jax.shard_map(
            jax.vmap(program, inputs, outputs) if at_once else _in_groups(program, self._each, group, inputs, outputs),
            mesh=self._mesh,
            in_specs=jax.tree.map(_spec, inputs, is_leaf=_is_axis),
            out_specs=jax.tree.map(_spec, outputs, is_leaf=_is_axis),
            check_vma=False,  # no device reads the results of another device
        )

        def evenly(*arguments: Any) -> Any:
            given = (*arguments, shared(*arguments))
            if not self._padding:
                return mapped(*given)
            given = _along(lambda _, array: jnp.concatenate([array, *[array[-1:]] * self._padding]), inputs, given)
            cut = functools.partial(jax.lax.slice_in_dim, start_index=0, limit_index=self._members)
            return _along(lambda axis, array: cut(array, axis=axis), outputs, mapped(*given))

        shardings = jax.tree.map(self._sharding, outputs, is_leaf=_is_axis)
        compiled = jax.jit(evenly, donate_argnums=(0,) if donate else (), out_shardings=shardings)
        on_one_core = self._in_turn and len(self.devices) > 1
        program = Program.of(compiled.lower(*arguments), self.platform, on_one_core=on_one_core)
        return program._replace(flops=program.flops * self._each / group)

    def _sharding(self, axis: int | None) -> NamedSharding:
        spread = axis == 0 and not self._padding
        return NamedSharding(self._mesh, _spec(axis) if spread else PartitionSpec())


def _in_groups(program: Callable, members: int, group: int, inputs: Any, outputs: Any) -> Callable:
    """Apply `jax.vmap` to one group of members after another."""

    def mapped(*arguments: Any) -> Any:
        def one(member: jax.Array) -> Any:
            return program(*_along(lambda _, array: array[member], inputs, arguments))

        results = jax.lax.map(one, jnp.arange(members), batch_size=group if group > 1 else None)
        return _along(lambda axis, array: jnp.moveaxis(array, 0, axis), outputs, results, lambda array: array[0])

    return mapped


def _spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)


def _is_axis(node: Any) -> bool:
    return node is None or isinstance(node, int)


def _along(function: Callable, axes: Any, tree: Any, common: Callable = lambda array: array) -> Any:
    """Apply `function(axis, array)` to the arrays of each branch that has an axis, and `common` to the other arrays."""

    def apply(axis: int | None, branch: Any) -> Any:
        return jax.tree.map(lambda array: common(array) if axis is None else function(axis, array), branch)

    return jax.tree.map(apply, axes, tree, is_leaf=_is_axis)
