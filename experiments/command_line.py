"""Typed arguments, one-line errors and exit codes of the experiment scripts."""

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from aejax import signals

if Path(__file__).resolve().parent in Path(getattr(sys.modules["__main__"], "__file__", None) or "/").resolve().parents:
    signals.install()  # before slow imports: from here on Ctrl-C and SIGTERM end a script of this folder with one line

import tyro

import aejax
from aejax.config.checks import AejaxError, FigureFormat, InputError, Stopped, figure_formats, require
from aejax.config.config import Config
from aejax.config.files import address, addressed, keep_compiled_programs, local
from aejax.config.grid import parse_values
from aejax.config.user_files import config_file, failure, load_config, located
from aejax.storage import opened

T = TypeVar("T")
_HERE = "(default: the current folder)"


@dataclass(frozen=True)
class ConfigArguments:
    """Arguments of the scripts that take a config file: all fields, and shorter names for two of them."""

    source_dir: str | None = None
    """the same as --data.source_dir"""
    dataset: str | None = None
    """the same as --data.name"""
    figures: tuple[FigureFormat, ...] = ("png",)
    """formats of the figures, separated by commas or spaces; none draws no figure"""
    config: Annotated[Config, tyro.conf.arg(name="")] = field(default_factory=Config)


@dataclass(frozen=True)
class StudyArguments:
    """Arguments of the scripts that have their own configurations: the images, and a folder for the results."""

    dataset: str = "digits"
    """digits, mnist, fashion_mnist, or any dataset or path that data.name of a configuration takes"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist"""
    workdir: Path | None = None
    """folder for the results, the figures and the runs, on a disk or in a bucket (default: runs/SCRIPT/DATASET)"""
    figures: tuple[FigureFormat, ...] = ("png",)
    """formats of the figures, separated by commas or spaces; none draws no figure"""

    def folder(self, study: str) -> Path:
        """Return the workdir, or the default folder for a study of this dataset."""
        return self.workdir or Path("runs", study, Path(self.dataset).resolve().stem if self.dataset else "")


@dataclass(frozen=True)
class RunArguments:
    """Arguments of the scripts about a trained model."""

    workdir: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="WORKDIR", help_behavior_hint=_HERE)] = Path()
    """folder of a trained model, on a disk or in a bucket"""
    which: Literal["newest", "best"] = "newest"
    """the newest state of the run, or the best checkpoint by the validation images"""
    dataset: str | None = None
    """name or path of the images, as in training; needed if the run was trained on files of a user, or for other
    images"""
    source_dir: str | None = None
    """folder with the original files of mnist or fashion_mnist"""
    models: tuple[Path, ...] = ()
    """trusted files with the model or optimizer of the run; code from a workdir is never executed"""

    @contextlib.contextmanager
    def opened(self) -> Iterator[Path]:
        """Yield the local folder of the workdir; refuse a workdir without a run."""
        with opened(self.workdir, reads=True) as folder:
            if not (folder / "config.json").is_file():
                members, run = folder / "members", f"the workdir of a run of {script_name('train')}"
                advice = f"a folder in {members}" if members.is_dir() else run
                raise InputError(f"{folder} holds no run; give {advice}")
            yield folder

    def load(self, folder: Path) -> "tuple[aejax.Run, aejax.Dataset]":
        """Load the run in a local folder, and the images."""
        from aejax.evaluation import evaluation  # imports JAX

        run = aejax.load(folder, self.which, models=self.models)
        return run, evaluation.images_of(run, self.dataset, self.source_dir)


FAILED, WRONG_USAGE, STOPPED = 1, 2, signals.STOPPED
_configured = False  # whether the script takes the fields of a configuration


def run(main: Callable[[list[str]], None]) -> None:
    """Call a script's `main(arguments)` and exit: 0 done, 1 failed, 2 wrong usage, 75 stopped and can be resumed."""
    use_utf8()
    signals.install()
    open_streams()
    # Hide errors in threads of libraries, as on a full disk: the main thread reports them in one line.
    threading.excepthook, shown = lambda _: None, sys.unraisablehook
    sys.unraisablehook = lambda what: shown(what) if threading.current_thread() is threading.main_thread() else None
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs the tracebacks of errors that it also raises
    try:
        keep_compiled_programs()
        _require_readable(sys.argv[1:])
        main(sys.argv[1:])
        sys.stdout.flush()
    except Stopped as error:
        _exit(STOPPED, error, everywhere=error.everywhere)
    except (AejaxError, OSError) as error:  # an OSError: a full disk, a file in the place of a folder
        _exit(FAILED, (failure(error) if isinstance(error, OSError) else None) or error)
    except KeyboardInterrupt:
        _exit(130, "stopped")
    except BaseException as error:
        # A failure in a user's file is one line with its frames; a bug of this library shows its traceback.
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
    """Open the standard streams that are closed, and let the output streams print every character."""
    signals.open_closed()
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (until the process ends)
        elif hasattr(getattr(sys, name), "reconfigure"):
            getattr(sys, name).reconfigure(encoding="utf-8", errors="backslashreplace")


