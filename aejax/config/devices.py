"""The sections `devices` and `hosts` of the configuration: what a run is computed on, which changes nothing in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aejax.config.checks import MOST, is_count, is_whole, require, require_types


@dataclass(frozen=True)
class Devices:
    """What a run is computed on; the result does not depend on it."""

    parallel: Literal["jit", "pmap", "shard_map"] = "jit"
    """how several devices are driven: by the compiler (jit), or each with its share of the batch"""
    count: int | None = None
    """number of devices; None takes all that there are"""

    def __post_init__(self) -> None:
        require_types(self, "devices")
        require(self.count is None or is_count(self.count), "devices.count", self.count, "at least 1, or None for all")


@dataclass(frozen=True)
class Hosts:
    """The processes that make one run together, usually one per host; the result does not depend on them."""

    coordinator: str | None = None
    """HOST:PORT at which process 0 can be reached by all; auto where JAX finds the others by itself (TPU pods,
    SLURM); None runs in this process alone"""
    count: int | None = None
    """number of processes; not with auto"""
    index: int | None = None
    """which of them this one is, from 0; not with auto"""
    heartbeat_seconds: int = 10
    """a process that is silent for so long counts as dead"""
    startup_seconds: int = 60
    """how long to wait for all processes at the start"""

    def __post_init__(self) -> None:
        require_types(self, "hosts")
        for name in ("heartbeat_seconds", "startup_seconds"):
            value = getattr(self, name)
            require(is_count(value), f"hosts.{name}", value, f"a whole number from 1 to {MOST:,}")
        if self.coordinator in (None, "auto"):
            for name in ("count", "index"):
                value = getattr(self, name)
                require(value is None, f"hosts.{name}", value, "left out unless hosts.coordinator is HOST:PORT")
            return
        host, _, port = self.coordinator.rpartition(":")
        holds = host != "" and port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 2**16
        require(holds, "hosts.coordinator", self.coordinator, "HOST:PORT, auto or None")
        require(is_count(self.count), "hosts.count", self.count, "the number of processes, with hosts.coordinator")
        holds = is_whole(self.index, 0, self.count - 1)
        require(holds, "hosts.index", self.index, f"from 0 to {self.count - 1}, below hosts.count")
