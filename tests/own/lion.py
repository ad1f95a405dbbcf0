"""Lion with decoupled weight decay (Chen et al. 2023)."""

import optax


def lion(learning_rate, weight_decay):
    return optax.lion(learning_rate, weight_decay=weight_decay)
