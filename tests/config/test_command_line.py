"""What a user meets at the terminal: one clear line, the right exit code, nothing half-written."""

import re
from pathlib import Path

import numpy as np
import pytest

from aejax import InputError

CONFIG = Path(__file__).parents[2] / "configs" / "digits.py"


@pytest.fixture
def refused(script, tmp_path):
    """Run a script that must refuse; returns its line."""

    def run(*arguments, code=1, name="train.py", **environment):
        before = set(tmp_path.rglob("*"))
        finished = script(name, *arguments, **environment)
        assert finished.returncode == code, finished.stderr
        assert finished.stderr.count("\n") == 1 and "Traceback" not in finished.stderr, finished.stderr
        assert finished.stdout == ""
        assert set(tmp_path.rglob("*")) == before
        return finished.stderr

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "config file comes first", marks=pytest.mark.long),
        (["--workdir", "x"], "config file comes first"),
        ([CONFIG, "--model.cod_size", "3"], "Perhaps you meant: --model.code_size; see --help"),
        ([CONFIG, "--data.size", "16.5"], "--data.size is 16.5; it must be a whole number from 1 to 16,384 or None"),
        pytest.param([CONFIG, "--model.code_size", "three"], "--model.code_size", marks=pytest.mark.long),
        pytest.param([CONFIG, "--loss.reconstruction", "mae"], "bce", marks=pytest.mark.long),
        pytest.param([CONFIG, "extra"], "extra", marks=pytest.mark.long),
        ([CONFIG, "--sweep.seed", "0:2"], "--sweep.seed is an option of sweep.py"),
        ([CONFIG, "--summary", "--workdir", "x"], "--workdir is for training"),
        pytest.param([CONFIG, "--summary", "--profile", "x"], "are two tasks", marks=pytest.mark.long),
    ],
)
def test_wrong_usage(refused, arguments, message):
    assert message in refused(*arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.py"], "there is no config file missing.py"),
        (["configs/mnist/dep.py"], "configs/mnist/deep.py?"),
        ([CONFIG, "--schedules.l1", "cosine"], "such as {'shape': 'constant', "),
        ([CONFIG, "--schedules.l1.shap", "cosine"], "there is no field 'schedules.l1.shap'"),
        ([CONFIG, "--coefficients.noise", "0.4"], "set corruption.kind"),
        ([CONFIG, "--model.code_size", "0"], "model.code_size is 0"),
        ([CONFIG, "--model.hidden", "0"], "model.hidden"),
        ([CONFIG, "--corruption.kind", "gaussian", "--coefficients.noise", "-1"], "coefficients.noise is -1"),
        ([CONFIG, "--training.batch_size", "5000"], "at most 1437"),
        ([CONFIG, "--dataset", "no_such_images"], "no dataset 'no_such_images'"),
        ([CONFIG, "--dataset", "missing.npy"], "missing.npy"),
        ([CONFIG, "--dataset", "."], "holds no images"),
    ],
)
def test_bad_input(refused, digits, arguments, message):
    assert message in refused(*arguments)


def test_what_would_be_ignored_is_refused(refused):
    line = refused("--compile-for", "h100", "--figures", "svg", name="benchmark.py")
    assert "figures is for a measurement" in line


@pytest.mark.parametrize(("given", "formats"), [("none", ()), ("svg,png", ("svg", "png"))])
def test_the_formats_of_figures(given, formats):
    from evaluate import Arguments as Evaluation
    from train import Arguments

    import command_line
    from aejax.config.checks import figure_formats

    made, *_ = command_line.parse_configured(Arguments, (str(CONFIG), "--figures", given), "")
    evaluation = command_line.parse(["run", "--figures", given], Evaluation())
    assert made.figures == evaluation.figures == formats
    with pytest.raises(InputError, match="some of png, pdf, svg, or none"):
        figure_formats(("none", "png"))


def test_bad_pixels(refused, tmp_path):
    images = np.ones((50, 4, 4))
    np.save(tmp_path / "wide.npy", images * 2)
    assert "needs [0, 1]" in refused(CONFIG, "--dataset", "wide.npy")
    images[3, 2, 1] = np.nan
    np.save(tmp_path / "nan.npy", images)
    assert "[3, 2, 1] is nan" in refused(CONFIG, "--dataset", "nan.npy")