def spread_over_cores(most: int) -> None:
    """Before JAX starts, let each of at most `most` processor cores be a device; accelerators are not affected."""
    count = min(os.cpu_count() or 1, most)
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count} {os.environ.get('XLA_FLAGS', '')}"


def _exit(code: int, message: object, *, everywhere: bool = False) -> None:
    line = addressed(message)
    if not _configured:
        line = re.sub(r"--(data|loss|corruption)\.\w+( \w+)?", rf"\g<0> of {script_name('train')}", line)
    with contextlib.suppress(OSError):
        print(f"{script_name()}: {_in_one_line(line)}", file=sys.stderr, flush=True)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # the reader is gone: drop the output, so that Python can exit without an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    if "jax" in sys.modules:
        if everywhere:  # JAX aborts the processes that outlive process 0, and process 0 if it outlives a heartbeat
            sys.modules["jax"].distributed.shutdown()
        # A normal exit waits for other processes, which may be gone, and for threads of Orbax, which may be stuck.
        os._exit(code)
    sys.exit(code)


def script_name(script: str = "") -> str:
    """Return the name of this or another script in messages: train.py, or `aejax train` if `aejax` runs this script."""
    own = Path(sys.argv[0]).name
    return own if not script else f"aejax {script}" if own.startswith("aejax ") else f"{script}.py"


