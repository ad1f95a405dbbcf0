"""Shards equal one array in values and fingerprint; ambiguous folders are refused."""

import ml_dtypes
import numpy as np
import pytest

from aejax import Config, Dataset, InputError, load_dataset
from aejax.data import datasets, examples
from aejax.data.examples import Shards

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(60, 5)).astype(np.float32)
CUTS = (1, 4, 5, 9, 20, 21, 22, 30, 31, 40, 44)  # twelve shards: sorted as text, 10 and 11 would precede 2


def write(folder, array, name="train-{}.npy", cuts=CUTS):
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(np.split(array, cuts)):
        path = folder / name.format(number)
        np.save(path, part) if path.suffix == ".npy" else np.savez(path, part)


def parts():
    return Shards(np.split(VECTORS, CUTS), [f"{number}.npy" for number in range(len(CUTS) + 1)])


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(60, 5), (60, 3, 4), (60, 3, 4, 2)])
def test_shards_are_the_one_array(tmp_path, dtype, shape):
    array = (100 * RANDOM.random(shape)).astype(dtype)
    write(tmp_path, array)
    np.save(tmp_path / "test.npy", array[:7])
    labels = np.arange(60) % 3
    np.save(tmp_path / "train_labels.npy", labels)
    found, one = load_dataset(tmp_path), Dataset.from_arrays(array, array[:7])
    assert isinstance(found.train, Shards) and len(found.train.parts) == 12
    assert found.train.dtype == one.train.dtype == (np.float32 if dtype == np.float64 else dtype)
    assert np.array_equal(np.asarray(found.train), one.train) and np.array_equal(found.train_labels, labels)
    assert found.fingerprint == one.fingerprint and found.range == one.range
    assert found.image_shape == one.image_shape and found.train.nbytes == one.train.nbytes
    assert dtype == np.float64 or all(examples._root(part) is not None for part in found.train.parts)


@pytest.mark.parametrize(
    "name",
    ["train_{}.npy", "train{}.npy", "train-{:05}-of-12.npz", "layer3-{}.npy", "train/{}.npy", "Training/x{}.npz"],
)
@pytest.mark.parametrize("test", ["test-{}", "val_{}", None])
def test_the_names_of_shards(tmp_path, name, test):
    folder, file = name.split("/") if "/" in name else ("", name)
    write(tmp_path / folder, VECTORS, file)
    if test and "layer" not in name:
        file = test + name[-4:]
        write(tmp_path / test[: test.index("{") - 1] if folder else tmp_path, VECTORS[:9], file, cuts=(4,))
        assert load_dataset(tmp_path).fingerprint == Dataset.from_arrays(VECTORS, VECTORS[:9]).fingerprint
    else:
        assert load_dataset(tmp_path).fingerprint == Dataset.from_arrays(VECTORS).fingerprint
        assert load_dataset(tmp_path).set_aside


def test_labels_in_shards_and_what_is_left_out(tmp_path, caplog):
    write(tmp_path, VECTORS)
    write(tmp_path, np.arange(60), "train_labels-{}.npy", cuts=(30,))
    for name in ("test", "val-0", "mean"):
        np.save(tmp_path / f"{name}.npy", VECTORS[:3])
    dataset = load_dataset(tmp_path)
    assert dataset.train_labels.tolist() == list(range(60)) and len(dataset.validation) == 3
    assert "left out: mean.npy" in caplog.text
    (tmp_path / "train_labels-1.npy").unlink()
    with pytest.raises(InputError, match=r"labels have shape \[30\] for 60 examples"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    "index",
    [
        *(0, 4, -1, np.int64(59), slice(None), slice(4, 20), slice(5, 9), slice(-3, None), slice(50, 99), slice(9, 3)),
        *(slice(None, None, 7), slice(None, None, -1), [3, -60, 59, 3], np.array([[0, 21], [22, 4]])),
        *(np.array([], int), VECTORS[:, 0] > 0),
    ],
)
def test_shards_are_indexed_as_an_array(index):
    found = parts()[index]
    assert np.array_equal(found, VECTORS[index]) and found.dtype == VECTORS.dtype
    assert found.shape == VECTORS[index].shape


def test_one_array_is_not_copied():
    assert np.asarray(Shards([VECTORS])) is VECTORS


@pytest.mark.parametrize("index", [60, -61, [0, 60], (0, 1), 1.0])
def test_no_other_index_is_taken(index):
    with pytest.raises(IndexError, match=r"out of bounds|too many indices|only integers"):
        parts()[index]


@pytest.mark.parametrize("large", [0, 2**30])
def test_rows_are_read_from_the_file_that_has_them(tmp_path, monkeypatch, large):
    monkeypatch.setattr(examples, "LARGE", large)
    write(tmp_path, VECTORS.astype(ml_dtypes.bfloat16))
    np.save(tmp_path / "test.npy", VECTORS[:3].astype(ml_dtypes.bfloat16))
    train = load_dataset(tmp_path).train
    indices = RANDOM.integers(0, 70, (20, 4))
    assert np.array_equal(train.rows(indices), np.asarray(train)[np.minimum(indices, 59)])


