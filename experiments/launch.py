"""Run a command in several processes of this machine: launch.py --count N [--restarts N] -- COMMAND ...

To try a run on several hosts: `launch.py --count 2 -- experiments/train.py configs/digits.py`. A cluster has its own
tools.
"""

import ctypes
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import command_line
from aejax.config.checks import InputError, refusing, require

_GRACE = 20.0
"""seconds for the other processes to end after one process has failed"""


@dataclass(frozen=True)
class Arguments:
    count: int = 2
    """number of processes"""
    restarts: int = 0
    """how often to start all processes again after they stop or die"""


def main(given: list[str]) -> None:
    split = given.index("--") if "--" in given else len(given)
    usage = "[--count N] [--restarts N] -- COMMAND"
    arguments = command_line.parse(given[:split], Arguments(), takes=usage)
    if not given[split + 1 :]:
        command = command_line.script_name("train").replace("train.py", "experiments/train.py")
        example = f"{command_line.script_name()} --count 2 -- {command} ..."
        command_line.usage_error(f"the command comes after --, as in {example}")
    command_line.require_some(arguments, "count")
    require(arguments.restarts >= 0, "restarts", arguments.restarts, "at least 0")
    sys.exit(launch(given[split + 1 :], arguments.count, arguments.restarts))


def launch(command: Sequence[str], count: int, restarts: int) -> int:
    """Run a command in `count` processes that find each other, until all of them are done.

    Each process gets `--hosts.coordinator`, `--hosts.count` and `--hosts.index`. Its index precedes each printed line.
    If processes stop or die, all processes start again, at most `restarts` times. The processes also receive each
    signal; a second signal kills them. No process starts again after a signal. On Linux, they also receive SIGTERM when
    this process is killed.

    Returns 0 if all processes are done; 1 or 2 if one ended with this code; else 75.

    Raises InputError: the command cannot be started.
    """
    signalled: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signalled.append(number))
    for attempt in range(restarts + 1):
        if attempt:
            _say(f"starting all {count} processes again ({attempt} of at most {restarts} times)")
        codes = _run_once(command, count, signalled)
        refused = [code for code in codes if code in (command_line.FAILED, command_line.WRONG_USAGE)]
        if refused or not any(codes):
            return refused[0] if refused else 0
        ends = [f"exit code {code}" if code >= 0 else signal.Signals(-code).name for code in codes]
        died = [f"{index} ({end})" for index, end in enumerate(ends) if codes[index]]
        _say(f"processes ended before the run: {', '.join(died)}")
        if signalled:
            break
    return command_line.STOPPED


def _run_once(command: Sequence[str], count: int, signalled: list[int]) -> list[int]:
    """Start all processes, and return their exit codes."""
    script = command[0].endswith(".py")
    if script and not Path(command[0]).is_file():
        raise InputError(f"{command[0]} cannot be started: the file does not exist")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    processes: list[subprocess.Popen] = []
    threads: list[threading.Thread] = []
    ending = ending_with_parent()
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    try:
        for index in range(count):
            hosts = f"--hosts.coordinator {coordinator} --hosts.count {count} --hosts.index {index}".split()
            with refusing(f"{command[0]} cannot be started", only=OSError):
                process = subprocess.Popen(
                    [*([sys.executable] if script else []), *command, *hosts],
                    **streams,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,  # so that a Ctrl-C arrives once, through this process
                    preexec_fn=ending,
                )
            processes.append(process)
        for index, process in enumerate(processes):  # after the last fork of this process
            threads.append(threading.Thread(target=_print, args=(index, process), daemon=True))
            threads[-1].start()
        _wait(processes, signalled)
    finally:
        for process in processes:
            process.kill()
        codes = [process.wait() for process in processes]
        for thread in threads:
            thread.join(5.0)
    return codes


def ending_with_parent(number: int = signal.SIGTERM) -> Callable[[], None] | None:
    """Return a function for a new process, so that it receives a signal when this process ends; None if not Linux."""
    if sys.platform != "linux":
        return None
    prctl, death = ctypes.CDLL(None).prctl, 1  # PR_SET_PDEATHSIG
    return lambda: prctl(death, int(number))


def _wait(processes: list[subprocess.Popen], signalled: list[int]) -> None:
    """Wait until all processes have ended, a second signal arrives, or the grace after a failure is over."""
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


def _print(index: int, process: subprocess.Popen) -> None:
    for line in process.stdout:
        print(f"[{index}] {line}", end="", flush=True)


def _say(message: str) -> None:
    print(f"launch: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    command_line.run(main)
