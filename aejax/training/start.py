"""Conditions for the use of JAX in a process: a device, no fork after the first use, all processes of the run."""

import importlib
import os
import socket
import sys
import threading
import time

import jax

from aejax.config import Hosts, InputError
from aejax.config.checks import refusing

_used_in: int | None = None
"""the process that used JAX first"""


def devices() -> list[jax.Device]:
    """Return the devices of all processes of this run.

    Raises InputError: JAX finds no device, compilation is disabled, or a process that had used JAX forked this one.
    """
    global _used_in
    require_own()
    if jax.config.jax_disable_jit:
        raise InputError("JAX_DISABLE_JIT is set, and aejax runs compiled programs only: unset it")
    asked = jax.config.jax_platforms
    advice = f"JAX_PLATFORMS is {asked}: unset it, or install JAX for it" if asked else "install JAX for a device"
    with refusing("JAX finds no device", f"; {advice}", only=Exception):  # the type depends on the version of JAX
        found = jax.devices()
    _used_in = os.getpid()
    return found


def require_own() -> None:
    """Refuse a process that was forked from a process that had used JAX: its first computation is a deadlock."""
    if _used_in not in (None, os.getpid()):
        raise InputError(
            "this process was forked from one that had used JAX, and the threads of JAX are missing: start processes "
            'with spawn, by multiprocessing.get_context("spawn") or ProcessPoolExecutor(mp_context=...)'
        )


def _note_use() -> None:
    """Before a fork, find out whether this process has used JAX, also outside of aejax."""
    global _used_in
    bridge = sys.modules.get("jax._src.xla_bridge")
    if _used_in is None and getattr(bridge, "backends_are_initialized", lambda: False)():
        _used_in = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_note_use)


def join(hosts: Hosts) -> None:
    """Join the other processes of a run; do nothing for a run of one process.

    Raises InputError: this process has used JAX already, or the other processes do not answer.
    """
    require_own()
    if hosts.coordinator is None or jax.distributed.is_initialized():
        return
    named, end = {}, time.monotonic() + hosts.startup_seconds
    if hosts.coordinator != "auto":
        named = {
            "coordinator_address": hosts.coordinator,
            "num_processes": hosts.count,
            "process_id": hosts.index,
            "coordinator_bind_address": hosts.coordinator if hosts.index == 0 else None,  # not all interfaces
        }
        wait = f"waiting for the others at {hosts.coordinator}, at most {hosts.startup_seconds} s"
        print(f"process {hosts.index} of {hosts.count}: {wait}", file=sys.stderr, flush=True)
        _await_coordinator(hosts, end)
    late = threading.Timer(max(0.1, end - time.monotonic()), _exit, (hosts,))
    late.daemon = True
    late.start()
    try:
        with refusing(f"hosts.coordinator is {hosts.coordinator}; joining the run failed", only=Exception):
            jax.distributed.initialize(
                **named,
                initialization_timeout=hosts.startup_seconds + 60,  # then JAX aborts the process
                heartbeat_timeout_seconds=hosts.heartbeat_seconds,
            )
    finally:
        late.cancel()


def _await_coordinator(hosts: Hosts, end: float) -> None:
    """Wait until process 0 accepts connections; in process 0, wait until no process of another run does.

    Two runs at the same address would mix: the system lets both processes 0 listen there, and connects each of the
    other processes to one of them.
    """
    host, _, port = hosts.coordinator.rpartition(":")
    why: object = "another run uses this address"
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), max(0.1, end - time.monotonic())).close()
            answers = True
        except OSError as error:
            answers, why = False, error.strerror or error
        if answers == (hosts.index > 0):
            return
        if time.monotonic() > end:
            state, advice = "does not answer", "start process 0 there, or correct the address"
            if hosts.index == 0:
                state, advice = "is not free", "give each run a port of its own"
            within = f"{state} within {hosts.startup_seconds} s ({why})"
            raise InputError(f"hosts.coordinator is {hosts.coordinator}; it {within}: {advice}")
        time.sleep(0.2)


def _exit(hosts: Hosts) -> None:
    """End the process with a one-line message; JAX would abort it with a stack dump."""
    late = f"the other processes of the run did not join within {hosts.startup_seconds} s: start all of them"
    line = f"{os.path.basename(sys.argv[0])}: hosts.coordinator is {hosts.coordinator}; {late}"
    print(line, file=sys.stderr, flush=True)
    os._exit(1)


def require_checksums() -> None:
    """Let JAX compress its compilation cache with zlib, whose checksum detects damage; JAX then compiles again.

    With the package zstandard, JAX compresses without a checksum. A damaged program kills every process that runs it.
    """
    cache = importlib.import_module("jax._src.compilation_cache")
    for name in ("zstd", "zstandard"):
        if getattr(cache, name, None) is not None:
            setattr(cache, name, None)
