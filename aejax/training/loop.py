"""The training loop of `aejax.fit` and `aejax.sweep`."""

import contextlib
import dataclasses
import functools
import logging
import math
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from aejax import signals
from aejax.config import Config, InputError, complete
from aejax.config.checks import Named, Stopped
from aejax.config.files import addressed
from aejax.config.user_files import located
from aejax.data import Dataset, as_dataset, describe, require_fit, resolved, split
from aejax.signals import stop_requests
from aejax.training.batches import steps_per_epoch
from aejax.training.checkpoint import Checkpoints, Manifest, has_checkpoints, restore, verified
from aejax.training.chunks import Pace, chunks
from aejax.training.devices import Driver, gather, initializer, is_first, peers, shardings, together
from aejax.training.divergence import Diverged, failure_of, require_finite_state
from aejax.training.epoch import build_programs, mean_of_known, require_same_terms, summarize
from aejax.training.identity import Identity
from aejax.training.programs import like as key_of
from aejax.training.records import Progress, Record, summary_of
from aejax.training.selection import Selection, factors
from aejax.training.sharding import abstract_state, addressable, require_memory
from aejax.training.source import Source, report, source_of
from aejax.training.start import join
from aejax.training.step import Traced, TrainState, build_steps, require_trainable, values_of
from aejax.training.unreached import warn_unreached

SAVE_EVERY = 60.0
"""seconds between checkpoints within a long epoch"""


class Interrupted(Stopped):
    """A signal stopped the run after it was saved: the same call resumes it."""

    everywhere = True


class Finish(dict):
    """Return value of `on_epoch` that finishes the run and records metrics: `Finish(accuracy=0.9)`."""


