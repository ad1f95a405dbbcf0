"""Exported models, used by a process that cannot import this library."""

import subprocess
import sys

import numpy as np
import pytest

from aejax import Config, Dataset, InputError
from aejax.evaluation import export
from aejax.models.operations import operations
from runs import untrained

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.random((40, 9, 7, 2)).astype(np.float32)
KINDS = {
    "dense": {"model.hidden": [12], "model.activation": "elu"},
    "tied": {"model.hidden": [12], "model.tied": True, "model.activation": "tanh"},
    "largest": {"model.hidden": [], "model.top_k": 3, "model.code_activation": "identity"},
    "convolutional": {"model.channels": [3, 4], "model.hidden": [10], "model.activation": "gelu"},
    "spatial": {"model.channels": [3], "model.hidden": [], "model.spatial_code": True, "model.activation": "silu"},
    "variational": {"model.kind": "variational", "model.channels": [3], "loss.pixels": "sum"},
    "vectors": {"model.hidden": [12]},
    "standardized": {"data.standardize": True, "loss.reconstruction": "mse"},
    "similar": {"model.hidden": [12], "loss.reconstruction": "ssim"},
    "squared": {"loss.reconstruction": "mse", "model.code_activation": "sigmoid", "model.hidden": []},
}


def examples(kind):
    vectors = IMAGES.reshape(40, -1)
    return {"vectors": vectors, "standardized": 20 + 50 * vectors}.get(kind, IMAGES)


DEFAULT = ("dense", "convolutional")
"""one kind of each family, of vectors by the test of the format jax"""


@pytest.fixture(
    scope="module", params=[pytest.param(kind, marks=[pytest.mark.long] * (kind not in DEFAULT)) for kind in KINDS]
)
def run(request):
    config = Config().replace({"model.code_size": 12, **KINDS[request.param]})
    return untrained(config, Dataset.from_arrays(examples(request.param)))


def elsewhere(code, folder):
    """Run a program without aejax on the images of a folder, and return the arrays that it writes there."""
    hidden = "import sys\nsys.modules['aejax'] = None\n"
    hidden += "import numpy as np\nimages, codes = np.load('images.npy'), np.load('codes.npy')\n"
    done = subprocess.run([sys.executable, "-c", hidden + code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "made.npz"))


def given(run, folder):
    codes = RANDOM.normal(size=(5, 12)).astype(np.float32)
    images = examples("standardized" if run.standardization else "vectors" if run.vectors else None)
    np.save(folder / "images.npy", images)
    np.save(folder / "codes.npy", codes)
    return {"encode": run.encode(images), "decode": run.decode(codes), "reconstruct": run.reconstruct(images)}


def equal(made, wanted):
    for name, values in wanted.items():
        assert made[name].shape == values.shape and np.abs(made[name] - values).max() < 1e-5 * max(
            1, np.abs(values).max()
        ), name


ONNX = """
import onnxruntime
def call(name, rows):
    session = onnxruntime.InferenceSession(f'out/{name}.onnx')
    assert len(session.run(None, {session.get_inputs()[0].name: rows[:1]})[0]) == 1
    return session.run(None, {session.get_inputs()[0].name: rows})[0]
np.savez('made', encode=call('encode', images), decode=call('decode', codes), reconstruct=call('reconstruct', images))
"""


def test_onnx(run, tmp_path):
    pytest.importorskip("onnxruntime")
    wanted = given(run, tmp_path)
    run.export(tmp_path / "out", "onnx")
    equal(elsewhere(ONNX, tmp_path), wanted)


JAX = """
import jax
def call(name, rows):
    function = jax.export.deserialize(bytearray(open(f'out/{name}.jax', 'rb').read()))
    assert function.platforms == ('cpu', 'cuda', 'tpu')
    assert len(function.call(rows[:1])) == 1
    return function.call(rows)
np.savez('made', encode=call('encode', images), decode=call('decode', codes), reconstruct=call('reconstruct', images))
"""


@pytest.mark.parametrize(
    "run",
    ["standardized", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("convolutional", "variational"))],
    indirect=True,
)
def test_jax(run, tmp_path):
    wanted = given(run, tmp_path)
    run.export(tmp_path / "out", "jax")
    equal(elsewhere(JAX.replace("import jax", "import jax, jax.export"), tmp_path), wanted)


SAFETENSORS = """
import json
from safetensors.numpy import load_file
arrays, config = load_file('out/model.safetensors'), json.load(open('out/config.json'))
assert config['model']['hidden'] == [12]
def half(name, rows):
    for layer in {'encoder': (1, 3), 'decoder': (0, 2)}[name]:
        rows = rows @ arrays[f'{name}.layers.layers.{layer}.kernel'] + arrays[f'{name}.layers.layers.{layer}.bias']
        if (name, layer) != ('decoder', 2):
            rows = np.where(rows > 0, rows, np.expm1(rows))
    return rows
encode, decode = half('encoder', images.reshape(40, -1)), 1 / (1 + np.exp(-half('decoder', codes)))
np.savez('made', encode=encode, decode=decode.reshape(5, *images.shape[1:]))
"""


@pytest.mark.parametrize("run", ["dense"], indirect=True)
def test_safetensors(run, tmp_path):
    wanted = given(run, tmp_path)
    run.export(tmp_path / "out", "safetensors")
    del wanted["reconstruct"]
    equal(elsewhere(SAFETENSORS, tmp_path), wanted)


@pytest.mark.parametrize("run", ["dense"], indirect=True)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(run, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="one of jax, safetensors, onnx"):
        run.export(tmp_path / "out", "pickle")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("mine")
    with pytest.raises(InputError, match="give a new folder"):
        run.export(tmp_path / "kept", "jax")
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=r"safetensors needs the package safetensors.*: install aejax\[export\]"):
        run.export(tmp_path / "out", "safetensors")

    def full(run, folder):
        (folder / "encode.onnx").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "KINDS", {"onnx": full})
    with pytest.raises(InputError, match="No space left"):
        run.export(tmp_path / "out", "onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]


def test_a_model_that_computes_otherwise_is_refused(tmp_path):
    (tmp_path / "own.py").write_text(
        "import aejax\n"
        "class Doubled(aejax.Autoencoder):\n"
        "    def encode(self, images):\n"
        "        return 2 * super().encode(images).reshape(len(images), -1)\n"
    )
    config = Config().replace({"model.kind": f"{tmp_path}/own.py:Doubled"})
    own = untrained(config, Dataset.from_arrays(IMAGES))
    with pytest.raises(InputError, match="Doubled overrides encode, decode"):
        operations(own.autoencoder, own.image_shape)
    with pytest.raises(InputError, match="Doubled overrides encode"):
        own.export(tmp_path / "out", "onnx")
    with pytest.raises(InputError, match=r"write images.shape\[0\]"):
        own.export(tmp_path / "out", "jax")
