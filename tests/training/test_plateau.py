"""Schedules that fall when the validation loss stalls."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import InputError, Schedule, fit, sweep
from aejax.training.selection import factors
from runs import same, without_clock

STALLING = {
    "training.epochs": 5,
    "training.select": "l1",  # the term of a weight of 0 is 0 in each epoch
    "schedules.learning_rate.shape": "plateau",
    "schedules.learning_rate.patience": 2,
    "schedules.learning_rate.factor": 1e-30,
}


def recorded(history):
    return [line["factors"]["learning_rate"] for line in history]


def test_the_factors_are_those_of_optax(small):
    values = np.random.default_rng(0).random(40).tolist()
    config = small[0].replace({"schedules.learning_rate": {"shape": "plateau", "factor": 0.3, "patience": 3}})
    ours = optax.contrib.reduce_on_plateau(0.3, 3, rtol=0, atol=1e-9)
    update, state, scales = jax.jit(ours.update), ours.init({}), []
    for value in values:
        _, state = update({}, state, value=jnp.float32(value))
        scales.append(float(state.scale))
    lines = [{"validation": {"total": value}} for value in values]
    found = [factors(config, lines[: number + 1])["learning_rate"][0] for number in range(40)]
    assert np.allclose(found, scales, rtol=1e-5) and found[-1] < found[9] < 1


def test_the_learning_rate_falls_when_the_selected_metric_stalls_and_a_resumed_run_is_the_same(small, tmp_path):
    config, dataset = small[0].replace(STALLING), small[1]
    run = fit(config, tmp_path, dataset=dataset, progress=False)
    assert recorded(run.history) == [1, 1, 1, 1e-30, 1e-30] and run.config.data.validation == 0.1
    plain = {"training.epochs": 3, "schedules": {}, "training.select": None, "data.validation": 0.1}
    short = fit(config.replace(plain), dataset=dataset, progress=False)
    assert all(map(np.array_equal, jax.tree.leaves(run.state.params), jax.tree.leaves(short.state.params)))
    shutil.rmtree(tmp_path / "checkpoints" / str(run.summary["step"]))
    (tmp_path / "summary.json").unlink()
    resumed = fit(config, tmp_path, dataset=dataset, progress=False)
    assert same(run, resumed) and without_clock(run.history) == without_clock(resumed.history)


@pytest.mark.long
def test_each_member_of_a_sweep_has_its_own_plateau(small):
    changes = {"training.select": None, "coefficients.learning_rate": 0.1}
    changes |= {"schedules.learning_rate.patience": 1, "schedules.learning_rate.factor": 0.5}
    config = small[0].replace(STALLING | changes)
    runs = sweep(config, {"training.seed": range(3)}, dataset=small[1], progress=False).runs.values()
    found = [recorded(run.history) for run in runs]
    for run, own in zip(runs, found, strict=True):
        assert own == [factors(config, run.history[:epoch])["learning_rate"][0] for epoch in range(5)]
        assert run.config.data.validation == 0.1
    assert len(set(map(tuple, found))) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.validation": 0}, r"data\.validation is 0; .* a schedule of the shape plateau"),
        ({"schedules.learning_rate.factor": 1}, r"schedules\.learning_rate\.factor is 1; it must be between 0 and 1"),
        ({"schedules.learning_rate.shape": "cosine"}, r"factor is 1e-30; it must be left out unless .* is plateau"),
        ({"schedules.learning_rate.warmup_epochs": 6}, "from 0 to 5"),
    ],
)
def test_plateaus_that_are_refused(small, changes, message):
    with pytest.raises(InputError, match=message):
        small[0].replace(STALLING | changes)


def test_more_epochs_may_follow_a_plateau(small):
    assert small[0].replace(STALLING).epochs_may_grow and Schedule("plateau", warmup_epochs=2).patience == 5
