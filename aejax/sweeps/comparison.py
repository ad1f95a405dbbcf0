"""Comparison of the members of a sweep: the best member by the validation examples, a table, a figure."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aejax.config import Config, complete, files
from aejax.config.checks import is_finite, is_own
from aejax.config.grid import SEED, text_of
from aejax.config.numbers import OPTIMIZERS
from aejax.evaluation import drawing
from aejax.training.selection import Selection

_METRICS = {
    "validation loss": ("validation", "total"),
    "validation reconstruction": ("validation", "reconstruction"),
    "test loss": ("test", "total"),
    "test reconstruction": ("test", "reconstruction"),
    "code mean": ("code", "mean"),
    "code variance": ("code", "variance"),
    "code zeros": ("code", "fraction_zero"),
    "active units": ("test", "l0"),
    "dead units": ("test", "dead"),
}
"""label → part of a member's summary, and name in it; a metric that a member does not have is left out"""
_MARKERS = "osD^vPX*<>"
_CHANGE_THE_LOSS = "coefficients.", "loss.", "corruption.", "data.", "model.kind", "model.options."
"""beginnings of the fields that change the loss itself"""
_CHANGE_THE_UNIT = {"loss.reconstruction", "loss.pixels", "model.kind", "coefficients.delta"}
"""fields that change the unit or the definition of the term reconstruction"""
_KEEP_THE_LOSS = [f"coefficients.{name}" for name in (*OPTIMIZERS["adamw"], "shift", "crop")] + ["data.augmentation"]


