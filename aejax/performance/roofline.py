"""What bounds a step: the operations a model needs, and the rates that this device reaches."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from aejax.config import Config
from aejax.evaluation.figures import STYLE
from aejax.models import ImageShape
from aejax.training import Batch, build_steps

_SIZES = {"cpu": (2048, 2**25), "gpu": (8192, 2**28), "tpu": (8192, 2**28)}
"""side of the matrices, numbers of the vectors: large enough to reach the full rate, and far beyond any cache"""

_REPEATS = 5


class Cost(NamedTuple):
    """What XLA counts of one compiled train step, for each image of the batch.

    Attributes:
        flops: floating-point operations.
        bytes: read and written, as if every operation did so; more than reaches the memory.
        memory: bytes that the step holds at once, for the whole batch: state, batch and everything between.
    """

    flops: float
    bytes: float
    memory: int


def flops_per_image(config: Config, image_shape: ImageShape) -> int | None:
    """Floating-point operations of the matrix products of one image in one train step, counted by hand.

    A layer of n inputs and m outputs multiplies and adds n · m times forward, as often for the gradient of its
    weights and, but for the first layer, as often for that of its input. None for models that are not dense.
    """
    model = config.model
    if model.kind != "plain" or model.channels or model.spatial_code:
        return None
    decoder = model.hidden[::-1] if model.decoder_hidden is None else model.decoder_hidden
    pixels = math.prod(image_shape)
    widths = (pixels, *model.hidden, model.code_size, *decoder, pixels)
    layers = [n * m for n, m in itertools.pairwise(widths)]
    return 2 * (3 * sum(layers) - layers[0])


def step_cost(config: Config, image_shape: ImageShape) -> Cost:
    """Compile one train step and take the compiler's counts of it."""
    steps, size = build_steps(config, image_shape), config.training.batch_size
    batch = Batch(jnp.zeros((size, *image_shape), jnp.uint8), jnp.arange(size, dtype=jnp.int32))
    coefficients = {name: jnp.float32(value) for name, value in config.to_dict()["coefficients"].items()}
    compiled = jax.jit(steps.alone).lower(jax.eval_shape(steps.init), batch, coefficients).compile()
    costs, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return Cost(costs.get("flops", 0.0) / size, costs.get("bytes accessed", 0.0) / size, int(held))


def matmul_rate(dtype: Any) -> float:
    """FLOP/s of the product of two large square matrices, the fastest of a few."""
    side = _SIZES[jax.devices()[0].platform][0]
    matrix = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
    return 2 * side**3 / _fastest(jax.jit(lambda a, b: a @ b), matrix, matrix)


def memory_bandwidth() -> float:
    """Bytes/s read and written by y + 2 x of two long vectors, the fastest of a few (McCalpin's triad)."""
    numbers = _SIZES[jax.devices()[0].platform][1]
    x, y = jnp.ones(numbers), jnp.ones(numbers)
    return 3 * x.nbytes / _fastest(jax.jit(lambda x, y: y + 2 * x), x, y)


def _fastest(program: Callable, *arguments: jax.Array) -> float:
    """Seconds."""
    program(*arguments).block_until_ready()
    seconds = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        program(*arguments).block_until_ready()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Rows of the benchmark under the two measured bounds of the device (Williams et al. 2009)."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.8), layout="constrained")
        axes = figure.add_subplot()
        intensity = np.array([row["flop_per_image"] / row["bytes_per_image"] for row in rows])
        span = np.geomspace(intensity.min() / 4, max(64, 4 * intensity.max()), 100)
        for dtype in dict.fromkeys(row["dtype"] for row in rows):
            row = next(row for row in rows if row["dtype"] == dtype)
            roof = np.minimum(row["matmul_rate"], span * row["bandwidth"])
            axes.plot(span, roof / 1e9, color="0.5", linewidth=1)
            axes.annotate(f"large matmul, {dtype}", (span[-1], roof[-1] / 1e9), ha="right", va="bottom", fontsize=7)
        for model in dict.fromkeys(row["model"] for row in rows):
            points = [
                (row["flop_per_image"] / row["bytes_per_image"], row["flops_per_second"] / 1e9, row["batch"])
                for row in rows
                if row["model"] == model
            ]
            x, y, batches = zip(*points, strict=True)
            axes.plot(x, y, "o", markersize=4, label=model)
            for place in zip(x, y, batches, strict=True):
                axes.annotate(place[2], place[:2], textcoords="offset points", xytext=(4, -2), fontsize=6)
        axes.set(xscale="log", yscale="log", xlabel="FLOP per byte that XLA counts", ylabel="GFLOP/s")
        axes.set_title("Train steps, by batch size: those above the memory's bound work from the caches")
        axes.legend(fontsize=7)
        return figure
