"""What a checkpoint says of itself, and whether it is so: all of it as it was saved, by this run, at this step."""

from __future__ import annotations

import hashlib
import json
import logging
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from aejax.config import InputError
from aejax.config.checks import reason

NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint says of itself.

    Attributes:
        step: the number of steps taken; the name of its folder.
        test_total: the test loss; None within an epoch.
        seconds: spent on the steps of the epoch that is not done.
        leaves: type and shape of every array, by its path in the tree.
        files: SHA-256 of every file, by its path in the checkpoint's folder.
        run: whose it is (`record.identity`); None where the run was begun by a version without it.
        records: digest of the lines of metrics.jsonl until then (`reading.Digest`); None likewise.
    """

    step: int
    test_total: float | None
    seconds: float
    leaves: dict[str, str]
    files: dict[str, str]
    run: str | None = None
    records: str | None = None

    def write(self, path: Path) -> None:
        """Into a checkpoint's folder: one line of JSON and its SHA-256."""
        line = json.dumps(asdict(self))
        (path / NAME).write_text(f"{line}\n{_sha256(line)}\n", encoding="utf-8")


def examined(folder: Path, run: str | None) -> tuple[list[Manifest], dict[Path, str]]:
    """The checkpoints that count, oldest first, and why each other one does not, oldest first too."""
    found, damaged = [], {}
    numbered = [path for path in entries(folder) if path.name.isdecimal()]
    for path in sorted(numbered, key=lambda path: int(path.name)):
        try:
            manifest = verified(path)
            if manifest.run != run:
                raise ValueError("it is of another run")
            found.append(manifest)
        except _DAMAGE as error:
            damaged[path] = str(error)
            logging.getLogger("aejax").warning("the checkpoint %s is damaged: %s", path, error)
        except OSError as error:
            raise InputError(f"the checkpoint {path} cannot be read: {reason(error)}; nothing was changed") from error
    return found, damaged


_MISSING = FileNotFoundError, NotADirectoryError, IsADirectoryError
_DAMAGE = *_MISSING, ValueError, TypeError, AttributeError, RecursionError
"""what shows where a part is missing, cut or changed; other failures of the disk say nothing of what lies on it"""


def entries(folder: Path) -> list[Path]:
    """What is in a folder, which need not be there."""
    try:
        return list(folder.iterdir())
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.is_symlink():
            return []
        raise InputError(f"{folder} cannot be read: {reason(error)}; nothing was changed") from error


def verified(path: Path) -> Manifest:
    """The manifest of a checkpoint that is as it was saved: every file that it names, and no other is looked at."""
    with _opened(path / NAME) as content:
        line, *rest = content.read().decode(errors="replace").split("\n")
    if rest != [_sha256(line), ""]:
        raise ValueError(f"{NAME} does not match its digest")
    manifest = Manifest(**json.loads(line))
    if path.name != str(manifest.step):
        raise ValueError(f"it is the checkpoint of step {manifest.step}")
    for name, digest in sorted(manifest.files.items()):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{NAME} names {name}, which is not in it")
        if _digest(path / name) != digest:
            raise ValueError(f"{name} does not match its digest")
    return manifest


def digests(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file() and file != path / NAME)
    return {str(file.relative_to(path)): _digest(file) for file in files}


def _opened(file: Path) -> BinaryIO:
    if not stat.S_ISREG(file.stat().st_mode):  # a pipe would wait for ever
        raise ValueError(f"{file.name} is no file")
    return file.open("rb")


def _digest(file: Path) -> str:
    with _opened(file) as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sha256(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
