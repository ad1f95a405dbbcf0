"""Parameters of a user's model that no gradient reaches: named, not counted, not drawn."""

import logging

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import aejax
from aejax import fit, load
from aejax.evaluation import figures
from aejax.evaluation.fitting import untrained

OWN = """
import aejax
import jax
import jax.numpy as jnp
from flax import nnx


class Own(aejax.Autoencoder):
    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.own = nnx.Linear(30, config.model.code_size, rngs=rngs)

    def encode(self, images):
        return nnx.relu(self.own(images.reshape(len(images), -1)))


class Used(Own):
    def encode(self, images):
        return super().encode(images) + self.encoder(images)


class Nested(aejax.Autoencoder):
    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        self.turn, self.still, self.scale = (nnx.Param(jnp.eye(30)[:size]) for size in (30, 29, 28))

    def encode(self, images):
        turn, still = self.turn[...], jnp.pad(self.still[...], ((0, 1), (0, 0)))

        def body(rows, _):
            return rows @ turn + jnp.tanh(rows @ jax.lax.stop_gradient(still)), None

        rows, _ = jax.lax.scan(jax.checkpoint(body), images.reshape(len(images), -1), None, length=2)
        rows = jax.jit(lambda rows, scale: rows * jax.lax.stop_gradient(scale).sum())(rows, self.scale[...])
        return self.encoder(rows.reshape(images.shape))
"""


@pytest.fixture
def own(small, tmp_path):
    """Name of a class → a configuration of it, and the dataset."""
    config, dataset = small
    (tmp_path / "own.py").write_text(OWN)
    config = config.replace({"training.epochs": 1})
    return lambda name: config.replace({"model.kind": f"{tmp_path / 'own.py'}:{name}"}), dataset


def test_an_unused_encoder_is_named_in_one_line_and_neither_counted_nor_drawn(own, tmp_path, caplog):
    config, dataset = own[0]("Own"), own[1]
    first = aejax.fit(config.replace({"coefficients.learning_rate": 0.0}), dataset=dataset, progress=False)
    caplog.clear()
    run = fit(config, tmp_path / "run", dataset=dataset, progress=False)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "own.py:Own: no gradient reaches 424 of 998 parameters (encoder): they are not trained" in said
    # The truth: training changes every other parameter.
    before, after = flatten_dict(first.state.params), flatten_dict(run.state.params)
    same = {path for path, array in before.items() if np.array_equal(array, after[path])}
    assert same == set(run.unreached) == {path for path in before if path[0] == "encoder"}
    read = load(tmp_path / "run", models=tmp_path / "own.py")
    assert run.parameters == read.parameters == aejax.evaluate(read, dataset)["parameters"] == 998 - 424
    assert "weights" not in figures.of_run(run, dataset)
    table = str(run).splitlines()
    assert [line.split()[0] for line in table if line.endswith("no gradient, not counted")] == [
        "encoder.layers.1",
        "encoder.layers.3",
    ]
    assert table[-1].split()[1] == "574"


@pytest.mark.long
def test_what_is_used_is_counted_and_drawn_without_a_word(own, caplog):
    config, dataset = own[0]("Used"), own[1]
    run = fit(config, dataset=dataset, progress=False)
    assert not caplog.records and run.unreached == {} and run.parameters == 998
    assert "weights" in figures.of_run(run, dataset)


def test_a_gradient_is_followed_into_scans_and_jitted_functions(own):
    config, dataset = own[0]("Nested"), own[1]
    assert untrained(config, dataset).unreached == {("still",): 29 * 30, ("scale",): 28 * 30}


def test_a_layer_names_the_arrays_without_a_gradient(small, tmp_path):
    config, dataset = small
    (tmp_path / "own.py").write_text(
        "import aejax\n\n\nclass Own(aejax.Autoencoder):\n    def encode(self, images):\n"
        "        first = self.encoder.layers.layers[1]\n"
        "        return (images.reshape(len(images), -1) @ first.kernel[...])[:, :4]\n"
    )
    run = untrained(config.replace({"model.kind": f"{tmp_path}/own.py:Own"}), dataset)
    notes = [line.partition("no gradient")[2] for line in str(run).splitlines() if "no gradient" in line]
    assert notes == [", not counted: bias", ", not counted"] and run.parameters == 874 - 12 - 52


@pytest.mark.long
def test_frozen_parameters_are_counted_and_not_in_the_warning(own, caplog):
    config, dataset = own[0]("Own").replace({"training.frozen": ["decoder", "encoder.layers.1"]}), own[1]
    run = fit(config, dataset=dataset, progress=False)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "reaches 52 of 998 parameters (encoder.layers.3.kernel, encoder.layers.3.bias)" in said or (
        "reaches 52 of 998 parameters (encoder.layers.3.bias, encoder.layers.3.kernel)" in said
    )
    assert run.parameters == 998 - 52 and [line.endswith("frozen") for line in str(run).splitlines()].count(True) == 3


@pytest.mark.parametrize("changes", [{}, {"model.channels": [3]}, {"model.kind": "variational", "loss.pixels": "sum"}])
def test_the_table_has_each_parameter_once(small, changes):
    config, dataset = small
    run = untrained(config.replace(changes), dataset)
    head, columns, *rows, total = str(run).splitlines()
    assert head.endswith("[N, 6, 5, 1] → codes [N, 4]") and columns.split()[0] == "layer"
    counts = [int(row.split()[-2].replace(",", "")) for row in rows]
    assert sum(counts) == run.parameters == int(total.split()[1].replace(",", ""))
    assert int(total.split()[2].replace(",", "")) == 4 * run.parameters
    assert rows[0].startswith("encoder") and rows[-1].startswith("decoder")


def test_train_prints_the_table_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    import train

    train.main([f"{aejax.__path__[0]}/../configs/digits.py", "--summary", "--model.hidden", "8"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Run(plain on digits, step 0): [N, 8, 8, 1] → codes [N, 32]"
    assert printed[2].split() == ["encoder.layers.1", "Linear", "bias", "8,", "kernel", "64x8", "520", "2,080"]
    assert not list(tmp_path.iterdir())
