import time
from typing import NamedTuple

import pytest

from aejax.config.checks import Named
from aejax.training.chunks import Pace, chunks


def PARTS(last):
    return ["validation", "test"] if last else ["validation"]


class State(NamedTuple):
    step: int
    params: None = None


class Steps(list):
    """An array on a device that has ended."""

    is_ready = staticmethod(lambda: True)


class Programs(NamedTuple):
    """Programs that only count."""

    flops = staticmethod(lambda count: 1.0)
    train = staticmethod(lambda state, count, *_: (State(state.step + count), {"total": Steps([0] * count)}))
    evaluate = staticmethod(lambda params, part: {})
    snapshot = staticmethod(lambda state: state)


def run(lengths, state=0, keep=(), stop_before=99):
    """Chunks of an epoch of 10 steps, two epochs; returns their steps, kept states and evaluations."""
    calls = iter(range(100))

    def decide():
        call = next(calls)
        return lengths[min(call, len(lengths) - 1)], call in keep, call >= stop_before

    return [
        (len(chunk.terms["total"]), chunk.state and chunk.state.step, chunk.sums is not None)
        for chunk in chunks(Programs(), State(state), 10, 20, decide, PARTS)
    ]


def test_chunks_end_where_epochs_end():
    assert run([10]) == [(10, 10, True), (10, 20, True)]
    assert run([4, 4, 7]) == [(4, None, False), (4, None, False), (2, 10, True), (7, None, False), (3, 20, True)]
    assert run([10], state=13) == [(7, 20, True)]
    assert run([10], state=20) == []


def test_a_stop_keeps_the_state_of_the_chunk_in_flight():
    assert run([4], stop_before=1) == [(4, 4, False)]
    assert run([4], stop_before=3) == [(4, None, False), (4, None, False), (2, 10, True)]
    assert run([4], stop_before=0) == []


def test_a_state_is_kept_where_it_was_asked_for():
    assert run([4], keep={1}) == [
        (4, None, False),
        (4, 8, False),
        (2, 10, True),
        (4, None, False),
        (4, None, False),
        (2, 20, True),
    ]


def test_the_next_chunk_is_on_the_device_before_one_is_looked_at():
    decided = []
    following = chunks(Programs(), State(0), 10, 20, lambda: (decided.append(0) or 4, False, False), PARTS)
    next(following)
    assert len(decided) == 2


def test_an_epoch_whose_factors_depend_on_the_last_begins_after_it():
    decided = []
    following = chunks(
        Programs(), State(0), 10, 20, lambda: (decided.append(0) or 4, False, False), PARTS, lambda: Named(rate=(1.0,))
    )
    seen = [(len(chunk.terms["total"]), len(decided)) for chunk in following]
    assert seen == [(4, 2), (4, 3), (2, 3), (4, 5), (4, 6), (2, 6)]


def test_no_chunk_has_one_step():
    assert [steps for steps, *_ in run([3])] == [3, 3, 4] * 2
    assert [steps for steps, *_ in run([9])] == [10] * 2
    assert [steps for steps, *_ in run([1], state=9)] == [1, *[2] * 5]  # saved by an older version


def test_a_long_epoch_is_cut_and_a_short_one_is_not():
    assert Pace(1000, lambda count: 2e7).steps == 1000  # a second in all
    assert Pace(1000, lambda count: 2e9).steps == 10
    assert Pace(1000, lambda count: 2e12).steps == 2
    assert Pace(1, lambda count: 2e12).steps == 1
    assert Pace(1000, lambda count: 0).steps == 1000  # the compiler does not report it


@pytest.mark.parametrize(("seconds", "steps"), [(30.0, 25), (10.0, 100), (1.4, 1000), (0.2, 1000)])
def test_a_chunk_of_another_duration_than_estimated_is_corrected(seconds, steps):
    pace = Pace(1000, lambda count: 0)
    pace.measured(1000, seconds)
    assert pace.steps == steps


