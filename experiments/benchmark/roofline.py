"""Floating-point operations of a train step, and the peak rates of this device."""

import itertools
import math
import re
import timeit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from aejax.config import Config, complete
from aejax.data import Dataset
from aejax.evaluation.drawing import PALETTE, note, styled, tested_ticks, within
from aejax.models import ImageShape
from aejax.training import Batch, Program, build_steps
from benchmark.targets import Target

_ROWS = {"cpu": 2048, "gpu": 8192, "tpu": 8192}
"""platform → rows of the matrices: enough for the peak rate"""


def flops_per_image(config: Config, image_shape: ImageShape) -> int | None:
    """Count the floating-point operations of all matrix products for one image in one train step.

    A layer with n inputs and m outputs takes n · m multiply-adds in the forward pass. The gradient of its weights takes
    as many. The gradient of its inputs takes as many too, but the first layer has none.

    Returns:
        the count; None for models that are not plain dense models.
    """
    model, pixels = config.model, math.prod(image_shape)
    if model.kind != "plain" or model.channels or model.spatial_code:
        return None
    decoder = model.hidden[::-1] if model.decoder_hidden is None else model.decoder_hidden
    widths = (pixels, *model.hidden, model.code_size, *decoder, pixels)
    layers = [n * m for n, m in itertools.pairwise(widths)]
    return 2 * (3 * sum(layers) - layers[0])


