"""Models of the gallery: training, resume, sweeps, evaluation, and the values of their bounds."""

import ast
import functools
import math
import re
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gallery_models import FOLDER, RANDOM, made, tiny

import aejax
from aejax import Dataset, InputError, Interrupted, fit, load, sweep
from aejax.models import Context
from aejax.models.randomness import per_example, stream
from aejax.training import Batch, build_steps
from gallery import COMPILED, IMAGES, LARGE, LAYERS, MODELS, figures, measures, study
from runs import leaves, same, traced


@pytest.fixture(scope="module")
def labelled(small):
    dataset = small[1]
    classes = [(images[:, 0, 0, 0] > 0).astype(int) for images in (dataset.train, dataset.test)]
    return Dataset("small", dataset.train, dataset.test, *classes)


def test_each_model_is_one_short_file_with_its_paper_command_and_result():
    files = {path.stem for path in FOLDER.glob("*.py") if "def get_config" in path.read_text()}
    assert files == {*MODELS, *LARGE, *COMPILED}
    for name in files - {*COMPILED}:
        text = (FOLDER / f"{name}.py").read_text()
        assert len(text.splitlines()) <= 80, name
        opening = ast.get_docstring(ast.parse(text))
        assert f"uv run experiments/gallery.py {name}{' --dataset mnist' if name in IMAGES else ''}" in opening
        assert re.search(r"\b(19|20)\d\d\b", opening), name
        assert re.search(r"^(Takes about .*;|Not trained (on MNIST )?yet\.)", opening, re.MULTILINE), name
        aejax.load_config(FOLDER / f"{name}.py")


def test_the_library_names_no_model_of_the_gallery():
    files = [(FOLDER / f"{name}.py").read_text() for name in MODELS]
    classes = [name for text in files for name in re.findall(r"^class (\w+)", text, re.MULTILINE)]
    assert {"VampPrior", "VQVAE", "Ladder"} <= set(classes)
    for path in (FOLDER.parents[1] / "aejax").rglob("*.py"):
        text = re.sub(r'"experiments/gallery/sparse_features.py:\w+"', "", path.read_text())  # aliases of datasets
        assert not re.search(rf"experiments/gallery|(?<!\")\b({'|'.join(classes)})\b", text), path


def layer():
    """Vectors and the output of a layer as their targets."""
    vectors = RANDOM.normal(size=(103, 6)).astype(np.float32)
    targets = np.maximum(vectors, 0)
    return Dataset.from_arrays(vectors[:80], vectors[80:], train_targets=targets[:80], test_targets=targets[80:])


