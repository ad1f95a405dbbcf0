"""Comparison of the gallery's sparse autoencoders with SAELens's trainer: the same vectors, model, batch and steps.

Both train on the same arrays in memory, in turn on one machine. SAELens runs in an environment of its own
(`sae_lens_peer.py`), which `--peer` names. The output is NAME.json for each model, or NAME_speed.json with `--speed`.

    uv run experiments/gallery/compare_sae_lens.py --peer ENVIRONMENT/bin/python            # learned features
    uv run experiments/gallery/compare_sae_lens.py --peer ENVIRONMENT/bin/python --speed    # vectors per second
"""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np

import aejax
import command_line
from aejax.config import InputError, complete, files
from aejax.config.checks import require
from aejax.training.identity import describe_machine
from gallery import recovery

_FOLDER = Path(__file__).parent
PEERS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "l1": ("standard", "l1_coefficient", "l1", {}),
    "top_k": ("topk", "k", "k", {}),
    "batch_top_k": ("batchtopk", "k", "k", {}),
    "jump_relu": ("jumprelu", "l0_coefficient", "active", {}),
    "gated": ("gated", "l1_coefficient", "gates", {}),
    "matryoshka": ("matryoshka_batchtopk", "k", "k", {"matryoshka_widths": [16, 64, 256]}),
}
"""model of the gallery → architecture of SAELens, its field and our coefficient that set the active units, and further
fields of SAELens"""
PENALTIES = {"jump_relu": 3.5, "gated": 4.35}
"""penalties with which SAELens has as many active units on validation vectors as ours, where they differ"""


@dataclass(frozen=True)
class Arguments:
    peer: Path = Path("python")
    """an interpreter with SAELens"""
    models: tuple[str, ...] = tuple(PEERS)
    """names of models of the gallery, separated by commas or spaces"""
    speed: bool = False
    """measure the speed, instead of the learned features"""
    rounds: int = 3
    """number of timings of each program, in turn with the others"""
    seeds: int = 5
    """number of models for the comparison of features"""
    workdir: Path = Path("runs", "compare_sae_lens")
    """folder for the results and the arrays"""


def main(given: list[str]) -> None:
    arguments = command_line.parse(given, Arguments(), ["models", "rounds", "seeds"])
    require(set(arguments.models) <= set(PEERS), "models", arguments.models, f"some of {', '.join(PEERS)}")
    if not (arguments.peer.is_file() and os.access(arguments.peer, os.X_OK)):
        raise InputError(f"there is no interpreter {arguments.peer}; give --peer the path of a Python with SAELens")
    command_line.require_workdir(arguments.workdir)
    command_line.spread_over_cores(16)

    made = aejax.load_dataset("sparse_features_512")
    arrays = {"train": np.asarray(made.train), "test": np.asarray(made.test)}
    dataset = aejax.Dataset(made.name, **arrays)
    arrays |= {"test_activations": made.truth.activations(), "directions": made.truth.directions}
    for name, array in arrays.items():  # both programs train on them
        np.save(arguments.workdir / f"{name}.npy", array)
    what, measured = ("speed", _speeds) if arguments.speed else ("features", _features)
    results = []
    for name in arguments.models:
        print(f"{name}: {what}", flush=True)
        result = {"command": shlex.join(["experiments/gallery/compare_sae_lens.py", *given]), **describe_machine()}
        result |= {"model": name, "load": os.getloadavg()[0]}
        result[what] = measured(name, aejax.load_config(_FOLDER / f"{name}.py"), arguments, dataset)
        files.write_json(arguments.workdir / f"{name}{'_speed' * arguments.speed}.json", result)
        results.append(result)
    print(f"{(recovery.speeds if arguments.speed else recovery.features)(results)}\n\n{arguments.workdir}")


