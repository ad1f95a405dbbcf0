"""Claim 9: a variational autoencoder is a generative model."""

import numpy as np
from matplotlib.figure import Figure

from aejax.evaluation import Run, likelihood
from aejax.evaluation.figures import image_rows
from aejax.evaluation.measures import psnr
from aejax.training import unit_interval
from claims.study import Result, Study, Table, mean

_SAMPLES = 100
_IMAGES = 1_000
_ELBO = "\N{MINUS SIGN}ELBO"


def generative(study: Study) -> Result:
    """Compare samples of a variational autoencoder with images that a plain one decodes from random codes."""
    size, nearest = {"model.hidden": (400,), "model.code_size": 20}, "samples: PSNR to the nearest training image"
    variational = {"model.kind": "variational", "loss.pixels": "sum", "data.binarize": True}
    vaes = study.train("generative variational", size | variational)
    plain = study.train("generative plain", size)
    rows: dict[str, list[float | None]] = {_ELBO: [], "KL": [], "NLL": [], "active units": []}
    unknown = {column: [None] * study.seeds for column in rows}
    for run in vaes:
        found = likelihood(run.autoencoder, run.evaluation_inputs(study.dataset.test[:_IMAGES])[0], _SAMPLES)
        numbers = (-found.elbo, found.kl.mean(), found.nll.mean(), found.active_units)
        for column, number in zip(rows, numbers, strict=True):
            rows[column].append(float(number))
    of_plain = {nearest: [_nearest(study, _sampled(study, run, 200)) for run in plain]}
    table: Table = {
        "variational": rows | {nearest: [_nearest(study, run.sample(200, seed=1)) for run in vaes]},
        "plain, codes from a fitted normal distribution": of_plain | unknown,
        "test images": {nearest: [_nearest(study, unit_interval(study.dataset.test[:200]))] * study.seeds} | unknown,
    }
    near = [mean(row[nearest]) for row in table.values()]
    the, nearer = ("the", "nearer") if near[0] > near[1] else ("by this measure the", "no nearer")

    def figure() -> Figure:
        samples = {"variational,\ncodes from\nthe prior": vaes[0].sample(10, seed=1)}
        samples["plain,\nfitted codes"] = _sampled(study, plain[0], 10)
        rows = {"test images": unit_interval(study.dataset.test[:10]), **samples}
        return image_rows(rows, caption=f"seed 0 of {study.seeds}")

    return Result(
        "A variational autoencoder generates",
        f"Samples of the variational autoencoder lie {nearer} to the training "
        f"images than those of a plain one ({near[0]:.1f} and {near[1]:.1f} dB; test images {near[2]:.1f} dB)",
        "A variational autoencoder 400-20-400 on binarized images, and a plain one of the same size whose codes are "
        "drawn from a normal distribution with the mean and covariance of its training codes.",
        f"{_ELBO} {mean(rows[_ELBO]):.1f} nats per image, negative log-likelihood {mean(rows['NLL']):.1f} (importance "
        f"sampling, {_SAMPLES} codes for each of {min(_IMAGES, len(study.dataset.test)):,} test images), "
        f"{mean(rows['active units']):.1f} of 20 units active. Its samples are at {near[0]:.1f} dB from the nearest "
        f"training image, those of the plain model at {near[1]:.1f} dB, unseen test images at {near[2]:.1f} dB: "
        f"{the} variational samples lie {nearer} to the data than the plain ones.",
        table,
        figure,
        "Test images, samples of the variational autoencoder, and images that the plain autoencoder decodes from codes "
        f"of a fitted normal distribution; seed 0 of {study.seeds}",
    )


def _sampled(study: Study, run: Run, count: int) -> np.ndarray:
    codes = run.encode(study.learnt)
    drawn = np.random.default_rng(0).multivariate_normal(codes.mean(axis=0), np.cov(codes.T), count)
    return run.decode(np.maximum(drawn, 0))  # the units of its code are ReLU


def _nearest(study: Study, images: np.ndarray) -> float:
    """Return the PSNR to the nearest of 10,000 training images, mean over images [dB]."""
    from sklearn.neighbors import NearestNeighbors

    known = unit_interval(study.learnt)
    nearest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(known.reshape(len(known), -1))
    found = nearest.kneighbors(images.reshape(len(images), -1), return_distance=False)[:, 0]
    return float(psnr(images, known[found]).mean())
