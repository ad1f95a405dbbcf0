"""Two studies of runs that start from another run.

Another domain: an encoder is trained on the source images and frozen, and a decoder is trained on the target images.
More data: a model is trained on a part of the source images, and continued on all of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aejax.config import Config, Model, Training
from aejax.config.files import write, write_json
from aejax.data import Dataset
from aejax.evaluation import Run, fit
from aejax.evaluation.drawing import NAMES, draw, markdown, note, spread_over, styled
from aejax.training.identity import describe_machine
from gallery.recovery import spread

_CONFIG = Config(model=Model(hidden=(128,), code_size=32), training=Training(batch_size=128))
"""the article's deep autoencoder"""

SHARE, PASSES = 10, 20
"""all source images as a multiple of the small part, and the epochs of training on this part"""

_RANDOM = "random start"
"""name of a training whose parameters have new values at its start"""

Curves = dict[str, list[list[float]]]
"""way of training → for each seed, the loss after each epoch"""


def measure(
    source: Dataset,
    target: Dataset,
    seeds: int,
    epochs: int,
    workdir: Path,
    command: str,
    formats: Sequence[str] = ("png",),
) -> dict[str, Any]:
    """Train all models, and write results.json, transfer.md and, in each format, figures/transfer.

    A second call does not train finished runs again.

    Args:
        source, target: images of one size.
        command: the command line, for the record.
        formats: of the figure: png, pdf, svg.

    Returns the content of results.json.
    """
    another: Curves = {}
    more: Curves = {_RANDOM: [], "from a tenth": []}
    part = Dataset(source.name, source.train[: len(source.train) // SHARE], source.test)

    def train(seed: int, name: str, images: Dataset, changes: Mapping[str, Any], start: Run | None = None) -> Run:
        print(f"{name}, seed {seed}", flush=True)
        usual = {"training.seed": seed, "training.epochs": epochs, "training.evaluate_test": True}
        config = _CONFIG.replace({"data.name": images.name} | usual | changes)
        folder = workdir / "runs" / name.replace(",", "").replace(" ", "-") / f"seed-{seed}"
        return fit(config, folder, dataset=images, progress=False, figures=(), start=start)

    frozen = {"training.frozen": ("encoder",)}
    for seed in range(seeds):
        whole = train(seed, _RANDOM, source, {})
        ways = {
            f"all parameters, {_RANDOM}": ({}, None),
            "all parameters, from source": ({}, whole),
            "decoder only, from source": (frozen, whole),
            f"decoder only, {_RANDOM}": (frozen, None),
        }
        for way, given in ways.items():
            another.setdefault(way, []).append(losses(train(seed, way, target, *given)))
        small = train(seed, "a tenth", part, {"training.epochs": PASSES})
        more[_RANDOM].append(losses(whole))
        more["from a tenth"].append([losses(small)[-1], *losses(train(seed, "from a tenth", source, {}, small))])
    results = {"command": command, "source": source.name, "target": target.name, "seeds": seeds, "epochs": epochs}
    results |= {**describe_machine(), "another domain": another, "more data": more}
    write_json(workdir / "results.json", results)
    write(workdir / "transfer.md", page(results, formats))
    draw({"transfer": lambda: figure(results)}, workdir / "figures", formats, replace=True)
    return results


def page(results: Mapping[str, Any], formats: Sequence[str] = ("png",)) -> str:
    """Return the content of transfer.md; the figure appears in the first format."""
    seeds = "one seed" if results["seeds"] == 1 else f"means over {results['seeds']} seeds"
    shown = f"Test loss after each epoch on {_name(results, 'target')}, and on all images of {_name(results, 'source')}"
    drawn = [f"![{shown}; {seeds}](figures/transfer.{form})" for form in formats[:1]]
    return "\n\n".join([tables(results), *drawn]) + "\n"


def _name(results: Mapping[str, Any], which: str) -> str:
    return NAMES.get(results[which], results[which])


def losses(run: Run) -> list[float]:
    """Return the loss on images that were not trained on, after each epoch [nats per pixel]."""
    return [line["test"]["total"] for line in run.history]


def epochs_to(curve: list[float], loss: float, first: int = 1) -> int | None:
    """Return the first epoch after which a loss is reached; None if it is not reached.

    Args:
        first: number of epochs before the first loss.
    """
    return next((epoch for epoch, value in enumerate(curve, first) if value <= loss), None)


def tables(results: Mapping[str, Any]) -> str:
    """Return both studies as Markdown tables."""
    last, source = results["epochs"], _name(results, "source")
    shown = sorted({1, min(3, last), last})
    rows = [
        [way.replace("source", source), *(spread([curve[epoch - 1] for curve in curves], ".4f") for epoch in shown)]
        for way, curves in results["another domain"].items()
    ]
    head = [f"trained on {_name(results, 'target')}", *(f"loss after epoch {epoch}" for epoch in shown)]
    first = markdown(head, rows)
    rows, (new, continued) = [], results["more data"].values()
    for epoch in shown:
        needed = [epochs_to(after, curve[epoch - 1], 0) for curve, after in zip(new, continued, strict=True)]
        reached = [each for each in needed if each is not None]
        count = spread(reached, ".1f") if len(reached) == len(needed) else f"more than {last}"
        rows.append([spread([curve[epoch - 1] for curve in new], ".4f"), epoch, count])
    return f"{first}\n\n{markdown(['loss', f'epochs from a {_RANDOM}', 'epochs from a tenth'], rows)}"


@styled
def figure(results: Mapping[str, Any]) -> Figure:
    """Draw the losses after each epoch of both studies."""
    drawn = Figure(figsize=(7.2, 3.6), layout="constrained")
    left, right = drawn.subplots(1, 2)
    for panel, name in ((left, "another domain"), (right, "more data")):
        for (way, curves), mark in zip(results[name].items(), "osD^", strict=False):
            epochs = np.arange(results["epochs"] + 1)[-len(curves[0]) :]
            spread = np.std(curves, axis=0, ddof=1) if len(curves) > 1 else None
            style = {"marker": mark, "markerfacecolor": "none", "linewidth": 1.2}  # marks of equal losses stay visible
            style["label"] = way.replace("source", _name(results, "source"))
            panel.errorbar(epochs, np.mean(curves, axis=0), spread, **style)
        panel.legend(loc="lower left", bbox_to_anchor=(0, 1.1))  # above the panel
    left.set(xlabel=f"epochs on {_name(results, 'target')}", ylabel="test loss [nats per pixel]")
    right.set(xlabel=f"epochs on all images of {_name(results, 'source')}", ylabel="test loss [nats per pixel]")
    tenth = f"Panel b leaves out the {PASSES} epochs on a tenth of the images, which have the steps of"
    note(drawn, f"{spread_over(results['seeds'])}\n{tenth} {PASSES // SHARE} epochs on all images.")
    return drawn
