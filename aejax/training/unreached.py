"""Parameters of a user's model that no gradient reaches, found by tracing."""

import logging

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jax.interpreters.partial_eval import dce_jaxpr

from aejax.config import Config, complete
from aejax.config.checks import is_own, shown
from aejax.training.devices import is_first
from aejax.training.identity import DatasetIdentity
from aejax.training.paths import Path, dotted
from aejax.training.programs import Like, like, memoised
from aejax.training.step import Steps, build_steps, described


def unreached(config: Config, dataset: DatasetIdentity) -> dict[Path, int]:
    """Return path → size of the parameters that no gradient reaches: they keep their first values.

    A class that encodes with its own layers may have built the encoder of its parent too. Models of this library use
    all their parameters.
    """
    config = complete(config)
    if not is_own(config.model.kind):
        return {}
    steps = build_steps(config, dataset.image_shape, examples=config.training.batch_size)
    return _unreached(steps, like(described(steps, config, dataset, labeled=dataset.labels is not None)))


@memoised
def _unreached(steps: Steps, arguments: Like) -> dict[Path, int]:
    traced = jax.make_jaxpr(lambda *given: steps.gradients(*given)[0], return_shape=True)
    program, gradients = traced(*jax.tree.unflatten(*arguments))
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
