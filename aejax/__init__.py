"""Autoencoders in JAX: train, measure and understand them.

>>> import aejax
>>> digits = aejax.load_dataset("digits")
>>> run = aejax.fit(aejax.Config(), dataset=digits)
>>> codes = run.encode(digits.test)
"""

import lazy_loader

# The stub lists the public names. Each is imported on first use: `--help` must not wait four seconds for JAX.
_load, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    return _version() if name == "__version__" else _load(name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _version() -> str:
    from importlib import metadata  # takes longer to import than this package

    try:
        return metadata.version("aejax")
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return "0.1.0"
