"""A process that has imported what the scripts import, and runs each script in a fork of itself.

It reads one JSON object a line, {script, arguments, folder, environment, output, seconds}, and writes the exit code of
the fork, which is negative for a signal. What the fork prints is in the files `output`/stdout and `output`/stderr.
"""

import gc
import json
import os
import runpy
import signal
import sys

import tyro  # noqa: F401

import aejax.evaluation
import aejax.sweeps  # noqa: F401
from benchmark import throughput  # noqa: F401

gc.freeze()  # a fork copies no page to count references
answers = os.fdopen(os.dup(1), "w")
for asked in sys.stdin:
    job = json.loads(asked)
    if (child := os.fork()) == 0:
        signal.alarm(job["seconds"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{job['output']}/{name}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
        answers.close()
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.argv = [job["script"], *job["arguments"]]
        sys.path[0] = os.path.dirname(job["script"])
        runpy.run_path(job["script"], run_name="__main__")
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), file=answers, flush=True)
