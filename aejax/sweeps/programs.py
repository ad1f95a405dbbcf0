"""The programs of a sweep, in a workdir with results.json, report.md, figures/ and

sweep.json      the configuration, the axes, and the names of the members of each program
programs/0/     of each program: config.json, metrics.jsonl (a line per epoch and member), checkpoints, summary
members/NAME/   of each member: an ordinary run, for `aejax.load`
"""

import contextlib
import dataclasses
import functools
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from aejax.config import Config, InputError
from aejax.config.checks import counted, figure_formats, refusing, require
from aejax.config.files import locked, write_json
from aejax.config.grid import Grid, grid
from aejax.config.sections import Data
from aejax.config.user_files import located
from aejax.data import Dataset, as_dataset, describe, require_fit, resolved, split
from aejax.evaluation import Run
from aejax.evaluation.drawing import loss_unit
from aejax.storage import opened
from aejax.sweeps import comparison
from aejax.sweeps.members import Members
from aejax.training.batches import steps_per_epoch
from aejax.training.devices import device_bytes
from aejax.training.divergence import Diverged
from aejax.training.epoch import build_programs
from aejax.training.loop import Trained, train
from aejax.training.records import read_identity, stored
from aejax.training.sharding import abstract_state, require_memory
from aejax.training.source import source_of
from aejax.training.step import build_steps, require_trainable


@dataclass(frozen=True)
class Sweep:
    """Result of `sweep`.

    Attributes:
        runs: the members that did not diverge, by name.
        results: the content of results.json (see `aejax.sweeps.comparison.results`), and models_at_a_time, the number
            of members that each device trains at a time, for each program.
    """

    runs: dict[str, Run]
    results: dict[str, Any]

    @property
    def best(self) -> Run:
        """The best member; `InputError` says why there is none."""
        if self.results["best"] is None:
            raise InputError(f"the sweep names no best member: {self.results['no_best']}")
        return self.runs[self.results["best"]["member"]]


