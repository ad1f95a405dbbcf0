"""Paths as the user gives them, at every public function."""

import numpy as np
import pytest

import aejax
from aejax.config.files import data_dir, keep_compiled_programs, local

DOORS = {
    "fit": lambda path: aejax.fit(aejax.Config(), path, dataset=np.zeros((50, 4, 4))),
    "sweep": lambda path: aejax.sweep(aejax.Config(), {"seed": [0]}, path, dataset=np.zeros((50, 4, 4))),
    "load": aejax.load,
    "evaluate": aejax.evaluate,
    "load_dataset": aejax.load_dataset,
    "load_config": aejax.load_config,
}


def test_the_home_folder_is_meant_by_its_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local("~/runs/é", "it") == tmp_path / "runs" / "é"
    monkeypatch.setenv("AEJAX_DATA_DIR", "~/data")
    assert data_dir() == tmp_path / "data"


def test_a_run_in_the_home_folder_is_found_by_every_door(monkeypatch, tmp_path, small):
    config, dataset = small
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    aejax.fit(config.replace({"training.epochs": 1}), "~/run", dataset=dataset, progress=False, figures=())
    assert (tmp_path / "run" / "config.json").exists() and not (tmp_path / "~").exists()
    aejax.load("~/run").save("~/copy")
    assert (tmp_path / "copy" / "config.json").exists()
    np.save(tmp_path / "images.npy", dataset.train)
    assert len(aejax.load_dataset("~/images.npy").train) == 64
    assert list(tmp_path.glob("~*")) == []


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hdfs://host/run", "is no disk"),
        ("https://host/images.npz", "is no disk"),
        ("~nobody-of-this-name/run", "no user has that name"),
        ("run\udcff.npy", "not UTF-8"),
    ],
)
def test_what_is_no_path_of_this_machine_is_refused_by_every_door(door, path, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(aejax.InputError, match=message):
        DOORS[door](path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", "a\0b", 5, None])
def test_nothing_is_no_path(path):
    with pytest.raises(aejax.InputError, match="it must be a path"):
        local(path, "the workdir")


def test_a_user_without_a_home_folder_is_told_only_where_one_is_needed(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", homeless)
    monkeypatch.delenv("AEJAX_DATA_DIR")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    keep_compiled_programs()  # every script calls it first, also for --help
    with pytest.raises(aejax.InputError, match="set AEJAX_DATA_DIR"):
        data_dir()