def floor(config: Config, dataset: Dataset, target: Target, shares: int = 1, shards: int = 1) -> float:
    """Return the least that the matrix units need for the products of a train step of one model.

    The rows and columns of a product that a TPU's unit holds are padded to its side; the third size is not. Of an
    unknown number of iterations, or of several branches, the least is counted.

    Args:
        shares: devices that share a batch.
        shards: devices that share a state, and with it at most all products.

    Returns:
        bundles of a TPU, or microseconds of a GPU.
    """
    step, given = _step(config.replace({"training.batch_size": config.training.batch_size // shares}), dataset)
    traced = jax.make_jaxpr(step)(*given)
    flops = sum(2 * count * padded(sizes, target.side) for count, sizes in _products(traced.jaxpr)) / shards
    return flops / target.rates[config.model.dtype] * (1 if target.platform == "tpu" else 1e6)


def _products(jaxpr: Any) -> list[tuple[float, tuple[float, int, int]]]:
    """List the products of a traced function: (how often, (rows, inner size, columns))."""
    found = []
    for each in jaxpr.eqns:
        if each.primitive.name == "dot_general":
            ((inner, _), (batched, _)), left, right = each.params["dimension_numbers"], *(v.aval for v in each.invars)
            depth, count = (math.prod(left.shape[axis] for axis in axes) for axes in (inner, batched))
            columns = right.size // (depth * count)
            found.append((count, (left.size // (depth * count), depth, columns)))
        elif each.primitive.name == "conv_general_dilated":
            numbers, kernel, made = each.params["dimension_numbers"], each.invars[1].aval, each.outvars[0].aval
            features = made.shape[numbers.out_spec[1]]
            depth = kernel.size // kernel.shape[numbers.rhs_spec[0]]
            rows = made.size // features / math.prod(each.params["lhs_dilation"])  # zeros between the rows are free
            found.append((1, (rows, depth, features)))
        elif each.primitive.name == "cond":
            branches = [_products(branch.jaxpr) for branch in each.params["branches"]]
            found += min(branches, key=lambda made: sum(count * math.prod(sizes) for count, sizes in made))
        else:
            times = each.params["length"] if each.primitive.name == "scan" else 1
            for inner in jax.tree.leaves(list(each.params.values())):
                inner = getattr(inner, "jaxpr", inner)
                made = _products(inner) if hasattr(inner, "eqns") else []
                found += [(times * count, sizes) for count, sizes in made]
    return found


def padded(sizes: tuple[float, int, int], side: int) -> float:
    """Multiply the sizes of a product, two of them padded so that the result is the least."""
    padded = [math.ceil(size / side) * side for size in sizes]
    return min(math.prod([*padded[:i], sizes[i], *padded[i + 1 :]]) for i in range(3))


def one_step(config: Config, dataset: Dataset) -> Program:
    """Compile one train step, for the compiler's counts."""
    step, given = _step(config, dataset)
    return Program.of(jax.jit(step).lower(*given), jax.devices()[0].platform)


def _step(config: Config, dataset: Dataset) -> tuple[Callable, tuple[Any, ...]]:
    """Return the function of a train step, and its arguments without values."""
    config = complete(config)
    steps, size = build_steps(config, dataset.image_shape), config.training.batch_size
    images = jax.ShapeDtypeStruct((size, *dataset.image_shape), dataset.train.dtype)
    numbers = jax.ShapeDtypeStruct((size,), np.int32)
    batch = Batch(images, numbers, None if dataset.train_labels is None else numbers)
    values = {name: np.float32(value) for name, value in config.coefficients.items()}
    return steps.alone, (jax.eval_shape(steps.init), batch, values)


def matmul_rate(dtype: Any) -> float:
    """Measure the peak FLOP/s of a product of two large square matrices."""
    side = _ROWS[jax.devices()[0].platform]
    matrix, product = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype), jax.jit(lambda a, b: a @ b)
    product(matrix, matrix).block_until_ready()  # compiles
    seconds = timeit.repeat(lambda: product(matrix, matrix).block_until_ready(), number=1, repeat=5)
    return 2 * side**3 / min(seconds)


def machine(content: Mapping[str, Any]) -> str:
    """Name the device of this machine's results; a CPU has a name in Linux, and a number of cores."""
    if content["device"] != "cpu":
        return content["device"]
    described = Path("/proc/cpuinfo")
    text = described.read_text(encoding="utf-8", errors="replace") if described.exists() else ""
    name = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return f"{content['cores']} cores of a CPU" + (f" ({name[1]})" if name else "")


@styled
def figure(rows: Sequence[Mapping[str, Any]], device: str, epochs: int) -> Figure:
    """Draw the FLOP/s of each row as a share of the matmul rate: the peak rate of a matrix product of its type.

    Lines join three and more batch sizes. The figure leaves out the memory's roof of Williams et al. (2009). XLA counts
    bytes that caches serve, so the bytes that reach the memory are unknown.

    Args:
        epochs: number of timed epochs.
    """
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    batches = sorted({row["batch"] for row in rows})
    names = list(dict.fromkeys((row["model"], row["dtype"]) for row in rows))
    several = len({dtype for _, dtype in names}) > 1
    for place, (model, dtype) in enumerate(names):
        own = sorted((row for row in rows if (row["model"], row["dtype"]) == (model, dtype)), key=lambda r: r["batch"])
        shares = [100 * row["share_of_matmul"] for row in own]
        parts = [row["images_per_second_std"] / row["images_per_second"] for row in own]
        spread = np.hstack([within(share, part * share, 0) for share, part in zip(shares, parts, strict=True)])
        shift = 1.12 ** (place - (len(names) - 1) / 2)  # so that no error bar hides another
        line = "-" if len(batches) > 2 else ""  # between two sizes nothing was measured
        style = {"fmt": "os^Dv"[place % 5] + line, "linewidth": 1.2, "color": PALETTE[place % len(PALETTE)]}
        style["label"] = f"{model}, {dtype}" if several else model
        axes.errorbar([shift * row["batch"] for row in own], shares, spread, **style)
    axes.axhline(100, color="0.3", linestyle="--", linewidth=1.2)
    place = {"xycoords": ("axes fraction", "data"), "va": "bottom", "fontsize": 8}
    axes.annotate("matmul rate", (0.02, 100), (0, 2), textcoords="offset points", **place)
    tested_ticks(axes, batches)
    axes.margins(x=0.15)
    label = "FLOP/s of a train step\n[% of the matmul rate]"
    axes.set(xlabel="batch size [images]", ylabel=label, ylim=(0, max(112, axes.get_ylim()[1])))
    figure.legend(title="model", loc="outside right upper")
    moved = "; markers are moved sideways, so that none hides another" if len(names) > 1 else ""
    spread = f"Points: medians of {epochs} timed epochs, one seed; error bars: ± one standard deviation."
    note(figure, f"{device}{moved}.\n{spread}")
    return figure
