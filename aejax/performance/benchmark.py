"""Throughput of the compiled program beside the device's floors and what a user would pick instead, in one run.

What is compared is timed in turn, epoch by epoch, and compared pair by pair: on a machine whose speed varies, the
ratios mean more than the rates.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from aejax.config import Config, InputError
from aejax.data import Dataset, as_dataset
from aejax.performance import roofline
from aejax.performance.peers import comparable, started
from aejax.sweeps import Members
from aejax.training import Driver, Single, build_programs, build_steps, initializer, steps_per_epoch

_MANY = 8
"""models of a sweep from which on a timed stretch is a part of an epoch, so that it takes no longer than for so many"""


class Contender:
    """A compiled program of ours that is timed a stretch at a time, an epoch unless it trains many models.

    Attributes:
        config, members: what is trained; the members of a sweep differ in their seeds.
        compile_seconds: of building it, caches as they are.
        steps: of a stretch.
    """

    def __init__(self, config: Config, dataset: Dataset, members: int = 1) -> None:
        self.config, self.members = config, members
        in_epoch = steps_per_epoch(config.training, len(dataset.train))
        self.steps = max(1, in_epoch * _MANY // max(_MANY, members))
        seeds = config.training.seed + np.arange(members)
        changed = {"data.order_seed": config.training.seed}
        self._models = (
            Single()
            if members == 1
            else Members({f"seed {seed}": config.replace(changed | {"training.seed": int(seed)}) for seed in seeds})
        )
        driver, values = self._models.driver(config), self._models.values(config)
        steps = build_steps(config, dataset.image_shape, in_epoch, driver.batch_axis, len(dataset.train))
        self._state = initializer(driver, steps, steps.own)(values[1])
        begin = time.perf_counter()
        self._programs = build_programs(steps, config, driver, self._state, dataset, values)
        self._programs.flops(self.steps)  # compiles training
        self.compile_seconds = time.perf_counter() - begin
        self.devices = len(driver.devices)
        self._step, self._in_epoch = 0, in_epoch

    def seconds(self) -> float:
        """Train for a stretch."""
        rest = self._in_epoch - self._step % self._in_epoch
        if rest < self.steps:  # too short: on to the next epoch
            self._step += rest
            self._state = self._state._replace(step=jax.device_put(np.int32(self._step), self._state.step.sharding))
        self._step += self.steps
        begin = time.perf_counter()
        self._state, terms = self._programs.train(self._state, self.steps)
        jax.block_until_ready((self._state, terms))
        return time.perf_counter() - begin

    @property
    def images(self) -> int:
        """Model-images of a stretch."""
        return self.steps * self.config.training.batch_size * self.members


def measure(
    configs: Mapping[str, Config],
    dataset: Dataset,
    *,
    batches: Sequence[int],
    dtypes: Sequence[str] = ("float32",),
    drivers: Sequence[str] = ("jit",),
    members: Sequence[int] = (),
    placements: Sequence[str] = ("device",),
    repeats: int = 5,
    peers: Mapping[str, Mapping[str, list[str]]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Time each model at each batch size; yield a row for each.

    Args:
        drivers, members, placements: other drivers, numbers of models trained as one program, and places of the
            images to time in turn with the first driver, one model, and the first place.
        peers: kind of model (`peers.comparable`) → name → command of each program to be timed in turn with it.

    Yields:
        model, batch, dtype; compile_seconds, steps (of a stretch), ms_per_step, images_per_second and its std over the
        repeats, per device; flop_per_image (by hand, or by XLA where the model is not dense), flop_per_image_xla,
        bytes_per_image, memory_bytes; flops_per_second, share_of_matmul, share_of_bandwidth; and in `beside`, by name,
        what was timed in turn with it: images_per_second and ratio, the median of the pairs of ours to a peer, or of
        another contender to this row.
    """
    bandwidth = roofline.memory_bandwidth()
    for model, given in configs.items():
        for batch in batches:
            for dtype in dtypes:
                config = given.replace(
                    {
                        "training.batch_size": batch,
                        "model.dtype": dtype,
                        "devices.parallel": drivers[0],
                        "data.placement": placements[0],
                        "devices.count": _devices(),
                    }
                )
                yield {
                    "model": model,
                    "batch": batch,
                    "dtype": dtype,
                    **_row(config, dataset, drivers, members, placements, repeats, peers or {}, bandwidth),
                }


