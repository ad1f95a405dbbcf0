"""Models of the gallery at a size for a few steps."""

from pathlib import Path

import numpy as np
from flax import nnx

import aejax
from aejax.models import build
from gallery import LAYERS, VECTORS

FOLDER = Path(__file__).parents[2] / "experiments" / "gallery"
RANDOM = np.random.default_rng(0)
SMALL = {
    "vamp_prior": {"model.options.pseudo_inputs": 5},
    "mixture_prior": {"model.options.components": 5},
    "flow_posterior": {"model.options.width": 8, "model.options.layers": 2},
    "ladder": {"model.options.upper": 2, "model.options.width": 8},
    "conditional": {"model.code_size": 6, "model.options.classes": 2, "model.options.pseudo_inputs": 3},
    "iwae": {"model.samples": 4},
    "miwae": {"model.samples": 4},
    "piwae": {"model.samples": 4},
    "vq_vae": {"model.options.entries": 8, "model.options.width": 2},
    "fsq": {"model.options.levels": [4, 3]},
    "semi_supervised": {"model.code_size": 6, "model.options.classes": 2},
    "gumbel_softmax": {"model.options.width": 2},
    "adversarial": {"model.options.width": 8},
    "masked": {"model.options.patch": 1},
    **{name: {"model.hidden": [], "model.code_size": 10} for name in VECTORS + LAYERS},
    "matryoshka": {"model.hidden": [], "model.code_size": 10, "model.options.widths": [2, 5]},
}
"""changes of the configurations"""


def tiny(name, **changes):
    usual = {"model.hidden": [12], "model.code_size": 4, "training.epochs": 2, "training.batch_size": 16}
    usual |= {"schedules.beta.warmup_epochs": 0, "coefficients.learning_rate": 1e-2}
    return aejax.load_config(FOLDER / f"{name}.py").replace(usual | SMALL.get(name, {}) | changes)


def made(name, image_shape=(6, 5, 1), **changes):
    return nnx.jit(lambda: build(tiny(name, **changes), image_shape, nnx.Rngs(0)))()
