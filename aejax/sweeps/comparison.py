"""The members of a sweep side by side: the best one, a table, a figure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aejax.config import Config, files
from aejax.config.checks import is_own
from aejax.config.grid import SEED
from aejax.evaluation import drawing
from aejax.evaluation.drawing import draw, loss_unit, note, spread_over, styled

_OTHERS = {f"coefficients.{name}" for name in ("learning_rate", "weight_decay", "noise")}
_FIGURES = {
    "test loss": ("test", "total"),
    "test reconstruction": ("test", "reconstruction"),
    "code mean": ("code", "mean"),
    "code variance": ("code", "variance"),
    "code zeros": ("code", "fraction_zero"),
}


def results(axes: Mapping[str, Sequence[Any]], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of results.json.

    Args:
        axes: the values of each swept field.
        rows: of each member its name, its value of each swept field and its summary; "diverged" says why it did.

    Returns:
        axes; members, the rows; groups, one for each setting of all fields but the seed: the setting, the number of
        members, how many of them diverged, and mean and std over the others of each figure; best, the member with
        the lowest test loss, or, where the axes change the loss itself, with the lowest test reconstruction.
    """
    weighted = any(path.startswith("coefficients.") and path not in _OTHERS for path in axes)
    compared = all("reconstruction" in row["test"] for row in rows)  # a loss of the user's own may have none
    part, name = ("test", "reconstruction") if weighted and compared else ("test", "total")
    well = [row for row in rows if "diverged" not in row]
    best = min(well, key=lambda row: row[part][name], default=None)
    figures, settings = _figures(well), {}
    for row in rows:
        setting = {path: row[path] for path in axes if path != SEED}
        settings.setdefault(json.dumps(setting), []).append(row)
    return {
        "axes": dict(axes),
        "best": None if best is None else {"member": best["member"], "by": f"{part} {name}", "value": best[part][name]},
        "groups": [_group(json.loads(setting), members, figures) for setting, members in settings.items()],
        "members": list(rows),
    }


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Label → where a member's summary has it; of a `SparseAutoencoder` also how many units are active, and dead."""
    named = {"active units": ("test", "l0"), "dead units": ("test", "dead")}
    return _FIGURES | {label: at for label, at in named.items() if rows and all(at[1] in row["test"] for row in rows)}


def _group(
    setting: dict[str, Any], members: Sequence[Mapping[str, Any]], measured: Mapping[str, tuple[str, str]]
) -> dict[str, Any]:
    well = [row for row in members if "diverged" not in row]
    figures = {}
    for label, (part, name) in measured.items():
        values = [row[part][name] for row in well if name in row[part]]
        figures[label] = {
            "mean": float(np.mean(values)) if values else None,
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        }
    return {"setting": setting, "members": len(members), "diverged": len(members) - len(well), "figures": figures}


def table(found: Mapping[str, Any]) -> str:
    """The groups of `results` as a Markdown table: mean ± standard deviation over the seeds."""
    paths = [path for path in found["axes"] if path != SEED]
    figures = found["groups"][0]["figures"] if found["groups"] else _FIGURES
    head = [*(path.partition(".")[2] for path in paths), "members", *figures]
    rows = []
    for group in found["groups"]:
        count = f"{group['members']}" + (f" ({group['diverged']} diverged)" if group["diverged"] else "")
        cells = (drawing.with_spread(figure["mean"], figure["std"], ".4f") for figure in group["figures"].values())
        rows.append([*map(_text, group["setting"].values()), count, *cells])
    return drawing.markdown(head, rows)


def best(found: Mapping[str, Any]) -> str:
    """One line that names the best member."""
    if found["best"] is None:
        return "every member diverged"
    return "best: {member}, with the lowest {by}, {value:.4f}".format(**found["best"])


def write(found: Mapping[str, Any], config: Config, workdir: Path, formats: Sequence[str] = ("png",)) -> None:
    """Write results.json, report.md and, in each format, figures/sweep."""
    files.write_json(workdir / "results.json", found)
    draw({"sweep": lambda: figure(found, config)}, workdir / "figures", formats, replace=True)
    failures = "".join(f"\n- {row['member']}: {row['diverged']}" for row in found["members"] if "diverged" in row)
    units = "nats" if config.loss.reconstruction == "bce" else "squared error"
    models = f', models="{config.model.kind.rpartition(":")[0]}"' if is_own(config.model.kind) else ""
    files.write(
        workdir / "report.md",
        f"# A sweep over {', '.join(found['axes'])}\n\nMean ± standard deviation over the seeds; losses in {units}, "
        f"{'per image' if config.loss.pixels == 'sum' else 'mean over pixels'}.\n\n{table(found)}\n\n{best(found)}"
        + (f': `aejax.load("{workdir / "members" / found["best"]["member"]}"{models})`' if found["best"] else "")
        + (f"\n\n![loss and code against the swept field](figures/sweep.{formats[0]})" if formats else "")
        + "\n"
        + (f"\nDiverged:\n{failures}\n" if failures else ""),
    )


