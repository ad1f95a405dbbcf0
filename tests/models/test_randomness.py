import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32
from scipy import stats

from aejax.models import randomness

uniform, normal = (jax.jit(draw, static_argnums=1) for draw in (randomness.uniform, randomness.normal))


def test_the_generator_is_the_one_of_jax():
    counter = jnp.arange(1000, dtype=jnp.uint32)
    for seed in (0, 1, 12345):
        key = jax.random.key_data(jax.random.key(seed))
        ours = jax.jit(functools.partial(randomness.threefry_2x32, rounds=20))(*key, counter[:500], counter[500:])
        assert np.array_equal(jnp.concatenate(ours), threefry_2x32(key, counter))
    zero = jnp.uint32(0)
    known = jax.jit(functools.partial(randomness.threefry_2x32, rounds=13))(
        zero, zero, zero, zero
    )  # a known answer of its authors
    assert [int(word) for word in known] == [0x9D1C5EC6, 0x8BD50731]


def test_uniform_and_normal_have_their_moments():
    keys = randomness.per_example(randomness.stream(3, "test"), jnp.arange(2000))
    even, bell = np.asarray(uniform(keys, 501)), np.asarray(normal(keys, 501))
    assert even.shape == bell.shape == (2000, 501)
    assert even.min() >= 0 and even.max() < 1
    assert abs(even.mean() - 1 / 2) < 2e-3 and abs(even.var() - 1 / 12) < 1e-3
    assert np.isfinite(bell).all()
    moments = [(np.float64(bell) ** power).mean() for power in (1, 2, 3, 4)]
    assert np.allclose(moments, [0, 1, 0, 3], atol=0.03)
    assert stats.kstest(np.ravel(bell[:200]), "norm").pvalue > 1e-3
    assert 4.5 < np.abs(bell).max() < 5.7  # of a million; the radius has 23 bits, which limits it
    assert abs(np.corrcoef(bell[:, :-1].ravel(), bell[:, 1:].ravel())[0, 1]) < 5e-3
    rows = np.corrcoef(bell[:20])
    assert np.abs(rows - np.eye(20)).max() < 0.25


def test_cosine_and_sine_are_of_angles_all_around_the_circle():
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    bits[:4] = 0, 2**29, 2**31, 2**32 - 1
    cosine, sine = (np.asarray(each, np.float64) for each in jax.jit(randomness._on_the_circle)(bits))
    assert np.abs(np.hypot(cosine, sine) - 1).max() < 4e-7
    angles = np.arctan2(sine, cosine)
    assert stats.kstest(angles, stats.uniform(-np.pi, 2 * np.pi).cdf).pvalue > 1e-3
    first = (bits << np.uint32(2)).astype(np.int32) * (np.pi / 4 / 2**31)  # before the rotation
    smaller = np.minimum(np.abs(cosine), np.abs(sine))
    assert np.abs(smaller - np.abs(np.sin(first))).max() < 4e-7


def test_one_key_and_rows_give_each_row_its_own_numbers():
    key, rows = randomness.stream(3, "test"), jnp.array([5, 0, 70_000])
    for draw in (uniform, normal):
        drawn = draw(key, 21, rows)
        assert drawn.shape == (3, 21) and len(np.unique(drawn)) == 63
        assert np.array_equal(drawn[1:2], draw(key, 21, rows[1:2]))
    correlation = np.corrcoef(np.asarray(normal(key, 784, jnp.arange(400))).T)
    assert np.abs(correlation - np.eye(784)).max() < 6 / 20  # numbers of one pair are as independent as others


def test_the_logarithm_is_one():
    numbers = 1 - np.arange(2**23, dtype=np.float32) / np.float32(2**23)  # all values that the radius is computed from
    expected = np.log(np.float64(numbers))
    assert np.allclose(jax.jit(randomness._logarithm)(numbers), expected, rtol=2e-7, atol=0)


def test_streams_differ_by_seed_name_and_example():
    draw = jax.jit(lambda seed, name: uniform(randomness.per_example(randomness.stream(seed, name), jnp.arange(5)), 1),
                   static_argnums=1)  # fmt: skip
    drawn = np.concatenate([draw(seed, name) for seed in (0, 1) for name in ("order", "corruption")])
    assert len(np.unique(drawn)) == 20