def test_what_does_not_fit_in_memory_is_not_read_at_once(tmp_path, monkeypatch):
    write(tmp_path, VECTORS)
    train = datasets._read(tmp_path, Config().data)["train"]
    monkeypatch.setattr(examples, "LARGE", 100)
    monkeypatch.setattr(examples.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    assert len(train[:5]) == 5
    for read in (np.asarray, lambda shards: shards[:], lambda shards: shards[::-1], lambda shards: shards[range(60)]):
        with pytest.raises(InputError, match=r"60 examples at once, .* --data\.placement stream"):
            read(train)
    with pytest.raises(InputError, match=r"set a fifth aside, .* shards train-\.\.\. and test-"):
        load_dataset(tmp_path)


def other(path, array):
    np.save(path, array) if path.suffix == ".npy" else np.savez(path, array, array)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-12.npy", VECTORS[:, :4], r"train-0\.npy: 5 values, train-12\.npy: 4 values; .* one size"),
        ("train-12.npy", VECTORS[:, 0], r"train-0\.npy: 5 values, train-12\.npy: 1 values; .* one size"),
        ("train-12.npy", np.float16(VECTORS), r"train-0\.npy: float32, train-12\.npy: float16; .* one type"),
        ("train-12.npy", VECTORS[:0], r"train-12\.npy holds no examples: its shape is \[0, 5\]"),
        ("train-12.npy", np.float32(1), r"train-12\.npy holds no examples: its shape is \[\]"),
        ("train-12.npz", VECTORS, r"train-0\.npy and train-12\.npz are shards of two kinds"),
        ("train-12.npy", VECTORS.astype(object), r"train-12\.npy cannot be read as arrays: .*objects"),
        ("train.npy", VECTORS, r"holds train\.npy and train-0\.npy: is that a shard\?"),
        ("train/0.npy", VECTORS, r"holds train-0\.npy and a folder train; keep one"),
        ("test.npy", np.float16(VECTORS), "training examples: float32, test examples: float16"),
        ("test-1.npz", VECTORS, r"test-1\.npz holds arr_0, arr_1; a shard holds one array"),
    ],
)
def test_what_does_not_belong_to_the_shards_is_refused(tmp_path, name, array, message):
    write(tmp_path, VECTORS)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    other(tmp_path / name, array)
    with pytest.raises(InputError, match=message) as failure:
        load_dataset(tmp_path)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("name", ["test-0.npy", "val.npy", "x_test-3.npy", "labels.npy", "y_train.npz"])
def test_shards_that_may_be_no_training_examples(tmp_path, name):
    write(tmp_path, VECTORS, "x-{}.npy")
    np.save(tmp_path / name, VECTORS) if name.endswith("y") else np.savez(tmp_path / name, VECTORS)
    with pytest.raises(InputError, match=f"holds {name} and nothing named train-"):
        load_dataset(tmp_path)


def test_damaged_shards_and_values_that_are_no_numbers(tmp_path):
    bad = VECTORS.copy()
    bad[12, 3] = np.nan
    write(tmp_path, bad)
    with pytest.raises(InputError, match=r"training examples in train-4\.npy: the value at \[3, 3\] is nan"):
        load_dataset(tmp_path)
    for content in (b"", (tmp_path / "train-3.npy").read_bytes()[:-1], b"no array"):
        (tmp_path / "train-3.npy").write_bytes(content)
        with pytest.raises(InputError, match=r"train-3\.npy cannot be read as arrays"):
            load_dataset(tmp_path)
    (tmp_path / "train-3.npy").unlink()
    (tmp_path / "train-3.npy").symlink_to(tmp_path / "nowhere.npy")
    with pytest.raises(InputError, match=r"train-3\.npy cannot be read as arrays"):
        load_dataset(tmp_path)


def test_folders_without_arrays_or_with_images_too(tmp_path):
    from PIL import Image

    for folder in ("empty", "empty train/train", "half/train", "half/test"):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("empty", "empty train"):
        with pytest.raises(InputError, match=r"holds no images \(.*\) and no arrays \(\.npy, \.npz, "):
            load_dataset(tmp_path / folder)
    write(tmp_path / "half" / "train", VECTORS)
    with pytest.raises(InputError, match=r"test holds no images \(.*\) and no arrays"):
        load_dataset(tmp_path / "half")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "half" / "test" / "a.png")
    with pytest.raises(InputError, match="a part with arrays and a part with images"):
        load_dataset(tmp_path / "half")
    (tmp_path / "half" / "test" / "a.png").unlink()
    write(tmp_path / "half" / "test", VECTORS)
    write(tmp_path / "mixed", VECTORS, "{}.npy")
    for folder in (tmp_path / "mixed", tmp_path / "half" / "train"):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "a.png")
    for folder in ("mixed", "half"):
        with pytest.raises(InputError, match=r"holds arrays \((train-)?0\.npy\) and images \(a\.png\); keep one kind"):
            load_dataset(tmp_path / folder)


@pytest.mark.parametrize("dtype", ["V2", "V4", [("a", "f2")]])
def test_two_bytes_without_a_type_are_bfloat16(tmp_path, dtype):
    np.save(tmp_path / "train.npy", np.zeros((5, 3), dtype))
    if dtype == "V2":
        np.savez(tmp_path / "one.npz", VECTORS.astype(ml_dtypes.bfloat16))
        for name in ("", "one.npz"):
            assert load_dataset(tmp_path / name).train.dtype == ml_dtypes.bfloat16
        return
    with pytest.raises(InputError, match=r"are \|?V4|are \[\('a'"):
        load_dataset(tmp_path)


def test_a_half_of_other_byte_order_is_the_same(tmp_path):
    np.save(tmp_path / "swapped.npy", VECTORS.astype(">f2"))
    found = load_dataset(tmp_path / "swapped.npy")
    assert found.fingerprint == Dataset.from_arrays(np.float16(VECTORS)).fingerprint and found.train.dtype.isnative
