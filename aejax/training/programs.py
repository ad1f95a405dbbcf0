"""Memoised programs: a run compiles only what no run of the same shape in this process has compiled before."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import jax

Made = TypeVar("Made")

KEPT = 64
"""number of programs that are kept; a run has about ten"""

_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_numpy_dtype_promotion",
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_disable_most_optimizations",
)
"""settings of JAX that change how a function is traced or compiled"""


@functools.lru_cache(maxsize=KEPT)
def kept(make: Callable[..., Made], settings: tuple[Any, ...], *key: Hashable) -> Made:
    """Call `make(*key)`, or return what an earlier call returned."""
    return make(*key)


def memoised(make: Callable[..., Made]) -> Callable[..., Made]:
    """Keep the programs that a function makes, the least recently used ones excepted.

    The arguments of the function are the key. They must be hashable, contain everything that the program depends on
    (see `Steps`, `Driver`, `Like`), and hold no arrays: examples would stay in memory for as long as the program.
    A key without a hash, such as a model with a list as an attribute, is not kept.
    """

    @functools.wraps(make)
    def memoised_make(*key: Hashable) -> Made:
        try:
            hash(key)
        except TypeError:
            return make(*key)
        return kept(make, tuple(getattr(jax.config, name, None) for name in _SETTINGS), *key)

    return memoised_make


class Like(NamedTuple):
    """The structure, shapes, types and shardings of a tree of arrays, as part of a key."""

    structure: jax.tree_util.PyTreeDef
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    @staticmethod
    def of(tree: Any) -> Like:
        """Describe a tree of `jax.ShapeDtypeStruct`."""
        leaves, structure = jax.tree.flatten(tree)
        return Like(structure, tuple(leaves))

    @property
    def tree(self) -> Any:
        return jax.tree.unflatten(self.structure, self.leaves)