QUICK = ("vamp_prior",)  # tests/training/test_own_models.py has no variational model
SLOW = [name for name in MODELS if name not in QUICK]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.bits if name in QUICK else pytest.mark.long) for name in MODELS]
)
def test_each_is_trained_stopped_and_resumed_bit_for_bit_swept_and_evaluated(
    labelled, tmp_path, stop_after, name, request, longest
):
    config, dataset = tiny(name), layer() if name in LAYERS else labelled
    whole = fit(config, dataset=dataset, progress=False)
    assert whole.history[1]["train"]["total"] < whole.history[0]["train"]["total"]
    own = measures.MEASURES[name](whole, dataset) if name in measures.MEASURES else {}
    assert np.isfinite(list(own.values())).all()
    if name in figures.ROWS:
        assert figures.figure(name, whole, 1).get_axes()
    if name not in QUICK and not longest:
        return  # the rest tests the library, in the same way for all models
    with stop_after(3), pytest.raises(Interrupted):
        fit(config, tmp_path / "run", dataset=dataset, progress=False)
    resumed = fit(config, tmp_path / "run", dataset=dataset, progress=False)
    read = load(tmp_path / "run", models=FOLDER / f"{name}.py" if ":" in config.model.kind else ())
    assert same(whole, resumed) and same(whole, read)
    if not (request.config.getoption("--long") or longest):
        return
    members = sweep(config, {"training.seed": [0, 1]}, dataset=dataset, progress=False).runs
    assert not same(*members.values())
    for ours, alone in zip(leaves(members["seed-0"]), leaves(whole), strict=True):
        assert np.allclose(ours, alone, atol=1e-4)
    found = aejax.evaluate(read, dataset, samples=20)
    assert found["bce" if config.loss.reconstruction == "bce" else "mse"] > 0
    if isinstance(read.autoencoder, aejax.Variational):
        assert 0 < found["nll"] <= -found["elbo"] and read.sample(3).shape == (3, 6, 5, 1)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", ["vamp_prior", "mixture_prior", "flow_posterior", "ladder", "conditional", "semi_supervised"]
)
def test_the_likelihood_is_that_of_an_integral_over_the_code(labelled, name, longest):
    """For a code of 2 units, and the class if the code has it, p(x) is the integral of p(x | z) p(z) over a grid."""
    if name in ("vamp_prior", "conditional") and not longest:
        pytest.skip("only with --longest")
    classes = 2 if name in ("conditional", "semi_supervised") else 0
    changes = {"model.code_size": 2 + classes, "training.epochs": 8, "training.batch_size": 8, "data.binarize": False}
    changes |= {"model.options.upper": 1} if name == "ladder" else {}
    run = fit(tiny(name, **changes), dataset=labelled, progress=False)
    figures = aejax.evaluate(run, labelled, samples=4000)
    model, side = run.autoencoder, np.linspace(-9, 9, 361)
    units = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    labels = np.eye(classes) if classes else np.zeros((1, 0))
    codes = np.concatenate([np.hstack([units, np.tile(label, (len(units), 1))]) for label in labels])
    grid, cell = jnp.asarray(codes[None], jnp.float32), (side[1] - side[0]) ** 2
    target = jnp.asarray(labelled.test / np.float32(255))
    each = jax.lax.map(lambda image: model.log_likelihood(image[None], grid)[0] + model.log_prior(grid)[0], target)
    exact = jax.nn.logsumexp(each, axis=1) + np.log(cell)
    assert abs(figures["nll"] + exact.mean()) < 0.02
    assert figures["nll"] <= -figures["elbo"] and figures["kl"] > 0
    # Codes drawn from the prior have its moments, by the same grid.
    density = np.exp(np.asarray(model.log_prior(grid)[0], np.float64)) * cell
    assert np.isclose(density.sum(), 1, atol=1e-3)
    drawn = np.asarray(model.prior(per_example(stream(0, "sample"), jnp.arange(20_000))))
    mean = density @ codes
    assert np.allclose(drawn.mean(axis=0), mean, atol=0.05)
    assert np.allclose(drawn.var(axis=0), density @ np.square(codes - mean), rtol=0.06)
    assert np.allclose(run.sample(5), run.decode(drawn[:5]), atol=1e-5)


@pytest.mark.long
def test_dead_entries_of_a_codebook_are_put_where_a_group_of_the_batch_is(labelled):
    steps = build_steps(tiny("vq_vae"), labelled.image_shape)
    state = jax.jit(steps.init)()
    book = np.asarray(state.extra["book"]).copy()
    book[3] = 100.0  # far from all groups
    shares = np.asarray(state.extra["shares"]).copy()
    shares[3] = 0.1 / 8  # just alive; no group is assigned to it any more
    state = state._replace(
        extra={"book": jnp.asarray(book), "shares": jnp.asarray(shares), "sums": state.extra["sums"]}
    )
    batch = Batch(jnp.asarray(labelled.train[:16]), jnp.arange(16))
    coefficients = traced(tiny("vq_vae"))
    after, terms = jax.jit(steps.alone)(state, batch, coefficients)
    pixels = jnp.asarray(labelled.train[:16] / np.float32(255))
    groups = np.asarray(jax.jit(lambda: steps.model(state).encoder(pixels))()).reshape(-1, 2)
    distance = np.abs(np.asarray(after.extra["book"])[:, None] - groups).max(axis=2).min(axis=1)
    assert distance[3] < 1e-5 and np.isclose(after.extra["shares"][3], 1 / 8)
    alive = np.delete(np.arange(8), 3)
    assert (np.delete(distance, 3) > 1e-4).any() and np.allclose(
        np.asarray(after.extra["sums"])[alive] / np.asarray(after.extra["shares"])[alive, None],
        np.asarray(after.extra["book"])[alive],
    )
    assert 1 <= terms["perplexity"] <= 8


