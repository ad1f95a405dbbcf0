"""BatchTopK of 131,072 units on activations of 4,096 values, with a state that several accelerators share.

Parameters and moments of Adam take 12.9 GB, and a second copy is saved: too much for the 16 GB of a TPU v5e. Four of
them fit the model. We compiled it ahead of time and did not train it:

    uv run --group compile experiments/benchmark.py --models batch_top_k_131k --batches 8192 --placements stream
        --dataset experiments/gallery/batch_top_k_131k.py:shapes --compile-for v5e-1,v5e-4

To train it, give a folder of activations, train-0.npy, train-1.npy, ..., as `--data.name`.
"""

from pathlib import Path

import numpy as np

import aejax


def shapes():
    """Return zeros in place of activations: programs are compiled from their shapes."""
    vectors = np.broadcast_to(np.float32(0), (2**16 + 4000, 4096))
    return aejax.Dataset("shapes", vectors[: 2**16], vectors[2**16 :])


def get_config():
    small = aejax.load_config(Path(__file__).with_name("batch_top_k.py"))
    changes = {"model.code_size": 131_072, "coefficients.k": 64.0, "coefficients.learning_rate": 1e-4}
    return small.replace(changes | {"devices.shards": 4, "training.batch_size": 8192, "data.placement": "stream"})
