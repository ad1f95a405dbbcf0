"""Records of a run: config.json, metrics.jsonl, summary.json, TensorBoard events and the progress bar.

The three files repeat, for readers, what the newest checkpoint holds. A file that differs is refused.
"""

import contextlib
import functools
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from aejax.config import InputError
from aejax.config.checks import is_own, reason, refusing
from aejax.config.files import append, locked, write, write_json
from aejax.config.user_files import sources
from aejax.training.checkpoint import CHANGED, Manifest, whole
from aejax.training.identity import Identity


class Record:
    """The records of one run.

    Args:
        workdir: a new folder, or the folder of the same run; None, as in all processes but the first, keeps the lines
            in memory only.
    """

    def __init__(self, workdir: Path | None, identity: Identity) -> None:
        self.workdir = workdir
        self.identity = identity  # as recorded in config.json and in each checkpoint
        self.lines: list[dict[str, Any]] = []  # as in metrics.jsonl: one per epoch, and per member in a sweep
        self.texts: list[str] = []  # JSON of the identity and of each line, for a checkpoint
        self._events = None
        self._locked = contextlib.ExitStack()
        self._there: set[Path] | None = None  # content of a new run's workdir before the run

    def open(self) -> None:
        """Lock the workdir, and compare what it holds with this run, or copy the user's files to it.

        Raises InputError: the workdir cannot be written, or holds another run.
        """
        workdir = self.workdir
        with refusing(f"the workdir {workdir} cannot be written", only=OSError):
            workdir.mkdir(parents=True, exist_ok=True)
            there = set(workdir.glob("*"))
            self._locked.enter_context(locked(workdir, "run"))
            if (workdir / "config.json").exists():
                saved = read_identity(workdir)
                self.identity.require_resumes(saved, workdir)
                self.identity = saved.of_length(self.identity.config)
            elif found := [name for name in ("checkpoints", "metrics.jsonl") if (workdir / name).exists()]:
                raise InputError(f"{workdir} has {found[0]} but no config.json; give another workdir")
            else:
                self._there = there
                for name, path in sources(self.identity.config).items():
                    if name.endswith(".py"):
                        (workdir / "files").mkdir(exist_ok=True)
                        write(workdir / "files" / name, path.read_text(encoding="utf-8"))

    def verify(self, saved: Manifest, summarize: Callable[..., dict[str, Any]]) -> dict[str, Any]:
        """Refuse a metrics.jsonl or summary.json that differs from what the newest checkpoint holds.

        metrics.jsonl may have more lines: of later epochs, which a kill or a damaged checkpoint lost.

        Args:
            saved: describes the newest checkpoint; step 0 without a checkpoint.
            summarize: lines → content of summary.json.

        Returns the content of summary.json; empty while the run is not finished.

        Raises InputError: a file differs or cannot be read, or the checkpoints of a trained run are missing.
        """
        path, held = self.workdir / "metrics.jsonl", list(saved.records[1:])
        with refusing(f"{path} cannot be read", "; nothing was changed", only=OSError):
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        summary_path, lines = self.workdir / "summary.json", text.split("\n")[:-1]  # a kill may cut the last line
        epochs = len(lines) // len(self.identity.members or [None])
        if saved.step == 0 and (epochs > 2 or summary_path.exists()):  # we save the first epoch before the third ends
            missing = f"{self.workdir} holds a run of {epochs} epochs whose checkpoints are gone"
            raise InputError(f"{missing}; put them back, or give another workdir")
        if lines[: len(held)] != held:
            found = f"{len(lines)} whole lines, which differ from the {len(held)} of the newest checkpoint"
            raise InputError(f"{path} has {found}: the file was changed; put it back, or give another workdir")
        if not summary_path.exists():
            return {}
        with refusing(f"{summary_path} is damaged", "; remove it, and fit will write it again", only=Exception):
            summary = summarize([*saved.history, *map(json.loads, lines[len(held) :])])
            if json.loads(summary_path.read_text(encoding="utf-8")) != summary:
                raise ValueError("it differs from metrics.jsonl")
        return summary

    def start(self, history: Sequence[Mapping[str, Any]] = ()) -> None:
        """Begin to train after the epochs in `history`; later lines of metrics.jsonl are removed."""
        self.lines = [dict(line) for line in history]
        if self.workdir is None:
            return
        described = self.identity.to_dict()
        self.texts = [json.dumps(each) for each in [described, *self.lines]]
        (self.workdir / "summary.json").unlink(missing_ok=True)
        write_json(self.workdir / "config.json", described)  # a run that is trained longer has other epochs
        write(self.workdir / "metrics.jsonl", "".join(f"{text}\n" for text in self.texts[1:]))
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            return
        purge = self.lines[-1]["step"] + 1 if self.lines else 0
        # A queue without a limit: on a full disk the writer's thread dies, and adding to a full queue would hang.
        self._events = SummaryWriter(str(self.workdir), purge_step=purge, max_queue=0)

    def add(self, line: dict[str, Any]) -> None:
        """Write the metrics of one epoch, or of one member of a sweep in one epoch."""
        self.lines.append(line)
        if self.workdir is None:
            return
        self.texts.append(json.dumps(line))
        append(self.workdir / "metrics.jsonl", f"{self.texts[-1]}\n")
        if self._events is not None:
            member = f"{line['member']}/" if "member" in line else ""
            for group, values in _groups(line).items():
                for name, value in values.items():
                    if value is not None:  # a value that is not finite
                        self._events.add_scalar(f"{member}{group}/{name}", value, line["step"])
            self._events.add_scalar(f"{member}images_per_second", line["images_per_second"], line["step"])

    def show(self, figures: Mapping[str, Any], histograms: Mapping[str, Any]) -> None:
        """Add matplotlib figures, and histograms of arrays, to TensorBoard at the step of the last line."""
        if self._events is not None:
            step = self.lines[-1]["step"]
            for name, figure in figures.items():
                self._events.add_figure(name, figure, step)
            for name, values in histograms.items():
                self._events.add_histogram(name, values, step)

    def finish(self, summary: dict[str, Any], hyperparameters: Mapping[str, Any] | None = None) -> None:
        """Write summary.json, the sign of a finished run, and for TensorBoard the hyperparameters, by name."""
        if hyperparameters and self._events is not None:
            from tensorboardX.summary import hparams

            plain = str | bool | int | float
            values = {name: each if isinstance(each, plain) else str(each) for name, each in hyperparameters.items()}
            metrics = [f"{part}/total" for part in ("validation", "test") if part in self.lines[-1]]
            for described in hparams(values, metrics):
                self._events.file_writer.add_summary(described)
        if self.workdir is not None:
            write_json(self.workdir / "summary.json", summary)

    def close(self) -> None:
        """Close the files and release the lock of the workdir; leave nothing of a new run that has saved no state."""
        if self._events is not None:
            with contextlib.suppress(OSError):  # a full disk, which an error has reported by now
                self._events.close()
        if self._there is not None:
            with contextlib.suppress(OSError):  # it has checkpoints, or was never made
                (self.workdir / "checkpoints").rmdir()
            names = "config.json", "metrics.jsonl", ".lock", "events.out.tfevents*", "files/*.py", "files"
            made = [path for name in names for path in self.workdir.glob(name)]
            for path in [*made, self.workdir] if not (self.workdir / "checkpoints").exists() else ():
                if not {path, path.parent} & self._there:
                    with contextlib.suppress(OSError):  # a folder with other files
                        path.rmdir() if path.is_dir() else path.unlink()
        self._locked.close()