def chosen(axes: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return the fields among whose values a sweep chooses: those with several values, except the seed."""
    return [path for path, values in axes.items() if path != SEED and len(values) > 1]


def changes_selected(axes: Mapping[str, Sequence[Any]], config: Config) -> tuple[str, set[str]] | None:
    """Return how a sweep changes the number that selects, and the terms that it changes; None if members compare."""
    changing = []
    for path in chosen(axes):
        bound = path == "model.samples" and config.loss.bound == "importance"
        if bound or (path.startswith(_CHANGE_THE_LOSS) and path not in _KEEP_THE_LOSS):
            changing.append(path)
    # The weight of a term has the term's name.
    terms = {"total", *(path.rpartition(".")[2] for path in changing)}
    terms |= {"reconstruction"} if _CHANGE_THE_UNIT.intersection(changing) else set()
    if not changing or Selection.of(config).name not in terms:
        return None
    return f"{' and '.join(changing)} {'change' if len(changing) > 1 else 'changes'} the loss", terms


def _no_best(axes: Mapping[str, Sequence[Any]], rows: Sequence[Mapping[str, Any]], config: Config) -> str | None:
    """Return why no member can be named the best; None if the members can be compared."""
    selection = Selection.of(config)
    if not chosen(axes):
        return "only the seed varies"
    if all("diverged" in row for row in rows):
        return "every member diverged"
    if not all("validation" in row for row in rows):
        return "there are no validation examples; set data.validation"
    if changed := changes_selected(axes, config):
        # A penalty is small where its weight is.
        other = changed[1] | {*complete(config).coefficients}
        names = sorted(set.intersection(*(set(row["validation"]) for row in rows)) - other)
        advice = f"set training.select to a term or metric that stays the same: {', '.join(names)}"
        advice = advice if names else "no term or metric stays the same, so compare metrics of evaluate.py"
        return f"not comparable, since {changed[0]}; {advice}"
    finished = [row for row in rows if "diverged" not in row]
    values = set(map(selection.value, finished))
    if math.isinf(min(values)):
        return f"validation {selection.name} is not finite"
    if len(finished) > 1 and len(values) == 1:
        return f"validation {selection.name} is {finished[0]['validation'][selection.name]:g} for every member"
    return None


def results(
    axes: Mapping[str, Sequence[Any]], rows: Sequence[Mapping[str, Any]], config: Config, own: Sequence[str] = ()
) -> dict[str, Any]:
    """Compute the content of results.json.

    Args:
        axes: the values of each swept field.
        rows: for each member its name, its value of each swept field and its summary; "diverged" holds the message of
            a member that diverged.
        config: the common configuration of the members.
        own: names of the metrics of the model itself.

    Returns:
        axes; members, the rows; groups of members that differ only in the seed, with mean and std of each metric over
        those that did not diverge; best, the member that `training.select` chooses by the validation examples; and,
        where best is None, no_best, the reason.
    """
    reason, selection, every = _no_best(axes, rows, config), Selection.of(config), dict(_METRICS)
    for part, name in itertools.product(("validation", "test"), own):
        if (part, name) not in every.values():
            every[f"{part} {name}"] = part, name
    metrics = {label: each for label, each in every.items() if all(each[1] in row.get(each[0], ()) for row in rows)}
    best = {"best": None, "no_best": reason}
    if reason is None:
        row = min((row for row in rows if "diverged" not in row), key=selection.value)
        best = {"best": {"member": row["member"], "by": selection.place, "value": row["validation"][selection.name]}}
    groups = {}
    for row in rows:
        groups.setdefault(json.dumps({path: row[path] for path in axes if path != SEED}), []).append(row)

    return {
        "axes": dict(axes),
        **best,
        "groups": [
            {
                "setting": json.loads(setting),
                "members": len(members),
                "diverged": sum("diverged" in row for row in members),
                "figures": {
                    label: drawing.mean_and_std(row[part][name] for row in members if "diverged" not in row)
                    for label, (part, name) in metrics.items()
                },
            }
            for setting, members in groups.items()
        ],
        "members": list(rows),
    }


def table(found: Mapping[str, Any]) -> str:
    """Format the groups of `results` as a Markdown table: mean ± standard deviation over the seeds."""
    paths = [path for path in found["axes"] if path != SEED]
    head = [*(path.partition(".")[2] for path in paths), "members", *found["groups"][0]["figures"]]
    rows = []
    for group in found["groups"]:
        count = f"{group['members']}" + (f" ({group['diverged']} diverged)" if group["diverged"] else "")
        cells = (drawing.with_spread(metric["mean"], metric["std"], ".4f") for metric in group["figures"].values())
        rows.append([*map(text_of, group["setting"].values()), count, *cells])
    return drawing.markdown(head, rows)


def best(found: Mapping[str, Any]) -> str:
    """Name the best member in one line."""
    if found["best"] is None:
        return f"no best member: {found['no_best']}"
    return "best: {member}, with the {by}, {value:.4f}".format(**found["best"])


def write(
    found: Mapping[str, Any],
    config: Config,
    unit: str | None,
    workdir: Path,
    formats: Sequence[str] = ("png",),
    said: str | None = None,
) -> None:
    """Write results.json, report.md and, in each format, figures/sweep.

    Args:
        unit: of the losses; None if the members have several units, or a loss of their own.
        said: a line about the validation examples.
    """
    files.write_json(workdir / "results.json", found)
    models = f', models="{config.model.kind.rpartition(":")[0]}"' if is_own(config.model.kind) else ""
    paragraphs = [
        f"# Sweep over {', '.join(found['axes'])}",
        f"Mean ± standard deviation over the seeds{'' if unit is None else f'; losses in {unit}'}."
        + (f" {said}." if said else ""),
        f"Models that a device trains at a time: {', '.join(map(str, sorted(set(found['models_at_a_time']))))}.",
        table(found),
        best(found),
    ]
    if found["best"]:
        paragraphs[-1] += f': `aejax.load("{files.addressed(workdir / "members" / found["best"]["member"])}"{models})`'
    if formats:
        drawn = figure(found, config, unit)
        drawing.draw({"sweep": lambda: drawn}, workdir / "figures", formats, replace=True)
        shown = (f"{panel.get_ylabel()} against {panel.get_xlabel()}" for panel in drawn.axes if panel.axison)
        alt = "; ".join(shown).translate(str.maketrans("[]\n", "() "))
        paragraphs.append(f"![{alt}](figures/sweep.{formats[0]})")
    if failures := [f"- {row['member']}: {row['diverged']}" for row in found["members"] if "diverged" in row]:
        paragraphs += ["Diverged:", "\n".join(failures)]
    files.write(workdir / "report.md", "\n\n".join(paragraphs) + "\n")


@drawing.styled
def figure(found: Mapping[str, Any], config: Config, unit: str | None = None) -> Figure:
    """Draw loss, reconstruction and the code's zeros against one swept field.

    All are of the validation examples or, without any, of the test examples. The field is the first one with several
    values, except the seed. The last panel has reconstruction against zeros. Two values have a thin line for each seed
    in its place. A reconstruction that is the loss has no panel of its own. A colour is a value of the field. A marker
    is a setting of the other fields or, if these do not vary, a value too. Lines join numbers that are no seeds.
    """
    axes, rows = found["axes"], [row for row in found["members"] if "diverged" not in row]
    paths = [path for path in axes if path != SEED]
    along = next(iter(chosen(axes)), SEED if SEED in axes else paths[0])
    values, numbers = axes[along], all(map(is_finite, axes[along]))
    paired, joined = len(values) == 2 and along != SEED, numbers and along != SEED
    places = values if numbers else list(range(len(values)))
    place_of = dict(zip(map(text_of, values), places, strict=True))  # as a key, True would equal 1
    many = len(values) > len(drawing.PALETTE)
    colours = drawing.shades(len(values)) if numbers or many else drawing.PALETTE
    series: dict[str, list[Mapping[str, Any]]] = {}
    for row in found["members"]:
        others = ", ".join(f"{path.partition('.')[2]} {text_of(row[path])}" for path in paths if path != along)
        series.setdefault(others, []).extend([] if "diverged" in row else [row])
    part = "validation" if all("validation" in row for row in found["members"]) else "test"
    labels = {(part, "total"): drawing.with_unit(f"{part} loss", unit)}
    if any(row[part].get("reconstruction") != row[part]["total"] for row in rows):
        labels[part, "reconstruction"] = drawing.with_unit(f"{part} reconstruction", unit)
    labels["code", "fraction_zero"] = "share of the code\nthat is zero"
    down, across = (1, len(labels)) if paired else (1, 1) if len(values) < 3 else (2, 2)
    size = (2.6 * across + 2.0 * (not paired or len(series) > 1), 2.4 * down + 0.3 * (down == 1))
    drawn = Figure(figsize=(size[0], size[1] + 0.17 * max(0, len(series) - 6)), layout="constrained")
    every = list(drawn.subplots(down, across, squeeze=False).flat)
    for panel in every[len(labels) + 1 :]:
        panel.set_axis_off()
    *panels, pairs = [*every, Figure().subplots()] if paired else every[: len(labels) + 1]  # that panel is not shown
    for (setting, members), mark in zip(series.items(), itertools.cycle(_MARKERS), strict=False):
        pairs.plot([], [], mark, color="0.6", label=setting)
        if not members:  # all diverged
            continue
        heights_of = [[row[group].get(name, np.nan) for group, name in labels] for row in members]
        points = np.column_stack([[place_of[text_of(row[along])] for row in members], heights_of])
        means, markers = [], itertools.cycle(_MARKERS if len(series) == 1 else mark)
        for place, colour, marker in zip(places, colours, markers, strict=False):
            each = points[points[:, 0] == place]
            if not len(each):
                continue
            means.append(each.mean(axis=0))
            for panel, (group, _), heights in zip(panels, labels, each.T[1:], strict=False):
                limits = (0, 1) if group == "code" else ()
                std = None if paired or len(each) == 1 else heights.std(ddof=1)
                spread = drawing.within(heights.mean(), std, *limits)
                panel.errorbar(place, heights.mean(), spread, fmt=marker, color=colour)
            pairs.plot(each[:, -1], each[:, -2], marker, color=colour)
        lines = [(means, "0.3", 2.5)] if paired else [(means, "0.6", 1.2)] if joined else []
        if paired:
            seeds = [row.get(SEED) for row in members]
            lines += [(points[[each == seed for each in seeds]], "0.6", 1.2) for seed in dict.fromkeys(seeds)]
        for line, grey, width in lines:
            across_at, *of_panels = np.transpose(line)
            for panel, heights in zip(panels, of_panels, strict=False):
                panel.plot(across_at, heights, "-", color=grey, linewidth=width, zorder=1)
    swept, texts = _axis_label(along, config), list(map(drawing.number if joined else text_of, values))
    for panel, label in zip(panels, labels.values(), strict=False):
        panel.set(xlabel=swept, ylabel=label)
        if joined:
            drawing.tested_ticks(panel, values)
        else:
            turned = sum(map(len, texts)) > 20  # characters that fit side by side below a panel
            panel.set_xticks(places, texts, **({"rotation": 40, "ha": "right"} if turned else {}))
            panel.margins(x=0.25 if len(texts) < 4 else 0.1)
    pairs.set(xlabel="share of the code that is zero", ylabel=list(labels.values())[-2])
    styles = zip(texts, colours, itertools.cycle(_MARKERS if len(series) == 1 else "o"), strict=False)
    _legends(drawn, swept, [] if paired else list(styles), pairs)
    count = len(axes.get(SEED, [0]))
    if along == SEED:
        said = "One model for each seed."
    elif count == 1:
        said = "Points: one seed."
    elif paired:
        said = f"Points: means over {count} seeds; thin lines: one for each seed."
    else:
        last, pair = "abcd"[len(panels) - 1 :][:2]
        said = f"{drawing.spread_over(count, f'Panels a to {last}')} Panel {pair}: each model."
    drawing.note(drawn, said + (" Models that diverged are omitted." if len(rows) < len(found["members"]) else ""))
    return drawn


_UNITS = {
    "model.code_size": "units",
    "model.hidden": "units",
    "model.decoder_hidden": "units",
    "model.channels": "channels",
    "model.samples": "codes",
    "training.batch_size": "examples",
    "coefficients.free_bits": "nats per unit",
}
"""units of fields"""


def _axis_label(path: str, config: Config) -> str:
    noise = {"gaussian": "standard deviation, values from 0 to 1"}.get(config.corruption.kind, "share of the values")
    unit = "epochs" if path.endswith("epochs") else (_UNITS | {"coefficients.noise": noise}).get(path)
    name = "weight of the L1 norm" if path == "coefficients.l1" else path.partition(".")[2]
    return name + (f" [{unit}]" if unit else "")


def _legends(drawn: Figure, title: str, styles: Sequence[tuple[str, Any, str]], pairs: Axes) -> None:
    """Explain colour and marker of at most nine values of the swept field, and the markers of the other fields."""
    shown = [styles[round(index)] for index in np.linspace(0, len(styles) - 1, min(9, len(styles)))]
    handles = [Line2D([], [], label=text, color=colour, marker=marker, ls="") for text, colour, marker in shown]
    if handles:
        drawn.legend(handles=handles, title=title.replace(" [", "\n["), loc="outside right upper")
    markers, labels = pairs.get_legend_handles_labels()
    if len(labels) > 1:
        drawn.legend(markers, labels, title="other fields", loc="outside right center")
