"""Ctrl-C and SIGTERM in the loop, looked at between compiled calls."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from aejax import signals
from aejax.config import Stopped


class Interrupted(Stopped):
    """A signal stopped the run, which is saved: the same call goes on where it stopped."""


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that the first SIGINT or SIGTERM sets.

    A second one ends a script at once (see `signals`); elsewhere, as in a notebook, it does what it does outside of the
    loop, where Ctrl-C is a KeyboardInterrupt. Signals reach the main thread only; in another thread the event is never
    set.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested
        return
    script = signals.installed()

    def request(*_: object) -> None:
        requested.set()
        for number, handler in () if script else before.items():
            signal.signal(number, handler)

    before = {number: signal.getsignal(number) for number in signals.NUMBERS}
    for number in before:
        signal.signal(number, request)
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
