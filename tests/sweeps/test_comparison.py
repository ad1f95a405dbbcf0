"""The figure and the table that compare the members of a sweep."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_hex

from aejax import Config
from aejax.evaluation import drawing
from aejax.sweeps import comparison
from readable import error_bars, require_readable, words


@pytest.fixture
def drawn():
    """Return a function that draws a sweep from its axes and the losses of each value and seed."""

    def draw(axes, losses, config, share=2):
        settings = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
        rows = [
            setting
            | {"member": str(number), "test": {"total": loss, "reconstruction": loss / share}}
            | {"code": {"mean": 1.0, "variance": 1.0, "fraction_zero": loss / 10}}
            for number, (setting, loss) in enumerate(zip(settings, losses, strict=True))
        ]
        unit = drawing.loss_unit(config, (28, 28, 1))
        return comparison.figure(comparison.results(axes, rows, config), config, unit)

    return draw


def points(panel):
    """Return the points of a panel: (x, y, colour)."""
    lines = [line for line in panel.get_lines() if line.get_marker() not in (None, "None", "_", "|", "")]
    return [(x, y, to_hex(line.get_color())) for line in lines for x, y in line.get_xydata()]


def test_the_colours_of_the_figure_are_the_swept_values_with_their_unit(drawn):
    axes = {"model.code_size": [2, 8, 64], "training.seed": [0, 1]}
    figure = drawn(axes, [0.9, 0.8, 0.5, 0.6, 0.1, 0.2], Config())
    legend = figure.legends[0]
    assert legend.get_title().get_text() == "code_size\n[units]"
    colour = {
        text.get_text(): to_hex(line.get_color())
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }
    assert list(colour) == ["2", "8", "64"] and len(set(colour.values())) == 3
    *panels, pairs = figure.axes
    for panel, means in zip(panels, ([0.85, 0.55, 0.15], [0.425, 0.275, 0.075], [0.085, 0.055, 0.015]), strict=True):
        assert {x: c for x, _, c in points(panel)} == {size: colour[str(size)] for size in (2, 8, 64)}
        assert np.allclose([y for _, y, _ in points(panel)], means)
        assert panel.get_xlabel() == "code_size [units]"
    assert [c for *_, c in points(pairs)] == [colour[size] for size in ("2", "2", "8", "8", "64", "64")]
    assert "test loss\n[nats per pixel]" in words(figure) and "over 2 seeds; error bars: ± one standard" in words(
        figure
    )
    squared = drawn(axes, [1.0] * 6, Config().replace({"loss.reconstruction": "mse", "loss.pixels": "sum"}))
    assert "test loss\n[squared error per image]" in words(squared)
    require_readable(figure)


@pytest.mark.parametrize(
    ("path", "values", "joined"),
    [
        ("coefficients.l1", [0.0, 1e-5, 1e-3], True),
        pytest.param("model.code_size", [2, 3, 4], True, marks=pytest.mark.long),
        pytest.param("model.dtype", ["float32", "bfloat16"], 2, marks=pytest.mark.long),
        pytest.param("model.tied", [True, False], 2, marks=pytest.mark.long),
        ("model.hidden", [[512, 256, 128], [128, 64], []], False),
        ("training.seed", [0, 1, 2], False),
    ],
)
def test_only_numbers_are_joined_by_a_line(drawn, path, values, joined):
    figure = drawn({path: values}, np.linspace(0.1, 0.2, len(values)), Config())
    assert len(figure.axes) == (4 if len(values) > 2 else 3)  # two values need no panel of pairs
    for panel in figure.axes[:3] if len(values) > 2 else ():
        lines = [line for line in panel.get_lines() if len(line.get_xdata()) > 1 and line.get_linestyle() == "-"]
        assert len(lines) == joined
    assert "error bars" not in words(figure)  # one seed has no spread
    require_readable(figure)


def test_two_values_have_a_line_for_each_seed_and_the_alternative_text_names_the_panels(drawn, tmp_path):
    axes = {"model.dtype": ["float32", "bfloat16"], "training.seed": [0, 1, 2]}
    figure = drawn(axes, [0.9, 0.8, 0.7, 0.6, 0.5, 0.1], Config(), 1)
    lines = [line.get_ydata() for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 2]
    assert np.allclose(lines, [[0.8, 0.4], [0.9, 0.6], [0.8, 0.5], [0.7, 0.1]])  # the mean, then each seed
    assert "means over 3 seeds; thin lines: one for each seed" in words(figure) and not figure.legends
    require_readable(figure)
    rows = [{"member": str(seed), "training.seed": seed, "test": {"total": 0.5}, "code": {}} for seed in (0, 1)]
    found = comparison.results({"training.seed": [0, 1]}, rows, Config()) | {"models_at_a_time": [2]}
    comparison.write(found, Config(), "nats per pixel", tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "![test reconstruction (nats per pixel) against share of the code that is zero](figures/sweep.png)" in report


def test_a_loss_that_is_the_reconstruction_has_one_panel(drawn):
    axes = {"model.code_size": [2, 8, 64], "training.seed": [0, 1]}
    figure = drawn(axes, [0.9, 0.8, 0.5, 0.6, 0.1, 0.2], Config(), 1)
    labels = [panel.get_ylabel().partition("\n")[0] for panel in figure.axes if panel.axison]
    assert labels == ["test loss", "share of the code", "test loss"]
    require_readable(figure)


def test_tested_values_are_ticks_and_no_bar_of_a_fraction_passes_0(drawn):
    axes = {"model.code_size": [2, 8, 64], "training.seed": [0, 1]}
    figure = drawn(axes, [0.0, 0.8, 0.5, 0.6, 0.1, 0.2], Config())  # a share of 0.04 ± 0.057
    for panel in figure.axes[:3]:
        assert panel.get_xscale() == "log" and list(panel.get_xticks()) == [2, 8, 64]
        assert [label.get_text() for label in panel.get_xticklabels()] == ["2", "8", "64"]
    lowest = {axis: ends.min() for axis, ends in error_bars(figure) if axis is figure.axes[2] and ends.min() <= 0}
    assert lowest == {figure.axes[2]: 0}


def test_other_fields_are_markers_and_many_values_are_readable(drawn):
    axes = {"coefficients.l1": [0, *np.geomspace(1e-8, 1, 12).tolist()], "model.hidden": [[8], [16, 8], [4, 4, 4]]}
    figure = drawn(axes, np.linspace(0.1, 0.2, 39), Config())
    colours, others = figure.legends
    assert len(colours.get_texts()) == 9 and others.get_title().get_text() == "other fields"
    assert len({line.get_marker() for line in others.get_lines()}) == 3
    require_readable(figure)


def test_the_table_of_sparse_autoencoders_says_how_many_units_are_active():
    rows = [
        {"coefficients.k": k, "member": str(k), "code": {"mean": 1.0, "variance": 1.0, "fraction_zero": 0.5}}
        | {"test": {"total": 1.0, "reconstruction": 1.0, "l0": k + 0.25, "dead": 3.0}}
        for k in (5, 10)
    ]
    head, _, first, second = comparison.table(
        comparison.results({"coefficients.k": [5, 10]}, rows, Config())
    ).splitlines()
    assert head.endswith("| active units | dead units |")
    assert first.endswith("| 5.2500 | 3.0000 |") and second.endswith("| 10.2500 | 3.0000 |")
    other = {
        **rows[1],
        "test": {"total": 1.0, "reconstruction": 1.0},
    }  # without the two metrics
    assert "active" not in comparison.table(comparison.results({"coefficients.k": [5, 10]}, [rows[0], other], Config()))
