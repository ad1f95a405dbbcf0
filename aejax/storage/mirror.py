"""The local folder that stands for a folder in a bucket: downloaded at the start, uploaded while a run changes it.

A kill at any moment must leave a bucket that holds a run: a checkpoint exists once its manifest does. So we upload the
files of a checkpoint, then metrics.jsonl, which has at least the lines of the checkpoint, then its manifest, and at
last summary.json. We delete in the other order.
"""

import contextlib
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import stat
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aejax import signals
from aejax.config.checks import AejaxError, InputError, Stopped, reason, refusing
from aejax.config.files import MIRRORS, address, addressed, data_dir, local, locked, write_json
from aejax.storage.lease import SECONDS, Held, Lease
from aejax.storage.store import Store, StoreError, plain

UPLOAD_EVERY = 15.0
"""seconds between uploads"""
_AT_ONCE = 8
"""files that are read or written at the same time"""
_TRIES = 20

_CHECKPOINT = r"((.*/)?checkpoints/\d+/)"
_ORDER = (
    rf"{_CHECKPOINT}(arrays/.*|terms\.npz)",
    r"(.*/)?metrics\.jsonl",
    rf"{_CHECKPOINT}manifest\.json",
    r"(.*/)?summary\.json",
)
"""patterns of names in the order of their upload, after all other files"""
_METRICS, _MANIFEST, _SUMMARY = 2, 3, 4


def _rank(name: str) -> int:
    return next((rank for rank, pattern in enumerate(_ORDER, 1) if re.fullmatch(pattern, name)), 0)


@contextlib.contextmanager
def opened(place: Any, what: str = "the workdir", *, reads: bool = False) -> Iterator[Path]:
    """Yield the local folder of a workdir: its own path, or the folder that stands for a folder in a bucket.

    Messages of errors and warnings show the address, not the local folder. At the end, the changed files are uploaded
    and the local folder is removed.

    Args:
        place: a path on a disk, or an address (gs://BUCKET/FOLDER, s3://BUCKET/FOLDER).
        reads: read the folder without owning it. Files that are written into it are uploaded at the end.

    Raises:
        InputError: the path or address cannot be used.
        StoreError: the store refuses a request or does not answer.
        Held: another run owns the folder.
    """
    if address(place) is None:
        yield local(place, what)
        return
    with contextlib.ExitStack() as stack:
        store = Store(place)
        mirror = _Mirror(store, Path(tempfile.mkdtemp(prefix="read-", dir=_home()))) if reads else _Owner(store)
        stack.enter_context(_shown_as(mirror.folder, mirror.store.address))
        stack.callback(mirror.remove)
        mirror.open()
        stack.enter_context(signals.before_end(lambda: (mirror.close(), mirror.remove())))
        try:
            yield mirror.folder
        except BaseException as error:
            mirror.close(failed=error)
            raise
        mirror.close()


@contextlib.contextmanager
def _shown_as(folder: Path, place: str) -> Iterator[None]:
    """Let errors and warnings show a place instead of its local folder."""

    def rewrite(record: logging.LogRecord) -> bool:
        record.msg, record.args = addressed(record.getMessage()), ()
        return True

    logger = logging.getLogger("aejax")
    MIRRORS[str(folder)] = place
    logger.addFilter(rewrite)
    try:
        yield
    except AejaxError as error:
        error.args = tuple(map(addressed, error.args))
        raise
    finally:
        logger.removeFilter(rewrite)
        MIRRORS.pop(str(folder), None)


