"""What every experiment script shares: typed arguments, one line per failure, exit codes."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from aejax import signals
from aejax.config.checks import AejaxError, FigureFormat, InputError, Stopped, require
from aejax.config.config import Config
from aejax.config.files import keep_compiled_programs, local
from aejax.config.grid import field_path, parse_values
from aejax.config.user_files import failure, load_config, located

T = TypeVar("T")


@dataclass(frozen=True)
class ConfigArguments:
    """What the scripts share that take a config file: a shorter name for two fields, and the name of each field."""

    source_dir: str | None = None
    """the same as --data.source_dir"""
    dataset: str | None = None
    """the same as --data.name"""
    figures: tuple[FigureFormat, ...] = ("png",)
    """formats of the figures, with commas or spaces between them; none draws none"""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)

    def configured(self, file: Path) -> Config:
        """The configuration that all of them make; a user's file in it is found beside the config file."""
        shortcuts = {"data.source_dir": self.source_dir, "data.name": self.dataset}
        config = self.config.replace({path: value for path, value in shortcuts.items() if value is not None})
        return located(config, file.parent)


@dataclass(frozen=True)
class StudyArguments:
    """What the scripts share that have configurations of their own: the images, and a folder for what comes of them."""

    dataset: str = "digits"
    """digits, mnist, fashion_mnist, or any dataset or path that data.name of a configuration takes"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist"""
    workdir: Path | None = None
    """folder for the results, the figures and the runs (default: runs/SCRIPT/DATASET)"""

    def folder(self, study: str) -> Path:
        """The workdir, or that of a study of this dataset where none is given."""
        return self.workdir or Path("runs", study, Path(self.dataset).resolve().stem)


FAILED, WRONG_USAGE, STOPPED = 1, 2, signals.STOPPED


def run(main: Callable[[list[str]], None]) -> None:
    """Call a script's `main(arguments)` and exit: 0 done, 1 failed, 2 wrong usage, 75 stopped and worth a restart."""
    use_utf8()
    signals.install()
    open_streams()
    _quiet_threads()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs, with its traceback, what it raises as well
    try:
        keep_compiled_programs()
        _require_readable(sys.argv[1:])
        main(sys.argv[1:])
        sys.stdout.flush()
    except Stopped as error:
        _exit(STOPPED, error)
    except (AejaxError, OSError) as error:  # an OSError: a full disk, a file where a folder should be
        _exit(FAILED, (failure(error) if isinstance(error, OSError) else None) or error)
    except KeyboardInterrupt:
        _exit(130, "stopped")
    except BaseException as error:
        # Of a failure in one of the user's files, its own frames; of a bug of ours, all of them.
        if (line := failure(error)) is None:
            raise
        _exit(FAILED, line)


def use_utf8() -> None:
    """Restart this process in Python's UTF-8 mode if its locale reads file names as anything else."""
    if sys.getfilesystemencoding().lower() != "utf-8" and not sys.flags.utf8_mode:
        os.environ["PYTHONUTF8"] = "1"  # the environment, so that child processes inherit the mode
        os.environ.pop("PYTHONIOENCODING", None)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def open_streams() -> None:
    """Open the standard streams that are closed, and let the output streams print every letter."""
    signals.open_closed()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (until the process ends)
        elif hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(encoding="utf-8", errors="backslashreplace")


def flush() -> None:
    """Flush the output streams; drop the output if its reader is gone, so that Python can exit without an error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def spread_over_cores(most: int) -> None:
    """Make each processor core a JAX device, at most `most` of them: one small model leaves cores idle.

    Call this function before JAX starts. It has no effect on a machine with an accelerator.
    """
    count = min(os.cpu_count() or 1, most)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count} {os.environ.get('XLA_FLAGS', '')}"


def _quiet_threads() -> None:
    """What fails in a thread of a library's, as on a full disk, shows in the main one, where it becomes one line."""
    threading.excepthook = lambda _: None
    shown = sys.unraisablehook
    sys.unraisablehook = lambda what: shown(what) if threading.current_thread() is threading.main_thread() else None


def _exit(code: int, message: object) -> None:
    with contextlib.suppress(OSError):
        print(f"{Path(sys.argv[0]).name}: {_in_one_line(message)}", file=sys.stderr, flush=True)
    flush()
    if "jax" in sys.modules:
        # A usual exit would wait for other processes, which may be gone, and for Orbax's threads, which may be stuck.
        os._exit(code)
    sys.exit(code)


def parse(arguments: type[T], given: Sequence[str], default: T, *, program: str) -> T:
    """Arguments of a dataclass by tyro, its paths as `local` makes them.

    What tyro refuses becomes one line and exit code 2.
    """
    if "--" in given:
        usage_error("it takes nothing after a --")
    shown = io.StringIO()
    try:
        with contextlib.redirect_stderr(shown):
            made = tyro.cli(arguments, args=given, default=default, prog=program, use_underscores=True)
    except SystemExit as stop:
        if stop.code == 0:  # --help
            raise
        usage_error(f"{_one_line(shown.getvalue())}; see --help")
    changes: dict[str, Any] = {}
    for each in fields(made):
        value = getattr(made, each.name)
        if isinstance(value, Path):
            changes[each.name] = local(value, each.name)
        elif isinstance(value, tuple) and any(isinstance(part, Path) for part in value):
            changes[each.name] = tuple(local(part, each.name) for part in value)
    return replace(made, **changes)