def test_units_are_rounded_to_as_many_levels_as_they_have():
    model = made("fsq")
    pixels = jnp.asarray(RANDOM.normal(size=(4000, 6, 5, 1)) * 8, jnp.float32)
    codes = np.asarray(jax.jit(model.encode)(pixels))
    for unit, levels in enumerate((4, 3, 4, 3)):
        assert np.allclose(np.unique(codes[:, unit].round(4)), np.linspace(-1, 1, levels), atol=1e-3)
    gradient = jax.jit(jax.grad(lambda pixels: model.encode(pixels).sum()))(pixels[:2] / 100)
    assert (np.abs(gradient) > 0).any()
    with pytest.raises(InputError, match="code_size is 5; it must be a multiple of 2"):
        made("fsq", **{"model.code_size": 5})


def test_the_parts_of_the_divergence_add_up_to_it_and_are_those_of_the_mean_of_all_posteriors(labelled):
    model, images = made("tc_vae"), jnp.asarray(labelled.train[:20] / np.float32(255))
    context = Context(per_example(stream(0, "code"), jnp.arange(20)), examples=20)
    output = jax.jit(lambda: model(images, context))()
    loss = jax.jit(lambda beta: model.loss(images, output, {"beta": beta}, context))
    terms = loss(1.0)
    parts = terms["information"] + terms["total_correlation"] + terms["unit_kl"]
    assert np.allclose(parts, output.posterior.log_ratio.mean(axis=1), atol=1e-4)
    mean, variance = np.float64(output.posterior.mean), np.exp(np.float64(output.posterior.log_variance))
    codes = np.float64(output.posterior.samples[:, 0])
    densities = np.exp(-np.square(codes[:, None] - mean) / variance / 2) / np.sqrt(2 * np.pi * variance)
    whole, by_unit = np.log(densities.prod(axis=2).mean(axis=1)), np.log(densities.mean(axis=1)).sum(axis=1)
    assert np.allclose(terms["total_correlation"], whole - by_unit, atol=1e-4)
    doubled = loss(2.0)
    assert np.allclose(doubled["unit_kl"], 2 * terms["unit_kl"])


@pytest.mark.long
def test_the_class_is_a_part_of_the_code_and_images_without_one_are_refused(labelled, small):
    model, images = made("conditional"), jnp.asarray(labelled.train[:8] / np.float32(255))
    context = Context(per_example(stream(0, "code"), jnp.arange(8)), labels=jnp.asarray(labelled.train_labels[:8]))
    encoded, drawn = jax.jit(lambda: (model(images, context).codes, model.draw(images, context.keys, 50)[0]))()
    assert np.array_equal(np.asarray(encoded)[:, 4:].argmax(axis=1), labelled.train_labels[:8])
    codes = np.asarray(drawn)
    assert set(np.unique(codes[..., 4:])) == {0, 1} and (codes[..., 4:].sum(axis=2) == 1).all()
    with pytest.raises(InputError, match="needs images with classes, and these images have none"):
        fit(tiny("conditional"), dataset=small[1], progress=False)
    with pytest.raises(InputError, match="code_size is 2; it must be above 2"):
        made("conditional", **{"model.code_size": 2})


