"""Chunks of training: compiled calls of about a second, so that a run stops soon after a signal and saves in time."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax

from aejax.config.checks import Named
from aejax.training.batches import part
from aejax.training.epoch import Programs
from aejax.training.step import Terms, TrainState

SHORTEST, LONGEST = 0.5, 1.5
"""seconds of a chunk whose length is kept (epochs may be shorter); a stop waits for at most two chunks"""
_SLOWED = 2.0
"""seconds of a chunk from which a kept length is reduced"""
_OTHER_MACHINE = 0.1
"""seconds of a chunk below which a recorded length is increased"""
_SLOWEST = 2e10
"""floating-point operations per second assumed before the first measurement; two slow CPU cores do more"""
_EXCHANGE = 0.02
"""seconds per step assumed for the communication of several processes, before the first measurement"""


_LOOKS = 1 / 32, 1e-3
"""time between two looks at the device: share of the time so far, and least seconds"""


class Chunk(NamedTuple):
    """A chunk under way on the device; times by `time.perf_counter`."""

    dispatched: float  # time of the call
    terms: Terms  # float32[steps of the chunk] each
    state: TrainState | None  # after the chunk, if it is to be saved
    sums: dict[str, Any] | None  # of the evaluation at the end of an epoch, by part of the dataset
    trained: Future[float]  # when training ended
    evaluated: Future[float]  # when the evaluation ended, if any


class Pace:
    """The length of a chunk, `steps`: a whole epoch, or as many of its steps as take about a second.

    Each length is a program to compile. So a run keeps its recorded length, or the first length that takes between
    `SHORTEST` and `LONGEST`; afterwards the length only decreases, when the machine slows down.
    """

    def __init__(
        self, steps_in_epoch: int, flops: Callable[[int], float], processes: int = 1, recorded: int | None = None
    ) -> None:
        self._most = self.steps = steps_in_epoch
        self._shortest, self._longest = SHORTEST if recorded is None else _OTHER_MACHINE, LONGEST
        if recorded is not None:
            self.steps = min(recorded, steps_in_epoch)
            return
        estimate = flops(steps_in_epoch) / _SLOWEST + (_EXCHANGE if processes > 1 else 0.0)
        if estimate * steps_in_epoch > LONGEST:
            self.steps = self._dividing(LONGEST / estimate)

    def measured(self, steps: int, seconds: float) -> None:
        """Adapt the length to the time of a chunk."""
        if steps != self.steps:
            return
        if seconds > self._longest or (seconds < self._shortest and steps < self._most):
            self.steps = self._dividing(steps * (SHORTEST + LONGEST) / 2 / seconds)
        elif seconds >= SHORTEST:
            self._shortest, self._longest = 0.0, _SLOWED

    def _dividing(self, most: float) -> int:
        """Choose at most so many steps, if possible a divisor of an epoch: a rest would be another program."""
        steps = max(min(2, self._most), min(self._most, int(most)))
        return next((length for length in range(steps, max(1, steps // 2), -1) if self._most % length == 0), steps)


def chunks(
    programs: Programs,
    state: TrainState,
    steps_in_epoch: int,
    last_step: int,
    decide: Callable[[], tuple[int, bool, bool]],
    parts: Callable[[bool], Sequence[str]],
    factors: Callable[[], Named] = Named,
) -> Iterator[Chunk]:
    """Train up to a step; yield each chunk once the next chunk is on the device.

    Args:
        decide: () → the length of the next chunk, whether to keep its state, and whether to stop before it. The states
            of the last chunk and of the end of every epoch are always kept.
        parts: whether an epoch is the last → the parts of the dataset that are evaluated after it.
        factors: () → the factors of the next chunk, which depend on the chunks that were yielded. With factors, the
            last chunk of an epoch is yielded before the next epoch begins.
    """
    # The clock has a thread of its own, since the compiler or a busy device may block this thread.
    clock, under_way, step = ThreadPoolExecutor(1), None, int(state.step)
    try:
        while True:
            launched = None
            if under_way is not None and under_way.sums and factors():
                yield under_way
                under_way = None
            most, keep, stop = decide()
            if step < last_step and not stop:
                count = part(most, steps_in_epoch - step % steps_in_epoch)
                programs.flops(count)  # compiles before the clock runs
                dispatched = time.perf_counter()
                state, terms = programs.train(state, count, step, factors())
                trained = clock.submit(_ended, terms)  # before an evaluation is compiled
                step += count
                ends = step % steps_in_epoch == 0
                kept = programs.snapshot(state) if ends or keep else None
                # The evaluation reads the copy that is saved: on jax 0.7.2 and one CPU device, the evaluation of
                # parameters in donated memory returned wrong sums.
                names = parts(step == last_step) if ends else ()
                sums = {name: programs.evaluate(kept, name) for name in names} if ends else None
                evaluated = clock.submit(_ended, sums, trained) if sums else trained
                launched = Chunk(dispatched, terms, kept, sums, trained, evaluated)
            elif under_way is not None and under_way.state is None:
                under_way = under_way._replace(state=state)  # the last state is not donated
            if under_way is not None:
                yield under_way
            if launched is None:
                return
            under_way = launched
    finally:
        clock.shutdown(wait=False)


def _ended(arrays: Any, earlier: Future[float] | None = None) -> float:
    """Return when the device computed arrays: the middle between the last look before this moment and the first after.

    The clock may wake late on a busy machine, after the next chunk has ended too. Then the time between the two looks
    is shared: each chunk is recorded with at least half of the time that the device took.

    Args:
        earlier: the end of the training before an evaluation, which ends then if no look falls between them.
    """
    begin = before = looked = time.perf_counter()
    while not all(array.is_ready() for array in jax.tree.leaves(arrays)):
        before, earlier = looked, None
        time.sleep(max(_LOOKS[0] * (before - begin), _LOOKS[1]))
        looked = time.perf_counter()
    return (before + time.perf_counter()) / 2 if earlier is None else earlier.result()
