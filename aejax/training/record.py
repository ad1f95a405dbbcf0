"""What a run leaves behind: config.json, metrics.jsonl, summary.json, TensorBoard events; and what it shows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from aejax.config import Config, InputError
from aejax.config.checks import is_own, reason
from aejax.config.files import append, locked, write
from aejax.config.user_files import digests, named, sources
from aejax.data import Dataset, Standardization
from aejax.models.randomness import DRAWS
from aejax.training import reading
from aejax.training.machine import describe_machine, settings
from aejax.training.reading import config_of


class Record:
    """The records of one run below `workdir`; without a workdir they are kept in memory only.

    Args:
        workdir: a new folder, or that of the same run.
        description: from `describe`.
        members: number of lines per epoch.
        writes: False in all processes of a run but the first: they only read.

    Attributes:
        description: the content of config.json; in it `run`, whose the checkpoints are, unless an older version began
            the run.
        lines: one dictionary per epoch (of a sweep: per epoch and member), as in metrics.jsonl.
        longer: whether the run that is there is to be trained for more epochs than it was begun with.

    Raises:
        InputError: the workdir cannot be written, or holds a run with another configuration or other images.
    """

    def __init__(
        self, workdir: Path | None, description: dict[str, Any], *, members: int = 1, writes: bool = True
    ) -> None:
        self.workdir = workdir
        self.lines: list[dict[str, Any]] = []
        self.longer = self._changed = False
        self.description = {"run": identity(description)} | description
        self._members = members
        self._writes = writes and workdir is not None
        self._events = None
        self._open = contextlib.ExitStack()
        there = workdir is not None and (workdir / "config.json").exists()
        if not self._writes:
            if there:
                self._go_on(saved := reading.description(workdir))
                self.longer = _is_longer(description, saved)
            return
        with contextlib.ExitStack() as opened:
            try:
                workdir.mkdir(parents=True, exist_ok=True)
                opened.enter_context(locked(workdir, "run"))
                if (workdir / "config.json").exists():
                    self.longer, self._changed = _require_same_run(workdir, description)
                    self._go_on(reading.description(workdir))
                elif (workdir / "checkpoints").exists():
                    raise InputError(f"{workdir} has checkpoints but no config.json; give another workdir")
                else:
                    self._describe()
            except OSError as error:
                raise InputError(f"the workdir {workdir} cannot be written: {reason(error)}") from error
            self._open = opened.pop_all()

    def _go_on(self, saved: dict[str, Any]) -> None:
        """As the run that is there: a run is whose it was when it began."""
        self.description = {key: value for key, value in self.description.items() if key != "run"}
        self.description |= {"run": saved["run"]} if "run" in saved else {}
        self.lines = reading.lines(self.workdir)

    @property
    def finished(self) -> bool:
        """Whether summary.json is there, which is written last."""
        return self.workdir is not None and (self.workdir / "summary.json").exists()

    @property
    def run(self) -> str | None:
        """Whose the checkpoints are, as in `Manifest`."""
        return self.description.get("run")

    @property
    def digest(self) -> str | None:
        """Of the lines so far, for a checkpoint; None in a run of an older version."""
        return None if self.run is None else self._digest.hexdigest()

    def start(self, epochs_done: int, recorded: str | None = None) -> None:
        """Go on after `epochs_done` epochs, those of the restored checkpoint; what was written past it is dropped.

        Raises:
            InputError: as `require_lines`.
        """
        self.require_lines(epochs_done, recorded)
        self.lines = self.lines[: epochs_done * self._members]
        self._digest = reading.Digest(self.lines)
        if not self._writes:
            return
        if self.longer:
            self.lines = [{name: value for name, value in line.items() if name != "finish"} for line in self.lines]
        if self._changed:
            self._describe()
        (self.workdir / "summary.json").unlink(missing_ok=True)
        write(self.workdir / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in self.lines))
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            return
        purge = self.lines[-1]["step"] + 1 if self.lines else 0
        # Without an end to its queue: its thread dies on a full disk, and who waits for it to take an event would hang.
        self._events = SummaryWriter(str(self.workdir), purge_step=purge, max_queue=0)

    def require_lines(self, epochs: int, recorded: str | None) -> None:
        """Refuse records that are not those of the epochs that a checkpoint has behind it; see `reading`.

        Raises:
            InputError: metrics.jsonl lacks some, though each was written before its checkpoint, or was changed; or it
                has more than can be without a checkpoint, and there is none.
        """
        if self.workdir is None:
            return
        reading.require_lines(self.workdir, self.lines, epochs, recorded, self._members)
        if epochs == 0 and len(self.lines) > 2 * self._members:  # the first is saved before the third is written
            raise InputError(
                f"{self.workdir} holds a run of {len(self.lines) // self._members} epochs whose checkpoints are gone; "
                "put them back, or give another workdir"
            )

    def add(self, line: dict[str, Any]) -> None:
        """Write the figures of one epoch, or of one member of a sweep in it."""
        self.lines.append(line)
        self._digest.add(line)
        if not self._writes:
            return
        append(self.workdir / "metrics.jsonl", json.dumps(line) + "\n")
        if self._events is not None:
            of = f"{line['member']}/" if "member" in line else ""
            for group in ("train", "test", "code", "metrics"):
                for name, value in line.get(group, {}).items():
                    if value is not None:  # what is not finite
                        self._events.add_scalar(f"{of}{group}/{name}", value, line["step"])
            self._events.add_scalar(f"{of}images_per_second", line["images_per_second"], line["step"])

    def finish(self, summary: dict[str, Any]) -> None:
        """Write summary.json, the sign of a finished run."""
        if self._writes:
            reading.write(self.workdir / "summary.json", summary)

    def _describe(self) -> None:
        """Write config.json, after a copy of each of the user's files that the configuration names."""
        config = config_of(self.description)
        for name, path in sources(config).items():
            (self.workdir / "files").mkdir(exist_ok=True)
            write(self.workdir / "files" / name, path.read_text(encoding="utf-8"))
        reading.write(self.workdir / "config.json", self.description | named(config).to_dict())

    def close(self) -> None:
        """Close the files and give the workdir free."""
        if self._events is not None:
            with contextlib.suppress(OSError):  # a full disk: what matters has been told of by then
                self._events.close()
        self._open.close()


