"""Claims 5 and 7: denoising learns better features, and convolutions denoise better."""

from matplotlib.figure import Figure

from aejax.evaluation import errors
from aejax.evaluation.drawing import PALETTE, styled, tested_ticks
from aejax.evaluation.figures import image_rows
from aejax.evaluation.measures import knn, linear_probe, pca, psnr
from aejax.training import unit_interval
from claims import plots
from claims.study import Result, Study, Table, bce_of, differs, margin, mean, over_seeds

_SIGMAS, _MASKED = (0.1, 0.2, 0.4, 0.8), (0.25, 0.5)
_NOISE = 0.4
_NEAREST = "accuracy of nearest neighbours"


def better_features(study: Study) -> Result:
    """Compare classification from the codes of clean images, after training with and without corruption."""
    data = study.dataset
    corrupted = [("gaussian", sigma) for sigma in _SIGMAS] + [("masking", share) for share in _MASKED]
    kinds = {"clean": {}}
    kinds |= {f"{kind} {noise}": {"corruption.kind": kind, "coefficients.noise": noise} for kind, noise in corrupted}
    table: Table = {}
    for name, changes in kinds.items():
        runs = study.train(f"features {name}", changes)
        table[name] = over_seeds(
            runs,
            probe_accuracy=study.probe,
            **{_NEAREST: lambda run: study.accuracy(knn, run.encode(study.learnt), run.encode(data.test))},
            BCE_of_clean_images=lambda run: bce_of(run, data.test),
        )
    pixels = [unit_interval(part).reshape(len(part), -1) for part in (study.learnt, data.test)]
    for name, parts in (("PCA of 32", pca(*pixels, 32)), ("pixels", pixels)):
        classifiers = {"probe accuracy": linear_probe, _NEAREST: knn}
        table[name] = {column: [study.accuracy(each, *parts)] * study.seeds for column, each in classifiers.items()}
    said, gains = [], []
    for column in ("probe accuracy", _NEAREST):
        best = max((name for name in kinds if name != "clean"), key=lambda name: mean(table[name][column]))
        ours, clean = table[best][column], table["clean"][column]
        base = ", ".join(f"{name} {mean(table[name][column]):.3f}" for name in ("PCA of 32", "pixels"))
        said.append(
            f"{column}: best with {best}, {mean(ours):.3f} against {mean(clean):.3f} without corruption "
            f"({margin(ours, clean)}; {base})"
        )
        gain = f"{mean(ours) - mean(clean):+z.3f} with {best}"
        gains.append(f"{column} {gain if differs(ours, clean) else 'no better than without'}")
    return Result(
        "Denoising learns better features",
        f"By training on corrupted images: {', '.join(gains)}",
        "The deep autoencoder trained on clean images, with Gaussian noise and with masked pixels; classes predicted "
        "from the 32 units of the code of clean images.",
        "; ".join(said) + ".",
        table,
        lambda: features_figure(table),
        "Accuracy of a linear probe and of nearest neighbours against the strength of the corruption; "
        f"{plots.means(study.seeds)}",
    )


@styled
def features_figure(table: Table) -> Figure:
    """Draw the accuracies against the strength of each kind of corruption."""
    strengths = {"gaussian": "σ of the Gaussian noise\n[pixels from 0 to 1]", "masking": "share of masked pixels"}
    names = {"probe accuracy": "accuracy of\na linear probe", _NEAREST: "accuracy of\nnearest neighbours"}
    drawn, axes = plots.panels(2, 2, sharex="col", sharey="row")
    for row, (column, label) in zip(axes, names.items(), strict=True):
        row[0].set_ylabel(label)
        for axis, kind in zip(row, strengths, strict=True):
            known = {name: float(name.rpartition(" ")[2]) for name in table if name.startswith(kind)}
            plots.line(axis, table, {"clean": 0.0, **known}, column, "code of 32", limits=(0, 1))
            tested_ticks(axis, [0.0, *known.values()])
            # A line and the dashes on it both stay visible where they coincide.
            principal = mean(table["PCA of 32"][column])
            axis.axhline(principal, color=PALETTE[3], linewidth=1.2, zorder=0, label="PCA of 32")
            axis.axhline(mean(table["pixels"][column]), color="0.2", linewidth=1.2, ls="--", zorder=1, label="pixels")
    for axis, label in zip(axes[1], strengths.values(), strict=True):
        axis.set_xlabel(label)
    drawn.legend(*axes[0, 0].get_legend_handles_labels(), title="classes predicted from", loc="outside right upper")
    return plots.explain(drawn, table)


