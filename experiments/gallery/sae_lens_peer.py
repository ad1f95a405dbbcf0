"""SAELens's trainer on arrays in a folder, for comparison with the gallery's sparse autoencoders.

The script runs in an environment of its own, without aejax (add `--python 3.12` if the default Python is older):

    uv run --no-project --with 'sae-lens>=6.40' experiments/gallery/sae_lens_peer.py FOLDER \
        --architecture batchtopk --latents 256 --k 25 --batch 1024 --steps 2000 --lr 3e-4 --seeds 0 1 2 3 4 --json OUT

FOLDER holds `train.npy` [N, D]. The metrics need `test.npy` [M, D], `test_activations.npy` [M, F] (the strengths of the
true features) and `directions.npy` [F, D]; metrics without their arrays are left out. `--toy` first writes all four
arrays: vectors of sparse features from SAELens's `synthetic`.

Each combination of --k, --coefficient, --lr and --seeds is a model. The models are trained one after another. With
`--several`, SAELens's `MultiSAETrainer` then trains all models again, in lockstep on the same batches, with one trainer
per learning rate. `--sae NAME=VALUE` sets a field of the SAE's configuration, and `--trainer NAME=VALUE` a field of the
trainer's configuration; the other fields have SAELens's defaults. The data are on the device, in a new order per epoch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
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

ARCHITECTURES = {  # name → SAELens's name, and the field that --coefficient sets
    "standard": ("standard", "l1_coefficient"),
    "topk": ("topk", None),
    "batchtopk": ("batchtopk", None),
    "jumprelu": ("jumprelu", "l0_coefficient"),
    "gated": ("gated", "l1_coefficient"),
    "matryoshka": ("matryoshka_batchtopk", None),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Provider(Iterator[Any]):
    """An endless iterator of batches [B, D]; it starts a clock after `untimed` batches."""

    def __init__(self, examples: torch.Tensor, batch: int, seed: int, untimed: int, several: bool):
        self.examples, self.batch, self.untimed, self.several = examples, batch, untimed, several
        self.generator = torch.Generator(DEVICE).manual_seed(seed)
        self.given, self.order, self.begin = 0, iter(()), 0.0

    def __next__(self) -> Any:
        if self.given == self.untimed:
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


def new_sae(arguments: argparse.Namespace, width: int, place: dict[str, Any]) -> Any:
    """Initialize a training SAE of SAELens for a place in the grid."""
    name, weighed = ARCHITECTURES[arguments.architecture]
    kind, configuration = get_sae_training_class(name)
    fields: dict[str, Any] = {"d_in": width, "d_sae": arguments.latents, "device": DEVICE}
    if weighed is None:
        fields["k"] = int(place["k"]) if name == "topk" else place["k"]
    elif place["coefficient"] is not None:
        fields[weighed] = place["coefficient"]
    if arguments.architecture == "matryoshka":
        fields["matryoshka_widths"] = arguments.widths or [arguments.latents // part for part in (8, 4, 2, 1)]
    torch.manual_seed(place["seed"])
    sae = kind(configuration(**fields | dict(arguments.sae)))
    if arguments.compile:  # as the option compile_sae of SAELens's runner for language models
        sae.training_forward_pass = torch.compile(sae.training_forward_pass)
    return sae


def train(
    arguments: argparse.Namespace, examples: torch.Tensor, places: list[dict[str, Any]], several: bool
) -> list[dict[str, Any]]:
    """Train one model, or several models of one learning rate in lockstep.

    Returns:
        of each model its place in the grid, the seconds of the timed steps of all these models, and its metrics.
    """
    saes = {str(number): new_sae(arguments, examples.shape[1], place) for number, place in enumerate(places)}
    seed = 0 if several else places[0]["seed"]
    provider = Provider(examples, arguments.batch, seed, arguments.untimed, several)
    fields = {  # as in SAELens's `train_toy_sae`: no logging, no evaluation, no checkpoint
        "total_training_samples": arguments.steps * arguments.batch,
        "train_batch_size_samples": arguments.batch,
        "lr": places[0]["lr"],
        "lr_end": places[0]["lr"],
        "device": DEVICE,
        "logger": LoggingConfig(log_to_wandb=False, eval_every_n_wandb_logs=2**31 - 1),
    }
    config = SAETrainerConfig(**fields | dict(arguments.trainer))
    if several:
        MultiSAETrainer(config, saes, dict.fromkeys(saes, "vectors"), provider).fit()
    else:
        SAETrainer(config, saes["0"], provider).fit()
    seconds = provider.time() - provider.begin
    lines = []
    for place, sae in zip(places, saes.values(), strict=True):
        lines.append(place | {"seconds": seconds} | metrics(sae, arguments.folder))
        print(json.dumps(lines[-1]), flush=True)
    return lines


@torch.no_grad()
def metrics(sae: Any, folder: Path) -> dict[str, float]:
    """Measure the SAE that SAELens saves for inference on the test arrays of the folder."""
    paths = (folder / f"{name}.npy" for name in ("test", "test_activations", "directions"))
    arrays = (torch.from_numpy(np.load(path)).float().to(DEVICE) if path.exists() else None for path in paths)
    test, activations, directions = arrays
    with tempfile.TemporaryDirectory() as saved:
        sae.save_inference_model(saved)
        sae = SAE.load_from_disk(saved, device=DEVICE).eval()
    found: dict[str, float] = {}
    if directions is not None:
        cosines = cosine_similarities(sae.W_dec, directions).abs()
        found["cosine"] = cosines.max(dim=1).values.mean().item()
        found["matched_cosine"] = mean_correlation_coefficient(sae.W_dec, directions)
    if test is None:
        return found
    l0, dead, explained = L0Calculator(), DeadLatentsCalculator(len(sae.W_dec)), ExplainedVarianceCalculator()
    known = directions is not None and activations is not None
    detection = ClassificationMetricsCalculator(sae.W_dec, directions) if known else None
    for first in range(0, len(test), 4096):
        rows = slice(first, first + 4096)
        codes = sae.encode(test[rows])
        l0.add_batch(codes)
        dead.add_batch(codes)
        explained.add_batch(sae.decode(codes), test[rows])
        if known:
            detection.add_batch(codes, activations[rows])
    found |= {"l0": l0.compute(), "unexplained": 1 - explained.compute(), "dead": dead.compute()}
    if known:
        scores = detection.compute()
        found |= {"f1": scores.f1_score, "precision": scores.precision, "recall": scores.recall}
    return found


def write_toy(folder: Path, features: int = 512, width: int = 64, active: float = 10.0) -> None:
    """Write the four arrays, of independent features with one probability and strengths |1 + normal / 2|."""
    from sae_lens.synthetic import ActivationGenerator, FeatureDictionary

    torch.manual_seed(0)
    truth = FeatureDictionary(features, width, device=DEVICE)
    source = ActivationGenerator(features, active / features, std_firing_magnitudes=0.5, device=DEVICE)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        for name, count in {"train": 262_144, "test": 16_384}.items():
            activations = source.sample(count)
            np.save(folder / f"{name}.npy", truth(activations).cpu().numpy())
        np.save(folder / "test_activations.npy", activations.cpu().numpy())
        np.save(folder / "directions.npy", truth.feature_vectors.cpu().numpy())


def _assignment(given: str) -> tuple[str, Any]:
    name, _, value = given.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="batchtopk")
    parser.add_argument("--latents", type=int, default=256)
    parser.add_argument("--k", type=float, nargs="+", default=[25.0], help="for topk, batchtopk and matryoshka")
    parser.add_argument("--coefficient", type=float, nargs="+", help="L1 for standard and gated, L0 for jumprelu")
    parser.add_argument(
        "--widths", type=int, nargs="+", help="for matryoshka; default: an eighth, a quarter, half and all"
    )
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--untimed", type=int, default=20, help="steps before the clock starts")
    parser.add_argument("--lr", type=float, nargs="+", default=[3e-4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sae", type=_assignment, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--trainer", type=_assignment, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--threads", type=int, help="threads of PyTorch on the CPU")
    parser.add_argument("--compile", action="store_true", help="compile the forward pass by torch.compile")
    parser.add_argument("--several", action="store_true", help="also train all models in MultiSAETrainer")
    parser.add_argument("--toy", action="store_true", help="first write toy data to the folder")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.steps <= arguments.untimed:
        parser.error(f"--steps is {arguments.steps}; it must be above --untimed, {arguments.untimed}")
    return arguments


def main() -> None:
    arguments = _parse()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.toy:
        write_toy(arguments.folder)
    examples = torch.from_numpy(np.load(arguments.folder / "train.npy")).float().to(DEVICE)
    if len(examples) < arguments.batch:
        sys.exit(f"{arguments.folder / 'train.npy'} has {len(examples)} rows; --batch is {arguments.batch}")
    axes = {"k": arguments.k, "coefficient": arguments.coefficient or [None]}
    axes |= {"lr": arguments.lr, "seed": arguments.seeds}
    grid = [dict(zip(axes, place, strict=True)) for place in itertools.product(*axes.values())]
    ways = {"one_after_another": [[place] for place in grid]}
    if arguments.several:
        ways["together"] = [[place for place in grid if place["lr"] == lr] for lr in arguments.lr]
    versions = {name: version(name) for name in ("sae-lens", "torch", "numpy")}
    result: dict[str, Any] = {
        "command": " ".join(["sae_lens_peer.py", *sys.argv[1:]]),
        "versions": {"python": platform.python_version()} | versions,
        "machine": {
            "platform": DEVICE,
            "device": torch.cuda.get_device_name() if DEVICE == "cuda" else platform.machine(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "architecture": arguments.architecture,
        "examples": list(examples.shape),
    }
    for way, groups in ways.items():
        found = [train(arguments, examples, places, way == "together") for places in groups]
        seconds = sum(models[0]["seconds"] for models in found)
        rate = len(grid) * (arguments.steps - arguments.untimed) * arguments.batch / seconds
        result[way] = {"seconds": seconds, "model_samples_per_second": rate, "models": list(itertools.chain(*found))}
        print(f"{way}: {rate:,.0f} model-samples per second")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
