"""A configuration that starts from the parameters of another run: name its workdir, --training.start WORKDIR.

The code may be larger than in the other run: then only the layers of equal shape are taken. Starting from the weights
of a run on fewer examples: Ash and Adams 2020, arXiv 1910.08475.
"""

import aejax


def get_config():
    return aejax.Config(
        model=aejax.Model(hidden=(128,), code_size=16), training=aejax.Training(start="runs/first", epochs=3)
    )
