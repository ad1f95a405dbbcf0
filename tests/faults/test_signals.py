"""Ctrl-C and SIGTERM at any moment of a script: one line, a fixed exit code, and only complete files."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def begin(folder, script, *arguments, **environment):
    """Start a script in its own process, as a user does."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "experiments" / script), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process):
    """Return the exit code of a process, and the lines of its error output."""
    try:
        error = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    return process.returncode, error.splitlines()


def at(folder, module, number):
    """Make a folder for PYTHONPATH that sends the process a signal when it imports a module."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        f"""
import os, sys, time
class Finder:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), {int(number)})
            time.sleep(0.2)  # the import goes on, like a slow import
sys.meta_path.insert(0, Finder())
"""
    )
    return {"PYTHONPATH": str(folder)}


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("aejax.config", signal.SIGINT),
        pytest.param("tyro", signal.SIGTERM, marks=pytest.mark.long),
        pytest.param("numpy", signal.SIGINT, marks=pytest.mark.long),
        ("jax", signal.SIGTERM),
        pytest.param("orbax", signal.SIGINT, marks=pytest.mark.long),
    ],
)
def test_before_there_is_something_saved_one_line_and_the_same_code_each_time(tmp_path, module, number):
    environment = at(tmp_path / "site", module, number)
    process = begin(tmp_path, "train.py", ROOT / "configs" / "digits.py", "--workdir", "run", **environment)
    code, error = ended(process)
    assert (code, error) == (CODES[number], [f"train.py: stopped by {number.name}: nothing was saved"])
    assert not list(tmp_path.glob("run/checkpoints/[0-9]*"))


OTHERS = ("evaluate", "article", "beyond", "claims", "benchmark", "gallery", "launch", "readme", "transfer")


@pytest.mark.parametrize("script", ["sweep", *(pytest.param(name, marks=pytest.mark.long) for name in OTHERS)])
def test_so_it_is_for_every_script(tmp_path, script):
    code, error = ended(begin(tmp_path, f"{script}.py", **at(tmp_path / "site", "aejax.config", signal.SIGINT)))
    assert code == 130 and error == [f"{script}.py: stopped by SIGINT: nothing was saved"]


def test_while_the_main_thread_is_in_a_compiler_or_a_download(tmp_path):
    (tmp_path / "busy.py").write_text(
        "from aejax import signals\nsignals.install()\nimport ctypes\nprint(1, flush=True)\n"
        "libc = ctypes.CDLL(None)\n"
        "while True:\n    libc.sleep(1000)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "busy.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    os.kill(process.pid, signal.SIGTERM)
    assert ended(process) == (143, ["busy.py: stopped by SIGTERM: nothing was saved"])


CONFIG = """
from aejax import Config, Model, Training
def get_config():
    return Config(model=Model((8,), 4), training=Training(epochs=1))
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_while_figures_are_drawn_what_is_trained_stays_and_the_same_command_goes_on(tmp_path, script, number):
    (tmp_path / "config.py").write_text(CONFIG)
    command = "train.py", "config.py", "--workdir", "run"
    code, error = ended(begin(tmp_path, *command, **at(tmp_path / "site", "matplotlib.backends.backend_agg", number)))
    goes_on = f"train.py: stopped by {number.name}: the saved files are complete; run the same command to resume"
    assert (code, error) == (75, [goes_on])
    summary = (tmp_path / "run" / "summary.json").read_bytes()
    assert script(*command).returncode == 0
    assert summary == (tmp_path / "run" / "summary.json").read_bytes()
    assert (tmp_path / "run" / "figures" / "losses.png").stat().st_size > 1000


@pytest.mark.long
def test_a_sweep_between_its_first_and_its_last_file(tmp_path, script):
    """A signal while the sweep exports a member, or draws, leaves only complete members."""
    (tmp_path / "config.py").write_text(CONFIG)
    command = "sweep.py", "config.py", "--sweep.code_size", "3", "4", "--workdir", "run"
    process = begin(tmp_path, *command)
    while process.poll() is None and not list(tmp_path.glob("run/members/*/config.json")):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    code, error = ended(process)
    assert code == 75 and len(error) == 1, error
    assert not (tmp_path / "run" / "results.json").exists()
    assert script(*command).returncode == 0
    assert len(json.loads((tmp_path / "run" / "results.json").read_text())["members"]) == 2
    for member in (tmp_path / "run" / "members").iterdir():
        assert (member / "summary.json").exists() and list((member / "checkpoints").glob("[0-9]*"))


def test_in_a_notebook_ctrl_c_is_a_keyboard_interrupt_and_saves_where_there_is_a_workdir(tmp_path, script):
    """Within the loop the first signal stops the run after it was saved; outside of it signals are unchanged."""
    (tmp_path / "cells.py").write_text(
        """
import os, signal
import aejax
signal.signal(signal.SIGINT, signal.default_int_handler)  # the default, unless a shell started this in the background
config = aejax.Config(model=aejax.Model((8,), 4), training=aejax.Training(epochs=4000))
def stop(run):
    if len(run.history) == 1:
        os.kill(os.getpid(), signal.SIGINT)
for workdir, kind in ((None, KeyboardInterrupt), ("run", aejax.Interrupted)):
    try:
        aejax.fit(config, workdir, progress=False, on_epoch=stop)
    except BaseException as error:
        assert type(error) is kind, repr(error)
        print(kind.__name__)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
"""
    )
    done = script(tmp_path / "cells.py")
    assert done.stdout.split() == ["KeyboardInterrupt", "Interrupted"], done.stderr
    assert list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))


@pytest.mark.long
@pytest.mark.parametrize("pause", [0.2, 1.5])
def test_two_at_once_are_one_and_a_later_one_ends_it(tmp_path, script, pause):
    """A parent process may pass on the Ctrl-C that the terminal sent to both."""
    (tmp_path / "script.py").write_text(
        f"""
from aejax import signals
signals.install()
import os, signal, time
import aejax
config = aejax.Config(model=aejax.Model((8,), 4), training=aejax.Training(epochs=4000))
def twice(run):
    if len(run.history) == 1:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep({pause})
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5 * ({pause} > 1))  # the loop does not see the first signal yet
try:
    aejax.fit(config, "run", progress=False, on_epoch=twice, figures=())
except aejax.Interrupted:
    print("saved")
"""
    )
    done = script(tmp_path / "script.py")
    if pause < 1:
        assert done.returncode == 0 and done.stdout == "saved\n", done.stderr
        assert list((tmp_path / "run" / "checkpoints").glob("[0-9]*"))
    else:
        assert done.returncode == 130 and done.stderr.startswith("script.py: stopped by SIGINT: nothing was saved")
