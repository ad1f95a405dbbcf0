import gzip
import shutil
import socket
import sys
import time
import types

import numpy as np
import pytest

from aejax import Config, Data, Dataset, InputError, load_dataset, require_fit
from aejax.data import downloads
from aejax.data.cache import cached
from aejax.data.pixels import as_examples


def test_digits_are_split_once_and_for_all(digits):
    assert digits.train.shape == (1437, 8, 8, 1) and digits.test.shape == (360, 8, 8, 1)
    assert digits.train.dtype == np.uint8 and digits.train.max() == 255
    for labels, count in ((digits.train_labels, 1437), (digits.test_labels, 360)):
        shares = np.bincount(labels, minlength=10) / count
        assert np.abs(shares - 0.1).max() < 0.005  # stratified: each class keeps its share
    assert digits.fingerprint == load_dataset("digits").fingerprint
    both = np.concatenate([digits.train, digits.test]).reshape(1797, -1)
    assert len(np.unique(both, axis=0)) == 1797  # none stands in both


@pytest.mark.parametrize(
    ("array", "shape", "dtype"),
    [
        (np.zeros((5, 784), np.uint8), (5, 784), np.uint8),
        (np.zeros((5, 7)), (5, 7), np.float32),
        (np.zeros((5, 4, 6), np.float16), (5, 4, 6, 1), np.float16),
        (np.zeros((5, 4, 6, 3), np.uint8), (5, 4, 6, 3), np.uint8),
        (np.ones((5, 4, 6), bool), (5, 4, 6, 1), np.uint8),
    ],
)
def test_arrays_become_images(array, shape, dtype):
    images = as_examples(array, "images", Data()).plain
    assert images.shape == shape and images.dtype == dtype
    assert array.dtype != bool or (images == 255).all()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 3, 3), np.nan), "pixel at .* is nan"),
        (np.full((2, 3, 3), np.inf), "pixel at .* is inf"),
        (np.zeros((2, 3, 3), np.int64), "int64; give uint8"),
        (np.zeros((0, 3, 3)), "shape"),
        (np.zeros(3), "shape"),
        (np.array(["a"]), "of numbers"),
    ],
)
def test_arrays_that_are_no_images_are_refused(array, message):
    with pytest.raises(InputError, match=message):
        as_examples(array, "images", Data())


