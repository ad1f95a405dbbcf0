"""What a user writes against the public names, for a type checker: read by it, never run."""

from collections.abc import Mapping
from typing import Any, assert_type

import jax
import numpy as np

import aejax


class Own(aejax.Autoencoder):
    def loss(
        self, clean: jax.Array, output: aejax.Output, coefficients: Mapping[str, jax.Array], context: aejax.Context
    ) -> dict[str, jax.Array]:
        return super().loss(clean, output, coefficients, context)


def stop(run: aejax.Run) -> Mapping[str, float]:
    return aejax.Finish(accuracy=0.9) if len(run.history) > 3 else {"accuracy": 0.5}


config = aejax.Config(model=aejax.Model(hidden=(128,), code_size=32), training=aejax.Training(epochs=20))
data = aejax.Dataset.from_arrays(np.zeros((10, 8, 8)), train_labels=np.arange(10))
run = aejax.fit(config, "runs/own", dataset=data, on_epoch=stop)
assert_type(run, aejax.Run)
assert_type(aejax.load("runs/own", "best"), aejax.Run)
assert_type(run.config, aejax.Config)
assert_type(data.vectors, bool)
assert_type(aejax.evaluate(run), dict[str, Any])
assert_type(aejax.sweep(config, {"training.seed": range(8)}).best, aejax.Run)
codes: np.ndarray = run.encode(data.test)
wrong = aejax.fit(config, progress="yes")  # type: ignore[arg-type]
unknown = aejax.nothing  # type: ignore[attr-defined]
