"""How a `Run` comes about: by training it (`fit`), or by reading it (`load`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from aejax.config import Config, InputError
from aejax.config.checks import figure_formats
from aejax.config.files import local
from aejax.config.user_files import replaced
from aejax.evaluation.run import Run
from aejax.training import (
    Single,
    best,
    build_steps,
    devices,
    is_first,
    reading,
    record,
    restore,
    train,
    whole,
)


def fit(
    config: Config,
    workdir: str | Path | None = None,
    *,
    dataset: Any = None,
    progress: bool = True,
    on_epoch: Callable[[Run], Mapping[str, float] | None] | None = None,
    figures: str | Iterable[str] = ("png",),
) -> Run:
    """Train an autoencoder, or go on with the run in `workdir`.

    A finished run is loaded, not trained again; given more epochs (`training.epochs`, with a constant schedule), it is
    trained longer. With a workdir the figures of the trained model are drawn below it; one that is there is left alone,
    unless the run was trained longer since.

    Args:
        config: what to train.
        workdir: folder for records and checkpoints; None keeps everything in memory.
        dataset: the images or vectors: a `Dataset`, a name or path, an array (a fifth is set aside as test examples), a
            pair (examples, classes), two such pairs for training and test, or a mapping with the names of
            `Dataset.from_arrays`; None loads `config.data`.
        progress: show a bar, or in a pipe one line per epoch.
        on_epoch: called after each epoch with the model as trained so far. The figures that it returns, by name, are
            recorded with the epoch as `metrics`; `aejax.Finish(...)`, with figures or without, finishes the run.
        figures: formats of the figures: png, pdf, svg; empty draws none. It is no part of the configuration.

    Raises:
        InputError: the images do not fit the configuration, or the workdir cannot be used.
        Diverged: the loss is not finite any more.
        Interrupted: a signal stopped the run after it was saved (only with a workdir).
        PeerLost: another process of the run is gone.
    """
    if not isinstance(config, Config):
        raise InputError(
            f"the configuration is of the type {type(config).__name__}; aejax.fit takes a Config first, as in "
            "aejax.fit(aejax.Config(), dataset=images)"
        )
    if not isinstance(workdir, str | os.PathLike | None):
        raise InputError(
            f"the workdir is of the type {type(workdir).__name__}; it must be a path, and images are given as dataset="
        )
    workdir = None if workdir is None else local(workdir, "the workdir")
    after_epoch = None if on_epoch is None else lambda trained: on_epoch(Run(*trained))
    formats = figure_formats(figures)
    finished_before = None if workdir is None else _finished_at(workdir)
    run = Run(*train(Single(), config, workdir, dataset, progress=progress, on_epoch=after_epoch))
    if workdir is not None and formats and is_first():
        from aejax.evaluation.figures import draw_run  # matplotlib, which a run in memory does not need

        longer = finished_before not in (None, _finished_at(workdir))
        draw_run(run, run.dataset, workdir / "figures", formats, replace=longer)
    return run


def _finished_at(workdir: Path) -> int | None:
    """When the run in a workdir was finished; None where it is not."""
    path = workdir / "summary.json"
    return path.stat().st_mtime_ns if path.exists() else None


def load(
    workdir: str | Path,
    which: Literal["newest", "best"] = "newest",
    *,
    models: str | Path | Iterable[str | Path] = (),
) -> Run:
    """The run in a workdir up to its newest checkpoint, or up to the one with the lowest test loss.

    Args:
        models: the file, or files, of a model or optimizer of its author's, where the run has one. A workdir is data:
            nothing that it names is run unless it is named here.

    Raises:
        InputError: there is no run, its checkpoint is damaged, or it needs a file that is not named.
    """
    if which not in ("newest", "best"):
        raise InputError(f"which is {which!r}; it must be newest or best")
    workdir = local(workdir, "the workdir")
    if (workdir / "sweep.json").exists():
        raise InputError(f"{workdir} holds a sweep; load one of its members, below {workdir / 'members'}")
    here = devices()[0]
    description = reading.description(workdir)
    if "members" in description:
        raise InputError(f"{workdir} holds a program of a sweep; load one of the sweep's members")
    config = replaced(reading.config_of(description), models, str(workdir))
    record.require_same_files(workdir, description, config)
    description |= config.to_dict()
    image_shape = tuple(description["dataset"]["image_shape"])
    like = jax.eval_shape(build_steps(config, image_shape).init)
    folder = workdir / "checkpoints"
    found = whole(folder, description.get("run"))
    step = best(found) if which == "best" else max((manifest.step for manifest in found), default=None)
    if step is None:
        raise InputError(f"{folder} has no whole checkpoint{' of the end of an epoch' if found else ''}")
    state, _, _, recorded = restore(folder, step, like, jax.sharding.SingleDeviceSharding(here))
    lines = reading.lines(workdir)
    before = [line for line in lines if line["step"] <= step]
    ends_epoch = next(manifest for manifest in found if manifest.step == step).test_total is not None
    if ends_epoch and (not before or before[-1]["step"] != step):
        raise InputError(f"{workdir / 'metrics.jsonl'} lacks the epoch that ends with step {step}; put it back")
    reading.require_lines(workdir, before, len(before), recorded)
    summary = reading.summary(workdir)
    return Run(description, state, before, summary if summary.get("step") == step else {})