def _speeds(name: str, config: aejax.Config, arguments: Arguments, dataset: aejax.Dataset) -> dict[str, Any]:
    """Time each way to train, in vectors per second times models, and compare ours with SAELens's fastest way.

    Compilation and the first steps are not timed. Sixteen models have four seeds, two learning rates, and two values of
    the coefficient that makes codes sparse. On a CPU, one model has one JAX device, and each core is a device for some
    of sixteen models. SAELens trains models one after another, in its trainer of several, or in a process per core.
    """
    changes = {"training.epochs": 2, "training.batch_size": 1024, "data.validation": 0}
    config, sparsity = config.replace(changes), PEERS[name][2]
    few = aejax.Dataset(dataset.name, dataset.train[: len(dataset.train) // 4], dataset.test)
    axes = {f"coefficients.{sparsity}": [8.0, 12.0] if sparsity == "k" else [0.5, 1.0]}
    axes |= {"coefficients.learning_rate": [3e-4, 1e-3], "training.seed": [0, 1, 2, 3]}
    halves = [axes | {"training.seed": seeds} for seeds in ([0, 1], [2, 3])]
    alone, rows = config.replace({"devices.count": 1}), []
    for _ in range(arguments.rounds):
        row = {"aejax": aejax.fit(alone, dataset=dataset, progress=False).history[-1]["images_per_second"]}
        members = aejax.sweep(config, axes, dataset=few, progress=False).runs.values()
        row["aejax, 16 as one sweep"] = sum(run.history[-1]["images_per_second"] for run in members)
        several = _peer(name, config, arguments, 36, axes)
        row["sae_lens"] = row["sae_lens, 16 one after another"] = several["one_after_another"]["vectors_per_second"]
        row["sae_lens, 16 in its trainer of several"] = several["together"]["vectors_per_second"]
        if _platform() == "cpu":
            with ThreadPoolExecutor() as pool:
                parts = list(pool.map(lambda half: _peer(name, config, arguments, 36, half, threads=1), halves))
            rates = [part["one_after_another"]["vectors_per_second"] for part in parts]
            row["sae_lens, 16 in two processes of one thread"] = sum(rates)
        rows.append(row)
    middle = {way: median(row[way] for row in rows) for way in rows[0]}
    ours = [way for way in middle if way.startswith("aejax")]
    ratios = {way: median(row[way] / recovery.fastest(row, way) for row in rows) for way in ours}
    return {"versions": several["versions"], "median": middle, "aejax / best of SAELens": ratios, "rounds": rows}


def _features(name: str, config: aejax.Config, arguments: Arguments, dataset: aejax.Dataset) -> dict[str, Any]:
    """Compare the features that both programs learn with the true ones, after the same steps from several seeds.

    The learning rate, the batch, the steps and `dead_after` are the same; SAELens has the penalty of `PENALTIES`.
    """
    config, sparsity, made = complete(config), PEERS[name][2], aejax.load_dataset(dataset.name)
    axes, batch = {"training.seed": list(range(arguments.seeds))}, config.training.batch_size
    steps, dead_after = config.training.epochs * (len(dataset.train) // batch), config.model.options["dead_after"]
    runs = aejax.sweep(config, axes, dataset=dataset, progress=False).runs.values()
    of_peer = config.replace({f"coefficients.{sparsity}": PENALTIES.get(name, config.coefficients[sparsity])})
    report = _peer(name, of_peer, arguments, steps, axes, threads=1)
    models = {"aejax": [recovery.of_run(run, made) for run in runs], "sae_lens": report["one_after_another"]["models"]}
    programs: dict[str, dict[str, Any]] = {}
    for program, given in {"aejax": config, "sae_lens": of_peer}.items():
        values = {metric: [model[metric] for model in models[program]] for metric in recovery.SHOWN}
        means = {metric: [mean(each), stdev(each) if len(each) > 1 else None] for metric, each in values.items()}
        programs[program] = {"sparsity": given.coefficients[sparsity], "mean": means, "models": models[program]}
    settings = {"learning_rate": config.coefficients["learning_rate"], "steps": steps, "batch": batch}
    return settings | {"dead_after": dead_after, "versions": report["versions"], "programs": programs}


def _peer(
    name: str,
    config: aejax.Config,
    arguments: Arguments,
    steps: int,
    axes: Mapping[str, Sequence[float]],
    threads: int | None = None,
) -> dict[str, Any]:
    """Run SAELens's trainer on a grid of the same model, and return its report.

    Raises:
        InputError: the trainer fails; the message is its last line. Or PyTorch runs on another platform than JAX.
    """
    (architecture, field, sparsity, fields), settings = PEERS[name], complete(config)
    values = {name: [value] for name, value in settings.coefficients.items()} | {"seed": [0]}
    values |= {path.rpartition(".")[2]: swept for path, swept in axes.items()}
    task = {"architecture": architecture, "sparsity": field, "fields": {"d_sae": config.model.code_size} | fields}
    task |= {"steps": steps, "batch": config.training.batch_size, "threads": threads}
    task |= {"dead_after": settings.model.options["dead_after"]}
    task["several"] = threads is None and len(values["learning_rate"]) > 1
    task["axes"] = {"sparsity": values[sparsity], "lr": values["learning_rate"], "seed": values["seed"]}
    command = [str(arguments.peer.absolute()), str(_FOLDER / "sae_lens_peer.py"), str(arguments.workdir)]
    done = subprocess.run([*command, json.dumps(task)], capture_output=True, text=True)
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
    return {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())


if __name__ == "__main__":
    command_line.run(main)
