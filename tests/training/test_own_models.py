"""Models that their authors bring in a file, none of which `aejax` knows: tests/own, and one of the gallery."""

import functools
import json
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import aejax
from aejax import Dataset, InputError, Interrupted, fit, load, sweep
from aejax.training import Batch
from runs import compiled_steps, leaves, same, traced

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "own"
VQ_VAE = ROOT / "experiments" / "gallery" / "vq_vae.py"
NAMES = {
    "vq_vae": {
        "model.kind": f"{VQ_VAE}:VQVAE",
        "model.options.entries": 16,
        "model.options.width": 2,
        "coefficients.commitment": 0.25,
    },
    "batch_norm": {"model.kind": f"{OWN}/batch_norm.py:Normalised"},
    "ssim": {"model.kind": f"{OWN}/ssim.py:Similar"},
    "lion": {"training.optimizer": f"{OWN}/lion.py:lion", "coefficients.weight_decay": 0.1},
}
FILES = [VQ_VAE, *OWN.glob("*.py")]


@pytest.fixture(scope="module")
def own(small):
    config, dataset = small
    config = config.replace({"training.epochs": 2})
    return {name: config.replace(changes) for name, changes in NAMES.items()}, dataset


def test_each_is_a_short_file():
    for file in OWN.glob("*.py"):
        assert len(file.read_text().splitlines()) <= 60, file


@pytest.fixture(scope="module")
def trained(own):
    """Name → its run, trained once."""
    configs, dataset = own
    return functools.cache(lambda name: fit(configs[name], dataset=dataset, progress=False))


def test_a_run_whose_file_lies_in_another_folder_goes_on(own, tmp_path):
    config, dataset = own[0]["lion"], own[1]
    for epochs in (1, 2):
        longer = config.replace({"training.epochs": epochs})
        run = fit(longer, tmp_path / "run", dataset=dataset, progress=False)
        assert len(run.history) == epochs
    assert (tmp_path / "run" / "files" / "lion.py").read_bytes() == (OWN / "lion.py").read_bytes()


@pytest.mark.long
# vq_vae with the programs that users get only: without fusion emitters two lengths of chunks round differently.
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.bits] * (name == "vq_vae")) for name in NAMES])
def test_each_is_trained_stopped_and_resumed_bit_for_bit_and_swept(own, trained, tmp_path, stop_after, name):
    config, dataset = own[0][name], own[1]
    whole = trained(name)
    assert whole.history[1]["train"]["total"] < whole.history[0]["train"]["total"]
    with stop_after(3), pytest.raises(Interrupted):
        fit(config, tmp_path / "run", dataset=dataset, progress=False)
    resumed = fit(config, tmp_path / "run", dataset=dataset, progress=False)
    assert same(whole, resumed) and same(whole, load(tmp_path / "run", models=FILES))
    members = sweep(config, {"training.seed": [0, 1]}, dataset=dataset, progress=False).runs
    assert not same(*members.values())
    for ours, alone in zip(leaves(members["seed-0"]), leaves(whole), strict=True):
        assert np.allclose(ours, alone, atol=1e-5)


@pytest.mark.long
def test_state_is_trained_and_evaluation_does_not_change_it(own):
    (configs, dataset) = own
    for name, moves in (("vq_vae", {"book", "shares", "sums"}), ("batch_norm", {"mean", "var", "count"})):
        steps = compiled_steps(configs[name], dataset.image_shape)
        state = steps.init()
        batch = Batch(jnp.asarray(dataset.train[:16]), jnp.arange(16))
        coefficients = traced(configs[name])
        after, _ = steps.alone(state, batch, coefficients)
        moved = {
            path[-1].key
            for (path, old), new in zip(
                jax.tree_util.tree_leaves_with_path(state.extra), jax.tree.leaves(after.extra), strict=True
            )
            if not np.array_equal(old, new)
        }
        assert moved == moves
        before = jax.tree.map(np.array, after)
        steps.evaluate(after, batch, coefficients)
        assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True))


@pytest.mark.long
def test_batch_norm_and_dropout_do_in_evaluation_what_they_do_nowhere_else(own, trained):
    dataset, run = own[1], trained("batch_norm")
    norm = run.state.extra["norm"]
    before = np.asarray(nnx.jit(lambda model: model.encoder(dataset.test / np.float32(255)))(run.autoencoder))
    scale, bias = run.state.params["norm"]["scale"], run.state.params["norm"]["bias"]
    codes = (before - norm["mean"]) / np.sqrt(norm["var"] + 1e-5) * scale + bias
    assert np.allclose(run.encode(dataset.test), codes, atol=1e-4)
    # Nothing of the other images is in them: with their mean and variance they would differ by 0.1. Not bit for bit: a
    # product of 3 rows may round as one of 23 does not (jax 0.12 on some processors).
    assert np.allclose(run.encode(dataset.test[:3]), run.encode(dataset.test)[:3], atol=1e-6)
    assert run.state.extra["dropout"]["rngs"]["count"] == run.state.step


