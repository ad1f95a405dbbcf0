"""The functions that return a `Run`: `fit` trains it, `load` reads it from a workdir."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from aejax.config import Config, InputError
from aejax.config.checks import figure_formats
from aejax.config.paths import local
from aejax.config.user_files import replaced
from aejax.evaluation.run import Run
from aejax.training import Single, best, build_steps, devices, is_first, restore, train
from aejax.training.records import read_identity, stored


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
    described = read_identity(workdir)
    if described.members is not None:
        raise InputError(f"{workdir} holds a program of a sweep; load one of the members of the sweep")
    config = replaced(described.config, models, str(workdir))
    described.require_files(config, workdir)
    like = jax.eval_shape(build_steps(config, described.dataset.image_shape).init)
    found = stored(workdir, described)
    step = best(found.manifests) if which == "best" else found.manifests[-1].step
    if step is None:
        raise InputError(f"{workdir / 'checkpoints'} has no whole checkpoint of the end of an epoch")
    state = restore(workdir / "checkpoints", step, like, jax.sharding.SingleDeviceSharding(here)).state
    history = [line for line in found.history if line["step"] <= step]
    summary = found.summary if found.summary.get("step") == step else {}
    identity = dataclasses.replace(described, config=config).of_length(found.identity.config)
    return Run(identity, state, history, summary)