class Single:
    """The model of an ordinary run; `aejax.sweeps.Members` is the class for many models in one program."""

    names: Sequence[str | None] = (None,)  # of the members; None for a single model
    alone = True  # whether a failure ends the run; otherwise the other members continue
    description: Mapping[str, Any] = {}  # entries of config.json about the members

    def driver(self, config: Config, devices: Sequence[jax.Device] | None = None) -> Driver:
        """Choose the devices, among those of this process or among others."""
        return Driver(config.devices, config.training.batch_size, devices)

    def values(self, config: Config) -> Traced:
        return values_of([config], alone=True)

    def each(self, results: Any) -> list[Any]:
        """Split the results of a program into those of each member."""
        return [results]

    def local(self, state: TrainState) -> TrainState:
        """Return the state for use without the other processes."""
        return addressable(state)

    def summary(self, identity: Identity, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the content of summary.json for the lines of metrics.jsonl."""
        return summary_of(identity, lines)


class Trained(NamedTuple):
    """Result of `train`: fields as in `aejax.Run`, with the lines of metrics.jsonl as history."""

    identity: Identity
    state: TrainState
    lines: list[dict[str, Any]]
    summary: dict[str, Any]
    dataset: Dataset


def train(
    models: Single,
    config: Config,
    workdir: Path | None,
    dataset: Any,
    progress: bool,
    on_epoch: Callable | None = None,
    source: Source | None = None,
    pictures: Callable[[Trained], tuple] | None = None,
) -> Trained:
    """Train one model, or the members of a sweep (`aejax.sweeps.Members`); see `aejax.fit`.

    Args:
        source: the state to begin with, which is otherwise read from `training.start`.
        pictures: called after each epoch in the process that writes the record, for arguments of `Record.show`.
    """
    config = complete(located(config))
    given = as_dataset(dataset, config)
    config = resolved(config, given)
    dataset, selection, standardization = split(config.data, given), Selection.of(config), None
    require_fit(config, dataset)
    said = describe(config, dataset)
    means = dataset.means() if config.data.missing == "mask" else None
    if config.data.standardize:
        dataset, standardization = dataset.standardized()
    join(config.hosts)
    signals.renew()  # `jax.distributed` has replaced the handler of SIGTERM
    with peers(), contextlib.ExitStack() as stack:
        driver, values = models.driver(config), models.values(config)
        visible = progress and is_first()
        tell = functools.partial(print, flush=True) if visible else lambda text: None
        identity = Identity.of(config, given, standardization, means, **models.description)
        steps_in_epoch = steps_per_epoch(config.training, len(dataset.train))
        last_step = config.training.epochs * steps_in_epoch
        checkpoints = None if workdir is None else Checkpoints(workdir / "checkpoints")
        saved, summary, summarize_run = Manifest(0, {}), {}, functools.partial(models.summary, identity)
        with together():
            size = dataset.image_shape, steps_in_epoch, driver.batch_axis, len(dataset.train)
            steps = build_steps(config, *size, identity.dataset.imputed)
            require_trainable(config, dataset, driver.batch_axis)
            warn_unreached(config, identity.dataset)
            if source is None:
                source = source_of(config, workdir, has_checkpoints(workdir), driver.replicated)
            begun = ()
            if source is not None:
                *begun, described = source.agreeing(jax.eval_shape(steps.init), steps.drawn, config.training.frozen)
                identity = dataclasses.replace(identity, start=described)
            _require_same_everywhere(identity)
            require_same_terms(config, steps, driver, dataset, values)
            like = abstract_state(driver, steps, config, dataset.image_shape, values)
            require_memory(config, like, driver, dataset.image_shape, steps_in_epoch)
            record = Record(workdir if is_first() else None, identity)
            stack.callback(record.close)
            if record.workdir is not None:
                record.open()
                saved = checkpoints.recover(record.identity)
                summary = record.verify(saved, summarize_run)
        identity = dataclasses.replace(identity, start=record.identity.start)
        step, epoch_terms = int(gather([saved.step])[0, 0]), {}
        if step:
            signals.saved()
            with together():
                saved = saved if is_first() else verified(checkpoints.folder, step)
            state, epoch_terms = restore(checkpoints.folder, saved, like, shardings(like))
        else:
            state = initializer(driver, steps, steps.own, key_of(like))(values[1], *begun)
        history, epochs = saved.history, config.training.epochs
        failures = {line["member"]: line["diverged"] for line in history if "diverged" in line}
        longer = step > 0 and epochs > saved.identity.config.training.epochs
        # With a longer patience, the epoch at which the patience ends now was not tested.
        tested = bool(history) and history[-1]["step"] == step and "test" in history[-1]
        finished = step == last_step or (tested and not longer and _is_finished(config, history))
        if said and models.alone:  # a sweep has said so
            tell(said)
        if finished and gather([bool(summary)]).any():
            tell(addressed(f"{workdir} holds this run, finished: nothing to train"))
            return Trained(identity, models.local(state), history, summarize_run(history), given)
        if step:
            tell(addressed(f"{workdir} goes on after step {step}, {step // steps_in_epoch} of {epochs} epochs"))
        elif source is not None:
            tell(report(source.place, identity.start))
        record.start(history)
        if epoch_terms:
            _check(models, failures, epoch_terms, None, step)
        last_step = step if finished else last_step
        shown = stack.enter_context(Progress(epochs, last_step, step, visible, given.kind))

        programs = build_programs(steps, config, driver, like, dataset, values)
        pace = Pace(steps_in_epoch, programs.flops, jax.process_count(), saved.chunk)
        stop = threading.Event()
        if checkpoints is not None:  # before this line there is nothing to save, and a signal ends the process
            stop = stack.enter_context(stop_requests())
            stack.enter_context(checkpoints)
        epoch_seconds = saved.seconds
        chunk_steps, chunk_seconds = 0, 0.0  # of the previous chunk
        kept = free = time.perf_counter()  # when a state was last kept for saving, and the device was last free

        def decide() -> tuple[int, bool, bool]:
            nonlocal kept
            # All processes decide alike: a program that only some of them call is a deadlock.
            own = [stop.is_set(), time.perf_counter() - kept, chunk_seconds]
            signalled, unsaved, longest = gather(own).max(axis=0)
            pace.measured(chunk_steps, longest)
            keep = checkpoints is not None and unsaved > SAVE_EVERY
            if keep:
                kept = time.perf_counter()
            return pace.steps, keep, signalled > 0

        def evaluated_after(last: bool) -> list[str]:
            tests = last or config.training.evaluate_test
            return [part for part in ("validation", "test") if part in dataset.examples and (part != "test" or tests)]

        def means_of(sums: Mapping[str, Any]) -> dict[str, list]:
            """Return `summarize` of each evaluated part for each member."""
            counts, size = {part: len(dataset.examples[part]) for part in sums}, config.model.code_size
            each = {part: models.each(jax.device_get(found)) for part, found in sums.items()}
            return {part: [summarize(own, counts[part], size) for own in found] for part, found in each.items()}

        def factors_now() -> Named:
            return factors(config, record.lines, len(models.names))

        for chunk in chunks(programs, state, steps_in_epoch, last_step, decide, evaluated_after, factors_now):
            terms = jax.device_get(chunk.terms)
            chunk_steps = len(terms["total"])
            step += chunk_steps
            found = None if chunk.sums is None else means_of(chunk.sums)
            chunk_seconds = chunk.trained.result() - max(free, chunk.dispatched)
            free = chunk.evaluated.result()
            _check(models, failures, terms, found, step)
            epoch_terms = {
                name: np.concatenate([epoch_terms.get(name, values[:0]), values]) for name, values in terms.items()
            }
            epoch_seconds += chunk_seconds
            shown.update(chunk_steps)
            ends, lines = False, []
            if found is not None:
                rate = len(epoch_terms["total"]) * config.training.batch_size / epoch_seconds
                common = {"step": step, "epoch": step // steps_in_epoch}
                common |= {"seconds": epoch_seconds, "images_per_second": rate}
                lines = _lines(models, common, epoch_terms, factors_now(), failures)
                _add(lines, found)
                if on_epoch is not None or pictures is not None:
                    trained_so_far = Trained(identity, models.local(chunk.state), [*record.lines, *lines], {}, given)
                if on_epoch is not None:
                    lines[0] |= _metrics(on_epoch(trained_so_far))
                ends = _is_finished(config, [*record.lines, *lines])
                if ends and "test" not in found:
                    found = means_of({"test": programs.evaluate(chunk.state, "test")})
                    _check(models, failures, {}, found, step)
                    _add(lines, found)
                for line in lines:
                    record.add(line)
                if pictures is not None and record.workdir is not None:
                    record.show(*pictures(trained_so_far))
                epoch_terms, epoch_seconds, kept = {}, 0.0, free
                shown.add(lines)
            if chunk.state is not None:
                state = chunk.state
                if checkpoints is not None:
                    here = models.local(state)
                    if models.alone:
                        require_finite_state(here, step)
                    described = {"selected": selection.lowest(lines), "seconds": epoch_seconds, "chunk": pace.steps}
                    checkpoints.save(here, epoch_terms, record.texts, **described)
            if ends:
                last_step = step
                if models.alone and config.training.patience is not None:
                    tell(selection.report(record.lines))
                break  # the next chunk is under way; its results are not used
        if step < last_step:
            done = f"after step {step} of {last_step}, saved in {workdir}"
            raise Interrupted(f"stopped by a signal {done}: run the same command to go on")
        if checkpoints is not None:
            checkpoints.wait()  # summary.json, written last, marks a finished run
            signals.saved()
        summary = summarize_run(record.lines)
        record.finish(summary)
        if gather([stop.is_set()]).any():
            done = f"after the last step; the run in {workdir} is finished"
            raise Interrupted(f"stopped by a signal {done}: run the same command for the work that follows training")
        return Trained(identity, models.local(state), record.lines, summary, given)


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Replace values that JSON does not have."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _lines(models: Single, common: dict, terms: Mapping, factors: Named, failures: Mapping) -> list[dict[str, Any]]:
    """Return the line of an epoch for each member: `common`, and the means of the terms over the steps."""
    lines = []
    for place, (name, own) in enumerate(zip(models.names, models.each(terms), strict=True)):
        mean = mean_of_known if np.isfinite(own["total"]).all() else np.mean
        means = {term: float(mean(values)) for term, values in own.items()}
        line = ({} if name is None else {"member": name}) | common | {"train": _finite(means)}
        if factors:
            line["factors"] = {each: values[place] for each, values in factors.items()}
        if name in failures:
            line["diverged"] = failures[name]
        lines.append(line)
    return lines


def _add(lines: Sequence[dict[str, Any]], found: Mapping[str, Sequence[Any]]) -> None:
    """Add what was evaluated to the lines of an epoch; the code is that of the validation examples if there are any."""
    for part, of_members in found.items():
        for line, (terms, code) in zip(lines, of_members, strict=True):
            line[part] = _finite(terms)
            line.setdefault("code", _finite(code))


def _is_finished(config: Config, lines: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether `on_epoch` or `training.patience` ends the run after these lines of metrics.jsonl."""
    patience, values = config.training.patience, [Selection.of(config).value(line) for line in lines]
    stalled = patience is not None and lines and len(values) - 1 - values.index(min(values)) >= patience
    return bool(stalled or (lines and lines[-1].get("finish")))


def _metrics(returned: Any) -> dict[str, Any]:
    """Return what `on_epoch` adds to the line of an epoch; all processes finish if one does."""
    finish = bool(gather([isinstance(returned, Finish)]).any())
    if not isinstance(returned, Mapping | None):
        raise InputError(f"on_epoch returned {returned!r}; it must return metrics by name, aejax.Finish(...) or None")
    metrics = {}
    for name, value in (returned or {}).items():
        try:
            metrics[str(name)] = float(value)
        except (TypeError, ValueError) as error:
            raise InputError(f"on_epoch returned {value!r} for the metric {name}; it must be a number") from error
    return ({"metrics": _finite(metrics)} if metrics else {}) | ({"finish": True} if finish else {})


def _require_same_everywhere(identity: Identity) -> None:
    """Refuse processes with different runs: a deadlock or a mixed result would follow."""
    devices, placement = identity.config.devices, identity.config.data.placement
    same = identity.determining, identity.files, identity.versions, devices, placement
    checksums = gather([zlib.crc32(repr(same).encode())])[:, 0]
    if (other := checksums != checksums[0]).any():
        raise InputError(
            f"process {int(other.argmax())} has another configuration, other examples, versions or settings of JAX "
            "than process 0; give all processes the same command"
        )


def _check(
    models: Single, failures: dict[str, str], terms: dict[str, np.ndarray], found: Mapping | None, step: int
) -> None:
    """Raise `Diverged`, or note each member whose loss is not finite in these steps or in the evaluation after them."""
    for member, (name, own) in enumerate(zip(models.names, models.each(terms), strict=True)):
        failure = failure_of(own, {part: each[member][0] for part, each in (found or {}).items()}, step)
        if failure is not None and models.alone:
            raise Diverged(failure)
        if failure is not None and name not in failures:
            failures[name] = failure
            logging.getLogger("aejax").warning("%s diverged, the others go on: %s", name, failure)
