"""Comparing runs, and workdirs of strangers."""

import json
import types

import jax
import numpy as np

from aejax import Run
from aejax.config import complete
from aejax.training import build_steps
from aejax.training.checkpoint import Manifest
from aejax.training.identity import Identity


def traced(config):
    """The coefficients of a configuration as the arrays that a step takes."""
    return {name: np.float32(value) for name, value in complete(config).coefficients.items()}


def compiled_steps(config, image_shape, *more):
    """Build steps whose functions are one program each; called without jit, each operation is compiled by itself."""
    steps = build_steps(config, image_shape, *more)
    functions = {name: jax.jit(getattr(steps, name)) for name in ("init", "alone", "evaluate")}
    return types.SimpleNamespace(**functions, model=steps.model)


def spoiled(content):
    """Change the last of some bytes, whatever it was."""
    return content[:-1] + bytes([content[-1] ^ 1])


def leaves(run):
    """Every array of the state of a run."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves(run.state)]


def same(run, other):
    """Whether two states are the same, bit for bit."""
    return all(np.array_equal(a, b) for a, b in zip(leaves(run), leaves(other), strict=True))


def without_clock(lines):
    """The lines of metrics.jsonl without what differs when it is trained again."""
    return [{key: value for key, value in line.items() if "second" not in key} for line in lines]


def untrained(config, dataset):
    """A run whose parameters, biases too, are random numbers: what a model computes can be tested without training."""
    random = np.random.default_rng(0)
    change = dataset.standardized()[1] if config.data.standardize else None
    state = jax.jit(build_steps(config, dataset.image_shape).init)()
    params = jax.tree.map(lambda leaf: np.float32(leaf + 0.1 * random.normal(size=leaf.shape)), state.params)
    line = {"step": 1, "epoch": 1, "seconds": 0.0, "images_per_second": 0.0}
    line |= {part: {"total": 0.0} for part in ("train", "test", "code")}
    state = state._replace(params=params, step=np.asarray(1, np.int32))
    return Run(Identity.of(complete(config), dataset, change), state, [line], {})


def rewrite(workdir, change):
    """Change the content of config.json, in the checkpoints too, as an author of a workdir could; digests match."""
    described = json.dumps(change(json.loads((workdir / "config.json").read_text())))
    (workdir / "config.json").write_text(described)
    for path in (workdir / "checkpoints").iterdir():
        first, _, *lines, _ = (path / "manifest.json").read_text().splitlines()
        Manifest(**json.loads(first) | {"records": [described, *lines]}).write(path)
