"""Child processes of a benchmark."""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_a_signal_ends_the_processes_of_a_benchmark_at_once():
    program = (
        "import os, sys, time\nfrom aejax import signals\nsignals.install()\n"
        "from benchmark.processes import Process\n"
        "process = Process('peer', [sys.executable, '-c', 'import time; time.sleep(100)'], dict(os.environ))\n"
        "print(process._process.pid, flush=True)\ntime.sleep(100)"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT / "experiments",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    peer = int(started.stdout.readline())
    started.terminate()
    assert started.wait(10) == 143
    for _ in range(50):
        try:
            with open(f"/proc/{peer}/stat", encoding="utf-8") as stat:
                ended = stat.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            ended = True
        if ended:
            break
        time.sleep(0.1)
    assert ended
