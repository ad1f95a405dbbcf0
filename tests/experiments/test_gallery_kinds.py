"""Models of the gallery with an objective of their own: the property that makes each what it is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from gallery_models import RANDOM, made, tiny

import aejax
from aejax import Dataset, InputError, fit
from aejax.models import Context
from aejax.models.randomness import per_example, stream
from gallery import measures
from gallery.wae_mmd import discrepancy

KEYS = 40


def images():
    return jnp.asarray(RANDOM.random((KEYS, 6, 5, 1)), jnp.float32)


def context(model, **given):
    return Context(per_example(stream(0, "code"), jnp.arange(KEYS)), coefficients=model.config.coefficients, **given)


@pytest.mark.long
def test_discriminator_and_encoder_learn_from_different_terms():
    model, pixels = made("adversarial"), images()
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def term(params, name):
        model = nnx.merge(graphdef, params, rest)
        return model.loss(pixels, model(pixels), model.config.coefficients, context(model))[name].mean()

    slopes = {
        name: jax.jit(jax.grad(term), static_argnums=1)(params, name) for name in ("discriminator", "adversarial")
    }
    moved = {
        (name, part): any(np.any(leaf) for leaf in jax.tree.leaves(nnx.to_pure_dict(slopes[name])[part]))
        for name in slopes
        for part in ("encoder", "discriminator")
    }
    assert moved == {
        ("discriminator", "discriminator"): True,
        ("discriminator", "encoder"): False,
        ("adversarial", "encoder"): True,
        ("adversarial", "discriminator"): False,
    }


def test_the_discrepancy_is_0_on_average_for_one_distribution_and_grows_with_the_distance():
    draws = RANDOM.normal(size=(50, 2, 64, 3)).astype(np.float32)
    of_pairs = jax.jit(jax.vmap(lambda pair, shift: discrepancy(pair[0], pair[1] + shift, (0.5, 1.0)), (0, None)))
    same, near, far = (np.asarray(of_pairs(draws, shift)) for shift in (0.0, 0.5, 1.0))
    assert abs(same.mean()) < 3 * same.std() / 50**0.5 and (same < 0).any()
    assert 0 < near.mean() < far.mean() and near.mean() > 5 * same.std() / 50**0.5


@pytest.mark.parametrize("share", [pytest.param(0.25, marks=pytest.mark.long), 0.75])
def test_a_share_of_the_patches_is_hidden_and_visible_pixels_change_no_loss(share):
    model, pixels = (
        made("masked", (6, 4, 1), **{"model.options.patch": 2, "coefficients.share": share}),
        images()[:, :, :4],
    )
    output = jax.jit(lambda: model(pixels, context(model)))()
    hidden = np.asarray(output.extra["hidden"]).reshape(KEYS, 3, 2, 2, 2)
    patches = hidden.mean(axis=(2, 4)).reshape(KEYS, -1)  # of 3 times 2
    assert set(np.unique(patches)) == {0, 1} and (patches.sum(axis=1) == np.ceil(share * 6)).all()
    assert (patches.mean(axis=0) > 0).all() and (patches.mean(axis=0) < 1).all()
    changed = jnp.where(output.extra["hidden"] > 0, pixels, 1 - pixels)
    terms = [model.loss(each, output, {}, Context())["reconstruction"] for each in (pixels, changed)]
    assert np.allclose(*terms, rtol=1e-6) and not np.allclose(
        terms[0], model.loss(1 - pixels, output, {}, Context())["reconstruction"]
    )
    with pytest.raises(InputError, match=r"images are 6x5; model\.options\.patch is 2, and must"):
        made("masked", **{"model.options.patch": 2})


@pytest.mark.long
def test_relaxed_classes_sum_to_1_and_drawn_classes_occur_as_often_as_the_encoder_says():
    model, pixels = made("gumbel_softmax"), images()
    relaxed, _ = model.draw(pixels, context(model).keys, 3, context(model, training=True))
    groups = np.asarray(relaxed).reshape(KEYS, 3, 2, 2)
    assert np.allclose(groups.sum(axis=3), 1, atol=1e-5) and ((groups > 0) & (groups < 1)).all()
    drawn, ratio = jax.jit(lambda: model.draw(pixels, context(model).keys, 2000))()
    assert set(np.unique(drawn)) == {0, 1}
    assert np.allclose(np.asarray(drawn).mean(axis=1), model.encode(pixels), atol=0.05)
    assert np.allclose(np.asarray(ratio).mean(axis=1), model.kl(pixels), atol=0.05)


@pytest.mark.long
def test_the_likelihood_of_a_discrete_code_is_a_sum_over_all_codes(small):
    dataset = small[1]
    run = fit(tiny("gumbel_softmax", **{"data.binarize": False, "training.epochs": 4}), dataset=dataset, progress=False)
    found = aejax.evaluate(run, dataset, samples=2000)
    model, pairs = run.autoencoder, np.eye(2, dtype=np.float32)
    codes = np.array([np.concatenate(each) for each in itertools.product(pairs, repeat=2)])
    each = model.log_likelihood(
        jnp.asarray(dataset.test / np.float32(255)), jnp.asarray(codes)[None].repeat(23, axis=0)
    )
    exact = jax.nn.logsumexp(each + model.log_prior(jnp.asarray(codes)), axis=1)
    assert abs(found["nll"] + exact.mean()) < 0.02 and found["nll"] <= -found["elbo"]


def test_an_unknown_label_has_the_mean_loss_of_all_labels_less_the_entropy_of_the_guess():
    model, pixels = made("semi_supervised"), images()
    output = jax.jit(lambda: model(pixels, context(model, labels=jnp.zeros(KEYS, jnp.int32))))()
    loss = jax.jit(lambda labels: model.loss(pixels, output, model.config.coefficients, context(model, labels=labels)))
    known = []
    for label in (-1, 0, 1):
        terms = loss(jnp.full(KEYS, label))
        assert (np.asarray(terms["classification"]) > 0).all() == (label >= 0)
        known.append(terms["reconstruction"] + terms["kl"])
    share = np.exp(output.extra["guess"])
    entropy = -(share * np.log(share)).sum(axis=1)
    assert np.allclose(known[0], share[:, 0] * known[1] + share[:, 1] * known[2] - entropy, rtol=1e-5)


@pytest.mark.long
def test_a_few_labels_and_many_images_without_one_train_a_classifier(digits):
    labels = np.where(np.arange(len(digits.train)) < 200, digits.train_labels, -1)
    dataset = Dataset("digits", digits.train, digits.test, labels, digits.test_labels)
    changes = {"model.options.classes": 10, "model.code_size": 16, "model.hidden": [64], "training.epochs": 40}
    run = fit(tiny("semi_supervised", **changes | {"data.binarize": False}), dataset=dataset, progress=False)
    assert run.summary["test"]["accuracy"] > 0.8


@pytest.mark.long
def test_a_transcoder_predicts_the_targets_and_not_its_input():
    vectors = RANDOM.normal(size=(400, 8)).astype(np.float32)
    targets = np.float32(np.maximum(vectors @ RANDOM.normal(size=(8, 8)), 0))
    dataset = Dataset.from_arrays(vectors[:320], vectors[320:], train_targets=targets[:320], test_targets=targets[320:])
    changes = {"model.code_size": 32, "coefficients.k": 8, "training.epochs": 60, "training.clip_norm": None}
    run = fit(tiny("transcoder", **changes), dataset=dataset, progress=False)
    found = measures.MEASURES["transcoder"](run, dataset)
    assert found["unexplained"] < 0.5 and 0 < found["l0"] <= 8
    assert np.square(run.reconstruct(dataset.test) - dataset.test).mean() > 2 * np.square(dataset.test).mean()


def test_the_frechet_distance_is_0_for_the_same_images_and_the_square_of_a_shift():
    some = RANDOM.random((200, 3, 2, 1)).astype(np.float32)
    assert abs(measures.frechet(some, some)) < 1e-6
    assert np.isclose(measures.frechet(some + np.float32(0.5), some), 6 * 0.25, rtol=1e-4)
