"""A variational autoencoder whose free bits rise in cycles, by the configuration alone.

Free bits: Kingma et al. 2016, arXiv 1606.04934; cycles: Fu et al. 2019, arXiv 1903.10145.
"""

import aejax


def get_config():
    return aejax.Config(
        model=aejax.Model(kind="variational", hidden=(128,), code_size=16),
        loss=aejax.Loss(pixels="sum"),
        coefficients=aejax.Coefficients(free_bits=0.5),
        schedules={"free_bits": aejax.Schedule("cyclical", cycles=2)},
    )
