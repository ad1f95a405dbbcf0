"""Requirements on the models of users, checked while a step is traced.

A `program` is a train step as a `ClosedJaxpr`; its first arguments are the coefficients, in the order of their names.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Config, InputError, complete
from aejax.config.checks import is_own
from aejax.config.user_files import line_of
from aejax.models import Autoencoder, Output, Variational, model_class
from aejax.training.batches import OBSERVED


def require_output(config: Config, model: Autoencoder, output: Any, clean: jax.Array) -> None:
    """Refuse a result that is no `Output` for targets [B, ...]; its own loss may take other logits [B, ...]."""
    kind, size = f"{config.model.kind}{line_of(type(model).__call__)}", len(clean)
    if not isinstance(output, Output):
        raise InputError(f"the call of {kind} returns {_a(output)}; it must return an aejax.Output")
    if _shape(output.codes) != (size, config.model.code_size):
        raise InputError(f"the codes of {kind} {_has(output.codes)}; it must be {[size, config.model.code_size]}")
    logits, own, posterior = _shape(output.logits), type(model).loss is not Autoencoder.loss, output.posterior
    samples = () if posterior is None else posterior.samples.shape[1:2]
    wanted = size, *samples, *clean.shape[1:]
    if logits is None or logits[:1] != (size,) or not (own or logits == wanted):
        advice = "as the target" if own else "as the target; a model with a loss of its own may return another shape"
        raise InputError(f"the logits of {kind} {_has(output.logits)}; it must be {list(wanted)}, {advice}")
    if posterior is not None and posterior.kl is not None and posterior.kl.shape[:1] != (size,):
        raise InputError(
            f"the kl of {kind} {_has(posterior.kl)}; it must be {[size, config.model.code_size]} or [{size}]"
        )
    if not isinstance(output.metrics, Mapping):
        raise InputError(f"the metrics of {kind} are {_a(output.metrics)}; they must be a dict")


def _a(value: Any) -> str:
    return "an array" if isinstance(value, jax.Array) else f"a {type(value).__name__}"


def _shape(value: Any) -> tuple[int, ...] | None:
    """Return the shape of a real number or of an array of real numbers; None of anything else."""
    is_array = isinstance(value, jax.Array | np.ndarray | np.generic | float | int)
    return jnp.shape(value) if is_array and jnp.isrealobj(value) else None


def _has(value: Any) -> str:
    if (shape := _shape(value)) is not None:
        return f"has shape {list(shape)}"
    return f"has type {value.dtype}" if hasattr(value, "dtype") else f"is {_a(value)}"


def weighted_terms(
    config: Config, model: Autoencoder, terms: Any, metrics: Any, output: Output, coefficients: Mapping[str, jax.Array]
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Return the weighted terms of a loss with their sum "total", and the metrics with those of the output: float32[B].

    Raises InputError: a term or metric has another shape, or a name that is in use.
    """
    kind, size = f"{config.model.kind}{line_of(type(model).loss)}", len(output.codes)
    if not isinstance(terms, Mapping) or not terms:
        raise InputError(f"the loss of {kind} returns {_a(terms)}; it must return its terms by name, in a dict")
    if not isinstance(metrics, Mapping):
        raise InputError(f"metrics of {kind} returns {_a(metrics)}; it must return metrics by name, in a dict")
    for name, value in terms.items():
        if (shape := _shape(value)) != (size,):
            axes = "the batch stays: no mean over it" if shape == () else "sum or take the mean over the other axes"
            where = f"the term {name} of {kind} {_has(value)}"
            raise InputError(f"{where}; it must be [{size}], one value per example ({axes})")
    for found, method in ((output.metrics, type(model).__call__), (metrics, type(model).metrics)):
        for name, value in found.items():
            if _shape(value) not in ((), (size,)):
                where = f"the metric {name} of {config.model.kind}{line_of(method)}"
                raise InputError(f"{where} {_has(value)}; it must be one number, or [{size}]")
    names = ["total", *terms, *output.metrics, *metrics]
    if taken := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{kind} has a term or metric named {min(taken)}, a name that is in use; rename it")
    metrics = {**output.metrics, **metrics}
    terms = {name: coefficients[name] * value if name in coefficients else value for name, value in terms.items()}
    terms = {name: jnp.asarray(value).astype(jnp.float32) for name, value in terms.items()}
    metrics = {name: jnp.broadcast_to(value, (size,)).astype(jnp.float32) for name, value in metrics.items()}
    return {**terms, "total": sum(terms.values())}, metrics


