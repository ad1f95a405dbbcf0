"""How training is cut into chunks: compiled calls of a few seconds, so that a stop or a save is never far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax

from aejax.training.epoch import Programs
from aejax.training.step import Terms, TrainState

SHORTEST, LONGEST = 1.0, 5.0
"""seconds of a chunk within which its length stays as it is (an epoch may be shorter)"""

_SLOWEST = 2e10
"""floating-point operations per second assumed before anything is measured; two slow processor cores do more"""

_EXCHANGE = 0.02
"""seconds per step assumed for what several processes exchange, before anything is measured"""


class Chunk(NamedTuple):
    """A chunk on its way through the device.

    Attributes:
        dispatched: when, by `time.perf_counter`.
        terms: float32[steps of the chunk] each.
        state: after it, where it is to be saved.
        sums: those of the evaluation, at the end of an epoch.
        ended: when it was trained, and when its evaluation was done too.
    """

    dispatched: float
    terms: Terms
    state: TrainState | None
    sums: dict[str, Any] | None
    ended: Future[tuple[float, float]]


class Pace:
    """The length of a chunk: a whole epoch, or as many of its steps as take a few seconds.

    Another length is another compiled program, so it changes only where it is far off.

    Attributes:
        steps: the length, at most an epoch's.
    """

    def __init__(self, steps_in_epoch: int, flops: Callable[[int], float], processes: int = 1) -> None:
        self._most = self.steps = steps_in_epoch
        estimate = flops(steps_in_epoch) / _SLOWEST + (_EXCHANGE if processes > 1 else 0.0)
        if estimate * steps_in_epoch > LONGEST:
            self.steps = self._dividing(LONGEST / estimate)

    def measured(self, steps: int, seconds: float) -> None:
        """Learn from a chunk of this length that took so long."""
        if steps == self.steps and (seconds > LONGEST or (seconds < SHORTEST and steps < self._most)):
            middle = (SHORTEST + LONGEST) / 2
            self.steps = self._dividing(steps * middle / seconds)

    def _dividing(self, most: float) -> int:
        """At most so many steps, of which an epoch is a multiple: else its rest would be another program."""
        steps = max(1, min(self._most, int(most)))
        return next((length for length in range(steps, steps // 2, -1) if self._most % length == 0), steps)


def chunks(
    programs: Programs,
    state: TrainState,
    steps_in_epoch: int,
    last_step: int,
    decide: Callable[[], tuple[int, bool, bool]],
) -> Iterator[Chunk]:
    """Train up to a step; yield each chunk once the next one is on the device.

    Args:
        decide: () → how many steps the next chunk is to have, whether to keep its state, and whether to stop before it.
            The state of the last chunk, and that at the end of every epoch, is kept anyway.
    """
    # A thread of its own looks at the clock: this one may be held up by a compiler, or by a device that takes the next
    # chunk only when it is nearly done with one.
    clock = ThreadPoolExecutor(1)
    under_way = None
    step = int(state.step)
    try:
        while True:
            launched = None
            most, keep, stop = decide()
            if step < last_step and not stop:
                count = min(most, steps_in_epoch - step % steps_in_epoch)
                programs.flops(count)  # what is not compiled yet is compiled before the clock runs
                dispatched = time.perf_counter()
                state, terms = programs.train(state, count)
                step += count
                ends = step % steps_in_epoch == 0
                kept = programs.snapshot(state) if ends or keep else None
                # What is saved is evaluated, not the state itself: on jax 0.7.2 and one CPU device, the evaluation of
                # parameters that come from donated ones was seen to give the figures of others.
                sums = programs.evaluate(kept) if ends else None
                launched = Chunk(dispatched, terms, kept, sums, clock.submit(_ended, terms, sums))
            elif under_way is not None and under_way.state is None:
                under_way = under_way._replace(state=state)  # no chunk after it has taken the memory of its state
            if under_way is not None:
                yield under_way
            if launched is None:
                return
            under_way = launched
    finally:
        clock.shutdown(wait=False)


def _ended(terms: Terms, sums: dict[str, Any] | None) -> tuple[float, float]:
    jax.block_until_ready(terms)
    trained = time.perf_counter()
    jax.block_until_ready(sums)
    return trained, time.perf_counter()
