"""SAELens's own trainer on the arrays in a folder: what the gallery's sparse autoencoders are held against.

It runs in an environment of its own, and knows nothing of aejax (add `--python 3.12` where the default is older):

    uv run --no-project --with 'sae-lens>=6.40' experiments/gallery/sae_lens_peer.py FOLDER \
        --architecture batchtopk --latents 256 --k 25 --batch 1024 --steps 2000 --lr 3e-4 --seeds 0 1 2 3 4 --json OUT

FOLDER holds `train.npy` [N, D], and for the figures after training `test.npy` [M, D], `test_activations.npy` [M, F]
(the true features' values) and `directions.npy` [F, D]; what is missing leaves its figures out. `--toy` first writes
all four there: vectors of sparse features that SAELens's `synthetic` draws.

Every combination of --k, --coefficient, --lr and --seeds is a model, trained one after another; `--several` trains
them all once more in SAELens's `MultiSAETrainer`, in lockstep on the same batches, one trainer for each learning rate
(it has but one). All else is SAELens's default, or given by `--sae NAME=VALUE` (of the SAE's configuration) and
`--trainer NAME=VALUE` (of the trainer's). The data are on the device; each epoch is a permutation of its own.
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
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # its bar is no part of what is timed, and no line of the log

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

ARCHITECTURES = {  # name → SAELens's, and the field of --coefficient
    "standard": ("standard", "l1_coefficient"),
    "topk": ("topk", None),
    "batchtopk": ("batchtopk", None),
    "jumprelu": ("jumprelu", "l0_coefficient"),
    "gated": ("gated", "l1_coefficient"),
    "matryoshka": ("matryoshka_batchtopk", None),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> float:
    """The time, once the device has done all that it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Provider(Iterator[Any]):
    """Batches [B, D] of the examples without end; it notes when the one after `untimed` batches is asked for."""

    def __init__(
        self, examples: torch.Tensor, batch: int, seed: int, untimed: int, form: Callable[[torch.Tensor], Any]
    ):
        self.examples, self.batch, self.untimed, self.form = examples, batch, untimed, form
        self.generator = torch.Generator(DEVICE).manual_seed(seed)
        self.given, self.order, self.begin = 0, iter(()), 0.0

    def __next__(self) -> Any:
        if self.given == self.untimed:
            self.begin = wait()
        self.given += 1
        indices = next(self.order, None)
        if indices is None:
            order = torch.randperm(len(self.examples), generator=self.generator, device=DEVICE)
            self.order = iter(order.split(self.batch)[: len(order) // self.batch])
            indices = next(self.order)
        return self.form(self.examples[indices])


def new_sae(arguments: argparse.Namespace, width: int, k: float, coefficient: float | None, seed: int) -> Any:
    """SAELens's training SAE of the architecture, drawn from the seed."""
    name, weighed = ARCHITECTURES[arguments.architecture]
    kind, configuration = get_sae_training_class(name)
    fields: dict[str, Any] = {"d_in": width, "d_sae": arguments.latents, "device": DEVICE}
    if arguments.architecture in ("topk", "batchtopk", "matryoshka"):
        fields["k"] = int(k) if arguments.architecture == "topk" else k
    if arguments.architecture == "matryoshka":
        fields["matryoshka_widths"] = arguments.widths or [arguments.latents // part for part in (8, 4, 2, 1)]
    if weighed is not None and coefficient is not None:
        fields[weighed] = coefficient
    torch.manual_seed(seed)
    sae = kind(configuration(**fields | dict(arguments.sae)))
    if arguments.compile:  # as SAELens's runner for language models does with compile_sae
        sae.training_forward_pass = torch.compile(sae.training_forward_pass)
    return sae


def trainer_config(arguments: argparse.Namespace, lr: float) -> SAETrainerConfig:
    """As in SAELens's `train_toy_sae`: no logging, no evaluation, no checkpoint."""
    fields = {
        "total_training_samples": arguments.steps * arguments.batch,
        "train_batch_size_samples": arguments.batch,
        "lr": lr,
        "lr_end": lr,
        "device": DEVICE,
        "logger": LoggingConfig(log_to_wandb=False, eval_every_n_wandb_logs=2**31 - 1),
    }
    return SAETrainerConfig(**fields | dict(arguments.trainer))


def speed(arguments: argparse.Namespace, provider: Provider, models: int) -> dict[str, float]:
    """Of a training that has just ended."""
    seconds, steps = wait() - provider.begin, arguments.steps - arguments.untimed
    return {
        "seconds": seconds,
        "steps_timed": steps,
        "model_samples_per_second": models * steps * arguments.batch / seconds,
    }


@torch.no_grad()
def figures(sae: Any, folder: Path) -> dict[str, float]:
    """Of the SAE as SAELens saves it for inference, on the test data of the folder."""
    read = {
        name: torch.from_numpy(np.load(folder / f"{name}.npy")).float().to(DEVICE)
        for name in ("test", "test_activations", "directions")
        if (folder / f"{name}.npy").exists()
    }
    with tempfile.TemporaryDirectory() as saved:
        sae.save_inference_model(saved)
        sae = SAE.load_from_disk(saved, device=DEVICE).eval()
    made: dict[str, float] = {}
    if "directions" in read:
        cosines = cosine_similarities(sae.W_dec, read["directions"]).abs()
        made["mean_max_cosine"] = cosines.max(dim=1).values.mean().item()
        made["mcc"] = mean_correlation_coefficient(sae.W_dec, read["directions"])
    if "test" in read:
        l0, dead, explained = L0Calculator(), DeadLatentsCalculator(len(sae.W_dec)), ExplainedVarianceCalculator()
        detection = None
        if {"directions", "test_activations"} <= read.keys():
            detection = ClassificationMetricsCalculator(sae.W_dec, read["directions"])
        for first in range(0, len(read["test"]), 4096):
            rows = slice(first, first + 4096)
            examples = read["test"][rows]
            codes = sae.encode(examples)
            l0.add_batch(codes)
            dead.add_batch(codes)
            explained.add_batch(sae.decode(codes), examples)
            if detection is not None:
                detection.add_batch(codes, read["test_activations"][rows])
        made |= {"l0": l0.compute(), "fvu": 1 - explained.compute(), "dead": dead.compute()}
        if detection is not None:
            found = detection.compute()
            made |= {"f1": found.f1_score, "precision": found.precision, "recall": found.recall}
    return made


def one_after_another(
    arguments: argparse.Namespace, examples: torch.Tensor, grid: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Each model of the grid by a trainer of its own: its place in the grid, its speed and its figures."""
    lines = []
    for place in grid:
        sae = new_sae(arguments, examples.shape[1], place["k"], place["coefficient"], place["seed"])
        provider = Provider(examples, arguments.batch, place["seed"], arguments.untimed, lambda batch: batch)
        SAETrainer(trainer_config(arguments, place["lr"]), sae, provider).fit()
        timed = speed(arguments, provider, 1)
        lines.append(place | timed | figures(sae, arguments.folder))
        print(json.dumps(lines[-1]), flush=True)
    return lines


def together(arguments: argparse.Namespace, examples: torch.Tensor, grid: list[dict[str, Any]]) -> dict[str, Any]:
    """All models of a learning rate in lockstep, by SAELens's trainer of several; then those of the next."""
    seconds, lines = 0.0, []
    for lr in arguments.lr:
        places = {str(number): place for number, place in enumerate(grid) if place["lr"] == lr}
        saes = {
            name: new_sae(arguments, examples.shape[1], place["k"], place["coefficient"], place["seed"])
            for name, place in places.items()
        }
        provider = Provider(examples, arguments.batch, 0, arguments.untimed, lambda batch: {"vectors": batch})
        MultiSAETrainer(trainer_config(arguments, lr), saes, dict.fromkeys(saes, "vectors"), provider).fit()
        seconds += speed(arguments, provider, len(saes))["seconds"]
        lines += [place | figures(saes[name], arguments.folder) for name, place in places.items()]
    samples = len(grid) * (arguments.steps - arguments.untimed) * arguments.batch
    return {"seconds": seconds, "model_samples_per_second": samples / seconds, "models": lines}


def write_toy(folder: Path, features: int = 512, width: int = 64, active: float = 10.0) -> None:
    """Independent features of magnitude |1 + normal|·1[fires], each firing with the same probability."""
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
    parser.add_argument("--k", type=float, nargs="+", default=[25.0], help="of topk, batchtopk and matryoshka")
    parser.add_argument("--coefficient", type=float, nargs="+", help="L1 of standard and gated, L0 of jumprelu")
    parser.add_argument("--widths", type=int, nargs="+", help="of matryoshka; an eighth, a quarter, half and all")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--untimed", type=int, default=20, help="steps before the clock starts")
    parser.add_argument("--lr", type=float, nargs="+", default=[3e-4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sae", type=_assignment, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--trainer", type=_assignment, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; as many as it takes by itself")
    parser.add_argument("--compile", action="store_true", help="torch.compile of the forward pass")
    parser.add_argument("--several", action="store_true", help="and all models in one MultiSAETrainer")
    parser.add_argument("--toy", action="store_true", help="write toy data to the folder first")
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
    axes = {
        "k": arguments.k,
        "coefficient": arguments.coefficient or [None],
        "lr": arguments.lr,
        "seed": arguments.seeds,
    }
    grid = [dict(zip(axes, place, strict=True)) for place in itertools.product(*axes.values())]
    models = one_after_another(arguments, examples, grid)
    seconds = sum(line["seconds"] for line in models)
    samples = sum(line["steps_timed"] for line in models) * arguments.batch
    result: dict[str, Any] = {
        "command": " ".join(["sae_lens_peer.py", *sys.argv[1:]]),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("sae-lens", "torch", "numpy")},
        "machine": {
            "platform": DEVICE,
            "device": torch.cuda.get_device_name() if DEVICE == "cuda" else platform.machine(),
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
        },
        "architecture": arguments.architecture,
        "examples": list(examples.shape),
        "models": models,
        "one_after_another": {"seconds": seconds, "model_samples_per_second": samples / seconds},
    }
    if arguments.several:
        result["together"] = together(arguments, examples, grid)
    for way in ("one_after_another", "together"):
        if way in result:
            print(f"{way}: {result[way]['model_samples_per_second']:,.0f} model-samples per second")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
