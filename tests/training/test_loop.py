import contextlib
import json
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import aejax
from aejax import Config, Dataset, Diverged, InputError, Interrupted, fit, load
from aejax.config import complete
from aejax.training import loop
from aejax.training.divergence import failure_of
from runs import leaves, without_clock

TRAIN = Path(__file__).parents[2] / "experiments" / "train.py"


@pytest.fixture(scope="module")
def one_run(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    config, dataset = small
    return folder, fit(config, folder, dataset=dataset, progress=False)


@pytest.fixture
def finished(one_run, tmp_path):
    """A finished run of `small`, in a copy of its workdir."""
    folder, run = one_run
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return run


@pytest.mark.long
def test_it_learns_digits(digits):
    run = fit(Config().replace({"training.epochs": 6, "training.passes": 5}), dataset=digits, progress=False)
    mean = digits.train.mean(axis=0) / 255
    test = digits.test / 255
    p = np.clip(mean, 1e-6, 1 - 1e-6)
    of_the_mean_image = -(test * np.log(p) + (1 - test) * np.log(1 - p)).mean()
    assert run.summary["test"]["reconstruction"] < 0.8 * of_the_mean_image
    totals = [line["train"]["total"] for line in run.history]
    assert totals == sorted(totals, reverse=True)


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        ("mse", "gaussian"),
        pytest.param("bce", "masking", marks=pytest.mark.long),
        pytest.param("bce", "salt_and_pepper", marks=pytest.mark.long),
        pytest.param("mse", "none", marks=pytest.mark.long),
        pytest.param("bce", "gaussian", marks=pytest.mark.long),
    ],
)
def test_every_loss_and_corruption_trains(small, loss, kind):
    config, dataset = small
    noise = {} if kind == "none" else {"coefficients.noise": 0.2}
    config = config.replace({"loss.reconstruction": loss, "corruption.kind": kind} | noise)
    run = fit(config, dataset=dataset, progress=False)
    assert run.history[-1]["train"]["total"] < run.history[0]["train"]["total"]
    assert ("test_nats_per_image" in run.summary) == (loss == "bce")


@pytest.mark.long
def test_an_array_is_enough():
    images = np.random.default_rng(0).random((60, 6, 6)).astype(np.float32)
    run = fit(Config().replace({"training.epochs": 2}), dataset=images, progress=False)
    assert run.summary["epochs"] == 2 and run.encode(images).shape == (60, 32)


def test_what_a_run_leaves_behind(small, tmp_path, finished):
    config, run = small[0], finished
    described = json.loads((tmp_path / "config.json").read_text())
    assert Config.from_dict({name: described[name] for name in config.to_dict()}) == complete(config)
    assert set(described["versions"]) >= {"python", "jax", "flax", "orbax-checkpoint"} and described["device"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == run.history and [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["step"] for line in lines] == [5, 10, 15]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == run.summary
    assert set(summary) >= {"step", "epochs", "seconds", "images_per_second", "train", "test", "code"}
    for part in ("train", "test"):
        assert set(summary[part]) == {"reconstruction", "l1", "total"}
    assert set(summary["code"]) == {"mean", "variance", "fraction_zero"}
    assert list(tmp_path.glob("events.out.tfevents*"))


def test_a_finished_run_is_loaded_and_not_trained_again(small, tmp_path, finished, capsys):
    (config, dataset), first = small, finished
    before = (tmp_path / "metrics.jsonl").read_bytes()
    again = fit(config, tmp_path, dataset=dataset)
    assert "finished" in capsys.readouterr().out
    assert all(np.array_equal(a, b) for a, b in zip(leaves(first), leaves(again), strict=True))
    assert again.summary == first.summary and (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_workdir_of_another_run_is_refused(small, tmp_path, finished):
    config, dataset = small
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"training\.epochs: 2 here, 3 there"):
        fit(config.replace({"training.epochs": 2}), tmp_path, dataset=dataset, progress=False)
    with pytest.raises(InputError, match=r"coefficients\.l1: 0.5 here, 0.0 there"):
        fit(config.replace({"coefficients.l1": 0.5, "training.epochs": 4}), tmp_path, dataset=dataset, progress=False)
    with pytest.raises(InputError, match=r"another run, .* \(examples: "):
        fit(config, tmp_path, dataset=Dataset("small", dataset.train, dataset.test[::-1]), progress=False)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_a_workdir_that_cannot_be_written_is_refused(small, tmp_path):
    config, dataset = small
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        fit(config, tmp_path / "file" / "run", dataset=dataset, progress=False)


@pytest.mark.bits
def test_a_stopped_run_goes_on_as_if_never_stopped(small, tmp_path):
    config, dataset = small
    config = config.replace(
        {
            "schedules.learning_rate.shape": "cosine",
            "data.augmentation": ["shift", "flip", "crop"],
            "corruption.kind": "gaussian",
            "coefficients.noise": 0.3,
            "training.epochs": 5,
        }
    )
    whole = fit(config, tmp_path / "whole", dataset=dataset, progress=False)
    stopped = fit(config, tmp_path / "stopped", dataset=dataset, progress=False)
    # As a kill would leave it: the newest checkpoint and the summary missing, the last line torn.
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / str(stopped.summary["step"]))
    (tmp_path / "stopped" / "summary.json").unlink()
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-40])
    resumed = fit(config, tmp_path / "stopped", dataset=dataset, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(whole), leaves(resumed), strict=True))
    assert without_clock(whole.history) == without_clock(resumed.history)
    assert without_clock(map(json.loads, metrics.read_text().splitlines())) == without_clock(whole.history)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint_before(small, tmp_path, monkeypatch):
    config, dataset = small
    config = config.replace({"loss.reconstruction": "mse", "coefficients.learning_rate": 1e18, "training.epochs": 9})
    with pytest.raises(Diverged, match=r"at step \d+: the term (reconstruction|l1) is .*learning_rate"):
        fit(config, tmp_path / "first", dataset=dataset, progress=False)
    assert not (tmp_path / "first").exists()  # before the first checkpoint nothing is worth keeping
    others = {tmp_path / "first" / name for name in ("events.out.tfevents.1.other", "notes.txt")}
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("of the user")
    with pytest.raises(Diverged):
        fit(config, tmp_path / "first", dataset=dataset, progress=False)
    assert set((tmp_path / "first").iterdir()) == others
    (tmp_path / "first" / "metrics.jsonl").write_text("of the user")
    with pytest.raises(InputError, match=r"has metrics\.jsonl but no config\.json"):
        fit(config, tmp_path / "first", dataset=dataset, progress=False)
    assert (tmp_path / "first" / "metrics.jsonl").read_text() == "of the user"
    monkeypatch.setattr(loop, "failure_of", lambda terms, found, step: "it diverged" if step > 5 else None)
    with pytest.raises(Diverged, match="it diverged"):
        fit(small[0], tmp_path / "late", dataset=dataset, progress=False)
    assert len((tmp_path / "late" / "metrics.jsonl").read_text().splitlines()) == 1
    assert load(tmp_path / "late").state.step == 5 and not (tmp_path / "late" / "summary.json").exists()


