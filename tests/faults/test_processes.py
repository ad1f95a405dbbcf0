"""How a test ends whose processes do not."""

import time

import pytest
from processes import CONTEXT, finish


def test_a_process_that_does_not_end_is_told_by_its_time_and_killed():
    process = CONTEXT.Process(target=time.sleep, args=(100,), daemon=True)
    process.start()
    with pytest.raises(TimeoutError, match=r"1 of 1 processes \(\[0\]\) were still under way after 1 s"):
        finish([process], 1)
    process.join(30)
    assert process.exitcode == -9
