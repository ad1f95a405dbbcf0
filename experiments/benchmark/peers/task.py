"""The task of a peer, and its answers: one line per epoch."""

import json
import sys
import time
from collections.abc import Callable

import numpy as np


def read() -> dict:
    """Read the task; its images become float32[N, D] from 0 to 1."""
    with open(sys.argv[-1], encoding="utf-8") as file:
        task = json.load(file)
    task["images"] = np.load(task["images"]).astype(np.float32) / 255
    task["widths"] = [*task["hidden"], task["code_size"], *task["hidden"][::-1]]
    return task


def answer(content: object) -> None:
    """Write one line of JSON."""
    print(json.dumps(content), flush=True)


def seconds(train_epoch: Callable[[], None]) -> float:
    """Return the seconds of one call, which must wait until the epoch is computed."""
    begin = time.perf_counter()
    train_epoch()
    return time.perf_counter() - begin


def serve(description: dict, train_epoch: Callable[[], None]) -> None:
    """Train one epoch of warm-up; then train one epoch for every line, and answer with its seconds."""
    train_epoch()
    answer(description)
    for _ in sys.stdin:
        answer(seconds(train_epoch))
