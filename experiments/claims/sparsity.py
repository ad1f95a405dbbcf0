"""Claim 6: a penalty on the code makes it sparse at a small cost."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aejax.evaluation.drawing import number, shades, styled, tested_ticks
from aejax.evaluation.measures import code_measures
from claims import plots
from claims.study import Result, Study, Table, margin, mean

_ARTICLE = 3.2e-4
_STRENGTHS = (1e-6, 1e-5, 1e-4, _ARTICLE, 1e-3, 1e-2)
_MEASURES = {
    "code mean": "code_mean",
    "code variance": "code_variance",
    "share of zeros": "code_fraction_zero",
    "units not zero": "code_l0",
    "dead units": "dead_units",
}


def sparse(study: Study) -> Result:
    """Train the shallow autoencoder with a wide range of weights of the L1 norm of the code."""
    runs = {
        strength: study.train(f"sparse {strength:g}", {"model.hidden": (), "coefficients.l1": strength})
        for strength in (0.0, *_STRENGTHS)
    }
    table: Table = {}
    for strength, trained in runs.items():
        measured = [code_measures(run.encode(study.dataset.test)) for run in trained]
        table[f"{strength:g}"] = {
            "total loss": [run.summary["test"]["total"] for run in trained],
            "BCE": [run.summary["test"]["reconstruction"] for run in trained],
            **{label: [float(figures[name]) for figures in measured] for label, name in _MEASURES.items()},
            "probe accuracy": [study.probe(run) for run in trained],
        }
    none, article, most = table["0"], table[f"{_ARTICLE:g}"], table[f"{_STRENGTHS[-1]:g}"]
    shown = {strength: runs[strength][0].encode(study.dataset.test) for strength in (0.0, 1e-4, _ARTICLE, 1e-3)}
    loss, bce = (mean(article[name]) - mean(none[name]) for name in ("total loss", "BCE"))
    return Result(
        "A penalty makes the code sparse, at a final loss 0.01 higher",
        f"At the article's strength {mean(article['share of zeros']):.0%} of the code is zero, without a penalty "
        f"{mean(none['share of zeros']):.0%}, at a loss that is {loss:.3f} higher",
        "The shallow autoencoder (32 units, ReLU), L1 norm of the code summed over units, mean over examples.",
        f"At the article's strength ({_ARTICLE:g}) the total loss is {loss:.4f} above that without a penalty, and the "
        f"reconstruction alone {bce:.4f}; the mean of the code falls from "
        f"{mean(none['code mean']):.2f} to {mean(article['code mean']):.2f}, its variance from "
        f"{mean(none['code variance']):.1f} to {mean(article['code variance']):.2f}, and the share of zeros goes from "
        f"{mean(none['share of zeros']):.0%} to {mean(article['share of zeros']):.0%}. The probe's accuracy goes from "
        f"{mean(none['probe accuracy']):.3f} to {mean(article['probe accuracy']):.3f} "
        f"({margin(article['probe accuracy'], none['probe accuracy'])}). At {_STRENGTHS[-1]:g}, "
        f"{mean(most['dead units']):.1f} of 32 units are dead and the BCE is {mean(most['BCE']):.3f}.",
        table,
        lambda: figure(table, shown),
        "Losses, mean, variance and zeros of the code against the weight of the L1 norm, "
        f"{plots.means(study.seeds)}; and histograms of codes, seed 0 of {study.seeds}",
    )


@styled
def figure(table: Table, codes: Mapping[float, np.ndarray]) -> Figure:
    """Draw losses, moments and zeros of the code against the weight of the penalty, and some codes."""
    drawn, axes = plots.panels(2, 2)
    losses, moments, zeros, values = axes.flat
    rows = {row: float(row) for row in table}
    plots.line(losses, table, rows, "total loss", "total loss")
    plots.line(losses, table, rows, "BCE", "BCE", 1, markerfacecolor="none")
    losses.set_ylabel("test loss\n[nats per pixel]")
    losses.legend()
    plots.line(moments, table, rows, "code mean", "mean")
    plots.line(moments, table, rows, "code variance", "variance", 1)
    moments.set_yscale("symlog", linthresh=1, linscale=0.5)  # error bars may reach 0
    moments.set_ylabel("mean and variance\nof the code")
    moments.legend()
    plots.line(zeros, table, rows, "share of zeros", limits=(0, 1))
    zeros.set_ylabel("share of the code\nthat is zero")
    for axis in (losses, moments, zeros):
        tested_ticks(axis, rows.values())
        axis.axvline(_ARTICLE, color="0.6", linestyle=":")
        axis.set_xlabel("weight of the L1 norm (dotted: the article's)")
    edges = np.linspace(0, max(float(each.max()) for each in codes.values()), 61)
    lines, colours = [], shades(len(codes))
    for (strength, each), colour, dashes in zip(codes.items(), colours, ("-", "--", "-.", ":"), strict=False):
        style = {"color": colour, "linestyle": dashes, "linewidth": 1.5}
        lines.append(Line2D([], [], label=number(strength), **style))
        weights = np.full(np.count_nonzero(each), 100 / each.size)
        values.hist(each[each != 0], edges, histtype="step", weights=weights, **style)
    values.set(xlabel="value of a unit that is not zero", ylabel="share of all values\nper bin [%]", yscale="log")
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.26)}  # below the panel
    values.legend(handles=lines, title="weight of the L1 norm", ncols=4, columnspacing=1, **place)
    return plots.explain(drawn, table, more=" Panel d: seed 0 of {seeds}.")
