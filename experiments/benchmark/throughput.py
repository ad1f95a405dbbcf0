"""Images per second of the compiled programs, in turn with other configurations and other programs.

Everything that is compared is timed in turn, epoch by epoch, and compared pair by pair. On a machine with varying
speed, ratios of pairs are more accurate than ratios of means.
"""

import itertools
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import jax

from aejax.config import Config
from aejax.data import Dataset
from benchmark import processes, roofline
from benchmark.peers.peer import comparable, started
from benchmark.prepared import Prepared


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
        drivers, placements: every row uses the first; the others are timed in turn with it.
        members: numbers of models to train as one program, timed in turn with one model.
        repeats: number of timed rounds, after one round of warm-up.
        peers: kind of model (`peers.comparable`) → name → command of a program to time in turn.

    Yields:
        model, batch, dtype; compile_seconds, steps (timed together), ms_per_step; images_per_second and its standard
        deviation over the rounds, per device; flop_per_image (counted by hand, or by XLA for models that are not
        dense), flop_per_image_xla, memory_bytes of a step; flops_per_second, share_of_matmul, matmul_rate.
        `alternatives` maps the name of each other program to its images_per_second and to a ratio, the median over
        pairs: our rate to a peer's, or the rate of another configuration to the rate of this row.
    """
    for (model, given), batch, dtype in itertools.product(configs.items(), batches, dtypes):
        changes = {"training.batch_size": batch, "model.dtype": dtype, "devices.count": _devices()}
        config = given.replace(changes | {"devices.parallel": drivers[0], "data.placement": placements[0]})
        others = {driver: (1, {"devices.parallel": driver}) for driver in drivers[1:]}
        others |= {f"{count} models": (count, {"devices.count": None}) for count in members if count > 1}
        others |= {place: (1, {"data.placement": place}) for place in placements[1:]}
        if config.corruption.kind != "none":
            others["without noise"] = 1, {"corruption.kind": "none", "coefficients.noise": None}
        ours = {name: Prepared(config.replace(changes), dataset, count) for name, (count, changes) in others.items()}
        row = _row(config, dataset, ours, repeats, (peers or {}).get(comparable(config), {}))
        yield {"model": model, "batch": batch, "dtype": dtype, **row}


def _row(
    config: Config, dataset: Dataset, ours: Mapping[str, Prepared], repeats: int, peers: Mapping[str, list[str]]
) -> dict[str, Any]:
    step = roofline.one_step(config, dataset)
    first, batch = Prepared(config, dataset), config.training.batch_size
    flop_per_image = roofline.flops_per_image(config, dataset.image_shape) or step.flops / batch
    compile_seconds, devices = first.compile(), len(first.driver.devices)
    epoch = len(dataset.train) // batch * batch
    with started(peers, config, dataset.train) as running:
        timed = {"matmul": lambda: roofline.matmul_rate(config.model.dtype), "": first.rate}
        timed |= {name: each.rate for name, each in ours.items()}
        timed |= {name: lambda peer=peer: epoch / peer.ask("", Real) for name, (peer, _) in running.items()}
        rates = in_turn(timed, repeats)
    alternatives, own, matmul = {}, rates.pop(""), rates.pop("matmul")
    for name, each in rates.items():
        above, below = (own, each) if name in running else (each, own)
        ratio = statistics.median(first / second for first, second in zip(above, below, strict=True))
        alternatives[name] = {"images_per_second": statistics.mean(each), "ratio": ratio}
        if name in running:
            alternatives[name]["peer"] = running[name][1]
    per_device = [rate / devices for rate in own]
    mean = statistics.mean(per_device)
    shares = [rate * flop_per_image / most for rate, most in zip(per_device, matmul, strict=True)]
    return {
        "compile_seconds": compile_seconds,
        "steps": first.stretch,
        "devices": devices,
        "ms_per_step": 1000 * batch / statistics.mean(own),
        "images_per_second": mean,
        "images_per_second_std": statistics.stdev(per_device) if repeats > 1 else 0.0,
        "flop_per_image": flop_per_image,
        "flop_per_image_xla": step.flops / batch,
        "memory_bytes": sum(step.memory.values()),
        "flops_per_second": mean * flop_per_image,
        "share_of_matmul": statistics.median(shares),
        "matmul_rate": statistics.mean(matmul),
        "alternatives": alternatives,
    }


def _devices() -> int | None:
    """Use all accelerators for one model, but one core of a processor; a sweep spreads over the cores."""
    return 1 if jax.devices()[0].platform == "cpu" else None


def in_turn(timed: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call each function in every round, and return the results by name; the first round only warms up."""
    rounds = [{name: measured() for name, measured in timed.items()} for _ in range(repeats + 1)]
    return {name: [each[name] for each in rounds[1:]] for name in timed}


def scaling(config: Config, dataset: Dataset, repeats: int = 5) -> list[dict[str, Any]]:
    """Measure the time per step and per epoch against the number of examples, batch size, code size and epoch.

    Returns rows of varied, value, ms_per_step, seconds_per_epoch, flop_per_image; all but the epochs are timed in turn.
    """
    config, size = config.replace({"devices.count": _devices()}), len(dataset.train)
    parts = {part: Dataset(dataset.name, dataset.train[:part], dataset.test) for part in (size // 4, size // 2, size)}
    varied = {("examples", part): Prepared(config, examples) for part, examples in parts.items()}
    sizes = [("batch", "training.batch_size", (64, 256, 1024)), ("code", "model.code_size", (8, 32, 128, 512))]
    for name, path, values in sizes:
        fit = [value for value in values if value <= size]
        varied |= {(name, value): Prepared(config.replace({path: value}), dataset) for value in fit}
    timed = in_turn({key: each.seconds for key, each in varied.items()}, repeats)
    found = [(*key, each, min(timed[key])) for key, each in varied.items()]
    whole = Prepared(config, dataset)
    found += [("epoch", epoch, whole, whole.seconds()) for epoch in range(1, 13)]
    return [
        {
            "varied": name,
            "value": value,
            "ms_per_step": 1000 * seconds / each.stretch,
            "seconds_per_epoch": seconds,
            "flop_per_image": roofline.flops_per_image(each.config, dataset.image_shape),
        }
        for name, value, each, seconds in found
    ]


def cold_start(config: Config, repeats: int = 5) -> list[float]:
    """Measure the seconds from the imports of JAX, Flax, Optax and Orbax to the end of the first step.

    Each measurement has its own process. One more process before them fills the caches of images and programs.

    Raises InputError: the first step fails.
    """
    program = (
        "import json, sys, time, jax, optax, flax.nnx; from orbax.checkpoint import v1; begin = time.perf_counter(); "
        "from aejax import Config; from aejax.data import as_dataset; from benchmark.prepared import Prepared; "
        "config = Config.from_dict(json.loads(sys.argv[1])); Prepared(config, as_dataset(None, config)).seconds(1); "
        "print(time.perf_counter() - begin)"
    )
    given, seconds = json.dumps(config.replace({"devices.count": _devices()}).to_dict()), []
    for _ in range(repeats + 1):
        with processes.python("the cold start", "-c", program, given) as process:
            seconds.append(process.read(Real))
    return seconds[1:]
