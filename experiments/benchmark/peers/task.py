"""What the peers share: the task they are given, and the line per epoch that they answer with."""

import json
import sys
import time
from collections.abc import Callable

import numpy as np


def read() -> dict:
    """The task, its images as float32[N, D] from 0 to 1."""
    with open(sys.argv[-1], encoding="utf-8") as file:
        task = json.load(file)
    task["images"] = np.load(task["images"]).astype(np.float32) / 255
    task["widths"] = [*task["hidden"], task["code_size"], *task["hidden"][::-1]]
    return task


def answer(content: object) -> None:
    """Write one line of JSON."""
    print(json.dumps(content), flush=True)


def seconds(train_epoch: Callable[[], None]) -> float:
    """Seconds of one call, which must not return before the epoch is computed."""
    begin = time.perf_counter()
    train_epoch()
    return time.perf_counter() - begin


def serve(description: dict, train_epoch: Callable[[], None]) -> None:
    """Train one epoch to warm up; then, for every line read, one more, and answer with its seconds."""
    train_epoch()
    answer(description)
    for _ in sys.stdin:
        answer(seconds(train_epoch))
