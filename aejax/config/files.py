"""Folders and files: paths as the user gives them, atomic writes, the lock of a workdir, and the cache."""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aejax.config.checks import InputError, refusing

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


def local(path: object, what: str) -> Path:
    """Return a path that the user gave, with `~` replaced by the home folder.

    Args:
        what: the name of the path in messages, such as "the workdir".

    Raises:
        InputError: the value is no path, is empty, is not UTF-8, or is an address of an object store.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise InputError(f"{what} is of the type {type(path).__name__}; it must be a path")
    text = os.fsdecode(path)
    if not text or "\0" in text:
        raise InputError(f"{what} is {text!r}; it must be a path")
    if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", text):  # `Path` drops one of the two slashes
        raise InputError(
            f"{what} is {text}; {scheme[1]}: is no disk: give a path on a disk of this machine (only workdirs, exports "
            "and data.name may be in a bucket, gs:// or s3://)"
        )
    advice = "; rename it, or start Python with -X utf8"  # JAX's libraries and config.json cannot hold the name
    with refusing(f"{what} is {text!a}, which is not UTF-8", advice, only=UnicodeError):
        text.encode()
    with refusing(f"{what} is {text}, but no user has that name", "; give another path", only=RuntimeError):
        return Path(text).expanduser()


def address(path: object) -> str | None:
    """Return the address of a path in a bucket, gs://BUCKET/PATH or s3://BUCKET/PATH; None for a path on a disk."""
    text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    found = re.fullmatch(r"(gs|s3):/+(.*)", text, re.DOTALL)  # `Path` drops one of the two slashes
    return None if found is None else f"{found[1]}://{found[2]}"


MIRRORS: dict[str, str] = {}
"""local folder → the address of the folder in a bucket that it stands for"""


def addressed(text: object) -> str:
    """Give paths in a message as the user knows them: in a bucket, not in the local folder that stands for it."""
    text = re.sub(r"\b(gs|s3):/(?=[^/])", r"\1://", str(text))
    for folder, place in MIRRORS.items():
        text = text.replace(folder, place)
    return text


def write(path: Path, content: str | bytes) -> None:
    """Write a file completely or not at all, text as UTF-8: a partial file replaces it in one step.

    Raises:
        InputError: the path is a link, a folder, a device or a pipe, which a file must not replace.
        OSError: the file cannot be written; an older version of it is unchanged.
    """
    partial = path.with_name(f".{path.name}.partial")
    require_file(path)
    require_file(partial)
    partial.unlink(missing_ok=True)
    try:
        append(partial, content, path)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write a file of indented JSON; see `write`."""
    write(path, json.dumps(content, indent=2) + "\n")


def append(path: Path, content: str | bytes, named: Path | None = None) -> None:
    """Append to a file, with the errors of `write`, which name the file `named` if it is given."""
    require_file(path)
    try:
        with open(path, "ab") as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        error.filename = str(named or path)  # `open` sets the name, `write` does not
        raise


def require_file(path: Path) -> None:
    """Raise `InputError` for a path that a file must not replace: a link, a folder, a device or a pipe."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        kind = "a link" if path.is_symlink() else "a folder" if path.is_dir() else "a device or a pipe"
        raise InputError(f"{path} is {kind}, and a file would replace it; give another name, or remove it")


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder for a "run" or "sweep"; the lock ends with the process, however the process ends.

    Raises:
        InputError: another process holds the lock.
        OSError: the folder cannot be written.
    """
    require_file(folder / ".lock")
    with open(folder / ".lock", "a", encoding="utf-8") as file:
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if fcntl is not None and not isinstance(error, BlockingIOError):
                raise
            raise InputError(
                f"another {what} is under way in {folder}; wait for it, or give another workdir"
            ) from error
        yield


def data_dir() -> Path:
    """Return the folder of prepared data, AEJAX_DATA_DIR or ~/.cache/aejax; raise `InputError` without one."""
    if given := os.environ.get("AEJAX_DATA_DIR"):
        return local(given, "AEJAX_DATA_DIR")
    advice = "; set AEJAX_DATA_DIR to a folder of yours"
    with refusing("there is no home folder for prepared data", advice, only=RuntimeError):  # as in a container
        return Path.home() / ".cache" / "aejax"


def keep_compiled_programs() -> None:
    """Set JAX's compile cache to a folder of prepared data, by environment variables that the user has not set."""
    with contextlib.suppress(InputError):  # no folder of prepared data, which not every command needs
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(data_dir() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def scripts_dir() -> Path:
    """Return the folder that holds `experiments/` and `configs/`: a checkout, or `aejax_scripts` of an installation."""
    above = Path(__file__).resolve().parents[2]
    return above / "aejax_scripts" if (above / "aejax_scripts").is_dir() else above
