"""Where prepared data and compiled programs live, and what JAX is told by the environment before it starts."""

from __future__ import annotations

import os
from pathlib import Path

from aejax.config.checks import InputError
from aejax.config.paths import local


def data_dir() -> Path:
    """Where prepared data lives: AEJAX_DATA_DIR, or a folder in the user's cache.

    Raises:
        InputError: it is no folder of a disk, or there is no home folder.
    """
    if given := os.environ.get("AEJAX_DATA_DIR"):
        return local(given, "AEJAX_DATA_DIR")
    if (home := _home()) is None:
        raise InputError("there is no home folder for prepared images; set AEJAX_DATA_DIR to a folder of yours")
    return home / ".cache" / "aejax"


def scripts_dir() -> Path:
    """Return the folder that holds `experiments/` and `configs/`: a checkout, or `aejax_scripts` of an installation."""
    package = Path(__file__).resolve().parents[1]
    installed = package.with_name("aejax_scripts")
    return installed if installed.is_dir() else package.parent


def _home() -> Path | None:
    """None where HOME is not set and the system does not know the user, as in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def keep_compiled_programs() -> None:
    """Let JAX keep what it compiles beside the prepared data, so that a second start compiles nothing.

    By the environment, so that JAX need not be imported yet; what the user set stays.
    """
    if os.environ.get("AEJAX_DATA_DIR") or _home() is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(data_dir() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def spread_over_cores(most: int) -> None:
    """Make each processor core a device, `most` of them: one small model leaves cores idle, many do not.

    To be called before JAX starts; it changes nothing where there is an accelerator.
    """
    count = min(os.cpu_count() or 1, most)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count} {os.environ.get('XLA_FLAGS', '')}"
