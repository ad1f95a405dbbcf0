"""Run a command in several processes of this machine: launch.py --count N [--restarts N] -- COMMAND ...

To try a run on several hosts: `launch.py --count 2 -- experiments/train.py configs/digits.py`.
"""

from __future__ import annotations

if __name__ == "__main__":  # first: from here on Ctrl-C and SIGTERM end the script with one line
    from aejax import signals

    signals.install()

import sys
from dataclasses import dataclass

import command_line
from aejax.config import InputError
from launching import launch


@dataclass(frozen=True)
class Arguments:
    count: int = 2
    """number of processes"""
    restarts: int = 0
    """how often to start all processes again after they stop or die"""


def main(given: list[str]) -> None:
    split = given.index("--") if "--" in given else len(given)
    arguments = command_line.parse(
        Arguments, given[:split], Arguments(), program="launch.py [--count N] [--restarts N] -- COMMAND"
    )
    if not given[split + 1 :]:
        command_line.usage_error("the command comes after --, as in launch.py --count 2 -- experiments/train.py ...")
    if arguments.count < 1 or arguments.restarts < 0:
        found = f"count is {arguments.count} and restarts is {arguments.restarts}"
        raise InputError(f"{found}; they must be at least 1 and at least 0")
    sys.exit(launch(given[split + 1 :], arguments.count, arguments.restarts))


if __name__ == "__main__":
    command_line.run(main)
