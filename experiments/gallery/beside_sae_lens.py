"""The gallery's sparse autoencoders beside SAELens's own trainer: the same vectors, model, batch and steps.

Both learn from the same arrays in memory, timed in turn on the same machine, without what compiles and the first steps.
SAELens runs in an environment of its own (`sae_lens_peer.py`), which `--peer` names.

    uv run experiments/gallery/beside_sae_lens.py --peer ENVIRONMENT/bin/python
"""

from __future__ import annotations

if __name__ == "__main__":  # first of all: from here on Ctrl-C and SIGTERM end it with one line
    from sys import path

    from aejax import signals

    signals.install()
    path.insert(0, __file__.rpartition("/gallery/")[0])  # where the package `gallery` is

import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
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
PEERS = {"l1": "standard", "top_k": "topk", "batch_top_k": "batchtopk", "jump_relu": "jumprelu", "gated": "gated"}
PEERS |= {"matryoshka": "matryoshka"}
"""our models → SAELens's"""
_SPARSITY = {"l1": "l1", "jump_relu": "active", "gated": "gates"}
"""coefficients that set how many units are active; k for the other models"""
_WIDTHS = (16, 64)
"""of the inner groups of Matryoshka, in both"""
_RECOVERY = ("l0", "f1", "cosine", "matched_cosine", "unexplained", "dead")
_THEIRS = {"cosine": "mean_max_cosine", "matched_cosine": "mcc", "unexplained": "fvu"}


@dataclass(frozen=True)
class Arguments:
    peer: Path = Path("python")
    """an interpreter that has SAELens"""
    models: tuple[str, ...] = ("batch_top_k", "top_k")
    """which of the gallery's, with commas or spaces between them"""
    rounds: int = 3
    """how often each program is timed, in turn with the others"""
    epochs: int = 16
    """epochs of 256 steps that are trained before the recovery of the truth is measured; 0 leaves it out"""
    seeds: int = 5
    """models of which it is measured"""
    learning_rate: float = 1e-3
    """of both"""
    workdir: Path = Path("runs", "beside_sae_lens")
    """folder for beside_sae_lens.json and the arrays"""


def main(given: list[str]) -> None:
    given = command_line.without_commas(Arguments, given)
    arguments = command_line.parse(Arguments, given, Arguments(), program="beside_sae_lens.py")
    command_line.require_some(arguments, "models", "rounds", "seeds")
    require(set(arguments.models) <= set(PEERS), "models", arguments.models, f"some of {', '.join(PEERS)}")
    if not (arguments.peer.is_file() and os.access(arguments.peer, os.X_OK)):
        raise InputError(f"there is no interpreter {arguments.peer} that can be run; --peer names one that has SAELens")
    command_line.require_workdir(arguments.workdir)

    from aejax.training.identity import describe_machine

    dataset, truth = _arrays(arguments.workdir)
    result: dict[str, Any] = {"command": shlex.join(["experiments/gallery/beside_sae_lens.py", *given])}
    result |= {**describe_machine(), "models": {}}
    for name in arguments.models:
        config = aejax.load_config(_FOLDER / f"{name}.py").replace(
            {"coefficients.learning_rate": arguments.learning_rate, "training.epochs": 2}
        )
        if name == "matryoshka":
            config = config.replace({"model.options.widths": list(_WIDTHS)})
        found = result["models"][name] = {"speed": _speeds(name, config, arguments, dataset)}
        print(name, json.dumps(found["speed"]["median"]), flush=True)
        files.write_json(arguments.workdir / "beside_sae_lens.json", result)
        if arguments.epochs:
            found["recovery"] = _recovery(name, config, arguments, dataset, truth)
            print(name, json.dumps(found["recovery"]["mean"]), flush=True)
            files.write_json(arguments.workdir / "beside_sae_lens.json", result)
    print(arguments.workdir / "beside_sae_lens.json")


def _arrays(workdir: Path) -> tuple[aejax.Dataset, dict[str, np.ndarray]]:
    """The small truth as arrays in files, which both programs read."""
    made = aejax.load_dataset("sparse_features_512")
    arrays = {
        "train": np.asarray(made.train),
        "test": np.asarray(made.test),
        "test_activations": made.truth.activations(),
        "directions": made.truth.directions,
    }
    for name, array in arrays.items():
        np.save(workdir / f"{name}.npy", array)
    return aejax.Dataset("sparse_features_512", arrays["train"], arrays["test"]), arrays


def _grid(name: str) -> dict[str, list[float]]:
    """Sixteen models: four seeds, two learning rates, two values of k or of the penalty."""
    field = f"coefficients.{_SPARSITY.get(name, 'k')}"
    values = [8.0, 12.0] if name not in _SPARSITY else [0.5, 1.0]
    return {field: values, "coefficients.learning_rate": [3e-4, 1e-3], "training.seed": [0, 1, 2, 3]}


