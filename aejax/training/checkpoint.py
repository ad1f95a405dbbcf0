"""Checkpoints: folders STEP/ with arrays/ (the state, by Orbax), terms.npz (loss terms of an unfinished epoch), and
manifest.json: lines of JSON (`Manifest`, config.json, each line of metrics.jsonl), then the SHA-256 of these lines.

A kill leaves all of a checkpoint or nothing: we write and delete in the folder .aejax-unfinished. Orbax's own retention
deletes in place, so a kill would leave a damaged step. Files that are not ours are ignored and never removed.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import logging
import shutil
import stat
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
import orbax.checkpoint as v0
from orbax.checkpoint import v1 as ocp

from aejax.config import AejaxError, InputError
from aejax.config.checks import reason, refusing
from aejax.training.devices import abstract, is_first, lost
from aejax.training.identity import Identity
from aejax.training.step import TrainState

_MANIFEST, _TERMS, _ARRAYS = "manifest.json", "terms.npz", "arrays"

_UNFINISHED = ".aejax-unfinished"
"""folder of the checkpoint that is being saved and of those that are being deleted; a start removes what a kill left"""

CHANGED = ValueError, TypeError, LookupError, AttributeError, RecursionError, InputError
"""failures that show a truncated or changed file"""
_DAMAGE = FileNotFoundError, NotADirectoryError, IsADirectoryError, *CHANGED
"""failures that show a damaged checkpoint; other failures of a disk say nothing about its content"""


@dataclass(frozen=True)
class Manifest:
    """Description of a checkpoint."""

    step: int  # number of steps taken; the name of the folder
    leaves: dict[str, str]  # type and shape of every array, by its path in the state
    selected: float | None = None  # from `Selection.value`, lower is better; None without it and within an epoch
    seconds: float = 0.0  # spent on the steps of the unfinished epoch
    chunk: int | None = None  # number of steps per compiled call
    files: dict[str, str] = field(default_factory=dict)  # SHA-256 of every other file, by its path in the folder
    records: Sequence[str] = ()  # `Record.texts`: JSON of the identity of the run, and of each line of metrics.jsonl

    @functools.cached_property
    def identity(self) -> Identity:
        return Identity.from_dict(json.loads(self.records[0]))

    @functools.cached_property
    def history(self) -> list[dict[str, Any]]:
        return list(map(json.loads, self.records[1:]))

    def write(self, path: Path) -> None:
        """Write the manifest into the folder of a checkpoint."""
        text = "\n".join([json.dumps(asdict(replace(self, records=()))), *self.records])
        digest = hashlib.sha256(text.encode()).hexdigest()
        (path / _MANIFEST).write_text(f"{text}\n{digest}\n", encoding="utf-8")


def whole(folder: Path, run: Identity | None = None) -> tuple[list[Manifest], list[Path]]:
    """Return the undamaged checkpoints of a run, and the paths of damaged ones and those of other runs, oldest first.

    Raises InputError: a file cannot be read, or there are only damaged checkpoints.
    """
    found, damaged = [], []
    if not folder.exists() and not folder.is_symlink():
        return found, damaged
    try:
        numbered = [path for path in folder.iterdir() if path.name.isdecimal()]
        for path in sorted(numbered, key=lambda path: int(path.name)):
            try:
                manifest = _verified(path)
                if run is not None and manifest.identity.of_length(run.config) != run:
                    raise ValueError("it is of another run")
                found.append(manifest)
            except _DAMAGE as error:
                damaged.append(path)
                newest = f"{path.name}: {error}"
                logging.getLogger("aejax").warning("the checkpoint %s is damaged: %s", path, error)
    except OSError as error:
        raise InputError(f"{error.filename or folder} cannot be read: {reason(error)}; nothing was changed") from error
    if damaged and not found:
        raise InputError(
            f"no checkpoint in {folder} is whole and of the run that config.json describes ({newest}); put one back, "
            "or move the run away and start again"
        )
    return found, damaged


def has_checkpoints(workdir: Path | None) -> bool:
    """Return whether a run in a workdir has saved a state, whole or damaged."""
    return workdir is not None and any(path.name.isdecimal() for path in (workdir / "checkpoints").glob("*"))


def best(manifests: Sequence[Manifest]) -> Manifest | None:
    """Return the checkpoint with the best value of the validation examples; None without one."""
    known = [manifest for manifest in manifests if manifest.selected is not None]
    return min(known, key=lambda manifest: manifest.selected, default=None)


def verified(folder: Path, step: int) -> Manifest:
    """Return the manifest of the checkpoint that the first process of a run resumes at.

    Raises InputError: this process does not find the checkpoint, or finds it damaged.
    """
    path = folder.absolute() / str(step)
    advice = "the workdir must be on a disk that all processes of the run share, or in a bucket"
    with refusing(f"the checkpoint {path} cannot be read", f"; {advice}"):
        return _verified(path)


def restore(folder: Path, manifest: Manifest, like: Any, sharding: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Restore a verified checkpoint: its state, and the loss terms of an unfinished epoch.

    Args:
        like: a `TrainState` of the same structure, shapes and types (arrays, or their abstract values); None needs no
            model, and takes all arrays but the optimizer's, in nested dictionaries as Orbax describes them.
        sharding: of every array, or a tree of shardings for the branches.

    Raises InputError: structure, shapes or types differ, since nothing is cast; or the arrays cannot be read.
    """
    path = folder.absolute() / str(manifest.step)
    if like is not None and (here := forms(like)) != (there := manifest.leaves):
        name = next(name for name in {**here, **there} if here.get(name) != there.get(name))
        raise InputError(
            f"the checkpoint {path} is of another model: {name} is {here.get(name, 'not there')} here, "
            f"{there.get(name, 'not there')} there"
        )
    options, failure = ocp.Context(), None
    options.pytree.loading.partial_load = like is None
    try:
        if like is None:
            saved = ocp.checkpointables_metadata(path / _ARRAYS).metadata["state"]
            like = TrainState(**saved | {"opt_state": ()})
        wanted = {"state": _branches(abstract(like, sharding))}
        with options:
            state = like._replace(**ocp.load_checkpointables(path / _ARRAYS, wanted)["state"])
    except Exception as error:  # of many types; its coroutines are collected once the error is deleted
        failure = reason(error)
    if failure is not None:
        _collect_coroutines()
        raise InputError(f"the checkpoint {path} cannot be read: {failure}")
    if int(state.step) != manifest.step:
        raise InputError(f"the checkpoint {path} holds the state of step {int(state.step)}")
    return state, dict(np.load(path / _TERMS)) if _TERMS in manifest.files else {}


