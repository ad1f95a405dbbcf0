"""Images per second of the compiled programs, in turn with other configurations and other programs.

Everything that is compared is timed in turn, epoch by epoch, and compared pair by pair. On a machine with varying
speed, ratios of pairs are more accurate than ratios of means.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from aejax.config import Config
from aejax.data import Dataset, as_dataset
from benchmark import peers, processes, roofline
from benchmark.prepared import Prepared

_MANY = 8
"""with more models than these, a timed stretch is a part of an epoch, so that it takes as long as an epoch of these"""


class Contender:
    """A compiled program that is timed one stretch at a time: an epoch, or less for many models.

    Attributes:
        config: the configuration of the models, which differ in their seeds.
        devices: number of devices.
        compile_seconds: of placing the images and compiling; a filled compile cache shortens it.
        steps: number of steps of a stretch.
        images: number of images of a stretch, of all models together.
    """

    def __init__(self, config: Config, dataset: Dataset, members: int = 1) -> None:
        self.config, self._prepared = config, Prepared(config, dataset, members)
        self.devices = len(self._prepared.driver.devices)
        self.steps = max(1, self._prepared.in_epoch * _MANY // max(_MANY, members))
        self.images = self.steps * config.training.batch_size * members
        begin = time.perf_counter()
        self._prepared.programs.flops(self.steps)  # compiles training
        self.compile_seconds = self._prepared.seconds + time.perf_counter() - begin

    def seconds(self) -> float:
        """Train for a stretch, and return the seconds."""
        return self._prepared.train(self.steps)

    def rate(self) -> float:
        """Train for a stretch, and return the images per second."""
        return self.images / self.seconds()


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
    """Time each model at each batch size and type, and yield one row for each.

    Args:
        drivers: every row uses the first driver; the others are timed in turn with it.
        members: numbers of models to train as one program, timed in turn with one model.
        placements: every row uses the first place of the images; the others are timed in turn with it.
        repeats: number of timed rounds, after one round of warm-up.
        peers: kind of model (`peers.comparable`) → name → command of a program to time in turn.

    Yields:
        model, batch, dtype; compile_seconds, steps (of a stretch), ms_per_step; images_per_second and its standard
        deviation over the rounds, per device; flop_per_image (counted by hand, or by XLA for models that are not
        dense), flop_per_image_xla, bytes_per_image, memory_bytes; flops_per_second, share_of_matmul,
        share_of_bandwidth, matmul_rate, bandwidth. `beside` maps the name of each other contender to its
        images_per_second and to a ratio, the median over pairs: ours to a peer's, or another configuration's to this.
    """
    bandwidth = roofline.memory_bandwidth()
    for (model, given), batch, dtype in itertools.product(configs.items(), batches, dtypes):
        changes = {"training.batch_size": batch, "model.dtype": dtype, "devices.count": _devices()}
        changes |= {"devices.parallel": drivers[0], "data.placement": placements[0]}
        config = given.replace(changes)
        others = _others(config, dataset, drivers[1:], members, placements[1:])
        row = _row(config, dataset, others, repeats, peers or {}, bandwidth)
        yield {"model": model, "batch": batch, "dtype": dtype, **row}


def _others(
    config: Config, dataset: Dataset, drivers: Sequence[str], members: Sequence[int], placements: Sequence[str]
) -> dict[str, Contender]:
    """Our own programs to time in turn with this configuration, by name."""
    changed = {driver: (1, {"devices.parallel": driver}) for driver in drivers}
    changed |= {f"{count} models": (count, {"devices.count": None}) for count in members if count > 1}
    changed |= {place: (1, {"data.placement": place}) for place in placements}
    if config.corruption.kind != "none":
        changed["without noise"] = 1, {"corruption.kind": "none", "coefficients.noise": 0.0}
    return {name: Contender(config.replace(changes), dataset, count) for name, (count, changes) in changed.items()}


def _row(
    config: Config,
    dataset: Dataset,
    others: Mapping[str, Contender],
    repeats: int,
    commands: Mapping[str, Mapping[str, list[str]]],
    bandwidth: float,
) -> dict[str, Any]:
    labeled = dataset.train_labels is not None
    cost = roofline.step_cost(config, dataset.image_shape, dataset.train.dtype, labeled)
    flop_per_image = roofline.flops_per_image(config, dataset.image_shape) or cost.flops
    first = Contender(config, dataset)
    with peers.started(commands.get(peers.comparable(config), {}), config, dataset.train) as running:
        epoch = len(dataset.train) // config.training.batch_size * config.training.batch_size
        timed: dict[str, Callable[[], float]] = {
            "matmul": lambda: roofline.matmul_rate(config.model.dtype),
            "": first.rate,
            **{name: contender.rate for name, contender in others.items()},
            **{name: lambda peer=peer: epoch / peer.seconds() for name, peer in running.items()},
        }
        rates = in_turn(timed, repeats)
        described = {name: peer.description for name, peer in running.items()}
    beside, own, matmul = {}, rates.pop(""), rates.pop("matmul")
    for name, each in rates.items():
        pairs = zip(own, each, strict=True)
        ratios = [mine / other if name in described else other / mine for mine, other in pairs]
        beside[name] = {"images_per_second": statistics.mean(each), "ratio": statistics.median(ratios)}
        beside[name] |= {"peer": described[name]} if name in described else {}
    per_device = [rate / first.devices for rate in own]
    mean = statistics.mean(per_device)
    shares = [rate * flop_per_image / most for rate, most in zip(per_device, matmul, strict=True)]
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
        "share_of_matmul": statistics.median(shares),
        "share_of_bandwidth": mean * cost.bytes / bandwidth,
        "matmul_rate": statistics.mean(matmul),
        "bandwidth": bandwidth,
        "beside": beside,
    }


def _devices() -> int | None:
    """Devices of one model: all accelerators, or one processor; only a sweep spreads over several cores."""
    return 1 if jax.devices()[0].platform == "cpu" else None


def in_turn(timed: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call each function in every round, and return the results by name; the first round only warms up."""
    rounds = [{name: rate() for name, rate in timed.items()} for _ in range(repeats + 1)]
    return {name: [each[name] for each in rounds[1:]] for name in timed}


