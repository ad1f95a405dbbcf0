"""Paths of arrays and of parts of a model, such as `encoder` and `decoder.layers.0`, and the parts that stay frozen."""

import difflib
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from aejax.config import InputError

Path = tuple[str | int, ...]
"""keys from a model, or from nested dictionaries of its arrays, to one of them"""


def dotted(path: Iterable[str | int]) -> str:
    """Name an array for a user; a path through `nnx.Sequential` names its attribute `layers` once."""
    return ".".join(map(str, path)).replace("layers.layers.", "layers.")


def name_of(path: Any) -> str:
    """Name an array by its path in a tree of JAX, as `dotted` does."""
    return dotted([jax.tree_util.keystr(path, simple=True, separator=".")])


def _child(node: Any, key: str | int) -> Any:
    if isinstance(node, nnx.Sequential) and str(key).isdecimal():
        node = node.layers
    if str(key).isdecimal():
        return node[int(key)]
    return node[key] if isinstance(node, Mapping) else getattr(node, key)


def _variables(part: Any) -> set[int]:
    return {id(node) for _, node in nnx.iter_graph(part) if isinstance(node, nnx.Variable)}


def parts(model: nnx.Module, names: Sequence[str]) -> list[Any]:
    """Return the modules and variables of a model that `training.frozen` names.

    Raises InputError: a name is that of no part with parameters or other variables.
    """
    found = []
    for name in names:
        try:
            part = functools.reduce(_child, name.split("."), model)
        except (AttributeError, LookupError, TypeError):
            part = None
        if part is None or not _variables(part):
            paths = flatten_dict(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
            known = dict.fromkeys(path for each in map(dotted, paths) for path in (each.partition(".")[0], each))
            near = difflib.get_close_matches(name, known, 3, cutoff=0.0)
            raise InputError(
                f"training.frozen names {name!r}, and the model has no such part; give a path of parameters, or its "
                f"beginning, such as {', '.join(near)}"
            )
        found.append(part)
    return found


def frozen(model: nnx.Module, names: Sequence[str]) -> frozenset[Path]:
    """Return the paths of the parameters and other variables within the named parts of a model.

    A shared parameter is in each part that holds it: a tied decoder holds the layers of the encoder.

    Raises InputError: a name is that of no part, or no parameter is left to train.
    """
    if not names:
        return frozenset()
    within = set().union(*map(_variables, parts(model, names)))
    every = [(path, node) for path, node in nnx.iter_graph(model) if isinstance(node, nnx.Variable)]
    still = frozenset(path for path, node in every if id(node) in within)
    if still.issuperset(path for path, node in every if isinstance(node, nnx.Param)):
        raise InputError(f"training.frozen is {', '.join(names)}, which leaves no parameter to train; leave some out")
    return still


def split(tree: Any, paths: frozenset[Path]) -> tuple[Any, Any]:
    """Split nested dictionaries of arrays: (the other arrays, the arrays at the paths)."""
    if not paths:
        return tree, {}
    flat = flatten_dict(tree)
    others, chosen = ({path: flat[path] for path in flat if (path in paths) == inside} for inside in (False, True))
    return unflatten_dict(others), unflatten_dict(chosen)


def joined(others: Any, chosen: Any) -> Any:
    """Join the two results of `split`."""
    return unflatten_dict(flatten_dict(others) | flatten_dict(chosen)) if chosen else others