def convolutions(study: Study) -> Result:
    """Compare dense and convolutional models at equal noise."""
    height, width, _ = study.dataset.image_shape
    spatial = -(-height // 4) * -(-width // 4)
    noise = {"corruption.kind": "gaussian", "coefficients.noise": _NOISE}
    wide = {"model.hidden": (), "model.code_size": 16 * spatial}
    kinds = {
        "dense, code of 32": {},
        f"dense, code of {16 * spatial}": wide,
        "convolutional, code of 32": {"model.hidden": (), "model.channels": (16, 32)},
        f"convolutional, code of {16 * spatial}": wide | {"model.channels": (16,), "model.spatial_code": True},
    }
    runs = {name: study.train(f"denoising {name}".replace(",", ""), noise | changes) for name, changes in kinds.items()}
    test = study.dataset.test
    clean = unit_interval(test)
    table: Table = {}
    for name, trained in runs.items():
        table[name] = over_seeds(
            trained,
            test_PSNR=lambda run: psnr(clean, run.reconstruct(run.corrupt(test))).mean(),
            test_BCE=lambda run: errors(run, run.encode(run.corrupt(test)), clean).mean(),
            parameters=lambda run: run.parameters,
            seconds_of_training=lambda run: run.summary["seconds"],
        )
    noisy = float(psnr(clean, runs["dense, code of 32"][0].corrupt(test)).mean())
    best = {
        kind: max((name for name in kinds if name.startswith(kind)), key=lambda name: mean(table[name]["test PSNR"]))
        for kind in ("dense", "convolutional")
    }
    ours, theirs = (table[best[kind]]["test PSNR"] for kind in ("convolutional", "dense"))
    seconds = {kind: mean(table[best[kind]]["seconds of training"]) for kind in best}

    def figure() -> Figure:
        seen = runs["dense, code of 32"][0].corrupt(test[:10])
        rows = {"original": clean[:10], f"noisy, σ = {_NOISE}\n{noisy:.1f} dB": seen}
        for kind in ("dense", "convolutional"):
            run = runs[best[kind]][0]
            name = best[kind].replace(", ", ",\n")
            rows[f"{name}\n{mean(table[best[kind]]['test PSNR']):.1f} dB"] = run.reconstruct(run.corrupt(test[:10]))
        return image_rows(rows, caption=f"seed 0 of {study.seeds}; PSNR: {plots.means(study.seeds)}")

    return Result(
        "Convolutional autoencoders denoise better",
        _title(ours, theirs),
        f"Gaussian noise of σ = {_NOISE}, as many epochs for all; seconds are those of the machine at that moment.",
        f"The noisy images have {noisy:.1f} dB. The best convolutional model ({best['convolutional']}) reaches "
        f"{mean(ours):.2f} dB, the best dense one ({best['dense']}) {mean(theirs):.2f} dB: "
        f"{mean(ours) - mean(theirs):+.2f} dB, {margin(ours, theirs)}, at "
        f"{seconds['convolutional'] / seconds['dense']:.1f} times the seconds.",
        table,
        figure,
        "Test images, the noisy images, and the images that the best dense and the best convolutional model denoised; "
        f"seed 0 of {study.seeds}",
    )


def _title(ours: list[float], theirs: list[float]) -> str:
    difference = f"{mean(ours) - mean(theirs):+z.2f} dB, {margin(ours, theirs)}"
    better = "better than" if differs(ours, theirs) and mean(ours) > mean(theirs) else "no better than"
    return f"The best convolutional autoencoder denoises {better} the best dense one ({difference})"
