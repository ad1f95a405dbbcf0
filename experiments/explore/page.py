"""The data of a run, and one HTML file that shows it."""

import base64
import html
import json
import math
import string
from pathlib import Path
from typing import Any, Literal

import numpy as np

import aejax
from aejax.config.files import write
from aejax.data import is_known, require_images
from aejax.evaluation import errors, measures
from aejax.models.operations import operations

_SLIDERS = 10
_SCRIPTS = ("model.js", "canvas.js", "pad.js", "page.js")
_BYTES = 1_500_000
"""maximum bytes of pixels; more images are left out"""
Plane = Literal["pca", "tsne"]


def write_page(run: aejax.Run, dataset: aejax.Dataset, path: Path, count: int = 500, plane: Plane = "pca") -> int:
    """Write one HTML file about a run, which needs no network and runs the model in the browser.

    Args:
        dataset: the page shows the first `count` test images, or as many as fit into 1.5 MB.
        plane: layout of codes of more than two units.

    Returns the number of images on the page.
    """
    require_images(dataset, "a page to look at")
    content = _content(run, dataset, count, plane)
    here = Path(__file__).parent
    # An escaped "<" cannot end the element of the data, so a workdir cannot add code to the page.
    page = string.Template((here / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(content["title"]),
        css=(here / "page.css").read_text(encoding="utf-8"),
        data=json.dumps(content, allow_nan=False).replace("<", "\\u003c"),
        scripts="".join((here / name).read_text(encoding="utf-8") for name in _SCRIPTS).replace('"use strict";\n', ""),
    )
    write(path, page)
    return len(content["errors"])


def _content(run: aejax.Run, dataset: aejax.Dataset, count: int, plane: Plane) -> dict[str, Any]:
    corrupted = run.config.corruption.kind != "none"
    shown = dataset.test[: max(2, min(count, _BYTES // ((2 + corrupted) * math.prod(run.image_shape))))]
    targets = run.targets_of(dataset)
    if run.target_shape != run.example_shape:
        raise aejax.InputError(f"targets are of the shape {run.target_shape}; a page shows those of the input's shape")
    clean, seen = run.evaluation_inputs(shown, None if targets is None else targets[: len(shown)])
    codes = run.encode(seen)
    images = {"original": clean} | ({"corrupted": seen} if corrupted else {}) | {"reconstructed": run.decode(codes)}
    low, high = min(0.0, float(clean.min())), max(1.0, float(clean.max()))
    value = "pixel" if run.image_shape[2] == 1 else "channel value"
    bce = run.logits_are_of_probabilities
    labels, names = None, []
    if dataset.test_labels is not None:
        given = np.asarray(dataset.test_labels[: len(shown)])
        names = np.unique(given[is_known(given)])
        places = np.where(is_known(given), np.searchsorted(names, given), -1)
        labels, names = places.tolist(), [str(name) for name in names]
    words = ["denoising"] if corrupted else []
    words += ["convolutional"] if run.config.model.channels or run.config.model.spatial_code else []
    if not words or run.config.model.kind != "plain":
        words.append(run.config.model.kind.rpartition("/")[2])
    return {
        "title": f"{' '.join(words)} autoencoder on {run.identity.dataset.name}",
        "facts": f"{run.parameters:,} parameters, step {int(run.state.step):,}, {len(shown):,} of "
        f"{len(dataset.test):,} test images",
        "shape": run.image_shape,
        "scale": [low, high],
        "images": {name: _bytes((part - low) / (high - low)) for name, part in images.items()},
        "errors": [round(float(each), 6) for each in errors(run, codes, clean)],
        "error_unit": f"{'cross-entropy in nats' if bce else 'squared error'} per {value}",
        "labels": labels,
        "classes": names,
        "code": _code(codes),
        "plane": _plane(codes, plane, run.config.training.seed),
        "model": _model(run),
        "drawable": min(run.image_shape[:2]) >= 4 and (low, high) == (0.0, 1.0),
        "corruption": {"kind": run.config.corruption.kind, "noise": run.config.coefficients.get("noise", 0)},
    }


def _code(codes: np.ndarray) -> dict[str, Any]:
    found, deviations = measures.code_measures(codes), codes.std(axis=0)
    over = f"{len(codes):,} test images" if len(codes) > 1 else "1 test image"
    dead = "" if found["dead_units"] is None else f", {found['dead_units']} of them dead"
    varying = np.argsort(-deviations)
    nonzero = codes[codes != 0]
    low, high = (float(np.quantile(nonzero, q)) for q in (0.001, 0.999)) if len(nonzero) else (0.0, 1.0)
    counts, _ = np.histogram(nonzero, bins=60, range=(low, high if high > low else low + 1))
    return {
        "size": codes.shape[1],
        "facts": f"Over the {over} of this page: {codes.shape[1]} units{dead}; mean {found['code_mean']:.3f}, variance "
        f"{found['code_variance']:.3f}, {found['code_fraction_zero']:.1%} of all values exactly zero",
        "note": f"Standard deviation of each unit over the {over}, the largest first; a dead unit has none.",
        "histogram": {
            "percent": (100 * counts / codes.size).tolist(),
            "edges": [low, high],
            "note": f"Values of the code that are not zero, in percent of all values of the {over}"
            + (f"; {found['code_fraction_zero']:.1%} are zero." if len(nonzero) < codes.size else "."),
        },
        "deviations": [float(f"{each:.4g}") for each in deviations[varying]],
        "sliders": [
            {"unit": int(unit), "least": float(codes[:, unit].min()), "most": float(codes[:, unit].max())}
            for unit in varying[:_SLIDERS]
        ],
    }


def _plane(codes: np.ndarray, plane: Plane, seed: int) -> dict[str, Any]:
    """Place the codes in a plane; straight axes let the page decode any point of the plane."""
    size, axes = codes.shape[1], None
    if size <= 2 and plane != "pca":
        raise aejax.InputError(f"plane is {plane}; a code of {size} units has a plane of its own: leave it out")
    if size <= 2:
        at, title = np.pad(codes, ((0, 0), (0, 2 - size))), "its two units" if size == 2 else "its one unit"
        origin, axes = np.zeros(size), np.eye(2)[:, :size]
        names = ["unit 0", "unit 1" if size == 2 else ""]
    elif plane == "tsne":
        from sklearn.manifold import TSNE

        fitted = TSNE(perplexity=min(30, (len(codes) - 1) / 3), init="random", random_state=seed)
        at, title, names = fitted.fit_transform(codes), "t-SNE", ["t-SNE 1, no unit", "t-SNE 2, no unit"]
    else:
        from sklearn.decomposition import PCA

        fitted = PCA(2, random_state=0).fit(codes)
        at, origin, axes = fitted.transform(codes), fitted.mean_, fitted.components_
        shares = np.nan_to_num(fitted.explained_variance_ratio_)
        title = f"its two principal components, {shares.sum():.0%} of the variance"
        names = [f"principal component {number}, {share:.0%}" for number, share in enumerate(shares, start=1)]
    x, y = np.round(at.astype(float), 4).T.tolist()
    if axes is not None:
        parts = zip(("origin", "first", "second"), (origin, *axes), strict=True)
        axes = {name: np.round(part.astype(float), 6).tolist() for name, part in parts}
    return {"title": title, "names": names, "x": x, "y": y, "axes": axes}


def _model(run: aejax.Run) -> dict[str, Any] | None:
    """Return the operations for model.js; None for a custom model that model.js cannot compute."""
    try:
        halves = operations(run.autoencoder, run.image_shape)
    except aejax.InputError:
        return None
    return dict(zip(("encode", "decode"), [[*map(_plain, half)] for half in halves], strict=True))


def _plain(operation: dict[str, Any]) -> dict[str, Any]:
    arrays = {name: value for name, value in operation.items() if isinstance(value, np.ndarray)}
    return operation | {name: base64.b64encode(each.astype("<f4").tobytes()).decode() for name, each in arrays.items()}


def _bytes(images: np.ndarray) -> str:
    """Encode floats from 0 to 1 as bytes in base64."""
    return base64.b64encode(np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)).decode()
