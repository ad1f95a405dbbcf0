"""Datasets of other libraries: stand-ins with their methods, and the libraries where they are installed."""

import types

import numpy as np
import pandas
import pytest
from PIL import Image

from aejax import Config, InputError, fit
from aejax.data import as_dataset, examples

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 6, 5), dtype=np.uint8)
LABELS = [number % 3 for number in range(20)]
CONFIG = Config().replace({"training.epochs": 1, "training.batch_size": 4, "model.hidden": (4,), "model.code_size": 2})


class MapStyle:
    """Has the methods of a map-style dataset of PyTorch, and of a dataset of Hugging Face."""

    def __init__(self, items):
        self.items, self.reads = items, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, number):
        self.reads += 1
        return self.items[number]


class Table(MapStyle):
    def to_pandas(self):
        return pandas.DataFrame(self.items)


class Streamed:
    """Has the methods of a dataset of tf.data."""

    def __init__(self, items, count=None):
        self.items, self.count = items, len(items) if count is None else count

    def cardinality(self):
        return np.int64(self.count)

    def as_numpy_iterator(self):
        return iter(self.items)


class _BatchDataset(Streamed):
    """Has the name of the class of tf.data."""


class IterableDataset(MapStyle):
    """Has the name of PyTorch's class, which inherits the method for single examples."""


PAIRS = list(zip(IMAGES, LABELS, strict=True))
KEYED = [{"image": Image.fromarray(image), "label": label} for image, label in PAIRS]


@pytest.mark.parametrize(
    "given",
    [
        MapStyle(PAIRS),
        MapStyle(KEYED),
        MapStyle([{"pixels": image.tolist(), "y": label} for image, label in zip(IMAGES / 255, LABELS, strict=True)]),
        Streamed(PAIRS),
        {"train": MapStyle(PAIRS), "test": Streamed(PAIRS[:4]), "unsupervised": MapStyle(PAIRS)},
        {"Train": MapStyle(KEYED), "validation": MapStyle(KEYED[:4])},
        (MapStyle(PAIRS), MapStyle(PAIRS[:4])),
    ],
)
def test_they_are_read_once_with_their_classes(given):
    dataset = as_dataset(given, Config())
    assert dataset.image_shape == (6, 5, 1) and len(dataset.test) == 4
    assert set(dataset.train_labels) == {0, 1, 2} and len(dataset.test_labels) == 4
    if isinstance(given, dict):
        assert np.array_equal(dataset.train[..., 0], IMAGES)
    if isinstance(given, MapStyle):
        assert given.reads == 20


def test_images_of_several_sizes_and_a_named_column_of_classes():
    given = MapStyle([{"img": Image.new("RGB", (8 + number % 2, 6)), "fine": number % 2} for number in range(20)])
    with pytest.raises(InputError, match=r"example 1, is 6x9x3 and .* example 0, is 6x8x3; .* --data.size 6"):
        as_dataset(given, Config().replace({"data.label": "fine"}))
    dataset = as_dataset(given, Config().replace({"data.label": "fine", "data.size": 4}))
    assert dataset.image_shape == (4, 4, 3) and set(dataset.train_labels) == {0, 1}


def test_the_position_of_channels_is_known_before_images_are_resized():
    first = MapStyle([(np.full((3, 8, 9), number / 20),) for number in range(20)])
    config = Config().replace({"data.size": 4})
    with pytest.raises(InputError, match=r"looks like \[N, C, H, W\]: say channels first or last"):
        as_dataset(first, config)
    config = config.replace({"data.channels": "first"})
    array, files = np.zeros((5, 3, 8, 9)), MapStyle([Image.new("RGB", (9, 8))] * 20)
    for given in (first, files, {"train": first, "test": array}):
        assert as_dataset(given, config).image_shape == (4, 4, 3)


def test_a_class_that_is_missing_is_minus_one():
    given = MapStyle([{"image": image, "label": None if label == 2 else label} for image, label in PAIRS])
    assert set(as_dataset(given, Config()).train_labels) == {0, 1, -1}


def test_rows_of_numbers_are_a_table():
    given = Table([{"a": number, "b": number / 2, "label": number % 2} for number in range(20)])
    dataset = as_dataset(given, Config())
    assert dataset.feature_names == ("a", "b") and set(dataset.train_labels) == {0, 1}
    vectors = as_dataset(MapStyle([(np.float32([number, 2]),) for number in range(20)]), Config())
    assert vectors.vectors and vectors.train_labels is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Streamed(PAIRS, -1), "infinite number of examples"),
        (Streamed(PAIRS, -2), "unknown number of examples"),
        (_BatchDataset([np.zeros((2, 3), np.float32)] * 4), r"holds batches; give its examples, by \.unbatch"),
        (IterableDataset(PAIRS), "of the type IterableDataset; give an array"),
        (types.SimpleNamespace(dataset=MapStyle(PAIRS)), "of the type SimpleNamespace; give an array"),
        (MapStyle([]), "holds no examples"),
        (MapStyle([(1, 2, 3)]), "3 parts in each example"),
        (MapStyle([{"left": IMAGES[0], "right": IMAGES[1]}]), "left, right in each example; keep one column"),
        (MapStyle([{"text": "a"}]), "has text in each example; keep one column"),
        (MapStyle([(IMAGES[0], IMAGES[1])] * 4), "not one-hot|give one class|shape"),
    ],
)
def test_others_are_refused_in_one_line(given, message):
    with pytest.raises(InputError, match=message) as failure:
        as_dataset(given, Config())
    assert "\n" not in str(failure.value)


def test_what_does_not_fit_in_memory_is_not_read(monkeypatch):
    given, free = MapStyle(PAIRS), types.SimpleNamespace(available=1000)
    monkeypatch.setattr(examples.psutil, "virtual_memory", lambda: free)
    with pytest.raises(InputError, match=r"to read its 20 examples, .* are needed"):
        as_dataset(given, Config())
    assert given.reads == 1


def test_hugging_face():
    datasets = pytest.importorskip("datasets")
    columns = {"image": [Image.fromarray(image) for image in IMAGES], "label": LABELS}
    whole = datasets.Dataset.from_dict(columns)
    splits = datasets.DatasetDict(train=whole, test=whole.select(range(4)))
    for given in (whole, splits):
        run = fit(CONFIG, dataset=given, progress=False)
        assert run.image_shape == (6, 5, 1) and set(run.dataset.train_labels) == {0, 1, 2}
    table = datasets.Dataset.from_dict({"a": [1.0, None] * 10, "b": list(range(20)), "label": LABELS})
    assert as_dataset(table, Config().replace({"data.missing": "mask"})).feature_names == ("a", "b")
    with pytest.raises(InputError, match="of the type IterableDataset"):
        as_dataset(whole.to_iterable_dataset(), Config())


def test_pytorch():
    torch = pytest.importorskip("torch")
    images = torch.from_numpy(np.float32(IMAGES / 255))
    whole = torch.utils.data.TensorDataset(images, torch.tensor(LABELS))
    for given in (whole, torch.utils.data.Subset(whole, range(20)), (whole, torch.utils.data.Subset(whole, range(4)))):
        run = fit(CONFIG, dataset=given, progress=False)
        assert run.image_shape == (6, 5, 1) and set(run.dataset.train_labels) == {0, 1, 2}
    with pytest.raises(InputError, match="of the type DataLoader"):
        as_dataset(torch.utils.data.DataLoader(whole), Config())
