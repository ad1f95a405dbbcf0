"""Claim 6: a penalty on the code makes it sparse at a small cost."""

from __future__ import annotations

from matplotlib.figure import Figure

from aejax.evaluation.measures import code_measures
from claims import plots
from claims.study import Result, Study, Table, margin, mean, over_seeds

_ARTICLE = 3.2e-4
_STRENGTHS = (1e-6, 1e-5, 1e-4, _ARTICLE, 1e-3, 1e-2)


def sparse(study: Study) -> Result:
    """The shallow autoencoder with the L1 norm of the code from nothing to far too much."""
    runs = {
        strength: study.train(f"sparse {strength:g}", {"model.hidden": (), "coefficients.l1": strength})
        for strength in (0.0, *_STRENGTHS)
    }
    table: Table = {}
    for strength, trained in runs.items():
        measured = [code_measures(run.encode(study.dataset.test)) for run in trained]
        table[f"{strength:g}"] = {
            **over_seeds(
                trained,
                total_loss=lambda run: run.summary["test"]["total"],
                BCE=lambda run: run.summary["test"]["reconstruction"],
            ),
            **{
                label: [float(figures[name]) for figures in measured]
                for label, name in (
                    ("code mean", "code_mean"),
                    ("code variance", "code_variance"),
                    ("share of zeros", "code_fraction_zero"),
                    ("units not zero", "code_l0"),
                    ("dead units", "dead_units"),
                )
            },
            "probe accuracy": [study.probe(run) for run in trained],
        }
    none, article, most = table["0"], table[f"{_ARTICLE:g}"], table[f"{_STRENGTHS[-1]:g}"]
    found = (
        f"At the article's strength ({_ARTICLE:g}) the total loss is "
        f"{mean(article['total loss']) - mean(none['total loss']):.4f} above that without a penalty, and the "
        f"reconstruction alone {mean(article['BCE']) - mean(none['BCE']):.4f}; the mean of the code falls from "
        f"{mean(none['code mean']):.2f} to {mean(article['code mean']):.2f}, its variance from "
        f"{mean(none['code variance']):.1f} to {mean(article['code variance']):.2f}, and the share of zeros goes from "
        f"{mean(none['share of zeros']):.0%} to {mean(article['share of zeros']):.0%}. The probe's accuracy goes from "
        f"{mean(none['probe accuracy']):.3f} to {mean(article['probe accuracy']):.3f} "
        f"({margin(article['probe accuracy'], none['probe accuracy'])}). At {_STRENGTHS[-1]:g}, "
        f"{mean(most['dead units']):.1f} of 32 units are dead and the BCE is {mean(most['BCE']):.3f}."
    )

    def figure() -> Figure:
        drawn, axes = plots.panels(3, width=3.1)
        rows = {f"{strength:g}": strength for strength in _STRENGTHS}
        plots.line(axes[0], table, rows, "total loss", "total")
        plots.line(axes[0], table, rows, "BCE", "BCE alone", "oC1-")
        axes[0].axhline(mean(none["BCE"]), color="0.5", linestyle=":", label="no penalty")
        axes[0].set(ylabel="test loss [nats per pixel]")
        plots.line(axes[1], table, rows, "code mean", "mean")
        plots.line(axes[1], table, rows, "code variance", "variance", "oC1-")
        axes[1].set(ylabel="of the code", yscale="log")
        for axis in axes[:2]:
            axis.set(xscale="log", xlabel="weight of the L1 norm")
            axis.legend(fontsize=7)
        for strength in (0.0, 1e-4, _ARTICLE, 1e-3):
            codes = runs[strength][0].encode(study.dataset.test).ravel()
            label = f"{strength:g} ({(codes == 0).mean():.0%} zero)"
            axes[2].hist(codes[codes != 0], bins=60, histtype="step", label=label, density=True)
        axes[2].set(xlabel="value of a unit that is not 0", ylabel="density", yscale="log")
        axes[2].legend(fontsize=7)
        return drawn

    return Result(
        "A penalty makes the code sparse, at a final loss 0.01 higher",
        "The shallow autoencoder (32 units, ReLU), L1 norm of the code summed over units, mean over examples.",
        found,
        table,
        figure,
    )
