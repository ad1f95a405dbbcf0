import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aejax import Training
from aejax.training.batches import epoch_order, permutation, steps_per_epoch


def test_an_epoch_is_full_batches_of_permutations():
    training = Training(batch_size=7, passes=3)
    order = np.asarray(epoch_order(training, 40, jnp.int32(0), training.seed))
    assert order.shape == (steps_per_epoch(training, 40), 7) == (15, 7)
    for one_pass in order.reshape(3, 35):
        assert len(set(one_pass)) == 35 and set(one_pass) <= set(range(40))
    assert not np.array_equal(order[:5], order[5:10])


def test_the_order_depends_on_seed_and_epoch_only():
    orders = {
        np.asarray(epoch_order(Training(batch_size=8), 64, jnp.int32(epoch), seed)).tobytes()
        for seed in (0, 1)
        for epoch in range(3)
        for _ in range(2)
    }
    assert len(orders) == 6


def permuted(count):
    return jax.jit(lambda: permutation(jax.random.key(0), count))()


@pytest.mark.parametrize(
    "count", [1, 65, 2**16, *(pytest.param(each, marks=pytest.mark.long) for each in (2, 3, 64, 2**16 + 1, 300_000))]
)
def test_a_permutation_has_everything_once(count):
    assert np.array_equal(np.sort(permuted(count)), np.arange(count))


def permutations(number, count):
    draw = jax.jit(lambda: jax.vmap(permutation, (0, None))(jax.random.split(jax.random.key(0), number), count))
    return np.asarray(draw())


def test_all_orders_are_as_likely():
    orders = permutations(24_000, 4)
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3


def test_neighbours_do_not_stay_together():
    orders = permutations(20_000, 100)
    together = (np.abs(np.diff(orders, axis=1)) == 1).sum()
    expected = orders[:, 1:].size * 2 / 100
    assert abs(together - expected) < 4 * expected**0.5
    there = np.stack([np.bincount(place, minlength=100) for place in orders.T])
    assert stats.chisquare(there, axis=None).pvalue > 1e-3  # every thing in every place as often


def test_no_bit_of_a_place_shows_where_a_thing_was():
    count = 2**13
    moved = np.asarray(permuted(count)) ^ np.arange(count)
    ones = (moved[:, None] >> np.arange(13) & 1).sum(axis=0)
    assert stats.chisquare(np.stack([ones, count - ones]), axis=0).pvalue.min() > 1e-4
