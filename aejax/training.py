"""The one loop: `fit(config, workdir)`."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aejax.batches import steps_per_epoch
from aejax.checkpoint import Checkpoints
from aejax.config import AejaxError, Config, InputError
from aejax.datasets import Dataset, load_dataset, require_fit
from aejax.devices import Driver
from aejax.epoch import compile_programs, summarize
from aejax.interrupt import Interrupted, stop_requests
from aejax.record import Progress, Record, describe, read_summary
from aejax.run import Run
from aejax.step import Steps, Terms, TrainState, build_steps


class Diverged(AejaxError):
    """The loss is not finite any more; the last checkpoint is from before."""


def fit(
    config: Config,
    workdir: str | Path | None = None,
    *,
    dataset: Dataset | np.ndarray | None = None,
    progress: bool = True,
) -> Run:
    """Train an autoencoder, or go on with the run in `workdir`.

    Args:
        config: what to train.
        workdir: folder for records and checkpoints; None keeps everything in memory. A finished run is
            loaded, not trained again.
        dataset: the images, or an array of them (a fifth is set aside as test images); None loads
            `config.data`.
        progress: show a bar, or in a pipe one line per epoch.

    Raises:
        InputError: the images do not fit the configuration, or the workdir cannot be used.
        Diverged: the loss is not finite any more.
        Interrupted: a signal stopped the run after it was saved (only with a workdir).
    """
    if dataset is None:
        dataset = load_dataset(config.data.name, config.data.source_dir)
    elif not isinstance(dataset, Dataset):
        dataset = Dataset.from_arrays(dataset)
    require_fit(config, dataset)
    steps_in_epoch = steps_per_epoch(config.training, len(dataset.train))
    driver = Driver(config.devices, config.training.batch_size)
    workdir = None if workdir is None else Path(workdir)
    description = describe(config, dataset)
    record = Record(workdir, description)
    steps = build_steps(config, dataset.image_shape, steps_in_epoch, driver.axis)

    with contextlib.ExitStack() as stack:
        stack.callback(record.close)
        state = checkpoints = None
        stop = threading.Event()
        if workdir is not None:
            checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", saves=True))
            state = checkpoints.restore(jax.eval_shape(steps.init))
        if state is None and record.finished:
            raise InputError(f"{workdir} holds a finished run whose checkpoints are gone; give another workdir")
        state = driver.replicate(jax.jit(steps.init)() if state is None else state)
        done = int(state.step) // steps_in_epoch
        if done == config.training.epochs and record.finished:
            record.require_lines(done)
            if progress:
                print(f"{workdir} holds this run, finished: nothing to do", flush=True)
            return Run(description, state, record.lines, read_summary(workdir))
        record.start(done)
        if workdir is not None:  # only now: before, there is nothing to save, and a signal may end the process
            stop = stack.enter_context(stop_requests())
        shown = stack.enter_context(contextlib.closing(Progress(config.training.epochs, done, progress)))
        epochs = _epochs(config, dataset, driver, steps, state, done)
        for line, state in epochs:
            record.add(line)
            shown.add(line)
            if checkpoints is not None:
                checkpoints.save(line["step"], state, line["test"]["total"])
            if stop.is_set() and line["epoch"] < config.training.epochs:
                raise Interrupted(
                    f"stopped by a signal after epoch {line['epoch']} of {config.training.epochs}, saved "
                    f"in {workdir}: run the same command to go on"
                )

    summary = _summary(record.lines, config, dataset)
    record.finish(summary)
    return Run(description, state, record.lines, summary)


def _epochs(
    config: Config, dataset: Dataset, driver: Driver, steps: Steps, state: TrainState, done: int
) -> Iterator[tuple[dict[str, Any], TrainState]]:
    """Train epoch after epoch; yield the figures and the state of each once the next is on the device."""
    programs = compile_programs(steps, config, driver, state, dataset)
    free = 0.0  # when the device was last seen to be free

    def results(
        epoch: int, dispatched: float, terms: Terms, sums: dict[str, Any], state: TrainState
    ) -> tuple[dict[str, Any], TrainState]:
        nonlocal free
        terms = jax.device_get(terms)
        seconds = time.perf_counter() - max(dispatched, free)
        test, code = summarize(jax.device_get(sums), len(dataset.test), config.model.code_size)
        free = time.perf_counter()
        step = int(state.step)
        _require_finite(terms, test, step)
        line = {
            "step": step,
            "epoch": epoch,
            "seconds": seconds,
            "images_per_second": len(terms["total"]) * config.training.batch_size / seconds,
            "train": {name: float(np.mean(values, dtype=np.float64)) for name, values in terms.items()},
            "test": test,
            "code": code,
        }
        return line, state

    under_way = None
    for epoch in range(done + 1, config.training.epochs + 1):
        dispatched = time.perf_counter()
        state, terms = programs.train(state, epoch - 1)
        handed_over = epoch, dispatched, terms, programs.evaluate(state.params), programs.snapshot(state)
        if under_way is not None:
            yield results(*under_way)
        under_way = handed_over
    if under_way is not None:
        yield results(*under_way)


def _require_finite(terms: dict[str, np.ndarray], test: dict[str, float], step: int) -> None:
    """Stop at the first step whose loss is not finite, naming the term."""
    advice = "try a smaller coefficients.learning_rate, or set training.clip_norm, in another workdir"
    bad = ~np.isfinite(terms["total"])
    names = [name for name in terms if name != "total"]
    if bad.any():
        first = int(bad.argmax())
        term = next((name for name in names if not np.isfinite(terms[name][first])), "total")
        raise Diverged(
            f"the loss is not finite at step {step - len(bad) + first + 1}: the term {term} is "
            f"{terms[term][first]}; {advice}"
        )
    if not np.isfinite(test["total"]):
        term = next((name for name in names if not np.isfinite(test[name])), "total")
        raise Diverged(f"the test loss is not finite after step {step}: the term {term} is {test[term]}; {advice}")


def _summary(lines: list[dict[str, Any]], config: Config, dataset: Dataset) -> dict[str, Any]:
    """The content of summary.json."""
    seconds = sum(line["seconds"] for line in lines)
    images = lines[-1]["step"] * config.training.batch_size
    summary = {
        "step": lines[-1]["step"],
        "epochs": lines[-1]["epoch"],
        "seconds": seconds,
        "images_per_second": images / seconds,
        "train": lines[-1]["train"],
        "test": lines[-1]["test"],
        "code": lines[-1]["code"],
    }
    if config.loss.reconstruction == "bce":
        summary["test_nats_per_image"] = lines[-1]["test"]["reconstruction"] * math.prod(dataset.image_shape)
    return summary
