"""The READMEs: tables equal the results, links have targets, and the code of README.md runs."""

import re
import runpy
import shlex
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas
import pytest
import train

import aejax

pytestmark = pytest.mark.figures

ROOT = Path(__file__).parents[2]
READMES = {
    path: (ROOT / path).read_text()
    for path in (
        "README.md",
        "aejax/README.md",
        "aejax/data/README.md",
        "experiments/README.md",
        "experiments/gallery/README.md",
        "experiments/results/README.md",
    )
}
README = READMES["README.md"]
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_a_reader_can_read_it_in_one_go():
    assert len(README.splitlines()) <= 180


def test_their_tables_are_those_of_the_results():
    script = runpy.run_path(str(ROOT / "experiments" / "readme.py"))
    assert all(script["with_tables"](text) == text for text in READMES.values())
    written = [(ROOT / path).samefile(other) for path in READMES for other in script["WITH_TABLES"]]
    assert sum(written) == len(script["WITH_TABLES"])
    for name in script["tables"]():  # each stands in one README, and is written there
        assert "".join(READMES.values()).count(f"<!-- {name} -->\n|") == 1
        assert any(f"<!-- {name} -->" in path.read_text() for path in script["WITH_TABLES"])
    assert README.count("| deep | train loss, epoch 3 | 0.0935 |") == 1 and "| deep | 256 |" in README


def test_its_code_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(CODE[0].replace("epochs=20", "epochs=2"), names)
    assert names["codes"].shape == (359, 32) and names["decoded"].shape == (359, 8, 8, 1)
    assert names["data"].test_labels.shape == (359,) and names["metrics"]["probe_code"] > 0.5
    assert names["run"].summary["epochs"] == 2


def test_its_table_is_read_and_trained_on(tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    values = random.normal(10, 3, size=(50, 4))
    values[random.random(values.shape) < 0.1] = np.nan
    table = pandas.DataFrame(values, columns=["age", "income", "rent", "children"])
    table.assign(city=random.choice(["Berlin", "Lima"], 50)).to_csv(tmp_path / "people.csv", index=False)
    command = re.search(r"experiments/train.py (configs/digits.py --dataset people.csv.*?)```", README, re.DOTALL)[1]
    arguments = shlex.split(command.replace("\\\n", " ").replace("configs", str(ROOT / "configs")))
    monkeypatch.chdir(tmp_path)
    train.main([*arguments, "--training.epochs", "1"])
    assert aejax.load("runs/people").identity.dataset.feature_names == tuple(table.columns)


@pytest.mark.long
def test_its_guide_to_models_of_your_own_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    *_, models, experiment = CODE
    assert len(models.splitlines()) <= 40
    (tmp_path / "own.py").write_text(models.replace("epochs=10", "epochs=3"))
    names = {}
    exec(experiment, names)
    contractive, without, mixture = names["runs"]
    assert contractive.summary["test"]["contraction"] > 0 == without.summary["test"]["contraction"]
    images = names["digits"].test[:4].astype(np.float32) / 255

    def moves(run):
        """The squared norm of the Jacobian, a mean over images, by finite differences of every pixel."""
        steps = np.eye(64, dtype=np.float32).reshape(64, 1, 8, 8, 1) * np.where(images > 0.5, -1e-2, 1e-2)
        moved = run.encode((images + steps).astype(np.float32).reshape(-1, 8, 8, 1)).reshape(64, 4, -1)
        return np.square((moved - run.encode(images)) / 1e-2).sum(axis=(0, 2)).mean()

    assert moves(contractive) < 0.8 * moves(without)
    terms = contractive.autoencoder.loss(images, contractive.autoencoder(images), defaultdict(float), aejax.Context())
    assert np.isclose(np.mean(terms["contraction"]), moves(contractive), rtol=0.1)
    metrics = aejax.evaluate(mixture, names["digits"], samples=50)
    assert metrics["nll"] <= -metrics["elbo"] and mixture.parameters > without.parameters
    assert capsys.readouterr().out.strip().endswith("(10, 8, 8, 1)")


@pytest.mark.parametrize("path", READMES)
def test_what_they_link_to_is_there(path):
    targets = re.findall(r"\]\((?!http)([^)]+)\)", READMES[path])
    assert targets
    for target in targets:
        file, _, anchor = target.partition("#")
        found = (ROOT / path).parent / file if file else ROOT / path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings], target
