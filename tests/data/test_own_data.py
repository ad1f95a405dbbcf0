"""data.name takes FILE.py:NAME and MODULE:NAME; computed examples need no more than the protocol."""

import importlib.util
import json

import jax.numpy as jnp
import numpy as np
import pytest

from aejax import Config, Dataset, InputError, evaluate, fit, load, load_dataset
from aejax.config.user_files import names_data
from aejax.data import Computed, examples
from aejax.data.examples import Shards

CONFIG = Config().replace(
    {
        "model.hidden": (),
        "model.code_size": 3,
        "training.epochs": 1,
        "training.batch_size": 20,
        "loss.reconstruction": "mse",
    }
)
FILE = """
import jax, jax.numpy as jnp, numpy as np
import aejax
from aejax.data import Computed

VECTORS = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)

def array(): return VECTORS
def pair(): return VECTORS, np.arange(60) % 3
def named(): return aejax.Dataset("mine", VECTORS[:40], VECTORS[40:])
def nothing(): pass
def fails(): raise ValueError("no disk")
whole = {"train": VECTORS, "test": VECTORS[:9]}

class Waves(Computed):
    def __init__(self, part):
        super().__init__(part, (100 if part == "train" else 30, 8), ["waves", 1])
        self.arrays = {"phase": np.float32(part == "test")}

    def make(self, arrays, examples):
        return jnp.sin(examples[:, None] * jnp.linspace(0.1, 1, 8) + arrays["phase"])

def waves(): return aejax.Dataset("waves", Waves("train"), Waves("test"))
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("name", "called", "sizes"),
    [("array", "mine.py:array", (48, 12)), ("pair", "mine.py:pair", (48, 12)), ("whole", "mine.py:whole", (60, 9)),
     ("VECTORS", "mine.py:VECTORS", (48, 12)), ("named", "mine", (40, 20)), ("waves", "waves", (100, 30))],
)  # fmt: skip
def test_a_file_gives_a_dataset_or_arrays(file, name, called, sizes):
    found = load_dataset(f"{file}:{name}")
    assert found.name == called and (len(found.train), len(found.test)) == sizes
    assert (found.train_labels is not None) == (name == "pair")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "mine.py has no missing, or it is or returns None"),
        ("nothing", "mine.py has no nothing, or it is or returns None"),
        ("fails", r"fails fails: .*mine\.py, line \d+ in fails: ValueError: no disk"),
    ],
)
def test_what_gives_no_dataset_is_refused(file, name, message):
    with pytest.raises(InputError, match=message):
        load_dataset(f"{file}:{name}")
    with pytest.raises(InputError, match=r"there is no file .*other\.py"):
        load_dataset(str(file.with_name("other.py")) + ":array")


def test_a_module_gives_a_dataset(file, monkeypatch):
    monkeypatch.syspath_prepend(file.parent)
    assert len(load_dataset("mine:named").train) == 40


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("waves.py:make", True), ("/a/b/waves.py:make", True), ("C:\\data\\waves.py:make", True),
        ("json:loads", True), ("os.path:join", True),
        ("no_module_of_this_name:make", False), ("mnist:3.*.*", False), ("cifar10/plain_text:1.0.0", False),
        ("C:\\data\\images.npy", False), ("C:\\data", False), ("huggingface:somebody/images", False),
        ("digits", False), ("waves.py", False), (":make", False), ("waves.py:", False),
    ],
)  # fmt: skip
def test_code_is_told_from_paths_and_names(name, own):
    assert names_data(name) == own


def test_telling_imports_nothing(file, monkeypatch):
    file.with_name("trap.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(file.parent)
    assert names_data("trap:x") and importlib.util.find_spec("trap") is not None


def test_names_of_tensorflow_datasets_still_reach_it():
    for name in ("mnist:3.*.*", "no_such_images/plain_text:1.0.0"):
        with pytest.raises(InputError, match=r"there is no dataset|does not answer|could not prepare"):
            load_dataset(name)


def test_the_file_belongs_to_the_run_and_a_workdir_does_not_run_it(file, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    config = CONFIG.replace({"data.name": f"{file}:array"})
    run = fit(config, workdir, progress=False, figures=())
    recorded = json.loads((workdir / "config.json").read_text())
    assert recorded["data"]["name"] == "mine.py:array" and set(recorded["files"]) == {"mine.py"}
    assert (workdir / "files" / "mine.py").read_text() == FILE
    monkeypatch.chdir(tmp_path)  # where a file of that name is
    assert load(workdir).encode(run.dataset.test).shape[0] == len(run.dataset.test)  # a model needs no examples
    file.write_text("raise SystemExit")
    with pytest.raises(InputError, match="a workdir may not name a file to be read; give the dataset"):
        evaluate(workdir)
    file.write_text(FILE)
    assert evaluate(workdir, models=file) == evaluate(run)
    file.write_text(FILE + "\n")
    with pytest.raises(InputError, match=r"was trained with another mine\.py"):
        fit(config, workdir, progress=False, figures=())


def test_computed_examples_of_ones_own_are_trained_on(file, tmp_path):
    dataset = load_dataset(f"{file}:waves")
    phases = np.arange(100)[:, None] * np.linspace(0.1, 1, 8)
    assert np.allclose(dataset.train[:], np.sin(phases), atol=1e-4)
    assert np.allclose(dataset.test[3], np.sin(phases[3] + 1), atol=1e-4) and dataset.train[[4, 5], 2].shape == (2,)
    assert dataset.truth is None and dataset.train.nbytes == 4 and dataset.test.nbytes == 4 * 240
    assert dataset.examples["train"] == load_dataset(f"{file}:waves").examples["train"]
    assert dataset.examples["train"] != dataset.examples["test"]
    run = fit(CONFIG, dataset=dataset, progress=False)
    assert run.history[0]["step"] == 5 and np.isfinite(run.history[0]["test"]["total"])


def test_computed_images(tmp_path):
    class Grey(Computed):
        def make(self, arrays, examples):
            return jnp.broadcast_to(examples[:, None, None, None] / 100.0, (len(examples), 2, 3, 1))

    dataset = Dataset("grey", Grey("train", (40, 2, 3, 1), 0), Grey("test", (10, 2, 3, 1), 0))
    assert dataset.image_shape == (2, 3, 1) and dataset.train[7].shape == (2, 3, 1)
    assert np.allclose(dataset.train[7], 0.07)
    assert len(fit(CONFIG, dataset=dataset, progress=False).history) == 1


def test_stored_examples_are_read_once(monkeypatch, tmp_path):
    """One pass computes finite values, range and fingerprint."""
    array = np.random.default_rng(0).random((60, 4)).astype(np.float32)
    np.save(tmp_path / "train.npy", array)
    np.save(tmp_path / "test.npy", array[:20])
    passes = []
    pieces = Shards.pieces
    monkeypatch.setattr(examples.Shards, "pieces", lambda self: passes.append(self.shape) or pieces(self))
    dataset = load_dataset(tmp_path)
    for _ in range(2):
        fit(CONFIG.replace({"loss.reconstruction": "bce"}), dataset=dataset, progress=False)
    assert sorted(passes) == [(20, 4), (60, 4)]
