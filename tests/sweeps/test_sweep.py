import json
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from aejax import Config, Diverged, InputError, Interrupted, fit, load, sweep
from aejax.config.grid import grid
from aejax.sweeps import comparison, members
from aejax.sweeps.programs import fitting
from aejax.training import loop
from readable import require_readable
from runs import leaves, same, without_clock

AXES = {"training.seed": range(2), "coefficients.l1": [0.0, 0.1]}
CONFIG = Path(__file__).parents[2] / "configs" / "digits.py"
NAMES = ["seed-0_l1-0", "seed-0_l1-0.1", "seed-1_l1-0", "seed-1_l1-0.1"]


@pytest.fixture(scope="module")
def noisy(small):
    config, dataset = small
    changes = {"corruption.kind": "gaussian", "coefficients.noise": 0.3, "data.validation": 0.1}
    changes["data.augmentation"] = ["shift", "crop"]
    return config.replace(changes), dataset


@pytest.fixture(scope="module")
def swept(noisy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "run"
    config, dataset = noisy
    return folder, sweep(config, AXES, folder, dataset=dataset, progress=False)


@pytest.fixture(scope="module")
def alone(noisy):
    """Each member trained by itself."""
    config, dataset = noisy
    configs = grid(config, AXES).members
    return {name: fit(member, dataset=dataset, progress=False) for name, member in configs.items()}


def require_equal(runs, alone):
    for name, run in runs.items():
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(leaves(run), leaves(alone[name]), strict=True))
        for line, expected in zip(run.history, alone[name].history, strict=True):
            for part in ("train", "validation", "test", "code"):
                assert line[part].keys() == expected[part].keys()
                assert all(np.isclose(line[part][key], expected[part][key], rtol=1e-5, atol=1e-7) for key in line[part])


@pytest.mark.bits
def test_a_member_equals_its_solo_run(swept, alone):
    runs = swept[1].runs
    assert list(runs) == NAMES
    require_equal(runs, alone)
    assert not np.allclose(leaves(runs[NAMES[0]])[1], leaves(runs[NAMES[2]])[1], atol=1e-2)


@pytest.mark.long  # the way of accelerators
@pytest.mark.parametrize("size", [3, 4])  # a group and a rest, or all members at once
def test_so_it_does_where_the_members_of_a_group_take_each_step_together(noisy, alone, monkeypatch, no_programs, size):
    config, dataset = noisy
    monkeypatch.setattr(members, "IN_TURN", ())
    monkeypatch.setattr(members, "group_size", lambda *_: size)
    found = sweep(config, AXES, dataset=dataset, progress=False)
    assert found.results["models_at_a_time"] == [size]
    require_equal(found.runs, alone)


def test_a_sweep_leaves_a_table_and_each_member_as_a_run(swept):
    folder, found = swept
    results = json.loads((folder / "results.json").read_text())
    assert results == found.results and [row["member"] for row in results["members"]] == NAMES
    losses = {row["member"]: row["test"]["reconstruction"] for row in results["members"]}
    assert results["best"] is None and "not comparable, since coefficients.l1 changes" in results["no_best"]
    assert results["no_best"] in (folder / "report.md").read_text()
    with pytest.raises(InputError, match="names no best member: not comparable"):
        print(found.best)
    assert results["groups"][1]["setting"] == {"coefficients.l1": 0.1}
    figure = results["groups"][1]["figures"]["test reconstruction"]
    values = [losses["seed-0_l1-0.1"], losses["seed-1_l1-0.1"]]
    assert np.isclose(figure["mean"], np.mean(values)) and np.isclose(figure["std"], np.std(values, ddof=1))
    assert (
        "| 0.1 | 2 | " in comparison.table(results) and comparison.table(results) in (folder / "report.md").read_text()
    )
    assert "Models that a device trains at a time: 1." in (folder / "report.md").read_text()
    assert (folder / "figures" / "sweep.png").stat().st_size > 0
    for name, run in found.runs.items():
        member = load(folder / "members" / name)
        assert same(member, run) and member.history == run.history and member.summary == run.summary
        assert member.config == run.config == grid(small_config(found), AXES).members[name]
    lines = [json.loads(line) for line in (folder / "programs" / "0" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["member"]) for line in lines] == [
        (epoch, name) for epoch in (1, 2, 3) for name in NAMES
    ]