class Progress:
    """A bar over the steps at a terminal; in a pipe one plain line per epoch."""

    def __init__(self, epochs: int, steps: int, done: int, shown: bool) -> None:
        self._epochs = epochs
        self._shown = shown
        self._bar = tqdm(total=steps, initial=done, unit="step", disable=not (shown and sys.stderr.isatty()))

    def advance(self, steps: int) -> None:
        """So many steps more are done."""
        self._bar.update(steps)

    def add(self, line: dict[str, Any]) -> None:
        """An epoch is done."""
        epoch = f"epoch {line['epoch']}/{self._epochs}"
        figures = (
            f"train {line['train']['total']:.4f}  test {line['test']['total']:.4f}  "
            f"{line['images_per_second']:,.0f} images/s"
        )
        self._bar.set_postfix_str(f"{epoch}  {figures}")
        if self._shown and self._bar.disable:
            print(f"{epoch}  {figures}", flush=True)

    def close(self) -> None:
        self._bar.close()


def describe(config: Config, dataset: Dataset, standardization: Standardization | None = None) -> dict[str, Any]:
    """The content of config.json: the configuration, the user's files, the images, the software and the machine."""
    labels = dataset.labels_fingerprint
    return {
        **config.to_dict(),
        "files": digests(config),
        "dataset": {
            "name": dataset.name,
            "image_shape": list(dataset.image_shape),
            "vectors": dataset.vectors,
            "range": dataset.range,
            "fingerprint": dataset.fingerprint,
            **({} if standardization is None else {"standardization": standardization.to_dict()}),
            **({} if labels is None else {"labels": labels}),
        },
        "draws": DRAWS,
        "settings": settings(),
        **describe_machine(),
    }


