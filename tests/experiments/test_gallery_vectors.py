"""Sparse autoencoders of vectors in the gallery, and their comparison with SAELens."""

import numpy as np
import pytest
from flax import nnx
from gallery_models import RANDOM, made, tiny

from aejax import Dataset, InputError, sweep
from aejax.evaluation.export import sae_lens_files
from aejax.models import Context
from gallery import VECTORS, recovery
from runs import untrained


def test_the_table_of_sparse_autoencoders_has_means_over_seeds():
    seed = {"metrics": {"l0": 10.0, "unexplained": 0.25, "dead": 1}}
    others = seed | {"metrics": seed["metrics"] | {"l0": 12.0}}
    found = recovery.table({"l1": {"seeds": [seed, others], "agreement": 0.5}}).splitlines()
    row = "| l1 | 2 | 11.0 ± 1.4 | 0.250 ± 0.000 | 1 ± 0 | - | - | - | 0.500 |"
    assert row in found and "| top_k | not trained |" in found[3] and len(found) == 2 + len(VECTORS)


def test_the_tables_of_the_comparison_with_sae_lens_name_the_device_and_have_a_row_for_each_program():
    rates = {"aejax": 20.0, "sae_lens": 10.0, "aejax, 16 as one sweep": 60.0, "sae_lens, 16 one after another": 12.0}
    speed = {"median": rates, "aejax / best of SAELens": {"aejax": 2.0, "aejax, 16 as one sweep": 5.0}}
    found = recovery.speeds([{"device": "a GPU", "cores": 2, "vector_bits": None, "model": "top_k", "speed": speed}])
    assert found.splitlines()[2] == "| top_k | a GPU | 20 / 10, 2.00 times | 60 / 12, 5.00 times |"

    program = {"models": [{}, {}], "mean": {name: [0.5, 0.25] for name in recovery.SHOWN}}
    features = {"programs": {"aejax": program, "sae_lens": program}}
    found = recovery.features([{"model": "top_k", "features": features}]).splitlines()
    assert found[2].startswith("| top_k | aejax | 2 | 0.5 ± 0.2 |") and "| SAELens | 2 |" in found[3]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name in ("l1", "top_k", "gated"))) for name in VECTORS]
)
def test_the_arrays_for_sae_lens_give_the_codes_of_the_model(name):
    """The formulas are in the docstring of `sae_lens_files`; another test compares them with SAELens."""
    vectors = (1 + RANDOM.normal(size=(30, 7))).astype(np.float32)
    run = untrained(tiny(name), Dataset.from_arrays(vectors))
    codes = run.encode(vectors)
    architecture, arrays = run.autoencoder.sae_lens()
    config, arrays = sae_lens_files(architecture, arrays, {})
    centred = vectors - arrays["b_dec"]
    if architecture == "gated":
        sizes = centred @ (arrays["W_enc"] * np.exp(arrays["r_mag"])) + arrays["b_mag"]
        expected = np.where(centred @ arrays["W_enc"] + arrays["b_gate"] > 0, np.maximum(sizes, 0), 0)
    else:
        units = centred @ arrays["W_enc"] + arrays["b_enc"]
        least = arrays.get("threshold", np.zeros(10))
        if architecture == "topk":
            least = np.sort(units, axis=1)[:, -config["k"]][:, None] - 1e-6
        expected = np.where(units > least, np.maximum(units, 0), 0)
    assert 0 < (codes > 0).mean() < 1 and np.allclose(codes, expected, atol=1e-5)
    decoded = expected @ arrays["W_dec"] + arrays["b_dec"]
    assert np.allclose(run.reconstruct(vectors), decoded, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "k"),
    [  # by default both models that declare k of their own, and a number below and above
        pytest.param(name, k, marks=[pytest.mark.long] * (place != number or name == "batch_top_k"))
        for place, name in enumerate(("top_k", "batch_top_k", "matryoshka"))
        for number, k in enumerate((0, -1, 11))
    ],
)
def test_a_k_outside_the_number_of_units_is_refused_also_in_a_sweep(name, k, small):
    message = rf"coefficients\.k is {k}\.0; it must be from 1 to 10"
    with pytest.raises(InputError, match=message):
        made(name, (1, 7, 1), **{"coefficients.k": k})
    with pytest.raises(InputError, match=message):
        sweep(tiny(name, **{"coefficients.k": 2}), {"coefficients.k": [3, k]}, dataset=small[1], progress=False)


def test_thresholds_of_jump_relu_have_the_gradient_of_a_band_around_them():
    model = made("jump_relu", (1, 7, 1), **{"model.options.bandwidth": 0.5, "model.options.start": 1.0})
    units = np.array([[0.5, 0.8, 1.2, 1.6, *[0.0] * 6]], np.float32)

    for computed in (lambda model: model.jump(units)[0].sum(), lambda model: model.activate(units, Context()).sum()):
        gradient = np.asarray(nnx.jit(nnx.grad(computed))(model)["threshold"][...])
        assert np.allclose(gradient[:5], [0, -2, -2, 0, 0])
    assert np.allclose(nnx.jit(lambda model: model.activate(units, Context()))(model)[0, :4], [0, 0, 1.2, 1.6])


def test_each_nested_group_reconstructs_by_itself():
    model = made("matryoshka", (1, 7, 1))
    codes = np.maximum(RANDOM.normal(size=(3, 10)), 0).astype(np.float32)
    groups, directions = nnx.jit(lambda model: (model.nested(codes), model.directions()))(model)
    for width, group in zip((2, 5, 10), groups, strict=True):
        expected = codes[:, :width] @ np.asarray(directions)[:width] + np.asarray(model.bias[...])
        assert np.allclose(group.reshape(3, 7), expected, atol=1e-6)
    with pytest.raises(InputError, match=r"widths is \(5, 2\); they must rise"):
        made("matryoshka", (1, 7, 1), **{"model.options.widths": [5, 2]})


def test_the_comparison_with_sae_lens_refuses_a_missing_interpreter(script):
    refused = script("gallery/compare_sae_lens.py", "--peer", "nowhere/python", "--workdir", "comparison")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused.stderr
    assert "no interpreter nowhere/python" in refused.stderr
