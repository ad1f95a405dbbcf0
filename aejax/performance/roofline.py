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
from matplotlib.figure import Figure

from aejax.config import Config
from aejax.evaluation.drawing import note, styled
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


@styled
def figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The rate of each row of the benchmark under its roof, that of the large product of matrices in its type.

    The other roof of Williams et al. (2009), the memory's, is not drawn: what XLA counts as bytes is mostly met in
    caches, and how many of them reach the memory is not known.
    """
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    batches = sorted({row["batch"] for row in rows})
    names = list(dict.fromkeys((row["model"], row["dtype"]) for row in rows))
    several = len({dtype for _, dtype in names}) > 1
    for place, (model, dtype) in enumerate(names):
        own = sorted((row for row in rows if (row["model"], row["dtype"]) == (model, dtype)), key=lambda r: r["batch"])
        shares = np.array([100 * row["share_of_matmul"] for row in own])
        spread = [
            share * row["images_per_second_std"] / row["images_per_second"]
            for share, row in zip(shares, own, strict=True)
        ]
        beside = 1.12 ** (place - (len(names) - 1) / 2)  # so that no error bar hides another
        axes.errorbar(
            [beside * row["batch"] for row in own],
            shares,
            spread,
            fmt="os^Dv"[place % 5] + "-",
            linewidth=1,
            color=f"C{place % 10}",
            label=f"{model}, {dtype}" if several else model,
        )
    axes.axhline(100, color="0.3", linestyle="--", linewidth=1)
    axes.annotate(
        "a large product of matrices", (0.02, 100), xycoords=("axes fraction", "data"), va="bottom", fontsize=8
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, map(str, batches))
    axes.set_xticks([], minor=True)
    axes.margins(x=0.15)
    axes.set(
        xlabel="batch size [images]", ylabel="FLOP/s of a train step, as a share of\na large product of matrices [%]"
    )
    axes.set_ylim(0, max(112, axes.get_ylim()[1]))
    figure.legend(title="model", loc="outside right upper")
    note(figure, "Error bars: ± one standard deviation over the timed epochs.")
    return figure
