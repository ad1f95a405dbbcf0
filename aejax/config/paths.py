"""Paths as a user gives them: on a disk of this machine, `~` for the home folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

from aejax.config.checks import InputError


def local(path: object, what: str) -> Path:
    """A path that the user gave, with `~` replaced by the home folder.

    Args:
        what: it is, for messages: "the workdir".

    Raises:
        InputError: it is no path, empty, an address of an object store, or has a name that no file can have.
    """
    try:
        text = os.fsdecode(path)
    except TypeError as error:
        raise InputError(f"{what} is of the type {type(path).__name__}; it must be a path") from error
    if not text or "\0" in text:
        raise InputError(f"{what} is {text!r}; it must be a path")
    if scheme := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", text):  # `Path` leaves one of the two slashes
        raise InputError(
            f"{what} is {text}; {scheme[1]}: is no disk, where files are locked and renamed in one step: give a folder "
            "on a disk of this machine, and copy from or to the store"
        )
    require_utf8(text, what)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"there is no file or folder {text} for {what}: no user has that name") from error


def require_utf8(text: str, what: str) -> None:
    """Refuse what JAX's libraries, config.json and the terminal cannot name.

    Raises:
        InputError: it is not UTF-8, or this process does not read names as UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = text.encode(errors="backslashreplace").decode()
        raise InputError(f"{what} is {shown}, which is not UTF-8; rename it, or start Python with -X utf8") from error