def small_config(found):
    return found.runs[NAMES[0]].config


def test_a_finished_sweep_is_not_trained_again_and_another_one_is_refused(swept, noisy, monkeypatch):
    (folder, first), (config, dataset) = swept, noisy
    monkeypatch.setattr(loop, "build_programs", None)
    again = sweep(config, AXES, folder, dataset=dataset, progress=False)
    assert again.results == first.results and all(same(again.runs[name], first.runs[name]) for name in NAMES)
    for axes, change, message in (
        (AXES | {"training.seed": range(3)}, {}, r"holds another sweep \(axes: "),
        (AXES, {"training.epochs": 2}, r"another run, .* \(training.epochs: 2 here, 3 there"),
        (AXES, {"training.passes": 2}, r"another run, .* \(training.passes: 2 here, 1 there"),
    ):
        with pytest.raises(InputError, match=message):
            sweep(config.replace(change), axes, folder, dataset=dataset, progress=False)
    with pytest.raises(InputError, match="of a sweep"):
        load(folder / "programs" / "0")
    with pytest.raises(InputError, match="holds a sweep"):
        load(folder)


@pytest.mark.bits
def test_a_stopped_sweep_goes_on_bit_for_bit(noisy, swept, tmp_path, stop_after):
    config, dataset = noisy

    with stop_after(2):
        for step in (2, 4, 6):  # an epoch has four
            with pytest.raises(Interrupted, match=f"after step {step} of 12"):
                sweep(config, AXES, tmp_path, dataset=dataset, progress=False)
    resumed = sweep(config, AXES, tmp_path, dataset=dataset, progress=False)
    for name, run in swept[1].runs.items():
        assert same(run, resumed.runs[name])
        assert without_clock(run.history) == without_clock(resumed.runs[name].history)


def test_a_second_sweep_in_one_workdir_is_refused_from_the_first_file_to_the_last(noisy, tmp_path, monkeypatch):
    config, dataset = noisy
    refused = []

    def second(*_):
        with pytest.raises(InputError, match="another sweep is under way"):
            sweep(config, AXES, tmp_path, dataset=dataset, progress=False)
        refused.append(1)

    for name in ("_programs", "_write_member"):
        monkeypatch.setattr(MODULE, name, beside(second, getattr(MODULE, name)))
    monkeypatch.setattr(comparison, "write", beside(second, comparison.write))
    sweep(config, AXES, tmp_path, dataset=dataset, progress=False)
    assert len(refused) == 6


MODULE = sys.modules["aejax.sweeps.programs"]


def beside(first, then):
    def both(*arguments):
        first()
        return then(*arguments)

    return both


@pytest.mark.long
def test_what_a_sweep_left_is_read_as_it_was_written_or_written_again(swept, noisy, tmp_path):
    (config, dataset), folder = noisy, tmp_path / "run"
    shutil.copytree(swept[0], folder)

    def again():
        return sweep(config, AXES, folder, dataset=dataset, progress=False)

    for name in ("summary.json", "metrics.jsonl", "config.json"):  # of an exported member
        path = folder / "members" / NAMES[1] / name
        path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
        (path.parent / "notes.txt").write_text("theirs")
        again()
        member = load(path.parent)
        assert same(member, swept[1].runs[NAMES[1]]) and member.history == swept[1].runs[NAMES[1]].history
        assert (path.parent / "notes.txt").read_text() == "theirs"
    state = max((folder / "members" / NAMES[2] / "checkpoints").rglob("d/*"), key=lambda path: path.stat().st_size)
    state.write_bytes(bytes(state.stat().st_size))
    again()
    assert same(load(folder / "members" / NAMES[2]), swept[1].runs[NAMES[2]])
    plan = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(plan | {"programs": [NAMES[:3]]}))
    with pytest.raises(InputError, match=r"sweep\.json is damaged"):
        again()
    (folder / "sweep.json").write_text(json.dumps(plan))
    assert list(again().runs) == NAMES


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"data.binarize": ["yes"]}, "data.binarize is 'yes'; it must be True or False"),
        ({"model.tied": [1]}, "model.tied is 1; it must be True or False"),
        ({"coefficients.learning_rate": [True]}, "learning_rate is True; it must be a finite number"),
    ],
)
def test_a_value_of_another_type_is_refused(axes, message):
    with pytest.raises(InputError, match=message):
        grid(Config(), axes)


