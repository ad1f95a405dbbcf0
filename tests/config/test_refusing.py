"""One mechanism turns failures of files, libraries and the user's code into one line."""

import pytest

from aejax.config.checks import AejaxError, InputError, refusing


def test_a_failure_gets_what_failed_its_reason_and_the_advice():
    message = r"^it cannot be read: no such file; give another$"
    with pytest.raises(InputError, match=message) as refused, refusing("it cannot be read", "; give another"):
        raise OSError(2, "no such file")
    assert isinstance(refused.value.__cause__, OSError)


@pytest.mark.parametrize("error", [AejaxError("ours"), KeyboardInterrupt(), ValueError("not an OSError")])
def test_our_errors_interrupts_and_other_types_pass(error):
    with pytest.raises(type(error)) as passed, refusing("it", only=OSError):
        raise error
    assert passed.value is error
