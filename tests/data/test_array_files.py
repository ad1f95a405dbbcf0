import gzip

import numpy as np
import pytest

from aejax import InputError, load_dataset

IMAGES = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
LABELS = np.array([3, 1], np.uint8)


@pytest.mark.parametrize(
    ("names", "test"),
    [
        (("train_images", "train_labels", "test_images", "test_labels"), True),  # MedMNIST, without validation
        (("x_train", "y_train", "x_test", "y_test"), True),
        (("train_images", "train_labels", "val_images", "val_labels"), True),
        (("images", "labels"), False),
        (("X", "y"), False),
    ],
)
def test_names_in_use(tmp_path, names, test):
    arrays = [IMAGES, LABELS[:, None], IMAGES[:1] + 100, LABELS[:1, None]][: len(names)]  # MedMNIST's labels: a column
    np.savez(tmp_path / "data.npz", **dict(zip(names, arrays, strict=True)))
    dataset = load_dataset(tmp_path / "data.npz")
    assert len(dataset.train) == (2 if test else 1) and dataset.image_shape == (4, 3, 1)
    assert set(dataset.train_labels) | set(dataset.test_labels) == {3, 1}
    if test:
        assert dataset.test[0, 0, 0, 0] == 100 and dataset.test_labels.tolist() == [3]


def test_what_is_not_used_is_said_and_what_is_twice_refused(tmp_path, caplog):
    parts = {f"{part}_images": IMAGES + at for at, part in enumerate(("train", "val", "test"))}
    np.savez(tmp_path / "data.npz", **parts, weights=np.ones(3), val_labels=LABELS)
    dataset = load_dataset(tmp_path / "data.npz")
    assert (dataset.validation[0, 0, 0, 0], dataset.test[0, 0, 0, 0]) == (1, 2) and "left out: weights" in caplog.text
    assert dataset.validation_labels.tolist() == LABELS.tolist()
    np.savez(tmp_path / "data.npz", train=IMAGES, x_train=IMAGES)
    with pytest.raises(InputError, match="holds train and x_train; keep one"):
        load_dataset(tmp_path / "data.npz")


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("folder", ["", "raw", "MNIST/raw"])
def test_the_files_of_mnist_as_torchvision_leaves_them(tmp_path, folder, compress):
    place = tmp_path / folder
    place.mkdir(parents=True, exist_ok=True)
    ending = "" if compress is bytes else ".gz"
    for part, images, labels in (("train", IMAGES, LABELS), ("t10k", IMAGES[:1], LABELS[:1])):
        (place / f"{part}-images-idx3-ubyte{ending}").write_bytes(compress(idx(images)))
        (place / f"{part}-labels-idx1-ubyte{ending}").write_bytes(compress(idx(labels)))
    dataset = load_dataset(tmp_path)
    assert np.array_equal(dataset.train[..., 0], IMAGES) and np.array_equal(dataset.test_labels, LABELS[:1])
    whole = compress(idx(IMAGES))
    for broken in (whole[:-1], whole + b"0", whole[:9], b""):
        (place / f"train-images-idx3-ubyte{ending}").write_bytes(broken)
        with pytest.raises(InputError, match=r"train-images.* cannot be read"):
            load_dataset(tmp_path)


def test_paths_that_lead_nowhere(tmp_path):
    (tmp_path / "a.npy").symlink_to(tmp_path / "b.npy")
    (tmp_path / "b.npy").symlink_to(tmp_path / "a.npy")
    for path in (tmp_path / "a.npy", "~nobody-of-this-name/x.npy"):
        with pytest.raises(InputError, match=r"there is no file or folder|no user has that name"):
            load_dataset(path)


def test_arrays_without_axes(tmp_path):
    np.save(tmp_path / "one.npy", np.float32(1))
    with pytest.raises(InputError, match=r"shape \[\]"):
        load_dataset(tmp_path / "one.npy")


def test_an_idx_file_beside_its_compressed_copy(tmp_path):
    """As torchvision leaves both; and the path of one file."""
    for name, array in (("train-images-idx3-ubyte", IMAGES), ("train-labels-idx1-ubyte", LABELS)):
        (tmp_path / name).write_bytes(idx(array))
        (tmp_path / f"{name}.gz").write_bytes(b"not read")
    dataset = load_dataset(tmp_path)
    assert dataset.set_aside and {*dataset.train_labels, *dataset.test_labels} == {3, 1}
    assert len(load_dataset(tmp_path / "train-images-idx3-ubyte").train) == 1
