"""Export of a trained model, a `Run`, for other programs: JAX programs, arrays, ONNX graphs, and files of SAELens."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from aejax.config import InputError
from aejax.config.checks import require
from aejax.config.files import write_json
from aejax.data import as_met
from aejax.models.autoencoder import reconstructed
from aejax.models.operations import operations
from aejax.storage import opened
from aejax.training import for_evaluation


def export(run: Any, folder: str | Path, kind: str) -> None:
    """Write a trained model to a new folder, for use without this library; see `Run.export`.

    Raises InputError: the kind is unknown, a package is missing, the folder is not empty, or the model has no such
        export.
    """
    require(kind in KINDS, "kind", kind, f"one of {', '.join(KINDS)}")
    with opened(folder, "the folder") as target:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{target} exists already; give a new folder")
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            KINDS[kind](run, partial)
            write_json(partial / "config.json", run.identity.to_dict())
            partial.replace(target)
        except ModuleNotFoundError as error:
            raise InputError(f"kind {kind} needs the package {error.name}: install aejax[export]") from error
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _jax(run: Any, folder: Path) -> None:
    """Write one file of StableHLO for each function, with the parameters as constants."""
    import flatbuffers  # noqa: F401 - jax.export needs it, but raises only after all the work

    model, change, given = run.autoencoder, run.standardization, run.example_shape
    target = as_met(run.target_shape, run.vectors)

    def encode(images: jax.Array) -> jax.Array:
        images = images if change is None else (images - change.mean) / change.deviation
        if run.identity.dataset.means is not None:
            images = jnp.where(jnp.isnan(images), jnp.float32(run.identity.dataset.imputed), images)
        return model.encode(images.reshape(-1, *run.image_shape))

    def decode(codes: jax.Array) -> jax.Array:
        images = reconstructed(model, codes, target).reshape(-1, *run.target_shape)
        return images if change is None else change.invert(images)

    functions = {
        "encode": (encode, given),
        "decode": (decode, (run.config.model.code_size,)),
        "reconstruct": (lambda images: decode(encode(images)), given),
    }
    for name, (function, shape) in functions.items():
        rows = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("batch"), *shape), jnp.float32)
        try:
            with jax.default_matmul_precision("highest"):  # the precision of `Run`
                exported = jax.export.export(jax.jit(function), platforms=("cpu", "cuda", "tpu"))(rows)
        except InputError:
            raise
        except Exception as error:  # a user's model may raise any type while JAX traces it
            raise InputError(
                f"{name} of {type(model).__name__} cannot be exported for batches of any size "
                f"({str(error).splitlines()[0]}); write images.shape[0] instead of len(images) in the model"
            ) from error
        (folder / f"{name}.jax").write_bytes(exported.serialize())


def _safetensors(run: Any, folder: Path) -> None:
    """Write all arrays of the model, each named by its path."""
    from safetensors.numpy import save_file

    state = for_evaluation(run.state)
    arrays = {
        ".".join(str(getattr(part, "key", part)) for part in path): np.ascontiguousarray(leaf)
        for tree in (state.params, state.extra)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    save_file(arrays, folder / "model.safetensors", metadata={"format": "flax", "kind": run.config.model.kind})


def _onnx(run: Any, folder: Path) -> None:
    from aejax.evaluation import onnx_graph

    encoder, decoder = operations(run.autoencoder, run.image_shape)
    images, codes, change = run.example_shape, (run.config.model.code_size,), run.standardization
    if run.target_shape != images:
        raise InputError(f"kind onnx needs reconstructions of the shape of the input {images}, not {run.target_shape}")
    if run.vectors:
        encoder.insert(0, {"kind": "reshape", "shape": run.image_shape})
        decoder.append({"kind": "reshape", "shape": images})
    if run.identity.dataset.means is not None:
        encoder.insert(0, {"kind": "filled", "numbers": np.float32(run.identity.dataset.imputed)})
    if change is not None:
        encoder[:0] = {"kind": "add", "numbers": -change.mean}, {"kind": "mul", "numbers": 1 / change.deviation}
        decoder += {"kind": "mul", "numbers": change.deviation}, {"kind": "add", "numbers": change.mean}
    graphs = {
        "encode": (encoder, images, codes, ("images", "codes")),
        "decode": (decoder, codes, images, ("codes", "reconstructions")),
        "reconstruct": (encoder + decoder, images, images, ("images", "reconstructions")),
    }
    for name, described in graphs.items():
        (folder / f"{name}.onnx").write_bytes(onnx_graph.model(*described).SerializeToString())


def _sae_lens(run: Any, folder: Path) -> None:
    """Write the files of `sae_lens_files`, with the run's standardization folded into the arrays."""
    from safetensors.numpy import save_file

    model = run.autoencoder
    if not hasattr(model, "sae_lens"):
        raise InputError(f"{type(model).__name__} has no method sae_lens(); the kind sae_lens needs one")
    if not run.vectors or run.config.loss.reconstruction != "mse":
        raise InputError(
            f"{type(model).__name__} was not trained on vectors [N, D] with loss.reconstruction mse, as SAELens needs"
        )
    architecture, arrays = model.sae_lens()
    if (change := run.standardization) is not None:
        # x - mean - deviation b_dec = deviation ((x - mean) / deviation - b_dec): b_dec is subtracted and added back.
        arrays["W_enc"] = arrays["W_enc"] / change.deviation[:, None]
        arrays["W_dec"] = arrays["W_dec"] * change.deviation
        arrays["b_dec"] = arrays["b_dec"] * change.deviation + change.mean
    metadata = {
        "training_library": "aejax",
        "training_architecture": architecture,
        "dataset": run.identity.dataset.name,
        "step": int(run.state.step),
    }
    config, tensors = sae_lens_files(architecture, arrays, metadata)
    write_json(folder / "cfg.json", config)
    save_file(tensors, folder / "sae_weights.safetensors")


