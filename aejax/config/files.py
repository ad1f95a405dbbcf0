"""Files that are written whole or not at all, as UTF-8 on every machine; and the lock of a folder."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aejax.config import locks
from aejax.config.checks import InputError


def write(path: Path, text: str) -> None:
    """Write a file by a partial one beside it, which takes its place when it is complete.

    Raises:
        InputError: what is there is no file: nothing is written through a link, and no device or pipe is replaced.
        OSError: it cannot be written; what was there before is still there.
    """
    require_file(path)
    partial = path.with_name(f".{path.name}.partial")
    require_file(partial)
    partial.unlink(missing_ok=True)
    try:
        with naming(path), open(partial, "x", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write a file of JSON, for people to read too."""
    write(path, json.dumps(content, indent=2) + "\n")


def append(path: Path, text: str) -> None:
    """Add to the end of a file; raises as `write` does."""
    require_file(path)
    with naming(path), open(path, "a", encoding="utf-8") as file:
        file.write(text)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Within, a failure to write names this file, as a failure to open it does by itself."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        raise


def require_file(path: Path) -> None:
    """Refuse to write what is there already and is no file.

    Raises:
        InputError: it is a link, a folder, a device or a pipe.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a device or a pipe"
            raise InputError(f"{path} is {kind}, and would be replaced by a file; give another name, or remove it")


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Within, no other process has this folder; the lock ends with the process, however it ends.

    Args:
        what: is under way there, for the message.

    Raises:
        InputError: another process has it.
        OSError: the folder cannot be written.
    """
    require_file(folder / ".lock")
    with open(folder / ".lock", "a", encoding="utf-8") as file:
        try:
            locks.take(file)
        except BlockingIOError as error:
            raise InputError(
                f"another {what} is under way in {folder}; wait for it, or give another workdir"
            ) from error
        yield
