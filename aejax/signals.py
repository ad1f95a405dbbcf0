"""Ctrl-C and SIGTERM in a script, from its first line to its last.

A script calls `install` before it imports a large module. From then on a signal ends the script at once, with one line.
Every file on the disk is then complete, because each file is renamed to its name only when it is complete. The training
loop saves before it ends: within `stop_requests` the first signal only sets an event, and a second one ends the script.

This module imports nothing that takes long. A notebook does not call `install`: Ctrl-C stays a KeyboardInterrupt.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

STOPPED = 75
"""exit code of a script that saved its state before it ended: the same command resumes it"""

NUMBERS = signal.SIGINT, signal.SIGTERM

_saved = False
_requests: list[threading.Event] = []
_last: list[Callable[[], object]] = []


def install() -> None:
    """Let a signal end this script with exit code 130 (Ctrl-C) or 143 (SIGTERM), or with 75 after `saved`.

    A thread waits for signals: Python calls a handler only after the main thread has left a compiler or a download.
    """
    if signal.getsignal(signal.SIGINT) is _noted or threading.current_thread() is not threading.main_thread():
        return
    open_closed()
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    _handle(dict.fromkeys(NUMBERS, _noted))
    os.register_at_fork(after_in_child=_give_back)  # a forked process does not have the thread
    threading.Thread(target=_watch, args=(read,), daemon=True).start()


def open_closed() -> None:
    """Open the standard streams that are closed.

    Otherwise the next file that is opened gets the number of a closed stream, and printed text is written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def installed() -> bool:
    """Return whether the handlers of `install` are the current ones."""
    return all(signal.getsignal(number) is _noted for number in NUMBERS)


def renew() -> None:
    """Install the handlers again after a library replaced them below Python; do nothing if they were not installed."""
    if installed() and threading.current_thread() is threading.main_thread():
        _handle(dict.fromkeys(NUMBERS, _noted))


def saved() -> None:
    """Record that the same command can resume from saved state: from now on a signal ends the script with 75."""
    global _saved
    _saved = True


@contextlib.contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets.

    A second signal ends a script at once. In a notebook it has the effect that it has outside of this context: Ctrl-C
    is a KeyboardInterrupt. Only the main thread receives signals; in another thread the event is never set.
    """
    requested, script = threading.Event(), installed()
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in NUMBERS if is_main}

    def request(*_: object) -> None:
        requested.set()
        if not script:
            _handle(before)

    _requests.append(requested)
    _handle(dict.fromkeys(before, request))
    try:
        yield requested
    finally:
        _handle(before)
        _requests.remove(requested)


def request_stop() -> None:
    """Set the events of `stop_requests`, as a signal does."""
    for event in _requests:
        event.set()


@contextlib.contextmanager
def before_end(work: Callable[[], object]) -> Iterator[None]:
    """Call a function in another thread before the first signal ends the script; a second signal ends it at once."""
    _last.append(work)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            _last.remove(work)


def _handle(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _give_back() -> None:
    if installed():
        signal.set_wakeup_fd(-1)
        _handle({signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL})


def _noted(*_: object) -> None:
    """Do nothing: because a handler exists, Python writes the number of the signal to the pipe of the thread."""


_ONE = 1.0
"""seconds within which several signals count as one: a parent may pass on a Ctrl-C that the terminal sent to both"""


def _watch(read: int) -> None:
    first = None  # when a handler other than ours was first called
    while True:
        for number in os.read(read, 16):
            again = first is not None and time.monotonic() - first > _ONE
            if again:
                _last.clear()
            if again or signal.getsignal(number) is _noted:
                ending = threading.Thread(target=_end, args=(signal.Signals(number),), daemon=True)
                ending.start() if _last else ending.run()
            first = first or time.monotonic()


def _end(number: signal.Signals) -> None:
    for work in reversed(_last):
        try:
            work()
        except Exception as error:
            os.write(2, f"{error}\n".encode(errors="replace"))
    printed = threading.Thread(target=_flush, daemon=True)  # flushing blocks forever if no process reads the output
    printed.start()
    printed.join(1.0)
    why = "the saved files are complete; run the same command to resume" if _saved else "nothing was saved"
    with contextlib.suppress(OSError):
        os.write(2, f"{os.path.basename(sys.argv[0])}: stopped by {number.name}: {why}\n".encode(errors="replace"))
    os._exit(STOPPED if _saved else 128 + number)


def _flush() -> None:
    with contextlib.suppress(Exception):
        sys.stdout.flush()