def test_divergence_names_the_step_and_the_term():
    good = np.zeros(4, np.float32)
    bad = np.array([0, 0, np.inf, np.nan], np.float32)
    found = failure_of({"reconstruction": good, "l1": bad, "total": bad}, {"test": {"total": 0.0}}, 104)
    assert "at step 103: the term l1 is inf" in found
    found = failure_of({"total": good}, {"test": {"reconstruction": np.nan, "total": np.nan}}, 104)
    assert "test loss is not finite after step 104: the term reconstruction is nan" in found
    assert failure_of({"total": good}, {"test": {"total": 0.0}}, 104) is None


@pytest.mark.long
def test_signals_save_exit_75_and_the_same_command_goes_on(script, digits, tmp_path):
    config = aejax.Config().replace(
        {"training.epochs": 8, "training.passes": 10, "corruption.kind": "gaussian", "coefficients.noise": 0.4}
    )
    (tmp_path / "config.py").write_text(
        f"from aejax import Config\ndef get_config():\n    return Config.from_dict({config.to_dict()!r})\n"
    )
    whole = fit(config, dataset=digits, progress=False)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    command = [sys.executable, TRAIN, "config.py", "--workdir", "stopped"]
    done = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while process.poll() is None and not (metrics.exists() and metrics.read_text().count("\n") > done):
            time.sleep(0.01)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
        assert process.returncode == 75 and error.count("\n") == 1 and "run the same command to go on" in error
        done = metrics.read_text().count("\n")
        assert done < 8 and not (tmp_path / "stopped" / "summary.json").exists()
    resumed = script("train.py", "config.py", "--workdir", "stopped")
    assert resumed.returncode == 0, resumed.stderr
    same = load(tmp_path / "stopped")
    assert all(np.array_equal(a, b) for a, b in zip(leaves(whole), leaves(same), strict=True))
    assert without_clock(whole.history) == without_clock(same.history)


