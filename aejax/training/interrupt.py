"""Ctrl-C and SIGTERM, looked at between compiled calls."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from aejax.config import Stopped


class Interrupted(Stopped):
    """A signal stopped the run, which is saved: the same call goes on where it stopped."""


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one ends the process at once.

    Signals reach the main thread only; in another thread the event is never set.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return

    def request(*_: object) -> None:
        requested.set()
        for number in before:
            signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