@pytest.mark.long
def test_weights_and_metrics_of_a_model_s_own_terms(own, trained):
    (configs, dataset), run = own, trained("vq_vae")
    for part in ("train", "test"):
        figures = run.summary[part]
        assert np.isclose(figures["commitment"], 0.25 * figures["distance"], rtol=1e-5)
        terms = figures["reconstruction"] + figures["l1"] + figures["commitment"]
        assert np.isclose(figures["total"], terms, rtol=1e-5) and 1 <= figures["perplexity"] <= 16
    # The codes of all test images, chosen by hand.
    groups = run.encode(dataset.test).reshape(-1, 2)
    book = np.asarray(run.state.extra["book"])
    chosen = np.square(groups[:, None] - book).sum(axis=2).argmin(axis=1)
    shares = np.bincount(chosen, minlength=16) / len(chosen)
    perplexity = np.exp(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())
    assert np.isclose(run.summary["test"]["perplexity"], perplexity, rtol=1e-4)
    every = configs["vq_vae"].replace({"data.validation": 0})  # a sweep that chooses would set some images aside
    found = sweep(every, {"coefficients.commitment": [0.1, 0.25]}, dataset=dataset, progress=False)
    assert len(found.results["groups"]) == 2
    again = found.runs["commitment-0.25"]
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(leaves(again), leaves(run), strict=True))


def test_the_optimizer_gets_the_rate_and_the_decay_of_the_step(own):
    import optax

    config, dataset = own[0]["lion"].replace({"schedules.learning_rate.warmup_epochs": 1}), own[1]
    steps = compiled_steps(config, dataset.image_shape, 5)
    state = steps.init()
    batch = Batch(jnp.asarray(dataset.train[:16]), jnp.arange(16))
    coefficients = traced(config)
    frozen, _ = steps.alone(state, batch, coefficients)  # the rate rises from 0
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (frozen.params, state.params)), strict=True))
    after, _ = steps.alone(frozen, batch, coefficients)

    def total(params):
        terms, *_ = steps.evaluate(frozen._replace(params=params), batch, coefficients)
        return terms["total"].mean()

    @jax.jit
    def step(params):
        rule = optax.lion(coefficients["learning_rate"] / 5, weight_decay=0.1)
        updates, _ = rule.update(jax.grad(total)(params), frozen.opt_state[1], params)
        return optax.apply_updates(params, updates)

    expected = step(frozen.params)
    for ours, theirs in zip(*map(jax.tree.leaves, (after.params, expected)), strict=True):
        assert np.allclose(ours, theirs, atol=1e-6)


@pytest.mark.long
def test_weight_decay_and_average_are_what_they_say(small):
    config, dataset = small
    changes = {"training.optimizer": "adamw", "coefficients.weight_decay": 0.5, "training.average": 0.9}
    config = config.replace(changes)
    steps = compiled_steps(config, dataset.image_shape)
    plain = compiled_steps(config.replace({"training.optimizer": "adam", "coefficients.weight_decay": None}), (6, 5, 1))
    state, batch = steps.init(), Batch(jnp.asarray(dataset.train[:16]), jnp.arange(16))
    coefficients = traced(config)
    after, _ = steps.alone(state, batch, coefficients)
    without, _ = plain.alone(plain.init(), batch, coefficients)
    for ours, adam, before, kept in zip(
        *map(jax.tree.leaves, (after.params, without.params, state.params, after.average)), strict=True
    ):
        assert np.allclose(ours, adam - 1e-2 * 0.5 * before, atol=1e-6)
        assert np.allclose(kept, 0.9 * before + 0.1 * ours, atol=1e-6)
    terms, *_ = steps.evaluate(after, batch, coefficients)
    by_average, *_ = plain.evaluate(without._replace(params=after.average, average=None), batch, coefficients)
    assert np.allclose(terms["total"], by_average["total"], rtol=1e-6)


