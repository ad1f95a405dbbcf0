"""Sparse autoencoders exported to SAELens compute the same codes and reconstructions there.

Where AEJAX_SAE_LENS_PYTHON names an interpreter that has SAELens, of whatever environment, it is asked.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gallery
from aejax import Config, Dataset, InputError, fit, load_config
from aejax.evaluation.export import sae_lens_files
from runs import untrained

RANDOM = np.random.default_rng(0)
VECTORS = (3 + 2 * RANDOM.normal(size=(40, 7))).astype(np.float32)
FORMS = {  # architecture in training → architecture in SAELens, and its arrays besides W_enc, W_dec and b_dec
    "standard": ("standard", {"b_enc"}),
    "topk": ("topk", {"b_enc"}),
    "jumprelu": ("jumprelu", {"b_enc", "threshold"}),
    "batchtopk": ("jumprelu", {"b_enc", "threshold"}),
    "matryoshka": ("jumprelu", {"b_enc", "threshold"}),
    "gated": ("gated", {"b_gate", "r_mag", "b_mag"}),
}
OWN = f"{Path(__file__).parents[1]}/own/dictionary.py:Dictionary"


def dictionary(form, standardize=True, vectors=VECTORS):
    changes = {"model.kind": OWN, "model.code_size": 11, "model.hidden": [], "model.options": {"form": form}}
    changes |= {"data.standardize": standardize, "loss.reconstruction": "mse"}
    return untrained(Config().replace(changes), Dataset.from_arrays(vectors))


def of_the_gallery(name):
    config = load_config(Path(gallery.__file__).with_name(f"{name}.py"))
    changes = {"model.code_size": 11, "training.epochs": 5, "training.batch_size": 10}
    changes |= {"coefficients.k": 3.0} if name in ("top_k", "batch_top_k", "matryoshka") else {}
    own = {"matryoshka": {"model.options.widths": [2, 5]}, "jump_relu": {"model.options.start": 0.01}}
    changes |= own.get(name, {})
    return fit(config.replace(changes), dataset=Dataset.from_arrays(VECTORS), progress=False)


@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=[pytest.mark.long] * (form in ("topk", "batchtopk"))) for form in FORMS]
)
def test_the_files_have_the_names_and_shapes_that_sae_lens_reads(form, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    dictionary(form).export(tmp_path / "out", "sae_lens")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"cfg.json", "sae_weights.safetensors", "config.json"}
    config = json.loads((tmp_path / "out" / "cfg.json").read_text())
    arrays = safetensors.load_file(tmp_path / "out" / "sae_weights.safetensors")
    architecture, own = FORMS[form]
    assert config["metadata"].pop("sae_lens_version") >= "6" and config.pop("metadata")["training_architecture"] == form
    assert config.pop("k", None) == (3 if form == "topk" else None)
    assert config.pop("rescale_acts_by_decoder_norm", False) is False
    assert config == {
        "architecture": architecture, "d_in": 7, "d_sae": 11, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
    }  # fmt: skip
    shapes = {"W_enc": (7, 11), "W_dec": (11, 7), "b_dec": (7,)} | dict.fromkeys(own, (11,))
    assert {name: array.shape for name, array in arrays.items()} == shapes
    assert all(array.dtype == np.float32 for array in arrays.values())


SAE_LENS = """
import sys
import numpy as np, torch
from sae_lens import SAE
vectors = torch.from_numpy(np.load("vectors.npy"))
for name in sys.argv[1:]:
    sae = SAE.load_from_disk(name)
    with torch.no_grad():
        codes = sae.encode(vectors)
        np.savez(f"{name}.npz", codes=codes, reconstructions=sae.decode(codes), alone=sae(vectors[:1]))
"""


@pytest.mark.skipif("AEJAX_SAE_LENS_PYTHON" not in os.environ, reason="AEJAX_SAE_LENS_PYTHON names no interpreter")
def test_sae_lens_gets_the_same_codes_and_reconstructions(tmp_path):
    runs = {f"{form}-{change}": dictionary(form, change) for form in FORMS for change in (False, True)}
    runs |= {name: of_the_gallery(name) for name in gallery.VECTORS}
    for name, run in runs.items():
        run.export(tmp_path / name, "sae_lens")
    np.save(tmp_path / "vectors.npy", VECTORS)
    command = [os.environ["AEJAX_SAE_LENS_PYTHON"], "-c", SAE_LENS, *runs]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # other tests may use the other cores
    done = subprocess.run(command, cwd=tmp_path, env=one_thread, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name, run in runs.items():
        made, codes = np.load(tmp_path / f"{name}.npz"), run.encode(VECTORS)
        assert 0 < (codes != 0).mean() < 0.9 and np.array_equal(made["codes"] != 0, codes != 0), name
        np.testing.assert_allclose(made["codes"], codes, rtol=1e-5, atol=1e-5, err_msg=name)
        for given, wanted in {"reconstructions": VECTORS, "alone": VECTORS[:1]}.items():
            np.testing.assert_allclose(made[given], run.reconstruct(wanted), rtol=1e-5, atol=1e-5, err_msg=name)


def test_what_sae_lens_cannot_read_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="Autoencoder has no method sae_lens"):
        untrained(Config().replace({"model.hidden": []}), Dataset.from_arrays(VECTORS)).export(
            tmp_path / "out", "sae_lens"
        )
    images = RANDOM.random((40, 1, 7, 1)).astype(np.float32)
    with pytest.raises(InputError, match=r"not trained on vectors \[N, D\]"):
        dictionary("standard", standardize=False, vectors=images).export(tmp_path / "out", "sae_lens")
    run = dictionary("topk")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=r"sae_lens needs the package safetensors.*: install aejax\[export\]"):
        run.export(tmp_path / "out", "sae_lens")
    assert not list(tmp_path.iterdir())


ARRAYS = {"W_enc": np.ones((3, 5)), "W_dec": np.ones((5, 3)), "b_dec": np.ones(3), "b_enc": np.ones(5)}


@pytest.mark.parametrize(
    ("architecture", "changes", "said"),
    [
        ("transcoder", {}, "'transcoder'; it must be one of standard, topk"),
        ("jumprelu", {}, "jumprelu are .*; they must be .*threshold"),
        ("standard", {"threshold": 1.0}, "standard are .*; they must be"),
        ("jumprelu", {"threshold": np.ones(3)}, r"the shape of threshold is \(3,\); it must be \(5,\)"),
        ("standard", {"W_enc": np.ones((5, 3))}, r"the shape of W_dec is \(5, 3\); it must be \(3, 5\)"),
        ("standard", {"W_enc": np.ones(5)}, r"the shape of W_enc is \(5,\); it must be \[D, F\]"),
        ("standard", {"b_enc": np.full(5, np.nan)}, "b_enc .* of finite numbers"),
        ("topk", {"k": 2.5}, "k is 2.5; it must be a whole number from 1 to 5"),
        ("topk", {"k": 6}, "k is 6; it must be"),
    ],
)
def test_arrays_that_make_no_model_are_refused(architecture, changes, said):
    with pytest.raises(InputError, match=said):
        sae_lens_files(architecture, ARRAYS | changes, {})
