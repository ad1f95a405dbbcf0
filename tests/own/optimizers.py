"""Optimizers that take a coefficient of the model's class, `momentum`."""

import optax


def momentum(learning_rate, momentum):
    return optax.sgd(learning_rate, momentum)


def separate(learning_rate, momentum):
    """Train the decoder by another rule than the encoder."""

    def groups(params):
        return {name: "moved" if name == "decoder" else "plain" for name in params}

    return optax.multi_transform({"moved": optax.sgd(momentum), "plain": optax.sgd(learning_rate)}, groups)
