"""Accelerators that programs can be compiled for, described for their compilers."""

import contextlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from jax.experimental import topologies

from aejax.config import InputError


class Published(NamedTuple):
    """Rates of a chip that its maker publishes."""

    flops: float
    """peak floating-point operations per second in bfloat16"""
    sent: float
    """bytes per second that a chip sends along one axis of its network, on two links"""


_V5E, _V5P = Published(197e12, 400e9 / 4), Published(459e12, 1200e9 / 6)
"""https://docs.cloud.google.com/tpu/docs/v5e and /v5p: peak compute, and bandwidth of the links between chips in both
directions together, 400 and 1200 GB/s per chip for 4 and 6 links"""


class Target(NamedTuple):
    """One or several devices of a kind."""

    platform: Literal["tpu", "gpu"]
    topology: Mapping[str, Any]
    """arguments of `topologies.get_topology_desc`"""
    memory: int
    """bytes per device"""
    package: str
    """the package that contains the compiler, as it is installed"""
    rates: Mapping[str, float]
    """dtype → peak floating-point operations of the matrix units: per cycle of one core for a TPU, per second for a GPU
    (float32 means TF32 where the GPU has it)"""
    published: Published | None = None
    side: int = 1
    """of the square of numbers that a matrix unit holds; 1 if rows and columns are not padded"""
    counted: bool = True
    """whether the compiler writes its schedules, which takes longer than to compile"""


_GPU = """
    gpu_device_info {{
      name: "{name}" device_vendor: "NVIDIA Corporation" device_address_bits: 64
      cuda_compute_capability {{ major: {capability[0]} minor: {capability[1]} {features} }}
      core_count: {cores} fpus_per_core: {float_units} clock_rate_ghz: {clock}
      memory_bandwidth: {bandwidth} device_memory_size: {memory} l2_cache_size: {cache}
      threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: {threads}
      shared_memory_per_block: 49152 shared_memory_per_core: {shared}
      shared_memory_per_block_optin: {shared_by_block}
      registers_per_core_limit: 65536 registers_per_block_limit: 65536
      block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
      thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
      driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0"
      dnn_version: "9.12.0"
    }}
    platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 12 }}
    runtime_version: {{ major: 13 }} device_description_str: "{name}"
"""
"""text of XLA's `GpuTargetConfigProto`; without versions of the libraries, XLA puts no products into CUDA graphs"""


def _tpu(name: str, memory: int, rate: float, published: Published | None = None, **topology: Any) -> Target:
    # A product of float32 at the default precision is a product of bfloat16.
    kind = {"platform": "tpu", "topology_name": name, **topology}
    rates, side = {"float32": rate, "bfloat16": rate}, 256 if name.startswith("v6e") else 128
    return Target("tpu", kind, memory * 2**30, "libtpu", rates, published, side, name not in _SLICES)


_SLICES = ("v5e:4x4", "v5e:8x8", "v5p:4x4x4")


def _gpu(name: str, rates: Mapping[str, float], **described: Any) -> Target:
    features = "feature_extension: ACCELERATED_FEATURES" if described["capability"] >= (9, 0) else ""
    config = _GPU.format(name=name, features=features, **described)
    topology = {"platform": "cuda", "topology_name": "gpu", "target_config": config, "topology": "1x1x1"}
    return Target("gpu", topology, described["memory"], "jax-cuda13-pjrt", rates)


TARGETS = {
    "v5e-1": _tpu("v5e:1x1", 16, 2**17, chips_per_host_bounds=(1, 1, 1)),
    "v5e-4": _tpu("v5e:2x2", 16, 2**17, _V5E),
    "v5e-16": _tpu("v5e:4x4", 16, 2**17, _V5E),
    "v5e-64": _tpu("v5e:8x8", 16, 2**17, _V5E),
    "v5p-4": _tpu("v5p:2x2x1", 95, 2**17, _V5P),
    "v5p-64": _tpu("v5p:4x4x4", 95, 2**17, _V5P),
    "v6e-1": _tpu("v6e:1x1", 32, 2**19, chips_per_host_bounds=(1, 1, 1)),
    "h100": _gpu(
        "NVIDIA H100 80GB HBM3", {"float32": 494e12, "bfloat16": 989e12}, capability=(9, 0), cores=132,
        float_units=128, shared=233_472, shared_by_block=232_448, threads=2048, cache=50 * 2**20, clock=1.98,
        bandwidth=3_352_320_000_000, memory=84_942_979_072,
    ),
    "a100": _gpu(
        "NVIDIA A100-SXM4-40GB", {"float32": 156e12, "bfloat16": 312e12}, capability=(8, 0), cores=108,
        float_units=64, shared=167_936, shared_by_block=166_912, threads=2048, cache=40 * 2**20, clock=1.41,
        bandwidth=1_555_200_000_000, memory=42_331_013_120,
    ),
    "t4": _gpu(
        "Tesla T4", {"float32": 8.1e12, "bfloat16": 8.1e12}, capability=(7, 5), cores=40,
        float_units=64, shared=65_536, shared_by_block=65_536, threads=1024, cache=4 * 2**20, clock=1.59,
        bandwidth=320_064_000_000, memory=15_642_329_088,
    ),
}  # fmt: skip
"""the names that `benchmark.py --compile-for` accepts → targets"""


def require_compilable(name: str) -> None:
    """Raise an InputError if the target is unknown, or if its compiler is not installed."""
    if name not in TARGETS:
        raise InputError(f"compile-for is {name}; choose from {', '.join(TARGETS)}")
    if (package := TARGETS[name].package) not in compilers():
        advice = "run it by uv run --group compile experiments/benchmark.py"
        raise InputError(f"the compiler for {name} is not installed ({package} is missing); {advice}")


def compilers() -> dict[str, str]:
    """Return the versions of the installed compilers for accelerators."""
    found = {}
    for name in ("libtpu", "jax-cuda13-pjrt", "nvidia-cuda-nvcc"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def environment(target: Target, dump: Path) -> dict[str, str]:
    """Return the environment variables of a process that compiles for a target, and writes its files to `dump`."""
    common = {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    dumps = f"--xla_jf_dump_to={dump} --xla_jf_dump_llo_text=true --xla_jf_emit_annotations=true "
    dumps += "--xla_jf_dump_llo_pass_label_regex=.*final_bundles.*"
    if target.platform == "gpu":
        return common | {"XLA_FLAGS": f"--xla_dump_to={dump} --xla_dump_hlo_as_text"}
    return common | {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "TPU_ACCELERATOR_TYPE": "v5litepod-1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "LIBTPU_INIT_ARGS": dumps if target.counted else "",
    }


def devices(target: Target) -> list[jax.Device]:
    """Return the devices of a target; programs can be compiled for them, but not run."""
    return topologies.get_topology_desc(**target.topology).devices
