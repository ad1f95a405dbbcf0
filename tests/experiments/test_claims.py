"""The article's claims: what they measure with, and that the page of results is made of all of them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import claims
from aejax.evaluation.measures import psnr
from claims import capacity, compression, denoising, embedding, page, sparsity, study
from readable import require_readable, words

pytestmark = pytest.mark.figures

ROOT = Path(__file__).parents[2]
RANDOM = np.random.default_rng(0)


def test_patches_for_training_and_testing_come_from_two_parts_of_a_photograph():
    patches = study.photograph_patches((8, 8, 1))
    assert patches.image_shape == (8, 8, 1) and len(patches.train) == 10_000 and len(patches.test) == 1_000
    seen = {patch.tobytes() for patch in patches.train if patch.std() > 10}
    assert not any(patch.tobytes() in seen for patch in patches.test)
    assert np.array_equal(patches.test, study.photograph_patches((8, 8, 1)).test)


def test_random_pixels_are_uniform():
    noise = study.random_pixels((4, 5, 1), 500)
    assert abs(noise.train.mean() - 127.5) < 2 and abs(np.corrcoef(noise.train.reshape(500, -1).T)[0, 1:]).max() < 0.2


def test_the_size_of_jpeg_and_png_without_headers_is_that_of_their_data():
    pictures = study.photograph_patches((16, 16, 1)).test[:5]
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


def committed(claim):
    """The table of a claim in the committed results, and its title there."""
    found = json.loads((ROOT / "experiments" / "results" / "claims_mnist" / "results.json").read_text())["claims"]
    table = found[str(claim)]["table"]
    return {row: {name: each["runs"] for name, each in cells.items()} for row, cells in table.items()}


def at_rates(ours, theirs):
    rows = zip(compression._RATES, ours, theirs, strict=True)
    return {
        f"photograph, {rate} bits per pixel": {"autoencoder [dB]": own, "JPEG, data only [dB]": jpeg}
        for rate, own, jpeg in rows
    }


CURVES = {
    kind: {
        **{f"code of {size}": [[(0.01 * size, 15.0), (0.02 * size, 20.0)]] * 2 for size in (4, 16, 64)},
        "JPEG, file": [[(2.0, 20.0), (5.0, 45.0)]],
        "JPEG, data only": [[(0.3, 20.0), (4.0, 45.0)]],
    }
    for kind in ("mnist", "photograph")
}
NONE, LOW, HIGH = [None, None], [20.0, 20.2], [30.0, 30.2]


def test_the_title_of_claim_2_is_its_finding():
    row = at_rates([HIGH, HIGH, LOW, LOW, LOW, NONE], [NONE, LOW, [20.1, 20.1], HIGH, HIGH, HIGH])
    expected = {"autoencoder": ["0.1", "0.25"], "JPEG": ["1", "2", "4"], "neither": ["0.5"]}
    assert compression.winners("photograph", row) == expected
    title = compression.title("photograph", row)
    assert title.endswith("JPEG is ahead at 1, 2, 4; the autoencoder at 0.1, 0.25; neither at 0.5 bits per pixel")
    assert compression.title("photograph", at_rates([LOW] * 6, [HIGH] * 6)).endswith(
        "JPEG compresses photographs better"
    )
    assert compression.title("photograph", at_rates([HIGH] * 6, [LOW] * 6)).endswith("photographs no better")
    table = row | {name.replace("photograph", "mnist"): cells for name, cells in row.items()}
    figure = compression.figure(CURVES, {kind: (5.0, 3.0) for kind in CURVES}, table)
    assert [panel.get_title() for panel in figure.axes] == ["MNIST", "Photograph"]
    for panel in figure.axes:
        assert panel.get_xlabel() == "rate [bits per pixel]" and len(panel.get_lines()) == 3 * 2 + 2 + 2
        assert list(panel.get_xticks()) == [0.02, *compression._RATES]
    said = "MNIST: autoencoder at 0.1, 0.25; JPEG at 1, 2, 4; neither at 0.5 bits per pixel (JPEG does not reach 0.1)"
    assert said in words(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()][3:5] == ["JPEG, file", "JPEG, data only"]
    assert "one of 2 seeds" in words(figure) and "weights of the autoencoder not counted" in words(figure)
    require_readable(figure)


def test_what_other_claims_found_is_said_by_their_titles():
    table = {
        f"shallow, code of {size}": {"PSNR of random pixels": values}
        for size, values in {2: [9.0, 9.2], 1568: [20.0, 20.2]}.items()
    }
    better = "Random pixels come back better than a constant grey (20.1 of 10.8 dB; shallow, code of 1568)"
    assert capacity._title(table) == better
    for values in ([10.0, 10.0], [10.0, 13.0]):  # lower than a constant grey; higher, within the spread of the seeds
        table["shallow, code of 1568"]["PSNR of random pixels"] = values
        assert capacity._title(table).startswith("No model copies") and "(10.8 dB)" in capacity._title(table)
    accuracies = {"code of 32": [0.8, 0.82], "PCA of 32": [0.9, 0.9], "pixels": [0.7, 0.7]}
    table = {name: {embedding._ACCURACY: values} for name, values in accuracies.items()}
    assert (
        embedding._title(table) == "t-SNE keeps the classes best from PCA of 32 (0.900; code of 32 0.810, pixels 0.700)"
    )
    assert "no better than the best dense one (+0.00 dB" in denoising._title([20.0, 20.2], [20.05, 20.15])
    assert "denoises better than the best dense one (+10.00 dB" in denoising._title(HIGH, LOW)


@pytest.mark.parametrize("pixels", [784, *(pytest.param(count, marks=pytest.mark.long) for count in (64, 3072))])
def test_the_sizes_of_codes_are_apart_on_their_axis(pixels):
    sizes = sorted({2, 8, 32, 128, pixels, 2 * pixels})
    columns = {
        "train BCE": [0.2, 0.3],
        "test BCE": [0.4, 0.4],
        "PSNR of random pixels": [9.0, 9.2],
        "probe accuracy": [1.0, 0.9],
    }
    table = {f"{depth}, code of {size}": columns for depth in ("shallow", "two hidden layers") for size in sizes}
    figure = capacity.figure(table, pixels)
    gap = figure.axes[1]
    assert np.allclose(gap.containers[0][0].get_ydata(), 0.15)  # of test over train, seed by seed
    assert np.allclose(gap.containers[0][0].get_xdata(), sizes) and f"dotted: {pixels} pixels" in words(figure)
    assert "constant grey, 10.8 dB" in words(figure) and str(pixels) in words(figure).splitlines()  # no tick is unnamed
    require_readable(figure)


def test_each_kind_of_corruption_has_its_axis_and_no_reference_hides_another():
    table = committed(5)
    for level in ("probe accuracy", denoising._NEAREST):  # the two references coincide
        table["pixels"][level] = table["PCA of 32"][level]
    figure = denoising.features_figure(table)
    labels = [panel.get_xlabel() for panel in figure.axes]
    assert "σ of the Gaussian noise" in labels[2] and "pixels from 0 to 1" in labels[2] and "share" in labels[3]
    for panel, strengths in zip(figure.axes, 2 * [[0, 0.1, 0.2, 0.4, 0.8], [0, 0.25, 0.5]], strict=True):
        assert list(panel.containers[0][0].get_xdata()) == strengths
        constant, dashed = [line for line in panel.get_lines() if len(set(line.get_ydata())) == 1][-2:]
        assert (constant.get_linestyle(), dashed.get_linestyle()) == ("-", "--")
        assert constant.get_zorder() < dashed.get_zorder()  # between the dashes the line is visible
    assert figure.legends[0].get_title().get_text() == "classes predicted from"
    assert "means over 2 seeds; error bars: ± one standard deviation" in words(figure)
    require_readable(figure)


def test_the_penalty_s_error_bars_stay_on_their_axes_though_a_code_may_be_zero():
    table = committed(6)
    table["0.01"]["code mean"], table["0.01"]["code variance"] = [0.0, 1e-7], [0.0, 1e-9]
    codes = {strength: RANDOM.exponential(5, (50, 32)) * (RANDOM.random((50, 32)) < 0.8) for strength in (0.0, 1e-3)}
    figure = sparsity.figure(table, codes)
    losses, moments, _, values = figure.axes
    assert moments.get_ylabel() == "mean and variance\nof the code"
    assert values.get_legend().get_title().get_text() == "weight of the L1 norm"
    assert losses.get_ylabel() == "test loss\n[nats per pixel]" and len(losses.containers[0][0].get_xdata()) == len(
        table
    )
    require_readable(figure)


@pytest.mark.parametrize(
    "classes",
    [
        pytest.param(["0", "1"], marks=pytest.mark.long),
        [str(digit) for digit in range(10)],
        pytest.param([f"c{n}" for n in range(60)], marks=pytest.mark.long),
    ],
)
def test_the_numbers_above_the_planes_have_a_name(classes):
    labels = RANDOM.choice(classes, 200)
    names = ("code of 32", "PCA of 32", "pixels")
    table = {name: {embedding._ACCURACY: [0.8, 0.9], "seconds": [1.0, 2.0]} for name in names}
    apart = 9 * np.array([classes.index(label) for label in labels])[:, None]
    figure = embedding.figure(table, {name: apart + RANDOM.normal(size=(200, 2)) for name in names}, labels)
    planes, bars = figure.axes[:3], figure.axes[3:]
    assert [plane.get_title() for plane in planes] == [f"{name}\naccuracy 0.850 ± 0.071" for name in names]
    assert "nearest neighbours in the plane, mean ± standard deviation over 2 seeds" in words(figure)
    for plane in planes:  # each of a few classes is named where its points are
        assert {text.get_text() for text in plane.texts} == (set(classes) if len(classes) <= 10 else set())
    assert len(bars) == (len(classes) > 10)  # the points of few classes have names
    for bar in bars:
        assert bar.get_ylabel() == "class" and {tick.get_text() for tick in bar.get_yticklabels()} <= set(classes)
    require_readable(figure)


def test_the_committed_page_is_that_of_the_committed_numbers():
    folder = ROOT / "experiments" / "results" / "claims_mnist"
    results = json.loads((folder / "results.json").read_text())
    assert page.page(results) == (folder / "claims.md").read_text(encoding="utf-8")
    assert results["claims"]["2"]["title"] == compression.title("photograph", committed(2))
    assert results["claims"]["4"]["title"] == capacity._title(committed(4))
    assert results["claims"]["8"]["title"] == embedding._title(committed(8))


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
    assert not (tmp_path / "figures").exists() and "figures/" not in text  # two numbers need no figure


@pytest.mark.long
def test_all_nine_are_tried(digits, tmp_path, monkeypatch, longest):
    if not longest:
        pytest.skip("three minutes: only with --longest")
    monkeypatch.setattr(study, "_EXAMPLES_PER_EPOCH", 500)
    results = claims.write_page(claims.Study(digits, 1, tmp_path, epochs=1), claims.CLAIMS)
    assert list(results["claims"]) == [str(number) for number in range(1, 10)]
    text = (tmp_path / "claims.md").read_text()
    for number, claim in results["claims"].items():
        assert claim["found"] in text and "nan" not in claim["found"] and bool(claim["figure"]) == (number != "3")
        assert (f"![{claim['figure']}](figures/claim_{number}.png)" in text) == bool(claim["figure"])
        assert (tmp_path / "figures" / f"claim_{number}.png").exists() == bool(claim["figure"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": RANDOM.random((50, 9)), "y_train": np.arange(50) % 2}, "holds vectors"),
        ({"x_train": RANDOM.random((50, 3, 3)), "y_train": np.zeros(50)}, "labels of one class"),
        ({"x_train": RANDOM.random((50, 3, 3))}, "has no labels"),
    ],
)
def test_what_no_claim_can_be_tested_on_is_refused(script, tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    refused = script("claims.py", "--dataset", str(tmp_path / "data.npz"), "--workdir", "claims")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and message in refused.stderr