def flip(newest):
    file = max((newest / "arrays").rglob("d/*"), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut(newest):
    (newest / "arrays" / "_CHECKPOINT_METADATA").unlink()
    (newest / "manifest.json").write_bytes(b"{}")


@pytest.mark.bits
@pytest.mark.parametrize("damage", [flip, cut])
def test_damage_to_the_newest_checkpoint_costs_an_epoch_and_no_more(small, tmp_path, finished, damage):
    (config, dataset), whole = small, finished
    newest = tmp_path / "checkpoints" / str(whole.summary["step"])
    damage(newest)
    assert load(tmp_path).state.step == 10  # who only reads goes back to the one before
    again = fit(config, tmp_path, dataset=dataset, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(whole), leaves(again), strict=True))
    assert without_clock(again.history) == without_clock(whole.history)
    assert (tmp_path / "damaged" / newest.name).is_dir()
    assert all(np.array_equal(a, b) for a, b in zip(leaves(whole), leaves(load(tmp_path)), strict=True))


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(small, tmp_path, finished):
    config, dataset = small
    for checkpoint in (tmp_path / "checkpoints").iterdir():
        flip(checkpoint)
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole"):
        fit(config, tmp_path, dataset=dataset, progress=False)
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole"):
        load(tmp_path)


@pytest.mark.long
@pytest.mark.bits
def test_a_stop_within_an_epoch_is_as_if_never_stopped(small, tmp_path, stop_after):
    config, dataset = small
    config = config.replace({"corruption.kind": "masking", "coefficients.noise": 0.2})
    whole = fit(config, dataset=dataset, progress=False)

    with stop_after(2):
        for step in (2, 5, 7):  # an epoch has five, and no chunk has one
            with pytest.raises(Interrupted, match=f"after step {step} of 15"):
                fit(config, tmp_path, dataset=dataset, progress=False)
            assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == step // 5
    resumed = fit(config, tmp_path, dataset=dataset, progress=False)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(whole), leaves(resumed), strict=True))
    assert without_clock(resumed.history) == without_clock(whole.history)


def test_a_resumed_run_keeps_the_length_of_its_chunks(small, tmp_path, stop_after, monkeypatch):
    config, dataset = small
    with stop_after(2), pytest.raises(Interrupted):
        fit(config, tmp_path, dataset=dataset, progress=False)
    lengths, real = [], loop.chunks

    def noted(*arguments):
        for chunk in real(*arguments):
            lengths.append(len(chunk.terms["total"]))
            yield chunk

    monkeypatch.setattr(loop, "chunks", noted)
    monkeypatch.setattr("aejax.training.chunks._OTHER_MACHINE", 0.0)
    fit(config, tmp_path, dataset=dataset, progress=False)
    assert lengths == [3, 2, 3, 2, 3]  # 2 of 15 were taken before


def test_a_signal_in_the_last_chunk_is_not_lost(small, tmp_path, monkeypatch):
    """The run is finished, and what would come after it does not begin."""
    config, dataset = small
    config = config.replace({"training.epochs": 1})

    @contextlib.contextmanager
    def at_the_end():
        yield types.SimpleNamespace(is_set=iter([False, False, True]).__next__)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "stop_requests", at_the_end)
        with pytest.raises(Interrupted, match=r"after the last step; the run in .* is finished"):
            fit(config, tmp_path, dataset=dataset, progress=False)
    summary = (tmp_path / "summary.json").read_bytes()
    assert fit(config, tmp_path, dataset=dataset, progress=False).summary["epochs"] == 1
    assert summary == (tmp_path / "summary.json").read_bytes()


def test_a_state_that_a_finite_loss_hides_is_not_saved(small, tmp_path, monkeypatch):
    config, dataset = small
    real = loop.build_programs

    def spoiled(*arguments):
        programs = real(*arguments)
        return programs._replace(
            snapshot=lambda state: programs.snapshot(state)._replace(opt_state={"w": jnp.float32([np.nan])})
        )

    monkeypatch.setattr(loop, "build_programs", spoiled)
    with pytest.raises(Diverged, match=r"not finite after step 5: opt_state\['w'\]"):
        fit(config, tmp_path, dataset=dataset, progress=False)
    assert not tmp_path.exists()


def test_a_second_run_in_the_same_workdir_is_refused(small, tmp_path):
    from aejax.training.identity import Identity
    from aejax.training.records import Record

    config, dataset = small
    first = Record(tmp_path, Identity.of(complete(config), dataset))
    first.open()
    with pytest.raises(InputError, match="another run is under way"):
        fit(config, tmp_path, dataset=dataset, progress=False)
    first.close()
    fit(config, tmp_path, dataset=dataset, progress=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "[]", "config.json"),
        ("config.json", "{", "config.json"),
        ("config.json", '{"model": {}}', "config.json"),
        ("summary.json", "{}", r"summary\.json is damaged"),
        ("summary.json", "{", r"summary\.json is damaged"),
        ("metrics.jsonl", "5\n", "has 1 whole lines, which differ from the 3 of the newest checkpoint"),
        ("metrics.jsonl", "\0\udcff", "0 whole lines"),
    ],
)
def test_damaged_records_are_named_in_one_line(small, tmp_path, finished, name, content, message):
    config, dataset = small
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=message) as refused:
        fit(config, tmp_path, dataset=dataset, progress=False)
    assert "\n" not in str(refused.value)
