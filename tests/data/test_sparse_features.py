"""Synthetic sparse features follow their distribution, and runs on them resume."""

import dataclasses
import functools
import itertools
import runpy
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from aejax import Config, InputError, Loss, Model, Training, evaluate, fit, load_dataset, sweep
from aejax.data import require_fit
from aejax.training import Batch
from aejax.training.batches import steps_per_epoch
from aejax.training.devices import Driver
from aejax.training.placement import Generated
from gallery import sparse_features
from gallery.sparse_features import SparseFeatures, SparseVectors, large

# No hidden variables, so that the rates are known exactly; features are often active, with strengths above 0.
ALONE = SparseFeatures(
    32, 6, 2, branching=3, depth=2, least=0.1, exponent=1, correlation=0.0, deviation=0.2, deviation_spread=0.1,
    orthogonalization_steps=5, train=2_000, test=300,
)  # fmt: skip
PARENTS = np.array([-1, -1, *np.repeat(np.arange(8), 3)])[: ALONE.in_trees]
CONFIG = Config(model=Model((), 8), loss=Loss("mse"), training=Training(epochs=2, batch_size=100, evaluate_test=True))


def strengths(law, count):
    return dataclasses.replace(law, test=count).dataset().test.activations()


@pytest.fixture(scope="module")
def many():
    return strengths(ALONE, 40_000)


def test_features_fire_as_often_as_their_law_says(many):
    raised, expected = ALONE.raised(), np.zeros(ALONE.features)
    expected[[0, 1]] = raised[[0, 1]]
    for parent in range(8):
        children = np.flatnonzero(parent == PARENTS)
        for pattern in itertools.product((False, True), repeat=3):
            if any(pattern):
                chance = np.prod(np.where(pattern, raised[children], 1 - raised[children]))
                expected[children[list(pattern)]] += expected[parent] * chance / sum(pattern)
    expected[ALONE.in_trees :] = ALONE.probabilities()[ALONE.in_trees :]
    error = np.sqrt(expected * (1 - expected) / len(many))
    assert (np.abs((many > 0).mean(axis=0) - expected) < 4.5 * error).all()
    pairs = np.corrcoef(many[:, ALONE.in_trees :] > 0, rowvar=False)
    assert np.abs(pairs - np.eye(len(pairs))).max() < 4.5 / np.sqrt(len(many))


def test_a_child_fires_only_with_its_parent_and_never_with_its_siblings(many):
    fires = many > 0
    for parent in range(8):
        children = np.flatnonzero(parent == PARENTS)
        assert not (fires[:, children].any(axis=1) & ~fires[:, parent]).any()
        assert fires[:, children].sum(axis=1).max() == 1


def test_strengths_have_their_mean_and_deviation_and_follow_the_parent(many):
    law, places = ALONE.dataset().test.arrays, ALONE.places()
    mean, deviation = (
        np.concatenate([getattr(part, name).ravel() for part in law.parts])[places] for name in ("mean", "deviation")
    )
    assert np.isclose([mean[0], mean[-1]], [5, 4]).all()
    relative = many / mean
    for feature in range(ALONE.features):
        fires = many[:, feature] > 0
        own = relative[fires, feature]
        if feature < ALONE.in_trees and PARENTS[feature] >= 0:
            own = own / relative[fires, PARENTS[feature]]
        error = deviation[feature] / mean[feature] / np.sqrt(fires.sum())
        assert abs(own.mean() - 1) < 4.5 * error
        assert abs(own.std() - deviation[feature] / mean[feature]) < 4.5 * error
        assert (deviation > 0).all()


