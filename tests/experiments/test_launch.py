import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

LAUNCH = Path(__file__).parents[2] / "experiments" / "launch.py"

# Stands for a run of several processes: says which it is and ends as `codes` tells for its index, this time.
PROCESS = """
import os, pathlib, signal, sys, time
index = int(sys.argv[sys.argv.index("--hosts.index") + 1])
attempts = pathlib.Path(f"attempts-{index}")
attempt = len(attempts.read_text()) if attempts.exists() else 0
attempts.write_text("x" * (attempt + 1))
print("attempt", attempt, *sys.argv[-6:], flush=True)
code = CODES[min(attempt, len(CODES) - 1)][index]
if code == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if code == "waits":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    time.sleep(60)
sys.exit(code)
"""


@pytest.fixture
def launched(script, tmp_path):
    def run(codes, restarts=0):
        (tmp_path / "process.py").write_text(f"CODES = {codes!r}\n{PROCESS}")
        return script("launch.py", "--count", 2, "--restarts", restarts, "--", "process.py")

    return run


def test_every_line_has_its_process_and_every_process_its_place(launched):
    run = launched([[0, 0]])
    assert run.returncode == 0 and run.stderr == ""
    first, second = sorted(run.stdout.splitlines())
    for index, line in ((0, first), (1, second)):
        assert line.startswith(f"[{index}] attempt 0 --hosts.coordinator localhost:")
        assert line.endswith(f"--hosts.count 2 --hosts.index {index}")


@pytest.mark.parametrize("code", ["killed", *(pytest.param(code, marks=pytest.mark.long) for code in (75, 134))])
def test_all_are_started_again_after_a_stop_or_a_death(launched, code):
    run = launched([[75, code], [0, 0]], restarts=3)
    assert run.returncode == 0 and run.stdout.count("attempt 1") == 2
    assert "again (1 of at most 3 times)" in run.stderr


@pytest.mark.long
def test_the_restarts_are_counted(launched):
    run = launched([[0, 75]], restarts=2)
    assert run.returncode == 75 and run.stdout.count("[1] attempt") == 3


@pytest.mark.parametrize("code", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_refusal_is_not_repeated(launched, code):
    run = launched([[75, code]], restarts=3)
    assert run.returncode == code and run.stdout.count("[1] attempt") == 1


def test_a_signal_is_passed_on_and_nothing_is_started_again(launched, tmp_path):
    (tmp_path / "process.py").write_text(f"CODES = [['waits', 'waits']]\n{PROCESS}")
    command = [sys.executable, LAUNCH, "--count", "2", "--restarts", "9", "--", "process.py"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    both = [process.stdout.readline() for _ in range(2)]
    assert all("attempt 0" in line for line in both)
    time.sleep(0.2)  # the handler comes after the line
    process.send_signal(signal.SIGINT)
    killer = threading.Timer(30, process.kill)
    killer.start()
    output, _ = process.communicate()
    killer.cancel()
    assert process.returncode == 75 and "attempt 1" not in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        pytest.param(["--count", "2"], 2, "the command comes after --", marks=pytest.mark.long),
        (["--cuont", "2", "--", "x.py"], 2, "--cuont"),
        pytest.param(["--count", "0", "--", "x.py"], 1, "count is 0", marks=pytest.mark.long),
        (["--", "no-such-command"], 1, "no-such-command cannot be started"),
        pytest.param(["--", "nowhere.py"], 1, "nowhere.py cannot be started", marks=pytest.mark.long),
    ],
)
def test_wrong_usage_is_one_line(script, arguments, code, message):
    run = script("launch.py", *arguments)
    assert run.returncode == code and message in run.stderr and run.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere they go on, as the documentation says")
def test_when_the_launcher_is_killed_its_processes_are_stopped(tmp_path):
    stopped = 'signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(f"stopped-{index}").touch(), os._exit(75)))'
    waits = PROCESS.replace("signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))", stopped)
    waits = waits.replace("    time.sleep(60)", '    pathlib.Path(f"ready-{index}").touch()\n    time.sleep(60)')
    (tmp_path / "process.py").write_text(f"CODES = [['waits', 'waits']]\n{waits}")
    process = subprocess.Popen([sys.executable, LAUNCH, "--count", "2", "--", "process.py"], cwd=tmp_path)
    wait_for(tmp_path, "ready-*")
    process.kill()
    process.wait()
    wait_for(tmp_path, "stopped-*")


def wait_for(folder, pattern, count=2, seconds=60):
    end = time.monotonic() + seconds
    while len(list(folder.glob(pattern))) < count:
        assert time.monotonic() < end, f"there are no {count} {pattern} after {seconds} s"
        time.sleep(0.05)
