"""Shardings of the arrays of a state, and their memory.

With `devices.shards`, the devices along the axis `MODEL` of the mesh hold a part each of every array that has an axis
along the units of the code: of parameters, their moments in the optimizer, their moving average, and other variables.
The other arrays are replicated. The compiler derives the communication from the shardings of the state alone, so that a
choice of another axis costs time, but does not change a result.
"""

import functools
import math
from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from tqdm import tqdm

from aejax.config import Config, Devices, InputError
from aejax.models import ImageShape, build
from aejax.models.randomness import stream
from aejax.training.devices import MODEL, Driver, abstract, device_bytes
from aejax.training.start import devices
from aejax.training.step import Steps, Traced, TrainState


def abstract_state(driver: Driver, steps: Steps, config: Config, image_shape: ImageShape, values: Traced) -> TrainState:
    """Describe the state of a run, or of the members of a sweep: shapes, types and shardings.

    Raises InputError: the parts of an array would not have the same size.
    """
    state = jax.eval_shape(functools.partial(driver.init, steps.init), values[1])
    return abstract(state, driver.state_sharding if driver.shards == 1 else _split(driver, config, image_shape, state))


def loaded_state(steps: Steps, config: Config, image_shape: ImageShape) -> TrainState:
    """Describe the state of a run for a process that loads it: on one device, or split in as many parts as possible."""
    devices()  # refuses a process that cannot use JAX
    state, own, most = jax.eval_shape(steps.init), jax.local_devices(), config.devices.shards
    shards = next(count for count in range(min(most, len(own)), 0, -1) if most % count == 0)
    if shards == 1:
        return abstract(state, SingleDeviceSharding(own[0]))
    driver = Driver(Devices(count=shards, shards=shards), 1, own)
    return abstract(state, _split(driver, config, image_shape, state))


def _split(driver: Driver, config: Config, image_shape: ImageShape, state: TrainState) -> Any:
    """Choose the sharding of each array.

    A model that gives an array partitioning metadata with the axis "model", as `nnx.with_partitioning` does, chooses
    the axis itself; otherwise it is the first axis as long as the code. Moments and averages follow their parameter.
    """
    # The model's paths end the paths of the optimizer's state.
    model = nnx.eval_shape(lambda: build(config, image_shape, nnx.Rngs(stream(0, "parameters"))))
    specs = flatten_dict(nnx.to_pure_dict(nnx.get_partition_spec(nnx.state(model))))
    marked = {path: list(spec) for path, spec in specs.items() if MODEL in spec}

    def sharding(path: Any, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        names = tuple(part.key for part in path if isinstance(part, jax.tree_util.DictKey))
        spec = next((marked[names[at:]] for at in range(len(names)) if names[at:] in marked), list(leaf.shape))
        name = MODEL if MODEL in spec else config.model.code_size
        if name not in spec or leaf.dtype.kind == "u" or len(spec) > leaf.ndim:  # keys of a generator are whole
            return driver.replicated
        axis = spec.index(name)
        if leaf.shape[axis] % driver.shards:
            where = f"axis {axis} of {jax.tree_util.keystr(path)}, which has the shape {list(leaf.shape)}"
            raise InputError(f"devices.shards is {driver.shards}; it must divide {where}")
        return NamedSharding(driver.replicated.mesh, PartitionSpec(*[None] * axis, MODEL))

    return jax.tree_util.tree_map_with_path(sharding, state)


def addressable(tree: Any) -> Any:
    """Return a state for use without the other processes: on one device, or split on the devices of this process.

    All processes must call it where `devices.shards` splits a state over several of them.
    """
    if all(array.is_fully_replicated for array in jax.tree.leaves(tree)):
        return jax.tree.map(lambda array: array.addressable_data(0), tree)

    def here(array: jax.Array) -> jax.Array:
        mesh, spec = array.sharding.mesh, array.sharding.spec
        own = np.array(mesh.local_devices).reshape(-1, min(mesh.shape[MODEL], len(mesh.local_devices)))
        sharding = NamedSharding(Mesh(own, mesh.axis_names, axis_types=mesh.axis_types), spec)
        if own.shape[1] < mesh.shape[MODEL]:  # one array after another, since all of it is on each device for a moment
            return jax.device_put(multihost_utils.process_allgather(array, tiled=True), sharding)
        parts = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, parts)

    return jax.tree.map(here, tree)


def require_memory(
    config: Config, state: Any, driver: Driver, image_shape: ImageShape, steps_in_epoch: int, free: int | None = None
) -> None:
    """Refuse a run that certainly exceeds the free memory of a device, since compiling it takes minutes.

    Args:
        state: abstract values of the state of the run, with their shardings.
        free: bytes of memory of each device; None asks the devices.

    Raises InputError: it names the largest need, its bytes and the free bytes.
    """
    batch, images = config.training.batch_size, math.prod(image_shape)
    share = driver.by_example.shard_shape((steps_in_epoch, batch))[1]
    needs = {
        "the weights, the state of their optimizer and a copy of both (model.hidden, model.code_size, devices.shards, "
        "size of the examples)": 2 * device_bytes(state),
        "the order of the examples of an epoch (training.passes)": 4 * steps_in_epoch * batch,
        "a batch and its reconstructions (training.batch_size, model.samples, size of the examples)": (
            4 * share * (1 + config.model.samples) * images
        ),
    }
    free = min(driver.free_bytes()) if free is None else free
    if sum(needs.values()) > free:
        largest = max(needs, key=needs.get)
        needed, free = (tqdm.format_sizeof(size, "B") for size in (needs[largest], free))
        kind = driver.devices[0].device_kind
        raise InputError(f"{largest} would take {needed}; {free} of memory are free on each {kind}")
