import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from aejax import Config, InputError, Model, require_fit
from aejax.models import build, convolutional


@pytest.mark.parametrize(
    ("size", "channels", "stride"),
    [  # by default each value once
        pytest.param(size, channels, stride, marks=[pytest.mark.long] * ((channels, stride) != usual))
        for size, usual in (((7, 7), ((1, 8), 1)), ((8, 5), ((8, 2), 2)), ((1, 2), ((8, 2), 1)))
        for channels in ((1, 8), (8, 2))
        for stride in (1, 2)
    ],
)
def test_the_convolution_by_matrix_products_is_the_one_of_xla(size, channels, stride):
    keys = jax.random.split(jax.random.key(0), 2)
    images = jax.random.normal(keys[0], (3, *size, channels[0]))
    kernel = jax.random.normal(keys[1], (3, 3, *channels))

    def results(convolve):
        def loss(images, kernel):
            output = convolve(images, kernel, stride)
            return jnp.sin(output).sum(), output

        gradients, output = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(images, kernel)
        return output, *gradients

    ours, theirs = results(convolutional._convolve_on_cpu), results(convolutional._convolve)
    assert np.allclose(ours[0], theirs[0], atol=1e-5)
    for one, two in zip(ours[1:], theirs[1:], strict=True):
        assert np.allclose(one, two, atol=1e-4)


def test_the_layers_of_keras_io_can_be_told():
    model = Model(hidden=(), code_size=7 * 7 * 32, channels=(32,), spatial_code=True)
    autoencoder = nnx.eval_shape(lambda: build(Config(model=model), (28, 28, 1), nnx.Rngs(0)))
    kernels = [leaf.shape for leaf in jax.tree.leaves(nnx.state(autoencoder, nnx.Param)) if leaf.ndim == 4]
    assert sorted(kernels) == [(3, 3, 1, 32), (3, 3, 32, 4), (3, 3, 32, 32), (3, 3, 32, 128)]


@pytest.mark.long
def test_a_unit_of_a_spatial_code_sees_its_place():
    model = Model(hidden=(), code_size=7 * 7 * 4, channels=(5,), spatial_code=True, code_activation="identity")
    autoencoder = build(Config(model=model), (28, 28, 1), nnx.Rngs(0))
    image = jnp.zeros((1, 28, 28, 1))
    spot = image.at[:, 1, 26].set(1.0)  # the upper right corner
    changed = (autoencoder.encode(spot) != autoencoder.encode(image)).reshape(7, 7, 4).any(axis=2)
    assert changed[0, 6] and not changed[2:].any() and not changed[:, :5].any()
    code = jnp.zeros((1, 7, 7, 4))
    decoded = [autoencoder.decode(c.reshape(1, -1))[0, ..., 0] for c in (code, code.at[:, 0, 6].set(1.0))]
    changed = np.asarray(decoded[0] != decoded[1])
    assert changed[1, 26] and not changed[14:].any() and not changed[:, :14].any()


def test_a_code_size_that_does_not_fit_the_images_is_refused_with_what_would(small):
    config, dataset = small
    config = config.replace({"model.hidden": [], "model.channels": [4], "model.spatial_code": True})
    require_fit(config.replace({"model.code_size": 8}), dataset)
    with pytest.raises(InputError, match=r"code_size is 7; it must be a multiple of 4, .* 2x2 of 6x5 images"):
        require_fit(config.replace({"model.code_size": 7}), dataset)