class _Mirror:
    """A local folder that stands for a folder in a bucket, in a folder of its own.

    It is only read, except for files that others may replace at any time.
    """

    def __init__(self, store: Store, home: Path) -> None:
        self.store, self.home, self.folder = store, home, home / "workdir"
        self._known: dict[str, Any] = {}  # name of an object → sign of the local file when both were equal

    def open(self) -> None:
        self._download()

    def close(self, failed: BaseException | None = None) -> None:
        if failed is None:
            self._upload(lambda: None)

    def remove(self) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def _download(self) -> list[str]:
        """Download what is complete, and begin again if an object disappears meanwhile; return all names."""
        for _ in range(_TRIES):
            shutil.rmtree(self.folder, ignore_errors=True)
            complete = _complete(names := self.store.names())
            try:
                _each(self._fetch, sorted(complete, key=_rank, reverse=True))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise InputError(f"{self.folder} cannot be written: {reason(error)}") from error
            self._known = self._signs()
            return names
        raise StoreError(f"{self.store.address} changes faster than it can be read: try again later", brief=True)

    def _fetch(self, name: str) -> None:
        self.store.fetch(name, self.folder / name)

    def _signs(self) -> dict[str, list[int]]:
        """Return name → sign of the local files, without links, and without partial and other hidden files."""

        def refuse(error: OSError) -> None:
            if error.filename != str(self.folder):  # a folder disappeared: its checkpoint was deleted
                raise error

        signs = {}
        for folder, folders, files in os.walk(self.folder, onerror=refuse):
            folders[:] = filter(plain, folders)
            for path in (Path(folder, each) for each in files if plain(each)):
                found = path.lstat()
                if stat.S_ISREG(found.st_mode):
                    name = path.relative_to(self.folder).as_posix()
                    signs[name] = [found.st_ino, found.st_size, found.st_mtime_ns]
        return signs

    def _linked(self, staged: Path) -> dict[str, Any]:
        """Link the changed files, which keep their content while the run goes on, in the folder `staged`.

        Returns the sign of every local file by its name.
        """
        for _ in range(_TRIES):
            shutil.rmtree(staged, ignore_errors=True)
            staged.mkdir(parents=True)
            with contextlib.suppress(FileNotFoundError):  # a checkpoint was deleted meanwhile
                signs = self._signs()
                for name in signs:
                    if signs[name] != self._known.get(name):
                        (staged / name).parent.mkdir(parents=True, exist_ok=True)
                        _link(self.folder / name, staged / name)
                return signs
        return {}

    def _upload(self, check: Callable[[], None]) -> None:
        """Bring the bucket to the state of the local folder; `check` is called before what readers trust."""
        signs = self._linked(staged := self.home / "upload")
        if not signs:
            return
        changed = [name for name in signs if signs[name] != self._known.get(name)]
        gone = [name for name in self._known if name not in signs]

        def delete(names: list[str]) -> None:
            if names:
                check()
            _each(lambda name: (self.store.write(name, None), self._known.pop(name)), names)

        def put(name: str) -> None:
            self.store.write(name, (staged / name).read_bytes())
            self._known[name] = signs[name]

        # A manifest or summary that no longer holds goes before its files change.
        delete([name for name in gone if _rank(name) == _SUMMARY])
        delete([name for name in changed if name in self._known and _rank(name) >= _MANIFEST])
        for rank in range(_SUMMARY + 1):
            if names := [name for name in changed if _rank(name) == rank]:
                if rank >= _METRICS:
                    check()
                _each(put, names)
        for rank in reversed(range(_SUMMARY)):
            delete([name for name in gone if _rank(name) == rank])


