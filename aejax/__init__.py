"""Autoencoders in JAX: train, measure and understand them.

>>> import aejax
>>> digits = aejax.load_dataset("digits")
>>> run = aejax.fit(aejax.Config(), dataset=digits)
>>> codes = run.encode(digits.test)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; nothing is imported by it
    from aejax.config import (
        AejaxError as AejaxError,
    )
    from aejax.config import (
        Coefficients as Coefficients,
    )
    from aejax.config import (
        Config as Config,
    )
    from aejax.config import (
        Corruption as Corruption,
    )
    from aejax.config import (
        Data as Data,
    )
    from aejax.config import (
        Devices as Devices,
    )
    from aejax.config import (
        Hosts as Hosts,
    )
    from aejax.config import (
        InputError as InputError,
    )
    from aejax.config import (
        Loss as Loss,
    )
    from aejax.config import (
        Model as Model,
    )
    from aejax.config import (
        Schedule as Schedule,
    )
    from aejax.config import (
        Training as Training,
    )
    from aejax.config import (
        load_config as load_config,
    )
    from aejax.data import Dataset as Dataset
    from aejax.data import load_dataset as load_dataset
    from aejax.data import require_fit as require_fit
    from aejax.evaluation import Run as Run
    from aejax.evaluation import evaluate as evaluate
    from aejax.evaluation import fit as fit
    from aejax.evaluation import load as load
    from aejax.models import (
        Autoencoder as Autoencoder,
    )
    from aejax.models import (
        Context as Context,
    )
    from aejax.models import (
        Decoder as Decoder,
    )
    from aejax.models import (
        Encoder as Encoder,
    )
    from aejax.models import (
        Output as Output,
    )
    from aejax.models import (
        Posterior as Posterior,
    )
    from aejax.models import (
        SparseAutoencoder as SparseAutoencoder,
    )
    from aejax.models import (
        Variational as Variational,
    )
    from aejax.sweeps import Sweep as Sweep
    from aejax.sweeps import sweep as sweep
    from aejax.training import Diverged as Diverged
    from aejax.training import Finish as Finish
    from aejax.training import Interrupted as Interrupted
    from aejax.training import PeerLost as PeerLost

# Loaded on first use: a refused configuration or `--help` does not wait four seconds for JAX.
_ROOMS = {
    "AejaxError": "config",
    "Config": "config",
    "Data": "config",
    "Model": "config",
    "Loss": "config",
    "Corruption": "config",
    "Coefficients": "config",
    "Schedule": "config",
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
    "SparseAutoencoder": "models",
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


if not TYPE_CHECKING:  # else no name would be wrong

    def __getattr__(name: str) -> Any:
        if name not in _ROOMS:
            raise AttributeError(f"module 'aejax' has no attribute {name!r}")
        return getattr(importlib.import_module(f"aejax.{_ROOMS[name]}"), name)
