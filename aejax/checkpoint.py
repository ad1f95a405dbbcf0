"""Checkpoints by Orbax, with a digest of every array, so that damage is noticed and never trained on."""

from __future__ import annotations

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from aejax.config import InputError

_policies = ocp.training.preservation_policies


class Checkpoints:
    """The checkpoints of one run: the newest two, and the best by test loss.

    Use as a context manager: leaving it waits for the save in progress. Only who saves clears away what a
    kill left half-saved: a reader would take the save in progress of a run that is under way for such.
    """

    def __init__(self, folder: Path, *, saves: bool) -> None:
        self.folder = folder.absolute()
        self._saves = saves
        try:
            self._checkpointer = self._open()
        except (OSError, ValueError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"the checkpoints in {self.folder} cannot be read: {reason}") from error

    def _open(self) -> ocp.training.Checkpointer:
        return ocp.training.Checkpointer(
            self.folder,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=_policies.AnyPreservationPolicy(
                [
                    _policies.LatestN(2),
                    _policies.BestN(get_metric_fn=lambda metrics: metrics["test_total"], reverse=True, n=1),
                ]
            ),
            cleanup_tmp_directories=self._saves,
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpointer.close()

    def save(self, step: int, state: Any, test_total: float) -> None:
        """Save in the background; waits for the save before this one."""
        self._checkpointer.wait()
        self._checkpointer.save_checkpointables_async(
            step, {"state": state}, metrics={"test_total": test_total}, custom_metadata={"digests": digests(state)}
        )

    def steps(self) -> list[int]:
        """The steps at which a checkpoint is kept, oldest first."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def best(self) -> int | None:
        """The step of the checkpoint with the lowest test loss; None where there is no checkpoint."""
        kept = self._checkpointer.checkpoints
        return min(kept, key=lambda checkpoint: checkpoint.metrics["test_total"]).step if kept else None

    def restore(self, like: Any, step: int | None = None) -> Any | None:
        """The state at `step`, or the newest that is whole; None where there is no checkpoint.

        Who saves moves damaged checkpoints that are newer to a folder `damaged` beside this one: their steps will be
        saved again.

        Args:
            like: a state of the same structure, shapes and types (arrays, or their abstract values).

        Raises:
            InputError: there are checkpoints, and none of them is whole.
        """
        candidates = self.steps()[::-1] if step is None else [step]
        for candidate in candidates:
            try:
                state = self._restore_whole(candidate, like)
                self._move_away(candidates[: candidates.index(candidate)])
                return state
            except Exception as error:  # damage shows as one of many types
                reason = str(error).strip().split("\n")[0]
                logging.getLogger("aejax").warning(
                    "the checkpoint %s cannot be used: %s", self.folder / str(candidate), reason
                )
        if candidates:
            raise InputError(f"no checkpoint in {self.folder} can be restored; move the run away and start again")
        return None

    def _move_away(self, steps: list[int]) -> None:
        if not steps or not self._saves:
            return
        for step in steps:
            target = self.folder.parent / "damaged" / str(step)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(target)
        self._checkpointer.close()
        self._checkpointer = self._open()

    def _restore_whole(self, step: int, like: Any) -> Any:
        sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), like)
        saved = self._checkpointer.checkpointables_metadata(step).custom_metadata["digests"]
        state = self._checkpointer.load_checkpointables(step, {"state": abstract})["state"]
        damaged = [path for path, digest in digests(state).items() if saved.get(path) != digest]
        if damaged:
            raise ValueError(f"the digest of {', '.join(damaged)} does not match")
        return state


def digests(state: Any) -> dict[str, str]:
    """SHA-256 of every leaf's type, shape and bytes, by its path in the tree."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        array = np.asarray(leaf)
        content = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
        content.update(np.ascontiguousarray(array))
        found[jax.tree_util.keystr(path)] = content.hexdigest()
    return found