def test_an_epoch_is_a_multiple_of_a_chunk_where_it_can_be():
    for epoch, seconds, steps in ((8192, 8.0, 1024), (1000, 10.0, 100), (1009, 10.0, 100)):  # 1009 is a prime
        pace = Pace(epoch, lambda count: 0)
        pace.measured(epoch, seconds)
        assert pace.steps == steps


def test_a_length_of_the_right_duration_is_kept_until_the_machine_slows_down():
    pace = Pace(1000, lambda count: 2e9)
    for steps, seconds, kept in ((10, 0.1, 100), (100, 1.0, 100), (100, 0.2, 100), (100, 1.9, 100), (100, 4.0, 25)):
        pace.measured(steps, seconds)
        assert pace.steps == kept
    pace.measured(25, 0.2)
    assert pace.steps == 25


def test_a_recorded_length_is_kept_unless_the_machine_is_another():
    for seconds, steps in ((0.2, 50), (1.0, 50), (1.4, 50), (5.0, 10), (0.01, 1000)):
        pace = Pace(1000, None, recorded=50)
        assert pace.steps == 50
        pace.measured(50, seconds)
        assert pace.steps == steps
    assert Pace(30, None, recorded=50).steps == 30


class Computed:
    """An array that a device has computed at some time; `look` is called before anybody looks at it."""

    def __init__(self, at, look=lambda: None):
        self.at, self.look = at, look

    def is_ready(self):
        now = time.perf_counter()
        self.look()
        return now >= self.at


class Device:
    """Programs of a device that takes a time for each, in the order of the calls."""

    flops = staticmethod(lambda count: 1.0)
    snapshot = staticmethod(lambda state: state)

    def __init__(self, training, evaluation, look=lambda: None):
        self.training, self.evaluation, self.look = training, evaluation, look
        self.free, self.took = 0.0, []

    def compute(self, duration):
        self.free = max(self.free, time.perf_counter()) + duration
        return Computed(self.free, self.look)

    def train(self, state, count, *_):
        before = max(self.free, time.perf_counter())
        terms = {"total": self.compute(self.training)}
        self.took.append(self.free - before)
        return State(state.step + count), terms

    def evaluate(self, *_):
        return {"total": self.compute(self.evaluation)}


def recorded(device, epochs):
    """The seconds of each of some epochs, as the loop records them."""
    free, found = time.perf_counter(), []
    for chunk in chunks(device, State(0), 1, epochs, lambda: (1, False, False), PARTS):
        found.append(chunk.trained.result() - max(free, chunk.dispatched))
        free = chunk.evaluated.result()
    return found


@pytest.mark.parametrize("evaluation", [0.0, 0.004])
@pytest.mark.parametrize("late", [0.03, 0.1, 0.3])
def test_no_chunk_is_faster_than_the_device_although_the_clock_wakes_late(late, evaluation):
    """Once, while the second chunk is computed, the clock sleeps for a part of a chunk, or for several."""
    begin, slept = time.perf_counter(), []

    def sleep_once():
        if time.perf_counter() > begin + 0.1 and not slept:
            slept.append(late)
            time.sleep(late)

    device = Device(0.08, evaluation, sleep_once)
    found = recorded(device, 6)
    assert min(found) > min(device.took) / 2.2


def test_a_chunk_ends_when_the_device_is_done_and_not_when_an_evaluation_is_compiled():
    class Compiling(Device):
        """Compiles the evaluation and, before the second chunk, another length."""

        def evaluate(self, *_):
            time.sleep(0.3)
            return super().evaluate()

        def flops(self, count):
            time.sleep(0.2)

    assert recorded(Compiling(0.05, 0.0), 2)[0] < 0.25


def test_a_chunk_that_is_too_short_grows_and_a_rest_has_no_influence():
    pace = Pace(1000, lambda count: 2e9)
    pace.measured(7, 0.001)
    assert pace.steps == 10
    pace.measured(10, 0.1)
    assert pace.steps == 100
