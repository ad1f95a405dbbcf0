import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from aejax import Config, Dataset, fit
from aejax.evaluation import drawing, figures
from readable import words


def test_a_table_has_a_cell_for_each_of_its_head():
    shown = drawing.markdown(["", "count"], [["first", 3], ["second", "-"]])
    assert shown.splitlines() == ["| | count |", "|---|---|", "| first | 3 |", "| second | - |"]


def test_a_figure_stands_with_its_spread_where_there_is_one():
    assert drawing.with_spread(1234.5, 0.25, ",.1f") == "1,234.5 ± 0.2"
    assert drawing.with_spread(1.0, 0.0, ".2f") == "1.00 ± 0.00"
    assert drawing.with_spread(1.0, None, ".2f") == "1.00"
    assert drawing.with_spread(None, None, ".2f") == "-"


def test_numbers_of_labels_have_real_signs():
    assert [drawing.number(value) for value in (0.0, -0.5, 32, 784.0)] == ["0", "\u22120.5", "32", "784"]
    assert drawing.number(1e-5) == "$10^{-5}$" and drawing.number(3.2e-4) == r"$3.2\times10^{-4}$"
    assert drawing.minus("784-128-32, seed-0, -3.00 to -.5") == "784-128-32, seed-0, \u22123.00 to \u2212.5"


@pytest.mark.parametrize(
    ("values", "scale"),
    [([2, 8, 32, 784, 1568], "log"), ([1e-4, 1e-2], "log"), ([0.0, 1e-5, 1e-3], "symlog"), ([0, 0.25, 0.5], "linear")],
)
def test_the_tested_values_are_ticks(values, scale):
    axis = Figure(figsize=(7, 3)).subplots(1, 2)[0]
    drawing.tested_ticks(axis, values)
    assert axis.get_xscale() == scale and list(axis.get_xticks()) == values and not len(axis.get_xticks(minor=True))
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert labels[0] == drawing.number(values[0]) and labels[-1] == drawing.number(values[-1])


def test_error_bars_end_at_the_limits():
    assert np.allclose(drawing.within(0.1, 0.3, 0, 1), [[0.1], [0.3]])
    assert np.allclose(drawing.within(0.9, 0.3, 0, 1), [[0.3], [0.1]])
    assert np.allclose(drawing.within(0.1, 0.3), [[0.3], [0.3]]) and drawing.within(0.1, None) is None


def test_only_several_panels_have_letters():
    def make(count):
        figure = Figure()
        for axis in np.ravel(figure.subplots(1, count)):
            figure.colorbar(axis.imshow(np.eye(2)), ax=axis)
        return figure

    assert [axis.get_title(loc="left") for axis in drawing.styled(make)(2).axes] == ["a", "b", "", ""]
    assert [axis.get_title(loc="left") for axis in drawing.styled(make)(1).axes] == ["", ""]


# Viénot, Brettel and Mollon (1999), of linear RGB.
_BLIND = {
    "protan": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deutan": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


@pytest.mark.parametrize("kind", _BLIND)
def test_colour_blind_readers_tell_the_colours_apart(kind):
    def nearest(colours):
        seen = (np.array([to_rgb(colour) for colour in colours]) ** 2.2) @ np.transpose(_BLIND[kind])
        seen = np.clip(seen, 0, 1) ** (1 / 2.2)
        distances = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
        return distances[np.triu_indices(len(seen), 1)].min()

    tableau = [f"tab:{name}" for name in ("blue", "orange", "green", "red", "purple", "brown")]
    assert nearest(drawing.PALETTE) > 0.12 > nearest(tableau)


def test_lines_are_visible_on_a_white_page():
    colours = np.array([to_rgb(colour) for colour in (*drawing.PALETTE, *drawing.shades(5))])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    contrast = 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05)  # of WCAG 2
    assert contrast.min() > 2.2


def test_the_unit_of_a_loss_is_that_of_what_it_averages():
    found = [
        drawing.loss_unit(Config().replace({"loss.reconstruction": kind, "loss.pixels": pixels}), shape)
        for shape in ((28, 28, 1), (32, 32, 3), (20,))
        for kind, pixels in (("bce", "mean"), ("mse", "mean"), ("bce", "sum"), ("ssim", "mean"))
    ]
    assert found == [
        *("nats per pixel", "squared error per pixel", "nats per image", "1 - SSIM"),
        *("nats per channel value", "squared error per channel value", "nats per image", "1 - SSIM"),
        *("nats per feature", "squared error per feature", "nats per vector", "1 - SSIM"),
    ]
    huber = Config().replace({"loss.reconstruction": "huber", "loss.pixels": "sum"})
    assert drawing.loss_unit(huber, (20,)) == "Huber loss per vector"


def test_a_loss_of_a_class_s_own_has_no_unit(small, tmp_path):
    config, dataset = small
    (tmp_path / "own.py").write_text(
        "import aejax\n\n\nclass Own(aejax.Autoencoder):\n"
        "    def loss(self, clean, output, coefficients, context):\n"
        "        return {'reconstruction': ((clean - output.logits) ** 2).sum(axis=(1, 2, 3))}\n\n\n"
        "class Same(aejax.Autoencoder):\n    pass\n"
    )
    config = config.replace({"training.epochs": 1, "model.kind": f"{tmp_path}/own.py:Own"})
    run = fit(config, dataset=dataset, progress=False)
    shown = words(figures.loss_curves({"": run}))
    assert "total loss" in shown and not any(unit in shown for unit in ("nats", "per pixel", "["))
    assert "test_nats_per_image" not in run.summary
    same = config.replace({"model.kind": f"{tmp_path}/own.py:Same"})
    assert drawing.loss_unit(same, dataset.image_shape) == "nats per pixel"


def test_nats_per_image_are_summed_over_channels(digits):
    images = np.repeat(digits.train[:96], 3, axis=-1)
    config = Config().replace({"model.hidden": [8], "model.code_size": 4, "training.epochs": 1})
    run = fit(config, dataset=Dataset("rgb", images[:64], images[64:]), progress=False)
    assert run.summary["test_nats_per_image"] == pytest.approx(192 * run.summary["test"]["reconstruction"])
    assert "total loss\n[nats per channel value]" in words(figures.loss_curves({"": run}))
