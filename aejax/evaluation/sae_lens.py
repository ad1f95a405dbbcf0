"""A sparse autoencoder as SAELens reads it (`sae_lens.SAE.load_from_disk`): a configuration, and arrays by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from aejax.config import InputError

if TYPE_CHECKING:
    from aejax.evaluation.run import Run

LAYOUT = "6.0.0"
"""the first version of SAELens that reads this layout; what names none, or an older one, it takes for another"""
_THRESHOLD = {"threshold": "F"}
_ARCHITECTURES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "standard": ("standard", {"b_enc": "F"}),
    "topk": ("topk", {"b_enc": "F"}),
    "jumprelu": ("jumprelu", {"b_enc": "F"} | _THRESHOLD),
    "batchtopk": ("jumprelu", {"b_enc": "F"} | _THRESHOLD),
    "matryoshka": ("jumprelu", {"b_enc": "F"} | _THRESHOLD),
    "gated": ("gated", {"b_gate": "F", "r_mag": "F", "b_mag": "F"}),
}
"""how a model was trained → what it is for SAELens once trained, and its arrays beside the three of each"""


def sae_lens_files(
    architecture: str, arrays: Mapping[str, Any], metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What stands in cfg.json, and the arrays of sae_weights.safetensors, float32.

    With p = (x - b_dec) W_enc + b_enc, and codes W_dec + b_dec as reconstruction in each, the codes are: standard,
    max(p, 0); topk, the k largest of each row, where they are positive; jumprelu, batchtopk and matryoshka, max(p, 0)
    where p is above the threshold; gated, max((x - b_dec) W_enc exp(r_mag) + b_mag, 0) where (x - b_dec) W_enc + b_gate
    is above 0.

    Args:
        architecture: standard, topk, jumprelu, batchtopk, matryoshka or gated.
        arrays: W_enc [D, F], W_dec [F, D], b_dec [D]; b_enc [F] but for gated; threshold, [F] or one for all, of
            jumprelu, batchtopk and matryoshka; k, a number, of topk; b_gate, r_mag and b_mag [F] of gated.
        metadata: what SAELens keeps beside the configuration, for JSON.

    Raises:
        InputError: there is no such architecture, or an array is missing, not known, of another shape or not finite.
    """
    if architecture not in _ARCHITECTURES:
        raise InputError(f"the architecture is {architecture!r}; SAELens must know it: {', '.join(_ARCHITECTURES)}")
    known, own = _ARCHITECTURES[architecture]
    shapes = {"W_enc": "DF", "W_dec": "FD", "b_dec": "D", **own}
    given = {name: np.asarray(value) for name, value in arrays.items()}
    wanted = {*shapes, *(["k"] if known == "topk" else [])}
    if given.keys() != wanted:
        raise InputError(
            f"the arrays of {architecture} are {', '.join(sorted(given))}; they must be {', '.join(sorted(wanted))}"
        )
    if given["W_enc"].ndim != 2:
        raise InputError(f"W_enc has the shape {given['W_enc'].shape}; it must be [D, F]")
    sizes = dict(zip("DF", given["W_enc"].shape, strict=True))
    if "threshold" in own and given["threshold"].ndim == 0:
        given["threshold"] = np.broadcast_to(given["threshold"], sizes["F"])
    tensors = {}
    for name, axes in shapes.items():
        shape = tuple(sizes[axis] for axis in axes)
        if given[name].shape != shape or not np.isfinite(given[name]).all():
            raise InputError(f"{name} has the shape {given[name].shape}; it must be {shape}, of finite numbers")
        tensors[name] = np.ascontiguousarray(given[name], np.float32)
    config: dict[str, Any] = {
        "architecture": known,
        "d_in": sizes["D"],
        "d_sae": sizes["F"],
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": LAYOUT, "sae_lens_training_version": None, **metadata},
    }
    if known == "topk":
        k = float(given["k"])
        if not (k.is_integer() and 1 <= k <= sizes["F"]):
            raise InputError(f"k is {k:g}; it must be a whole number from 1 to {sizes['F']}")
        config |= {"k": int(k), "rescale_acts_by_decoder_norm": False}
    return config, tensors


def files_of_run(run: Run) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`sae_lens_files` of a trained model whose class has a method `sae_lens() -> (architecture, arrays)`.

    The arrays are those with which the model itself encodes; where the run standardizes vectors, that is folded in.

    Raises:
        InputError: it is no model of vectors with such a method, or the reconstruction is not the decoder's output.
    """
    model = run.autoencoder
    if not hasattr(model, "sae_lens"):
        raise InputError(f"{type(model).__name__} has no method sae_lens(); the kind sae_lens needs one")
    if not run.vectors or run.config.loss.reconstruction != "mse":
        what = "vectors [N, D] with loss.reconstruction mse"
        raise InputError(f"{type(model).__name__} was not trained on {what}; for SAELens it must be")
    architecture, arrays = model.sae_lens()
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    if (change := run.standardization) is not None:
        # x - mean - deviation b_dec = deviation ((x - mean) / deviation - b_dec): the same b_dec before and after.
        arrays["W_enc"] = arrays["W_enc"] / change.deviation[:, None]
        arrays["W_dec"] = arrays["W_dec"] * change.deviation
        arrays["b_dec"] = arrays["b_dec"] * change.deviation + change.mean
    metadata = {
        "training_library": "aejax",
        "training_architecture": architecture,
        "dataset": run.description["dataset"]["name"],
        "step": int(run.state.step),
    }
    return sae_lens_files(architecture, arrays, metadata)