def parse(given: Sequence[str], default: T, some: Sequence[str] = (), takes: str = "") -> T:
    """Parse the fields of a dataclass by tyro, and check paths by `local`; wrong usage is one line and code 2.

    `some` names the fields for `require_some`. The usage shows `takes` before the options.
    """
    if "--" in given:
        usage_error("no arguments are allowed after --")
    shown, given, program = io.StringIO(), _without_commas(type(default), given), f"{script_name()} {takes}".strip()
    try:
        with contextlib.redirect_stderr(shown):
            made = tyro.cli(type(default), args=given, default=default, prog=program, use_underscores=True)
    except SystemExit as stop:
        if stop.code == 0:  # --help
            raise
        usage_error(f"{_one_line(shown.getvalue())}; see --help")
    require_some(made, *some)

    def checked(name: str, value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(checked(name, part) for part in value)
        on_disk = isinstance(value, Path) and (name != "workdir" or address(value) is None)
        return local(value, name) if on_disk else value

    values = {each.name: checked(each.name, getattr(made, each.name)) for each in fields(made)}
    if "figures" in values:
        values["figures"] = figure_formats(values["figures"])
    return replace(made, **values)


def parse_configured(arguments: type[T], given: Sequence[str], example: str) -> tuple[T, Config, Path]:
    """Load the config file, which is the first argument, and parse the options after it.

    Args:
        arguments: a subclass of `ConfigArguments`.
        example: arguments of a command line, for messages.

    Returns the arguments; the configuration, with absolute paths; and the default workdir, such as runs/mnist/deep.
    """
    global _configured
    file, _configured = Path(), True
    if given and not given[0].startswith("-"):
        file, *given = config_file(given[0]), *given[1:]
    elif not {"-h", "--help"} & set(given):
        usage_error(f"the config file comes first, as in {script_name()} {example}")
    if swept := [token for token in given if token.startswith("--sweep.")]:
        usage_error(f"{swept[0]} is an option of {script_name('sweep')}: {script_name('sweep')} CONFIG {swept[0]} ...")
    config = load_config(file) if file.name else Config()
    named, rest = split(given, r"(?:coefficients|schedules(?:\.\w+)?|model\.options)\.\w+")
    changes = {}
    for path, texts in named.items():
        if not texts:
            usage_error(f"--{path} needs a value")
        values = parse_values(path, texts)
        changes[path] = values[0] if len(values) == 1 else values
    # tyro does not know the names of coefficients, schedules and options, which a class of the user may declare. We set
    # them last and at once, so that `--model.kind variational --coefficients.beta 2` is checked as a whole.
    kept = config.to_dict()
    named = {name: kept[name] for name in ("coefficients", "schedules")} | {"model.options": kept["model"]["options"]}
    plain = replace(config, coefficients={}, schedules={}, model=replace(config.model, options={}))
    made = parse(rest, arguments(config=plain), takes="CONFIG")
    shortcuts = {"data.source_dir": made.source_dir, "data.name": made.dataset}
    changes |= {path: value for path, value in shortcuts.items() if value is not None}
    config = made.config.replace(named | changes)
    parts = file.with_suffix("").parts if file.name else ()
    inner = parts[-parts[::-1].index("configs") :] if "configs" in parts else parts[-1:]
    return made, located(config, file.parent), Path("runs", *inner)


def split(given: Sequence[str], names: str, prefix: str = "") -> tuple[dict[str, list[str]], list[str]]:
    """Split the options `--PREFIXNAME VALUE ...`, whose names match a pattern, from the other arguments."""
    named: dict[str, list[str]] = {}
    into = rest = []
    for token in given:
        if found := re.fullmatch(rf"--{prefix}({names})(?:=(.*))?", token):
            if found[1] in named:
                usage_error(f"{token.partition('=')[0]} is given twice")
            into = named[found[1]] = [found[2]] if found[2] else []
        else:
            into = rest if token.startswith("--") or token == "-h" else into
            into.append(token)
    return named, rest


def _without_commas(arguments: type, given: Sequence[str]) -> list[str]:
    """Rewrite `--batches 32,256` as `--batches 32 256`, for the fields of a dataclass that are lists of no paths."""
    types = {each.name: str(each.type) for each in fields(arguments)}
    if issubclass(arguments, ConfigArguments):
        for part in (each for each in fields(Config) if is_dataclass(each.default_factory)):
            types |= {f"{part.name}.{each.name}": str(each.type) for each in fields(part.default_factory)}
    lists = {name for name, kind in types.items() if "tuple" in kind and "Path" not in kind}
    parts, flag = [], ""
    for token in given:
        flag = token if token.startswith("--") else flag
        parts += token.split(",") if flag[2:].replace("-", "_") in lists and token != flag else [token]
    return parts


def _require_readable(given: Sequence[str]) -> None:
    """Refuse arguments that are empty, have digits of another script (`int` would take them), or are not UTF-8."""
    paths = ("dir", "dataset", "data.name", "json", "profile", "models", "start")  # endings of options that take a path
    name = ""
    for token in given[: given.index("--")] if "--" in given else given:
        option, _, value = token.partition("=")
        name, value = (option, value) if token.startswith("--") else (name, token)
        if token in ("", f"{name}=") and not name.startswith("--sweep."):
            usage_error(f"{name or 'an argument'} is empty; give it a value")
        if not value.isascii() and re.fullmatch(r"[\d.,:+-]+", value) and not name.endswith(paths):
            usage_error(f"{value} has digits of another script; write them as 0 to 9")
        try:
            token.encode()
        except UnicodeEncodeError:
            usage_error(f"the argument {token} is not UTF-8; rename the file or folder")


def configurations(names: Sequence[str], *folders: Path) -> dict[str, Config]:
    """Load the named configurations, each from the first of the folders that has it.

    Raises InputError: no folder has a configuration of a name, or a name is given twice.
    """
    files = [path for folder in reversed(folders) for path in sorted(folder.glob("*.py"))]
    known = {path.stem: path for path in files if "def get_config" in path.read_text(encoding="utf-8")}
    for name in names:
        if name not in known:
            where = " and ".join(f"{folder.parent.name}/{folder.name}" for folder in folders)
            raise InputError(f"{name}.py is no configuration in {where}; known are {', '.join(known)}")
        if names.count(name) > 1:
            raise InputError(f"the model {name} is given twice")
    return {name: load_config(known[name]) for name in names}


def require_some(arguments: object, *names: str) -> None:
    """Refuse a list that is empty, and a number below 1."""
    for name in names:
        value = getattr(arguments, name)
        if value == ():
            raise InputError(f"{name} is empty; give at least one")
        require(isinstance(value, tuple) or value >= 1, name, value, "at least 1")


def usage_error(message: str) -> None:
    """Print one line and exit with 2."""
    print(f"{script_name()}: {_in_one_line(message)}", file=sys.stderr)
    sys.exit(WRONG_USAGE)


def _in_one_line(message: object) -> str:
    """Escape characters that end a line or move the cursor, such as in names of files."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(message))


def require_workdir(workdir: Path, *, bucket: bool = False) -> None:
    """Refuse a workdir that cannot be written; with `bucket`, leave the check of an address to `storage.opened`."""
    if bucket and address(workdir) is not None:
        return
    local(workdir, "workdir")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=workdir).close()
    except OSError as error:
        why = "it is a file, not a folder" if workdir.is_file() else error.strerror
        raise InputError(f"the workdir {workdir} cannot be written: {why}") from error


def _one_line(boxed: str) -> str:
    """Extract the message, and the suggestion, from a box that tyro prints."""
    text = " ".join(" ".join(line.strip("│╭╮╰╯ ") for line in boxed.splitlines()[1:-1]).split())
    if wrong := re.search(r"parsing (\S+): no type .*? from \['(.*?)'\].*Annotated\[\w+, (.*?)\]:", text):
        return f"{wrong[1]} is {wrong[2]}; it must be {wrong[3]} or None"
    sections = [re.sub(r"(Perhaps you meant: --\S+).*", r"\1", each.strip()) for each in re.split("─{3,}", text)]
    return "; ".join(each for each in sections if not each.startswith(("For full", "Argument helptext"))) or boxed
