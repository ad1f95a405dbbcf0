"""Parameters of a user's model that no gradient reaches, found by tracing."""

import logging
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr

from aejax.config import Config, complete
from aejax.config.checks import is_own, shown
from aejax.data import as_met
from aejax.training.devices import is_first
from aejax.training.identity import DatasetIdentity
from aejax.training.paths import Path, dotted
from aejax.training.programs import memoised
from aejax.training.step import Batch, Steps, build_steps


def unreached(config: Config, dataset: DatasetIdentity) -> dict[Path, int]:
    """Return path → size of the parameters that no gradient reaches: they keep their first values.

    A class that encodes with its own layers may have built the encoder of its parent too. Models of this library use
    all their parameters.
    """
    config = complete(config)
    if not is_own(config.model.kind):
        return {}
    size = config.training.batch_size
    steps = build_steps(config, dataset.image_shape, examples=size)
    labels, targets = None if dataset.labels is None else (), dataset.target_shape
    targets = None if targets is None else as_met(targets, dataset.vectors)
    return _unreached(steps, size, (dataset.image_shape, labels, targets), tuple(config.coefficients))


@memoised
def _unreached(steps: Steps, size: int, shapes: tuple[Any, ...], coefficients: Sequence[str]) -> dict[Path, int]:
    """Trace the gradients of a batch of examples, labels and targets of these shapes; None where there are none."""

    def abstract(shape: tuple[int, ...] | None, dtype: Any) -> jax.ShapeDtypeStruct | None:
        return None if shape is None else jax.ShapeDtypeStruct((size, *shape), dtype)

    images, labels, targets = map(abstract, shapes, (jnp.float32, jnp.int32, jnp.float32))
    state, batch = jax.eval_shape(steps.init), Batch(images, abstract((), jnp.int32), labels, targets)
    at = jax.eval_shape(steps.at, state.step, dict.fromkeys(coefficients, jax.ShapeDtypeStruct((), jnp.float32)))
    program, gradients = jax.make_jaxpr(lambda *given: steps.gradients(*given)[0], return_shape=True)(state, batch, at)
    zero = jax.tree.unflatten(jax.tree.structure(gradients), _always_zero(program))
    shapes = flatten_dict(gradients)
    return {path: shapes[path].size for path, is_zero in flatten_dict(zero).items() if is_zero}


def _always_zero(program: ClosedJaxpr) -> list[bool]:
    """Return for each result of a program whether it is zero for all arguments."""
    varying = set(map(id, program.jaxpr.invars))
    for equation in program.jaxpr.eqns:
        if not varying.isdisjoint(map(id, equation.invars)):
            varying.update(map(id, equation.outvars))
    constant = [id(variable) not in varying for variable in program.jaxpr.outvars]
    needed, _ = dce_jaxpr(program.jaxpr, constant)
    values = iter(jaxpr_as_fun(ClosedJaxpr(needed, program.consts))())
    return [is_constant and not np.any(next(values)) for is_constant in constant]


def warn_unreached(config: Config, dataset: DatasetIdentity) -> None:
    """Name the parameters that no gradient reaches, in one line of the first process."""
    if not (found := unreached(config, dataset)) or not is_first():
        return
    state = jax.eval_shape(build_steps(config, dataset.image_shape).init)
    every = flatten_dict(state.params)
    whole = {path[0] for path in found} - {path[0] for path in every if path not in found}
    names = dict.fromkeys(path[0] if path[0] in whole else dotted(path) for path in found)
    logging.getLogger("aejax").warning(
        "%s: no gradient reaches %s of %s parameters (%s): they are not trained and not counted; use them, or delete "
        "them in __init__ (del self.%s)",
        config.model.kind,
        f"{sum(found.values()):,}",
        f"{sum(leaf.size for leaf in every.values()):,}",
        shown(", ".join(names), str),
        next(iter(names)).partition(".")[0],
    )
