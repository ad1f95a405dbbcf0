"""From a configuration and images to a trained state.

loop.py          the one loop
step.py          the one train step and evaluation step, pure
epoch.py         a part of an epoch, or an evaluation, as one compiled program
optimizer.py     from gradients to the next weights
own_models.py    what a model of the user's own must return and keep
batches.py       which examples come when
placement.py     images on the device, or streamed to it
programs.py      memoised programs
devices.py       devices and hosts: jit, pmap, shard_map
start.py         what must hold before JAX computes in this process
single.py        the model of an ordinary run, as the loop takes it
chunks.py        how long a compiled call is, so that a stop or a save is never far
checkpoint.py    states that a run saves, with a digest of every file
identity.py      everything that the states of a run follow from
records.py       config.json, metrics.jsonl, summary.json: written, read, compared with the checkpoint
"""

from aejax.training.batches import steps_per_epoch
from aejax.training.checkpoint import Checkpoints, best, restore, whole
from aejax.training.devices import (
    AXIS,
    Driver,
    PeerLost,
    Program,
    abstract,
    initializer,
    is_first,
    local,
    require_memory,
)
from aejax.training.epoch import build_programs
from aejax.training.loop import Diverged, Finish, Interrupted, Trained, train
from aejax.training.programs import memoised
from aejax.training.single import Single
from aejax.training.start import devices, require_checksums, require_own
from aejax.training.step import (
    MEMBER_AXES,
    Batch,
    Steps,
    TrainState,
    build_steps,
    for_evaluation,
    inputs,
    require_trainable,
    test_keys,
    unit_interval,
    values_of,
)

require_checksums()
