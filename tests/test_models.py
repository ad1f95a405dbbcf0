import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aejax import Config, Model
from aejax.models import build


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (32, 32, 3), (31, 17, 3)])
@pytest.mark.parametrize("model", [Model(), Model(hidden=(), code_size=3), Model((20, 10), 5, (7,), "tanh")])
def test_output_shape_is_input_shape_and_the_halves_work_apart(shape, model):
    autoencoder = build(Config(model=model), shape, nnx.Rngs(0))
    images = jnp.ones((2, *shape)) / 2
    logits, codes = autoencoder(images)
    assert logits.shape == images.shape and codes.shape == (2, model.code_size)
    assert np.array_equal(autoencoder.encoder(images), codes)
    assert np.array_equal(autoencoder.decoder(codes), logits)


def kernels(module):
    return [layer.kernel[...] for layer in module.layers.layers if isinstance(layer, nnx.Linear)]


def test_the_decoder_mirrors_the_encoder_unless_its_layers_are_given():
    mirrored = build(Config(model=Model((20, 10), 5)), (4, 4, 1), nnx.Rngs(0))
    assert [kernel.shape for kernel in kernels(mirrored.encoder)] == [(16, 20), (20, 10), (10, 5)]
    assert [kernel.shape for kernel in kernels(mirrored.decoder)] == [(5, 10), (10, 20), (20, 16)]
    given = build(Config(model=Model((20, 10), 5, (7,))), (4, 4, 1), nnx.Rngs(0))
    assert [kernel.shape for kernel in kernels(given.decoder)] == [(5, 7), (7, 16)]


def test_glorot_uniform_weights_and_zero_biases():
    autoencoder = build(Config(), (28, 28, 1), nnx.Rngs(0))
    for kernel in kernels(autoencoder.encoder) + kernels(autoencoder.decoder):
        limit = math.sqrt(6 / sum(kernel.shape))
        assert 0.95 * limit < jnp.abs(kernel).max() <= limit
        assert np.isclose(kernel.std(), limit / math.sqrt(3), rtol=0.05)
    biases = [leaf for leaf in jax.tree.leaves(nnx.state(autoencoder, nnx.Param)) if leaf.ndim == 1]
    assert len(biases) == 4 and all((bias == 0).all() for bias in biases)


def test_codes_pass_the_activation():
    images = jax.random.uniform(jax.random.key(0), (50, 8, 8, 1))
    relu = build(Config(model=Model(activation="relu")), (8, 8, 1), nnx.Rngs(0)).encoder(images)
    assert relu.min() == 0 and relu.max() > 0
    linear = build(Config(model=Model(activation="identity")), (8, 8, 1), nnx.Rngs(0)).encoder(images)
    assert linear.min() < 0
