"""Full-size sparse autoencoders on a GPU or TPU, measured on several numbers of test vectors.

    uv run experiments/gallery/full_size.py FILE.json batch_top_k matryoshka dead_after_200

Each model takes about 4 minutes on an NVIDIA H200. The measurement runs on the device, so that it can take as many test
vectors as SynthSAEBench (500,000; arXiv 2602.14687).
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import aejax
from aejax.config.files import write_json
from aejax.training.identity import describe_machine
from gallery import recovery

COUNTS = (16_384, 65_536, 262_144, 524_288)
"""numbers of test vectors"""

_HERE = Path(__file__).parent
CHANGES: dict[str, dict[str, Any]] = {
    "batch_top_k": {"model.options.dead_after": 1000},
    "dead_after_200": {"model.options.dead_after": 200},
    "matryoshka": {
        "model.kind": f"{_HERE / 'matryoshka.py'}:Matryoshka",
        "model.options.widths": [128, 512, 2048],
        "model.options.dead_after": 1000,
    },
}
"""name → changes of the configuration batch_top_k_16k"""


def measure(run: aejax.Run, law: Any) -> dict[str, Any]:
    """Compare a model with the true features: the metrics of `recovery`, on each number of test vectors.

    Args:
        law: the specification of the vectors.
    """
    test = dataclasses.replace(law, test=COUNTS[-1]).dataset().test
    learned = np.asarray(run.autoencoder.directions())
    cosines = np.abs(learned @ test.directions.T)
    nearest, chunk = jnp.asarray(cosines.argmax(axis=1)), 4096
    graphdef, state = nnx.split(run.autoencoder)

    @jax.jit
    def counted(state: Any, arrays: Any, examples: jax.Array) -> tuple[jax.Array, ...]:
        vectors = test.make(arrays, examples)
        codes = nnx.merge(graphdef, state).encode(vectors.reshape(len(vectors), *run.image_shape))
        active, present = codes != 0, test.active(arrays, examples)[:, nearest] > 0
        return (active & present).sum(axis=0), active.sum(axis=0), present.sum(axis=0)

    total, found, arrays = [np.zeros(len(learned))] * 3, {}, jax.device_put(test.arrays)
    for first in range(0, COUNTS[-1], chunk):
        part = jax.device_get(counted(state, arrays, jnp.arange(first, first + chunk, dtype=jnp.int32)))
        total = [before + np.float64(more) for before, more in zip(total, part, strict=True)]
        if (count := first + chunk) in COUNTS:
            both, active, present = total
            precision, recall = both / np.maximum(active, 1), both / np.maximum(present, 1)
            f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
            found[count] = {"f1": f1.mean(), "f1_of_active": f1[active > 0].mean(), "dead": int((active == 0).sum())}
            found[count] |= {"precision": precision.mean(), "recall": recall.mean(), "l0": active.sum() / count}
    best = cosines.max(axis=1)
    return {
        "cosine": float(best.mean()),
        "matched_cosine": recovery.matched_cosine(learned, test.directions),
        "cosine_of_dead": float(best[active == 0].mean()) if (active == 0).any() else None,
        "test": found,
    }


def main(path: str, *names: str) -> None:
    """Train and measure the named models, and write the results after each."""
    config = aejax.load_config(_HERE / "batch_top_k_16k.py")
    dataset = aejax.load_dataset(config.data.name)
    results: dict[str, Any] = {"command": " ".join(["experiments/gallery/full_size.py", path, *names])}
    results |= describe_machine() | {"models": {}}
    for name in names:
        run = aejax.fit(config.replace(CHANGES[name]), dataset=dataset)
        found = {"steps": int(run.state.step), "epoch_seconds": [line["seconds"] for line in run.history]}
        results["models"][name] = found | measure(run, dataset.truth.specification)
        write_json(Path(path), results)


if __name__ == "__main__":
    if len(sys.argv) < 3 or not set(sys.argv[2:]) <= set(CHANGES):
        sys.exit(f"usage: full_size.py FILE.json NAME ...; names are {', '.join(CHANGES)}")
    main(*sys.argv[1:])
