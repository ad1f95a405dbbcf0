"""BatchTopK at the size of SynthSAEBench-16k, for a GPU or TPU; two CPU cores would take days.

16,384 features in 768 dimensions, 4,096 units, 25 of them active, 201 million vectors. Chanin and Garriga-Alonso 2026,
arXiv 2602.14687, report an F1 of 0.7316 and a matched cosine of 0.7574.

    uv run experiments/gallery.py batch_top_k_16k

Takes about 3.5 minutes on an NVIDIA H200; 25 active units, F1 0.740 and matched cosine 0.759 against the true features.
With 1,000 steps instead of 200 until a unit counts as dead, F1 is 0.719: 72 units stay almost dead.
"""

from pathlib import Path

import aejax


def get_config():
    small = aejax.load_config(Path(__file__).with_name("batch_top_k.py"))
    changes = {"data.name": "sparse_features_16k", "model.code_size": 4096, "model.options.dead_after": 200}
    changes |= {"training.epochs": 24, "training.batch_size": 1024}
    return small.replace(changes | {"coefficients.k": 25.0, "coefficients.learning_rate": 3e-4})
