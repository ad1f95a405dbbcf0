"""Memoised programs: what compiles nothing, what compiles anew, and what the memory of programs must not hold."""

import gc
import weakref
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV

from aejax import Config, Dataset, fit
from aejax.sklearn import AutoencoderTransformer
from aejax.training import programs
from aejax.training.devices import WAYS, Driver, Way, initializer
from aejax.training.epoch import build_programs
from aejax.training.programs import Program
from aejax.training.sharding import abstract_state
from aejax.training.step import build_steps, values_of
from runs import same

COMPILED = []


@pytest.fixture(scope="module", autouse=True)
def listener():
    """Note every program that XLA compiles or takes from the compilation cache."""
    event = "/jax/core/compile/backend_compile_duration"
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: COMPILED.append(name == event))


@pytest.fixture(autouse=True)
def empty(no_programs):
    COMPILED.clear()


def compiled():
    count = sum(COMPILED)
    COMPILED.clear()
    return count


@pytest.fixture
def examples():
    """84 training and 23 test images of 6x5."""
    images = np.random.default_rng(0).integers(0, 256, (107, 6, 5, 1), dtype=np.uint8)
    return Dataset("examples", images[:84], images[84:])


def test_a_grid_search_of_eight_fits_compiles_once():
    rows = np.random.default_rng(0).random((70, 12)).astype(np.float32)
    split = [(np.arange(50), np.arange(50, 70))]

    def search(**axes):
        model = AutoencoderTransformer(3, hidden=(5,), epochs=2, batch_size=10)
        return GridSearchCV(model, axes, cv=split, refit=False, error_score="raise").fit(rows)

    search(l1=[0.1])
    assert compiled() > 3
    found = search(l1=[0.0, 1e-2], learning_rate=[1e-3, 1e-2], random_state=[1, 2])
    assert len(set(found.cv_results_["mean_test_score"])) == 8 and compiled() == 0


def test_other_values_compile_nothing_and_change_the_result(small, examples):
    config = small[0].replace({"corruption.kind": "gaussian", "coefficients.noise": 0.3, "data.binarize": True})
    runs = [fit(config, dataset=examples, progress=False)]
    runs[0].reconstruct(examples.test)
    assert compiled() > 3
    for change in (
        {"training.seed": 1},
        {"data.order_seed": 7},
        {"coefficients.noise": 0.1},
        {"training.evaluate_test": False},
    ):
        runs.append(fit(config.replace(change), dataset=examples, progress=False))
        runs[-1].reconstruct(examples.test)
        assert compiled() == 0, change
    assert all(not same(runs[0], run) for run in runs[1:-1]) and same(runs[0], runs[-1])


@pytest.mark.long
def test_a_memoised_program_gives_what_a_fresh_one_gives(small, examples):
    config = small[0].replace({"training.epochs": 1})
    fit(config.replace({"training.seed": 1, "coefficients.l1": 0.5}), dataset=examples, progress=False)
    after = fit(config, dataset=examples, progress=False)
    programs.kept.cache_clear()
    assert same(after, fit(config, dataset=examples, progress=False))


OWN = """
import aejax
import jax.numpy as jnp
from flax import nnx


class Scaled(aejax.Autoencoder):
    coefficients = {"scale": 1.0, "bias": 0.0}

    def __init__(self, config, image_shape, rngs):
        super().__init__(config, image_shape, rngs)
        BAKED
        self.bias = nnx.Param(jnp.full((), config.coefficients["bias"], jnp.float32))

    def decode(self, codes):
        return super().decode(codes) + self.bias[...]

    def __call__(self, images, context=aejax.Context()):
        codes = self.encode(images)
        return aejax.Output(self.decode(codes), codes)

    def loss(self, clean, output, coefficients, context):
        reconstruction = super().loss(clean, output, {"l1": 0.0}, context)["reconstruction"]
        used = 0 * (coefficients["scale"] + coefficients["bias"])  # coefficients without a use are refused
        return {"reconstruction": reconstruction * USED + used}
"""
BAKED = OWN.replace("BAKED", 'self.scale = config.coefficients["scale"]').replace("USED", "self.scale")
TRACED = OWN.replace("BAKED", "pass").replace("USED", 'self.config.coefficients["scale"]')


@pytest.mark.long
@pytest.mark.parametrize(("source", "count"), [(BAKED, True), (TRACED, False)], ids=["baked", "traced"])
def test_a_number_that_a_class_stores_is_not_reused(small, examples, tmp_path, source, count):
    (tmp_path / "own.py").write_text(source)
    kind = {"model.kind": f"{tmp_path / 'own.py'}:Scaled", "training.optimizer": "sgd", "training.epochs": 1}
    config = small[0].replace({"coefficients": {"learning_rate": 0.1}} | kind)

    def total(changes):
        return fit(config.replace(changes), dataset=examples, progress=False).summary["test"]["total"]

    first = total({})
    assert compiled() > 3
    assert total({"coefficients.scale": 2.0}) > 1.5 * first
    assert compiled() == (3 if count else 1)  # the initial state of a class of the user is compiled for each value
    assert total({"coefficients.bias": 4.0}) > 1.5 * first
    assert compiled() == 1


