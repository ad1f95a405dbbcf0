"""What must hold before JAX computes in this process: there is a device, JAX is whole here, its peers are there."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator

import jax

from aejax.config import Hosts, InputError

_used_in: int | None = None
"""the process that used JAX first"""


def devices() -> list[jax.Device]:
    """The devices of this run, of all its processes.

    Raises:
        InputError: there is none of the kind that is asked for, nothing is compiled, or this process was forked from
            one that had used JAX.
    """
    global _used_in
    require_own()
    if jax.config.jax_disable_jit:
        raise InputError("JAX_DISABLE_JIT is set, and all of this is compiled programs: unset it")
    try:
        found = jax.devices()
    except (RuntimeError, AssertionError) as error:  # of many kinds, with the versions of JAX
        reason = str(error).strip().split("\n")[0] or "it says no more"
        asked = jax.config.jax_platforms
        advice = f"JAX_PLATFORMS is {asked}: unset it, or install JAX for it" if asked else "install JAX for it"
        raise InputError(f"JAX finds no device to compute on ({reason}); {advice}") from error
    _used_in = os.getpid()
    return found


def require_own() -> None:
    """Refuse a process that was forked from one that had used JAX: its first computation would never end.

    Raises:
        InputError: it was.
    """
    if _used_in not in (None, os.getpid()):
        raise InputError(
            "this process was forked from one that had used JAX, whose threads are not in it: start processes by "
            'spawn, as multiprocessing.get_context("spawn") does, or ProcessPoolExecutor(mp_context=...)'
        )


def _note_use() -> None:
    """Before a fork: whether JAX was used, be it by others."""
    global _used_in
    bridge = sys.modules.get("jax._src.xla_bridge")
    if _used_in is None and getattr(bridge, "backends_are_initialized", lambda: False)():
        _used_in = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_note_use)


def join(hosts: Hosts) -> None:
    """Make this process one of those of a run; nothing to do for a run of one process.

    Raises:
        InputError: JAX was used before, or the other processes cannot be found.
    """
    require_own()
    if hosts.coordinator is None or jax.distributed.is_initialized():
        return
    named = {}
    begin = time.monotonic()
    if hosts.coordinator != "auto":
        named = {
            "coordinator_address": hosts.coordinator,
            "num_processes": hosts.count,
            "process_id": hosts.index,
            "coordinator_bind_address": hosts.coordinator if hosts.index == 0 else None,  # not all interfaces
        }
        print(
            f"process {hosts.index} of {hosts.count}: waiting for the others at {hosts.coordinator}, at most "
            f"{hosts.startup_seconds} s",
            file=sys.stderr,
            flush=True,
        )
        if hosts.index:
            _require_answer(hosts)
    try:
        with _ended_at(begin + hosts.startup_seconds, hosts):
            jax.distributed.initialize(
                **named,
                initialization_timeout=hosts.startup_seconds + 60,  # on which JAX aborts the process
                heartbeat_timeout_seconds=hosts.heartbeat_seconds,
            )
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"hosts.coordinator is {hosts.coordinator}; joining the run failed: {reason}") from error


def _require_answer(hosts: Hosts) -> None:
    """Wait until process 0 listens."""
    host, _, port = hosts.coordinator.rpartition(":")
    begin, reason = time.monotonic(), None
    while (left := begin + hosts.startup_seconds - time.monotonic()) > 0:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=left).close()
            return
        except OSError as error:
            reason = error.strerror or str(error)
            time.sleep(min(0.2, max(0.0, left)))
    raise InputError(
        f"hosts.coordinator is {hosts.coordinator}; nobody answers there within {hosts.startup_seconds} s ({reason}): "
        "start process 0 there, or give the address at which it is"
    )


@contextlib.contextmanager
def _ended_at(moment: float, hosts: Hosts) -> Iterator[None]:
    """End the process with one line where what is within takes longer; JAX would abort it, with all its frames."""

    def end() -> None:
        print(
            f"{os.path.basename(sys.argv[0])}: hosts.coordinator is {hosts.coordinator}; the other processes of the "
            f"run did not come within {hosts.startup_seconds} s: start all of them",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    timer = threading.Timer(max(0.1, moment - time.monotonic()), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def require_checksums() -> None:
    """Let JAX compress the programs of its compilation cache by zlib, whose checksum detects damage.

    JAX then warns and compiles again. If the package zstandard is installed, JAX compresses without a checksum, and
    runs damaged programs: the process dies, and so do later ones. JAX has no option for the compression.
    """
    cache = importlib.import_module("jax._src.compilation_cache")
    for name in ("zstd", "zstandard"):
        if getattr(cache, name, None) is not None:
            setattr(cache, name, None)