def _row(
    config: Config,
    dataset: Dataset,
    drivers: Sequence[str],
    members: Sequence[int],
    placements: Sequence[str],
    repeats: int,
    peers: Mapping[str, Mapping[str, list[str]]],
    bandwidth: float,
) -> dict[str, Any]:
    cost, by_hand = (
        roofline.step_cost(config, dataset.image_shape),
        roofline.flops_per_image(config, dataset.image_shape),
    )
    first = Contender(config, dataset)
    ours = {driver: Contender(config.replace({"devices.parallel": driver}), dataset) for driver in drivers[1:]}
    spread = config.replace({"devices.count": None})
    ours |= {f"{count} models": Contender(spread, dataset, count) for count in members if count > 1}
    ours |= {place: Contender(config.replace({"data.placement": place}), dataset) for place in placements[1:]}
    if config.corruption.kind != "none":
        clean = {"corruption.kind": "none", "coefficients.noise": 0.0}
        ours["without noise"] = Contender(config.replace(clean), dataset)
    with started(peers.get(comparable(config), {}), config, dataset.train) as running:
        epoch = len(dataset.train) // config.training.batch_size * config.training.batch_size
        timed: dict[str, Callable[[], float]] = {
            "matmul": lambda: roofline.matmul_rate(config.model.dtype),
            "": lambda: first.images / first.seconds(),
        }
        timed |= {name: lambda each=each: each.images / each.seconds() for name, each in ours.items()}
        timed |= {name: lambda peer=peer: epoch / peer.seconds() for name, peer in running.items()}
        rates = in_turn(timed, repeats)
        described = {name: peer.description for name, peer in running.items()}
    beside, own, matmul = {}, rates.pop(""), rates.pop("matmul")
    for name, each in rates.items():
        # Ours over a peer's; of two contenders of ours, the other over this one.
        pairs = zip(own, each, strict=True)
        ratios = [mine / other if name in described else other / mine for mine, other in pairs]
        beside[name] = {"images_per_second": statistics.mean(each), "ratio": statistics.median(ratios)}
        beside[name] |= {"peer": described[name]} if name in described else {}
    flop_per_image = by_hand or cost.flops
    per_device = [rate / first.devices for rate in own]
    mean = statistics.mean(per_device)
    return {
        "compile_seconds": first.compile_seconds,
        "steps": first.steps,
        "devices": first.devices,
        "ms_per_step": 1000 * config.training.batch_size / statistics.mean(own),
        "images_per_second": mean,
        "images_per_second_std": statistics.stdev(per_device) if repeats > 1 else 0.0,
        "flop_per_image": flop_per_image,
        "flop_per_image_xla": cost.flops,
        "bytes_per_image": cost.bytes,
        "memory_bytes": cost.memory,
        "flops_per_second": mean * flop_per_image,
        "share_of_matmul": statistics.median(
            rate * flop_per_image / most for rate, most in zip(per_device, matmul, strict=True)
        ),
        "share_of_bandwidth": mean * cost.bytes / bandwidth,
        "matmul_rate": statistics.mean(matmul),
        "bandwidth": bandwidth,
        "beside": beside,
    }


def _devices() -> int | None:
    """Of one model: all, but the cores of a processor, which are several only to a sweep, are one."""
    return 1 if jax.devices()[0].platform == "cpu" else None


def in_turn(timed: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Each contender's rates, one after another in every round; the first round warms up and does not count."""
    rounds = [{name: rate() for name, rate in timed.items()} for _ in range(repeats + 1)]
    return {name: [each[name] for each in rounds[1:]] for name in timed}


def scaling(config: Config, dataset: Dataset, repeats: int = 5) -> list[dict[str, Any]]:
    """How the time of a step and of an epoch follows what should be linear: examples, batch, code size, epochs.

    Returns:
        rows of varied, value, ms_per_step, seconds_per_epoch, flop_per_image; all timed in turn.
    """
    config = config.replace({"devices.count": _devices()})
    sizes = [len(dataset.train) // part for part in (4, 2, 1)]
    contenders = {
        ("examples", size): Contender(config, Dataset(dataset.name, dataset.train[:size], dataset.test))
        for size in sizes
    }
    for field, values in (("batch_size", (64, 256, 1024)), ("code_size", (8, 32, 128, 512))):
        section = "training" if field == "batch_size" else "model"
        for value in values:
            changed = config.replace({f"{section}.{field}": value})
            if value <= len(dataset.train):
                contenders[field.replace("_size", ""), value] = Contender(changed, dataset)
    seconds = in_turn({key: each.seconds for key, each in contenders.items()}, repeats)
    rows = [
        {
            "varied": varied,
            "value": value,
            "ms_per_step": 1000 * min(seconds[varied, value]) / each.steps,
            "seconds_per_epoch": min(seconds[varied, value]),
            "flop_per_image": roofline.flops_per_image(each.config, dataset.image_shape),
        }
        for (varied, value), each in contenders.items()
    ]
    whole = Contender(config, dataset)
    epochs = [whole.seconds() for _ in range(12)]
    return rows + [
        {"varied": "epoch", "value": n, "ms_per_step": 1000 * s / whole.steps, "seconds_per_epoch": s}
        for n, s in enumerate(epochs, start=1)
    ]


def cold_start(config: Config, repeats: int = 5) -> list[float]:
    """Seconds from the imports of JAX, Flax, Optax and Orbax to the end of the first step, each in a new process.

    One process before them fills the caches of images and of compiled programs.

    Raises:
        InputError: the first step fails.
    """
    program = (
        "import json, sys, time, jax, optax, flax.nnx; from orbax.checkpoint import v1; begin = time.perf_counter(); "
        "from aejax import Config; from aejax.performance import benchmark; "
        "benchmark.first_step(Config.from_dict(json.loads(sys.argv[1]))); print(time.perf_counter() - begin)"
    )
    command = [sys.executable, "-c", program, json.dumps(config.replace({"devices.count": _devices()}).to_dict())]
    seconds = []
    for _ in range(repeats + 1):
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode:
            raise InputError(f"the cold start fails: {(finished.stderr.strip() or 'no message').splitlines()[-1]}")
        seconds.append(float(finished.stdout))
    return seconds[1:]


def first_step(config: Config) -> None:
    """All that comes before the first step of a run, and that step."""
    dataset = as_dataset(None, config)
    driver = Driver(config.devices, config.training.batch_size)
    in_epoch = steps_per_epoch(config.training, len(dataset.train))
    steps = build_steps(config, dataset.image_shape, in_epoch, driver.batch_axis, len(dataset.train))
    state = initializer(driver, steps, steps.own)(np.uint32(config.training.seed))
    programs = build_programs(steps, config, driver, state, dataset)
    jax.block_until_ready(programs.train(state, 1))
