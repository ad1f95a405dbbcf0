import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from aejax import Dataset, InputError, fit, load
from aejax.evaluation import drawing, figures
from readable import require_readable, words

pytestmark = pytest.mark.figures


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        pytest.param({}, {"reconstructions"}, marks=pytest.mark.long),
        pytest.param({"corruption.kind": "gaussian", "coefficients.noise": 0.2}, {"denoised"}, marks=pytest.mark.long),
        pytest.param({"model.channels": [3]}, {"reconstructions"}, marks=pytest.mark.long),
        (
            {"model.kind": "variational", "loss.pixels": "sum"},
            {"reconstructions", "samples", "interpolations", "traversals"},
        ),
    ],
    ids=["plain", "denoising", "convolutional", "variational"],
)
def test_the_figures_of_a_run(small, tmp_path, changes, own):
    config, dataset = small
    run = fit(config.replace({"training.epochs": 1, **changes}), dataset=dataset, progress=False)
    figures.draw_run(run, dataset, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == own | {"codes", "weights", "losses"}
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert min(image.size) > 100 and len(np.unique(np.asarray(image))) > 10
            assert image.info["dpi"] == pytest.approx((200, 200), abs=0.1)
    for make in figures.of_run(run, dataset).values():
        require_readable(figure := make())
        assert "seed 0" in words(figure)


def names(workdir):
    return {path.name for path in (workdir / "figures").iterdir()}


@pytest.mark.long
def test_fit_draws_with_a_workdir_what_is_not_there(small, tmp_path):
    config, dataset = small
    config = config.replace({"training.epochs": 1})
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "codes.png").write_text("mine")
    fit(config, tmp_path, dataset=dataset, progress=False)
    drawn = {"reconstructions", "codes", "losses", "weights"}
    assert names(tmp_path) == {f"{name}.png" for name in drawn}
    assert (tmp_path / "figures" / "codes.png").read_text() == "mine"
    before = (tmp_path / "config.json").read_bytes()
    first = {path: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    fit(config, tmp_path, dataset=dataset, progress=False, figures="pdf")  # finished: only the figures are new
    assert names(tmp_path) == {f"{name}.{form}" for name in drawn for form in ("png", "pdf")}
    assert (tmp_path / "config.json").read_bytes() == before and "figures" not in json.loads(before)
    assert all(path.read_bytes() == content for path, content in first.items())
    # After more training the figures are drawn again.
    fit(config.replace({"training.epochs": 2}), tmp_path, dataset=dataset, progress=False)
    assert (tmp_path / "figures" / "losses.png").read_bytes() != first[tmp_path / "figures" / "losses.png"]
    assert load(tmp_path).summary["epochs"] == 2


def test_a_run_may_draw_nothing_and_a_wrong_format_is_refused_before_anything(small, tmp_path, monkeypatch):
    config, dataset = small
    with monkeypatch.context() as patch:
        patch.setattr("aejax.evaluation.fitting.is_first", lambda: False)  # only the first of several processes draws
        fit(config.replace({"training.epochs": 1}), tmp_path / "second", dataset=dataset, progress=False)
    assert not (tmp_path / "second" / "figures").exists()
    fit(config.replace({"training.epochs": 1}), tmp_path / "run", dataset=dataset, progress=False, figures=())
    assert not (tmp_path / "run" / "figures").exists()
    for wrong in ("jpg", ("png", "eps")):
        with pytest.raises(InputError, match=r"figures is .*; it must be some of png, pdf, svg"):
            fit(config, tmp_path / "other", dataset=dataset, progress=False, figures=wrong)
    assert not (tmp_path / "other").exists()


OWN = """
from flax import nnx
from aejax import Autoencoder, Output

class Tokens(Autoencoder):
    def __init__(self, config, image_shape, rngs):
        self.config = config
        self.project = nnx.Linear(30, 30, rngs=rngs)

    def __call__(self, images, context=None):
        return Output(self.project(images.reshape(len(images), 30)).reshape(images.shape), images[:, 0, :4, 0])

    def encode(self, images):
        raise RuntimeError("this one\\nhas no code of its own")
"""


def test_a_model_that_cannot_be_shown_fails_no_run(small, tmp_path, caplog):
    config, dataset = small
    (tmp_path / "own.py").write_text(OWN)
    config = config.replace({"model.kind": f"{tmp_path / 'own.py'}:Tokens", "training.epochs": 1})
    run = fit(config, tmp_path / "run", dataset=dataset, progress=False)
    assert run.summary["epochs"] == 1 and names(tmp_path / "run") == {"losses.png"}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and all(re.fullmatch("skipped the figure .*: this one", line) for line in said)


def test_a_figure_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "kept.png").write_text("mine")
    figures.draw({"kept": lambda: pytest.fail("drawn again")}, tmp_path)
    assert (tmp_path / "kept.png").read_text() == "mine"