class Checkpoints:
    """The checkpoints that one run saves: the newest two, and the best by `Selection.value`.

    As a context manager, it waits for the save in progress. Of several processes, the first saves; the others need no
    access to its disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._kept: list[Manifest] = []
        self._thread = ThreadPoolExecutor(1)
        self._saving: Future | None = None

    def recover(self, run: Identity | None = None) -> Manifest:
        """Remove what a kill left; move checkpoints that `whole` calls damaged to `damaged` next to this folder.

        Returns the manifest of the newest checkpoint; of step 0 without any.
        """
        self._kept, damaged = whole(self.folder, run)
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)
        for path in damaged:
            folder, count = self.folder.parent / "damaged", 1
            folder.mkdir(exist_ok=True)
            while (target := folder / (path.name if count == 1 else f"{path.name}-{count}")).exists():
                count += 1
            path.rename(target)
        return self._kept[-1] if self._kept else Manifest(0, {})

    def save(
        self, state: Any, terms: Mapping[str, np.ndarray] | None = None, records: Sequence[str] = (), **described: Any
    ) -> None:
        """Save in the background, after waiting for the previous save.

        Args:
            records, described: as in `Manifest`; described has selected, seconds and chunk.

        Raises AejaxError: the previous save failed, or this save cannot begin.
        """
        self.wait()
        if not is_first():
            return
        partial = self.folder / _UNFINISHED / str(int(state.step))
        try:
            partial.mkdir(parents=True)
            if terms:
                np.savez(partial / _TERMS, **terms)
            saved = _begin(partial / _ARRAYS, _branches(state))
        except Exception as error:  # of many types
            raise self._failed(error) from error
        manifest = Manifest(int(state.step), forms(state), records=tuple(records), **described)
        self._saving = self._thread.submit(self._complete, saved, partial, manifest)

    def wait(self) -> None:
        """Wait for the save in progress; `AejaxError` says that it failed."""
        saving, self._saving = self._saving, None
        try:
            if saving is not None:
                saving.result()
            return
        except Exception as error:  # of many types
            failure = self._failed(error)
        _collect_coroutines()
        raise failure

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            self.wait()
        except AejaxError:
            if kind is None:  # otherwise the first failure is the one to report
                raise
        finally:
            self._thread.shutdown()

    def _failed(self, error: Exception) -> Exception:
        """Remove the unfinished checkpoint, and describe the failure."""
        shutil.rmtree(self.folder / _UNFINISHED, ignore_errors=True)
        failure = f"a checkpoint could not be saved in {self.folder}: {reason(error)}; earlier checkpoints are whole"
        return lost(error) or AejaxError(failure)

    def _complete(self, saved: Callable[[], None], partial: Path, manifest: Manifest) -> None:
        saved()
        files = sorted(file for file in partial.rglob("*") if file.is_file())
        manifest = replace(manifest, files={str(file.relative_to(partial)): _digest(file) for file in files})
        manifest.write(partial)
        partial.rename(self.folder / str(manifest.step))
        self._kept.append(manifest)
        keep = [*self._kept[-2:], best(self._kept)]
        for old in [each for each in self._kept if each not in keep]:
            self._kept.remove(old)
            with contextlib.suppress(OSError):  # a network disk keeps open files; the next start removes them
                (self.folder / str(old.step)).rename(partial.with_name(str(old.step)))
        shutil.rmtree(partial.parent, ignore_errors=True)


def _begin(path: Path, branches: Mapping[str, Any]) -> Callable[[], None]:
    """Begin to save arrays in the background, and return a function that waits for it."""
    if jax.process_count() == 1:
        return ocp.save_checkpointables_async(path, {"state": branches}).result
    saver = _saver()
    saver.save(path, v0.args.Composite(state=v0.args.PyTreeSave(jax.device_get(branches))))
    return saver.wait_until_finished


@functools.cache
def _saver() -> v0.AsyncCheckpointer:
    """Make what saves in the first of several processes alone; Orbax's new interface always waits for all of them."""
    alone = v0.options.MultiprocessingOptions(active_processes={0}, barrier_sync_key_prefix="first")
    handler = v0.PyTreeCheckpointHandler(multiprocessing_options=alone)
    options = v0.CompositeOptions(multiprocessing_options=alone)
    composite = v0.CompositeCheckpointHandler(composite_options=options, state=handler)
    return v0.AsyncCheckpointer(composite, multiprocessing_options=alone)