def _speeds(name: str, config: aejax.Config, arguments: Arguments, dataset: aejax.Dataset) -> dict[str, Any]:
    """Vectors per second times models, of each way to train, and the ratios of ours to the best of theirs."""
    steps, axes = len(dataset.train) // config.training.batch_size, _grid(name)
    ways = {"all threads": None, "one thread": 1} if _platform() == "cpu" else {"on a GPU": None}
    rows: list[dict[str, float]] = []
    for _ in range(arguments.rounds):
        run = aejax.fit(config, dataset=dataset, progress=False)
        row = {"aejax": run.history[-1]["images_per_second"]}
        for where, threads in ways.items():
            single = _peer(name, config, arguments, steps, threads=threads)
            row[f"sae_lens, {where}"] = _rate(single, "one_after_another")
        row["aejax, 16 as one sweep"] = _sweep(config, axes, arguments)
        for where, threads in ways.items():
            sixteen = _peer(name, config, arguments, steps // 4, axes, threads)
            row[f"sae_lens, 16 one after another, {where}"] = _rate(sixteen, "one_after_another")
            row[f"sae_lens, 16 in its trainer of several, {where}"] = _rate(sixteen, "together")
        rows.append(row)
    middle = {way: median(row[way] for row in rows) for way in rows[0]}
    ratios = {}
    for ours, of in (("aejax", "sae_lens, "), ("aejax, 16 as one sweep", "sae_lens, 16")):
        theirs = [way for way in middle if way.startswith(of) and (of != "sae_lens, " or "16" not in way)]
        ratios[ours] = median(row[ours] / max(row[way] for way in theirs) for row in rows)
    return {"median": middle, "ours / best of theirs": ratios, "rounds": rows}


def _sweep(config: aejax.Config, axes: dict[str, list[float]], arguments: Arguments) -> float:
    """As a user starts it: in a process of its own, where each core is a device that has some of the models."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(_FOLDER.parent / "sweep.py"), str(config.model.kind.rpartition(":")[0])]
        command += ["--dataset", str(arguments.workdir), "--workdir", folder, "--figures"]  # none of them
        command += ["--training.epochs", str(config.training.epochs)]
        for name, value in config.model.options.items():
            command += [f"--model.options.{name}", *map(str, value)]
        for field, values in axes.items():
            command += [f"--sweep.{field}", *map(str, values)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"the sweep fails: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
        metrics = Path(folder, "programs", "0", "metrics.jsonl").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in metrics.splitlines()]
    members = math.prod(map(len, axes.values()))
    return members * lines[-1]["images_per_second"]


def _rate(found: dict[str, Any], way: str) -> float:
    return found[way]["model_samples_per_second"]


def _recovery(
    name: str, config: aejax.Config, arguments: Arguments, dataset: aejax.Dataset, truth: dict[str, np.ndarray]
) -> dict[str, Any]:
    """What both find of the truth, of as many seeds, after as many steps."""
    from gallery import recovery

    config = config.replace({"training.epochs": arguments.epochs})
    steps = arguments.epochs * (len(dataset.train) // config.training.batch_size)
    members = aejax.sweep(config, {"training.seed": range(arguments.seeds)}, dataset=dataset, progress=False).runs
    ours = []
    for run in members.values():
        codes = run.encode(dataset.test)
        against = recovery.against(recovery.directions(run), codes, truth["directions"], truth["test_activations"])
        ours.append(recovery.of_run(run, dataset) | against)
    axes = {"training.seed": list(range(arguments.seeds))}
    theirs = [
        {figure: model[_THEIRS.get(figure, figure)] for figure in _RECOVERY}
        for model in _peer(name, config, arguments, steps, axes)["models"]
    ]
    each = {"aejax": ours, "sae_lens": theirs}
    means = {
        program: {
            figure: [mean(found[figure] for found in models), stdev(found[figure] for found in models)]
            for figure in _RECOVERY
        }
        for program, models in each.items()
        if len(models) > 1
    }
    return {"steps": steps, "seeds": arguments.seeds, "mean": means, **each}


def _peer(
    name: str, config: aejax.Config, arguments: Arguments, steps: int,
    axes: dict[str, list[float]] | None = None, threads: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What SAELens's trainer reports of the same model, or of several."""
    axes, values, field = axes or {}, complete(config).coefficients, _SPARSITY.get(name, "k")
    weight = axes.get(f"coefficients.{field}", [values[field]])
    rates = axes.get("coefficients.learning_rate", [values["learning_rate"]])
    json_file = arguments.workdir / "peer.json"
    command = [str(arguments.peer), str(_FOLDER / "sae_lens_peer.py"), str(arguments.workdir)]
    command += ["--architecture", PEERS[name], "--latents", str(config.model.code_size), "--json", str(json_file)]
    command += ["--k" if field == "k" else "--coefficient", *map(str, weight), "--lr", *map(str, rates)]
    command += ["--seeds", *map(str, axes.get("training.seed", [0])), "--steps", str(steps)]
    command += ["--batch", str(config.training.batch_size)]
    command += ["--widths", *map(str, (*_WIDTHS, config.model.code_size))] if name == "matryoshka" else []
    command += ["--threads", str(threads)] if threads else []
    command += ["--several"] if len(rates) > 1 else []
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise InputError(f"SAELens's trainer fails: {reason}")
    found = json.loads(json_file.read_text(encoding="utf-8"))
    if (theirs := found["machine"]["platform"]) != _platform():
        raise InputError(f"SAELens runs on {theirs}, aejax on {_platform()}; give --peer PyTorch for the same device")
    return found


def _platform() -> str:
    """Of JAX's devices, as PyTorch names it."""
    import jax

    return {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())


if __name__ == "__main__":
    command_line.run(main)
