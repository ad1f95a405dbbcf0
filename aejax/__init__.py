"""Autoencoders in JAX: train, measure and understand them.

>>> import aejax
>>> digits = aejax.load_dataset("digits")
>>> run = aejax.fit(aejax.Config(), dataset=digits)
>>> codes = run.encode(digits.test)
"""

from __future__ import annotations

import importlib
from typing import Any

# Loaded on first use: a refused configuration or `--help` does not wait four seconds for JAX.
_HOMES = {
    "AejaxError": "config",
    "Config": "config",
    "Data": "config",
    "Model": "config",
    "Loss": "config",
    "Corruption": "config",
    "Coefficients": "config",
    "Training": "config",
    "InputError": "config",
    "load_config": "user_files",
    "Dataset": "datasets",
    "load_dataset": "datasets",
    "require_fit": "datasets",
    "Autoencoder": "models",
    "Encoder": "models",
    "Decoder": "models",
    "Output": "models",
    "Variational": "variational",
    "Posterior": "models",
    "fit": "training",
    "sweep": "sweeping",
    "Sweep": "sweeping",
    "Run": "run",
    "load": "run",
    "evaluate": "evaluation",
    "Diverged": "training",
    "Interrupted": "interrupt",
    "PeerLost": "devices",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'aejax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"aejax.{_HOMES[name]}"), name)
