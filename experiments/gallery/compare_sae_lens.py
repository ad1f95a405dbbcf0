"""Comparison of the gallery's sparse autoencoders with SAELens's trainer: the same vectors, model, batch and steps.

Both train on the same arrays in memory, in turn on one machine. Compilation and the first steps are not timed. SAELens
runs in an environment of its own (`sae_lens_peer.py`), which `--peer` names.

    uv run experiments/gallery/compare_sae_lens.py --peer ENVIRONMENT/bin/python
"""

from __future__ import annotations

if __name__ == "__main__":
    from sys import path

    path.insert(0, __file__.rpartition("/gallery/")[0])  # the folder of the package `gallery`

import itertools
import json
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

import aejax
import command_line
from aejax.config import InputError, complete, files
from aejax.config.checks import require

_FOLDER = Path(__file__).parent
PEERS = {
    "l1": ("standard", "l1_coefficient", "l1"),
    "top_k": ("topk", "k", "k"),
    "batch_top_k": ("batchtopk", "k", "k"),
    "jump_relu": ("jumprelu", "l0_coefficient", "active"),
    "gated": ("gated", "l1_coefficient", "gates"),
    "matryoshka": ("matryoshka_batchtopk", "k", "k"),
}
"""model of the gallery → architecture of SAELens, and its field and our coefficient that set the active units"""
_WIDTHS = (16, 64)
"""widths of the inner groups of Matryoshka, in both programs"""


