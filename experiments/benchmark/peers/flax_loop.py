"""The model in Flax and Optax, as in their examples: one jitted call per step, with the images on the device."""

import itertools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import task
from flax import nnx


def main() -> None:
    given = task.read()
    images, batch = jnp.asarray(given["images"]), given["batch"]
    widths, layers, rngs = [images.shape[1], *given["widths"]], [], nnx.Rngs(0)
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nnx.Linear(inputs, outputs, rngs=rngs), nnx.relu]
    network = nnx.Sequential(*layers, nnx.Linear(widths[-1], widths[0], rngs=rngs))
    graphdef, params = nnx.split(network, nnx.Param)
    optimizer = optax.adam(given["learning_rate"])

    def loss(params, pixels):
        return optax.sigmoid_binary_cross_entropy(nnx.merge(graphdef, params)(pixels), pixels).mean()

    def step(params, opt_state, images, examples):
        value, gradients = jax.value_and_grad(loss)(params, images[examples])
        updates, opt_state = optimizer.update(gradients, opt_state)
        return optax.apply_updates(params, updates), opt_state, value

    step = jax.jit(step, donate_argnums=(0, 1))
    state, random = [params, optimizer.init(params)], np.random.default_rng(0)

    def train_epoch():
        order = random.permutation(len(images))
        for first in range(0, len(images) - batch + 1, batch):
            *state[:], value = step(*state, images, order[first : first + batch])
        jax.block_until_ready(value)

    task.serve({"flax": flax.__version__, "jax": jax.__version__}, train_epoch)


if __name__ == "__main__":
    main()
