"""What somebody else hands over is data: it runs nothing, writes nothing, and cannot make us read what it names."""

import io
import json
import pickle
import shutil
import zipfile

import numpy as np
import pytest

import aejax
from aejax import InputError
from runs import rewrite


class Runs:
    """Unpickled, it leaves a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def ran(tmp_path):
    """A path that is there if something was run."""
    path = tmp_path / "ran"
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whose") / "run"
    config, dataset = small
    aejax.fit(config.replace({"training.epochs": 1}), folder, dataset=dataset, progress=False, figures=())
    return folder


@pytest.fixture
def workdir(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["images.npy", "images.npz", "pickled.npy"])
def test_an_array_runs_nothing(name, tmp_path, ran):
    array = np.array([Runs(ran)], dtype=object)
    if name == "images.npz":
        content = io.BytesIO()
        np.save(content, array, allow_pickle=True)
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("train.npy", content.getvalue())
            archive.writestr("../../escaped.npy", content.getvalue())
    elif name == "images.npy":
        np.save(tmp_path / name, array, allow_pickle=True)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(Runs(ran)))
    with pytest.raises(InputError, match="cannot be read"):
        aejax.load_dataset(str(tmp_path / name))
    assert not list(tmp_path.parent.rglob("escaped.npy"))


def test_a_checkpoint_runs_nothing(workdir, tmp_path, ran):
    [checkpoint] = (path for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())
    for file in [path for path in checkpoint.rglob("*") if path.is_file()]:
        content = file.read_bytes()
        file.write_bytes(pickle.dumps(Runs(ran)))
        with pytest.raises(InputError):
            aejax.load(workdir)
        file.write_bytes(content)
    aejax.load(workdir)


@pytest.mark.parametrize(
    "named", ["FILE", "/etc/hostname.npy", "huggingface:somebody/images", "gs://bucket/images.npz"]
)
def test_a_workdir_names_no_images_that_are_read(workdir, tmp_path, monkeypatch, named, small):
    np.save(tmp_path / "secret.npy", small[1].train)
    named = str(tmp_path / "secret.npy") if named == "FILE" else named
    strange = {"data": {"name": named, "source_dir": str(tmp_path)}, "dataset": {"name": named}}
    rewrite(workdir, lambda content: content | {name: content[name] | strange[name] for name in strange})

    def opened(*_, **__):
        raise AssertionError("it was read")

    monkeypatch.setattr(np, "load", opened)
    monkeypatch.setattr("aejax.evaluation.evaluation.load_dataset", opened)
    before = set(tmp_path.rglob("*"))
    with pytest.raises((InputError, AssertionError), match="give the dataset") as refused:
        aejax.evaluate(workdir)
    assert refused.type is InputError and set(tmp_path.rglob("*")) == before
    assert json.loads((workdir / "config.json").read_text())["data"]["name"] == named
