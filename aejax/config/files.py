"""Files that are written whole or not at all, as UTF-8 on every machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write(path: Path, text: str) -> None:
    """Write a file by a partial one beside it, which takes its place when it is complete."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_json(path: Path, content: Any) -> None:
    """Write a file of JSON, for people to read too."""
    write(path, json.dumps(content, indent=2) + "\n")
