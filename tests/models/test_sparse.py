"""Sparse autoencoders of vectors: state, counts of active units, and learning of dead units."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

import aejax
from aejax import Config, Dataset, InputError, Loss, Model, Training, fit, sweep
from aejax.config.grid import grid
from aejax.models import Context, SparseAutoencoder, build
from aejax.models.largest import _bisected, _interpolated, nth_largest
from aejax.models.sparse import largest_of_batch, take_in
from runs import same, traced

RANDOM = np.random.default_rng(0)


class Kept(SparseAutoencoder):
    coefficients = SparseAutoencoder.coefficients | {"k": 2.0}

    def activate(self, units, context):
        return largest_of_batch(jax.nn.relu(units), context.coefficients["k"], context)[0]


def sparse(kind="aejax:SparseAutoencoder", coefficients=(), **training):
    model = Model(kind=kind, hidden=(), code_size=16)
    usual = {"epochs": 2, "batch_size": 20} | training
    loss = Loss(reconstruction="mse", pixels="sum")
    return Config(model=model, loss=loss, coefficients=dict(coefficients), training=Training(**usual))


def made(config):
    return nnx.jit(lambda: build(config, (1, 6, 1), nnx.Rngs(0)))()


@pytest.fixture(scope="module")
def vectors():
    active = RANDOM.random((200, 12)) < 0.15
    return Dataset.from_arrays((active * RANDOM.uniform(1, 3, (200, 12))) @ RANDOM.normal(size=(12, 6)))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 60), st.sampled_from([None, 1]), st.integers(0, 2**32 - 1))
def test_the_nth_largest_is_that_of_sorting(count, axis, seed):
    values = np.maximum(np.random.default_rng(seed).normal(size=(6, 12)), 0).astype(np.float32)
    values[0] *= 1e30
    values[1] *= 1e-30
    ordered = np.sort(values.reshape(-1) if axis is None else values, axis=axis or 0)
    count = min(count, len(values.reshape(-1)) if axis is None else values.shape[axis])
    expected = ordered[-count] if axis is None else np.take(ordered, [-count], axis=axis)
    assert (np.asarray(jax.jit(nth_largest, static_argnums=2)(values, np.float32(count), axis)) == expected).all()


@pytest.mark.parametrize(
    ("axis", "at_once"),
    [(None, 2), (1, 3)]
    + [
        pytest.param(*each, marks=pytest.mark.long)
        for each in ((None, 1), (None, 3), (None, 5), (1, 1), (1, 2), (1, 5))
    ],
)
def test_it_is_the_same_however_many_bits_a_pass_finds(axis, at_once):
    """Use the branches for an accelerator, which a CPU does not take."""
    values = np.maximum(RANDOM.normal(size=(6, 12)), 0).astype(np.float32)
    bits = values.view(np.int32)
    bisected = functools.partial(_bisected, axis=axis, devices=None, at_once=at_once, few=1, unroll=True)
    found = jax.jit(bisected)(bits, np.float32(4))
    assert np.array_equal(found, jax.jit(nth_largest, static_argnums=2)(values, np.float32(4), axis))


def guesses():
    return st.one_of(st.floats(-1, 4, width=32), st.sampled_from([0.0, 1e-38, 1e38, float("inf"), float("nan")]))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 80), st.sampled_from(["zero", "equal", "far"]), guesses(), st.integers(0, 2**32 - 1))
def test_interpolation_finds_the_nth_largest_wherever_it_begins(count, kind, guess, seed):
    values = np.maximum(np.random.default_rng(seed).normal(size=(6, 12)), 0).astype(np.float32)
    scales = {"zero": np.float32(0), "equal": 1, "far": np.float32(10.0 ** np.arange(-30, 30, 10.0))[:, None]}
    values = (np.round(values) if kind == "equal" else values) * scales[kind]
    for axis, most in ((None, 72), (1, 12)):
        ordered = np.sort(values.reshape(-1) if axis is None else values, axis=axis or 0)
        expected = ordered[..., [-min(count, most)]].reshape((6, 1) if axis else ()) * (count <= most)
        found = INTERPOLATED[axis](values.view(np.int32), np.float32(count - 0.5), np.float32(guess))
        assert np.array_equal(found, expected)
        if axis is None:  # two devices share the values
            halves = values.reshape(2, 3, 12).view(np.int32)
            found = INTERPOLATED["shared"](halves, np.float32((count - 0.5) / 2), np.float32(guess))
            assert np.array_equal(found, [expected, expected])


def interpolated(axis, devices=None):
    return lambda bits, count, guess: _interpolated(bits, count, guess=guess, axis=axis, devices=devices)


INTERPOLATED = {axis: jax.jit(interpolated(axis)) for axis in (None, 1)}
INTERPOLATED["shared"] = jax.jit(jax.vmap(interpolated(None, "d"), (0, None, None), axis_name="d"))


def test_a_moving_average_follows_few_values_and_then_decays():
    def take(carry, value):
        average, count = map(nnx.Variable, carry)
        take_in(average, count, value, 0.99)
        return (average[...], count[...]), average[...]

    _, seen = jax.lax.scan(take, (jnp.float32(7.0), jnp.float32(0.0)), jnp.arange(2000, dtype=jnp.float32))
    assert seen[0] == 0  # the initial value has no weight
    assert 40 < seen[49] < 49
    assert np.isclose(seen[-1], 1999 - 0.99 / 0.01, atol=1e-1)  # the lag of any exponential average


def test_encoding_has_the_numbers_of_the_configuration(vectors, tmp_path):
    (tmp_path / "own.py").write_text(
        "import aejax\nclass Own(aejax.SparseAutoencoder):\n    coefficients = {'auxiliary': 1.0, 'scale': 1.0}\n"
        "    def activate(self, units, context):\n        return units * context.coefficients['scale']\n"
    )
    run = fit(sparse(f"{tmp_path / 'own.py'}:Own", {"scale": 3.0}), dataset=vectors, progress=False)
    model = run.autoencoder
    units = nnx.jit(lambda model, images: model.units(images))(model, vectors.test.reshape(-1, *vectors.image_shape))
    assert np.allclose(run.encode(vectors.test), 3 * units, atol=1e-4)


def test_a_number_is_a_value_of_the_program():
    model = made(sparse(f"{__name__}:Kept", {"k": 2.0}))
    images = RANDOM.normal(size=(8, 1, 6, 1)).astype(np.float32)
    compiled = jax.jit(lambda k: model(images, Context(coefficients={"k": k})).codes).lower(np.float32(1)).compile()
    assert [np.count_nonzero(compiled(np.float32(k))) for k in (1, 2, 3)] == [8, 16, 24]
    assert np.count_nonzero(nnx.jit(lambda model: model.encode(images))(model)) == 16


@pytest.mark.long
def test_a_sweep_over_a_number_is_one_program_whose_members_are_as_trained_alone(vectors):
    config = sparse(f"{__name__}:Kept", {"k": 2.0}).replace({"data.validation": 0})
    done = sweep(config, {"coefficients.k": [1, 3]}, dataset=vectors, progress=False)
    assert len(grid(config, {"coefficients.k": [1, 3]}).programs) == 1
    for k, member in zip((1, 3), done.runs.values(), strict=True):
        alone = fit(config.replace({"coefficients.k": k, "data.order_seed": 0}), dataset=vectors, progress=False)
        assert np.allclose(member.summary["test"]["total"], alone.summary["test"]["total"], rtol=1e-5)
        assert alone.summary["test"]["l0"] == pytest.approx(k, abs=0.5)


def test_a_coefficient_that_is_not_declared_is_refused(vectors):
    with pytest.raises(InputError, match=r"coefficients.m is 2.0, and .*; declared are: learning_rate, auxiliary, k"):
        fit(sparse(f"{__name__}:Kept", {"k": 1, "m": 2}), dataset=vectors, progress=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "2", True, None])
def test_a_number_is_finite(value):
    with pytest.raises(InputError, match=r"coefficients\.k"):
        sparse(f"{__name__}:Kept", {"k": value})


def test_a_model_of_the_library_has_no_other_coefficients():
    with pytest.raises(InputError, match=r"coefficients.k is 1.0, and model.kind plain.* declares no k"):
        Config(coefficients={"k": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"model.hidden": [4]},
        {"model.options.dead_after": "long"},
        {"model.top_k": 2},
        {"loss.reconstruction": "bce"},
        {"corruption.kind": "masking"},
    ],
)
def test_what_it_would_ignore_is_refused(vectors, changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        fit(sparse().replace(changes), dataset=vectors, progress=False)


def test_directions_have_length_1_and_the_state_has_their_lengths(vectors):
    run = fit(sparse(), dataset=vectors, progress=False)
    lengths = np.linalg.norm(run.autoencoder.directions(), axis=1)
    assert np.allclose(lengths, 1, atol=1e-6)
    before = np.linalg.norm(run.state.params["decoder"], axis=1)
    assert np.allclose(run.state.extra["norms"], before, atol=2e-3)  # the norms before the last step
    assert np.allclose(run.decode(run.encode(vectors.test)), run.reconstruct(vectors.test), atol=1e-5)


def test_the_bias_is_what_a_gradient_through_both_its_places_makes_it():
    """The gradient is computed separately, and equals the gradient of the plain formula."""
    model = made(sparse())
    images = jnp.asarray(RANDOM.normal(size=(8, 1, 6, 1)), jnp.float32)
    graph, params, rest = nnx.split(model, nnx.Param, ...)

    def plain(params):
        model = nnx.merge(graph, params, rest)
        units = (images.reshape(8, 6) - model.bias[...]) @ model.encoder[...].T + model.encoder_bias[...]
        return jnp.square(model.decode(jax.nn.relu(units * model.lengths())) - images).sum()

    def ours(params):
        return jnp.square(nnx.merge(graph, params, rest)(images).logits - images).sum()

    for expected, found in zip(*(jax.tree.leaves(jax.jit(jax.grad(f))(params)) for f in (plain, ours)), strict=True):
        assert np.allclose(expected, found, rtol=1e-4, atol=1e-5)


def test_a_unit_that_is_idle_for_long_is_dead_and_learns_what_the_others_leave(vectors):
    config = sparse(epochs=1).replace({"model.options.dead_after": 3})
    model = made(config)
    model.encoder_bias[...] = jnp.where(jnp.arange(16) < 2, -1e3, 0.0)
    images = jnp.asarray(vectors.train[:20].reshape(20, 1, 6, 1))
    forward = nnx.jit(lambda model: model(images, Context(training=True)))
    for step in range(5):
        output = forward(model)
        assert output.metrics["dead"] == (2 if step >= 2 else 0)
    assert (np.asarray(model.idle[...]) == np.where(np.asarray((output.codes != 0).any(axis=0)), 0, 5)).all()

    def auxiliary(model):
        return model.loss(images, output, traced(config), Context(training=True))["auxiliary"].sum()

    gradient = nnx.jit(nnx.grad(auxiliary))(model)
    moved = np.abs(np.asarray(gradient["decoder"][...])).sum(axis=1) > 0
    assert moved[:2].all() and not moved[2:].any()


@pytest.mark.bits
@pytest.mark.long  # with the programs that users get: without fusion emitters two lengths of chunks round differently
def test_it_is_stopped_and_resumed_bit_for_bit(vectors, tmp_path, stop_after):
    config = sparse(f"{__name__}:Kept", {"k": 2.0})
    whole = fit(config, dataset=vectors, progress=False)
    with stop_after(3), pytest.raises(aejax.Interrupted):
        fit(config, tmp_path, dataset=vectors, progress=False)
    assert same(whole, fit(config, tmp_path, dataset=vectors, progress=False))