def _verified(path: Path) -> Manifest:
    """Return the manifest of a checkpoint after comparing every file that it names with its digest."""
    with _opened(path / _MANIFEST) as content:
        text, _, digest = content.read().decode(errors="replace").removesuffix("\n").rpartition("\n")
    if digest != hashlib.sha256(text.encode()).hexdigest():
        raise ValueError(f"{_MANIFEST} does not match its digest")
    first, *records = text.split("\n")
    manifest = Manifest(**json.loads(first) | {"records": records})
    if path.name != str(manifest.step):
        raise ValueError(f"it is the checkpoint of step {manifest.step}")
    for name, digest in sorted(manifest.files.items()):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{_MANIFEST} names {name}, which is not in it")
        if _digest(path / name) != digest:
            raise ValueError(f"{name} does not match its digest")
    return manifest


def _opened(file: Path) -> BinaryIO:
    if not stat.S_ISREG(file.stat().st_mode):  # reading from a pipe would never end
        raise ValueError(f"{file.name} is no file")
    return file.open("rb")


def _digest(file: Path) -> str:
    with _opened(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _branches(state: Any) -> dict[str, Any]:
    """Return the fields of a state that hold arrays: Orbax treats an empty field as another structure."""
    return {name: branch for name, branch in state._asdict().items() if jax.tree.leaves(branch)}


def forms(tree: Any) -> dict[str, str]:
    """Return path → type and shape of every array."""
    return {jax.tree_util.keystr(path): form(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def form(array: Any) -> str:
    """Describe type and shape of an array: `float32[64, 32]`."""
    return f"{array.dtype}{list(array.shape)}"


def _collect_coroutines() -> None:
    """Collect the coroutines that a failure within Orbax left, without their warnings: these would import `warnings`,
    which breaks an import that is under way (CPython 3.11, gh-106176).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gc.collect()