@pytest.fixture(scope="module")
def bounds(labelled):
    """Name → (value, gradients), with the same weights and samples for all models."""
    images = jnp.asarray(labelled.train[:8] / np.float32(255))
    context = Context(per_example(stream(0, "code"), jnp.arange(8)), training=True)

    @functools.cache
    def of(name, groups=None):
        changes = {} if groups is None else {"model.options.groups": groups}
        graphdef, params, rest = nnx.split(made(name, **changes), nnx.Param, ...)

        def total(params):
            model = nnx.merge(graphdef, params, rest)
            terms = model.loss(images, model(images, context), {"beta": 1.0, "l1": 0.0}, context)
            return sum(term for name, term in terms.items() if name != "l1").mean()

        value, gradients = jax.jit(jax.value_and_grad(total))(params)
        gradients = nnx.to_pure_dict(gradients)
        return value, *(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradients[half])])
                        for half in ("encoder", "decoder"))  # fmt: skip

    return of


@pytest.mark.long
def test_one_group_is_the_iwae_and_groups_of_one_the_elbo(bounds):
    importance, elbo = bounds("iwae"), bounds("miwae", 4)
    assert np.isclose(bounds("miwae", 1)[0], importance[0], rtol=1e-6)
    between = bounds("miwae")
    assert importance[0] < between[0] < elbo[0]
    with pytest.raises(InputError, match=r"MIWAE needs a multiple of 3 \(groups\)"):
        bounds("miwae", 3)


@pytest.mark.long
def test_the_decoder_has_the_gradient_of_iwae_and_the_encoder_that_of_miwae(bounds):
    whole, grouped, both = bounds("iwae"), bounds("miwae"), bounds("piwae")
    assert np.isclose(both[0], whole[0], rtol=1e-6)
    assert np.allclose(both[1], grouped[1], atol=1e-4) and not np.allclose(both[1], whole[1], atol=1e-3)
    assert np.allclose(both[2], whole[2], atol=1e-4) and not np.allclose(both[2], grouped[2], atol=1e-3)


def test_the_grey_levels_of_a_pixel_have_a_probability_of_1_together():
    model = made("discretised_logistic", (1, 1, 1))
    codes = jnp.asarray(RANDOM.normal(size=(1, 3, 4)) * 3, jnp.float32).repeat(256, axis=0)
    levels = (jnp.arange(256) / 255).reshape(256, 1, 1, 1)
    nats = np.float64(jax.jit(model.log_likelihood)(levels, codes))
    assert np.allclose(np.exp(nats).sum(axis=0), 1, atol=1e-3)
    narrow = jax.jit(model.log_density)(levels, jnp.full((256, 1, 1, 1, 1), -30.0), codes[:, :1])
    assert np.isfinite(narrow).all()


def test_codebook_use_counts_the_entries_that_occur():
    codes = np.array([[0, 0, 1, 1], [0, 0, 2, 2]], np.float32)
    found = measures.codebook_use(codes, entries=4, width=2)
    assert found["codebook_use"] == 0.75 and found["bits"] == 4 and np.isclose(found["bits_entropy"], 1)
    assert np.isclose(found["perplexity"], 2 * math.sqrt(2))


def test_the_table_has_a_row_for_each_model_also_without_results():
    seeds = [{"epochs": 2, "seconds": 60.0, "metrics": {}, "evaluation": dict.fromkeys(aejax.evaluation.FIELDS)}]
    figures = {"nll": 90.0, "elbo": -93.0, "active_units": 20, "nll_standard_error": 0.25}
    plain = {
        "dataset": "mnist",
        "binarize": True,
        "seeds": [seeds[0] | {"evaluation": seeds[0]["evaluation"] | figures}],
    }
    other = plain | {"seeds": [seeds[0] | {"evaluation": seeds[0]["evaluation"] | figures | {"nll": 88.5}}]}
    found = study.table({"vae": plain, "vamp_prior": other}).splitlines()
    assert "| vae | 90.00 (error 0.25) | - | 93.00 | 20 | - | 89.78 (pythae) | 1.0 |" in found
    assert any(line.startswith("| vamp_prior | 88.50 (error 0.25) | 1.50 |") for line in found)
    assert "89.78" not in study.table({"vae": plain | {"dataset": "digits"}})  # published results are for MNIST
    assert any(line.startswith("| fsq | not reached |") for line in found) and len(found) == 2 + len(IMAGES)


