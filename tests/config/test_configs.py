"""The configurations that come with the project."""

from pathlib import Path

import pytest

from aejax import load_config

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.py")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_each_is_short_and_opens_with_its_command(path):
    text = path.read_text()
    assert f"experiments/train.py configs/{path.relative_to(CONFIGS)}" in text.split('"""')[1]
    assert len(text.splitlines()) < 40
    load_config(path)


def test_the_article_s_models():
    names = ("deep", "shallow", "denoising", "standard", "sparse")
    config = {name: load_config(CONFIGS / "mnist" / f"{name}.py") for name in names}
    assert {name: (c.model.hidden, c.model.code_size, c.training.epochs) for name, c in config.items()} == {
        "deep": ((128,), 32, 3),
        "shallow": ((), 32, 5),
        "denoising": ((128,), 32, 10),
        "standard": ((), 32, 20),
        "sparse": ((), 32, 20),
    }
    assert all(c.training.batch_size == 32 and c.loss.reconstruction == "bce" for c in config.values())
    assert config["denoising"].coefficients["noise"] == 0.4
    assert config["sparse"].coefficients["l1"] == 3.2e-4


def test_fashion_differs_from_mnist_in_one_field():
    for path in (CONFIGS / "fashion_mnist").glob("*.py"):
        mnist = load_config(CONFIGS / "mnist" / path.name)
        assert load_config(path).computed == mnist.computed