def identity(description: dict[str, Any]) -> str:
    """Tells one run from another by all that its states follow from: configuration, user's files, images, members.

    Made once, when a run begins, and kept with it: a later version may know of more fields.
    """
    config = config_of(description)
    computed = {**config.computed, "data.name": None, "training.patience": None}
    if config.epochs_may_grow:
        computed["training.epochs"] = None  # it may be trained longer
    images = {key: value for key, value in description["dataset"].items() if key != "name"}
    rest = [description.get(key) for key in ("files", "draws", "members")]
    return hashlib.sha256(json.dumps([computed, images, *rest], sort_keys=True).encode()).hexdigest()


_MAY_CHANGE = ("training.epochs:", "training.patience:")
"""fields that say how long to train: a run may go on with more epochs"""


def _is_longer(description: dict[str, Any], saved: dict[str, Any]) -> bool:
    return description["training"]["epochs"] > saved["training"]["epochs"]


def _require_same_run(workdir: Path, description: dict[str, Any]) -> tuple[bool, bool]:
    """Refuse what is not the run in a workdir.

    Returns:
        whether it is to be trained for more epochs than before, and whether its configuration changes at all.
    """
    saved = reading.description(workdir)
    config = config_of(description)
    differences = config.differences(config_of(saved))
    longer = _is_longer(description, saved)
    fixed = [difference for difference in differences if not difference.startswith(_MAY_CHANGE)]
    if not fixed and longer and not config.epochs_may_grow:
        raise InputError(
            f"{workdir} holds a run of fewer epochs ({'; '.join(differences)}), and a schedule "
            "depends on their number: it cannot be trained longer; give another workdir"
        )
    if not fixed and description["training"]["epochs"] < saved["training"]["epochs"]:
        raise InputError(
            f"{workdir} holds a run of more epochs ({'; '.join(differences)}), and their number can only be "
            "raised; give another workdir"
        )
    if fixed:
        raise InputError(
            f"{workdir} holds a run with another configuration ({'; '.join(differences)}); "
            "give another workdir, or the same configuration, or remove this one"
        )
    require_same_files(workdir, saved, config)
    there, here = saved["dataset"], description["dataset"]
    if any(there[name] != here[name] for name in ("image_shape", "fingerprint")):  # not how they were named
        raise InputError(
            f"{workdir} holds a run on other images ({there['fingerprint']} there, {here['fingerprint']} here); "
            "give another workdir"
        )
    if is_own(config.model.kind) and there.get("labels", here.get("labels")) != here.get("labels"):
        raise InputError(f"{workdir} holds a run on the same images with other labels; give another workdir")
    if _not_zero(saved.get("members")) != _not_zero(description.get("members")):
        raise InputError(f"{workdir} holds a sweep of other members; give another workdir")
    for name, now in description["settings"].items():
        if (before := saved.get("settings", {}).get(name, now)) != now:
            raise InputError(
                f"{workdir} was begun with {name} = {before}, and {now} would give other numbers: set it as it was, "
                "or give another workdir"
            )
    before, now = saved["versions"]["jax"], description["versions"]["jax"]
    if before != now:
        logging.getLogger("aejax").warning(
            "%s was begun with jax %s and goes on with %s: equal to rounding, not bit for bit", workdir, before, now
        )
    if saved.get("draws", 1) != DRAWS:
        logging.getLogger("aejax").warning(
            "%s was begun by a version of aejax that draws other noise and orders from a seed, and goes on with this "
            "one's: as good, but not what either would have made alone",
            workdir,
        )
    return longer, bool(differences)


def require_same_files(workdir: Path, saved: dict[str, Any], config: Config) -> None:
    """Refuse a file of the user's own that is not as it was when the run began.

    Raises:
        InputError: one has changed.
    """
    before = saved.get("files", {})  # older runs have no digests
    for name, digest in digests(config).items():
        if before.get(name, digest) != digest:
            raise InputError(
                f"{workdir} was trained with another {name}; put that one back ({workdir / 'files' / name} is a copy), "
                "or give another workdir"
            )


def _not_zero(members: dict[str, dict[str, Any]] | None) -> Any:
    """The members of a sweep without the values that are 0: older runs name other fields."""
    return members and {name: {key: value for key, value in each.items() if value} for name, each in members.items()}
