"""Requirements on the models of users, checked while a step is traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aejax.config import Config, InputError, complete
from aejax.models import Autoencoder, Output, Variational


def require_output(config: Config, model: Autoencoder, output: Any, images: jax.Array) -> None:
    """Refuse a result that is no `Output` for images [B, H, W, C]; its own loss may take other logits [B, ...]."""
    kind, size = config.model.kind, len(images)
    if not isinstance(output, Output):
        raise InputError(f"the call of {kind} returns {_a(output)}; it must return an aejax.Output")
    if _shape(output.codes) != (size, config.model.code_size):
        raise InputError(f"the codes of {kind} {_has(output.codes)}; it must be {[size, config.model.code_size]}")
    logits, own = _shape(output.logits), type(model).loss not in (Autoencoder.loss, Variational.loss)
    if logits is None or logits[:1] != (size,) or (not own and logits[-3:] != images.shape[1:]):
        raise InputError(f"the logits of {kind} {_has(output.logits)}; it must be {list(images.shape)}, as the images'")
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
    config: Config, terms: Any, output: Output, coefficients: Mapping[str, jax.Array]
) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Return the weighted terms of a loss with their sum "total", and the metrics: all float32[B].

    Raises InputError: a term or metric has another shape, or a name that is in use.
    """
    model, size, metrics = config.model.kind, len(output.codes), output.metrics
    if not isinstance(terms, Mapping) or not terms:
        raise InputError(f"the loss of {model} returns {_a(terms)}; it must return its terms by name, in a dict")
    for name, value in terms.items():
        if _shape(value) != (size,):
            raise InputError(f"the term {name} of {model} {_has(value)}; it must be [{size}], one per example")
    for name, value in metrics.items():
        if _shape(value) not in ((), (size,)):
            raise InputError(f"the metric {name} of {model} {_has(value)}; it must be one number, or [{size}]")
    if taken := ({"total"} | set(terms)) & set(metrics) | {"total"} & set(terms):
        raise InputError(f"{model} has a term or metric named {min(taken)}, a name that is in use; rename it")
    terms = {name: coefficients[name] * value if name in coefficients else value for name, value in terms.items()}
    terms = {name: jnp.asarray(value).astype(jnp.float32) for name, value in terms.items()}
    metrics = {name: jnp.broadcast_to(value, (size,)).astype(jnp.float32) for name, value in metrics.items()}
    return {**terms, "total": sum(terms.values())}, metrics


def require_used(config: Config, program: Any) -> None:
    """Refuse a coefficient with a value other than its default that a train step does not use.

    Args:
        config: complete.
        program: the step as a `ClosedJaxpr`, whose first arguments are the coefficients in the order of their names.
    """
    used = {id(variable) for equation in program.jaxpr.eqns for variable in equation.invars}
    defaults = complete(config.replace({"coefficients": {}})).coefficients
    for name, variable in zip(sorted(config.coefficients), program.jaxpr.invars, strict=False):
        if id(variable) not in used and (value := config.coefficients[name]) != defaults[name]:
            raise InputError(
                f"coefficients.{name} is {value}, and {config.model.kind} does not use it; leave it at its default, "
                f"{defaults[name]}"
            )


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
