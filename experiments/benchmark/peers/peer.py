"""Processes that train the same model with other libraries, timed one epoch at a time."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from aejax.config import Config, complete
from benchmark.processes import Process

_PROGRAMS = {
    "plain": {
        "Keras fit": ["keras_fit.py"],
        "PyTorch": ["pytorch.py"],
        "PyTorch compiled": ["pytorch.py", "compile"],
        "Flax loop": ["flax_loop.py"],
    },
    "variational": {"Flax's example": ["flax_vae.py"]},
}


def commands(python: Path | None) -> dict[str, dict[str, list[str]]]:
    """Return kind of model → name → command of each program; empty without an interpreter."""
    folder, programs = Path(__file__).parent, {} if python is None else _PROGRAMS
    return {
        kind: {name: [str(python), str(folder / script), *rest] for name, (script, *rest) in of_kind.items()}
        for kind, of_kind in programs.items()
    }


@contextlib.contextmanager
def started(
    commands: Mapping[str, list[str]], config: Config, images: np.ndarray
) -> Iterator[dict[str, tuple[Process, dict]]]:
    """Start the programs, and end them with the context.

    The last argument of each command is the path of its task, a JSON object: images (path of uint8[N, D]), hidden,
    code_size, batch, learning_rate. The first line of a program describes it and its tuning. For each line that it
    reads, it trains for one epoch and prints the seconds.

    Yields:
        name → the process, and its description.

    Raises InputError: a program fails, or breaks the protocol.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path, task = Path(folder, "images.npy"), Path(folder, "task.json")
        if commands:
            np.save(path, np.asarray(images).reshape(len(images), -1))
        model, batch = config.model, config.training.batch_size
        given = {"images": str(path), "hidden": model.hidden, "code_size": model.code_size, "batch": batch}
        task.write_text(json.dumps(given | {"learning_rate": complete(config).coefficients["learning_rate"]}))
        running = {}
        for name, command in commands.items():
            process = stack.enter_context(Process(f"the peer {' '.join(command)}", [*command, str(task)], clean))
            running[name] = process, process.read(dict)
        yield running


def comparable(config: Config) -> str | None:
    """Return the kind of model, "plain" or "variational", if the peers can train it; else None.

    Their models are dense, with ReLU and in float32. Adam minimises the cross-entropy of clean images, or the negative
    ELBO of binarized images.
    """
    model, training, values = config.model, config.training, complete(config).coefficients
    dense = not (model.channels or model.spatial_code or model.tied or model.top_k) and model.decoder_hidden is None
    relu = model.activation == "relu" and model.code_activation is None and model.dtype == "float32"
    loss = config.loss.reconstruction == "bce" and values.get("l1") == 0 and config.corruption.kind == "none"
    adam = training.optimizer == "adam" and training.clip_norm is None and training.average is None
    if config.data.augmentation or not (dense and relu and loss and adam):
        return None
    if model.kind == "variational":
        elbo = config.loss.bound == "elbo" and model.samples == 1 and (values["beta"], values["free_bits"]) == (1, 0)
        return "variational" if elbo and config.data.binarize else None
    return "plain" if model.kind == "plain" and not config.data.binarize and config.loss.pixels == "mean" else None
