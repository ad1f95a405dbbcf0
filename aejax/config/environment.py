"""Where prepared data and compiled programs live, and what JAX is told by the environment before it starts."""

from __future__ import annotations

import os
from pathlib import Path


def data_dir() -> Path:
    """Where prepared data lives: AEJAX_DATA_DIR, or a folder in the user's cache."""
    return Path(os.environ.get("AEJAX_DATA_DIR") or Path.home() / ".cache" / "aejax")


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles beside the prepared data, so that a second start compiles nothing.

    By the environment, so that JAX need not be imported yet; what the user set stays.
    """
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(data_dir() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def spread_over_cores(most: int) -> None:
    """Make each processor core a device, `most` of them: one small model leaves cores idle, many do not.

    To be called before JAX starts; it changes nothing where there is an accelerator.
    """
    count = min(os.cpu_count() or 1, most)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count} {os.environ.get('XLA_FLAGS', '')}"
