"""The functions that return a `Run`: `fit` trains it, `load` reads it from a workdir."""

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax

from aejax.config import Config, InputError, complete
from aejax.config.checks import COUNT, figure_formats, require
from aejax.config.user_files import replaced, require_scheduled
from aejax.data import Dataset
from aejax.evaluation.run import Run
from aejax.storage import opened
from aejax.training import Single, best, build_steps, is_first, restore, shared, train
from aejax.training.devices import shardings
from aejax.training.identity import Identity
from aejax.training.loop import Trained
from aejax.training.records import identity_of_run, stored, summary_of
from aejax.training.sharding import loaded_state
from aejax.training.source import Source


def fit(
    config: Config,
    workdir: str | Path | None = None,
    *,
    dataset: Any = None,
    progress: bool = True,
    on_epoch: Callable[[Run], Mapping[str, float] | None] | None = None,
    figures: str | Iterable[str] = ("png",),
    start: Run | str | Path | None = None,
    images_every: int | None = None,
) -> Run:
    """Train an autoencoder, or resume the run in `workdir`.

    A finished run is loaded and not trained again. With more epochs (`training.epochs`, constant schedule) it is
    trained longer. With a workdir, the figures of the trained model are drawn in its folder `figures`. Existing
    figures are kept unless training continued.

    Args:
        config: the configuration.
        workdir: folder for records and checkpoints, on a disk or in a bucket (gs://BUCKET/FOLDER, s3://BUCKET/FOLDER);
            None keeps everything in memory.
        dataset: the images or vectors: a `Dataset`, a name or path, an array (a fifth is set aside as test examples), a
            pair (examples, classes), two pairs for training and test, a mapping with the names of
            `Dataset.from_arrays`, or a dataset of Hugging Face, PyTorch or tf.data; None loads `config.data`.
        progress: show a bar at a terminal, otherwise one line per epoch.
        on_epoch: called after each epoch with a `Run` of the model so far. The returned numbers, by name, are
            recorded with the epoch as `metrics`. `aejax.Finish(...)`, with or without numbers, finishes the run.
        figures: formats of the figures: png, pdf, svg; "none" draws none. The formats are not recorded.
        start: a run, or its workdir, in place of `training.start`: parameters and other variables with the same path,
            shape and type begin with its values.
        images_every: number of epochs between pictures in TensorBoard (reconstructions and samples, a histogram of the
            code) of test examples; None draws none. It needs a workdir and tensorboardX.

    Raises:
        InputError: the images do not fit the configuration, or the workdir cannot be used.
        Diverged: the loss is not finite.
        Interrupted: a signal stopped the run after it was saved (only with a workdir).
        PeerLost: another process of the run has ended.
        Stopped: another run uses the workdir in a bucket, or the store does not answer.
    """
    if not isinstance(config, Config):
        raise InputError(
            f"the configuration is of the type {type(config).__name__}; aejax.fit takes a Config first, as in "
            "aejax.fit(aejax.Config(), dataset=dataset)"
        )
    if not isinstance(workdir, str | os.PathLike | None):
        raise InputError(
            f"the workdir is of the type {type(workdir).__name__}; it must be a path; pass the examples as dataset="
        )
    if not isinstance(start, Run | str | os.PathLike | None):
        raise InputError(f"start is of the type {type(start).__name__}; it must be an aejax.Run, or the workdir of one")
    source = Source.of(start.state) if isinstance(start, Run) else None
    if start is not None:
        config = config.replace({"training.start": start if source is None else f"sha256:{source.digest}"})
    after_epoch = None if on_epoch is None else lambda trained: on_epoch(Run(*trained))
    formats = figure_formats(figures)
    pictures = None if images_every is None else _pictures(images_every, workdir)
    require_scheduled(config)
    options = {"progress": progress, "on_epoch": after_epoch, "source": source, "pictures": pictures}
    with shared(workdir, config.hosts) as folder:
        finished_before = None if folder is None else _finished_at(folder)
        run = Run(*train(Single(), config, folder, dataset, **options))
        if folder is not None and formats and is_first():
            from aejax.evaluation.figures import draw_run  # matplotlib, which a run in memory does not need

            longer = finished_before not in (None, _finished_at(folder))
            draw_run(run, run.dataset, folder / "figures", formats, replace=longer)
    return run


def _pictures(every: int, workdir: Path | None) -> Callable[[Trained], tuple]:
    """Return the function that draws for TensorBoard after every n-th epoch, and nothing after the others."""
    require(COUNT.holds(every), "images_every", every, "a number of epochs, at least 1, or None")
    require(workdir is not None, "images_every", every, "None without a workdir, which holds the files of TensorBoard")
    found = importlib.util.find_spec("tensorboardX")
    require(found is not None, "images_every", every, "None without tensorboardX: pip install 'aejax[tensorboard]'")

    def after_epoch(trained: Trained) -> tuple:
        from aejax.evaluation.figures import pictures  # matplotlib

        return pictures(Run(*trained)) if trained.lines[-1]["epoch"] % every == 0 else ({}, {})

    return after_epoch


def _finished_at(workdir: Path) -> int | None:
    """Return the time at which the run in a workdir was finished; None if it is not finished."""
    path = workdir / "summary.json"
    return path.stat().st_mtime_ns if path.exists() else None


def load(
    workdir: str | Path, which: Literal["newest", "best"] = "newest", *, models: str | Path | Iterable[str | Path] = ()
) -> Run:
    """Load the run in a workdir at its newest checkpoint, or at its best by the validation examples.

    Args:
        models: the file, or files, that define the run's own model or optimizer. A workdir is data: `load` runs no
            code from it, and only the files that are named here.

    Raises InputError: the workdir holds no run, the run needs a file that is not named, no checkpoint is whole, or
        config.json, metrics.jsonl or summary.json differs from the newest checkpoint.
    """
    require(which in ("newest", "best"), "which", which, "newest or best")
    with opened(workdir, reads=True) as folder:
        described = identity_of_run(folder)
        config = replaced(described.config, models, str(folder))
        described.require_files(config, folder)
        found, summary = stored(folder, described)
        like = loaded_state(build_steps(config, described.dataset.image_shape), config, described.dataset.image_shape)
        newest = found[-1]
        chosen = best(found) if which == "best" else newest
        if chosen is None:
            advice = "it needs validation examples: train with data.validation, such as 0.1, in another workdir"
            raise InputError(f"{folder / 'checkpoints'} has no best checkpoint; {advice}")
        state, _ = restore(folder / "checkpoints", chosen, like, shardings(like))
    history = [line for line in newest.history if line["step"] <= chosen.step]
    identity = dataclasses.replace(described, config=config).of_length(newest.identity.config)
    if summary.get("step") != chosen.step:  # of an unfinished run the best epoch is known, and nothing else is final
        summary = summary_of(identity, history) if which == "best" else {}
    return Run(identity, state, history, summary)


def untrained(config: Config, dataset: Dataset) -> Run:
    """Describe a run before training, for the table of its layers: its state has shapes but no numbers."""
    config = complete(config)
    state = jax.eval_shape(build_steps(config, dataset.image_shape).init)
    return Run(Identity.of(config, dataset), state._replace(step=0), [], {})
