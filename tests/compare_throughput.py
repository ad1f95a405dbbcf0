"""Throughput of two checkouts, in interleaved pairs: python tests/compare_throughput.py BEFORE AFTER [PAIRS] [JSON]

Each run is a process of its own with the same interpreter, and trains a model on the same random images by nothing but
`aejax.fit`. Printed is the median of the ratios after / before of images per second.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

MODELS = {
    "deep": (30, {}),
    "denoising": (30, {"corruption.kind": "gaussian", "coefficients.noise": 0.4}),
    "vae": (20, {"model.kind": "variational", "loss.pixels": "sum", "data.binarize": True, "model.code_size": 50}),
    "convolutional": (
        12,
        {"model.hidden": [], "model.channels": [32], "model.spatial_code": True, "model.code_size": 1568},
    ),
}
"""name → epochs on a GPU, and changes of the default configuration"""

_RUN = """
import json, statistics, sys
import jax, numpy as np
import aejax
changes, epochs, count = json.loads(sys.argv[1])
images = (np.random.default_rng(0).random((count + 1000, 28, 28, 1)) ** 6 * 255).astype(np.uint8)
dataset = aejax.Dataset("random", images[:count], images[count:])
fixed = {"training.epochs": epochs, "training.batch_size": 256, "devices.count": 1}
run = aejax.fit(aejax.Config().replace(fixed | changes), dataset=dataset, progress=False)
rate = statistics.median(line["images_per_second"] for line in run.history[2:])
print(json.dumps({"rate": rate, "loss": run.summary["test"]["total"], "device": jax.devices()[0].device_kind}))
"""


def once(checkout: Path, model: str) -> dict:
    """Train once; on a processor for fewer epochs, and fewer images of a convolutional model."""
    epochs, changes = MODELS[model]
    gpu = os.path.exists("/dev/nvidia0")
    given = changes, epochs if gpu else 6, 60_000 if gpu or model != "convolutional" else 10_000
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(given)],
        env={**os.environ, "PYTHONPATH": str(checkout.resolve())}, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main(before: str, after: str, pairs: str = "3", path: str | None = None) -> None:
    """Print a line for each model, and write the JSON if a path is given."""
    found: dict = {"command": " ".join(["tests/compare_throughput.py", before, after, pairs])}
    for model in MODELS:
        runs: dict[str, list[dict]] = {before: [], after: []}
        for pair in range(int(pairs)):
            for checkout in (before, after) if pair % 2 == 0 else (after, before):
                runs[checkout].append(once(Path(checkout), model))
        ratios = [b["rate"] / a["rate"] for a, b in zip(runs[before], runs[after], strict=True)]
        rates = {name: statistics.median(run["rate"] for run in each) for name, each in runs.items()}
        found |= {"device": runs[after][0]["device"], model: {"rates": rates, "ratios": ratios}}
        found[model]["median"] = statistics.median(ratios)
        print(model, json.dumps(found[model]), flush=True)
    if path is not None:
        Path(path).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
