"""Checkpoints: arrays by Orbax, with a digest of every file, so that damage is noticed and never trained on.

    checkpoints/STEP/arrays/         the state, by Orbax
    checkpoints/STEP/terms.npz       within an epoch: the terms of its steps so far
    checkpoints/STEP/manifest.json   one line of JSON and its SHA-256: run, step, figures, types, shapes, digests

A checkpoint is written beside its place and renamed to it once it is complete; a kill leaves all of it or nothing. It
counts where all of it is as it was saved, by this run, at the step that its folder is named for. Nothing else in the
folder is looked at, and nothing else is removed.
"""

from __future__ import annotations

import contextlib
import gc
import re
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from aejax.config import AejaxError, InputError
from aejax.config.checks import reason
from aejax.training.devices import PeerLost, abstract, is_first, lost
from aejax.training.manifest import NAME, Manifest, digests, entries, examined, verified

_TERMS, _ARRAYS = "terms.npz", "arrays"

_LEFT = re.compile(r"\.(0|[1-9][0-9]*)\.(partial|gone)")
"""the folders that a kill leaves half saved or half deleted"""


class Restored(NamedTuple):
    """A state, within an epoch the terms of its steps so far and the seconds spent on them, and `Manifest.records`."""

    state: Any
    terms: dict[str, np.ndarray]
    seconds: float
    records: str | None = None


def whole(folder: Path, run: str | None = None) -> list[Manifest]:
    """The checkpoints of a run that are as they were saved, oldest first; a warning names each that is not.

    Raises:
        InputError: the folder or a file in it is there and cannot be read: that is no damage.
    """
    return examined(folder, run)[0]


def best(manifests: list[Manifest]) -> int | None:
    """The step with the lowest test loss; None where there is no checkpoint at the end of an epoch."""
    evaluated = [manifest for manifest in manifests if manifest.test_total is not None]
    return min(evaluated, key=lambda manifest: manifest.test_total).step if evaluated else None


def restore(folder: Path, step: int, like: Any, sharding: Any) -> Restored:
    """The checkpoint of a step, which is whole.

    Args:
        like: a `TrainState` of the same structure, shapes and types (arrays, or their abstract values).
        sharding: where each array of the state is to lie: one for all, or a tree of them, each for a branch.

    Raises:
        InputError: its structure, shapes or types are others: nothing is cast.
    """
    path = folder.absolute() / str(step)
    manifest = verified(path)
    here, there = _leaves(like), manifest.leaves
    if here != there:
        name = next(name for name in {**here, **there} if here.get(name) != there.get(name))
        raise InputError(
            f"the checkpoint {path} is of another model: {name} is {here.get(name, 'not there')} here, "
            f"{there.get(name, 'not there')} there"
        )
    try:
        found = ocp.load_checkpointables(path / "arrays", {"state": _branches(abstract(like, sharding))})["state"]
    except Exception as error:  # of many types; its coroutines are collected once it is gone
        failure = str(error).strip().split("\n")[0]
    else:
        state = like._replace(**found)
        if int(state.step) != step:
            raise InputError(f"the checkpoint {path} holds the state of step {int(state.step)}")
        terms = dict(np.load(path / _TERMS)) if _TERMS in manifest.files else {}
        return Restored(state, terms, manifest.seconds, manifest.records)
    _collect_coroutines()
    raise InputError(f"the checkpoint {path} cannot be read: {failure}")


