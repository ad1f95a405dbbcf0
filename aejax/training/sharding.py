"""Shardings of the arrays of a state.

With `devices.shards`, the devices along the axis `MODEL` of the mesh hold a part each of every array that has an axis
along the units of the code: of parameters, their moments in the optimizer, their moving average, and other variables.
The other arrays are replicated. The compiler derives the communication from the shardings of the state alone, so that a
choice of another axis costs time, but does not change a result.
"""

import functools
from typing import Any

import jax
from flax import nnx
from flax.traverse_util import flatten_dict
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

from aejax.config import Config, Devices, InputError
from aejax.models import ImageShape, build
from aejax.models.randomness import stream
from aejax.training.devices import MODEL, Driver, abstract
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
    state, available = jax.eval_shape(steps.init), devices()
    own, most = [device for device in available if device.process_index == jax.process_index()], config.devices.shards
    shards = next(count for count in range(min(most, len(own)), 0, -1) if most % count == 0)
    if shards == 1:
        return abstract(state, SingleDeviceSharding(available[0]))
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
