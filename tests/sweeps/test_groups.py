"""Members of a sweep that are trained in groups, as on an accelerator."""

from types import SimpleNamespace

import pytest

from aejax import Interrupted, sweep
from aejax.sweeps import members
from runs import same, without_clock

AXES = {"training.seed": range(2), "coefficients.l1": [0.0, 0.1]}


@pytest.mark.long
@pytest.mark.bits
def test_a_sweep_in_groups_goes_on_bit_for_bit(small, tmp_path, monkeypatch, no_programs, stop_after):
    """A signal may come while any group trains; the steps of all groups since the last saved state are then done."""
    config, dataset = small
    config = config.replace({"training.epochs": 1, "devices.count": 1})
    monkeypatch.setattr(members, "group_size", lambda *_: 2)
    whole = sweep(config, AXES, dataset=dataset, progress=False)
    with stop_after(2), pytest.raises(Interrupted, match="after step 2 of"):
        sweep(config, AXES, tmp_path, dataset=dataset, progress=False, figures=())
    resumed = sweep(config, AXES, tmp_path, dataset=dataset, progress=False, figures=())
    assert whole.results["models_at_a_time"] == resumed.results["models_at_a_time"] == [2]
    for name in whole.runs:
        assert same(whole.runs[name], resumed.runs[name])
        assert without_clock(whole.runs[name].history) == without_clock(resumed.runs[name].history)


def test_the_state_of_a_group_fills_at_most_half_of_the_vector_memory():
    def groups(kind, platform="tpu", sizes=(8, 64, 53), state=2.5e6):
        device = SimpleNamespace(platform=platform, device_kind=kind)
        return [members.group_size(size, state, device) for size in sizes]

    assert groups("TPU v5 lite") == groups("TPU v6 lite") == [8, 16, 18]  # 53 have no even groups: 18, 18 and 17
    assert groups("TPU v5") == [8, 8, 11] and groups("TPU v4") == [2, 2, 3]
    assert groups("TPU v4", state=9e6) == [8, 64, 53]  # no member fits
    assert groups("NVIDIA", "gpu") == [8, 64, 53] and groups("cpu", "cpu") == [1, 1, 1]
