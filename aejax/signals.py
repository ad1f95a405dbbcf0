"""Ctrl-C and SIGTERM in a script, from its first line to its last.

A script calls `install` before it imports anything large. From then on a signal ends it at once, with one line:
whatever it is doing, what lies on the disk is whole, since files take their places when they are complete. Only who has
something to finish, as the loop of a run, sets a handler of its own for as long; a second signal ends it then.

Nothing is imported here that takes long. A notebook does not install it: there Ctrl-C is a KeyboardInterrupt.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

STOPPED = 75
"""exit code of what is not finished, but saved: the same command goes on"""

NUMBERS = signal.SIGINT, signal.SIGTERM

_saved = False


def install() -> None:
    """Let a signal end this script: with 130 (Ctrl-C) or 143 (SIGTERM), or with 75 once something is `saved`.

    A thread looks after it, since a handler in Python waits for whatever the main thread is in: a compiler, a download.
    """
    if signal.getsignal(signal.SIGINT) is _noted or threading.current_thread() is not threading.main_thread():
        return
    open_closed()
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    _take()
    os.register_at_fork(after_in_child=_give_back)  # which has no such thread
    threading.Thread(target=_watch, args=(read,), daemon=True).start()


def open_closed() -> None:
    """Open those of the standard streams that are closed.

    A file that is opened while one is closed would get its number, and what a library prints would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, this one


def installed() -> bool:
    """Whether this is a script, and no other handler is in its place."""
    return all(signal.getsignal(number) is _noted for number in NUMBERS)


def renew() -> None:
    """Take the signals back from a library that took them below Python; nothing where they were not ours."""
    if installed() and threading.current_thread() is threading.main_thread():
        _take()


def saved() -> None:
    """There is something saved with which the same command goes on."""
    global _saved
    _saved = True


def _take() -> None:
    for number in NUMBERS:
        signal.signal(number, _noted)


def _give_back() -> None:
    if installed():
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _noted(*_: object) -> None:
    """Nothing: that there is a handler makes Python write the signal's number to the thread's pipe."""


_ONE = 1.0
"""seconds within which several signals are one: who starts a script may pass on what the terminal sent it too"""


def _watch(read: int) -> None:
    first = None  # when a handler of somebody else was first called
    while True:
        for number in os.read(read, 16):
            if signal.getsignal(number) is _noted or (first is not None and time.monotonic() - first > _ONE):
                _end(signal.Signals(number))
            first = first or time.monotonic()


def _end(number: signal.Signals) -> None:
    printed = threading.Thread(target=_flush, daemon=True)  # which waits for ever where nobody reads it
    printed.start()
    printed.join(1.0)
    why = "what is saved is whole, run the same command to go on" if _saved else "nothing was saved that goes on"
    with contextlib.suppress(OSError):
        os.write(2, f"{os.path.basename(sys.argv[0])}: stopped by {number.name}: {why}\n".encode(errors="replace"))
    os._exit(STOPPED if _saved else 128 + number)


def _flush() -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
