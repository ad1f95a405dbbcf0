"""A trained model for other programs: as programs of JAX, as arrays, as ONNX, or as SAELens reads it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from aejax.config import InputError
from aejax.config.files import local, write_json
from aejax.models.operations import Activation, Reshape, Scale, Shift, operations
from aejax.training import for_evaluation

if TYPE_CHECKING:
    from aejax.evaluation.run import Run

PLATFORMS = ("cpu", "cuda", "tpu")


def export(run: Run, folder: str | Path, kind: str) -> None:
    """Write a trained model to a new folder, for use where this library is not; see `Run.export`.

    Raises:
        InputError: there is no such kind, a package that it needs is missing, the folder holds something already, or
            the model cannot be written so.
    """
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}")
    folder = local(folder, "the folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is there already; give a new folder")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        KINDS[kind](run, partial)
        write_json(partial / "config.json", run.description)
        partial.replace(folder)
    except ModuleNotFoundError as error:
        raise InputError(f"kind {kind} needs the package {error.name}: install aejax[export]") from error
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _jax(run: Run, folder: Path) -> None:
    """One file of StableHLO for each function, its parameters within."""
    import flatbuffers  # noqa: F401 - jax.export needs it, and says so only when all is done

    model, edge, change, given = run.autoencoder, run.edge, run.standardization, run.example_shape

    def encode(images: jax.Array) -> jax.Array:
        images = images if change is None else (images - change.mean) / change.deviation
        return model.encode(images.reshape(-1, *run.image_shape))

    def decode(codes: jax.Array) -> jax.Array:
        images = edge(model.decode(codes)).reshape(-1, *given)
        return images if change is None else change.invert(images)

    functions: dict[str, tuple[Callable, tuple[int, ...]]] = {
        "encode": (encode, given),
        "decode": (decode, (run.config.model.code_size,)),
        "reconstruct": (lambda images: decode(encode(images)), given),
    }
    for name, (function, shape) in functions.items():
        rows = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("batch"), *shape), jnp.float32)
        try:
            with jax.default_matmul_precision("highest"):  # as `Run` computes it
                exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(rows)
        except Exception as error:  # what a model of its author's may raise while it is traced is of many types
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{type(model).__name__}: {name} cannot be exported for batches of any size ({reason}); where it says "
                "len(images), it must say images.shape[0]"
            ) from error
        (folder / f"{name}.jax").write_bytes(exported.serialize())


def _safetensors(run: Run, folder: Path) -> None:
    """All arrays of the model, by the path of each in it."""
    from safetensors.numpy import save_file

    state = for_evaluation(run.state)
    arrays = {
        ".".join(str(getattr(part, "key", part)) for part in path): np.ascontiguousarray(leaf)
        for tree in (state.params, state.extra)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    save_file(arrays, folder / "model.safetensors", metadata={"format": "flax", "kind": run.config.model.kind})


def _onnx(run: Run, folder: Path) -> None:
    """One graph for each function."""
    from aejax.evaluation import onnx_graph

    encoder, decoder = operations(run.autoencoder, run.image_shape)
    images, codes, change = run.example_shape, (run.config.model.code_size,), run.standardization
    if run.config.loss.reconstruction == "bce":
        decoder = [*decoder, Activation("sigmoid")]
    if run.vectors:
        encoder, decoder = [Reshape(run.image_shape), *encoder], [*decoder, Reshape(images)]
    if change is not None:
        encoder = [Shift(-change.mean), Scale(1 / change.deviation), *encoder]
        decoder = [*decoder, Scale(change.deviation), Shift(change.mean)]
    graphs = {
        "encode": (encoder, images, codes, ("images", "codes")),
        "decode": (decoder, codes, images, ("codes", "reconstructions")),
        "reconstruct": (encoder + decoder, images, images, ("images", "reconstructions")),
    }
    for name, described in graphs.items():
        (folder / f"{name}.onnx").write_bytes(onnx_graph.model(*described).SerializeToString())


def _sae_lens(run: Run, folder: Path) -> None:
    """The two files of a sparse autoencoder of SAELens."""
    from safetensors.numpy import save_file

    from aejax.evaluation.sae_lens import files_of_run

    config, tensors = files_of_run(run)
    write_json(folder / "cfg.json", config)
    save_file(tensors, folder / "sae_weights.safetensors")


KINDS: Mapping[str, Callable[[Any, Path], None]] = {
    "jax": _jax,
    "safetensors": _safetensors,
    "onnx": _onnx,
    "sae_lens": _sae_lens,
}
