"""Metrics of a sparse autoencoder against the true features."""

import numpy as np
import pytest

from gallery import recovery

RANDOM = np.random.default_rng(0)
TRUE = np.linalg.qr(RANDOM.normal(size=(8, 8)))[0][:6].astype(np.float32)
ACTIVE = (RANDOM.random((500, 6)) < 0.3).astype(np.float32)


def test_the_true_features_score_1_in_any_order_and_with_any_sign():
    order = RANDOM.permutation(6)
    found = recovery.against(-TRUE[order], ACTIVE[:, order] * 3, TRUE, ACTIVE)
    assert all(value == pytest.approx(1, abs=1e-5) for value in found.values())


def test_missed_wrong_and_inactive_units_lower_the_scores():
    codes = ACTIVE.copy()
    missed = np.flatnonzero(codes[:, 0])[::2]
    codes[missed, 0] = 0  # half of the first feature
    codes[:, 1] = 1  # the second always
    codes[:, 2] = 0  # the third never
    found = recovery.against(TRUE, codes, TRUE, ACTIVE)
    share = ACTIVE[:, 1].mean()
    recall = 1 - len(missed) / ACTIVE[:, 0].sum()
    assert found["precision"] == pytest.approx((4 + share) / 6) and found["recall"] == pytest.approx((4 + recall) / 6)
    assert found["f1"] == pytest.approx((3 + 2 * recall / (1 + recall) + 2 * share / (1 + share)) / 6)
    assert found["cosine"] == pytest.approx(1)


def test_units_with_one_feature_count_once_in_the_matching():
    learned = TRUE[[0, 0, 1, 2]]
    found = recovery.against(learned, ACTIVE[:, :4], TRUE, ACTIVE)
    assert found["cosine"] == pytest.approx(1) and found["matched_cosine"] == pytest.approx(3 / 4, abs=1e-6)
