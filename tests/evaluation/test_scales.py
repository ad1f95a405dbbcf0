"""Images on another scale than the training images, and other datasets: correct results or an error."""

import math

import numpy as np
import pytest

from aejax import Config, Dataset, InputError, evaluate, fit, load
from aejax.data.pixels import scale
from aejax.evaluation import measures

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (60, 6, 5), dtype=np.uint8)
UNIT = np.float32(BYTES) / 255
SHORT = Config().replace({"training.epochs": 1, "model.hidden": (), "model.code_size": 4})
SQUARED = SHORT.replace({"loss.reconstruction": "mse"})


@pytest.fixture(scope="module")
def runs():
    signed = 2 * UNIT - 1
    return {
        "bytes": fit(SHORT, dataset=BYTES, progress=False),
        "bytes, squared": fit(SQUARED, dataset=BYTES, progress=False),
        "unit": fit(SHORT, dataset=UNIT, progress=False),
        "signed": fit(SQUARED, dataset=signed, progress=False),
        "up to 255": fit(SQUARED, dataset=255 * UNIT, progress=False),
    }


GIVEN = {
    "bytes": BYTES,
    "unit": UNIT,
    "rounded": UNIT * np.float32(1 + 2e-7),
    "up to 255": 255 * UNIT,
    "normal": RANDOM.normal(size=(60, 6, 5)),
    "signed": 2 * UNIT - 1,
}
TAKEN = {
    "bytes": {"bytes", "unit", "rounded"},
    "bytes, squared": {"bytes", "unit", "rounded"},
    "unit": {"bytes", "unit", "rounded"},
    "signed": {"signed", "unit", "rounded"},  # unit images may lie on the signed scale, without dark pixels
    "up to 255": {"up to 255"},
}


@pytest.mark.parametrize("trained", TAKEN)
@pytest.mark.parametrize("given", GIVEN)
def test_every_door_takes_the_scale_trained_on_and_no_other(runs, trained, given):
    run, images = runs[trained], GIVEN[given]
    doors = (run.encode, run.reconstruct, run.corrupt, lambda images: evaluate(run, images))
    for door in doors:
        if given in TAKEN[trained]:
            door(images)
        else:
            with pytest.raises(InputError, match=r"the model was trained on values in|needs"):
                door(images)


def test_bytes_and_floats_give_the_same_codes(runs):
    assert np.allclose(runs["bytes"].encode(BYTES), runs["bytes"].encode(UNIT), atol=1e-6)
    assert np.allclose(runs["bytes"].encode(UNIT.reshape(60, 30)), runs["bytes"].encode(UNIT), atol=1e-6)  # flat


@pytest.mark.parametrize(
    ("images", "expected"), [(BYTES, (0, 1)), (UNIT, (0, 1)), (2 * UNIT - 1, (-1, 1)), (3 * UNIT, (0, 3))]
)
def test_the_range_of_pixels(images, expected):
    assert np.allclose(scale(images), expected)


def test_psnr_and_ssim_know_the_range(runs):
    run = runs["signed"]
    found, images = evaluate(run), run.dataset.test
    shown = np.clip(run.reconstruct(images), -1, 1)
    expected = -10 * np.log10(np.square((images - shown) / 2).mean(axis=(1, 2, 3))).mean()
    assert math.isclose(found["psnr"], expected, rel_tol=1e-5) and found["psnr"] > 0
    similarity = measures.ssim((images + 1) / 2, (shown + 1) / 2).mean()
    assert math.isclose(found["ssim"], similarity, rel_tol=1e-5)
    assert found["psnr_8"] < found["psnr"] + 0.1


def test_a_run_is_evaluated_on_its_own_images_or_not_at_all(runs, tmp_path):
    run = runs["bytes"]
    own = evaluate(run)
    assert own["test_images"] == 12 and own["dataset"] == "array"
    run.save(tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    for nothing in (lambda: evaluate(loaded), lambda: evaluate(tmp_path / "saved")):
        with pytest.raises(InputError, match="may not name a file to be read; give the dataset"):
            nothing()
    assert evaluate(loaded, BYTES) == own  # the array of the training: its test images
    assert evaluate(loaded, BYTES[::-1])["test_images"] == 60  # another array: all of it


def test_another_dataset_of_that_name_is_refused(tmp_path):
    digits = Dataset.from_arrays(UNIT, name="digits")
    fit(SHORT, tmp_path, dataset=digits, progress=False)
    with pytest.raises(InputError, match="trained on other examples than those of 'digits'"):
        evaluate(tmp_path)
    assert evaluate(tmp_path, digits)["test_images"] == 12


def test_a_run_goes_on_wherever_its_images_are(tmp_path, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    np.save(first / "images.npy", UNIT)
    monkeypatch.chdir(tmp_path)
    config = SHORT.replace({"data.name": "first/images.npy"})
    fit(config, tmp_path / "run", progress=False)
    first.rename(second)
    monkeypatch.chdir(second)
    longer = config.replace({"data.name": "./images.npy", "training.epochs": 2})
    run = fit(longer, tmp_path / "run", progress=False)
    assert len(run.history) == 2 and evaluate(tmp_path / "run", "./images.npy")["test_images"] == 12
    np.save(second / "images.npy", UNIT[::-1])
    with pytest.raises(InputError, match=r"holds another run, .* \(examples: "):
        fit(longer.replace({"training.epochs": 3}), tmp_path / "run", progress=False)


def test_a_probe_does_not_depend_on_how_the_images_are_sorted():
    chosen = measures.chosen(1000, 100)
    assert len(set(chosen)) == 100 and np.array_equal(chosen, measures.chosen(1000, 100))
    labels = np.sort(np.arange(1000) % 10)
    assert len(np.unique(labels[chosen])) == 10 and np.abs(np.bincount(labels[chosen]) - 10).max() < 10
    assert measures.chosen(50).tolist() == list(range(50))
