"""Train one autoencoder on the workers of a Ray cluster: ray_train.py CONFIG --workdir DIR [--FIELD VALUE ...]

Ray's JaxTrainer starts the processes and joins them by `jax.distributed`. If a worker dies, it starts all workers
again, and the run resumes from its last checkpoint. Needs the package `ray[train]`; the workdir must be on a disk that
all workers share, or in a bucket.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

sys.path.append(str(Path(__file__).resolve().parents[1]))

import aejax
import command_line
from aejax.config.checks import refusing
from aejax.config.files import address


@dataclass(frozen=True)
class Arguments(command_line.ConfigArguments):
    workdir: Path | None = None
    """folder for records and checkpoints, which all workers share"""
    workers: int = 2
    """number of processes"""
    device: Literal["cpu", "gpu", "tpu"] = "gpu"
    """what each process computes on"""
    topology: str | None = None
    """topology of the TPU slice, such as 4x4"""
    accelerator: str | None = None
    """Ray's name of the TPU, such as TPU-V5E"""
    restarts: int = 20
    """how often Ray starts the workers again"""


def train(given: dict[str, Any]) -> None:
    """Train or resume the run in one of the workers."""
    run = aejax.fit(aejax.Config.from_dict(given["config"]), given["workdir"])
    print(f"epochs {run.summary['epochs']}, test loss {run.summary['test']['total']:.4f}", flush=True)


def main(given: list[str]) -> None:
    example = "configs/mnist/deep.py --workers 4"
    arguments, config, default = command_line.parse_configured(Arguments, given, example)
    workdir = arguments.workdir or default
    place = address(workdir) or str(workdir.absolute())
    command_line.require_some(arguments, "workers")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with refusing("Ray cannot be imported", "; install it: uv run --with 'ray[train]' ...", only=ImportError):
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.v2.jax import JaxConfig, JaxTrainer

    tpu, gpu = arguments.device == "tpu", arguments.device == "gpu"
    tpus = {"topology": arguments.topology, "accelerator_type": arguments.accelerator} if tpu else {}
    JaxTrainer(
        train,
        train_loop_config={"config": config.to_dict(), "workdir": place},
        # On CPUs, JaxTrainer joins the workers only if it is told that they have GPUs.
        jax_config=JaxConfig(use_tpu=tpu, use_gpu=not tpu),
        scaling_config=ScalingConfig(num_workers=arguments.workers, use_gpu=gpu, use_tpu=tpu, **tpus),
        run_config=RunConfig(
            name=f"{os.path.basename(place)}-ray",
            storage_path=os.path.dirname(place),
            failure_config=FailureConfig(max_failures=arguments.restarts),
            worker_runtime_env={} if gpu or tpu else {"env_vars": {"JAX_PLATFORMS": "cpu"}},
        ),
    ).fit()


if __name__ == "__main__":
    command_line.run(main)