@pytest.mark.long
@pytest.mark.parametrize("axes", [{"l1": [1e-4]}, {"seed": [3]}, {"hidden": [[5]]}])
def test_an_axis_of_one_value_is_enough(small, tmp_path, axes):
    config, dataset = small
    found = sweep(config.replace({"training.epochs": 1}), axes, tmp_path, dataset=dataset, progress=False)
    assert len(found.runs) == 1 and (tmp_path / "report.md").exists() and (tmp_path / "figures" / "sweep.png").exists()


@pytest.mark.long
def test_a_member_that_diverges_is_reported_and_disturbs_no_other(small, tmp_path, caplog):
    config, dataset = small
    config = config.replace({"loss.reconstruction": "mse"})
    with caplog.at_level(logging.WARNING):
        found = sweep(config, {"learning_rate": [1e-2, 1e18]}, tmp_path, dataset=dataset, progress=False)
    assert "learning_rate-1e+18 diverged, the others go on: the loss is not finite at step" in caplog.text
    well, bad = found.results["members"]
    assert "the loss is not finite at step" in bad["diverged"] and "diverged" not in well
    assert list(found.runs) == ["learning_rate-0.01"] == [path.name for path in (tmp_path / "members").iterdir()]
    assert found.results["groups"][1]["diverged"] == 1 and "1 (1 diverged)" in (tmp_path / "report.md").read_text()
    solo = fit(config.replace({"data.order_seed": 0, "data.validation": 0.1}), dataset=dataset, progress=False)
    require_equal(found.runs, {"learning_rate-0.01": solo})
    json.loads((tmp_path / "programs" / "0" / "metrics.jsonl").read_text().splitlines()[-1], parse_constant=pytest.fail)
    with pytest.raises(Diverged, match="every member diverged; learning_rate-1e"):
        sweep(config, {"learning_rate": [1e18, 1e19]}, dataset=dataset, progress=False)


@pytest.mark.long
def test_fields_that_are_compiled_in_make_programs_of_their_own(small, tmp_path, capsys):
    config, dataset = small
    config = config.replace({"training.epochs": 1})
    found = sweep(config, {"seed": [0, 1], "code_size": [3, 4]}, tmp_path, dataset=dataset)
    assert "2 programs, one after another" in capsys.readouterr().out
    assert [run.encode(dataset.test).shape[1] for run in found.runs.values()] == [3, 4, 3, 4] or list(found.runs) == [
        "seed-0_code_size-3", "seed-1_code_size-3", "seed-0_code_size-4", "seed-1_code_size-4",
    ]  # fmt: skip
    assert [row["member"] for row in found.results["members"]] == list(
        grid(config, {"seed": [0, 1], "code_size": [3, 4]}).members
    )


