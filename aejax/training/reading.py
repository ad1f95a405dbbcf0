"""What a run left behind, as it was written: the one door to config.json, metrics.jsonl and summary.json.

config.json and summary.json carry the SHA-256 of their content; that of the lines of metrics.jsonl stands in the
checkpoints. Records of a version without digests are checked by their form alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aejax.config import Config, InputError
from aejax.config.checks import reason
from aejax.config.files import write_json

_SECTIONS = tuple(Config().to_dict())
_SUMMARIES = (("train", "test", "code"), ("members",))  # of one model, and of a sweep's
_LINE = ("step", "epoch", "seconds", "images_per_second", "train", "test", "code")
_FAILURES = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, InputError)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write a record with the digest of its content."""
    write_json(path, content | {"sha256": _sha256(content)})


def read(path: Path) -> dict[str, Any]:
    """A record as it was written, without its digest.

    Raises:
        ValueError: it is no such record, or is not as it was written.
        OSError: it cannot be read.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it lacks what a run writes there")
    digest = content.pop("sha256", None)
    if digest is None and "run" in content:  # which came together with the digests
        raise ValueError("it lacks its digest")
    if digest not in (None, _sha256(content)):
        raise ValueError("it is not as it was written: its digest is that of another content")
    return content


def config_of(description: dict[str, Any]) -> Config:
    """The configuration within the content of config.json."""
    return Config.from_dict({section: description[section] for section in _SECTIONS if section in description})


def description(workdir: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        InputError: there is no run in `workdir`, or its config.json is damaged.
    """
    try:
        found = read(workdir / "config.json")
        if not {"model", "training", "dataset", "versions"} <= set(found):
            raise ValueError("it lacks what a run writes there")
        config_of(found)
        shape = found["dataset"]["image_shape"]
        names = found["dataset"]["name"], found["dataset"]["fingerprint"], found["versions"]["jax"]
        if not all(isinstance(name, str) for name in names) or [type(size) for size in shape] != [int] * 3:
            raise ValueError("it lacks what a run writes there")
        return found
    except _FAILURES as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise InputError(f"{workdir} holds no run that can be read: config.json: {why}") from error


def lines(workdir: Path) -> list[dict[str, Any]]:
    """The whole lines of metrics.jsonl; the last one is dropped where a kill tore it.

    Raises:
        InputError: the file cannot be read, or a line before the last one is damaged.
    """
    path = workdir / "metrics.jsonl"
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason(error)}; nothing was changed") from error
    found = []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict) or not set(_LINE) <= set(line):
            if number < len(texts):
                raise InputError(f"line {number} of {path} is damaged; put the file back, or give another workdir")
            break
        found.append(line)
    return found


def require_lines(
    workdir: Path, found: Sequence[dict[str, Any]], epochs: int, recorded: str | None, members: int = 1
) -> None:
    """Refuse lines of metrics.jsonl that are not those that a checkpoint has behind it.

    Args:
        epochs: how many it has, each a line for each member.
        recorded: their `Digest`, as it stands in the checkpoint; None where it was saved without.

    Raises:
        InputError: some are missing, or are not as they were written.
    """
    path = workdir / "metrics.jsonl"
    if len(found) < epochs * members:
        raise InputError(
            f"{path} has {len(found)} whole lines, but {epochs} epochs are trained: it was changed since; put it "
            "back, or give another workdir"
        )
    if recorded not in (None, Digest(found[: epochs * members]).hexdigest()):
        raise InputError(f"{path} is not as it was written: it was changed since; put it back, or give another workdir")


class Digest:
    """That of lines of metrics.jsonl, which become more; without `finish`, which does not hold once a run goes on."""

    def __init__(self, of: Sequence[dict[str, Any]] = ()) -> None:
        self._sha256 = hashlib.sha256()
        for line in of:
            self.add(line)

    def add(self, line: dict[str, Any]) -> None:
        """One line more."""
        self._sha256.update(_canonical({name: value for name, value in line.items() if name != "finish"}))

    def hexdigest(self) -> str:
        """Of the lines so far."""
        return self._sha256.hexdigest()


def summary(workdir: Path) -> dict[str, Any]:
    """The content of summary.json; empty while the run is not finished.

    Raises:
        InputError: the file is damaged.
    """
    path = workdir / "summary.json"
    if not path.exists():
        return {}
    try:
        found = read(path)
        if not any({"step", *parts} <= set(found) for parts in _SUMMARIES):
            raise ValueError("it lacks what a run writes there")
        return found
    except _FAILURES as error:
        why = reason(error) if isinstance(error, OSError) else error
        raise InputError(f"{path} is damaged ({why}); remove it, and the run will write it again") from error


def _sha256(content: Any) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()


def _canonical(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True).encode() + b"\n"