def sweep(
    config: Config,
    axes: Mapping[str, Iterable[Any]],
    workdir: str | Path | None = None,
    *,
    dataset: Any = None,
    progress: bool = True,
    figures: str | Iterable[str] = ("png",),
) -> Sweep:
    """Train every combination of the values of some fields, or resume the sweep in `workdir`.

    Members that differ in seed and coefficients only are one program and share its devices and its batches. Other
    fields, and members that do not fit in memory together, make several programs, run one after another. A device
    trains the members of a program in groups (`aejax.sweeps.members.group_size`).

    The best member is chosen by `training.select` of the validation examples. Where more than the seed varies, a tenth
    of the training examples is set aside for this unless `data.validation` or the dataset says otherwise.

    Args:
        config: the common configuration of the members.
        axes: field → its values, as in `{"training.seed": range(8), "coefficients.l1": [0, 1e-4]}`.
        workdir: folder for records and checkpoints, as in `aejax.fit`; None keeps everything in memory.
        dataset, progress: as in `aejax.fit`.
        figures: formats of the figure that is drawn with a workdir: png, pdf, svg; "none" draws none.

    Raises:
        InputError: an axis, the images or the workdir cannot be used.
        Diverged: every member diverged.
        Interrupted: a signal stopped the sweep after it was saved (only with a workdir).
        Stopped: as in `aejax.fit`.
    """
    formats = figure_formats(figures)
    with contextlib.ExitStack() as stack:
        if workdir is not None:
            workdir = stack.enter_context(opened(workdir))
        planned = grid(located(config), axes)
        for member in planned.members.values():
            patience = member.training.patience
            require(patience is None, "training.patience", patience, "None: the members of a sweep end together")
        given = as_dataset(dataset, config)
        chooses = bool(comparison.chosen(planned.axes)) or any(member.chooses for member in planned.members.values())
        chosen = resolved(config, given, chooses=chooses)
        if chosen != config:
            config, planned = chosen, grid(located(chosen), planned.axes)
        dataset_of = functools.cache(lambda data: split(data, given))
        first_members = [planned.members[names[0]] for names in planned.programs]
        for member in first_members:
            require_fit(member, dataset_of(member.data))
        representative = first_members.copy()
        for name in (path.partition(".")[2] for path in planned.axes if path.startswith("coefficients.")):
            # A member for each value of each swept coefficient.
            representative += {member.coefficients.get(name): member for member in planned.members.values()}.values()
        metrics, *_ = [require_trainable(member, dataset_of(member.data)) for member in representative]
        begun = workdir is not None and (workdir / "sweep.json").exists()
        source = source_of(config, workdir, begun, Members(planned.members).driver(config).replicated)
        if source is not None:
            for member in first_members:
                steps = build_steps(member, given.image_shape)
                source.agreeing(jax.eval_shape(steps.init), steps.drawn, member.training.frozen)
        said = describe(config, dataset_of(first_members[0].data))
        if progress and said:
            print(said, flush=True)
        if progress and (changed := comparison.changes_selected(planned.axes, config)):
            print(f"no best member will be named, since {changed[0]}; to choose, set training.select", flush=True)
        if workdir is not None:
            with refusing(f"the workdir {workdir} cannot be written", only=OSError):
                workdir.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(workdir, "sweep"))
        programs = _programs(planned, config, dataset_of, workdir, progress)
        runs: dict[str, Run] = {}
        rows: dict[str, dict[str, Any]] = {}
        groups = []
        for number, names in enumerate(programs):
            if progress and len(programs) > 1:
                described = f"{counted(len(names), 'member')}, {names[0]} first"
                print(f"program {number + 1} of {len(programs)}: {described}", flush=True)
            members = {name: planned.members[name] for name in names}
            models, first = Members(members), members[names[0]]
            folder = None if workdir is None else workdir / "programs" / str(number)
            trained = train(models, first, folder, given, progress=progress, source=source)
            groups.append(models.driver(first).group(trained.state))
            for index, (name, member) in enumerate(members.items()):
                row = rows[name] = {"member": name, **planned.settings[name], **trained.summary["members"][name]}
                run = _member(trained, index, name, member)
                if "diverged" not in row and not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(run.state)):
                    row["diverged"] = f"the state is not finite after step {int(run.state.step)}"
                if "diverged" not in row:
                    runs[name] = run
                    if workdir is not None:
                        _write_member(run, workdir / "members" / name, planned.settings[name])
        results = comparison.results(planned.axes, [rows[name] for name in planned.members], config, metrics)
        results["models_at_a_time"] = groups
        if workdir is not None:
            shape = given.target_shape or given.train.shape[1:]
            units = {loss_unit(member, shape) for member in planned.members.values()}
            unit = units.pop() if len(units) == 1 else None
            comparison.write(results, config, unit, workdir, formats, said)
        if not runs:
            name, row = next(iter(rows.items()))
            raise Diverged(f"every member diverged; {name}: {row['diverged']}")
        return Sweep(runs, results)


def _member(trained: Trained, index: int, name: str, config: Config) -> Run:
    """Return one member of a program as an ordinary run."""
    step = trained.state.step
    own = jax.tree.map(lambda array: np.asarray(array[index]), trained.state._replace(step=None))._replace(step=step)
    identity = dataclasses.replace(trained.identity, config=config, members=None)
    lines = [line for line in trained.lines if line["member"] == name]
    lines = [{key: value for key, value in line.items() if key != "member"} for line in lines]
    return Run(identity, own, lines, trained.summary["members"][name], trained.dataset)


_WRITTEN = ("summary.json", "config.json", "metrics.jsonl", "checkpoints", "files", ".lock")
"""files of a run; summary.json, the sign of a finished run, is removed first"""