def read_identity(workdir: Path) -> Identity:
    """Read config.json; `InputError` says that it is missing or damaged."""
    try:
        return Identity.from_dict(json.loads((workdir / "config.json").read_text(encoding="utf-8")))
    except (OSError, *CHANGED) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else reason(error)
        raise InputError(f"{workdir} holds no run that can be read: config.json: {why}") from error


def identity_of_run(workdir: Path) -> Identity:
    """Read the identity of a run of one model; `InputError` says that the workdir holds none, or is damaged."""
    if (workdir / "sweep.json").exists():
        raise InputError(f"{workdir} holds a sweep; load one of its members, below {workdir / 'members'}")
    described = read_identity(workdir)
    if described.members is not None:
        raise InputError(f"{workdir} holds a program of a sweep; load one of the members of the sweep")
    return described


def stored(workdir: Path, described: Identity) -> tuple[list[Manifest], dict[str, Any]]:
    """Read the undamaged checkpoints of a run, oldest first, and the content of summary.json.

    Raises InputError: there is no undamaged checkpoint of this run, or a file differs from the newest one.
    """
    found, _ = whole(workdir / "checkpoints", described)
    if not found:
        raise InputError(f"{workdir / 'checkpoints'} has no checkpoint")
    return found, Record(workdir, described).verify(found[-1], functools.partial(summary_of, described))


def summary_of(identity: Identity, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the content of summary.json for the lines of one model."""
    config, last = identity.config, lines[-1]
    seconds = sum(line["seconds"] for line in lines)
    summary = {
        "step": last["step"],
        "epochs": last["epoch"],
        "seconds": seconds,
        "images_per_second": last["step"] * config.training.batch_size / seconds,
        **_groups(last),
    }
    reconstruction = last.get("test", {}).get("reconstruction")
    # A user's class may have a loss of its own, with a reconstruction in another unit or without one.
    if config.loss.reconstruction == "bce" and reconstruction is not None and not is_own(config.model.kind):
        pixels = math.prod(identity.dataset.image_shape) if config.loss.pixels == "mean" else 1
        summary["test_nats_per_image"] = reconstruction * pixels
    return summary


def _groups(line: Mapping[str, Any]) -> dict[str, Mapping[str, float | None]]:
    """Return the groups of numbers in a line: train, validation, test, code and, from `on_epoch`, metrics."""
    return {name: group for name, group in line.items() if isinstance(group, Mapping)}


class Progress(tqdm):
    """A bar over the steps at a terminal; otherwise one plain line per epoch."""

    def __init__(self, epochs: int, steps: int, done: int, shown: bool, kind: str) -> None:
        self._epochs, self._shown, self._kind = epochs, shown, kind
        form = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"  # the losses of an epoch fit into 80 columns
        super().__init__(total=steps, initial=done, bar_format=form, disable=not (shown and sys.stderr.isatty()))

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Show the lines of an epoch: mean losses of the members that have not diverged, and the sum of their rates."""
        text = f"epoch {lines[0]['epoch']}/{self._epochs}"
        for part in (part for part in ("train", "validation", "test") if part in lines[0]):
            totals = [line[part]["total"] for line in lines if "diverged" not in line] or [math.nan]
            text += f"  {part} {sum(totals) / len(totals):.4f}"
        self.set_postfix_str(text)
        if self._shown and self.disable:
            print(f"{text}  {len(lines) * lines[0]['images_per_second']:,.0f} {self._kind}/s", flush=True)
