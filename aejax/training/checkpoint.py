"""Checkpoints: arrays by Orbax, with a digest of every file, so that damage is noticed and never trained on.

    checkpoints/STEP/arrays/         the state, by Orbax
    checkpoints/STEP/terms.npz       within an epoch: the terms of its steps so far
    checkpoints/STEP/manifest.json   one line of JSON and its SHA-256: step, figures, types, shapes, digests of files

A checkpoint is written beside its place and renamed to it once it is complete; a kill leaves all of it or nothing.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import shutil
import warnings
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from aejax.config import AejaxError, InputError
from aejax.training.devices import abstract, is_first

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        step: the number of steps taken.
        test_total: the test loss; None within an epoch.
        seconds: spent on the steps of the epoch that is not done.
        leaves: type and shape of every array, by its path in the tree.
        files: SHA-256 of every file, by its path in the checkpoint's folder.
    """

    step: int
    test_total: float | None
    seconds: float
    leaves: dict[str, str]
    files: dict[str, str]


class Restored(NamedTuple):
    """A state and, within an epoch, the terms of its steps so far and the seconds spent on them."""

    state: Any
    terms: dict[str, np.ndarray]
    seconds: float


def whole(folder: Path) -> list[Manifest]:
    """The checkpoints in a folder that are as they were saved, oldest first; a warning names what is damaged."""
    found = []
    for path in _step_folders(folder):
        try:
            found.append(_verified(path))
        except (OSError, ValueError, TypeError) as error:
            logging.getLogger("aejax").warning("the checkpoint %s is damaged: %s", path, error)
    return found


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
    manifest = _verified(path)
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
        terms = path / "terms.npz"
        return Restored(like._replace(**found), dict(np.load(terms)) if terms.exists() else {}, manifest.seconds)
    _collect_coroutines()
    raise InputError(f"the checkpoint {path} cannot be read: {failure}")


class Checkpoints:
    """The checkpoints that one run saves: the newest two, and the best by test loss.

    Use as a context manager: leaving it waits for the save in progress. With several processes, all save together,
    and the first one alone looks after the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._kept: list[Manifest] = []
        self._thread = ThreadPoolExecutor(1)
        self._under_way: Future | None = None

    def recover(self) -> int | None:
        """Clear up what a kill or damage left; damaged checkpoints go to a folder `damaged` beside this one.

        Returns:
            the step of the newest checkpoint; None where there is none.

        Raises:
            InputError: there are checkpoints, and none of them is whole.
        """
        for left in self.folder.glob(".*"):
            shutil.rmtree(left)
        self._kept = whole(self.folder)
        damaged = [path for path in _step_folders(self.folder) if int(path.name) not in self._steps()]
        if damaged and not self._kept:
            raise InputError(f"no checkpoint in {self.folder} is whole; move the run away and start again")
        for path in damaged:
            target = self.folder.parent / "damaged" / path.name
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        return self._steps()[-1] if self._kept else None

    def save(
        self,
        state: Any,
        *,
        test_total: float | None = None,
        terms: Mapping[str, np.ndarray] | None = None,
        seconds: float = 0.0,
    ) -> None:
        """Save in the background; waits for the save before this one.

        Raises:
            AejaxError: the save before this one failed.
        """
        self.wait()
        step = int(state.step)
        partial = self.folder / f".{step}.partial"
        if is_first():
            partial.mkdir(parents=True)
            if terms:
                np.savez(partial / "terms.npz", **terms)
        saving = ocp.save_checkpointables_async(partial / "arrays", {"state": _branches(state)})
        about = Manifest(step, test_total, seconds, _leaves(state), {})
        self._under_way = self._thread.submit(self._complete, saving, partial, about)

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
            if isinstance(error, jax.errors.JaxRuntimeError) and jax.process_count() > 1:
                raise  # another process is gone
            text = str(error).strip()
            reason = "No space left on device" if "No space left on device" in text else text.split("\n")[0]
        _collect_coroutines()
        raise AejaxError(f"a checkpoint could not be saved in {self.folder}: {reason}; those before it are whole")

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is jax.errors.JaxRuntimeError and jax.process_count() > 1:
            return  # another process is gone, and the save would wait for it
        try:
            self.wait()
        except AejaxError:
            if kind is None:  # else the first failure is the one to report
                raise
        finally:
            self._thread.shutdown()

    def _steps(self) -> list[int]:
        return [manifest.step for manifest in self._kept]

    def _complete(self, saving: Any, partial: Path, about: Manifest) -> None:
        try:
            saving.result()
            if not is_first():
                return
            manifest = Manifest(**{**asdict(about), "files": _digests(partial)})
            line = json.dumps(asdict(manifest))
            (partial / _MANIFEST).write_text(f"{line}\n{_sha256(line)}\n")
            partial.rename(self.folder / str(about.step))
        except Exception:
            if is_first():
                shutil.rmtree(partial, ignore_errors=True)
            raise
        self._kept.append(manifest)
        keep = {*self._steps()[-2:], best(self._kept)}
        for old in [old for old in self._kept if old.step not in keep]:
            gone = self.folder / f".{old.step}.gone"
            (self.folder / str(old.step)).rename(gone)
            shutil.rmtree(gone)
            self._kept.remove(old)


def _branches(state: Any) -> dict[str, Any]:
    """The fields of a state that hold arrays: to Orbax an empty one is another structure, and older states lack it."""
    return {name: branch for name, branch in state._asdict().items() if jax.tree.leaves(branch)}


def _step_folders(folder: Path) -> list[Path]:
    return sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))


def _verified(path: Path) -> Manifest:
    """The manifest of a checkpoint whose every file is as it was saved."""
    line, *rest = (path / _MANIFEST).read_text(errors="replace").split("\n")
    if rest != [_sha256(line), ""]:
        raise ValueError(f"{_MANIFEST} does not match its digest")
    manifest = Manifest(**json.loads(line))
    found = _digests(path)
    for name in sorted({**manifest.files, **found}):
        if manifest.files.get(name) != found.get(name):
            raise ValueError(f"{name} {'does not match its digest' if name in found else 'is missing'}")
    return manifest


def _digests(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file() and file != path / _MANIFEST)
    digests = {}
    for file in files:
        with file.open("rb") as content:
            digests[str(file.relative_to(path))] = hashlib.file_digest(content, "sha256").hexdigest()
    return digests


def _sha256(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()


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
