"""What JAX keeps of compiled programs: native code, which is run as it is read."""

from __future__ import annotations

import importlib


def require_checksums() -> None:
    """Let JAX compress them by zlib, whose checksum notices damage: it then warns and compiles again.

    Where the package zstandard is there JAX takes that, without a checksum, and runs what a flipped bit made of a
    program: the process dies, in this and every later run. JAX has no option for it.
    """
    cache = importlib.import_module("jax._src.compilation_cache")
    for name in ("zstd", "zstandard"):
        if getattr(cache, name, None) is not None:
            setattr(cache, name, None)