def parse_configured(arguments: type[T], given: Sequence[str], config: Config, *, program: str) -> T:
    """Parse arguments on top of a configuration; `coefficients` and `model.options` have names of the user's class."""
    rest: list[str] = []
    named: dict[str, list[str]] = {}
    into = rest
    for token in given:
        if found := _NAMED.fullmatch(token):
            into = named.setdefault(found[1], [])
            into += [found[2]] if found[2] is not None else []
        else:
            into = rest if token.startswith("--") or token == "-h" else into
            into.append(token)
    changes = {}
    for path, texts in named.items():
        if not texts:
            usage_error(f"--{path} needs a value")
        values = parse_values(path, texts)
        changes[path] = values[0] if len(values) == 1 else values
    default = arguments(config=config.replace(changes) if changes else config)
    return parse(arguments, without_commas(arguments, rest), default, program=program)


_NAMED = re.compile(r"--((?:coefficients|schedules(?:\.\w+)?|model\.options)\.\w+)(?:=(.*))?")


def without_commas(arguments: type, given: Sequence[str]) -> list[str]:
    """`--batches 32,256` as `--batches 32 256`, for those fields of a dataclass that are lists."""
    lists = {field.name for field in fields(arguments) if isinstance(field.default, tuple)}
    parts, flag = [], ""
    for token in given:
        flag = token if token.startswith("--") else flag
        parts += token.split(",") if flag[2:].replace("-", "_") in lists and token != flag else [token]
    return parts


def swept(given: Sequence[str], config: Config) -> tuple[dict[str, list[Any]], list[str]]:
    """The axes of a grid among the arguments, `--sweep.FIELD VALUE ...`, and the other arguments."""
    axes: dict[str, list[str]] = {}
    rest: list[str] = []
    into = rest
    for argument in given:
        if argument.startswith("--sweep."):
            name, _, value = argument.removeprefix("--sweep.").partition("=")
            path = field_path(name, config)
            if path in axes:
                usage_error(f"--sweep.{name} stands there twice")
            into = axes[path] = [value] if value else []
        else:
            into = rest if argument.startswith("--") or argument == "-h" else into
            into.append(argument)
    return {path: parse_values(path, values) for path, values in axes.items()}, rest


def _require_readable(given: Sequence[str]) -> None:
    """Refuse arguments that are empty, or that no program would read as their author does."""
    flag = ""
    for token in given[: given.index("--")] if "--" in given else given:
        flag, value = (token, token.partition("=")[2]) if token.startswith("--") else (flag, token)
        name = flag.partition("=")[0]
        if (token == "" or token == f"{name}=") and not name.startswith("--sweep."):
            usage_error(f"{name} is empty; give it a value" if name else "one of the arguments is empty")
        if not value.isascii() and re.fullmatch(r"[\d.,:+-]+", value) and not name.endswith(_PATHS):
            usage_error(f"{value} has digits of another script; write them as 0 to 9")
        try:
            token.encode()
        except UnicodeEncodeError:
            usage_error(f"the argument {token} is not UTF-8; rename what it names")


_PATHS = ("dir", "dataset", "data.name", "json", "profile", "models")
"""how the names of options end that take a path"""


def configurations(folder: Path, names: Sequence[str]) -> dict[str, Config]:
    """The configurations of a folder by their names, each of which is one: no path leads out of the folder.

    Raises:
        InputError: there is no such name, or one stands there twice.
    """
    known = sorted(path.stem for path in folder.glob("*.py"))
    for name in names:
        if name not in known:
            raise InputError(f"{name}.py is none of the configurations in configs/{folder.name}: {', '.join(known)}")
        if names.count(name) > 1:
            raise InputError(f"the model {name} stands there twice")
    return {name: load_config(folder / f"{name}.py") for name in names}


def require_some(arguments: object, *names: str) -> None:
    """Refuse a list that is empty, and a number below 1."""
    for name in names:
        value = getattr(arguments, name)
        if value == ():
            raise InputError(f"{name} is empty; give at least one")
        if not isinstance(value, tuple):
            require(value >= 1, name, value, "at least 1")


def usage_error(message: str) -> None:
    """Print one line and exit with 2."""
    print(f"{Path(sys.argv[0]).name}: {_in_one_line(message)}", file=sys.stderr)
    sys.exit(WRONG_USAGE)


def _in_one_line(message: object) -> str:
    """A name in it may hold a line's end, or what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(message))


def config_file(given: Sequence[str], example: str) -> Path | None:
    """The config file, which comes first among the arguments; None where help is asked for instead."""
    if given and not given[0].startswith("-"):
        return local(given[0], "the config file")
    if not {"-h", "--help"} & set(given):
        usage_error(f"the config file comes first, as in {example}")
    return None


def default_workdir(config_file: Path) -> Path:
    """runs/mnist/deep for configs/mnist/deep.py."""
    parts = config_file.with_suffix("").parts
    return Path("runs", *(parts[parts.index("configs") + 1 :] if "configs" in parts else parts[-1:]))


def require_workdir(workdir: Path) -> None:
    """Refuse a workdir that cannot be written, before anything slow begins."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=workdir).close()
    except OSError as error:
        why = "it is a file, not a folder" if workdir.is_file() else error.strerror
        raise InputError(f"the workdir {workdir} cannot be written: {why}") from error


def _one_line(boxed: str) -> str:
    """The message within one of tyro's boxes, with its suggestion if there is one."""
    lines = [re.sub(r"^[│╭╰]\s*|\s*[│╮╯]$", "", line).strip() for line in boxed.splitlines()[1:-1]]
    sections = " ".join("|" if re.fullmatch("─+", line) else line for line in lines).split("|")
    kept = [
        section.strip()
        for section in sections
        if not section.strip().startswith(("For full helptext", "Argument helptext"))
    ]
    return re.sub(r"\s+", " ", "; ".join(kept)) or boxed.strip()