def test_a_wrong_number_or_file_is_refused_before_anything_is_written(own, tmp_path):
    configs, dataset = own
    file = tmp_path / "wrong.py"
    file.write_text(
        "import aejax\nimport jax.numpy as jnp\nfrom flax import nnx\n\n\n"
        "class Scalar(aejax.Autoencoder):\n    def loss(self, clean, output, coefficients, context):\n"
        "        return {'reconstruction': jnp.float32(1)}\n\n\n"
        "class Double(aejax.Autoencoder):\n    def __call__(self, images, context=aejax.Context()):\n"
        "        return super().__call__(images)._replace(metrics={'l1': jnp.float32(1)})\n\n\n"
        "class Late(aejax.Autoencoder):\n    def __call__(self, images, context=aejax.Context()):\n"
        "        self.late = nnx.Variable(jnp.zeros(3))\n        return super().__call__(images)\n\n\n"
        "class Grey(aejax.Variational): ...\n\n\ndef fixed():\n    import optax\n    return optax.sgd(0.1)\n"
    )
    for changes, message in (
        (
            {"coefficients.comitment": 1.0},
            r"coefficients.comitment is declared by nothing; did you mean commitment\?",
        ),
        (
            {"model.options.entry": 4},
            r"model.options.entry is declared by nothing; did you mean entries\?",
        ),
        ({"coefficients.beta": 2.0}, "beta is 2.0, and .*VQVAE.* declares no beta"),
        ({"model.samples": 2}, "samples is 2; it must be 1 while model.kind is .*VQVAE"),
        ({"model.kind": f"{file}:Scalar"}, r"the term reconstruction of .* has shape \[\]; it must be \[16\]"),
        ({"model.kind": f"{file}:Double"}, "a term or metric named l1"),
        ({"model.kind": f"{file}:Late"}, "other variables after a step than before"),
        ({"model.kind": f"{file}:Grey"}, "loss.pixels is 'mean'; it must be sum"),
        ({"training.optimizer": f"{file}:fixed", "coefficients.learning_rate": 0.3}, "declares no learning_rate"),
        ({"training.optimizer": f"{file}:none"}, "must define a function none"),
    ):
        base = configs["vq_vae"]
        if "model.kind" in changes or "training.optimizer" in changes:
            base = base.replace({"coefficients": {}})
            base = base.from_dict({**base.to_dict(), "model": {**base.to_dict()["model"], "options": {}}})
        with pytest.raises(InputError, match=message) as refused:
            fit(base.replace(changes), tmp_path / "run", dataset=dataset, progress=False)
        assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_a_sweep_of_what_a_model_does_not_read_is_refused_before_anything_is_written(own, tmp_path):
    configs, dataset = own
    for axes, message in (
        ({"coefficients.beta": [1.0, 2.0]}, "beta is 1.0, and .*VQVAE.* declares no beta"),
        ({"coefficients.comitment": [1.0, 2.0]}, "did you mean commitment"),
        ({"model.options.entry": [1, 2]}, "did you mean entries"),
    ):
        with pytest.raises(InputError, match=message):
            sweep(configs["vq_vae"], axes, tmp_path / "sweep", dataset=dataset, progress=False)
        assert not (tmp_path / "sweep").exists()


def test_a_file_is_a_part_of_the_run_and_a_workdir_is_data(own, tmp_path, monkeypatch):
    _, dataset = own
    (tmp_path / "here").mkdir()
    shutil.copy(OWN / "ssim.py", tmp_path / "here" / "ssim.py")
    (tmp_path / "here" / "config.py").write_text(
        "from aejax import Config, Model, Training\n\n\ndef get_config():\n"
        "    model = Model(kind='ssim.py:Similar', hidden=(12,), code_size=4)\n"
        "    return Config(model=model, training=Training(epochs=1, batch_size=16))\n"
    )
    config = aejax.load_config(tmp_path / "here" / "config.py")  # from another folder than the file's
    run = fit(config, tmp_path / "run", dataset=dataset, progress=False)
    described = json.loads((tmp_path / "run" / "config.json").read_text())
    assert described["model"]["kind"] == "ssim.py:Similar" and len(described["files"]["ssim.py"]) == 64
    assert (tmp_path / "run" / "files" / "ssim.py").read_text() == (OWN / "ssim.py").read_text()
    monkeypatch.chdir(tmp_path / "run" / "files")  # where the name would be found
    with pytest.raises(InputError, match=r"needs model.kind ssim.py:Similar, and reading a workdir.*--models ssim.py"):
        load(tmp_path / "run")
    with pytest.raises(InputError, match="reading a workdir executes no code"):
        aejax.evaluate(tmp_path / "run", dataset)
    for file in (OWN / "ssim.py", tmp_path / "run" / "files" / "ssim.py"):
        assert same(load(tmp_path / "run", models=file), run)
    assert aejax.evaluate(tmp_path / "run", dataset, models=[OWN / "ssim.py"])["bce"] > 0
    again = fit(config, tmp_path / "run", dataset=dataset, progress=False)
    again.save(tmp_path / "saved")
    assert same(load(tmp_path / "saved", models=OWN / "ssim.py"), run)
    changed = tmp_path / "here" / "ssim.py"
    changed.write_text(changed.read_text().replace("1e-4", "1e-3"))
    for refused in (
        lambda: fit(config, tmp_path / "run", dataset=dataset, progress=False),
        lambda: load(tmp_path / "run", models=changed),
    ):
        with pytest.raises(InputError, match=r"was trained with another ssim\.py"):
            refused()