def test_a_workdir_that_cannot_be_written(refused, digits, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(CONFIG, "--workdir", tmp_path / "file" / "run")


def test_a_data_dir_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").touch()
    assert "AEJAX_DATA_DIR" in refused(CONFIG, AEJAX_DATA_DIR=str(tmp_path / "file" / "data"))


def test_source_files_that_are_missing(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "data" / "arrays").mkdir(parents=True)
    line = refused(CONFIG, "--dataset", "mnist", "--source-dir", "empty", AEJAX_DATA_DIR=str(tmp_path / "data"))
    assert "--source-dir" in line and "is missing" in line


def test_the_article_refuses_like_train(refused):
    assert "seeds is 0" in refused("--seeds", "0", name="article.py")
    assert "--sedes" in refused("--sedes", "1", name="article.py", code=2)


def test_a_script_without_fields_advises_those_of_train(refused, tmp_path):
    np.save(tmp_path / "nan.npy", np.full((20, 4), np.nan))
    assert "by --data.missing mask of train.py: 80 of" in refused("--dataset", "nan.npy", name="article.py")


def test_help_lists_every_field(script):
    from aejax import Config

    shown = script("train.py", "--help").stdout
    for section, fields in Config().to_dict().items():
        for name in fields:
            assert re.search(rf"--{section}\.{name}[ ,]", shown), name  # a switch is followed by its opposite


def test_the_usage_of_a_script_about_a_run_names_its_workdir(capsys):
    import evaluate

    with pytest.raises(SystemExit):
        evaluate.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "[OPTIONS] WORKDIR " in shown and "PATH]" not in shown.partition("options")[0]


def test_schedules_and_options_come_from_the_config_and_from_the_arguments(tmp_path, monkeypatch):
    from train import Arguments

    import command_line
    from aejax import Schedule

    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "import aejax\n"
        "class Own(aejax.Autoencoder):\n"
        "    options = {'form': 'a', 'sizes': (1, 2)}\n"
        "def get_config():\n"
        "    model = aejax.Model(kind='own.py:Own', options={'form': 'b', 'sizes': (3, 4)})\n"
        "    schedules = {'learning_rate': aejax.Schedule('cosine', warmup_epochs=2)}\n"
        "    return aejax.Config(model=model, schedules=schedules)\n"
    )

    def configured(*given):
        return command_line.parse_configured(Arguments, ("own.py", *given), "train.py own.py")[1]

    lists = configured("--data.augmentation", "shift,flip", "--model.hidden", "9,8", "7")
    assert lists.data.augmentation == ("shift", "flip") and lists.model.hidden == (9, 8, 7)
    config = configured()
    assert config.schedules == {"learning_rate": Schedule("cosine", warmup_epochs=2)}
    assert config.model.options == {"form": "b", "sizes": (3, 4)}
    # A cyclical schedule has no warm-up, so that both fields must change together.
    shape, warmup = "--schedules.learning_rate.shape", "--schedules.learning_rate.warmup_epochs"
    config = configured(
        shape, "cyclical", warmup, "0", "--model.options.sizes", "5,6", "--schedules.l1.shape", "cosine"
    )
    assert config.schedules == {"learning_rate": Schedule("cyclical"), "l1": Schedule("cosine")}
    assert config.model.options == {"form": "b", "sizes": (5, 6)}


def test_train_and_go_on(script, tmp_path):
    given = ("train.py", CONFIG, "--workdir", "run", "--training.epochs", 2, "--coefficients.l1", "1e-4")
    first = script(*given)
    assert first.returncode == 0, first.stderr
    lines = first.stdout.splitlines()
    assert lines[0].startswith("epoch 1/2  train 0.") and lines[1].startswith("epoch 2/2") and "run" in lines[-1]
    assert {path.name for path in (tmp_path / "run" / "figures").iterdir()} == {
        f"{name}.png" for name in ("reconstructions", "codes", "weights", "losses")
    }
    again = script(*given)
    assert again.returncode == 0 and "nothing to train" in again.stdout
