"""What a run leaves behind: config.json, metrics.jsonl, summary.json, TensorBoard events; and what it shows."""

from __future__ import annotations

import fcntl
import json
import logging
import sys
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from aejax.config import Config, InputError
from aejax.config.checks import is_own
from aejax.config.files import write, write_json
from aejax.config.user_files import digests, named, sources
from aejax.data import Dataset, Standardization
from aejax.models.randomness import DRAWS
from aejax.training.machine import describe_machine, settings

_SECTIONS = tuple(Config().to_dict())
_SUMMARIES = (("train", "test", "code"), ("members",))  # of one model, and of a sweep's


class Record:
    """The records of one run below `workdir`; without a workdir they are kept in memory only.

    Args:
        workdir: a new folder, or that of the same run.
        description: from `describe`.
        members: number of lines per epoch.
        writes: False in all processes of a run but the first: they only read.

    Attributes:
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
        self._description = description
        self._members = members
        self._writes = writes and workdir is not None
        self._events = self._lock = None
        if not self._writes:
            if workdir is not None and (workdir / "config.json").exists():
                self.lines, self.longer = read_lines(workdir), _is_longer(description, read_description(workdir))
            return
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(workdir)
            if (workdir / "config.json").exists():
                self.longer, self._changed = _require_same_run(workdir, description)
            elif (workdir / "checkpoints").exists():
                raise InputError(f"{workdir} has checkpoints but no config.json; give another workdir")
            else:
                self._describe()
        except InputError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise InputError(f"the workdir {workdir} cannot be written: {error.strerror}") from error
        self.lines = read_lines(workdir)

    @property
    def finished(self) -> bool:
        """Whether summary.json is there, which is written last."""
        return self.workdir is not None and (self.workdir / "summary.json").exists()

    def start(self, epochs_done: int) -> None:
        """Go on after `epochs_done` epochs, those of the restored checkpoint; what was written past it is dropped.

        Raises:
            InputError: metrics.jsonl lacks some of those epochs, though each was written before its checkpoint.
        """
        self.require_lines(epochs_done)
        self.lines = self.lines[: epochs_done * self._members]
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
        self._events = SummaryWriter(str(self.workdir), purge_step=purge)

    def require_lines(self, epochs: int) -> None:
        """Refuse records that lack some of the epochs that a checkpoint has behind it."""
        if self.workdir is not None and len(self.lines) < epochs * self._members:
            raise InputError(
                f"{self.workdir / 'metrics.jsonl'} has {len(self.lines)} whole lines, but {epochs} epochs are "
                "trained: it was changed since; put it back, or give another workdir"
            )

    def add(self, line: dict[str, Any]) -> None:
        """Write the figures of one epoch, or of one member of a sweep in it."""
        self.lines.append(line)
        if not self._writes:
            return
        with open(self.workdir / "metrics.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")
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
            write_json(self.workdir / "summary.json", summary)

    def _describe(self) -> None:
        """Write config.json, after a copy of each of the user's files that the configuration names."""
        config = config_of(self._description)
        for name, path in sources(config).items():
            (self.workdir / "files").mkdir(exist_ok=True)
            write(self.workdir / "files" / name, path.read_text(encoding="utf-8"))
        write_json(self.workdir / "config.json", self._description | named(config).to_dict())

    def close(self) -> None:
        """Close the files and give the workdir free."""
        for file in (self._events, self._lock):
            if file is not None:
                file.close()


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


def config_of(description: dict[str, Any]) -> Config:
    """The configuration within the content of config.json."""
    return Config.from_dict({section: description[section] for section in _SECTIONS if section in description})


def read_description(workdir: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        InputError: there is no run in `workdir`, or its config.json is damaged.
    """
    try:
        description = json.loads((workdir / "config.json").read_text())
        if not isinstance(description, dict) or not {"model", "dataset", "versions"} <= set(description):
            raise ValueError("it lacks what a run writes there")
        config_of(description)
        return description
    except (OSError, ValueError, TypeError, InputError) as error:
        raise InputError(f"{workdir} holds no run that can be read: config.json: {error}") from error


def read_lines(workdir: Path) -> list[dict[str, Any]]:
    """The whole lines of metrics.jsonl; a line that a kill tore, and what stands after it, is dropped."""
    path = workdir / "metrics.jsonl"
    lines = []
    for text in path.read_text(errors="replace").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict) or not {"step", "epoch", "train", "test"} <= set(line):
            break
        lines.append(line)
    return lines


def read_summary(workdir: Path) -> dict[str, Any]:
    """The content of summary.json; empty while the run is not finished.

    Raises:
        InputError: the file is damaged.
    """
    path = workdir / "summary.json"
    if not path.exists():
        return {}
    try:
        summary = json.loads(path.read_text(errors="replace"))
    except ValueError:
        summary = None
    if not isinstance(summary, dict) or not any({"step", *parts} <= set(summary) for parts in _SUMMARIES):
        raise InputError(f"{path} is damaged; remove it, and the run will write it again")
    return summary


def _lock(workdir: Path) -> IO[str]:
    """A lock on the workdir, which ends with the process.

    Raises:
        InputError: another run holds it.
    """
    file = open(workdir / ".lock", "w")  # noqa: SIM115 - the lock is held as long as the file is open
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise InputError(f"another run is under way in {workdir}; wait for it, or give another workdir") from error
    return file


_MAY_CHANGE = ("training.epochs:", "training.patience:")
"""fields that say how long to train: a run may go on with more epochs"""


def _is_longer(description: dict[str, Any], saved: dict[str, Any]) -> bool:
    return description["training"]["epochs"] > saved["training"]["epochs"]


def _require_same_run(workdir: Path, description: dict[str, Any]) -> tuple[bool, bool]:
    """Refuse what is not the run in a workdir.

    Returns:
        whether it is to be trained for more epochs than before, and whether its configuration changes at all.
    """
    saved = read_description(workdir)
    config = config_of(description)
    differences = config.differences(config_of(saved))
    longer = _is_longer(description, saved)
    fixed = [difference for difference in differences if not difference.startswith(_MAY_CHANGE)]
    if not fixed and longer and config.training.schedule != "constant":
        raise InputError(
            f"{workdir} holds a run of fewer epochs ({'; '.join(differences)}), and the {config.training.schedule} "
            "schedule depends on their number: it cannot be trained longer; give another workdir"
        )
    if fixed or description["training"]["epochs"] < saved["training"]["epochs"]:
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
