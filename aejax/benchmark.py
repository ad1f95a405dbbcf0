"""Throughput of the compiled epoch, beside what a user would pick instead, measured in turn in one run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aejax.batches import steps_per_epoch
from aejax.config import Config, InputError
from aejax.datasets import Dataset
from aejax.devices import Driver
from aejax.epoch import build_programs
from aejax.step import build_steps


def measure(
    configs: Mapping[str, Config],
    dataset: Dataset,
    batches: list[int],
    repeats: int,
    peer: list[str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Time one epoch of each model at each batch size; yield a row for each.

    Args:
        peer: command of a program that trains the same model on the same images; it is given the path of a
            JSON file with the task, and prints the seconds of each of its epochs but the first, as JSON.
            Models with a corruption or a penalty are measured without it.

    Yields:
        model, batch, compile_seconds, steps, ms_per_step, images_per_second and its std over the repeats; with
        a peer also peer_images_per_second, and ratio, the median over the repeats of ours to the peer's.
    """
    for model, config in configs.items():
        for batch in batches:
            yield _row(model, config.replace({"training.batch_size": batch}), dataset, repeats, peer)


def table(rows: list[Mapping[str, Any]]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| model | batch | compile [s] | ms per step | images/s | Keras on JAX, images/s | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        peer = f"{row['peer_images_per_second']:,.0f} | {row['ratio']:.2f}" if "ratio" in row else "- | -"
        lines.append(
            f"| {row['model']} | {row['batch']} | {row['compile_seconds']:.2f} | {row['ms_per_step']:.3f} | "
            f"{row['images_per_second']:,.0f} ± {row['images_per_second_std']:,.0f} | {peer} |"
        )
    return "\n".join(lines)


def _row(model: str, config: Config, dataset: Dataset, repeats: int, peer: list[str] | None) -> dict[str, Any]:
    count = steps_per_epoch(config.training, len(dataset.train))
    driver = Driver(config.devices, config.training.batch_size)
    steps = build_steps(config, dataset.image_shape, count, driver.axis)
    state = driver.replicate(jax.jit(steps.init)())
    begin = time.perf_counter()
    programs = build_programs(steps, config, driver, state, dataset)
    programs.flops(count)  # compiles training
    compile_seconds = time.perf_counter() - begin
    seconds, peers = [], []
    for epoch in range(repeats + 1):
        begin = time.perf_counter()
        state, terms = programs.train(state, count)
        jax.block_until_ready(terms)
        seconds.append(time.perf_counter() - begin)
        if peer is not None and epoch > 0 and config.corruption.kind == "none" and config.coefficients.l1 == 0:
            peers.append(_peer_seconds(peer, config, dataset))
    rates = [count * config.training.batch_size / second for second in seconds[1:]]  # the first warms up
    row = {
        "model": model,
        "batch": config.training.batch_size,
        "compile_seconds": compile_seconds,
        "steps": count,
        "ms_per_step": 1000 * statistics.mean(seconds[1:]) / count,
        "images_per_second": statistics.mean(rates),
        "images_per_second_std": statistics.stdev(rates) if repeats > 1 else 0.0,
    }
    if peers:
        peer_rates = [len(dataset.train) / second for second in peers]
        row["peer_images_per_second"] = statistics.mean(peer_rates)
        row["ratio"] = statistics.median(ours / theirs for ours, theirs in zip(rates, peer_rates, strict=True))
    return row


def _peer_seconds(peer: list[str], config: Config, dataset: Dataset) -> float:
    """Seconds of a peer's fastest epoch after its first, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        images, task = Path(folder, "images.npy"), Path(folder, "task.json")
        np.save(images, dataset.train)
        task.write_text(json.dumps({"images": str(images), "config": config.to_dict()}))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
        finished = subprocess.run([*peer, str(task)], env=clean, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        reason = (finished.stderr.strip() or "no message").splitlines()[-1]
        raise InputError(f"the peer {' '.join(peer)} fails: {reason}")
    return min(json.loads(finished.stdout.strip().splitlines()[-1]))
