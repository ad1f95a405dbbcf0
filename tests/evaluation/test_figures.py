import numpy as np
import pytest
from PIL import Image

from aejax import fit
from aejax.evaluation import figures


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        pytest.param({}, {"reconstructions"}, marks=pytest.mark.long),
        ({"corruption.kind": "gaussian", "coefficients.noise": 0.2}, {"denoised"}),
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


def test_a_figure_that_is_there_is_left_alone(tmp_path):
    (tmp_path / "kept.png").write_text("mine")
    figures.draw({"kept": lambda: pytest.fail("drawn again")}, tmp_path)
    assert (tmp_path / "kept.png").read_text() == "mine"


def test_the_mass_at_zero_is_a_number_of_its_own():
    sparse = np.concatenate([np.zeros(900), np.full(100, 0.5)]).reshape(100, 10)
    figure = figures.code_histogram({"standard": sparse + 1, "sparse": sparse})
    zeros, others = figure.axes
    assert [text.get_text() for text in zeros.texts] == ["0.0%", "90.0%"]
    shares = [patch.get_height() for container in others.containers for patch in container]
    assert np.isclose(sum(shares), 110)  # in percent of all values: those of "standard", and a tenth of "sparse"


def test_colour_images(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    figures.draw({"rows": lambda: figures.image_rows({"a": images, "b": images[:2] / np.float32(255)})}, tmp_path)
    assert (tmp_path / "rows.png").exists()