def of_known(metric: jax.Array, axis: str | None) -> jax.Array:
    """Weigh a metric float32[B] so that its mean over the batch is the mean of the entries that are not NaN."""
    known = ~jnp.isnan(metric)
    share = known.mean() if axis is None else jax.lax.pmean(known.mean(), axis)
    return jnp.where(known, metric, 0) / share


def require_used(config: Config, program: Any) -> None:
    """Refuse a coefficient that the class itself declares, or that has a value, and that a train step does not use."""
    used = {id(variable) for equation in program.jaxpr.eqns for variable in equation.invars}
    defaults = complete(config.replace({"coefficients": {}})).coefficients
    kind = model_class(config.model.kind)
    inherited = {name for base in kind.__mro__[1:] for name in getattr(base, "coefficients", ())}
    for name, variable in zip(sorted(config.coefficients), program.jaxpr.invars, strict=False):
        if id(variable) in used:
            continue
        if is_own(config.model.kind) and name in kind.coefficients.keys() - inherited:
            raise InputError(
                f"{config.model.kind} declares the coefficient {name}, and training does not use it; the weight of a "
                "term has the term's name: correct the name, or remove it"
            )
        if (value := config.coefficients[name]) != defaults[name]:
            raise InputError(
                f"coefficients.{name} is {value}, and {config.model.kind} does not use it; leave it at its default, "
                f"{defaults[name]}"
            )


def require_observed(config: Config, program: Any) -> None:
    """Refuse a loss that ignores `context.observed` where values may be missing: it would count imputed values."""
    read, named = set(), set()
    for equation in _equations(program.jaxpr):
        read |= {id(variable) for variable in equation.invars}
        named |= {id(each) for each in equation.outvars if equation.params.get("name") == OBSERVED}
    if named and not named & read:
        raise InputError(
            f"the loss of {config.model.kind}{line_of(model_class(config.model.kind).loss)} does not read "
            "context.observed, and would count the imputed values; leave them out, or take data.missing refuse"
        )


def require_matched(config: Config, program: Any, size: int, target: tuple[int, ...]) -> None:
    """Refuse a loss that compares each of the `size` examples of a batch with the targets of all others.

    The logits of a variational model are [B, K, H, W, C]. Their difference from targets [B, H, W, C] is no error of
    shapes but [B, B, H, W, C].
    """
    kind, model = model_class(config.model.kind), config.model
    if not issubclass(kind, Variational) or kind.loss is Autoencoder.loss or model.samples == size or size == 1:
        return
    pairs = [(size, size, *target)]
    pairs += [(size, size, math.prod(target))] if math.prod(target) != model.code_size else []
    made = [variable.aval for equation in _equations(program.jaxpr) for variable in equation.outvars]
    if found := [array.shape for array in made if getattr(array, "shape", None) in pairs]:
        raise InputError(
            f"the loss of {model.kind}{line_of(kind.loss)} computes {list(found[0])}, every example with every other: "
            "logits are [B, K, H, W, C], for K codes of each example; compare them with clean[:, None]"
        )


def _equations(program: Any) -> Iterator[Any]:
    """Yield every equation within a jaxpr."""
    for equation in program.eqns:
        yield equation
        for given in equation.params.values():
            for inner in given if isinstance(given, tuple | list) else (given,):
                if hasattr(inner := getattr(inner, "jaxpr", inner), "eqns"):
                    yield from _equations(inner)


def kept(variables: Any, before: Any) -> Any:
    """Return the variables of a model after a step, in the types that they had before it; refuse others."""
    after, structure = jax.tree.flatten(variables)
    if structure != jax.tree.structure(before):
        raise InputError("the model has other variables after a step than before it; make them when it is built")
    for leaf, (path, old) in zip(after, jax.tree_util.tree_leaves_with_path(before), strict=True):
        if leaf.shape != old.shape:
            name = jax.tree_util.keystr(path)
            raise InputError(f"the model's variable {name} has shape {leaf.shape} after a step, {old.shape} before it")
    return jax.tree.map(lambda leaf, old: leaf.astype(old.dtype), variables, before)
