"""Python objects as datasets: unambiguous ones are accepted, others are refused with one line."""

import types

import numpy as np
import pytest

from aejax import Config, Dataset, InputError, evaluate, fit, load_dataset, require_fit
from aejax.data import as_dataset

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 4, 3), dtype=np.uint8)
LABELS = np.arange(10) % 3


class Tensor:
    """Has the methods of a PyTorch tensor with a gradient."""

    dtype = "torch.float32"

    def __init__(self, array):
        self._array = array

    def detach(self):
        return types.SimpleNamespace(cpu=lambda: self._array, dtype=self.dtype)

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


class Table:
    """Has the method of a pandas table with columns of several types."""

    def __init__(self, columns):
        self._columns = columns

    def to_numpy(self):
        return np.array([list(row) for row in zip(*self._columns, strict=True)], object)


@pytest.mark.parametrize(
    ("given", "shape"),
    [
        (IMAGES, (4, 3, 1)),
        (IMAGES.tolist(), None),  # integers of unknown scale
        ((IMAGES / 255).tolist(), (4, 3, 1)),
        (list(IMAGES), (4, 3, 1)),
        ((IMAGES, LABELS), (4, 3, 1)),
        ((IMAGES, np.eye(3)[LABELS]), (4, 3, 1)),
        (((IMAGES, LABELS), (IMAGES[:4], LABELS[:4])), (4, 3, 1)),
        ({"train": IMAGES, "test": IMAGES[:4], "train_labels": LABELS, "test_labels": LABELS[:4]}, (4, 3, 1)),
        (Tensor(IMAGES), (4, 3, 1)),
        (Table([range(10), [0.5] * 10]), (1, 2, 1)),
        (np.arange(20).reshape(10, 2), (1, 2, 1)),  # integers are values of vectors, not pixels
        ("digits", (8, 8, 1)),
    ],
)
def test_what_is_unambiguous_is_taken(given, shape):
    if shape is None:
        with pytest.raises(InputError, match="int64; give uint8"):
            as_dataset(given, Config())
        return
    dataset = as_dataset(given, Config())
    assert dataset.image_shape == shape
    if isinstance(given, tuple):
        assert set(dataset.train_labels) <= {0, 1, 2} and len(dataset.test_labels) == len(dataset.test)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((image for image in IMAGES), "of the type generator; give an array"),
        ([IMAGES[0], IMAGES[1][:2]], r"\(list\) are no array: they are of several sizes"),
        ([[1, 2], [3]], r"\(list\) are no array"),
        (Table([range(10), ["a"] * 10]), r"\(Table\) are text, or contain text"),
        (np.ma.masked_equal(IMAGES, IMAGES[0, 0, 0]), "masked values"),
        ((IMAGES, IMAGES), "the second has 3 axes; give aejax.Dataset.from_arrays"),
        ({"images": IMAGES}, "holds images; a mapping has train"),
        (np.zeros((5, 4, 4), np.complex64), "complex64"),
        (np.array(3.0), r"shape \[\]"),
        ([{"a": 1, "b": 2}, {"a": 3, "b": 4}], "are object; give .* or a data frame of pandas"),
    ],
)
def test_what_is_not_is_named_in_one_line(given, message):
    with pytest.raises(InputError, match=message) as failure:
        as_dataset(given, Config())
    assert "\n" not in str(failure.value) and len(str(failure.value)) < 300


@pytest.mark.parametrize("shape", [(5, 3, 32, 32), (5, 1, 28, 20), (5, 4, 9, 9)])
def test_channels_first_is_asked_for(shape):
    array = np.random.default_rng(0).random(shape)
    with pytest.raises(InputError, match=r"looks like \[N, C, H, W\]: say channels first or last"):
        Dataset.from_arrays(array)
    first = Dataset.from_arrays(array, channels="first")
    assert first.image_shape == (*shape[2:], shape[1])
    assert np.allclose(first.train[:, 2, 1, 0], Dataset.from_arrays(array, channels="last").train[:, 0, 2, 1])


@pytest.mark.parametrize("shape", [(5, 32, 32, 3), (5, 3, 3, 3), (5, 1, 28, 1), (5, 2, 28, 28), (5, 3, 4, 7)])
def test_other_shapes_are_taken_as_they_are(shape):
    assert Dataset.from_arrays(np.zeros(shape)).image_shape == shape[1:]


def test_channels_first_in_a_file(tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((60, 3, 8, 6)).astype(np.float32))
    config = Config().replace({"data.name": str(tmp_path / "images.npy"), "training.epochs": 1})
    with pytest.raises(InputError, match="looks like"):
        fit(config, progress=False)
    run = fit(config.replace({"data.channels": "first"}), tmp_path / "run", progress=False)
    assert run.image_shape == (8, 6, 3) and len(run.dataset.test) == 12


def test_pixels_beyond_1_by_rounding_are_taken():
    require_fit(Config(), Dataset.from_arrays(np.full((60, 3, 3), np.nextafter(np.float32(1), np.float32(2)))))
    with pytest.raises(InputError, match=r"lie in \[1\.01, 1\.01\]"):
        require_fit(Config(), Dataset.from_arrays(np.full((60, 3, 3), 1.01)))


def test_too_few_for_a_batch_after_the_split():
    with pytest.raises(InputError, match="at most 32, the number of training examples, after 8 of those"):
        require_fit(Config().replace({"training.batch_size": 40}), Dataset.from_arrays(np.zeros((40, 3, 3))))


@pytest.mark.long
def test_doors_say_what_they_take():
    short = Config().replace({"training.epochs": 1, "training.batch_size": 4})
    for call, message in (
        (lambda: load_dataset(IMAGES), "of the type ndarray; load_dataset takes a name or a path"),
        (lambda: fit(IMAGES), "the configuration is of the type ndarray; aejax.fit takes a Config first"),
        (lambda: fit(short, IMAGES), "the workdir is of the type ndarray.* dataset="),
        (lambda: evaluate(IMAGES), "the workdir is of the type ndarray; it must be a path"),
    ):
        with pytest.raises(InputError, match=message):
            call()
    run = fit(short, dataset=(IMAGES, LABELS), progress=False)
    assert evaluate(run)["probe_code"] is not None
    assert evaluate(run, "digits" if run.image_shape == (8, 8, 1) else IMAGES[:, :, :])["test_images"] == 2
