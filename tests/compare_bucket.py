"""Throughput in a bucket against a disk, in interleaved pairs: python tests/compare_bucket.py [PAIRS] [EPOCHS]

Each run is a process of its own that trains the deep model on MNIST in batches of 256, with the emulator of Google
Cloud Storage in another process. Printed is the median of the ratios bucket / disk of images per second, by the wall
clock of all epochs, and the same with the time from the start of `aejax.fit` to its end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_RUN = """
import json, sys, time
import aejax
dataset = aejax.load_dataset("mnist")
config = aejax.load_config("configs/mnist/deep.py")
config = config.replace({"training.batch_size": 256, "training.epochs": int(sys.argv[2])})
begin = time.perf_counter()
run = aejax.fit(config, sys.argv[1], dataset=dataset, progress=False, figures=())
whole = time.perf_counter() - begin
seconds = sum(line["seconds"] for line in run.history)
print(json.dumps({"epochs": 1 / seconds, "whole": 1 / whole, "loss": run.summary["test"]["total"]}))
"""


def main(pairs: int = 5, epochs: int = 20) -> None:
    emulator = subprocess.Popen(
        [sys.executable, ROOT / "tests/buckets.py", "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    environment = os.environ | {"TENSORSTORE_GCS_HTTP_URL": emulator.stdout.readline().strip()}
    ratios: dict[str, list[float]] = {"epochs": [], "whole": []}
    with tempfile.TemporaryDirectory() as folder:
        for pair in range(-1, pairs):  # the first pair fills the caches
            places = {"disk": f"{folder}/{pair}", "bucket": f"gs://bucket/{pair}/run"}
            found = {}
            for name in sorted(places, reverse=pair % 2 == 0):
                command = [sys.executable, "-c", _RUN, places[name], str(epochs)]
                done = subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE)
                found[name] = json.loads(done.stdout)
            assert found["disk"]["loss"] == found["bucket"]["loss"]
            for key in ratios if pair >= 0 else ():
                ratios[key].append(found["bucket"][key] / found["disk"][key])
                print(f"pair {pair}, {key}: {ratios[key][-1]:.3f}", flush=True)
    for key, values in ratios.items():
        print(f"{key}: {statistics.median(values):.3f} (from {min(values):.3f} to {max(values):.3f})")
    emulator.stdin.close()
    emulator.wait()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