def test_a_single_array_is_split_by_a_fixed_permutation():
    images = np.arange(50, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    one, two = Dataset.from_arrays(images, train_labels=np.arange(50)), Dataset.from_arrays(images)
    assert len(one.test) == 10 and one.fingerprint == two.fingerprint
    assert sorted([*one.train[:, 0, 0, 0], *one.test[:, 0, 0, 0]]) == list(range(50))
    assert (one.train_labels == one.train[:, 0, 0, 0]).all() and (one.test_labels == one.test[:, 0, 0, 0]).all()
    with pytest.raises(InputError, match="one example"):
        Dataset.from_arrays(images[:1])
    with pytest.raises(InputError, match="one size"):
        Dataset.from_arrays(images, np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(InputError, match="one type"):
        Dataset.from_arrays(images, np.zeros((3, 2, 2)))
    with pytest.raises(InputError, match=r"labels have shape \[3\] for 50 examples"):
        Dataset.from_arrays(images, train_labels=np.arange(3))


def test_array_files(tmp_path):
    images = np.random.default_rng(0).random((20, 4, 4)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    assert len(load_dataset(str(tmp_path / "images.npy")).train) == 16
    np.savez(tmp_path / "keras.npz", x_train=images, x_test=images[:3], y_train=np.arange(20), y_test=np.arange(3))
    named = load_dataset(str(tmp_path / "keras.npz"))
    assert np.array_equal(named.train[..., 0], images) and len(named.test) == 3 and named.test_labels[2] == 2
    np.savez(tmp_path / "other.npz", a=images, b=images)
    with pytest.raises(InputError, match="needs an array train"):
        load_dataset(str(tmp_path / "other.npz"))
    (tmp_path / "torn.npy").write_bytes((tmp_path / "images.npy").read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read as arrays"):
        load_dataset(str(tmp_path / "torn.npy"))
    with pytest.raises(InputError, match="no file or folder"):
        load_dataset(str(tmp_path / "missing.npy"))


def test_pixels_must_suit_the_loss_and_the_corruption():
    wide = Dataset.from_arrays(np.linspace(-1, 2, 400).reshape(100, 2, 2))
    with pytest.raises(InputError, match=r"loss.reconstruction bce needs \[0, 1\]"):
        require_fit(Config(), wide)
    squared = Config().replace({"loss.reconstruction": "mse"})
    require_fit(squared, wide)
    with pytest.raises(InputError, match=r"corruption\.kind gaussian needs"):
        require_fit(squared.replace({"corruption.kind": "gaussian"}), wide)
    with pytest.raises(InputError, match="batch_size is 81; it must be at most 80"):
        require_fit(squared.replace({"training.batch_size": 81}), wide)


@pytest.mark.parametrize("damage", ["flipped", "truncated", "removed"])
def test_a_damaged_cache_is_noticed_and_prepared_again(data_dir, damage, caplog):
    calls = []

    def prepare():
        calls.append(1)
        return {"train": np.arange(1000, dtype=np.uint8).reshape(10, 10, 10)}

    first = np.array(cached(f"cache-{damage}", prepare)["train"])
    assert np.array_equal(cached(f"cache-{damage}", prepare)["train"], first) and len(calls) == 1
    path = data_dir / "arrays" / f"cache-{damage}" / "train.npy"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[700] ^= 1
        path.write_bytes(content)
    elif damage == "truncated":
        path.write_bytes(content[:700])
    else:
        path.unlink()
    assert np.array_equal(cached(f"cache-{damage}", prepare)["train"], first) and len(calls) == 2
    assert str(path.parent) in caplog.text


def test_any_flipped_bit_or_emptied_file_of_a_cache_is_noticed(monkeypatch, tmp_path):
    """Including the header: one flipped bit changes the type of the labels."""
    monkeypatch.setenv("AEJAX_DATA_DIR", str(tmp_path))
    made = {"train": np.arange(60, dtype=np.uint8).reshape(5, 3, 4), "train_labels": np.arange(5, dtype=np.int32)}
    calls = []

    def prepare():
        calls.append(1)
        return made

    cached("small", prepare, made)
    folder = tmp_path / "arrays" / "small"
    for path in sorted(folder.iterdir()):
        for bit in range(0, 8 * path.stat().st_size, 45):
            content = bytearray(path.read_bytes())
            if bit >= 8 * len(content):
                break
            content[bit // 8] ^= 1 << bit % 8
            path.write_bytes(content)
            found = cached("small", prepare, made)
            assert all(np.array_equal(found[name], made[name]) for name in made), (path, bit)
            assert all(found[name].dtype == made[name].dtype for name in made), (path, bit)
        path.write_bytes(b"")
        count = len(calls)
        assert np.array_equal(cached("small", prepare, made)["train"], made["train"]) and len(calls) == count + 1


def test_what_another_process_has_prepared_meanwhile_is_used_and_not_replaced(data_dir):
    """Process B opens its arrays while process A prepares the same dataset; A must not remove the files of B."""

    def prepare():
        return {"train": np.arange(12, dtype=np.uint8).reshape(3, 2, 2)}

    def prepare_after_another():
        folders.append((cached("together", prepare), (data_dir / "arrays" / "together").stat().st_ino))
        return prepare()

    folders = []
    found = cached("together", prepare_after_another)
    assert np.array_equal(found["train"], prepare()["train"])
    assert (data_dir / "arrays" / "together").stat().st_ino == folders[0][1]
    assert [path.name for path in (data_dir / "arrays").glob("*together*")] == ["together"]


def test_a_cache_without_labels_is_prepared_again(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("AEJAX_DATA_DIR", str(tmp_path))
    whole = load_dataset("digits")
    shutil.rmtree(tmp_path / "arrays" / "digits")
    cached("digits", lambda: {"train": whole.train, "test": whole.test})
    assert np.array_equal(load_dataset("digits").test_labels, whole.test_labels)
    assert "lacks test_labels.npy, train_labels.npy" in caplog.text


def test_without_network_and_data_the_way_out_is_named(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise OSError("no network")

    monkeypatch.setenv("AEJAX_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("AEJAX_SOURCE_DIR", raising=False)
    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(InputError, match=r"--source-dir.*digits"):
        load_dataset("mnist")
    with pytest.raises(InputError, match="digits"):
        load_dataset("cifar10")
    assert not list((tmp_path / "arrays").glob("*"))


def test_a_dataset_of_tensorflow_datasets_is_read_with_its_parts_and_classes(monkeypatch, tmp_path):
    features = downloads.tfds.features
    items = [{"image": np.full((4, 5 + at % 2, 3), at, np.uint8), "label": at % 2, "id": b"x"} for at in range(6)]
    info = types.SimpleNamespace(
        features={"image": features.Image(), "label": features.ClassLabel(num_classes=2)},
        splits={"train": 6, "validation": 2, "test": 3, "extra": 1},
    )

    class Source:
        def __init__(self, split):
            self.items = items[: info.splits[split]]

        def __len__(self):
            return len(self.items)

        def __getitem__(self, number):
            return self.items[number]

    builder = types.SimpleNamespace(info=info, is_prepared=lambda: True, as_data_source=Source)
    monkeypatch.setenv("AEJAX_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(downloads.tfds, "builder", lambda *_, **__: builder)
    with pytest.raises(InputError, match=r"example 1, is 4x6x3 and .* --data.size 4"):
        load_dataset("some_images")
    for _ in range(2):  # the second time from the cache
        found = load_dataset("some_images", size=4)
        assert [len(each) for each in (found.train, found.validation, found.test)] == [6, 2, 3]
        assert found.image_shape == (4, 4, 3) and found.train_labels.tolist() == [0, 1, 0, 1, 0, 1]
    info.features["image"] = features.Text()
    with pytest.raises(InputError, match=r"has 0 image features .*; it needs one image feature"):
        load_dataset("some_texts")


def test_a_host_that_never_answers_is_given_up(monkeypatch):
    def at_last(*_, **__):
        time.sleep(60)
        raise OSError("at last")

    monkeypatch.setattr(socket, "create_connection", at_last)
    with pytest.raises(InputError, match="does not answer"):
        downloads.require_network("https://example.org/file", "it", seconds=0.1)


def test_an_unknown_name_is_refused():
    with pytest.raises(InputError, match="there is no dataset 'no_such_images'"):
        load_dataset("no_such_images")


def test_source_files_are_looked_at_before_anything_is_written(monkeypatch, tmp_path, mnist_files):
    monkeypatch.setenv("AEJAX_DATA_DIR", str(tmp_path / "data"))
    source = tmp_path / "source" / "mnist"
    source.mkdir(parents=True)
    for file in mnist_files.glob("*.gz"):
        (source / file.name).write_bytes(file.read_bytes())
    labels = source / "t10k-labels-idx1-ubyte.gz"
    content = labels.read_bytes()
    labels.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"t10k-labels.*checksum.*4,541 of 4,542 bytes"):
        load_dataset("mnist", tmp_path / "source")
    labels.write_bytes(gzip.compress(b"")[:10] + content[10:-1] + b"\0")
    with pytest.raises(InputError, match=r"t10k-labels.*checksum"):
        load_dataset("mnist", tmp_path / "source")
    labels.unlink()
    with pytest.raises(InputError, match=r"t10k-labels.* is missing"):
        load_dataset("mnist", tmp_path / "source")
    assert not list((tmp_path / "data" / "arrays").glob("*"))
    assert not list((tmp_path / "data" / "tfds").rglob("*.array_record*"))


@pytest.mark.long
def test_mnist_through_tensorflow_datasets_without_tensorflow(mnist_files):
    mnist = load_dataset("mnist", mnist_files)
    assert mnist.train.shape == (60000, 28, 28, 1) and mnist.test.shape == (10000, 28, 28, 1)
    pixels = gzip.decompress((mnist_files / "t10k-images-idx3-ubyte.gz").read_bytes())[16:]
    assert np.array_equal(mnist.test, np.frombuffer(pixels, np.uint8).reshape(10000, 28, 28, 1))
    labels = gzip.decompress((mnist_files / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert np.array_equal(mnist.train_labels, np.frombuffer(labels, np.uint8))
    assert "tensorflow" not in sys.modules
    assert isinstance(load_dataset("mnist").train.base, np.memmap)  # now from the cache, without the files
