import numpy as np
import pytest

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
