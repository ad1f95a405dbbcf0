"""Figures of single models of the gallery, in addition to those of every run."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from aejax import Context, Run
from aejax.evaluation.figures import image_rows, one_model
from aejax.models.randomness import per_example, stream
from aejax.training import unit_interval
from gallery.measures import of_each_class


def _classes(run: Run) -> dict[str, np.ndarray]:
    return {f"class {number}": images for number, images in enumerate(of_each_class(run, 10))}


def _styles(run: Run) -> dict[str, np.ndarray]:
    """Decode ten draws of the code with every class: a column has one style."""
    classes = run.autoencoder.classes
    codes = np.array(run.autoencoder.prior(per_example(stream(0, "sample"), np.arange(10))))
    rows = {}
    for number in range(classes):
        codes[:, -classes:] = np.eye(classes)[number]
        rows[f"class {number}"] = run.decode(codes)
    return rows


def _samples(run: Run) -> dict[str, np.ndarray]:
    images, drawn = run.dataset.test[:10], np.split(run.sample(30), 3)
    rows = {"original": unit_interval(images), "reconstructed": run.reconstruct(run.corrupt(images))}
    return rows | {f"samples {10 * at + 1} to {10 * at + 10}": row for at, row in enumerate(drawn)}


def _completed(run: Run) -> dict[str, np.ndarray]:
    images = unit_interval(run.dataset.test[:10])
    context = Context(keys=per_example(stream(0, "code"), np.arange(len(images))), coefficients=run.config.coefficients)
    output = run.autoencoder(jnp.asarray(images), context)
    hidden = np.asarray(output.extra["hidden"])
    visible, completed = (images + hidden * (other - images) for other in (0.5, np.asarray(output.logits)))
    return {"original": images, "visible\n(grey: hidden)": visible, "completed": completed}


def _exchanged(run: Run) -> dict[str, np.ndarray]:
    """Decode the first test image with every value of a group, for the five groups that change it most."""
    width = run.config.model.options["width"]
    chosen = run.encode(run.corrupt(run.dataset.test[:1])).reshape(-1, width).argmax(axis=1)
    changed = {}
    for group in range(len(chosen)):
        others = np.eye(width, dtype=np.float32)[chosen][None].repeat(width, axis=0)
        others[:, group] = np.eye(width)
        changed[f"group {group}"] = run.decode(others.reshape(width, -1))
    most = sorted(changed, key=lambda name: changed[name].var(axis=0).sum(), reverse=True)[:5]
    return {"original": unit_interval(run.dataset.test[:1]).repeat(width, axis=0)} | {
        name: changed[name] for name in most
    }


ROWS: dict[str, Callable[[Run], dict[str, np.ndarray]]] = {
    "conditional": _classes,
    "semi_supervised": _styles,
    "gumbel_softmax": _exchanged,
    "adversarial": _samples,
    "wae_mmd": _samples,
    "masked": _completed,
}
"""model → function of the rows of images of its figure, of a run as `aejax.fit` returns it"""

_ACROSS = {
    "conditional": "draw of the code, for each class",
    "semi_supervised": "style: a draw of the units that are not the class",
    "gumbel_softmax": "value of the group",
}
"""model → what the columns of its figure count"""


def figure(name: str, run: Run, seeds: int) -> Figure:
    """Draw the figure of a model in `ROWS`, for one of some seeds."""
    rows, across = ROWS[name](run), _ACROSS.get(name, "")
    numbers = {str(number): 1 for number in range(max(map(len, rows.values())))} if across else None
    return image_rows(rows, numbers, across, f"{one_model(run)} of {seeds}")