KINDS: Mapping[str, Callable[[Any, Path], None]] = {
    "jax": _jax,
    "safetensors": _safetensors,
    "onnx": _onnx,
    "sae_lens": _sae_lens,
}

_LAYOUT = "6.0.0"
"""the first version of SAELens that reads this layout; an older version, or none, selects another layout"""
_ARCHITECTURES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "standard": ("standard", ("b_enc",)),
    "topk": ("topk", ("b_enc", "k")),
    "jumprelu": ("jumprelu", ("b_enc", "threshold")),
    "batchtopk": ("jumprelu", ("b_enc", "threshold")),
    "matryoshka": ("jumprelu", ("b_enc", "threshold")),
    "gated": ("gated", ("b_gate", "r_mag", "b_mag")),
}
"""architecture in training → architecture in SAELens after training, and its arrays besides W_enc, W_dec and b_dec"""


def sae_lens_files(
    architecture: str, arrays: Mapping[str, Any], metadata: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the content of cfg.json and the float32 arrays of sae_weights.safetensors (`SAE.load_from_disk`).

    Let p = (x - b_dec) W_enc + b_enc. The reconstruction is codes W_dec + b_dec. The codes are, for

        standard                           max(p, 0)
        topk                               the k largest of each row, where they are positive
        jumprelu, batchtopk, matryoshka    max(p, 0) where p is above the threshold
        gated                              max((x - b_dec) W_enc exp(r_mag) + b_mag, 0) where (x - b_dec) W_enc + b_gate
                                           is above 0

    Args:
        architecture: standard, topk, jumprelu, batchtopk, matryoshka or gated.
        arrays: W_enc [D, F], W_dec [F, D], b_dec [D]; b_enc [F] except for gated; threshold, [F] or a scalar, for
            jumprelu, batchtopk and matryoshka; the number k for topk; b_gate, r_mag and b_mag [F] for gated.
        metadata: JSON that SAELens keeps with the configuration.

    Raises InputError: the architecture is unknown, or an array is missing, unknown, of another shape or not finite.
    """
    known = ", ".join(_ARCHITECTURES)
    require(architecture in _ARCHITECTURES, "the architecture for SAELens", architecture, f"one of {known}")
    there, own = _ARCHITECTURES[architecture]
    tensors, wanted = {name: np.asarray(value) for name, value in arrays.items()}, {"W_enc", "W_dec", "b_dec", *own}
    if tensors.keys() != wanted:
        raise InputError(
            f"the arrays of {architecture} are {', '.join(sorted(tensors))}; they must be {', '.join(sorted(wanted))}"
        )
    require(tensors["W_enc"].ndim == 2, "the shape of W_enc", tensors["W_enc"].shape, "[D, F]")
    values, units = tensors["W_enc"].shape
    count = tensors.pop("k", None)
    if "threshold" in own and tensors["threshold"].ndim == 0:
        tensors["threshold"] = np.broadcast_to(tensors["threshold"], units)
    shapes = {"W_enc": (values, units), "W_dec": (units, values), "b_dec": (values,)}
    for name, array in tensors.items():
        shape = shapes.get(name, (units,))
        holds = array.shape == shape and np.isfinite(array).all()
        require(holds, f"the shape of {name}", array.shape, f"{shape}, of finite numbers")
        tensors[name] = np.ascontiguousarray(array, np.float32)
    config: dict[str, Any] = {
        "architecture": there,
        "d_in": values,
        "d_sae": units,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": _LAYOUT, "sae_lens_training_version": None, **metadata},
    }
    if count is not None:
        k = count.item()
        require(1 <= k <= units and k == int(k), "k", k, f"a whole number from 1 to {units}")
        config |= {"k": int(k), "rescale_acts_by_decoder_norm": False}
    return config, tensors