def _write_member(run: Run, folder: Path, settings: Mapping[str, Any]) -> None:
    """Write a member as an ordinary run, unless the folder already holds it undamaged."""
    with contextlib.suppress(InputError):
        found, summary = stored(folder, read_identity(folder))
        written = found[-1].identity.to_dict(), found[-1].history, summary, found[-1].step
        if written == (run.identity.to_dict(), run.history, run.summary, run.summary["step"]):
            return
    for path in [folder / name for name in _WRITTEN] + list(folder.glob("events.out.tfevents*")):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    run.save(folder, settings)


def _programs(
    planned: Grid, config: Config, dataset_of: Callable[[Data], Dataset], workdir: Path | None, progress: bool
) -> list[list[str]]:
    """Return the names of the members of each program; a resumed sweep keeps its programs."""
    path = None if workdir is None else workdir / "sweep.json"
    advice = "put the file back, or give another workdir"
    if path is not None and path.exists():
        with refusing(f"{path} is damaged", f"; {advice}"):
            found = json.loads(path.read_text(encoding="utf-8"))
            axes, programs = found["axes"], found["programs"]
            held = sorted(name for names in programs for name in names)
        # Each program compares its configuration, as an ordinary run does.
        if axes != planned.axes:
            differences = f"axes: {planned.axes} here, {axes} there"
            raise InputError(f"{workdir} holds another sweep ({differences}); give another workdir, or remove this one")
        if held != sorted(planned.members):
            raise InputError(f"{path} is damaged (its programs do not hold each member once); {advice}")
        return programs
    if path is not None and (workdir / "config.json").exists():
        raise InputError(f"{workdir} holds a run, not a sweep; give another workdir")
    if progress and len(planned.programs) > 1:
        print(f"the axes change what is compiled: {len(planned.programs)} programs, one after another", flush=True)
    programs = []
    for names in planned.programs:
        first = planned.members[names[0]]
        most = fitting(first, dataset_of(first.data), len(names))
        if most < len(names) and progress:
            print(f"{len(names)} members do not fit in memory together: at most {most} at a time", flush=True)
        parts = -(-len(names) // most)
        programs += [names[len(names) * part // parts : len(names) * (part + 1) // parts] for part in range(parts)]
    if path is not None:
        write_json(path, {"config": config.to_dict(), "axes": planned.axes, "programs": programs})
    return programs


_SHARE = 0.8
"""share of the free memory that a sweep may take"""

_PLENTY = 30, 120_000
"""multiple of the state of a member, and bytes for each pixel of an image: more than any dense model needs"""


def fitting(config: Config, dataset: Dataset, members: int) -> int:
    """Return how many of the members fit in memory together.

    Unless all certainly fit, we compile the programs for one and for two members per device. We assume that each
    further member adds as much memory as the second.

    Raises InputError: not even one member per device fits.
    """
    in_epoch, shape = steps_per_epoch(config.training, len(dataset.train)), dataset.image_shape
    needs, devices = [], len(Members({"": config}).driver(config).devices)
    for each in (1, 2):
        models = Members({str(member): config for member in range(each * devices)})
        driver, values = models.driver(config), models.values(config)
        steps = build_steps(config, shape, in_epoch, driver.batch_axis, len(dataset.train))
        state = abstract_state(driver, steps, config, shape, values)
        own, room = device_bytes(state), _SHARE * min(driver.free_bytes())
        if each == 1:
            require_memory(config, state, driver, shape, in_epoch)
            plenty = _PLENTY[0] * own + _PLENTY[1] * math.prod(shape)
            if members / devices * plenty < room:
                return members
        programs = build_programs(steps, config, driver, state, dataset, values)
        largest = max(sum(program.memory.values()) for _, program in programs.compiled(in_epoch))
        needs.append(largest + 3 * own)  # the state, a copy that is being saved, and the results of earlier groups
    one, two = needs
    return max(1, min(members, devices * int((room - (2 * one - two)) / max(1.0, two - one))))
