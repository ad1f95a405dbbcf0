"""Child processes that print one JSON value per line."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aejax import signals
from aejax.config.checks import InputError, refusing


class Process(contextlib.AbstractContextManager):
    """A child process that reads lines, and prints one JSON value per line; it ends with the context.

    Args:
        name: of the process, for messages.

    Raises InputError: the process cannot be started.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._name, self._open = name, contextlib.ExitStack()
        pipe, encoding = subprocess.PIPE, {"encoding": "utf-8", "errors": "replace"}
        self._errors = self._open.enter_context(tempfile.TemporaryFile("w+", **encoding))  # noqa: SIM115
        with refusing(f"{name} cannot be started", only=OSError):
            started = subprocess.Popen(
                command, env=environment, stdin=pipe, stdout=pipe, stderr=self._errors, **encoding
            )
        self._process = self._open.enter_context(started)
        self._open.enter_context(signals.before_end(started.kill))

    def ask(self, line: str, kind: type) -> Any:
        """Send one line, and return the answer."""
        with contextlib.suppress(BrokenPipeError):  # `read` reports why the process has ended
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        return self.read(kind)

    def read(self, kind: type) -> Any:
        """Wait for the next line, and return its value.

        Raises InputError: the process has ended, or the line is not a JSON value of this kind.
        """
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            reason = (self._errors.read().strip() or "no message").splitlines()[-1]
            raise InputError(f"{self._name} fails: {reason}")
        with contextlib.suppress(ValueError):
            if isinstance(value := json.loads(line), kind):
                return value
        raise InputError(f"{self._name} prints {line.strip()[:200]!r}; it must print a JSON {kind.__name__}")

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with contextlib.suppress(OSError):  # when the process has not read the last line
            self._open.close()


def python(name: str, *arguments: str, **environment: str) -> Process:
    """Start a Python process that can import this package, whatever the working directory contains."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Process(name, [sys.executable, "-P", *arguments], os.environ | environment | {"PYTHONPATH": path})
