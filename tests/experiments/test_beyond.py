"""The models beyond the article: what their table is made of."""

import json

import pytest

from aejax import evaluate, load
from gallery import study


@pytest.mark.long
def test_each_model_is_trained_evaluated_and_compared_with_what_others_report(small, tmp_path):
    config, dataset = small
    vae = config.replace({"model.kind": "variational", "loss.pixels": "sum", "training.epochs": 1})
    configs = {"vae": vae, "own": config}
    results = {name: study.measure(name, each, 1, dataset, tmp_path, "the command") for name, each in configs.items()}
    for name, result in results.items():
        assert json.loads((tmp_path / f"{name}.json").read_text()) == result and result["command"] == "the command"
    (found,) = results["vae"]["seeds"]
    assert found["evaluation"] == evaluate(load(tmp_path / "vae" / "0"), dataset) and found["epochs"] == 1
    row = study.compared(results).splitlines()[2]
    assert row.startswith("| vae | test NLL [nats] | 89.78 (pythae)")
    assert f"| {found['evaluation']['nll']:.2f} | 1 | 0.0 |" in row
    assert study.compared(results).count("\n") == 2  # the gallery's own models have no published numbers


def test_a_metric_of_our_own_may_be_compared_with_ours():
    evaluation = {"probe_code": 0.875, "probe_pca": 0.8125, "knn_code": 0.5, "knn_pca": 0.25}
    results = {"deep": {"seeds": [{"epochs": 3, "seconds": 90.0, "evaluation": evaluation}]}}
    assert "| 0.8125 (PCA of 32) | 0.8750 | 3 | 1.5 |" in study.compared(results)


@pytest.mark.long
def test_the_script(script, tmp_path):
    done = script("beyond.py", "--models", "vae_flax", "--dataset", "digits", "--workdir", "beyond")
    assert done.returncode == 0, done.stderr
    assert "| vae_flax | test ELBO [nats] | about -104 (Flax's example) |" in done.stdout


def test_the_script_refuses_what_is_not_there(script):
    missing = script("beyond.py", "--models", "none")
    assert missing.returncode == 1 and missing.stderr.count("\n") == 1 and "none.py" in missing.stderr