@pytest.mark.long
def test_features_are_correlated_as_their_hidden_variables_are():
    law = dataclasses.replace(ALONE, features=12, roots=0, correlation=0.5, rank=2, least=0.2)
    (part,) = law.dataset().test.arrays.parts
    weights = np.reshape(part.weights, (12, 2))[law.places()]
    weights = weights / np.sqrt(1 + np.square(weights).sum(axis=1, keepdims=True))
    fires = strengths(law, 20_000) > 0
    assert np.abs(fires.mean(axis=0) - law.probabilities()).max() < 4.5 * np.sqrt(0.25 / 20_000)
    pairs = np.triu_indices(12, 1)
    hidden, seen = (weights @ weights.T)[pairs], np.corrcoef(fires, rowvar=False)[pairs]
    strong = np.abs(hidden) > 0.15
    assert strong.sum() > 10
    assert (np.sign(hidden) == np.sign(seen))[strong].all()
    assert np.corrcoef(hidden, seen)[0, 1] > 0.97


def test_an_example_depends_on_its_number_alone_and_is_made_of_its_features():
    dataset = ALONE.dataset()
    train, truth = dataset.train, dataset.truth
    assert train.shape == (2_000, 6) and len(train) == 2_000 and train.dtype == np.float32
    few = train[[1_999, 3, 3]]
    assert np.array_equal(few, train[:][[1_999, 3, 3]]) and np.array_equal(train[-1], few[0])
    assert np.isclose(train[:300], dataset.test[:300]).all(axis=1).mean() < 0.1  # a few have no feature that fires
    made = truth.activations() @ truth.directions + truth.bias
    assert np.allclose(made, np.asarray(dataset.test), atol=1e-5)
    assert np.isclose(np.linalg.norm(truth.bias), 0.5)
    assert np.allclose(np.linalg.norm(truth.directions, axis=1), 1, atol=1e-6)
    assert np.array_equal(truth.activations(slice(7, 9)), truth.activations()[7:9])
    assert load_dataset("digits").truth is None


def test_directions_become_more_orthogonal():
    def products(law):
        directions = law.dataset().truth.directions
        return np.square(directions @ directions.T).sum()

    law = dataclasses.replace(ALONE, dimensions=16, orthogonalization_rate=0.01, orthogonalization_steps=0)
    assert products(dataclasses.replace(law, orthogonalization_steps=50)) < 0.95 * products(law)


@pytest.fixture(scope="module")
def whole():
    return fit(CONFIG, dataset=ALONE.dataset(), progress=False)


@pytest.mark.long
@pytest.mark.bits
def test_a_run_goes_on_where_it_stopped(whole, tmp_path):
    fit(CONFIG.replace({"training.epochs": 1}), tmp_path / "run", dataset=ALONE.dataset(), progress=False, figures=())
    resumed = fit(CONFIG, tmp_path / "run", dataset=ALONE.dataset(), progress=False, figures=())
    for line, expected in zip(resumed.history, whole.history, strict=True):
        assert line["train"] == expected["train"] and line["test"] == expected["test"]


def test_the_named_datasets_need_no_folder_of_scripts_on_the_path_of_modules(monkeypatch):
    folder = Path(sparse_features.__file__).parent
    monkeypatch.setattr(sys, "path", [each for each in sys.path if Path(each).resolve() != folder.parent])
    for name in [name for name in sys.modules if name.partition(".")[0] == "gallery"]:
        monkeypatch.delitem(sys.modules, name)
    for file in ("sparse_law.py", "sparse_features.py"):
        runpy.run_path(str(folder / file))


def test_no_example_comes_twice():
    made = ALONE.dataset().train
    described = jax.ShapeDtypeStruct(made.shape, made.dtype)
    driver = Driver(CONFIG.devices, 100)
    layout = Generated(driver, Batch(described, None), (1, 6, 1), 100, 20, None, made)
    _, data = next(layout.feed(Batch(made, None), None)(19, 3))

    def step(carry, batch, _):
        return carry, (batch.examples, batch.images)

    _, (examples, images) = layout.scan(step, 0, data, layout.order(np.int32(19), 3, None))
    assert np.array_equal(np.ravel(examples), np.arange(1_900, 2_200))
    assert np.allclose(np.reshape(images, (300, 6))[:100], ALONE.dataset().train[1_900:], atol=1e-5)


