"""What a class of the user's own may define beyond layers and a loss, and that none of it gives a wrong result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aejax
from aejax import Dataset, InputError, evaluate, fit, load
from aejax.config import complete
from aejax.evaluation import evaluation
from aejax.evaluation.drawing import loss_unit
from aejax.training.optimizer import build_optimizer
from aejax.training.own_models import of_known
from runs import compiled_steps, leaves, same, untrained

OWN = "tests/own/beyond.py"


@pytest.fixture(scope="module")
def shifted(small, request):
    """Return a configuration and a dataset whose target is the image turned upside down."""
    config, dataset = small
    file = request.config.rootpath / OWN
    changes = {"model.kind": f"{file}:Shifted", "training.epochs": 1, "coefficients.momentum": 0.0}
    targets = {part: getattr(dataset, part)[:, ::-1] for part in ("train", "test")}
    given = Dataset.from_arrays(
        dataset.train, dataset.test, train_targets=targets["train"], test_targets=targets["test"]
    )
    return config.replace(changes | {"training.optimizer": f"{file.with_name('optimizers.py')}:momentum"}), given


@pytest.fixture(scope="module")
def trained(shifted, tmp_path_factory):
    config, dataset = shifted
    return fit(config, tmp_path_factory.mktemp("shifted") / "run", dataset=dataset, progress=False)


def test_logits_of_another_shape_are_decoded_by_the_model_s_reconstruction_only(small, request, tmp_path):
    config, dataset = small
    levels, read = (
        untrained(config.replace({"model.kind": f"{request.config.rootpath / OWN}:{name}"}), dataset)
        for name in ("Levels", "Read")
    )
    codes = read.encode(dataset.test)
    logits = levels.logits(codes)
    assert logits.shape == (23, 6, 5, 1, 2) and not levels.reconstructs
    with pytest.raises(InputError, match=r"has shape \[23, 6, 5, 1, 2\]; it must be \[23, 6, 5, 1\]: define reconstr"):
        levels.decode(codes)
    assert evaluate(levels, dataset)["mse"] is None and evaluate(levels, dataset)["effective_rank"] > 1
    decoded = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
    assert np.allclose(read.decode(codes), decoded, atol=1e-6)
    found = evaluate(read, dataset)
    assert np.isclose(found["mse"], np.square(decoded - dataset.test / 255).mean(), rtol=1e-4)
    assert found["bce"] is None  # the logits are not those of the pixels
    for run, message in ((levels, "define reconstruction"), (read, "overrides encode, decode, reconstruction")):
        with pytest.raises(InputError, match=message):
            run.export(tmp_path / "out", "jax" if run is levels else "onnx")


def test_examples_without_a_label_are_left_out_of_accuracies(digits):
    config = aejax.Config(model=aejax.Model((8,), 4))
    known = np.arange(300) % 3 > 0
    train, labels = digits.train[:300], digits.train_labels[:300].astype(object)
    labels[~known] = None
    given = Dataset.from_arrays(train, train, train_labels=labels, test_labels=np.where(known, labels, -1))
    only = Dataset.from_arrays(train[known], train[known], train_labels=labels[known], test_labels=labels[known])
    found, expected = (evaluate(untrained(config, each), each) for each in (given, only))
    assert 0.2 < found["probe_code"] < 1
    assert all(found[name] == expected[name] for name in found if name.startswith(("probe", "knn")))


@pytest.mark.long
def test_metrics_of_a_variational_model_keep_its_likelihood(small, tmp_path):
    config, dataset = small
    (tmp_path / "own.py").write_text(
        "import aejax\n\n\nclass Spread(aejax.Variational):\n    def metrics(self, clean, output, context):\n"
        "        return {'spread': output.posterior.samples.std()}\n\n\n"
        "class Joint(aejax.Variational):\n    def kl(self, images):\n        return super().kl(images).sum(axis=1)\n"
    )
    kind = {"loss.pixels": "sum", "training.epochs": 1, "model.kind": f"{tmp_path}/own.py:Spread"}
    run = fit(config.replace(kind), dataset=dataset, progress=False)
    found = evaluate(run, dataset, samples=4)
    assert found["nll"] > 0 and np.isclose(found["metrics"]["spread"], run.summary["test"]["spread"], rtol=1e-5)
    joint = {**kind, "model.kind": f"{tmp_path}/own.py:Joint"}
    other = fit(config.replace(joint), dataset=dataset, progress=False)
    assert all(np.allclose(ours, theirs, atol=1e-6) for ours, theirs in zip(leaves(run), leaves(other), strict=True))
    assert np.isclose(evaluate(other, dataset, samples=4)["kl"], found["kl"], rtol=1e-5)


def test_a_loss_that_compares_every_image_with_every_other_is_refused(small, tmp_path):
    config, dataset = small
    (tmp_path / "own.py").write_text(
        "import aejax\nimport jax.numpy as jnp\n\n\nclass Wrong(aejax.Variational):\n"
        "    def loss(self, clean, output, coefficients, context):\n"
        "        errors = jnp.square(output.logits - clean).reshape(len(clean), -1)\n"
        "        return {'reconstruction': errors.sum(axis=1), 'kl': output.posterior.kl.sum(axis=1)}\n"
    )
    config = config.replace({"training.epochs": 1, "model.kind": f"{tmp_path}/own.py:Wrong"})
    with pytest.raises(
        InputError, match=r"\(line 6\) computes \[16, 16, 6, 5, 1\].*compare them with clean\[:, None\]"
    ):
        fit(config, tmp_path / "run", dataset=dataset)
    assert not (tmp_path / "run").exists()
    (tmp_path / "own.py").write_text((tmp_path / "own.py").read_text().replace("- clean)", "- clean[:, None])"))
    assert fit(config, dataset=dataset, progress=False).summary["test"]["reconstruction"] > 0


@pytest.mark.long
def test_a_frozen_array_is_saved_and_not_trained(small, tmp_path):
    config, dataset = small
    (tmp_path / "own.py").write_text(
        "import aejax, jax\n\n\nclass Projected(aejax.Autoencoder):\n    def __init__(self, config, shape, rngs):\n"
        "        super().__init__(config, shape, rngs)\n"
        "        self.fixed = aejax.frozen(jax.random.normal(rngs.params(), (30, 30)))\n\n"
        "    def encode(self, images):\n"
        "        return super().encode((images.reshape(-1, 30) @ self.fixed[...]).reshape(images.shape))\n"
    )
    config = config.replace({"training.epochs": 1, "model.kind": f"{tmp_path}/own.py:Projected"})
    run = fit(config, tmp_path / "run", dataset=dataset, progress=False)
    begin = compiled_steps(config, dataset.image_shape).init()
    assert np.array_equal(begin.extra["fixed"], run.state.extra["fixed"]) and begin.extra["fixed"].std() > 0.5
    assert same(run, load(tmp_path / "run", models=tmp_path / "own.py"))


def test_targets_are_what_a_model_learns_to_return(shifted, trained):
    config, dataset = shifted
    streamed = fit(config.replace({"data.placement": "stream"}), dataset=dataset, progress=False)
    assert same(trained, streamed)
    test = trained.summary["test"]
    target = dataset.test_targets / np.float32(255)
    logits = trained.logits(trained.encode(dataset.test))
    assert np.isclose(test["reconstruction"], (np.log1p(np.exp(logits)) - target * logits).mean(), rtol=1e-5)
    assert np.isclose(test["target"], target.mean(), rtol=1e-5)
    found = evaluate(trained)
    assert np.isclose(found["mse"], np.square(trained.reconstruct(dataset.test) - target).mean(), rtol=1e-4)
    assert found["metrics"].keys() == {"bright", "target"}
    assert np.isclose(found["metrics"]["bright"], test["bright"], rtol=1e-5)
    with pytest.raises(InputError, match=r"has no targets for .*Shifted; it was trained on targets of 6x5x1"):
        evaluate(trained, Dataset("small", dataset.train, dataset.test))


@pytest.mark.parametrize("count", [5, 48])
def test_every_example_needs_one_target(count):
    images = np.zeros((24, 8, 8, 1), np.uint8)
    with pytest.raises(InputError, match=rf"training targets have shape \[{count}, .* for 24 examples"):
        Dataset.from_arrays(images, train_targets=np.resize(images, (count, 8, 8, 1)))


def test_targets_of_another_size_need_a_model_of_one_s_own(small):
    config, dataset = small
    halves = {f"{part}_targets": getattr(dataset, part)[:, ::2] for part in ("train", "test")}
    given = Dataset.from_arrays(dataset.train, dataset.test, **halves)
    with pytest.raises(InputError, match="targets of 3x5x1 for examples of 6x5x1; only a model of your own"):
        fit(config, dataset=given)
    with pytest.raises(InputError, match="give a target for each test example"):
        Dataset.from_arrays(dataset.train, dataset.test, train_targets=halves["train_targets"])
    whole = Dataset.from_arrays(dataset.train, train_targets=dataset.train[:, ::-1])
    assert np.array_equal(whole.train_targets, whole.train[:, ::-1]) and len(whole.test_targets) == len(whole.test)
    assert whole.fingerprint != Dataset.from_arrays(dataset.train).fingerprint


def test_a_prior_makes_any_model_a_generator(small, trained):
    assert trained.sample(3).shape == (3, 6, 5, 1)
    with pytest.raises(InputError, match=r"has no method prior\(keys\)"):
        untrained(*small).sample(3)


@pytest.mark.long
def test_an_optimizer_takes_coefficients_of_the_model_and_a_sweep_shows_its_metrics(shifted):
    config, dataset = shifted
    found = aejax.sweep(config, {"coefficients.momentum": [0.0, 0.9]}, dataset=dataset, progress=False)
    one, other = (found.runs[f"momentum-{value}"] for value in ("0", "0.9"))
    assert not same(one, other)
    assert {"test bright", "test target"} <= found.results["groups"][0]["figures"].keys()
    rate, other = config.coefficients["learning_rate"], 0.25
    params = {name: {"kernel": jnp.ones(2)} for name in ("encoder", "decoder")}
    spec = config.training.optimizer.replace(":momentum", ":separate")
    given = complete(config.replace({"training.optimizer": spec, "coefficients.momentum": other}))
    optimizer = build_optimizer(given)
    moved, _ = optimizer.update(params, optimizer.init(params), params, given.coefficients, {})
    assert np.allclose(moved["encoder"]["kernel"], 1 - rate) and np.allclose(moved["decoder"]["kernel"], 1 - other)


def test_a_likelihood_of_the_model_s_own_is_one_method(small, request):
    """The loss, the estimates of the likelihood and the unit in figures follow `log_density`."""
    config, dataset = small
    kind = {"loss.pixels": "sum", "model.kind": f"{request.config.rootpath}/tests/own/sigma_vae.py:SigmaVAE"}
    run = untrained(config.replace(kind | {"loss.reconstruction": "mse"}), dataset)
    model, images = run.autoencoder, jnp.float32(dataset.test / 255)
    output = jax.jit(model)(images)
    nats = jax.jit(model.log_likelihood)(images, output.posterior.samples)
    terms = jax.jit(lambda: model.loss(images, output, model.config.coefficients, aejax.Context()))()
    assert nats.shape == (23, 1) and np.allclose(terms["reconstruction"], -nats[:, 0], rtol=1e-5)
    assert np.isfinite(evaluation._variational(run, images, samples=1)["nll"])
    assert loss_unit(run.config, dataset.image_shape) == "nats per image"


@pytest.mark.long
def test_nan_entries_of_a_metric_are_left_out(small, tmp_path):
    """Steps, devices and batches without any known entry do not count."""
    (config, dataset), known = small, np.repeat([1, -1], 40)
    (tmp_path / "own.py").write_text(
        "import aejax\nimport jax.numpy as jnp\n\n\nclass Own(aejax.Autoencoder):\n"
        "    def metrics(self, clean, output, context):\n"
        "        return {'label': jnp.where(context.labels >= 0, context.labels, jnp.nan)}\n"
    )
    given = Dataset("small", dataset.train, dataset.test, known, np.full(23, -1))
    config = config.replace({"training.epochs": 1, "model.kind": f"{tmp_path}/own.py:Own", "training.batch_size": 2})
    run = fit(config, dataset=given, progress=False)
    assert run.history[0]["train"]["label"] == 1 and run.summary["test"]["label"] is None
    given = Dataset("small", dataset.train, dataset.test, known, np.resize([1, -1, -1], 23))
    assert evaluation._own_metrics(run, given)["label"] == 1
    shares = jnp.array([[1.0, jnp.nan], [3.0, 2.0]])
    weighed = jax.vmap(lambda share: of_known(share, "devices"), axis_name="devices")(shares)
    assert np.isclose(weighed.mean(), 2) and np.isnan(of_known(shares[0, 1:], None)).all()


def test_a_term_over_the_whole_batch_has_the_examples_of_every_device():
    rows = jnp.arange(6.0).reshape(2, 3)
    whole = jax.vmap(lambda share: aejax.Context(axis="devices").whole({"rows": share})["rows"], axis_name="devices")
    assert np.array_equal(whole(rows), [range(6)] * 2) and aejax.Context().whole(rows) is rows


@pytest.mark.long
def test_the_dead_units_of_a_transcoder_read_its_input(small):
    _, dataset = small
    rows, targets = (np.float32(dataset.train.reshape(-1, 30)[:, half]) for half in (slice(15), slice(15, None)))
    given = Dataset.from_arrays(rows[:80], rows[:23], train_targets=targets[:80], test_targets=targets[:23])
    model = aejax.Model(kind="aejax.models.sparse:SparseAutoencoder", hidden=(), code_size=6, options={"dead_after": 1})
    config = aejax.Config(
        model=model,
        loss=aejax.Loss("mse"),
        training=aejax.Training(epochs=1, batch_size=16),
        data={"standardize": True},
    )
    run = untrained(config, given)
    model = run.autoencoder
    model.idle[...] += 1
    images, clean = (jnp.asarray(part[:4].reshape(4, 1, 15, 1)) for part in (rows, targets))
    context = aejax.Context(targets=clean)
    terms = model.loss(clean, model(images, context), {}, context)
    others = model.loss(clean, model(images, context)._replace(extra={"input": clean}), {}, context)
    assert np.isfinite(terms["auxiliary"]).all() and not np.allclose(terms["auxiliary"], others["auxiliary"])