def scaling(config: Config, dataset: Dataset, repeats: int = 5) -> list[dict[str, Any]]:
    """Measure the time per step and per epoch against the number of examples, batch size, code size and epoch.

    Returns:
        rows of varied, value, ms_per_step, seconds_per_epoch and, but for epochs, flop_per_image; timed in turn.
    """
    config = config.replace({"devices.count": _devices()})
    contenders = {}
    for size in (len(dataset.train) // part for part in (4, 2, 1)):
        part = Dataset(dataset.name, dataset.train[:size], dataset.test)
        contenders["examples", size] = Contender(config, part)
    varied = {("batch", size): {"training.batch_size": size} for size in (64, 256, 1024) if size <= len(dataset.train)}
    varied |= {("code", size): {"model.code_size": size} for size in (8, 32, 128, 512) if size <= len(dataset.train)}
    contenders |= {key: Contender(config.replace(changes), dataset) for key, changes in varied.items()}
    seconds = in_turn({key: each.seconds for key, each in contenders.items()}, repeats)
    whole = Contender(config, dataset)
    rows = [_scaled(*key, each, min(seconds[key])) for key, each in contenders.items()]
    for row, each in zip(rows, contenders.values(), strict=True):
        row["flop_per_image"] = roofline.flops_per_image(each.config, dataset.image_shape)
    return rows + [_scaled("epoch", number, whole, whole.seconds()) for number in range(1, 13)]


def _scaled(varied: str, value: int, contender: Contender, seconds: float) -> dict[str, Any]:
    ms = 1000 * seconds / contender.steps
    return {"varied": varied, "value": value, "ms_per_step": ms, "seconds_per_epoch": seconds}


def cold_start(config: Config, repeats: int = 5) -> list[float]:
    """Measure the seconds from the imports of JAX, Flax, Optax and Orbax to the end of the first step.

    Each measurement has its own process. One more process before them fills the caches of images and programs.

    Raises:
        InputError: the first step fails.
    """
    program = (
        "import json, sys, time, jax, optax, flax.nnx; from orbax.checkpoint import v1; begin = time.perf_counter(); "
        "from aejax import Config; from benchmark import throughput; "
        "throughput.first_step(Config.from_dict(json.loads(sys.argv[1]))); print(time.perf_counter() - begin)"
    )
    given, seconds = json.dumps(config.replace({"devices.count": _devices()}).to_dict()), []
    for _ in range(repeats + 1):
        with contextlib.closing(processes.python("the cold start", "-c", program, given)) as process:
            seconds.append(process.read())
    return seconds[1:]


def first_step(config: Config) -> None:
    """Load the dataset, prepare the model, and train one step."""
    Prepared(config, as_dataset(None, config)).train(1)