def test_total_correlation_is_compared_where_the_whole_divergence_is_equal():
    members = [
        {
            "coefficients.total_correlation": weight,
            "coefficients.beta": beta,
            "training.seed": seed,
            # Terms of the loss, times beta and the weight: 4, 3 and 1 nats for a beta of 1, half of each for 2.
            "test": {"information": 4.0, "total_correlation": (3.0 + seed) * weight, "unit_kl": 1.0},
        }
        for weight in (1.0, 4.0)
        for beta in (1.0, 2.0)
        for seed in (0, 1)
    ]
    beyond = study.at_equal_divergence(members, [8.5]).splitlines()  # more than any model of seed 0 has
    assert [line.split("|")[2] for line in beyond[2:]] == [" - ", " - "]
    found = study.at_equal_divergence(members, [6.0]).splitlines()
    assert found[0] == "| weight | total correlation at 6 nats |"
    # Seed 0 has a total correlation of 1.5 and 3 at 4 and 8 nats, seed 1 of 2 and 4 at 4.5 and 9 nats.
    assert [line.split("|")[1:3] for line in found[2:]] == [[" 1 ", " 2.46 ± 0.29 "], [" 4 ", " 2.46 ± 0.29 "]]


@pytest.mark.long
def test_the_script(script, tmp_path):
    arguments = "--epochs", 1, "--samples", 5, "--seeds", 2, "--workdir", "gallery"
    done = script("gallery.py", "conditional", *arguments)
    assert done.returncode == 0, done.stderr
    assert "| conditional | " in done.stdout and (tmp_path / "gallery" / "conditional.json").is_file()
    assert (tmp_path / "gallery" / "conditional" / "1" / "figures" / "conditional.png").is_file()


def test_few_labels_are_the_first_of_each_class_and_the_others_are_unknown():
    script = runpy.run_path(str(FOLDER.with_suffix(".py")))
    labels = np.arange(30) % 3
    dataset = Dataset("three", np.zeros((30, 2, 2, 1), np.uint8), np.zeros((3, 2, 2, 1), np.uint8), labels, labels[:3])
    found = script["_with_few_labels"](dataset, 6).train_labels
    assert np.array_equal(found[:6], labels[:6]) and (found[6:] == -1).all()


def test_the_script_refuses_more_classes_than_the_model_has_units_for(script, tmp_path):
    images, labels = np.zeros((200, 8, 8, 1), np.uint8), np.arange(200) % 11
    np.savez(tmp_path / "many.npz", train=images, test=images, train_labels=labels, test_labels=labels)
    refused = script("gallery.py", "conditional", "--dataset", tmp_path / "many.npz")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "classes from 0 to 10; model.options.classes is 10" in refused.stderr


@pytest.mark.parametrize("shape", [(200, 6), (200, 6, 5, 1)])
def test_the_script_refuses_examples_without_grey_levels(shape, script, tmp_path):
    examples = RANDOM.random(shape).astype(np.float32) if len(shape) > 2 else RANDOM.integers(0, 9, shape, np.uint8)
    np.savez(tmp_path / "given.npz", train=examples, test=examples)
    refused = script("gallery.py", "discretised_logistic", "--dataset", tmp_path / "given.npz")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused.stderr
    assert "discretised_logistic is a likelihood of grey levels: give uint8 images" in refused.stderr


def test_the_script_refuses_unknown_models_and_negative_numbers(script):
    for arguments, message in (
        (["none"], "none.py is no configuration in"),
        (["vae", "--samples", -1], "samples is -1"),
        (["vae", "--labels", 20], "names is 'vae'; it must be semi_supervised with --labels"),
        (["semi_supervised", "--labels", 25], "labels is 25; it must be a multiple of 10, the number of classes"),
    ):
        refused = script("gallery.py", *arguments)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and message in refused.stderr
