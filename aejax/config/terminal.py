"""The streams and the locale of a script: they take whatever is printed, wherever it is started."""

from __future__ import annotations

import os
import sys

from aejax import signals


def use_utf8() -> None:
    """Start this process again with UTF-8 for names of files and all else, where its locale has less."""
    if sys.getfilesystemencoding().lower() != "utf-8" and not sys.flags.utf8_mode:
        os.environ["PYTHONUTF8"] = "1"  # for the processes of its own too
        os.environ.pop("PYTHONIOENCODING", None)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def open_streams() -> None:
    """Make standard output and error take every letter, and open those that are closed."""
    signals.open_closed()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (until the process ends)
        elif hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(encoding="utf-8", errors="backslashreplace")


def flush() -> None:
    """Write out what was printed; what nobody takes any more is dropped, so that the end of Python does not fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