def test_a_figure_is_written_whole_or_not_at_all_in_each_format(tmp_path, monkeypatch):
    made = {"rows": lambda: figures.image_rows({"a": np.zeros((2, 4, 4, 1))})}
    drawing.draw(made, tmp_path, ("png", "pdf", "svg"))
    begin = {path.suffix: path.read_bytes()[:5] for path in tmp_path.iterdir()}
    assert begin == {".png": b"\x89PNG\r", ".pdf": b"%PDF-", ".svg": b"<?xml"}

    def half(self, path, **_):
        path.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", half)
    with pytest.raises(OSError, match="no space left"):
        drawing.draw(made, tmp_path, replace=True)
    assert (tmp_path / "rows.png").read_bytes()[:4] == b"\x89PNG" and len(list(tmp_path.iterdir())) == 3


def test_the_mass_at_zero_is_a_number_of_its_own():
    sparse = np.concatenate([np.zeros(900), np.full(100, 0.5)]).reshape(100, 10)
    figure = figures.code_histogram({"standard": sparse + 1, "sparse": sparse})
    (axis,) = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "standard: 0% exactly zero; mean 1.05, variance 0.0225" and labels[1].startswith("sparse: 90% ")
    shares = [patch.get_height() for container in axis.containers for patch in container]
    assert np.isclose(sum(shares), 110)  # percent of all values: 100 of "standard", 10 of "sparse"
    require_readable(figure)
    require_readable(figures.code_histogram({"standard": sparse * 0, "sparse": sparse * 0}))


def test_colour_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    figures.draw({"rows": lambda: figures.image_rows({"a": images, "b": images[:2] / np.float32(255)})}, tmp_path)
    assert (tmp_path / "rows.png").exists()


@pytest.mark.parametrize("channels", [pytest.param([], marks=pytest.mark.long), [3]], ids=["dense", "convolutional"])
def test_filters_of_colour_images_are_in_colour(small, channels):
    config, dataset = small
    parts = (np.concatenate([part, part // 2, 255 - part], axis=-1) for part in (dataset.train, dataset.test))
    config = config.replace({"training.epochs": 1, "model.channels": channels})
    run = fit(config, dataset=Dataset("rgb", *parts), progress=False)
    figure = figures.first_layer_weights({"first layer": run})
    (axis,) = figure.axes  # a colour has no bar
    sheet, kernel = axis.get_images()[0].get_array(), figures._first_kernel(run)
    height, width = (3, 3) if channels else dataset.image_shape[:2]
    kernel = kernel.reshape(height, width, 3, -1)[..., 0]
    assert sheet.shape[-1] == 3 and np.array_equal(sheet[:height, :width] > 0.5, kernel > 0)
    assert "grey: weight 0" in words(figure)
    require_readable(figure)


def test_the_weights_of_several_runs_have_one_scale(monkeypatch):
    monkeypatch.setattr(figures, "_first_kernel", lambda run: run.kernel)
    kernel, seed = np.random.default_rng(0).normal(size=(16, 40)), SimpleNamespace(training=SimpleNamespace(seed=3))
    runs = {
        name: SimpleNamespace(kernel=scale * kernel, image_shape=(4, 4, 1), config=seed)
        for name, scale in (("standard", 1), ("sparse", 5))
    }
    figure = figures.first_layer_weights(runs)
    *panels, bar = figure.axes
    limits = [panel.get_images()[0].get_clim() for panel in panels]
    assert limits[0] == limits[1] == pytest.approx((-limits[0][1], 5 * np.quantile(np.abs(kernel[:, :32]), 0.97)))
    assert [panel.get_title() for panel in panels] == ["standard: 32 of 40 units", "sparse: 32 of 40 units"]
    assert bar.get_ylabel() == "weight" and "seed 3" in words(figure)
    require_readable(figure)


def test_rows_of_images_hold_each_pixel_and_name_the_columns():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 1), dtype=np.uint8)
    figure = figures.image_rows({"upper": images, "lower": images[::-1]}, {"left": 2, "right": 1}, "side")
    (axis,) = figure.axes
    (sheet,) = (image.get_array() for image in axis.get_images())
    middles = [[tick - 1.5 for tick in (1.5, 6.5, 11.5)], [tick - 2 for tick in axis.get_yticks()]]
    for down, row in zip(middles[1], (images, images[::-1]), strict=True):
        for across, image in zip(middles[0], row, strict=True):
            shown = sheet[int(down) : int(down) + 5, int(across) : int(across) + 4]
            assert np.allclose(shown, image / 255)
    assert list(axis.get_xticks()) == [4.0, 11.5] and "side" in words(figure)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["upper", "lower"]
    require_readable(figure)


def test_no_curve_of_losses_hides_another(small):
    config, dataset = small
    long = fit(config.replace({"training.epochs": 5}), dataset=dataset, progress=False)
    short = fit(config.replace({"training.epochs": 2}), dataset=dataset, progress=False)
    squared = fit(config.replace({"training.epochs": 2, "loss.reconstruction": "mse"}), dataset=dataset, progress=False)
    for runs in ({"": long}, {"one": long, "two": short, "same": short, "again": long}, {"a": long, "b": squared}):
        figure = figures.loss_curves(runs)
        for axis in figure.axes[: len(runs)]:
            train, test = axis.get_lines()  # of one run: a broad line, and a narrow line on top of it
            assert train.get_linewidth() > 2 * test.get_linewidth() and train.get_alpha() < 1
        assert "nats per pixel" in words(figure) and words(figure).count("epoch") >= min(3, len(runs))
        require_readable(figure)
    assert "squared error" in words(figure) and "per pixel" in words(figure)
