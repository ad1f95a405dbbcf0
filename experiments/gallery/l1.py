"""L1: few units are active since each costs its size.

The article's sparse model as it is used on activations of neural networks: many more units than values, one layer, a
decoder whose directions have length 1 (or it would grow, and the codes shrink, for nothing), and a bias that is
subtracted before and added after. The penalty also shrinks the units that are active, which the other models avoid.

Bricken et al. 2023 (transformer-circuits.pub/2023/monosemantic-features).

    uv run experiments/gallery.py l1

Takes about 20 seconds of training on two shared CPU cores; 10 active units, F1 0.50 against the truth.
"""

import aejax


class Penalised(aejax.SparseAutoencoder):
    """The sum of the code's units, each of which is its size in the data, costs `coefficients.l1` times itself."""

    coefficients = aejax.SparseAutoencoder.coefficients | {"l1": 4.8}

    def loss(self, clean, output, coefficients, context):
        terms = super().loss(clean, output, coefficients, context)
        return terms | {"l1": output.codes.sum(axis=1)}


def get_config():
    return aejax.Config(
        data=aejax.Data(name="sparse_features_512"),
        model=aejax.Model(kind="l1.py:Penalised", hidden=(), code_size=256),
        loss=aejax.Loss(reconstruction="mse", pixels="sum"),
        coefficients=aejax.Coefficients(learning_rate=1e-3),
        training=aejax.Training(epochs=16, batch_size=1024, clip_norm=1.0),
    )