@dataclass(frozen=True)
class Arguments:
    peer: Path = Path("python")
    """an interpreter with SAELens"""
    models: tuple[str, ...] = ("batch_top_k", "top_k")
    """names of models of the gallery, separated by commas or spaces"""
    rounds: int = 3
    """number of timings of each program, in turn with the others"""
    seeds: int = 5
    """number of models for the comparison of features"""
    workdir: Path = Path("runs", "compare_sae_lens")
    """folder for compare_sae_lens.json and the arrays"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(Arguments, given, Arguments())
    command_line.require_some(arguments, "models", "rounds", "seeds")
    require(set(arguments.models) <= set(PEERS), "models", arguments.models, f"some of {', '.join(PEERS)}")
    if not (arguments.peer.is_file() and os.access(arguments.peer, os.X_OK)):
        raise InputError(f"there is no interpreter {arguments.peer}; give --peer the path of a Python with SAELens")
    command_line.require_workdir(arguments.workdir)
    command_line.spread_over_cores(16)

    from aejax.training.identity import describe_machine  # imports JAX: after all checks of the arguments
    from gallery import recovery

    made, path = aejax.load_dataset("sparse_features_512"), arguments.workdir / "compare_sae_lens.json"
    arrays = {"train": np.asarray(made.train), "test": np.asarray(made.test)}
    dataset = aejax.Dataset(made.name, **arrays)
    arrays |= {"test_activations": made.truth.activations(), "directions": made.truth.directions}
    for name, array in arrays.items():  # both programs train on them
        np.save(arguments.workdir / f"{name}.npy", array)
    result: dict[str, Any] = {"command": shlex.join(["experiments/gallery/compare_sae_lens.py", *given])}
    result |= {**describe_machine(), "models": {}}
    for name in arguments.models:
        config, found = aejax.load_config(_FOLDER / f"{name}.py"), result["models"].setdefault(name, {})
        if name == "matryoshka":
            config = config.replace({"model.options.widths": list(_WIDTHS)})
        for what, measured in {"speed": _speeds, "recovery": _recovery}.items():
            print(f"{name}: {what}", flush=True)
            found[what] = measured(name, config, arguments, dataset)
            files.write_json(path, result)
    print(f"{recovery.comparison(result)}\n\n{path}")


def _speeds(name: str, config: aejax.Config, arguments: Arguments, dataset: aejax.Dataset) -> dict[str, Any]:
    """Time each way to train, in vectors per second times models, and compare ours with SAELens's fastest way.

    Sixteen models have four seeds, two learning rates, and two values of the coefficient that makes codes sparse. On a
    CPU, one model has one JAX device, and each core is a device for some of sixteen models.
    """
    from gallery import recovery

    config, sparsity = config.replace({"training.epochs": 2, "data.validation": 0}), PEERS[name][2]
    steps = len(dataset.train) // config.training.batch_size
    axes = {f"coefficients.{sparsity}": [8.0, 12.0] if sparsity == "k" else [0.5, 1.0]}
    axes |= {"coefficients.learning_rate": [3e-4, 1e-3], "training.seed": [0, 1, 2, 3]}
    ways = {"all threads": None, "one thread": 1} if _platform() == "cpu" else {"on a GPU": None}
    alone, rows = config.replace({"devices.count": 1}), []
    for _ in range(arguments.rounds):
        row = {"aejax": aejax.fit(alone, dataset=dataset, progress=False).history[-1]["images_per_second"]}
        members = aejax.sweep(config, axes, dataset=dataset, progress=False).runs.values()
        row["aejax, 16 as one sweep"] = sum(run.history[-1]["images_per_second"] for run in members)
        for where, threads in ways.items():
            single = _peer(name, config, arguments, steps, threads=threads)
            several = _peer(name, config, arguments, steps // 4, axes, threads)
            row[f"sae_lens, {where}"] = single["one_after_another"]["vectors_per_second"]
            row[f"sae_lens, 16 one after another, {where}"] = several["one_after_another"]["vectors_per_second"]
            row[f"sae_lens, 16 in its trainer of several, {where}"] = several["together"]["vectors_per_second"]
        rows.append(row)
    middle = {way: median(row[way] for row in rows) for way in rows[0]}
    ours = [way for way in middle if way.startswith("aejax")]
    ratios = {way: median(row[way] / recovery.fastest(row, way) for row in rows) for way in ours}
    return {"versions": single["versions"], "median": middle, "aejax / best of SAELens": ratios, "rounds": rows}


def _recovery(name: str, config: aejax.Config, arguments: Arguments, dataset: aejax.Dataset) -> dict[str, Any]:
    """Compare the features that both programs learn with the true ones, after the same steps from several seeds."""
    from gallery import recovery

    steps = config.training.epochs * (len(dataset.train) // config.training.batch_size)
    axes, made = {"training.seed": list(range(arguments.seeds))}, aejax.load_dataset(dataset.name)
    runs = aejax.sweep(config, axes, dataset=dataset, progress=False).runs.values()
    found = {"aejax": [recovery.of_run(run, made) for run in runs]}
    found["sae_lens"] = _peer(name, config, arguments, steps, axes)["one_after_another"]["models"]
    means: dict[str, dict[str, list[float | None]]] = {program: {} for program in found}
    for program, metric in itertools.product(found, recovery.SHOWN):
        values = [model[metric] for model in found[program]]
        means[program][metric] = [mean(values), stdev(values) if len(values) > 1 else None]
    return {"steps": steps, "seeds": arguments.seeds, "mean": means, **found}


def _peer(
    name: str,
    config: aejax.Config,
    arguments: Arguments,
    steps: int,
    axes: Mapping[str, Sequence[float]] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """Run SAELens's trainer on the same model, or on a grid of models, and return its report.

    Raises:
        InputError: the trainer fails; the message is its last line. Or PyTorch runs on another platform than JAX.
    """
    architecture, field, sparsity = PEERS[name]
    values = {name: [value] for name, value in complete(config).coefficients.items()} | {"seed": [0]}
    values |= {path.rpartition(".")[2]: swept for path, swept in (axes or {}).items()}
    fields = {"d_sae": config.model.code_size}
    if name == "matryoshka":
        fields["matryoshka_widths"] = [*_WIDTHS, config.model.code_size]
    task = {"architecture": architecture, "sparsity": field, "fields": fields, "threads": threads}
    task |= {"steps": steps, "batch": config.training.batch_size, "several": len(values["learning_rate"]) > 1}
    task["axes"] = {"sparsity": values[sparsity], "lr": values["learning_rate"], "seed": values["seed"]}
    files.write_json(arguments.workdir / "task.json", task)
    command = [str(arguments.peer.absolute()), str(_FOLDER / "sae_lens_peer.py"), str(arguments.workdir)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"SAELens's trainer fails: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if (theirs := found["platform"]) != _platform():
        raise InputError(
            f"SAELens runs on {theirs}, and aejax on {_platform()}; give --peer a PyTorch for {_platform()}"
        )
    return found


def _platform() -> str:
    """Return the name of JAX's platform in PyTorch."""
    import jax

    return {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())


if __name__ == "__main__":
    command_line.run(main)
