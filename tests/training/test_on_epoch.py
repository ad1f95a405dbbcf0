"""A callback after each epoch, early stopping, and a finished run that is trained longer."""

import json

import numpy as np
import pytest

import aejax
from aejax import InputError, Interrupted, fit, load
from aejax.config import complete
from runs import same, without_clock


def test_the_callback_gets_the_model_so_far_and_its_figures_are_recorded(small, tmp_path):
    config, dataset = small
    seen = []

    def look(run):
        error = np.square(run.reconstruct(dataset.test) - dataset.test / 255).mean()
        seen.append((int(run.state.step), run.history[-1]["epoch"], float(error)))
        return {"error": error, "broken": float("nan")}

    run = fit(config, tmp_path, dataset=dataset, progress=False, on_epoch=look)
    assert [step for step, *_ in seen] == [5, 10, 15] and [epoch for _, epoch, _ in seen] == [1, 2, 3]
    assert seen[2][2] == pytest.approx(np.square(run.reconstruct(dataset.test) - dataset.test / 255).mean())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["metrics"]["error"] for line in lines] == pytest.approx([error for *_, error in seen])
    assert lines[0]["metrics"]["broken"] is None and run.summary["metrics"]["error"] == pytest.approx(seen[2][2])
    assert same(run, fit(config, dataset=dataset, progress=False))


def test_a_sign_finishes_the_run_which_stays_so_until_it_is_given_more_epochs(small, tmp_path, capsys):
    config, dataset = small
    config = config.replace({"training.epochs": 6})

    def enough(run):
        return aejax.Finish(loss=run.history[-1]["test"]["total"]) if len(run.history) == 2 else None

    run = fit(config, tmp_path, dataset=dataset, progress=False, on_epoch=enough)
    assert run.summary["epochs"] == 2 and run.state.step == 10 and run.history[1]["metrics"]["loss"] > 0
    again = fit(config, tmp_path, dataset=dataset, on_epoch=enough)
    assert "finished" in capsys.readouterr().out and same(again, run) and again.summary == run.summary
    # As a kill before the summary would leave it.
    (tmp_path / "summary.json").unlink()
    again = fit(config, tmp_path, dataset=dataset, progress=False)
    assert same(again, run) and again.summary == run.summary and load(tmp_path).summary == run.summary
    longer = fit(config.replace({"training.epochs": 7}), tmp_path, dataset=dataset, progress=False)
    assert same(longer, fit(config.replace({"training.epochs": 7}), dataset=dataset, progress=False))


def test_what_the_callback_returns_is_checked(small):
    config, dataset = small
    for returned, message in (
        (3, "on_epoch returned 3"),
        ({"a": "b"}, "returned 'b' for the metric a; it must be a number"),
    ):
        with pytest.raises(InputError, match=message):
            fit(config, dataset=dataset, progress=False, on_epoch=lambda run, returned=returned: returned)


@pytest.mark.long
@pytest.mark.bits
def test_early_stopping_ends_at_the_same_epoch_however_training_is_cut(small, tmp_path, stop_after):
    config, dataset = small
    config = config.replace({"training.epochs": 80, "training.patience": 2, "coefficients.learning_rate": 0.05})
    whole = fit(config, dataset=dataset, progress=False)
    totals = [line["validation"]["total"] for line in whole.history]
    assert len(totals) < 80 and min(totals) == totals[-3] and whole.summary["epochs"] == len(totals)
    with stop_after(7), pytest.raises(Interrupted):
        fit(config, tmp_path, dataset=dataset, progress=False)
    resumed = fit(config, tmp_path, dataset=dataset, progress=False)
    assert same(whole, resumed) and without_clock(resumed.history) == without_clock(whole.history)
    assert load(tmp_path, "best").history[-1]["validation"]["total"] == min(totals)
    with pytest.raises(InputError, match=r"training\.patience is 2; .*end together"):
        aejax.sweep(config, {"training.seed": [0, 1]}, dataset=dataset, progress=False)


def test_another_patience_is_recorded(small, tmp_path):
    config, dataset = small
    config = config.replace({"training.epochs": 80, "training.patience": 1, "coefficients.learning_rate": 0.05})
    first = fit(config, tmp_path, dataset=dataset, progress=False)
    patient = config.replace({"training.patience": 3})
    run = fit(patient, tmp_path, dataset=dataset, progress=False)
    chosen = complete(patient.replace({"data.validation": 0.1}))
    assert first.summary["epochs"] < run.summary["epochs"] and load(tmp_path).config == chosen
    assert same(run, fit(patient, dataset=dataset, progress=False))


@pytest.mark.long
def test_a_finished_run_is_trained_longer_where_its_schedule_allows(small, tmp_path):
    config, dataset = small
    fit(config, tmp_path / "run", dataset=dataset, progress=False)
    longer = config.replace({"training.epochs": 5})
    run = fit(longer, tmp_path / "run", dataset=dataset, progress=False)
    whole = fit(longer, dataset=dataset, progress=False)
    assert same(run, whole) and without_clock(run.history) == without_clock(whole.history)
    assert load(tmp_path / "run").config.training.epochs == 5
    cosine = config.replace({"schedules.learning_rate.shape": "cosine"})
    fit(cosine, tmp_path / "cosine", dataset=dataset, progress=False)
    with pytest.raises(InputError, match="epochs can only be added, if no schedule depends"):
        fit(cosine.replace({"training.epochs": 5}), tmp_path / "cosine", dataset=dataset, progress=False)


@pytest.mark.long
def test_a_sweep_is_trained_longer(small, tmp_path):
    config, dataset = small
    axes = {"training.seed": [0, 1]}
    aejax.sweep(config.replace({"training.epochs": 1}), axes, tmp_path, dataset=dataset, progress=False)
    found = aejax.sweep(config, axes, tmp_path, dataset=dataset, progress=False)
    whole = aejax.sweep(config, axes, dataset=dataset, progress=False)
    for name, run in found.runs.items():
        assert same(run, whole.runs[name]) and same(load(tmp_path / "members" / name), run)
