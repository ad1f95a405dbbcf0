import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import entropy
from skimage.metrics import structural_similarity

import aejax
from aejax import Config, InputError, Loss, Model, Training, fit
from aejax.config.numbers import KINDS
from aejax.models import Output, losses, similarity

cross_entropy = jax.jit(losses.binary_cross_entropy)
RANDOM = np.random.default_rng(0)
LOGITS = jnp.asarray(RANDOM.normal(0, 4, (5, 3, 4, 2)), jnp.float32)
IMAGES = jnp.asarray(RANDOM.random((5, 3, 4, 2)), jnp.float32)


def test_cross_entropy_agrees_with_optax_in_value_and_gradient():
    def reference(logits):
        return optax.sigmoid_binary_cross_entropy(logits, IMAGES).mean(axis=(1, 2, 3))

    assert np.allclose(cross_entropy(LOGITS, IMAGES), jax.jit(reference)(LOGITS), rtol=2e-6)
    ours = jax.jit(jax.grad(lambda logits: losses.binary_cross_entropy(logits, IMAGES).sum()))(LOGITS)
    assert np.allclose(ours, jax.jit(jax.grad(lambda logits: reference(logits).sum()))(LOGITS), atol=1e-8, rtol=2e-6)


def test_cross_entropy_where_the_answer_is_known():
    zeros = jnp.zeros((2, 3, 4, 1))
    assert np.allclose(cross_entropy(zeros, zeros), np.log(2))
    far = jnp.full((1, 2, 2, 1), 1e4)
    assert cross_entropy(far, jnp.ones_like(far)) == 0
    assert cross_entropy(far, jnp.zeros_like(far)) == 1e4
    slope = jax.jit(jax.grad(lambda logits: losses.binary_cross_entropy(logits, jnp.zeros_like(far)).sum()))
    assert np.allclose(slope(far), 1 / 4) and np.allclose(slope(-far), 0)


def test_the_cross_entropy_of_a_tpu_is_as_exact_as_that_of_other_devices():
    logits = np.concatenate([np.linspace(-100, 100, 2001), RANDOM.normal(0, 4, 2000)])[:, None]
    images = RANDOM.random(logits.shape)
    values, gradients = jax.jit(losses.by_tanh)(*np.float32([logits, images]))
    logits, images = np.float64(np.float32([logits, images]))
    assert np.allclose(values, (np.logaddexp(0, logits) - images * logits)[:, 0], atol=2e-7, rtol=2e-7)
    assert np.allclose(gradients, 1 / (1 + np.exp(-logits)) - images, atol=2e-7, rtol=0)


def test_squared_error_is_a_mean_over_pixels():
    assert np.allclose(losses.reconstruction(Loss("mse"), LOGITS, LOGITS + 3, {}), 9, rtol=1e-5)


def test_terms_are_per_example_and_without_their_weights():
    codes = jnp.array([[1.0, -2.0], [0.0, 0.5]])
    output = Output(LOGITS[:2], codes)
    weights = {"l1": jnp.float32(0.1)}
    terms = losses.loss_terms(Loss("mse"), IMAGES[:2], output, weights)
    assert np.allclose(terms["l1"], [3, 0.5])
    assert terms["reconstruction"].shape == (2,)
    summed = losses.loss_terms(Loss("mse", pixels="sum"), IMAGES[:2], output, weights)
    assert np.allclose(summed["reconstruction"], 24 * terms["reconstruction"])


@pytest.mark.parametrize("name", ["bce", "mse", "l1", "huber"])
@pytest.mark.parametrize("pixels", ["mean", "sum"])
def test_missing_values_have_no_error_and_no_gradient(name, pixels):
    observed = RANDOM.random(IMAGES.shape) < 0.7
    observed[3], observed[4] = True, False  # nothing, and everything is missing
    weights = {"delta": jnp.float32(0.1)}

    @jax.jit
    def loss(logits, clean):
        output = Output(logits, jnp.zeros((5, 2)))
        return losses.loss_terms(Loss(name, pixels=pixels), clean, output, weights, observed=observed)["reconstruction"]

    reconstruction = jax.jit(lambda *given: losses.reconstruction(Loss(name), *given, weights))
    each = reconstruction(LOGITS.reshape(5, 24, 1, 1, 1), IMAGES.reshape(5, 24, 1, 1, 1))
    values = np.where(observed.reshape(5, 24), each, np.nan)
    expected = np.nansum(values, axis=1) if pixels == "sum" else np.append(np.nanmean(values[:4], axis=1), 0)
    assert np.allclose(loss(LOGITS, IMAGES), expected, rtol=1e-5)
    assert np.array_equal(loss(jnp.where(observed, LOGITS, -9), jnp.where(observed, IMAGES, 0.3)), loss(LOGITS, IMAGES))
    gradient = np.asarray(jax.jit(jax.grad(lambda logits: loss(logits, IMAGES).sum()))(LOGITS))
    assert (gradient[~observed] == 0).all() and (gradient[observed] != 0).any()


def test_a_term_for_every_model_is_a_declaration_and_a_line_of_the_loss(small, monkeypatch):
    """The two places: `KINDS` in aejax.config.numbers, and `losses.loss_terms`."""
    config, dataset = small
    monkeypatch.setitem(KINDS["plain"], "l2", 0.0)
    original = losses.loss_terms

    def with_l2(loss, clean, output, coefficients, *rest):
        terms = original(loss, clean, output, coefficients, *rest)
        return terms | {"l2": jnp.square(output.codes).sum(axis=1)}

    monkeypatch.setattr(losses, "loss_terms", with_l2)
    norms = []
    for weight in (0.0, 0.1):
        run = fit(config.replace({"coefficients.l2": weight}), dataset=dataset, progress=False)
        norms.append(np.square(run.encode(dataset.test)).sum(axis=1).mean())
    assert norms[1] < norms[0] / 2
    assert np.isclose(run.summary["test"]["l2"], 0.1 * norms[1], rtol=1e-4)
    with pytest.raises(InputError, match=r"coefficients.k is .*declared are: learning_rate, l1, l2"):
        config.replace({"coefficients.k": 1})


