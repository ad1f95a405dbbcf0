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
_ROOMS = {
    "AejaxError": "config",
    "Config": "config",
    "Data": "config",
    "Model": "config",
    "Loss": "config",
    "Corruption": "config",
    "Coefficients": "config",
    "Training": "config",
    "Devices": "config",
    "Hosts": "config",
    "InputError": "config",
    "load_config": "config",
    "Dataset": "data",
    "load_dataset": "data",
    "require_fit": "data",
    "Autoencoder": "models",
    "Encoder": "models",
    "Decoder": "models",
    "Output": "models",
    "Context": "models",
    "Variational": "models",
    "Posterior": "models",
    "fit": "evaluation",
    "sweep": "sweeps",
    "Sweep": "sweeps",
    "Run": "evaluation",
    "load": "evaluation",
    "evaluate": "evaluation",
    "Diverged": "training",
    "Finish": "training",
    "Interrupted": "training",
    "PeerLost": "training",
}
__all__ = sorted(_ROOMS)


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'aejax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"aejax.{_ROOMS[name]}"), name)