@pytest.mark.long
def test_members_that_do_not_fit_in_memory_are_trained_in_parts(noisy, alone, tmp_path, capsys, monkeypatch):
    config, dataset = noisy
    assert fitting(config, dataset, 1000) == 1000
    monkeypatch.setattr(members.MemberDriver, "free_bytes", lambda _: [0])
    with pytest.raises(InputError, match="of memory are free on each"):
        fitting(config, dataset, 4)
    monkeypatch.setattr(members.MemberDriver, "free_bytes", lambda _: [2**16])
    assert fitting(config, dataset, 4) == 1
    monkeypatch.setattr(members.MemberDriver, "free_bytes", lambda _: [2**20])
    assert 3 < fitting(config, dataset, 1000) < 100  # a member's state is 10 kB
    monkeypatch.setattr(MODULE, "fitting", lambda *_: 3)
    found = sweep(config, AXES, tmp_path, dataset=dataset)
    assert "4 members do not fit in memory together: at most 3 at a time" in capsys.readouterr().out
    assert json.loads((tmp_path / "sweep.json").read_text())["programs"] == [NAMES[:2], NAMES[2:]]
    require_equal(found.runs, alone)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "nothing is swept"),
        ({"sigma": [1]}, "no field 'sigma'"),
        ({"kind": ["gaussian"]}, "'kind' could be model.kind or corruption.kind"),
        ({"l1": []}, "swept over nothing"),
        ({"l1": [0, 0.0]}, "give each value once"),
        ({"l1": [1], "coefficients.l1": [2]}, "coefficients.l1 is swept over twice"),
        ({"l1": [-1]}, "coefficients.l1 is -1; it must be"),
        ({"noise": [0.1]}, "no field .noise. in the configuration; its coefficients are learning_rate, l1"),
        ({"devices.count": [1, 2]}, "cannot be swept: sweep a field that changes the result"),
        ({"data.name": ["mnist"]}, "one sweep for each dataset"),
    ],
)
def test_what_cannot_be_swept_is_refused(axes, message):
    with pytest.raises(InputError, match=message):
        grid(Config(), axes)


@pytest.mark.parametrize(
    "axes",
    [
        pytest.param({"training.seed": [0, 1, 2]}, marks=pytest.mark.long),
        {"model.hidden": [[], [8], [8, 4]], "training.seed": [0]},
        pytest.param({"coefficients.l1": [0.0, 1e-3, 1.0]}, marks=pytest.mark.long),
    ],
)
def test_the_figure_takes_any_field(swept, axes):
    row = swept[1].results["members"][0]
    path, values = next(iter(axes.items()))
    rows = [row | {name: each[0] for name, each in axes.items()} | {path: value} for value in values]
    figure = comparison.figure(comparison.results(axes, rows, Config()), Config())
    panels = figure.axes
    labels = {"model.hidden": "hidden [units]", "coefficients.l1": "weight of the L1 norm"}
    assert len(panels) == 4 and panels[0].get_xlabel() == labels.get(path, "seed")
    require_readable(figure)
    assert (panels[0].get_xscale() == "symlog") == (path == "coefficients.l1")


def test_a_sweep_is_drawn_in_the_formats_that_are_asked_for(swept, noisy):
    folder, _ = swept
    config, dataset = noisy
    assert [path.name for path in (folder / "figures").iterdir()] == ["sweep.png"]
    sweep(config, AXES, folder, dataset=dataset, progress=False, figures=("svg", "png"))
    assert sorted(path.name for path in (folder / "figures").iterdir()) == ["sweep.png", "sweep.svg"]
    assert "(figures/sweep.svg)" in (folder / "report.md").read_text()
    with pytest.raises(InputError, match="figures is 'gif'"):
        sweep(config, AXES, folder, dataset=dataset, progress=False, figures="gif")


@pytest.mark.long
def test_the_script_sweeps_and_refuses(script, tmp_path):
    config = Config().replace({"training.epochs": 1})
    (tmp_path / "config.py").write_text(
        f"from aejax import Config\ndef get_config():\n    return Config.from_dict({config.to_dict()!r})\n"
    )
    command = "sweep.py", "config.py", "--sweep.seed", "0:3", "--sweep.l1", "0", "1e-3", "--workdir", "swept"
    done = script(*command, "--training.batch_size", 64)
    assert done.returncode == 0, done.stderr
    assert "| 0.001 | 3 | " in done.stdout and "no best member: not comparable" in done.stdout
    assert len(list((tmp_path / "swept" / "members").iterdir())) == 6
    other = script(*command)
    assert (
        other.returncode == 1
        and other.stderr.count("\n") == 1
        and "training.batch_size: 32 here, 64 there" in other.stderr
    )


def test_the_script_refuses_what_is_no_field(script, tmp_path):
    wrong = script("sweep.py", CONFIG, "--sweep.sigma", "1", "--workdir", "none")
    assert wrong.returncode == 1 and "no field 'sigma'" in wrong.stderr and not (tmp_path / "none").exists()