class Checkpoints:
    """The checkpoints that one run saves: the newest two, and the best by test loss.

    Use as a context manager: leaving it waits for the save in progress. With several processes, all save together,
    and the first one alone looks after the folder.

    Args:
        run: whose they are, as in `Manifest`.
    """

    def __init__(self, folder: Path, run: str | None = None) -> None:
        self.folder = folder.absolute()
        self._run = run
        self._kept: list[Manifest] = []
        self._thread = ThreadPoolExecutor(1)
        self._under_way: Future | None = None

    def recover(self) -> int | None:
        """Clear up what a kill or damage left; what is damaged or of another run goes to `damaged` beside this folder.

        Returns:
            the step of the newest checkpoint; None where there is none.

        Raises:
            InputError: there are checkpoints, and none of them is whole; or they cannot be read.
        """
        self._kept, damaged = examined(self.folder, self._run)
        if damaged and not self._kept:
            newest = list(damaged)[-1]
            raise InputError(
                f"no checkpoint in {self.folder} is whole and of this run ({newest.name}: {damaged[newest]}); "
                "put it back, or move the run away and start again"
            )
        for left in entries(self.folder):
            _clear(left)
        for path in damaged:
            folder, count = self.folder.parent / "damaged", 1
            folder.mkdir(exist_ok=True)
            while (target := folder / (path.name if count == 1 else f"{path.name}-{count}")).exists():
                count += 1
            path.rename(target)
        return self._steps()[-1] if self._kept else None

    def save(
        self,
        state: Any,
        *,
        test_total: float | None = None,
        terms: Mapping[str, np.ndarray] | None = None,
        seconds: float = 0.0,
        records: str | None = None,
    ) -> None:
        """Save in the background; waits for the save before this one.

        Raises:
            AejaxError: the save before this one failed, or this one cannot begin.
        """
        self.wait()
        step = int(state.step)
        partial = self.folder / f".{step}.partial"
        try:
            if is_first():
                _clear(partial)
                partial.mkdir(parents=True)
                if terms:
                    np.savez(partial / _TERMS, **terms)
            saving = ocp.save_checkpointables_async(partial / _ARRAYS, {"state": _branches(state)})
        except Exception as error:  # of many types
            failure = self._failed(error)
        else:
            about = Manifest(step, test_total, seconds, _leaves(state), {}, self._run, records)
            self._under_way = self._thread.submit(self._complete, saving, partial, about)
            return
        if is_first():
            _clear(partial)
        raise failure

    def wait(self) -> None:
        """Wait for the save in progress.

        Raises:
            AejaxError: it failed; the checkpoints before it are whole.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is None:
            return
        try:
            under_way.result()
            return
        except Exception as error:  # of many types
            failure = self._failed(error)
        _collect_coroutines()
        raise failure

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind in (jax.errors.JaxRuntimeError, PeerLost) and jax.process_count() > 1:
            return  # another process is gone, and the save would wait for it
        try:
            self.wait()
        except AejaxError:
            if kind is None:  # else the first failure is the one to report
                raise
        finally:
            self._thread.shutdown()

    def _failed(self, error: Exception) -> Exception:
        if jax.process_count() > 1 and (
            isinstance(error, jax.errors.JaxRuntimeError) or "coordination service" in str(error)
        ):
            return lost(error)  # as Orbax says it who waits for all to have saved: with a barrier that timed out
        return AejaxError(
            f"a checkpoint could not be saved in {self.folder}: {reason(error)}; those before it are whole"
        )

    def _steps(self) -> list[int]:
        return [manifest.step for manifest in self._kept]

    def _complete(self, saving: Any, partial: Path, about: Manifest) -> None:
        try:
            saving.result()
            if not is_first():
                return
            manifest = replace(about, files=digests(partial))
            manifest.write(partial)
            partial.rename(self.folder / str(about.step))
        except Exception:
            if is_first():
                shutil.rmtree(partial, ignore_errors=True)
            raise
        self._kept.append(manifest)
        keep = {*self._steps()[-2:], best(self._kept)}
        for old in [old for old in self._kept if old.step not in keep]:
            self._kept.remove(old)
            gone = self.folder / f".{old.step}.gone"
            with contextlib.suppress(OSError):  # a network disk keeps an open file: it goes at the next start
                (self.folder / str(old.step)).rename(gone)
                _clear(gone)


def _branches(state: Any) -> dict[str, Any]:
    """The fields of a state that hold arrays: to Orbax an empty one is another structure, and older states lack it."""
    return {name: branch for name, branch in state._asdict().items() if jax.tree.leaves(branch)}


def _clear(path: Path) -> None:
    """Remove a folder that a kill left half saved or half deleted, if it is one of ours by its name and content."""
    if not _LEFT.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
        return
    ours = (NAME, _TERMS, _ARRAYS)
    if all(child.name.startswith((".", *ours)) for child in path.iterdir()):  # Orbax adds to a name while it writes
        shutil.rmtree(path, ignore_errors=True)


def _leaves(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _collect_coroutines() -> None:
    """Collect now what a failure within Orbax left.

    Its coroutines, never awaited, warn when they are collected; were that to happen within an import, the warning's
    own import would break it (CPython 3.11, gh-106176).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gc.collect()
