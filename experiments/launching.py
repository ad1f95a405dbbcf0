"""Start the processes of one run on this machine, to try what several hosts do; a cluster has its own tools."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aejax.config.checks import InputError
from command_line import FAILED, STOPPED, WRONG_USAGE

_GRACE = 20.0
"""seconds that the processes have to end by themselves once one of them has failed"""


def launch(command: Sequence[str], count: int, restarts: int) -> int:
    """Run a command in `count` processes that find each other, until all are done.

    Each process is given `--hosts.coordinator`, `--hosts.count` and `--hosts.index`, and its lines are printed with its
    index before them. While they are stopped or die, all of them are started again, at most `restarts` times. A signal
    is passed on to them, a second one kills them; after it nothing is started again. Where this process is killed, they
    are stopped as by a signal (on Linux).

    Returns:
        0 where all are done; 1 or 2 where one was refused; else 75.

    Raises:
        InputError: the command cannot be started.
    """
    signalled: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: signalled.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        for attempt in range(restarts + 1):
            if attempt:
                _say(f"starting all {count} processes again ({attempt} of at most {restarts} times)")
            codes = _run_once(command, count, signalled)
            refused = [code for code in codes if code in (FAILED, WRONG_USAGE)]
            if refused or not any(codes):
                return refused[0] if refused else 0
            died = [f"{index} ({_ending(code)})" for index, code in enumerate(codes) if code]
            _say(f"processes ended before the run: {', '.join(died)}")
            if signalled:
                break
        return STOPPED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_once(command: Sequence[str], count: int, signalled: list[int]) -> list[int]:
    """Start all processes and wait for their exit codes."""
    program = [sys.executable, *command] if command[0].endswith(".py") else list(command)
    if len(program) > len(command) and not Path(command[0]).is_file():
        raise InputError(f"{command[0]} cannot be started: there is no such file")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    processes: list[subprocess.Popen] = []
    threads: list[threading.Thread] = []
    ending = ending_with_parent()
    try:
        for index in range(count):
            hosts = f"--hosts.coordinator {coordinator} --hosts.count {count} --hosts.index {index}".split()
            process = subprocess.Popen(
                [*program, *hosts],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                encoding="utf-8",
                start_new_session=True,  # a Ctrl-C reaches them once, through us
                preexec_fn=ending,
            )
            processes.append(process)
        for index, process in enumerate(processes):  # only now: before, this process is to be forked
            threads.append(threading.Thread(target=_pass_on, args=(index, process), daemon=True))
            threads[-1].start()
        _wait(processes, signalled)
    except OSError as error:
        raise InputError(f"{program[0]} cannot be started: {error.strerror}") from error
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
        codes = [process.wait() for process in processes]
        for thread in threads:
            thread.join(5.0)
    return codes


def ending_with_parent(number: int = signal.SIGTERM) -> Callable[[], None] | None:
    """What a new process calls to be sent a signal once this one is gone, however it ends; None where none can be."""
    if sys.platform != "linux":
        return None
    prctl, death = ctypes.CDLL(None).prctl, 1  # PR_SET_PDEATHSIG

    return lambda: prctl(death, int(number))


def _wait(processes: list[subprocess.Popen], signalled: list[int]) -> None:
    """Until all have ended, or the grace after a failure is over, or a second signal came."""
    passed_on = len(signalled)
    failed = None
    while any(process.poll() is None for process in processes):
        time.sleep(0.05)
        if len(signalled) > passed_on:
            if passed_on:
                return
            passed_on = len(signalled)
            for process in processes:
                process.send_signal(signal.SIGTERM)
        if failed is None and any(process.poll() for process in processes):
            failed = time.monotonic()
        if failed is not None and time.monotonic() - failed > _GRACE:
            _say(f"not all processes ended within {_GRACE:.0f} s of the first: killing them")
            return


def _pass_on(index: int, process: subprocess.Popen) -> None:
    for line in process.stdout:
        print(f"[{index}] {line}", end="", flush=True)


def _ending(code: int) -> str:
    return f"exit code {code}" if code > 0 else signal.Signals(-code).name


def _say(message: str) -> None:
    print(f"launch: {message}", file=sys.stderr, flush=True)