@styled
def figure(found: Mapping[str, Any], config: Config) -> Figure:
    """Test loss, its reconstruction and the code's zeros against the first field but the seed that has several values.

    A fourth panel sets reconstruction against zeros, a point for each member. Everywhere a colour is a value of that
    field, and a marker a setting of the other fields. Values that are no numbers, and seeds, are not joined by a line.
    """
    paths = [path for path in found["axes"] if path != SEED]
    along = next((path for path in paths if len(found["axes"][path]) > 1), next(iter(found["axes"])))
    series: dict[str, list[Mapping[str, Any]]] = {}
    for row in found["members"]:
        others = ", ".join(f"{path.partition('.')[2]} {_text(row[path])}" for path in paths if path != along)
        series.setdefault(others, []).extend([] if "diverged" in row else [row])
    place = _places(found["axes"].get(along, []))
    numbers = along != SEED and list(place) == [json.dumps(value) for value in place.values()]
    colour = dict(zip(place, colormaps["viridis"](np.linspace(0, 0.92, len(place))), strict=True))
    loss, names = loss_unit(config.loss), {}
    names["test loss"] = f"test loss\n[{loss}]"
    names["test reconstruction"] = f"test reconstruction\n[{loss}]"
    names["code zeros"] = "share of the code that is zero"
    drawn = Figure(figsize=(7.2, 4.8 + 0.17 * max(0, len(series) - 6)), layout="constrained")
    *panels, pairs = drawn.subplots(2, 2).flat
    for (label, rows), marker in zip(series.items(), itertools.cycle(_MARKERS), strict=False):
        groups = {value: [row for row in rows if json.dumps(row[along]) == value] for value in place}
        groups = {value: members for value, members in groups.items() if members}
        for panel, name in zip(panels, names, strict=True):
            heights = {value: [_value(row, name) for row in members] for value, members in groups.items()}
            if numbers:
                means = [np.mean(values) for values in heights.values()]
                panel.plot([place[value] for value in heights], means, "-", color="0.6", linewidth=1, zorder=1)
            for value, each in heights.items():
                spread = np.std(each, ddof=1) if len(each) > 1 else None
                panel.errorbar(place[value], np.mean(each), spread, fmt=marker, color=colour[value])
        for value, members in groups.items():
            zeros, losses = ([_value(row, name) for row in members] for name in ("code zeros", "test reconstruction"))
            pairs.plot(zeros, losses, marker, color=colour[value])
        pairs.plot([], [], marker, color="0.6", label=label)
    for panel, name in zip(panels, names.values(), strict=True):
        panel.set(xlabel=_axis_label(along, config), ylabel=name)
        _mark(panel, place, numbers)
    pairs.set(xlabel=names["code zeros"], ylabel=names["test reconstruction"])
    _legends(drawn, _axis_label(along, config), {_text(json.loads(value)): colour[value] for value in place}, pairs)
    if along != SEED:
        seeds, diverged = len(found["axes"].get(SEED, [0])), any("diverged" in row for row in found["members"])
        said = spread_over(seeds, "First three panels") + (" Last panel: each model." if seeds > 1 else "")
        note(drawn, said + (" Models that diverged are left out." if diverged else ""))
    return drawn


_MARKERS = "osD^vPX*<>"

_UNITS = {
    "model.code_size": "units",
    "model.hidden": "units",
    "model.decoder_hidden": "units",
    "model.channels": "channels",
    "model.samples": "codes",
    "training.batch_size": "images",
    "training.epochs": "epochs",
    "coefficients.free_bits": "nats per unit",
}
"""of the fields that have one; what a weight or a rate multiplies has its own"""


def _axis_label(path: str, config: Config) -> str:
    noise = {"gaussian": "standard deviation, pixels from 0 to 1"}.get(config.corruption.kind, "share of the pixels")
    unit = (_UNITS | {"coefficients.noise": noise}).get(path)
    return path.partition(".")[2] + (f" [{unit}]" if unit else "")


def _mark(panel: Axes, place: Mapping[str, float], numbers: bool) -> None:
    """The ticks of the swept field: its values where they are no numbers, powers of ten where they are far apart."""
    if not numbers:
        labels = [_text(json.loads(value)) for value in place]
        turned = sum(map(len, labels)) > 20  # characters that fit below a panel side by side
        panel.set_xticks(list(place.values()), labels, **({"rotation": 40, "ha": "right"} if turned else {}))
        panel.margins(x=0.25 if len(place) < 4 else 0.1)
        return
    positive = [x for x in place.values() if x > 0] or [1.0]
    if max(positive) >= 20 * min(positive):
        decades = np.log10(max(positive) / min(positive))
        panel.set_xscale("symlog", linthresh=min(positive), linscale=max(0.5, 0.22 * decades))
        powers = 10.0 ** np.arange(np.ceil(np.log10(min(positive))), np.floor(np.log10(max(positive))) + 1)
        step = -(-len(powers) // 4)
        panel.set_xticks([0.0, *powers[::step]] if min(place.values()) <= 0 else powers[::step])


def _legends(drawn: Figure, title: str, colours: Mapping[str, Any], pairs: Axes) -> None:
    """The colours of the swept field's values, at most nine of them, and the markers of the other fields' settings."""
    shown = list(colours)
    if len(shown) > 9:
        shown = [shown[round(index)] for index in np.linspace(0, len(shown) - 1, 9)]
    handles = [Line2D([], [], color=colours[text], marker="o", linestyle="", label=text) for text in shown]
    drawn.legend(handles=handles, title=title.replace(" [", "\n["), loc="outside right upper")
    markers, labels = pairs.get_legend_handles_labels()
    if len(labels) > 1:
        drawn.legend(markers, labels, title="other fields", loc="outside right center")


def _places(values: Sequence[Any]) -> dict[str, float]:
    """Where each value, as JSON, stands along an axis: numbers where they are, others one after another."""
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    return {json.dumps(value): value if numbers else index for index, value in enumerate(values)}


def _value(row: Mapping[str, Any], figure: str) -> float:
    part, name = _FIGURES[figure]
    return row[part].get(name, float("nan"))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
