"""Training: from a configuration and images to a trained state.

loop.py          the training loop
step.py          the train step and the evaluation step, pure
epoch.py         a part of an epoch, or an evaluation, as one compiled program
optimizer.py     from gradients to the next weights
own_models.py    requirements of the models of users
unreached.py     their parameters that no gradient reaches
batches.py       order of the examples, and the input and the target of a model
placement.py     examples on the devices, streamed or generated
programs.py      compiled and memoised programs
devices.py       devices and processes: jit, pmap, shard_map; the workdir of several processes
sharding.py      parts of a state that several devices share
start.py         conditions for the use of JAX in a process
chunks.py        length of a compiled call
divergence.py    a loss or a state that is not finite
checkpoint.py    saved states, with a digest of every file
source.py        the start from the arrays of another run
paths.py         paths of arrays, and frozen parts of a model
identity.py      everything that the states of a run follow from
selection.py     the number by which the best epoch or member is chosen
records.py       config.json, metrics.jsonl, summary.json: written, read, compared with the checkpoint
"""

from aejax.training.batches import Batch, inputs, steps_per_epoch, unit_interval
from aejax.training.checkpoint import Checkpoints, best, restore
from aejax.training.devices import Driver, PeerLost, abstract, initializer, is_first, shared
from aejax.training.divergence import Diverged
from aejax.training.epoch import build_programs
from aejax.training.loop import Finish, Interrupted, Single, train
from aejax.training.programs import Program, memoised
from aejax.training.start import devices, require_checksums, require_own
from aejax.training.step import Steps, TrainState, build_steps, for_evaluation, test_keys

require_checksums()
