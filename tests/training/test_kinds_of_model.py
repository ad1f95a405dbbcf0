"""Thirteen kinds of model, each in one file of its author's: five of the gallery, and eight in tests/own."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest

import aejax
from aejax import Dataset, Interrupted, fit, load, sweep
from runs import leaves, same

ROOT = Path(__file__).parents[2]
OWN, GALLERY = ROOT / "tests" / "own", ROOT / "experiments" / "gallery"
RANDOM = np.random.default_rng(0)
SQUARED = {"loss.reconstruction": "mse", "loss.pixels": "sum"}
NO_ACTIVATION = {"model.code_activation": "identity"}
SIMILAR = NO_ACTIVATION | {"coefficients.jitter": 0.1}
DISCRETE = NO_ACTIVATION | {"model.options.width": 2, "loss.pixels": "sum"}

KINDS = {
    # file:class, dataset, changes of the configuration, a number to sweep with its values; the second is the default
    "adversarial": (GALLERY, "Adversarial", "images", NO_ACTIVATION, "adversarial", [1, 10]),
    "wae_mmd": (GALLERY, "WAEMMD", "images", NO_ACTIVATION, "mmd", [1, 100]),
    "masked": (GALLERY, "Masked", "images", {"model.options.patch": 1}, "share", [0.5, 0.75]),
    "gumbel_softmax": (GALLERY, "GumbelSoftmax", "images", DISCRETE, "temperature", [1, 0.5]),
    "transcoder": (GALLERY, "Transcoder", "layer", SQUARED | {"model.hidden": [], "model.code_size": 12}, "k", [3, 10]),
    "cyclical_free_bits": (OWN, None, "images", {}, "free_bits", [0.1, 0.5]),
    "resnet": (OWN, "ResNet", "images", {"model.options.width": 4}, "features", [0, 1]),
    "barlow_twins": (OWN, "BarlowTwins", "images", SIMILAR, "redundancy", [0.05, 0.005]),
    "table": (OWN, "TableVAE", "rows", SQUARED, "beta", [0.5, 1]),
    "sigma_vae": (OWN, "SigmaVAE", "images", SQUARED, "beta", [0.5, 1]),
    "hyperspherical": (OWN, "Hyperspherical", "images", {"loss.pixels": "sum"}, "beta", [0.5, 1]),
    "supervised_head": (OWN, "SupervisedHead", "images", {"model.options.classes": 2}, "classification", [0.1, 1]),
    "warm_start": (OWN, None, "images", {}, "learning_rate", [1e-3, 1e-2]),
}  # fmt: skip
QUICK = ("supervised_head",)
BITS = ("barlow_twins", "hyperspherical")  # resumed bit for bit only by the programs that users get


@pytest.fixture(scope="module")
def datasets(small):
    """Images of which most have no label, rows of a table, and the input and output of a layer."""
    images = small[1]
    labels = [(part[:, 0, 0, 0] > 0).astype(int) for part in (images.train, images.test)]
    labels[0][10:] = -1
    numbers = RANDOM.normal(size=(103, 2))
    rows = np.float32(np.hstack([numbers, np.eye(3)[np.digitize(numbers.sum(axis=1), [-1, 1])]]))
    targets = np.float32(np.maximum(rows @ RANDOM.normal(size=(5, 5)), 0))
    return {
        "images": Dataset("small", images.train, images.test, *labels),
        "rows": Dataset.from_arrays(rows[:80], rows[80:]),
        "layer": Dataset.from_arrays(rows[:80], rows[80:], train_targets=targets[:80], test_targets=targets[80:]),
    }


@pytest.fixture(scope="module")
def kinds(small, datasets, tmp_path_factory):
    """Name → its configuration, at a size for a few steps, and its dataset."""

    @functools.cache
    def kind(name):
        folder, made, dataset, changes, *_ = KINDS[name]
        file, config = folder / f"{name}.py", small[0].replace({"training.epochs": 2, "data.validation": 0})
        if made is not None:
            return config.replace(changes | {"model.kind": f"{file}:{made}"}), datasets[dataset]
        sizes = {f"{section}.{field}": getattr(getattr(config, section), field)
                 for section, field in (("model", "hidden"), ("model", "code_size"), ("training", "epochs"),
                                        ("training", "batch_size"))}  # fmt: skip
        own = aejax.load_config(file).replace(sizes | {"coefficients.learning_rate": 1e-2, "data.validation": 0})
        if own.training.start is not None:
            workdir = tmp_path_factory.mktemp("start") / "first"
            fit(config.replace({"training.epochs": 1}), workdir, dataset=datasets[dataset], progress=False)
            own = own.replace({"training.start": str(workdir)})
        return own, datasets[dataset]

    return kind


def test_each_is_one_short_file_with_its_paper():
    for name, (folder, *_) in KINDS.items():
        text = (folder / f"{name}.py").read_text()
        assert len(text.splitlines()) <= 60, name
        assert re.search(r"\b(19|20)\d\d\b", text.split('"""')[1]), name


def marks(name):
    return [pytest.mark.long] * (name not in QUICK) + [pytest.mark.bits] * (name in BITS)


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks(name)) for name in KINDS])
def test_each_is_trained_stopped_and_resumed_bit_for_bit_and_swept(kinds, tmp_path, stop_after, name, request, longest):
    config, dataset = kinds(name)
    folder, made, *_, number, values = KINDS[name]
    whole = fit(config, dataset=dataset, progress=False)
    assert whole.history[1]["train"]["total"] < whole.history[0]["train"]["total"]
    if request.config.getoption("--long") or longest:  # by default in tests/experiments/test_gallery.py
        with stop_after(3), pytest.raises(Interrupted):
            fit(config, tmp_path / "run", dataset=dataset, progress=False)
    resumed = fit(config, tmp_path / "run", dataset=dataset, progress=False)
    read = load(tmp_path / "run", models=folder / f"{name}.py" if made else ())
    assert same(whole, resumed) and same(whole, read)
    members = [*sweep(config, {f"coefficients.{number}": values}, dataset=dataset, progress=False).runs.values()]
    assert not same(*members)
    for ours, alone in zip(leaves(members[1]), leaves(whole), strict=True):
        assert np.allclose(ours, alone, atol=1e-4)
    assert np.isfinite(read.reconstruct(dataset.test)).all()
    if hasattr(read.autoencoder, "prior"):
        assert np.isfinite(read.sample(3)).all()
