"""Compiled programs, memoised: a run compiles no program that a run of the same shape has compiled before."""

from __future__ import annotations

import contextlib
import functools
import math
import re
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
    """Keep the most recently used programs that a function makes.

    The arguments are the key: they contain everything that the program depends on (see `Steps`, `Driver`, `like`), and
    hold no arrays, which would stay in memory. A key without a hash (a model with a list as an attribute) is not kept.
    """

    @functools.wraps(make)
    def memoised_make(*key: Hashable) -> Made:
        try:
            hash(key)
        except TypeError:
            return make(*key)
        return kept(make, tuple(getattr(jax.config, name, None) for name in _SETTINGS), *key)

    return memoised_make


Like = tuple[jax.tree_util.PyTreeDef, tuple[jax.ShapeDtypeStruct, ...]]
"""the structure, shapes, types and shardings of a tree of arrays, as part of a key, for `jax.tree.unflatten`"""


def like(tree: Any) -> Like:
    """Make a part of a key from a tree of `jax.ShapeDtypeStruct`."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(leaves)


class Program(NamedTuple):
    """A compiled program; flops are 0, memory and text empty if the compiler does not report them."""

    call: Callable  # arguments → results
    flops: float  # floating-point operations, the body of a loop counted once
    memory: Mapping[str, int]  # bytes on each device: arguments, results that reuse none of it, temporaries
    text: Callable[[], str]  # () → the optimized HLO

    @staticmethod
    def of(lowered: jax.stages.Lowered, platform: str, *, on_one_core: bool = False) -> Program:
        """Compile a lowered function; `on_one_core` keeps its operations on one core of a CPU."""
        options = dict(_cpu_options(on_one_core)) if platform == "cpu" else {}
        if platform == "gpu" and longest_sum(lowered.as_text()) <= _SHORT:
            options["xla_disable_hlo_passes"] = "splitk-rewriter,fusion-dynamic-memcpy-rewriter"
        compiled = lowered.compile(compiler_options=options)
        costs, found, memory = compiled.cost_analysis() or {}, compiled.memory_analysis(), {}
        costs = costs[0] if isinstance(costs, list) else costs
        if found is not None:
            memory = {
                "arguments": int(found.argument_size_in_bytes),
                "results": int(found.output_size_in_bytes - found.alias_size_in_bytes),
                "temporaries": int(found.temp_size_in_bytes),
            }
        return Program(compiled, float(costs.get("flops", 0)), memory, compiled.as_text)


_SHORT = 1024
"""terms of a sum that a GPU computes at once: for partial sums, XLA pads both factors and adds in further launches"""


def longest_sum(text: str) -> int:
    """Return the number of terms in the longest sum of the matrix products in a lowered program (StableHLO)."""
    found = re.findall(r"dot_general.*contracting_dims = \[([\d, ]+)\].*: \(tensor<([\dx]+)x", text)
    sums = (math.prod(int(sizes.split("x")[int(axis)]) for axis in axes.split(",")) for axes, sizes in found)
    return max(sums, default=0)


@functools.cache
def _cpu_options(on_one_core: bool) -> dict[str, Any]:
    """Choose the options for a CPU that this version of XLA knows.

    Eigen computes matrix products: XLA's other library is slower at these sizes. Vectors have the processor's full
    width: XLA prefers half of 512 bits.
    """
    wanted = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE", "xla_cpu_prefer_vector_width": 512}
    if on_one_core:
        wanted |= {"xla_cpu_multi_thread_eigen": False, "xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    known = {}
    for name, value in wanted.items():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda: 0).lower().compile(compiler_options={name: value})
            known[name] = value
    return known
