import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aejax import Config, Model
from aejax.models import build
from aejax.models.autoencoder import largest

MODELS = {
    "dense": Model(),
    "shallow": Model(hidden=(), code_size=3),
    "given decoder": Model((20, 10), 5, (7,), "tanh"),
    "tied": Model((20, 10), 5, tied=True),
    "top k": Model((), 50, top_k=3),
    "overcomplete": Model((), 4000),
    "convolutional": Model((10,), 6, channels=(4, 5, 3)),
    "convolutional, no hidden": Model((), 6, channels=(4,)),
    "spatial": Model((), 49 * 64 * 5, channels=(3,), spatial_code=True),  # 49, 4, 64 or 40 positions
}

ALIKE = ("dense", "shallow", "overcomplete", "convolutional", "convolutional, no hidden")


@pytest.mark.parametrize(
    "shape",
    [(31, 17, 3), *(pytest.param(shape, marks=pytest.mark.long) for shape in [(28, 28, 1), (8, 8, 1), (32, 32, 3)])],
)
@pytest.mark.parametrize(
    "model",
    [  # by default, of two that are alike the one with more to it
        pytest.param(model, id=name, marks=[pytest.mark.long] * (name in ALIKE)) for name, model in MODELS.items()
    ],
)
def test_output_shape_is_input_shape_and_the_halves_work_apart(shape, model):
    # One program, compiled quickly: shapes do not depend on optimizations.
    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def parts(key, images):
        autoencoder = build(Config(model=model), shape, nnx.Rngs(key))
        output = autoencoder(images)
        halves = autoencoder.encoder(images), autoencoder.decoder(output.codes)
        return output, autoencoder.encode(images), autoencoder.decode(output.codes), *halves

    images = jnp.ones((2, *shape)) / 2
    output, codes, logits, encoder_alone, decoder_alone = parts(jax.random.key(0), images)
    assert output.logits.shape == images.shape and output.codes.shape == (2, model.code_size)
    assert output.metrics == {} and output.posterior is None
    assert np.array_equal(codes, output.codes)
    assert np.array_equal(logits, output.logits)
    if model.top_k is None:
        assert np.array_equal(encoder_alone, output.codes)
    assert np.array_equal(decoder_alone, output.logits)


def built(model, shape):
    return nnx.jit(lambda: build(Config(model=model), shape, nnx.Rngs(0)))()


def kernels(module):
    return [np.asarray(layer.kernel[...]) for layer in module.layers.layers if isinstance(layer, nnx.Linear)]


def test_the_decoder_mirrors_the_encoder_unless_its_layers_are_given():
    mirrored, given = (built(model, (4, 4, 1)) for model in (Model((20, 10), 5), Model((20, 10), 5, (7,))))
    assert [kernel.shape for kernel in kernels(mirrored.encoder)] == [(16, 20), (20, 10), (10, 5)]
    assert [kernel.shape for kernel in kernels(mirrored.decoder)] == [(5, 10), (10, 20), (20, 16)]
    assert [kernel.shape for kernel in kernels(given.decoder)] == [(5, 7), (7, 16)]


def test_glorot_uniform_weights_and_zero_biases():
    autoencoder = built(Model(), (28, 28, 1))
    for kernel in kernels(autoencoder.encoder) + kernels(autoencoder.decoder):
        limit = math.sqrt(6 / sum(kernel.shape))
        assert 0.95 * limit < np.abs(kernel).max() <= limit
        assert np.isclose(kernel.std(), limit / math.sqrt(3), rtol=0.05)
    biases = [leaf for leaf in jax.tree.leaves(nnx.state(autoencoder, nnx.Param)) if leaf.ndim == 1]
    assert len(biases) == 4 and not any(np.any(bias) for bias in map(np.asarray, biases))


def test_codes_pass_the_activation():
    images = np.random.default_rng(0).random((50, 8, 8, 1), np.float32)

    def codes(activation):
        config = Config(model=Model(activation=activation))
        return np.asarray(jax.jit(lambda: build(config, (8, 8, 1), nnx.Rngs(0)).encoder(images))())

    assert codes("relu").min() == 0 and codes("relu").max() > 0
    assert codes("identity").min() < 0


def test_tied_weights_are_one_parameter_used_both_ways():
    autoencoder = built(Model((20, 10), 5, tied=True, activation="tanh"), (4, 4, 1))
    shapes = sorted(leaf.shape for leaf in jax.tree.leaves(nnx.state(autoencoder, nnx.Param)))
    assert shapes == [(5,), (10,), (10,), (10, 5), (16,), (16, 20), (20,), (20,), (20, 10)]
    codes = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    first, second, third = kernels(autoencoder.encoder)
    expected = np.tanh(np.tanh(codes @ third.T) @ second.T) @ first.T  # fresh biases are 0
    decoded = nnx.jit(lambda model: model.decode(codes))(autoencoder)
    assert np.allclose(decoded.reshape(3, -1), expected, atol=1e-6)


largest_units = jax.jit(largest, static_argnums=1)


def test_the_largest_units_stay_as_they_are():
    codes = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    kept = np.asarray(largest_units(codes, 7))
    assert ((kept != 0).sum(axis=1) == 7).all()
    assert np.array_equal(kept[kept != 0], codes[kept != 0])
    smallest_kept = np.where(kept == 0, np.inf, np.abs(kept)).min(axis=1)
    assert (np.where(kept == 0, np.abs(codes), 0).max(axis=1) < smallest_kept).all()
    assert np.array_equal(largest_units(codes, 30), codes)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_top_k_keeps_no_more_than_k_where_values_tie(dtype):
    codes = jnp.asarray([[1, -2, 2, 1, 2, 0], [1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]], dtype)
    assert largest_units(codes, 2).tolist() == [[0, -2, 2, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0] * 6]
    many = np.random.default_rng(0).normal(size=(1000, 64)).astype(jnp.dtype(dtype))  # bfloat16 has few: many tie
    kept, many = (np.float32(each) for each in (largest_units(many, 8), many))
    assert ((kept != 0).sum(axis=1) == 8).all()
    others = np.where(kept == 0, np.abs(many), 0).max(axis=1)
    assert (others <= np.where(kept == 0, np.inf, np.abs(kept)).min(axis=1)).all()
