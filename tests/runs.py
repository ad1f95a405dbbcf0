"""How two runs are compared."""

import jax
import numpy as np


def leaves(run):
    """Every array of the state of a run."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(run.state)]


def same(run, other):
    """Whether two states are the same, bit for bit."""
    return all(np.array_equal(a, b) for a, b in zip(leaves(run), leaves(other), strict=True))


def without_clock(lines):
    """The lines of metrics.jsonl without what differs when it is trained again."""
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]