class _Owner(_Mirror):
    """The mirror of the run that owns a folder in a bucket.

    After a kill, the same command on the same machine finds the local folder again: if the lease still names the owner
    of that folder, or the bucket is empty, no other run has written to the bucket since.
    """

    def __init__(self, store: Store) -> None:
        key = hashlib.sha256(f"{store.address} {platform.node()}".encode()).hexdigest()[:16]
        name = re.sub(r"[^\w.-]", "-", store.address.rpartition("/")[2])[:40]
        super().__init__(store, _home() / f"{name}-{key}")
        self._state = self.home / "known.json"  # exists while the local folder may have what the bucket does not have
        self._locked, self._working, self._closing = contextlib.ExitStack(), threading.Lock(), threading.Event()
        self._lease: Lease | None = None
        self._failure: Exception | None = None
        try:
            self.home.mkdir(exist_ok=True)
            self._locked.enter_context(locked(self.home, "run"))
        except InputError as error:
            raise Held(f"{self.store.address} is in use by another run on this machine; wait for that run") from error

    def open(self) -> None:
        owner, names = self.home / "owner", self.store.names()  # refuses a bucket that does not exist
        if not owner.exists():
            owner.write_text(uuid.uuid4().hex, encoding="utf-8")
        lease = Lease(self.store, owner.read_text(encoding="utf-8"))
        last = lease.acquire()
        self._lease = lease
        self._repeat(SECONDS / 4, lease.renew)
        if found := self._state.exists() and (last or not names):
            self._known = json.loads(self._state.read_text(encoding="utf-8"))
        else:
            self._state.unlink(missing_ok=True)
            names = self._download()
        # The first upload deletes what is incomplete.
        self._known = {name: None for name in names if _rank(name)} | self._known
        write_json(self._state, self._known)
        if found:  # the other processes of the run download the bucket next, and resume at our newest checkpoint
            with refusing(f"{self.home} cannot be written", only=OSError):
                self._save()
        self._repeat(UPLOAD_EVERY, self._save)

    def close(self, failed: BaseException | None = None) -> None:
        """Upload all changes and release the lease. Later calls have no effect.

        Raises:
            Stopped: the lease was lost, or the store does not answer; the message names the folder that has the state.
            AejaxError: the store refuses the upload.
        """
        self._closing.set()
        try:
            if self._failure is not None:
                raise self._failure
            self._save()
            with self._working:
                if self._lease is not None:
                    self._lease.release()
                    self._lease = None
                    self._state.unlink()
        except Held:
            self._state.unlink(missing_ok=True)
            raise
        except (StoreError, OSError) as error:
            kind = Stopped if getattr(error, "brief", False) else AejaxError
            kept = f"the state of the run is in {self.home}: run the same command on this machine to go on"
            raise kind(f"{error}; {kept}") from failed
        finally:
            self._lease = None

    def remove(self) -> None:
        """Remove the local folder, unless it may have a state that the bucket does not have."""
        self._closing.set()
        if not self._state.exists():
            if self._lease is not None:  # the folder could not be opened
                with contextlib.suppress(StoreError):
                    self._lease.release()
            super().remove()
        self._locked.close()

    def _save(self) -> None:
        with self._working:
            if self._lease is not None:
                self._upload(self._lease.require)
                write_json(self._state, self._known)

    def _repeat(self, seconds: float, work: Callable[[], None]) -> None:
        """Call a function every few seconds in a thread; a failure stops the run."""

        def loop() -> None:
            while not self._closing.wait(seconds):
                try:
                    work()
                except Exception as error:  # raised at the end, in the main thread
                    self._failure = self._failure or error
                    signals.request_stop()
                    return

        threading.Thread(target=loop, daemon=True).start()


def _home() -> Path:
    folder = data_dir().absolute() / "buckets"
    with refusing(f"{folder} cannot be written", "; set AEJAX_DATA_DIR to another folder", only=OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _complete(names: Iterable[str]) -> set[str]:
    """Return the names of complete files, without events, which nothing reads.

    A checkpoint without a manifest is incomplete, and so is the metrics.jsonl of a run with only such checkpoints.
    """
    found = [(match, name) for name in names for match in [re.match(_CHECKPOINT, name)] if match and _rank(name)]
    whole = {match[1]: match[2] for match, name in found if _rank(name) == _MANIFEST}
    begun = {match[1]: match[2] for match, _ in found if match[1] not in whole}
    without = {f"{run or ''}metrics.jsonl" for run in begun.values() if run not in whole.values()}
    kept = {name for name in names if not name.startswith(tuple(begun)) and name not in without}
    return {name for name in kept if not re.search(r"(^|/)events\.out\.", name)}


def _each(work: Callable[[str], object], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(work, names))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links, or a file that is gone
        shutil.copy2(source, target)
