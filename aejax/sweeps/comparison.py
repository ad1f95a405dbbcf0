"""The members of a sweep side by side: the best one, a table, a figure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from aejax.config import Config, files
from aejax.config.checks import is_own
from aejax.config.grid import SEED
from aejax.evaluation import tables
from aejax.evaluation.figures import STYLE, draw

_WEIGHTS = {f"coefficients.{name}" for name in ("l1", "beta", "free_bits", "rate_penalty", "rate")}
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
    weighted = any(path in _WEIGHTS or path.startswith("weights.") for path in axes)
    compared = all("reconstruction" in row["test"] for row in rows)  # a loss of the user's own may have none
    part, name = ("test", "reconstruction") if weighted and compared else ("test", "total")
    well = [row for row in rows if "diverged" not in row]
    best = min(well, key=lambda row: row[part][name], default=None)
    settings: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        setting = {path: row[path] for path in axes if path != SEED}
        settings.setdefault(json.dumps(setting), []).append(row)
    return {
        "axes": dict(axes),
        "best": None if best is None else {"member": best["member"], "by": f"{part} {name}", "value": best[part][name]},
        "groups": [_group(json.loads(setting), members) for setting, members in settings.items()],
        "members": list(rows),
    }


def _group(setting: dict[str, Any], members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    well = [row for row in members if "diverged" not in row]
    figures = {}
    for label, (part, name) in _FIGURES.items():
        values = [row[part][name] for row in well if name in row[part]]
        figures[label] = {
            "mean": float(np.mean(values)) if values else None,
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        }
    return {"setting": setting, "members": len(members), "diverged": len(members) - len(well), "figures": figures}


def table(found: Mapping[str, Any]) -> str:
    """The groups of `results` as a Markdown table: mean ± standard deviation over the seeds."""
    paths = [path for path in found["axes"] if path != SEED]
    head = [*(path.partition(".")[2] for path in paths), "members", *_FIGURES]
    rows = []
    for group in found["groups"]:
        count = f"{group['members']}" + (f" ({group['diverged']} diverged)" if group["diverged"] else "")
        cells = (tables.with_spread(figure["mean"], figure["std"], ".4f") for figure in group["figures"].values())
        rows.append([*map(_text, group["setting"].values()), count, *cells])
    return tables.markdown(head, rows)


def best(found: Mapping[str, Any]) -> str:
    """One line that names the best member."""
    if found["best"] is None:
        return "every member diverged"
    return "best: {member}, with the lowest {by}, {value:.4f}".format(**found["best"])


def write(found: Mapping[str, Any], config: Config, workdir: Path) -> None:
    """Write results.json, report.md and figures/sweep.png."""
    files.write_json(workdir / "results.json", found)
    (workdir / "figures" / "sweep.png").unlink(missing_ok=True)
    draw({"sweep": lambda: figure(found, config)}, workdir / "figures")
    failures = "".join(f"\n- {row['member']}: {row['diverged']}" for row in found["members"] if "diverged" in row)
    units = "nats" if config.loss.reconstruction == "bce" else "squared error"
    models = f', models="{config.model.kind.rpartition(":")[0]}"' if is_own(config.model.kind) else ""
    files.write(
        workdir / "report.md",
        f"# A sweep over {', '.join(found['axes'])}\n\nMean ± standard deviation over the seeds; losses in {units}, "
        f"{'per image' if config.loss.pixels == 'sum' else 'mean over pixels'}.\n\n{table(found)}\n\n{best(found)}"
        + (f': `aejax.load("{workdir / "members" / found["best"]["member"]}"{models})`' if found["best"] else "")
        + "\n\n![the figures of the code against the swept field](figures/sweep.png)\n"
        + (f"\nDiverged:\n{failures}\n" if failures else ""),
    )


def figure(found: Mapping[str, Any], config: Config) -> Figure:
    """Test loss, its reconstruction and the code's zeros against the first field but the seed that has several values.

    A fourth panel sets reconstruction against zeros, a point for each member. The settings of other fields are colours.
    """
    paths = [path for path in found["axes"] if path != SEED]
    along = next((path for path in paths if len(found["axes"][path]) > 1), next(iter(found["axes"])))
    colours: dict[str, list[Mapping[str, Any]]] = {}
    for row in found["members"]:
        label = ", ".join(f"{path.partition('.')[2]} {_text(row[path])}" for path in paths if path != along)
        colours.setdefault(label, []).extend([] if "diverged" in row else [row])
    per = "image" if config.loss.pixels == "sum" else "pixel"
    names = {"test loss": f"test loss per {per}", "test reconstruction": f"test reconstruction per {per}"}
    names["code zeros"] = "share of the code that is zero"
    place = _places(found["axes"].get(along, []))
    with rc_context(STYLE):
        drawn = Figure(figsize=(11, 2.8), layout="constrained")
        *panels, pairs = drawn.subplots(1, 4)
        for label, rows in colours.items():
            for panel, figure in zip(panels, names, strict=True):
                heights: dict[float, list[float]] = {}
                for row in rows:
                    heights.setdefault(place[json.dumps(row[along])], []).append(_value(row, figure))
                means = [np.mean(values) for values in heights.values()]
                spread = [np.std(values, ddof=1) if len(values) > 1 else 0.0 for values in heights.values()]
                panel.errorbar(list(heights), means, spread, marker=".", capsize=2, label=label or None)
            zeros, losses = ([_value(row, figure) for row in rows] for figure in ("code zeros", "test reconstruction"))
            pairs.plot(zeros, losses, ".")
        for panel, name in zip(panels, names.values(), strict=True):
            panel.set(xlabel=along.partition(".")[2], ylabel=name)
            positive = [x for x in place.values() if x > 0] or [1.0]
            if list(place) != [json.dumps(value) for value in place.values()]:
                panel.set_xticks(list(place.values()), [value.strip('"') for value in place])
            elif along != SEED and max(positive) >= 20 * min(positive):
                panel.set_xscale("symlog", linthresh=min(positive))
        pairs.set(xlabel=names["code zeros"], ylabel=names["test reconstruction"])
        if len(colours) > 1:
            drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return drawn


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
