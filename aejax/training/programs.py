"""Compiled programs, and their memory: a run compiles only what no run of the same shape has compiled before."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping
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


class Program(NamedTuple):
    """A compiled program.

    Attributes:
        call: arguments → results.
        flops: floating-point operations, the body of a loop counted once; 0 if the compiler does not report them.
        memory: bytes on each device by use, to be added up: arguments, results that reuse no argument's memory,
            temporaries; empty if the compiler does not report them.
        text: () → the optimized HLO; an empty string if there is none.
    """

    call: Callable
    flops: float
    memory: Mapping[str, int]
    text: Callable[[], str]

    @staticmethod
    def of(lowered: jax.stages.Lowered, platform: str, *, on_one_core: bool = False) -> Program:
        """Compile a lowered function; `on_one_core` keeps its operations on one core of a CPU."""
        compiled = lowered.compile(compiler_options=_compiler_options(platform, on_one_core))
        return Program(compiled, _flops(compiled), _memory(compiled), compiled.as_text)


def _memory(compiled: Any) -> dict[str, int]:
    found = compiled.memory_analysis()
    if found is None:
        return {}
    return {
        "arguments": int(found.argument_size_in_bytes),
        "results": int(found.output_size_in_bytes - found.alias_size_in_bytes),
        "temporaries": int(found.temp_size_in_bytes),
    }


def _flops(compiled: Any) -> float:
    costs = compiled.cost_analysis() or {}
    costs = costs[0] if isinstance(costs, list) else costs
    return float(costs.get("flops", 0))


@functools.cache
def _compiler_options(platform: str, on_one_core: bool) -> dict[str, Any]:
    """Choose the options for a CPU that this version of XLA knows.

    Eigen computes matrix products: XLA's other library is slower at these sizes. Vectors have the full width of the
    processor: XLA prefers half of 512 bits. On one core, no operation is split among threads.
    """
    if platform != "cpu":
        return {}
    wanted = {
        "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
        "xla_cpu_prefer_vector_width": 512,
    }
    if on_one_core:
        wanted |= {"xla_cpu_multi_thread_eigen": False, "xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    return {name: value for name, value in wanted.items() if _is_known({name: value})}


def _is_known(options: dict[str, Any]) -> bool:
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options=options)
    except jax.errors.JaxRuntimeError:
        return False
    return True
