"""A process that has imported what the scripts import; it starts each in a fork, which takes no time.

It reads a JSON object a line, {folder, script, arguments, environment, seconds}, and writes the fork's exit code, which
is below 0 for a signal; what it prints is in the files stdout and stderr of the folder's parent.
"""

import json
import os
import runpy
import signal
import sys

import tyro  # noqa: F401

import aejax.evaluation
import aejax.sweeps  # noqa: F401
from benchmark import throughput  # noqa: F401

answers = os.fdopen(os.dup(1), "w")
for asked in sys.stdin:
    job = json.loads(asked)
    if (child := os.fork()) == 0:
        signal.alarm(job["seconds"])
        os.chdir(job["folder"])
        os.environ.update(job["environment"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"../{name}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
        answers.close()
        sys.argv = [job["script"], *job["arguments"]]
        runpy.run_path(job["script"], run_name="__main__")
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
