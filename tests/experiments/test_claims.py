"""The article's claims: what they measure with, and that the page of results is made of all of them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import claims
from aejax.evaluation.measures import psnr
from claims import compression, images, study

RANDOM = np.random.default_rng(0)


def test_patches_for_training_and_testing_come_from_two_parts_of_a_photograph():
    patches = images.photograph_patches((8, 8, 1))
    assert patches.image_shape == (8, 8, 1) and len(patches.train) == 10_000 and len(patches.test) == 1_000
    seen = {patch.tobytes() for patch in patches.train if patch.std() > 10}
    assert not any(patch.tobytes() in seen for patch in patches.test)
    assert np.array_equal(patches.test, images.photograph_patches((8, 8, 1)).test)


def test_random_pixels_are_uniform():
    noise = images.random_pixels((4, 5, 1), 500)
    assert abs(noise.train.mean() - 127.5) < 2 and abs(np.corrcoef(noise.train.reshape(500, -1).T)[0, 1:]).max() < 0.2


def test_the_size_of_jpeg_and_png_without_headers_is_that_of_their_data():
    pictures = images.photograph_patches((16, 16, 1)).test[:5]
    whole, data = compression.jpeg(pictures)
    file = io.BytesIO()
    Image.fromarray(pictures[0, ..., 0]).save(file, "JPEG", quality=95, optimize=True)
    ours = compression.jpeg(pictures[:1])
    bits = 8 * len(file.getvalue()) / 256
    assert bits in [rate for rate, _ in ours[0]]
    assert all(0 < small < large - 8 * 100 / 256 for (small, _), (large, _) in zip(data, whole, strict=True))
    assert [db for _, db in data] == sorted(db for _, db in data)
    decoded = np.asarray(Image.open(file))[None, ..., None]
    assert ours[0][-1][1] == pytest.approx(psnr(pictures[:1] / 255, decoded / 255)[0])
    flat = compression.lossless(np.zeros((1, 16, 16, 1), np.uint8))
    noisy = compression.lossless(RANDOM.integers(0, 256, (1, 16, 16, 1), np.uint8))
    assert flat[1] < 1 and 8 < noisy[1] < 10 and flat[0] > flat[1]


def test_the_best_curve_at_a_rate():
    curves = [[(1.0, 10.0), (3.0, 30.0)], [(2.0, 25.0), (4.0, 24.0)]]
    assert compression.best(curves, 0.5) is None
    assert compression.best(curves, 1.0) == 10
    assert compression.best(curves, 2.0) == 25  # against 20, interpolated
    assert compression.best(curves, 9.0) == 30
    assert compression.best(curves[1:], 4.0) == 25  # fewer bits may be used where more are allowed


def test_a_difference_is_weighed_against_the_seeds():
    assert "beyond" in study.margin([1.0, 1.1], [2.0, 2.1])
    assert "within" in study.margin([1.0, 2.0], [1.5, 2.6])
    assert study.std([1.0]) is None and np.isnan(study.mean([None]))


@pytest.mark.long
def test_a_claim_leaves_its_figure_and_its_numbers(digits, tmp_path):
    tried = claims.Study(digits, seeds=2, workdir=tmp_path, epochs=1)
    results = claims.write_page(tried, {3: claims.CLAIMS[3]})
    assert json.loads((tmp_path / "results.json").read_text()) == results
    row = results["claims"]["3"]["table"]["digits"]
    runs = row["test BCE"]["runs"]
    assert runs[0] != runs[1] and row["test BCE"]["mean"] == pytest.approx(np.mean(runs))
    assert row["test BCE"]["std"] == pytest.approx(np.std(runs, ddof=1))
    assert row["lowest possible BCE"]["mean"] < row["test BCE"]["mean"] < row["BCE of the mean image"]["mean"]
    noise = results["claims"]["3"]["table"]["random"]
    assert noise["BCE of the mean image"]["mean"] == pytest.approx(np.log(2), abs=1e-3)
    shares = [kind["share of it explained"]["mean"] for kind in results["claims"]["3"]["table"].values()]
    assert shares[0] > 0.2 and shares[1] < 0.1
    text = (tmp_path / "claims.md").read_text()
    assert results["claims"]["3"]["found"] in text
    assert f"{row['test BCE']['mean']:.4f} ± {row['test BCE']['std']:.4f}" in text
    assert (tmp_path / "figures" / "claim_3.png").stat().st_size > 1000


@pytest.mark.long
def test_all_nine_are_tried(digits, tmp_path, monkeypatch, longest):
    if not longest:
        pytest.skip("three minutes: only with --longest")
    monkeypatch.setattr(study, "_EXAMPLES_PER_EPOCH", 500)
    results = claims.write_page(claims.Study(digits, 1, tmp_path, epochs=1), claims.CLAIMS)
    assert list(results["claims"]) == [str(number) for number in range(1, 10)]
    text = (tmp_path / "claims.md").read_text()
    for number, claim in results["claims"].items():
        assert claim["found"] in text and f"(figures/claim_{number}.png)" in text and "nan" not in claim["found"]
        assert (tmp_path / "figures" / f"claim_{number}.png").exists()
