import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import Schedule
from aejax.training.batches import Batch, unit_interval
from aejax.training.optimizer import divided_on_tpu
from aejax.training.step import build_steps, factor
from runs import compiled_steps, traced


def batch_of(dataset, size=16):
    return Batch(jnp.asarray(dataset.train[:size]), jnp.arange(size))


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def test_the_first_step_of_adam_is_the_learning_rate_against_the_sign_of_the_gradient(small):
    config, dataset = small
    steps = compiled_steps(config, dataset.image_shape)
    state = steps.init()
    after, terms = steps.alone(state, batch_of(dataset), traced(config))

    def total(params):
        terms, *_ = steps.evaluate(state._replace(params=params), batch_of(dataset), traced(config))
        return terms["total"].mean()

    gradient = flat(jax.grad(total)(state.params))
    moved = flat(after.params) - flat(state.params)
    clear = np.abs(gradient) > 1e-5
    assert clear.mean() > 0.8
    assert np.allclose(moved[clear], -1e-2 * np.sign(gradient[clear]), rtol=1e-2)
    assert after.step == 1 and np.isclose(terms["total"], total(state.params), rtol=1e-6)


def test_an_update_of_adam_on_a_tpu_differs_by_rounding_only():
    mean, square = np.float32(0.7), np.float32(np.append(np.geomspace(1e-14, 1e2, 4001), 0))
    for epsilon in np.float32([3e-10, 1e-8]):  # at the first step, and much later
        updates = jax.jit(divided_on_tpu)(mean, square, epsilon)
        assert np.allclose(updates, np.float64(mean) / (np.sqrt(np.float64(square)) + epsilon), rtol=1e-5, atol=0)


def test_a_penalty_enters_the_total_and_its_gradient(small):
    config, dataset = small
    steps = compiled_steps(config, dataset.image_shape)
    weighted = traced(config) | {"l1": jnp.float32(0.7)}
    _, terms = steps.alone(steps.init(), batch_of(dataset), weighted)
    *_, codes = steps.evaluate(steps.init(), batch_of(dataset), weighted)
    assert np.isclose(terms["l1"], 0.7 * np.abs(codes).sum(axis=1).mean(), rtol=1e-5)
    assert np.isclose(terms["total"], terms["reconstruction"] + terms["l1"], rtol=1e-6)
    state = steps.init()
    for _ in range(40):
        state, _ = steps.alone(state, batch_of(dataset), weighted)
    *_, shrunk = steps.evaluate(state, batch_of(dataset), weighted)
    assert jnp.abs(shrunk).sum() < 0.2 * jnp.abs(codes).sum()


def test_another_value_of_a_coefficient_compiles_nothing(small):
    config, dataset = small
    steps = compiled_steps(config, dataset.image_shape)
    train = jax.jit(steps.alone)
    state = jax.jit(steps.init)()
    for rate in (1e-3, 1e-2, 0.5):
        state, _ = train(state, batch_of(dataset), traced(config) | {"learning_rate": jnp.float32(rate)})
    assert train._cache_size() == 1


def test_noise_is_fresh_at_every_step_and_fixed_in_evaluation(small):
    config, dataset = small
    config = config.replace({"corruption.kind": "gaussian", "coefficients.noise": 0.5})
    steps = compiled_steps(config, dataset.image_shape)
    state, frozen = steps.init(), traced(config) | {"learning_rate": jnp.float32(0)}
    state, first = steps.alone(state, batch_of(dataset), frozen)
    _, second = steps.alone(state, batch_of(dataset), frozen)
    assert first["total"] != second["total"]
    once, *_ = steps.evaluate(state, batch_of(dataset), frozen)
    again, *_ = steps.evaluate(state, batch_of(dataset), frozen)
    assert np.array_equal(once["total"], again["total"])
    clean, *_ = steps.evaluate(state, batch_of(dataset), frozen | {"noise": jnp.float32(0)})
    assert not np.array_equal(once["total"], clean["total"])


def test_clipping_bounds_the_gradient_that_adam_sees(small):
    config, dataset = small
    config = config.replace({"training.clip_norm": 1e-3})
    steps = compiled_steps(config, dataset.image_shape)
    after, _ = steps.alone(steps.init(), batch_of(dataset), traced(config))
    first_moment = flat(after.opt_state[1].mu) / (1 - 0.9)
    assert np.isclose(np.linalg.norm(first_moment), 1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("schedule", "at", "expected"),
    [
        (Schedule(), 399, 1.0),
        (Schedule(warmup_epochs=2), 0, 0.0),
        (Schedule(warmup_epochs=2), 50, 0.25),
        (Schedule(warmup_epochs=2), 300, 1.0),
        (Schedule("cosine"), 0, 1.0),
        (Schedule("cosine"), 200, 0.5),
        (Schedule("cosine"), 400, 0.0),
        (Schedule("cosine", warmup_epochs=1), 50, 0.5),
        (Schedule("cosine", warmup_epochs=1), 250, 0.5),
        (Schedule("plateau", warmup_epochs=2), 50, 0.25),
        (Schedule("plateau", warmup_epochs=2), 300, 1.0),
        (Schedule("cyclical", cycles=2), 0, 0.0),
        (Schedule("cyclical", cycles=2), 50, 0.5),
        (Schedule("cyclical", cycles=2), 150, 1.0),
        (Schedule("cyclical", cycles=2), 250, 0.5),
    ],
)
def test_schedules(schedule, at, expected):
    assert np.isclose(factor(schedule, 100, 400)(jnp.int32(at)), expected, atol=1e-6)


def test_uint8_pixels_become_unit_interval_and_floats_stay():
    assert np.allclose(unit_interval(jnp.array([0, 51, 255], jnp.uint8)), [0, 0.2, 1])
    assert np.array_equal(unit_interval(jnp.array([-1.0, 7.0])), [-1, 7])


def test_weights_follow_from_the_seed(small):
    config, dataset = small
    first, again = (compiled_steps(config, dataset.image_shape).init() for _ in range(2))
    other = compiled_steps(config.replace({"training.seed": 1}), dataset.image_shape).init()
    assert np.array_equal(flat(first.params), flat(again.params))
    assert not np.array_equal(flat(first.params), flat(other.params))


def test_precision_reaches_the_products_of_training_and_their_gradients(small):
    config, dataset = small
    for precision, wanted in (("default", None), ("highest", "HIGHEST")):
        steps = build_steps(config.replace({"model.precision": precision}), dataset.image_shape)
        program = str(jax.make_jaxpr(steps.alone)(steps.init(), batch_of(dataset), traced(config)))
        products = program.count("dot_general[")
        assert products >= 5 and program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == (
            products if wanted else 0
        )
