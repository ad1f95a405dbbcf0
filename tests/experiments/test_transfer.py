"""The study of runs that start from another run."""

import json

import numpy as np
import pytest

from aejax import Dataset, load
from transfer import study


@pytest.mark.long  # by default tests/training/test_source.py
@pytest.mark.figures
def test_a_warm_start_needs_fewer_epochs_and_a_frozen_encoder_stays(digits, tmp_path):
    turned = Dataset("turned", digits.train.swapaxes(1, 2), digits.test.swapaxes(1, 2))
    results = study.measure(digits, turned, 1, 3, tmp_path, "the command", ("svg",))
    assert json.loads((tmp_path / "results.json").read_text()) == results
    [new], [continued] = results["more data"].values()
    assert study.epochs_to(continued, new[-1], 0) < 3 and len(continued) == 4
    domain = {name: curve for name, [curve] in results["another domain"].items()}
    assert domain["all parameters, from source"][0] < domain["all parameters, random start"][0]
    images = digits.test
    runs = {name: load(tmp_path / "runs" / name / "seed-0") for name in ("random-start", "decoder-only-from-source")}
    assert np.array_equal(*(run.encode(images) for run in runs.values()))
    assert not np.array_equal(*(run.reconstruct(images) for run in runs.values()))
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["transfer.svg"] and study.tables(results) in (
        tmp_path / "transfer.md"
    ).read_text()


def test_the_first_epoch_that_reaches_a_loss():
    assert study.epochs_to([0.5, 0.3, 0.4], 0.3) == 2 and study.epochs_to([0.5, 0.3], 0.2) is None


def test_images_of_other_sizes_are_refused(script, tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((40, 5, 5), np.float32))
    done = script("transfer.py", "--dataset", "digits", "--target", "images.npy")
    assert done.returncode == 1 and "images of other sizes" in done.stderr and done.stderr.count("\n") == 1
