import numpy as np
import pytest
from skimage import metrics

from aejax.evaluation import measures

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (17, 31, 3)])
def test_psnr_and_ssim_are_those_of_scikit_image(shape):
    images = RANDOM.random((3, *shape), np.float32)
    others = np.clip(images + RANDOM.normal(0, 0.1, images.shape), 0, 1).astype(np.float32)
    window = 3 if shape[0] == 8 else 7
    for n, (image, other) in enumerate(zip(images.astype(float), others.astype(float), strict=True)):
        psnr = metrics.peak_signal_noise_ratio(image, other, data_range=1)
        assert measures.psnr(images, others)[n] == pytest.approx(psnr, abs=1e-5)
        ssim = metrics.structural_similarity(image, other, win_size=window, data_range=1, channel_axis=2)
        assert measures.ssim(images, others)[n] == pytest.approx(ssim, abs=1e-5)
    assert (measures.psnr(images, images) == measures.PERFECT).all()
    assert np.allclose(measures.ssim(images, images), 1)


def test_there_is_no_ssim_of_images_below_its_window():
    assert measures.ssim(np.zeros((2, 2, 9, 1)), np.zeros((2, 2, 9, 1))) is None


def test_the_effective_rank_is_the_number_of_equal_directions():
    basis = np.linalg.qr(RANDOM.normal(size=(200, 5)))[0]
    basis -= basis.mean(axis=0)
    basis = np.linalg.svd(basis, full_matrices=False)[0]
    assert measures.effective_rank(basis[:, :3] @ RANDOM.normal(size=(3, 3))) <= 3
    assert measures.effective_rank(basis @ np.linalg.qr(RANDOM.normal(size=(5, 5)))[0]) == pytest.approx(5, abs=1e-5)
    shares = np.array([0.75, 0.25])
    two = basis[:, :2] * shares
    assert measures.effective_rank(two) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), abs=1e-5)
    assert measures.effective_rank(np.ones((9, 4))) == 0


def test_what_the_codes_look_like():
    codes = np.array([[0, 1, 5, 2], [0, 3, 5, 0], [0, 2, 5, 4], [0, 0, 5, 2]], np.float32)
    found = measures.code_measures(codes)
    assert found["dead_units"] == 2 and found["code_l0"] == 2.5
    assert found["code_fraction_zero"] == 6 / 16
    assert found["code_mean"] == codes.mean() and found["code_variance"] == pytest.approx(codes.var())


def test_quantised_codes_are_off_by_half_a_level_and_their_entropy_is_counted():
    codes = RANDOM.normal(size=(500, 3)).astype(np.float32)
    codes[:, 2] = 7
    low, high = codes.min(axis=0), codes.max(axis=0)
    levels = measures.quantise(codes, low, high, bits=4)
    assert levels.min() == 0 and levels.max() == 15
    error = np.abs(measures.dequantise(levels, low, high, bits=4) - codes)
    assert (error <= (high - low) / 30 + 1e-6).all()
    assert np.array_equal(measures.quantise(codes + 100, low, high, bits=4)[:, :2], np.full((500, 2), 15))
    four = np.tile(np.arange(4), 25)
    assert measures.entropy_bits(np.stack([four, four // 2, four * 0], axis=1)) == pytest.approx(2 + 1)