def test_the_rate_divergence_is_that_of_bernoulli_distributions():
    codes = jnp.asarray(RANDOM.random((50, 6)), jnp.float32)
    mean = np.asarray(codes, np.float64).mean(axis=0)
    expected = sum(entropy([0.1, 0.9], [p, 1 - p]) for p in mean)
    divergence = jax.jit(losses.rate_divergence)
    assert np.isclose(divergence(codes, np.float32(0.1)), expected, rtol=1e-5)
    assert abs(divergence(np.full((4, 3), 0.1, np.float32), np.float32(0.1))) < 1e-6
    assert np.isfinite(divergence(np.zeros((4, 3), np.float32), np.float32(0.1)))


def similar(*pair, **changes):
    """Return SSIM by scikit-image with the window of Wang et al. 2004."""
    window = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, win_size=11)
    return structural_similarity(*map(np.float64, pair), data_range=1.0, channel_axis=-1, **window | changes)


def test_structural_similarity_agrees_with_scikit_image():
    images = np.float32(gaussian_filter(RANDOM.random((2, 23, 30, 3)), (0, 1, 1, 0)))
    logits = jnp.asarray(4 * images - 2 + RANDOM.normal(0, 0.5, images.shape), jnp.float32)
    made = np.asarray(jax.nn.sigmoid(logits))
    found = jax.jit(losses.RECONSTRUCTIONS["ssim"])(logits, images)
    assert np.allclose(1 - found, [similar(*pair) for pair in zip(images, made, strict=True)], atol=1e-5)

    def coarser(images):  # the window fits into two scales of 23x30 pixels
        return images[:22].reshape(11, 2, 15, 2, 3).mean(axis=(1, 3))

    # With a large first constant, the factor of the brightness is 1. It counts at the last scale only.
    pairs = list(zip(images, made, strict=True))
    fine = np.array([similar(*pair, K1=1e4) for pair in pairs])
    whole = np.array([similar(*map(coarser, pair)) for pair in pairs])
    exponents = np.array([0.0448, 0.2856]) / (0.0448 + 0.2856)
    expected = fine ** exponents[0] * whole ** exponents[1]
    assert np.allclose(1 - jax.jit(losses.RECONSTRUCTIONS["ms_ssim"])(logits, images), expected, atol=1e-5)
    assert [similarity.scales(side) for side in (10, 11, 22, 175, 176, 500)] == [0, 1, 2, 4, 5, 5]


def test_errors_that_are_no_squares():
    coefficients = {"delta": jnp.float32(0.5)}
    near, far = LOGITS + 0.25, LOGITS - 2
    for config, pairs in (
        (Loss("l1"), ((near, 0.25), (far, 2))),
        (Loss("huber"), ((near, 0.25**2 / 2), (far, 0.5 * (2 - 0.25)))),
    ):
        for images, expected in pairs:
            found = losses.reconstruction(config, LOGITS, images, coefficients)
            assert found.shape == (5,) and np.allclose(found, expected, rtol=1e-5), config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coefficients.delta": 1}, "delta is declared by loss.reconstruction huber: set loss.reconstruction"),
        ({"loss.reconstruction": "huber", "coefficients.delta": 0}, r"coefficients.delta is 0; it must be above 0"),
        ({"loss.reconstruction": "ssim", "loss.pixels": "sum"}, "must be mean while loss.reconstruction is ssim"),
        (
            {"loss.reconstruction": "ssim", "model.kind": "variational"},
            "must be bce or mse or l1 or huber while model.kind is variational",
        ),
        ({"loss.reconstruction": "ssim"}, "must be bce, mse, l1 or huber for images of 8x8x1: ssim needs 11 pixels"),
        ({"loss.reconstruction": "ms_ssim"}, "ms_ssim needs 22 pixels a side"),
    ],
)
def test_losses_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        fit(Config().replace(changes), dataset=np.zeros((40, 8, 8, 1), np.uint8), progress=False)


def test_structural_similarity_is_of_images():
    with pytest.raises(InputError, match=r"holds vectors .* loss\.reconstruction ssim needs images"):
        fit(Config(loss=Loss("ssim")), dataset=RANDOM.random((40, 30), np.float32), progress=False)


@pytest.mark.parametrize("loss", ["ssim", pytest.param("ms_ssim", marks=pytest.mark.long)])
def test_a_model_is_trained_with_structural_similarity(loss):
    images = RANDOM.integers(0, 256, (40, 1, 22, 1), np.uint8).repeat(22, axis=1)
    config = Config(model=Model((), 8), loss=Loss(loss), training=Training(epochs=2, passes=8))
    run = fit(config, dataset=images, progress=False)
    assert run.history[1]["train"]["total"] < run.history[0]["train"]["total"] < 1
    made = run.reconstruct(run.dataset.test)
    expected = np.mean([similar(*pair) for pair in zip(run.dataset.test / 255, made, strict=True)])
    if loss == "ssim":
        assert np.isclose(run.summary["test"]["reconstruction"], 1 - expected, atol=1e-4)
    assert made.min() >= 0 and made.max() <= 1 and aejax.evaluate(run)["bce"] is None
