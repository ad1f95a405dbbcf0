"""Scripts that run in forks of one process, which has imported everything: a start takes no time."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
READ_AT_START = ("JAX_", "XLA_", "PYTHON", "LC_", "LANG")
"""how the names of variables begin that a process reads before its first script runs"""


class Forks:
    """The process, started by the first call."""

    def __init__(self, output):
        self.output, self.process, self.environment = output, None, None

    def __call__(self, script, arguments, folder, environment, seconds):
        """Run a script of experiments/ in a fork, and return the finished process; None if it needs its own start."""
        if self.process is None:
            path = os.pathsep.join(filter(None, (str(ROOT / "experiments"), os.environ.get("PYTHONPATH"))))
            self.environment = dict(os.environ)
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "zygote.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": path},
            )
        changed = self.environment.items() ^ environment.items()
        if any(name.startswith(READ_AT_START) for name, _ in changed):
            return None
        command = [str(ROOT / "experiments" / script), *map(str, arguments)]
        job = {"script": command[0], "arguments": command[1:], "folder": str(folder), "environment": environment}
        self.process.stdin.write(json.dumps({**job, "output": str(self.output), "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        printed = [(self.output / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")]
        if code == -signal.SIGALRM:
            raise subprocess.TimeoutExpired(command, seconds, *printed)
        return subprocess.CompletedProcess(command, code, *printed)

    def close(self):
        """End the process."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait(10)