@pytest.mark.long
def test_batches_that_a_gpu_makes_together_are_the_same_wherever_a_chunk_ends(monkeypatch):
    made = ALONE.dataset().train
    described = jax.ShapeDtypeStruct(made.shape, made.dtype)
    layout = Generated(Driver(CONFIG.devices, 100), Batch(described, None), (1, 6, 1), 100, 20, None, made)

    @functools.partial(jax.jit, static_argnums=(2, 3))
    def scanned(data, first, count, block):
        return layout.scan(lambda number, batch, _: (number + 1, (batch.examples, batch.images)), 0, data,
                           layout.order(first, count, None))  # fmt: skip

    def batches(*chunks):
        parts, first = [], chunks[0]
        for count in chunks[1:]:
            for length, data in layout.feed(Batch(made, None), None)(first, count):
                carry, part = jax.device_get(scanned(data, np.int32(first), length, Generated._block))
                assert carry == length
                parts, first = [*parts, part], first + length
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    alone = batches(5, 12)
    monkeypatch.setattr(Generated, "_block", 4)
    assert layout.lengths(10) == [2, 8] and [each for each, _ in layout.feed(Batch(made, None), None)(5, 12)] == [
        3,
        8,
        1,
    ]
    together = batches(5, 12)
    assert np.array_equal(together[0], alone[0]) and np.allclose(together[1], alone[1], atol=1e-5)
    for chunks in ((5, 3, 8, 1), (5, 2, 2, 7, 1)):
        assert all(np.array_equal(*each) for each in zip(batches(*chunks), together, strict=True))


@pytest.mark.long
def test_members_of_a_sweep_learn_from_the_same_examples(whole):
    config = CONFIG.replace({"training.epochs": 1})
    swept = sweep(config, {"coefficients.learning_rate": [1e-3, 1e-2]}, dataset=ALONE.dataset(), progress=False)
    first, second = swept.runs.values()
    assert first.history[0]["test"]["total"] == pytest.approx(whole.history[0]["test"]["total"], rel=1e-5)
    assert second.history[0]["test"]["total"] < first.history[0]["test"]["total"]
    assert evaluate(first)["mse"] == pytest.approx(first.history[0]["test"]["total"], rel=1e-4)


def test_a_dataset_is_known_by_its_law_and_nothing_is_made_to_know_it(monkeypatch):
    monkeypatch.setattr(SparseVectors, "arrays", property(lambda self: pytest.fail("made")))
    full, same = large(), load_dataset("sparse_features_16k")
    assert full.train.shape == (8_388_608, 768) and full.test.shape == (16_384, 768)
    assert full.fingerprint == same.fingerprint and same.name == "sparse_features_16k"
    assert full.fingerprint != dataclasses.replace(full.train.specification, seed=1).dataset().fingerprint
    config = CONFIG.replace({"training.batch_size": 1_024, "training.epochs": 24})
    require_fit(config, full)
    assert steps_per_epoch(config.training, len(full.train)) == 8_192
    assert full.range is None and full.passes(10**9) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.passes": 2}, "training.passes is 2; it must be 1 for computed examples"),
        ({"data.standardize": True}, "data.standardize is True; it must be False for computed examples"),
        ({"data.placement": "stream"}, "data.placement is 'stream'; it must be auto or device for computed examples"),
        ({"training.epochs": 1_073_742}, "training.epochs is 1073742; it must be at most 1073741"),
        ({"training.batch_size": 2_001}, "training.batch_size is 2001"),
        ({"loss.reconstruction": "bce"}, r"lie in .* needs \[0, 1\]"),
    ],
)
def test_what_generated_examples_have_not_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        require_fit(CONFIG.replace(changes), ALONE.dataset())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roots": 3}, "roots is 3; .* at most 2, "),
        ({"least": 0.5}, "most is 0.4"),
        ({"rank": 0}, "rank is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"correlation": float("nan")}, "correlation is nan"),
    ],
)
def test_a_specification_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(ALONE, **changes)
