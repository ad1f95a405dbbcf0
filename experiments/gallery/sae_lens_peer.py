"""SAELens's trainer on arrays in a folder, for comparison with the gallery's sparse autoencoders.

    ENVIRONMENT/bin/python experiments/gallery/sae_lens_peer.py FOLDER TASK

The script runs in an environment of its own with sae-lens>=6.40, without aejax. FOLDER holds `train.npy` [N, D],
`test.npy` [M, D], `test_activations.npy` [M, F] (the strengths of the true features) and `directions.npy` [F, D]. TASK
is a JSON object:

    architecture, sparsity, fields    name in SAELens, its field that sets the sparsity, and further fields of the SAE
    steps, batch                      of each training
    dead_after                        steps without activity after which a unit is dead
    axes                              values of sparsity, lr and seed; each combination is a model
    threads                           threads of PyTorch on the CPU, or null
    several                           also train all models in SAELens's `MultiSAETrainer`

The models are trained one after another. `MultiSAETrainer` trains them in lockstep on the same batches, with one
trainer per learning rate. All other fields have SAELens's defaults. The data are on the device, in a new order per
epoch. The last line of the output is a JSON object.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # the timing excludes the progress bar

import numpy as np
import torch
from sae_lens import SAE
from sae_lens.config import LoggingConfig, SAETrainerConfig
from sae_lens.evals import ExplainedVarianceCalculator
from sae_lens.registry import get_sae_training_class
from sae_lens.synthetic.evals import (
    ClassificationMetricsCalculator,
    DeadLatentsCalculator,
    L0Calculator,
    mean_correlation_coefficient,
)
from sae_lens.training.multi_sae_trainer import MultiSAETrainer
from sae_lens.training.sae_trainer import SAETrainer
from sae_lens.util import cosine_similarities

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
UNTIMED = 20
"""steps before the clock starts"""


class Provider(Iterator[Any]):
    """An endless iterator of batches [B, D]; it starts a clock after `UNTIMED` batches."""

    def __init__(self, examples: torch.Tensor, batch: int, seed: int, several: bool):
        self.examples, self.batch, self.several = examples, batch, several
        self.generator = torch.Generator(DEVICE).manual_seed(seed)
        self.given, self.order, self.begin = 0, iter(()), 0.0

    def __next__(self) -> Any:
        if self.given == UNTIMED:
            self.begin = self.time()
        self.given += 1
        indices = next(self.order, None)
        if indices is None:
            order = torch.randperm(len(self.examples), generator=self.generator, device=DEVICE)
            self.order = iter(order.split(self.batch)[: len(order) // self.batch])
            indices = next(self.order)
        return {"vectors": self.examples[indices]} if self.several else self.examples[indices]

    @staticmethod
    def time() -> float:
        """Return the time after the device has finished all its work."""
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def new_sae(task: Mapping[str, Any], width: int, place: Mapping[str, Any]) -> Any:
    """Initialize a training SAE of SAELens for a place in the grid."""
    kind, configuration = get_sae_training_class(task["architecture"])
    sparsity = int(place["sparsity"]) if task["architecture"] == "topk" else place["sparsity"]
    torch.manual_seed(place["seed"])
    return kind(configuration(d_in=width, device=DEVICE, **{task["sparsity"]: sparsity}, **task["fields"]))


def train(
    task: Mapping[str, Any], arrays: Mapping[str, torch.Tensor], places: list[dict[str, Any]], several: bool
) -> list[dict[str, Any]]:
    """Train one model, or several models of one learning rate in lockstep.

    Returns:
        of each model its place in the grid, the seconds of the timed steps of all these models, and its metrics.
    """
    examples, batch = arrays["train"], task["batch"]
    saes = {str(number): new_sae(task, examples.shape[1], place) for number, place in enumerate(places)}
    provider = Provider(examples, batch, 0 if several else places[0]["seed"], several)
    config = SAETrainerConfig(  # as in SAELens's `train_toy_sae`: no logging, no evaluation, no checkpoint
        total_training_samples=task["steps"] * batch,
        train_batch_size_samples=batch,
        lr=places[0]["lr"],
        lr_end=places[0]["lr"],
        dead_feature_window=task["dead_after"],
        device=DEVICE,
        logger=LoggingConfig(log_to_wandb=False, eval_every_n_wandb_logs=2**31 - 1),
    )
    if several:
        MultiSAETrainer(config, saes, dict.fromkeys(saes, "vectors"), provider).fit()
    else:
        SAETrainer(config, saes["0"], provider).fit()
    seconds = provider.time() - provider.begin
    return [
        place | {"seconds": seconds} | metrics(sae, arrays) for place, sae in zip(places, saes.values(), strict=True)
    ]


@torch.no_grad()
def metrics(sae: Any, arrays: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Measure the SAE that SAELens saves for inference on the test arrays."""
    test, directions = arrays["test"], arrays["directions"]
    with tempfile.TemporaryDirectory() as saved:
        sae.save_inference_model(saved)
        sae = SAE.load_from_disk(saved, device=DEVICE).eval()
    l0, dead, explained = L0Calculator(), DeadLatentsCalculator(len(sae.W_dec)), ExplainedVarianceCalculator()
    detection = ClassificationMetricsCalculator(sae.W_dec, directions)
    for first in range(0, len(test), 4096):
        rows = slice(first, first + 4096)
        codes = sae.encode(test[rows])
        l0.add_batch(codes)
        dead.add_batch(codes)
        explained.add_batch(sae.decode(codes), test[rows])
        detection.add_batch(codes, arrays["test_activations"][rows])
    scores = detection.compute()
    return {
        "cosine": cosine_similarities(sae.W_dec, directions).abs().max(dim=1).values.mean().item(),
        "matched_cosine": mean_correlation_coefficient(sae.W_dec, directions),
        "l0": l0.compute(),
        "unexplained": 1 - explained.compute(),
        "dead": dead.compute(),
        "f1": scores.f1_score,
        "precision": scores.precision,
        "recall": scores.recall,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    task = json.loads(sys.argv[2])
    if task["threads"]:
        torch.set_num_threads(task["threads"])
    names = ("train", "test", "test_activations", "directions")
    arrays = {name: torch.from_numpy(np.load(folder / f"{name}.npy")).float().to(DEVICE) for name in names}
    grid = [dict(zip(task["axes"], place, strict=True)) for place in itertools.product(*task["axes"].values())]
    ways = {"one_after_another": [[place] for place in grid]}
    if task["several"]:
        ways["together"] = [[place for place in grid if place["lr"] == lr] for lr in task["axes"]["lr"]]
    versions = {name: version(name) for name in ("sae-lens", "torch", "numpy")}
    result: dict[str, Any] = {"platform": DEVICE, "versions": {"python": platform.python_version()} | versions}
    for way, groups in ways.items():
        found = [train(task, arrays, places, way == "together") for places in groups]
        seconds = sum(models[0]["seconds"] for models in found)
        rate = len(grid) * (task["steps"] - UNTIMED) * task["batch"] / seconds
        result[way] = {"vectors_per_second": rate, "models": list(itertools.chain(*found))}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
