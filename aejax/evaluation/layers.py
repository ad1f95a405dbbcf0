"""Table of the layers of a run."""

from typing import Any

import jax
from flax import nnx
from flax.traverse_util import flatten_dict

from aejax.models import build
from aejax.models.randomness import stream
from aejax.training import paths

_FIRST = {"encoder": 0, "decoder": 2}
"""order of the parts of a model; other parts lie between"""


def table(run: Any) -> str:
    """Format a table of the layers of a run: their types, arrays, parameters and bytes.

    Bytes are those of the arrays, without the optimizer's state. Running means and other variables are no parameters.
    """
    config, shape, params = run.config, run.image_shape, flatten_dict(run.state.params)
    model = nnx.eval_shape(lambda: build(config, shape, nnx.Rngs(stream(0, "parameters"))))
    types = {path: type(part).__name__ for path, part in nnx.iter_graph(model)}
    frozen = paths.frozen(model, config.training.frozen)
    layers: dict[tuple, dict[tuple, Any]] = {}
    for path, array in [*params.items(), *flatten_dict(run.state.extra).items()]:
        layers.setdefault(path[:-1] or path, {})[path] = array
    rows = [("layer", "type", "arrays", "parameters", "bytes", "")]
    for path, arrays in sorted(layers.items(), key=lambda item: _FIRST.get(item[0][0], 1)):
        shapes = [f"{each[-1]} {'x'.join(map(str, array.shape)) or 1}" for each, array in arrays.items()]
        count = sum(array.size for each, array in arrays.items() if each in params)
        taken = sum(array.size * array.dtype.itemsize for array in arrays.values())
        notes = []
        for mark, marked in {"no gradient, not counted": run.unreached, "frozen": frozen}.items():
            names = [each[-1] for each in arrays if each in marked]
            notes += [mark if len(names) == len(arrays) else f"{mark}: {', '.join(names)}"] if names else []
        rows.append(
            (paths.dotted(path), types.get(path, ""), ", ".join(shapes), f"{count:,}", f"{taken:,}", "; ".join(notes))
        )
    taken = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((run.state.params, run.state.extra)))
    rows.append(("total", "", "", f"{run.parameters:,}", f"{taken:,}", ""))
    columns = zip("<<<>><", zip(*rows, strict=True), strict=True)
    form = "  ".join(f"{{:{side}{max(map(len, column))}}}" for side, column in columns)
    lines = [form.format(*row).rstrip() for row in rows]
    given, code = ", ".join(map(str, run.example_shape)), config.model.code_size
    return "\n".join([f"{run!r}: [N, {given}] → codes [N, {code}]", *lines])
