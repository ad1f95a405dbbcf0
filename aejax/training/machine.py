"""What a result was computed by and on: versions, settings of JAX, device, processor."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import jax

from aejax.training.start import devices


def describe_machine() -> dict[str, Any]:
    """The versions, the kind of device, and of the processor the number of cores and the bits of its vectors."""
    device = devices()[0].device_kind
    return {"versions": versions(), "device": device, "cores": os.cpu_count(), "vector_bits": _vector_bits()}


def settings() -> dict[str, Any]:
    """JAX's own settings that change what is drawn from a seed, or how products are rounded, by their names in JAX."""
    names = ("enable_x64", "threefry_partitionable", "default_matmul_precision")
    return {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}


def _vector_bits() -> int | None:
    """Of the widest vectors of an x86 processor; None where the system does not tell."""
    try:
        flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")))
    except OSError:
        return None
    return next((bits for name, bits in {"avx512f": 512, "avx2": 256, "sse2": 128}.items() if name in flags), None)


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result depends on."""
    packages = ("jax", "flax", "optax", "orbax-checkpoint")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}