@pytest.mark.long
def test_a_changed_file_is_another_program(small, examples, tmp_path):
    config = small[0].replace({"coefficients": {}, "model.kind": f"{tmp_path / 'own.py'}:Scaled", "training.epochs": 1})
    totals = []
    for factor in ("1.0", "3.0"):
        (tmp_path / "own.py").write_text(OWN.replace("BAKED", "pass").replace("USED", factor))
        totals.append(fit(config, dataset=examples, progress=False).summary["test"]["total"])
    assert totals[1] > 2 * totals[0]


@pytest.mark.long
def test_settings_of_jax_are_part_of_the_key(small, examples):
    config = small[0].replace({"training.epochs": 1})
    fit(config, dataset=examples, progress=False)
    compiled()
    with jax.default_matmul_precision("highest"):
        fit(config, dataset=examples, progress=False)
    assert compiled() > 2


@pytest.mark.long
def test_programs_outlive_examples(small):
    images = np.random.default_rng(0).random((117, 6, 5, 1)).astype(np.float32)
    known = weakref.ref(images)
    run = fit(small[0], dataset=Dataset("images", images[:94], images[94:]), progress=False)
    run.reconstruct(images)
    del run, images
    gc.collect()
    assert programs.kept.cache_info().currsize > 5
    assert known() is None
    assert not [array.shape for array in jax.live_arrays() if array.shape[:1] in ((94,), (23,))]


def test_programs_are_compiled_one_by_one_and_without_images(small, monkeypatch):
    config, dataset = small
    driver = Driver(config.devices, 16, jax.devices())
    monkeypatch.setattr(Driver, "replicate", lambda *_: pytest.fail("an array was put on a device"))
    steps = build_steps(config, dataset.image_shape, 5)
    values = values_of([config], alone=True)
    found = build_programs(steps, config, driver, jax.eval_shape(steps.init), dataset, values).compiled(5)
    assert compiled() == 0
    for name in ("train 5 steps", "evaluate 1 batches"):
        assert next(found)[0] == name and compiled() == 1
    assert next(found, None) is None


def test_another_driver_is_one_entry_of_a_table(small, monkeypatch):
    config, dataset = small
    calls = []

    def counted(driver, program, arguments, spread, donated):
        def call(*given):
            calls.append(1)
            return jax.jit(program)(*given)  # operations one by one would be compiled one by one

        return Program(call, 0.0, {}, str)

    monkeypatch.setitem(WAYS, "counted", Way(counted, by_device=False))
    steps = build_steps(config, dataset.image_shape, 5)
    alone, values = Driver(config.devices, 16), values_of([config], alone=True)
    described = abstract_state(alone, steps, config, dataset.image_shape, values)
    state = initializer(alone, steps, steps.own, programs.like(described))(np.uint32(0))
    results = []
    for parallel in ("counted", "jit"):
        driver = Driver(SimpleNamespace(parallel=parallel, count=1, shards=1), 16)
        found = build_programs(steps, config, driver, state, dataset, values)
        trained, terms = found.train(jax.tree.map(jax.numpy.copy, state), 5, 0)
        results.append(jax.tree.leaves((trained, terms, found.evaluate(trained))))
    assert len(calls) == 2
    assert all(map(lambda ours, theirs: np.allclose(ours, theirs, atol=1e-6), *results))


def test_equal_steps_are_equal_keys(small):
    config, dataset = small
    shape = dataset.image_shape
    steps = build_steps(config, shape, 5)
    for change in ({"training.seed": 1}, {"coefficients.l1": 0.5}, {"training.epochs": 9}, {"data.name": "mnist"}):
        assert build_steps(config.replace(change), shape, 5) == steps
    for change in ({"model.code_size": 3}, {"training.optimizer": "sgd"}, {"loss.pixels": "sum"}):
        assert build_steps(config.replace(change), shape, 5) != steps
    assert build_steps(config, shape, 6) != steps and build_steps(Config(), shape, 5) != steps


def test_the_longest_sum_is_over_every_contracted_axis():
    def products(left, right, batch):
        return left @ right, jax.numpy.einsum("bij,bjk->ik", batch, batch)

    shapes = (4, 30), (30, 8), (6, 7, 7)
    lowered = jax.jit(products).lower(*(jax.ShapeDtypeStruct(shape, "float32") for shape in shapes))
    assert programs.longest_sum(lowered.as_text()) == 6 * 7
    assert programs.longest_sum(jax.jit(lambda x: x + 1).lower(1.0).as_text()) == 0
