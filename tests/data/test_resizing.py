"""Images of several sizes and colours, brought to one size and one number of channels."""

import numpy as np
import pytest
from PIL import Image

from aejax import Config, Data, Dataset, InputError, fit, load_dataset
from aejax.data import as_dataset
from aejax.data.images import fitted

RANDOM = np.random.default_rng(0)


def test_resizing_is_antialiased_and_cuts_the_square_in_the_centre():
    checks = np.uint8(255 * (np.indices((64, 64)).sum(axis=0) % 2))
    assert np.abs(fitted(checks, Data(size=32), "images")[2:-2, 2:-2] - 127.5).max() < 2  # a plain cut keeps 0 or 255
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, :8, 0] = wide[:, 8:16, 1] = wide[:, 16:, 2] = 200
    assert np.array_equal(fitted(wide, Data(size=8), "images"), wide[:, 8:16])
    assert (fitted(wide, Data(size=4), "images")[:, 1:-1] == [0, 200, 0]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float16])
def test_colours(dtype):
    image = RANDOM.integers(0, 256, (6, 5, 3)).astype(dtype)
    grey = fitted(image, Data(colour="grey"), "images")
    expected = np.asarray(Image.fromarray(np.uint8(image)).convert("L"), np.float32)
    assert grey.shape == (6, 5, 1) and grey.dtype == dtype and np.abs(np.float32(grey[..., 0]) - expected).max() <= 1
    rgb = fitted(grey, Data(colour="rgb"), "images")
    assert rgb.shape == (6, 5, 3) and (rgb == grey).all()


def test_a_folder_of_two_sizes_and_modes(tmp_path):
    for number in range(12):
        size, mode = ((8, 6), (5, 9))[number % 2], ("RGB", "L", "CMYK")[number % 3]
        Image.new(mode, size, number).save(tmp_path / f"{number}.{'jpg' if mode == 'CMYK' else 'png'}")
    config = Config().replace({"data.name": str(tmp_path), "training.epochs": 1, "training.batch_size": 4})
    with pytest.raises(InputError, match=r"1\.png is 9x5x3 and .*0\.png is 6x8x3; .* --data.size 6"):
        fit(config.replace({"data.colour": "rgb"}), progress=False)
    with pytest.raises(InputError, match=r"mode CMYK, .*; take --data.colour rgb"):
        fit(config.replace({"data.size": 4}), progress=False)
    run = fit(config.replace({"data.colour": "grey", "data.size": 4}), progress=False)
    assert run.image_shape == (4, 4, 1) and run.dataset.train.dtype == np.uint8
    assert run.encode(RANDOM.integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)).shape == (2, 32)


def test_arrays_and_datasets_are_resized_and_the_fingerprint_covers_it():
    images = RANDOM.integers(0, 256, (20, 12, 10, 3), dtype=np.uint8)
    plain = Dataset.from_arrays(images)
    config = Config().replace({"data.size": 6, "data.colour": "grey"})
    made = [as_dataset(given, config) for given in (images, plain, (images, np.arange(20) % 2))]
    assert {each.image_shape for each in made} == {(6, 6, 1)}
    assert len({each.fingerprint for each in made}) == 1 != plain.fingerprint
    assert as_dataset(made[0], config) is made[0]
    first = Dataset.from_arrays(np.moveaxis(images, -1, 1), channels="first", size=6, colour="grey")
    assert first.fingerprint == made[0].fingerprint
    assert load_dataset("digits", size=4).image_shape == (4, 4, 1)
    assert "data.size" not in config.computed  # the fingerprint tells


@pytest.mark.parametrize(
    ("given", "changes", "message"),
    [
        (np.zeros((9, 4), np.uint8), {"data.size": 2}, "are vectors"),
        (np.zeros((9, 5, 5, 2), np.uint8), {"data.colour": "grey"}, "2 channels; data.colour takes images of 1 or 3"),
    ],
)
def test_what_is_no_image_is_refused(given, changes, message):
    with pytest.raises(InputError, match=message):
        as_dataset(given, Config().replace(changes))
