"""A new file format is an entry of one table; the names of parts are one table for files, folders and arrays."""

import gzip

import numpy as np
import pytest

from aejax import Dataset, InputError, load_dataset
from aejax.data import array_files

VECTORS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)


@pytest.fixture
def csv(monkeypatch):
    monkeypatch.setitem(array_files.FORMATS, ".csv", lambda path: np.loadtxt(path, np.float32, delimiter=","))


def write(path, array):
    np.savetxt(path, array, delimiter=",", fmt="%.9g")


def test_a_format_is_a_reader_in_the_table(tmp_path, csv):
    write(tmp_path / "vectors.csv", VECTORS)
    assert load_dataset(tmp_path / "vectors.csv").fingerprint == Dataset.from_arrays(VECTORS).fingerprint
    (tmp_path / "vectors.csv").write_text("no number")
    with pytest.raises(InputError, match=r"vectors\.csv cannot be read as arrays: "):
        load_dataset(tmp_path / "vectors.csv")


def test_it_is_read_in_folders_and_shards_too(tmp_path, csv):
    for number, part in enumerate(np.split(VECTORS, 3)):
        write(tmp_path / f"train-{number}.csv", part)
    write(tmp_path / "test.csv", VECTORS[:5])
    assert load_dataset(tmp_path).fingerprint == Dataset.from_arrays(VECTORS, VECTORS[:5]).fingerprint


def test_a_format_may_hold_several_arrays_by_name(tmp_path, monkeypatch):
    def read(path):
        with gzip.open(path) as file:
            return {name: np.load(file) for name in ("X_train", "y_train", "x_dev")}

    monkeypatch.setitem(array_files.FORMATS, ".gz", read)
    with gzip.open(tmp_path / "all.gz", "wb") as file:
        for array in (VECTORS, np.arange(30), VECTORS[:2]):
            np.save(file, array)
    found = load_dataset(tmp_path / "all.gz")
    assert len(found.train) == 30 and len(found.test) == 2 and found.train_labels[-1] == 29


@pytest.mark.parametrize("names", [("train", "train_labels", "valid"), ("x_train", "y_train", "x_dev")])
@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_the_names_of_parts_are_the_same_for_arrays_and_files(tmp_path, names, kind):
    arrays = dict(zip(names, (VECTORS, np.arange(30), VECTORS[:3]), strict=True))
    if kind == "npz":
        np.savez(tmp_path / "all.npz", **arrays)
    else:
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
    found = load_dataset(tmp_path / "all.npz" if kind == "npz" else tmp_path)
    assert np.array_equal(found.train, VECTORS) and len(found.test) == 3 and found.train_labels[7] == 7


def test_two_files_for_one_part_are_refused(tmp_path):
    for name in ("train", "x_train"):
        np.save(tmp_path / f"{name}.npy", VECTORS)
    with pytest.raises(InputError, match=r"holds (x_)?train\.npy and (x_)?train\.npy; keep one"):
        load_dataset(tmp_path)
