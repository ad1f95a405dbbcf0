import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from aejax import Config, Dataset, fit, load_config, load_dataset
from aejax.evaluation.figures import code_histogram
from article import article
from gallery import figures
from readable import words

pytestmark = pytest.mark.figures

CONFIGS = Path(__file__).parents[2] / "configs" / "mnist"
MODELS = ("deep", "shallow", "denoising", "standard", "sparse")
KEYS = {"train_total", "test_total", "test_reconstruction", "code_mean", "code_variance", "seconds"}


@pytest.mark.long
def test_two_seeds_of_the_five_models_and_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(article, "_MNIST_TRAINING_IMAGES", 1)  # one pass over a few images, so that it takes seconds
    images = np.random.default_rng(0).random((200, 4, 4)).astype(np.float32)
    configs = {model: load_config(CONFIGS / f"{model}.py") for model in MODELS}
    results = article.reproduce(configs, Dataset.from_arrays(images), tmp_path, seeds=2)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert tuple(results["models"]) == MODELS
    for model, epochs in zip(MODELS, (3, 5, 10, 20, 20), strict=True):
        figures = results["models"][model]
        assert set(figures) > KEYS and set(figures["runs"]) > KEYS
        assert len(figures["train_total"]) == epochs
        assert len(figures["runs"]["train_total"]) == 2 and len(figures["runs"]["train_total"][0]) == epochs
        assert figures["test_total"] == pytest.approx(sum(figures["runs"]["test_total"]) / 2)
    report = (tmp_path / "report.md").read_text()
    for *_, value in article.PRINTED:
        assert f"| {value:.4g} |" in report
    for name in ("deep", "shallow", "denoising", "codes", "weights", "losses"):
        assert (tmp_path / "figures" / f"{name}.png").exists() and f"figures/{name}.png" in report
    capsys.readouterr()
    again = article.reproduce(configs, Dataset.from_arrays(images), tmp_path, seeds=2)
    assert capsys.readouterr().out.count("nothing to train") == 10 and again["models"] == results["models"]


def test_captions_have_the_number_of_seeds(monkeypatch):
    codes = partial(code_histogram, {"code": np.ones((4, 2), np.float32)}, "test images; seed 0")
    assert "test images; seed 0 of 5" in words(article._of_seeds(codes, 5))
    monkeypatch.setitem(figures.ROWS, "masked", lambda run: {"original": np.zeros((3, 4, 4, 1), np.float32)})
    assert "seed 0 of 3" in words(figures.figure("masked", SimpleNamespace(config=Config()), 3))


@pytest.mark.long
def test_one_seed_of_the_deep_model_on_mnist_is_the_article_s(mnist_files, tmp_path):
    config = load_config(CONFIGS / "deep.py")
    run = fit(config, dataset=load_dataset("mnist", mnist_files), progress=False)
    assert run.history[-1]["train"]["total"] <= 0.0960
