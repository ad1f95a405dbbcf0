"""Programs that train the same model by other means, each in a process of its own, timed an epoch at a time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from aejax.config import Config, InputError


class Peer:
    """A program that is given the path of its task, and whose lines are JSON.

    The task is JSON too: images (path of uint8[N, D]), hidden, code_size, batch, learning_rate. The first line tells
    what the program is and how it was tuned; then, for every line that it reads, it trains for one epoch and writes
    the seconds that took.

    Raises:
        InputError: the program fails.
    """

    def __init__(self, command: list[str], task: Path) -> None:
        self._command = command
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (it lives as long as the program)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
        try:
            self._process = subprocess.Popen(
                [*command, str(task)],
                env=clean,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise InputError(f"the peer {' '.join(command)} cannot be started: {error.strerror}") from error
        try:
            self.description = self._line()
            if not isinstance(self.description, dict):
                raise InputError(f"the peer {' '.join(command)} does not say what it is, but {self.description!r}")
        except InputError:
            self.close()
            raise

    def seconds(self) -> float:
        """Train for an epoch."""
        with contextlib.suppress(BrokenPipeError):  # it has ended: what follows says how
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        line = self._line()
        if not isinstance(line, int | float):
            raise InputError(f"the peer {' '.join(self._command)} gives {line!r} in place of the seconds of an epoch")
        return float(line)

    def close(self) -> None:
        """End the program."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _line(self) -> object:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            reason = (self._errors.read().strip() or "no message").splitlines()[-1]
            raise InputError(f"the peer {' '.join(self._command)} fails: {reason}")
        try:
            return json.loads(line)
        except ValueError as error:
            raise InputError(f"the peer {' '.join(self._command)} prints no JSON: {line.strip()[:200]}") from error


@contextlib.contextmanager
def started(commands: Mapping[str, list[str]], config: Config, images: np.ndarray) -> Iterator[dict[str, Peer]]:
    """All the peers by name, tuned and ready; they end with the context."""
    running: dict[str, Peer] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        if commands:
            np.save(Path(folder, "images.npy"), np.asarray(images).reshape(len(images), -1))
        task = Path(folder, "task.json")
        task.write_text(
            json.dumps(
                {
                    "images": str(Path(folder, "images.npy")),
                    "hidden": config.model.hidden,
                    "code_size": config.model.code_size,
                    "batch": config.training.batch_size,
                    "learning_rate": config.coefficients.learning_rate,
                }
            )
        )
        for name, command in commands.items():
            running[name] = Peer(command, task)
            stack.callback(running[name].close)
        yield running


def comparable(config: Config) -> str | None:
    """What the peers know this model as: "plain" or "variational"; None where they cannot train it.

    They know dense models with rectified layers in float32, trained by Adam on the cross-entropy of clean images, or of
    binarized ones on the ELBO.
    """
    model, weights = config.model, config.coefficients
    dense = not (model.channels or model.spatial_code or model.tied or model.top_k) and model.decoder_hidden is None
    relu = model.activation == "relu" and model.code_activation is None and model.dtype == "float32"
    loss = config.loss.reconstruction == "bce" and config.loss.sparsity == "l1" and weights.l1 == 0
    training = config.training
    optimizer = training.optimizer == "adam" and training.clip_norm is None and training.average is None
    if not (dense and relu and loss and optimizer and config.corruption.kind == "none"):
        return None
    if model.kind == "variational":
        elbo = config.loss.bound == "elbo" and model.samples == 1 and (weights.beta, weights.free_bits) == (1, 0)
        return "variational" if elbo and config.data.binarize else None
    return "plain" if model.kind == "plain" and not config.data.binarize and config.loss.pixels == "mean" else None