def test_a_workdir_that_names_a_module_runs_nothing(own, trained, tmp_path, monkeypatch):
    trained("ssim").save(tmp_path / "run")
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "run" / "config.json"
    described = json.loads(path.read_text())
    for kind in ("evil:A", f"{tmp_path}/evil.py:A", "../evil.py:A"):
        for section, field in (("model", "kind"), ("training", "optimizer")):
            path.write_text(json.dumps(described | {section: {**described[section], field: kind}}))
            with pytest.raises(InputError, match="reading a workdir executes no code"):
                load(tmp_path / "run")
    assert not (tmp_path / "ran").exists()


@pytest.mark.long
def test_a_model_whose_statistics_are_those_of_a_batch_meets_nothing_padded(small, tmp_path, monkeypatch):
    """Each batch is centred by its own mean, in evaluation too; 23 test images in batches of 10 leave 3."""
    config, dataset = small
    (tmp_path / "centred.py").write_text(
        "import aejax\n\n\nclass Centred(aejax.Autoencoder):\n    def encode(self, images):\n"
        "        codes = self.encoder(images)\n        return codes - codes.mean(axis=0)\n"
    )
    monkeypatch.setattr("aejax.training.epoch._EVALUATION_BATCH", 10)
    monkeypatch.setattr(sys.modules["aejax.evaluation.likelihood"], "CHUNK", 10)
    config = config.replace({"model.kind": f"{tmp_path}/centred.py:Centred", "training.epochs": 1})
    for placement in ("device", "stream"):
        run = fit(config.replace({"data.placement": placement}), dataset=dataset, progress=False)
        codes = run.encode(dataset.test)
        raw = np.asarray(run.autoencoder.encoder(jnp.asarray(dataset.test / np.float32(255))))
        expected = np.concatenate([part - part.mean(axis=0) for part in np.split(raw, [10, 20])])
        assert np.allclose(codes, expected, atol=1e-5)
        assert np.isclose(run.summary["code"]["variance"], expected.var(), rtol=1e-3)


def test_labels_step_and_number_of_examples_reach_the_model(small, tmp_path, request):
    config, dataset = small
    (tmp_path / "told.py").write_text(
        "import aejax\nimport jax.numpy as jnp\n\n\nclass Told(aejax.Autoencoder):\n"
        "    def __call__(self, images, context=aejax.Context()):\n"
        "        told = {'label': context.labels.astype(jnp.float32), 'at': jnp.float32(context.step),\n"
        "                'of': jnp.float32(context.examples), 'trained': jnp.float32(context.training)}\n"
        "        return super().__call__(images)._replace(metrics=told)\n"
    )
    labels = np.array(["no", "yes"])[(dataset.train[:, 0, 0, 0] > 0).astype(int)]
    test_labels = np.array(["no", "yes"])[(dataset.test[:, 0, 0, 0] > 0).astype(int)]
    labelled = Dataset("small", dataset.train, dataset.test, labels, test_labels)
    config = config.replace({"model.kind": f"{tmp_path}/told.py:Told", "training.epochs": 1})
    for placement in ("stream", "device") if request.config.getoption("--long") else ("stream",):
        run = fit(config.replace({"data.placement": placement}), dataset=labelled, progress=False)
        train, test = run.summary["train"], run.summary["test"]
        assert np.isclose(train["label"], (labels == "yes").mean()) and np.isclose(
            test["label"], (test_labels == "yes").mean()
        )
        assert train["at"] == 2 and test["at"] == 5 and train["of"] == test["of"] == 80
        assert train["trained"] == 1 and test["trained"] == 0
